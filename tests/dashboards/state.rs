//! What stands, and what the processes need: known from the configuration, from the sockets at the other ends, and from the
//! kernel.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use super::book::{Band, Book, just};
use super::known::workload;
use super::world::{BROKEN, HOST, World};

/// The versions of `broken`, in the order of its rules.
const BROKEN_VERSIONS: [&str; 9] =
    ["refused", "deaf", "late", "going", "cut", "full", "busy", "twice", "thrown"];

/// A service whose one endpoint fails its checks.
const CHECKED: &str = "checked.models.svc.cluster.local";

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64()
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    cpu: f64,
    memory: f64,
    open: f64,
    most_open: f64,
}

impl Kernel {
    pub(crate) fn of(process: u32) -> Kernel {
        let at = |name: &str| PathBuf::from(format!("/proc/{process}/{name}"));
        let read = |name: &str| fs::read_to_string(at(name)).expect("a process");
        // Fields 14 and 15, in hundredths, counted behind the name in brackets.
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: f64 = fields[11..=12].iter().map(|ticks| ticks.parse::<f64>().expect("ticks")).sum();
        let number = |text: &str, line: &str, column: usize| -> f64 {
            let line = text.lines().find(|found| found.starts_with(line)).expect("the line");
            line[line.len().min(20).min(line.find(':').map_or(20, |at| at + 1))..]
                .split_whitespace()
                .nth(column)
                .and_then(|number| number.parse().ok())
                .expect("a number")
        };
        Kernel {
            cpu: ticks / 100.0,
            memory: number(&read("status"), "VmRSS:", 0) * 1_024.0,
            open: fs::read_dir(at("fd")).expect("descriptors").count() as f64,
            most_open: number(&read("limits"), "Max open files", 0),
        }
    }
}

/// The kernel's word at four moments: before the first scrape and after it, and before the last scrape and after it. What a
/// scrape in between says lies in between.
pub(crate) type Moments = [[Kernel; 2]; 4];

/// How many connections to `address` are open, as the kernel says.
fn connections_to(address: SocketAddr) -> f64 {
    let SocketAddr::V4(address) = address else { panic!("{address}") };
    // As it stands in memory: the bytes of the address from the last to the first.
    let remote = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let open = |line: &&str| {
        let mut columns = line.split_whitespace().skip(2);
        columns.next() == Some(&remote) && columns.next() == Some("01")
    };
    table.lines().filter(open).count() as f64
}

/// All clusters of a pod, with their endpoints and how many of these are healthy.
fn clusters(pod: usize) -> Vec<(String, f64, f64)> {
    let mut all = Vec::new();
    for protocol in ["grpc", "http"] {
        all.push((format!("in.{HOST}|{protocol}"), 1.0, 1.0));
        for (version, endpoints) in [("v1", 1.0), ("v2", 1.0), ("v3", 0.0), ("v4", 1.0), ("v5", 1.0)] {
            all.push((format!("out.{HOST}|{protocol}|version={version}"), endpoints, endpoints));
        }
    }
    if pod == 0 {
        for version in BROKEN_VERSIONS {
            // One of the two that `thrown` has is thrown out.
            let endpoints = if version == "thrown" { 2.0 } else { 1.0 };
            all.push((format!("out.{BROKEN}|version={version}"), endpoints, 1.0));
        }
        all.push(("out.checked.models.svc.cluster.local".to_owned(), 1.0, 0.0));
    }
    all
}

