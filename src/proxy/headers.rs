//! Edits of heads on their way up and down: what is stripped, what is trusted, what is added.
//!
//! Source: design section "Header trust"; Envoy's request and response headers, seen on Envoy 1.40 (`docs/wire.md`).

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, HOST};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Response, Uri, Version};
use rand::Rng as _;

use super::attempt::Way;
use super::exchange::Exchange;
use super::hop;
use super::reply::Reason;
use crate::message::{forwarded, hop_by_hop};
use crate::runtime::clock::{self, Tick};
use crate::runtime::drain::Phase;
use crate::snapshot::Mode;
use crate::words::HttpVersion;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const EXPECTED_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
/// The path before it was rewritten, with its query.
pub(super) const ORIGINAL_PATH: HeaderName = HeaderName::from_static("x-envoy-original-path");
/// The authority before it was rewritten.
pub(super) const ORIGINAL_HOST: HeaderName = HeaderName::from_static("x-envoy-original-host");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// Which fields of a head there is something to do about. One look at each name costs less than looking up every name
/// that might be there, and mostly there is none.
#[derive(Clone, Copy)]
pub(super) struct Notable {
    found: u8,
    hop_by_hop: hop_by_hop::Present,
}

impl Notable {
    pub(super) const UPGRADE: u8 = 1 << 1;
    const EXPECT: u8 = 1 << 2;
    /// `x-weir-*`.
    pub(super) const OURS: u8 = 1 << 3;
    /// `x-envoy-*`.
    const ENVOY: u8 = 1 << 4;
    pub(super) const GRPC_TIMEOUT: u8 = 1 << 5;

    /// Those of `headers`.
    pub(super) fn of(headers: &HeaderMap) -> Notable {
        let mut notable = Notable { found: 0, hop_by_hop: hop_by_hop::Present::default() };
        for name in headers.keys() {
            let name = name.as_str();
            notable.found |= Notable::in_name(name);
            notable.hop_by_hop = notable.hop_by_hop.and(hop_by_hop::Present::of(name));
        }
        notable
    }

    #[inline]
    fn in_name(name: &str) -> u8 {
        match name {
            "expect" => Notable::EXPECT,
            "upgrade" => Notable::UPGRADE,
            "grpc-timeout" => Notable::GRPC_TIMEOUT,
            _ if name.starts_with("x-weir-") => Notable::OURS,
            _ if name.starts_with("x-envoy-") => Notable::ENVOY,
            _ => 0,
        }
    }

    /// Whether the request itself may ask for more than a plain split gives, of a caller that is `internal` or not.
    pub(super) fn asks(self, internal: bool) -> bool {
        self.has(Notable::UPGRADE | Notable::ENVOY) && (internal || self.has(Notable::UPGRADE))
    }

    /// Whether there is one of `kind`.
    pub(super) fn has(self, kind: u8) -> bool {
        self.found & kind != 0
    }

    /// Removes the fields of the connection from `headers`, whose notable ones these are. By HTTP/2 they do not come: there
    /// they are malformed (RFC 9113 section 8.2.2).
    fn strip_hop_by_hop(self, headers: &mut HeaderMap, version: Version) {
        if version != Version::HTTP_2 && self.hop_by_hop.any() {
            hop_by_hop::strip_present(headers, self.hop_by_hop);
        }
    }
}

/// The head as the upstream gets it, but for what each attempt adds of its own.
pub(super) fn to_upstream(
    exchange: &Exchange,
    parts: &mut Parts,
    way: &Way<'_>,
    timeout: Option<Duration>,
    notable: Notable,
) {
    clean(exchange, parts, way.hops, notable);
    if let Some(timeout) = timeout {
        expect_timeout(&mut parts.headers, timeout);
    }
    frame(exchange, parts, way.http2);
}

