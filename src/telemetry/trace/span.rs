//! The spans of a request: its own, and one for each attempt, in OpenTelemetry's words.
//!
//! Laws: names and attributes are those of the stable semantic conventions (HTTP; RPC as of version 1.45), and ours
//! begin with `weir.`. A span's name holds nothing of a path but a gRPC method that somebody knows. Queries, which may hold
//! credentials, are in none.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::context::SpanContext;
use super::ids::SpanId;
use super::record::{Attempt, Finished, Head};
use crate::telemetry::record::{GrpcOutcome, VIA_UPSTREAM};
use crate::words::{GrpcStatus, HttpVersion, Protocol};

/// Bytes of a gRPC method's name.
const MOST_OF_METHOD: usize = 256;
/// What stands for a name that nobody knows.
const OTHER: &str = "_OTHER";

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
    /// What went wrong, if anything did that is this side's.
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

    /// Host and port.
    fn authority(&mut self, authority: &'f str) {
        let (host, port) = split_port(authority);
        self.text("server.address", host);
        if let Some(port) = port {
            self.number("server.port", port);
        }
    }

    /// What was asked for, in the words of HTTP and, for a call, of RPC.
    fn head(&mut self, finished: &'f Finished, head: &'f Head) {
        match known_method(&head.method) {
            Some(method) => self.text("http.request.method", method),
            None => {
                self.text("http.request.method", OTHER);
                self.text("http.request.method_original", &*head.method);
            }
        }
        if finished.protocol == Protocol::Grpc {
            self.text("rpc.system.name", "grpc");
            match method_of(finished) {
                Some(method) => self.text("rpc.method", method),
                None => {
                    self.text("rpc.method", OTHER);
                    self.text("rpc.method_original", head.path.trim_start_matches('/'));
                }
            }
        }
    }

    /// How it ended.
    fn status(&mut self, status: u16, grpc_status: GrpcOutcome) {
        if status > 0 {
            self.number("http.response.status_code", status);
        }
        if let Some(name) = grpc_name(grpc_status) {
            self.text("rpc.response.status_code", name);
        }
    }
}

fn of_request(finished: &Finished) -> Span<'_> {
    let trace = &finished.trace;
    let mut attributes = Attributes::default();
    if let Some(head) = &trace.head {
        attributes.head(finished, head);
        attributes.text("url.scheme", head.scheme);
        attributes.text("url.path", &*head.path);
        attributes.authority(&head.authority);
        attributes.text("user_agent.original", &*head.user_agent);
    }
    attributes.status(finished.status, finished.grpc_status);
    attributes.text("network.protocol.version", version_of(finished.http_version));
    if let Some(peer) = finished.peer {
        let ip = peer.ip().to_canonical().to_string();
        attributes.text("client.address", ip.clone());
        attributes.text("network.peer.address", ip);
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
        name: name_of(finished),
        kind: Kind::Server,
        start_ns: finished.nanos(finished.start),
        end_ns: finished.nanos(finished.start + finished.duration),
        attributes: attributes.0,
        error: error.map(|_| finished.details),
    }
}

fn of_attempt<'f>(finished: &'f Finished, number: usize, attempt: &'f Attempt) -> Span<'f> {
    let trace = &finished.trace;
    let mut attributes = Attributes::default();
    if let Some(head) = &trace.head {
        attributes.head(finished, head);
        if finished.protocol != Protocol::Grpc {
            let url = format!("http://{}{}", &*attempt.authority, &*head.path);
            attributes.text("url.full", url);
        }
    }
    attributes.authority(&attempt.authority);
    attributes.status(attempt.status, attempt.grpc_status);
    attributes.text("network.protocol.version", if attempt.http2 { "2" } else { "1.1" });
    match attempt.endpoint.parse::<SocketAddr>() {
        Ok(endpoint) => {
            attributes.text("network.peer.address", endpoint.ip().to_string());
            attributes.number("network.peer.port", endpoint.port());
        }
        Err(_) => attributes.text("network.peer.address", &*attempt.endpoint),
    }
    if number > 0 {
        attributes.number("http.request.resend_count", number as i64);
    }
    attributes.text("weir.version", finished.sent.version.as_deref().unwrap_or_default());
    attributes.text("weir.cluster", finished.cluster.as_deref().unwrap_or_default());
    let error = error_of_attempt(attempt);
    if let Some(error) = &error {
        attributes.text("error.type", error.clone());
    }
    let end = attempt.ended.unwrap_or(finished.start + finished.duration);
    Span {
        context: trace.span.with_span(attempt.span),
        parent: Some(trace.span.span),
        parent_is_remote: Some(false),
        state: &trace.state,
        name: name_of(finished),
        kind: Kind::Client,
        start_ns: finished.nanos(attempt.started),
        end_ns: finished.nanos(end),
        attributes: attributes.0,
        error: error.map(|_| attempt.error.unwrap_or(VIA_UPSTREAM)),
    }
}

