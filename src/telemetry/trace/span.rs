//! The spans of a request: its own, and one for each attempt, in OpenTelemetry's words.
//!
//! Laws: names and attributes are those of the semantic conventions of HTTP and of RPC, as of version 1.45, and ours
//! begin with `weir.`. A span's name holds nothing of a path but a gRPC method that somebody knows. Queries, which may hold
//! credentials, are in none.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use super::context::SpanContext;
use super::ids::SpanId;
use super::record::{Attempt, Finished, Head};
use crate::telemetry::record::{GrpcOutcome, Outcome, VIA_UPSTREAM};
use crate::words::{GrpcStatus, HttpVersion, Protocol};

/// Bytes of a gRPC method's name.
const MOST_OF_METHOD: usize = 256;
/// What stands for a name that nobody knows.
const OTHER: &str = "_OTHER";
/// As a caller reads a gRPC status that there is not.
const UNKNOWN: &str = "UNKNOWN";
/// The gRPC status of success.
const OK: &str = GrpcStatus::Ok.screaming();

/// Which side of a request a span is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one that answers.
    Server,
    /// The one that asks.
    Client,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'f> {
    /// Text.
    Text(Cow<'f, str>),
    /// A number.
    Number(i64),
}

/// One span, to be written in whatever form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span<'f> {
    /// It.
    pub context: SpanContext,
    /// The span that it was made for.
    pub parent: Option<SpanId>,
    /// Whether that is another process's; `None`: there is none.
    pub parent_is_remote: Option<bool>,
    /// The list of `tracestate`.
    pub state: &'f str,
    /// One of few.
    pub name: Cow<'f, str>,
    /// See [`Kind`].
    pub kind: Kind,
    /// Nanoseconds since 1970.
    pub start_ns: u64,
    /// The same, of its end.
    pub end_ns: u64,
    /// Each name once.
    pub attributes: Vec<(&'static str, Value<'f>)>,
    /// What went wrong, if anything did that is this side's; empty where `error.type` says it all.
    pub error: Option<&'static str>,
}

/// The spans of a request: its own first, then its attempts in order.
pub fn spans_of(finished: &Finished) -> Vec<Span<'_>> {
    let mut spans = Vec::with_capacity(finished.spans());
    spans.push(of_request(finished));
    let attempts = finished.trace.attempts.iter().enumerate();
    spans.extend(attempts.map(|(number, attempt)| of_attempt(finished, number, attempt)));
    spans
}

/// Attributes as they are gathered.
#[derive(Default)]
struct Attributes<'f>(Vec<(&'static str, Value<'f>)>);

impl<'f> Attributes<'f> {
    fn text(&mut self, name: &'static str, text: impl Into<Cow<'f, str>>) {
        let text = text.into();
        if !text.is_empty() {
            self.0.push((name, Value::Text(text)));
        }
    }

    fn number(&mut self, name: &'static str, number: impl Into<i64>) {
        self.0.push((name, Value::Number(number.into())));
    }

    /// Host and port; `port` is that of an authority that names none.
    fn authority(&mut self, authority: &'f str, port: Option<u16>) {
        let (host, named) = split_port(authority);
        self.text("server.address", host);
        if let Some(port) = named.or(port).filter(|_| !host.is_empty()) {
            self.number("server.port", port);
        }
    }

    /// What was asked for, in the words of HTTP and, for a call, of RPC.
    fn head(&mut self, finished: &'f Finished, head: &'f Head, path: &'f str) {
        match known_method(&head.method) {
            Some(method) => self.text("http.request.method", method),
            None => {
                self.text("http.request.method", OTHER);
                self.text("http.request.method_original", &*head.method);
            }
        }
        if finished.protocol == Protocol::Grpc {
            self.text("rpc.system.name", "grpc");
            match method_of(finished, path) {
                Some(method) => self.text("rpc.method", method),
                None => {
                    self.text("rpc.method", OTHER);
                    self.text("rpc.method_original", path.trim_start_matches('/'));
                }
            }
        }
    }

