//! Where a head ends, what it may cost, and what is refused before it is whole.

use bytes::BytesMut;

use super::super::head::take_request;
use super::super::{HeadBounds, HeadError, Malformed};
use super::{BOUNDS, Failures};

fn head_of(bytes: usize) -> Vec<u8> {
    let (start, end) = ("GET / HTTP/1.1\r\nhost: h\r\na: ", "\r\n\r\n");
    format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len())).into_bytes()
}

#[test]
fn a_head_may_take_all_the_bytes_it_is_allowed_and_not_one_more() {
    let mut buf = BytesMut::from(&head_of(BOUNDS.bytes)[..]);
    assert!(take_request(&mut buf, BOUNDS, &mut 0).is_ok_and(|head| head.is_some()));
    let mut buf = BytesMut::from(&head_of(BOUNDS.bytes + 1)[..]);
    assert_eq!(take_request(&mut buf, BOUNDS, &mut 0).map(|_| ()), Err(HeadError::TooLarge));
}

#[test]
fn what_has_no_end_is_too_large_as_soon_as_it_passes_the_bound() {
    let mut failures = Failures::default();
    for (row, start, more) in [
        ("the method", "", "X"),
        ("the target", "GET /", "x"),
        ("a name", "GET / HTTP/1.1\r\n", "x"),
        ("a value", "GET / HTTP/1.1\r\nx: ", "x"),
        ("fields", "GET / HTTP/1.1\r\n", "a: b\r\n"),
        ("empty lines in front", "", "\r\n"),
    ] {
        let text = format!("{start}{}", more.repeat(BOUNDS.bytes + 1));
        for (bytes, expected) in [(BOUNDS.bytes, Ok(())), (BOUNDS.bytes + 1, Err(HeadError::TooLarge))] {
            let mut buf = BytesMut::from(&text.as_bytes()[..bytes]);
            let actual = take_request(&mut buf, BOUNDS, &mut 0).map(|head| assert!(head.is_none(), "{row}"));
            failures.check(&format!("{row}, {bytes} bytes"), &actual, &expected);
        }
    }
    failures.report();
}

#[test]
fn empty_lines_before_a_request_are_skipped_but_count() {
    let text = [&b"\r\n".repeat(3)[..], &head_of(100)].concat();
    let bounds = |bytes| HeadBounds { bytes, count: 2 };
    let mut buf = BytesMut::from(&text[..]);
    assert!(take_request(&mut buf, bounds(106), &mut 0).is_ok_and(|head| head.is_some()));
    assert!(buf.is_empty());
    let mut buf = BytesMut::from(&text[..]);
    assert_eq!(take_request(&mut buf, bounds(105), &mut 0).map(|_| ()), Err(HeadError::TooLarge));
}

#[test]
fn a_head_may_have_as_many_fields_as_allowed_and_not_one_more() {
    for (fields, expected) in [(BOUNDS.count, Ok(())), (BOUNDS.count + 1, Err(HeadError::TooMany))] {
        let fields = "a: b\r\n".repeat(fields - 1);
        let mut buf = BytesMut::from(format!("GET / HTTP/1.1\r\nhost: h\r\n{fields}\r\n").as_bytes());
        assert_eq!(take_request(&mut buf, BOUNDS, &mut 0).map(|_| ()), expected);
    }
}

/// More fields than a header map holds are refused, not a panic.
#[test]
fn a_head_of_very_many_fields_is_refused() {
    let bounds = HeadBounds { bytes: 1 << 24, count: 10_000 };
    let fields: String = (0..40_000).map(|number| format!("a{number}: b\r\n")).collect();
    let mut buf = BytesMut::from(format!("GET / HTTP/1.1\r\nhost: h\r\n{fields}\r\n").as_bytes());
    assert_eq!(take_request(&mut buf, bounds, &mut 0).map(|_| ()), Err(HeadError::TooMany));
}

