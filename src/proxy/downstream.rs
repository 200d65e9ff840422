//! A caller's connection: who it is, which listener it came by, and how it says goodbye.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::lane::{Generation, Lane};
use super::plane::{ListenerPlane, Plane};
use super::{http1, http2};
use crate::message::http1::HeadBounds;
use crate::router;
use crate::runtime::clock::Tick;
use crate::runtime::drain::Phase;
use crate::snapshot::BindAddress;
use crate::transport::accept::ConnectionSlot;
use crate::transport::activity::{Activity, Bounds, End};
use crate::transport::detect::{self, Engine};
use crate::transport::io::Io;
use crate::transport::listen::Accepted;
use crate::upstream::pool::ByteFlow;

/// Time for a caller to take the answer that an idle stream got.
const AFTER_STREAM_IDLE: Duration = Duration::from_secs(5);

/// Time for an idle HTTP/2 caller to answer a GOAWAY: requests that it had sent by then are still served.
const AFTER_GOODBYE: Duration = Duration::from_secs(5);

/// Time for the first bytes of a connection that was accepted just before the process closes what is idle.
const LAST_CALL: Duration = Duration::from_millis(100);

/// A connection on its way from the acceptor to a worker.
#[derive(Debug)]
pub(super) struct Arrival {
    /// The socket.
    pub(super) accepted: Accepted,
    /// Counts it while it lives.
    pub(super) slot: ConnectionSlot,
    /// The listener it came by.
    pub(super) address: BindAddress,
    /// The last plane that had the listener, once it was removed: it accepts a little longer.
    pub(super) removed_from: Option<Arc<Plane>>,
}

/// See the module.
pub(super) struct Downstream {
    pub(super) lane: Rc<Lane>,
    pub(super) address: BindAddress,
    pub(super) peer: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
    pub(super) activity: Rc<Activity>,
    pub(super) flow: ByteFlow,
    /// The listener as it was at accept, for the connection's own counts.
    pub(super) listener: Arc<ListenerPlane>,
    /// Its place among the lane's connections.
    pub(super) key: Cell<usize>,
    /// Its number in the access log, once it was asked for.
    pub(super) number: Cell<u64>,
    seat: RefCell<Seat>,
    phase: Cell<Phase>,
    open_requests: Cell<u32>,
    engine: Cell<Option<Engine>>,
    /// When it was told to end for having been idle.
    goodbye: Cell<Option<Tick>>,
}

/// What became of telling an idle connection that it ends.
pub(super) enum Goodbye {
    /// Its protocol has no word for it.
    NotSaid,
    /// Just now.
    Said,
    /// A moment ago: it may end itself yet.
    Pending,
    /// So long ago that nobody listens.
    Unheard,
}

/// The generation that the connection's next request belongs to, and what follows from it.
#[derive(Clone)]
pub(super) struct Seat {
    pub(super) generation: Rc<Generation>,
    pub(super) listener: Arc<ListenerPlane>,
    /// Index among the snapshot's callers.
    pub(super) caller: Option<usize>,
    /// Whether the peer's `x-envoy-*` fields count.
    pub(super) internal: bool,
}

