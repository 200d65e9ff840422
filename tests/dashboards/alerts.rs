//! The alerts of `deploy/prometheus/rules` through a real Prometheus and a real Alertmanager, with real faults.
//!
//! Law: what is told is what was broken, no more, and it is taken back once it is mended. The rules are those that are
//! shipped, but that their time runs faster: a minute is a second.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use regex::Regex;
use tempfile::TempDir;
use tokio::task::{JoinHandle, spawn_blocking, spawn_local};

use super::traffic::to_broken;
use super::wait::until;
use super::world::{BROKEN, DELAYS, HOST, World, all_rules, rules};
use crate::common::alertmanager::Alertmanager;
use crate::common::parts::part;
use crate::common::prometheus::Prometheus;
use crate::common::weir::{Pod, Weir, free_address, rule};
use crate::common::world::Http;
use crate::common::world::client::{Client, post, read as read_answer, request};
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

/// What is broken at once, and the alerts that tell of it: the name, and the service, rule and version that they name.
///
/// `gone` is a rule that one version has for itself, and so is `refused` of the service that is degraded. So is `lost`, whose
/// version has no endpoints: the Alertmanager keeps to itself that it fails, while it tells of that.
const EXPECTED: [[&str; 4]; 16] = [
    ["WeirBufferBudgetSpent", "", "", ""],
    ["WeirHopErrors", HOST, "", "v4"],
    ["WeirLogLinesLost", "", "", ""],
    ["WeirNoEndpoints", HOST, "", "v3"],
    ["WeirProxyGone", "", "", ""],
    ["WeirReloadRefused", "", "", ""],
    ["WeirServiceDegraded", BROKEN, "", ""],
    ["WeirServiceErrors", HOST, "", ""],
    ["WeirShareOffWeight", HOST, "canary.models", ""],
    ["WeirSpansLost", "", "", ""],
    ["WeirVersionClientErrors", HOST, "canary.models", "v2"],
    ["WeirVersionServerErrors", HOST, "canary.models", "v2"],
    ["WeirVersionServerErrors", HOST, "gone.models", "v4"],
    ["WeirVersionServerErrors", BROKEN, "broken.models/refused", "refused"],
    ["WeirVersionSlow", HOST, "canary.models", "v2"],
    ["WeirWeightsDiffer", HOST, "canary.models", ""],
];

/// What is known of a version without endpoints, too.
const LOST: [&str; 4] = ["WeirVersionServerErrors", HOST, "lost.models", "v3"];

