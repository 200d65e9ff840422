//! One batch of spans on its way to the collector, and what that says of it.
//!
//! Law: what is asked for again is what OpenTelemetry's protocol says: of HTTP 429, 502, 503 and 504, of gRPC what may pass,
//! and everything that has no answer.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode};
use tokio::time::timeout;

use super::otlp;
use crate::snapshot::{Address, OtlpProtocol, Tracing};
use crate::transport::dial::{self, Target};
use crate::transport::io::Stream;
use crate::upstream::ask::{Answer, Wanted, by_http1, by_http2, call_of};
use crate::upstream::guard::health::message_of;
use crate::upstream::resolve::Resolver;
use crate::words::GrpcStatus;

const EXPORT: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const AGENT: HeaderValue = HeaderValue::from_static(concat!("weir/", env!("CARGO_PKG_VERSION")));

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It was taken, but for some spans.
    Taken { rejected: u64, message: String },
    /// It is to be sent again, not before this has passed.
    Again { after: Duration, why: String },
    /// The collector will not have it.
    Refused(String),
}

impl Sent {
    fn again(why: impl Into<String>) -> Sent {
        Sent::Again { after: Duration::ZERO, why: why.into() }
    }
}

/// Sends it once.
pub(super) async fn send(to: &Tracing, resolver: &Resolver, batch: Bytes) -> Sent {
    let sent = async {
        let stream = match connect(to, resolver).await {
            Ok(stream) => stream,
            Err(why) => return Sent::again(why),
        };
        match &to.protocol {
            OtlpProtocol::Grpc => by_grpc(stream, to, &batch).await,
            OtlpProtocol::Http { path } => by_post(stream, to, path, batch).await,
        }
    };
    timeout(to.timeout, sent).await.unwrap_or_else(|_| Sent::again("no answer in time"))
}

/// A connection to one of the collector's addresses.
async fn connect(to: &Tracing, resolver: &Resolver) -> Result<Stream, String> {
    let targets = match &to.collector {
        Address::Socket(address) => vec![Target::Tcp(*address)],
        Address::Unix(path) => vec![Target::Unix(path.clone())],
        Address::Dns { host, port } => {
            let name = (host.clone(), *port);
            let answer = resolver.ask_all([name], to.timeout).await.pop();
            answer.ok_or("its name does not resolve in time")?.targets?
        }
    };
    let mut failed = "its name has no address".to_owned();
    let is_name = matches!(to.collector, Address::Dns { .. });
    for target in targets {
        match dial::dial(&target, to.timeout).await {
            Ok(stream) => return Ok(stream),
            // Whoever tells of it names the collector; which of a name's addresses it was nobody else says.
            Err(error) if is_name => failed = format!("{target}: {error}"),
            Err(error) => failed = error.to_string(),
        }
    }
    Err(failed)
}

/// Nothing that can be read came back: also where the other end speaks something else.
const NO_ANSWER: &str = "it gives no whole answer; is `protocol` right?";

async fn by_grpc(stream: Stream, to: &Tracing, batch: &[u8]) -> Sent {
    let Some(request) = call_of(&to.authority, EXPORT, AGENT, batch) else {
        return Sent::Refused("its address makes no request".into());
    };
    match by_http2(stream, request, Wanted::Whole).await {
        None => Sent::again(NO_ANSWER),
        Some(answer) => of_call(&answer),
    }
}

fn of_call(answer: &Answer) -> Sent {
    let status = answer.grpc_status().and_then(|status| GrpcStatus::parse(status.as_bytes()));
    let status = match (status, answer.status) {
        (Some(status), StatusCode::OK) => status,
        (None, StatusCode::OK) => GrpcStatus::Unknown,
        (_, other) => GrpcStatus::from_http(other.as_u16()),
    };
    match status {
        GrpcStatus::Ok => taken(message_of(&answer.body).unwrap_or_default()),
        GrpcStatus::Cancelled
        | GrpcStatus::DeadlineExceeded
        | GrpcStatus::Aborted
        | GrpcStatus::OutOfRange
        | GrpcStatus::Unavailable
        | GrpcStatus::DataLoss => Sent::again(format!("it answers {}", status.screaming())),
        _ => Sent::Refused(format!("it answers {}", status.screaming())),
    }
}

