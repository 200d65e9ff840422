//! A real Prometheus scrapes Weir: what it answers, asked as the dashboards ask, is the traffic that was sent.
//!
//! The model servers are `weir demo`'s: version 1 answers at once, version 2 takes 300 ms. Version 3 has no endpoint.

#![cfg(feature = "demo")]

mod common {
    pub(crate) mod caller;
    pub(crate) mod loopback;
    pub(crate) mod parts;
    pub(crate) mod prometheus;
    pub(crate) mod weir;
}

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common::caller::{self, Ask, Caller, Protocol, Tally, merged};
use common::parts::part;
use common::prometheus::Prometheus;
use common::weir::{Pod, Weir, eventually, get, rule};
use weir::demo::model_server::{ModelServer, Options, ServiceTime};

const HOST: &str = "half-plus-two.models.svc.cluster.local";
const SLOW: Duration = Duration::from_millis(300);

/// Versions 1 and 2 behind a proxy; a tenth of the traffic is for version 3, which nobody serves.
async fn world() -> (Weir, [ModelServer; 2]) {
    let slow =
        Options { service_time: ServiceTime { base: SLOW, ..ServiceTime::default() }, ..Options::default() };
    let servers = [ModelServer::start(1, Options::default()).await, ModelServer::start(2, slow).await];
    let servers = servers.map(Result::unwrap);
    let pod = Pod::new();
    let at = servers.each_ref().map(|server| (server.grpc_addr(), server.rest_addr()));
    let config = pod.two_versions("half-plus-two", at);
    (pod.start(&config, &rule(&[("v1", 80), ("v2", 10), ("v3", 10)])), servers)
}

/// What was sent, and what came of it.
struct Sent {
    rest: Tally,
    grpc: Tally,
    /// By gRPC, and refused by the model servers as nonsense.
    nonsense: u64,
    /// Of the nonsense, what was for version 3.
    unserved: u64,
}

async fn send(weir: &Weir) -> Sent {
    let target = weir.pod.predict;
    let rest = caller::predict(target, Protocol::Rest, 400, 8).await;
    let grpc = caller::predict(target, Protocol::Grpc, 400, 8).await;
    let mut caller = Caller::connect(target, Protocol::Grpc).await;
    let tally = caller.ask_often(Ask::Nonsense, 100).await;
    let (nonsense, unserved) = (tally["InvalidArgument"], tally["Unavailable"]);
    assert_eq!(nonsense + unserved, 100, "{tally:?}");
    Sent { rest, grpc, nonsense, unserved }
}

fn of(tally: &Tally, outcome: &str) -> u64 {
    tally.iter().filter(|(name, _)| name.starts_with(outcome)).map(|(_, count)| count).sum()
}

/// Values by label, as Prometheus gives them: no zeros, where the test compares what happened.
fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, f64> {
    expected
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.to_owned(), count as f64))
        .collect()
}

