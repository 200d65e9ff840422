//! The normal form of a request path, on which routes are decided and which is forwarded.
//!
//! Law: two spellings of one path have one normal form, and it never holds a `..`, an empty segment before the last
//! or an escaped slash. A path that has no normal form is refused. Nothing here knows a query or a route.
//! Source: RFC 3986 sections 3.3, 5.2.4 and 6.2.2; the order (dots first, then slashes) is Envoy's.

use std::borrow::Cow;
use std::fmt;

/// Why a path has no normal form; each is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPath {
    /// It does not start with `/`.
    NotAbsolute,
    /// A byte that must not stand in a path as it is: control, space, `#`, `?`, `\`, or outside ASCII.
    Character(char),
    /// A `%` that two hexadecimal digits do not follow.
    PercentCode,
    /// `%2f` or `%5c`: a slash to one server and a letter to the next.
    EscapedSlash,
}

impl fmt::Display for InvalidPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InvalidPath::NotAbsolute => f.write_str("the path does not start with /"),
            InvalidPath::Character(c) => write!(f, "the path holds {c:?}, which must be percent-encoded"),
            InvalidPath::PercentCode => f.write_str("the path holds a % without two hexadecimal digits"),
            InvalidPath::EscapedSlash => f.write_str("the path holds an escaped slash"),
        }
    }
}

impl std::error::Error for InvalidPath {}

/// A request target's path, and its query without the `?`.
pub fn split_query(target: &str) -> (&str, Option<&str>) {
    match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    }
}

/// The normal form of `path` (without its query): dot segments resolved, `//` merged, unreserved percent-codes
/// decoded, the other codes in upper case. Borrowed when `path` is normal already.
pub fn normalise(path: &str) -> Result<Cow<'_, str>, InvalidPath> {
    if is_normal(path)? {
        Ok(Cow::Borrowed(path))
    } else {
        Ok(Cow::Owned(merge_slashes(&resolve_dots(&decode(path)))))
    }
}

/// Bytes that are looked at together.
const BLOCK: usize = 16;

