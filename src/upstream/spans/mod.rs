//! Sends spans to a collector, by OpenTelemetry's protocol.
//!
//! Laws: on a thread of its own, so that nobody waits for it; in batches, each over a connection of its own, so that a
//! collector behind a balancer gets its share and none is lost to a connection that has just been closed. What a collector
//! asks for again it gets again, a few times, ever later; what it refuses, or does not take in the end, is lost and
//! counted.

mod otlp;
mod send;
mod trouble;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::RngExt as _;
use tokio::sync::Notify;
use tokio::time::{Instant as Timer, sleep_until};

use super::resolve::Resolver;
use crate::runtime::worker;
use crate::snapshot::{Node, Tracing};
use crate::telemetry::families::{SpanLoss, SpanMeter};
use crate::telemetry::trace::{Closer, Overflow, SpanQueue, SpanSource, span_queue};

pub use otlp::{Resource, request as otlp_request};
use send::Sent;
use trouble::{Line, Troubles, What};

/// How often a batch is sent at most.
const TRIES: u32 = 5;
/// Pause before the second time; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also of those that a collector asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// Everybody who sends spans: to the present collector, and to that of planes that have requests yet.
#[derive(Debug, Default)]
pub struct Exporters(Vec<Exporter>);

struct Exporter {
    closer: Closer,
    /// Closed when its thread has ended.
    ended: Receiver<()>,
}

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl Exporters {
    /// Starts to send to a collector, for as long as anybody has the queue.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread.
    pub fn start(
        &mut self,
        tracing: &Tracing,
        node: &Node,
        resolver: Resolver,
        meter: SpanMeter,
    ) -> io::Result<SpanQueue> {
        let (queue, source) = span_queue(meter);
        let closer = source.closer();
        let (running, ended) = channel();
        let sender = Sender::new(tracing.clone(), Resource::of(tracing, node), resolver);
        worker::spawn("spans", move || async move {
            run(source, sender).await;
            drop(running);
        })?;
        self.0.retain(|exporter| exporter.ended.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty));
        self.0.push(Exporter { closer, ended });
        Ok(queue)
    }

    /// Has what is there sent, within `patience`. Returns the spans that were left.
    pub fn close(&self, patience: Duration) -> usize {
        let until = Instant::now() + patience;
        self.0.iter().for_each(|exporter| exporter.closer.close());
        let left = |exporter: &Exporter| {
            let patience = until.saturating_duration_since(Instant::now());
            match exporter.ended.recv_timeout(patience) {
                Err(RecvTimeoutError::Timeout) => exporter.closer.abandon(),
                _ => 0,
            }
        };
        self.0.iter().map(left).sum()
    }
}

/// What sends to one collector.
struct Sender {
    tracing: Tracing,
    resource: Resource,
    resolver: Resolver,
    troubles: RefCell<Troubles>,
    /// There may be a line to tell.
    noted: Notify,
}

async fn run(mut source: SpanSource, sender: Sender) {
    let overflow = source.overflow();
    let send_all = async {
        while let Some(mut batch) = source.next().await {
            let request = otlp::request(&sender.resource, &batch.requests);
            batch.requests = Vec::new(); // what is written of them takes their room
            sender.deliver(&source, request, batch.spans()).await;
            source.done(batch);
        }
    };
    tokio::select! { () = send_all => {} () = sender.tell(&overflow) => {} }
    sender.tell_rest(&overflow);
}

impl Sender {
    fn new(tracing: Tracing, resource: Resource, resolver: Resolver) -> Sender {
        Sender { tracing, resource, resolver, troubles: RefCell::default(), noted: Notify::new() }
    }

