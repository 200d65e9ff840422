//! Whether the caller of an HTTP/1 request is still there, and what is made of one that has closed its sending side.
//!
//! Law: who sends no more is answered; who has gone altogether is noticed, as far as TCP lets it be.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use http::Version;
use tokio::time::{Instant, Sleep, sleep};

use super::{AHEAD, CONTINUE, HEAD_READ, Wire};
use crate::message::body::Http1Source as _;
use crate::runtime::clock;
use crate::transport::io::HangUp;

/// How soon a caller that has closed its sending side is looked at again, at first and at the most.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(80)];
/// See `Wire::grace`.
const GRACE: Duration = Duration::from_millis(20);

/// A caller that has closed its sending side, after a whole request.
pub(super) struct HalfClose {
    look: Pin<Box<Sleep>>,
    interval: Duration,
    written: u64,
}

impl Wire {
    /// Whether the caller has gone, so that nobody waits for the answer.
    pub(in crate::proxy) fn poll_left(&self, cx: &mut Context<'_>) -> bool {
        if self.left.get() {
            return true;
        }
        if !self.is_done() {
            return self.poll_left_unread(cx); // whoever reads the body sees its end, but it may stand still
        }
        let mut read = self.read.borrow_mut();
        // Mostly it is silent.
        if read.buf.is_empty() && !read.eof && self.io.borrow_mut().poll_readable(cx).is_pending() {
            read.buf = BytesMut::new();
            self.activity.watch_peer(false); // its end wakes this task by itself
            return false;
        }
        while !read.eof && read.buf.len() < AHEAD {
            match self.poll_fill(&mut read, cx, HEAD_READ) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => self.left.set(true),
                Poll::Pending => return false,
            }
            if self.left.get() {
                return true;
            }
        }
        if read.eof {
            // In a tunnel each side ends for itself.
            let gone = if self.tunnel.get() {
                self.activity.watch_peer(true);
                self.io.borrow().hang_up() == HangUp::Gone
            } else {
                self.poll_half_closed(cx)
            };
            self.left.set(gone);
            return self.left.get();
        }
        drop(read);
        self.activity.watch_peer(true);
        self.poll_left_unread(cx)
    }

    /// What the caller sends is not read just now, and so not its end either: the socket is asked, as often as the sweep
    /// wakes this task.
    fn poll_left_unread(&self, cx: &mut Context<'_>) -> bool {
        let now = clock::now();
        if now.since(self.looked.replace(now)).is_zero() && self.grace.borrow().is_none() {
            return false;
        }
        let hang_up = self.io.borrow().hang_up();
        let gone = match hang_up {
            HangUp::None => false,
            HangUp::Gone => true,
            HangUp::SendsNoMore if self.tunnel.get() => false,
            HangUp::SendsNoMore => {
                !self.reader_waits.get() && self.grace_is_over(cx) && self.poll_half_closed(cx)
            }
        };
        self.left.set(gone);
        gone
    }

    fn grace_is_over(&self, cx: &mut Context<'_>) -> bool {
        let mut grace = self.grace.borrow_mut();
        let grace = grace.get_or_insert_with(|| Box::pin(sleep(GRACE)));
        grace.is_elapsed() || grace.as_mut().poll(cx).is_ready()
    }

    /// The caller has closed its sending side. Whether it has gone altogether TCP does not say, until something is
    /// sent: an interim answer, which every HTTP/1.1 caller has to bear (RFC 9110 section 15.2). Who has gone resets it.
    ///
    /// Behind the answer's head nothing of the kind can be sent: there it counts as gone when nothing else is written.
    fn poll_half_closed(&self, cx: &mut Context<'_>) -> bool {
        let mut half_close = self.half_close.borrow_mut();
        let state = half_close.get_or_insert_with(|| {
            if !self.answering.get() && self.version.get() == Version::HTTP_11 {
                self.write_interim(CONTINUE);
            }
            let interval = if self.answering.get() { LOOK_AGAIN[1] } else { LOOK_AGAIN[0] };
            let written = self.activity.bytes_written();
            HalfClose { look: Box::pin(sleep(interval)), interval, written }
        });
        while state.look.as_mut().poll(cx).is_ready() {
            let written = self.activity.bytes_written();
            let silent = self.answering.get() && written == state.written;
            if self.io.borrow().hang_up() == HangUp::Gone || silent {
                return true;
            }
            state.written = written;
            state.interval = (state.interval * 2).min(LOOK_AGAIN[1]);
            state.look.as_mut().reset(Instant::now() + state.interval);
        }
        self.left.get()
    }
}
