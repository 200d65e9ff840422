//! What one version of a service is measured by: its labels, and a meter with every series resolved.
//!
//! Law: a request costs one integer search and then plain stores. The label values are the plane's; of what a client
//! sends only closed sets (protocol, status, flags, gRPC status) choose a series, so clients cannot make series.

use std::cell::RefCell;
use std::sync::Arc;

use super::families::istio::{Answer, ModernSeries, Reporter};
use super::families::istio_old::OldSeries;
use super::families::weir::OwnSeries;
use super::record::{GrpcOutcome, Outcome, RequestRecord};
use super::recorder::Recorder;
use crate::words::{Flags, GrpcStatus, Protocol};

/// What runs behind a name, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // Istio's label names are the document
pub struct WorkloadLabels {
    pub name: Arc<str>,
    pub namespace: Arc<str>,
    pub principal: Arc<str>,
    pub app: Arc<str>,
    pub canonical_service: Arc<str>,
    pub canonical_revision: Arc<str>,
    /// The Kubernetes cluster.
    pub cluster: Arc<str>,
}

/// Who calls, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerLabels {
    /// Its service's full name.
    pub service: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// Its workload.
    pub workload: WorkloadLabels,
}

/// The label values of one version of one service under one rule, for one caller. None is ever empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLabels {
    /// The service's full name, such as `mnist.kubeflow.svc.cluster.local`.
    pub service: Arc<str>,
    /// Its short name.
    pub service_name: Arc<str>,
    /// Its namespace.
    pub service_namespace: Arc<str>,
    /// The rule that chose; `none` when no rule matched.
    pub rule: Arc<str>,
    /// The version that was chosen.
    pub version: Arc<str>,
    /// What runs that version.
    pub workload: WorkloadLabels,
    /// Who calls.
    pub caller: CallerLabels,
    /// Whether the old Istio family shows a gRPC failure as the HTTP code that TF Serving's REST side would give.
    pub grpc_as_http: bool,
    /// Whether this process splits requests to this version: its zero series are made.
    pub reports_source: bool,
    /// Whether this process hands requests to a model server of this version: its zero series are made.
    pub reports_destination: bool,
}

/// The value of a label that nobody knows.
pub const UNKNOWN: &str = "unknown";

impl Default for WorkloadLabels {
    fn default() -> WorkloadLabels {
        let unknown: Arc<str> = UNKNOWN.into();
        WorkloadLabels {
            name: Arc::clone(&unknown),
            namespace: Arc::clone(&unknown),
            principal: Arc::clone(&unknown),
            app: Arc::clone(&unknown),
            canonical_service: Arc::clone(&unknown),
            canonical_revision: Arc::clone(&unknown),
            cluster: unknown,
        }
    }
}

impl Default for CallerLabels {
    fn default() -> CallerLabels {
        CallerLabels { service: UNKNOWN.into(), version: UNKNOWN.into(), workload: WorkloadLabels::default() }
    }
}

impl VersionLabels {
    /// Labels for an unknown caller and workload; the short name and the namespace are read from `service`.
    pub fn new(service: &str, rule: &str, version: &str) -> VersionLabels {
        let mut parts = service.split('.');
        VersionLabels {
            service: known(service),
            service_name: known(parts.next().unwrap_or_default()),
            service_namespace: known(parts.next().unwrap_or_default()),
            rule: if rule.is_empty() { "none".into() } else { rule.into() },
            version: known(version),
            workload: WorkloadLabels::default(),
            caller: CallerLabels::default(),
            grpc_as_http: true,
            reports_source: true,
            reports_destination: false,
        }
    }
}

fn known(value: &str) -> Arc<str> {
    if value.is_empty() { UNKNOWN.into() } else { value.into() }
}

/// Every series of one version, for one lane. Not `Sync`: each worker has its own.
#[derive(Debug)]
pub struct VersionMeter {
    recorder: Recorder,
    labels: VersionLabels,
    own: OwnSeries,
    table: RefCell<Table>,
}

impl VersionMeter {
    /// Makes the common series, at zero, and resolves them.
    pub fn declare(recorder: &Recorder, labels: &VersionLabels) -> VersionMeter {
        let meter = VersionMeter {
            recorder: recorder.clone(),
            labels: labels.clone(),
            own: OwnSeries::new(recorder, labels, labels.reports_source),
            table: RefCell::default(),
        };
        meter.declare_common();
        meter
    }

    /// Reports what the caller got: the old Istio family, the modern one as source, and our own. Once a request.
    pub fn report_source(&self, record: &RequestRecord) {
        self.with_series(Reporter::Source, record, |series| {
            if let Some(old) = &series.old {
                old.count(record);
            }
            series.modern.count(record);
        });
        self.own.count(&self.recorder, &self.labels, record);
    }

    /// Reports what a model server was asked and gave: the modern Istio family as destination.
    pub fn report_destination(&self, record: &RequestRecord) {
        self.with_series(Reporter::Destination, record, |series| series.modern.count(record));
    }

