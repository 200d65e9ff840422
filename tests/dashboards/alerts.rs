//! The alerts of `deploy/prometheus/rules` through a real Prometheus and a real Alertmanager, with real faults.
//!
//! Law: what is told is what was broken, no more, and it is taken back once it is mended. The rules are those that are
//! shipped, but that their time runs faster: a minute is a second.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use regex::Regex;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

use super::wait::until;
use super::world::{DELAYS, HOST, World, all_rules, rules};
use crate::common::alertmanager::Alertmanager;
use crate::common::parts::part;
use crate::common::prometheus::Prometheus;
use crate::common::world::Http;
use crate::common::world::client::{Client, post, read as read_answer};
use crate::common::world::upstream::BoxBody;

/// Each time that the rules name, and what it is here. The long windows are shortened more than the others: what they
/// remember is forgotten within the test.
const TIMES: [(&str, &str); 17] = [
    ("1m", "1s"),
    ("2m", "2s"),
    ("4m59s", "4s983ms"),
    ("5m", "5s"),
    ("10m", "10s"),
    ("15m", "15s"),
    ("14m59s", "14s983ms"),
    ("20m", "20s"),
    ("1h", "20s"),
    ("54m59s", "14s983ms"),
    ("59m59s", "19s983ms"),
    ("3h", "30s"),
    ("2h54m59s", "24s983ms"),
    ("2h59m59s", "29s983ms"),
    ("1d", "60s"),
    ("23h54m59s", "54s983ms"),
    ("23h59m59s", "59s983ms"),
];

/// What is broken at once, and the alerts that tell of it.
const EXPECTED: [&str; 10] = [
    "WeirBufferBudgetSpent",
    "WeirHopErrors",
    "WeirNoEndpoints",
    "WeirReloadRefused",
    "WeirServiceErrors",
    "WeirShareOffWeight",
    "WeirVersionClientErrors",
    "WeirVersionServerErrors",
    "WeirVersionSlow",
    "WeirWeightsDiffer",
];

/// A file of rules, faster.
fn faster(text: &str) -> String {
    let time = Regex::new(r"\b(?:[0-9]+[dhms])+\b").unwrap();
    let rules: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let of = |found: &regex::Captures<'_>| {
        let known = TIMES.iter().find(|(time, _)| *time == &found[0]);
        known.unwrap_or_else(|| panic!("a time that this test does not know: {}", &found[0])).1.to_owned()
    };
    // A sample of what is recorded stands for a minute.
    time.replace_all(&rules.join("\n"), of).replace(" * 60", " * 1").replace("60 * (", "1 * (")
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The Alertmanager's configuration as it is deployed, with somebody to tell, who is told at once.
fn routes() -> String {
    let text = read("deploy/addons/alertmanager.yaml");
    let block = text.split("alertmanager.yml: |\n").nth(1).expect("its configuration");
    let lines = block.lines().take_while(|line| line.starts_with("    "));
    let config: String = lines.map(|line| format!("{}\n", &line[4..])).collect();
    let told = config.replace(
        "- name: nobody",
        "- name: nobody\n  webhook_configs: [{url: '{webhook}', send_resolved: true}]",
    );
    let fast = told.replacen(
        "  receiver: nobody\n",
        "  receiver: nobody\n  group_wait: 1s\n  group_interval: 1s\n",
        1,
    );
    assert!(fast.contains("webhook_configs") && fast.contains("group_wait"), "{fast}");
    fast
}

