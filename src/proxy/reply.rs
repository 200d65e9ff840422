//! What a caller gets when Weir itself answers: one table from reason to status, body, flag and details.
//!
//! Law: the same reason gives the same answer everywhere; a gRPC caller gets it as a gRPC status.
//! Source: Envoy's local replies, seen on Envoy 1.40 (`docs/wire.md`).

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::hop;
use crate::message::body::Body;
use crate::message::grpc;
use crate::message::http1::HeadError;
use crate::snapshot::AbortStatus;
use crate::telemetry::families::weir::HopError;
use crate::words::{Flag, GrpcStatus, Protocol};

/// Why Weir answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The message has no single reading; `details` says where.
    BadRequest(&'static str),
    /// The head is larger than `head_bytes` or has more than `head_count` fields.
    HeadTooLarge(&'static str),
    /// The head was not whole in time.
    HeadTimeout,
    /// CONNECT: no tunnel is offered.
    NoTunnel,
    /// An upgrade that no route allows.
    UpgradeRefused,
    /// A delivery listener does not know the peer.
    PeerRefused,
    /// No virtual host or no route.
    NoRoute,
    /// The pod is not the service or version that the hop names.
    Misdirected,
    /// The request went through too many Weirs.
    TooManyHops,
    /// The route names a cluster that is not there.
    NoCluster,
    /// The same, of a route that says what the caller gets then.
    ClusterNotFound(u16),
    /// A fault was to be injected.
    FaultAbort(AbortStatus),
    /// What the route makes of the path or the host is none.
    RewriteFailed,
    /// The cluster has no usable endpoint.
    NoEndpoint,
    /// A circuit breaker is open.
    Overflow,
    /// The upstream could not be reached.
    ConnectFailure,
    /// The upstream could not be reached in time.
    ConnectTimeout,
    /// The upstream ended the connection before the head of its answer.
    UpstreamClosed,
    /// The upstream reset the stream before the head of its answer.
    UpstreamReset,
    /// The upstream refused the stream.
    UpstreamRefusedStream,
    /// The upstream's answer cannot be read.
    UpstreamProtocolError,
    /// The caller left before its request was whole; nobody reads the answer.
    CallerLeft,
    /// The request's time is up.
    Timeout,
    /// The time is up that the caller's `grpc-timeout` gave.
    GrpcDeadline,
    /// The last attempt took longer than one may.
    PerTryTimeout,
    /// No byte moved for too long.
    StreamIdle,
    /// The same, and the request is not whole: its caller was waited for.
    RequestIdle,
    /// Weir gave the request up, for a budget.
    LocalReset,
}

/// What stands before the reason why no answer came.
const RESET_REASON: &str = " reset reason: ";
/// The same where it was tried again.
const LATEST_RESET_REASON: &str = " retried and the latest reset reason: ";

/// One row of the table.
struct Row {
    status: StatusCode,
    body: &'static str,
    flag: Option<Flag>,
    details: &'static str,
    close: bool,
    /// For a gRPC caller, where not what stands for `status`.
    grpc: Option<GrpcStatus>,
}

impl Row {
    /// What a gRPC caller reads.
    fn grpc_status(&self) -> GrpcStatus {
        self.grpc.unwrap_or_else(|| GrpcStatus::from_http(self.status.as_u16()))
    }
}

impl Reason {
    /// Why a message whose head or body cannot be taken is refused.
    pub(super) fn of_head(error: HeadError) -> Reason {
        match error {
            HeadError::TooLarge | HeadError::TooMany => Reason::HeadTooLarge(error.detail()),
            HeadError::Malformed(_) => Reason::BadRequest(error.detail()),
        }
    }

    fn row(self) -> Row {
        use StatusCode as S;
        let row = |status, body, flag, details| Row { status, body, flag, details, close: false, grpc: None };
        let close = |status, body, flag, details| Row { close: true, ..row(status, body, flag, details) };
        match self {
            Reason::BadRequest(details) => {
                close(S::BAD_REQUEST, "Bad Request", Some(Flag::DownstreamProtocolError), details)
            }
            Reason::HeadTooLarge(details) => close(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
                Some(Flag::DownstreamProtocolError),
                details,
            ),
            Reason::HeadTimeout => {
                close(S::REQUEST_TIMEOUT, "request header timeout", None, "request_header_timeout")
            }
            Reason::NoTunnel => close(S::NOT_FOUND, "", Some(Flag::NoRoute), "route_not_found"),
            Reason::UpgradeRefused => close(S::FORBIDDEN, "", None, "upgrade_failed"),
            Reason::PeerRefused => {
                close(S::FORBIDDEN, "peer is no endpoint of the service", None, "delivery_peer_refused")
            }
            Reason::CallerLeft => close(
                S::BAD_REQUEST,
                "",
                Some(Flag::DownstreamConnectionTermination),
                "downstream_remote_disconnect",
            ),
            Reason::NoRoute => row(S::NOT_FOUND, "", Some(Flag::NoRoute), "route_not_found"),
            Reason::Misdirected => row(S::MISDIRECTED_REQUEST, "", None, "delivery_misdirected"),
            Reason::TooManyHops => row(S::LOOP_DETECTED, "too many hops", None, "too_many_hops"),
            Reason::NoCluster => row(S::SERVICE_UNAVAILABLE, "", Some(Flag::NoCluster), "cluster_not_found"),
            Reason::RewriteFailed => row(S::INTERNAL_SERVER_ERROR, "", None, "path_rewrite_failed"),
            Reason::NoEndpoint => row(
                S::SERVICE_UNAVAILABLE,
                "no healthy upstream",
                Some(Flag::NoHealthyUpstream),
                "no_healthy_upstream",
            ),
            Reason::Timeout => row(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                Some(Flag::UpstreamRequestTimeout),
                "response_timeout",
            ),
            // A caller that named a deadline is told that it has passed.
            Reason::GrpcDeadline => Row { grpc: Some(GrpcStatus::DeadlineExceeded), ..Reason::Timeout.row() },
            Reason::PerTryTimeout => row(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                Some(Flag::UpstreamRequestTimeout),
                "upstream_per_try_timeout",
            ),
            Reason::StreamIdle => row(
                S::GATEWAY_TIMEOUT,
                "stream timeout",
                Some(Flag::StreamIdleTimeout),
                "stream_idle_timeout",
            ),
            // RFC 9110 section 15.5.9: what may still come of the request is not waited for.
            Reason::RequestIdle => {
                Row { status: S::REQUEST_TIMEOUT, close: true, ..Reason::StreamIdle.row() }
            }
            // For gRPC callers UNAVAILABLE in any case.
            Reason::ClusterNotFound(status) => Row {
                status: status_of(status),
                grpc: Some(GrpcStatus::Unavailable),
                ..Reason::NoCluster.row()
            },
            Reason::FaultAbort(status) => {
                let (status, grpc) = match status {
                    AbortStatus::Http(status) => (status_of(status), None),
                    AbortStatus::Grpc(status) => (S::OK, Some(status)),
                };
                let flag = Some(Flag::FaultInjected);
                Row { grpc, ..row(status, "fault filter abort", flag, "fault_filter_abort") }
            }
            _ => self.upstream_row(),
        }
    }

    /// Failures between the choice of an endpoint and the head of its answer.
    fn upstream_row(self) -> Row {
        macro_rules! reset {
            ($reason:literal, $flag:expr, $details:literal) => {
                Row {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    body: concat!(
                        "upstream connect error or disconnect/reset before headers. reset reason: ",
                        $reason
                    ),
                    flag: Some($flag),
                    details: concat!("upstream_reset_before_response_started{", $details, "}"),
                    close: false,
                    grpc: None,
                }
            };
        }
        match self {
            Reason::ConnectFailure => {
                reset!(
                    "remote connection failure",
                    Flag::UpstreamConnectionFailure,
                    "remote_connection_failure"
                )
            }
            Reason::ConnectTimeout => {
                reset!("connection timeout", Flag::UpstreamConnectionFailure, "connection_timeout")
            }
            Reason::UpstreamReset => reset!("remote reset", Flag::UpstreamRemoteReset, "remote_reset"),
            Reason::UpstreamRefusedStream => {
                reset!(
                    "remote refused stream reset",
                    Flag::UpstreamRemoteReset,
                    "remote_refused_stream_reset"
                )
            }
            Reason::UpstreamProtocolError => Row {
                status: StatusCode::BAD_GATEWAY,
                ..reset!("protocol error", Flag::UpstreamProtocolError, "protocol_error")
            },
            Reason::Overflow => reset!("overflow", Flag::UpstreamOverflow, "overflow"),
            Reason::LocalReset => reset!("local reset", Flag::LocalReset, "local_reset"),
            _ => reset!(
                "connection termination",
                Flag::UpstreamConnectionTermination,
                "connection_termination"
            ),
        }
    }

    /// The status with which it stands for a cluster's answer that did not come; what it is to a gRPC caller does not
    /// matter for that.
    pub(super) fn of_cluster(self) -> Option<StatusCode> {
        let is = matches!(
            self,
            Reason::NoEndpoint
                | Reason::Overflow
                | Reason::ConnectFailure
                | Reason::ConnectTimeout
                | Reason::UpstreamClosed
                | Reason::UpstreamReset
                | Reason::UpstreamRefusedStream
                | Reason::UpstreamProtocolError
                | Reason::Timeout
                | Reason::GrpcDeadline
                | Reason::PerTryTimeout
        );
        is.then(|| self.row().status)
    }

    /// Why it refuses a hop, where it does: the Weir that sent the request has to know.
    fn refusal(self) -> Option<HopError> {
        match self {
            Reason::Misdirected => Some(HopError::Misdirected),
            Reason::TooManyHops => Some(HopError::Loop),
            Reason::PeerRefused => Some(HopError::Refused),
            _ => None,
        }
    }

    /// The flag that it raises.
    pub(super) fn flag(self) -> Option<Flag> {
        self.row().flag
    }

    /// `%RESPONSE_CODE_DETAILS%`
    pub(super) fn details(self) -> &'static str {
        self.row().details
    }

    /// The answer as a caller of `protocol` reads it, after so many attempts.
    pub(super) fn response(self, protocol: Protocol, attempts: u32) -> Response<Body> {
        let row = self.row();
        let body = match row.body.split_once(RESET_REASON) {
            Some((what, why)) if attempts > 1 => Cow::Owned(format!("{what}{LATEST_RESET_REASON}{why}")),
            _ => Cow::Borrowed(row.body),
        };
        let mut response = match (protocol, body) {
            (Protocol::Grpc, body) => as_grpc(row.grpc_status(), &body),
            (Protocol::Http, Cow::Borrowed(body)) => {
                plain(row.status, Bytes::from_static(body.as_bytes()), None)
            }
            (Protocol::Http, Cow::Owned(body)) => plain(row.status, body.into(), None),
        };
        let headers = response.headers_mut();
        if row.close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self == Reason::Overflow {
            headers.insert("x-envoy-overloaded", HeaderValue::from_static("true"));
        }
        if let Some(why) = self.refusal() {
            headers.insert(hop::REFUSAL, HeaderValue::from_static(why.as_str()));
        }
        response
    }
}

