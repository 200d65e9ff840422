//! What came of the requests, and the report.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use serde_json::{Value, json};

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// No connection was to be had.
    Connect,
    /// Another HTTP status than success.
    Status,
    /// Another gRPC status than 0, or none.
    GrpcStatus,
    /// The connection or the stream ended before the answer did.
    Closed,
    Timeout,
    /// The answer is not what it says it is, or nothing that can be read.
    Body,
}

/// In the order of the type.
const FAULTS: [(Fault, &str); 6] = [
    (Fault::Connect, "connect"),
    (Fault::Status, "status"),
    (Fault::GrpcStatus, "grpc_status"),
    (Fault::Closed, "closed"),
    (Fault::Timeout, "timeout"),
    (Fault::Body, "body"),
];

/// A request that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ended {
    /// When it was to be sent, in nanoseconds of the run.
    pub(crate) due: u64,
    pub(crate) fault: Option<Fault>,
    pub(crate) status: Option<u16>,
    pub(crate) grpc_status: Option<u32>,
    pub(crate) body_bytes: u64,
}

impl Ended {
    /// Without an answer.
    pub(crate) fn failed(due: u64, fault: Fault) -> Ended {
        Ended { due, fault: Some(fault), status: None, grpc_status: None, body_bytes: 0 }
    }
}

/// Later than this is late.
const LATE_NS: u64 = 1_000_000;
const HIGHEST_NS: u64 = 3_600_000_000_000;

pub(crate) struct Tally {
    /// What was due before was warm-up and does not count.
    begin_ns: u64,
    last_ns: u64,
    succeeded: u64,
    failed: [u64; FAULTS.len()],
    answer_bytes: u64,
    statuses: BTreeMap<String, u64>,
    late: u64,
    latency_ns: Histogram<u64>,
}

/// What the report says of the run besides its requests.
pub(crate) struct Run {
    pub(crate) open_loop: bool,
    pub(crate) connects: u64,
    pub(crate) idle_opened: u64,
    pub(crate) idle_closed: u64,
}

impl Tally {
    pub(crate) fn new(begin_ns: u64) -> Result<Tally, hdrhistogram::CreationError> {
        Ok(Tally {
            begin_ns,
            last_ns: begin_ns,
            succeeded: 0,
            failed: [0; FAULTS.len()],
            answer_bytes: 0,
            statuses: BTreeMap::new(),
            late: 0,
            // Three digits: a percentile is right to 0.1 %.
            latency_ns: Histogram::new_with_bounds(1, HIGHEST_NS, 3)?,
        })
    }

    pub(crate) fn sent(&mut self, due: u64, now: u64) {
        if due >= self.begin_ns && now.saturating_sub(due) > LATE_NS {
            self.late += 1;
        }
    }

    pub(crate) fn ended(&mut self, ended: &Ended, now: u64) {
        if ended.due < self.begin_ns {
            return;
        }
        self.last_ns = self.last_ns.max(now);
        self.answer_bytes += ended.body_bytes;
        match ended.fault {
            None => {
                self.succeeded += 1;
                self.latency_ns.saturating_record(now.saturating_sub(ended.due).max(1));
            }
            Some(fault) => self.failed[fault as usize] += 1,
        }
        // Of successes, the usual status is noted once, at the end: a map is not for the hot path.
        if ended.fault.is_some() || ended.status != Some(200) {
            if let Some(status) = ended.status {
                *self.statuses.entry(status.to_string()).or_default() += 1;
            }
            if let Some(status) = ended.grpc_status {
                *self.statuses.entry(format!("grpc {status}")).or_default() += 1;
            }
        }
    }

    pub(crate) fn report(mut self, run: &Run) -> Result<Value, String> {
        let failed: u64 = self.failed.iter().sum();
        let seconds = (self.last_ns - self.begin_ns) as f64 / 1e9;
        let others: u64 = self
            .statuses
            .iter()
            .filter(|(key, _)| key.starts_with('2') && *key != "200")
            .map(|(_, n)| n)
            .sum();
        let usual = self.succeeded.saturating_sub(others);
        if usual > 0 {
            *self.statuses.entry("200".to_owned()).or_default() += usual;
        }
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(&self.latency_ns, &mut bytes)
            .map_err(|error| format!("histogram: {error}"))?;
        let us = |ns: f64| (ns / 10.0).round() / 100.0;
        let at = |share: f64| us(self.latency_ns.value_at_quantile(share) as f64);
        Ok(json!({
            "requests": self.succeeded + failed,
            "succeeded": self.succeeded,
            "failed": FAULTS.iter().map(|(fault, name)| (*name, self.failed[*fault as usize])).collect::<BTreeMap<_, _>>(),
            "seconds": (seconds * 1e6).round() / 1e6,
            "rate": if seconds > 0.0 { (self.succeeded as f64 / seconds * 10.0).round() / 10.0 } else { 0.0 },
            "answer_bytes": self.answer_bytes,
            "statuses": self.statuses,
            "latency_us": {
                "min": us(self.latency_ns.min() as f64),
                "mean": us(self.latency_ns.mean()),
                "p50": at(0.5),
                "p90": at(0.9),
                "p99": at(0.99),
                "p999": at(0.999),
                "max": us(self.latency_ns.max() as f64),
            },
            "mode": if run.open_loop { "open" } else { "closed" },
            "late": self.late,
            "connects": run.connects,
            "idle": { "opened": run.idle_opened, "closed": run.idle_closed },
            "histogram": STANDARD.encode(bytes),
        }))
    }
}