/// The field of the caller who wants spans: of the others' requests there are none.
const TRACED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

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
async fn watching(program: &Path, world: &World, spare: &Spare, alertmanager: &Alertmanager) -> Prometheus {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("rules")).unwrap();
    for name in ["weir-versions.yaml", "weir-alerts.yaml"] {
        let text = faster(&read(&format!("deploy/prometheus/rules/{name}")));
        fs::write(folder.path().join("rules").join(name), text).unwrap();
    }
    let [a, b] = world.pods.each_ref().map(|pod| pod.pod.metrics);
    let spare = spare.0.borrow().pod.metrics;
    let config = format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}\nrule_files: [rules/*.yaml]\n\
         alerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}\n\
         scrape_configs:\n- job_name: weir\n  static_configs: [{{targets: ['{a}', '{b}', '{spare}'], labels: {{namespace: models}}}}]\n",
        alertmanager.address
    );
    let program = program.to_owned();
    spawn_blocking(move || Prometheus::with_config(&program, folder, &config)).await.unwrap()
}

/// A proxy that nobody asks for anything.
struct Spare(RefCell<Weir>);

impl Spare {
    async fn start() -> Spare {
        let pod = Pod::new();
        let nobody = free_address();
        let text = format!(
            "workers: 1\n{}services:\n- name: spare\n  namespace: models\n  endpoints: [{{address: '{nobody}', labels: {{version: v1}}}}]\n",
            pod.gateway_listener("spare")
        );
        let rules = rule(&[("v1", 100)]).replace("half-plus-two", "spare");
        Spare(RefCell::new(spawn_blocking(move || pod.start(&text, &rules)).await.unwrap()))
    }
}

/// The folder of pod a's access log, whose file is on a full disk at times.
struct Log(TempDir);

impl Log {
    fn new() -> Log {
        let log = Log(tempfile::tempdir().unwrap());
        symlink(log.0.path().join("lines"), log.0.path().join("log")).unwrap();
        log
    }

    fn key(&self) -> String {
        format!("access_log: {{path: '{}'}}\n", self.0.path().join("log").display())
    }

    async fn is(&self, full: bool, world: &World) {
        let file = if full { "/dev/full".into() } else { self.0.path().join("lines") };
        fs::remove_file(self.0.path().join("log")).unwrap();
        symlink(file, self.0.path().join("log")).unwrap();
        let mut admin = Client::connect(Http::One, world.pods[0].pod.admin).await;
        let asked = request(http::Method::POST, "/reopen_logs").header("host", "localhost");
        let asked = asked.body(crate::common::world::upstream::empty()).unwrap();
        assert_eq!(admin.begin(asked).await.unwrap().status(), 200);
    }
}

/// Requests one after the other, with a pause between, for as long as this is not dropped and `on` is set.
struct Flow(JoinHandle<()>);

impl Flow {
    fn start(
        to: SocketAddr,
        http: Http,
        on: &Rc<Cell<bool>>,
        pause: Duration,
        make: impl Fn() -> Request<BoxBody> + 'static,
    ) -> Flow {
        let on = on.clone();
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
                tokio::time::sleep(pause).await;
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
        let pods = world.pods.each_ref().map(|pod| pod.pod.predict);
        let at_once = Duration::ZERO;
        let mut all = Vec::new();
        // Most of it comes to pod a, so that a weight which pod b alone has is not the share.
        for pod in [0, 0, 0, 0, 0, 0, 1, 1] {
            let http = Http::BOTH[all.len() % 2];
            all.push(Flow::start(pods[pod], http, &always, at_once, || predict("canary", 50)));
        }
        // What may be sent again is kept while it is held: more than one connection may have of the budget.
        for (rule, bytes) in [("lost", 50), ("gone", 50), ("retried", 600_000)] {
            all.push(Flow::start(pods[0], Http::One, &broken, at_once, move || predict(rule, bytes)));
        }
        // A second service, as one that fails wholly is not told to be degraded: one request in eight is refused.
        let (asked, ill) = (Cell::new(0), broken.clone());
        let few = Duration::from_millis(20);
        all.push(Flow::start(world.any, Http::One, &always, few, move || {
            asked.set(asked.get() + 1);
            to_broken(if ill.get() && asked.get() % 8 == 0 { "refused" } else { "thrown" })
        }));
        // Spans, for a collector that is not there: as few as are all given up soon.
        all.push(Flow::start(pods[0], Http::One, &broken, Duration::from_millis(200), || {
            let mut traced = predict("canary", 50);
            traced.headers_mut().insert("traceparent", http::HeaderValue::from_static(TRACED));
            traced
        }));
        Flows { broken, _all: all }
    }
}

/// Breaks everything, or mends it.
async fn all_is(world: &World, spare: &Spare, log: &Log, flows: &Flows, broken: bool) {
    world.models[1].ill.set(broken);
    flows.broken.set(broken);
    world.pods[0].write_rules(&if broken { "kind: Nonsense\n".to_owned() } else { all_rules([80, 20]) });
    world.pods[1].write_rules(&rules(if broken { [20, 80] } else { [80, 20] }));
    log.is(broken, world).await;
    if broken {
        spare.0.borrow_mut().kill();
    } else {
        spare.0.borrow_mut().start_again();
    }
}

/// The last word on each alert.
fn last_told(alertmanager: &Alertmanager) -> BTreeMap<BTreeMap<String, String>, String> {
    alertmanager.told().into_iter().map(|told| (told.labels, told.status)).collect()
}

/// What each names, in the words of [`EXPECTED`].
fn named<'a>(told: impl IntoIterator<Item = &'a BTreeMap<String, String>>) -> BTreeSet<[String; 4]> {
    let named = told.into_iter().map(|labels| {
        assert_eq!(labels["namespace"], "models", "{labels:?}");
        let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
        let name = label("alertname");
        // Whichever version of a rule is seen first: the one has what the other lacks.
        let version = match &*name {
            "WeirShareOffWeight" | "WeirWeightsDiffer" => String::new(),
            _ => label("version"),
        };
        [name, label("service"), label("rule"), version]
    });
    named.collect()
}

/// See the module; called by the test of that name.
pub(crate) async fn tell_what_is_broken_and_take_it_back() {
    let (Some(program), Some(manager)) = (part("prometheus"), part("alertmanager")) else { return };
    let (log, spare) = (Log::new(), Spare::start().await);
    let world = World::start("buffer_budget: 1MiB, ", &log.key(), [DELAYS[0]; 2]).await;
    let alertmanager = Alertmanager::start(&manager, &routes()).await;
    until("the Alertmanager is ready", || alertmanager.is_ready().then_some(())).await;
    let flows = Flows::start(&world);
    let prometheus = watching(&program, &world, &spare, &alertmanager).await;

    // A quiet time, in which the rules have found the stable version.
    let rounds = "min(count_over_time(weir:rule_stable:successes1d{rule=\"canary.models\"}[5m]))";
    until("20 rounds of the rules", || prometheus.one(rounds).filter(|&rounds| rounds >= 20.0)).await;
    let stable = prometheus.by("weir:rule_stable:successes1d{rule=\"canary.models\"}", "version");
    assert_eq!(stable.into_keys().collect::<Vec<_>>(), ["v1"]);
    let fires = "ALERTS{alertstate=\"firing\"}";
    assert_eq!(prometheus.ask(fires, None), [], "nothing is broken yet");

    all_is(&world, &spare, &log, &flows, true).await;
    let expected = BTreeSet::from(EXPECTED.map(|words| words.map(str::to_owned)));
    let mut seen = BTreeSet::new();
    until("every alert was told", || {
        let now = named(last_told(&alertmanager).keys());
        if now != seen {
            println!("not told yet: {:?}", expected.difference(&now).collect::<Vec<_>>());
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

    all_is(&world, &spare, &log, &flows, false).await;
    until("all of them are taken back", || {
        let last = last_told(&alertmanager);
        (prometheus.ask(fires, None).is_empty()
            && alertmanager.active().is_empty()
            && last.values().all(|status| status == "resolved"))
        .then_some(())
    })
    .await;
    let told = alertmanager.told();
    let mut named = named(told.iter().map(|told| &told.labels));
    // It may be told when the endpoints no longer are, as it is held on to for a while.
    named.remove(&LOST.map(str::to_owned));
    assert_eq!(named, expected, "{told:#?}");
}
