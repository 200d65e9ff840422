//! Chunked requests, byte for byte: sizes, extensions, ends and trailers.
//!
//! Laws: a body that cannot be read is answered with 400 and cut upstream, never ended there; what is forwarded is
//! framed anew. Source: RFC 9112 sections 7.1 to 7.1.2; RFC 9110 section 6.5; `docs/wire.md`, `docs/limits.md`.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::caller::Delivery;
use common::wire::table::{Case, End, passes, prove, refused, want};

const CHUNK: &str = "RFC 9112 section 7.1";
const EXTENSION: &str = "RFC 9112 section 7.1.1";
const TRAILER: &str = "RFC 9112 section 7.1.2";
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    [b"POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n", body.as_ref()].concat()
}

fn fine(name: &str, law: &'static str, body: &str, read: &str) -> Case {
    passes(name, law, chunked(body), want("POST", "/a").chunks(read))
}

#[test]
fn a_chunks_size_is_1_to_16_hexadecimal_digits() {
    prove(&[
        fine("one digit", CHUNK, "2\r\nab\r\n0\r\n\r\n", "ab"),
        fine("lower case", CHUNK, "a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        fine("upper case", CHUNK, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        fine("leading zeros", CHUNK, "002\r\nab\r\n000\r\n\r\n", "ab"),
        fine("16 digits", CHUNK, "0000000000000002\r\nab\r\n0000000000000000\r\n\r\n", "ab"),
        fine("many chunks", CHUNK, "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n0\r\n\r\n", "abcd"),
        fine("data that reads like chunks", CHUNK, "c\r\n0\r\n\r\nGET / H\r\n0\r\n\r\n", "0\r\n\r\nGET / H"),
        passes("nothing but the end", CHUNK, chunked("0\r\n\r\n"), want("POST", "/a")),
    ]);
    let bad = [
        ("no digit", "\r\nab\r\n0\r\n\r\n"),
        ("17 digits", "00000000000000002\r\nab\r\n0\r\n\r\n"),
        ("a size beyond 64 bits", "10000000000000002\r\nab\r\n0\r\n\r\n"),
        ("17 digits of f", "fffffffffffffffff\r\nab\r\n0\r\n\r\n"),
        ("0x", "0x2\r\nab\r\n0\r\n\r\n"),
        ("a plus", "+2\r\nab\r\n0\r\n\r\n"),
        ("a minus", "-2\r\nab\r\n0\r\n\r\n"),
        ("a letter that is no digit", "g\r\nab\r\n0\r\n\r\n"),
        ("a letter behind", "2g\r\nab\r\n0\r\n\r\n"),
        ("h behind", "2h\r\nab\r\n0\r\n\r\n"),
        ("a space before", " 2\r\nab\r\n0\r\n\r\n"),
        ("a tab before", "\t2\r\nab\r\n0\r\n\r\n"),
        ("a space behind", "2 \r\nab\r\n0\r\n\r\n"),
        ("a tab behind", "2\t\r\nab\r\n0\r\n\r\n"),
        ("a space between digits", "0 2\r\nab\r\n0\r\n\r\n"),
        ("an underscore", "0_2\r\nab\r\n0\r\n\r\n"),
        ("a fraction", "2.0\r\nab\r\n0\r\n\r\n"),
        ("a comma", "2,2\r\nab\r\n0\r\n\r\n"),
        ("NUL", "2\0\r\nab\r\n0\r\n\r\n"),
        ("a vertical tab", "2\x0b\r\nab\r\n0\r\n\r\n"),
        ("an empty line before", "\r\n2\r\nab\r\n0\r\n\r\n"),
    ];
    let mut cases: Vec<Case> = bad
        .iter()
        .map(|(name, body)| refused(name, CHUNK, [chunked(body), SMUGGLED.into()].concat()).late())
        .collect();
    let more = bad.iter().map(|(name, body)| {
        let body = format!("3\r\nxyz\r\n{body}{SMUGGLED}");
        refused(&format!("{name}, in a later chunk"), CHUNK, chunked(body)).late()
    });
    cases.extend(more);
    cases.push(refused("byte 0xb2", CHUNK, chunked(b"\xb2\r\nab\r\n0\r\n\r\n")).late());
    prove(&cases);
}

#[test]
fn a_chunks_lines_end_with_cr_lf_exactly() {
    let bad = [
        ("bare LF behind the size", "2\nab\r\n0\r\n\r\n"),
        ("bare CR behind the size", "2\rab\r\n0\r\n\r\n"),
        ("LF CR behind the size", "2\n\rab\r\n0\r\n\r\n"),
        ("CR CR LF behind the size", "2\r\r\nab\r\n0\r\n\r\n"),
        ("bare LF behind the data", "2\r\nab\n0\r\n\r\n"),
        ("bare CR behind the data", "2\r\nab\r0\r\n\r\n"),
        ("nothing behind the data", "2\r\nab0\r\n\r\n"),
        ("two letters behind the data", "2\r\nabXX0\r\n\r\n"),
        ("a byte too many", "2\r\nabc\r\n0\r\n\r\n"),
        ("a byte too few", "2\r\na\r\n0\r\n\r\n"),
        ("a space behind the data", "2\r\nab \r\n0\r\n\r\n"),
        ("two line ends behind the data", "2\r\nab\r\n\r\n0\r\n\r\n"),
        ("bare LF behind the last size", "2\r\nab\r\n0\n\r\n"),
        ("bare CR behind the last size", "2\r\nab\r\n0\r\r\n"),
        ("bare LF as the end", "2\r\nab\r\n0\r\n\n"),
        ("bare CR as the end", "2\r\nab\r\n0\r\n\rGET"),
        ("a space behind the last size", "2\r\nab\r\n0 \r\n\r\n"),
        ("bare LF behind an extension", "2;a=b\nab\r\n0\r\n\r\n"),
        ("bare CR inside an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"),
    ];
    let cases: Vec<Case> = bad
        .iter()
        .map(|(name, body)| refused(name, CHUNK, [chunked(body), SMUGGLED.into()].concat()).late())
        .collect();
    prove(&cases);
}

#[test]
fn extensions_are_dropped_and_bounded() {
    let long = |count: usize| format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(count));
    let many = |count: usize| format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "e".repeat(100)).repeat(count));
    let mut cases = vec![
        fine("a name", EXTENSION, "2;a\r\nab\r\n0\r\n\r\n", "ab"),
        fine("a name and a value", EXTENSION, "2;a=b\r\nab\r\n0;c=d\r\n\r\n", "ab"),
        fine("a string", EXTENSION, "2;a=\"b c\"\r\nab\r\n0\r\n\r\n", "ab"),
        fine("nothing behind the semicolon", EXTENSION, "2;\r\nab\r\n0\r\n\r\n", "ab"),
        fine("several, with spaces", EXTENSION, "2; a = b ; c\r\nab\r\n0\r\n\r\n", "ab"),
        fine("tabs", EXTENSION, "2;\ta\r\nab\r\n0\r\n\r\n", "ab"),
        fine("15,000 letters", EXTENSION, &long(15_000), "ab"),
        fine("15,000 letters in 150 chunks", EXTENSION, &many(150), &"a".repeat(150)),
        refused("17,000 letters", EXTENSION, chunked(long(17_000))).late(),
        refused("17,000 letters in 170 chunks", EXTENSION, chunked(many(170))).late(),
        refused("200,000 letters", EXTENSION, chunked(long(200_000))).late(),
        passes(
            "obs-text",
            EXTENSION,
            chunked(b"2;a=\xe9\r\nab\r\n0\r\n\r\n"),
            want("POST", "/a").chunks("ab"),
        ),
    ];
    for byte in [0, 1, 0x0b, 0x0c, 0x1b, 0x7f] {
        let bytes = chunked([b"2;a".as_slice(), &[byte], b"b\r\nab\r\n0\r\n\r\n"].concat());
        cases.push(refused(&format!("byte {byte:#04x}"), EXTENSION, bytes).late());
    }
    prove(&cases);
}

