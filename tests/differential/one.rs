//! The HTTP/1 probes: bytes with names.
//!
//! Law: each is answered or closed by both proxies without more bytes, so that no time needs to be waited out.

use super::{Kind, Probe};

/// All of them.
pub(super) fn probes() -> Vec<Probe> {
    let mut probes = Vec::new();
    lines(&mut probes);
    line_ends(&mut probes);
    targets(&mut probes);
    hosts(&mut probes);
    lengths(&mut probes);
    codings(&mut probes);
    chunks(&mut probes);
    fields(&mut probes);
    hops(&mut probes);
    connections(&mut probes);
    probes
}

fn one(group: &str, name: &str, bytes: impl AsRef<[u8]>) -> Probe {
    Probe {
        name: format!("{group}: {name}"),
        bytes: bytes.as_ref().to_vec(),
        kind: Kind::One(vec!["GET"]),
        races: false,
    }
}

fn several(group: &str, name: &str, bytes: impl AsRef<[u8]>, methods: &[&'static str]) -> Probe {
    Probe { kind: Kind::One(methods.to_vec()), ..one(group, name, bytes) }
}

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{fields}\r\n")
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /a HTTP/1.1\r\nhost: x\r\n{fields}\r\n{body}")
}

fn lines(probes: &mut Vec<Probe>) {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET\t/ HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET HTTP/1.1",
        "GET /",
        "GET / HTTP/0.9",
        "GET / HTTP/1.2",
        "GET / HTTP/1.10",
        "GET / HTTP/2.0",
        "GET / http/1.1",
        "GET / HTTP1.1",
        "GET / ICAP/1.0",
        "get / HTTP/1.1",
        "FOO / HTTP/1.1",
        "M-SEARCH / HTTP/1.1",
        "G(T / HTTP/1.1",
        "G\u{1}T / HTTP/1.1",
        "TRACE / HTTP/1.1",
        "PATCH / HTTP/1.1",
        "QUERY / HTTP/1.1",
        "PRI * HTTP/1.1",
    ] {
        probes.push(one("line", &line.escape_debug().to_string(), format!("{line}\r\nhost: x\r\n\r\n")));
    }
    probes.push(several("line", "HEAD", "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n", &["HEAD"]));
    probes.push(one("line", "an answer", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    probes.push(one(
        "line",
        "TLS",
        b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03abcdefghijklmnopqrstuvwxyz\r\n\r\n",
    ));
    probes.push(one("line", "SSH", "SSH-2.0-OpenSSH_9.6\r\n\r\n"));
    probes.push(one("line", "zeros", [0; 64]));
}

fn line_ends(probes: &mut Vec<Probe>) {
    for (name, bytes) in [
        ("bare LF behind the line", "GET / HTTP/1.1\nhost: x\r\n\r\n"),
        ("bare LF behind a field", "GET / HTTP/1.1\r\nhost: x\nx-a: 1\r\n\r\n"),
        ("bare LF everywhere", "GET / HTTP/1.1\nhost: x\n\n"),
        ("bare LF as the empty line", "GET / HTTP/1.1\r\nhost: x\r\n\n"),
        ("bare LF before the line", "\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("bare CR behind the line", "GET / HTTP/1.1\rhost: x\r\n\r\n"),
        ("bare CR in a value", "GET / HTTP/1.1\r\nhost: x\r\nx-a: 1\r2\r\n\r\n"),
        ("bare CR in the target", "GET /a\rb HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("bare CR before the line", "\rGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("CR CR LF", "GET / HTTP/1.1\r\r\nhost: x\r\n\r\n"),
        ("an empty line before", "\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("three empty lines before", "\r\n\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"),
        ("a fold by a space", "GET / HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n 2\r\n\r\n"),
        ("a fold by a tab", "GET / HTTP/1.1\r\nhost: x\r\nx-a: 1\r\n\t2\r\n\r\n"),
        ("a fold of the first line", "GET / HTTP/1.1\r\n host: x\r\n\r\n"),
        ("NUL before the line", "\0GET / HTTP/1.1\r\nhost: x\r\n\r\n"),
    ] {
        probes.push(one("line end", name, bytes));
    }
}

fn targets(probes: &mut Vec<Probe>) {
    for target in [
        "/",
        "/a//b",
        "//a",
        "/./a",
        "/a/../b",
        "/../a",
        "/a/..",
        "/%2e%2e/a",
        "/a/%2E/b",
        "/%61",
        "/%7eu",
        "/%c3%a4",
        "/a%20b",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a#b",
        "/#",
        "/a%",
        "/a%zz",
        "/a%00b",
        "/a%252fb",
        "/a;b=c",
        "/a[b]",
        "/a|b",
        "/a\"b",
        "/a<b>",
        "/a{b}",
        "/a^b",
        "/a`b",
        "/?a=%2f",
        "/?a=../b",
        "/?a=%zz",
        "/?a=#b",
        "/?a=\"b\"",
        "/p?",
        "/p??",
        "*",
        "x",
        "a/b",
        "?a",
        "x:80",
        "/a/.../b",
        "/.a",
        "http://y/p",
        "http://y",
        "http://y?q",
        "HTTP://Y/p",
        "https://y/p",
        "ftp://y/p",
        "http://u@y/p",
        "http://y:x/p",
        "http:///p",
        "http://y/a%2fb",
        "http://y/a/../b",
        "http://y:99/",
        "http://[::1]:1/",
    ] {
        probes.push(one("target", target, get(target, "")));
    }
    probes.push(one("target", "UTF-8", get("/ä", "")));
    probes.push(one("target", "UTF-8 in the query", get("/?ä", "")));
    probes.push(one("target", "DEL", get("/a\u{7f}", "")));
    probes.push(one("target", "60,000 letters", get(&format!("/{}", "a".repeat(60_000)), "")));
    probes.push(one("target", "70,000 letters", get(&format!("/{}", "a".repeat(70_000)), "")));
    probes.push(several("target", "OPTIONS *", "OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", &["OPTIONS"]));
    probes.push(several("target", "CONNECT", "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n", &["CONNECT"]));
    probes.push(several("target", "CONNECT /", "CONNECT / HTTP/1.1\r\nhost: x\r\n\r\n", &["CONNECT"]));
}

fn hosts(probes: &mut Vec<Probe>) {
    for (name, lines) in [
        ("none", ""),
        ("two equal", "host: x\r\nhost: x\r\n"),
        ("two", "host: x\r\nhost: y\r\n"),
        ("empty", "host:\r\n"),
        ("a list", "host: x, y\r\n"),
        ("user information", "host: u@x\r\n"),
        ("a port", "host: x:80\r\n"),
        ("no digits in the port", "host: x:\r\n"),
        ("letters in the port", "host: x:a\r\n"),
        ("a port above 65535", "host: x:65536\r\n"),
        ("upper case", "host: X.Example\r\n"),
        ("a slash", "host: x/a\r\n"),
        ("a space", "host: x y\r\n"),
        ("an IPv6 address", "host: [::1]:80\r\n"),
        ("an open bracket", "host: [::1\r\n"),
        ("UTF-8", "host: ä\r\n"),
        ("a trailing dot", "host: x.\r\n"),
        ("an empty label", "host: x..y\r\n"),
        ("a percent-code", "host: %2Ftmp\r\n"),
        ("a space before the colon", "host : x\r\n"),
    ] {
        probes.push(one("host", name, format!("GET / HTTP/1.1\r\n{lines}\r\n")));
    }
    probes.push(one("host", "none with an absolute target", "GET http://y/ HTTP/1.1\r\n\r\n"));
}

fn lengths(probes: &mut Vec<Probe>) {
    for value in [
        "2",
        "02",
        "+2",
        "-2",
        "2, 2",
        "2,2",
        "2 2",
        "0x2",
        "2a",
        "",
        "2.0",
        "\"2\"",
        "18446744073709551618",
        "9223372036854775808",
    ] {
        // The last two tell of a body that never comes; who takes them, waits.
        let body = if value.len() > 10 { "" } else { "ab" };
        if value != "9223372036854775808" {
            probes.push(one(
                "length",
                &format!("{value:?}"),
                post(&format!("content-length: {value}\r\n"), body),
            ));
        }
    }
    probes.push(one("length", "two equal", post("content-length: 2\r\ncontent-length: 2\r\n", "ab")));
    probes.push(one("length", "two", post("content-length: 2\r\ncontent-length: 0\r\n", "ab")));
    probes.push(one("length", "none", post("", "")));
    probes.push(one("length", "of a GET", "GET /a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab"));
    probes.push(one("length", "0", post("content-length: 0\r\n", "")));
    probes.push(one(
        "length",
        "beside chunks",
        post("content-length: 2\r\ntransfer-encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n"),
    ));
    probes.push(one(
        "length",
        "behind chunks",
        post("transfer-encoding: chunked\r\ncontent-length: 2\r\n", "2\r\nab\r\n0\r\n\r\n"),
    ));
    probes.push(one(
        "length",
        "nominated away",
        post("connection: content-length\r\ncontent-length: 2\r\n", "ab"),
    ));
}

fn codings(probes: &mut Vec<Probe>) {
    for value in [
        "chunked",
        "Chunked",
        "gzip",
        "identity",
        "",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "identity, chunked",
        "chunked,",
        ", chunked",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "\u{b}chunked",
        "chunked chunked",
    ] {
        let name = value.escape_debug().to_string();
        probes.push(one(
            "coding",
            &format!("`{name}`"),
            post(&format!("transfer-encoding: {value}\r\n"), "2\r\nab\r\n0\r\n\r\n"),
        ));
    }
    probes.push(one(
        "coding",
        "two fields",
        post("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n"),
    ));
    probes.push(one(
        "coding",
        "of HTTP/1.0",
        "POST /a HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    ));
    probes.push(one(
        "coding",
        "a space before the colon",
        post("transfer-encoding : chunked\r\n", "2\r\nab\r\n0\r\n\r\n"),
    ));
}

fn chunks(probes: &mut Vec<Probe>) {
    for (name, body) in [
        ("one", "2\r\nab\r\n0\r\n\r\n"),
        ("leading zeros", "0002\r\nab\r\n0\r\n\r\n"),
        ("17 digits", "00000000000000002\r\nab\r\n0\r\n\r\n"),
        ("beyond 64 bits", "10000000000000002\r\nab\r\n0\r\n\r\n"),
        ("0x", "0x2\r\nab\r\n0\r\n\r\n"),
        ("plus", "+2\r\nab\r\n0\r\n\r\n"),
        ("minus", "-2\r\nab\r\n0\r\n\r\n"),
        ("no digit", "\r\nab\r\n0\r\n\r\n"),
        ("a letter", "g\r\nab\r\n0\r\n\r\n"),
        ("a space before", " 2\r\nab\r\n0\r\n\r\n"),
        ("a space behind", "2 \r\nab\r\n0\r\n\r\n"),
        ("a tab behind", "2\t\r\nab\r\n0\r\n\r\n"),
        ("an extension", "2;a=b\r\nab\r\n0;c\r\n\r\n"),
        ("an extension with spaces", "2 ; a = \"b c\"\r\nab\r\n0\r\n\r\n"),
        ("NUL in an extension", "2;a\0b\r\nab\r\n0\r\n\r\n"),
        ("bare CR in an extension", "2;a\rb\r\nab\r\n0\r\n\r\n"),
        ("bare LF behind the size", "2\nab\r\n0\r\n\r\n"),
        ("bare LF behind an extension", "2;a\nab\r\n0\r\n\r\n"),
        ("bare LF behind the data", "2\r\nab\n0\r\n\r\n"),
        ("bare LF behind the last size", "2\r\nab\r\n0\n\r\n"),
        ("bare LF as the end", "2\r\nab\r\n0\r\n\n"),
        ("a byte too many", "2\r\nabc\r\n0\r\n\r\n"),
        ("a byte too few", "2\r\na\r\n0\r\n\r\n"),
        ("a trailer", "2\r\nab\r\n0\r\nx-t: 1\r\n\r\n"),
        ("a trailer of framing", "2\r\nab\r\n0\r\ncontent-length: 9\r\nhost: y\r\nx-t: 1\r\n\r\n"),
        ("a trailer with a secret", "2\r\nab\r\n0\r\nauthorization: a\r\n\r\n"),
        ("a trailer without a colon", "2\r\nab\r\n0\r\nx-t\r\n\r\n"),
        ("a trailer with NUL", "2\r\nab\r\n0\r\nx-t: 1\0\r\n\r\n"),
        ("a trailer that is folded", "2\r\nab\r\n0\r\nx-t: 1\r\n 2\r\n\r\n"),
    ] {
        probes.push(one("chunk", name, post("transfer-encoding: chunked\r\n", body)));
    }
    let extension = |count: usize| format!("2;{}\r\nab\r\n0\r\n\r\n", "a".repeat(count));
    probes.push(one(
        "chunk",
        "an extension of 10,000 letters",
        post("transfer-encoding: chunked\r\n", &extension(10_000)),
    ));
    probes.push(one(
        "chunk",
        "an extension of 100,000 letters",
        post("transfer-encoding: chunked\r\n", &extension(100_000)),
    ));
    let trailers: String = (0..150).map(|number| format!("x-{number}: 1\r\n")).collect();
    probes.push(one(
        "chunk",
        "150 trailers",
        post("transfer-encoding: chunked\r\n", &format!("2\r\nab\r\n0\r\n{trailers}\r\n")),
    ));
}

fn fields(probes: &mut Vec<Probe>) {
    for (name, lines) in [
        ("no colon", "x-a\r\n"),
        ("an empty name", ": 1\r\n"),
        ("a space before the colon", "x-a : 1\r\n"),
        ("a space in the name", "x a: 1\r\n"),
        ("brackets in the name", "x(a): 1\r\n"),
        ("UTF-8 in the name", "ä: 1\r\n"),
        ("an underscore in the name", "x_a: 1\r\n"),
        ("a pseudo-header", ":path: /b\r\n"),
        ("an empty value", "x-a:\r\n"),
        ("spaces around the value", "x-a: \t 1 2 \t\r\n"),
        ("a tab in the value", "x-a: 1\t2\r\n"),
        ("NUL in the value", "x-a: 1\0\r\n"),
        ("a control in the value", "x-a: 1\u{1}\r\n"),
        ("DEL in the value", "x-a: 1\u{7f}\r\n"),
        ("UTF-8 in the value", "x-a: ä\r\n"),
        ("twice", "x-a: 1\r\nx-a: 2\r\n"),
        ("two cookies", "cookie: a=1\r\ncookie: b=2\r\n"),
        ("x-envoy-*", "x-envoy-upstream-rq-timeout-ms: 1\r\nx-envoy-max-retries: 9\r\n"),
        ("x-envoy-anything", "x-envoy-anything: 1\r\n"),
        ("x-forwarded-proto", "x-forwarded-proto: https\r\n"),
        ("x-forwarded-host", "x-forwarded-host: y\r\n"),
        ("forwarded", "forwarded: for=1.2.3.4\r\n"),
        ("via", "via: 1.1 y\r\n"),
        ("Range", "range: bytes=0-1\r\n"),
        ("gRPC's fields", "grpc-timeout: 1S\r\n"),
    ] {
        probes.push(one("field", name, get("/a", lines)));
    }
    let many = |count: usize| (0..count).map(|number| format!("x-{number}: 1\r\n")).collect::<String>();
    probes.push(one("field", "99 beside host", get("/a", &many(99))));
    probes.push(one("field", "100 beside host", get("/a", &many(100))));
    probes.push(one("field", "1,000 beside host", get("/a", &many(1_000))));
    probes.push(one("field", "50,000 bytes", get("/a", &format!("x-a: {}\r\n", "a".repeat(50_000)))));
    probes.push(one("field", "70,000 bytes", get("/a", &format!("x-a: {}\r\n", "a".repeat(70_000)))));
}

fn hops(probes: &mut Vec<Probe>) {
    for (name, lines) in [
        ("the list", "keep-alive: a\r\nproxy-connection: keep-alive\r\n"),
        ("nominated", "connection: x-a\r\nx-a: 1\r\nx-b: 2\r\n"),
        ("nominated, but protected", "connection: authorization, host\r\nauthorization: a\r\n"),
        ("content-type nominated", "connection: content-type\r\ncontent-type: a/b\r\n"),
        ("close", "connection: close\r\n"),
        ("close and nominated", "connection: close, x-a\r\nx-a: 1\r\n"),
        ("te: trailers", "te: trailers\r\nconnection: te\r\n"),
        ("te: trailers without connection", "te: trailers\r\n"),
        ("te: gzip", "te: gzip\r\nconnection: te\r\n"),
        ("te: gzip, trailers", "te: gzip, trailers\r\nconnection: te\r\n"),
        (
            "upgrade: h2c",
            "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
        ),
        ("upgrade: websocket", "connection: upgrade\r\nupgrade: websocket\r\n"),
        ("upgrade without connection", "upgrade: websocket\r\n"),
        ("trailer", "trailer: x-a\r\n"),
        ("proxy-authorization", "proxy-authorization: a\r\n"),
    ] {
        probes.push(one("hop", name, get("/a", lines)));
    }
}

fn connections(probes: &mut Vec<Probe>) {
    let old = |fields: &str| format!("GET /a HTTP/1.0\r\n{fields}\r\n");
    probes.push(one("HTTP/1.0", "without host", old("")));
    probes.push(one("HTTP/1.0", "with host", old("host: y\r\n")));
    probes.push(one("HTTP/1.0", "kept alive", old("host: x\r\nconnection: keep-alive\r\n")));
    probes.push(one(
        "HTTP/1.0",
        "an upgrade",
        old("host: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"),
    ));
    probes.push(one("HTTP/1.0", "a body", "POST /a HTTP/1.0\r\nhost: x\r\ncontent-length: 2\r\n\r\nab"));
    probes.push(one("HTTP/1.0", "chunks from upstream", "GET /chunked HTTP/1.0\r\nhost: x\r\n\r\n"));
    for target in ["/chunked", "/trailers", "/close", "/none"] {
        probes.push(one("answer", target, get(target, "")));
    }
    probes.push(several("answer", "HEAD of chunks", "HEAD /chunked HTTP/1.1\r\nhost: x\r\n\r\n", &["HEAD"]));
    let expect = |value: &str| post(&format!("expect: {value}\r\ncontent-length: 2\r\n"), "ab");
    probes.push(one("expect", "100-continue", expect("100-continue")));
    probes.push(one("expect", "another", expect("200-ok")));
    probes.push(one("expect", "100-continue without a body", get("/a", "expect: 100-continue\r\n")));
    let pair = get("/a", "") + &get("/b", "");
    probes.push(several("pipeline", "two", pair, &["GET", "GET"]));
    let bodies = post("content-length: 2\r\n", "ab") + &get("/b", "");
    probes.push(several("pipeline", "a body between", bodies, &["POST", "GET"]));
    let closing = get("/a", "connection: close\r\n") + &get("/b", "");
    probes.push(several("pipeline", "behind close", closing, &["GET", "GET"]));
    let bad = get("/a", "") + "GET  /b HTTP/1.1\r\n\r\n";
    probes.push(several("pipeline", "a bad one behind", bad, &["GET", "GET"]));
    let blank = post("content-length: 2\r\n", "ab") + "\r\n" + &get("/b", "");
    probes.push(several("pipeline", "an empty line between", blank, &["POST", "GET"]));
}
