//! A health check by gRPC: `grpc.health.v1.Health/Check` says SERVING.
//!
//! The few bytes of its messages are written and read by hand: a proxy for production has no protobuf. Law: whatever
//! comes is read without a panic, and what has no reading is no SERVING.

use std::ops::RangeInclusive;

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
/// Numbers that a field may have.
const FIELDS: RangeInclusive<u64> = 1..=(1 << 29) - 1;

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
        Some(answer) => of_answer(&answer).map_or(Called::Refused, Called::Answer),
    }
}

fn of_answer(answer: &Answer) -> Option<Bytes> {
    let status = |fields: &HeaderMap| fields.get(grpc::STATUS).cloned();
    let status = answer.trailers.as_ref().and_then(status).or_else(|| status(&answer.headers))?;
    let is_ok = answer.status.as_u16() == 200 && status == "0";
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

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'m> {
    /// An integer, an enum or a bool.
    Number(u64, u64),
    /// Text, bytes or another message.
    Bytes(u64, &'m [u8]),
}

/// The fields of a message that are of these kinds; `None`: not all of it has a reading.
pub(super) fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = take_number(&mut message)?;
        let (field, kind) = (tag >> 3, tag & 7);
        if !FIELDS.contains(&field) {
            return None;
        }
        let length = match kind {
            0 => {
                fields.push(Field::Number(field, take_number(&mut message)?));
                continue;
            }
            2 => usize::try_from(take_number(&mut message)?).ok()?,
            1 => 8,
            5 => 4,
            _ => return None,
        };
        let (bytes, rest) = message.split_at_checked(length)?;
        message = rest;
        if kind == 2 {
            fields.push(Field::Bytes(field, bytes));
        }
    }
    Some(fields)
}

/// The integer of that field: the last counts, and 0 is left out.
pub(super) fn number(fields: &[Field<'_>], wanted: u64) -> u64 {
    let of = |field: &Field<'_>| match *field {
        Field::Number(known, value) if known == wanted => Some(value),
        _ => None,
    };
    fields.iter().rev().find_map(of).unwrap_or_default()
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
        let read = fields(&message).expect("a reading");
        assert_eq!(
            read,
            [Field::Bytes(1, b"half_plus_two"), Field::Number(2, u64::MAX), Field::Bytes(4, &[])]
        );
    }

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
            prop_assert!(fields(&bytes).is_none_or(|fields| fields.len() <= bytes.len()));
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
