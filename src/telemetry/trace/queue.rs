//! Spans on their way out: a bounded queue between the workers and whoever sends them.
//!
//! Law: who has spans never waits. What does not fit is lost and counted, and what is on its way out has its place in
//! the queue until it is there. A worker wakes the other side once for a whole batch, not for each request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::record::Finished;
use crate::telemetry::families::{SpanLoss, SpanMeter};

/// Spans that may wait, or be on their way.
pub const QUEUE_SPANS: usize = 2_048;
/// Bytes that may wait, or be on their way: four times what as many usual spans take.
const QUEUE_BYTES: usize = 4 << 20;
/// Spans that are sent at once.
pub const BATCH_SPANS: usize = 512;
/// Bytes from which on spans are sent, however few they are. Collectors take messages of 4 MiB, and what is written of
/// a request is up to five times what is kept of it: each attempt's span says again what its request's does.
const BATCH_BYTES: usize = 512 << 10;
/// How long spans gather where they are fewer.
const GATHER: Duration = Duration::from_secs(1);

/// The side that has spans. Cloning shares it; when the last clone is gone the rest is sent, and that is the end.
#[derive(Clone)]
pub struct SpanQueue {
    items: Sender<Finished>,
    shared: Arc<Shared>,
}

/// The side that sends them.
pub struct SpanSource {
    items: Receiver<Finished>,
    shared: Arc<Shared>,
}

struct Shared {
    spans: AtomicUsize,
    bytes: AtomicUsize,
    full_batch: Notify,
    closing: AtomicBool,
    closed: Notify,
    /// Spans that found no room since somebody asked.
    overflowed: AtomicUsize,
    overflow: Notify,
    meter: SpanMeter,
}

/// Room in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Room {
    spans: usize,
    bytes: usize,
}

impl Room {
    fn of(finished: &Finished) -> Room {
        Room { spans: finished.spans(), bytes: finished.bytes() }
    }

    fn and(self, other: Room) -> Room {
        Room { spans: self.spans + other.spans, bytes: self.bytes + other.bytes }
    }

    fn is_within(self, spans: usize, bytes: usize) -> bool {
        self.spans <= spans && self.bytes <= bytes
    }

    /// Whether it is worth sending at once.
    fn is_batch(self) -> bool {
        self.spans >= BATCH_SPANS || self.bytes >= BATCH_BYTES
    }
}

impl Shared {
    /// What is taken.
    fn taken(&self) -> Room {
        Room { spans: self.spans.load(Relaxed), bytes: self.bytes.load(Relaxed) }
    }

    /// Takes `room`; returns what was taken before.
    fn take(&self, room: Room) -> Room {
        Room {
            spans: self.spans.fetch_add(room.spans, Relaxed),
            bytes: self.bytes.fetch_add(room.bytes, Relaxed),
        }
    }

    fn give_back(&self, room: Room) {
        self.spans.fetch_sub(room.spans, Relaxed);
        self.bytes.fetch_sub(room.bytes, Relaxed);
    }
}

/// Requests that are sent at once. Their room is theirs until it is [given back](SpanSource::done).
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which they ended.
    pub requests: Vec<Finished>,
    room: Room,
}

impl Batch {
    /// Spans of all of them.
    pub fn spans(&self) -> usize {
        self.room.spans
    }
}

/// A queue, whose losses `meter` counts.
pub fn span_queue(meter: SpanMeter) -> (SpanQueue, SpanSource) {
    // Bounded by our own count: a channel with bounds takes the memory for all of them at once.
    let (sender, receiver) = channel();
    let shared = Arc::new(Shared {
        spans: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        full_batch: Notify::new(),
        closing: AtomicBool::new(false),
        closed: Notify::new(),
        overflowed: AtomicUsize::new(0),
        overflow: Notify::new(),
        meter,
    });
    (SpanQueue { items: sender, shared: shared.clone() }, SpanSource { items: receiver, shared })
}

impl fmt::Debug for SpanQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanQueue").field("spans", &self.shared.spans).finish_non_exhaustive()
    }
}

impl fmt::Debug for SpanSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpanSource").field("spans", &self.shared.spans).finish_non_exhaustive()
    }
}

