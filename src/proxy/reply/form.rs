//! The form of Weir's own answers: HTTP's, or for a gRPC caller a head alone, in which its status stands.
//!
//! Law: an answer that may have no content has none; any other tells how long its content is.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::{Reason, status_of};
use crate::message::body::Body;
use crate::message::grpc;
use crate::proxy::hop;
use crate::words::{GrpcStatus, Protocol};

/// What stands before the reason why no answer came.
const RESET_REASON: &str = " reset reason: ";
/// The same where it was tried again.
const LATEST_RESET_REASON: &str = " retried and the latest reset reason: ";

/// Bytes of a route's own answer that a gRPC caller gets as a message: it stands in a head.
const MAX_GRPC_MESSAGE: usize = 4096;

impl Reason {
    /// The answer as a caller of `protocol` reads it, after so many attempts.
    pub(in crate::proxy) fn response(self, protocol: Protocol, attempts: u32) -> Response<Body> {
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
pub(in crate::proxy) fn head_only(response: Response<Body>) -> Response<Body> {
    let length = http_body::Body::size_hint(response.body()).exact();
    let mut response = response.map(|_| Body::Empty);
    if let Some(length) = length {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response
}

/// An answer that a route gives itself, as a caller of `protocol` reads it.
pub(in crate::proxy) fn of_route(
    protocol: Protocol,
    status: u16,
    body: Bytes,
    kind: Option<&str>,
) -> Response<Body> {
    match protocol {
        Protocol::Http => plain(status_of(status), body, kind),
        Protocol::Grpc => {
            let text = String::from_utf8_lossy(&body[..body.len().min(MAX_GRPC_MESSAGE)]);
            as_grpc(GrpcStatus::from_http(status), &text)
        }
    }
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
    use crate::snapshot::AbortStatus;

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