impl Book {
    /// What the configuration of both pods says.
    pub(crate) fn configured(&mut self) {
        let shares: [(&str, &[(&str, f64)]); 7] = [
            ("canary", &[("v1", 80.0), ("v2", 20.0)]),
            ("retried", &[("v1", 50.0), ("v2", 50.0)]),
            ("mirrored", &[("v1", 50.0), ("v2", 50.0)]),
            ("aborted", &[("v1", 100.0)]),
            ("lost", &[("v3", 100.0)]),
            ("gone", &[("v4", 100.0)]),
            ("held", &[("v1", 100.0)]),
        ];
        for pod in [0, 1] {
            for (rule, versions) in shares {
                for &(version, weight) in versions {
                    self.rule(pod, HOST, &format!("{rule}.models"), version, Some(weight));
                }
            }
            for (version, others) in [("v1", 1.0), ("v2", 1.0), ("v3", 0.0), ("v4", 1.0), ("v5", 2.0)] {
                // A pod's own version has an address for each protocol.
                let own = version == ["v1", "v2"][pod];
                self.endpoints(pod, HOST, version, [if own { 2.0 } else { others }, 0.0, 0.0]);
            }
            for (name, total, healthy) in clusters(pod) {
                let name = [("envoy_cluster_name", name.as_str())];
                self.set(pod, "envoy_cluster_membership_total", &name, just(total));
                self.set(pod, "envoy_cluster_membership_healthy", &name, just(healthy));
            }
            let count = clusters(pod).len() as f64;
            self.set(pod, "envoy_cluster_manager_active_clusters", &[], just(count));
            let listeners = if pod == 0 { 3.0 } else { 2.0 };
            self.set(pod, "envoy_listener_manager_total_listeners_active", &[], just(listeners));
            self.set(pod, "envoy_server_concurrency", &[], just(1.0));
            self.set(pod, "envoy_server_state", &[], just(0.0));
            self.set(pod, "weir_build_info", &[("version", env!("CARGO_PKG_VERSION"))], just(1.0));
            self.set(pod, "weir_buffer_budget_bytes", &[], just(f64::from(64 << 20)));
            // What is on its way, and the heads of what waits.
            self.set(pod, "weir_buffered_bytes", &[], [0.0, f64::from(1 << 20)]);
            // Nothing is traced.
            self.set(pod, "weir_spans_exported_total", &[], just(0.0));
            for reason in ["queue_full", "unreachable", "refused", "shutdown"] {
                self.set(pod, "weir_spans_dropped_total", &[("reason", reason)], just(0.0));
            }
            self.set(pod, "weir_config_last_reload_success", &[], just(1.0));
            self.set(pod, "weir_config_generation", &[], just(1.0));
            // Whatever it is, it is the same for both.
            self.set(pod, "weir_config_hash", &[("service", HOST)], just(1.0));
            self.set(
                pod,
                "istio_build",
                &[("component", "proxy"), ("tag", env!("CARGO_PKG_VERSION"))],
                just(1.0),
            );
        }
        for version in BROKEN_VERSIONS {
            self.rule(0, BROKEN, &format!("broken.models/{version}"), version, Some(100.0));
            // One of the two that `thrown` has is thrown out.
            self.endpoints(0, BROKEN, version, [1.0, f64::from(u8::from(version == "thrown")), 0.0]);
        }
        self.endpoints(0, CHECKED, "unknown", [0.0, 0.0, 1.0]);
        self.rule(0, BROKEN, "broken.models/undeclared", "unknown", None);
        self.rule(0, CHECKED, "default-route", "unknown", None);
    }

    /// How many addresses a version has, by what is known of them: healthy, ejected, and those that failed a check.
    fn endpoints(&mut self, pod: usize, service: &str, version: &str, counts: [f64; 3]) {
        for (state, count) in ["healthy", "ejected", "failed_check"].into_iter().zip(counts) {
            let labels = [("service", service), ("version", version), ("state", state)];
            self.set(pod, "weir_endpoints", &labels, just(count));
        }
    }

    /// A version of a rule, which is there before its first request.
    fn rule(&mut self, pod: usize, service: &str, rule: &str, version: &str, weight: Option<f64>) {
        let labels = [("service", service), ("rule", rule), ("version", version)];
        self.choice(pod, service, rule, version);
        for protocol in ["http", "grpc"] {
            for outcome in ["success", "client_error", "server_error", "cancelled"] {
                let labels = [&labels[..], &[("protocol", protocol), ("outcome", outcome)]].concat();
                self.add(pod, "weir_requests_total", &labels, just(0.0));
            }
        }
        self.of_nobody(pod, service, version);
        if let Some(weight) = weight {
            self.set(pod, "weir_split_weight", &labels, just(weight));
        }
    }

