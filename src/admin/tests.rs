//! The admin pages over a real socket, beside a small plane.

mod asked;
mod live;

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::*;
use crate::config::{self, Diagnostics, Document, Environment};
use crate::proxy::planner::Planner;
use crate::runtime::worker::local_runtime;
use crate::telemetry::families::weir::Limit;
use crate::telemetry::{ProcessMeter, RequestRecord, VersionMeter};
use crate::transport::endpoint::serve;
use crate::upstream::breaker;
use crate::words::{HttpVersion, Protocol};

const MAIN: &str = "
listeners:
- {name: predict, address: '127.0.0.1:8500', service: inception}
- {name: delivery, address: '127.0.0.1:15008', service: inception, mode: deliver, allow: any}
services:
- name: inception
  namespace: kubeflow
  circuit_breakers: {connections: 7}
  endpoints:
  - {grpc: '127.0.0.1:9000', http: '127.0.0.1:8601', labels: {version: v1}, local: true}
  - {grpc: '127.0.0.2:9000', http: '127.0.0.2:8601', labels: {version: v2}, weight: 3}
rules: [rules.yaml]
";
const RULES: &str = "
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: testers, namespace: kubeflow}
spec:
  destination: {name: inception}
  precedence: 2
  match: {request: {headers: {x-user: {exact: alice}}}}
  route:
  - {labels: {version: v1}, weight: 95}
  - {labels: {version: v2}, weight: 5}
";
const HOST: &str = "inception.kubeflow.svc.cluster.local";
const CLUSTER: &str = "out.inception.kubeflow.svc.cluster.local|http|version=v2";

/// The levels of a process without a log.
#[derive(Default)]
struct Written(RefCell<String>, Cell<bool>);

impl Levels for Written {
    fn directives(&self) -> String {
        self.0.borrow().clone()
    }

    fn set(&self, directives: &str) -> Result<(), String> {
        if self.1.get() {
            return Err("the log is gone".to_owned());
        }
        directives.clone_into(&mut self.0.borrow_mut());
        Ok(())
    }
}

struct World {
    admin: Rc<Admin>,
    planner: Planner,
    commands: mpsc::Receiver<Command>,
    /// How often the access log was opened anew.
    reopened: Rc<Cell<u32>>,
    levels: Rc<Written>,
    everything: SocketAddr,
    public: SocketAddr,
}

fn snapshot(main: &str, rules: &str) -> Arc<crate::snapshot::Snapshot> {
    let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
    let loaded =
        config::load(&document("weir.yaml", main), &[document("rules.yaml", rules)], &Environment::default());
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{faults}")).snapshot)
}

async fn bound(handler: Rc<dyn Handler>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let gave_way = ProcessMeter::new(&Recorder::new(1)).of_limit(Limit::AdminConnections);
    spawn_local(serve(listener, handler, gave_way, std::future::pending()));
    address
}

async fn world() -> World {
    let (recorder, plane, start) = (Recorder::new(1), Arc::new(ArcSwapOption::empty()), Instant::now());
    let mut planner = Planner::new(recorder.clone(), ProcessMeter::new(&recorder), plane.clone());
    let snapshot = snapshot(MAIN, RULES);
    let node = snapshot.node.clone();
    let generation = planner.publish(snapshot).unwrap().generation;
    let (mut stats, mut reloads) = (SplitStats::new(recorder.clone(), start), Reloads::new());
    stats.adopt(planner.declared());
    reloads.accepted(jiff::Timestamp::UNIX_EPOCH, generation, &Diagnostics::new());
    let (commands, received) = mpsc::channel(1);
    let reopened = Rc::new(Cell::default());
    let levels = Rc::new(Written(RefCell::new("info".to_owned()), Cell::default()));
    let admin = Rc::new(Admin {
        plane,
        server: ServerMeter::new(&recorder, start, 2),
        recorder,
        readiness: Readiness::default(),
        reloads: Rc::new(RefCell::new(reloads)),
        stats: Rc::new(RefCell::new(stats)),
        commands,
        reopen_logs: Box::new({
            let reopened = reopened.clone();
            move || reopened.set(reopened.get() + 1)
        }),
        levels: levels.clone(),
        about: About {
            node,
            concurrency: 2,
            config_path: "weir.yaml".to_owned(),
            last_good: None,
            log_format: "text",
        },
        start,
    });
    let (everything, public) = (bound(admin.everything()).await, bound(admin.public()).await);
    World { admin, planner, commands: received, reopened, levels, everything, public }
}

