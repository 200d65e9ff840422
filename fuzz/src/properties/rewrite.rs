//! Rewrites of any path by any rule: what comes out is in normal form and keeps its query, or there is an error.

use weir::filters::rewrite;
use weir::message::path::{normalise, split_query};
use weir::snapshot::{PathMatch, PathRewrite, Pattern, Substitution};

use super::input::Input;

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let with = format!("/{}", input.text(24));
    let path = match input.below(4) {
        0 => PathRewrite::Prefix(with.as_str().into()),
        1 => PathRewrite::Segments(with.as_str().into()),
        2 => PathRewrite::Full(with.as_str().into()),
        _ => match Substitution::new(&input.text(16), &input.text(16)) {
            Ok(substitution) => PathRewrite::Regex(substitution),
            Err(reason) => return assert!(!reason.contains('\n'), "{reason}"),
        },
    };
    let prefix = format!("/{}", input.text(8));
    let target = format!("{prefix}{}", input.text(40));
    let Ok(normal) = normalise(split_query(&target).0) else { return };
    let query = input.flag().then(|| input.text(8).replace('#', ""));
    let asked = match &query {
        Some(query) => format!("{normal}?{query}"),
        None => normal.to_string(),
    };
    let matched = match input.below(3) {
        0 if normal.starts_with(&prefix) => PathMatch::Prefix(prefix.as_str().into()),
        1 => PathMatch::Exact(normal.as_ref().into()),
        2 => PathMatch::Regex(Pattern::new(".*").unwrap_or_else(|error| panic!("{error}"))),
        _ => PathMatch::Prefix("/".into()),
    };
    let Ok(written) = rewrite::target(&path, &matched, &asked) else { return };
    let (path_written, query_written) = split_query(&written);
    assert_eq!(normalise(path_written).ok().as_deref(), Some(path_written), "{path:?} of {asked}");
    if !with.contains('?') {
        assert_eq!(query_written, query.as_deref(), "{path:?} of {asked}");
    }
}
