//! The request's body as an upstream engine reads it, for one attempt: first what earlier attempts had of it, then what
//! is new, which is counted, and kept where it may be needed again.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::super::Exchange;
use super::super::kept::{Keeping, Kept};
use super::super::room::{OfProcess, Room as _, Whose};
use crate::message::body::BodyError;
use crate::message::hop_by_hop;

/// The request's body as an upstream engine reads it, for one attempt.
pub(in crate::proxy) struct UploadBody {
    exchange: Rc<Exchange>,
    attempt: u32,
    trailers_sent: bool,
}

impl UploadBody {
    /// For the attempt that may read now.
    pub(super) fn new(exchange: Rc<Exchange>) -> UploadBody {
        let attempt = exchange.upload.attempt.get();
        UploadBody { exchange, attempt, trailers_sent: false }
    }

    fn next_kept(&mut self) -> Option<Frame<Bytes>> {
        let mut kept = self.exchange.upload.kept.borrow_mut();
        let piece = match kept.pieces.from(kept.sent) {
            Some(piece) => piece,
            None if kept.rare.is_none() => return None,
            None => match kept.tape().and_then(|tape| tape.from(kept.sent)) {
                Some(piece) => piece,
                None => {
                    let trailers = kept.trailers().filter(|_| kept.trailers_left)?.clone();
                    kept.trailers_left = false;
                    self.trailers_sent = true;
                    return Some(Frame::trailers(trailers));
                }
            },
        };
        kept.sent += piece.len();
        Some(Frame::data(piece))
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        let upload = &self.exchange.upload;
        match frame.into_data() {
            Ok(data) => {
                upload.bytes.set(upload.bytes.get() + data.len() as u64);
                if let Some(messages) = &mut *upload.messages.borrow_mut() {
                    messages.feed(&data);
                }
                self.keep(&data);
                if upload.complete.get() || upload.is_drained() {
                    self.complete();
                }
                Frame::data(data)
            }
            Err(frame) => match frame.into_trailers() {
                Ok(mut trailers) => {
                    hop_by_hop::strip_trailers(&mut trailers);
                    self.complete();
                    let mut kept = upload.kept.borrow_mut();
                    if kept.keeping != Keeping::Nowhere {
                        if let Some(tape) = kept.tape() {
                            tape.finish(Some(&trailers));
                        }
                        kept.rare.get_or_insert_default().trailers = Some(trailers.clone());
                        self.trailers_sent = true;
                    }
                    Frame::trailers(trailers)
                }
                Err(other) => other,
            },
        }
    }

    /// Keeps a piece for another attempt, if there may be one and there is room.
    fn keep(&self, data: &Bytes) {
        let mut kept = self.exchange.upload.kept.borrow_mut();
        if kept.keeping != Keeping::Here {
            return self.keep_on_tape(&mut kept, data);
        }
        let (room, held) = (OfProcess::of(&self.exchange), kept.pieces.bytes());
        if let Err(limit) = room.take(Whose::Attempts, held, data.len()) {
            room.note(Whose::Attempts, limit);
            room.give(Whose::Attempts, held);
            if let Some(cluster) = self.exchange.cluster_meter() {
                cluster.retry_or_shadow_abandoned.increment(1);
            }
            *kept = Kept::gone();
            return;
        }
        kept.pieces.push(data);
        kept.sent += data.len();
    }

    /// Keeps a piece for others, if there are such.
    fn keep_on_tape(&self, kept: &mut Kept, data: &Bytes) {
        let upload = &self.exchange.upload;
        let whole = kept.tape().is_some_and(|tape| {
            let whole = tape.push(data);
            if upload.is_drained() {
                tape.finish(None);
            }
            whole
        });
        kept.lost |= !whole;
        kept.sent += data.len();
    }

    /// All of it was read.
    fn complete(&self) {
        if !self.exchange.upload.complete.replace(true) {
            self.exchange.note_upload();
        }
    }

    fn is_current(&self) -> bool {
        self.attempt == self.exchange.upload.attempt.get()
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if !this.is_current() {
            return Poll::Ready(Some(Err(BodyError::Abandoned)));
        }
        if let Some(frame) = this.next_kept() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if this.trailers_sent {
            return Poll::Ready(None);
        }
        let upload = &this.exchange.upload;
        let polled = upload.poll_frame(cx);
        if let Some(clock) = this.exchange.clock.get()
            && !upload.is_complete()
        {
            clock.asked(&this.exchange, polled.is_ready());
        }
        let frame = match polled {
            Poll::Pending => {
                upload.remember_reader(cx);
                return Poll::Pending;
            }
            Poll::Ready(frame) => frame,
        };
        this.exchange.touch();
        Poll::Ready(match frame {
            None => {
                this.complete();
                if let Some(tape) = this.exchange.upload.kept.borrow().tape() {
                    tape.finish(None);
                }
                None
            }
            Some(Ok(frame)) => Some(Ok(this.take(frame))),
            Some(Err(error)) => {
                this.exchange.upload.note_fault(&error);
                Some(Err(error))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        let kept = self.exchange.upload.kept.borrow();
        let more_kept = kept.sent < kept.bytes() || kept.trailers_left;
        !more_kept && (self.trailers_sent || self.exchange.upload.is_drained())
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.exchange.upload.kept.borrow();
        let replayed = kept.bytes().saturating_sub(kept.sent);
        match self.exchange.upload.length() {
            Some(rest) => SizeHint::with_exact(rest + replayed as u64),
            None => SizeHint::default(),
        }
    }
}
