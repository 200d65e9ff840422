//! The main job, with a real client and a real runtime: TF Serving's own stubs and a REST client call two versions of
//! a SavedModel through `weir proxy`.
//!
//! The version of each answer is read from the prediction, and what the client counted is compared with what the
//! model servers were asked.

mod common {
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod parts;
    pub(crate) mod python;
    pub(crate) mod weir;
}

use std::path::Path;
use std::time::Duration;

use common::metrics::Scrape;
use common::parts::part;
use common::python::{Calls, Mode, ModelServer, Protocol, Report, make_models};
use common::weir::{Pod, Weir, rule};

const DEADLINE: Duration = Duration::from_secs(120);
const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Rest];

/// Versions 1 and 2 of half_plus_two, each with a server of its own.
fn model_servers(python: &Path) -> [ModelServer; 2] {
    let models = tempfile::tempdir().unwrap();
    make_models(python, models.path());
    [1, 2].map(|version| ModelServer::start(python, models.path(), version))
}

/// A proxy before both, with two workers.
fn proxy(servers: &[ModelServer; 2], shares: &[(&str, u32)]) -> Weir {
    let pod = Pod::new();
    let [v1, v2] =
        servers.each_ref().map(|server| format!("grpc: '{}', http: '{}'", server.grpc, server.rest));
    let config = format!(
        "workers: 2\n{}services:\n- name: half-plus-two\n  namespace: models\n  endpoints:\n\
         \x20 - {{{v1}, labels: {{version: v1}}}}\n  - {{{v2}, labels: {{version: v2}}}}\n",
        pod.gateway_listener("half-plus-two")
    );
    pod.start(&config, &rule(shares))
}

/// Requests that the servers of both versions were sent by this protocol so far.
fn asked(servers: &mut [ModelServer; 2], protocol: Protocol) -> [u64; 2] {
    servers.each_mut().map(|server| {
        let counts = server.counts();
        match protocol {
            Protocol::Grpc => counts.grpc,
            Protocol::Rest => counts.rest,
        }
    })
}

/// Sends through the proxy, and checks that each request was answered and reached the server of its version, once.
fn send(python: &Path, servers: &mut [ModelServer; 2], calls: Calls) -> Report {
    let before = asked(servers, calls.protocol);
    let report = calls.run(python, DEADLINE);
    let after = asked(servers, calls.protocol);
    assert_eq!((report.requests, report.errors), (calls.requests, 0), "{calls:?}: {report:?}");
    let reached = [after[0] - before[0], after[1] - before[1]];
    assert_eq!([report.served_by("1"), report.served_by("2")], reached, "{calls:?}: {report:?}");
    println!("{:?}, {} connections: {:?}", calls.protocol, calls.connections, report.by_kind);
    report
}

#[test]
fn ninety_five_to_five_sends_fifty_of_a_thousand_to_version_two_whatever_the_protocol_and_the_connections() {
    let Some(python) = part("tensorflow") else { return };
    let mut servers = model_servers(&python);
    let weir = proxy(&servers, &[("v1", 95), ("v2", 5)]);
    for protocol in BOTH {
        for connections in [1, 16] {
            let target = weir.pod.predict;
            let calls = Calls { target, protocol, mode: Mode::Predict, requests: 1_000, connections };
            let report = send(&python, &mut servers, calls);
            let second = report.of_kind("predict", "2");
            assert!((49..=51).contains(&second), "{second} of 1,000: {calls:?}");
        }
    }
    let connections = Scrape::of(&[weir.pod.metrics]).count("envoy_http_downstream_cx_total", &[]);
    assert_eq!(connections, 2 * (1 + 16), "each connection of the client was one to the proxy");
}

#[test]
fn a_caller_that_alternates_two_kinds_of_call_gets_both_versions_for_each_kind() {
    let Some(python) = part("tensorflow") else { return };
    let mut servers = model_servers(&python);
    let weir = proxy(&servers, &[("v1", 50), ("v2", 50)]);
    for protocol in BOTH {
        // Two thousand of each kind, where one thousand would do: 5 % of them is then 4.5 standard deviations.
        let (target, requests) = (weir.pod.predict, 4_000);
        let calls = Calls { target, protocol, mode: Mode::Alternate, requests, connections: 1 };
        let report = send(&python, &mut servers, calls);
        assert!((1_999..=2_001).contains(&report.served_by("2")), "{report:?}");
        for kind in ["predict", "status"] {
            let second = report.of_kind(kind, "2");
            assert!((900..=1_100).contains(&second), "{second} of 2,000 {kind}: {report:?}");
        }
    }
}
