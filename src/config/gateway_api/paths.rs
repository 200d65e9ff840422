//! Conditions on the path, and what takes a path's place.
//!
//! Law: requests are matched in the normal form of their path, so a condition is kept in that form. Source: the CEL rules
//! of HTTPPathMatch and HTTPPathModifier.

use std::sync::Arc;

use super::headers::regex;
use super::words::{one_of, sized};
use crate::config::decode::Field;
use crate::config::paths::check_replacement;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table};
use crate::message::path::normalise;
use crate::snapshot::{PathMatch, PathRewrite};

/// A condition on the path.
pub(super) struct Path {
    /// `None`: every path.
    pub(super) path: Option<PathMatch>,
    /// Whether it is of type `PathPrefix`.
    pub(super) is_prefix: bool,
}

impl Path {
    /// The default: the prefix `/`.
    pub(super) const ANY: Path = Path { path: None, is_prefix: true };
}

/// `path:` of a match.
pub(super) fn condition(field: &Field<'_>, patterns: &Patterns) -> Option<Path> {
    let table = Table::new(field, &Keys::of(&["type", "value"]))?;
    let kind = table
        .get("type")
        .map_or(Some("PathPrefix"), |field| one_of(&field, &["Exact", "PathPrefix", "RegularExpression"]));
    let value = table.get("value");
    let text = value.as_ref().map_or(Some("/"), |field| sized(field, 0, 1_024));
    let (kind, text) = (kind?, text?);
    let at = value.as_ref().unwrap_or(field);
    if kind == "RegularExpression" {
        let pattern = match &value {
            Some(field) => regex(field, patterns)?,
            None => patterns.compile("/").ok()?,
        };
        return Some(Path { path: Some(PathMatch::Regex(pattern)), is_prefix: false });
    }
    let text = literal(at, text)?;
    if kind == "Exact" {
        return Some(Path { path: Some(PathMatch::Exact(text)), is_prefix: false });
    }
    let segments = text.strip_suffix('/').unwrap_or(&text);
    let path = (!segments.is_empty()).then(|| PathMatch::Segments(segments.into()));
    Some(Path { path, is_prefix: true })
}

/// An absolute path in its normal form.
fn literal(field: &Field<'_>, text: &str) -> Option<Arc<str>> {
    let wrong = |reason: String| {
        let help = "an absolute path without empty or dot segments, escaped slashes, query or fragment";
        field.fault_with("path", reason, help);
        None
    };
    let last = text.rsplit('/').next().unwrap_or_default();
    if text.contains("//") || text.contains("/./") || text.contains("/../") || matches!(last, "." | "..") {
        return wrong(format!("`{text}` has an empty or a dot segment"));
    }
    match normalise(text) {
        Ok(_) if !text.bytes().all(is_path_byte) => wrong(format!("`{text}` is no path")),
        Ok(path) => Some(path.into()),
        Err(error) => wrong(error.to_string()),
    }
}

/// `pchar` of RFC 3986, `/` and the sign of a percent-code.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-/._~!$&'()*+,;=:@%".contains(&byte)
}

/// `path:` of a redirect or a rewrite; `prefix`: whether the rule has one match, of type `PathPrefix`.
pub(super) fn modifier(field: &Field<'_>, prefix: bool) -> Option<PathRewrite> {
    const TYPES: [&str; 2] = ["ReplaceFullPath", "ReplacePrefixMatch"];
    const KEYS: [&str; 2] = ["replaceFullPath", "replacePrefixMatch"];
    let table = Table::new(field, &Keys::of(&["type", "replaceFullPath", "replacePrefixMatch"]))?;
    let kind = table.require("type").and_then(|field| one_of(&field, &TYPES))?;
    let (own, other) = if kind == TYPES[0] { (KEYS[0], KEYS[1]) } else { (KEYS[1], KEYS[0]) };
    if let Some(field) = table.get(other) {
        field.fault_with("rewrite", format!("`{other}` does not belong to `{kind}`"), format!("`{own}`"));
        return None;
    }
    let value = table.require(own)?;
    let text = sized(&value, 0, 1_024)?;
    let full = own == KEYS[0];
    if !(text.starts_with('/') || text.is_empty() && !full) || !text.bytes().all(is_path_byte) {
        let help = "an absolute path without a query; to cut a prefix off, nothing";
        value.fault_with("rewrite", format!("`{text}` is no path"), help);
        return None;
    }
    if !text.is_empty() {
        check_replacement(&value, "rewrite", text, false)?;
    }
    if full {
        return Some(PathRewrite::Full(text.into()));
    }
    if !prefix {
        let help = "exactly one match, of type PathPrefix";
        field.fault_with("rewrite", "there is no prefix to replace in this rule's matches", help);
        return None;
    }
    Some(PathRewrite::Segments(text.into()))
}
