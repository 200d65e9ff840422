//! The HTTP/2 probes: frames with names. Stream 1 is the one that is looked at.
//!
//! Law: as for HTTP/1, each has an outcome without more bytes. Source: RFC 9113 sections 5 to 8.

use super::common::wire::frames::{
    CONTINUATION, DATA, END, END_HEADERS, GOAWAY, HEADERS, PADDED, PING, PREFACE, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, data, field, frame, head,
};
use super::{Kind, Probe};

/// All of them.
pub(super) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    pseudo_fields(&mut probes);
    fields(&mut probes);
    bodies(&mut probes);
    frames(&mut probes);
    probes
}

fn two(group: &str, name: &str, bytes: impl AsRef<[u8]>) -> Probe {
    Probe { name: format!("{group}: {name}"), bytes: bytes.as_ref().to_vec(), kind: Kind::Two, races: false }
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "x");
const PATH: (&str, &str) = (":path", "/a");

/// A GET with more fields.
fn get(more: &[(&str, &str)]) -> Vec<u8> {
    head(1, true, &[&[METHOD, SCHEME, AUTHORITY, PATH], more].concat())
}

/// The head of a POST with more fields, whose body is to come.
fn post(more: &[(&str, &str)]) -> Vec<u8> {
    head(1, false, &[&[(":method", "POST"), SCHEME, AUTHORITY, PATH], more].concat())
}

fn pseudo_fields(probes: &mut Vec<Probe>) {
    for (name, fields) in [
        ("all four", vec![METHOD, SCHEME, AUTHORITY, PATH]),
        ("no :method", vec![SCHEME, AUTHORITY, PATH]),
        ("no :scheme", vec![METHOD, AUTHORITY, PATH]),
        ("no :path", vec![METHOD, SCHEME, AUTHORITY]),
        ("no :authority, no host", vec![METHOD, SCHEME, PATH]),
        ("host alone", vec![METHOD, SCHEME, PATH, ("host", "x")]),
        ("host beside :authority, equal", vec![METHOD, SCHEME, AUTHORITY, PATH, ("host", "x")]),
        ("host beside :authority, different", vec![METHOD, SCHEME, AUTHORITY, PATH, ("host", "y")]),
        ("host beside :authority, in another case", vec![METHOD, SCHEME, AUTHORITY, PATH, ("host", "X")]),
        ("two hosts", vec![METHOD, SCHEME, PATH, ("host", "x"), ("host", "x")]),
        ("an empty :authority", vec![METHOD, SCHEME, (":authority", ""), PATH]),
        ("user information", vec![METHOD, SCHEME, (":authority", "u@x"), PATH]),
        (":authority with a port", vec![METHOD, SCHEME, (":authority", "x:80"), PATH]),
        (":authority with letters in the port", vec![METHOD, SCHEME, (":authority", "x:a"), PATH]),
        (":authority with a space", vec![METHOD, SCHEME, (":authority", "x y"), PATH]),
        (":authority with a slash", vec![METHOD, SCHEME, (":authority", "x/y"), PATH]),
        ("two :method", vec![METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
        ("two :path", vec![METHOD, SCHEME, AUTHORITY, PATH, PATH]),
        ("two :authority", vec![METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]),
        ("two :scheme", vec![METHOD, SCHEME, SCHEME, AUTHORITY, PATH]),
        ("an unknown one", vec![METHOD, SCHEME, AUTHORITY, PATH, (":x", "1")]),
        (":status", vec![METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]),
        (":protocol", vec![METHOD, SCHEME, AUTHORITY, PATH, (":protocol", "websocket")]),
        ("one behind a field", vec![METHOD, SCHEME, AUTHORITY, ("x-a", "1"), PATH]),
        ("in upper case", vec![(":Method", "GET"), SCHEME, AUTHORITY, PATH]),
        ("another order", vec![PATH, AUTHORITY, SCHEME, METHOD]),
        ("https", vec![METHOD, (":scheme", "https"), AUTHORITY, PATH]),
        (":scheme ftp", vec![METHOD, (":scheme", "ftp"), AUTHORITY, PATH]),
        (":scheme in upper case", vec![METHOD, (":scheme", "HTTP"), AUTHORITY, PATH]),
        ("an empty :scheme", vec![METHOD, (":scheme", ""), AUTHORITY, PATH]),
        ("an empty :path", vec![METHOD, SCHEME, AUTHORITY, (":path", "")]),
        (":path without a slash", vec![METHOD, SCHEME, AUTHORITY, (":path", "a")]),
        (":path *", vec![METHOD, SCHEME, AUTHORITY, (":path", "*")]),
        ("OPTIONS *", vec![(":method", "OPTIONS"), SCHEME, AUTHORITY, (":path", "*")]),
        (":path with a space", vec![METHOD, SCHEME, AUTHORITY, (":path", "/a b")]),
        (":path with a line end", vec![METHOD, SCHEME, AUTHORITY, (":path", "/a\r\nx-a: 1")]),
        (":path with UTF-8", vec![METHOD, SCHEME, AUTHORITY, (":path", "/ä")]),
        (":path with dots", vec![METHOD, SCHEME, AUTHORITY, (":path", "/a/../b//c")]),
        (":path with an escaped slash", vec![METHOD, SCHEME, AUTHORITY, (":path", "/a%2fb")]),
        (":path with a fragment", vec![METHOD, SCHEME, AUTHORITY, (":path", "/a#b")]),
        (":path in absolute form", vec![METHOD, SCHEME, AUTHORITY, (":path", "http://y/a")]),
        ("an empty :method", vec![(":method", ""), SCHEME, AUTHORITY, PATH]),
        (":method with a space", vec![(":method", "GET /b"), SCHEME, AUTHORITY, PATH]),
        (":method in lower case", vec![(":method", "get"), SCHEME, AUTHORITY, PATH]),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "x:80")]),
        ("CONNECT with a path", vec![(":method", "CONNECT"), SCHEME, AUTHORITY, PATH]),
    ] {
        probes.push(two("pseudo", name, head(1, true, &fields)));
    }
}

