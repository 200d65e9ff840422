//! Bodies by each framing, and how chunks may be spelt.

use bytes::BytesMut;
use http::HeaderMap;

use super::super::Malformed::{ChunkEnd, ChunkExtension, ChunkSize, FieldName, FieldValue, LineEnd, ObsFold};
use super::super::body::{Decoder, Piece};
use super::super::{Framing, HeadError};
use super::{BOUNDS, Failures, Read, read};

/// What a row of chunks is read as: the data and the number of trailers, or the fault.
type Reading = Result<(&'static [u8], usize), HeadError>;

const fn malformed(malformed: super::super::Malformed) -> Reading {
    Err(HeadError::Malformed(malformed))
}

const CHUNKS: &[(&str, &[u8], Reading)] = &[
    ("7.1: no data", b"0\r\n\r\n", Ok((b"", 0))),
    ("7.1: two chunks", b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Ok((b"abcde", 0))),
    ("7.1: any case", b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", Ok((b"01234567890123456789", 0))),
    ("7.1: 16 digits", b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", Ok((b"abc", 0))),
    ("7.1: 17 digits", b"00000000000000003\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: 2^64 + 3", b"10000000000000003\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: no size", b"\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: an extension without a size", b";a\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: 0x", b"0x3\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a plus", b"+3\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a minus", b"-3\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a letter", b"g\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a separator of digits", b"1_0\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a space in front", b" 3\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a space behind", b"3 \r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a tab behind", b"3\t\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1: a space before the semicolon", b"3 ;a\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("2.2: LF behind the size", b"3\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("2.2: CR behind the size", b"3\rabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("2.2: two CR behind the size", b"3\r\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("2.2: LF behind the last size", b"0\n\r\n", malformed(ChunkSize)),
    ("7.1: too much data", b"3\r\nabcd\r\n0\r\n\r\n", malformed(ChunkEnd)),
    ("7.1: too little data", b"3\r\nab\r\n0\r\n\r\n", malformed(ChunkEnd)),
    ("2.2: LF behind the data", b"3\r\nabc\n0\r\n\r\n", malformed(ChunkEnd)),
    ("2.2: CR behind the data", b"3\r\nabc\r0\r\n\r\n", malformed(ChunkEnd)),
    ("7.1.1: extensions", b"3;a;b=c; d = \"e\xe9\"\t\r\nabc\r\n0;f\r\n\r\n", Ok((b"abc", 0))),
    ("7.1.1: an empty extension", b"3;\r\nabc\r\n0\r\n\r\n", Ok((b"abc", 0))),
    ("7.1.1: LF in an extension", b"3;a\nabc\r\n0\r\n\r\n", malformed(ChunkExtension)),
    ("7.1.1: NUL in an extension", b"3;\0\r\nabc\r\n0\r\n\r\n", malformed(ChunkExtension)),
    ("7.1.1: DEL in an extension", b"3;\x7f\r\nabc\r\n0\r\n\r\n", malformed(ChunkExtension)),
    ("7.1.1: CR in an extension", b"3;a\rb\r\nabc\r\n0\r\n\r\n", malformed(ChunkSize)),
    ("7.1.2: trailers", b"1\r\nx\r\n0\r\na: b\r\nc:d\r\na: e\r\n\r\n", Ok((b"x", 3))),
    ("7.1.2: LF behind a trailer", b"0\r\na: b\n\r\n", malformed(LineEnd)),
    ("7.1.2: LF at the end", b"0\r\na: b\r\n\n", malformed(LineEnd)),
    ("7.1.2: LF for the end", b"0\r\n\n", malformed(LineEnd)),
    ("7.1.2: a folded trailer", b"0\r\na: b\r\n c\r\n\r\n", malformed(ObsFold)),
    ("7.1.2: a trailer without a colon", b"0\r\nab\r\n\r\n", malformed(FieldName)),
    ("7.1.2: a space before the colon", b"0\r\na : b\r\n\r\n", malformed(FieldName)),
    ("7.1.2: a pseudo-header", b"0\r\n:status: 200\r\n\r\n", malformed(FieldName)),
    ("7.1.2: NUL in a trailer", b"0\r\na: \0\r\n\r\n", malformed(FieldValue)),
];

#[test]
fn chunks_are_read_as_rfc_9112_has_them_however_they_arrive() {
    let mut failures = Failures::default();
    for (row, bytes, expected) in CHUNKS {
        let with_next = [bytes, &b"NEXT"[..]].concat();
        let whole = read(Framing::Chunked, [&with_next[..]]);
        let actual = whole.end.clone().unwrap_or(Ok(None));
        let actual = actual.map(|trailers| (whole.data.clone(), trailers.map_or(0, |map| map.len())));
        failures.check(row, &actual, &expected.map(|(data, trailers)| (data.to_vec(), trailers)));
        if expected.is_ok() {
            failures.check(&format!("{row}: the rest"), &whole.rest, &b"NEXT".to_vec());
        }
        let bytewise = read(Framing::Chunked, with_next.chunks(1));
        failures.check(&format!("{row}, byte by byte"), &bytewise.end, &whole.end);
        failures.check(&format!("{row}, byte by byte: the data"), &bytewise.data, &whole.data);
    }
    failures.report();
}

#[test]
fn extensions_are_bounded_over_a_whole_body() {
    let one = |bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(bytes - 1));
    let half = one(8 * 1024);
    let whole = format!("{half}{half}0\r\n\r\n");
    assert_eq!(read(Framing::Chunked, [whole.as_bytes()]).end, Some(Ok(None)));
    let over = format!("{half}{half}0;\r\n\r\n");
    let refused = Some(Err(HeadError::Malformed(ChunkExtension)));
    assert_eq!(read(Framing::Chunked, [over.as_bytes()]).end, refused);
    // An extension that never ends is refused as it comes.
    let endless = format!("1;{}", "e".repeat(16 * 1024));
    assert_eq!(read(Framing::Chunked, [endless.as_bytes()]).end, refused);
}

#[test]
fn trailers_have_the_bounds_of_a_head() {
    let fields = |count: usize| format!("0\r\n{}\r\n", "a: b\r\n".repeat(count));
    let end = |text: &str| read(Framing::Chunked, [text.as_bytes()]).end.map(|end| end.map(|_| ()));
    assert_eq!(end(&fields(BOUNDS.count)), Some(Ok(())));
    assert_eq!(end(&fields(BOUNDS.count + 1)), Some(Err(HeadError::TooMany)));
    assert_eq!(end(&format!("0\r\na: {}", "x".repeat(BOUNDS.bytes - 3))), None);
    assert_eq!(end(&format!("0\r\na: {}", "x".repeat(BOUNDS.bytes))), Some(Err(HeadError::TooLarge)));
}

#[test]
fn a_body_with_a_length_takes_that_much_and_leaves_the_rest() {
    for parts in [vec![&b"abcNEXT"[..]], vec![b"a", b"b", b"c", b"NEXT"], vec![b"ab", b"cNEXT"]] {
        let expected = Read { data: b"abc".to_vec(), end: Some(Ok(None)), rest: b"NEXT".to_vec() };
        assert_eq!(read(Framing::Length(3), parts), expected);
    }
    let nothing = Read { data: Vec::new(), end: Some(Ok(None)), rest: b"NEXT".to_vec() };
    for framing in [Framing::Empty, Framing::Length(0)] {
        assert_eq!(read(framing, [&b"NEXT"[..]]), nothing, "{framing:?}");
    }
}

#[test]
fn only_a_body_that_ends_by_closing_is_whole_when_the_sender_closes() {
    let mut failures = Failures::default();
    for (row, framing, bytes, expected) in [
        ("nothing", Framing::Empty, "", true),
        ("a length of 0", Framing::Length(0), "", true),
        ("a length, cut", Framing::Length(3), "ab", false),
        ("a length, whole", Framing::Length(3), "abc", true),
        ("until close", Framing::UntilClose, "ab", true),
        ("until close, nothing", Framing::UntilClose, "", true),
        ("chunks, nothing", Framing::Chunked, "", false),
        ("chunks, cut in the size", Framing::Chunked, "3", false),
        ("chunks, cut in the data", Framing::Chunked, "3\r\nab", false),
        ("chunks, cut between", Framing::Chunked, "3\r\nabc\r\n", false),
        ("chunks, cut before the empty line", Framing::Chunked, "0\r\n", false),
        ("chunks, cut in a trailer", Framing::Chunked, "0\r\na: b", false),
        ("chunks, whole", Framing::Chunked, "0\r\n\r\n", true),
    ] {
        let mut decoder = Decoder::new(framing, BOUNDS);
        let mut buf = BytesMut::from(bytes);
        let mut ended = false;
        while let Some(piece) = decoder.take(&mut buf).expect(row) {
            ended |= matches!(piece, Piece::End(_));
        }
        failures.check(row, &decoder.close(), &expected);
        failures.check(row, &decoder.is_done(), &expected);
        failures.check(row, &(decoder.remaining() == Some(0)), &expected);
        let end = decoder.take(&mut buf).expect(row);
        // The end is given out once: before the sender closed, or now.
        failures.check(row, &end.is_some(), &(expected && !ended));
        failures.check(row, &decoder.take(&mut buf).expect(row), &None);
    }
    failures.report();
}

#[test]
fn what_remains_is_known_for_a_length_and_at_the_end() {
    let mut decoder = Decoder::new(Framing::Length(3), BOUNDS);
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(3), false));
    let mut buf = BytesMut::from("ab");
    assert_eq!(decoder.take(&mut buf), Ok(Some(Piece::Data("ab".into()))));
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(1), false));
    buf.extend_from_slice(b"c");
    assert_eq!(decoder.take(&mut buf), Ok(Some(Piece::Data("c".into()))));
    // The last byte was read: the connection may go on, though the end was not taken yet.
    assert_eq!((decoder.remaining(), decoder.is_done()), (Some(0), true));
    assert_eq!(decoder.take(&mut buf), Ok(Some(Piece::End(None))));
    for framing in [Framing::Chunked, Framing::UntilClose] {
        let decoder = Decoder::new(framing, BOUNDS);
        assert_eq!((decoder.remaining(), decoder.is_done()), (None, false));
    }
}

