//! Heads of HTTP/1: whatever the cuts, the same bytes say the same; a request that passes is one that every strict
//! reader reads alike; and what Weir writes of it, Weir reads.

use bytes::BytesMut;
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Version};
use weir::message::http1::encode::{self, Connection};
use weir::message::http1::head::{RequestHead, ResponseHead, take_request, take_response};
use weir::message::http1::{Framing, HeadBounds, HeadError};

use super::http1_chunks::is_field;
use super::input::Input;

const WIDE: HeadBounds = HeadBounds { bytes: 60 << 10, count: 100 };
/// So that a fuzzer's texts reach them.
const NARROW: HeadBounds = HeadBounds { bytes: 120, count: 4 };

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let bounds = if input.below(4) == 0 { NARROW } else { WIDE };
    let cuts = input.bytes(6);
    let side = input.below(4);
    let text = input.rest();
    match side {
        0 | 1 => request(text, cuts, bounds),
        side => response(text, cuts, bounds, side == 3),
    }
}

/// A head, if `text` holds one, and how many bytes of `text` are behind it.
type Taken<T> = Result<Option<(T, usize)>, HeadError>;

/// Takes one head of `text`, which arrives in pieces of these lengths, over and over; none: at once.
fn take<T>(
    text: &[u8],
    cuts: &[u8],
    take: impl Fn(&mut BytesMut, &mut usize) -> Result<Option<T>, HeadError>,
) -> Taken<T> {
    let (mut buffer, mut scanned, mut arrived, mut turn) = (BytesMut::new(), 0, 0, 0);
    loop {
        let length = cuts.get(turn % cuts.len().max(1)).map_or(usize::MAX, |&cut| usize::from(cut).max(1));
        let length = length.min(text.len() - arrived);
        buffer.extend_from_slice(&text[arrived..arrived + length]);
        arrived += length;
        turn += 1;
        if let Some(head) = take(&mut buffer, &mut scanned)? {
            assert_eq!(scanned, 0, "the next head is searched from its start");
            let rest = [&buffer[..], &text[arrived..]].concat();
            assert!(text.ends_with(&rest), "what is behind the head was changed");
            return Ok(Some((head, rest.len())));
        }
        if arrived == text.len() {
            return Ok(None);
        }
    }
}

fn shown<T: std::fmt::Debug>(taken: &Taken<T>) -> String {
    format!("{taken:?}")
}

fn request(text: &[u8], cuts: &[u8], bounds: HeadBounds) {
    let how = |buffer: &mut BytesMut, scanned: &mut usize| take_request(buffer, bounds, scanned);
    let once = take(text, &[], how);
    assert_eq!(shown(&take(text, cuts, how)), shown(&once), "cut {cuts:?}");
    let Ok(Some((head, left))) = once else { return };
    let raw = &text[..text.len() - left];
    assert!(raw.len() <= bounds.bytes, "over the bound");
    reads_alike(raw, &head, bounds);
    again(&head);
}

/// What a reader finds that splits `raw` at CR LF and knows no leniency.
fn reads_alike(raw: &[u8], head: &RequestHead, bounds: HeadBounds) {
    let shown = String::from_utf8_lossy(raw);
    let mut before = None;
    for &byte in raw {
        assert_eq!(byte == b'\n', before == Some(b'\r'), "a bare CR or LF in {shown:?}");
        before = Some(byte);
    }
    let mut lines: Vec<&[u8]> =
        raw.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    assert_eq!(lines.pop(), Some(&b""[..]), "the head ends with its line");
    assert_eq!(lines.pop(), Some(&b""[..]), "the head ends with an empty line");
    let mut lines = lines.into_iter().skip_while(|line| line.is_empty());
    let first: Vec<&[u8]> = lines.next().unwrap_or_default().split(|&byte| byte == b' ').collect();
    let [method, target, version] = first[..] else { panic!("{shown:?} has no three parts") };
    assert_eq!(method, head.parts.method.as_str().as_bytes());
    assert!(target.iter().all(u8::is_ascii_graphic), "{shown:?}");
    let expected: &[u8] = if head.parts.version == Version::HTTP_10 { b"HTTP/1.0" } else { b"HTTP/1.1" };
    assert_eq!(version, expected);
    let fields: Vec<(String, &[u8])> = lines
        .map(|line| {
            assert!(is_field(line), "{:?} is no field", String::from_utf8_lossy(line));
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or_default();
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            (name, line[colon + 1..].trim_ascii())
        })
        .collect();
    assert!(fields.len() <= bounds.count, "over the bound");
    framed_alike(&fields, head, &shown);
    for (name, value) in fields.iter().filter(|(name, _)| name != "transfer-encoding") {
        let mut values = head.parts.headers.get_all(name).iter();
        assert!(values.any(|known| known.as_bytes() == *value), "{name} was lost in {shown:?}");
    }
    let coded = fields.iter().filter(|(name, _)| name == "transfer-encoding").count();
    assert_eq!(head.parts.headers.len() + coded, fields.len(), "{shown:?}");
}