fn fields(probes: &mut Vec<Probe>) {
    for (name, fields) in [
        ("upper case in a name", vec![("X-A", "1")]),
        ("an empty name", vec![("", "1")]),
        ("a space in a name", vec![("x a", "1")]),
        ("a colon in a name", vec![("x:a", "1")]),
        ("UTF-8 in a name", vec![("ä", "1")]),
        ("a line end in a name", vec![("x-a\r\nx-b", "1")]),
        ("a line end in a value", vec![("x-a", "1\r\nx-b: 2")]),
        ("bare LF in a value", vec![("x-a", "1\n2")]),
        ("NUL in a value", vec![("x-a", "1\0")]),
        ("a control in a value", vec![("x-a", "1\u{1}")]),
        ("UTF-8 in a value", vec![("x-a", "ä")]),
        ("spaces around a value", vec![("x-a", " 1 ")]),
        ("an empty value", vec![("x-a", "")]),
        ("connection", vec![("connection", "keep-alive")]),
        ("keep-alive", vec![("keep-alive", "a")]),
        ("proxy-connection", vec![("proxy-connection", "a")]),
        ("upgrade", vec![("upgrade", "websocket")]),
        ("transfer-encoding", vec![("transfer-encoding", "chunked")]),
        ("te: trailers", vec![("te", "trailers")]),
        ("te: gzip", vec![("te", "gzip")]),
        ("te: trailers, gzip", vec![("te", "trailers, gzip")]),
        ("cookie crumbs", vec![("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c=3")]),
        ("twice", vec![("x-a", "1"), ("x-a", "2")]),
        ("expect", vec![("expect", "100-continue")]),
        ("x-envoy-*", vec![("x-envoy-max-retries", "9")]),
        ("a length of 0", vec![("content-length", "0")]),
        ("a length that nothing follows", vec![("content-length", "2")]),
    ] {
        probes.push(two("field", name, get(&fields)));
    }
    let many = |count: usize| -> Vec<u8> {
        let names: Vec<String> = (0..count).map(|number| format!("x-{number}")).collect();
        get(&names.iter().map(|name| (name.as_str(), "1")).collect::<Vec<_>>())
    };
    probes.push(two("field", "90 of them", many(90)));
    probes.push(two("field", "150 of them", many(150)));
}

