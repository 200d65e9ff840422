//! Heads of HTTP/2 requests: one unambiguous reading, or a refusal that reaches no upstream.

mod common {
    pub(crate) mod frames;
    pub(crate) mod probes;
    pub(crate) mod world;
}

use common::frames::{
    AUTHORITY, Frames, Outcome, Then, block, data, flag, get, head, literal, open, request, whole,
};
use common::probes::{BROKEN, Expect, MALFORMED, OK, Probe, check, probe, world};
use common::world::{Http, run};

const REFUSED: Expect = Expect::Status(400);

/// A probe of a whole request whose block is `block`.
fn of(name: &'static str, section: &'static str, block: Vec<u8>, expect: Expect) -> Probe {
    probe(name, section, whole(1, &block), expect)
}

/// [`of`] a GET with one more field.
fn with(name: &'static str, section: &'static str, field: (&[u8], &[u8]), expect: Expect) -> Probe {
    let path = if expect == OK { "/good" } else { "/bad" };
    of(name, section, [get(path), literal(field.0, field.1)].concat(), expect)
}

/// [`of`] a GET in which the pseudo-header `changed` has another value.
fn pseudo(name: &'static str, section: &'static str, changed: &str, value: &[u8], expect: Expect) -> Probe {
    let path = if expect == OK { "/good" } else { "/bad" };
    let fields = request("GET", path);
    let block = fields.iter().flat_map(|(name, usual)| {
        literal(name.as_bytes(), if *name == changed { value } else { usual.as_bytes() })
    });
    of(name, section, block.collect(), expect)
}

/// The block of a GET for `/bad` without one of its pseudo-header fields.
fn without(left_out: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let fields = request("GET", if more.is_empty() { "/bad" } else { "/good" });
    let kept: Vec<_> = fields.into_iter().filter(|(name, _)| *name != left_out).collect();
    block(&[&kept[..], more].concat())
}

fn bad(more: &[(&str, &str)]) -> Vec<u8> {
    head("GET", "/bad", more)
}

