//! Paths as every dialect writes them: conditions on a request's path, and what takes a path's place.
//!
//! Law: requests are matched in the normal form of their path, so a literal condition is kept in that form. What takes a
//! path's place has a normal form, or no request could ever be sent with it.

use std::sync::Arc;

use super::decode::Field;
use crate::message::path::{InvalidPath, normalise, split_query};

/// A whole path, or its first characters, as a request's normal form has them. What no request can have is told of, and
/// stays as it stands.
pub(super) fn literal(field: &Field<'_>, text: &str, is_prefix: bool) -> Arc<str> {
    let normal = if is_prefix { prefix(text) } else { normalise(text).map(Into::into) };
    normal.unwrap_or_else(|error| {
        let help = match error {
            InvalidPath::NotAbsolute | InvalidPath::Character('?' | '#') => {
                "a path starts with `/`; the query is no part of it".into()
            }
            _ => error.to_string(),
        };
        field.warn_with("never-matches", format!("no path matches `{text}`"), help);
        text.into()
    })
}

/// A prefix ends anywhere: its last segment need not be whole, so that dots there are no dot segments yet.
fn prefix(text: &str) -> Result<Arc<str>, InvalidPath> {
    let Some((before, last)) = text.rsplit_once('/') else { return Err(InvalidPath::NotAbsolute) };
    let before = normalise_folder(before)?;
    let last = format!("/_{last}");
    let last = normalise(&last)?;
    Ok(format!("{before}{}", last.strip_prefix("/_").unwrap_or_default()).into())
}

/// `folder` and the slash behind it.
fn normalise_folder(folder: &str) -> Result<String, InvalidPath> {
    normalise(&format!("{folder}/")).map(Into::into)
}

/// Why `text`, a path and perhaps a query, can be sent to nobody.
pub(super) fn unsendable(text: &str) -> Option<String> {
    let (path, query) = split_query(text);
    match (normalise(path), query) {
        (Err(error), _) => Some(error.to_string()),
        (Ok(_), Some(query)) if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') => {
            Some("the query holds what must be percent-encoded".into())
        }
        _ => None,
    }
}

/// Tells, by `code`, of a path that can be sent to nobody; `query`: whether it may have one.
pub(super) fn check_replacement(
    field: &Field<'_>,
    code: &'static str,
    text: &str,
    query: bool,
) -> Option<()> {
    let why = match text.contains('?') && !query {
        true => Some("the query is no part of it".into()),
        false => unsendable(text),
    };
    match why {
        None => Some(()),
        Some(why) => {
            field.fault_with(code, format!("`{text}` is no path: {why}"), "a path starts with `/`");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_brought_into_normal_form_up_to_its_last_segment() {
        for (text, normal) in [
            ("/", "/"),
            ("/v1/", "/v1/"),
            ("/v1", "/v1"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/A%41", "/AA"),
            ("/a//b", "/a/b"),
            ("/a//", "/a/"),
            ("/a/../b", "/b"),
            ("/a/./b/", "/a/b/"),
            ("/.a", "/.a"),
            ("/a/.", "/a/."),
            ("/a/..", "/a/.."),
        ] {
            assert_eq!(prefix(text).as_deref(), Ok(normal), "{text}");
        }
        for text in ["", "v1", "/x%2fy", "/%2", "/a b/", "/é", "/a?b"] {
            assert!(prefix(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_takes_the_place_of_a_path_can_be_sent() {
        for text in ["/", "/a/../b", "/a?b=/%zz", "/%41"] {
            assert_eq!(unsendable(text), None, "{text}");
        }
        for text in ["", "a", "/a b", "/%zz", "/%2f", "/a\\b", "/a\r\nb", "/a?b c", "/a?b#c", "/a#b"] {
            assert!(unsendable(text).is_some(), "{text}");
        }
    }
}
