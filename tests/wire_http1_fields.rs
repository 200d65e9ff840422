//! Fields, byte for byte: their syntax, and which of them are for the next hop.
//!
//! Source: RFC 9110 sections 5.1, 5.5, 7.6.1, 10.1.1 and 10.1.4; RFC 9112 sections 5, 5.1 and 5.2; `docs/wire.md`.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::table::{Case, End, Want, passes, prove, refused, too_large, want};

const SYNTAX: &str = "RFC 9112 section 5";
const VALUE: &str = "RFC 9110 section 5.5";
const HOP: &str = "RFC 9110 section 7.6.1";
const EXPECT: &str = "RFC 9110 section 10.1.1";
const TE: &str = "RFC 9110 section 10.1.4";
const OURS: &str = "docs/wire.md, Headers";

/// A GET with these lines in its head.
fn get(lines: impl AsRef<[u8]>) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nhost: x\r\n", lines.as_ref(), b"\r\n"].concat()
}

fn fine(name: &str, law: &'static str, lines: &str, want: Want) -> Case {
    passes(name, law, get(lines), want)
}

fn base() -> Want {
    want("GET", "/")
}

#[test]
fn a_field_is_a_token_a_colon_and_a_value() {
    let bad = [
        ("no colon", "x-a\r\n"),
        ("no colon, but a value", "x-a 1\r\n"),
        ("an empty name", ": 1\r\n"),
        ("an empty name and value", ":\r\n"),
        ("a space before the colon", "x-a : 1\r\n"),
        ("a tab before the colon", "x-a\t: 1\r\n"),
        ("a space in the name", "x a: 1\r\n"),
        ("folded by a space", "x-a: 1\r\n 2\r\n"),
        ("folded by a tab", "x-a: 1\r\n\t2\r\n"),
        ("folded to an empty line", "x-a: 1\r\n \r\n"),
        ("a space before the last field", "x-a: 1\r\n x-b: 2\r\n"),
        ("a slash in the name", "x/a: 1\r\n"),
        ("brackets in the name", "x(a): 1\r\n"),
        ("a comma in the name", "x,a: 1\r\n"),
        ("an at sign in the name", "x@a: 1\r\n"),
        ("quotation marks around the name", "\"x-a\": 1\r\n"),
        ("a semicolon in the name", "x;a: 1\r\n"),
        ("an equals sign in the name", "x=a: 1\r\n"),
        ("braces in the name", "{x}: 1\r\n"),
        ("a backslash in the name", "x\\a: 1\r\n"),
        ("a question mark in the name", "x?a: 1\r\n"),
        ("UTF-8 in the name", "ä: 1\r\n"),
        ("NUL in the name", "x\0a: 1\r\n"),
        ("a control in the name", "x\x01a: 1\r\n"),
        ("DEL in the name", "x\x7fa: 1\r\n"),
        ("a pseudo-header", ":path: /b\r\n"),
        ("a request line", "GET /b HTTP/1.1\r\n"),
    ];
    let mut cases: Vec<Case> = bad.iter().map(|(name, lines)| refused(name, SYNTAX, get(lines))).collect();
    cases.push(refused("a space before the first field", SYNTAX, "GET / HTTP/1.1\r\n host: x\r\n\r\n"));
    cases.push(refused("a tab before the first field", SYNTAX, "GET / HTTP/1.1\r\n\thost: x\r\n\r\n"));
    prove(&cases);
}

#[test]
fn a_value_is_visible_or_obs_text_and_its_spaces_are_trimmed() {
    let mut cases = Vec::new();
    for byte in (0..0x20).chain([0x7f]).filter(|byte| *byte != 9) {
        let lines = [b"x-a: 1".as_slice(), &[byte], b"2\r\n"].concat();
        cases.push(refused(&format!("byte {byte:#04x}"), VALUE, get(lines)));
    }
    for byte in [9, 0x20, 0x21, 0x7e, 0x80, 0xa0, 0xc3, 0xff] {
        let lines = [b"x-a: 1".as_slice(), &[byte], b"2\r\n"].concat();
        let value = format!("1{}2", char::from(byte));
        cases.push(passes(&format!("byte {byte:#04x}"), VALUE, get(lines), base().has("x-a", &value)));
    }
    cases.extend([
        fine("empty", VALUE, "x-a:\r\n", base().has("x-a", "")),
        fine("spaces alone", VALUE, "x-a: \t \r\n", base().has("x-a", "")),
        fine("no space", SYNTAX, "x-a:1\r\n", base().has("x-a", "1")),
        fine("spaces and tabs around", SYNTAX, "x-a: \t 1 2\t \r\n", base().has("x-a", "1 2")),
        fine("colons", VALUE, "x-a: :1:2:\r\n", base().has("x-a", ":1:2:")),
        fine("twice", VALUE, "x-a: 1\r\nX-A: 2\r\n", base().has("x-a", "1").has("x-a", "2")),
        fine(
            "odd letters in the name",
            SYNTAX,
            "a!#$%&'*+-.^_`|~9: 1\r\n",
            base().has("a!#$%&'*+-.^_`|~9", "1"),
        ),
        fine("an underscore in the name", OURS, "x_a: 1\r\n", base().has("x_a", "1")),
        fine("a digit as the name", SYNTAX, "1: 1\r\n", base().has("1", "1")),
    ]);
    prove(&cases);
}

