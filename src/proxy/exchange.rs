//! One request and its answer while they are in flight: the record, both bodies, and how the two may be given up.
//!
//! Law: it is finished exactly once, whichever way it ends, and then everybody is told: metrics, access log, gauges.
//! The engines hold it through [`UploadBody`](upload::UploadBody) and [`DownloadBody`], which are what they read.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use http::Response;
use http::request::Parts;
use http_body::Body as _;

use super::attempt::{Lease, Stage};
use super::deadline::Clock;
use super::downstream::{Downstream, Seat};
use super::plane::{Plane, RoutePlane, TargetPlane};
use super::reply::Reason;
use crate::message::body::Body;
use crate::message::grpc::{self, MessageCounter};
use crate::runtime::clock::{self, Tick};
use crate::telemetry::dimension::Tags;
use crate::telemetry::trace::Trace;
use crate::telemetry::{ClusterMeter, RequestRecord};
use crate::upstream::breaker::Permit;
use crate::words::{Flag, HttpVersion, Protocol};

mod download;
mod end;
mod kept;
mod logged;
mod room;
mod tape;
mod upload;

use download::Download;

pub(super) use download::{DownloadBody, grpc_outcome};
pub(super) use tape::{Fate, TapeBody};
pub(super) use upload::Upload;

/// What a stream that cannot go on holds at most beside its unread bytes: the piece at hand and its engine's send
/// buffer.
const ENGINE_BUFFERS: usize = 96 << 10;

/// What an HTTP/1 caller that does not read costs beside what was read for it: the buffers that these bytes stand in, on
/// both sides. Measured, with something added: 500 callers that read nothing of a 16 MiB answer grew the process by 40 MiB.
const STALLED_HTTP1: usize = 128 << 10;
/// What an answer of Weir's own holds at most without being cut when it is not read.
const FEW_BYTES: u64 = 8 << 10;
/// Time without a byte after which an HTTP/1 answer counts as one that its caller does not read.
const STALLED_AFTER: Duration = Duration::from_millis(300);

/// See the module.
pub(super) struct Exchange {
    pub(super) downstream: Rc<Downstream>,
    pub(super) seat: Seat,
    pub(super) record: RefCell<RequestRecord>,
    pub(super) upload: Upload,
    download: RefCell<Download>,
    /// What the split chose, for the meters.
    pub(super) chosen: RefCell<Option<Chosen>>,
    /// How far the request got.
    pub(super) reached: Cell<Reached>,
    /// How far its attempt has come.
    pub(super) stage: Cell<Stage>,
    /// The status of its gRPC call is still to come, and outlier detection to be told of it.
    pub(super) owes_status: Cell<bool>,
    /// When the whole request has to be done, as things are.
    pub(super) deadline: Cell<Option<Instant>>,
    /// By which that is reckoned, where the route bounds a time.
    pub(super) clock: OnceCell<Box<Clock>>,
    /// The deadline is gRPC's own, and no timer waits for it: the sweep does, before the answer's head too.
    pub(super) swept: Cell<bool>,
    /// What its caller says in each dimension.
    tags: Cell<Tags>,
    /// What is known of it for its spans; only while it is traced.
    pub(super) trace: Cell<Option<Box<Trace>>>,
    progress: Cell<Tick>,
    given_up: Cell<Option<Reason>>,
    task: Cell<Option<Waker>>,
    finished: Cell<bool>,
    key: Cell<usize>,
}

/// What the split chose.
pub(super) struct Chosen {
    /// Route configuration and route, by index in the plane.
    pub(super) route: (u32, u32),
    /// The route's target, by index.
    pub(super) target: u32,
    /// The version for labels.
    pub(super) version: Arc<str>,
    /// A unit of the cluster's requests.
    pub(super) _permit: Option<Permit>,
}

impl Chosen {
    /// It, in the plane of its request.
    pub(super) fn find<'a>(&self, plane: &'a Plane) -> (&'a RoutePlane, &'a TargetPlane) {
        let (config, route) = self.route;
        let route = &plane.routes[config as usize].routes[route as usize];
        (route, &route.targets[self.target as usize])
    }
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Not past this Weir.
    Nobody,
    /// Another Weir.
    Hop,
    /// A model server.
    ModelServer,
}