#[tokio::test]
async fn volume_success_and_response_time_by_version_as_dashboards_ask_for_them_are_the_traffic_that_was_sent()
 {
    let Some(program) = part("prometheus") else { return };
    let (weir, servers) = world().await;
    let prometheus = Prometheus::start(&program, weir.pod.metrics);
    // The series of each version are there at zero, before their first request.
    let born = || prometheus.by("sum by (destination_version) (istio_request_count)", "destination_version");
    let zero = ["v1", "v2", "v3"].map(|version| (version.to_owned(), 0.0));
    eventually("series at zero", BTreeMap::from(zero), born);

    let sent = send(&weir).await;
    let answered = merged([sent.rest.clone(), sent.grpc.clone()]);
    println!("{answered:?}, nonsense {}, unserved {}", sent.nonsense, sent.unserved);
    let (v1, v2) = (of(&answered, "v1"), of(&answered, "v2"));
    let v3 = 800 - v1 - v2 + sent.unserved;
    assert!((79..=81).contains(&v2) && (88..=92).contains(&v3), "10 % each: {answered:?}");
    // Where the nonsense went is known from what each model server was asked.
    let refused = [servers[0].requests() - v1, servers[1].requests() - v2];
    assert_eq!(refused.iter().sum::<u64>(), sent.nonsense);
    let total = [v1 + refused[0], v2 + refused[1], v3];

    let all = "sum(istio_request_count) + sum(istio_requests_total)";
    let delivered = total[0] + total[1];
    eventually("all of it was scraped", Some((900 + 900 + delivered) as f64), || prometheus.one(all));
    let ask = |query: &str, label| {
        let mut found = prometheus.by(query, label);
        found.retain(|_, value| *value != 0.0);
        println!("{query}\n    {found:?}");
        found
    };

    // Request Volume, over the whole run: what began at zero loses nothing to increase().
    let versions = counts([("v1", total[0]), ("v2", total[1]), ("v3", total[2])]);
    let served = counts([("v1", total[0]), ("v2", total[1])]);
    for (query, expected) in [
        ("sum by (destination_version) (istio_request_count)", &versions),
        ("sum by (destination_version) (istio_requests_total{reporter=\"source\"})", &versions),
        ("sum by (destination_version) (istio_requests_total{reporter=\"destination\"})", &served),
    ] {
        assert_eq!(ask(query, "destination_version"), *expected);
    }
    assert_eq!(ask("sum by (version) (weir_requests_total)", "version"), versions);
    let filter =
        format!("destination_service=\"{HOST}\",source_service=\"unknown\",source_version=\"unknown\"");
    let successes = counts([("v1", v1), ("v2", v2)]);
    for (family, label, success) in [
        ("istio_request_count", "destination_version", format!("{filter},response_code=\"200\"")),
        ("weir_requests_total", "version", "outcome=\"success\"".to_owned()),
    ] {
        let query = format!("sum by ({label}) (increase({family}{{{success}}}[1h]))");
        let found = prometheus.by_at_last_scrape(&query, label);
        println!("{query}\n    {found:?}");
        for (version, expected) in &successes {
            assert!((found[version] - expected).abs() < 1e-6, "{query}: {found:?}, not {successes:?}");
        }
    }

    // 200s, 4xxs and 5xxs. The old family shows gRPC's failures as the codes that REST would have given.
    for (code, expected) in [
        ("response_code=\"200\"", successes.clone()),
        ("response_code=~\"4.*\"", counts([("v1", refused[0]), ("v2", refused[1])])),
        ("response_code=~\"5.*\"", counts([("v3", v3)])),
    ] {
        let query = format!("sum by (destination_version) (istio_request_count{{{filter},{code}}})");
        assert_eq!(ask(&query, "destination_version"), expected);
    }
    let grpc = "sum by (grpc_response_status) \
                (istio_requests_total{reporter=\"source\",request_protocol=\"grpc\",response_code=\"200\"})";
    let unavailable = of(&sent.grpc, "Unavailable") + sent.unserved;
    let fine = of(&sent.grpc, "v");
    let statuses = counts([("0", fine), ("3", sent.nonsense), ("14", unavailable)]);
    assert_eq!(ask(grpc, "grpc_response_status"), statuses);
    let rest =
        "sum by (response_flags) (istio_requests_total{reporter=\"source\",request_protocol=\"http\"})";
    let (answers, unhealthy) = (of(&sent.rest, "v"), of(&sent.rest, "503 no healthy upstream"));
    assert_eq!(ask(rest, "response_flags"), counts([("-", answers), ("UH", unhealthy)]));
    let classes = counts([("success", v1 + v2), ("client_error", sent.nonsense), ("server_error", v3)]);
    assert_eq!(ask("sum by (outcome) (weir_requests_total)", "outcome"), classes);

    // Success Rate (non-5xx), by version and of all.
    let rates = |rates: &[(&str, f64)]| rates.iter().map(|&(name, rate)| (name.to_owned(), rate)).collect();
    let everywhere: BTreeMap<String, f64> = rates(&[("v1", 1.0), ("v2", 1.0), ("v3", 0.0)]);
    for (family, filter, label, expected) in [
        ("istio_request_count", "", "destination_version", everywhere.clone()),
        (
            "istio_requests_total",
            "reporter=\"destination\"",
            "destination_version",
            rates(&[("v1", 1.0), ("v2", 1.0)]),
        ),
        ("istio_request_count", "", "destination_service", rates(&[(HOST, (900 - v3) as f64 / 900.0)])),
    ] {
        let query = ratio(family, filter, label);
        let found = prometheus.by(&query, label);
        println!("{query}\n    {found:?}");
        assert_eq!(found, expected, "{query}");
    }

    response_times(&prometheus, v1, v2);
}

