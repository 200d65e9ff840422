//! Answers: what is read, and what is refused.

use bytes::BytesMut;

use super::super::Malformed::{
    self, ContentLength, FieldName, FieldValue, LengthAndChunked, ObsFold, StatusLine, TransferEncoding,
};
use super::super::head;
use super::super::{Framing, HeadError};
use super::{BOUNDS, Failures, response};

#[test]
fn a_status_line_is_a_version_three_digits_and_a_reason() {
    let rows: &[(&str, &[u8], Option<u16>)] = &[
        ("9112 4: whole", b"HTTP/1.1 200 OK", Some(200)),
        ("9112 4: HTTP/1.0", b"HTTP/1.0 404 Not Found", Some(404)),
        ("9112 4: no reason", b"HTTP/1.1 200 ", Some(200)),
        ("9112 4: no space behind the code", b"HTTP/1.1 200", Some(200)),
        ("9112 4: obs-text in the reason", b"HTTP/1.1 200 \xe9\t!", Some(200)),
        ("9110 15: the lowest", b"HTTP/1.1 100 ", Some(100)),
        ("9110 15: the highest", b"HTTP/1.1 999 ", Some(999)),
        ("9110 15: below", b"HTTP/1.1 099 ", None),
        ("9112 4: two digits", b"HTTP/1.1 20 OK", None),
        ("9112 4: four digits", b"HTTP/1.1 2000 OK", None),
        ("9112 4: letters", b"HTTP/1.1 2x0 OK", None),
        ("9112 4: a sign", b"HTTP/1.1 +20 OK", None),
        ("9112 4: two spaces", b"HTTP/1.1  200 OK", None),
        ("9112 4: a tab", b"HTTP/1.1\t200 OK", None),
        ("9112 2.3: HTTP/1.2", b"HTTP/1.2 200 OK", None),
        ("9112 2.3: HTTP/2", b"HTTP/2 200 OK", None),
        ("9112 2.3: lower case", b"http/1.1 200 OK", None),
        ("9112 4: ICY", b"ICY 200 OK", None),
        ("9112 4: nothing", b"", None),
        ("9112 4: the version alone", b"HTTP/1.1", None),
        ("9112 4: NUL in the reason", b"HTTP/1.1 200 \0", None),
        ("9112 4: CR in the reason", b"HTTP/1.1 200 O\rK", None),
        ("9112 4: DEL in the reason", b"HTTP/1.1 200 \x7f", None),
    ];
    let mut failures = Failures::default();
    for (row, line, expected) in rows {
        for end in [&b"\r\n"[..], b"\n"] {
            let actual = response(&[line, end, end].concat()).map(|head| head.parts.status.as_u16());
            let expected = expected.ok_or(HeadError::Malformed(StatusLine));
            failures.check(&format!("{row}, {end:?}"), &actual, &expected);
        }
    }
    failures.report();
}

