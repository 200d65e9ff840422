//! Paths, byte for byte: what is forwarded is the normal form, and what has none is refused.
//!
//! Source: RFC 3986 sections 2.1, 3.3, 5.2.4 and 6.2.2; `docs/wire.md`, Decisions.

mod common {
    pub(crate) mod wire;
    pub(crate) mod world;
}

use common::wire::table::{Case, passes, prove, refused, want};

fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n")
}

#[test]
fn two_spellings_of_a_path_are_one_path_upstream() {
    let law = "RFC 3986 section 6.2.2";
    let same = [
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/", "/a/"),
        ("//", "/"),
        ("//a", "/a"),
        ("/a//b", "/a/b"),
        ("/a///b//", "/a/b/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/..", "/"),
        ("/../", "/"),
        ("/../../a", "/a"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../b", "/b"),
        ("/a/b/../../c", "/c"),
        ("/a/../../../b", "/b"),
        ("/a/.../b", "/a/.../b"),
        ("/a/..b", "/a/..b"),
        ("/a/b..", "/a/b.."),
        ("/.a", "/.a"),
        ("/%2e%2e/a", "/a"),
        ("/a/%2E%2e/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2e/b", "/a/b"),
        ("/%61", "/a"),
        ("/%41%5A%30%7e%2D%5f", "/AZ0~-_"),
        ("/%c3%a4", "/%C3%A4"),
        ("/a%20b", "/a%20b"),
        ("/a%3fb", "/a%3Fb"),
        ("/a%23b", "/a%23b"),
        ("/a%25b", "/a%25b"),
        ("/a%252fb", "/a%252fb"),
        ("/a%00b", "/a%00b"),
        ("/a%0d%0ab", "/a%0D%0Ab"),
        ("/a;b=c", "/a;b=c"),
        ("/a:b@c", "/a:b@c"),
        ("/v1/models/m:predict", "/v1/models/m:predict"),
        ("/a!$&'()*+,=", "/a!$&'()*+,="),
        ("/a[b]", "/a[b]"),
        ("/a|b", "/a|b"),
        ("/a\"^{}", "/a\"^{}"),
    ];
    let cases: Vec<Case> =
        same.iter().map(|(sent, normal)| passes(sent, law, get(sent), want("GET", normal))).collect();
    prove(&cases);
}

#[test]
fn a_path_that_two_servers_could_read_differently_is_refused() {
    let law = "RFC 3986 section 3.3; docs/wire.md";
    let bad = [
        "/a<b",
        "/a>b",
        "/a`b",
        "/a%2fb",
        "/a%2Fb",
        "/%2f",
        "/%2F..%2f",
        "/..%2fa",
        "/%2e%2e%2fa",
        "/a%5cb",
        "/a%5Cb",
        "/a\\b",
        "/\\",
        "/..\\a",
        "\\a",
        "/a#b",
        "/#",
        "#",
        "/a%",
        "/a%2",
        "/a%zz",
        "/%g0",
        "/%0g",
        "/a%%20",
        "/%u0041",
        "/a%2/b",
        "/a% 2",
    ];
    let mut cases: Vec<Case> = bad
        .iter()
        // A space makes four words of the line, which is found before there is a path.
        .map(|path| {
            passes(path, law, get(path), []).then_refused(if path.contains(' ') { "" } else { details(path) })
        })
        .collect();
    cases.push(
        passes("behind an absolute target", law, get("http://x/a%2fb"), [])
            .then_refused("path_normalization_failed"),
    );
    prove(&cases);
}

/// A target that starts otherwise is no path, and what no URI may hold is found before there is one.
fn details(path: &str) -> &'static str {
    let path_alone = path.starts_with('/') && !path.contains(['<', '>', '`']);
    if path_alone { "path_normalization_failed" } else { "" }
}

#[test]
fn a_query_passes_as_it_was_sent() {
    let law = "RFC 3986 section 3.4";
    let mut cases = Vec::new();
    for query in [
        "",
        "a=1",
        "a=1&b=2",
        "a=%2f",
        "a=../b",
        "a=//b",
        "a=/./",
        "?",
        "a?b",
        "a=%zz",
        "a=%",
        "a=\\",
        "a=[1]",
        "a={b}",
        "a=|^`",
        "http://y/",
        "a=%61",
        "a=%c3",
    ] {
        let target = format!("/p?{query}");
        cases.push(passes(&target, law, get(&target), want("GET", &target)));
    }
    // No URI has them (RFC 3986 appendix A), and the library that holds ours takes none of these.
    for query in ["a=\"b\"", "a=<b>", "a=>"] {
        cases.push(refused(query, law, get(&format!("/p?{query}"))));
    }
    cases.push(passes("behind dots", law, get("/a/../p?q=/a/../b"), want("GET", "/p?q=/a/../b")));
    cases.push(passes("without a name", law, get("/?"), want("GET", "/?")));
    prove(&cases);
}
