//! Two pods: a `weir proxy` and a model server each, split and delivery listeners, in real processes.
//!
//! What is counted by callers, by model servers and by both generations of Istio's metrics must agree: a request is
//! split once, sent once, delivered once. The model servers are `weir demo`'s, but for one test with TensorFlow.

#![cfg(feature = "demo")]

mod common {
    pub(crate) mod caller;
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod parts;
    pub(crate) mod python;
    pub(crate) mod weir;
}

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use common::caller::{self, Ask, Caller, Protocol, Tally, merged};
use common::metrics::Scrape;
use common::parts::part;
use common::python::{self, Calls, Mode, make_models};
use common::weir::{Pod, Weir, eventually, free_address, rule};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use weir::demo::model_server::{ModelServer, Options};

const SERVICE: &str = "half-plus-two";
const HOST: &str = "half-plus-two.models.svc.cluster.local";
const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Rest];
const CANARY: [(&str, u32); 2] = [("v1", 95), ("v2", 5)];

/// A sidecar's configuration: its own model server, and where the other versions are.
fn sidecar(
    pod: &Pod,
    own: &str,
    grpc: SocketAddr,
    rest: SocketAddr,
    others: &[(&str, SocketAddr)],
) -> String {
    let mut config = format!(
        "workers: 2\nnode: {{namespace: models, workload: 'half-plus-two-{own}'}}\n{}services:\n\
         - name: half-plus-two\n  namespace: models\n  endpoints:\n\
         \x20 - {{grpc: '{grpc}', http: '{rest}', labels: {{version: {own}}}, local: true}}\n",
        pod.sidecar_listeners(SERVICE)
    );
    for (version, address) in others {
        config += &format!("  - {{address: '{address}', labels: {{version: {version}}}}}\n");
    }
    config
}

/// Pod a with version 1, pod b with version 2, and a rule that both read.
struct World {
    a: Weir,
    b: Weir,
    v1: Option<ModelServer>,
    v2: ModelServer,
}

impl World {
    async fn new() -> World {
        let (a, b) = (Pod::new(), Pod::new());
        let v1 = ModelServer::start(1, Options::default()).await.unwrap();
        let v2 = ModelServer::start(2, Options::default()).await.unwrap();
        let config_a = sidecar(&a, "v1", v1.grpc_addr(), v1.rest_addr(), &[("v2", b.delivery)]);
        let config_b = sidecar(&b, "v2", v2.grpc_addr(), v2.rest_addr(), &[("v1", a.delivery)]);
        let rule = rule(&CANARY);
        World { a: a.start(&config_a, &rule), b: b.start(&config_b, &rule), v1: Some(v1), v2 }
    }

    fn both(&self) -> [SocketAddr; 2] {
        [self.a.pod.metrics, self.b.pod.metrics]
    }

    /// Requests that both model servers were asked.
    fn asked(&self) -> [u64; 2] {
        [self.v1.as_ref().map_or(0, ModelServer::requests), self.v2.requests()]
    }
}

fn by_version(counts: [u64; 2]) -> BTreeMap<String, u64> {
    let named = [("v1", counts[0]), ("v2", counts[1])];
    named.into_iter().filter(|(_, count)| *count > 0).map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Waits until the pages agree that so many requests of each version were sent, and delivered.
#[track_caller]
fn counts_hold(pages: &[SocketAddr], sent: [u64; 2], delivered: [u64; 2]) {
    eventually("sent (old family, source, our own) and delivered", [sent, sent, sent, delivered], || {
        let scrape = Scrape::of(pages);
        let of = |name: &str, label: &'static str, more: &[(&str, &str)]| {
            ["v1", "v2"].map(|version| scrape.count(name, &[more, &[(label, version)]].concat()))
        };
        [
            of("istio_request_count", "destination_version", &[("destination_service", HOST)]),
            of("istio_requests_total", "destination_version", &[("reporter", "source")]),
            of("weir_requests_total", "version", &[("service", HOST)]),
            of("istio_requests_total", "destination_version", &[("reporter", "destination")]),
        ]
    });
}

fn count(tally: &Tally, outcome: &str) -> u64 {
    tally.get(outcome).copied().unwrap_or(0)
}