impl Seat {
    fn new(generation: Rc<Generation>, listener: Arc<ListenerPlane>, peer: Option<SocketAddr>) -> Seat {
        let snapshot = &generation.plane.snapshot;
        let ip = peer.map(|peer| peer.ip().to_canonical());
        let caller = ip.and_then(|ip| {
            let caller = router::caller_of(&snapshot.callers, ip)?;
            snapshot.callers.iter().position(|known| Arc::ptr_eq(known, caller))
        });
        let internal = ip.is_some_and(|ip| snapshot.internal_cidrs.iter().any(|range| range.contains(&ip)));
        Seat { generation, listener, caller, internal }
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(lane: Rc<Lane>, arrival: Arrival) {
    let (peer, local) = (arrival.accepted.peer(), arrival.accepted.local());
    let Some((generation, listener)) = generation_of(&lane, &arrival) else { return };
    let Ok(stream) = arrival.accepted.into_stream() else { return };
    let activity = Rc::new(Activity::new(false));
    let http = &listener.http;
    let flow =
        ByteFlow::new(activity.clone(), http.cx_rx_bytes_total.clone(), http.cx_tx_bytes_total.clone());
    let seat = RefCell::new(Seat::new(generation, listener.clone(), peer));
    let phase = if arrival.removed_from.is_some() { Phase::Grace } else { lane.phase() };
    let downstream = Rc::new(Downstream {
        phase: Cell::new(phase),
        lane,
        address: arrival.address,
        peer,
        local,
        activity: activity.clone(),
        flow,
        listener,
        key: Cell::new(0),
        number: Cell::new(0),
        seat,
        open_requests: Cell::new(0),
        engine: Cell::new(None),
        goodbye: Cell::new(None),
    });
    let _present = Present::enter(&downstream, arrival.slot);
    let mut io = Io::new(stream, activity);
    let detected = detected(&downstream, &mut io).await;
    downstream.engine.set(detected);
    match detected {
        Some(Engine::Http1) => http1::serve(&downstream, io).await,
        // Apart, so that a connection of HTTP/1 does not hold the room of both.
        Some(Engine::Http2) => Box::pin(http2::serve(&downstream, io)).await,
        None => {}
    }
}

/// The present generation if it has the listener, else the last that had it.
fn generation_of(lane: &Lane, arrival: &Arrival) -> Option<(Rc<Generation>, Arc<ListenerPlane>)> {
    let present = lane.generation()?;
    if let Some(listener) = present.plane.listener(&arrival.address) {
        let listener = listener.clone();
        return Some((present, listener));
    }
    let last = lane.generation_for(arrival.removed_from.clone()?);
    let listener = last.plane.listener(&arrival.address)?.clone();
    Some((last, listener))
}

/// Detection, given up when the process closes its idle connections; what was accepted last is heard out.
async fn detected(downstream: &Rc<Downstream>, io: &mut Io) -> Option<Engine> {
    let closing = async {
        downstream.closing().await;
        sleep(LAST_CALL).await;
    };
    // What may yet become a preface is a late head, too, and has its answer to get.
    let late = poll_fn(|cx| {
        downstream.activity.remember_task(cx.waker());
        if downstream.activity.ended() == Some(End::HeadTimeout) { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        detected = detect::detect(io) => detected.ok().flatten(),
        () = late => Some(Engine::Http1),
        () = closing => None,
    }
}

/// The connection's place among its lane's, and its gauges.
struct Present {
    downstream: Rc<Downstream>,
    since: Instant,
    _slot: ConnectionSlot,
}

impl Present {
    fn enter(downstream: &Rc<Downstream>, slot: ConnectionSlot) -> Present {
        let listener = &downstream.listener;
        listener.http.cx_total.increment(1);
        listener.http.cx_active.increment(1.0);
        listener.meter.cx_total.increment(1);
        listener.meter.cx_active.increment(1.0);
        let key = downstream.lane.connections.borrow_mut().insert(downstream.clone());
        downstream.key.set(key);
        Present { downstream: downstream.clone(), since: Instant::now(), _slot: slot }
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.downstream.lane.connections.borrow_mut().try_remove(self.downstream.key.get());
        self.downstream.flow.flush();
        let listener = &self.downstream.listener;
        listener.http.cx_active.decrement(1.0);
        listener.http.cx_destroy.increment(1);
        listener.http.cx_length_ms.observe(self.since.elapsed().as_secs_f64() * 1e3);
        listener.meter.cx_active.decrement(1.0);
        listener.meter.cx_destroy.increment(1);
    }
}

impl Downstream {
    /// The present generation, its listener and the caller; the last that had the listener when it is gone.
    pub(super) fn seat(&self) -> Seat {
        if let Some(present) = self.lane.generation() {
            self.follow(&present);
        }
        self.seat.borrow().clone()
    }

    /// Moves on to the present generation: the sweep sees to it that a silent connection holds no old one.
    pub(super) fn follow(&self, present: &Rc<Generation>) {
        let mut seat = self.seat.borrow_mut();
        if !Rc::ptr_eq(present, &seat.generation)
            && let Some(listener) = present.plane.listener(&self.address)
        {
            *seat = Seat::new(present.clone(), listener.clone(), self.peer);
        }
    }

    /// Where this connection stands on its way out.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Tells an idle HTTP/2 caller by GOAWAY, once; it then ends the connection itself.
    pub(super) fn say_goodbye(&self, now: Tick) -> Goodbye {
        if self.engine.get() != Some(Engine::Http2) {
            return Goodbye::NotSaid;
        }
        match self.goodbye.get() {
            None => {
                self.goodbye.set(Some(now));
                self.enter(Phase::Grace);
                Goodbye::Said
            }
            Some(since) if now.since(since) > AFTER_GOODBYE => Goodbye::Unheard,
            Some(_) => Goodbye::Pending,
        }
    }

    /// Whether it leaves for having been idle, not because the process or its listener does.
    pub(super) fn was_idle(&self) -> bool {
        self.goodbye.get().is_some()
    }

    /// Waits for the phase in which idle connections are closed.
    async fn closing(&self) {
        poll_fn(|cx| {
            self.activity.remember_task(cx.waker());
            if self.phase() == Phase::Closing { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Moves on to `phase`, never back.
    pub(super) fn enter(&self, phase: Phase) {
        if phase > self.phase.get() {
            self.phase.set(phase);
            self.activity.wake();
        }
    }

    /// A request begins.
    pub(super) fn open_request(&self) {
        self.open_requests.set(self.open_requests.get() + 1);
        self.activity.begin_request();
        self.lane.load.open_stream();
    }

    /// A request ended, whichever way.
    pub(super) fn close_request(&self) {
        self.open_requests.set(self.open_requests.get() - 1);
        if self.open_requests.get() == 0 {
            self.activity.end_request();
        }
        self.lane.load.close_stream();
    }

    /// What the next head may cost.
    pub(super) fn head_bounds(&self) -> HeadBounds {
        let seat = self.seat.borrow();
        let limits = &seat.generation.plane.snapshot.limits;
        HeadBounds { bytes: limits.head_bytes, count: limits.head_count }
    }

    /// What the sweep holds the connection to. Streams of HTTP/2 are held to their idle time one by one.
    pub(super) fn bounds(&self) -> Bounds {
        let seat = self.seat.borrow();
        let limits = &seat.generation.plane.snapshot.limits;
        let per_stream = self.engine.get() == Some(Engine::Http2) || limits.stream_idle.is_zero();
        Bounds {
            head_timeout: limits.head_timeout,
            idle: limits.downstream_idle,
            // Later than the stream's own limit, which has an answer to give.
            no_progress: if per_stream { Duration::ZERO } else { limits.stream_idle + AFTER_STREAM_IDLE },
        }
    }

    /// Whether it was ended from outside, and not for a head that came late, which has an answer to get.
    pub(super) fn must_end(&self) -> bool {
        self.activity.ended().is_some_and(|why| why != End::HeadTimeout)
    }

    /// Whether the deadline of the drain has ended it.
    pub(super) fn was_cut(&self) -> bool {
        self.activity.ended() == Some(End::Drain)
    }

    /// Ends the connection at the deadline of the drain.
    pub(super) fn cut(&self) {
        self.activity.end(End::Drain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::exchange::Exchange;
    use crate::proxy::request;

    fn size_of_future<A, B, F>(_: impl Fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    fn size_of_request<A, B, C, F>(_: impl Fn(A, B, C) -> F) -> usize {
        size_of::<F>()
    }

    /// What an open connection costs, whichever protocol it speaks, beside its socket and what an engine holds for it;
    /// and what a request costs while it is in flight, beside its head and the bytes of it that are here.
    #[test]
    fn what_a_connection_and_a_request_hold_is_small() {
        for (what, bytes, most) in [
            ("a connection's task, with that of its HTTP/1 request", size_of_future(serve), 3072),
            ("a connection", size_of::<Downstream>(), 256),
            ("what reads HTTP/1", http1::WIRE_BYTES, 384),
            ("a request's future", size_of_request(request::serve), 1472),
            // With its counts 1 KiB, up to which memory is had cheaply.
            ("a request and its answer", size_of::<Exchange>(), 1008),
        ] {
            assert!(bytes <= most, "{what}: {bytes}");
        }
    }
}
