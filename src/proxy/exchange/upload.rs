//! The request's body on its way up: counted, and kept while a retry may need it again.
//!
//! Law: one attempt reads it at a time; an attempt that was replaced reads an error. What is kept is bounded for one
//! request and for all, and let go as soon as the answer's head is there.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame};

use super::Exchange;
use super::kept::{Keeping, Kept};
use super::room::{OfProcess, Room as _, Whose};
use super::tape::Tape;
use crate::message::body::{Body, BodyError, Http1Error};
use crate::message::grpc::MessageCounter;
use crate::message::http1::HeadError;
use crate::proxy::reply::Reason;

mod body;

pub(in crate::proxy) use body::UploadBody;

/// The state of a request's body, over all attempts.
pub(in crate::proxy) struct Upload {
    body: RefCell<Body>,
    /// Its first frame, read before anybody asked.
    ahead: RefCell<Option<Ahead>>,
    kept: RefCell<Kept>,
    /// The attempt that may read.
    attempt: Cell<u32>,
    /// Bytes read from the caller.
    bytes: Cell<u64>,
    messages: RefCell<Option<MessageCounter>>,
    complete: Cell<bool>,
    /// Why the caller's body broke off.
    fault: Cell<Option<Fault>>,
    /// The task of the attempt that waits for more, to be told when it may no longer read.
    reader: RefCell<Option<Waker>>,
}

/// A frame that was read before anybody asked.
enum Ahead {
    Data(Bytes),
    /// In a box, for few begin with them.
    Trailers(Box<HeaderMap>),
}

impl Ahead {
    fn of(frame: Frame<Bytes>) -> Option<Ahead> {
        match frame.into_data() {
            Ok(data) => Some(Ahead::Data(data)),
            Err(frame) => frame.into_trailers().ok().map(|trailers| Ahead::Trailers(Box::new(trailers))),
        }
    }

    fn into_frame(self) -> Frame<Bytes> {
        match self {
            Ahead::Data(data) => Frame::data(data),
            Ahead::Trailers(trailers) => Frame::trailers(*trailers),
        }
    }
}

/// What a caller's body that broke off says of its caller.
#[derive(Clone, Copy)]
enum Fault {
    /// It has left.
    Left,
    /// What it sent has no reading.
    Malformed(HeadError),
}

impl Upload {
    pub(super) fn new(body: Body, counts_messages: bool) -> Upload {
        Upload {
            complete: Cell::new(body.is_end_stream()),
            fault: Cell::new(None),
            body: RefCell::new(body),
            ahead: RefCell::default(),
            kept: RefCell::default(),
            attempt: Cell::new(0),
            bytes: Cell::new(0),
            messages: RefCell::new(counts_messages.then(MessageCounter::default)),
            reader: RefCell::default(),
        }
    }

    /// The body for the next attempt, which has a connection. `keep`: it may have to be sent once more.
    pub(in crate::proxy) fn next_attempt(exchange: &Rc<Exchange>, keep: bool) -> UploadBody {
        let upload = &exchange.upload;
        upload.admit(upload.attempt.get() + 1);
        if let Some(clock) = exchange.clock.get() {
            clock.connected();
        }
        let mut kept = upload.kept.borrow_mut();
        kept.sent = 0;
        kept.trailers_left = kept.trailers().is_some();
        match kept.keeping {
            Keeping::Nowhere if keep => kept.keeping = Keeping::Here,
            // A later attempt has what was kept still to get.
            Keeping::OnTape if !keep && upload.attempt.get() == 1 => kept.end_replays(),
            _ => {}
        }
        UploadBody::new(exchange.clone())
    }

    /// The body for others than the attempts, before the first of these.
    pub(in crate::proxy) fn share(&self, exchange: &Exchange) -> Rc<Tape> {
        let mut kept = self.kept.borrow_mut();
        let rare = kept.rare.get_or_insert_default();
        let room = || OfProcess::of(exchange).kept(exchange.cluster_meter().cloned());
        let tape = rare.tape.get_or_insert_with(|| Rc::new(Tape::new(room())));
        let tape = tape.clone();
        kept.keeping = Keeping::OnTape;
        if self.complete.get() {
            tape.finish(None);
        }
        tape
    }

    /// Whether another attempt would send the very same body.
    pub(in crate::proxy) fn can_be_sent_again(&self) -> bool {
        !self.kept.borrow().lost
    }

    /// Lets go of what was kept: there will be no other attempt. What this one has still to get stays until the end.
    pub(in crate::proxy) fn settle(&self, exchange: &Exchange) {
        let mut kept = self.kept.borrow_mut();
        if kept.keeping == Keeping::Nowhere && kept.bytes() == 0 {
            return; // nothing is kept, nor will be
        }
        let behind = kept.sent < kept.bytes() || kept.trailers_left;
        if !behind {
            self.let_go(exchange, &mut kept);
        } else if kept.keeping == Keeping::Here {
            kept.keeping = Keeping::Nowhere;
        }
    }

    /// Lets go of what was kept, whoever has still to get it.
    pub(super) fn release(&self, exchange: &Exchange) {
        let mut kept = self.kept.borrow_mut();
        if kept.keeping != Keeping::Nowhere || kept.bytes() > 0 {
            self.let_go(exchange, &mut kept);
        }
    }