    /// The labels it was made for.
    pub fn labels(&self) -> &VersionLabels {
        &self.labels
    }

    fn declare_common(&self) {
        let ok = GrpcOutcome::Known(GrpcStatus::Ok);
        let reporters = [
            (Reporter::Source, self.labels.reports_source),
            (Reporter::Destination, self.labels.reports_destination),
        ];
        for (reporter, _) in reporters.into_iter().filter(|(_, reports)| *reports) {
            for (protocol, grpc_status) in [(Protocol::Http, GrpcOutcome::Absent), (Protocol::Grpc, ok)] {
                let key = Key { reporter, protocol, status: 200, grpc_status, flags: Flags::NONE };
                self.table.borrow_mut().find(key, || self.make(key));
            }
        }
    }

    fn with_series(&self, reporter: Reporter, record: &RequestRecord, act: impl FnOnce(&Series)) {
        let key = Key::of(reporter, record);
        act(self.table.borrow_mut().find(key, || self.make(key)));
    }

    fn make(&self, key: Key) -> Series {
        let (recorder, labels) = (&self.recorder, &self.labels);
        let answer = Answer {
            protocol: key.protocol,
            code: &code_label(key.status),
            grpc_status: key.grpc_label(),
            flags: &key.flags.to_string(),
        };
        let old = (key.reporter == Reporter::Source)
            .then(|| OldSeries::new(recorder, labels, &code_label(key.old_status(labels.grpc_as_http))));
        Series { old, modern: ModernSeries::new(recorder, labels, key.reporter, answer) }
    }
}

/// What chooses the series within a meter. All closed sets.
#[derive(Clone, Copy, Debug)]
struct Key {
    reporter: Reporter,
    protocol: Protocol,
    /// 100 to 599, 0 for none, [`ODD_STATUS`] for the rest.
    status: u16,
    grpc_status: GrpcOutcome,
    flags: Flags,
}

/// Stands for every status that is not of HTTP.
const ODD_STATUS: u16 = 600;

impl Key {
    fn of(reporter: Reporter, record: &RequestRecord) -> Key {
        let status = match record.status {
            status @ (0 | 100..600) => status,
            _ => ODD_STATUS,
        };
        let grpc_status = match record.protocol {
            Protocol::Grpc => record.grpc_status,
            Protocol::Http => GrpcOutcome::Absent,
        };
        Key { reporter, protocol: record.protocol, status, grpc_status, flags: record.flags }
    }

    /// The key as one number.
    fn packed(self) -> u64 {
        let grpc = match self.grpc_status {
            GrpcOutcome::Known(status) => u64::from(status.code()),
            GrpcOutcome::Absent => 17,
            GrpcOutcome::Unknown => 18,
        };
        (self.reporter as u64) << 40
            | (self.protocol.index() as u64) << 39
            | grpc << 32
            | u64::from(self.status) << 16
            | u64::from(self.flags.bits())
    }

    fn grpc_label(self) -> &'static str {
        match self.grpc_status {
            GrpcOutcome::Absent => "",
            GrpcOutcome::Known(status) => status.code_str(),
            GrpcOutcome::Unknown => UNKNOWN,
        }
    }

    /// The status for the old family, where a gRPC failure would else count as success.
    fn old_status(self, grpc_as_http: bool) -> u16 {
        match (self.protocol, self.grpc_status) {
            (Protocol::Grpc, _) if !grpc_as_http || self.status != 200 => self.status,
            (Protocol::Grpc, GrpcOutcome::Known(status)) => status.to_http(),
            // A 200 without a status, or with one outside the protocol, is UNKNOWN to the caller.
            (Protocol::Grpc, _) => GrpcStatus::Unknown.to_http(),
            (Protocol::Http, _) => self.status,
        }
    }
}

fn code_label(status: u16) -> String {
    if status == ODD_STATUS { UNKNOWN.to_owned() } else { status.to_string() }
}

#[derive(Debug)]
struct Series {
    /// As source only.
    old: Option<OldSeries>,
    modern: ModernSeries,
}

/// Series by packed key: sorted, with the last hit tried first, as most requests end alike.
#[derive(Debug, Default)]
struct Table {
    keys: Vec<u64>,
    series: Vec<Series>,
    last: usize,
}

impl Table {
    fn find(&mut self, key: Key, make: impl FnOnce() -> Series) -> &Series {
        let packed = key.packed();
        if self.keys.get(self.last) != Some(&packed) {
            self.last = self.keys.binary_search(&packed).unwrap_or_else(|place| {
                self.keys.insert(place, packed);
                self.series.insert(place, make());
                place
            });
        }
        &self.series[self.last]
    }
}

/// The outcome as the key of our own series.
pub(super) fn own_slot(record: &RequestRecord) -> usize {
    record.protocol.index() * Outcome::ALL.len() + record.outcome().index()
}