/// Success rate of a family by a label.
fn ratio(family: &str, filter: &str, by: &str) -> String {
    format!(
        "sum by ({by}) ({family}{{{filter},response_code!~\"5.*\"}}) / sum by ({by}) ({family}{{{filter}}})"
    )
    .replace("{,", "{")
}

/// Response Time by Version: no success of version 2 took less than its model does, and its quantiles say so.
fn response_times(prometheus: &Prometheus, v1: u64, v2: u64) {
    for (family, filter, label, unit, below) in [
        ("istio_request_duration", "response_code=\"200\"", "destination_version", 1.0, "0.25"),
        (
            "istio_request_duration_milliseconds",
            "reporter=\"source\",grpc_response_status=~\"0?\"",
            "destination_version",
            1e-3,
            "250",
        ),
        ("weir_request_duration_seconds", "outcome=\"success\"", "version", 1.0, "0.25"),
    ] {
        let count = format!("sum by ({label}) ({family}_count{{{filter},{label}!=\"v3\"}})");
        assert_eq!(prometheus.by(&count, label), counts([("v1", v1), ("v2", v2)]), "{count}");
        let sum = format!("sum by ({label}) ({family}_sum{{{filter},{label}=\"v2\"}})");
        let seconds = prometheus.by(&sum, label)["v2"] * unit;
        assert!(seconds >= v2 as f64 * SLOW.as_secs_f64(), "{sum}: {seconds}");
        let faster = format!("sum by ({label}) ({family}_bucket{{{filter},le=\"{below}\"}})");
        assert_eq!(prometheus.by(&faster, label)["v2"], 0.0, "{faster}");
        for quantile in ["0.50", "0.90", "0.95", "0.99"] {
            let query = format!(
                "histogram_quantile({quantile}, sum by ({label}, le) (rate({family}_bucket{{{filter}}}[1h])))"
            );
            let found = prometheus.by(&query, label);
            println!("{query}\n    {found:?}");
            assert!(found["v2"] * unit > 0.25, "{query}: {found:?}");
            assert!(found["v1"] < found["v2"], "{query}: {found:?}");
        }
    }
}

#[tokio::test]
async fn the_dashboards_very_queries_with_a_window_of_a_minute_have_data_while_traffic_flows() {
    let Some(program) = part("prometheus") else { return };
    let (weir, _servers) = world().await;
    let prometheus = Prometheus::start(&program, weir.pod.metrics);
    let flowing = async {
        loop {
            caller::predict(weir.pod.predict, Protocol::Rest, 40, 4).await;
            caller::predict(weir.pod.predict, Protocol::Grpc, 40, 4).await;
        }
    };
    let queries: Vec<String> = QUERIES.iter().map(|query| query.replace("$HOST", HOST)).collect();
    let asking = tokio::task::spawn_blocking(move || {
        for query in &queries {
            eventually(query, true, || {
                let found = prometheus.ask(query, None);
                !found.is_empty() && found.iter().all(|(_, value)| value.is_finite() && *value > 0.0)
            });
            println!("{query}\n    {:?}", prometheus.ask(query, None));
        }
    });
    tokio::select! {
        () = flowing => unreachable!("it flows for ever"),
        asked = asking => asked.unwrap(),
    }
}

