//! What one version of a service is measured by: a meter with every series resolved.
//!
//! Law: a request costs one integer search and then plain stores. The label values are the plane's; of what a client
//! sends only closed sets (protocol, status, flags, gRPC status) choose a series, so clients cannot make series; and of what a
//! model server answers no more than [`MOST_ANSWERS`] combinations do.

use std::cell::RefCell;

use super::dimension::{DimensionSeries, Tags};
use super::families::istio::{Answer, Measures, ModernSeries, Reporter};
use super::families::istio_old::OldSeries;
use super::families::own::OwnSeries;
use super::families::weir::RetryReason;
use super::labels::{UNKNOWN, VersionLabels};
use super::record::{GrpcOutcome, RequestRecord};
use super::recorder::Recorder;
use crate::words::{Flags, GrpcStatus, Protocol};

/// Every series of one version, for one lane. Not `Sync`: each worker has its own.
#[derive(Debug)]
pub struct VersionMeter {
    recorder: Recorder,
    labels: VersionLabels,
    own: OwnSeries,
    /// Nothing where the configuration names no dimension.
    dimensions: Option<Box<DimensionSeries>>,
    table: RefCell<Table>,
}

impl VersionMeter {
    /// Makes the common series, at zero, and resolves them.
    pub fn declare(recorder: &Recorder, labels: &VersionLabels) -> VersionMeter {
        let meter = VersionMeter {
            recorder: recorder.clone(),
            labels: labels.clone(),
            own: OwnSeries::new(recorder, labels),
            dimensions: DimensionSeries::new(recorder, labels),
            table: RefCell::default(),
        };
        meter.declare_common();
        meter
    }

    /// Reports what the caller got: the old Istio family, the modern one as source, and our own. Once a request.
    pub fn report_source(&self, record: &RequestRecord) {
        self.report(Reporter::Source, record, &Measures::of(record));
        self.own.count(record);
    }

    /// Reports what a model server was asked and gave: the modern Istio family as destination.
    pub fn report_destination(&self, record: &RequestRecord) {
        self.report(Reporter::Destination, record, &Measures::of(record));
    }

    /// Reports both, which are one where this process hands its callers' requests to the model server.
    pub fn report_both(&self, record: &RequestRecord) {
        let measures = Measures::of(record);
        self.report(Reporter::Source, record, &measures);
        self.report(Reporter::Destination, record, &measures);
        self.own.count(record);
    }

    fn report(&self, reporter: Reporter, record: &RequestRecord, measures: &Measures) {
        let key = Key::of(reporter, record);
        let mut table = self.table.borrow_mut();
        let series = table.find(key, |key| self.make(key));
        if let Some(old) = &series.old {
            old.count(record);
        }
        series.modern.count(record, measures);
    }

    /// Makes the series of every value of every dimension, at zero; elsewhere they come with the first request that says it.
    pub fn declare_dimensions(&self) {
        if let Some(dimensions) = &self.dimensions {
            dimensions.declare();
        }
    }

    /// Counts a request under what it says in each dimension. Once a request.
    pub fn count_dimensions(&self, record: &RequestRecord, tags: Tags) {
        if let Some(dimensions) = &self.dimensions {
            dimensions.count(record, tags);
        }
    }

    /// Counts an attempt after the first.
    pub fn count_retry(&self, reason: RetryReason) {
        self.own.count_retry(reason);
    }

    /// The labels it was made for.
    pub fn labels(&self) -> &VersionLabels {
        &self.labels
    }

    fn declare_common(&self) {
        if self.labels.reports_source {
            self.own.declare();
        }
        let ok = GrpcOutcome::Known(GrpcStatus::Ok);
        let reporters = [
            (Reporter::Source, self.labels.reports_source),
            (Reporter::Destination, self.labels.reports_destination),
        ];
        for (reporter, _) in reporters.into_iter().filter(|(_, reports)| *reports) {
            for (protocol, grpc_status) in [(Protocol::Http, GrpcOutcome::Absent), (Protocol::Grpc, ok)] {
                let key = Key { reporter, protocol, status: 200, grpc_status, flags: Flags::NONE };
                self.table.borrow_mut().find(key, |key| self.make(key));
            }
        }
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

/// Stands for every status that is not of HTTP, and for those of an answer that is one too many.
const ODD_STATUS: u16 = 600;
/// Combinations of protocol, status, gRPC status and flags that have series of their own. Each has some 140 lines on a page.
const MOST_ANSWERS: usize = 128;

/// A status of gRPC that there is not.
const STRANGE: GrpcOutcome = GrpcOutcome::Unknown(-1);

impl Key {
    fn of(reporter: Reporter, record: &RequestRecord) -> Key {
        let status = match record.status {
            status @ (0 | 100..600) => status,
            _ => ODD_STATUS,
        };
        let grpc_status = match (record.protocol, record.grpc_status) {
            (Protocol::Grpc, GrpcOutcome::Unknown(_)) => STRANGE, // whatever the number
            (Protocol::Grpc, status) => status,
            (Protocol::Http, _) => GrpcOutcome::Absent,
        };
        Key { reporter, protocol: record.protocol, status, grpc_status, flags: record.flags }
    }

    /// Of an answer that is one too many: its statuses are not told, its flags, which are Weir's own, are.
    fn without_statuses(self) -> Key {
        let grpc_status = match self.protocol {
            Protocol::Grpc => STRANGE,
            Protocol::Http => GrpcOutcome::Absent,
        };
        Key { status: ODD_STATUS, grpc_status, ..self }
    }

    /// The key as one number.
    fn packed(self) -> u64 {
        let grpc = match self.grpc_status {
            GrpcOutcome::Known(status) => u64::from(status.code()),
            GrpcOutcome::Absent => 17,
            GrpcOutcome::Unknown(_) => 18,
        };
        (self.reporter as u64) << 56
            | (self.protocol.index() as u64) << 55
            | grpc << 48
            | u64::from(self.status) << 32
            | u64::from(self.flags.bits())
    }

    fn grpc_label(self) -> &'static str {
        match self.grpc_status {
            GrpcOutcome::Absent => "",
            GrpcOutcome::Known(status) => status.code_str(),
            GrpcOutcome::Unknown(_) => UNKNOWN,
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

/// Series by packed key: sorted, with each reporter's last hit tried first, as most requests end alike.
#[derive(Debug, Default)]
struct Table {
    keys: Vec<u64>,
    series: Vec<Series>,
    last: [usize; 2],
}

impl Table {
    fn find(&mut self, key: Key, make: impl FnOnce(Key) -> Series) -> &Series {
        let packed = key.packed();
        let reporter = key.reporter as usize;
        if self.keys.get(self.last[reporter]) != Some(&packed) {
            self.last[reporter] = self.place_of(key, make);
        }
        &self.series[self.last[reporter]]
    }

    fn place_of(&mut self, mut key: Key, make: impl FnOnce(Key) -> Series) -> usize {
        let mut place = self.keys.binary_search(&key.packed());
        if place.is_err() && self.keys.len() >= MOST_ANSWERS {
            key = key.without_statuses();
            place = self.keys.binary_search(&key.packed());
        }
        place.unwrap_or_else(|place| {
            let series = make(key);
            self.keys.insert(place, key.packed());
            self.series.insert(place, series);
            place
        })
    }
}

#[cfg(test)]
#[path = "version_tests.rs"]
mod tests;