/// One framing, and one host where there must be one.
fn framed_alike(fields: &[(String, &[u8])], head: &RequestHead, shown: &str) {
    let all = |wanted: &str| -> Vec<&[u8]> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| *value).collect()
    };
    let framing = match (&all("content-length")[..], &all("transfer-encoding")[..]) {
        ([], []) => Framing::Empty,
        ([length], []) => {
            let digits = length.iter().all(u8::is_ascii_digit);
            let length =
                std::str::from_utf8(length).ok().filter(|_| digits).and_then(|text| text.parse().ok());
            Framing::Length(length.unwrap_or_else(|| panic!("no length in {shown:?}")))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => {
            assert_eq!(head.parts.version, Version::HTTP_11, "HTTP/1.0 has no chunks: {shown:?}");
            Framing::Chunked
        }
        _ => panic!("two readings of {shown:?}"),
    };
    assert_eq!(head.framing, framing, "{shown:?}");
    let hosts = all("host").len();
    assert!(hosts == 1 || (hosts == 0 && head.parts.version == Version::HTTP_10), "hosts of {shown:?}");
}

/// What is written of `head`, as it would be for an upstream, says the same.
fn again(head: &RequestHead) {
    let parts = &head.parts;
    if !parts.headers.contains_key(HOST) || parts.method == Method::CONNECT {
        return;
    }
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut out = BytesMut::new();
    encode::request_head(&mut out, &parts.method, target, &parts.headers, head.framing);
    let written = String::from_utf8_lossy(&out).into_owned();
    let wide = HeadBounds { bytes: 2 * WIDE.bytes, count: WIDE.count + 1 };
    let read = match take_request(&mut out, wide, &mut 0) {
        Ok(Some(read)) if out.is_empty() => read,
        other => panic!("{written:?} is read as {other:?}, with {out:?} behind it"),
    };
    assert_eq!(
        (&read.parts.method, read.parts.uri.path_and_query()),
        (&parts.method, parts.uri.path_and_query())
    );
    let same = |framing| if framing == Framing::Length(0) { Framing::Empty } else { framing };
    assert_eq!(same(read.framing), same(head.framing), "{written:?}");
    assert_eq!(unframed(&read.parts.headers), unframed(&parts.headers), "{written:?}");
}

fn unframed(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRANSFER_ENCODING);
    headers
}

fn response(text: &[u8], cuts: &[u8], bounds: HeadBounds, to_head: bool) {
    let how = |buffer: &mut BytesMut, scanned: &mut usize| take_response(buffer, bounds, scanned, to_head);
    let once = take(text, &[], how);
    assert_eq!(shown(&take(text, cuts, how)), shown(&once), "cut {cuts:?}");
    let Ok(Some((head, left))) = once else { return };
    let ResponseHead { parts, framing, .. } = &head;
    assert!(text.len() - left <= bounds.bytes && parts.headers.len() <= bounds.count, "over the bound");
    assert!(parts.headers.get_all(CONTENT_LENGTH).iter().count() <= 1, "two lengths");
    assert!(!parts.headers.contains_key(TRANSFER_ENCODING));
    let bodiless = to_head || parts.status.is_informational() || matches!(parts.status.as_u16(), 204 | 304);
    assert_eq!(*framing == Framing::Empty, bodiless, "{head:?}");
    let mut out = BytesMut::new();
    encode::response_head(
        &mut out,
        Version::HTTP_11,
        parts.status,
        &parts.headers,
        *framing,
        Connection::Default,
    );
    let written = String::from_utf8_lossy(&out).into_owned();
    let wide = HeadBounds { bytes: 2 * WIDE.bytes, count: WIDE.count + 1 };
    match take_response(&mut out, wide, &mut 0, to_head) {
        Ok(Some(read)) if out.is_empty() => {
            assert_eq!(read.parts.status, parts.status);
            assert_eq!(read.framing, *framing, "{written:?}");
            assert_eq!(unframed(&read.parts.headers), unframed(&parts.headers), "{written:?}");
        }
        other => panic!("{written:?} is read as {other:?}, with {out:?} behind it"),
    }
}