/// Panels of Istio 0.7's dashboard, istio-dashboard.json, and of today's service dashboard.
const QUERIES: [&str; 12] = [
    "round(sum(irate(istio_request_count[1m])), 0.001)",
    "sum(rate(istio_request_count{response_code!~\"5.*\"}[1m])) / sum(rate(istio_request_count[1m]))",
    "sum(irate(istio_request_count{response_code=~\"5.*\"}[1m]))",
    "round(sum(irate(istio_request_count{source_service=~\".*\",source_version=~\".*\",\
     destination_service=~\"$HOST\",destination_version=~\"v1|v2\"}[1m])), 0.001)",
    "label_replace(sum(irate(istio_request_count{destination_service=~\"$HOST\",response_code!~\"5.*\"}[1m])) \
     by (destination_service) / sum(irate(istio_request_count{destination_service=~\"$HOST\"}[1m])) \
     by (destination_service), \"destination_service\", \"$1\", \"destination_service\", \
     \"(.*).svc.cluster.local\")",
    "label_replace(round(sum(irate(istio_request_count{destination_service=~\"$HOST\",\
     destination_version=~\"v1\"}[1m])) by (source_service, source_version, destination_version, \
     response_code), 0.001), \"source_service\", \"$1\", \"source_service\", \"(.*).svc.cluster.local\") > 0",
    "histogram_quantile(0.50, sum(irate(istio_request_duration_bucket{destination_service=~\"$HOST\",\
     destination_version=~\"v1\"}[1m])) by (source_service, source_version, destination_version, le))",
    "histogram_quantile(0.99, sum(irate(istio_request_duration_bucket{destination_service=~\"$HOST\",\
     destination_version=~\"v1\"}[1m])) by (source_service, source_version, destination_version, le))",
    "histogram_quantile(0.95, sum(irate(istio_response_size_bucket{destination_version=~\"v1\"}[1m])) \
     by (source_service, source_version, destination_version, le))",
    "round(sum(irate(istio_requests_total{reporter=~\"source|destination\",\
     destination_service=~\"$HOST\"}[1m])), 0.001)",
    "sum(irate(istio_requests_total{reporter=\"destination\",destination_service=~\"$HOST\",\
     response_code!~\"5.*\"}[1m])) / (sum(irate(istio_requests_total{reporter=\"destination\",\
     destination_service=~\"$HOST\"}[1m])) or on () vector(1))",
    "histogram_quantile(0.99, sum(irate(istio_request_duration_milliseconds_bucket{reporter=\"destination\",\
     destination_service=~\"$HOST\"}[1m])) by (destination_workload_namespace, le)) / 1000",
];

#[tokio::test]
async fn promtool_finds_no_error_in_the_page_and_lints_only_names_that_are_not_ours() {
    let Some(program) = part("promtool") else { return };
    let (weir, _servers) = world().await;
    send(&weir).await;
    for page in ["/metrics", "/stats/prometheus"] {
        let (status, text) = get(weir.pod.metrics, page).unwrap();
        assert_eq!(status, 200, "{page}");
        let lints = lints(&program, text);
        println!("{page}: {} lints\n{}", lints.len(), lints.join("\n"));
        let foreign = |lint: &String| lint.starts_with("istio_") || lint.starts_with("envoy_");
        assert!(lints.iter().all(foreign), "{page}: {lints:#?}");
        // Envoy's own page has no HELP, and ours of that name has none either.
        assert!(page != "/metrics" || !lints.iter().any(|lint| lint.ends_with("no help text")), "{lints:#?}");
    }
}

