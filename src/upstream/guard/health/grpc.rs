//! A health check by gRPC: `grpc.health.v1.Health/Check` says SERVING.
//!
//! Law: whatever comes is read without a panic, and what has no reading is no SERVING.

use bytes::{Bytes, BytesMut};

use super::Found;
use super::http::AGENT;
use crate::message::protobuf::{fields, number, put_text};
use crate::snapshot::Cluster;
use crate::transport::io::Stream;
use crate::upstream::ask::{Answer, Wanted, by_http2, call_of};

/// `HealthCheckResponse.ServingStatus`
const SERVING: u64 = 1;

/// Asks an endpoint, of a service or of the server as a whole.
pub(super) async fn ask(
    stream: Stream,
    service: Option<&str>,
    authority: Option<&str>,
    cluster: &Cluster,
) -> Found {
    let mut message = BytesMut::new();
    put_text(&mut message, 1, service.unwrap_or_default());
    let authority = authority.unwrap_or(&cluster.service);
    match call(stream, authority, "/grpc.health.v1.Health/Check", &message).await {
        Called::Silent => Found::Silent,
        Called::Answer(message) if says_serving(&message) => Found::Well,
        Called::Answer(_) | Called::Refused => Found::Ill,
    }
}

/// What a call came to.
pub(super) enum Called {
    /// Nothing whole.
    Silent,
    /// A status other than OK, or no gRPC.
    Refused,
    /// The one message of the answer.
    Answer(Bytes),
}

/// One unary call.
pub(super) async fn call(stream: Stream, authority: &str, path: &str, message: &[u8]) -> Called {
    let Some(request) = call_of(authority, path, AGENT, message) else { return Called::Silent };
    match by_http2(stream, request, Wanted::Whole).await {
        None => Called::Silent,
        Some(answer) => of_answer(&answer).map_or(Called::Refused, Called::Answer),
    }
}

fn of_answer(answer: &Answer) -> Option<Bytes> {
    let is_ok = answer.status.as_u16() == 200 && answer.grpc_status()? == "0";
    let message = message_of(&answer.body).filter(|_| is_ok)?;
    Some(answer.body.slice_ref(message))
}

/// The one message of a body, whole and not compressed.
pub fn message_of(body: &[u8]) -> Option<&[u8]> {
    let (flag, rest) = body.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    (*flag == 0 && message.len() == u32::from_be_bytes(*length) as usize).then_some(message)
}

/// `HealthCheckResponse{status: 1}`
pub fn says_serving(message: &[u8]) -> bool {
    fields(message).is_some_and(|fields| number(&fields, 1) == SERVING)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::message::grpc;

    #[test]
    fn an_endpoint_serves_whose_last_word_is_that_and_whose_message_has_a_reading_to_its_end() {
        assert!(says_serving(&[8, 1]) && says_serving(&[8, 2, 8, 1]) && says_serving(&[8, 1, 0x12, 1, 7]));
        for other in [&[][..], &[8, 2], &[8, 1, 8, 2], &[8, 1, 0x12, 2, 7], &[8, 1, 0xff], &[8, 1, 0, 0]] {
            assert!(!says_serving(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reading_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let answer = Answer {
                status: http::StatusCode::OK,
                headers: HeaderMap::from_iter([(grpc::STATUS, HeaderValue::from_static("0"))]),
                body: Bytes::from(bytes),
                trailers: None,
            };
            if let Some(message) = of_answer(&answer) {
                prop_assert_eq!(message.len() + 5, answer.body.len());
            }
        }
    }
}