/// Prometheus with the rules, telling the Alertmanager.
async fn watching(program: &Path, world: &World, alertmanager: &Alertmanager) -> Prometheus {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    for name in ["weir-versions.yaml", "weir-alerts.yaml"] {
        let text = faster(&read(&format!("deploy/prometheus/rules/{name}")));
        fs::write(folder.path().join("rules").join(name), text).unwrap();
    }
    let [a, b] = world.pods.each_ref().map(|pod| pod.pod.metrics);
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules/*.yaml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n\
         scrape_configs:\n- job_name: weir\n  static_configs: [{{targets: ['{a}', '{b}'], labels: {{namespace: models}}}}]\n",
        alertmanager.address
    );
    let program = program.to_owned();
    spawn_blocking(move || Prometheus::with_config(&program, folder, &config)).await.unwrap()
}

/// Requests one after the other, for as long as this is not dropped and `on` is set.
struct Flow(JoinHandle<()>);

impl Flow {
    fn start(
        world: &World,
        pod: usize,
        http: Http,
        on: &Rc<Cell<bool>>,
        make: impl Fn() -> Request<BoxBody> + 'static,
    ) -> Flow {
        let (to, on) = (world.pods[pod].pod.predict, on.clone());
        Flow(spawn_local(async move {
            let mut client = Client::connect(http, to).await;
            loop {
                if !on.get() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
                let answered = match client.begin(make()).await {
                    Ok(response) => read_answer(response).await,
                    Err(error) => Err(error),
                };
                // Who is refused before all was sent loses the connection.
                if answered.is_err() {
                    client = Client::connect(http, to).await;
                }
            }
        }))
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn predict(rule: &'static str, bytes: usize) -> Request<BoxBody> {
    let mut request = post("/v1/models/half_plus_two:predict", vec![b'x'; bytes]);
    let mut put =
        |name, value| drop(request.headers_mut().insert(name, http::HeaderValue::from_static(value)));
    put("x-rule", rule);
    if rule == "retried" {
        put("x-do", "hold");
    }
    request
}

/// The traffic, healthy and not.
struct Flows {
    /// Set while what it asks for is broken.
    broken: Rc<Cell<bool>>,
    _all: Vec<Flow>,
}

impl Flows {
    fn start(world: &World) -> Flows {
        let (always, broken) = (Rc::new(Cell::new(true)), Rc::new(Cell::new(false)));
        let mut all = Vec::new();
        // Most of it comes to pod a, so that a weight which pod b alone has is not the share.
        for pod in [0, 0, 0, 0, 0, 0, 1, 1] {
            all.push(Flow::start(world, pod, Http::BOTH[all.len() % 2], &always, || predict("canary", 50)));
        }
        // What may be sent again is kept while it is held: more than one connection may have of the budget.
        for (rule, bytes) in [("lost", 50), ("gone", 50), ("retried", 600_000)] {
            all.push(Flow::start(world, 0, Http::One, &broken, move || predict(rule, bytes)));
        }
        Flows { broken, _all: all }
    }
}

/// Breaks everything, or mends it.
fn all_is(world: &World, flows: &Flows, broken: bool) {
    world.models[1].ill.set(broken);
    flows.broken.set(broken);
    world.pods[0].write_rules(&if broken { "kind: Nonsense\n".to_owned() } else { all_rules([80, 20]) });
    world.pods[1].write_rules(&rules(if broken { [20, 80] } else { [80, 20] }));
}

/// The last word on each alert.
fn last_told(alertmanager: &Alertmanager) -> BTreeMap<BTreeMap<String, String>, String> {
    alertmanager.told().into_iter().map(|told| (told.labels, told.status)).collect()
}

fn named<'a>(labels: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> BTreeSet<String> {
    labels.into_iter().map(|labels| labels["alertname"].clone()).collect()
}

/// See the module; called by the test of that name.
pub(crate) async fn tell_what_is_broken_and_take_it_back() {
    let (Some(program), Some(manager)) = (part("prometheus"), part("alertmanager")) else { return };
    let world = World::start("buffer_budget: 1MiB, ", [DELAYS[0]; 2]).await;
    let alertmanager = Alertmanager::start(&manager, &routes()).await;
    until("the Alertmanager is ready", || alertmanager.is_ready().then_some(())).await;
    let flows = Flows::start(&world);
    let prometheus = watching(&program, &world, &alertmanager).await;

    // A quiet time, in which the rules have found the stable version.
    let rounds = "min(count_over_time(weir:rule_stable:choices1d{rule=\"canary.models\"}[5m]))";
    until("20 rounds of the rules", || prometheus.one(rounds).filter(|&rounds| rounds >= 20.0)).await;
    let stable = prometheus.by("weir:rule_stable:choices1d{rule=\"canary.models\"}", "version");
    assert_eq!(stable.into_keys().collect::<Vec<_>>(), ["v1"]);
    let fires = "ALERTS{alertstate=\"firing\"}";
    assert_eq!(prometheus.ask(fires, None), [], "nothing is broken yet");

    all_is(&world, &flows, true);
    let expected = BTreeSet::from(EXPECTED.map(str::to_owned));
    let mut seen = BTreeSet::new();
    until("every alert was told", || {
        let now = named(last_told(&alertmanager).keys());
        if now != seen {
            println!("told: {now:?}");
            seen = now;
        }
        (seen.is_superset(&expected)).then_some(())
    })
    .await;
    // The board of all services counts them: as many as the Alertmanager has, but for those that come or go meanwhile.
    let board = "count(ALERTS{alertname=~\"Weir.*\",alertstate=\"firing\"})";
    until("the panel's count is the Alertmanager's", || {
        let count = prometheus.one(board).unwrap_or_default();
        (count as usize == alertmanager.active().len() && count > 0.0).then_some(())
    })
    .await;

    all_is(&world, &flows, false);
    until("all of them are taken back", || {
        let last = last_told(&alertmanager);
        (prometheus.ask(fires, None).is_empty()
            && alertmanager.active().is_empty()
            && last.values().all(|status| status == "resolved"))
        .then_some(())
    })
    .await;
    let told = alertmanager.told();
    assert_eq!(named(told.iter().map(|told| &told.labels)), expected, "{told:#?}");
    whom_they_name(&last_told(&alertmanager));
}

/// Each names what was broken.
fn whom_they_name(told: &BTreeMap<BTreeMap<String, String>, String>) {
    for labels in told.keys() {
        let label = |name: &str| labels.get(name).map_or("", String::as_str);
        let whom = (label("service"), label("rule"), label("version"));
        let right = match label("alertname") {
            "WeirVersionServerErrors" | "WeirVersionClientErrors" | "WeirVersionSlow" => {
                whom == (HOST, "canary.models", "v2")
            }
            "WeirShareOffWeight" | "WeirWeightsDiffer" => (whom.0, whom.1) == (HOST, "canary.models"),
            "WeirNoEndpoints" => whom == (HOST, "", "v3"),
            "WeirHopErrors" => whom == (HOST, "", "v4"),
            "WeirServiceErrors" => whom == (HOST, "", ""),
            _ => whom == ("", "", ""),
        };
        assert!(right && label("namespace") == "models", "{labels:?}");
    }
}
