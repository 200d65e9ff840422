//! What must be counted of each request, by what its caller saw and by what was arranged behind the proxy.

use super::book::{Band, Book, just};
use super::traffic::{CONNECTIONS, Fact, Wish};
use super::world::{BROKEN, DELAYS, DIMENSION, FAILURE, HOST, LISTED};

/// What a head may be long, in bytes, and more.
const HEAD: f64 = 1_500.0;
/// Nothing takes longer: what nobody waits for.
const LONG: f64 = 3_600.0;

impl Fact {
    pub(crate) fn rule(&self) -> String {
        match self.host {
            BROKEN => format!("broken.models/{}", self.wish.rule),
            _ => format!("{}.models", self.wish.rule),
        }
    }

    pub(crate) fn version(&self) -> &str {
        if self.wish.rule == "undeclared" { "unknown" } else { &self.version }
    }

    pub(crate) fn protocol(&self) -> &'static str {
        if self.grpc { "grpc" } else { "http" }
    }

    /// The status that the old family shows: of a gRPC call that failed, the one that REST would have had.
    pub(crate) fn old_code(&self) -> u16 {
        match self.grpc_status {
            None | Some(0) => self.status,
            Some(3) => 400,
            Some(7) => 403,
            Some(13) => 500,
            Some(14) => 503,
            Some(other) => panic!("nobody answers {other}: {self:?}"),
        }
    }

    pub(crate) fn outcome(&self) -> &'static str {
        match self.old_code() {
            _ if self.wish.rule == "cut" => "server_error",
            0 => "cancelled",
            200 => "success",
            400..500 => "client_error",
            _ => "server_error",
        }
    }

    /// What it says in the pods' dimension: every request says something.
    pub(crate) fn value(&self) -> &'static str {
        if LISTED.contains(&self.wish.rule) { self.wish.rule } else { "other" }
    }

    pub(crate) fn flags(&self) -> &'static str {
        match (self.wish.rule, self.wish.act) {
            ("lost", _) => "UH",
            ("gone" | "refused" | "deaf", _) => "UF",
            ("held", _) => "DC",
            ("retried", Some("500")) => "URX",
            ("late", _) => "UT",
            ("going", _) => "URX,UC",
            ("cut", _) => "UC",
            ("full" | "busy", _) => "UO",
            ("twice", _) => "UO,UC",
            ("undeclared", _) => "NC",
            _ => "-",
        }
    }

    /// What each attempt was answered by a model server, the last one last.
    pub(crate) fn attempts(&self) -> Vec<u16> {
        match self.wish {
            Wish { rule: "retried", act: Some("again") } => vec![503, 200],
            Wish { rule: "retried", act: Some("500") } => vec![500, 500],
            Wish { rule: "canary" | "mirrored" | "retried" | "cut" | "thrown", .. } => vec![self.status],
            _ => Vec::new(),
        }
    }

    /// It goes by another pod.
    pub(crate) fn hops(&self) -> bool {
        self.host == HOST
            && (self.pod, self.version.as_str()) != (0, "v1")
            && (self.pod, self.version.as_str()) != (1, "v2")
    }

    fn cluster(&self) -> String {
        match self.host {
            BROKEN => format!("out.{BROKEN}|version={}", self.version),
            _ => format!("out.{HOST}|{}|version={}", self.protocol(), self.version),
        }
    }

    /// Bytes of its body that were taken: a body that nobody is there for may be left where it is.
    fn taken(&self) -> Band {
        let least = if matches!(self.wish.rule, "lost" | "gone") { 0 } else { self.sent };
        [least as f64, self.sent as f64]
    }
}

/// What runs a version.
pub(crate) fn workload(host: &str, version: &str) -> String {
    match version {
        "unknown" => version.to_owned(),
        _ => format!("{}-{version}", host.split('.').next().unwrap_or_default()),
    }
}