/// The answer to HEAD: the length is told, the body is not sent (RFC 9110 section 9.3.2).
pub(super) fn head_only(response: Response<Body>) -> Response<Body> {
    let length = http_body::Body::size_hint(response.body()).exact();
    let mut response = response.map(|_| Body::Empty);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An answer that a route gives itself, as a caller of `protocol` reads it.
pub(super) fn of_route(protocol: Protocol, status: u16, body: Bytes, kind: Option<&str>) -> Response<Body> {
    match protocol {
        Protocol::Http => plain(status_of(status), body, kind),
        Protocol::Grpc => {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_GRPC_MESSAGE)]);
            as_grpc(GrpcStatus::from_http(status), &text)
        }
    }
}

/// Bytes of a route's own answer that a gRPC caller gets as a message: it stands in a head.
const MAX_GRPC_MESSAGE: usize = 4096;

/// What was configured has been checked.
fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

fn plain(status: StatusCode, body: Bytes, kind: Option<&str>) -> Response<Body> {
    // RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: these have no content.
    let bare =
        matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED);
    let body = if bare { Bytes::new() } else { body };
    let kind = (!body.is_empty()).then(|| {
        let kind = kind.and_then(|kind| HeaderValue::from_str(kind).ok());
        kind.unwrap_or(HeaderValue::from_static("text/plain"))
    });
    let length = body.len();
    let mut response = Response::new(Body::Full(body));
    *response.status_mut() = status;
    if let Some(kind) = kind {
        // HTTP/1 frames by it in any case.
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
}