impl Exchange {
    /// The exchange of a request whose head is complete. It ends when the returned body does.
    pub(super) fn begin(downstream: &Rc<Downstream>, parts: &Parts, body: Body) -> DownloadBody {
        let protocol = grpc::classify(&parts.method, &parts.headers);
        let download = Exchange::begin_as(downstream, parts.version, protocol, body);
        let exchange = &download.exchange;
        exchange.begin_log(parts);
        if let Some(dimensions) = &exchange.seat.generation.plane.dimensions {
            exchange.tags.set(dimensions.tags(&parts.headers));
        }
        download
    }

    /// The exchange of a message whose head cannot be read.
    pub(super) fn begin_unread(downstream: &Rc<Downstream>) -> DownloadBody {
        let download = Exchange::begin_as(downstream, http::Version::HTTP_11, Protocol::Http, Body::Empty);
        download.exchange.log_unread();
        download
    }

    fn begin_as(
        downstream: &Rc<Downstream>,
        version: http::Version,
        protocol: Protocol,
        body: Body,
    ) -> DownloadBody {
        let seat = downstream.seat();
        let version = match version {
            http::Version::HTTP_10 => HttpVersion::Http10,
            http::Version::HTTP_2 => HttpVersion::Http2,
            _ => HttpVersion::Http11,
        };
        // The wall clock is the access log's alone.
        let logs = seat.generation.plane.access_log.is_some();
        let wall = if logs { SystemTime::now() } else { SystemTime::UNIX_EPOCH };
        let mut record = RequestRecord::new(Instant::now(), wall, version, protocol);
        record.downstream_remote = downstream.peer;
        record.downstream_local = downstream.local;
        let http = &seat.listener.http;
        http.rq_total.increment(1);
        http.rq_active.increment(1.0);
        if version == HttpVersion::Http2 { &http.rq_http2_total } else { &http.rq_http1_total }.increment(1);
        downstream.open_request();
        let exchange = Rc::new(Exchange {
            downstream: downstream.clone(),
            seat,
            record: RefCell::new(record),
            upload: Upload::new(body, protocol == Protocol::Grpc),
            download: RefCell::default(),
            chosen: RefCell::default(),
            reached: Cell::new(Reached::Nobody),
            stage: Cell::default(),
            owes_status: Cell::default(),
            deadline: Cell::new(None),
            clock: OnceCell::new(),
            swept: Cell::new(false),
            tags: Cell::default(),
            trace: Cell::default(),
            progress: Cell::new(clock::now()),
            given_up: Cell::new(None),
            task: Cell::default(),
            finished: Cell::new(false),
            key: Cell::new(0),
        });
        let key = downstream.lane.exchanges.borrow_mut().insert(exchange.clone());
        exchange.key.set(key);
        DownloadBody { exchange }
    }

    /// Runs `answer`, unless the exchange is given up first.
    pub(super) async fn unless_given_up<T>(
        &self,
        mut answer: Pin<&mut impl Future<Output = Result<T, Reason>>>,
    ) -> Result<T, Reason> {
        std::future::poll_fn(|cx| {
            if let Some(reason) = self.given_up.get() {
                return Poll::Ready(Err(reason));
            }
            if let Poll::Ready(result) = answer.as_mut().poll(cx) {
                return Poll::Ready(result);
            }
            self.remember_task(cx.waker());
            Poll::Pending
        })
        .await
    }