/// One scan: refuses what has no normal form, and tells whether there is anything to change.
fn is_normal(path: &str) -> Result<bool, InvalidPath> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(InvalidPath::NotAbsolute);
    }
    if is_plain(bytes) {
        return Ok(true);
    }
    let mut normal = true;
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match CLASS[usize::from(byte)] {
            Class::Plain => {}
            Class::Slash => normal &= !starts_with_dots_or_slash(&bytes[at + 1..]),
            Class::Percent => {
                let code = percent_code(&bytes[at + 1..]).ok_or(InvalidPath::PercentCode)?;
                if matches!(code, b'/' | b'\\') {
                    return Err(InvalidPath::EscapedSlash);
                }
                let lower = |digit: u8| digit.is_ascii_lowercase();
                normal &= !is_unreserved(code) && !lower(bytes[at + 1]) && !lower(bytes[at + 2]);
                at += 2;
            }
            Class::Refused => {
                let character = path.get(at..).and_then(|rest| rest.chars().next());
                return Err(InvalidPath::Character(character.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
        }
        at += 1;
    }
    Ok(normal)
}

/// Whether the path, which begins with a slash, is of the usual kind: without a percent-code, and nothing that begins
/// with a dot or a slash behind a slash. Nearly all are such, and sixteen bytes at once cost as much as four one by one.
fn is_plain(bytes: &[u8]) -> bool {
    let Some(last) = bytes.len().checked_sub(BLOCK + 1) else { return false };
    let blocks = (0..last).step_by(BLOCK).chain([last]);
    let mut blocks = blocks.filter_map(|at| bytes[at..].first_chunk().zip(bytes[at + 1..].first_chunk()));
    blocks.all(|(block, behind)| is_plain_block(block, behind))
        && bytes.last().is_some_and(|&byte| stands_as_it_is(byte))
}

/// Whether the bytes of `block` may stand so; `behind` has those that follow each of them.
#[inline]
fn is_plain_block(block: &[u8; BLOCK], behind: &[u8; BLOCK]) -> bool {
    let mut plain = [0; BLOCK];
    for (plain, (&byte, &next)) in plain.iter_mut().zip(block.iter().zip(behind)) {
        let segment_is_odd = (byte == b'/') & ((next == b'/') | (next == b'.'));
        *plain = u8::from(stands_as_it_is(byte) & !segment_is_odd);
    }
    plain == [1; BLOCK]
}

/// Whether a byte stands in a path as it is.
#[inline]
const fn stands_as_it_is(byte: u8) -> bool {
    byte.is_ascii_graphic() & (byte != b'%') & (byte != b'#') & (byte != b'?') & (byte != b'\\')
}

/// Whether what follows a slash is another slash, or a segment that is `.` or `..`.
fn starts_with_dots_or_slash(rest: &[u8]) -> bool {
    matches!(rest, [b'/', ..] | [b'.'] | [b'.', b'/', ..] | [b'.', b'.'] | [b'.', b'.', b'/', ..])
}

/// The byte that the two digits at the start of `rest` stand for.
fn percent_code(rest: &[u8]) -> Option<u8> {
    let digit = |at: usize| rest.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    u8::try_from(digit(0)? * 16 + digit(1)?).ok()
}

/// RFC 3986 section 2.3.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[derive(Clone, Copy)]
enum Class {
    Plain,
    Slash,
    Percent,
    Refused,
}

/// What each byte is to the scan. Printable characters that RFC 3986 excludes but that mean nothing to any server
/// (`"<>[]^{|}` and the backtick) pass as they are, as they do in Envoy.
static CLASS: [Class; 256] = {
    let mut table = [Class::Refused; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'/' => Class::Slash,
            b'%' => Class::Percent,
            byte if stands_as_it_is(byte) => Class::Plain,
            _ => Class::Refused,
        };
        byte += 1;
    }
    table
};

/// Decodes unreserved percent-codes and puts the others in upper case. `path` has been scanned.
fn decode(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        decoded.push_str(before);
        match percent_code(after.as_bytes()) {
            Some(code) if is_unreserved(code) => decoded.push(char::from(code)),
            _ => {
                decoded.push('%');
                decoded.extend(after.chars().take(2).map(|digit| digit.to_ascii_uppercase()));
            }
        }
        rest = after.get(2..).unwrap_or_default();
    }
    decoded.push_str(rest);
    decoded
}