/// A gRPC method, else the HTTP method and the route.
fn name_of(finished: &Finished) -> Cow<'_, str> {
    let Some(head) = &finished.trace.head else { return "HTTP".into() };
    let first = match finished.protocol {
        Protocol::Grpc => match method_of(finished) {
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
fn method_of(finished: &Finished) -> Option<&str> {
    let unknown = finished.grpc_status == GrpcOutcome::Known(GrpcStatus::Unimplemented);
    if unknown || finished.route.is_none() {
        return None;
    }
    let method = finished.trace.head.as_ref()?.path.strip_prefix('/')?;
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'.')
    };
    let (service, name) = method.split_once('/')?;
    (method.len() <= MOST_OF_METHOD && is_name(service) && is_name(name)).then_some(method)
}

/// What is wrong with what the caller got, as far as it is not the caller's own doing.
fn error_of_request(finished: &Finished) -> Option<Cow<'static, str>> {
    if finished.protocol == Protocol::Grpc && finished.status == 200 {
        let GrpcOutcome::Known(status) = finished.grpc_status else {
            return cut(finished);
        };
        let of_server = matches!(
            status,
            GrpcStatus::Unknown
                | GrpcStatus::DeadlineExceeded
                | GrpcStatus::Unimplemented
                | GrpcStatus::Internal
                | GrpcStatus::Unavailable
                | GrpcStatus::DataLoss
        );
        return if of_server { Some(snake_case(status).into()) } else { cut(finished) };
    }
    match finished.status {
        status @ 500.. => Some(status.to_string().into()),
        1..400 => cut(finished),
        _ => None,
    }
}

/// What cut an answer that seemed to be well.
fn cut(finished: &Finished) -> Option<Cow<'static, str>> {
    let left = finished.flags.has(crate::words::Flag::DownstreamConnectionTermination);
    let is_cut = finished.flags.blame() && !left && finished.details != VIA_UPSTREAM;
    is_cut.then_some(Cow::Borrowed(finished.details))
}

/// What is wrong with what came of an attempt: for whoever asks, a client error is one, too.
fn error_of_attempt(attempt: &Attempt) -> Option<Cow<'static, str>> {
    if let Some(error) = attempt.error {
        return Some(error.into());
    }
    match attempt.grpc_status {
        GrpcOutcome::Known(GrpcStatus::Ok) => None,
        GrpcOutcome::Known(_) | GrpcOutcome::Unknown(_) => grpc_name(attempt.grpc_status).map(Cow::Borrowed),
        GrpcOutcome::Absent => (attempt.status >= 400).then(|| attempt.status.to_string().into()),
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

/// `host:port`, `host`, `[::1]:port`: without the brackets.
fn split_port(authority: &str) -> (&str, Option<u16>) {
    let port = |text: &str| text.parse::<u16>().ok();
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(port));
    }
    match authority.rsplit_once(':') {
        Some((host, digits)) => (host, port(digits)),
        None => (authority, None),
    }
}

fn grpc_name(status: GrpcOutcome) -> Option<&'static str> {
    match status {
        GrpcOutcome::Known(status) => Some(snake_case(status)),
        GrpcOutcome::Unknown(_) => Some("UNKNOWN"), // as a caller reads a code that there is not
        GrpcOutcome::Absent => None,
    }
}

fn snake_case(status: GrpcStatus) -> &'static str {
    match status {
        GrpcStatus::Ok => "OK",
        GrpcStatus::Cancelled => "CANCELLED",
        GrpcStatus::Unknown => "UNKNOWN",
        GrpcStatus::InvalidArgument => "INVALID_ARGUMENT",
        GrpcStatus::DeadlineExceeded => "DEADLINE_EXCEEDED",
        GrpcStatus::NotFound => "NOT_FOUND",
        GrpcStatus::AlreadyExists => "ALREADY_EXISTS",
        GrpcStatus::PermissionDenied => "PERMISSION_DENIED",
        GrpcStatus::ResourceExhausted => "RESOURCE_EXHAUSTED",
        GrpcStatus::FailedPrecondition => "FAILED_PRECONDITION",
        GrpcStatus::Aborted => "ABORTED",
        GrpcStatus::OutOfRange => "OUT_OF_RANGE",
        GrpcStatus::Unimplemented => "UNIMPLEMENTED",
        GrpcStatus::Internal => "INTERNAL",
        GrpcStatus::Unavailable => "UNAVAILABLE",
        GrpcStatus::DataLoss => "DATA_LOSS",
        GrpcStatus::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
#[path = "span_tests.rs"]
mod tests;
