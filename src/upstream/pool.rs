//! The connections of one worker to one endpoint of one cluster, whichever HTTP they speak.
//!
//! Law: one worker only, so cells and no lock. A connection is counted from dial to end by a guard that cannot be
//! forgotten; the pool lives as long as somebody holds it, so a reload that drops an endpoint closes what is idle
//! and lets what is busy finish.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use slab::Slab;

use super::breaker::{Limit, Permit};
use super::cluster::{ClusterState, EndpointState};
use super::http1::Http1Pool;
use super::http2::Http2Pool;
use crate::runtime::clock::{self, Tick};
use crate::snapshot::IdleTimeouts;
use crate::telemetry::{ClusterMeter, Counter};
use crate::transport::activity::Activity;
use crate::transport::dial::{self, DialError, Dialled};
use crate::transport::io::{Io, Stream};

/// Why no connection was had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoConnection {
    /// A circuit breaker is open.
    Overflow(Limit),
    /// The dial failed.
    Dial(DialError),
}

/// See the module.
#[derive(Debug)]
pub struct EndpointPool {
    pub(super) shared: Rc<Shared>,
    /// HTTP/1 connections.
    pub http1: Http1Pool,
    /// HTTP/2 connections.
    pub http2: Http2Pool,
}

/// What both protocols' pools and every open connection need.
#[derive(Debug)]
pub(super) struct Shared {
    cluster: RefCell<Arc<ClusterState>>,
    pub(super) endpoint: Arc<EndpointState>,
    pub(super) meter: Arc<ClusterMeter>,
    pub(super) idle: Cell<IdleTimeouts>,
    /// Byte counts of the connections that are open.
    flows: RefCell<Slab<Rc<ByteFlow>>>,
}

impl EndpointPool {
    /// A pool without connections.
    pub fn new(
        cluster: Arc<ClusterState>,
        endpoint: Arc<EndpointState>,
        meter: Arc<ClusterMeter>,
        idle: IdleTimeouts,
    ) -> EndpointPool {
        let idle = Cell::new(idle_of(&cluster, idle));
        let cluster = RefCell::new(cluster);
        let shared = Rc::new(Shared { cluster, endpoint, meter, idle, flows: RefCell::default() });
        EndpointPool { http1: Http1Pool::new(shared.clone()), http2: Http2Pool::new(shared.clone()), shared }
    }

    /// Goes on under a new generation's settings; connections stay.
    pub fn adopt(&self, cluster: &Arc<ClusterState>, idle: IdleTimeouts) {
        self.shared.cluster.replace(cluster.clone());
        self.shared.idle.set(idle_of(cluster, idle));
    }

    /// What all workers know of the endpoint.
    pub fn endpoint(&self) -> &Arc<EndpointState> {
        &self.shared.endpoint
    }

    /// Closes what has been idle for too long and brings the byte counters up to date.
    pub fn sweep(&self, now: Tick) {
        self.http1.sweep(now);
        self.http2.sweep(now);
        self.shared.flows.borrow().iter().for_each(|(_, flow)| flow.flush());
    }
}

/// How long its connections may be idle: as the cluster says, else as all clusters are told.
fn idle_of(cluster: &ClusterState, all: IdleTimeouts) -> IdleTimeouts {
    let own = cluster.config.traffic.as_ref().and_then(|traffic| traffic.idle);
    own.map_or(all, |own| IdleTimeouts { http1: own, http2: own })
}

/// What bounds a connection's use, in a cluster that bounds it.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Requests that it may still take.
    left: Cell<u32>,
    born: Tick,
    life: Option<Duration>,
}

impl Bounds {
    /// Those of a connection that was just made, as the cluster says now.
    pub(super) fn new(cluster: &ClusterState) -> Option<Box<Bounds>> {
        let traffic = cluster.config.traffic.as_ref()?;
        let (requests, life) = (traffic.requests_per_connection, traffic.connection_life);
        if requests.is_none() && life.is_none() {
            return None;
        }
        let left = Cell::new(requests.unwrap_or(u32::MAX));
        Some(Box::new(Bounds { left, born: clock::now(), life }))
    }

    /// It takes a request, or has taken one. Whether that is the last.
    pub(super) fn count(&self) -> bool {
        self.left.set(self.left.get().saturating_sub(1));
        self.left.get() == 0 || self.is_old(clock::now())
    }

    /// Whether it has lived for as long as it may.
    pub(super) fn is_old(&self, now: Tick) -> bool {
        self.life.is_some_and(|life| now.age_since(self.born) > life)
    }
}

impl Shared {
    pub(super) fn cluster(&self) -> Arc<ClusterState> {
        self.cluster.borrow().clone()
    }