/// What a caller may not say is taken out, and what Weir says put in.
pub(super) fn clean(exchange: &Exchange, parts: &mut Parts, hops: u32, notable: Notable) {
    let headers = &mut parts.headers;
    notable.strip_hop_by_hop(headers, parts.version);
    if notable.has(Notable::OURS) {
        hop::strip(headers);
    }
    if notable.has(Notable::EXPECT)
        && headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        headers.remove(EXPECT); // answered here
        exchange.upload.ask_for();
    }
    trust(exchange, headers, notable, hops);
}

/// The head in the form of the HTTP that the upstream speaks.
pub(super) fn frame(exchange: &Exchange, parts: &mut Parts, http2: bool) {
    if http2 { for_http2(exchange, parts) } else { for_http1(exchange, parts) }
}

/// Tells the upstream how long its answer is waited for.
pub(super) fn expect_timeout(headers: &mut HeaderMap, timeout: Duration) {
    let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    headers.insert(EXPECTED_TIMEOUT_MS, HeaderValue::from(ms));
}

/// Tells it nothing of that.
pub(super) fn expect_no_timeout(headers: &mut HeaderMap) {
    headers.remove(EXPECTED_TIMEOUT_MS);
}

/// Fields that a caller may not set, and those that say who the caller is.
fn trust(exchange: &Exchange, headers: &mut HeaderMap, notable: Notable, hops: u32) {
    if !exchange.seat.internal && notable.has(Notable::ENVOY) {
        strip_envoy(headers, is_from_weir(exchange, hops));
    }
    if exchange.seat.listener.chain().use_remote_address {
        if let Some(peer) = exchange.downstream.peer {
            append_forwarded_for(headers, &peer.ip().to_canonical().to_string());
        }
        headers.insert(forwarded::PROTO, HeaderValue::from_static("http"));
        headers.remove(REQUEST_ID);
    } else {
        headers.entry(forwarded::PROTO).or_insert(HeaderValue::from_static("http"));
    }
    headers.entry(REQUEST_ID).or_insert_with(|| request_id(exchange));
}

/// Whether another Weir handed the request over: its peer was looked at when it was admitted.
pub(super) fn is_from_weir(exchange: &Exchange, hops: u32) -> bool {
    hops > 0 && matches!(exchange.seat.listener.chain().mode, Mode::Deliver { .. })
}

/// `from_weir`: what the split has said of the request stays.
fn strip_envoy(headers: &mut HeaderMap, from_weir: bool) {
    let said = [ORIGINAL_PATH, ORIGINAL_HOST, EXPECTED_TIMEOUT_MS];
    let names: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-envoy-") && !(from_weir && said.contains(name)))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

fn append_forwarded_for(headers: &mut HeaderMap, peer: &str) {
    let before: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let value = if before.is_empty() { peer.to_owned() } else { format!("{},{peer}", before.join(",")) };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(FORWARDED_FOR, value);
    }
    if let Ok(peer) = HeaderValue::from_str(peer) {
        headers.insert(EXTERNAL_ADDRESS, peer);
    }
}

/// A UUID of version 4.
fn request_id(exchange: &Exchange) -> HeaderValue {
    let mut bytes = [0; 16];
    exchange.downstream.lane.dice.borrow_mut().fill_bytes(&mut bytes);
    let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// The scheme that the caller speaks, to whoever stands before this proxy.
pub(super) fn scheme(exchange: &Exchange, headers: &HeaderMap) -> &'static str {
    forwarded::scheme(headers, !exchange.seat.listener.chain().use_remote_address)
}

fn for_http1(exchange: &Exchange, parts: &mut Parts) {
    if let Some(authority) = parts.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(HOST, host); // RFC 9112 section 3.2.2: the target's authority replaces Host
        }
        let target = parts.uri.path_and_query().cloned();
        parts.uri = target.map(Uri::from).unwrap_or_default();
    } else if parts.version != Version::HTTP_11
        && !parts.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(&exchange.service_host())
    {
        parts.headers.insert(HOST, host); // RFC 9112 section 3.2: HTTP/1.0 may leave it out, HTTP/1.1 may not
    }
    parts.version = Version::HTTP_11;
}

