//! Bodies of HTTP/1: whatever the cuts, the same bytes come out, as a reader finds them that has the whole text before
//! it; and what Weir writes, Weir reads.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue};
use weir::message::http1::body::{Decoder, Piece};
use weir::message::http1::{Framing, HeadBounds, encode};

use super::input::Input;

const BOUNDS: HeadBounds = HeadBounds { bytes: 60 << 10, count: 20 };

/// How the reading of a body ended.
#[derive(Debug, PartialEq)]
enum End {
    /// Whole, with so many bytes behind it that are not its own, and so many trailers.
    Whole { left: usize, trailers: usize },
    /// More is needed.
    Cut,
    /// It has no reading.
    Refused,
}

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let framing = match input.below(8) {
        0 => Framing::Empty,
        1 => Framing::Length(input.byte().into()),
        2 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let cuts = input.bytes(6);
    if input.flag() {
        return written_is_read(&mut input, cuts);
    }
    let text = input.rest();
    let once = read(framing, text, &[]);
    assert_eq!(read(framing, text, cuts), once, "cut {cuts:?} {framing:?} {text:?}");
    assert_eq!(model(framing, text), once, "{framing:?} {:?}", String::from_utf8_lossy(text));
}

/// Reads `text`, which arrives in pieces of these lengths, over and over; none: at once.
fn read(framing: Framing, text: &[u8], cuts: &[u8]) -> (Vec<u8>, End) {
    let mut decoder = Decoder::new(framing, BOUNDS);
    let (mut data, mut buffer, mut arrived, mut turn) = (Vec::new(), BytesMut::new(), 0, 0);
    loop {
        loop {
            match decoder.take(&mut buffer) {
                Ok(Some(Piece::Data(piece))) => {
                    assert!(!piece.is_empty(), "an empty piece");
                    data.extend_from_slice(&piece);
                }
                Ok(Some(Piece::End(trailers))) => {
                    assert!(decoder.is_done());
                    let left = buffer.len() + text.len() - arrived;
                    let trailers = trailers.map_or(0, |trailers| trailers.len());
                    return (data, End::Whole { left, trailers });
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(decoder.take(&mut buffer).is_err(), "an error is final");
                    assert!(!decoder.close() && !decoder.is_done(), "a broken body is whole");
                    return (data, End::Refused);
                }
            }
        }
        if arrived == text.len() {
            assert_eq!(decoder.close(), framing == Framing::UntilClose, "only a close ends it");
            return (data, End::Cut);
        }
        let length = cuts.get(turn % cuts.len().max(1)).map_or(usize::MAX, |&cut| usize::from(cut).max(1));
        let length = length.min(text.len() - arrived);
        buffer.extend_from_slice(&text[arrived..arrived + length]);
        arrived += length;
        turn += 1;
    }
}

/// What `read` must find.
fn model(framing: Framing, text: &[u8]) -> (Vec<u8>, End) {
    match framing {
        Framing::Empty => (Vec::new(), End::Whole { left: text.len(), trailers: 0 }),
        Framing::UntilClose => (text.to_vec(), End::Cut),
        Framing::Length(length) => match text.split_at_checked(length as usize) {
            Some((data, rest)) => (data.to_vec(), End::Whole { left: rest.len(), trailers: 0 }),
            None => (text.to_vec(), End::Cut),
        },
        Framing::Chunked => chunks(text),
    }
}

/// RFC 9112 section 7.1, with CR LF only.
fn chunks(mut text: &[u8]) -> (Vec<u8>, End) {
    let mut data = Vec::new();
    loop {
        let digits = text.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return (data, End::Refused);
        }
        let size = text[..digits].iter().fold(0_u64, |size, &digit| {
            size << 4 | u64::from(char::from(digit).to_digit(16).unwrap_or_default())
        });
        // Negative to a reader that holds it in 64 bits with a sign.
        if size > i64::MAX as u64 {
            return (data, End::Refused);
        }
        let rest = match &text[digits..] {
            [] => return (data, End::Cut),
            _ if digits == 0 => return (data, End::Refused),
            [b';', extension @ ..] => {
                let is_text = |byte: &&u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
                &extension[extension.iter().take_while(is_text).count()..]
            }
            rest => rest,
        };
        text = match after_crlf(rest) {
            Ok(rest) => rest,
            Err(end) => return (data, end),
        };
        if size == 0 {
            return (data, trailers(text));
        }
        let length = usize::try_from(size).unwrap_or(usize::MAX).min(text.len());
        data.extend_from_slice(&text[..length]);
        if (length as u64) < size {
            return (data, End::Cut);
        }
        text = match after_crlf(&text[length..]) {
            Ok(rest) => rest,
            Err(end) => return (data, end),
        };
    }
}

fn after_crlf(text: &[u8]) -> Result<&[u8], End> {
    match text {
        [b'\r', b'\n', rest @ ..] => Ok(rest),
        [] | [b'\r'] => Err(End::Cut),
        _ => Err(End::Refused),
    }
}

fn trailers(mut text: &[u8]) -> End {
    let mut count = 0;
    loop {
        let Some(lf) = text.iter().position(|&byte| byte == b'\n') else { return End::Cut };
        let (line, rest) = text.split_at(lf + 1);
        match line {
            b"\r\n" if count > BOUNDS.count => return End::Refused,
            b"\r\n" => return End::Whole { left: rest.len(), trailers: count },
            [field @ .., b'\r', b'\n'] if is_field(field) => count += 1,
            _ => return End::Refused,
        }
        text = rest;
    }
}

/// `name: value`
pub fn is_field(line: &[u8]) -> bool {
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return false };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_value = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    colon > 0 && line[..colon].iter().all(is_token) && line[colon + 1..].iter().all(is_value)
}

fn written_is_read(input: &mut Input<'_>, cuts: &[u8]) {
    let (mut out, mut data) = (BytesMut::new(), Vec::new());
    for _ in 0..input.below(5) {
        let piece = input.bytes(200);
        if !piece.is_empty() {
            encode::chunk_start(&mut out, piece.len());
            out.extend_from_slice(piece);
            out.extend_from_slice(encode::CHUNK_END);
            data.extend_from_slice(piece);
        }
    }
    let mut trailers = HeaderMap::new();
    for _ in 0..input.below(4) {
        let name = HeaderName::from_bytes(input.bytes(8)).unwrap_or(HeaderName::from_static("grpc-status"));
        let value = HeaderValue::from_bytes(input.bytes(8)).unwrap_or(HeaderValue::from_static("0"));
        trailers.append(name, value);
    }
    encode::last_chunk(&mut out, Some(&trailers));
    let behind = input.bytes(20);
    out.extend_from_slice(behind);
    let end = End::Whole { left: behind.len(), trailers: trailers.len() };
    assert_eq!(read(Framing::Chunked, &out, cuts), (data, end), "{out:?}");
}
