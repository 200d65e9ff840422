//! Upstreams that answer, or go, before they have read the request: what they said reaches the caller, and what was
//! not read never becomes another request.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}
mod wire_upstream;

use std::rc::Rc;

use common::world::run;
use wire_upstream::battery::Ours::{Closed, Protocol, Refused, Reset};
use wire_upstream::battery::Outcome::{Cut, Ours as Is, Whole};
use wire_upstream::battery::Reuse::{May, Must, Never};
use wire_upstream::battery::Step::{Begun, Fin, Head, Hold, Rst};
use wire_upstream::battery::Upload::{Large, Open};
use wire_upstream::battery::{Battery, Book, Outcome, Reuse, Row, Step, frames, write};
use wire_upstream::http2_server::{data, goaway, headers, ok, rst, window_update};
use wire_upstream::{http1_server, http2_server};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const HIGHEST: u32 = (1 << 31) - 1;

#[test]
fn an_http1_answer_before_the_end_of_the_request_is_passed_on_and_its_connection_is_not_used_again() {
    const NO: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno";
    const CLOSE: &str = "HTTP/1.1 413 Content Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno";
    const CHUNKS: &str =
        "HTTP/1.1 413 Content Too Large\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n";
    const TEN: &str = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 10\r\n\r\n01234";
    const GONE: &str = "HTTP/1.1 413 Content Too Large\r\n\r\nno";
    run(async || {
        let no = Whole(413, "no");
        let uc: &[&str] = &["UC"];
        let mut rows = Vec::new();
        for upload in [Open, Large] {
            let mut row = |name, steps: Vec<Step>, outcome: Outcome| {
                rows.push(Row::new(name, "RFC 9112 9.5", steps, outcome, Never).uploading(upload));
            };
            row("413, then reads on", vec![write(NO), Hold], no);
            row("413 in chunks, then reads on", vec![write(CHUNKS), Hold], no);
            row("413 and close, then reads on", vec![write(CLOSE), Hold], no);
            row("413, then closes", vec![write(NO), Fin], no);
            row("413 and close, then closes", vec![write(CLOSE), Fin], no);
            row("413, then resets", vec![write(NO), Rst], no);
            row("413 after 100", vec![write(format!("HTTP/1.1 100 Continue\r\n\r\n{NO}")), Hold], no);
            row("closes", vec![Fin], Is(Closed));
            row("resets", vec![Rst], Is(Closed));
            row("half a head, then resets", vec![write(&NO[..30]), Rst], Is(Closed));
            row("garbage", vec![write("evil\r\n\r\n"), Hold], Is(Protocol));
            row("half a body, then closes", vec![write(TEN), Head, Fin], Cut(413, uc));
            row("half a body, then resets", vec![write(TEN), Head, Rst], Cut(413, uc));
        }
        // Where the end of the connection is the end of the answer, it must come in order.
        let steps = vec![Begun, write(GONE), Fin];
        rows.push(Row::new("413 until it closes", "RFC 9112 6.3", steps, no, Never).uploading(Open));
        let book = Rc::<Book>::default();
        let upstream = http1_server::serve(book.clone()).await;
        let next = write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
        Battery::start(&["protocol: http1"], "", upstream, book, next).await.run(&rows).await;
    });
}

#[test]
fn an_http2_answer_before_the_end_of_the_request_is_passed_on() {
    fn no(id: u32) -> Vec<u8> {
        [headers(id, &[(":status", "413")], false), data(id, "no", true)].concat()
    }
    run(async || {
        let (passed, ur, uc): (_, &[&str], &[&str]) = (Whole(413, "no"), &["UR"], &["UC"]);
        let mut rows = Vec::new();
        for upload in [Open, Large] {
            let mut row = |name, steps: Vec<Step>, outcome: Outcome, reuse: Reuse, attempts| {
                let row = Row::new(name, "RFC 9113 8.1", steps, outcome, reuse).uploading(upload);
                rows.push(row.attempts(attempts));
            };
            row(
                "413, then NO_ERROR",
                vec![frames(|id| [no(id), rst(id, NO_ERROR)].concat())],
                passed,
                Must,
                1,
            );
            row(
                "413, NO_ERROR later",
                vec![frames(no), Head, frames(|id| rst(id, NO_ERROR))],
                passed,
                May,
                1,
            );
            row("413, then CANCEL", vec![frames(no), Head, frames(|id| rst(id, CANCEL))], passed, May, 1);
            row("413 and no more", vec![frames(no)], passed, May, 1);
            row(
                "413, then GOAWAY",
                vec![frames(|id| [no(id), goaway(id, NO_ERROR)].concat()), Hold],
                passed,
                Never,
                1,
            );
            row("413, then closes", vec![frames(no), Head, Fin], passed, Never, 1);
            let partly = || vec![frames(ok), Head, frames(|id| rst(id, NO_ERROR))];
            row("half an answer, then NO_ERROR", partly(), Cut(200, ur), Must, 1);
            row("half an answer, then closes", vec![frames(ok), Head, Fin], Cut(200, uc), Never, 1);
            row("NO_ERROR without an answer", vec![frames(|id| rst(id, NO_ERROR))], Is(Reset), Must, 1);
            row("CANCEL", vec![frames(|id| rst(id, CANCEL))], Is(Reset), Must, 1);
            row("closes", vec![Fin], Is(Closed), Never, 1);
            row("resets", vec![Rst], Is(Closed), Never, 1);
            let window = |by| vec![frames(move |id| window_update(id, by).repeat(2))];
            row("a stream window's overflow", window(HIGHEST), Is(Protocol), May, 1);
            row("a stream window by 0", window(0), Is(Protocol), May, 1);
        }
        let refused = vec![frames(|id| rst(id, REFUSED_STREAM))];
        let refused = Row::new("REFUSED_STREAM", "RFC 9113 8.7", refused, Is(Refused), Must);
        rows.push(refused.uploading(Open).attempts(2));
        let book = Rc::<Book>::default();
        let upstream = http2_server::serve(book.clone()).await;
        let next = frames(|id| [ok(id), data(id, "next", true)].concat());
        let rest = "limits: {upstream_idle: {http2: 3s}}";
        Battery::start(&["protocol: http2"], rest, upstream, book, next).await.run(&rows).await;
    });
}
