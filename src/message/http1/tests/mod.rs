//! What HTTP/1 bytes mean: tables of cases, and laws over all bytes.
//!
//! Law: a table reports every row that fails, by its name.

mod bodies;
mod encoding;
mod heads;
mod laws;
mod requests;
mod responses;

use bytes::BytesMut;
use http::HeaderMap;

use super::body::{Decoder, Piece};
use super::head::{self, RequestHead, ResponseHead};
use super::{Framing, HeadBounds, HeadError};

const BOUNDS: HeadBounds = HeadBounds { bytes: 4096, count: 20 };

/// Takes one request head from `bytes`, which must be whole.
fn request(bytes: &[u8]) -> Result<RequestHead, HeadError> {
    let mut buf = BytesMut::from(bytes);
    head::take_request(&mut buf, BOUNDS, &mut 0).map(|head| head.expect("the head is whole"))
}

/// Takes one response head, to a GET, from `bytes`, which must be whole.
fn response(bytes: &[u8]) -> Result<ResponseHead, HeadError> {
    let mut buf = BytesMut::from(bytes);
    head::take_response(&mut buf, BOUNDS, &mut 0, false).map(|head| head.expect("the head is whole"))
}

/// What a decoder made of some bytes.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    data: Vec<u8>,
    /// `None`: it wants more.
    end: Option<Result<Option<HeaderMap>, HeadError>>,
    /// What it left in the buffer.
    rest: Vec<u8>,
}

/// Reads a body that comes in `parts`.
fn read<'a>(framing: Framing, parts: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let mut decoder = Decoder::new(framing, BOUNDS);
    let mut buf = BytesMut::new();
    let mut data = Vec::new();
    let mut end = None;
    // Some bodies are whole before anything came.
    for part in std::iter::once(&[][..]).chain(parts) {
        buf.extend_from_slice(part);
        while end.is_none() {
            match decoder.take(&mut buf) {
                Ok(Some(Piece::Data(piece))) => {
                    assert!(!piece.is_empty(), "a piece is never empty");
                    data.extend_from_slice(&piece);
                }
                Ok(Some(Piece::End(trailers))) => end = Some(Ok(trailers)),
                Ok(None) => break,
                Err(error) => end = Some(Err(error)),
            }
        }
    }
    Read { data, end, rest: buf.to_vec() }
}

/// The failures of a table, all of them.
#[derive(Default)]
struct Failures(Vec<String>);

impl Failures {
    fn check<T: std::fmt::Debug + PartialEq>(&mut self, row: &str, actual: &T, expected: &T) {
        if actual != expected {
            self.0.push(format!("{row}: {actual:?}, expected {expected:?}"));
        }
    }

    fn report(self) {
        assert!(self.0.is_empty(), "\n{}\n", self.0.join("\n"));
    }
}