struct Answered {
    status: u16,
    head: String,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        assert!(self.head.contains("content-type: application/json\r\n"), "{}", self.head);
        serde_json::from_str(&self.body).unwrap()
    }

    fn has_line(&self, line: &str) {
        assert!(self.body.lines().any(|known| known == line), "no {line:?} in\n{}", self.body);
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answered {
    ask_with(address, method, path, "host: localhost\r\n").await
}

async fn ask_with(address: SocketAddr, method: &str, path: &str, fields: &str) -> Answered {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\n{fields}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if is_chunked && method != "HEAD" { dechunked(body) } else { body.to_owned() };
    Answered { status, head: format!("{head}\r\n"), body }
}

/// A body whose chunks are whole characters.
fn dechunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return whole;
        }
        whole += &rest[..size];
        body = rest[size..].strip_prefix("\r\n").unwrap();
    }
}

impl World {
    async fn get(&self, path: &str) -> Answered {
        ask(self.everything, "GET", path).await
    }

    async fn post(&self, path: &str) -> Answered {
        ask(self.everything, "POST", path).await
    }

    /// Reports requests of `version` under the rule, as a lane does.
    fn report(&self, version: &str, status: u16, ms: u64, times: usize) {
        self.report_under_for("testers", version, status, ms, times);
    }

    /// The same of a rule by its name.
    fn report_under(&self, rule: &str, version: &str, status: u16, times: usize) {
        self.report_under_for(rule, version, status, 4, times);
    }

    fn report_under_for(&self, rule: &str, version: &str, status: u16, ms: u64, times: usize) {
        let mut declared = self.planner.declared().iter().map(VersionMeter::labels);
        let labels = declared
            .find(|labels| *labels.version == *version && *labels.rule == *format!("{rule}.kubeflow"))
            .unwrap();
        let meter = VersionMeter::declare(&self.admin.recorder, labels);
        let (start, wall) = (Instant::now(), SystemTime::UNIX_EPOCH);
        let mut record = RequestRecord::new(start, wall, HttpVersion::Http11, Protocol::Http);
        record.status = status;
        record.duration = Duration::from_millis(ms);
        (0..times).for_each(|_| meter.report_source(&record));
    }
}

fn run<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    let deadline = Duration::from_secs(30);
    local_runtime().unwrap().block_on(async {
        tokio::time::timeout(deadline, async { test(world().await).await }).await.unwrap();
    });
}

const CHANGES: [&str; 7] = [
    "/drain_listeners",
    "/healthcheck/fail",
    "/healthcheck/ok",
    "/quitquitquit",
    "/logging",
    "/reopen_logs",
    "/reset_counters",
];
const PAGES: [&str; 21] = [
    "/",
    "/certs",
    "/clusters",
    "/config_dump",
    "/help",
    "/hot_restart_version",
    "/init_dump",
    "/listeners",
    "/live.css",
    "/live.js",
    "/live.svg",
    "/memory",
    "/metrics",
    "/ready",
    "/rules",
    "/runtime",
    "/server_info",
    "/splits",
    "/splits.csv",
    "/stats",
    "/stats/prometheus",
];

