//! Figures of one version for people: requests, success, percentiles; since the start and over the last minute.
//!
//! Law: pure. A ring of sixty seconds' snapshots of counters that only grow; a minute is the difference of two of
//! them. The request's path pays nothing: the control thread reads the series once a second.

use std::collections::VecDeque;
use std::time::Duration;

use super::families::buckets::SECONDS;
use super::families::own::OwnSeries;
use super::history::{History, Point, STEP};
use super::labels::VersionLabels;
use super::record::Outcome;
use super::recorder::Recorder;

/// One for each bound, and +Inf.
const BUCKETS: usize = SECONDS.len() + 1;
/// Snapshots kept: a minute of them, one a second.
const SLOTS: usize = 60;

/// What had been counted at one moment since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub requests: [u64; 4],
    /// Requests by duration, in the buckets of [`SECONDS`].
    pub buckets: [u64; BUCKETS],
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot { requests: [0; 4], buckets: [0; BUCKETS] }
    }
}

impl Snapshot {
    /// What was counted between `earlier` and this one.
    pub fn since(&self, earlier: &Snapshot) -> Snapshot {
        Snapshot {
            requests: std::array::from_fn(|i| self.requests[i].saturating_sub(earlier.requests[i])),
            buckets: std::array::from_fn(|i| self.buckets[i].saturating_sub(earlier.buckets[i])),
        }
    }

    /// The figures of a snapshot that took `elapsed` to count.
    pub fn figures(&self, elapsed: Duration) -> Figures {
        let requests: u64 = self.requests.iter().sum();
        let of = |outcome: Outcome| self.requests[outcome.index()];
        // As Istio's dashboards judge: a client's error is no failure. A caller that left says nothing either way.
        let judged = requests - of(Outcome::Cancelled);
        Figures {
            requests,
            client_errors: of(Outcome::ClientError),
            server_errors: of(Outcome::ServerError),
            cancelled: of(Outcome::Cancelled),
            success_rate: ratio(judged - of(Outcome::ServerError), judged),
            client_error_rate: ratio(of(Outcome::ClientError), judged),
            per_second: if elapsed.is_zero() { 0.0 } else { requests as f64 / elapsed.as_secs_f64() },
            p50_ms: self.quantile_ms(0.50),
            p95_ms: self.quantile_ms(0.95),
            p99_ms: self.quantile_ms(0.99),
        }
    }

    /// The duration that a share `q` of the requests did not pass, interpolated within its bucket as Prometheus does;
    /// in the last, open bucket it is that bucket's lower bound.
    fn quantile_ms(&self, q: f64) -> Option<f64> {
        let total: u64 = self.buckets.iter().sum();
        if total == 0 {
            return None;
        }
        let rank = q * total as f64;
        let mut below = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let lower = if bucket == 0 { 0.0 } else { SECONDS[bucket - 1] };
                let upper = SECONDS.get(bucket).copied().unwrap_or(lower);
                let inside = (rank - below as f64) / count as f64;
                return Some((lower + (upper - lower) * inside) * 1e3);
            }
            below += count;
        }
        None
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Figures for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Figures {
    /// All requests.
    pub requests: u64,
    /// Those whose answer blames the request.
    pub client_errors: u64,
    /// Those that the server failed.
    pub server_errors: u64,
    /// Those whose caller left.
    pub cancelled: u64,
    /// The share that was no server error, of those whose caller stayed; `None` without any.
    pub success_rate: Option<f64>,
    /// The share whose answer blames the request, of the same.
    pub client_error_rate: Option<f64>,
    /// Requests a second.
    pub per_second: f64,
    /// Half of the requests took no longer; `None` without any.
    pub p50_ms: Option<f64>,
    /// 95 % of the requests took no longer.
    pub p95_ms: Option<f64>,
    /// 99 % of the requests took no longer.
    pub p99_ms: Option<f64>,
}

/// A minute of snapshots.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Oldest first; the newest is the state now. Each with the seconds for which it was: most versions of a large
    /// configuration do nothing most of the time, and keep one.
    ring: VecDeque<(Snapshot, usize)>,
    /// All of these seconds: one more than there are between the oldest and the newest.
    seconds: usize,
}

