//! What an attempt holds until its answer's body has ended: its connection and its place in the counts.
//!
//! Law: dropped at any time, it ends the attempt at once: the upstream sees its connection close, or its stream reset as
//! soon as that is old enough ([`Stream`]).

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::stream::Stream;
use crate::telemetry::{ClusterMeter, RequestRecord};
use crate::upstream::breaker::Permit;
use crate::upstream::cluster::{EndpointState, InFlight};
use crate::upstream::http1::Http1Lease;

/// What an attempt holds until the answer's body has ended: its connection and its place in the counts.
pub(in crate::proxy) struct Lease {
    connection: RefCell<Option<Connection>>,
    in_flight: InFlight,
    meter: Arc<ClusterMeter>,
    started: Instant,
    begun: bool,
    /// Nothing more will come: if it is dropped before that, the attempt was given up here.
    over: Cell<bool>,
    _retry: Option<Permit>,
}

/// What an attempt runs on.
pub(super) enum Connection {
    Http1(Http1Lease),
    Http2(Stream),
}

impl Lease {
    /// An attempt at `endpoint` that has no connection yet, of a request that began at `start`.
    pub(super) fn new(
        meter: Arc<ClusterMeter>,
        endpoint: &Arc<EndpointState>,
        retry: Option<Permit>,
        start: Instant,
    ) -> Lease {
        Lease {
            connection: RefCell::default(),
            in_flight: endpoint.begin(),
            begun: false,
            over: Cell::new(false),
            meter,
            started: start,
            _retry: retry,
        }
    }

    /// The connection is there: from now on the upstream's time runs.
    pub(super) fn begin(&mut self) {
        self.started = Instant::now();
        self.begun = true;
        self.meter.rq_total.increment(1);
        self.meter.rq_active.increment(1.0);
    }

    /// It runs on `connection`.
    pub(super) fn hold(&self, connection: Connection) {
        self.connection.replace(Some(connection));
    }

    /// It failed, the upstream cut its answer, or the answer is whole.
    pub(in crate::proxy) fn end(&self) {
        self.over.set(true);
        if let Some(Connection::Http2(stream)) = &*self.connection.borrow() {
            stream.end();
        }
    }

    /// Its answer is the one that is passed on, so that its cluster counts it.
    pub(in crate::proxy) fn passes_on(&self, record: &RequestRecord) {
        self.meter.answered(record.status, record.service_time.unwrap_or_default());
    }

    /// Requests in flight at the endpoint.
    pub(in crate::proxy) fn in_flight(&self) -> u32 {
        self.in_flight.endpoint().in_flight()
    }

    /// The answer's body was not whole when the request's time was up.
    pub(in crate::proxy) fn ran_out_of_time(&self) {
        self.meter.rq_timeout.increment(1);
        self.in_flight.endpoint().counts.rq_timeout.fetch_add(1, Ordering::Relaxed);
    }

    /// The answer's body has ended as it should. An HTTP/1 connection knows by itself whether it may serve again.
    pub(in crate::proxy) fn completed(&self) {
        self.end();
        let mut held = self.connection.borrow_mut();
        if let Some(Connection::Http1(connection)) = held.take_if(|held| matches!(held, Connection::Http1(_)))
        {
            connection.give_back();
        }
    }

    /// When the request was sent.
    pub(super) fn started(&self) -> Instant {
        self.started
    }

    /// Time since the request was sent.
    pub(super) fn service_time(&self) -> Duration {
        self.started.elapsed()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let given_up = !self.over.get();
        if self.begun {
            self.meter.rq_active.decrement(1.0);
            if given_up {
                self.meter.rq_tx_reset.increment(1);
            }
        } else if given_up {
            self.meter.rq_cancelled.increment(1);
        }
    }
}
