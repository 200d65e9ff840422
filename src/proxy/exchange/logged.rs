//! What the access log is told of an exchange on its way.
//!
//! Law: without a log nothing is kept, and what only some formats ask for costs the others one test.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;

use super::Exchange;
use crate::message::body::Body;
use crate::proxy::admit;
use crate::proxy::downstream::Downstream;
use crate::telemetry::{AccessLog, LoggedHeads, Moments, Wire};

impl Exchange {
    /// What only the head that came tells. The rest of it is taken when it is as the upstream gets it, so that it is taken
    /// once; or before, by [`log_head_as_it_came`](Self::log_head_as_it_came).
    pub(super) fn begin_log(&self, parts: &Parts) {
        let Some(log) = &self.seat.generation.plane.access_log else { return };
        let mut logged = log.begin(&parts.method);
        self.note_caller(log, &mut logged, &parts.headers);
        self.note_arrival(&mut logged);
        self.record.borrow_mut().logged = Some(logged);
    }

    /// The head of the request as the upstream gets it, with the fields that Weir adds.
    pub(in crate::proxy) fn log_request_head(&self, parts: &Parts) {
        let Some(log) = &self.seat.generation.plane.access_log else { return };
        let mut record = self.record.borrow_mut();
        let Some(logged) = &mut record.logged else { return };
        let target = parts.uri.path_and_query().map_or("", |target| target.as_str());
        let authority = admit::authority(parts).unwrap_or_default();
        log.request_head(logged, target.as_bytes(), authority.as_bytes(), &parts.headers);
        self.note_arrival(logged);
    }

    /// The head as it came, under the trace of its span, where nothing was taken of it: it is about to change, or goes no
    /// further.
    pub(in crate::proxy) fn log_head_as_it_came(&self, parts: &Parts) {
        if self.record.borrow().logged.as_ref().is_some_and(|logged| !logged.is_taken()) {
            self.log_request_head(parts);
        }
    }

    /// There is no head that can be read.
    pub(super) fn log_unread(&self) {
        let Some(log) = &self.seat.generation.plane.access_log else { return };
        let mut logged = log.no_head();
        self.note_caller(log, &mut logged, &HeaderMap::new());
        self.record.borrow_mut().logged = Some(logged);
    }

    fn note_caller(&self, log: &AccessLog, logged: &mut LoggedHeads, headers: &HeaderMap) {
        if !self.seat.listener.chain().use_remote_address {
            log.trust_forwarded(logged, headers);
        }
        if let Some(moments) = logged.moments() {
            moments.came_by(self.downstream.number());
        }
    }

    /// Whether all of the request is here already.
    fn note_arrival(&self, logged: &mut LoggedHeads) {
        if let Some(moments) = logged.moments()
            && self.upload.has_arrived()
        {
            moments.received(Instant::now());
        }
    }

    /// The trailers of the answer, as the caller gets them.
    pub(super) fn log_trailers(&self, trailers: &HeaderMap) {
        if let Some(log) = &self.seat.generation.plane.access_log
            && let Some(logged) = &mut self.record.borrow_mut().logged
        {
            log.response_trailers(logged, trailers);
        }
    }

    /// Has `note` write down what only some formats ask for, where the log's does.
    #[inline]
    fn note(&self, note: impl FnOnce(&mut Moments)) {
        if let Some(logged) = &mut self.record.borrow_mut().logged
            && let Some(moments) = logged.moments()
        {
            note(moments);
        }
    }

    /// All of the request was passed on.
    pub(super) fn note_upload(&self) {
        self.note(|moments| {
            let now = Instant::now();
            moments.received(now);
            moments.sent(now);
        });
    }

    /// An attempt has a connection: its own address, and what it takes on the wire.
    pub(in crate::proxy) fn note_connected(&self, connection: impl FnOnce() -> (Option<SocketAddr>, Wire)) {
        self.note(|moments| moments.connected(connection(), self.upload.is_complete(), Instant::now()));
    }

    /// An attempt got no connection; `why` its transport gave none.
    pub(in crate::proxy) fn note_not_connected(&self, why: impl FnOnce() -> Option<&'static str>) {
        self.note(|moments| moments.not_connected(why()));
    }
}

/// The head of the answer, and of one of Weir's own the body.
pub(super) fn note_answer(moments: &mut Moments, headers: &HeaderMap, body: &Body, from_upstream: bool) {
    if from_upstream {
        return moments.answered(Instant::now());
    }
    let message = || headers.get("grpc-message").map(|message| Bytes::copy_from_slice(message.as_bytes()));
    moments.answers_itself(match body {
        Body::Full(bytes) => bytes.clone(),
        _ => message().unwrap_or_default(),
    });
}

impl Downstream {
    /// The connection's number, which no other of the process has; it gets one when it is first asked for.
    fn number(&self) -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if self.number.get() == 0 {
            self.number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        self.number.get()
    }
}