/// Requests that the split of this pod gave to each version.
fn chosen(pod: SocketAddr) -> [u64; 2] {
    let scrape = Scrape::of(&[pod]);
    ["v1", "v2"].map(|version| scrape.count("weir_split_choices_total", &[("version", version)]))
}

#[tokio::test]
async fn a_request_is_split_once_wherever_it_comes_in_and_counted_where_it_was_split_and_where_it_was_delivered()
 {
    let world = World::new().await;
    let (a, b) = (world.a.pod, world.b.pod);
    let mut all = Vec::new();
    for protocol in BOTH {
        for entry in [a.predict, b.predict] {
            let tally = caller::predict(entry, protocol, 1_000, 4).await;
            assert_eq!(count(&tally, "v1") + count(&tally, "v2"), 1_000, "{tally:?}");
            assert!((49..=51).contains(&count(&tally, "v2")), "{protocol:?} by one pod: {tally:?}");
            println!("{protocol:?} by one pod: {tally:?}");
            all.push(tally);
        }
        let (by_a, by_b) = tokio::join!(
            caller::predict(a.predict, protocol, 500, 4),
            caller::predict(b.predict, protocol, 500, 4)
        );
        let both = merged([by_a, by_b]);
        assert!((48..=52).contains(&count(&both, "v2")), "{protocol:?} by both pods: {both:?}");
        println!("{protocol:?} by both pods: {both:?}");
        all.push(both);
    }
    let all = merged(all);
    let sent = [count(&all, "v1"), count(&all, "v2")];
    assert_eq!(sent.iter().sum::<u64>(), 6_000, "{all:?}");
    assert_eq!(world.asked(), sent, "each request reached one model server, once");
    counts_hold(&world.both(), sent, sent);

    // Each pod split what came to it, 3,000, and nothing that was handed to it.
    let [by_a, by_b] = world.both().map(chosen);
    assert_eq!((by_a.iter().sum::<u64>(), by_b.iter().sum::<u64>()), (3_000, 3_000));
    // Over the hop goes the share of the version that the pod does not have.
    let hops = |page, version| Scrape::of(&[page]).count("weir_hop_requests_total", &[("version", version)]);
    assert_eq!(hops(a.metrics, "v2"), by_a[1]);
    assert_eq!(hops(b.metrics, "v1"), by_b[0]);
    assert_eq!((hops(a.metrics, "v1"), hops(b.metrics, "v2")), (0, 0));
    assert_eq!(Scrape::of(&world.both()).count("weir_hop_errors_total", &[]), 0);
    // Who delivers says so, under the labels of the version that was chosen.
    let delivered = |page| {
        let labels = [("reporter", "destination")];
        Scrape::of(&[page]).count_by("istio_requests_total", &labels, "destination_version")
    };
    assert_eq!(delivered(a.metrics), by_version([sent[0], 0]));
    assert_eq!(delivered(b.metrics), by_version([0, sent[1]]));
}

#[test]
fn the_real_client_and_runtime_see_the_split_through_two_pods_and_the_counts_hold() {
    let Some(python) = part("tensorflow") else { return };
    let models = tempfile::tempdir().unwrap();
    make_models(&python, models.path());
    let mut servers = [1, 2].map(|version| python::ModelServer::start(&python, models.path(), version));
    let (a, b) = (Pod::new(), Pod::new());
    let [v1, v2] = &servers;
    let config_a = sidecar(&a, "v1", v1.grpc, v1.rest, &[("v2", b.delivery)]);
    let config_b = sidecar(&b, "v2", v2.grpc, v2.rest, &[("v1", a.delivery)]);
    let (a, b) = (a.start(&config_a, &rule(&CANARY)), b.start(&config_b, &rule(&CANARY)));
    let mut sent = [0, 0];
    for protocol in [python::Protocol::Grpc, python::Protocol::Rest] {
        for target in [a.pod.predict, b.pod.predict] {
            let calls = Calls { target, protocol, mode: Mode::Predict, requests: 1_000, connections: 4 };
            let report = calls.run(&python, Duration::from_secs(120));
            assert_eq!(report.errors, 0, "{report:?}");
            assert!((49..=51).contains(&report.served_by("2")), "{report:?}");
            println!("{protocol:?}: {:?}", report.by_version);
            sent = [sent[0] + report.served_by("1"), sent[1] + report.served_by("2")];
        }
    }
    let asked = servers.each_mut().map(|server| {
        let counts = server.counts();
        counts.grpc + counts.rest
    });
    assert_eq!(asked, sent);
    counts_hold(&[a.pod.metrics, b.pod.metrics], sent, sent);
}