fn class(status: u16) -> String {
    (status / 100).to_string()
}

fn milliseconds(seconds: Band) -> Band {
    seconds.map(|seconds| seconds * 1e3)
}

impl Book {
    /// Everything that one request is to be counted by.
    pub(crate) fn request(&mut self, fact: &Fact) {
        self.downstream(fact, (fact.pod, fact.listener), fact.status, fact.seconds, fact.got);
        match fact.wish.rule {
            "garbage" => self.of_listener(fact, "downstream_cx_protocol_error"),
            "heads" => self.limit(fact, "head_count"),
            "foreign" => self.count(fact.pod, "weir_delivery_refused_total", &[]),
            "nothing" => self.of_listener(fact, "no_route"),
            // Answered before a version is chosen.
            "aborted" => {}
            _ => self.routed(fact),
        }
    }

    fn of_listener(&mut self, fact: &Fact, what: &str) {
        self.count(
            fact.pod,
            &format!("envoy_http_{what}"),
            &[("envoy_http_conn_manager_prefix", fact.listener)],
        );
    }

    fn limit(&mut self, fact: &Fact, limit: &str) {
        self.count(fact.pod, "weir_limit_exceeded_total", &[("limit", limit)]);
    }

    /// A connection of a caller's.
    pub(crate) fn connection(&mut self, pod: usize, listener: &str, two: bool) {
        let metric = format!("envoy_http_downstream_cx_http{}_total", 1 + u8::from(two));
        self.count(pod, &metric, &[("envoy_http_conn_manager_prefix", listener)]);
    }

    fn downstream(
        &mut self,
        fact: &Fact,
        (pod, listener): (usize, &str),
        status: u16,
        seconds: Band,
        got: usize,
    ) {
        let prefix = ("envoy_http_conn_manager_prefix", listener);
        if status > 0 {
            let of_class = [prefix, ("envoy_response_code_class", &class(status))];
            self.count(pod, "envoy_http_downstream_rq_xx", &of_class);
        } else {
            self.count(pod, "envoy_http_downstream_rq_rx_reset", &[prefix]);
        }
        self.observe(pod, "envoy_http_downstream_rq_time", &[prefix], milliseconds(seconds));
        let (sent, got) = (fact.sent as f64, got as f64);
        self.add(pod, "envoy_http_downstream_cx_rx_bytes_total", &[prefix], [sent, sent + HEAD]);
        self.add(pod, "envoy_http_downstream_cx_tx_bytes_total", &[prefix], [got, got + HEAD]);
    }

    fn routed(&mut self, fact: &Fact) {
        let (rule, pod) = (fact.rule(), fact.pod);
        let version = [("service", fact.host), ("rule", &rule), ("version", fact.version())];
        self.count(pod, "weir_split_choices_total", &version);
        let outcome = [&version[..], &[("protocol", fact.protocol()), ("outcome", fact.outcome())]].concat();
        self.count(pod, "weir_requests_total", &outcome);
        self.observe(pod, "weir_request_duration_seconds", &outcome, fact.seconds);
        let value = [version[0], version[2], ("dimension", DIMENSION), ("value", fact.value())];
        let with_outcome = [&value[..], &[("outcome", fact.outcome())]].concat();
        self.count(pod, "weir_dimension_requests_total", &with_outcome);
        self.observe(pod, "weir_dimension_request_duration_seconds", &value, fact.seconds);
        self.old_istio(fact);
        self.istio(fact, (pod, "source"), fact.seconds, fact.status, fact.flags());
        if fact.wish.rule == "mirrored" {
            self.copied(fact, &rule);
        }
        self.upstream(fact, &version);
        if fact.attempts().is_empty() {
            return;
        }
        if !fact.hops() {
            self.istio(fact, (pod, "destination"), fact.seconds, fact.status, fact.flags());
            return;
        }
        for status in fact.attempts() {
            self.count(pod, "weir_hop_requests_total", &[version[0], version[2]]);
            self.delivered(fact, 1 - pod, status);
        }
    }