#[test]
fn whatever_changes_something_answers_post_alone() {
    run(async |mut world| {
        for path in CHANGES {
            for method in ["GET", "HEAD", "PUT", "DELETE"] {
                let answer = ask(world.everything, method, &format!("{path}?level=debug")).await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.head.contains("allow: POST\r\n"), "{}", answer.head);
                let body = if method == "HEAD" {
                    String::new()
                } else {
                    format!("Method {method} not allowed, POST required.")
                };
                assert_eq!(answer.body, body);
            }
        }
        assert!(world.commands.try_recv().is_err(), "nothing was asked");
        assert_eq!((world.get("/ready").await.status, world.levels.directives()), (200, "info".to_owned()));
    });
}

#[test]
fn every_page_answers_get_and_head_alone_and_is_not_to_be_kept() {
    run(async |world| {
        for path in PAGES {
            let answer = world.get(path).await;
            assert_eq!(answer.status, 200, "{path}");
            for header in ["cache-control: no-cache, max-age=0\r\n", "x-content-type-options: nosniff\r\n"] {
                assert!(answer.head.contains(header), "{path}: {}", answer.head);
            }
            let head = ask(world.everything, "HEAD", path).await;
            assert_eq!((head.status, &*head.body), (200, ""), "{path}");
            assert_eq!(world.post(path).await.status, 405, "{path}");
        }
        let lost = world.get("/nowhere").await;
        assert_eq!(lost.status, 404);
        for path in CHANGES.iter().chain(&PAGES) {
            assert!(lost.body.contains(&format!("  {path}")), "{path} is not in the help");
        }
    });
}

#[test]
fn everybody_may_see_metrics_and_readiness_and_nothing_else() {
    run(async |world| {
        for path in CHANGES.iter().chain(&PAGES) {
            let public = matches!(*path, "/metrics" | "/ready" | "/stats/prometheus");
            assert_eq!(ask(world.public, "GET", path).await.status, if public { 200 } else { 404 }, "{path}");
            assert_eq!(
                ask(world.public, "POST", path).await.status,
                if public { 405 } else { 404 },
                "{path}"
            );
        }
        let lost = ask(world.public, "GET", "/help").await;
        assert!(!lost.body.contains("/quitquitquit"), "{}", lost.body);
    });
}

#[test]
fn readiness_follows_the_health_check_and_the_drain() {
    run(async |world| {
        let ready = async || {
            let answer = world.get("/ready").await;
            (answer.status, answer.body)
        };
        assert_eq!(ready().await, (200, "LIVE\n".to_owned()));
        assert_eq!(world.post("/healthcheck/fail").await.body, "OK\n");
        assert_eq!(ready().await, (503, "DRAINING\n".to_owned()));
        world.get("/metrics").await.has_line("envoy_server_state 1");
        assert_eq!(world.post("/healthcheck/ok").await.status, 200);
        assert_eq!(ready().await.0, 200);
        assert_eq!(world.get("/init_dump").await.json(), json!({}));
        let starting = world.admin.readiness.block_on("a part");
        let waiting = json!([{"name": "weir", "target_names": ["a part"]}]);
        assert_eq!(world.get("/init_dump").await.json()["unready_targets_dumps"], waiting);
        assert_eq!(ready().await, (503, "INITIALIZING\n".to_owned()));
        drop(starting);
        world.admin.readiness.drain();
        assert_eq!(ready().await.0, 503);
    });
}

