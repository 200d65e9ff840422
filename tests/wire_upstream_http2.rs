//! HTTP/2 upstreams that misbehave: what the caller sees, and that no broken connection serves again.
//!
//! Each row is tried by an HTTP/1.1 caller, an HTTP/2 caller and a gRPC caller, with a POST that may be sent only once.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}
mod wire_upstream;

use std::rc::Rc;

use common::world::run;
use http::Method;
use wire_upstream::battery::Ours::{Closed, Idle, Protocol, Refused, Reset, Timeout};
use wire_upstream::battery::Outcome::{Cut, Ours as Is, Whole};
use wire_upstream::battery::Reuse::{May, Must, Never};
use wire_upstream::battery::Step::{Fin, Head, Hold, PingAck, Rst};
use wire_upstream::battery::{Battery, Book, Outcome, Reuse, Row, Step, frames};
use wire_upstream::http2_server::{
    ACK, CONTINUATION, DATA, END, END_HEADERS, GOAWAY, HEADERS, PADDED, PING, PRIORITY, PUSH_PROMISE,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, data, frame, goaway, headers, ok, rst, serve, setting,
    window_update,
};

/// The stream was reset, or its connection went.
const UR: &[&str] = &["UR"];
const UC: &[&str] = &["UC"];
/// What is ours to find wrong.
const UPE: &[&str] = &["UPE"];
/// The connection went, after it had said why.
const GONE: &[&str] = &["UC", "UR"];
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const HIGHEST: u32 = (1 << 31) - 1;

async fn battery(settings: &[&str], rest: &str) -> Battery {
    let book = Rc::<Book>::default();
    let upstream = serve(book.clone()).await;
    let settings = [&["protocol: http2"], settings].concat();
    let next = frames(|id| [ok(id), data(id, "next", true)].concat());
    let rest = if rest.is_empty() { "limits: {upstream_idle: {http2: 3s}}" } else { rest };
    Battery::start(&settings, rest, upstream, book, next).await
}

/// `200`, seen by the caller, then more.
fn after_head(more: impl Fn(u32) -> Vec<u8> + 'static) -> Vec<Step> {
    vec![frames(ok), Head, frames(more)]
}

fn and(mut steps: Vec<Step>, end: Step) -> Vec<Step> {
    steps.push(end);
    steps
}

/// A whole answer after what was sent.
fn answered(before: impl Fn(u32) -> Vec<u8> + 'static) -> Vec<Step> {
    vec![frames(move |id| [before(id), ok(id), data(id, "ok", true)].concat())]
}

/// A frame that breaks the connection, before the head and after it.
fn breaks(name: &str, rfc: &'static str, bytes: impl Fn(u32) -> Vec<u8> + Clone + 'static) -> [Row; 2] {
    let after = format!("{name}, after the head");
    [
        Row::new(name, rfc, vec![frames(bytes.clone()), Hold], Is(Protocol), Never),
        Row::new(after, rfc, and(after_head(bytes), Hold), Cut(200, UPE), Never),
    ]
}

/// An answer that breaks its own stream at most; the connection may go on.
fn malformed(name: &'static str, rfc: &'static str, fields: &'static [(&'static str, &'static str)]) -> Row {
    let steps = vec![frames(move |id| [headers(id, fields, false), data(id, "evil", true)].concat())];
    Row::new(name, rfc, steps, Is(Protocol), May)
}