async fn by_post(stream: Stream, to: &Tracing, path: &str, batch: Bytes) -> Sent {
    let request = Request::post(path)
        .header(HOST, &*to.authority)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
        .header(CONTENT_LENGTH, batch.len())
        .header(USER_AGENT, AGENT)
        .body(batch);
    let Ok(request) = request else { return Sent::Refused("its address makes no request".into()) };
    match by_http1(stream, request, Wanted::Whole).await {
        None => Sent::again(NO_ANSWER),
        Some(answer) => of_post(&answer),
    }
}

fn of_post(answer: &Answer) -> Sent {
    let status = answer.status.as_u16();
    match status {
        200..300 => taken(&answer.body),
        429 | 502 | 503 | 504 => {
            let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            let after = Duration::from_secs(u64::from(seconds.unwrap_or(0_u32)));
            Sent::Again { after, why: format!("it answers {status}") }
        }
        _ => Sent::Refused(format!("it answers {status}")),
    }
}

fn taken(response: &[u8]) -> Sent {
    let (rejected, message) = otlp::rejected(response);
    Sent::Taken { rejected, message }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(status: u16, fields: &[(&'static str, &'static str)], body: &[u8]) -> Answer {
        let fields = fields
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        Answer {
            status: StatusCode::from_u16(status).expect("a status"),
            headers: fields.collect(),
            body: Bytes::copy_from_slice(body),
            trailers: None,
        }
    }

    /// `again`, `refused`, or how many were rejected.
    fn told(sent: &Sent) -> String {
        match sent {
            Sent::Taken { rejected, message } => format!("{rejected} {message}"),
            Sent::Again { after, .. } => format!("again {}", after.as_secs()),
            Sent::Refused(_) => "refused".into(),
        }
    }

    #[test]
    fn what_may_pass_is_asked_again_and_what_will_not_is_not() {
        for (status, expected) in [
            (200, "0 "),
            (202, "0 "),
            (400, "refused"),
            (404, "refused"),
            (413, "refused"),
            (500, "refused"),
            (429, "again 0"),
            (502, "again 0"),
            (503, "again 0"),
            (504, "again 0"),
        ] {
            assert_eq!(told(&of_post(&answer(status, &[], b""))), expected, "{status}");
        }
        assert_eq!(told(&of_post(&answer(429, &[("retry-after", "7")], b""))), "again 7");
        assert_eq!(
            told(&of_post(&answer(503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")], b""))),
            "again 0"
        );
        for (code, expected) in [
            ("0", "0 "),
            ("14", "again 0"),
            ("4", "again 0"),
            ("8", "refused"),
            ("12", "refused"),
            ("99", "refused"),
        ] {
            assert_eq!(told(&of_call(&answer(200, &[("grpc-status", code)], b""))), expected, "{code}");
        }
        assert_eq!(told(&of_call(&answer(200, &[], b""))), "refused");
        assert_eq!(told(&of_call(&answer(503, &[], b""))), "again 0");
        assert_eq!(told(&of_call(&answer(404, &[], b""))), "refused");
    }

    #[test]
    fn a_collector_says_how_many_spans_it_rejects() {
        let response = [0x0a, 7, 0x08, 3, 0x12, 3, b'w', b'h', b'y'];
        assert_eq!(told(&of_post(&answer(200, &[], &response))), "3 why");
        let mut framed = vec![0, 0, 0, 0, response.len() as u8];
        framed.extend(response);
        assert_eq!(told(&of_call(&answer(200, &[("grpc-status", "0")], &framed))), "3 why");
    }

    proptest! {
        #[test]
        fn whatever_a_collector_answers_is_taken_for_something(
            body in prop::collection::vec(any::<u8>(), 0..60), status in 100_u16..600,
        ) {
            let answer = answer(status, &[("grpc-status", "0")], &body);
            let (post, call) = (of_post(&answer), of_call(&answer));
            let taken = |sent| matches!(sent, Sent::Taken { .. });
            prop_assert!(status != 200 || taken(post) && taken(call));
        }
    }
}