#[test]
fn trailers_pass_and_never_reach_the_head() {
    let rest = |trailers: &str| format!("2\r\nab\r\n0\r\n{trailers}\r\n");
    let base = || want("POST", "/a").chunks("ab");
    prove(&[
        passes("one", TRAILER, chunked(rest("x-a: 1\r\n")), base().trailer("x-a", "1").lacks(&["x-a"])),
        passes(
            "announced",
            TRAILER,
            [
                "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntrailer: x-a\r\n\r\n",
                &rest("x-a: 1\r\n"),
            ]
            .concat(),
            base().trailer("x-a", "1").lacks(&["x-a"]).has("trailer", "x-a"),
        ),
        passes(
            "two of one name",
            TRAILER,
            chunked(rest("x-a: 1\r\nx-a: 2\r\n")),
            base().trailer("x-a", "1").trailer("x-a", "2"),
        ),
        passes(
            "in upper case with spaces",
            TRAILER,
            chunked(rest("X-A: \t1 \r\n")),
            base().trailer("x-a", "1"),
        ),
        passes(
            "one that the head has",
            TRAILER,
            [
                "POST /a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\nx-a: head\r\n\r\n",
                &rest("x-a: tail\r\n"),
            ]
            .concat(),
            base().has("x-a", "head").trailer("x-a", "tail"),
        ),
        passes(
            "framing, routing and secrets",
            "RFC 9110 section 6.5.1",
            chunked(rest(
                "content-length: 7\r\ntransfer-encoding: chunked\r\nhost: y\r\nconnection: close\r\nte: trailers\r\n\
                trailer: a\r\nauthorization: Basic a\r\ncontent-encoding: gzip\r\ncontent-type: a/b\r\nset-cookie: a=b\r\nx-a: 1\r\n",
            )),
            base().trailer("x-a", "1").lacks(&[
                "authorization",
                "content-encoding",
                "content-type",
                "set-cookie",
            ]),
        ),
        passes(
            "a hop that is none",
            "docs/wire.md, Headers",
            chunked(rest("x-weir-hop: 1;y\r\nx-a: 1\r\n")),
            base().trailer("x-a", "1"),
        ),
        passes(
            "none, and a request behind",
            CHUNK,
            chunked(format!("{}GET /b HTTP/1.1\r\nhost: x\r\n\r\n", rest(""))),
            [base(), want("GET", "/b")],
        ),
        passes(
            "one, and a request behind",
            TRAILER,
            chunked(format!("{}GET /b HTTP/1.1\r\nhost: x\r\n\r\n", rest("x-a: 1\r\n"))),
            [base().trailer("x-a", "1"), want("GET", "/b").lacks(&["x-a"])],
        ),
    ]);
}