#[tokio::test]
async fn a_pod_that_is_gone_costs_its_share_and_nothing_else_and_the_counts_hold() {
    let mut world = World::new().await;
    let a = world.a.pod;
    let before = merged([
        caller::predict(a.predict, Protocol::Rest, 200, 2).await,
        caller::predict(a.predict, Protocol::Grpc, 200, 2).await,
    ]);
    assert_eq!((count(&before, "v1") + count(&before, "v2"), before.len()), (400, 2), "{before:?}");
    world.b.kill();
    eventually("connections to the pod that is gone", 0, || connections_to(a.metrics, "version=v2"));

    let refused = "503 upstream connect error or disconnect/reset before headers. \
                   reset reason: remote connection failure";
    let rest = caller::predict(a.predict, Protocol::Rest, 1_000, 4).await;
    let grpc = caller::predict(a.predict, Protocol::Grpc, 1_000, 4).await;
    println!("{rest:?}\n{grpc:?}");
    let (lost_rest, lost_grpc) = (count(&rest, refused), count(&grpc, "Unavailable"));
    assert!((49..=51).contains(&lost_rest) && count(&rest, "v1") == 1_000 - lost_rest, "{rest:?}");
    assert!((49..=51).contains(&lost_grpc) && count(&grpc, "v1") == 1_000 - lost_grpc, "{grpc:?}");

    let (lost, arrived) = (lost_rest + lost_grpc, count(&rest, "v1") + count(&grpc, "v1"));
    let (v1, v2) = (count(&before, "v1") + arrived, count(&before, "v2") + lost);
    // Pod b's page went with it; what it delivered before was its own count.
    counts_hold(&[a.metrics], [v1, v2], [v1, 0]);
    let page = Scrape::of(&[a.metrics]);
    let failed = [("destination_version", "v2"), ("response_flags", "UF"), ("reporter", "source")];
    assert_eq!(page.count("istio_requests_total", &failed), lost);
    let old = [("destination_version", "v2"), ("response_code", "503")];
    assert_eq!(
        page.count("istio_request_count", &old),
        lost,
        "a gRPC failure counts as the 503 that REST gives"
    );
    let own = [("version", "v2"), ("outcome", "server_error")];
    assert_eq!(page.count("weir_requests_total", &own), lost);
    let hop = [("version", "v2"), ("reason", "connect")];
    assert_eq!(page.count("weir_hop_errors_total", &hop), lost);
    assert_eq!(page.count("weir_retries_total", &[]), 0, "there is no other pod of version 2");
}

#[tokio::test]
async fn a_model_server_that_is_gone_is_the_failure_of_whoever_should_have_delivered() {
    let mut world = World::new().await;
    let (a, b) = (world.a.pod, world.b.pod);
    let dead = world.v1.take().map(|server| [server.grpc_addr(), server.rest_addr()]).unwrap();
    timeout(Duration::from_secs(30), closed(dead)).await.expect("it stops listening");

    let by_a = caller::predict(a.predict, Protocol::Rest, 1_000, 4).await;
    let by_b = caller::predict(b.predict, Protocol::Rest, 1_000, 4).await;
    println!("{by_a:?}\n{by_b:?}");
    for tally in [&by_a, &by_b] {
        assert!((49..=51).contains(&count(tally, "v2")), "{tally:?}");
        assert_eq!(tally.len(), 2, "{tally:?}");
        assert!(tally.keys().any(|outcome| outcome.starts_with("503 ")), "{tally:?}");
    }
    let served = count(&by_a, "v2") + count(&by_b, "v2");
    counts_hold(&world.both(), [2_000 - served, served], [0, served]);
    let failed = [("reporter", "source"), ("response_code", "503"), ("response_flags", "UF")];
    assert_eq!(Scrape::of(&[a.metrics]).count("istio_requests_total", &failed), 1_000 - count(&by_a, "v2"));
    // The hop itself worked: pod b got pod a's 503, as from any upstream.
    let got = [("reporter", "source"), ("response_code", "503"), ("response_flags", "-")];
    assert_eq!(Scrape::of(&[b.metrics]).count("istio_requests_total", &got), 1_000 - count(&by_b, "v2"));
    assert_eq!(Scrape::of(&[b.metrics]).count("weir_hop_errors_total", &[]), 0);
}