#[test]
fn a_head_is_bounded_in_bytes_and_in_fields() {
    let law = "docs/limits.md, head_bytes and head_count";
    let many = |count: usize| get((0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>());
    let long = |count: usize| get(format!("x-a: {}\r\n", "a".repeat(count)));
    let (fields, bytes) = ("http1.too_many_headers", "http1.headers_too_large");
    prove(&[
        // Host is one of them.
        passes("100 fields", law, many(99), base().has("x-98", "1")),
        too_large("101 fields", law, many(100), fields),
        too_large("1,000 fields", law, many(1_000), fields),
        too_large("101 of one name", law, get("x-a: 1\r\n".repeat(100)), fields),
        passes("60,000 bytes", law, long(60_000), base().has("x-a", &"a".repeat(60_000))),
        too_large("61,500 bytes", law, long(61_500), bytes),
        too_large("100,000 bytes", law, long(100_000), bytes),
        too_large("1,000,000 bytes", law, long(1_000_000), bytes),
        too_large(
            "a target of 62,000 bytes",
            law,
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(62_000)),
            bytes,
        ),
        too_large(
            "a target of 200,000 bytes",
            law,
            format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200_000)),
            bytes,
        ),
        too_large(
            "a method of 200,000 bytes",
            law,
            format!("{} / HTTP/1.1\r\nhost: x\r\n\r\n", "A".repeat(200_000)),
            bytes,
        ),
        too_large("a name of 200,000 bytes", law, get(format!("{}: 1\r\n", "a".repeat(200_000))), bytes),
        too_large(
            "a head without an end",
            law,
            format!("GET / HTTP/1.1\r\nhost: x\r\nx-a: {}", "a".repeat(200_000)),
            bytes,
        ),
        too_large("a line without an end", law, "A".repeat(200_000), bytes),
    ]);
}

#[test]
fn what_belongs_to_the_callers_connection_stays_there() {
    let gone =
        ["connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings", "transfer-encoding"];
    let lines = "connection: keep-alive\r\nkeep-alive: timeout=5\r\nproxy-connection: keep-alive\r\nhttp2-settings: AAMAAABk\r\n";
    prove(&[
        fine("the list", HOP, lines, base().lacks(&gone)),
        fine(
            "what connection names",
            HOP,
            "connection: x-a, X-B\r\nx-a: 1\r\nx-b: 2\r\nx-c: 3\r\n",
            base().lacks(&["connection", "x-a", "x-b"]).has("x-c", "3"),
        ),
        fine(
            "named before and behind",
            HOP,
            "x-a: 1\r\nconnection: x-a\r\nx-a: 2\r\n",
            base().lacks(&["x-a"]),
        ),
        fine(
            "named by a second field",
            HOP,
            "connection: x-a\r\nx-a: 1\r\nconnection: x-b\r\nx-b: 1\r\n",
            base().lacks(&["x-a", "x-b"]),
        ),
        fine(
            "named amid empty elements",
            HOP,
            "connection: , ,x-a,,\r\nx-a: 1\r\n",
            base().lacks(&["x-a", "connection"]),
        ),
        fine(
            "named between tabs",
            HOP,
            "connection: \tx-a\t,\tx-b\r\nx-a: 1\r\nx-b: 1\r\n",
            base().lacks(&["x-a", "x-b"]),
        ),
        fine("named, but not there", HOP, "connection: x-a\r\n", base().lacks(&["connection"])),
        fine("host cannot be named away", HOP, "connection: host\r\n", base()),
        fine(
            "authorization cannot be",
            OURS,
            "connection: authorization\r\nauthorization: Basic a\r\n",
            base().has("authorization", "Basic a"),
        ),
        fine(
            "content-type cannot be",
            OURS,
            "connection: content-type\r\ncontent-type: a/b\r\n",
            base().has("content-type", "a/b"),
        ),
        passes(
            "content-length cannot be",
            OURS,
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: content-length\r\ncontent-length: 2\r\n\r\nab",
            want("POST", "/").body("ab"),
        ),
        passes(
            "transfer-encoding cannot be",
            OURS,
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: transfer-encoding\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            want("POST", "/").chunks("ab"),
        ),
        fine(
            "a name that is none",
            HOP,
            "connection: a b, \"c\", x-a\r\nx-a: 1\r\nc: 2\r\n",
            base().lacks(&["x-a"]).has("c", "2"),
        ),
        passes(
            "close beside another",
            HOP,
            get("connection: close, x-a\r\nx-a: 1\r\n"),
            base().lacks(&["x-a", "connection"]),
        )
        .closes(),
        passes("close in upper case", HOP, get("connection: CLOSE\r\n"), base().lacks(&["connection"]))
            .closes(),
        passes("close in a second field", HOP, get("connection: x-a\r\nconnection: close\r\n"), base())
            .closes(),
        passes(
            "close beside keep-alive",
            "RFC 9112 section 9.3",
            get("connection: keep-alive, close\r\n"),
            base(),
        )
        .closes(),
        fine("closed is not close", HOP, "connection: closed\r\n", base()),
    ]);
}

