//! Lengths and transfer codings, byte for byte: where a request ends has one reading, and the next begins there.
//!
//! Source: RFC 9110 section 8.6; RFC 9112 sections 6.1 to 6.3 and 11.2; `docs/wire.md`.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::table::{Case, passes, prove, refused, want};

const LENGTH: &str = "RFC 9110 section 8.6";
const CODING: &str = "RFC 9112 section 6.1";
const BODY: &str = "RFC 9112 section 6.3";
/// What a caller would smuggle: it would be the next request to whoever misreads the first.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: x\r\n\r\n";

/// A POST with these fields and what stands behind its head.
fn post(fields: &str, rest: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\n{fields}\r\n{rest}")
}

#[test]
fn a_length_is_one_field_of_digits() {
    let bad = [
        ("two that are equal", "content-length: 2\r\ncontent-length: 2\r\n"),
        ("two that differ", "content-length: 2\r\ncontent-length: 0\r\n"),
        ("two that differ, the smaller first", "content-length: 0\r\ncontent-length: 2\r\n"),
        ("two with a field between", "content-length: 2\r\nx-a: 1\r\nContent-Length: 2\r\n"),
        ("a list of equals", "content-length: 2, 2\r\n"),
        ("a list without a space", "content-length: 2,2\r\n"),
        ("a list that differs", "content-length: 2, 3\r\n"),
        ("a list that ends with a comma", "content-length: 2,\r\n"),
        ("two numbers", "content-length: 2 2\r\n"),
        ("a plus", "content-length: +2\r\n"),
        ("a minus", "content-length: -1\r\n"),
        ("minus zero", "content-length: -0\r\n"),
        ("nothing", "content-length:\r\n"),
        ("spaces", "content-length:   \r\n"),
        ("hexadecimal", "content-length: 0x2\r\n"),
        ("a letter behind", "content-length: 2a\r\n"),
        ("a letter", "content-length: a\r\n"),
        ("a fraction", "content-length: 2.0\r\n"),
        ("an exponent", "content-length: 2e0\r\n"),
        ("an underscore", "content-length: 1_0\r\n"),
        ("quotation marks", "content-length: \"2\"\r\n"),
        ("a semicolon", "content-length: 2;a=b\r\n"),
        ("2^63", "content-length: 9223372036854775808\r\n"),
        ("2^64", "content-length: 18446744073709551616\r\n"),
        ("2^64 + 2", "content-length: 18446744073709551618\r\n"),
        ("2^64 - 1", "content-length: 18446744073709551615\r\n"),
        ("40 digits", "content-length: 1000000000000000000000000000000000000002\r\n"),
        ("a space before the colon", "content-length : 2\r\n"),
        ("a tab before the colon", "content-length\t: 2\r\n"),
        ("a vertical tab before the number", "content-length: \x0b2\r\n"),
        ("an Arabic digit", "content-length: ٢\r\n"),
        ("folded", "content-length:\r\n 2\r\n"),
    ];
    let mut cases: Vec<Case> = bad
        .iter()
        .map(|(name, fields)| refused(name, LENGTH, post(fields, &format!("ab{SMUGGLED}"))))
        .collect();
    cases.push(refused("NUL", LENGTH, post("content-length: 2\0\r\n", "ab")));
    cases.push(refused(
        "two of a GET",
        LENGTH,
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 0\r\n\r\n",
    ));
    prove(&cases);
}