#[test]
fn splits_show_what_was_counted_and_null_where_nothing_was() {
    run(async |world| {
        let none = world.get("/splits").await.json();
        assert_eq!(
            (&none["generation"], &none["splits"][0]["rule"]),
            (&json!(1), &json!("testers.kubeflow"))
        );
        let figures = &none["splits"][0]["versions"][0]["start"];
        for name in ["share", "success_rate", "p50_ms", "p99_ms"] {
            assert_eq!(figures.get(name), Some(&Value::Null), "{name}");
        }
        world.report("v1", 200, 4, 90);
        world.report("v1", 500, 4, 5);
        world.report("v2", 200, 40, 5);
        let ahead = Instant::now() + Duration::from_secs(10);
        world.admin.stats.borrow_mut().tick(ahead);
        let page = world.get("/splits").await.json();
        let split = &page["splits"][0];
        assert_eq!(split["service"], HOST);
        let [v1, v2] = [&split["versions"][0], &split["versions"][1]];
        assert_eq!(
            (&v1["version"], &v1["weight"], &v1["labels"]),
            (&json!("v1"), &json!(95), &json!({"version": "v1"}))
        );
        for span in ["start", "minute"] {
            assert_eq!((&v1[span]["requests"], &v1[span]["share"]), (&json!(95), &json!(0.95)), "{span}");
            assert_eq!((&v2[span]["requests"], &v2[span]["share"]), (&json!(5), &json!(0.05)), "{span}");
            let rate = v1[span]["success_rate"].as_f64().unwrap();
            assert!((rate - 90.0 / 95.0).abs() < 1e-9, "{span}: {rate}");
            assert_eq!(
                (&v1[span]["server_errors"], &v2[span]["success_rate"]),
                (&json!(5), &json!(1.0)),
                "{span}"
            );
            let p99 = v2[span]["p99_ms"].as_f64().unwrap();
            assert!((30.0..50.0).contains(&p99), "{p99}");
        }
        assert_eq!(v1["minute"]["qps"], json!(9.5));
        assert_eq!(v1["start"].get("qps"), None);
        let rest = &page["splits"][1];
        assert_eq!((&rest["rule"], &rest["versions"][0]["weight"]), (&Value::Null, &Value::Null));
        assert_eq!(rest["versions"][1]["labels"], json!({"version": "v2"}));
    });
}

#[test]
fn a_share_of_another_service_has_a_row_and_figures_of_its_own() {
    run(async |mut world| {
        let other = "- {name: other, namespace: kubeflow, endpoints: [{address: '127.0.0.3:80', labels: {version: v1}}]}";
        let main = MAIN.replace("rules: [rules.yaml]", &format!("{other}\nrules: [rules.yaml]"));
        let rules =
            RULES.replace("- {labels: {version: v2}", "- {destination: {name: other}, labels: {version: v1}");
        world.planner.publish(snapshot(&main, &rules)).unwrap();
        world.admin.stats.borrow_mut().adopt(world.planner.declared());
        let is_other = |labels: &&crate::telemetry::VersionLabels| &*labels.service_name == "other";
        let labels = world.planner.declared().iter().map(VersionMeter::labels).find(is_other).unwrap();
        let meter = VersionMeter::declare(&world.admin.recorder, labels);
        let mut record =
            RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http);
        record.status = 200;
        meter.report_source(&record);
        let page = world.get("/splits").await.json();
        let [own, share] = [0, 1].map(|index| &page["splits"][0]["versions"][index]);
        assert_eq!(
            (own.get("service"), &share["service"]),
            (None, &json!("other.kubeflow.svc.cluster.local"))
        );
        assert_eq!((&own["version"], &share["version"]), (&json!("v1"), &json!("v1")));
        assert_eq!((&own["start"]["requests"], &share["start"]["requests"]), (&json!(0), &json!(1)));
        assert_eq!((&own["weight"], &share["weight"]), (&json!(95), &json!(5)));
    });
}

#[test]
fn a_version_keeps_its_minute_over_a_reload_that_still_names_it() {
    run(async |mut world| {
        world.report("v1", 200, 4, 10);
        world.admin.stats.borrow_mut().tick(Instant::now() + Duration::from_secs(5));
        let only_v1 =
            RULES.replace("  - {labels: {version: v2}, weight: 5}\n", "").replace(", weight: 95", "");
        world.planner.publish(snapshot(MAIN, &only_v1)).unwrap();
        world.admin.stats.borrow_mut().adopt(world.planner.declared());
        let page = world.get("/splits").await.json();
        assert_eq!(page["generation"], 2);
        let versions = page["splits"][0]["versions"].as_array().unwrap();
        assert_eq!((versions.len(), &versions[0]["minute"]["requests"]), (1, &json!(10)));
    });
}