#[test]
fn te_is_trailers_or_nothing() {
    let mut cases = Vec::new();
    for value in [
        "trailers",
        "Trailers",
        "trailers, gzip",
        "gzip;q=0.5, trailers",
        "trailers;q=0.5",
        "gzip,\ttrailers",
    ] {
        cases.push(fine(value, TE, &format!("te: {value}\r\n"), base().has("te", "trailers")));
    }
    for value in ["gzip", "", "xtrailers", "trailersx", "chunked", "gzip, deflate;q=0.5"] {
        cases.push(fine(&format!("{value:?}"), TE, &format!("te: {value}\r\n"), base().lacks(&["te"])));
    }
    cases.push(fine(
        "named by connection",
        TE,
        "te: trailers\r\nconnection: te\r\n",
        base().has("te", "trailers").lacks(&["connection"]),
    ));
    cases.push(fine("in two fields", TE, "te: gzip\r\nte: trailers\r\n", base().has("te", "trailers")));
    prove(&cases);
}

#[test]
fn an_expectation_of_100_is_answered_here_and_others_pass() {
    let post = |version: &str, expect: &str, body: &str| {
        format!(
            "POST / HTTP/{version}\r\nhost: x\r\nexpect: {expect}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let ab = || want("POST", "/").body("ab").lacks(&["expect"]);
    prove(&[
        passes("100-continue", EXPECT, post("1.1", "100-continue", "ab"), ab().continued()),
        passes("100-Continue", EXPECT, post("1.1", "100-Continue", "ab"), ab().continued()),
        passes(
            "with chunks",
            EXPECT,
            "POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
            want("POST", "/").chunks("ab").lacks(&["expect"]).continued(),
        ),
        passes("without a body", EXPECT, get("expect: 100-continue\r\n"), base().lacks(&["expect"])),
        passes("of HTTP/1.0", EXPECT, post("1.0", "100-continue", "ab"), ab()).closes(),
        passes(
            "another",
            EXPECT,
            post("1.1", "200-ok", "ab"),
            want("POST", "/").body("ab").has("expect", "200-ok"),
        ),
        passes(
            "before a request that is refused",
            EXPECT,
            "POST /%2f HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
            [],
        )
        .then_refused("path_normalization_failed"),
        passes(
            "two requests with it",
            EXPECT,
            post("1.1", "100-continue", "ab").repeat(2),
            [ab().continued(), ab().continued()],
        ),
    ]);
}

#[test]
fn an_upgrade_is_ignored_or_refused() {
    let law = "RFC 9110 section 7.8";
    let forbidden =
        || End::Replies { status: 403, body: "", flag: "-", details: "upgrade_failed", keeps: false };
    let upgrade = |protocol: &str| {
        get(format!("connection: upgrade\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABk\r\n"))
    };
    let gone = ["upgrade", "connection", "http2-settings"];
    prove(&[
        passes("h2c", law, upgrade("h2c"), base().lacks(&gone).answer_lacks(&["upgrade"])),
        passes("H2C", law, upgrade("H2C"), base().lacks(&gone)),
        passes(
            "h2c with a body",
            law,
            "POST / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nab",
            want("POST", "/").body("ab").lacks(&gone),
        ),
        passes(
            "h2c and HTTP/2's preface behind it",
            law,
            [upgrade("h2c"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()].concat(),
            base().lacks(&gone),
        )
        .then_refused(""),
        passes("websocket", law, upgrade("websocket"), []).then(forbidden()),
        passes("websocket and a request behind it", law, [upgrade("websocket"), get("")].concat(), [])
            .then(forbidden()),
        passes("TLS", law, upgrade("TLS/1.2"), []).then(forbidden()),
        passes("h2c beside another", law, upgrade("h2c, websocket"), []).then(forbidden()),
        passes(
            "of HTTP/1.0",
            law,
            "GET / HTTP/1.0\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            base().lacks(&gone),
        )
        .closes(),
    ]);
}

#[test]
fn what_only_this_proxy_may_say_is_taken_from_the_caller() {
    prove(&[
        fine(
            "x-envoy-*",
            OURS,
            "x-envoy-upstream-rq-timeout-ms: 1\r\nX-Envoy-Max-Retries: 9\r\nx-envoy-internal: true\r\nx-envoy-anything: 1\r\nx-envoy: 1\r\n",
            base()
                .lacks(&[
                    "x-envoy-upstream-rq-timeout-ms",
                    "x-envoy-max-retries",
                    "x-envoy-internal",
                    "x-envoy-anything",
                ])
                .has("x-envoy", "1"),
        ),
        fine(
            "x-weir-hop",
            OURS,
            "x-weir-hop: 1;y;version=v9\r\nX-Weir-In-Flight: 7\r\n",
            base().lacks(&["x-weir-in-flight"]).has("x-weir-hop", "2;x.default.svc.cluster.local;"),
        ),
        fine(
            "x-forwarded-proto",
            OURS,
            "x-forwarded-proto: https\r\n",
            base().has("x-forwarded-proto", "http"),
        ),
        fine(
            "expectations of names",
            OURS,
            "x-envoy-retry-on: 5xx\r\nconnection: x-forwarded-proto\r\n",
            base().lacks(&["x-envoy-retry-on"]).has("x-forwarded-proto", "http"),
        ),
    ]);
}

#[test]
fn cookies_pass_as_they_were_sent() {
    let law = "RFC 6265 section 5.4";
    prove(&[
        fine("one field", law, "cookie: a=1; b=2\r\n", base().has("cookie", "a=1; b=2")),
        fine("spaces inside", law, "cookie: a=\"1  2\";b=3\r\n", base().has("cookie", "a=\"1  2\";b=3")),
        fine("an empty one", law, "cookie:\r\n", base().has("cookie", "")),
    ]);
}

#[test]
fn the_answer_is_framed_as_the_caller_can_read_it() {
    let law = "RFC 9112 section 6.3";
    let new = |target: &str| format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
    let old = |target: &str, keep: bool| {
        let connection = if keep { "connection: keep-alive\r\n" } else { "" };
        format!("GET {target} HTTP/1.0\r\nhost: x\r\n{connection}\r\n")
    };
    let got = |target: &str, body: &str| want("GET", target).answered(200, body);
    let gone = ["transfer-encoding", "content-length"];
    prove(&[
        passes(
            "chunks",
            law,
            new("/chunked"),
            got("/chunked", "hello again")
                .answer_has("transfer-encoding", "chunked")
                .answer_lacks(&["content-length"]),
        ),
        passes(
            "a length",
            law,
            new("/"),
            got("/", "ok").answer_has("content-length", "2").answer_lacks(&["transfer-encoding"]),
        ),
        passes(
            "up to the upstream's close",
            law,
            new("/close"),
            got("/close", "hello").answer_has("transfer-encoding", "chunked"),
        ),
        passes(
            "trailers",
            "RFC 9110 section 6.5",
            "GET /trailers HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te\r\n\r\n",
            got("/trailers", "hello").answer_trailer("x-after: 1"),
        ),
        passes("204", law, new("/none"), want("GET", "/none").answered(204, "").answer_lacks(&gone)),
        passes(
            "HEAD of a length",
            law,
            "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n",
            want("HEAD", "/").answer_has("content-length", "2"),
        ),
        passes(
            "HEAD of chunks",
            law,
            "HEAD /chunked HTTP/1.1\r\nhost: x\r\n\r\n",
            want("HEAD", "/chunked").answer_lacks(&["content-length"]),
        ),
        passes(
            "HTTP/1.0, chunks",
            law,
            old("/chunked", false),
            got("/chunked", "hello again").answer_lacks(&gone),
        )
        .closes(),
        passes(
            "HTTP/1.0, chunks, kept alive",
            law,
            old("/chunked", true),
            got("/chunked", "hello again").answer_lacks(&gone),
        )
        .closes(),
        passes("HTTP/1.0, a length", law, old("/", false), got("/", "ok").answer_has("content-length", "2"))
            .closes(),
        passes(
            "HTTP/1.0, a length, kept alive",
            "RFC 9112 section 9.3",
            old("/", true),
            got("/", "ok").answer_has("content-length", "2").answer_has("connection", "keep-alive"),
        ),
        passes(
            "HTTP/1.0, trailers",
            law,
            old("/trailers", false),
            got("/trailers", "hello").answer_lacks(&gone),
        )
        .closes(),
        passes(
            "HTTP/1.0, 204, kept alive",
            law,
            old("/none", true),
            want("GET", "/none").answered(204, "").answer_lacks(&gone),
        ),
        passes(
            "HTTP/1.0, up to the upstream's close",
            law,
            old("/close", false),
            got("/close", "hello").answer_lacks(&gone),
        )
        .closes(),
    ]);
}