#[test]
fn a_body_of_a_length_arrives_whole_and_ends_there() {
    let next = || want("GET", "/next");
    let behind = "GET /next HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut cases = vec![
        passes("two bytes", BODY, post("content-length: 2\r\n", "ab"), want("POST", "/").body("ab")),
        passes("none", BODY, post("content-length: 0\r\n", ""), want("POST", "/").body("")),
        passes("leading zeros", LENGTH, post("content-length: 0002\r\n", "ab"), want("POST", "/").body("ab")),
        passes("spaces around", LENGTH, post("content-length: \t2 \r\n", "ab"), want("POST", "/").body("ab")),
        passes("in upper case", LENGTH, post("CONTENT-LENGTH:2\r\n", "ab"), want("POST", "/").body("ab")),
        passes(
            "a request behind it",
            BODY,
            post("content-length: 2\r\n", &format!("ab{behind}")),
            [want("POST", "/").body("ab"), next()],
        ),
        passes(
            "none and a request behind it",
            BODY,
            post("content-length: 0\r\n", behind),
            [want("POST", "/").body(""), next()],
        ),
        passes(
            "a body that reads like a request",
            BODY,
            post(&format!("content-length: {}\r\n", SMUGGLED.len()), SMUGGLED),
            want("POST", "/").body(SMUGGLED),
        ),
        passes(
            "a body of chunks' form",
            BODY,
            post("content-length: 10\r\n", "2\r\nab\r\n0\r\n"),
            want("POST", "/").body("2\r\nab\r\n0\r\n"),
        ),
        passes("POST without a body", BODY, post("", ""), want("POST", "/")),
        passes(
            "POST without a body, a request behind it",
            BODY,
            post("", behind),
            [want("POST", "/"), next()],
        ),
        passes(
            "bytes of every value",
            BODY,
            [post("content-length: 256\r\n", "").into_bytes(), (0..=255).collect()].concat(),
            want("POST", "/").body((0..=255).collect::<Vec<u8>>()),
        ),
    ];
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "TRACE", "QUERY"] {
        let bytes = format!("{method} / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nab");
        cases.push(passes(&format!("{method} with a body"), BODY, bytes, want(method, "/").body("ab")));
        let bytes = format!(
            "{method} / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
        );
        cases.push(passes(&format!("{method} with chunks"), BODY, bytes, want(method, "/").chunks("ab")));
    }
    let long = "0123456789abcdef".repeat(10_000);
    cases.push(passes(
        "160,000 bytes",
        BODY,
        post("content-length: 160000\r\n", &long),
        want("POST", "/").body(&long),
    ));
    prove(&cases);
}

