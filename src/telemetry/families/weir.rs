//! Weir's own metrics: their names, and what hops, copies and the process itself went through. What each version did is
//! `own`'s.
//!
//! Law: few labels, all values from the configuration or from closed sets. Units are seconds and bytes.

use super::super::contract::{Label, Values};
use super::super::family::Family;
use super::super::recorder::{Counter, Gauge, Recorder};
use super::buckets::SECONDS;
use super::labels::{ENTRY_VERSION, OF_RULE, OUTCOME, PROTOCOL, RULE, SERVICE, VERSION};

/// A version as hops know it.
const OF_VERSION: &[Label] = &[SERVICE, ENTRY_VERSION];
const OF_ENDS: &[Label] = &[SERVICE, RULE, VERSION, PROTOCOL, OUTCOME];
const HOP_REASON: Label =
    Label::new("reason", Values::Closed(HopError::WORDS), "what became of the hop in place of an answer");
const RETRY_REASON: Label = Label::new(
    "reason",
    Values::Closed(RetryReason::WORDS),
    "what allowed the attempt; by a policy of the route's alone: `reset` (no answer), `per_try_timeout`, `status`, `headers`, `grpc_status`",
);
const MIRROR_RESULT: Label = Label::new(
    "result",
    Values::Closed(MirrorResult::WORDS),
    "`sent`; `skipped`: fell behind the budget, or the request broke off; `failed`: the shadow's doing, or too slow; `overflow`: too many, or a breaker",
);
const RELOAD_RESULT: Label = Label::new(
    "result",
    Values::Closed(&["accepted", "refused"]),
    "what became of the configuration that was read",
);
const LIMIT: Label = Label::new("limit", Values::Closed(Limit::WORDS), "[limits.md](limits.md)");
const BUILD: Label = Label::new("version", Values::Program, "the program's own");

/// Requests by version and outcome.
pub static REQUESTS: Family = Family::counter(
    "weir_requests_total",
    "Callers' requests, once each after their retries, by the chosen version and whose fault the end was.",
)
.by(OF_ENDS);
/// Seconds a caller waited.
pub static REQUEST_DURATION: Family = Family::histogram(
    "weir_request_duration_seconds",
    "Seconds from a request's head to the end of its answer, retries included.",
    SECONDS,
)
.by(OF_ENDS);
/// Requests that another pod's Weir answered.
pub static HOP_REQUESTS: Family =
    Family::counter("weir_hop_requests_total", "Requests that another Weir answered, with whatever.")
        .by(OF_VERSION);
/// Hops that failed.
pub static HOP_ERRORS: Family = Family::counter(
    "weir_hop_errors_total",
    "Requests on their way to another Weir that did not reach a model server, by reason.",
)
.by(&[SERVICE, ENTRY_VERSION, HOP_REASON]);
/// Choices of the split.
pub static SPLIT_CHOICES: Family = Family::counter(
    "weir_split_choices_total",
    "Requests that the split gave to a version; counted at the choice, so retries and mirrors do not count.",
)
.by(OF_RULE);
/// The generation that serves.
pub static CONFIG_GENERATION: Family =
    Family::gauge("weir_config_generation", "Number of the configuration that serves now.").by(&[]);
/// Reloads by result.
pub static CONFIG_RELOADS: Family =
    Family::counter("weir_config_reloads_total", "Configurations read, by result: accepted or refused.")
        .by(&[RELOAD_RESULT]);
/// Whether the last reload worked.
pub static CONFIG_LAST_SUCCESS: Family = Family::gauge(
    "weir_config_last_reload_success",
    "1 when the last configuration read was accepted, 0 when it was refused.",
)
.by(&[]);
/// When the last accepted configuration came.
pub static CONFIG_LAST_TIMESTAMP: Family = Family::gauge(
    "weir_config_last_success_timestamp_seconds",
    "Seconds since 1970 when the last configuration was accepted.",
)
.by(&[]);
/// Generations in memory.
pub static PLANES_ALIVE: Family = Family::gauge(
    "weir_planes_alive",
    "Configurations in memory; above 1 while requests hold an older one to their end.",
)
.by(&[]);
/// Retries by reason.
pub static RETRIES: Family =
    Family::counter("weir_retries_total", "Attempts after the first, by version and by what allowed them.")
        .by(&[RETRY_REASON, SERVICE, RULE, VERSION]);