    fn let_go(&self, exchange: &Exchange, kept: &mut Kept) {
        if kept.keeping == Keeping::OnTape {
            return kept.end_replays();
        }
        if kept.bytes() > 0 {
            OfProcess::of(exchange).give(Whose::Attempts, kept.bytes());
        }
        let lost = kept.lost || kept.bytes() > 0;
        *kept = if lost { Kept::gone() } else { Kept::default() };
    }

    /// Reads the first frame of a body whose bytes came with its head. What has no reading is then refused before an
    /// upstream hears of it: many requests that are cut as soon as they begin are an attack in its eyes, for which all
    /// that share the connection would pay.
    pub(in crate::proxy) fn look_ahead(&self) -> Result<(), Reason> {
        let mut body = self.body.borrow_mut();
        if !matches!(&*body, Body::Http1(_)) || body.unread_bytes() == 0 {
            return Ok(());
        }
        match Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Some(Ok(frame))) => drop(self.ahead.replace(Ahead::of(frame))),
            Poll::Ready(Some(Err(error))) => {
                self.note_fault(&error);
                return Err(self.fault_or(Reason::CallerLeft));
            }
            Poll::Ready(None) => self.complete.set(true),
            Poll::Pending => {}
        }
        Ok(())
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(ahead) = self.ahead.take() {
            return Poll::Ready(Some(Ok(ahead.into_frame())));
        }
        Pin::new(&mut *self.body.borrow_mut()).poll_frame(cx)
    }

    /// Asks a caller by HTTP/2 for a body that it sends only then. One by HTTP/1 is asked as its body is read.
    pub(in crate::proxy) fn ask_for(&self) {
        if let Body::Http2(stream) = &*self.body.borrow() {
            stream.ask_for();
        }
    }

    /// Whether all of the body was handed to the attempts.
    fn is_drained(&self) -> bool {
        self.ahead.borrow().is_none() && self.body.borrow().is_end_stream()
    }

    /// Bytes of the caller's body that are still to come, where its head says how many.
    pub(in crate::proxy) fn length(&self) -> Option<u64> {
        let read = match &*self.ahead.borrow() {
            Some(Ahead::Data(data)) => data.len(),
            Some(Ahead::Trailers(_)) => return None, // they need chunks, whose length is not told
            None => 0,
        };
        Some(self.body.borrow().size_hint().exact()? + read as u64)
    }

    fn note_fault(&self, error: &BodyError) {
        self.fault.set(Some(match error {
            BodyError::Http1(Http1Error::Malformed(error)) => Fault::Malformed(*error),
            _ => Fault::Left,
        }));
    }

    /// Why the request failed: what the attempt met with, unless it was the caller's own doing.
    pub(in crate::proxy) fn fault_or(&self, reason: Reason) -> Reason {
        match self.fault.get() {
            None => reason,
            Some(Fault::Left) => Reason::CallerLeft,
            Some(Fault::Malformed(error)) => Reason::of_head(error),
        }
    }

    /// Whether the caller's body broke off, so that what the attempt met with says nothing of its upstream.
    pub(in crate::proxy) fn has_broken_off(&self) -> bool {
        self.fault.get().is_some()
    }

    /// Whether the caller's body has ended and all of it was passed on.
    pub(in crate::proxy) fn is_complete(&self) -> bool {
        self.complete.get()
    }

    /// Whether nothing more of it is waited for, read or not.
    pub(in crate::proxy) fn has_arrived(&self) -> bool {
        self.complete.get() || self.body.borrow().has_arrived()
    }

    /// Lets `attempt` read, and the one before fail: its upstream must not wait for what never comes.
    fn admit(&self, attempt: u32) {
        self.attempt.set(attempt);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// No attempt reads any further, and what is unread goes.
    pub(super) fn abandon(&self) {
        drop(self.take_rest());
    }

    /// No attempt reads any further; returns what is unread.
    pub(super) fn take_rest(&self) -> Body {
        self.admit(u32::MAX);
        self.ahead.take();
        if let Ok(Some(tape)) = self.kept.try_borrow().as_ref().map(|kept| kept.tape()) {
            tape.break_off();
        }
        self.body.try_borrow_mut().map(|mut body| std::mem::take(&mut *body)).unwrap_or_default()
    }

    /// What follows the request goes up once the upstream has switched the protocol. `false`: the request has a body.
    pub(in crate::proxy) fn await_switch(&self) -> bool {
        let mut body = self.body.borrow_mut();
        let bare = matches!(*body, Body::Empty);
        if bare {
            *body = Body::Awaited;
            self.complete.set(false);
        }
        bare
    }

    /// The protocol was switched: from now on `body` goes up.
    pub(in crate::proxy) fn switch(&self, body: Body) {
        if matches!(*self.body.borrow(), Body::Awaited) {
            self.body.replace(body);
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn remember_reader(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        match &mut *reader {
            Some(known) => known.clone_from(cx.waker()),
            None => *reader = Some(cx.waker().clone()),
        }
    }

    pub(super) fn unread_bytes(&self) -> usize {
        self.body.borrow_mut().unread_bytes()
    }

    /// What is kept stays for longer: it gives back what it holds beside its own bytes.
    pub(in crate::proxy) fn compact(&self) {
        self.kept.borrow_mut().pieces.compact();
    }

    /// Bytes kept for another attempt.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept.borrow().bytes()
    }

    /// Bytes, and gRPC messages, read from the caller.
    pub(in crate::proxy) fn counted(&self) -> (u64, u64) {
        (self.bytes.get(), self.messages.borrow().as_ref().map_or(0, MessageCounter::messages))
    }
}