    /// How it ended.
    fn status(&mut self, finished: &Finished, status: u16, grpc_status: GrpcOutcome) {
        if status > 0 {
            self.number("http.response.status_code", status);
        }
        if let Some(name) = of_call(finished, grpc_status) {
            self.text("rpc.response.status_code", name);
        }
    }
}

fn of_request(finished: &Finished) -> Span<'_> {
    let trace = &finished.trace;
    let mut attributes = Attributes::default();
    if let Some(head) = &trace.head {
        attributes.head(finished, head, &head.path);
        attributes.text("url.scheme", head.scheme);
        attributes.text("url.path", &*head.path);
        attributes.authority(&head.authority, None);
        attributes.text("user_agent.original", &*head.user_agent);
    }
    attributes.status(finished, finished.status, finished.grpc_status);
    attributes.text("network.protocol.version", version_of(finished.http_version));
    let forwarded_for = trace.head.as_ref().and_then(|head| head.forwarded_for);
    if let Some(client) = forwarded_for.or(finished.peer.map(|peer| peer.ip())) {
        attributes.text("client.address", ip_text(client));
    }
    if let Some(peer) = finished.peer {
        attributes.text("network.peer.address", ip_text(peer.ip()));
        attributes.number("network.peer.port", peer.port());
    }
    attributes.text("weir.route", finished.route.as_deref().unwrap_or_default());
    attributes.text("weir.service", finished.sent.service.as_deref().unwrap_or_default());
    attributes.text("weir.version", finished.sent.version.as_deref().unwrap_or_default());
    attributes.text("weir.cluster", finished.cluster.as_deref().unwrap_or_default());
    attributes.number("weir.retries", trace.attempts.len().saturating_sub(1) as i64);
    if !finished.flags.is_empty() {
        attributes.text("weir.flags", finished.flags.to_string());
    }
    if finished.details != VIA_UPSTREAM {
        attributes.text("weir.details", finished.details);
    }
    let error = error_of_request(finished);
    if let Some(error) = &error {
        attributes.text("error.type", error.clone());
    }
    Span {
        context: trace.span,
        parent: trace.parent,
        parent_is_remote: trace.parent.map(|_| true),
        state: &trace.state,
        name: name_of(finished, trace.head.as_ref().map_or("", |head| &head.path)),
        kind: Kind::Server,
        start_ns: finished.nanos(finished.start),
        end_ns: finished.nanos(finished.start + finished.duration),
        attributes: attributes.0,
        error: error.map(|_| if finished.details == VIA_UPSTREAM { "" } else { finished.details }),
    }
}

fn of_attempt<'f>(finished: &'f Finished, number: usize, attempt: &'f Attempt) -> Span<'f> {
    let trace = &finished.trace;
    let mut attributes = Attributes::default();
    let is_call = finished.protocol == Protocol::Grpc;
    let path = attempt.path.as_ref().or(trace.head.as_ref().map(|head| &head.path)).map_or("", |path| path);
    if let Some(head) = &trace.head {
        attributes.head(finished, head, path);
        if !is_call {
            attributes.text("url.full", format!("http://{}{path}", &*attempt.authority));
        }
    }
    attributes.authority(&attempt.authority, (!is_call).then_some(80));
    attributes.status(finished, attempt.status, attempt.grpc_status);
    attributes.text("network.protocol.version", if attempt.http2 { "2" } else { "1.1" });
    match attempt.endpoint.parse::<SocketAddr>() {
        Ok(endpoint) => {
            attributes.text("network.peer.address", ip_text(endpoint.ip()));
            attributes.number("network.peer.port", endpoint.port());
        }
        Err(_) => attributes.text("network.peer.address", &*attempt.endpoint),
    }
    if number > 0 {
        attributes.number("http.request.resend_count", number as i64);
    }
    attributes.text("weir.version", finished.sent.version.as_deref().unwrap_or_default());
    attributes.text("weir.cluster", finished.cluster.as_deref().unwrap_or_default());
    let error = error_of_attempt(finished, attempt);
    if let Some(error) = &error {
        attributes.text("error.type", error.clone());
    }
    let end = attempt.ended.unwrap_or(finished.start + finished.duration);
    Span {
        context: trace.span.with_span(attempt.span),
        parent: Some(trace.span.span),
        parent_is_remote: Some(false),
        state: &trace.state,
        name: name_of(finished, path),
        kind: Kind::Client,
        start_ns: finished.nanos(attempt.started),
        end_ns: finished.nanos(end),
        attributes: attributes.0,
        error: error.map(|_| attempt.error.unwrap_or_default()),
    }
}