fn bodies(probes: &mut Vec<Probe>) {
    for (name, length, sent) in [
        ("a length that fits", "2", "ab"),
        ("a length too small", "1", "ab"),
        ("a length too large", "3", "ab"),
        ("a length with a plus", "+2", "ab"),
        ("a length of no digits", "a", "ab"),
        ("an empty length", "", "ab"),
        ("a list of lengths", "2, 2", "ab"),
    ] {
        probes.push(two("body", name, [post(&[("content-length", length)]), data(1, true, sent)].concat()));
    }
    let lengths = [("content-length", "2"), ("content-length", "2")];
    probes.push(two("body", "two lengths", [post(&lengths), data(1, true, "ab")].concat()));
    probes.push(two("body", "no length", [post(&[]), data(1, false, "a"), data(1, true, "b")].concat()));
    probes.push(two(
        "body",
        "an empty frame at its end",
        [post(&[]), data(1, false, "ab"), data(1, true, "")].concat(),
    ));
    probes.push(two(
        "body",
        "padded",
        [post(&[]), frame(DATA, END | PADDED, 1, [3, b'a', b'b', 0, 0, 0])].concat(),
    ));
    probes.push(two("body", "padded too far", [post(&[]), frame(DATA, END | PADDED, 1, [9, b'a'])].concat()));
    probes.push(two(
        "body",
        "of a GET",
        [head(1, false, &[METHOD, SCHEME, AUTHORITY, PATH]), data(1, true, "ab")].concat(),
    ));
    let trailers =
        |fields: &[(&str, &str)]| [post(&[]), data(1, false, "ab"), head(1, true, fields)].concat();
    probes.push(two("trailer", "one", trailers(&[("x-t", "1")])));
    probes.push(two("trailer", "a pseudo-field", trailers(&[(":path", "/b")])));
    probes.push(two("trailer", "in upper case", trailers(&[("X-T", "1")])));
    probes.push(two("trailer", "a length", trailers(&[("content-length", "9"), ("x-t", "1")])));
    probes.push(two("trailer", "a secret", trailers(&[("authorization", "a")])));
    probes.push(two("trailer", "connection", trailers(&[("connection", "close")])));
    probes.push(two(
        "trailer",
        "without an end",
        [post(&[]), data(1, false, "ab"), head(1, false, &[("x-t", "1")])].concat(),
    ));
}