#[test]
fn a_target_longer_than_a_uri_may_be_is_too_large() {
    let bounds = HeadBounds { bytes: 1 << 24, count: 10 };
    for (bytes, expected) in [(65_534, Ok(())), (65_535, Err(HeadError::TooLarge))] {
        let target = "/".repeat(bytes);
        let mut buf = BytesMut::from(format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes());
        assert_eq!(take_request(&mut buf, bounds, &mut 0).map(|_| ()), expected);
    }
}

#[test]
fn pipelined_requests_are_taken_one_by_one_and_a_rest_stays() {
    let mut buf = BytesMut::from(
        &b"GET /1 HTTP/1.1\r\nhost: h\r\n\r\nGET /2 HTTP/1.1\r\nhost: h\r\n\r\nGET /3 HTTP/1.1\r\nho"[..],
    );
    let mut scanned = 0;
    for path in ["/1", "/2"] {
        let head = take_request(&mut buf, BOUNDS, &mut scanned).expect("well formed").expect("whole");
        assert_eq!((head.parts.uri.path(), scanned), (path, 0));
    }
    assert!(take_request(&mut buf, BOUNDS, &mut scanned).is_ok_and(|head| head.is_none()));
    buf.extend_from_slice(b"st: h\r\n\r\nrest");
    let head = take_request(&mut buf, BOUNDS, &mut scanned).expect("well formed").expect("whole");
    assert_eq!((head.parts.uri.path(), &buf[..]), ("/3", &b"rest"[..]));
}

/// Who sends garbage learns it at once, not when the time for the head is up.
#[test]
fn garbage_is_refused_before_the_head_is_whole() {
    let mut failures = Failures::default();
    let rows: &[(&str, &[u8], Malformed)] = &[
        ("a TLS handshake", b"\x16\x03\x01\x02\0", Malformed::Method),
        ("a space in front", b" ", Malformed::Method),
        ("empty lines, then garbage", b"\r\n\r\n\0", Malformed::Method),
        ("a CR alone in front", b"\rG", Malformed::Method),
        ("HTTP/0.9", b"GET /\r\n", Malformed::Version),
        ("a bad version", b"GET / HTTP/3.0\r\n", Malformed::Version),
        ("LF behind the request line", b"GET / HTTP/1.1\n", Malformed::LineEnd),
        ("LF in front", b"\n", Malformed::LineEnd),
        ("a bad field", b"GET / HTTP/1.1\r\nhost: h\r\na b\r\nc: ", Malformed::FieldName),
        ("a fold", b"GET / HTTP/1.1\r\nhost: h\r\n x\r\n", Malformed::ObsFold),
    ];
    for (row, bytes, expected) in rows {
        let actual = take_request(&mut BytesMut::from(*bytes), BOUNDS, &mut 0).map(|_| ());
        failures.check(row, &actual, &Err(HeadError::Malformed(*expected)));
    }
    for beginning in
        ["", "\r", "\r\n", "\r\n\r", "G", "GET", "GET ", "GET /", "GET / HTTP/1.1\r", "GET / HTTP/1.1\r\n "]
    {
        let actual = take_request(&mut BytesMut::from(beginning), BOUNDS, &mut 0).map(|head| head.is_none());
        failures.check(beginning, &actual, &Ok(true));
    }
    failures.report();
}

/// A line that comes byte by byte is looked at once, not once for each byte: `scanned` is never behind.
#[test]
fn a_long_line_in_single_bytes_costs_linear_time() {
    let bounds = HeadBounds { bytes: 1 << 20, count: 10 };
    for start in ["", "GET / HTTP/1.1\r\nhost: h\r\na: ", "\r\n"] {
        let mut buf = BytesMut::from(start);
        let mut scanned = 0;
        while buf.len() < bounds.bytes {
            buf.extend_from_slice(b"x");
            let taken = take_request(&mut buf, bounds, &mut scanned);
            assert!(taken.is_ok_and(|head| head.is_none()) && scanned == buf.len());
        }
        buf.extend_from_slice(b"x");
        assert_eq!(take_request(&mut buf, bounds, &mut scanned).map(|_| ()), Err(HeadError::TooLarge));
    }
}