fn pseudo_headers() -> Vec<Probe> {
    let twice = |name: &'static str, field: (&str, &str)| {
        of(name, "8.3", [block(&[field]), get("/bad")].concat(), MALFORMED)
    };
    vec![
        of("no :method", "8.3.1", without(":method", &[]), MALFORMED),
        of("no :scheme", "8.3.1", without(":scheme", &[]), MALFORMED),
        of("no :path", "8.3.1", without(":path", &[]), MALFORMED),
        twice("two :method", (":method", "GET")),
        twice("two :scheme", (":scheme", "http")),
        twice("two :path", (":path", "/bad")),
        twice("two :authority", (":authority", AUTHORITY)),
        of("an unknown pseudo-header", "8.3", bad(&[(":foo", "1")]), BROKEN),
        of(":status in a request", "8.3", bad(&[(":status", "200")]), MALFORMED),
        of(":protocol without CONNECT", "RFC 8441 4", bad(&[(":protocol", "websocket")]), MALFORMED),
        of(
            "extended CONNECT, which was not offered",
            "RFC 8441 3",
            head("CONNECT", "/bad", &[(":protocol", "websocket")]),
            MALFORMED,
        ),
        of(
            "a pseudo-header behind a field",
            "8.3",
            [block(&[("x-a", "1")]), get("/bad")].concat(),
            MALFORMED,
        ),
        of("no pseudo-header at all", "8.3.1", block(&[("x-a", "1")]), MALFORMED),
        of("an empty block", "8.3.1", Vec::new(), MALFORMED),
        // The connection is given up (section 5.4.1 allows it) for what it cannot decode.
        pseudo("an empty :method", "8.3.1", ":method", b"", BROKEN),
        pseudo("a :method with a space", "8.3.1", ":method", b"GET /", BROKEN),
        pseudo("an unknown :method", "RFC 9110 9.1", ":method", b"BREW", OK),
        pseudo("a :method in lower case", "RFC 9110 9.1", ":method", b"get", OK),
        pseudo("an empty :path", "8.3.1", ":path", b"", MALFORMED),
        pseudo("a :path without a slash", "8.3.1", ":path", b"bad", MALFORMED),
        pseudo("a :path that is a URI", "8.3.1", ":path", b"http://x/bad", MALFORMED),
        pseudo("a :path that is a query only", "8.3.1", ":path", b"?bad", REFUSED),
        pseudo("GET *", "8.3.1", ":path", b"*", REFUSED),
        pseudo("a :path with a space", "8.3.1", ":path", b"/bad b", MALFORMED),
        pseudo("a :path with NUL", "8.3.1", ":path", b"/bad\0", MALFORMED),
        pseudo("a :path with CR LF", "10.3", ":path", b"/bad HTTP/1.1\r\nx: y", MALFORMED),
        pseudo("a :path with DEL", "8.3.1", ":path", b"/bad\x7f", MALFORMED),
        pseudo("a :path with a byte outside ASCII", "RFC 3986 2", ":path", "/bad\u{e9}".as_bytes(), REFUSED),
        pseudo("a :path that is not UTF-8", "RFC 3986 2", ":path", b"/bad\xff", BROKEN),
        // It is cut off before anybody sees it: what is matched is what is forwarded all the same.
        pseudo("a :path with a fragment", "RFC 3986 3.5", ":path", b"/good#b", OK),
        pseudo("a :path with an escaped slash", "RFC 3986 2.4", ":path", b"/bad%2fb", REFUSED),
        pseudo("a :path with an escaped backslash", "RFC 3986 2.4", ":path", b"/bad%5cb", REFUSED),
        pseudo("a :path with a backslash", "RFC 3986 2", ":path", b"/bad\\b", REFUSED),
        pseudo("a :path with a broken code", "RFC 3986 2.1", ":path", b"/bad%zz", REFUSED),
        pseudo("a :path that leaves the root", "RFC 3986 5.2.4", ":path", b"/../../good", OK),
        of("OPTIONS *", "8.3.1", head("OPTIONS", "*", &[]), Expect::Status(404)),
        pseudo(":scheme https", "8.3.1", ":scheme", b"https", OK),
        pseudo(":scheme ftp", "8.3.1", ":scheme", b"ftp", REFUSED),
        pseudo("an empty :scheme", "8.3.1", ":scheme", b"", REFUSED),
        pseudo("a :scheme that is none", "8.3.1", ":scheme", b"ht tp", MALFORMED),
        of("CONNECT", "8.5", block(&[(":method", "CONNECT"), (":authority", "x:80")]), Expect::Status(404)),
        of("CONNECT with :path", "8.5", head("CONNECT", "/bad", &[]), MALFORMED),
        of("CONNECT without :authority", "8.5", block(&[(":method", "CONNECT")]), REFUSED),
    ]
}

fn authorities() -> Vec<Probe> {
    let authority = |name, value, expect| pseudo(name, "RFC 9110 4.2.4, 7.2", ":authority", value, expect);
    let host = |name, fields: &[(&str, &str)]| of(name, "8.3.1", bad(fields), REFUSED);
    let only = |name, fields: &[(&str, &str)], expect| {
        let mut block = without(":authority", fields);
        if expect != OK {
            block = [without(":authority", &[]), self::block(fields)].concat();
        }
        of(name, "8.3.1", block, expect)
    };
    vec![
        authority("user information", b"user@x", REFUSED),
        authority("user information with a password", b"u:p@x", REFUSED),
        authority("an empty :authority", b"", MALFORMED),
        authority("a port that is no number", b"x:http", REFUSED),
        authority("a port too large", b"x:65536", REFUSED),
        authority("an empty host with a port", b":80", REFUSED),
        authority("an authority with a path", b"x/bad", MALFORMED),
        authority("an authority with a space", b"x y", MALFORMED),
        authority("an authority with CR LF", b"x\r\nhost: y", MALFORMED),
        authority("an authority with two dots", b"x..y", REFUSED),
        authority("a broken IPv6 address", b"[::1", MALFORMED),
        authority("an IPv6 zone", b"[fe80::1%25eth0]", REFUSED),
        authority("a host in upper case, with a port", b"X.Default.SVC.cluster.local:8080", OK),
        host("a host that disagrees", &[("host", "other")]),
        host("a host that disagrees by its port", &[("host", "x.default.svc.cluster.local:81")]),
        host("an empty host", &[("host", "")]),
        host("two hosts that agree", &[("host", AUTHORITY), ("host", AUTHORITY)]),
        host("two hosts of which one agrees", &[("host", AUTHORITY), ("host", "other")]),
        of("a host that agrees", "8.3.1", head("GET", "/good", &[("host", AUTHORITY)]), OK),
        only("neither :authority nor host", &[], REFUSED),
        only("a host alone", &[("host", AUTHORITY)], OK),
        only("two hosts alone", &[("host", AUTHORITY), ("host", AUTHORITY)], REFUSED),
        only("an empty host alone", &[("host", "")], REFUSED),
        only("a host alone with user information", &[("host", "user@x")], REFUSED),
        only("a host alone with a path", &[("host", "x/bad")], REFUSED),
        only("a host alone that is a list", &[("host", "x, y")], REFUSED),
    ]
}

