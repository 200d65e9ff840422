//! Coarse time for what is checked by sweeping: idle connections, heads in the making, streams without progress.
//!
//! Law: reading it costs one thread-local load, never a system call. Each worker's sweep moves it on, so it lags
//! by at most [`SWEEP`]; what must be exact (durations, timeouts) reads the real clock. It is made of the monotonic clock
//! alone: whoever sets the machine's time changes no limit.
//!
//! There are two kinds of it. A process that was stopped (SIGSTOP, a frozen cgroup, a paused machine) has read nothing
//! meanwhile, so its peers are not to blame for the silence: that time does not count against them. But it did pass for
//! a pooled connection that its other end may have closed.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How often a worker looks over its connections and streams, and so the resolution of coarse time.
pub const SWEEP: Duration = Duration::from_millis(100);

/// When two sweeps are further apart than this, the worker did not run in the rest of the time.
const LONGEST_STEP_MS: u64 = 500;

/// A moment, in milliseconds since the worker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick {
    /// All of them.
    passed: u64,
    /// Those in which the worker ran.
    ran: u64,
}

impl Tick {
    /// A tick at `ms` milliseconds.
    pub fn from_ms(ms: u64) -> Tick {
        Tick { passed: ms, ran: ms }
    }

    /// Time from `earlier` to `self` in which the worker ran, so that a peer could have been heard; zero when `earlier`
    /// is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.ran.saturating_sub(earlier.ran))
    }

    /// All the time from `earlier` to `self`, for what ages whether we run or not.
    pub fn age_since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.passed.saturating_sub(earlier.passed))
    }
}

/// Bytes read on this thread after which the worker looks over its buffers without waiting for the next sweep.
const LOOK_AFTER_BYTES: usize = 2 << 20;

thread_local! {
    static NOW: Cell<Tick> = const { Cell::new(Tick { passed: 0, ran: 0 }) };
    static READ: Cell<usize> = const { Cell::new(0) };
    static LOOK: Rc<Notify> = Rc::new(Notify::new());
}

/// Counts bytes read from the network on this thread; much in little time brings the next sweep forward.
pub fn note_read(n: usize) {
    READ.with(|read| {
        let sum = read.get() + n;
        read.set(if sum < LOOK_AFTER_BYTES { sum } else { 0 });
        if sum >= LOOK_AFTER_BYTES {
            LOOK.with(|look| look.notify_one());
        }
    });
}

/// Waits until it is time to sweep this thread's connections and streams.
pub async fn sweep_due(ticks: &mut tokio::time::Interval) {
    let look = LOOK.with(Rc::clone);
    tokio::select! {
        _ = ticks.tick() => {}
        () = look.notified() => {}
    }
}

/// The coarse time of this thread.
pub fn now() -> Tick {
    NOW.with(Cell::get)
}

/// Moves this thread's coarse time to `real`, measured from `start`; never back.
pub fn advance(start: Instant, real: Instant) {
    let passed = u64::try_from(real.saturating_duration_since(start).as_millis()).unwrap_or(u64::MAX);
    NOW.with(|now| {
        let before = now.get();
        let step = passed.saturating_sub(before.passed);
        now.set(Tick {
            passed: before.passed.saturating_add(step),
            ran: before.ran.saturating_add(step.min(LONGEST_STEP_MS)),
        });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In steps as sweeps make them.
    fn run(start: Instant, from_ms: u64, to_ms: u64) {
        for ms in (from_ms..=to_ms).step_by(100) {
            advance(start, start + Duration::from_millis(ms));
        }
    }

    #[test]
    fn time_in_which_the_worker_was_stopped_ages_connections_but_counts_against_no_peer() {
        let start = Instant::now();
        run(start, 0, 2_000);
        let before = now();
        run(start, 62_000, 63_000);
        assert_eq!(now().since(before), Duration::from_millis(1_500));
        assert_eq!(now().age_since(before), Duration::from_secs(61));
    }

    #[test]
    fn a_worker_that_is_late_for_its_sweep_did_run() {
        let start = Instant::now();
        run(start, 0, 100);
        let before = now();
        advance(start, start + Duration::from_millis(500));
        assert_eq!(now().since(before), Duration::from_millis(400));
    }

    #[test]
    fn time_never_goes_back() {
        let start = Instant::now();
        run(start, 0, 1_000);
        let before = now();
        advance(start, start);
        assert_eq!(now(), before);
        assert_eq!(Tick::default().since(before), Duration::ZERO);
    }
}