#[tokio::test]
async fn the_increase_over_a_versions_first_failing_request_is_one_as_prometheus_reckons_it() {
    let Some(program) = part("prometheus") else { return };
    let (weir, _servers) = world().await;
    let prometheus = Prometheus::start(&program, weir.pod.metrics);
    // The version that nobody serves has not failed yet, and is there.
    let failures = "sum by (version) (weir_requests_total{outcome=\"server_error\"})";
    let of_v3 = || prometheus.by(failures, "version").get("v3").copied();
    eventually("it was scraped before it failed", Some(0.0), of_v3);
    let mut caller = Caller::connect(weir.pod.predict, Protocol::Rest).await;
    let mut asked = 0;
    // A tenth is for it, by turns.
    while !caller.ask(Ask::Predict).await.starts_with("503") {
        asked += 1;
        assert!(asked < 100, "nobody asked for it");
    }
    eventually("its failure was scraped", Some(1.0), of_v3);
    let query = "sum by (version) (increase(weir_requests_total{outcome=\"server_error\"}[1h]))";
    let found = prometheus.by_at_last_scrape(query, "version");
    println!("{query}\n    {found:?}");
    for (version, increase) in [("v1", 0.0), ("v2", 0.0), ("v3", 1.0)] {
        assert!((found[version] - increase).abs() < 1e-6, "{version}: {found:?}");
    }
    // A family whose labels are what became of requests cannot have them before: its first one is not an increase.
    let born =
        "sum(increase(istio_requests_total{reporter=\"source\",response_code=~\"5..\"}[1h])) or vector(0)";
    assert_eq!(prometheus.by_at_last_scrape(born, "version").get("").copied(), Some(0.0));
}

/// What `promtool check metrics` has to say: its exit status is 3 for lints, 1 for errors.
fn lints(promtool: &std::path::Path, text: String) -> Vec<String> {
    let mut command = Command::new(promtool);
    command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {said}", output.status);
    said.lines().map(str::to_owned).collect()
}

/// Stands between a scraper and `to`, and keeps what each of them said.
fn tapped(to: SocketAddr) -> (SocketAddr, [Arc<Mutex<Vec<u8>>>; 2]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, said) = (listener.local_addr().unwrap(), <[Arc<Mutex<Vec<u8>>>; 2]>::default());
    let kept = said.clone();
    // Ends with the test's process.
    thread::spawn(move || {
        for asks in listener.incoming().flatten() {
            let Ok(answers) = TcpStream::connect(to) else { return };
            for (from, into, kept) in [(&asks, &answers, &kept[0]), (&answers, &asks, &kept[1])] {
                let (mut from, mut into) = (from.try_clone().unwrap(), into.try_clone().unwrap());
                let kept = kept.clone();
                thread::spawn(move || {
                    let mut some = [0; 16 << 10];
                    while let Ok(count @ 1..) = from.read(&mut some) {
                        kept.lock().unwrap().extend_from_slice(&some[..count]);
                        if into.write_all(&some[..count]).is_err() {
                            return;
                        }
                    }
                    let _ = into.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    (at, said)
}

#[tokio::test]
async fn prometheus_asks_for_gzip_and_gets_it_and_understands_it() {
    let Some(program) = part("prometheus") else { return };
    let (weir, _servers) = world().await;
    caller::predict(weir.pod.predict, Protocol::Rest, 20, 2).await;
    let (at, [asked, answered]) = tapped(weir.pod.metrics);
    let prometheus = Prometheus::start(&program, at);
    let said = |what: &Mutex<Vec<u8>>| String::from_utf8_lossy(&what.lock().unwrap()).to_ascii_lowercase();
    assert!(said(&asked).contains("accept-encoding: gzip"), "{}", said(&asked));
    assert!(said(&answered).contains("content-encoding: gzip"), "{:.400}", said(&answered));
    eventually("what was packed is counted", 20.0, || {
        prometheus.one("sum(weir_requests_total)").unwrap_or_default()
    });
}
