//! Host and the target's forms, byte for byte: whose request it is has one reading, and that one is forwarded.
//!
//! Source: RFC 9110 sections 4.2.4 and 7.2; RFC 9112 sections 3.2, 3.2.2 and 3.3; RFC 3986 section 3.2; `docs/wire.md`.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::table::{Case, End, passes, prove, refused, want};

const HOST: &str = "RFC 9112 section 3.2";
const ABSOLUTE: &str = "RFC 9112 section 3.2.2";
const AUTHORITY: &str = "RFC 9112 section 3.2.3";
const SYNTAX: &str = "RFC 3986 section 3.2";

fn get(target: &str, fields: &str) -> String {
    format!("GET {target} HTTP/1.1\r\n{fields}\r\n")
}

#[test]
fn http_1_1_has_exactly_one_host() {
    prove(&[
        passes("none", HOST, get("/", ""), []).then_refused("missing_host_header"),
        passes("none beside other fields", HOST, get("/", "x-a: 1\r\n"), [])
            .then_refused("missing_host_header"),
        passes("two that differ", HOST, get("/", "host: x\r\nhost: y\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("two that are equal", HOST, get("/", "host: x\r\nhost: x\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("two in different cases", HOST, get("/", "Host: x\r\nhOST: x\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("two with a field between", HOST, get("/", "host: x\r\nx-a: 1\r\nhost: y\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("three", HOST, get("/", "host: x\r\nhost: x\r\nhost: x\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("one and an empty one", HOST, get("/", "host: x\r\nhost:\r\n"), [])
            .then_refused("http1.multiple_hosts"),
        passes("an empty one", HOST, get("/", "host:\r\n"), []).then_refused("http1.invalid_host"),
        passes("spaces alone", HOST, get("/", "host:   \r\n"), []).then_refused("http1.invalid_host"),
        refused("none with an absolute target", ABSOLUTE, get("http://x/", "")),
        refused("two with an absolute target", ABSOLUTE, get("http://x/", "host: x\r\nhost: x\r\n")),
        refused("an empty one with an absolute target", ABSOLUTE, get("http://x/", "host:\r\n")),
        refused("host with a space before its colon", HOST, get("/", "host : x\r\n")),
        refused("host folded", HOST, get("/", "host:\r\n x\r\n")),
    ]);
}

#[test]
fn a_host_that_is_none_is_refused() {
    let bad = [
        ("a list", "x, y"),
        ("a list without a space", "x,y z"),
        ("two words", "x y"),
        ("user information", "user@x"),
        ("user and password", "user:secret@x"),
        ("an empty user", "@x"),
        ("a port that is no number", "x:http"),
        ("a port above 65535", "x:65536"),
        ("a signed port", "x:+80"),
        ("a negative port", "x:-80"),
        ("two ports", "x:80:80"),
        ("a port alone", ":80"),
        ("a slash", "x/a"),
        ("a query", "x?a"),
        ("a fragment", "x#a"),
        ("a backslash", "x\\a"),
        ("a scheme", "http://x"),
        ("an open bracket", "[::1"),
        ("brackets with no address", "[]"),
        ("an IPv4 address in brackets", "[127.0.0.1]"),
        ("an IPv6 address without brackets", "::1"),
        ("letters behind the brackets", "[::1]x"),
        ("a zone", "[fe80::1%25eth0]"),
        ("an empty label", "x..y"),
        ("a leading dot", ".x"),
        ("a dot alone", "."),
        ("a broken percent-code", "x%2"),
        ("a percent-code of no digits", "x%zz"),
        ("quotation marks", "\"x\""),
        ("angle brackets", "<x>"),
        ("braces", "{x}"),
        ("a tab inside", "x\ty"),
        ("UTF-8", "ä.example"),
        ("a control", "x\u{1}"),
    ];
    let mut cases: Vec<Case> = bad
        .iter()
        .map(|(name, host)| refused(name, SYNTAX, get("/", &format!("host: {host}\r\n"))))
        .collect();
    cases.push(refused("NUL", SYNTAX, get("/", "host: x\0\r\n")));
    cases.push(refused("byte 0xff", SYNTAX, b"GET / HTTP/1.1\r\nhost: x\xff\r\n\r\n"));
    prove(&cases);
}

#[test]
fn a_host_is_forwarded_as_it_was_sent() {
    let mut cases = Vec::new();
    for host in [
        "x",
        "X.Example",
        "x:80",
        "x:",
        "x:00080",
        "other.example:8501",
        "10.0.0.1",
        "10.0.0.1:1",
        "[::1]",
        "[::1]:8501",
        "my_model-1",
        "x.example.",
        "xn--bcher-kva.example",
        "a!b",
        "0",
    ] {
        cases.push(passes(host, SYNTAX, get("/", &format!("host: {host}\r\n")), want("GET", "/").host(host)));
    }
    cases.push(passes("spaces and tabs around", HOST, get("/", "host: \t x \t\r\n"), want("GET", "/")));
    cases.push(passes("no space at all", HOST, get("/", "HOST:x\r\n"), want("GET", "/")));
    prove(&cases);
}

#[test]
fn where_the_host_decides_it_is_found_in_any_spelling_and_never_guessed() {
    let full = "x.default.svc.cluster.local";
    let nothing = End::Replies { status: 404, body: "", flag: "NR", details: "route_not_found", keeps: true };
    let known = |host: &str| {
        passes(host, SYNTAX, get("/", &format!("host: {host}\r\n")), want("GET", "/").host(host)).by_host()
    };
    prove(&[
        known(full),
        known("X.Default.SVC.Cluster.Local"),
        known("x.default.svc.cluster.local:8500"),
        known("x.default.svc.cluster.local."),
        passes("a stranger", SYNTAX, get("/", "host: stranger.example\r\n"), [])
            .by_host()
            .then(nothing.clone()),
        passes(
            "the target names it, Host a stranger",
            ABSOLUTE,
            get(&format!("http://{full}/a"), "host: stranger.example\r\n"),
            want("GET", "/a").host(full),
        )
        .by_host(),
        passes(
            "Host names it, the target a stranger",
            ABSOLUTE,
            get("http://stranger.example/a", &format!("host: {full}\r\n")),
            [],
        )
        .by_host()
        .then(nothing),
        refused("HTTP/1.0 without Host", HOST, "GET / HTTP/1.0\r\n\r\n").by_host(),
        refused("user information before it", SYNTAX, get("/", &format!("host: a@{full}\r\n"))).by_host(),
    ]);
}

#[test]
fn http_1_0_may_lack_the_host_where_the_listener_knows_its_service() {
    let service = "x.default.svc.cluster.local";
    prove(&[
        passes("none", HOST, "GET / HTTP/1.0\r\n\r\n", want("GET", "/").host(service)).closes(),
        passes("one", HOST, "GET / HTTP/1.0\r\nhost: y\r\n\r\n", want("GET", "/").host("y")).closes(),
        passes(
            "an absolute target",
            ABSOLUTE,
            "GET http://y/a HTTP/1.0\r\n\r\n",
            want("GET", "/a").host("y"),
        )
        .closes(),
        refused("two", HOST, "GET / HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n"),
        refused("an empty one", HOST, "GET / HTTP/1.0\r\nhost:\r\n\r\n"),
        refused("user information", HOST, "GET / HTTP/1.0\r\nhost: a@x\r\n\r\n"),
    ]);
}

#[test]
fn an_absolute_target_replaces_the_host() {
    let ok = |name: &str, target: &str, path: &str, host: &str| {
        passes(name, ABSOLUTE, get(target, "host: ignored\r\n"), want("GET", path).host(host))
    };
    prove(&[
        ok("path and query", "http://other:99/p?q=1", "/p?q=1", "other:99"),
        ok("https", "https://other/p", "/p", "other"),
        ok("a scheme in upper case", "HTTP://other/p", "/p", "other"),
        ok("no path", "http://other", "/", "other"),
        ok("a query without a path", "http://other?q=1", "/?q=1", "other"),
        ok("an IPv6 address", "http://[::1]:80/", "/", "[::1]:80"),
        ok("dots in the path", "http://other/a/../b", "/b", "other"),
        ok("a URL in the query", "http://other/?u=http://third/", "/?u=http://third/", "other"),
    ]);
    let bad = [
        ("another scheme", "ftp://other/"),
        ("file", "file:///etc/passwd"),
        ("ws", "ws://other/"),
        ("an empty scheme", "://other/"),
        ("no authority", "http:///a"),
        ("one slash", "http:/other/a"),
        ("no slash", "http:other"),
        ("user information", "http://user@other/"),
        ("user and password", "http://user:secret@other/"),
        ("a bad port", "http://other:x/"),
        ("a port above 65535", "http://other:65536/"),
        ("an empty host", "http://:80/"),
        ("a broken bracket", "http://[::1/"),
        ("a fragment", "http://other/#a"),
        ("a backslash", "http://other\\a/"),
        ("a backslash before the user's mark", "http://other\\@x/"),
        ("an escaped slash in the path", "http://other/a%2fb"),
        ("a comma and a second", "http://other,http://x/"),
    ];
    let cases: Vec<Case> =
        bad.iter().map(|(name, target)| refused(name, ABSOLUTE, get(target, "host: x\r\n"))).collect();
    prove(&cases);
}

#[test]
fn a_target_that_is_no_path_and_no_url_is_refused() {
    let mut cases = Vec::new();
    for target in [
        "x",
        "x:80",
        "other.example",
        "index.html",
        "?q=1",
        "#a",
        ".",
        "..",
        "./a",
        "a/b",
        "%2fa",
        "\\a",
        "mailto:a",
        "a=b",
        "**",
        "~",
    ] {
        cases.push(refused(target, AUTHORITY, get(target, "host: x\r\n")));
    }
    cases.push(refused(
        "POST with an authority",
        AUTHORITY,
        "POST x:80 HTTP/1.1\r\nhost: x:80\r\ncontent-length: 0\r\n\r\n",
    ));
    cases.push(refused(
        "OPTIONS with an authority",
        AUTHORITY,
        "OPTIONS x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n",
    ));
    // CONNECT takes no other form; nothing is tunnelled either way.
    let nothing =
        End::Replies { status: 404, body: "", flag: "NR", details: "route_not_found", keeps: false };
    let connect = "CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";
    cases.push(
        passes("CONNECT with a request behind it", AUTHORITY, connect, []).then(nothing).asked_by("CONNECT"),
    );
    prove(&cases);
}