fn for_http2(exchange: &Exchange, parts: &mut Parts) {
    if parts.version != Version::HTTP_2
        && let Some(length) = parts.headers.get_mut(CONTENT_LENGTH)
        && let Some(bytes) = exchange.upload.length()
    {
        *length = HeaderValue::from(bytes); // without the zeros that may stand before it
    }
    let host = parts.headers.remove(HOST);
    if parts.uri.authority().is_none() {
        let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
        let service = || Authority::try_from(exchange.service_host().as_bytes()).ok();
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.authority = authority.or_else(service);
        uri.scheme = uri.authority.is_some().then_some(Scheme::HTTP);
        parts.uri = Uri::from_parts(uri).unwrap_or_default();
    }
    parts.version = Version::HTTP_2;
}

/// Replaces path and query.
pub(super) fn set_target(uri: &mut Uri, target: &str) -> Result<(), Reason> {
    let target =
        PathAndQuery::try_from(target).map_err(|_| Reason::BadRequest("path_normalization_failed"))?;
    let mut parts = std::mem::take(uri).into_parts();
    parts.path_and_query = Some(target);
    *uri = Uri::from_parts(parts).map_err(|_| Reason::BadRequest("path_normalization_failed"))?;
    Ok(())
}

/// The head of an upstream's answer, stripped of what belongs to its connection.
pub(super) fn from_upstream<B>(response: &mut Response<B>, service_time: Duration, notable: Notable) {
    let version = response.version();
    let headers = response.headers_mut();
    notable.strip_hop_by_hop(headers, version);
    headers.insert(SERVICE_TIME, milliseconds(service_time));
}

/// What a service takes is mostly one of a few numbers, which need no memory.
fn milliseconds(time: Duration) -> HeaderValue {
    static COMMON: [HeaderValue; 10] = [
        HeaderValue::from_static("0"),
        HeaderValue::from_static("1"),
        HeaderValue::from_static("2"),
        HeaderValue::from_static("3"),
        HeaderValue::from_static("4"),
        HeaderValue::from_static("5"),
        HeaderValue::from_static("6"),
        HeaderValue::from_static("7"),
        HeaderValue::from_static("8"),
        HeaderValue::from_static("9"),
    ];
    let ms = time.as_millis();
    match usize::try_from(ms).ok().and_then(|ms| COMMON.get(ms)) {
        Some(value) => value.clone(),
        None => HeaderValue::from(u64::try_from(ms).unwrap_or(u64::MAX)),
    }
}

/// What every answer carries, whoever gave it.
pub(super) fn to_downstream(exchange: &Exchange, headers: &mut HeaderMap) {
    let lane = &exchange.downstream.lane;
    headers.entry(DATE).or_insert_with(date); // RFC 9110 section 6.6.1
    let leaves = || lane.says_goodbye() || exchange.downstream.phase() > Phase::Serving;
    // HTTP/2 has other words for it, and its engine writes no field of a connection.
    if exchange.record.borrow().http_version != HttpVersion::Http2 && leaves() {
        exchange.seat.listener.http.cx_drain_close.increment(1);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(in_flight) = exchange.delivered_in_flight() {
        headers.insert(hop::IN_FLIGHT, HeaderValue::from(in_flight));
    }
}

/// The present date, formatted once a second.
fn date() -> HeaderValue {
    thread_local! {
        static CACHED: RefCell<Option<(Tick, HeaderValue)>> = const { RefCell::new(None) };
    }
    CACHED.with_borrow_mut(|cached| match cached {
        Some((at, date)) if clock::now().age_since(*at) < Duration::from_millis(500) => date.clone(),
        _ => {
            let text = httpdate::fmt_http_date(SystemTime::now());
            let date = HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""));
            *cached = Some((clock::now(), date.clone()));
            date
        }
    })
}