/// Headers only: the status a gRPC caller reads stands in the head.
fn as_grpc(status: GrpcStatus, text: &str) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(grpc::STATUS, HeaderValue::from_static(status.code_str()));
    if !text.is_empty() {
        headers.insert("grpc-message", grpc::message_value(text));
    }
    let mut response = Response::new(Body::Empty);
    *response.headers_mut() = headers;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Flags;

    #[test]
    fn a_grpc_caller_gets_the_same_reason_as_a_grpc_status() {
        let response = Reason::NoEndpoint.response(Protocol::Grpc, 1);
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "14");
        assert_eq!(response.headers()["grpc-message"], "no healthy upstream");
        assert_eq!(Reason::NoRoute.response(Protocol::Grpc, 1).headers()["grpc-status"], "12");
        assert!(!Reason::NoRoute.response(Protocol::Grpc, 1).headers().contains_key("grpc-message"));
        assert_eq!(Reason::Timeout.response(Protocol::Grpc, 1).headers()["grpc-status"], "14");
        assert_eq!(Reason::GrpcDeadline.response(Protocol::Grpc, 1).headers()["grpc-status"], "4");
    }

    #[test]
    fn a_caller_is_told_that_it_was_tried_again() {
        let text = |reason: Reason, attempts| {
            let response = reason.response(Protocol::Grpc, attempts);
            response.headers()["grpc-message"].to_str().expect("text").to_owned()
        };
        let prefix = "upstream connect error or disconnect/reset before headers.";
        assert_eq!(text(Reason::UpstreamReset, 1), format!("{prefix} reset reason: remote reset"));
        let retried = format!("{prefix} retried and the latest reset reason: remote reset");
        assert_eq!(text(Reason::UpstreamReset, 2), retried);
        assert_eq!(text(Reason::Timeout, 2), "upstream request timeout");
    }

    #[test]
    fn each_reason_raises_envoys_flag() {
        for (reason, status, flag) in [
            (Reason::NoRoute, 404, "NR"),
            (Reason::NoCluster, 503, "NC"),
            (Reason::NoEndpoint, 503, "UH"),
            (Reason::ConnectFailure, 503, "UF"),
            (Reason::ConnectTimeout, 503, "UF"),
            (Reason::UpstreamClosed, 503, "UC"),
            (Reason::UpstreamReset, 503, "UR"),
            (Reason::Overflow, 503, "UO"),
            (Reason::Timeout, 504, "UT"),
            (Reason::GrpcDeadline, 504, "UT"),
            (Reason::PerTryTimeout, 504, "UT"),
            (Reason::StreamIdle, 504, "SI"),
            (Reason::RequestIdle, 408, "SI"),
            (Reason::ClusterNotFound(500), 500, "NC"),
            (Reason::FaultAbort(AbortStatus::Http(418)), 418, "FI"),
            (Reason::FaultAbort(AbortStatus::Grpc(GrpcStatus::NotFound)), 200, "FI"),
        ] {
            let flags = reason.flag().map(Flags::from).unwrap_or_default();
            assert_eq!((reason.row().status.as_u16(), flags.to_string().as_str()), (status, flag));
        }
    }

    #[test]
    fn a_grpc_caller_gets_the_status_of_its_own_protocol_where_one_was_meant() {
        let status = |reason: Reason| reason.response(Protocol::Grpc, 1).headers()["grpc-status"].clone();
        assert_eq!(status(Reason::FaultAbort(AbortStatus::Grpc(GrpcStatus::NotFound))), "5");
        assert_eq!(status(Reason::FaultAbort(AbortStatus::Http(429))), "14");
        assert_eq!(status(Reason::ClusterNotFound(500)), "14");
    }

    #[test]
    fn an_answer_that_may_have_no_content_has_none() {
        for status in [204, 205, 304] {
            let response = of_route(Protocol::Http, status, Bytes::from_static(b"text"), Some("a/b"));
            assert_eq!((response.status().as_u16(), response.headers().len()), (status, 0));
            assert!(http_body::Body::is_end_stream(response.body()));
        }
        let long = Bytes::from("é".repeat(MAX_GRPC_MESSAGE));
        let response = of_route(Protocol::Grpc, 404, long, None);
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.headers()["grpc-message"].len() <= 3 * MAX_GRPC_MESSAGE);
    }
}