#[tokio::test]
async fn a_request_whose_pod_is_gone_is_tried_once_at_another_pod_of_its_version() {
    let v1 = ModelServer::start(1, Options::default()).await.unwrap();
    let v2 = ModelServer::start(2, Options::default()).await.unwrap();
    let (a, b) = (Pod::new(), Pod::new());
    // Nobody listens at the second address of version 2.
    let others = [("v2", b.delivery), ("v2", free_address())];
    let a = a.start(&sidecar(&a, "v1", v1.grpc_addr(), v1.rest_addr(), &others), &rule(&CANARY));
    let b = b.start(&sidecar(&b, "v2", v2.grpc_addr(), v2.rest_addr(), &[]), &rule(&CANARY));
    let mut all = Vec::new();
    for protocol in BOTH {
        let tally = caller::predict(a.pod.predict, protocol, 1_000, 4).await;
        assert!((49..=51).contains(&count(&tally, "v2")), "{tally:?}");
        all.push(tally);
    }
    let all = merged(all);
    let sent = [count(&all, "v1"), count(&all, "v2")];
    assert_eq!(sent.iter().sum::<u64>(), 2_000, "{all:?}");
    counts_hold(&[a.pod.metrics, b.pod.metrics], sent, sent);
    let page = Scrape::of(&[a.pod.metrics]);
    let retries = page.count("weir_retries_total", &[("reason", "connect")]);
    assert!(retries > 0, "round robin tries the dead one first, half the time");
    assert_eq!(page.count("weir_hop_errors_total", &[("reason", "connect")]), retries);
}

#[tokio::test]
async fn a_pod_that_is_not_the_version_meant_refuses_and_the_request_goes_elsewhere_once() {
    let v1 = ModelServer::start(1, Options::default()).await.unwrap();
    let v2 = ModelServer::start(2, Options::default()).await.unwrap();
    let v3 = ModelServer::start(3, Options::default()).await.unwrap();
    let (a, b, c) = (Pod::new(), Pod::new(), Pod::new());
    // Pod a takes pod b for version 2; pod b knows that it is version 3.
    let others = [("v2", b.delivery), ("v2", c.delivery)];
    let a = a.start(&sidecar(&a, "v1", v1.grpc_addr(), v1.rest_addr(), &others), &rule(&CANARY));
    let b = b.start(&sidecar(&b, "v3", v3.grpc_addr(), v3.rest_addr(), &[]), &rule(&[("v3", 100)]));
    let c = c.start(&sidecar(&c, "v2", v2.grpc_addr(), v2.rest_addr(), &[]), &rule(&CANARY));
    let mut all = Vec::new();
    for protocol in BOTH {
        let tally = caller::predict(a.pod.predict, protocol, 1_000, 4).await;
        println!("{protocol:?}: {tally:?}");
        assert!((49..=51).contains(&count(&tally, "v2")), "{protocol:?}: {tally:?}");
        assert_eq!(count(&tally, "v1") + count(&tally, "v2"), 1_000, "{protocol:?}: {tally:?}");
        all.push(tally);
    }
    let all = merged(all);
    let sent = [count(&all, "v1"), count(&all, "v2")];
    counts_hold(&[a.pod.metrics, b.pod.metrics, c.pod.metrics], sent, sent);
    assert_eq!(v3.requests(), 0, "what was meant for version 2 never reaches version 3");
    let page = Scrape::of(&[a.pod.metrics]);
    let refused = page.count("weir_hop_errors_total", &[("version", "v2"), ("reason", "misdirected")]);
    assert!(refused > 0, "round robin tries the wrong pod first, half the time");
    assert_eq!(page.count("weir_retries_total", &[("reason", "misdirected")]), refused);
    assert_eq!(page.count("weir_hop_errors_total", &[]), refused);
}