#[test]
fn a_stream_that_is_reset_before_its_head_is_a_503_and_after_it_a_cut() {
    run(async || {
        let names = [
            "NO_ERROR",
            "PROTOCOL_ERROR",
            "INTERNAL_ERROR",
            "FLOW_CONTROL_ERROR",
            "SETTINGS_TIMEOUT",
            "STREAM_CLOSED",
            "FRAME_SIZE_ERROR",
            "REFUSED_STREAM",
            "CANCEL",
            "COMPRESSION_ERROR",
            "CONNECT_ERROR",
            "ENHANCE_YOUR_CALM",
            "INADEQUATE_SECURITY",
            "HTTP_1_1_REQUIRED",
            "a code nobody knows",
        ];
        let mut rows = Vec::new();
        for (code, name) in (0..).zip(names) {
            let (after, in_body) = (format!("{name}, after the head"), format!("{name}, in the body"));
            let (told, attempts) = if code == REFUSED_STREAM { (Refused, 2) } else { (Reset, 1) };
            let steps = vec![frames(move |id| rst(id, code))];
            rows.push(Row::new(name, "RFC 9113 7", steps, Is(told), Must).attempts(attempts));
            rows.push(Row::new(after, "RFC 9113 7", after_head(move |id| rst(id, code)), Cut(200, UR), Must));
            let steps = after_head(move |id| [data(id, "some", false), rst(id, code)].concat());
            rows.push(Row::new(in_body, "RFC 9113 7", steps, Cut(200, UR), Must));
        }
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn a_connection_that_goes_under_a_stream_is_a_503_before_the_head_and_a_cut_after_it() {
    run(async || {
        let gone = |name, steps| Row::new(name, "RFC 9113 5.4.1", steps, Is(Closed), Never);
        let cut = |name, steps| Row::new(name, "RFC 9113 5.4.1", steps, Cut(200, UC), Never);
        let half = |id| headers(id, &[(":status", "200")], false)[..12].to_vec();
        let unfinished = |id| frame(HEADERS, 0, id, block(&[(":status", "200")]));
        let rows = [
            gone("closes at once", vec![Fin]),
            gone("resets at once", vec![Rst]),
            gone("closes in a frame's head", vec![frames(|_| vec![0, 0, 4]), Fin]),
            gone("closes in HEADERS", vec![frames(half), Fin]),
            gone("resets in HEADERS", vec![frames(half), Rst]),
            gone("closes before CONTINUATION", vec![frames(unfinished), Fin]),
            gone("closes after 103", vec![frames(|id| headers(id, &[(":status", "103")], false)), Fin]),
            cut("closes after the head", vec![frames(ok), Head, Fin]),
            cut("resets after the head", vec![frames(ok), Head, Rst]),
            cut("closes in the body", and(after_head(|id| data(id, "some", false)), Fin)),
            cut("resets in the body", and(after_head(|id| data(id, "some", false)), Rst)),
            cut("closes in DATA", and(after_head(|id| data(id, "something", true)[..12].to_vec()), Fin)),
            cut(
                "closes in the trailers",
                and(after_head(|id| frame(HEADERS, END, id, block(&[("x-a", "b")]))), Fin),
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn goaway_tells_which_streams_will_be_answered() {
    run(async || {
        let say = |name, steps, outcome, attempts| {
            Row::new(name, "RFC 9113 6.8", steps, outcome, Never).attempts(attempts)
        };
        let answered_after = |last: fn(u32) -> u32, code| {
            vec![frames(move |id| [goaway(last(id), code), ok(id), data(id, "ok", true)].concat()), Hold]
        };
        let rows = [
            say("NO_ERROR, below: sent again", vec![frames(|_| goaway(0, NO_ERROR)), Hold], Is(Reset), 2),
            say("NO_ERROR, below, then gone", vec![frames(|_| goaway(0, NO_ERROR)), Fin], Is(Reset), 2),
            say("NO_ERROR, ours, then the answer", answered_after(|id| id, NO_ERROR), Whole(200, "ok"), 1),
            say(
                "NO_ERROR, above, then the answer",
                answered_after(|_| HIGHEST, NO_ERROR),
                Whole(200, "ok"),
                1,
            ),
            say("NO_ERROR, ours, then gone", vec![frames(|id| goaway(id, NO_ERROR)), Fin], Is(Closed), 1),
            say("an error, below", vec![frames(|_| goaway(0, INTERNAL_ERROR)), Fin], Is(Reset), 1),
            say("an error, ours", vec![frames(|id| goaway(id, INTERNAL_ERROR)), Fin], Is(Closed), 1),
            say(
                "an error after the head",
                and(after_head(|id| goaway(id, INTERNAL_ERROR)), Fin),
                Cut(200, GONE),
                1,
            ),
            say(
                "NO_ERROR after the head, then gone",
                and(after_head(|id| goaway(id, NO_ERROR)), Fin),
                Cut(200, UC),
                1,
            ),
            say(
                "NO_ERROR in the body, then the rest",
                and(after_head(|id| [goaway(id, NO_ERROR), data(id, "ok", true)].concat()), Hold),
                Whole(200, "ok"),
                1,
            ),
            say(
                "twice, the last below",
                vec![frames(|_| [goaway(HIGHEST, NO_ERROR), goaway(0, NO_ERROR)].concat()), Hold],
                Is(Reset),
                2,
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn frames_that_break_the_protocol_break_the_connection() {
    run(async || {
        let frame_size = "RFC 9113 4.2";
        let mut rows = Vec::new();
        rows.extend(breaks("SETTINGS of five bytes", "RFC 9113 6.5", |_| frame(SETTINGS, 0, 0, [0; 5])));
        rows.extend(breaks("SETTINGS on a stream", "RFC 9113 6.5", |id| frame(SETTINGS, 0, id, [])));
        rows.extend(breaks("SETTINGS ACK with bytes", "RFC 9113 6.5", |_| {
            frame(SETTINGS, ACK, 0, setting(4, 1))
        }));
        rows.extend(breaks("a window beyond 2^31-1", "RFC 9113 6.5.2", |_| {
            frame(SETTINGS, 0, 0, setting(4, 1 << 31))
        }));
        rows.extend(breaks("frames of at most 0", "RFC 9113 6.5.2", |_| {
            frame(SETTINGS, 0, 0, setting(5, 0))
        }));
        rows.extend(breaks("PING of seven bytes", "RFC 9113 6.7", |_| frame(PING, 0, 0, [0; 7])));
        rows.extend(breaks("PING on a stream", "RFC 9113 6.7", |id| frame(PING, 0, id, [0; 8])));
        rows.extend(breaks("GOAWAY on a stream", "RFC 9113 6.8", |id| frame(GOAWAY, 0, id, [0; 8])));
        rows.extend(breaks("GOAWAY of four bytes", frame_size, |_| frame(GOAWAY, 0, 0, [0; 4])));
        rows.extend(breaks("a connection window's overflow", "RFC 9113 6.9.1", |_| {
            window_update(0, HIGHEST)
        }));
        rows.extend(breaks("a connection window by 0", "RFC 9113 6.9", |_| window_update(0, 0)));
        rows.extend(breaks("WINDOW_UPDATE of three bytes", "RFC 9113 6.9", |id| {
            frame(WINDOW_UPDATE, 0, id, [0; 3])
        }));
        rows.extend(breaks("RST_STREAM of three bytes", "RFC 9113 6.4", |id| {
            frame(RST_STREAM, 0, id, [0; 3])
        }));
        rows.extend(breaks("RST_STREAM without a stream", "RFC 9113 6.4", |_| rst(0, 2)));
        rows.extend(breaks("RST_STREAM of an idle stream", "RFC 9113 6.4", |id| rst(id + 2000, 2)));
        rows.extend(breaks("HEADERS without a stream", "RFC 9113 6.2", |_| ok(0)));
        rows.extend(breaks("HEADERS of an idle stream", "RFC 9113 5.1.1", |id| ok(id + 2000)));
        rows.extend(breaks("HEADERS of a stream of the server", "RFC 9113 5.1.1", |_| ok(2)));
        rows.extend(breaks("DATA without a stream", "RFC 9113 6.1", |_| data(0, "evil", false)));
        rows.extend(breaks("DATA of an idle stream", "RFC 9113 5.1", |id| data(id + 2000, "evil", false)));
        rows.extend(breaks("padding longer than DATA", "RFC 9113 6.1", |id| {
            frame(DATA, PADDED, id, [200, b'e'])
        }));
        rows.extend(breaks("CONTINUATION alone", "RFC 9113 6.10", |id| {
            frame(CONTINUATION, END_HEADERS, id, block(&[("x-a", "b")]))
        }));
        rows.extend(breaks("a frame amid a head", "RFC 9113 6.10", |id| {
            [frame(HEADERS, END, id, block(&[(":status", "200")])), frame(PING, 0, 0, [0; 8])].concat()
        }));
        rows.extend(breaks("a frame above 16 KiB", frame_size, |id| frame(DATA, 0, id, [0; 16_385])));
        rows.extend(breaks("a head that HPACK cannot read", "RFC 7541 2.3.3", |id| {
            frame(HEADERS, END_HEADERS | END, id, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
        }));
        rows.extend(breaks("an index of nothing", "RFC 7541 2.3.3", |id| {
            frame(HEADERS, END_HEADERS | END, id, [0xfe])
        }));
        rows.extend(breaks("a push", "RFC 9113 8.4", |id| {
            let promised =
                [&2_u32.to_be_bytes()[..], &block(&[(":method", "GET"), (":path", "/evil")])].concat();
            frame(PUSH_PROMISE, END_HEADERS, id, promised)
        }));
        rows.extend(breaks("PRIORITY without a stream", "RFC 9113 6.3", |_| {
            frame(PRIORITY, 0, 0, [0, 0, 0, 1, 16])
        }));
        rows.extend(breaks("HTTP/1", "RFC 9113 3.4", |_| {
            b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil".to_vec()
        }));
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn a_head_that_is_no_answer_is_a_502() {
    run(async || {
        let status = "RFC 9113 8.3.2";
        let rows = [
            malformed("no status", status, &[("x-a", "b")]),
            malformed("an empty status", status, &[(":status", "")]),
            malformed("a status in letters", status, &[(":status", "abc")]),
            malformed("99", status, &[(":status", "99")]),
            malformed("1000", status, &[(":status", "1000")]),
            malformed("two statuses", "RFC 9113 8.3", &[(":status", "200"), (":status", "200")]),
            malformed("a status after a field", "RFC 9113 8.3", &[("x-a", "b"), (":status", "200")]),
            malformed("an unknown pseudo-header", "RFC 9113 8.3", &[(":status", "200"), (":evil", "1")]),
            malformed("a name in upper case", "RFC 9113 8.2.1", &[(":status", "200"), ("X-Evil", "1")]),
            malformed("an empty name", "RFC 9113 8.2.1", &[(":status", "200"), ("", "evil")]),
            malformed("a space in a name", "RFC 9113 8.2.1", &[(":status", "200"), ("x evil", "1")]),
            malformed("a NUL in a value", "RFC 9113 8.2.1", &[(":status", "200"), ("x-a", "ev\0il")]),
            malformed(
                "a line feed in a value",
                "RFC 9113 8.2.1",
                &[(":status", "200"), ("x-a", "a\nevil: 1")],
            ),
            malformed(
                "a line end in a value",
                "RFC 9113 8.2.1",
                &[(":status", "200"), ("x-a", "a\r\nevil: 1")],
            ),
            malformed("connection", "RFC 9113 8.2.2", &[(":status", "200"), ("connection", "close")]),
            malformed("keep-alive", "RFC 9113 8.2.2", &[(":status", "200"), ("keep-alive", "4")]),
            malformed(
                "proxy-connection",
                "RFC 9113 8.2.2",
                &[(":status", "200"), ("proxy-connection", "close")],
            ),
            malformed(
                "transfer-encoding",
                "RFC 9113 8.2.2",
                &[(":status", "200"), ("transfer-encoding", "chunked")],
            ),
            malformed("upgrade", "RFC 9113 8.2.2", &[(":status", "200"), ("upgrade", "h2c")]),
            malformed("101", "RFC 9113 8.6", &[(":status", "101")]),
            malformed(
                "a length in letters",
                "RFC 9110 8.6",
                &[(":status", "200"), ("content-length", "four")],
            ),
            malformed("a negative length", "RFC 9110 8.6", &[(":status", "200"), ("content-length", "-4")]),
            malformed(
                "two different lengths",
                "RFC 9110 8.6",
                &[(":status", "200"), ("content-length", "4"), ("content-length", "5")],
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn what_has_no_place_in_an_answer_is_a_502_or_a_cut() {
    run(async || {
        let row = |name, rfc, steps, outcome| Row::new(name, rfc, steps, outcome, May);
        let length = |id| headers(id, &[(":status", "200"), ("content-length", "4")], false);
        let with_length = move |more: fn(u32) -> Vec<u8>| vec![frames(length), Head, frames(more)];
        let trailers = |fields: &'static [(&'static str, &'static str)]| {
            after_head(move |id| [data(id, "ok", false), headers(id, fields, true)].concat())
        };
        let large = |id: u32| {
            let value = "a".repeat(1_000);
            let fields: Vec<_> = (0..70).map(|_| ("x-evil", &*value)).collect();
            block_in_frames(id, &[&[(":status", "200")], &fields[..]].concat())
        };
        let rows = [
            row(
                "DATA before HEADERS",
                "RFC 9113 8.1",
                vec![frames(|id| data(id, "evil", false))],
                Is(Protocol),
            ),
            row("DATA alone", "RFC 9113 8.1", vec![frames(|id| data(id, "evil", true))], Is(Protocol)),
            row(
                "no body, though a length",
                "RFC 9113 8.1.1",
                vec![frames(|id| headers(id, &[(":status", "200"), ("content-length", "4")], true))],
                Is(Protocol),
            ),
            row(
                "a body shorter than its length",
                "RFC 9113 8.1.1",
                with_length(|id| data(id, "ok", true)),
                Cut(200, UPE),
            ),
            row(
                "a body longer than its length",
                "RFC 9113 8.1.1",
                with_length(|id| data(id, "too long", true)),
                Cut(200, UPE),
            ),
            row(
                "trailers before its length",
                "RFC 9113 8.1.1",
                with_length(|id| [data(id, "ok", false), headers(id, &[("x-a", "b")], true)].concat()),
                Cut(200, UPE),
            ),
            row(
                "a name in upper case in trailers",
                "RFC 9113 8.2.1",
                trailers(&[("X-Evil", "1")]),
                Cut(200, UPE),
            ),
            row("a NUL in trailers", "RFC 9113 8.2.1", trailers(&[("x-a", "ev\0il")]), Cut(200, UPE)),
            row(
                "connection in trailers",
                "RFC 9113 8.2.2",
                trailers(&[("connection", "close")]),
                Cut(200, UPE),
            ),
            row(
                "trailers that do not end the stream",
                "RFC 9113 8.1",
                after_head(|id| [data(id, "ok", false), headers(id, &[("x-a", "b")], false)].concat()),
                Cut(200, UPE),
            ),
            row(
                "an interim answer that ends the stream",
                "RFC 9113 8.1",
                vec![frames(|id| headers(id, &[(":status", "103")], true))],
                Is(Protocol),
            ),
            row(
                "an interim answer after the head",
                "RFC 9113 8.1",
                after_head(|id| [headers(id, &[(":status", "103")], false), data(id, "ok", true)].concat()),
                Cut(200, UPE),
            ),
            row("a head of 70 KB", "RFC 9113 10.5.1", vec![frames(large)], Is(Protocol)),
            row(
                "a stream window by 0",
                "RFC 9113 6.9",
                vec![frames(|id| window_update(id, 0)), Hold],
                Is(Protocol),
            ),
            row(
                "more than the window",
                "RFC 9113 6.9",
                after_head(|id| (0..8).flat_map(|_| data(id, [b'a'; 16_384], false)).collect()),
                Cut(200, UPE),
            ),
            row(
                "CONTINUATION without an end",
                "RFC 9113 10.5.1",
                vec![
                    frames(|id| frame(HEADERS, 0, id, block(&[(":status", "200")]))),
                    Step::Endless(Box::new(|id| {
                        frame(CONTINUATION, 0, id, block(&[("x-evil", "1")])).repeat(100)
                    })),
                ],
                Is(Protocol),
            ),
            row(
                "interim answers without an end",
                "RFC 9110 15.2",
                vec![Step::Endless(Box::new(|id| headers(id, &[(":status", "102")], false).repeat(100)))],
                Is(Protocol),
            ),
            row(
                "seventeen interim answers",
                "RFC 9110 15.2",
                answered(|id| headers(id, &[(":status", "103"), ("link", "evil")], false).repeat(17)),
                Is(Protocol),
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

/// A head in HEADERS and as many CONTINUATIONs as it needs.
fn block_in_frames(id: u32, fields: &[(&str, &str)]) -> Vec<u8> {
    let block = block(fields);
    let mut bytes = Vec::new();
    let pieces = block.chunks(16_000);
    let last = pieces.len() - 1;
    for (at, piece) in pieces.enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        bytes.extend(frame(kind, if at == last { END_HEADERS } else { 0 }, id, piece));
    }
    bytes
}

#[test]
fn what_is_odd_but_clear_passes() {
    run(async || {
        let ok_row = |name, rfc, before: fn(u32) -> Vec<u8>| {
            Row::new(name, rfc, answered(before), Whole(200, "ok"), Must)
        };
        let steps = |name, rfc, steps: Vec<Step>, outcome| Row::new(name, rfc, steps, outcome, Must);
        let head_only = |fields: &'static [(&'static str, &'static str)]| {
            vec![frames(move |id| headers(id, fields, true))]
        };
        let rows = [
            ok_row("100 first", "RFC 9110 15.2.1", |id| headers(id, &[(":status", "100")], false)),
            ok_row("103 first", "RFC 9110 15.2", |id| {
                headers(id, &[(":status", "103"), ("link", "x")], false)
            }),
            ok_row("sixteen interim answers", "RFC 9110 15.2", |id| {
                headers(id, &[(":status", "103")], false).repeat(16)
            }),
            ok_row("a frame nobody knows", "RFC 9113 5.5", |id| frame(0x42, 0xff, id, "evil")),
            ok_row("a frame nobody knows, for the connection", "RFC 9113 5.5", |_| frame(0xfe, 0, 0, "evil")),
            ok_row("a setting nobody knows", "RFC 9113 6.5.2", |_| frame(SETTINGS, 0, 0, setting(0x4242, 7))),
            ok_row("settings told again", "RFC 9113 6.5", |_| frame(SETTINGS, 0, 0, setting(3, 50))),
            ok_row("a smaller table for HPACK", "RFC 7541 4.2", |_| frame(SETTINGS, 0, 0, setting(1, 0))),
            ok_row("PRIORITY", "RFC 9113 6.3", |id| frame(PRIORITY, 0, id, [0, 0, 0, 0, 16])),
            ok_row("a larger window", "RFC 9113 6.9", |id| {
                [window_update(0, 1000), window_update(id, 1000)].concat()
            }),
            steps(
                "PING, and no answer before its ACK",
                "RFC 9113 6.7",
                vec![
                    frames(|_| frame(PING, 0, 0, *b"pingpong")),
                    PingAck,
                    frames(|id| [ok(id), data(id, "ok", true)].concat()),
                ],
                Whole(200, "ok"),
            ),
            steps(
                "padding",
                "RFC 9113 6.1",
                vec![frames(|id| [ok(id), frame(DATA, PADDED | END, id, b"\x04okevil")].concat())],
                Whole(200, "ok"),
            ),
            steps(
                "empty DATA",
                "RFC 9113 6.1",
                vec![frames(|id| {
                    [ok(id), data(id, "", false), data(id, "ok", false), data(id, "", true)].concat()
                })],
                Whole(200, "ok"),
            ),
            steps(
                "a head in pieces",
                "RFC 9113 6.10",
                vec![frames(|id| {
                    let block = block(&[(":status", "200"), ("x-a", "b")]);
                    let head = frame(HEADERS, 0, id, &block[..3]);
                    let rest = frame(CONTINUATION, END_HEADERS, id, &block[3..]);
                    [head, frame(CONTINUATION, 0, id, []), rest, data(id, "ok", true)].concat()
                })],
                Whole(200, "ok"),
            ),
            steps(
                "a length that is right",
                "RFC 9110 8.6",
                vec![frames(|id| {
                    [headers(id, &[(":status", "200"), ("content-length", "2")], false), data(id, "ok", true)]
                        .concat()
                })],
                Whole(200, "ok"),
            ),
            steps(
                "trailers",
                "RFC 9113 8.1",
                vec![frames(|id| {
                    [ok(id), data(id, "ok", false), headers(id, &[("x-sum", "1")], true)].concat()
                })],
                Whole(200, "ok"),
            ),
            steps("no body", "RFC 9113 8.1", head_only(&[(":status", "200")]), Whole(200, "")),
            steps(
                "trailers alone",
                "gRPC",
                head_only(&[(":status", "200"), ("grpc-status", "5")]),
                Whole(200, ""),
            ),
            steps("204", "RFC 9110 15.3.5", head_only(&[(":status", "204")]), Whole(204, "")),
            steps(
                "304 with a length",
                "RFC 9110 8.6",
                head_only(&[(":status", "304"), ("content-length", "4")]),
                Whole(304, ""),
            ),
            steps(
                "999",
                "RFC 9110 15",
                vec![frames(|id| [headers(id, &[(":status", "999")], false), data(id, "ok", true)].concat())],
                Whole(999, "ok"),
            ),
            steps(
                "NO_ERROR after the whole answer",
                "RFC 9113 8.1",
                answered(|_| Vec::new()).into_iter().chain([frames(|id| rst(id, NO_ERROR))]).collect(),
                Whole(200, "ok"),
            ),
            steps(
                "HEAD",
                "RFC 9110 9.3.2",
                head_only(&[(":status", "200"), ("content-length", "4")]),
                Whole(200, ""),
            )
            .by(Method::HEAD),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

/// RFC 9113 would have these treated as errors; what is wrong is dropped instead, so nobody sees it.
#[test]
fn what_is_wrong_and_is_dropped_does_no_harm() {
    run(async || {
        let row = |name, rfc, steps| Row::new(name, rfc, steps, Whole(200, "ok"), Must);
        let ok_after = |bytes: fn(u32) -> Vec<u8>| answered(bytes);
        let rows = [
            row("a push enabled", "RFC 9113 6.5.2", ok_after(|_| frame(SETTINGS, 0, 0, setting(2, 1)))),
            row(
                "a pseudo-header of requests",
                "RFC 9113 8.3",
                vec![frames(|id| {
                    [headers(id, &[(":status", "200"), (":path", "/evil")], false), data(id, "ok", true)]
                        .concat()
                })],
            ),
            row(
                "a pseudo-header in trailers",
                "RFC 9113 8.1",
                vec![frames(|id| {
                    [ok(id), data(id, "ok", false), headers(id, &[(":status", "500"), ("x-a", "b")], true)]
                        .concat()
                })],
            ),
            row(
                "a window for a request that is over",
                "RFC 9113 6.9",
                ok_after(|id| window_update(id, HIGHEST)),
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn a_body_where_none_may_be_is_never_passed_on() {
    run(async || {
        let with_body = |status: &'static str| {
            vec![frames(move |id| {
                [headers(id, &[(":status", status)], false), data(id, "evil", true)].concat()
            })]
        };
        let row = |name, rfc, status, outcome: Outcome, reuse: Reuse| {
            Row::new(name, rfc, with_body(status), outcome, reuse)
        };
        let rows = [
            row("204 with a body", "RFC 9110 15.3.5", "204", Whole(204, ""), May),
            row("304 with a body", "RFC 9110 15.4.5", "304", Whole(304, ""), May),
            row("a body for HEAD", "RFC 9110 9.3.2", "200", Whole(200, ""), May).by(Method::HEAD),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn an_upstream_that_stalls_is_given_up_and_its_connection_goes_on() {
    run(async || {
        let ut: &[&str] = &["UT"];
        let stalls = |name, steps, outcome| Row::new(name, "docs/limits.md", steps, outcome, May);
        let rows = [
            stalls("says nothing", vec![], Is(Timeout)),
            stalls(
                "interim answers only",
                vec![frames(|id| headers(id, &[(":status", "103")], false))],
                Is(Timeout),
            ),
            stalls("stalls in a body", after_head(|id| data(id, "some", false)), Cut(200, ut)),
            stalls("stalls before its trailers", after_head(|id| data(id, "ok", false)), Cut(200, ut)),
        ];
        battery(&["timeout: 300ms"], "").await.run(&rows).await;
    });
}

#[test]
fn an_upstream_that_moves_no_byte_for_too_long_is_given_up() {
    run(async || {
        let si: &[&str] = &["SI"];
        let stalls = |name, steps, outcome| Row::new(name, "docs/limits.md", steps, outcome, May);
        let rows = [
            stalls("says nothing", vec![], Is(Idle)),
            stalls("stalls after the head", vec![frames(ok)], Cut(200, si)),
            stalls("stalls in a body", after_head(|id| data(id, "some", false)), Cut(200, si)),
        ];
        battery(&[], "limits: {stream_idle: 300ms, upstream_idle: {http2: 3s}}").await.run(&rows).await;
    });
}
