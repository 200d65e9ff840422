//! gRPC over HTTP/2: how to know it, how to count its messages, how to answer it without an upstream.
//!
//! Source: the gRPC HTTP/2 protocol mapping; Envoy's rule for what counts as a gRPC request.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::words::{GrpcStatus, Protocol};

pub mod timeout;

/// The field that says how a call has ended, in its trailers or, where it has no others, in its head.
pub const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Bytes before each message: one of flags, four of length.
const PREFIX_BYTES: u8 = 5;

/// Whether a request is gRPC: POST with `application/grpc` or `application/grpc+…`.
pub fn classify(method: &Method, headers: &HeaderMap) -> Protocol {
    let grpc = *method == Method::POST
        && headers.get(CONTENT_TYPE).is_some_and(|value| {
            let value = value.as_bytes();
            value.starts_with(b"application/grpc") && matches!(value.get(16), None | Some(b'+') | Some(b';'))
        });
    if grpc { Protocol::Grpc } else { Protocol::Http }
}

/// How a call has ended, by the fields of its head or of its trailers; `None`: they say nothing that is known.
pub fn status(fields: &HeaderMap) -> Option<GrpcStatus> {
    GrpcStatus::parse(fields.get(STATUS)?.as_bytes())
}

/// Counts the messages of a stream from its data, wherever frames cut it.
#[derive(Clone, Copy, Debug, Default)]
pub struct MessageCounter {
    messages: u64,
    /// Bytes of the present message that are still to come.
    payload_left: u32,
    /// Bytes of the present prefix that were seen.
    prefix_seen: u8,
    length: u32,
}

impl MessageCounter {
    /// Messages whose prefix is complete.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            if self.payload_left > 0 {
                let here = u32::try_from(data.len()).unwrap_or(u32::MAX);
                let skip = self.payload_left.min(here);
                self.payload_left -= skip;
                data = data.get(skip as usize..).unwrap_or_default();
                continue;
            }
            let (byte, rest) = (data[0], &data[1..]);
            if self.prefix_seen > 0 {
                self.length = self.length << 8 | u32::from(byte);
            }
            self.prefix_seen += 1;
            if self.prefix_seen == PREFIX_BYTES {
                self.messages += 1;
                self.payload_left = self.length;
                (self.prefix_seen, self.length) = (0, 0);
            }
            data = rest;
        }
    }
}

/// The value of `grpc-message` that says `text`: percent-encoded but for printable ASCII.
pub fn message_value(text: &str) -> HeaderValue {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const RESERVED: &AsciiSet = &CONTROLS.add(b'%');
    let encoded = utf8_percent_encode(text, RESERVED).to_string();
    HeaderValue::from_maybe_shared(Bytes::from(encoded)).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(lengths: &[usize]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &length in lengths {
            bytes.push(0);
            bytes.extend_from_slice(&u32::try_from(length).expect("small").to_be_bytes());
            bytes.resize(bytes.len() + length, 0xff);
        }
        bytes
    }

    proptest! {
        #[test]
        fn messages_are_counted_wherever_frames_cut_the_stream(
            lengths in proptest::collection::vec(0usize..40, 0..12),
            cut in 1usize..17,
        ) {
            let mut counter = MessageCounter::default();
            for piece in framed(&lengths).chunks(cut) {
                counter.feed(piece);
            }
            prop_assert_eq!(counter.messages(), lengths.len() as u64);
        }
    }

    #[test]
    fn grpc_is_known_by_post_and_content_type() {
        let with =
            |value: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]);
        for grpc in ["application/grpc", "application/grpc+proto", "application/grpc;charset=x"] {
            assert_eq!(classify(&Method::POST, &with(grpc)), Protocol::Grpc, "{grpc}");
        }
        for http in ["application/grpc-web", "application/json", "application/grpcx"] {
            assert_eq!(classify(&Method::POST, &with(http)), Protocol::Http, "{http}");
        }
        assert_eq!(classify(&Method::GET, &with("application/grpc")), Protocol::Http);
    }

    #[test]
    fn a_grpc_message_is_percent_encoded() {
        assert_eq!(message_value("no healthy upstream"), "no healthy upstream");
        assert_eq!(message_value("50 %\n"), "50 %25%0A");
    }
}