#[test]
fn clusters_are_lines_as_envoy_prints_them() {
    run(async |world| {
        let plane = world.admin.plane.load_full().unwrap();
        let cluster = plane.clusters.iter().find(|plane| &*plane.state.config.name == CLUSTER).unwrap();
        let _in_flight = cluster.state.members[0].state.begin();
        let page = world.get("/clusters").await;
        for line in [
            "observability_name::out.inception.kubeflow.svc.cluster.local|http|version=v2",
            "default_priority::max_connections::7",
            "default_priority::max_retries::3",
            "high_priority::max_connections::1024",
            "added_via_api::false",
            "127.0.0.2:8601::cx_active::0",
            "127.0.0.2:8601::rq_active::1",
            "127.0.0.2:8601::rq_total::1",
            "127.0.0.2:8601::hostname::",
            "127.0.0.2:8601::health_flags::healthy",
            "127.0.0.2:8601::weight::3",
            "127.0.0.2:8601::priority::0",
            "127.0.0.2:8601::version::v2",
        ] {
            page.has_line(&format!("{CLUSTER}::{line}"));
        }
        let some = world.get("/clusters?filter=version%3Dv1$").await;
        assert!(
            !some.body.is_empty() && some.body.lines().all(|line| line.contains("version=v1::")),
            "{}",
            some.body
        );
        assert_eq!(world.get("/clusters?filter=(").await.status, 400);
        let json = world.get("/clusters?format=json").await.json();
        let statuses = json["cluster_statuses"].as_array().unwrap();
        let status = statuses.iter().find(|status| status["name"] == CLUSTER).unwrap();
        let host = &status["host_statuses"][0];
        assert_eq!(host["address"]["socket_address"], json!({"address": "127.0.0.2", "port_value": 8601}));
        let stats = host["stats"].as_array().unwrap();
        assert!(stats.contains(&json!({"value": "1", "name": "rq_total"})), "{stats:?}");
        assert!(
            stats.contains(&json!({"type": "GAUGE", "name": "cx_active"})),
            "zero is left out: {stats:?}"
        );
    });
}

#[test]
fn the_dump_holds_what_serves_and_how_it_came_about() {
    run(async |world| {
        let mut faults = Diagnostics::new();
        let broken = Document { name: "weir.yaml".to_owned(), bytes: b"listeners: 7".to_vec() };
        faults.extend(config::load(&broken, &[], &Environment::default()).unwrap_err());
        world.admin.reloads.borrow_mut().refused(jiff::Timestamp::UNIX_EPOCH, 1, &faults);
        let dump = world.get("/config_dump").await.json();
        assert_eq!((&dump["generation"], &dump["plane"]), (&json!(1), &json!(1)));
        assert_eq!(dump["snapshot"]["services"][HOST]["versions"], json!(["v1", "v2"]));
        assert_eq!(dump["verdicts"][0]["result"], "accepted");
        assert_eq!(
            (&dump["verdicts"][1]["result"], &dump["verdicts"][1]["diagnostics"][0]["file"]),
            (&json!("refused"), &json!("weir.yaml"))
        );
        assert_eq!(dump["verdicts"][1]["time"], "1970-01-01T00:00:00Z");
    });
}