/// RFC 3986 section 5.2.4 for an absolute path; `..` at the root stays there.
fn resolve_dots(path: &str) -> String {
    let mut resolved = String::with_capacity(path.len());
    let mut segments = path.strip_prefix('/').unwrap_or(path).split('/').peekable();
    while let Some(segment) = segments.next() {
        match segment {
            "." | ".." => {
                if segment == ".." {
                    resolved.truncate(resolved.rfind('/').unwrap_or(0));
                }
                if segments.peek().is_none() {
                    resolved.push('/');
                }
            }
            _ => {
                resolved.push('/');
                resolved.push_str(segment);
            }
        }
    }
    resolved
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for character in path.chars() {
        if character != '/' || !merged.ends_with('/') {
            merged.push(character);
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn normal(path: &str) -> String {
        normalise(path).unwrap_or_else(|error| panic!("{path:?}: {error}")).into_owned()
    }

    #[test]
    fn spellings_of_one_path_have_one_normal_form() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/../b/./c//d/%7euser/%2E%2E/z", "/b/c/d/z"), // Envoy's documented example
            ("/../../x", "/x"),
            ("/a/b/..", "/a/"),
            ("/a/b/.", "/a/b/"),
            ("/..", "/"),
            ("/.", "/"),
            ("//", "/"),
            ("///a///", "/a/"),
            ("/a//../b", "/a/b"),
            ("/a/%2e%2e/%2E/b", "/b"),
            ("/%41%7a%30%2d%5F%7e", "/Az0-_~"),
            ("/a%3ab%c3%a9", "/a%3Ab%C3%A9"),
            ("/%00%0a", "/%00%0A"),
            ("/...", "/..."),
            ("/..a/.b/c..", "/..a/.b/c.."),
            ("/%252e%252e/", "/%252e%252e/"),
        ] {
            assert_eq!(normal(path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_that_is_normal_is_returned_as_it_is() {
        for path in [
            "/",
            "/v1/models/inception:predict",
            "/v1/models/m/versions/2:predict",
            "/.a/%2B%C3/b/",
            "/a{b}|^[]",
        ] {
            assert!(matches!(normalise(path), Ok(Cow::Borrowed(same)) if same == path), "{path:?}");
        }
    }

    #[test]
    fn a_path_without_a_normal_form_is_refused_with_the_reason() {
        for (path, expected) in [
            ("", InvalidPath::NotAbsolute),
            ("*", InvalidPath::NotAbsolute),
            ("v1", InvalidPath::NotAbsolute),
            ("/a%2Fb", InvalidPath::EscapedSlash),
            ("/a%2fb", InvalidPath::EscapedSlash),
            ("/a%5cb", InvalidPath::EscapedSlash),
            ("/a%5Cb", InvalidPath::EscapedSlash),
            ("/a\\b", InvalidPath::Character('\\')),
            ("/a#b", InvalidPath::Character('#')),
            ("/a?b", InvalidPath::Character('?')),
            ("/a b", InvalidPath::Character(' ')),
            ("/a\u{7f}", InvalidPath::Character('\u{7f}')),
            ("/a\0", InvalidPath::Character('\0')),
            ("/é", InvalidPath::Character('é')),
            ("/%", InvalidPath::PercentCode),
            ("/%4", InvalidPath::PercentCode),
            ("/%zz", InvalidPath::PercentCode),
            ("/%+1", InvalidPath::PercentCode),
            ("/%é", InvalidPath::PercentCode),
            ("/a/../%2f", InvalidPath::EscapedSlash),
        ] {
            assert_eq!(normalise(path), Err(expected), "{path:?}");
        }
    }

    #[test]
    fn the_query_begins_at_the_first_question_mark() {
        assert_eq!(split_query("/a?b?c"), ("/a", Some("b?c")));
        assert_eq!(split_query("/a?"), ("/a", Some("")));
        assert_eq!(split_query("/a"), ("/a", None));
    }

    /// Paths made of the pieces that matter, so that most are neither normal nor refused.
    fn paths() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => Just("/".to_owned()),
            2 => Just(".".to_owned()),
            1 => "%(2e|2E|7e|41|00|2B|c3|25)",
            1 => "%[0-9a-fA-F]{0,2}",
            2 => "[a-z0-9:~{]",
            1 => any::<char>().prop_map(String::from),
        ];
        prop::collection::vec(piece, 0..24).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    proptest! {
        #[test]
        fn normalising_twice_is_normalising_once(path in paths()) {
            if let Ok(once) = normalise(&path) {
                prop_assert!(matches!(normalise(&once), Ok(Cow::Borrowed(twice)) if twice == once));
            }
        }

        #[test]
        fn no_normal_form_has_dots_to_resolve_or_slashes_to_merge(path in paths()) {
            if let Ok(form) = normalise(&path) {
                prop_assert!(form.starts_with('/'));
                let mut inner: Vec<&str> = form.split('/').skip(1).collect();
                prop_assert!(inner.iter().all(|segment| !matches!(*segment, "." | "..")), "{form}");
                inner.pop();
                prop_assert!(inner.iter().all(|segment| !segment.is_empty()), "{form}");
                prop_assert!(form.len() <= path.len());
            }
        }
    }
}