/// Replays that did not fit.
pub static REPLAY_EXCEEDED: Family = Family::counter(
    "weir_replay_exceeded_total",
    "Requests that could no longer be retried because their body passed the replay limit.",
)
.by(&[]);
/// Copies by what became of them.
pub static MIRRORS: Family = Family::counter(
    "weir_mirror_requests_total",
    "Copies of requests by where they went and what became of them; no caller waits for one.",
)
.by(&[SERVICE, RULE, ENTRY_VERSION, MIRROR_RESULT]);
/// Streams reset for the budget.
pub static BUFFER_RESETS: Family =
    Family::counter("weir_buffer_resets_total", "Streams reset because the buffer budget was spent.").by(&[]);
/// Bytes buffered.
pub static BUFFERED_BYTES: Family =
    Family::gauge("weir_buffered_bytes", "Bytes that count against the buffer budget now.").by(&[]);
/// What they may be.
pub static BUFFER_BUDGET: Family = Family::gauge(
    "weir_buffer_budget_bytes",
    "Bytes that may count against the buffer budget: its limit in force.",
)
.by(&[]);
/// Deliveries refused.
pub static DELIVERY_REFUSED: Family = Family::counter(
    "weir_delivery_refused_total",
    "Requests on the delivery listener from peers that may not use it.",
)
.by(&[]);
/// Requests cut at the drain's deadline.
pub static DRAIN_CUT: Family = Family::counter(
    "weir_drain_cut_requests_total",
    "Requests cut because they outlived the drain's deadline.",
)
.by(&[]);
/// Limits met.
pub static LIMIT_EXCEEDED: Family = Family::counter(
    "weir_limit_exceeded_total",
    "Times a limit was met, by the limit's name in the configuration, or in docs/limits.md.",
)
.by(&[LIMIT]);
/// Lines lost.
pub static ACCESS_LOG_DROPPED: Family = Family::counter(
    "weir_access_log_dropped_total",
    "Access log lines lost because the writer was behind or its file failed.",
)
.by(&[]);
/// One series, always 1.
pub static BUILD_INFO: Family =
    Family::gauge("weir_build_info", "The version of Weir that runs.").by(&[BUILD]);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[
    &REQUESTS,
    &REQUEST_DURATION,
    &HOP_REQUESTS,
    &HOP_ERRORS,
    &SPLIT_CHOICES,
    &CONFIG_GENERATION,
    &CONFIG_RELOADS,
    &CONFIG_LAST_SUCCESS,
    &CONFIG_LAST_TIMESTAMP,
    &PLANES_ALIVE,
    &RETRIES,
    &REPLAY_EXCEEDED,
    &MIRRORS,
    &BUFFER_RESETS,
    &BUFFERED_BYTES,
    &BUFFER_BUDGET,
    &DELIVERY_REFUSED,
    &DRAIN_CUT,
    &LIMIT_EXCEEDED,
    &ACCESS_LOG_DROPPED,
    &BUILD_INFO,
];

/// The counter of the split's choices for one version under one rule.
pub fn split_choices(recorder: &Recorder, service: &str, rule: &str, version: &str) -> Counter {
    recorder.counter(&SPLIT_CHOICES, &[("service", service), ("rule", rule), ("version", version)])
}

/// A closed set of label values, each with its own counter.
macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every value.
            pub const ALL: [$name; [$($name::$variant),+].len()] = [$($name::$variant),+];

            const WORDS: &[&str] = &[$($text),+];

            /// The label's value.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)+
                }
            }
        }
    };
}

