//! What is written.

use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::super::Framing;
use super::super::encode::{self, Connection};
use super::Failures;

fn map(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let fields = fields.iter();
    fields.map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn text(write: impl FnOnce(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("it is ASCII")
}

#[test]
fn a_request_is_written_with_host_first_and_framing_of_its_own() {
    let mut failures = Failures::default();
    let headers = map(&[("a", "1"), ("host", "h"), ("content-length", "9"), ("transfer-encoding", "gzip")]);
    for (method, framing, expected) in [
        (Method::GET, Framing::Empty, ""),
        (Method::POST, Framing::Empty, "content-length: 0\r\n"),
        (Method::PUT, Framing::Empty, "content-length: 0\r\n"),
        (Method::PATCH, Framing::Empty, "content-length: 0\r\n"),
        (Method::DELETE, Framing::Empty, ""),
        (Method::GET, Framing::Length(0), "content-length: 0\r\n"),
        (Method::GET, Framing::Length(u64::MAX), "content-length: 18446744073709551615\r\n"),
        (Method::GET, Framing::Chunked, "transfer-encoding: chunked\r\n"),
    ] {
        let actual = text(|out| encode::request_head(out, &method, "/x?y", &headers, framing));
        let expected = format!("{method} /x?y HTTP/1.1\r\nhost: h\r\na: 1\r\n{expected}\r\n");
        failures.check(&format!("{method} {framing:?}"), &actual, &expected);
    }
    failures.report();
}

/// What a row writes: status, framing, the fields it has, and the lines of framing that come out.
type Row = (u16, Framing, &'static [(&'static str, &'static str)], &'static str);

#[test]
fn an_answer_has_the_framing_field_its_status_allows_and_never_two() {
    const LENGTH: &[(&str, &str)] = &[("content-length", "7")];
    const CHUNKED: &[(&str, &str)] = &[("transfer-encoding", "chunked")];
    let rows: &[Row] = &[
        (200, Framing::Empty, &[], "content-length: 0\r\n"),
        (200, Framing::Empty, LENGTH, "content-length: 7\r\n"),
        (200, Framing::Length(5), &[], "content-length: 5\r\n"),
        (200, Framing::Length(5), LENGTH, "content-length: 5\r\n"),
        (200, Framing::Chunked, LENGTH, "transfer-encoding: chunked\r\n"),
        (200, Framing::Chunked, CHUNKED, "transfer-encoding: chunked\r\n"),
        (200, Framing::UntilClose, LENGTH, ""),
        (204, Framing::Empty, LENGTH, ""),
        (204, Framing::Length(0), &[], ""),
        (100, Framing::Empty, LENGTH, ""),
        (304, Framing::Empty, &[], ""),
        (304, Framing::Empty, LENGTH, "content-length: 7\r\n"),
        (304, Framing::Length(7), LENGTH, "content-length: 7\r\n"),
    ];
    let mut failures = Failures::default();
    for (status, framing, fields, expected) in rows {
        let status = StatusCode::from_u16(*status).expect("a status");
        let headers = map(fields);
        let actual = text(|out| {
            encode::response_head(out, Version::HTTP_11, status, &headers, *framing, Connection::Default);
        });
        let reason = status.canonical_reason().unwrap_or_default();
        let expected = format!("HTTP/1.1 {} {reason}\r\n{expected}\r\n", status.as_str());
        failures.check(&format!("{status} {framing:?} {fields:?}"), &actual, &expected);
    }
    failures.report();
}

#[test]
fn an_answer_says_what_becomes_of_the_connection_once() {
    let headers = map(&[("connection", "x")]);
    let write = |version, connection| {
        text(|out| {
            let status = StatusCode::from_u16(599).unwrap();
            encode::response_head(out, version, status, &headers, Framing::Chunked, connection);
        })
    };
    assert_eq!(
        write(Version::HTTP_11, Connection::Default),
        "HTTP/1.1 599 \r\nconnection: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    assert_eq!(
        write(Version::HTTP_11, Connection::Close),
        "HTTP/1.1 599 \r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    );
    // HTTP/1.0 knows no chunks.
    assert_eq!(
        write(Version::HTTP_10, Connection::KeepAlive),
        "HTTP/1.0 599 \r\nconnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn the_size_of_a_chunk_is_hexadecimal_without_zeros_in_front() {
    for (len, expected) in
        [(1, "1"), (10, "a"), (255, "ff"), (4096, "1000"), (usize::MAX, "ffffffffffffffff")]
    {
        assert_eq!(text(|out| encode::chunk_start(out, len)), format!("{expected}\r\n"));
    }
}

#[test]
fn the_last_chunk_carries_the_trailers() {
    assert_eq!(text(|out| encode::last_chunk(out, None)), "0\r\n\r\n");
    let trailers = map(&[("grpc-status", "0"), ("x", "y")]);
    assert_eq!(text(|out| encode::last_chunk(out, Some(&trailers))), "0\r\ngrpc-status: 0\r\nx: y\r\n\r\n");
}
