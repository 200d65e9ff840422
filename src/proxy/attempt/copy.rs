//! An attempt with a copy of a request: nobody waits for its answer, which is read to its end and dropped.
//!
//! Law: it counts on the cluster and the endpoint as any other attempt does, and touches nothing of the request's own.
//! What is refused here, by a breaker of the cluster, is no fault of the endpoint, and no caller's loss.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};
use http::request::Parts;
use http::{Method, Response};
use http_body::Body as _;
use tokio::time::sleep;

use super::lease::{Connection, Lease};
use super::{Stage, http1, http2, outcome};
use crate::message::body::{Body, BodyError};
use crate::message::grpc;
use crate::proxy::exchange::{Fate, TapeBody};
use crate::proxy::lane::{Lane, Pool};
use crate::proxy::plane::ClusterPlane;
use crate::proxy::reply::Reason;
use crate::proxy::retry::{self, Failure};
use crate::telemetry::families::MirrorResult;
use crate::upstream::cluster::Member;
use crate::words::{GrpcStatus, Protocol};

/// Where a copy goes.
pub(in crate::proxy) struct Way<'a> {
    pub(in crate::proxy) lane: &'a Lane,
    pub(in crate::proxy) cluster: &'a ClusterPlane,
    pub(in crate::proxy) member: &'a Member,
    pub(in crate::proxy) pool: &'a Pool,
    pub(in crate::proxy) protocol: Protocol,
    pub(in crate::proxy) http2: bool,
}

/// Sends it, within `longest` from when the request is whole; what came of it. `fate` tells whether `body` was cut on this side.
pub(in crate::proxy) async fn send(
    way: &Way<'_>,
    head: Box<Parts>,
    body: TapeBody,
    fate: &Fate,
    longest: Duration,
) -> MirrorResult {
    let mut attempt = Attempt {
        lease: Lease::new(way.cluster.meter.clone(), &way.member.state, None, Instant::now()),
        stage: Stage::Waiting,
    };
    let ended = {
        let run = async {
            match select(pin!(attempt.run(way, head, body, fate)), pin!(fate.until_cut())).await {
                Either::Left((ended, _)) => Some(ended),
                Either::Right(_) => None,
            }
        };
        let late = async {
            fate.until_whole().await;
            sleep(longest).await;
        };
        match select(pin!(run), pin!(late)).await {
            Either::Left((ended, _)) => Ok(ended),
            Either::Right(_) => Err(Late),
        }
    };
    match ended {
        Ok(Some(Ended::Whole)) => {
            attempt.lease.completed();
            MirrorResult::Sent
        }
        Ok(Some(Ended::NotTaken)) => {
            attempt.lease.completed();
            MirrorResult::Failed
        }
        // The attempt is given up, whatever it met with meanwhile.
        _ if fate.is_cut() => MirrorResult::Skipped,
        Ok(Some(Ended::Cut)) => {
            attempt.lease.end();
            outcome::cut(way.cluster, way.member, way.lane.now_ms());
            MirrorResult::Failed
        }
        Ok(Some(Ended::Failed(failure))) => {
            attempt.lease.end();
            outcome::failed(way.cluster, way.member, failure.reason, way.lane.now_ms());
            if failure.reason == Reason::Overflow { MirrorResult::Overflow } else { MirrorResult::Failed }
        }
        Ok(None) => MirrorResult::Skipped,
        Err(Late) => {
            way.cluster.meter.rq_timeout.increment(1);
            outcome::late(way.cluster, way.member, attempt.stage);
            MirrorResult::Failed
        }
    }
}

/// Its time was up.
struct Late;

/// How it ended, if nobody cut it short.
enum Ended {
    /// Its answer was read to the end.
    Whole,
    /// The same, by which another Weir has refused it.
    NotTaken,
    /// Its answer broke off behind the head.
    Cut,
    Failed(Failure),
}

/// What holds its place in the counts, and how far it has come.
struct Attempt {
    lease: Lease,
    stage: Stage,
}

impl Attempt {
    /// Up to the end of its answer.
    async fn run(&mut self, way: &Way<'_>, head: Box<Parts>, body: TapeBody, fate: &Fate) -> Ended {
        let sent = if way.http2 {
            self.by_http2(way.pool, &head, body, fate).await
        } else {
            self.by_http1(way.pool, &head, body).await
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(failure) => return Ended::Failed(failure),
        };
        self.stage = Stage::Answered;
        let (_, refusal) = outcome::take_hop(&mut response, way.member, way.lane);
        way.cluster.meter.answered(response.status().as_u16(), self.lease.service_time());
        let refuses = refusal.is_some();
        let owes_status = outcome::answered(way.cluster, way.member, &response, refuses, || way.protocol);
        let Ok(status) = read_out(response.into_body()).await else { return Ended::Cut };
        if owes_status {
            outcome::ended(way.cluster, way.member, status);
        }
        if refuses { Ended::NotTaken } else { Ended::Whole }
    }

    async fn by_http1(
        &mut self,
        pool: &Pool,
        head: &Parts,
        body: TapeBody,
    ) -> Result<Response<Body>, Failure> {
        // It is sent once.
        let connection = pool.http1.acquire(!retry::is_idempotent(&head.method)).await;
        let mut connection = connection.map_err(outcome::without_connection)?;
        self.begin();
        let response = connection.send(head, body).await.map_err(http1::failed)?;
        self.lease.hold(Connection::Http1(connection));
        Ok(response)
    }

    async fn by_http2(
        &mut self,
        pool: &Pool,
        head: &Parts,
        body: TapeBody,
        fate: &Fate,
    ) -> Result<Response<Body>, Failure> {
        let connection = pool.http2.acquire().await.map_err(outcome::without_connection)?;
        self.begin();
        let mut stream =
            http2::open(connection, head, body, &self.lease).map_err(|error| http2::unsent(&error))?;
        match stream.answer().await {
            Ok(response) => Ok(http2::hold(response, head.method == Method::HEAD, stream, &self.lease)),
            Err(error) => {
                stream.end();
                Err(http2::http2_failure(&error, &stream, fate.is_cut()))
            }
        }
    }

    fn begin(&mut self) {
        self.lease.begin();
        self.stage = Stage::Sent;
    }
}

/// Reads up to the end; what the trailers say of a gRPC call.
async fn read_out(mut body: Body) -> Result<Option<GrpcStatus>, BodyError> {
    let mut status = None;
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        status = status.or(frame?.trailers_ref().and_then(grpc::status));
    }
    Ok(status)
}
