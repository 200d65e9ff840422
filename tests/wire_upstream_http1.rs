//! HTTP/1 upstreams that misbehave: what the caller sees, and that no broken connection serves again.
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
use wire_upstream::battery::Ours::{Closed, Idle, Protocol, Timeout};
use wire_upstream::battery::Outcome::{Cut, Ours as Is, Whole};
use wire_upstream::battery::Reuse::{May, Must, Never};
use wire_upstream::battery::Step::{Fin, Head, Hold, Rst};
use wire_upstream::battery::{Battery, Book, Outcome, Reuse, Row, Step, write};
use wire_upstream::http1_server::serve;

const NEXT: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext";
/// The upstream's fault after its head went down.
const UC: &[&str] = &["UC"];
const UPE: &[&str] = &["UPE"];

async fn battery(settings: &[&str], rest: &str) -> Battery {
    let book = Rc::<Book>::default();
    let upstream = serve(book.clone()).await;
    let settings = [&["protocol: http1"], settings].concat();
    Battery::start(&settings, rest, upstream, book, write(NEXT)).await
}

/// Bytes, then an end.
fn then(bytes: impl AsRef<[u8]>, end: Step) -> Vec<Step> {
    vec![write(bytes), end]
}

/// An answer's head, seen by the caller; then the rest, then an end.
fn pieces(head: &str, rest: &str, end: Step) -> Vec<Step> {
    vec![write(format!("HTTP/1.1 200 OK\r\n{head}\r\n")), Head, write(rest), end]
}

/// An answer that ends where it should; the connection stays.
fn whole(bytes: impl AsRef<[u8]>) -> Vec<Step> {
    vec![write(bytes)]
}

/// A head that no one may read as an answer: 502, and the connection is gone.
fn unreadable(name: &'static str, rfc: &'static str, bytes: impl AsRef<[u8]>) -> Row {
    Row::new(name, rfc, then(bytes, Hold), Is(Protocol), Never)
}

