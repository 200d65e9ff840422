//! A health check by gRPC: `grpc.health.v1.Health/Check` says SERVING.
//!
//! The few bytes of its messages are written and read by hand: a proxy for production has no protobuf. Law: whatever
//! comes is read without a panic, and what has no reading is no SERVING.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request};

use super::Found;
use super::ask::{Answer, Wanted, by_http2};
use super::http::AGENT;
use crate::message::grpc;
use crate::snapshot::Cluster;
use crate::transport::io::Stream;

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
        Called::Answer(message) if fields(&message).any(|field| field == Field::Number(1, SERVING)) => {
            Found::Well
        }
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
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(message.len() as u32);
    body.put_slice(message);
    let request = Request::post(format!("http://{authority}{path}"))
        .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
        .header(TE, HeaderValue::from_static("trailers"))
        .header(USER_AGENT, AGENT);
    let Ok(request) = request.body(body.freeze()) else { return Called::Silent };
    match by_http2(stream, request, Wanted::Whole).await {
        None => Called::Silent,
        Some(answer) => message_of(&answer).map_or(Called::Refused, Called::Answer),
    }
}

fn message_of(answer: &Answer) -> Option<Bytes> {
    let status = |fields: &HeaderMap| fields.get(grpc::STATUS).cloned();
    let status = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.headers))?;
    let (flag, rest) = answer.body.split_first()?;
    let (length, message) = rest.split_first_chunk::<4>()?;
    let is_whole = message.len() == u32::from_be_bytes(*length) as usize;
    let is_ok = answer.status.as_u16() == 200 && status == "0" && *flag == 0 && is_whole;
    is_ok.then(|| answer.body.slice(5..))
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'m> {
    /// An integer, an enum or a bool.
    Number(u64, u64),
    /// Text, bytes or another message.
    Bytes(u64, &'m [u8]),
}

/// The fields of a message that are of these kinds, up to the first that has no reading.
pub(super) fn fields(mut message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    std::iter::from_fn(move || {
        loop {
            let tag = take_number(&mut message)?;
            let length = match tag & 7 {
                0 => return Some(Field::Number(tag >> 3, take_number(&mut message)?)),
                2 => usize::try_from(take_number(&mut message)?).ok()?,
                1 => 8,
                5 => 4,
                _ => return None,
            };
            let (field, rest) = message.split_at_checked(length)?;
            message = rest;
            if tag & 7 == 2 {
                return Some(Field::Bytes(tag >> 3, field));
            }
        }
    })
}

fn take_number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn put_number(message: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        message.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    message.put_u8(number as u8);
}

/// An integer, left out where it is zero.
pub(super) fn put_integer(message: &mut BytesMut, field: u64, number: u64) {
    if number != 0 {
        put_number(message, field << 3);
        put_number(message, number);
    }
}

/// Text, left out where it is empty.
pub(super) fn put_text(message: &mut BytesMut, field: u64, text: &str) {
    if !text.is_empty() {
        put_bytes(message, field, text.as_bytes());
    }
}

/// Another message, or text.
pub(super) fn put_bytes(message: &mut BytesMut, field: u64, bytes: &[u8]) {
    put_number(message, field << 3 | 2);
    put_number(message, bytes.len() as u64);
    message.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_put_into_a_message_is_read_again() {
        let mut message = BytesMut::new();
        put_text(&mut message, 1, "half_plus_two");
        put_integer(&mut message, 2, u64::MAX);
        put_integer(&mut message, 3, 0);
        put_bytes(&mut message, 4, &[]);
        let read: Vec<Field<'_>> = fields(&message).collect();
        assert_eq!(
            read,
            [Field::Bytes(1, b"half_plus_two"), Field::Number(2, u64::MAX), Field::Bytes(4, &[])]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_reading_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&bytes).count() <= bytes.len());
            let answer = Answer {
                status: http::StatusCode::OK,
                headers: HeaderMap::from_iter([(grpc::STATUS, HeaderValue::from_static("0"))]),
                body: Bytes::from(bytes),
                trailers: None,
            };
            if let Some(message) = message_of(&answer) {
                prop_assert_eq!(message.len() + 5, answer.body.len());
            }
        }
    }
}
