//! HTTP/1 request lines and line ends, byte for byte: one reading or a refusal.
//!
//! Source: RFC 9112 sections 2.2, 2.3, 3 and 3.2; `docs/wire.md`.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::caller::Delivery;
use common::wire::table::{Case, End, passes, prove, refused, too_large, want};

const SECTION_2_2: &str = "RFC 9112 section 2.2";
const SECTION_3: &str = "RFC 9112 section 3";
const SECTION_3_2: &str = "RFC 9112 section 3.2";
const METHODS: &str = "RFC 9110 section 9.1";

/// A request line with a head behind it that is right.
fn line(line: &str) -> Vec<u8> {
    [line.as_bytes(), b"\r\nhost: x\r\n\r\n"].concat()
}

#[test]
fn a_request_line_has_one_space_twice_and_a_version_that_is_known() {
    let bad = [
        ("two spaces behind the method", "GET  / HTTP/1.1"),
        ("two spaces before the version", "GET /  HTTP/1.1"),
        ("a tab behind the method", "GET\t/ HTTP/1.1"),
        ("a tab before the version", "GET /\tHTTP/1.1"),
        ("a space before the method", " GET / HTTP/1.1"),
        ("a space behind the version", "GET / HTTP/1.1 "),
        ("a tab behind the version", "GET / HTTP/1.1\t"),
        ("a word behind the version", "GET / HTTP/1.1 x"),
        ("a space in the target", "GET /a b HTTP/1.1"),
        ("no target", "GET HTTP/1.1"),
        ("an empty target", "GET  HTTP/1.1"),
        ("no version, as HTTP/0.9", "GET /"),
        ("a method alone", "GET"),
        ("HTTP/0.9 by name", "GET / HTTP/0.9"),
        ("HTTP/1.2", "GET / HTTP/1.2"),
        ("HTTP/1.10", "GET / HTTP/1.10"),
        ("HTTP/01.1", "GET / HTTP/01.1"),
        ("HTTP/1.", "GET / HTTP/1."),
        ("HTTP/1", "GET / HTTP/1"),
        ("HTTP/2", "GET / HTTP/2"),
        ("HTTP/2.0", "GET / HTTP/2.0"),
        ("HTTP/3.0", "GET / HTTP/3.0"),
        ("a version in lower case", "GET / http/1.1"),
        ("a version in mixed case", "GET / Http/1.1"),
        ("another protocol", "GET / ICAP/1.0"),
        ("a version without its slash", "GET / HTTP1.1"),
        ("a negative version", "GET / HTTP/-1.1"),
        ("a comma in the version", "GET / HTTP/1,1"),
        ("a vertical tab behind the method", "GET\x0b/ HTTP/1.1"),
        ("a form feed before the version", "GET /\x0cHTTP/1.1"),
    ];
    let cases: Vec<Case> = bad.iter().map(|(name, text)| refused(name, SECTION_3, line(text))).collect();
    prove(&cases);
}

#[test]
fn a_method_is_any_token_in_its_own_case() {
    let mut cases: Vec<Case> =
        ["get", "Get", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "X", "A!#$%&'*+-.^_`|~9", "PRIZE"]
            .iter()
            .map(|method| passes(method, METHODS, line(&format!("{method} / HTTP/1.1")), want(method, "/")))
            .collect();
    let long = "A".repeat(200);
    cases.push(passes("200 letters", METHODS, line(&format!("{long} / HTTP/1.1")), want(&long, "/")));
    for method in
        ["G(T", "G:T", "G/T", "G\"T", "G,T", "G;T", "G=T", "G[T", "G{T", "G@T", "G\0T", "G\x7fT", "G\x01T"]
    {
        cases.push(refused(&format!("{method:?}"), METHODS, line(&format!("{method} / HTTP/1.1"))));
    }
    cases.push(refused("a letter outside ASCII", METHODS, b"G\xc9T / HTTP/1.1\r\nhost: x\r\n\r\n"));
    prove(&cases);
}

