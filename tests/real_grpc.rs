//! gRPC as it is spoken: grpcio's real client and server through `weir proxy`, with the cases of gRPC's own interop
//! tests, and what Weir says itself, as grpcio's client understands it.

mod common {
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod parts;
    pub(crate) mod weir;
}

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::metrics::Scrape;
use common::parts::part;
use common::weir::{Pod, eventually, free_address, rule};
use serde::Deserialize;

/// All cases take some 8 s on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(240);
/// What tests/real/grpc_interop.py is to tell of.
const CASES: [&str; 22] = [
    "cancel_after_begin",
    "cancel_after_first_response",
    "client_streaming",
    "compressed",
    "custom_metadata",
    "deadline_arrives",
    "empty_stream",
    "empty_unary",
    "every_status",
    "large_unary",
    "local_replies",
    "many_at_once",
    "many_messages",
    "ping_pong",
    "server_streaming",
    "sixteen_mebibytes",
    "special_status_message",
    "status_code_and_message",
    "timeout_on_sleeping_server",
    "too_large_for_the_client",
    "unimplemented_method",
    "unimplemented_service",
];

/// The Python program. Killed when dropped.
struct Interop {
    child: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Interop {
    fn start(python: &Path) -> Interop {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/grpc_interop.py");
        let mut command = Command::new(python);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the part's Python");
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Interop { child, stdin, lines }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("grpc_interop.py says something in time")
    }
}

impl Drop for Interop {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Deserialize)]
struct Started {
    port: u16,
}

#[test]
fn grpcios_client_and_server_see_no_proxy_between_them_and_understand_what_it_says_itself() {
    let Some(python) = part("tensorflow") else { return };
    let mut interop = Interop::start(&python);
    let Started { port } = serde_json::from_str(&interop.line()).expect("a port");
    let pod = Pod::new();
    let [nobody, refused, unrouted, hasty, closed] = [(); 5].map(|()| free_address());
    let server = format!("endpoints: [{{grpc: '127.0.0.1:{port}', labels: {{version: v1}}}}]");
    let config = format!(
        "{}- {{name: nobody, address: '{nobody}', service: nobody}}\n\
         - {{name: refused, address: '{refused}', service: refused}}\n\
         - {{name: unrouted, address: '{unrouted}'}}\n\
         - {{name: hasty, address: '{hasty}', service: hasty}}\n\
         services:\n\
         - {{name: half-plus-two, namespace: models, {server}}}\n\
         - {{name: nobody, endpoints: []}}\n\
         - {{name: refused, endpoints: [{{grpc: '{closed}', labels: {{version: v1}}}}]}}\n\
         - {{name: hasty, timeout: 300ms, {server}}}\n",
        pod.gateway_listener("half-plus-two")
    );
    let weir = pod.start(&config, &rule(&[("v1", 100)]));
    let targets = serde_json::json!({
        "target": pod.predict.to_string(),
        "nobody": nobody.to_string(),
        "refused": refused.to_string(),
        "unrouted": unrouted.to_string(),
        "hasty": hasty.to_string(),
    });
    writeln!(interop.stdin, "{targets}").expect("grpc_interop.py reads");
    let report: BTreeMap<String, Option<String>> = serde_json::from_str(&interop.line()).expect("a report");
    let cases: Vec<&str> = report.keys().map(String::as_str).collect();
    assert_eq!(cases, CASES);
    let faults: Vec<String> =
        report.iter().filter_map(|(case, fault)| Some(format!("{case}: {}", fault.as_ref()?))).collect();
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), CASES.len(), faults.join("\n"));
    for gauge in ["envoy_http_downstream_rq_active", "envoy_cluster_upstream_rq_active"] {
        eventually(gauge, 0, || Scrape::of(&[weir.pod.metrics]).count(gauge, &[]));
    }
}