impl Window {
    /// Takes the snapshot of this second.
    pub fn push(&mut self, snapshot: Snapshot) {
        match self.ring.back_mut() {
            Some((last, seconds)) if *last == snapshot => *seconds += 1,
            _ => self.ring.push_back((snapshot, 1)),
        }
        self.seconds += 1;
        if self.seconds > SLOTS + 1 {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        self.seconds -= 1;
        if let Some((_, seconds)) = self.ring.front_mut() {
            *seconds -= 1;
            if *seconds == 0 {
                self.ring.pop_front();
            }
        }
    }

    /// The newest snapshot, and before it the one that is `seconds` older, or the oldest.
    fn ends(&self, seconds: usize) -> Option<(&Snapshot, &Snapshot)> {
        let mut older = seconds;
        let earlier = self.ring.iter().rev().find(|(_, lasted)| {
            let is_it = older < *lasted;
            older = older.saturating_sub(*lasted);
            is_it
        });
        let (earlier, _) = earlier.or(self.ring.front())?;
        self.ring.back().map(|(newest, _)| (earlier, newest))
    }

    /// What was counted over the last minute, or since the first snapshot if that is nearer, and how long that was.
    pub fn last_minute(&self) -> (Snapshot, Duration) {
        match (self.ring.front(), self.ring.back()) {
            (Some((first, _)), Some((last, _))) => {
                (last.since(first), Duration::from_secs(self.seconds.saturating_sub(1) as u64))
            }
            _ => (Snapshot::default(), Duration::ZERO),
        }
    }
}

/// The figures of one version under one rule, kept by the control thread.
#[derive(Debug)]
pub struct VersionStats {
    own: OwnSeries,
    window: Window,
    /// The steps that were over when this version came.
    earlier_steps: u64,
    /// Where there was a request in the last five minutes.
    history: Option<Box<History>>,
}

impl VersionStats {
    /// Figures over all protocols and callers of the version, from the second `now` of a count that all versions share.
    /// The minute begins then; the counts began with the series.
    pub fn new(recorder: &Recorder, labels: &VersionLabels, now: u64) -> VersionStats {
        let own = OwnSeries::new(recorder, labels);
        let mut window = Window::default();
        window.push(read(&own));
        VersionStats { own, window, earlier_steps: now / STEP, history: None }
    }

    /// Reads the series at the end of the second `now`. Once a second.
    pub fn tick(&mut self, now: u64) {
        self.window.push(read(&self.own));
        if now.is_multiple_of(STEP) {
            self.end_step(now / STEP);
        }
    }

    fn end_step(&mut self, step: u64) {
        let Some((earlier, now)) = self.window.ends(STEP as usize) else { return };
        let point = Point::between(earlier, now);
        match &mut self.history {
            Some(history) => history.push(step, point),
            None if point.requests > 0 => self.history = Some(Box::new(History::new(step, point))),
            None => {}
        }
        if self.history.as_ref().is_some_and(|history| history.is_empty()) {
            self.history = None;
        }
    }

    /// The steps that were over in the second `now`, oldest first: those of the last `seconds`, of at most five
    /// minutes, and none from before the version came.
    pub fn steps(&self, now: u64, seconds: u64) -> Vec<Point> {
        let count = (seconds / STEP).min((now / STEP).saturating_sub(self.earlier_steps)) as usize;
        match &self.history {
            Some(history) => history.last(count),
            None => vec![Point::default(); count],
        }
    }

    /// The figures since the process started, `uptime` ago.
    pub fn since_start(&self, uptime: Duration) -> Figures {
        read(&self.own).figures(uptime)
    }

    /// The figures of the last minute.
    pub fn last_minute(&self) -> Figures {
        let (snapshot, elapsed) = self.window.last_minute();
        snapshot.figures(elapsed)
    }
}

fn read(own: &OwnSeries) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for (outcome, requests, durations) in own.counted() {
        snapshot.requests[outcome.index()] += requests.get();
        durations.add_buckets(&mut snapshot.buckets);
    }
    snapshot
}

#[cfg(test)]
#[path = "window_tests.rs"]
mod tests;
