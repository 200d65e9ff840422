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
use crate::message::hop_by_hop;
use crate::runtime::clock::{self, Tick};
use crate::words::HttpVersion;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EXTERNAL_ADDRESS: HeaderName = HeaderName::from_static("x-envoy-external-address");
const TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-upstream-rq-timeout-ms");
const EXPECTED_TIMEOUT_MS: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");
const SERVICE_TIME: HeaderName = HeaderName::from_static("x-envoy-upstream-service-time");

/// The head as the upstream gets it, but for what each attempt adds of its own.
pub(super) fn to_upstream(exchange: &Exchange, parts: &mut Parts, way: &Way<'_>, timeout: Option<Duration>) {
    let headers = &mut parts.headers;
    if parts.version != Version::HTTP_2 {
        hop_by_hop::strip(headers); // by HTTP/2 they do not come: they are refused (RFC 9113 section 8.2.2)
    }
    hop::strip(headers);
    if headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        headers.remove(EXPECT); // answered here: the body is asked for as it is read
    }
    trust(exchange, headers);
    if let Some(timeout) = timeout {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        headers.insert(EXPECTED_TIMEOUT_MS, HeaderValue::from(ms));
    }
    if way.http2 { for_http2(exchange, parts) } else { for_http1(exchange, parts) }
}

/// Fields that a caller may not set, and those that say who the caller is.
fn trust(exchange: &Exchange, headers: &mut HeaderMap) {
    if !exchange.seat.internal {
        strip_envoy(headers);
    }
    if exchange.seat.listener.chain().use_remote_address {
        if let Some(peer) = exchange.downstream.peer {
            append_forwarded_for(headers, &peer.ip().to_canonical().to_string());
        }
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.remove(REQUEST_ID);
    } else {
        headers.entry(FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    }
    if !headers.contains_key(REQUEST_ID) {
        headers.insert(REQUEST_ID, request_id(exchange));
    }
}

fn strip_envoy(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name.as_str().starts_with("x-envoy-")) {
        return;
    }
    let names: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with("x-envoy-")).cloned().collect();
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

/// The timeout that an internal caller asks for; `Some(zero)` never: zero turns the route's own off in Envoy too.
pub(super) fn timeout(exchange: &Exchange, headers: &HeaderMap) -> Option<Duration> {
    if !exchange.seat.internal {
        return None;
    }
    let ms: u64 = headers.get(TIMEOUT_MS)?.to_str().ok()?.parse().ok()?;
    (ms > 0).then(|| Duration::from_millis(ms))
}

fn for_http1(exchange: &Exchange, parts: &mut Parts) {
    if let Some(authority) = parts.uri.authority() {
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            parts.headers.insert(HOST, host); // RFC 9112 section 3.2.2: the target's authority replaces Host
        }
        let target = parts.uri.path_and_query().cloned();
        parts.uri = target.map(Uri::from).unwrap_or_default();
    } else if !parts.headers.contains_key(HOST)
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
pub(super) fn from_upstream<B>(response: &mut Response<B>, service_time: Duration) {
    let version = response.version();
    let headers = response.headers_mut();
    if version != Version::HTTP_2 {
        hop_by_hop::strip(headers);
    }
    let ms = u64::try_from(service_time.as_millis()).unwrap_or(u64::MAX);
    headers.insert(SERVICE_TIME, HeaderValue::from(ms));
}

/// What every answer carries, whoever gave it.
pub(super) fn to_downstream(exchange: &Exchange, headers: &mut HeaderMap) {
    let lane = &exchange.downstream.lane;
    // Ours for HTTP/1, too: an engine that keeps its date until the wall clock passes it never sets it back.
    headers.entry(DATE).or_insert_with(date);
    if exchange.record.borrow().http_version == HttpVersion::Http2 {
        headers.remove(CONNECTION);
    } else if lane.says_goodbye() || exchange.downstream.phase() > crate::runtime::drain::Phase::Serving {
        exchange.seat.listener.http.cx_drain_close.increment(1);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    headers.entry(DATE).or_insert_with(date); // RFC 9110 section 6.6.1
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
