//! Whether a request has one unambiguous reading, and may come in here at all.
//!
//! Law: what two servers could read differently is refused, not repaired. Each check cites what it guards.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::request::Parts;
use http::{Method, Version};

use super::exchange::Exchange;
use super::headers::Notable;
use super::reply::Reason;
use super::{hop, http2};
use crate::message::http1::HeadError;
use crate::message::{host, values};
use crate::snapshot::Mode;

/// Bytes that a field costs beside its name and value: `: ` and the line's end.
const FIELD_OVERHEAD: usize = 4;

/// See the module. Returns the hops behind the request.
pub(super) fn admit(exchange: &Exchange, parts: &Parts, notable: Notable) -> Result<u32, Reason> {
    // HTTP/1 has been held to both where it was read.
    if parts.version == Version::HTTP_2 {
        head_size(exchange, parts)?;
        http2::well_formed(parts)?;
    }
    if parts.method == Method::CONNECT {
        return Err(Reason::NoTunnel); // RFC 9110 section 9.3.6
    }
    if parts.uri.path() == "*" {
        return Err(Reason::NoRoute); // `OPTIONS *` asks about the proxy itself
    }
    agreed_host(exchange, parts)?;
    let hops = if notable.has(Notable::OURS) { hop::count(&parts.headers) } else { 0 };
    peer(exchange, parts, hops)?;
    Ok(hops)
}

/// The bounds on a head of HTTP/2, by the measure of docs/limits.md.
fn head_size(exchange: &Exchange, parts: &Parts) -> Result<(), Reason> {
    let limits = &exchange.seat.generation.plane.snapshot.limits;
    if parts.headers.len() > limits.head_count {
        return Err(Reason::of_head(HeadError::TooMany));
    }
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let fields: usize =
        parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD).sum();
    if target + fields > limits.head_bytes {
        return Err(Reason::of_head(HeadError::TooLarge));
    }
    Ok(())
}

/// What an HTTP/1.1 request asks to switch to, what it wants most first; whether a route allows it is looked at there. `h2c`
/// may be ignored (RFC 9110 section 7.8). HTTP/1.0 has no upgrades, and a field that `connection` does not name was left
/// behind by another hop: it asks for nothing (section 7.6.1), and is removed.
pub(super) fn upgrades(parts: &Parts) -> impl Iterator<Item = &[u8]> {
    let asks = parts.version == Version::HTTP_11
        && values::items(&parts.headers, &CONNECTION).any(|name| name.eq_ignore_ascii_case(b"upgrade"));
    let listed = values::items(&parts.headers, &UPGRADE).filter(move |_| asks);
    listed.filter(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"))
}

/// RFC 9112 section 3.2: one Host, and HTTP/1.1 must have it. RFC 9113 section 8.3.1: it agrees with `:authority`.
fn agreed_host(exchange: &Exchange, parts: &Parts) -> Result<(), Reason> {
    if parts.version == Version::HTTP_11 {
        return Ok(()); // without exactly one it was not read
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Reason::BadRequest("http1.multiple_hosts"));
    }
    let authority = parts.uri.authority();
    match (host, authority) {
        (Some(host), Some(authority)) if parts.version == Version::HTTP_2 => {
            let agree = host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
            if agree { Ok(()) } else { Err(Reason::BadRequest("http2.host_disagrees_with_authority")) }
        }
        // Where the listener knows its service without one, HTTP/1.0 may leave it out.
        (None, None) if exchange.seat.listener.chain().needs_host => {
            Err(Reason::BadRequest("missing_host_header"))
        }
        _ => Ok(()),
    }
}

/// The authority as sent: of the target, else of the Host field.
pub(super) fn authority(parts: &Parts) -> Option<&str> {
    host::authority(&parts.uri, &parts.headers)
}

/// A delivery listener takes its peers only, and only what was meant for this pod; nobody may go round in circles.
fn peer(exchange: &Exchange, parts: &Parts, hops: u32) -> Result<(), Reason> {
    let listener = &exchange.seat.listener;
    if hops > hop::MAX_HOPS {
        return Err(Reason::TooManyHops);
    }
    let Mode::Deliver { service, .. } = &listener.chain().mode else { return Ok(()) };
    if let Some(peers) = &listener.peers {
        let known = exchange.downstream.peer.is_none_or(|peer| peers.allow(peer.ip()));
        if !known {
            exchange.downstream.lane.shared.process.delivery_refused.increment(1);
            return Err(Reason::PeerRefused);
        }
    }
    if hop::is_meant(&parts.headers, service, &listener.local_labels) {
        Ok(())
    } else {
        Err(Reason::Misdirected)
    }
}