    /// What the pod does that has the version.
    fn delivered(&mut self, fact: &Fact, pod: usize, status: u16) {
        let got = if status == fact.status { fact.got } else { FAILURE };
        self.downstream(fact, (pod, "delivery"), status, fact.attempt, got);
        let name = format!("in.{HOST}|{}", fact.protocol());
        self.answered(pod, &name, status, Some(fact.attempt));
        self.istio(fact, (pod, "destination"), fact.attempt, status, "-");
    }

    fn answered(&mut self, pod: usize, cluster: &str, status: u16, seconds: Option<Band>) {
        let name = ("envoy_cluster_name", cluster);
        self.count(
            pod,
            "envoy_cluster_upstream_rq_xx",
            &[name, ("envoy_response_code_class", &class(status))],
        );
        if let Some(seconds) = seconds {
            self.observe(pod, "envoy_cluster_upstream_rq_time", &[name], milliseconds(seconds));
        }
    }

    /// A copy goes to `v5`; nobody waits for it.
    fn copied(&mut self, fact: &Fact, rule: &str) {
        let labels = [("service", HOST), ("rule", rule), ("version", "v5"), ("result", "sent")];
        self.count(fact.pod, "weir_mirror_requests_total", &labels);
        let cluster = format!("out.{HOST}|{}|version=v5", fact.protocol());
        self.answered(fact.pod, &cluster, 200, Some([DELAYS[0].as_secs_f64(), LONG]));
    }

    /// What the cluster says that was chosen.
    fn upstream(&mut self, fact: &Fact, version: &[(&str, &str); 3]) {
        let (pod, name) = (fact.pod, fact.cluster());
        let name = ("envoy_cluster_name", name.as_str());
        if fact.status > 0 && fact.wish.rule != "undeclared" {
            // The answer of a proxy's own is its cluster's, too: what a gRPC call has in its head is 200 then, here 503.
            let status = if matches!(fact.wish.rule, "lost" | "gone") { 503 } else { fact.status };
            let time = (!fact.attempts().is_empty()).then_some(fact.attempt);
            self.answered(pod, name.1, status, time);
        }
        let (counts, hop, limit) = upstream_effects(fact.wish);
        for &(what, by) in counts {
            // By HTTP/2 all who wait at a time share a connection that fails.
            let shared = what == "cx_connect_fail" && fact.grpc;
            let least = if shared { by / CONNECTIONS as f64 } else { by };
            self.add(pod, &format!("envoy_cluster_upstream_{what}"), &[name], [least, by]);
        }
        if let Some((reason, times)) = hop {
            let labels = [version[0], version[2], ("reason", reason)];
            self.add(pod, "weir_hop_errors_total", &labels, just(times));
        }
        if let Some(limit) = limit {
            self.limit(fact, limit);
        }
        let reason = match fact.wish {
            Wish { rule: "retried", act: Some(_) } => Some("status"),
            Wish { rule: "going", .. } => Some("idempotent"),
            _ => None,
        };
        if let Some(reason) = reason {
            let labels = [&version[..], &[("reason", reason)]].concat();
            self.count(pod, "weir_retries_total", &labels);
        }
        match fact.wish.rule {
            "cut" => self.of_listener(fact, "downstream_rq_tx_reset"),
            "undeclared" => self.of_listener(fact, "no_cluster"),
            _ => {}
        }
    }

    fn old_istio(&mut self, fact: &Fact) {
        let code = fact.old_code().to_string();
        let labels = [
            ("source_service", "frontend.web.svc.cluster.local"),
            ("source_version", "v7"),
            ("destination_service", fact.host),
            ("destination_version", fact.version()),
            ("response_code", &code),
            ("connection_mtls", "false"),
        ];
        self.count(fact.pod, "istio_request_count", &labels);
        self.observe(fact.pod, "istio_request_duration", &labels, fact.seconds);
        self.observe(fact.pod, "istio_request_size", &labels, fact.taken());
        self.observe(fact.pod, "istio_response_size", &labels, just(fact.got as f64));
    }