    /// Dials, and counts the connection until the returned guard is dropped.
    pub(super) async fn open(self: &Rc<Self>, permit: Permit) -> Result<(Io, Open), DialError> {
        let started = Instant::now();
        let dialled = dial::dial(&self.endpoint.target, self.cluster().config.connect_timeout).await;
        let stream = match dialled.and_then(|stream| self.probed(stream)) {
            Ok(stream) => stream,
            Err(error) => {
                self.note_dial_failure(error);
                return Err(error);
            }
        };
        self.meter.cx_connect_ms.observe(milliseconds(started.elapsed()));
        let activity = Rc::new(Activity::new(false));
        let flow = Rc::new(ByteFlow::new(
            activity.clone(),
            self.meter.cx_rx_bytes_total.clone(),
            self.meter.cx_tx_bytes_total.clone(),
        ));
        let slot = self.flows.borrow_mut().insert(flow);
        self.meter.cx_total.increment(1);
        self.meter.cx_active.increment(1.0);
        self.endpoint.counts.cx_total.fetch_add(1, Ordering::Relaxed);
        self.endpoint.counts.cx_active.fetch_add(1, Ordering::Relaxed);
        let open = Open {
            shared: self.clone(),
            slot,
            opened: Instant::now(),
            _permit: permit,
            _dialled: Dialled::count(),
        };
        Ok((Io::new(stream, activity), open))
    }

    /// A connection that was just made, with the probes that the cluster asks for.
    fn probed(&self, stream: Stream) -> Result<Stream, DialError> {
        let keep_alive = self.cluster().config.traffic.as_ref().and_then(|traffic| traffic.keep_alive);
        if let Some(keep_alive) = keep_alive {
            dial::probe(&stream, keep_alive)?;
        }
        Ok(stream)
    }

    pub(super) fn note_dial_failure(&self, error: DialError) {
        self.endpoint.counts.cx_connect_fail.fetch_add(1, Ordering::Relaxed);
        self.meter.cx_connect_fail.increment(1);
        if error == DialError::Timeout {
            self.meter.cx_connect_timeout.increment(1);
        }
    }

    /// A permit to open a connection; `has_one`: this worker has one to the endpoint already.
    pub(super) fn permit_to_open(&self, has_one: bool) -> Option<Permit> {
        let breakers = &self.cluster().breakers;
        let permit = breakers.try_acquire(Limit::Connections);
        if permit.is_none() {
            self.meter.cx_overflow.increment(1);
        }
        permit.or_else(|| (!has_one).then(|| breakers.acquire_anyway(Limit::Connections)))
    }

    /// A permit to wait for a connection, counted while it lasts.
    pub(super) fn permit_to_wait(self: &Rc<Self>) -> Result<Waiting, NoConnection> {
        match self.cluster().breakers.try_acquire(Limit::Pending) {
            Some(permit) => {
                self.meter.rq_pending_total.increment(1);
                self.meter.rq_pending_active.increment(1.0);
                self.endpoint.counts.rq_pending_active.fetch_add(1, Ordering::Relaxed);
                Ok(Waiting { shared: self.clone(), _permit: permit })
            }
            None => {
                self.meter.rq_pending_overflow.increment(1);
                Err(NoConnection::Overflow(Limit::Pending))
            }
        }
    }
}

/// An attempt that waits for a connection.
pub(super) struct Waiting {
    shared: Rc<Shared>,
    _permit: Permit,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.meter.rq_pending_active.decrement(1.0);
        self.shared.endpoint.counts.rq_pending_active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is open, counted until dropped.
pub(super) struct Open {
    shared: Rc<Shared>,
    slot: usize,
    opened: Instant,
    _permit: Permit,
    _dialled: Dialled,
}

impl Drop for Open {
    fn drop(&mut self) {
        let meter = &self.shared.meter;
        if let Some(flow) = self.shared.flows.borrow_mut().try_remove(self.slot) {
            flow.flush();
            let by_peer = flow.activity.is_ended_by_peer();
            if by_peer { &meter.cx_destroy_remote } else { &meter.cx_destroy_local }.increment(1);
        }
        meter.cx_active.decrement(1.0);
        meter.cx_destroy.increment(1);
        meter.cx_length_ms.observe(milliseconds(self.opened.elapsed()));
        self.shared.endpoint.counts.cx_active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Brings the bytes of one connection into two counters now and then, so that no read or write pays for it.
#[derive(Debug)]
pub struct ByteFlow {
    activity: Rc<Activity>,
    read: Counter,
    written: Counter,
    told: Cell<(u64, u64)>,
}

impl ByteFlow {
    /// Nothing told yet.
    pub fn new(activity: Rc<Activity>, read: Counter, written: Counter) -> ByteFlow {
        ByteFlow { activity, read, written, told: Cell::new((0, 0)) }
    }

    /// Tells the counters what came since the last time.
    pub fn flush(&self) {
        let now = (self.activity.bytes_read(), self.activity.bytes_written());
        let (read, written) = self.told.replace(now);
        self.read.increment(now.0 - read);
        self.written.increment(now.1 - written);
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
