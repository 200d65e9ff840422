//! `match:` of a RouteRule: the caller, and headers with the parts of the request line among them.

use super::service_ref::{ServiceRef, service_ref};
use crate::config::decode::Field;
use crate::config::paths;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::route::OrdName;
use crate::snapshot::{HeaderMatch, HeaderName, PathMatch, StringMatch};

/// `match:` as read.
#[derive(Debug, Default)]
pub(super) struct Matches {
    pub(super) path: Option<PathMatch>,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) source: Option<ServiceRef>,
}

/// The conditions; `None` when one cannot be made out.
pub(super) fn matches(field: &Field<'_>, patterns: &Patterns) -> Option<Matches> {
    const KEYS: Keys = Keys {
        known: &["source", "request"],
        later: &[],
        never: &[
            ("tcp", "Weir splits HTTP and gRPC; TCP goes past it"),
            ("udp", "Istio never implemented it, and its validator refused it"),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let source = maybe(&table, "source", service_ref);
    let mut matches = Matches::default();
    let read = table.get("request").map_or(Some(()), |field| request(&field, patterns, &mut matches));
    matches.source = source?;
    read.map(|()| matches)
}

fn request(field: &Field<'_>, patterns: &Patterns, matches: &mut Matches) -> Option<()> {
    let table = Table::new(field, &Keys { known: &["headers"], later: &[], never: &[], proto: true })?;
    let Some(headers) = table.get("headers") else { return Some(()) };
    let mut whole = true;
    for (name, field) in headers.pairs()? {
        let value = string_match(&field, patterns);
        whole &= match name {
            "uri" => value.and_then(|value| path_match(&field, value)).map(|path| matches.path = Some(path)),
            _ => header_name(&field, name)
                .and_then(|name| value.map(|value| matches.headers.push(HeaderMatch { name, value }))),
        }
        .is_some();
    }
    matches.headers.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then_some(())
}

fn header_name(field: &Field<'_>, name: &str) -> Option<HeaderName> {
    let help = "lower-case letters, digits and hyphens; uri, method, authority or scheme";
    match name {
        "method" => return Some(HeaderName::Method),
        "authority" => return Some(HeaderName::Authority),
        "scheme" => return Some(HeaderName::Scheme),
        "host" => {
            field.warn_with("never-matches", "HTTP/2 requests have no host header", "match `authority`")
        }
        _ => {}
    }
    if name.to_lowercase() != name {
        field.fault_with("header-name", format!("`{name}` is not lower case"), help);
        return None;
    }
    match http::HeaderName::from_bytes(name.as_bytes()) {
        Ok(header) => Some(HeaderName::Header(OrdName(header))),
        Err(_) => {
            field.fault_with("header-name", format!("`{name}` is no header name"), help);
            None
        }
    }
}

/// `exact:`, `prefix:` or `regex:`
fn string_match(field: &Field<'_>, patterns: &Patterns) -> Option<StringMatch> {
    if field.node.kind_name() == "a string" {
        let text = field.text()?;
        field.fault_with(
            "header-value",
            "a bare string is no condition",
            format!("write `{{exact: \"{text}\"}}`"),
        );
        return None;
    }
    let table = Table::new(field, &Keys::of(&["exact", "prefix", "regex"]))?;
    let given: Vec<_> =
        ["exact", "prefix", "regex"].into_iter().filter(|key| table.get(key).is_some()).collect();
    let [key] = given[..] else {
        let reason = if given.is_empty() { "it has no condition" } else { "it has more than one condition" };
        field.fault_with("header-value", reason, "one of exact, prefix and regex");
        return None;
    };
    let value = table.get(key)?;
    match key {
        "exact" => value.text().map(|text| StringMatch::Exact(text.into())),
        "prefix" => value.text().map(|text| StringMatch::Prefix(text.into())),
        _ => value
            .parsed("regex", "it must match the whole value", |text| patterns.compile(text))
            .map(StringMatch::Regex),
    }
}

fn path_match(field: &Field<'_>, value: StringMatch) -> Option<PathMatch> {
    let text = match &value {
        StringMatch::Exact(text) | StringMatch::Prefix(text) => text,
        StringMatch::Regex(pattern) => pattern.as_str(),
        StringMatch::Present => return None, // no RouteRule can say it
    };
    if text.is_empty() {
        field.fault_with("uri-empty", "the condition on `uri` is empty", "such as `prefix: /v1/`");
        return None;
    }
    Some(match value {
        StringMatch::Exact(text) => PathMatch::Exact(paths::literal(field, &text, false)),
        StringMatch::Prefix(text) => PathMatch::Prefix(paths::literal(field, &text, true)),
        StringMatch::Regex(pattern) => PathMatch::Regex(pattern),
        StringMatch::Present => return None,
    })
}