    /// Istio's series are born with a caller that nobody knows.
    fn of_nobody(&mut self, pod: usize, service: &str, version: &str) {
        let common = [("destination_service", service), ("destination_version", version)];
        let old = [
            ("source_service", "unknown"),
            ("source_version", "unknown"),
            ("response_code", "200"),
            ("connection_mtls", "false"),
        ];
        self.add(pod, "istio_request_count", &[&common[..], &old].concat(), just(0.0));
        let source =
            ["workload", "workload_namespace", "cluster"].map(|what| (format!("source_{what}"), "unknown"));
        let today: Vec<(&str, &str)> = source.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let namespace = [("destination_workload_namespace", "models")];
        let (own, named) = (format!("half-plus-two-v{}", pod + 1), workload(service, version));
        for (reporter, workload) in [("source", &named), ("destination", &own)] {
            let policy = if reporter == "source" { "unknown" } else { "none" };
            for (protocol, status) in [("http", ""), ("grpc", "0")] {
                let more = [
                    ("reporter", reporter),
                    ("destination_workload", workload.as_str()),
                    ("destination_cluster", "east"),
                    ("request_protocol", protocol),
                    ("response_code", "200"),
                    ("grpc_response_status", status),
                    ("response_flags", "-"),
                    ("connection_security_policy", policy),
                ];
                let labels = [&common[..], &today, &namespace, &more].concat();
                self.add(pod, "istio_requests_total", &labels, just(0.0));
            }
        }
    }

    fn choice(&mut self, pod: usize, service: &str, rule: &str, version: &str) {
        let labels = [("service", service), ("rule", rule), ("version", version)];
        self.add(pod, "weir_split_choices_total", &labels, just(0.0));
    }

    /// Requests that are held until the end, all of them at pod a's listener for hosts.
    pub(crate) fn held(&mut self) {
        self.set(
            0,
            "envoy_http_downstream_rq_active",
            &[("envoy_http_conn_manager_prefix", "any")],
            just(4.0),
        );
        for (version, breaker) in
            [("full", "cx"), ("full", "rq_pending"), ("busy", "rq"), ("twice", "rq_retry")]
        {
            let name = format!("out.{BROKEN}|version={version}");
            let name = [("envoy_cluster_name", name.as_str())];
            self.set(0, "envoy_cluster_upstream_rq_active", &name, just(1.0));
            self.set(0, &format!("envoy_cluster_circuit_breakers_default_{breaker}_open"), &name, just(1.0));
            let rule = format!("broken.models/{version}");
            let labels = [("service", BROKEN), ("rule", rule.as_str()), ("version", version)];
            self.count(0, "weir_split_choices_total", &labels);
        }
        // Of the one that is tried again, the first attempt was reset.
        let name = format!("out.{BROKEN}|version=twice");
        for what in ["rq_retry", "rq_rx_reset"] {
            self.count(0, &format!("envoy_cluster_upstream_{what}"), &[("envoy_cluster_name", &name)]);
        }
        self.count(0, "weir_retries_total", &[("reason", "reset")]);
        let thrown = format!("out.{BROKEN}|version=thrown");
        let ejected = "envoy_cluster_outlier_detection_ejections_active";
        self.set(0, ejected, &[("envoy_cluster_name", &thrown)], just(1.0));
    }

    /// A refused file and one that is taken, at both pods, between these times. Pod a's held requests hold what was before.
    pub(crate) fn reloaded(&mut self, between: Band) {
        for pod in [0, 1] {
            for result in ["accepted", "refused"] {
                self.count(pod, "weir_config_reloads_total", &[("result", result)]);
            }
            self.set(pod, "weir_config_generation", &[], just(2.0));
            self.set(pod, "weir_config_last_success_timestamp_seconds", &[], between);
            self.set(pod, "weir_planes_alive", &[], just(if pod == 0 { 2.0 } else { 1.0 }));
        }
    }