impl SpanQueue {
    /// Queues the spans of a request, or counts them as lost. Never waits.
    pub fn push(&self, finished: Finished) {
        let (shared, room) = (&*self.shared, Room::of(&finished));
        let before = shared.take(room);
        if !before.and(room).is_within(QUEUE_SPANS, QUEUE_BYTES) {
            shared.give_back(room);
            // Who tells of it is woken by the first, and not again before it has looked.
            if shared.overflowed.fetch_add(room.spans, Relaxed) == 0 {
                shared.overflow.notify_one();
            }
            return shared.meter.lose(SpanLoss::QueueFull, room.spans);
        }
        if self.items.send(finished).is_err() {
            shared.give_back(room);
            return shared.meter.lose(SpanLoss::Shutdown, room.spans);
        }
        // Each by itself: of two who take room at once each may see the other's half.
        let fills = |before, taken, batch| before < batch && before + taken >= batch;
        if fills(before.spans, room.spans, BATCH_SPANS) || fills(before.bytes, room.bytes, BATCH_BYTES) {
            shared.full_batch.notify_one();
        }
    }
}

impl SpanSource {
    /// Requests with a batch of spans, or with all there are when some have gathered for a while; `None` when there will
    /// be no more. They keep their places until [`done`](Self::done).
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            if !self.shared.taken().is_batch() && !self.is_closing() {
                // Whichever comes first: the queue is looked at then.
                let full = self.shared.full_batch.notified();
                let closed = self.shared.closed.notified();
                let _ = timeout(GATHER, async {
                    tokio::select! { () = full => {} () = closed => {} }
                })
                .await;
            }
            let (batch, ended) = self.take();
            if !batch.requests.is_empty() {
                return Some(batch);
            }
            if ended || self.is_closing() {
                return None;
            }
        }
    }

    fn take(&mut self) -> (Batch, bool) {
        let mut batch = Batch::default();
        while !batch.room.is_batch() {
            match self.items.try_recv() {
                Ok(finished) => {
                    batch.room = batch.room.and(Room::of(&finished));
                    batch.requests.push(finished);
                }
                Err(error) => return (batch, error == TryRecvError::Disconnected),
            }
        }
        (batch, false)
    }

    /// What was taken has left, or is lost.
    pub fn done(&self, batch: Batch) {
        self.shared.give_back(batch.room);
    }

    /// Counts what became of spans.
    pub fn meter(&self) -> &SpanMeter {
        &self.shared.meter
    }

    /// Whether the process is about to end, so that nothing is waited for.
    pub fn is_closing(&self) -> bool {
        self.shared.closing.load(SeqCst)
    }

    /// Waits for `pause`, or until the process is about to end.
    pub async fn pause(&self, pause: Duration) {
        if !self.is_closing() {
            let _ = timeout(pause, self.shared.closed.notified()).await;
        }
    }

    /// By which somebody else gets to know of spans that find no room.
    pub fn overflow(&self) -> Overflow {
        Overflow(self.shared.clone())
    }

    /// By which somebody else has what is left sent.
    pub fn closer(&self) -> Closer {
        Closer(self.shared.clone())
    }
}

/// The spans that find no room.
pub struct Overflow(Arc<Shared>);

impl fmt::Debug for Overflow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overflow").field("spans", &self.0.overflowed).finish_non_exhaustive()
    }
}

impl Overflow {
    /// Waits for the first one since [`take`](Self::take), or until the process is about to end.
    pub async fn wait(&self) {
        self.0.overflow.notified().await;
    }

    /// How many there were since the last call. Each is counted as lost already.
    pub fn take(&self) -> usize {
        self.0.overflowed.swap(0, Relaxed)
    }

    /// Whether the process is about to end.
    pub fn is_closing(&self) -> bool {
        self.0.closing.load(SeqCst)
    }
}

/// Has the other side send what is there, and end.
pub struct Closer(Arc<Shared>);

impl fmt::Debug for Closer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Closer").finish_non_exhaustive()
    }
}

impl Closer {
    /// From now on nothing gathers, and nothing is waited for.
    pub fn close(&self) {
        self.0.closing.store(true, SeqCst);
        self.0.closed.notify_one();
        self.0.overflow.notify_one();
    }

    /// The spans that are still there are lost. Returns how many.
    pub fn abandon(&self) -> usize {
        let left = self.0.spans.load(Relaxed);
        self.0.meter.lose(SpanLoss::Shutdown, left);
        left
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