    /// Sends a batch until it is taken or lost.
    async fn deliver(&self, source: &SpanSource, request: Bytes, spans: usize) {
        let meter = source.meter();
        let mut tries = 1;
        loop {
            match send::send(&self.tracing, &self.resolver, request.clone()).await {
                Sent::Taken { rejected, message } => {
                    let rejected = usize::try_from(rejected).unwrap_or(spans).min(spans);
                    meter.export(spans - rejected);
                    meter.lose(SpanLoss::Refused, rejected);
                    return self.note(|troubles| match (rejected, &*message) {
                        (0, _) => troubles.taken(),
                        (_, "") => troubles.lost(SpanLoss::Refused, rejected, "it does not say why"),
                        (_, why) => troubles.lost(SpanLoss::Refused, rejected, why),
                    });
                }
                Sent::Refused(why) => {
                    meter.lose(SpanLoss::Refused, spans);
                    return self.note(|troubles| troubles.lost(SpanLoss::Refused, spans, &why));
                }
                Sent::Again { why, .. } if tries == TRIES || source.is_closing() => {
                    let loss = if source.is_closing() { SpanLoss::Shutdown } else { SpanLoss::Unreachable };
                    meter.lose(loss, spans);
                    return self.note(|troubles| troubles.lost(loss, spans, &why));
                }
                Sent::Again { after, why } => {
                    self.note(|troubles| troubles.failed(spans, &why));
                    let pause = PAUSE * 2_u32.pow(tries - 1);
                    // Not in step with all the others whose collector has just come back.
                    let pause = pause.mul_f64(rand::rng().random_range(0.8..1.2));
                    source.pause(pause.max(after).min(LONGEST_PAUSE)).await;
                    tries += 1;
                }
            }
        }
    }

    fn note(&self, what: impl FnOnce(&mut Troubles)) {
        what(&mut self.troubles.borrow_mut());
        self.noted.notify_one();
    }

    /// Writes each line of the process's log when its time has come, whatever the collector is about. Never ends.
    async fn tell(&self, overflow: &Overflow) {
        loop {
            let next = self.tell_due(overflow);
            let timer = async {
                match next {
                    Some(next) => sleep_until(Timer::from_std(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! { () = timer => {} () = self.noted.notified() => {} () = overflow.wait() => {} }
        }
    }

    /// Writes what is due. Returns when there may be more, if nothing happens before.
    fn tell_due(&self, overflow: &Overflow) -> Option<Instant> {
        let (now, closing) = (Instant::now(), overflow.is_closing());
        let mut troubles = self.troubles.borrow_mut();
        let quiet_until = troubles.queue_is_quiet_until(now).filter(|_| !closing);
        if quiet_until.is_none() {
            troubles.lost(SpanLoss::QueueFull, overflow.take(), "");
        }
        troubles.due(now, closing).iter().for_each(|line| self.write(line));
        [troubles.next(), quiet_until].into_iter().flatten().min()
    }

    /// What has not been told, at the end.
    fn tell_rest(&self, overflow: &Overflow) {
        let mut troubles = self.troubles.borrow_mut();
        troubles.lost(SpanLoss::QueueFull, overflow.take(), "");
        troubles.due(Instant::now(), true).iter().for_each(|line| self.write(line));
    }

    fn write(&self, Line { what, spans, reason }: &Line) {
        let collector = &self.tracing.collector;
        match what {
            What::Retrying => {
                tracing::warn!(%collector, spans, %reason, "cannot send spans to the collector, retrying");
            }
            What::Lost(SpanLoss::QueueFull) => {
                tracing::warn!(%collector, spans, "the collector is too slow; spans that find no room are lost");
            }
            What::Lost(SpanLoss::Refused) => {
                tracing::warn!(%collector, spans, %reason, "the collector refuses spans; they are lost");
            }
            What::Lost(SpanLoss::Unreachable) => {
                tracing::warn!(%collector, spans, %reason, "spans did not arrive, try after try; they are lost");
            }
            What::Lost(SpanLoss::Shutdown) => {
                tracing::warn!(%collector, spans, %reason, "the collector takes no spans; the last ones are lost");
            }
            What::Again => tracing::info!(%collector, lost = spans, "the collector takes spans again"),
        }
    }
}