/// [`unreadable`], by its fields.
fn bad_field(name: &'static str, rfc: &'static str, field: &str) -> Row {
    unreadable(name, rfc, format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: 4\r\n\r\nevil"))
}

/// [`unreadable`], by what it says of its length; a body of four bytes follows.
fn bad_framing(name: &'static str, rfc: &'static str, fields: &str) -> Row {
    unreadable(name, rfc, format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nevil"))
}

fn passes(name: &'static str, rfc: &'static str, bytes: impl AsRef<[u8]>, outcome: Outcome) -> Row {
    Row::new(name, rfc, whole(bytes), outcome, Must)
}

#[test]
fn an_upstream_that_goes_before_its_head_is_a_503_and_nothing_is_sent_twice() {
    run(async || {
        let gone = |name, steps| Row::new(name, "RFC 9112 8", steps, Is(Closed), Never);
        let rows = [
            gone("closes without a byte", vec![Fin]),
            gone("resets without a byte", vec![Rst]),
            gone("closes in the status line", then("HTTP/1.1 20", Fin)),
            gone("resets in the status line", then("HTTP/1.1 20", Rst)),
            gone("closes after the status line", then("HTTP/1.1 200 OK\r\n", Fin)),
            gone("closes in a field", then("HTTP/1.1 200 OK\r\ncontent-le", Fin)),
            gone("resets in a field", then("HTTP/1.1 200 OK\r\ncontent-le", Rst)),
            gone("closes before the empty line", then("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n", Fin)),
            gone("closes in the empty line", then("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r", Fin)),
            gone("closes after 100", then("HTTP/1.1 100 Continue\r\n\r\n", Fin)),
            gone("resets after 103", then("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Rst)),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn an_answer_that_is_cut_in_its_body_is_cut_visibly() {
    run(async || {
        let cut = |name, head, rest, end| {
            Row::new(name, "RFC 9112 8", pieces(head, rest, end), Cut(200, UC), Never)
        };
        let (length, chunked) = ("content-length: 10\r\n", "transfer-encoding: chunked\r\n");
        let mut rows = vec![
            cut("closes before a body with a length", length, "", Fin),
            cut("resets before a body with a length", length, "", Rst),
            cut("closes in a body with a length", length, "01234", Fin),
            cut("resets in a body with a length", length, "01234", Rst),
            cut("closes one byte early", length, "012345678", Fin),
            cut("closes before the first chunk", chunked, "", Fin),
            cut("closes in a chunk's size", chunked, "5", Fin),
            cut("closes after a chunk's size", chunked, "5\r\n", Fin),
            cut("closes in a chunk", chunked, "5\r\n012", Fin),
            cut("resets in a chunk", chunked, "5\r\n012", Rst),
            cut("closes before a chunk's line end", chunked, "5\r\n01234", Fin),
            cut("closes before the last chunk", chunked, "5\r\n01234\r\n", Fin),
            cut("resets before the last chunk", chunked, "5\r\n01234\r\n", Rst),
            cut("closes in the last chunk", chunked, "5\r\n01234\r\n0", Fin),
            cut("closes before the last empty line", chunked, "5\r\n01234\r\n0\r\n", Fin),
            cut("closes in the trailers", chunked, "5\r\n01234\r\n0\r\nx-sum: 1", Fin),
            cut("resets a body that ends with the connection", "", "01234", Rst),
        ];
        rows.push(Row::new(
            "closes with head and half a body in one packet",
            "RFC 9112 8",
            then("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n01234", Fin),
            Cut(200, UC),
            Never,
        ));
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn chunks_that_cannot_be_read_are_cut_visibly_as_a_protocol_error() {
    run(async || {
        let bad = |name, rest: &str| {
            let steps = pieces("transfer-encoding: chunked\r\n", rest, Hold);
            Row::new(name, "RFC 9112 7.1", steps, Cut(200, UPE), Never)
        };
        let rows = [
            bad("a size that is no number", "zz\r\nevil\r\n0\r\n\r\n"),
            bad("an empty size", "\r\nevil\r\n0\r\n\r\n"),
            bad("a negative size", "-4\r\nevil\r\n0\r\n\r\n"),
            bad("a size with a plus", "+4\r\nevil\r\n0\r\n\r\n"),
            bad("a size with 0x", "0x4\r\nevil\r\n0\r\n\r\n"),
            bad("a size of seventeen digits", "00000000000000004\r\nevil\r\n0\r\n\r\n"),
            bad("a size beyond 64 bits", "10000000000000004\r\nevil\r\n0\r\n\r\n"),
            bad("an underscore in a size", "0_4\r\nevil\r\n0\r\n\r\n"),
            bad("a chunk longer than its size", "2\r\nokevil\r\n0\r\n\r\n"),
            bad("a bad chunk after a good one", "2\r\nok\r\nzz\r\nevil\r\n0\r\n\r\n"),
            bad("a trailer without a colon", "2\r\nok\r\n0\r\nevil\r\n\r\n"),
            bad("a space before a trailer's colon", "2\r\nok\r\n0\r\nx-evil : 1\r\n\r\n"),
            bad("a NUL in a trailer", "2\r\nok\r\n0\r\nx-evil: \0\r\n\r\n"),
            bad("a folded trailer", "2\r\nok\r\n0\r\nx-a: b\r\n evil\r\n\r\n"),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn what_never_ends_is_ended() {
    run(async || {
        let endless = |begin: &str, more: &'static str| {
            vec![write(begin), Step::Endless(Box::new(move |_| more.repeat(100).into_bytes()))]
        };
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let protocol = |name, rfc, steps| Row::new(name, rfc, steps, Is(Protocol), Never);
        let mut rows = vec![
            protocol("an endless status line", "RFC 9112 4", endless("HTTP/1.1 200 ", "evil")),
            protocol("an endless field", "RFC 9110 5.4", endless("HTTP/1.1 200 OK\r\nx-a: ", "evil")),
            protocol("an endless field name", "RFC 9110 5.4", endless("HTTP/1.1 200 OK\r\n", "evil")),
            protocol("endless fields", "RFC 9110 5.4", endless("HTTP/1.1 200 OK\r\n", "x-evil: 1\r\n")),
            protocol(
                "endless interim answers",
                "RFC 9110 15.2",
                endless("", "HTTP/1.1 102 Processing\r\n\r\n"),
            ),
            protocol(
                "an endless interim answer",
                "RFC 9110 15.2",
                endless("HTTP/1.1 103 H\r\n", "x-evil: 1\r\n"),
            ),
            protocol("endless empty lines before a head", "RFC 9112 4", endless("", "\r\n")),
        ];
        for (name, begin, more) in [
            ("an endless chunk size", "", "0"),
            ("an endless chunk extension", "2;", "evil"),
            ("endless trailers", "2\r\nok\r\n0\r\n", "x-evil: 1\r\n"),
            ("an endless trailer", "2\r\nok\r\n0\r\nx-a: ", "evil"),
        ] {
            let mut steps = endless(begin, more);
            steps.splice(0..0, [write(chunked), Head]);
            rows.push(Row::new(name, "RFC 9112 7.1", steps, Cut(200, UPE), Never));
        }
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn a_status_line_that_cannot_be_read_is_a_502() {
    run(async || {
        let line = |name, line: &str| {
            unreadable(name, "RFC 9112 4", format!("{line}\r\ncontent-length: 4\r\n\r\nevil"))
        };
        let rows = [
            line("garbage", "evil"),
            line("no status", "HTTP/1.1"),
            line("a status in letters", "HTTP/1.1 abc OK"),
            line("a status of two digits", "HTTP/1.1 99 Low"),
            line("status 000", "HTTP/1.1 000 Zero"),
            line("a status of four digits", "HTTP/1.1 1000 High"),
            line("a negative status", "HTTP/1.1 -20 Low"),
            line("no space after the status", "HTTP/1.1 200OK"),
            line("HTTP/2.0", "HTTP/2.0 200 OK"),
            line("HTTP/1.2", "HTTP/1.2 200 OK"),
            line("HTTP/0.9", "HTTP/0.9 200 OK"),
            line("http in lower case", "http/1.1 200 OK"),
            line("another protocol", "ICY 200 OK"),
            line("SSH", "SSH-2.0-OpenSSH_9.2"),
            line("a space first", " HTTP/1.1 200 OK"),
            line("a NUL in the reason", "HTTP/1.1 200 O\0K"),
            unreadable("a TLS alert", "RFC 8446 6", [0x15, 3, 1, 0, 2, 2, 0x46]),
            unreadable("HTTP/2", "RFC 9113 3.4", [0, 0, 0, 4, 0, 0, 0, 0, 0]),
            unreadable("a body without a head", "RFC 9112 4", "<html>evil</html>\r\n\r\n"),
            unreadable(
                "101 that nobody asked for",
                "RFC 9110 15.2.2",
                "HTTP/1.1 101 Switching Protocols\r\n\r\nevil",
            ),
            unreadable(
                "101 with an upgrade",
                "RFC 9110 15.2.2",
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nevil",
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn fields_that_cannot_be_read_are_a_502() {
    run(async || {
        let rows = [
            bad_field("no colon", "RFC 9112 5", "evil"),
            bad_field("a space before the colon", "RFC 9112 5.1", "x-evil : 1"),
            bad_field("an empty name", "RFC 9112 5", ": evil"),
            bad_field("a name that is no token", "RFC 9110 5.1", "x@evil: 1"),
            bad_field("a NUL in a name", "RFC 9110 5.1", "x\0evil: 1"),
            bad_field("a NUL in a value", "RFC 9110 5.5", "x-a: ev\0il"),
            bad_field("a control in a value", "RFC 9110 5.5", "x-a: \x01evil"),
            bad_field("DEL in a value", "RFC 9110 5.5", "x-a: \x7fevil"),
            bad_field("a bare CR in a value", "RFC 9112 2.2", "x-a: ev\ril"),
            bad_field("a folded line", "RFC 9112 5.2", "x-a: b\r\n evil"),
            bad_field("a folded line with a tab", "RFC 9112 5.2", "x-a: b\r\n\tevil"),
            bad_field("a space before the first field", "RFC 9112 2.2", " x-evil: 1"),
            bad_field("a field of 70 KiB", "RFC 9110 5.4", &format!("x-a: {}", "a".repeat(70 << 10))),
            bad_field("101 fields", "RFC 9110 5.4", "x-a: b\r\n".repeat(100).trim_end()),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn a_length_with_more_than_one_reading_is_a_502() {
    run(async || {
        let length = |name, fields| bad_framing(name, "RFC 9112 6.3", fields);
        let coding = |name, fields| bad_framing(name, "RFC 9112 6.1", fields);
        let rows = [
            length("an empty length", "content-length:"),
            length("a length in letters", "content-length: four"),
            length("a negative length", "content-length: -1"),
            length("a length with a plus", "content-length: +4"),
            length("a length with 0x", "content-length: 0x4"),
            length("two numbers", "content-length: 4 4"),
            length("a list of equal lengths", "content-length: 4, 4"),
            length("two equal lengths", "content-length: 4\r\ncontent-length: 4"),
            length("two different lengths", "content-length: 4\r\ncontent-length: 2"),
            length("a length beyond 64 bits", "content-length: 18446744073709551620"),
            length("a fraction", "content-length: 4.0"),
            coding("gzip", "transfer-encoding: gzip"),
            coding("gzip, chunked", "transfer-encoding: gzip, chunked"),
            coding("chunked twice", "transfer-encoding: chunked, chunked"),
            coding("chunked in two fields", "transfer-encoding: chunked\r\ntransfer-encoding: chunked"),
            coding("identity", "transfer-encoding: identity"),
            coding("chunked and identity", "transfer-encoding: chunked\r\ntransfer-encoding: identity"),
            coding("xchunked", "transfer-encoding: xchunked"),
            coding("chunked with a parameter", "transfer-encoding: chunked;q=1"),
            coding("an empty coding", "transfer-encoding:"),
            coding("a vertical tab before chunked", "transfer-encoding: \x0bchunked"),
            coding("a length and chunks", "content-length: 4\r\ntransfer-encoding: chunked"),
            coding("chunks and a length", "transfer-encoding: chunked\r\ncontent-length: 4"),
            unreadable(
                "chunks in HTTP/1.0",
                "RFC 9112 6.1",
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn what_is_odd_but_clear_passes() {
    run(async || {
        let ok = |name, rfc, bytes: &str| passes(name, rfc, bytes, Whole(200, "ok"));
        let plain = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        // With the two that are added, as many as the test's own client takes.
        let many = format!("HTTP/1.1 200 OK\r\n{}content-length: 2\r\n\r\nok", "x-a: b\r\n".repeat(97));
        let sixteen = format!("{}{plain}", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(16));
        let seventeen = format!("HTTP/1.1 103 Early Hints\r\nlink: evil\r\n\r\n{sixteen}");
        let of_status = |status: u16| format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok");
        let last = |name, rfc, bytes: &str| Row::new(name, rfc, whole(bytes), Whole(200, "ok"), Never);
        let rows = [
            ok("100 first", "RFC 9110 15.2.1", &format!("HTTP/1.1 100 Continue\r\n\r\n{plain}")),
            ok("102 first", "RFC 9110 15.2", &format!("HTTP/1.1 102 Processing\r\n\r\n{plain}")),
            ok(
                "103 with a length first",
                "RFC 9110 6.4.1",
                &format!("HTTP/1.1 103 H\r\ncontent-length: 5\r\n\r\n{plain}"),
            ),
            ok("an interim answer nobody knows", "RFC 9110 15", &format!("HTTP/1.1 199 X\r\n\r\n{plain}")),
            ok("sixteen interim answers", "RFC 9110 15.2", &sixteen),
            unreadable("seventeen interim answers", "RFC 9110 15.2", seventeen),
            ok("an empty reason", "RFC 9112 4", "HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nok"),
            ok(
                "a reason with bytes beyond ASCII",
                "RFC 9112 4",
                "HTTP/1.1 200 Öké\r\ncontent-length: 2\r\n\r\nok",
            ),
            ok("bare line feeds", "RFC 9112 2.2", "HTTP/1.1 200 OK\ncontent-length: 2\n\nok"),
            ok("ninety-eight fields", "RFC 9110 5.4", &many),
            ok(
                "bytes beyond ASCII in a value",
                "RFC 9110 5.5",
                "HTTP/1.1 200 OK\r\nx-a: é\r\ncontent-length: 2\r\n\r\nok",
            ),
            ok("an empty value", "RFC 9110 5.5", "HTTP/1.1 200 OK\r\nx-a:\r\ncontent-length: 2\r\n\r\nok"),
            ok("spaces around a length", "RFC 9110 5.5", "HTTP/1.1 200 OK\r\ncontent-length: \t2 \r\n\r\nok"),
            ok("zeros before a length", "RFC 9110 8.6", "HTTP/1.1 200 OK\r\ncontent-length: 0002\r\n\r\nok"),
            ok(
                "chunks",
                "RFC 9112 7.1",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
            ),
            ok(
                "Chunked",
                "RFC 9112 7",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: ChuNKed\r\n\r\n02\r\nok\r\n00\r\n\r\n",
            ),
            ok(
                "chunk extensions and trailers",
                "RFC 9112 7.1.1",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a=b;c=\"d\"\r\nok\r\n0;e\r\nx-sum: 1\r\n\r\n",
            ),
            passes("600", "RFC 9110 15", of_status(600), Whole(600, "ok")),
            passes("999", "RFC 9110 15", of_status(999), Whole(999, "ok")),
            last("HTTP/1.0", "RFC 9112 9.3", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            Row::new(
                "HTTP/1.0 that stays",
                "RFC 9112 9.3",
                whole("HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok"),
                Whole(200, "ok"),
                May,
            ),
            last(
                "a length and close",
                "RFC 9112 9.6",
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            ),
            last(
                "Close among others",
                "RFC 9112 9.6",
                "HTTP/1.1 200 OK\r\nconnection: x, Close\r\ncontent-length: 2\r\n\r\nok",
            ),
            Row::new(
                "a body that ends with the connection",
                "RFC 9112 6.3",
                pieces("", "ok", Fin),
                Whole(200, "ok"),
                Never,
            ),
            Row::new(
                "the same in HTTP/1.0",
                "RFC 9112 6.3",
                then("HTTP/1.0 200 OK\r\n\r\nok", Fin),
                Whole(200, "ok"),
                Never,
            ),
            Row::new(
                "an empty one",
                "RFC 9112 6.3",
                then("HTTP/1.1 200 OK\r\n\r\n", Fin),
                Whole(200, ""),
                Never,
            ),
            Row::new("byte by byte", "RFC 9112 2", vec![Step::Slowly(plain.into())], Whole(200, "ok"), Must),
            Row::new(
                "chunks byte by byte",
                "RFC 9112 7.1",
                vec![Step::Slowly(
                    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\nx-sum: 1\r\n\r\n"
                        .into(),
                )],
                Whole(200, "ok"),
                Must,
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn bytes_behind_an_answer_poison_its_connection() {
    run(async || {
        const EVIL: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil";
        let poison = |name, rfc, answer: &str, outcome| {
            Row::new(name, rfc, whole(format!("{answer}{EVIL}")), outcome, Never)
        };
        let late = |name, answer: &str, late: &str| {
            // Written when the caller has the head, and so before its next request.
            Row::new(name, "RFC 9112 9.3", vec![write(answer), Head, write(late)], Whole(200, "ok"), Never)
        };
        let length = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        let rows = [
            poison("after a length", "RFC 9112 6.3", length, Whole(200, "ok")),
            poison("after chunks", "RFC 9112 7.1", chunked, Whole(200, "ok")),
            poison(
                "after an empty body",
                "RFC 9112 6.3",
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Whole(200, ""),
            ),
            poison("after 204", "RFC 9110 15.3.5", "HTTP/1.1 204 No Content\r\n\r\n", Whole(204, "")),
            poison("after 304", "RFC 9110 15.4.5", "HTTP/1.1 304 Not Modified\r\n\r\n", Whole(304, "")),
            Row::new("one byte", "RFC 9112 6.3", whole(format!("{length}e")), Whole(200, "ok"), Never),
            Row::new(
                "an empty line",
                "RFC 9112 6.3",
                whole(format!("{length}\r\n")),
                Whole(200, "ok"),
                Never,
            ),
            Row::new(
                "204 with a body",
                "RFC 9110 15.3.5",
                whole("HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil"),
                Whole(204, ""),
                Never,
            ),
            Row::new(
                "204 with chunks",
                "RFC 9110 15.3.5",
                whole("HTTP/1.1 204 No Content\r\ntransfer-encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
                Whole(204, ""),
                Never,
            ),
            Row::new(
                "304 with a body",
                "RFC 9110 15.4.5",
                whole("HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\nevil"),
                Whole(304, ""),
                Never,
            ),
            passes(
                "304 with the length that 200 would have",
                "RFC 9110 8.6",
                "HTTP/1.1 304 Not Modified\r\ncontent-length: 4\r\n\r\n",
                Whole(304, ""),
            ),
            passes("the head alone for HEAD", "RFC 9110 9.3.2", head, Whole(200, "")).by(Method::HEAD),
            Row::new(
                "a body for HEAD",
                "RFC 9110 9.3.2",
                whole(format!("{head}evil")),
                Whole(200, ""),
                Never,
            )
            .by(Method::HEAD),
            Row::new("chunks for HEAD", "RFC 9110 9.3.2", whole(chunked), Whole(200, ""), Never)
                .by(Method::HEAD),
            late("another answer, later", length, EVIL),
            late(
                "408, later",
                length,
                "HTTP/1.1 408 Request Timeout\r\ncontent-length: 4\r\nconnection: close\r\n\r\nevil",
            ),
            Row::new("the end, at once", "RFC 9112 9.6", then(length, Fin), Whole(200, "ok"), Never),
            Row::new(
                "a reset, later",
                "RFC 9112 9.6",
                vec![write(length), Head, Rst],
                Whole(200, "ok"),
                Never,
            ),
        ];
        battery(&[], "").await.run(&rows).await;
    });
}

#[test]
fn an_upstream_that_stalls_is_given_up_when_the_time_of_the_request_is_up() {
    run(async || {
        let slow = |begin: &str| vec![write(begin), Step::Slowly(vec![b'a'; 4_000])];
        let stalls =
            |name, steps, outcome, reuse: Reuse| Row::new(name, "docs/limits.md", steps, outcome, reuse);
        let ut: &[&str] = &["UT"];
        let rows = [
            stalls("says nothing", vec![Hold], Is(Timeout), Never),
            stalls("stalls in the status line", then("HTTP/1.1 2", Hold), Is(Timeout), Never),
            stalls("stalls in a field", then("HTTP/1.1 200 OK\r\nx-a: ", Hold), Is(Timeout), Never),
            stalls("stalls after 100", then("HTTP/1.1 100 Continue\r\n\r\n", Hold), Is(Timeout), Never),
            stalls("a field byte by byte", slow("HTTP/1.1 200 OK\r\nx-a: "), Is(Timeout), Never),
            stalls("stalls in a body", pieces("content-length: 10\r\n", "01234", Hold), Cut(200, ut), Never),
            stalls(
                "stalls in a chunk",
                pieces("transfer-encoding: chunked\r\n", "5\r\n01", Hold),
                Cut(200, ut),
                Never,
            ),
            stalls("stalls before its end", pieces("", "01234", Hold), Cut(200, ut), Never),
            stalls(
                "a body byte by byte",
                slow("HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n"),
                Cut(200, ut),
                Never,
            ),
        ];
        battery(&["timeout: 300ms"], "").await.run(&rows).await;
    });
}

#[test]
fn an_upstream_that_moves_no_byte_for_too_long_is_given_up() {
    run(async || {
        let stalls = |name, steps, outcome| Row::new(name, "docs/limits.md", steps, outcome, Never);
        let si: &[&str] = &["SI"];
        let rows = [
            stalls("says nothing", vec![Hold], Is(Idle)),
            stalls("stalls in the head", then("HTTP/1.1 200 OK\r\nx-a: ", Hold), Is(Idle)),
            stalls("stalls in a body", pieces("content-length: 10\r\n", "01234", Hold), Cut(200, si)),
            stalls(
                "stalls in a chunk",
                pieces("transfer-encoding: chunked\r\n", "5\r\n01", Hold),
                Cut(200, si),
            ),
        ];
        battery(&[], "limits: {stream_idle: 300ms}").await.run(&rows).await;
    });
}
