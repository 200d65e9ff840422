//! A stream that was opened towards an upstream, for as long as somebody may want its answer.
//!
//! Law: it is not reset before it is [`MIN_LIFE`] old, whoever leaves. A server takes many streams that are cancelled
//! as soon as they begin for an attack (CVE-2023-44487) and ends the connection, which other callers share. Until then
//! it keeps its room on the connection, so that a caller which cancels all the time is held up by its own streams. One
//! that is complete costs nothing of this.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

use crate::message::http2::client::ResponseFuture;
use crate::message::http2::error::By;
use crate::message::http2::{self, RecvStream};
use crate::message::pump::Pump;
use crate::upstream::http2::Http2Lease;

/// Within it a server has looked at the stream, even under load; of the 200 ms in which it must hear of a caller that
/// left, the rest is for the network.
const MIN_LIFE: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Stream {
    open: Option<Open>,
    opened: Instant,
    upload: Option<AbortHandle>,
    /// The answer is whole, or the upstream ended the stream.
    answered: Cell<bool>,
    /// It brings a body where none may be.
    unwanted: bool,
}

/// The engine resets the stream when the last handle on it goes; the answer's is one, before its head and behind it.
struct Open {
    answer: ResponseFuture,
    connection: Http2Lease,
}

impl Stream {
    /// The stream of `answer`, which began at `opened`; `upload` is the task that sends the rest of its request.
    pub(super) fn new(
        connection: Http2Lease,
        answer: ResponseFuture,
        upload: Option<AbortHandle>,
        opened: Instant,
    ) -> Stream {
        let open = Some(Open { answer, connection });
        Stream { open, opened, upload, answered: Cell::new(false), unwanted: false }
    }

    /// The head of the answer.
    pub(super) async fn answer(&mut self) -> Result<Response<RecvStream>, http2::Error> {
        match &mut self.open {
            Some(open) => (&mut open.answer).await,
            None => Err(http2::Error::Reset(http2::Reason::CANCEL, By::User)),
        }
    }

    /// Nothing more will come from the upstream.
    pub(super) fn end(&self) {
        self.answered.set(true);
    }

    /// What the upstream still sends is not wanted.
    pub(super) fn refuse_body(&mut self) {
        self.unwanted = true;
    }

    /// Its connection takes no new stream.
    pub(super) fn retire(&self) {
        if let Some(open) = &self.open {
            open.connection.retire();
        }
    }

    /// Both sides have ended, so that there is nothing to reset.
    fn is_complete(&self) -> bool {
        self.answered.get() && !self.unwanted && self.upload.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_complete() {
            return;
        }
        if let Some(upload) = &self.upload {
            upload.abort();
        }
        let left = left_of(self.opened);
        // Without a runtime the worker is on its way out, and its connections with it.
        if left.is_zero() || Handle::try_current().is_err() {
            return;
        }
        let open = self.open.take();
        spawn_local(async move {
            sleep(left).await;
            drop(open);
        });
    }
}

/// Cancels the stream of an upload that broke off, as soon as it is old enough.
pub(super) async fn cancel_in_time<B>(mut pump: Pump<B>, opened: Instant)
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    let left = left_of(opened);
    if !left.is_zero() {
        sleep(left).await;
    }
    pump.reset(http2::Reason::CANCEL);
}

fn left_of(opened: Instant) -> Duration {
    MIN_LIFE.saturating_sub(opened.elapsed())
}