    fn istio(
        &mut self,
        fact: &Fact,
        (pod, reporter): (usize, &str),
        seconds: Band,
        status: u16,
        flags: &str,
    ) {
        let (code, grpc) =
            (status.to_string(), fact.grpc_status.map_or(String::new(), |status| status.to_string()));
        let labels = [
            ("reporter", reporter),
            ("source_workload", "frontend-v7"),
            ("source_workload_namespace", "web"),
            ("source_app", "frontend"),
            ("source_version", "v7"),
            ("source_canonical_service", "frontend"),
            ("source_cluster", "unknown"),
            ("destination_workload", &workload(fact.host, fact.version())),
            ("destination_workload_namespace", "models"),
            ("destination_app", fact.host.split('.').next().unwrap_or_default()),
            ("destination_version", fact.version()),
            ("destination_service", fact.host),
            ("destination_service_namespace", "models"),
            ("destination_cluster", "east"),
            ("request_protocol", fact.protocol()),
            ("response_code", &code),
            ("grpc_response_status", &grpc),
            ("response_flags", flags),
            ("connection_security_policy", if reporter == "source" { "unknown" } else { "none" }),
        ];
        let got = if status == fact.status { fact.got } else { FAILURE };
        self.count(pod, "istio_requests_total", &labels);
        self.observe(pod, "istio_request_duration_milliseconds", &labels, milliseconds(seconds));
        self.observe(pod, "istio_request_bytes", &labels, fact.taken());
        self.observe(pod, "istio_response_bytes", &labels, just(got as f64));
    }
}

/// What becomes of a wish behind the proxy, beside its answer: counters of its cluster, failed hops, a limit that is met.
#[allow(clippy::type_complexity)] // said once, where it is made and taken apart
fn upstream_effects(
    wish: Wish,
) -> (&'static [(&'static str, f64)], Option<(&'static str, f64)>, Option<&'static str>) {
    match (wish.rule, wish.act) {
        ("retried", Some("again")) => (&[("rq_retry", 1.0), ("rq_retry_success", 1.0)], None, None),
        ("retried", Some(_)) => (&[("rq_retry", 1.0), ("rq_retry_limit_exceeded", 1.0)], None, None),
        ("lost", _) => (&[("cx_none_healthy", 1.0)], None, None),
        // A pod of the service that each of the two delivers; what is broken are model servers, to which no hop leads.
        ("gone", _) => (&[("cx_connect_fail", 1.0)], Some(("connect", 1.0)), None),
        ("refused", _) => (&[("cx_connect_fail", 1.0)], None, None),
        ("held", _) => (&[("rq_tx_reset", 1.0)], None, None),
        ("deaf", _) => {
            (&[("cx_connect_fail", 1.0), ("cx_connect_timeout", 1.0)], None, Some("connect_timeout"))
        }
        ("late", _) => (&[("rq_timeout", 1.0), ("rq_tx_reset", 1.0)], None, Some("request_timeout")),
        ("going", _) => {
            (&[("rq_rx_reset", 2.0), ("rq_retry", 1.0), ("rq_retry_limit_exceeded", 1.0)], None, None)
        }
        ("cut", _) => (&[("rq_rx_reset", 1.0)], None, None),
        ("full", _) => (&[("rq_pending_overflow", 1.0)], None, Some("max_pending_requests")),
        ("busy", _) => (&[("rq_pending_overflow", 1.0)], None, Some("max_requests")),
        ("twice", _) => (&[("rq_rx_reset", 1.0), ("rq_retry_overflow", 1.0)], None, Some("max_retries")),
        _ => (&[], None, None),
    }
}
