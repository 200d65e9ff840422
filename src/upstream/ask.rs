//! One request of ours and its answer, over a connection of its own.
//!
//! Law: the engines are those of the proxy, so what an endpoint may send is bounded as there; of a body no more is kept
//! than an answer about health has, and nothing is read where nobody asks for it.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::future::{Either, select};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;

use crate::message::body::Body;
use crate::message::grpc;
use crate::message::http2::{Settings, client};
use crate::transport::activity::Activity;
use crate::transport::io::{Io, Stream};
use crate::upstream::http1;

/// Bytes of an answer's body that are kept.
const MOST: usize = 64 << 10;

/// How much of an answer is waited for.
#[derive(Clone, Copy)]
pub(in crate::upstream) enum Wanted {
    /// The head decides: whatever comes behind it, and whether it ends, is nobody's business.
    Head,
    Whole,
}

/// What came.
pub(in crate::upstream) struct Answer {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) headers: HeaderMap,
    pub(in crate::upstream) body: Bytes,
    pub(in crate::upstream) trailers: Option<HeaderMap>,
}

impl Answer {
    /// What it says of a gRPC call: behind its body, or in its head where it has none.
    pub(in crate::upstream) fn grpc_status(&self) -> Option<&HeaderValue> {
        let behind = self.trailers.as_ref().and_then(|trailers| trailers.get(grpc::STATUS));
        behind.or_else(|| self.headers.get(grpc::STATUS))
    }
}

/// Asks by HTTP/1; who has a body says in the head how long it is. `None`: what was wanted of an answer did not come.
pub(in crate::upstream) async fn by_http1(
    stream: Stream,
    request: Request<Bytes>,
    wanted: Wanted,
) -> Option<Answer> {
    let io = Io::new(stream, Rc::new(Activity::new(false)));
    let (head, data) = request.into_parts();
    let body = if data.is_empty() { Body::Empty } else { Body::Full(data) };
    let response = http1::ask_once(io, &head, body).await.ok()?;
    let (parts, body) = response.into_parts();
    let (body, trailers) = wanted.read(body).await?;
    Some(Answer { status: parts.status, headers: parts.headers, body, trailers })
}

/// Asks by HTTP/2, with a body. `None`: what was wanted of an answer did not come.
pub(in crate::upstream) async fn by_http2(
    stream: Stream,
    request: Request<Bytes>,
    wanted: Wanted,
) -> Option<Answer> {
    let io = Io::new(stream, Rc::new(Activity::new(false)));
    let (sender, connection) = client::connect(io, Settings::default());
    let (head, mut data) = request.into_parts();
    let ask = async move {
        let no_body = data.is_empty();
        let sent = sender.send_request(&head.method, &head.uri, &head.headers, no_body);
        let (answer, mut body) = sent.ok()?;
        while !data.is_empty() {
            poll_fn(|cx| body.poll_send(cx, &mut data, true)).await.ok()?;
        }
        let (parts, body) = answer.await.ok()?.into_parts();
        let (body, trailers) = wanted.read(Body::http2(body)).await?;
        drop(sender);
        Some(Answer { status: parts.status, headers: parts.headers, body, trailers })
    };
    match select(pin!(ask), connection).await {
        Either::Left((answer, _)) => answer,
        // The connection is over; what it brought may still be read.
        Either::Right((_, ask)) => ask.await,
    }
}

/// A unary gRPC call of `message`, not compressed; for [`by_http2`]. `None`: `authority` and `path` make no URL.
pub(in crate::upstream) fn call_of(
    authority: &str,
    path: &str,
    agent: HeaderValue,
    message: &[u8],
) -> Option<Request<Bytes>> {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.put_slice(message);
    let request = Request::post(format!("http://{authority}{path}"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .header(USER_AGENT, agent);
    request.body(body.freeze()).ok()
}

impl Wanted {
    /// The body and the trailers, as far as they are wanted.
    async fn read(self, mut body: Body) -> Option<(Bytes, Option<HeaderMap>)> {
        if let Wanted::Head = self {
            return Some((Bytes::new(), None));
        }
        let (mut data, mut trailers) = (BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            match frame.ok()?.into_data() {
                Ok(more) if data.len() + more.len() <= MOST => data.extend_from_slice(&more),
                Ok(_) => return None,
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        Some((data.freeze(), trailers))
    }
}
