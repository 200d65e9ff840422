//! Requests: what is read, and what is refused.

use http::Version;

use super::super::Malformed::{
    self, ContentLength, FieldName, FieldValue, Fragment, InvalidHost, LengthAndChunked, LineEnd, Method,
    MissingHost, MultipleHosts, ObsFold, Target, TransferEncoding,
};
use super::super::{Framing, HeadError};
use super::{Failures, request};

/// `(RFC section, the whole head, why it is refused)`.
type Refusal = (&'static str, &'static [u8], Malformed);

const LINES: &[Refusal] = &[
    ("9112 3: two spaces before the target", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3: two spaces before the version", b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 3: a tab for a space", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", Method),
    ("9112 3: a space in front", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", Method),
    ("9112 3: a space behind", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 3: a space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9110 9.1: no method", b"/ HTTP/1.1\r\nHost: h\r\n\r\n", Method),
    ("9110 9.1: a method that is no token", b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", Method),
    ("9112 2.3: HTTP/0.9", b"GET /\r\n\r\n", Malformed::Version),
    ("9112 2.3: HTTP/1.2", b"GET / HTTP/1.2\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.3: HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\n", Target),
    ("9112 2.3: HTTP/1.10", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.3: HTTP/1", b"GET / HTTP/1\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.3: lower case", b"GET / http/1.1\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.2: LF behind the request line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", LineEnd),
    ("9112 2.2: LF behind a field", b"GET / HTTP/1.1\r\nHost: h\n\r\n", LineEnd),
    ("9112 2.2: LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", LineEnd),
    ("9112 2.2: LF in front", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", LineEnd),
    ("9112 2.2: LF only", b"GET / HTTP/1.1\nHost: h\n\n", LineEnd),
    ("9112 2.2: CR in the request line", b"GET /\rHTTP/1.1\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.2: two CR", b"GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", Malformed::Version),
    ("9112 2.2: CR in front", b"\rGET / HTTP/1.1\r\nHost: h\r\n\r\n", Method),
    ("9112 2.2: CR in a value", b"GET / HTTP/1.1\r\nHost: h\r\na: b\rc: d\r\n\r\n", FieldValue),
    ("9112 2.2: CR behind a value", b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", FieldValue),
    ("9112 2.2: space before the first field", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", ObsFold),
];

const TARGETS: &[Refusal] = &[
    ("9112 3.2: a name", b"GET x HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.3: authority with GET", b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.4: * with GET", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.4: ** with OPTIONS", b"OPTIONS ** HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.2: another scheme", b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.2: no scheme", b"GET ://h/ HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.2: one slash", b"GET http:/h HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2.2: no authority", b"GET http:///a HTTP/1.1\r\nHost: h\r\n\r\n", InvalidHost),
    ("9110 4.2.4: user information", b"GET http://u@h/ HTTP/1.1\r\nHost: h\r\n\r\n", InvalidHost),
    ("9112 3.2.2: a port of letters", b"GET http://h:x/ HTTP/1.1\r\nHost: h\r\n\r\n", InvalidHost),
    ("9112 3.2.2: Host beside it has a space", b"GET http://h/ HTTP/1.1\r\nHost: a b\r\n\r\n", InvalidHost),
    ("9112 3.2.2: Host beside it has a slash", b"GET http://h/ HTTP/1.1\r\nHost: a/b\r\n\r\n", InvalidHost),
    ("9112 3.2.3: CONNECT with a path", b"CONNECT /a HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("9112 3.2: a fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", Fragment),
    ("9112 3.2: a fragment in the query", b"GET /a?b#c HTTP/1.1\r\nHost: h\r\n\r\n", Fragment),
    ("3986 2: a byte outside ASCII", b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("3986 2: NUL", b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("3986 2: DEL", b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", Target),
    ("3986 2: a tab", b"GET /\t HTTP/1.1\r\nHost: h\r\n\r\n", Target),
];

const FIELDS: &[Refusal] = &[
    ("9112 5.2: a folded field", b"GET / HTTP/1.1\r\nHost: h\r\na: b\r\n c\r\n\r\n", ObsFold),
    ("9112 5.2: folded by a tab", b"GET / HTTP/1.1\r\nHost: h\r\na: b\r\n\tc\r\n\r\n", ObsFold),
    ("9112 5.1: a space before the colon", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", FieldName),
    ("9112 5.1: a tab before the colon", b"GET / HTTP/1.1\r\nHost\t: h\r\n\r\n", FieldName),
    ("9112 5: no colon", b"GET / HTTP/1.1\r\nHost: h\r\nab\r\n\r\n", FieldName),
    ("9112 5: no name", b"GET / HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n", FieldName),
    ("9110 5.1: a name that is no token", b"GET / HTTP/1.1\r\nHost: h\r\na(b: c\r\n\r\n", FieldName),
    ("9110 5.1: a quote in a name", b"GET / HTTP/1.1\r\nHost: h\r\na\"b: c\r\n\r\n", FieldName),
    ("9110 5.1: NUL in a name", b"GET / HTTP/1.1\r\nHost: h\r\na\0b: c\r\n\r\n", FieldName),
    ("9110 5.1: obs-text in a name", b"GET / HTTP/1.1\r\nHost: h\r\n\xe9: c\r\n\r\n", FieldName),
    ("9110 5.5: NUL in a value", b"GET / HTTP/1.1\r\nHost: h\r\na: \0\r\n\r\n", FieldValue),
    ("9110 5.5: a control in a value", b"GET / HTTP/1.1\r\nHost: h\r\na: b\x01\r\n\r\n", FieldValue),
    ("9110 5.5: DEL in a value", b"GET / HTTP/1.1\r\nHost: h\r\na: b\x7f\r\n\r\n", FieldValue),
    ("9112 3.2: no Host", b"GET / HTTP/1.1\r\na: b\r\n\r\n", MissingHost),
    ("9112 3.2.2: no Host beside a URL", b"GET http://h/ HTTP/1.1\r\n\r\n", MissingHost),
    ("9112 3.2: two Hosts", b"GET / HTTP/1.1\r\nHost: h\r\nhost: g\r\n\r\n", MultipleHosts),
    ("9112 3.2: two equal Hosts", b"GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", MultipleHosts),
    ("9112 3.2: two Hosts in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", MultipleHosts),
    ("9112 3.2: an empty Host", b"GET / HTTP/1.1\r\nHost: \r\n\r\n", InvalidHost),
    ("9112 3.2: a list of Hosts", b"GET / HTTP/1.1\r\nHost: h,g\r\n\r\n", InvalidHost),
    ("9112 3.2: Host with obs-text", b"GET / HTTP/1.1\r\nHost: h\xe9\r\n\r\n", InvalidHost),
    ("9112 3.2: Host with a space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", InvalidHost),
];

#[test]
fn a_request_without_a_single_reading_is_refused_with_the_reason() {
    let mut failures = Failures::default();
    for (row, bytes, expected) in [LINES, TARGETS, FIELDS].concat() {
        let actual = request(bytes).map(|head| format!("{head:?}"));
        failures.check(row, &actual, &Err(HeadError::Malformed(expected)));
    }
    failures.report();
}

/// `(RFC section, framing fields, HTTP/1.0 too, what is read)`.
#[test]
fn the_framing_of_a_request_has_one_reading_or_none() {
    let whole: &[(&str, &str, Result<Framing, Malformed>)] = &[
        ("9112 6.3: neither", "", Ok(Framing::Empty)),
        ("9112 6.3: a length", "content-length: 5\r\n", Ok(Framing::Length(5))),
        ("9110 8.6: no length", "content-length: 0\r\n", Ok(Framing::Length(0))),
        ("9110 8.6: zeros in front", "Content-Length:  007 \r\n", Ok(Framing::Length(7))),
        ("9110 8.6: 2^63-1", "content-length: 9223372036854775807\r\n", Ok(Framing::Length(u64::MAX >> 1))),
        ("9110 8.6: 2^63", "content-length: 9223372036854775808\r\n", Err(ContentLength)),
        ("9110 8.6: 2^64", "content-length: 18446744073709551616\r\n", Err(ContentLength)),
        ("9110 8.6: 2^64 + 5", "content-length: 18446744073709551621\r\n", Err(ContentLength)),
        ("9110 8.6: two lengths", "content-length: 5\r\ncontent-length: 6\r\n", Err(ContentLength)),
        ("9110 8.6: two equal lengths", "content-length: 5\r\nContent-Length: 5\r\n", Err(ContentLength)),
        ("9110 8.6: three lengths", &"content-length: 5\r\n".repeat(3), Err(ContentLength)),
        ("9110 8.6: a list", "content-length: 2, 2\r\n", Err(ContentLength)),
        ("9110 8.6: a sign", "content-length: +2\r\n", Err(ContentLength)),
        ("9110 8.6: below zero", "content-length: -1\r\n", Err(ContentLength)),
        ("9110 8.6: nothing", "content-length:\r\n", Err(ContentLength)),
        ("9110 8.6: hexadecimal", "content-length: 0x2\r\n", Err(ContentLength)),
        ("9110 8.6: a space within", "content-length: 2 2\r\n", Err(ContentLength)),
        ("9110 8.6: a point", "content-length: 2.0\r\n", Err(ContentLength)),
        ("9112 6.1: chunked", "transfer-encoding: chunked\r\n", Ok(Framing::Chunked)),
        ("9112 7: any case", "Transfer-Encoding:\tChunKed \r\n", Ok(Framing::Chunked)),
        ("9112 6.1: another coding", "transfer-encoding: gzip\r\n", Err(TransferEncoding)),
        ("9112 6.1: two codings", "transfer-encoding: gzip, chunked\r\n", Err(TransferEncoding)),
        ("9112 6.1: chunked twice", "transfer-encoding: chunked, chunked\r\n", Err(TransferEncoding)),
        ("9112 6.1: chunked, identity", "transfer-encoding: chunked, identity\r\n", Err(TransferEncoding)),
        ("9112 6.1: identity", "transfer-encoding: identity\r\n", Err(TransferEncoding)),
        ("9112 6.1: nothing", "transfer-encoding:\r\n", Err(TransferEncoding)),
        ("9112 6.1: a comma", "transfer-encoding: ,chunked\r\n", Err(TransferEncoding)),
        ("9112 6.1: xchunked", "transfer-encoding: xchunked\r\n", Err(TransferEncoding)),
        ("9112 7: a parameter", "transfer-encoding: chunked;q=1\r\n", Err(TransferEncoding)),
        ("9112 7: quoted", "transfer-encoding: \"chunked\"\r\n", Err(TransferEncoding)),
        ("9112 6.1: two fields", &"transfer-encoding: chunked\r\n".repeat(2), Err(TransferEncoding)),
        ("9112 6.1: both", "transfer-encoding: chunked\r\ncontent-length: 5\r\n", Err(LengthAndChunked)),
        (
            "9112 6.1: both, reversed",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            Err(LengthAndChunked),
        ),
    ];
    let mut failures = Failures::default();
    for (row, fields, expected) in whole {
        for version in ["1.1", "1.0"] {
            let expected = match expected {
                Ok(Framing::Chunked) | Err(LengthAndChunked) if version == "1.0" => Err(TransferEncoding),
                expected => *expected,
            };
            let head = request(format!("POST / HTTP/{version}\r\nhost: h\r\n{fields}\r\n").as_bytes());
            let row = format!("{row}, HTTP/{version}");
            if let Ok(head) = &head {
                failures.check(&row, &head.parts.headers.contains_key("transfer-encoding"), &false);
            }
            failures.check(&row, &head.map(|head| head.framing), &expected.map_err(HeadError::Malformed));
        }
    }
    failures.report();
}

#[test]
fn the_connection_persists_as_the_version_and_its_options_say() {
    let mut failures = Failures::default();
    for (fields, expected_11, expected_10) in [
        ("", true, false),
        ("connection: close\r\n", false, false),
        ("connection: keep-alive\r\n", true, true),
        ("connection: Keep-Alive, X\r\n", true, true),
        ("connection: x ,CLOSE\r\n", false, false),
        ("connection: keep-alive\r\nconnection: close\r\n", false, false),
        ("connection: closed\r\n", true, false),
        ("keep-alive: 5\r\n", true, false),
    ] {
        for (version, expected) in [("1.1", expected_11), ("1.0", expected_10)] {
            let head = request(format!("GET / HTTP/{version}\r\nhost: h\r\n{fields}\r\n").as_bytes());
            failures.check(
                &format!("{fields:?} {version}"),
                &head.map(|head| head.keep_alive),
                &Ok(expected),
            );
        }
    }
    failures.report();
}

#[test]
fn a_continue_is_expected_in_http_11_with_a_body_only() {
    let mut failures = Failures::default();
    for (version, fields, expected) in [
        ("1.1", "expect: 100-continue\r\ncontent-length: 1\r\n", true),
        ("1.1", "expect: 100-Continue\r\ntransfer-encoding: chunked\r\n", true),
        ("1.1", "expect: x, 100-continue\r\ncontent-length: 1\r\n", true),
        ("1.1", "expect: 100-continue\r\n", false),
        ("1.1", "expect: 100-continue\r\ncontent-length: 0\r\n", false),
        ("1.1", "expect: 100-continued\r\ncontent-length: 1\r\n", false),
        ("1.0", "expect: 100-continue\r\ncontent-length: 1\r\n", false),
    ] {
        let head = request(format!("PUT / HTTP/{version}\r\nhost: h\r\n{fields}\r\n").as_bytes());
        failures.check(fields, &head.map(|head| head.expects_continue), &Ok(expected));
    }
    failures.report();
}

#[test]
fn every_form_of_a_target_keeps_what_it_says() {
    let mut failures = Failures::default();
    for (line, scheme, authority, path) in [
        ("GET /", None, None, "/"),
        ("GET /a/../b%2f?c=/d?e", None, None, "/a/../b%2f?c=/d?e"),
        ("GET //h/a", None, None, "//h/a"),
        ("GET http://h", Some("http"), Some("h"), "/"),
        ("GET HTTP://H:80/a?b", Some("http"), Some("H:80"), "/a?b"),
        ("GET https://[::1]:8500?a", Some("https"), Some("[::1]:8500"), "/?a"),
        ("GET http://h:/", Some("http"), Some("h:"), "/"),
        ("OPTIONS *", None, None, "*"),
        ("CONNECT h:80", None, Some("h:80"), ""),
    ] {
        let head = request(format!("{line} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes());
        let actual = head.map(|head| {
            let uri = head.parts.uri.into_parts();
            let path = uri.path_and_query.map(|path| path.to_string()).unwrap_or_default();
            (uri.scheme.map(|s| s.to_string()), uri.authority.map(|a| a.to_string()), path)
        });
        let expected = (scheme.map(str::to_owned), authority.map(str::to_owned), path.to_owned());
        failures.check(line, &actual, &Ok(expected));
    }
    failures.report();
}

/// RFC 9110 section 9.1: the list of methods is open, and case matters.
#[test]
fn a_method_is_any_token() {
    for method in ["GET", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09azAZ", &"X".repeat(100)] {
        let head = request(format!("{method} / HTTP/1.0\r\n\r\n").as_bytes()).expect(method);
        assert_eq!((head.parts.method.as_str(), head.parts.version), (method, Version::HTTP_10));
    }
}

#[test]
fn values_lose_the_white_space_around_them_and_nothing_else() {
    let head = request(
        b"GET / HTTP/1.1\r\nHost:h\r\nA: \t b \t c \t\r\nb:\r\nC: \xe9\tx\r\na:2\r\nX_y: \" ; ,\"\r\n\r\n",
    );
    let headers = head.expect("it is well formed").parts.headers;
    let all =
        |name: &str| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>();
    assert_eq!(all("a"), [b"b \t c".to_vec(), b"2".to_vec()]);
    assert_eq!(all("b"), [b"".to_vec()]);
    assert_eq!(all("c"), [b"\xe9\tx".to_vec()]);
    assert_eq!(all("x_y"), [b"\" ; ,\"".to_vec()]);
}

/// RFC 3986 section 2 allows none of `"<>\^`{|}`; callers send some of them as they are. What passes here is still
/// judged by the normal form of the path.
#[test]
fn a_target_may_hold_every_visible_character_but_a_few_that_no_uri_has() {
    let refused = |start: &str| -> String {
        let takes = |character: char| {
            request(format!("GET {start}{character} HTTP/1.1\r\nhost: h\r\n\r\n").as_bytes()).is_ok()
        };
        (0..=0x7f_u8)
            .map(char::from)
            .filter(|character| character.is_ascii_graphic() && !takes(*character))
            .collect()
    };
    assert_eq!(refused("/"), "#<>`");
    assert_eq!(refused("/?"), "\"#<>");
}