reasons! {
    /// Why a hop did not reach a model server.
    HopError {
        /// No connection to the other pod.
        Connect = "connect",
        /// The connection or stream ended before the answer's head.
        Reset = "reset",
        /// No answer in time.
        Timeout = "timeout",
        /// The pod is not the service and version that the hop names (421).
        Misdirected = "misdirected",
        /// More hops than allowed (508).
        Loop = "loop",
        /// The pod does not take deliveries from us (403).
        Refused = "refused",
    }
}

reasons! {
    /// What allowed a retry.
    RetryReason {
        /// None of the request was sent.
        Unsent = "unsent",
        /// The upstream refused the stream.
        RefusedStream = "refused_stream",
        /// A GOAWAY said that our stream was not processed.
        Goaway = "goaway",
        /// The method is idempotent.
        Idempotent = "idempotent",
        /// The service says that its requests may be repeated.
        Repeatable = "repeatable",
        /// A pod said that it is not the one meant (421).
        Misdirected = "misdirected",
        /// No connection to the endpoint could be made.
        Connect = "connect",
        /// A policy: there was no answer.
        Reset = "reset",
        /// A policy: the attempt took too long.
        PerTryTimeout = "per_try_timeout",
        /// A policy: the answer's status.
        Status = "status",
        /// A policy: a field of the answer.
        Headers = "headers",
        /// A policy: the answer's gRPC status.
        GrpcStatus = "grpc_status",
    }
}

reasons! {
    /// What became of a copy.
    MirrorResult {
        /// It was sent, and its answer read to the end.
        Sent = "sent",
        /// Not all of it was sent: it fell behind the budget, or the request itself broke off.
        Skipped = "skipped",
        /// The upstream could not be reached, ended it, or took too long.
        Failed = "failed",
        /// Too many were under way, or a circuit breaker was open.
        Overflow = "overflow",
    }
}

reasons! {
    /// A limit, by its name in the configuration where it has one.
    Limit {
        /// Bytes of a request head.
        HeadBytes = "head_bytes",
        /// Header fields of a request.
        HeadCount = "head_count",
        /// Time for a head, from its first byte.
        HeadTimeout = "head_timeout",
        /// Idle time of a downstream connection.
        DownstreamIdle = "downstream_idle",
        /// Time without a byte either way.
        StreamIdle = "stream_idle",
        /// All buffered bytes.
        BufferBudget = "buffer_budget",
        /// One connection's share of them.
        BufferShare = "buffer_share",
        /// Bytes kept to replay one request.
        ReplayBytes = "replay_bytes",
        /// Bytes kept to replay all requests.
        ReplayBudget = "replay_budget",
        /// Time for a request with its retries.
        RequestTimeout = "request_timeout",
        /// Time to connect upstream.
        ConnectTimeout = "connect_timeout",
        /// Downstream connections.
        Connections = "connections",
        /// Memory of the cgroup.
        Memory = "memory",
        /// Connections of a cluster.
        MaxConnections = "max_connections",
        /// Requests of a cluster that wait for a connection.
        MaxPending = "max_pending_requests",
        /// Requests of a cluster in flight.
        MaxRequests = "max_requests",
        /// Retries of a cluster in flight.
        MaxRetries = "max_retries",
        /// Copies of requests in flight.
        Mirrors = "mirrors",
        /// Connections to one of the addresses of `admin`.
        AdminConnections = "admin_connections",
    }
}

/// Hops to one version of one service.
#[derive(Clone, Debug)]
pub struct HopMeter {
    /// Requests handed over.
    pub requests: Counter,
    errors: [Counter; HopError::ALL.len()],
}

