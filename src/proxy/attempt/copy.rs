//! An attempt with a copy of a request: nobody waits for its answer, which is read to its end and dropped.
//!
//! Law: it counts on the cluster and the endpoint as any other attempt does, and touches nothing of the request's own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body::Body as _;

use super::lease::{Connection, Lease};
use super::outcome::status_of;
use super::{hop, http2};
use crate::message::body::{Body, BodyError};
use crate::proxy::lane::{Lane, Pool};
use crate::proxy::plane::ClusterPlane;
use crate::proxy::retry;
use crate::upstream::cluster::Member;
use crate::upstream::guard::Outcome;

/// Where a copy goes.
pub(in crate::proxy) struct Way<'a> {
    pub(in crate::proxy) lane: &'a Lane,
    pub(in crate::proxy) cluster: &'a ClusterPlane,
    pub(in crate::proxy) member: &'a Member,
    pub(in crate::proxy) pool: &'a Pool,
    pub(in crate::proxy) http2: bool,
}

/// Sends it; whether its answer came, and came whole. `whole` tells whether `body` was not cut on this side.
pub(in crate::proxy) async fn send<B>(
    way: &Way<'_>,
    head: Box<Parts>,
    body: B,
    whole: impl Fn() -> bool,
) -> bool
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let Way { cluster, member, .. } = *way;
    let mut lease = Lease::new(cluster.meter.clone(), member.state.clone(), None, Instant::now());
    let sent = if way.http2 {
        by_http2(way.pool, head, body, &mut lease).await
    } else {
        by_http1(way.pool, head, body, &mut lease).await
    };
    let answered = match sent {
        Some(mut response) => {
            let status = response.status().as_u16();
            cluster.meter.answered(status, lease.service_time());
            let counts = &member.state.counts;
            if status >= 500 { &counts.rq_error } else { &counts.rq_success }.fetch_add(1, Ordering::Relaxed);
            cluster.state.note(member, Outcome::Status(status_of(&response)));
            if let Some(in_flight) = hop::take_in_flight(response.headers_mut()) {
                member.state.note_reported(in_flight, way.lane.now_ms());
            }
            read_out(response.into_body()).await
        }
        None => false,
    };
    if answered {
        lease.completed();
    } else if whole() {
        lease.end();
        member.state.note_failure(way.lane.now_ms());
        cluster.state.note(member, Outcome::Reset);
        member.state.counts.rq_error.fetch_add(1, Ordering::Relaxed);
        cluster.meter.rq_rx_reset.increment(1);
    }
    answered
}

async fn by_http1<B>(pool: &Pool, head: Box<Parts>, body: B, lease: &mut Lease) -> Option<Response<Body>>
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    // It is sent once.
    let mut connection = pool.http1.acquire(!retry::is_idempotent(&head.method)).await.ok()?;
    lease.begin();
    let response = connection.send(head, body).await.ok()?;
    lease.hold(Connection::Http1(connection));
    Some(response)
}

async fn by_http2<B>(pool: &Pool, head: Box<Parts>, body: B, lease: &mut Lease) -> Option<Response<Body>>
where
    B: http_body::Body<Data = Bytes> + Unpin + 'static,
{
    let connection = pool.http2.acquire().await.ok()?;
    lease.begin();
    let mut stream = http2::open(connection, &head, body, lease).ok()?;
    match stream.answer().await {
        Ok(response) => Some(http2::hold(response, head.method == Method::HEAD, stream, lease)),
        Err(_) => {
            stream.end();
            None
        }
    }
}

/// Reads up to the end; whether it came.
async fn read_out(mut body: Body) -> bool {
    loop {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return true,
            Some(Ok(_)) => {}
            Some(Err(_)) => return false,
        }
    }
}