#[test]
fn data_is_not_copied_out_of_the_buffer() {
    let mut buf = BytesMut::from("5\r\nhello\r\n0\r\n\r\n");
    let place = buf.as_ptr() as usize;
    let piece = Decoder::new(Framing::Chunked, BOUNDS).take(&mut buf);
    let Ok(Some(Piece::Data(data))) = piece else { panic!("{piece:?}") };
    assert_eq!((data.as_ptr() as usize - place, &data[..]), (3, &b"hello"[..]));
}

#[test]
fn trailers_come_out_as_they_were_sent() {
    let read = read(Framing::Chunked, [&b"0\r\nGrpc-Status: 0\r\nx: 1\r\nx: 2\r\n\r\n"[..]]);
    let mut expected = HeaderMap::new();
    for (name, value) in [("grpc-status", "0"), ("x", "1"), ("x", "2")] {
        expected.append(name, value.parse().unwrap());
    }
    assert_eq!(read.end, Some(Ok(Some(expected))));
}

#[test]
fn a_body_that_was_refused_stays_refused() {
    for bytes in ["3\r\nabcd", "0\r\na b\r\n", "zz", "1;\0"] {
        let mut decoder = Decoder::new(Framing::Chunked, BOUNDS);
        let mut buf = BytesMut::from(bytes);
        let error = loop {
            match decoder.take(&mut buf) {
                Ok(piece) => assert!(piece.is_some(), "{bytes:?}"),
                Err(error) => break error,
            }
        };
        let mut later = BytesMut::from("0\r\n\r\n");
        assert_eq!(decoder.take(&mut later), Err(error), "{bytes:?}");
        assert!(!decoder.close() && !decoder.is_done() && decoder.remaining().is_none(), "{bytes:?}");
    }
}