#[test]
fn listeners_and_the_server_tell_of_themselves() {
    run(async |world| {
        world.get("/listeners").await.has_line("predict::127.0.0.1:8500");
        let listeners = world.get("/listeners?format=json").await.json();
        assert_eq!(listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"], 15008);
        let info = world.get("/server_info").await.json();
        assert_eq!(
            (&info["state"], &info["command_line_options"]["concurrency"]),
            (&json!("LIVE"), &json!(2))
        );
        assert!(info["uptime_current_epoch"].as_str().is_some_and(|uptime| uptime.ends_with('s')));
        assert_eq!(info["command_line_options"]["config_path"], "weir.yaml");
        assert_eq!(info["node"]["cluster"], json!(world.admin.about.node.cluster));
        let levels = |info: &Value| {
            let options = &info["command_line_options"];
            (options["log_level"].clone(), options["component_log_level"].clone())
        };
        assert_eq!(levels(&info), (json!("info"), json!("")));
        world.post("/logging?paths=weir::proxy:debug,weir::app:off").await;
        let info = world.get("/server_info").await.json();
        assert_eq!(levels(&info), (json!("info"), json!("weir::proxy:debug,weir::app:off")));
    });
}

#[test]
fn a_scrape_is_up_to_date_in_both_forms() {
    run(async |world| {
        let page = world.get("/metrics").await;
        assert!(
            page.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
            "{}",
            page.head
        );
        page.has_line("envoy_server_live 1");
        page.has_line("envoy_server_concurrency 2");
        page.has_line("envoy_listener_manager_total_listeners_active 2");
        let page = world.get("/stats/prometheus").await;
        page.has_line("envoy_server_live{} 1");
        assert!(!page.body.contains("# HELP") && !page.body.contains("weir_requests_total"));
    });
}

#[test]
fn what_a_configuration_changed_is_counted_by_name() {
    run(async |mut world| {
        let lines = async |world: &World, counts: [u64; 6]| {
            let page = world.get("/metrics").await;
            let managers = ["listener_manager_listener", "cluster_manager_cluster"];
            let whats = ["added", "modified", "removed"];
            let names = managers.iter().flat_map(|name| whats.map(|what| format!("envoy_{name}_{what}")));
            names.zip(counts).for_each(|(name, count)| page.has_line(&format!("{name} {count}")));
        };
        let clusters = world.admin.plane.load_full().unwrap().clusters.len() as u64;
        lines(&world, [2, 0, 0, clusters, 0, 0]).await;
        let changed = MAIN
            .replace("name: predict, address: '127.0.0.1:8500'", "name: predict, address: '127.0.0.1:8501'")
            .replace("connections: 7", "connections: 8");
        world.planner.publish(snapshot(&changed, RULES)).unwrap();
        lines(&world, [2, 1, 0, clusters, clusters, 0]).await;
        let delivery =
            "- {name: delivery, address: '127.0.0.1:15008', service: inception, mode: deliver, allow: any}\n";
        world.planner.publish(snapshot(&changed.replace(delivery, ""), RULES)).unwrap();
        let removed = clusters - world.admin.plane.load_full().unwrap().clusters.len() as u64;
        lines(&world, [2, 1, 1, clusters, clusters, removed]).await;
        assert!(removed > 0, "those of the delivery went with it");
    });
}

#[test]
fn the_gauge_of_a_breaker_is_one_while_no_permit_is_left() {
    run(async |world| {
        let plane = world.admin.plane.load_full().unwrap();
        let cluster = plane.clusters.iter().find(|plane| &*plane.state.config.name == CLUSTER).unwrap();
        let line = |value| {
            format!(
                "envoy_cluster_circuit_breakers_default_cx_open{{envoy_cluster_name=\"{CLUSTER}\"}} {value}"
            )
        };
        let permits: Vec<_> =
            (0..7).filter_map(|_| cluster.state.breakers.try_acquire(breaker::Limit::Connections)).collect();
        world.get("/metrics").await.has_line(&line(1));
        drop(permits);
        world.get("/metrics").await.has_line(&line(0));
    });
}

#[test]
fn before_the_first_plane_every_page_answers_all_the_same() {
    run(async |world| {
        world.admin.plane.store(None);
        let _starting = world.admin.readiness.block_on("configuration");
        for path in PAGES {
            assert_eq!(world.get(path).await.status, if path == "/ready" { 503 } else { 200 }, "{path}");
        }
        assert_eq!(world.get("/server_info").await.json()["state"], "PRE_INITIALIZING");
        assert_eq!(world.get("/splits").await.json(), json!({"generation": 0, "splits": []}));
    });
}