#[test]
fn trailers_have_the_syntax_of_fields() {
    let bad = [
        ("no colon", "x-a\r\n"),
        ("an empty name", ": 1\r\n"),
        ("a space before the colon", "x-a : 1\r\n"),
        ("a space in the name", "x a: 1\r\n"),
        ("a space before the name", " x-a: 1\r\n"),
        ("folded", "x-a: 1\r\n 2\r\n"),
        ("bare LF behind", "x-a: 1\nx-b: 2\r\n"),
        ("bare CR inside", "x-a: 1\r2\r\n"),
        ("NUL inside", "x-a: 1\0 2\r\n"),
        ("a control inside", "x-a: 1\x012\r\n"),
        ("a request line", "GET / HTTP/1.1\r\n"),
        ("a pseudo-header", ":path: /b\r\n"),
        ("UTF-8 in the name", "ä: 1\r\n"),
    ];
    let cases: Vec<Case> = bad
        .iter()
        .map(|(name, trailers)| {
            refused(name, TRAILER, chunked(format!("2\r\nab\r\n0\r\n{trailers}\r\n{SMUGGLED}"))).late()
        })
        .collect();
    prove(&cases);
}

#[test]
fn trailers_are_bounded_as_a_head_is() {
    let law = "docs/limits.md, head_bytes and head_count";
    let body = "Request Header Fields Too Large";
    let over = |details| End::Replies { status: 431, body, flag: "DPE", details, keeps: false };
    let many = |count: usize| {
        let trailers: String = (0..count).map(|number| format!("x-{number}: 1\r\n")).collect();
        chunked(format!("2\r\nab\r\n0\r\n{trailers}\r\n"))
    };
    let long = |count: usize| chunked(format!("2\r\nab\r\n0\r\nx-a: {}\r\n\r\n", "a".repeat(count)));
    let hundred = (0..100)
        .fold(want("POST", "/a").chunks("ab"), |want, number| want.trailer(&format!("x-{number}"), "1"));
    prove(&[
        passes("100 of them", law, many(100), hundred),
        passes("101 of them", law, many(101), []).late().then(over("http1.too_many_headers")),
        passes("10,000 of them", law, many(10_000), []).late().then(over("")),
        passes(
            "30,000 bytes",
            law,
            long(30_000),
            want("POST", "/a").chunks("ab").trailer("x-a", &"a".repeat(30_000)),
        ),
        passes("70,000 bytes", law, long(70_000), []).late().then(over("http1.headers_too_large")),
        passes("500,000 bytes", law, long(500_000), []).late().then(over("http1.headers_too_large")),
    ]);
}

#[test]
fn a_bad_chunk_is_found_wherever_the_message_is_split() {
    let body = "2\r\nab\r\n3;a=b\r\nabcd\r\n0\r\n\r\n";
    let start = chunked("").len();
    let mut cases = vec![refused("byte by byte", CHUNK, chunked(body)).late().delivered(Delivery::EachByte)];
    // Behind the fault nothing needs to be read.
    for at in start..start + 20 {
        cases.push(
            refused(&format!("at byte {at}"), CHUNK, chunked(body)).late().delivered(Delivery::SplitAt(at)),
        );
    }
    prove(&cases);
}