    /// Whether it was given up, so that what goes down must be cut.
    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.get().is_some() && self.download.borrow().may_be_cut()
    }

    /// Has the task woken when the exchange is given up.
    pub(super) fn remember_task(&self, waker: &Waker) {
        let mut task = self.task.take();
        match &mut task {
            Some(known) => known.clone_from(waker),
            None => task = Some(waker.clone()),
        }
        self.task.set(task);
    }

    /// Takes the head of the answer into the record, and its body as what goes down. Without a lease it is our own.
    pub(super) fn answer(&self, response: Response<Body>, lease: Option<Lease>) -> Response<()> {
        if lease.is_none() {
            // It tells that the exchange was given up, or that its time is up: neither may cut it in its turn.
            self.given_up.set(None);
            self.deadline.set(None);
            self.touch();
        }
        let (parts, body) = response.into_parts();
        let mut record = self.record.borrow_mut();
        record.status = parts.status.as_u16();
        if let Some(lease) = &lease {
            lease.passes_on(&record);
        }
        if record.protocol == Protocol::Grpc {
            record.grpc_status = grpc_outcome(&parts.headers);
        }
        if let (Some(log), Some(logged)) = (&self.seat.generation.plane.access_log, &mut record.logged) {
            log.response_head(logged, &parts.headers);
            if let Some(moments) = logged.moments() {
                logged::note_answer(moments, &parts.headers, &body, lease.is_some());
            }
        }
        let complete = body.is_end_stream();
        let ours = lease.is_none() && body.size_hint().upper().is_some_and(|bytes| bytes <= FEW_BYTES);
        let mut download = self.download.borrow_mut();
        *download = Download {
            expected: body.size_hint().exact(),
            messages: (record.protocol == Protocol::Grpc).then(MessageCounter::default),
            body,
            ours,
            lease,
            started: true,
            complete,
            unwritten: 0,
        };
        Response::from_parts(parts, ())
    }

    /// The route, and the one of its targets that the split has chosen, once it has.
    pub(super) fn chosen_target(&self) -> Option<(&RoutePlane, &TargetPlane)> {
        Some(self.chosen.borrow().as_ref()?.find(&self.seat.generation.plane))
    }

    /// What the cluster of the chosen version counts, once there is one.
    pub(super) fn cluster_meter(&self) -> Option<&Arc<ClusterMeter>> {
        let (_, target) = self.chosen_target()?;
        let cluster = target.cluster(self.protocol())?;
        Some(&self.seat.generation.plane.clusters.get(cluster)?.meter)
    }

    /// Full host of the service that was chosen; empty before.
    pub(super) fn service_host(&self) -> Arc<str> {
        self.chosen_target().map_or_else(|| "".into(), |(_, target)| target.service.host.clone())
    }

    /// Requests in flight at the local model server, which a delivery listener tells with every answer.
    pub(super) fn delivered_in_flight(&self) -> Option<u32> {
        let delivers = matches!(self.seat.listener.chain().mode, crate::snapshot::Mode::Deliver { .. });
        delivers.then(|| self.download.borrow().lease.as_ref().map_or(0, Lease::in_flight))
    }

    /// Raises the flag of `reason`, and takes its details.
    pub(super) fn blame(&self, reason: Reason) {
        let mut record = self.record.borrow_mut();
        record.details = reason.details();
        if let Some(flag) = reason.flag() {
            record.flags.raise(flag);
        }
    }

    /// A route answers itself: no fault of anybody's.
    pub(super) fn answered_here(&self, details: &'static str) {
        self.record.borrow_mut().details = details;
    }

    /// A caller that has left got no status.
    pub(super) fn note_if_left(&self) {
        let mut record = self.record.borrow_mut();
        if record.flags.has(Flag::DownstreamConnectionTermination) {
            record.status = 0;
        }
    }

    /// An HTTP/1 caller has still to take `bytes` of what was read for it.
    pub(super) fn set_unwritten(&self, bytes: usize) {
        self.download.borrow_mut().unwritten = bytes;
    }

    /// The engine could not write all of the answer, though its body may have ended.
    pub(super) fn cut_short(&self) {
        self.download.borrow_mut().complete = false;
    }

    /// A byte moved.
    pub(super) fn touch(&self) {
        self.progress.set(clock::now());
    }

    /// When a byte last moved.
    pub(super) fn progress(&self) -> Tick {
        self.progress.get()
    }

    /// The connection that it came by, as a key for sums.
    pub(super) fn connection_key(&self) -> usize {
        self.downstream.key.get()
    }

    /// Memory that it holds for others' slowness: bytes received and not passed on, both ways, with what they stand
    /// in, and the engines' own buffers beyond them.
    pub(super) fn held_bytes(&self) -> usize {
        let unread = self.download.borrow_mut().body.unread_bytes() + self.upload.unread_bytes();
        let stalled = if unread == 0 && self.is_stalled_on_http1() { STALLED_HTTP1 } else { 0 };
        // The pieces of several streams share one read buffer. Of a few bytes that only wait, little is held.
        3 * unread + ENGINE_BUFFERS.min(2 * unread) + stalled + self.upload.kept_bytes()
    }

    fn is_stalled_on_http1(&self) -> bool {
        let download = self.download.borrow();
        let stalled = clock::now().since(self.downstream.activity.progress()) > STALLED_AFTER;
        stalled && download.unwritten > 0 && download.may_be_cut()
    }
}
