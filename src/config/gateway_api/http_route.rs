//! What is an HTTPRoute's own: its keys and its matches.

use super::rules::{Kind, Match};
use super::words::one_of;
use super::{filters, headers, order, paths};
use crate::config::decode::Field;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::{HeaderMatch, HeaderName, MoreMatch, StringMatch};

const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];

/// Its rules.
pub(super) const RULES: Kind = Kind {
    keys: Keys {
        known: &["name", "matches", "filters", "backendRefs", "timeouts", "retry"],
        later: &[],
        never: &[("sessionPersistence", super::NO_SESSIONS)],
        proto: false,
    },
    filters: &filters::HTTP,
    no_backend: 500,
    websocket: true,
    needs_rules: true,
    read,
    any,
};

fn any() -> Match {
    Match {
        order: order::http(None, false, 0, 0),
        path: None,
        is_prefix: true,
        headers: Vec::new(),
        more: None,
    }
}

fn read(field: &Field<'_>, patterns: &Patterns) -> Option<Match> {
    let table = Table::new(field, &Keys::of(&["path", "headers", "queryParams", "method"]))?;
    let path = table.get("path").map_or(Some(paths::Path::ANY), |field| paths::condition(&field, patterns));
    let headers = table.get("headers").map_or(Some(Vec::new()), |field| headers::matches(&field, patterns));
    let query = table.get("queryParams").map_or(Some(Vec::new()), |field| headers::query(&field, patterns));
    let method = maybe(&table, "method", method);
    let (path, mut headers, query, method) = (path?, headers?, query?, method?);
    let order = order::http(path.path.as_ref(), method.is_some(), headers.len(), query.len());
    if let Some(method) = method {
        headers.insert(0, HeaderMatch { name: HeaderName::Method, value: StringMatch::Exact(method.into()) });
    }
    let more = (!query.is_empty()).then(|| Box::new(MoreMatch { query, ..MoreMatch::default() }));
    Some(Match { order, path: path.path, is_prefix: path.is_prefix, headers, more })
}

fn method(field: &Field<'_>) -> Option<&'static str> {
    let method = one_of(field, &METHODS)?;
    if method == "CONNECT" {
        field.warn_with("never-matches", "requests to CONNECT are refused", "another method");
    }
    Some(method)
}