#[test]
fn a_transfer_coding_is_chunked_once_or_refused() {
    let bad = [
        ("gzip", "transfer-encoding: gzip\r\n"),
        ("identity", "transfer-encoding: identity\r\n"),
        ("nothing", "transfer-encoding:\r\n"),
        ("gzip, chunked", "transfer-encoding: gzip, chunked\r\n"),
        ("chunked, gzip", "transfer-encoding: chunked, gzip\r\n"),
        ("chunked, chunked", "transfer-encoding: chunked, chunked\r\n"),
        ("chunked, identity", "transfer-encoding: chunked, identity\r\n"),
        ("identity, chunked", "transfer-encoding: identity, chunked\r\n"),
        ("chunked and a comma", "transfer-encoding: chunked,\r\n"),
        ("a comma and chunked", "transfer-encoding: , chunked\r\n"),
        ("two fields", "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n"),
        ("gzip in a field before", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"),
        ("identity in a field behind", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n"),
        ("an empty field behind", "transfer-encoding: chunked\r\ntransfer-encoding:\r\n"),
        ("a field far behind", "transfer-encoding: chunked\r\nx-a: 1\r\nTransfer-encoding: cow\r\n"),
        ("xchunked", "transfer-encoding: xchunked\r\n"),
        ("chunkedx", "transfer-encoding: chunkedx\r\n"),
        ("chunked with a parameter", "transfer-encoding: chunked;q=1\r\n"),
        ("chunked with an empty parameter", "transfer-encoding: chunked;\r\n"),
        ("chunked in quotation marks", "transfer-encoding: \"chunked\"\r\n"),
        ("chunked in apostrophes", "transfer-encoding: 'chunked'\r\n"),
        ("two words", "transfer-encoding: chunked chunked\r\n"),
        ("a vertical tab before", "transfer-encoding: \x0bchunked\r\n"),
        ("a vertical tab behind", "transfer-encoding: chunked\x0b\r\n"),
        ("NUL behind", "transfer-encoding: chunked\0\r\n"),
        ("a bare CR behind", "transfer-encoding: chunked\r \r\n"),
        ("a non-breaking space behind", "transfer-encoding: chunked\u{a0}\r\n"),
        ("folded", "transfer-encoding:\r\n chunked\r\n"),
        ("folded behind", "transfer-encoding: chunked\r\n \r\n"),
        ("a space before the colon", "transfer-encoding : chunked\r\n"),
        ("a space before the name", " transfer-encoding: chunked\r\n"),
        ("a tab before the name", "\ttransfer-encoding: chunked\r\n"),
        ("a NUL in the name", "transfer\0-encoding: chunked\r\n"),
    ];
    let rest = format!("2\r\nab\r\n0\r\n\r\n{SMUGGLED}");
    let cases: Vec<Case> =
        bad.iter().map(|(name, fields)| refused(name, CODING, post(fields, &rest))).collect();
    prove(&cases);
    let good = ["chunked", "Chunked", "CHUNKED", "cHuNkEd", " \tchunked\t "];
    let cases: Vec<Case> = good
        .iter()
        .map(|coding| {
            let bytes = post(&format!("transfer-encoding:{coding}\r\n"), "2\r\nab\r\n0\r\n\r\n");
            passes(&format!("{coding:?}"), CODING, bytes, want("POST", "/").chunks("ab"))
        })
        .collect();
    prove(&cases);
}

#[test]
fn a_length_beside_a_transfer_coding_is_refused() {
    let law = "RFC 9112 sections 6.1, 6.3 and 11.2";
    let both = [
        ("the length first", "content-length: 4\r\ntransfer-encoding: chunked\r\n"),
        ("the coding first", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"),
        ("a length of 0", "content-length: 0\r\ntransfer-encoding: chunked\r\n"),
        ("a length that fits", "content-length: 12\r\ntransfer-encoding: chunked\r\n"),
        ("a coding that is none", "content-length: 4\r\ntransfer-encoding: identity\r\n"),
        ("a coding that is empty", "content-length: 4\r\ntransfer-encoding:\r\n"),
        ("gzip", "content-length: 4\r\ntransfer-encoding: gzip\r\n"),
        (
            "the coding nominated away",
            "content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: transfer-encoding\r\n",
        ),
        (
            "the length nominated away",
            "content-length: 4\r\ntransfer-encoding: chunked\r\nconnection: content-length\r\n",
        ),
    ];
    let rest = format!("2\r\nab\r\n0\r\n\r\n{SMUGGLED}");
    let cases: Vec<Case> =
        both.iter().map(|(name, fields)| refused(name, law, post(fields, &rest))).collect();
    prove(&cases);
}

#[test]
fn http_1_0_knows_no_transfer_coding() {
    let old = |fields: &str, rest: &str| format!("POST / HTTP/1.0\r\nhost: x\r\n{fields}\r\n{rest}");
    prove(&[
        refused("chunked", CODING, old("transfer-encoding: chunked\r\n", "2\r\nab\r\n0\r\n\r\n")),
        refused(
            "chunked, and kept alive",
            CODING,
            old("transfer-encoding: chunked\r\nconnection: keep-alive\r\n", &format!("0\r\n\r\n{SMUGGLED}")),
        ),
        refused(
            "chunked beside a length",
            CODING,
            old("transfer-encoding: chunked\r\ncontent-length: 2\r\n", "ab"),
        ),
        refused("identity", CODING, old("transfer-encoding: identity\r\n", "")),
        refused("two lengths", LENGTH, old("content-length: 2\r\ncontent-length: 2\r\n", "ab")),
        passes("a length", BODY, old("content-length: 2\r\n", "ab"), want("POST", "/").body("ab")).closes(),
        passes("nothing", BODY, old("", ""), want("POST", "/")).closes(),
    ]);
}
