//! Weir's own series of one version under one rule: its requests by protocol and outcome, how long they took, its retries.
//!
//! Law: those that a version starts with are there at zero before its first request; who has a handle looks nothing up.

use std::sync::{Arc, OnceLock};

use super::super::family::Labels;
use super::super::labels::VersionLabels;
use super::super::record::{Outcome, RequestRecord};
use super::super::recorder::{Counter, Histogram, Recorder};
use super::weir::{REQUEST_DURATION, REQUESTS, RETRIES, RetryReason};
use crate::words::Protocol;

/// Our own series of one version: every protocol and outcome.
#[derive(Debug)]
pub(in crate::telemetry) struct OwnSeries {
    recorder: Recorder,
    service: Arc<str>,
    rule: Arc<str>,
    version: Arc<str>,
    requests: [OnceLock<Counter>; SLOTS],
    durations: [OnceLock<Histogram>; SLOTS],
    /// By reason.
    retries: OnceLock<[Counter; RetryReason::ALL.len()]>,
}

/// One for each protocol and outcome.
const SLOTS: usize = Protocol::ALL.len() * Outcome::ALL.len();

impl OwnSeries {
    pub(in crate::telemetry) fn new(recorder: &Recorder, labels: &VersionLabels) -> OwnSeries {
        OwnSeries {
            recorder: recorder.clone(),
            service: Arc::clone(&labels.service),
            rule: Arc::clone(&labels.rule),
            version: Arc::clone(&labels.version),
            requests: Default::default(),
            durations: Default::default(),
            retries: OnceLock::new(),
        }
    }

    /// Makes the series that a version starts with, at zero: every count, and the durations of successes. Those of
    /// failures are wide and rare: they come at first use.
    pub(in crate::telemetry) fn declare(&self) {
        for slot in 0..SLOTS {
            self.requests(slot);
            if outcome_of(slot) == Outcome::Success {
                self.duration(slot);
            }
        }
        self.retries();
    }

    pub(in crate::telemetry) fn count(&self, record: &RequestRecord) {
        let slot = record.protocol.index() * Outcome::ALL.len() + record.outcome().index();
        self.requests(slot).increment(1);
        self.duration(slot).observe(record.duration.as_secs_f64());
    }

    pub(in crate::telemetry) fn count_retry(&self, reason: RetryReason) {
        self.retries()[reason as usize].increment(1);
    }

    /// The series that have counted anything, with their outcome; both protocols.
    pub(in crate::telemetry) fn counted(&self) -> impl Iterator<Item = (Outcome, &Counter, &Histogram)> {
        let counted = (0..SLOTS).filter(|&slot| self.requests(slot).get() > 0);
        counted.map(|slot| (outcome_of(slot), self.requests(slot), self.duration(slot)))
    }

    fn requests(&self, slot: usize) -> &Counter {
        self.requests[slot].get_or_init(|| self.recorder.counter(&REQUESTS, self.labels(slot)))
    }

    fn duration(&self, slot: usize) -> &Histogram {
        self.durations[slot].get_or_init(|| self.recorder.histogram(&REQUEST_DURATION, self.labels(slot)))
    }

    fn retries(&self) -> &[Counter; RetryReason::ALL.len()] {
        self.retries.get_or_init(|| {
            RetryReason::ALL.map(|reason| {
                let labels = [
                    ("reason", reason.as_str()),
                    ("service", &self.service),
                    ("rule", &self.rule),
                    ("version", &self.version),
                ];
                self.recorder.counter(&RETRIES, &labels)
            })
        })
    }

    fn labels(&self, slot: usize) -> Labels {
        Labels::new(&[
            ("service", &self.service),
            ("rule", &self.rule),
            ("version", &self.version),
            ("protocol", Protocol::ALL[slot / Outcome::ALL.len()].as_str()),
            ("outcome", outcome_of(slot).as_str()),
        ])
    }
}

fn outcome_of(slot: usize) -> Outcome {
    Outcome::ALL[slot % Outcome::ALL.len()]
}