/// A gRPC method, else the HTTP method and the route.
fn name_of<'f>(finished: &'f Finished, path: &'f str) -> Cow<'f, str> {
    let Some(head) = &finished.trace.head else { return "HTTP".into() };
    let first = match finished.protocol {
        Protocol::Grpc => match method_of(finished, path) {
            Some(method) => return method.into(),
            None => "grpc",
        },
        Protocol::Http => known_method(&head.method).unwrap_or("HTTP"),
    };
    match &finished.route {
        Some(route) => format!("{first} {route}").into(),
        None => first.into(),
    }
}

/// `package.Service/Method`, if that is what the path says, and somebody knows it.
fn method_of<'f>(finished: &Finished, path: &'f str) -> Option<&'f str> {
    let unknown = finished.grpc_status == GrpcOutcome::Known(GrpcStatus::Unimplemented);
    if unknown || finished.route.is_none() {
        return None;
    }
    let method = path.strip_prefix('/')?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'.')
    };
    let (service, name) = method.split_once('/')?;
    (method.len() <= MOST_OF_METHOD && is_name(service) && is_name(name)).then_some(method)
}

/// What is wrong with what the caller got, as far as it is not the caller's own doing: just where the metrics count an
/// error of the server's.
fn error_of_request(finished: &Finished) -> Option<Cow<'static, str>> {
    if finished.outcome != Outcome::ServerError {
        return None;
    }
    Some(match of_call(finished, finished.grpc_status) {
        Some(name) if name != OK => name.into(),
        _ if finished.status >= 400 => finished.status.to_string().into(),
        // What seemed to be well was cut.
        _ if finished.details != VIA_UPSTREAM => finished.details.into(),
        None if finished.protocol == Protocol::Grpc => UNKNOWN.into(),
        _ => OTHER.into(),
    })
}

/// What is wrong with what came of an attempt: for whoever asks, a client error is one, too.
fn error_of_attempt(finished: &Finished, attempt: &Attempt) -> Option<Cow<'static, str>> {
    if let Some(error) = attempt.error {
        return Some(error.into());
    }
    match of_call(finished, attempt.grpc_status) {
        Some(OK) => None,
        Some(name) => Some(name.into()),
        None => (attempt.status >= 400).then(|| attempt.status.to_string().into()),
    }
}

/// The methods that HTTP's conventions know.
fn known_method(method: &str) -> Option<&'static str> {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"]
        .into_iter()
        .find(|known| *known == method)
}

fn version_of(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    }
}

/// As it is written: one of IPv4 that was mapped as itself.
fn ip_text(ip: IpAddr) -> String {
    ip.to_canonical().to_string()
}

/// `host:port`, `host`, `[::1]:port`: without the brackets. Of a request that is refused for them, name and password are in
/// no span.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(port));
    }
    match authority.rsplit_once(':') {
        Some((host, digits)) => (host, port(digits)),
        None => (authority, None),
    }
}

/// The status of a call, if that is what the request is; other answers may have a field of that name, too.
fn of_call(finished: &Finished, status: GrpcOutcome) -> Option<&'static str> {
    match status {
        _ if finished.protocol != Protocol::Grpc => None,
        GrpcOutcome::Known(status) => Some(status.screaming()),
        GrpcOutcome::Unknown(_) => Some(UNKNOWN),
        GrpcOutcome::Absent => None,
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