#[test]
fn a_target_is_visible_ascii() {
    let mut cases = Vec::new();
    for byte in [0, 1, 7, 9, 0x0b, 0x0c, 0x1b, 0x1f, 0x7f, 0x80, 0xa0, 0xc3, 0xff] {
        let bytes = [b"GET /a".as_slice(), &[byte], b"b HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
        cases.push(refused(&format!("byte {byte:#04x} in the path"), SECTION_3_2, bytes));
        let bytes = [b"GET /a?b".as_slice(), &[byte], b"c HTTP/1.1\r\nhost: x\r\n\r\n"].concat();
        cases.push(refused(&format!("byte {byte:#04x} in the query"), SECTION_3_2, bytes));
    }
    cases.push(refused("UTF-8 in the path", SECTION_3_2, "GET /ä HTTP/1.1\r\nhost: x\r\n\r\n"));
    cases.push(refused("UTF-8 in the query", SECTION_3_2, "GET /?ä HTTP/1.1\r\nhost: x\r\n\r\n"));
    let long = format!("/{}", "a".repeat(30_000));
    cases.push(passes(
        "30,000 letters",
        SECTION_3_2,
        line(&format!("GET {long} HTTP/1.1")),
        want("GET", &long),
    ));
    prove(&cases);
}

#[test]
fn a_line_ends_with_cr_lf_and_with_nothing_else() {
    prove(&[
        refused("bare LF behind the request line", SECTION_2_2, "GET / HTTP/1.1\nhost: x\r\n\r\n"),
        refused("bare LF behind a field", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\nx-a: 1\r\n\r\n"),
        refused("bare LF everywhere", SECTION_2_2, "GET / HTTP/1.1\nhost: x\n\n"),
        refused("bare LF as the empty line", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\n\n"),
        refused("LF CR", SECTION_2_2, "GET / HTTP/1.1\n\rhost: x\n\r\n\r"),
        refused("bare CR behind the request line", SECTION_2_2, "GET / HTTP/1.1\rhost: x\r\n\r\n"),
        refused("bare CR behind a field", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\rx-a: 1\r\n\r\n"),
        refused("bare CR in a value", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\nx-a: 1\r2\r\n\r\n"),
        refused("bare CR in a name", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\nx-\ra: 1\r\n\r\n"),
        refused("bare CR in the target", SECTION_2_2, "GET /a\rb HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("CR CR LF behind the request line", SECTION_2_2, "GET / HTTP/1.1\r\r\nhost: x\r\n\r\n"),
        refused("CR CR LF behind a field", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\r\n\r\n"),
        refused("CR CR LF as the empty line", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\n\r\r\n"),
        refused("a space in the empty line", SECTION_2_2, "GET / HTTP/1.1\r\nhost: x\r\n \r\n\r\n"),
        refused("bare LF before the request line", SECTION_2_2, "\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("bare CR before the request line", SECTION_2_2, "\rGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused(
            "a smuggled field behind bare LF in the target",
            SECTION_2_2,
            "GET / HTTP/1.1\nx-a: 1\r\nhost: x\r\n\r\n",
        ),
        refused("NUL before the request line", SECTION_2_2, b"\0GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("a byte order mark", SECTION_2_2, b"\xef\xbb\xbfGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        passes(
            "an empty line before the request line",
            SECTION_2_2,
            "\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            want("GET", "/"),
        ),
        passes(
            "five of them",
            SECTION_2_2,
            "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
            want("GET", "/"),
        ),
        passes(
            "one between two requests",
            SECTION_2_2,
            "POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\n1\r\nGET /b HTTP/1.1\r\nhost: x\r\n\r\n",
            [want("POST", "/a").body("1"), want("GET", "/b")],
        ),
    ]);
}

#[test]
fn empty_lines_count_towards_the_head() {
    let law = "docs/limits.md, head_bytes";
    let many = "\r\n".repeat(40_000) + "GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    prove(&[too_large("40,000 empty lines", law, many, "http1.headers_too_large")]);
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    let law = "RFC 9112 section 2.2";
    let hello: &[u8] = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03abcdefghijklmnopqrstuvwxyz012345\x00\x00\x04\x13\x01\x00\xff\x01\x00\r\n\r\n";
    prove(&[
        refused("a TLS ClientHello", law, hello),
        refused("a TLS ClientHello without its end", law, &hello[..20]),
        refused("an SSH banner", law, "SSH-2.0-OpenSSH_9.6\r\n"),
        refused("a PROXY line", law, "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("SMTP", law, "EHLO example.com\r\n"),
        refused("an answer", law, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
        refused("binary zeros", law, [0; 64]),
        refused("all bytes from 0x80", law, (0x80..=0xff).collect::<Vec<u8>>()),
        refused("JSON", law, "{\"a\": 1}\r\n\r\n"),
        refused("a body without a head", law, "a=1&b=2\r\n\r\n"),
        refused("HTTP/2's preface with a letter wrong", law, "PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n"),
    ]);
}

#[test]
fn wherever_a_message_is_split_it_is_read_the_same() {
    let law = "RFC 9112 section 2.2";
    let fine = "\r\nPOST /a?b=1 HTTP/1.1\r\nHost: x\r\nX-A:  1 \r\nTransfer-Encoding: chunked\r\n\r\n\
                5;a=b\r\nhello\r\n6\r\n again\r\n0\r\nX-T: 1\r\n\r\n";
    let wanted = || want("POST", "/a?b=1").has("x-a", "1").chunks("hello again").trailer("x-t", "1");
    let mut cases = vec![passes("byte by byte", law, fine, wanted()).delivered(Delivery::EachByte)];
    for at in 1..fine.len() {
        let name = format!("in two parts at byte {at}");
        cases.push(passes(&name, law, fine, wanted()).delivered(Delivery::SplitAt(at)));
    }
    prove(&cases);
}

#[test]
fn wherever_a_message_is_split_it_is_refused_the_same() {
    let law = "RFC 9112 section 2.2";
    let bad = "GET / HTTP/1.1\r\nhost: x\r\nx-a : 1\r\n\r\n";
    let mut cases = vec![refused("byte by byte", law, bad).delivered(Delivery::EachByte)];
    for at in 1..bad.len() {
        cases.push(refused(&format!("at byte {at}"), law, bad).delivered(Delivery::SplitAt(at)));
    }
    let bare = "GET / HTTP/1.1\r\nhost: x\n\r\n";
    for at in 1..bare.len() {
        cases.push(refused(&format!("bare LF, at byte {at}"), law, bare).delivered(Delivery::SplitAt(at)));
    }
    prove(&cases);
}

#[test]
fn connect_and_the_asterisk_ask_about_the_proxy_itself() {
    let nothing =
        |keeps| End::Replies { status: 404, body: "", flag: "NR", details: "route_not_found", keeps };
    prove(&[
        passes("CONNECT", "RFC 9110 section 9.3.6", "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", [])
            .then(nothing(false))
            .asked_by("CONNECT"),
        passes("OPTIONS *", "RFC 9110 section 9.3.7", "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", [])
            .then(nothing(true))
            .asked_by("OPTIONS"),
        refused("GET *", SECTION_3_2, "GET * HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("POST *", SECTION_3_2, "POST * HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"),
        refused("OPTIONS *a", SECTION_3_2, "OPTIONS *a HTTP/1.1\r\nhost: x\r\n\r\n"),
        refused("OPTIONS */a", SECTION_3_2, "OPTIONS */a HTTP/1.1\r\nhost: x\r\n\r\n"),
        passes(
            "OPTIONS with a path",
            "RFC 9110 section 9.3.7",
            "OPTIONS /a HTTP/1.1\r\nhost: x\r\n\r\n",
            want("OPTIONS", "/a"),
        ),
    ]);
}