fn fields() -> Vec<Probe> {
    // RFC 9113 section 5.4.1 allows a connection error where a stream error would do: a connection is given up whose
    // header block cannot be decoded into fields.
    vec![
        with("a name in upper case", "8.2.1", (b"X-A", b"1"), BROKEN),
        with("a name with a space", "8.2.1", (b"x a", b"1"), BROKEN),
        with("a name with a colon", "8.2.1", (b"x:a", b"1"), BROKEN),
        with("a name with CR LF", "8.2.1", (b"x-a: 1\r\nx-b", b"1"), BROKEN),
        with("a name with NUL", "8.2.1", (b"x\0", b"1"), BROKEN),
        with("a name with DEL", "8.2.1", (b"x\x7f", b"1"), BROKEN),
        with("a name outside ASCII", "8.2.1", (b"x\xe9", b"1"), BROKEN),
        with("an empty name", "8.2.1", (b"", b"1"), BROKEN),
        with("a value with NUL", "8.2.1", (b"x-a", b"a\0b"), BROKEN),
        with("a value with LF", "8.2.1", (b"x-a", b"a\nb: c"), BROKEN),
        with("a value with CR", "8.2.1", (b"x-a", b"a\rb"), BROKEN),
        with("a value with another control", "RFC 9110 5.5", (b"x-a", b"a\x01b"), BROKEN),
        with("a value with DEL", "RFC 9110 5.5", (b"x-a", b"a\x7fb"), BROKEN),
        with("a value that begins with a space", "8.2.1", (b"x-a", b" a"), REFUSED),
        with("a value that ends with a space", "8.2.1", (b"x-a", b"a "), REFUSED),
        with("a value that begins with a tab", "8.2.1", (b"x-a", b"\ta"), REFUSED),
        with("a value that ends with a tab", "8.2.1", (b"x-a", b"a\t"), REFUSED),
        with("a value that is a space", "8.2.1", (b"x-a", b" "), REFUSED),
        with("an empty value", "RFC 9110 5.5", (b"x-a", b""), OK),
        with("a value with a tab inside", "RFC 9110 5.5", (b"x-a", b"a\tb"), OK),
        with("a value outside ASCII", "RFC 9110 5.5", (b"x-a", b"\xe9\xff"), OK),
        with("connection", "8.2.2", (b"connection", b"close"), MALFORMED),
        with("an empty connection", "8.2.2", (b"connection", b""), MALFORMED),
        with("keep-alive", "8.2.2", (b"keep-alive", b"timeout=5"), MALFORMED),
        with("proxy-connection", "8.2.2", (b"proxy-connection", b"keep-alive"), MALFORMED),
        with("transfer-encoding", "8.2.2", (b"transfer-encoding", b"chunked"), MALFORMED),
        with("transfer-encoding: identity", "8.2.2", (b"transfer-encoding", b"identity"), MALFORMED),
        with("upgrade", "8.2.2", (b"upgrade", b"websocket"), MALFORMED),
        with("upgrade: h2c", "8.2.2", (b"upgrade", b"h2c"), MALFORMED),
        with("te: gzip", "8.2.2", (b"te", b"gzip"), MALFORMED),
        with("te: trailers, gzip", "8.2.2", (b"te", b"trailers, gzip"), MALFORMED),
        with("te: trailers", "8.2.2", (b"te", b"trailers"), OK),
    ]
}

