//! What only some formats of an access log ask for: the moments of a request and its connections.
//!
//! Law: it is there only where a format asks for it, so that the usual lines pay nothing for it but a test. Who fills it
//! tells what has happened; what an operator makes of that stands in `line`.

use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Moments {
    connection: Option<u64>,
    received: Option<Instant>,
    sent: Option<Instant>,
    answered: Option<Instant>,
    is_connected: bool,
    local: Option<SocketAddr>,
    wire: Wire,
    failure: Option<&'static str>,
    local_reply: Option<Bytes>,
}

/// What an attempt sends and receives on the wire, as of now.
#[derive(Clone, Default)]
pub struct Wire(Option<Rc<dyn Fn() -> (u64, u64)>>);

impl Wire {
    /// Of `bytes` sent and received.
    pub fn new(bytes: impl Fn() -> (u64, u64) + 'static) -> Wire {
        Wire(Some(Rc::new(bytes)))
    }

    fn bytes(&self) -> (u64, u64) {
        self.0.as_ref().map_or((0, 0), |bytes| bytes())
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

impl Moments {
    /// The caller's connection is the `number`th that asks.
    pub fn came_by(&mut self, number: u64) {
        self.connection = Some(number);
    }

    /// The last byte of the request was received.
    pub fn received(&mut self, now: Instant) {
        self.received.get_or_insert(now);
    }

    /// The last byte of the request was sent on.
    pub fn sent(&mut self, now: Instant) {
        self.sent = Some(now);
    }

    /// An attempt has a connection: its own address, and what it takes on the wire. What was of an earlier one is over.
    /// `whole`: the request was received whole by now.
    pub fn connected(&mut self, (local, wire): (Option<SocketAddr>, Wire), whole: bool, now: Instant) {
        (self.is_connected, self.local, self.wire) = (true, local, wire);
        self.failure = None;
        self.sent = whole.then_some(now);
    }

    /// An attempt got no connection; `why` its transport gave none.
    pub fn not_connected(&mut self, why: Option<&'static str>) {
        (self.is_connected, self.local, self.wire) = (false, None, Wire::default());
        (self.failure, self.sent) = (why, None);
    }

    /// The head of the upstream's answer is here.
    pub fn answered(&mut self, now: Instant) {
        self.answered = Some(now);
    }

    /// Weir answers itself.
    pub fn answers_itself(&mut self, body: Bytes) {
        self.local_reply = Some(body);
    }

    pub(super) fn connection(&self) -> Option<u64> {
        self.connection
    }

    /// Whether the last attempt had a connection.
    pub(super) fn is_connected(&self) -> bool {
        self.is_connected
    }

    /// The own address of that connection.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local
    }

    /// What it sent, and what it received.
    pub(super) fn wire(&self) -> (u64, u64) {
        self.wire.bytes()
    }

    pub(super) fn failure(&self) -> Option<&'static str> {
        self.failure
    }

    pub(super) fn local_reply(&self) -> Option<&[u8]> {
        self.local_reply.as_deref()
    }

    /// From `start` until the request was received whole.
    pub(super) fn until_received(&self, start: Instant) -> Option<Duration> {
        since(self.received, start)
    }

    /// From `start` until it was sent on whole.
    pub(super) fn until_sent(&self, start: Instant) -> Option<Duration> {
        since(self.sent, start)
    }

    /// From `start` until the answer began.
    pub(super) fn until_answered(&self, start: Instant) -> Option<Duration> {
        since(self.answered, start)
    }
}

fn since(moment: Option<Instant>, start: Instant) -> Option<Duration> {
    Some(moment?.saturating_duration_since(start))
}