#[tokio::test]
async fn a_version_whose_only_pod_is_another_version_answers_503_for_its_share() {
    let v1 = ModelServer::start(1, Options::default()).await.unwrap();
    let v3 = ModelServer::start(3, Options::default()).await.unwrap();
    let (a, b) = (Pod::new(), Pod::new());
    let config_a = sidecar(&a, "v1", v1.grpc_addr(), v1.rest_addr(), &[("v2", b.delivery)]);
    let a = a.start(&config_a, &rule(&CANARY));
    let _b = b.start(&sidecar(&b, "v3", v3.grpc_addr(), v3.rest_addr(), &[]), &rule(&[("v3", 100)]));
    let rest = caller::predict(a.pod.predict, Protocol::Rest, 100, 1).await;
    let grpc = caller::predict(a.pod.predict, Protocol::Grpc, 100, 1).await;
    println!("{rest:?}\n{grpc:?}");
    assert_eq!(v3.requests(), 0);
    assert_eq!(count(&rest, "v1") + count(&rest, "503 no healthy upstream"), 100, "{rest:?}");
    assert_eq!(count(&grpc, "v1") + count(&grpc, "Unavailable"), 100, "{grpc:?}");
    let refused = [("version", "v2"), ("reason", "misdirected")];
    let lost = 200 - count(&rest, "v1") - count(&grpc, "v1");
    assert_eq!(Scrape::of(&[a.pod.metrics]).count("weir_hop_errors_total", &refused), lost);
}

#[tokio::test]
async fn one_grpc_connection_spreads_over_the_five_endpoints_of_a_version() {
    for (lb, requests) in [("round_robin", 1_000), ("least_request", 2_000)] {
        let mut servers = Vec::new();
        for _ in 0..5 {
            servers.push(ModelServer::start(1, Options::default()).await.unwrap());
        }
        let pod = Pod::new();
        let mut config = format!(
            "workers: 2\n{}services:\n- name: half-plus-two\n  namespace: models\n  lb: {lb}\n  endpoints:\n",
            pod.gateway_listener(SERVICE)
        );
        for server in &servers {
            let (grpc, http) = (server.grpc_addr(), server.rest_addr());
            config += &format!("  - {{grpc: '{grpc}', http: '{http}', labels: {{version: v1}}}}\n");
        }
        let weir = pod.start(&config, &rule(&[("v1", 100)]));
        let mut caller = Caller::connect(pod.predict, Protocol::Grpc).await;
        let tally = caller.ask_often(Ask::Predict, requests).await;
        assert_eq!(tally, Tally::from([("v1".to_owned(), requests)]));
        let spread: Vec<u64> = servers.iter().map(ModelServer::requests).collect();
        println!("{lb}: {spread:?} of {requests}");
        let (least, most) = (requests * 15 / 100, requests * 25 / 100);
        assert!(spread.iter().all(|count| (least..=most).contains(count)), "{lb}: {spread:?} of {requests}");
        let connections = "envoy_http_downstream_cx_total";
        assert_eq!(
            Scrape::of(&[weir.pod.metrics]).count(connections, &[]),
            1,
            "one connection carried them all"
        );
    }
}

/// Waits until nobody listens there any more. The model server needs this thread to end, so it must not block.
async fn closed(addresses: [SocketAddr; 2]) {
    for address in addresses {
        while TcpStream::connect(address).await.is_ok() {
            sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Open connections of the clusters whose name ends so.
fn connections_to(page: SocketAddr, cluster: &str) -> u64 {
    let scrape = Scrape::of(&[page]);
    let of = scrape.series("envoy_cluster_upstream_cx_active", &[]);
    of.filter(|sample| sample.labels["envoy_cluster_name"].ends_with(cluster))
        .map(|sample| sample.value as u64)
        .sum()
}
