//! Outlier detection: endpoints that fail while others do not are left out for a while.
//!
//! Law: the arithmetic is Envoy's. Runs of failures throw out at once, on the worker that sees the last of them; rates of
//! success, the way back and the forgetting are for the end of each interval. Time and draws are arguments.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::watch::{Census, Ejected, Rate, Watch};
use crate::runtime::sync::AtomicU32;
use crate::snapshot::Outlier;
use crate::telemetry::GuardEvent;

/// How an attempt at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer; of gRPC, with the status in HTTP's terms.
    Status(u16),
    /// No connection.
    Connect,
    /// A connection that broke, or an answer with no reading.
    Reset,
    /// No answer in time.
    Timeout,
}

impl Outcome {
    /// What failures without an answer count as where they do not count apart.
    fn status(self) -> u16 {
        match self {
            Outcome::Status(status) => status,
            Outcome::Connect | Outcome::Reset => 503,
            Outcome::Timeout => 504,
        }
    }
}

/// Why an endpoint is thrown out.
#[derive(Clone, Copy)]
enum Why {
    Any5xx,
    Gateway,
    LocalOrigin,
    SuccessRate { local: bool },
    Percentage { local: bool },
}

/// What a detection looks at beside the endpoint.
pub(super) struct Scene<'a> {
    pub(super) config: &'a Outlier,
    pub(super) census: &'a Census,
    /// Members of the cluster.
    pub(super) members: usize,
    pub(super) now_ms: u64,
    /// Any number below its argument.
    pub(super) draw: fn(u64) -> u64,
}

/// Whether so many may be out, of all.
pub(super) fn may_be_out(config: &Outlier, out: u32, members: usize) -> bool {
    let percent = u64::from(config.max_ejection_percent.min(100));
    u64::from(out) * 100 <= percent * members as u64 || (config.always_eject_one_host && out == 1)
}

/// How long it is out the nth time.
fn ejection_ms(config: &Outlier, times: u32, draw: fn(u64) -> u64) -> u64 {
    let most = config.max_ejection_time.max(config.base_ejection_time);
    let time = config.base_ejection_time.saturating_mul(times).min(most);
    milliseconds(time) + draw(milliseconds(config.max_ejection_time_jitter) + 1)
}

/// The number of times from which on it does not stay out for longer.
fn last_times(config: &Outlier) -> u32 {
    let base = milliseconds(config.base_ejection_time).max(1);
    let times = milliseconds(config.max_ejection_time).div_ceil(base) + 1;
    u32::try_from(times).unwrap_or(u32::MAX)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX >> 1)
}