fn lengths() -> Vec<Probe> {
    let length = |name, fields: &[(&str, &str)], expect| {
        let path = if expect == OK { "/good" } else { "/bad" };
        of(name, "8.1.1, RFC 9110 8.6", head("POST", path, fields), expect)
    };
    vec![
        length("content-length of 0, no body", &[("content-length", "0")], OK),
        length("content-length, no body", &[("content-length", "5")], MALFORMED),
        length("an empty content-length", &[("content-length", "")], REFUSED),
        length("content-length with a sign", &[("content-length", "+0")], MALFORMED),
        length("a negative content-length", &[("content-length", "-0")], MALFORMED),
        length("content-length in hexadecimal", &[("content-length", "0x0")], MALFORMED),
        length("content-length that is a list", &[("content-length", "0, 0")], MALFORMED),
        length("content-length with a space inside", &[("content-length", "0 0")], MALFORMED),
        length("content-length of a word", &[("content-length", "zero")], MALFORMED),
        length("content-length of 20 digits", &[("content-length", "18446744073709551616")], MALFORMED),
        length(
            "two content-lengths that agree",
            &[("content-length", "0"), ("content-length", "0")],
            REFUSED,
        ),
        length("two content-lengths", &[("content-length", "0"), ("content-length", "1")], MALFORMED),
    ]
}

fn sizes(up: Http) -> Vec<Probe> {
    // hyper's own limits, upstream: 100 fields with HTTP/1, those that Weir adds among them; 16 KiB with HTTP/2.
    let (most, large) = if up == Http::One { (90, 59 << 10) } else { (100, 12 << 10) };
    let counted = |count: usize| (0..count).flat_map(|i| literal(format!("x-{i}").as_bytes(), b"1"));
    let fields = |path, count| whole(1, &get(path).into_iter().chain(counted(count)).collect::<Vec<_>>());
    let sized = |bytes: usize| literal(b"x-a", vec![b'a'; bytes]);
    // In frames of at most 16 KiB.
    let split = |block: &[u8]| {
        let mut pieces = block.chunks(16 << 10).enumerate().peekable();
        let mut frames = Vec::new();
        while let Some((number, piece)) = pieces.next() {
            let last = if pieces.peek().is_none() { flag::END_HEADERS } else { 0 };
            frames.extend(match number {
                0 => common::frames::headers(1, flag::END_STREAM | last, piece),
                _ => common::frames::continuation(1, last, piece),
            });
        }
        frames
    };
    let too_large = Expect::Status(431);
    vec![
        probe("as many fields as may be", "limits", fields("/good", most), OK),
        probe("101 fields", "limits", fields("/bad", 101), too_large),
        probe("a large head", "limits", split(&[get("/good"), sized(large)].concat()), OK),
        probe("a head of 61 KiB", "10.5.1", split(&[get("/bad"), sized(61 << 10)].concat()), too_large),
    ]
}

#[test]
fn pseudo_headers_say_one_thing_or_the_request_goes_no_further() {
    run(async || {
        for up in Http::BOTH {
            check(up, pseudo_headers()).await;
        }
    });
}

#[test]
fn a_request_names_one_host_or_goes_no_further() {
    run(async || {
        for up in Http::BOTH {
            check(up, authorities()).await;
        }
    });
}

#[test]
fn a_field_that_http2_forbids_goes_no_further() {
    run(async || {
        for up in Http::BOTH {
            check(up, fields()).await;
        }
    });
}

#[test]
fn a_length_is_one_number_that_is_true() {
    run(async || {
        for up in Http::BOTH {
            check(up, lengths()).await;
        }
    });
}

#[test]
fn a_head_beyond_the_limits_is_told_so() {
    run(async || {
        for up in Http::BOTH {
            check(up, sizes(up)).await;
        }
    });
}

