//! Coarse time for what is checked by sweeping: idle connections, heads in the making, streams without progress.
//!
//! Law: reading it costs one thread-local load, never a system call. Each worker's sweep moves it on, so it lags
//! by at most [`SWEEP`]; what must be exact (durations, timeouts) reads the real clock.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How often a worker looks over its connections and streams, and so the resolution of coarse time.
pub const SWEEP: Duration = Duration::from_millis(100);

/// Milliseconds since the worker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(u64);

impl Tick {
    /// A tick at `ms` milliseconds.
    pub fn from_ms(ms: u64) -> Tick {
        Tick(ms)
    }

    /// Time from `earlier` to `self`; zero when `earlier` is later.
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Bytes read on this thread after which the worker looks over its buffers without waiting for the next sweep.
const LOOK_AFTER_BYTES: usize = 2 << 20;

thread_local! {
    static NOW: Cell<Tick> = const { Cell::new(Tick(0)) };
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

/// Moves this thread's coarse time to `real`, measured from `start`.
pub fn advance(start: Instant, real: Instant) {
    let ms = real.saturating_duration_since(start).as_millis();
    NOW.with(|now| now.set(Tick(u64::try_from(ms).unwrap_or(u64::MAX))));
}
