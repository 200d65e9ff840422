//! How an exchange ends: given up from outside, or because its answer's body has ended or was dropped; and who is told.
//!
//! Law: once. What it holds is let go before anybody is told.

use std::time::{Duration, Instant};

use super::download::Download;
use super::{Exchange, Reached};
use crate::message::body::Body;
use crate::proxy::reply::Reason;
use crate::proxy::{attempt, trace};
use crate::runtime::clock::Tick;
use crate::telemetry::RequestRecord;
use crate::telemetry::families::weir::RetryReason;
use crate::words::Flag;

impl Exchange {
    /// What its route says of a stream without a byte, if anything: of the whole, or of an attempt whose answer has begun.
    pub(in crate::proxy) fn idle_of_its_own(&self) -> Option<Duration> {
        if self.given_up.get().is_some() {
            return None; // its caller has as long as any other to take what it gets
        }
        let (route, _) = self.chosen_target()?;
        let policy = &route.filters.as_ref()?.policy;
        match (policy.timeouts.idle, self.try_idle()) {
            (Some(idle), Some(per_try)) if !idle.is_zero() => Some(idle.min(per_try)),
            (idle, per_try) => per_try.or(idle),
        }
    }

    /// What its route says of an attempt without a byte whose answer has begun, if anything.
    fn try_idle(&self) -> Option<Duration> {
        let (route, _) = self.chosen_target()?;
        let retry = route.filters.as_ref()?.policy.retry.as_ref()?;
        retry.per_try_idle_timeout.filter(|_| self.download.borrow().started)
    }

    /// Why it should be given up at `now`, if it should.
    pub(in crate::proxy) fn overdue(
        &self,
        now: Tick,
        real: Instant,
        stream_idle: Duration,
    ) -> Option<Reason> {
        if self.given_up.get().is_some() {
            return None; // once is enough, however long its caller takes to notice
        }
        let passed = self.deadline.get().is_some_and(|deadline| real >= deadline);
        if passed && self.download.borrow().started {
            Some(Reason::Timeout)
        } else if passed && self.swept.get() {
            // Any other attempt has a timer of its own before its head, which is exact. gRPC's deadline the caller knows
            // itself: it leaves in time.
            Some(Reason::GrpcDeadline)
        } else if !stream_idle.is_zero() && now.since(self.progress.get()) > stream_idle {
            Some(match self.upload.is_complete() {
                _ if self.try_idle() == Some(stream_idle) => Reason::PerTryIdle,
                true => Reason::StreamIdle,
                false => Reason::RequestIdle,
            })
        } else {
            None
        }
    }

    /// Ends it from outside: what it holds is let go at once; its task gives the answer, or cuts the one begun.
    pub(in crate::proxy) fn give_up(&self, reason: Reason) {
        if self.given_up.replace(Some(reason)).is_some() {
            return;
        }
        let mut download = self.download.borrow_mut();
        if download.started && download.may_be_cut() {
            download.body = Body::Empty;
            let lease = download.lease.take();
            drop(download);
            if let Some(lease) = lease.filter(|_| reason == Reason::Timeout) {
                lease.ran_out_of_time();
            }
            self.blame(reason);
        }
        self.upload.abandon();
        if let Some(task) = self.task.take() {
            task.wake();
        }
    }

    /// Tells everybody, once.
    pub(super) fn finish(&self) {
        if self.finished.replace(true) {
            return;
        }
        self.upload.release(self);
        self.conclude(&self.download.borrow());
        if self.owes_status.get() {
            attempt::note_status(self, None);
        }
        let (body, lease) = {
            let mut download = self.download.borrow_mut();
            (std::mem::take(&mut download.body), download.lease.take())
        };
        drop((body, lease));
        if !self.upload.is_complete() {
            // Nobody watches over it from here on. What an HTTP/1 caller still sends its connection reads out.
            self.upload.abandon();
        }
        let lane = &self.downstream.lane;
        lane.exchanges.borrow_mut().try_remove(self.key.get());
        self.report();
        drop(self.chosen.take());
        self.downstream.close_request();
    }

    /// The last entries of the record, and what becomes of the connection upstream.
    fn conclude(&self, download: &Download) {
        let mut record = self.record.borrow_mut();
        record.finish(Instant::now());
        (record.request_bytes, record.request_messages) = self.upload.counted();
        if let Some(messages) = &download.messages {
            record.response_messages = messages.messages();
        }
        if download.complete {
            if let Some(lease) = &download.lease {
                lease.completed();
            }
        } else if !record.flags.blame() {
            record.flags.raise(Flag::DownstreamConnectionTermination);
            record.details = "downstream_remote_disconnect";
        } else if download.started && !download.ours {
            self.seat.listener.http.rq_tx_reset.increment(1);
        }
    }

    fn report(&self) {
        let record = self.record.borrow();
        let (http, meter) = (&self.seat.listener.http, &self.seat.listener.meter);
        http.rq_active.decrement(1.0);
        if record.flags.has(Flag::DownstreamConnectionTermination) {
            http.rq_rx_reset.increment(1);
        }
        http.answered(record.status, record.duration);
        meter.answered(record.status);
        self.report_version(&record);
        if let Some(trace) = self.trace.take() {
            trace::finish(self, trace, &record);
        }
        if let Some(log) = &self.seat.generation.plane.access_log {
            drop(record);
            let mut record = self.record.borrow_mut();
            if let (Some(logged), Some(chosen)) = (&mut record.logged, &*self.chosen.borrow()) {
                logged.set_version(chosen.version.clone());
            }
            log.log(&mut record);
        }
    }

    /// Counts an attempt after the first, under the version that was chosen.
    pub(in crate::proxy) fn count_retry(&self, reason: RetryReason) {
        let chosen = self.chosen.borrow();
        let Some(chosen) = &*chosen else { return };
        let delivers = !matches!(self.seat.listener.chain().mode, crate::snapshot::Mode::Split);
        let recorder = &self.downstream.lane.shared.recorder;
        self.seat.generation.meter(recorder, chosen, self.seat.caller, delivers).count_retry(reason);
    }

    /// The split listener reports what the caller got; whoever handed the request to a model server reports that.
    fn report_version(&self, record: &RequestRecord) {
        let chosen = self.chosen.borrow();
        let Some(chosen) = &*chosen else { return };
        let (generation, recorder) = (&self.seat.generation, &self.downstream.lane.shared.recorder);
        let meter = |delivers| generation.meter(recorder, chosen, self.seat.caller, delivers);
        let splits = matches!(self.seat.listener.chain().mode, crate::snapshot::Mode::Split);
        let served = self.reached.get() == Reached::ModelServer;
        if !splits {
            if served {
                meter(true).report_destination(record);
            }
            return;
        }
        let meter = meter(false);
        if served {
            meter.report_both(record);
        } else {
            meter.report_source(record);
        }
        if generation.plane.dimensions.is_some() {
            meter.count_dimensions(record, self.tags.get());
        }
    }
}
