//! Frames that a caller sends without end.
//!
//! Law: each row says what becomes of its connection; that nobody else is harmed holds for all.

use super::common::frames::{
    code, continuation, data, flag, frame, get, head, headers, kind, literal, open, ping, priority, reset,
    setting, settings, whole, window_update,
};

/// What becomes of a connection that is flooded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It is ended, by a GOAWAY that says why.
    IsTold,
    /// It is held up at most.
    GoesOn,
}

type Piece = fn(u32) -> Vec<u8>;

/// A name, what becomes of the connection, and what is poured in each round.
pub(crate) type Row = (&'static str, Ends, Piece);

/// `count` times the same bytes.
fn times(count: usize, bytes: &[u8]) -> Vec<u8> {
    bytes.repeat(count)
}

/// The frames of the streams that belong to a round of 50.
fn each(round: u32, mut frames: impl FnMut(u32) -> Vec<u8>) -> Vec<u8> {
    (0..50).flat_map(|n| frames((round * 50 + n) * 2 + 1)).collect()
}

/// Frames without end.
pub(crate) const POURED: [Row; 19] = [
    ("rapid reset (CVE-2023-44487)", Ends::IsTold, |round| {
        each(round, |id| [whole(id, &get("/held")), reset(id, code::CANCEL)].concat())
    }),
    ("MadeYouReset (CVE-2025-8671), by windows", Ends::IsTold, |round| {
        each(round, |id| [whole(id, &get("/held")), window_update(id, (1 << 31) - 1)].concat())
    }),
    ("MadeYouReset, by lengths", Ends::IsTold, |round| {
        each(round, |id| {
            [open(id, &head("POST", "/held", &[("content-length", "1")])), data(id, 0, b"ab")].concat()
        })
    }),
    ("MadeYouReset, by dependencies", Ends::IsTold, |round| {
        each(round, |id| [whole(id, &get("/held")), priority(id, id)].concat())
    }),
    ("malformed heads", Ends::IsTold, |round| {
        each(round, |id| whole(id, &head("GET", "/", &[("connection", "close")])))
    }),
    ("empty heads", Ends::IsTold, |round| each(round, |id| whole(id, &[]))),
    ("empty CONTINUATION", Ends::IsTold, |round| {
        let first = if round == 0 { headers(1, flag::END_STREAM, &get("/")) } else { Vec::new() };
        [first, times(500, &continuation(1, 0, &[]))].concat()
    }),
    ("large CONTINUATION", Ends::IsTold, |round| {
        let first = if round == 0 { headers(1, flag::END_STREAM, &get("/")) } else { Vec::new() };
        [first, continuation(1, 0, &literal(b"x-a", vec![b'a'; 16_000]))].concat()
    }),
    ("PING", Ends::GoesOn, |_| times(1_000, &ping(*b"01234567"))),
    ("SETTINGS", Ends::GoesOn, |_| times(1_000, &settings(&[(setting::INITIAL_WINDOW_SIZE, 1_000)]))),
    ("empty SETTINGS", Ends::GoesOn, |_| times(1_000, &settings(&[]))),
    ("PRIORITY", Ends::GoesOn, |round| {
        (0..1_000).flat_map(|n| priority((round * 1_000 + n) % 100_000 * 2 + 1, 0)).collect()
    }),
    ("WINDOW_UPDATE", Ends::GoesOn, |_| times(1_000, &window_update(0, 1))),
    ("unknown frames", Ends::GoesOn, |_| times(1_000, &frame(0xbe, 0xff, 1, b"anything"))),
    ("empty DATA", Ends::IsTold, |round| {
        let first = if round == 0 { open(1, &head("POST", "/", &[])) } else { Vec::new() };
        [first, times(1_000, &data(1, 0, b""))].concat()
    }),
    ("DATA of one byte", Ends::IsTold, |round| {
        let first = if round == 0 { open(1, &head("POST", "/", &[])) } else { Vec::new() };
        [first, times(1_000, &data(1, 0, b"x"))].concat()
    }),
    ("DATA of padding", Ends::IsTold, |round| {
        let first = if round == 0 { open(1, &head("POST", "/held", &[])) } else { Vec::new() };
        let padding = frame(kind::DATA, flag::PADDED, 1, &[&[255_u8][..], &[0; 255]].concat());
        [first, times(100, &padding)].concat()
    }),
    ("streams beyond the limit", Ends::GoesOn, |round| {
        each(round, |id| open(id, &head("POST", "/held", &[])))
    }),
    ("windows that change", Ends::GoesOn, |round| {
        let first = if round == 0 {
            (0..50).flat_map(|n| whole(2 * n + 1, &get("/large"))).collect()
        } else {
            Vec::new()
        };
        let change = [0, 65_535, 1, 1 << 20].map(|size| settings(&[(setting::INITIAL_WINDOW_SIZE, size)]));
        [first, times(50, &change.concat())].concat()
    }),
];

/// HTTP/1 without end: how it begins, what follows in each piece, and whether the caller reads what is answered.
pub(crate) const POURED_HTTP1: [(&str, &str, &str, bool); 5] = [
    ("pipelined requests", "", "GET / HTTP/1.1\r\nhost: m\r\n\r\n", true),
    ("pipelined requests whose answers are not read", "", "GET / HTTP/1.1\r\nhost: m\r\n\r\n", false),
    (
        "chunks of one byte",
        "POST /sink HTTP/1.1\r\nhost: m\r\ntransfer-encoding: chunked\r\n\r\n",
        "1\r\nx\r\n",
        true,
    ),
    ("empty lines", "", "\r\n", true),
    ("heads that are no heads", "", "\0", true),
];