impl Scene<'_> {
    /// An attempt at the endpoint has ended.
    pub(super) fn note(&self, watch: &Watch, outcome: Outcome) {
        if self.config.split_external_local_origin_errors {
            let answered = matches!(outcome, Outcome::Status(_));
            watch.local.count(answered);
            if !answered {
                let due = self.config.consecutive_local_origin_failure;
                return self.in_row(watch, &watch.in_row.local, due, Why::LocalOrigin);
            }
            reset(&watch.in_row.local);
        }
        let status = outcome.status();
        watch.external.count(status < 500);
        if status < 500 {
            reset(&watch.in_row.any_5xx);
            return reset(&watch.in_row.gateway);
        }
        if matches!(status, 502..=504) {
            let due = self.config.consecutive_gateway_failure;
            self.in_row(watch, &watch.in_row.gateway, due, Why::Gateway);
        } else {
            reset(&watch.in_row.gateway);
        }
        self.in_row(watch, &watch.in_row.any_5xx, self.config.consecutive_5xx, Why::Any5xx);
    }

    /// One more failure in a row; the last of as many as are `due` throws it out, and the next row begins.
    fn in_row(&self, watch: &Watch, count: &AtomicU32, due: u32, why: Why) {
        if count.fetch_add(1, Relaxed) + 1 == due.max(1) && !watch.is_ejected() {
            self.detected(watch, why);
            count.store(0, Relaxed);
        }
    }

    fn detected(&self, watch: &Watch, why: Why) {
        let (detected, enforced) = why.events();
        self.census.counts.count(detected);
        let may = |out| may_be_out(self.config, out, self.members);
        if !may(self.census.ejected() + 1) {
            self.census.counts.count(GuardEvent::Overflow);
            return;
        }
        if (self.draw)(100) >= u64::from(why.enforcing(self.config)) {
            return;
        }
        let until = |times| self.now_ms.saturating_add(ejection_ms(self.config, times, self.draw));
        match watch.eject(may, until, last_times(self.config)) {
            Ejected::Now => {
                self.census.counts.count(enforced);
                self.census.counts.count(GuardEvent::EnforcedTotal);
            }
            Ejected::NoRoom => self.census.counts.count(GuardEvent::Overflow),
            Ejected::Before => {}
        }
    }

    /// The end of an interval: those whose time is over come in, rates of success are compared.
    pub(super) fn end_interval(&self, watches: &[&Watch]) {
        watches.iter().for_each(|watch| watch.end_interval(self.now_ms));
        self.compare(watches, |watch| &watch.external, false);
        if self.config.split_external_local_origin_errors {
            self.compare(watches, |watch| &watch.local, true);
        }
    }

    fn compare(&self, watches: &[&Watch], rate: impl Fn(&Watch) -> &Rate, local: bool) {
        let rates: Vec<(&Watch, u64, f64)> = watches
            .iter()
            .filter_map(|watch| {
                let closed = rate(watch).close().filter(|_| !watch.is_ejected());
                rate(watch).tell(closed.filter(|&(total, _)| self.is_enough(total)).map(|(_, good)| good));
                closed.map(|(total, good)| (*watch, total, good))
            })
            .collect();
        let mut compared = None;
        if let Some(config) = &self.config.success_rate {
            let valid = enough(&rates, config.request_volume);
            if !valid.is_empty() && valid.len() >= config.minimum_hosts as usize {
                let (average, least) = least_success(&valid, f64::from(config.stdev_factor) / 1000.0);
                compared = Some((average, least));
                let ill = valid.iter().filter(|&&(_, good)| good < least);
                ill.for_each(|&(watch, _)| self.detected(watch, Why::SuccessRate { local }));
            }
        }
        self.census.compared[usize::from(local)].tell(compared);
        if let Some(config) = &self.config.failure_percentage {
            let valid = enough(&rates, config.request_volume);
            if !valid.is_empty() && valid.len() >= config.minimum_hosts as usize {
                let ill = valid.iter().filter(|&&(_, good)| 100.0 - good >= f64::from(config.threshold));
                let still_in = ill.filter(|&&(watch, _)| !watch.is_ejected());
                still_in.for_each(|&(watch, _)| self.detected(watch, Why::Percentage { local }));
            }
        }
    }

    /// Whether so many requests make a rate that is told.
    fn is_enough(&self, requests: u64) -> bool {
        let rate = self.config.success_rate.as_ref().map(|config| config.request_volume);
        let percentage = self.config.failure_percentage.as_ref().map(|config| config.request_volume);
        rate.into_iter().chain(percentage).any(|volume| requests >= u64::from(volume))
    }
}

/// Those with at least so many requests.
fn enough<'w>(rates: &[(&'w Watch, u64, f64)], volume: u32) -> Vec<(&'w Watch, f64)> {
    let enough = rates.iter().filter(|&&(_, total, _)| total >= u64::from(volume));
    enough.map(|&(watch, _, good)| (watch, good)).collect()
}

/// The mean, and the mean less deviation by a factor.
fn least_success(rates: &[(&Watch, f64)], factor: f64) -> (f64, f64) {
    let count = rates.len() as f64;
    let mean = rates.iter().map(|&(_, good)| good).sum::<f64>() / count;
    let variance = rates.iter().map(|&(_, good)| (good - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - factor * variance.sqrt())
}

/// All workers read it with every answer; it is written when it changes.
fn reset(count: &AtomicU32) {
    if count.load(Relaxed) != 0 {
        count.store(0, Relaxed);
    }
}

impl Why {
    /// Detected, enforced.
    fn events(self) -> (GuardEvent, GuardEvent) {
        use GuardEvent as E;
        match self {
            Why::Any5xx => (E::Detected5xx, E::Enforced5xx),
            Why::Gateway => (E::DetectedGateway, E::EnforcedGateway),
            Why::LocalOrigin => (E::DetectedLocalOrigin, E::EnforcedLocalOrigin),
            Why::SuccessRate { local: false } => (E::DetectedSuccessRate, E::EnforcedSuccessRate),
            Why::SuccessRate { local: true } => (E::DetectedLocalSuccessRate, E::EnforcedLocalSuccessRate),
            Why::Percentage { local: false } => (E::DetectedPercentage, E::EnforcedPercentage),
            Why::Percentage { local: true } => (E::DetectedLocalPercentage, E::EnforcedLocalPercentage),
        }
    }

    /// The chance in percent that it throws out.
    fn enforcing(self, config: &Outlier) -> u32 {
        match self {
            Why::Any5xx => config.enforcing_consecutive_5xx,
            Why::Gateway => config.enforcing_consecutive_gateway_failure,
            Why::LocalOrigin => config.enforcing_consecutive_local_origin_failure,
            Why::SuccessRate { .. } => config.success_rate.as_ref().map_or(0, |rate| rate.enforcing),
            Why::Percentage { .. } => config.failure_percentage.as_ref().map_or(0, |rate| rate.enforcing),
        }
    }
}

#[cfg(test)]
mod tests;