impl HopMeter {
    /// Resolves the series of a version, at zero.
    pub fn new(recorder: &Recorder, service: &str, version: &str) -> HopMeter {
        HopMeter {
            requests: recorder.counter(&HOP_REQUESTS, &[("service", service), ("version", version)]),
            errors: HopError::ALL.map(|reason| {
                let labels = [("service", service), ("version", version), ("reason", reason.as_str())];
                recorder.counter(&HOP_ERRORS, &labels)
            }),
        }
    }

    /// Counts a failed hop.
    pub fn error(&self, reason: HopError) {
        self.errors[reason as usize].increment(1);
    }
}

/// Copies of one rule's requests to one version.
#[derive(Clone, Debug)]
pub struct MirrorMeter([Counter; MirrorResult::ALL.len()]);

impl MirrorMeter {
    /// Resolves the series, at zero.
    pub fn new(recorder: &Recorder, service: &str, rule: &str, version: &str) -> MirrorMeter {
        MirrorMeter(MirrorResult::ALL.map(|result| {
            let labels =
                [("service", service), ("rule", rule), ("version", version), ("result", result.as_str())];
            recorder.counter(&MIRRORS, &labels)
        }))
    }

    /// Counts one.
    pub fn count(&self, result: MirrorResult) {
        self.0[result as usize].increment(1);
    }
}

/// What the process as a whole counts. Cloning shares the series.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // each field is the family of its name
pub struct ProcessMeter {
    pub config_generation: Gauge,
    pub config_accepted: Counter,
    pub config_refused: Counter,
    pub config_last_reload_success: Gauge,
    pub config_last_success_timestamp: Gauge,
    pub planes_alive: Gauge,
    pub replay_exceeded: Counter,
    pub buffer_resets: Counter,
    pub buffered_bytes: Gauge,
    pub buffer_budget: Gauge,
    pub delivery_refused: Counter,
    pub drain_cut_requests: Counter,
    pub access_log_dropped: Counter,
    limits: [Counter; Limit::ALL.len()],
}

impl ProcessMeter {
    /// Resolves every series, at zero, and names the build.
    pub fn new(recorder: &Recorder) -> ProcessMeter {
        let version = env!("CARGO_PKG_VERSION");
        recorder.gauge(&BUILD_INFO, &[("version", version)]).set(1.0);
        recorder.gauge(&super::istio::BUILD, &[("component", "proxy"), ("tag", version)]).set(1.0);
        ProcessMeter {
            config_generation: recorder.gauge(&CONFIG_GENERATION, &[]),
            config_accepted: recorder.counter(&CONFIG_RELOADS, &[("result", "accepted")]),
            config_refused: recorder.counter(&CONFIG_RELOADS, &[("result", "refused")]),
            config_last_reload_success: recorder.gauge(&CONFIG_LAST_SUCCESS, &[]),
            config_last_success_timestamp: recorder.gauge(&CONFIG_LAST_TIMESTAMP, &[]),
            planes_alive: recorder.gauge(&PLANES_ALIVE, &[]),
            replay_exceeded: recorder.counter(&REPLAY_EXCEEDED, &[]),
            buffer_resets: recorder.counter(&BUFFER_RESETS, &[]),
            buffered_bytes: recorder.gauge(&BUFFERED_BYTES, &[]),
            buffer_budget: recorder.gauge(&BUFFER_BUDGET, &[]),
            delivery_refused: recorder.counter(&DELIVERY_REFUSED, &[]),
            drain_cut_requests: recorder.counter(&DRAIN_CUT, &[]),
            access_log_dropped: recorder.counter(&ACCESS_LOG_DROPPED, &[]),
            limits: Limit::ALL.map(|limit| recorder.counter(&LIMIT_EXCEEDED, &[("limit", limit.as_str())])),
        }
    }

    /// Counts a limit that was met.
    pub fn limit_exceeded(&self, limit: Limit) {
        self.limits[limit as usize].increment(1);
    }

    /// The counter of one.
    pub fn of_limit(&self, limit: Limit) -> Counter {
        self.limits[limit as usize].clone()
    }
}
