//! Another path for a request.
//!
//! Law: a rewritten path is in normal form: it starts with one slash, no slash is doubled. The query stays, unless what
//! takes the place of the whole path has one of its own. What has no normal form is an error, never sent on.

use crate::message::path::{self, InvalidPath};
use crate::snapshot::{PathMatch, PathRewrite};

/// `target` (a path in normal form, perhaps with a query) with its path rewritten; `matched` is what the route's match
/// said of the path.
pub fn target(rewrite: &PathRewrite, matched: &PathMatch, target: &str) -> Result<String, InvalidPath> {
    let (path, query) = path::split_query(target);
    let (path, own_query) = rewritten(rewrite, matched, path);
    let normal = path::normalise(&path)?;
    Ok(match own_query.or(query) {
        Some(query) => format!("{normal}?{query}"),
        None => normal.into_owned(),
    })
}

/// The path as it comes out, absolute, and a query of the rewrite's own.
fn rewritten<'r>(rewrite: &'r PathRewrite, matched: &PathMatch, path: &str) -> (String, Option<&'r str>) {
    let (path, query) = match rewrite {
        PathRewrite::Prefix(with) => (format!("{with}{}", behind(matched, path)), None),
        PathRewrite::Segments(with) => {
            let rest = behind(matched, path);
            let with = with.trim_end_matches('/');
            // A match with a final slash has taken the one that the rest began with.
            let slash = if rest.is_empty() || rest.starts_with('/') { "" } else { "/" };
            (format!("{with}{slash}{rest}"), None)
        }
        PathRewrite::Full(with) => {
            let (path, query) = path::split_query(with);
            (path.to_owned(), query)
        }
        PathRewrite::Regex(substitution) => (substitution.apply(path), None),
    };
    let path = if path.starts_with('/') { path } else { format!("/{path}") };
    (path, query)
}

/// What stands behind the part of `path` that was matched.
fn behind<'p>(matched: &PathMatch, path: &'p str) -> &'p str {
    let length = match matched {
        PathMatch::Prefix(prefix) | PathMatch::PrefixIgnoreCase(prefix) | PathMatch::Segments(prefix) => {
            prefix.len()
        }
        PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_) | PathMatch::Regex(_) => path.len(),
    };
    path.get(length..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Substitution;

    fn prefix(text: &str) -> PathMatch {
        PathMatch::Prefix(text.into())
    }

    fn ok(rewrite: PathRewrite, matched: &PathMatch, text: &str) -> String {
        target(&rewrite, matched, text).expect("a target")
    }

    #[test]
    fn a_prefix_is_replaced_by_characters_and_no_slash_doubled() {
        for (matched, with, text, result) in [
            ("/a", "/b", "/a", "/b"),
            ("/a", "/b", "/a/c?x=/a", "/b/c?x=/a"),
            ("/a", "/b", "/abc", "/bbc"),
            ("/a/", "/b/", "/a/c", "/b/c"),
            ("/a/", "/", "/a/c", "/c"),
            ("/a", "/", "/a/c", "/c"),
            ("/a", "/", "/a", "/"),
            ("/a/", "", "/a/c", "/c"),
            ("/", "/b/", "/c/d", "/b/c/d"),
            ("/", "/b", "/", "/b"),
        ] {
            assert_eq!(
                ok(PathRewrite::Prefix(with.into()), &prefix(matched), text),
                result,
                "{matched} {with}"
            );
        }
    }

    #[test]
    fn an_exact_path_or_an_expression_is_replaced_whole() {
        let with = || PathRewrite::Prefix("/b".into());
        assert_eq!(ok(with(), &PathMatch::Exact("/a/c".into()), "/a/c?q"), "/b?q");
        let regex = PathMatch::Regex(crate::snapshot::Pattern::new("/a/.*").expect("compiles"));
        assert_eq!(ok(with(), &regex, "/a/c"), "/b");
    }

    /// The table of the Gateway API's `ReplacePrefixMatch`.
    #[test]
    fn segments_are_replaced_as_the_gateway_api_says() {
        for (text, matched, with, result) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
        ] {
            let rewrite = || PathRewrite::Segments(with.into());
            let segments = PathMatch::Segments(matched.into());
            assert_eq!(ok(rewrite(), &segments, text), result, "{text} {matched} {with}");
        }
        assert_eq!(ok(PathRewrite::Segments("/xyz".into()), &prefix("/"), "/foo?a"), "/xyz/foo?a");
    }

    #[test]
    fn a_whole_path_keeps_the_query_unless_it_brings_one() {
        assert_eq!(ok(PathRewrite::Full("/b".into()), &prefix("/"), "/a?q=1"), "/b?q=1");
        assert_eq!(ok(PathRewrite::Full("/b?c".into()), &prefix("/"), "/a?q=1"), "/b?c");
    }

    #[test]
    fn an_expression_does_not_see_the_query_and_its_result_is_normal_or_refused() {
        let regex = |pattern, with| PathRewrite::Regex(Substitution::new(pattern, with).expect("compiles"));
        assert_eq!(ok(regex("/v([0-9]+)/", r"/\1//"), &prefix("/"), "/v7/a?b=/v7/"), "/7/a?b=/v7/");
        assert_eq!(ok(regex(".*", ""), &prefix("/"), "/a"), "/");
        assert!(target(&regex("a", " "), &prefix("/"), "/a").is_err());
        assert!(target(&regex("a", "%2f"), &prefix("/"), "/a").is_err());
    }

    proptest! {
        #[test]
        fn what_comes_out_is_normal_and_keeps_its_query(
            with in "[a-z/.]{0,8}", matched in "/[a-z/]{0,4}", rest in "[a-z/%.~]{0,8}", query in "[a-z/=&]{0,6}",
        ) {
            let Ok(normal) = path::normalise(&format!("{matched}{rest}")).map(std::borrow::Cow::into_owned) else {
                return Ok(());
            };
            let rewrites = [PathRewrite::Prefix(with.clone().into()), PathRewrite::Segments(with.clone().into())];
            for rewrite in rewrites {
                let result = target(&rewrite, &prefix(&matched), &format!("{normal}?{query}"));
                let Ok(result) = result else { continue };
                let (path, kept) = path::split_query(&result);
                prop_assert_eq!(kept, Some(query.as_str()));
                prop_assert_eq!(path::normalise(path), Ok(path.into()));
                prop_assert!(!path.contains("//"));
            }
        }
    }
}