/// RFC 9112 section 2.2 lets a recipient take LF; nothing else is mended.
#[test]
fn an_answer_may_end_its_lines_in_lf_but_folds_and_controls_are_refused() {
    let rows: &[(&str, &[u8], Result<usize, Malformed>)] = &[
        ("LF", b"HTTP/1.1 200 OK\na: b\nc: d\n\n", Ok(2)),
        ("LF and CR LF", b"HTTP/1.1 200 OK\r\na: b\nc: d\r\n\n", Ok(2)),
        ("a folded field", b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Err(ObsFold)),
        ("no colon", b"HTTP/1.1 200 OK\r\nab\r\n\r\n", Err(FieldName)),
        ("a space before the colon", b"HTTP/1.1 200 OK\r\na : b\r\n\r\n", Err(FieldName)),
        ("a name that is no token", b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n", Err(FieldName)),
        ("NUL", b"HTTP/1.1 200 OK\r\na: b\0\r\n\r\n", Err(FieldValue)),
        ("CR in a value", b"HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", Err(FieldValue)),
        ("two CR", b"HTTP/1.1 200 OK\r\na: b\r\r\n\r\n", Err(FieldValue)),
    ];
    let mut failures = Failures::default();
    for (row, bytes, expected) in rows {
        let actual = response(bytes).map(|head| head.parts.headers.len());
        failures.check(row, &actual, &expected.map_err(HeadError::Malformed));
    }
    failures.report();
}

/// What a row says of an answer: its framing, whether the connection persists, and its `content-length`.
type Reading = (Framing, bool, Option<&'static str>);

#[test]
fn the_framing_of_an_answer_follows_rfc_9112_6_3() {
    const EMPTY: Reading = (Framing::Empty, true, None);
    let rows: &[(&str, bool, Result<Reading, Malformed>)] = &[
        ("1.1 200|content-length: 3", false, Ok((Framing::Length(3), true, Some("3")))),
        ("1.1 200|content-length: 0", false, Ok((Framing::Length(0), true, Some("0")))),
        ("1.1 200|transfer-encoding: Chunked", false, Ok((Framing::Chunked, true, None))),
        ("1.1 200|a: b", false, Ok((Framing::UntilClose, false, None))),
        ("1.1 200|content-length: 3|connection: close", false, Ok((Framing::Length(3), false, Some("3")))),
        ("1.0 200|content-length: 3", false, Ok((Framing::Length(3), false, Some("3")))),
        (
            "1.0 200|content-length: 3|connection: keep-alive",
            false,
            Ok((Framing::Length(3), true, Some("3"))),
        ),
        ("1.0 200|connection: keep-alive", false, Ok((Framing::UntilClose, false, None))),
        ("1.1 204|content-length: 3", false, Ok((Framing::Empty, true, Some("3")))),
        ("1.1 204|transfer-encoding: chunked", false, Ok(EMPTY)),
        ("1.1 304|content-length: 3", false, Ok((Framing::Empty, true, Some("3")))),
        ("1.1 304|a: b", false, Ok(EMPTY)),
        ("1.1 100|a: b", false, Ok(EMPTY)),
        ("1.1 103|content-length: 3", false, Ok((Framing::Empty, true, Some("3")))),
        ("1.1 200|content-length: 03", true, Ok((Framing::Empty, true, Some("03")))),
        ("1.1 200|transfer-encoding: chunked", true, Ok(EMPTY)),
        ("1.1 200|a: b", true, Ok(EMPTY)),
        ("1.1 200|content-length: 3|content-length: 3", false, Err(ContentLength)),
        ("1.1 200|content-length: 3, 3", false, Err(ContentLength)),
        ("1.1 200|content-length: -3", true, Err(ContentLength)),
        ("1.1 200|transfer-encoding: gzip, chunked", false, Err(TransferEncoding)),
        ("1.1 200|transfer-encoding: chunked|transfer-encoding: chunked", false, Err(TransferEncoding)),
        ("1.0 200|transfer-encoding: chunked", false, Err(TransferEncoding)),
        ("1.1 200|transfer-encoding: chunked|content-length: 3", false, Err(LengthAndChunked)),
    ];
    let mut failures = Failures::default();
    for (row, to_head, expected) in rows {
        let text = format!("HTTP/{}\r\n\r\n", row.replace('|', "\r\n"));
        let head = head::take_response(&mut text.as_bytes().into(), BOUNDS, &mut 0, *to_head);
        let actual = head.map(|head| {
            let head = head.expect("it is whole");
            let length =
                head.parts.headers.get("content-length").map(|value| value.to_str().unwrap().to_owned());
            assert!(!head.parts.headers.contains_key("transfer-encoding"), "{row}");
            (head.framing, head.keep_alive, length)
        });
        let expected =
            expected.map(|(framing, persists, length)| (framing, persists, length.map(str::to_owned)));
        failures.check(&format!("{row}, {to_head}"), &actual, &expected.map_err(HeadError::Malformed));
    }
    failures.report();
}

/// Only a request may follow empty lines (RFC 9112 section 2.2): before an answer they are bytes that nobody asked for.
#[test]
fn an_answer_does_not_begin_with_an_empty_line() {
    for bytes in [&b"\r\nHTTP/1.1 200 OK\r\n\r\n"[..], b"\nHTTP/1.1 200 OK\n\n"] {
        let actual = head::take_response(&mut BytesMut::from(bytes), BOUNDS, &mut 0, false);
        assert_eq!(actual.map(|_| ()), Err(HeadError::Malformed(StatusLine)));
    }
}