/// RFC 9113 section 8.2.3. A server that takes the first field for all would miss the others.
#[test]
fn cookie_crumbs_are_one_field_upstream() {
    run(async || {
        for up in Http::BOTH {
            let (world, upstream) = world(up).await;
            let mut caller = Frames::connect(world.addr("in")).await;
            let crumbs = [("cookie", "a=1"), ("x-a", "1"), ("cookie", "b=2"), ("cookie", "c=3")];
            caller.write(whole(1, &head("GET", "/", &crumbs))).await;
            assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
            assert_eq!(upstream.only().header("cookie"), Some("a=1; b=2; c=3"), "{up:?}");
        }
    });
}

/// RFC 9113 section 8.3.1: whichever way the caller names the host, the upstream is told once.
#[test]
fn the_host_reaches_the_upstream_once() {
    run(async || {
        for up in Http::BOTH {
            for fields in [
                head("GET", "/", &[]),
                head("GET", "/", &[("host", AUTHORITY)]),
                without(":authority", &[("host", AUTHORITY)]),
            ] {
                let (world, upstream) = world(up).await;
                let mut caller = Frames::connect(world.addr("in")).await;
                caller.write(whole(1, &fields)).await;
                assert!(matches!(caller.outcome(1).await, Outcome::Answer { status: 200, .. }));
                let seen = upstream.only();
                match up {
                    Http::One => assert_eq!(seen.header("host"), Some(AUTHORITY)),
                    Http::Two => {
                        let authority = seen.head.uri.authority().map(|authority| authority.as_str());
                        assert_eq!(authority, Some(AUTHORITY));
                        assert!(seen.header("host").is_none_or(|host| host == AUTHORITY));
                    }
                }
            }
        }
    });
}

/// limits.md, "What hyper does not do", 3: the body of a GET without a length is not lost on HTTP/1.
#[test]
fn a_body_of_a_get_reaches_the_upstream() {
    run(async || {
        for up in Http::BOTH {
            for fields in [&[][..], &[("content-length", "4")]] {
                let (world, upstream) = world(up).await;
                let mut caller = Frames::connect(world.addr("in")).await;
                caller.write(open(1, &head("GET", "/", fields))).await;
                caller.write(data(1, flag::END_STREAM, b"body")).await;
                let outcome = caller.outcome(1).await;
                assert!(
                    matches!(outcome, Outcome::Answer { status: 200, then: Then::End, .. }),
                    "{outcome:?}"
                );
                assert_eq!(&upstream.only().body[..], b"body", "{up:?}");
            }
        }
    });
}

#[test]
fn a_refusal_is_one_line_in_the_access_log_that_says_why() {
    run(async || {
        let (world, _upstream) = world(Http::Two).await;
        let table = [
            (bad(&[("host", "other")]), "http2.host_disagrees_with_authority"),
            (bad(&[("host", AUTHORITY), ("host", AUTHORITY)]), "http1.multiple_hosts"),
            (without(":authority", &[]), "missing_host_header"),
            (bad(&[("content-length", "0"), ("content-length", "0")]), "http2.unexpected_content_length"),
            (bad(&[("x-a", " 1")]), "http2.invalid_header_value"),
            (head("GET", "/bad%2f", &[]), "path_normalization_failed"),
            (head("GET", "*", &[]), "path_normalization_failed"),
            (
                block(&[(":method", "GET"), (":scheme", "ftp"), (":authority", "x"), (":path", "/bad")]),
                "http2.invalid_scheme",
            ),
            (
                block(&[(":method", "GET"), (":scheme", "http"), (":authority", "u@x"), (":path", "/bad")]),
                "http1.invalid_host",
            ),
        ];
        let mut caller = Frames::connect(world.addr("in")).await;
        for (number, (block, details)) in table.iter().enumerate() {
            let id = 2 * number as u32 + 1;
            caller.write(whole(id, block)).await;
            let outcome = caller.outcome(id).await;
            let body = b"Bad Request".to_vec();
            assert_eq!(outcome, Outcome::Answer { status: 400, body, then: Then::End }, "{details}");
            let lines = world.log(number + 1).await;
            assert_eq!(lines.len(), number + 1, "{lines:?}");
            assert!(lines[number].starts_with(&format!("400 DPE {details} ")), "{}", lines[number]);
        }
    });
}