fn frames(probes: &mut Vec<Probe>) {
    let request = || get(&[]);
    let fields = block(&[METHOD, SCHEME, AUTHORITY, PATH]);
    let (first, rest) = fields.split_at(10);
    let started = frame(HEADERS, END, 1, first);
    for (name, bytes) in [
        ("a head in two frames", [started.clone(), frame(CONTINUATION, END_HEADERS, 1, rest)].concat()),
        ("DATA between a head's frames", [started.clone(), data(1, true, "ab")].concat()),
        (
            "another stream's CONTINUATION",
            [started.clone(), frame(CONTINUATION, END_HEADERS, 3, rest)].concat(),
        ),
        ("CONTINUATION without a head", frame(CONTINUATION, END_HEADERS, 1, &fields)),
        ("PING between a head's frames", [started, frame(PING, 0, 0, [0; 8])].concat()),
        ("DATA on an idle stream", data(1, true, "ab")),
        ("DATA on stream 0", [request(), data(0, true, "ab")].concat()),
        ("HEADERS on stream 0", head(0, true, &[METHOD, SCHEME, AUTHORITY, PATH])),
        ("HEADERS on an even stream", head(2, true, &[METHOD, SCHEME, AUTHORITY, PATH])),
        (
            "a stream that depends on itself",
            frame(HEADERS, END | END_HEADERS | 0x20, 1, [&[0, 0, 0, 1, 16], fields.as_slice()].concat()),
        ),
        ("PRIORITY of a wrong size", [frame(PRIORITY, 0, 1, [0; 4]), request()].concat()),
        ("PING of a wrong size", frame(PING, 0, 0, [0; 7])),
        ("PING on a stream", frame(PING, 0, 1, [0; 8])),
        ("SETTINGS of a wrong size", frame(SETTINGS, 0, 0, [0; 5])),
        ("SETTINGS on a stream", frame(SETTINGS, 0, 1, [])),
        ("SETTINGS with an ACK and a payload", frame(SETTINGS, END, 0, [0; 6])),
        ("SETTINGS with a window too large", frame(SETTINGS, 0, 0, [0, 4, 0x80, 0, 0, 0])),
        ("SETTINGS with a frame size too small", frame(SETTINGS, 0, 0, [0, 5, 0, 0, 0, 1])),
        (
            "SETTINGS with an unknown setting",
            [frame(SETTINGS, 0, 0, [0xf, 0xff, 0, 0, 0, 1]), request()].concat(),
        ),
        ("WINDOW_UPDATE of 0 for the connection", frame(WINDOW_UPDATE, 0, 0, [0; 4])),
        ("WINDOW_UPDATE beyond 2^31-1", frame(WINDOW_UPDATE, 0, 0, 0x7fff_ffff_u32.to_be_bytes())),
        ("WINDOW_UPDATE on an idle stream", frame(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1])),
        ("RST_STREAM on an idle stream", frame(RST_STREAM, 0, 1, [0; 4])),
        ("RST_STREAM of a wrong size", [post(&[]), frame(RST_STREAM, 0, 1, [0; 3])].concat()),
        ("PUSH_PROMISE by the caller", frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])),
        ("GOAWAY on a stream", frame(GOAWAY, 0, 1, [0; 8])),
        ("a frame that is unknown", [frame(0x42, 0xff, 0, "abc"), request()].concat()),
        ("a frame that is too large", frame(DATA, 0, 1, vec![0; 16_385])),
        (
            "a block that cannot be read",
            frame(HEADERS, END | END_HEADERS, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ),
        (
            "an index that is not there",
            frame(HEADERS, END | END_HEADERS, 1, [&[0xfe], fields.as_slice()].concat()),
        ),
        (
            "a table size too large",
            frame(HEADERS, END | END_HEADERS, 1, [&[0x3f, 0xff, 0xff, 0x7f], fields.as_slice()].concat()),
        ),
        ("a head with padding too long", frame(HEADERS, END | END_HEADERS | PADDED, 1, [0xff, 0])),
        (
            "a name's length beyond the block",
            frame(
                HEADERS,
                END | END_HEADERS,
                1,
                [&fields, field("x", "y").get(..2).unwrap_or_default()].concat(),
            ),
        ),
        ("DATA behind the end", [request(), data(1, true, "ab")].concat()),
    ] {
        // What is not wrong enough to end the connection shows in a PING that is answered.
        let races = matches!(name, "DATA on stream 0" | "DATA behind the end");
        probes.push(Probe { races, ..two("frame", name, bytes) });
    }
    let whole = |name: &str, bytes: Vec<u8>| Probe { kind: Kind::TwoWhole, ..two("preface", name, bytes) };
    probes.push(whole("without SETTINGS", [PREFACE, &request()].concat()));
    probes.push(whole("cut short by a request", [&PREFACE[..18], b"XX\r\n\r\n".as_slice()].concat()));
}
