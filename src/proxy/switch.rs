//! Upgrades: a caller by HTTP/1.1 that asks for another protocol, such as WebSocket.
//!
//! Law: only what a route allows goes up, by HTTP/1.1, and only the protocol that was asked for is believed of the upstream.
//! Then both connections are one: what each side sends passes as it is. Where the caller's side ends, the upstream goes on
//! being heard; the upstream's end is the tunnel's.

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::attempt::Way;
use super::exchange::Exchange;
use super::headers::Notable;
use super::reply::Reason;
use super::request::Routed;
use super::{admit, headers};
use crate::message::body::Body;
use crate::snapshot::UpstreamProtocol;

/// The protocol that a request asks for: of several the first that its route allows. Behind a hop the split has looked at
/// that.
pub(super) fn asked(
    exchange: &Exchange,
    routed: &Routed,
    head: &Parts,
) -> Result<Option<HeaderValue>, Reason> {
    if !routed.notable.has(Notable::UPGRADE) {
        return Ok(None);
    }
    let mut protocols = admit::upgrades(head).peekable();
    if protocols.peek().is_none() {
        return Ok(None);
    }
    let known = routed.route(exchange).route.forward().map_or(&[][..], |forward| &forward.upgrades);
    let from_weir = headers::is_from_weir(exchange, routed.hops);
    let allowed = |protocol: &&[u8]| {
        from_weir || known.iter().any(|known| protocol.eq_ignore_ascii_case(known.as_bytes()))
    };
    let protocol = protocols.find(allowed).and_then(|protocol| HeaderValue::from_bytes(protocol).ok());
    protocol.map(Some).ok_or(Reason::UpgradeRefused)
}

/// The way takes it: by HTTP/1.1, and with nothing else behind the head.
pub(super) fn prepare(exchange: &Exchange, way: &mut Way<'_>) -> Result<(), Reason> {
    let speaks_http1 = way.cluster.state.config.protocol != UpstreamProtocol::Http2;
    if !(speaks_http1 && exchange.upload.await_switch()) {
        return Err(Reason::UpgradeRefused);
    }
    way.http2 = false;
    Ok(())
}

/// Says in a head which protocol is asked for, or was switched to.
pub(super) fn say(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The upstream has answered: with the protocol, or with anything else, behind which the connection closes.
pub(super) fn answered(exchange: &Exchange, response: &mut Response<Body>, protocol: HeaderValue) {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        // What a route bounds is the time to here.
        exchange.deadline.set(None);
        say(response.headers_mut(), protocol);
    } else {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
}