    /// Connections that are open: those of `callers`, and those of which the other end knows.
    pub(crate) fn connected(&mut self, world: &World, callers: usize) {
        // By both protocols; of REST there are as many as it takes: what has been idle for a second is for requests that can
        // be sent again.
        let delivers = [0, 1].map(|pod: usize| connections_to(world.pods[pod].pod.delivery));
        for pod in [0, 1] {
            // To the other one.
            let hops = [1.0, delivers[1 - pod] - 1.0];
            let own = &world.models[pod];
            for (protocol, upstream, copies) in
                [("grpc", &own.grpc, &world.shadow.grpc), ("http", &own.http, &world.shadow.http)]
            {
                let (open, copied) = (upstream.open_connections() as f64, copies.open_connections() as f64);
                let (mine, other) = (format!("v{}", pod + 1), format!("v{}", 2 - pod));
                for (name, band) in [
                    (format!("out.{HOST}|{protocol}|version={mine}"), [1.0, open]),
                    (format!("in.{HOST}|{protocol}"), [1.0, open]),
                    (format!("out.{HOST}|{protocol}|version={other}"), hops),
                    (format!("out.{HOST}|{protocol}|version=v5"), [1.0, copied]),
                ] {
                    self.set(pod, "envoy_cluster_upstream_cx_active", &[("envoy_cluster_name", &name)], band);
                }
            }
            let prefix = |name| [("envoy_http_conn_manager_prefix", name)];
            let active = "envoy_http_downstream_cx_active";
            // By both protocols.
            let of_predict = 2.0 * callers as f64;
            // Four are held, and one asks.
            let of_any = if pod == 0 { 5.0 } else { 0.0 };
            self.set(pod, active, &prefix("predict"), just(of_predict));
            self.set(pod, active, &prefix("any"), just(of_any));
            self.set(pod, active, &prefix("delivery"), just(delivers[pod]));
            let all = delivers[pod] + of_predict + of_any;
            self.set(pod, "envoy_server_total_connections", &[], just(all));
            for (two, most) in [(false, delivers[pod] - 1.0), (true, 1.0)] {
                let metric = format!("envoy_http_downstream_cx_http{}_total", 1 + u8::from(two));
                self.add(pod, &metric, &prefix("delivery"), [0.0, most]);
            }
        }
        for version in ["full", "busy", "twice"] {
            let name = format!("out.{BROKEN}|version={version}");
            self.set(0, "envoy_cluster_upstream_cx_active", &[("envoy_cluster_name", &name)], just(1.0));
        }
        let thrown = (world.broken.bad.open_connections() + world.broken.good.open_connections()) as f64;
        let name = format!("out.{BROKEN}|version=thrown");
        self.set(0, "envoy_cluster_upstream_cx_active", &[("envoy_cluster_name", &name)], just(thrown));
    }

    /// What the processes need: `started`, between two moments; and the kernel's word.
    pub(crate) fn processes(&mut self, started: Band, at: f64, moments: &Moments) {
        for pod in [0, 1] {
            let [first, second, third, last] = moments.map(|moment| moment[pod]);
            let up = [at - started[1] - 2.0, at - started[0] + 2.0];
            self.set(pod, "envoy_server_uptime", &[], up);
            // Its hundredths are counted by the kernel, ours may lie one beside.
            let spent = [(third.cpu - second.cpu - 0.05).max(0.0), last.cpu - first.cpu + 0.05];
            self.add(pod, "process_cpu_seconds_total", &[], spent);
            let of = |value: fn(&Kernel) -> f64, room: f64| {
                let [one, other] = [&third, &last].map(value);
                [one.min(other) - room, one.max(other) + room]
            };
            self.set(
                pod,
                "process_resident_memory_bytes",
                &[],
                of(|kernel| kernel.memory, f64::from(8 << 20)),
            );
            // A scrape may have a connection of its own.
            self.set(pod, "process_open_fds", &[], of(|kernel| kernel.open, 4.0));
            self.set(pod, "process_max_fds", &[], just(last.most_open));
        }
    }

    /// Checks of `checked` that failed: as many as its endpoint was asked at four moments, as in [`Book::processes`].
    pub(crate) fn checked(&mut self, asked: [usize; 4]) {
        let [first, second, third, last] = asked.map(|asked| asked as f64);
        let name = [("envoy_cluster_name", "out.checked.models.svc.cluster.local")];
        // One may be under way.
        let failed = [(third - second - 1.0).max(0.0), last - first + 1.0];
        self.add(0, "envoy_cluster_health_check_failure", &name, failed);
    }
}
