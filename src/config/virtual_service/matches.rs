//! `http[].match[]`: one alternative of a rule.
//!
//! Law: all parts of one alternative must hold. What has a field of its own is not looked for among the headers.

use std::sync::Arc;

use super::{Context, gateways};
use crate::config::decode::Field;
use crate::config::diagnostic::Place;
use crate::config::draft::{GatewayRef, SourceDraft};
use crate::config::names::is_dns_label;
use crate::config::networking;
use crate::config::paths;
use crate::config::table::{Keys, Table, filled, maybe};
use crate::snapshot::route::QueryMatch;
use crate::snapshot::{HeaderMatch, HeaderName, MoreMatch, PathMatch, StringMatch};

const KEYS: Keys = Keys {
    known: &[
        "name",
        "uri",
        "ignoreUriCase",
        "scheme",
        "method",
        "authority",
        "headers",
        "withoutHeaders",
        "queryParams",
        "port",
        "sourceLabels",
        "sourceNamespace",
        "gateways",
    ],
    later: &[],
    never: &[("statPrefix", "metrics are by rule here")],
    proto: true,
};

/// One alternative.
#[derive(Default)]
pub(super) struct Alternative {
    pub(super) path: Option<PathMatch>,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) more: Option<Box<MoreMatch>>,
    pub(super) source: Option<Box<SourceDraft>>,
    pub(super) gateways: Option<Box<[GatewayRef]>>,
}

/// Reads one; `None` when a part cannot be made out.
pub(super) fn alternative(field: &Field<'_>, context: &Context<'_>) -> Option<Alternative> {
    let table = Table::new(field, &KEYS)?;
    let name = filled(&table, "name")
        .map_or(Some(()), |(field, text)| networking::plain_name(&field, text).map(drop));
    let path = path(&table, context);
    let headers = headers(&table, context);
    let more = more(&table, context);
    let source = source(&table, field.place());
    let gateways = gateways(&table, context);
    name?;
    Some(Alternative { path: path?, headers: headers?, more: more?, source: source?, gateways: gateways? })
}

#[allow(clippy::option_option)] // the outer one is the fault
fn path(table: &Table<'_>, context: &Context<'_>) -> Option<Option<PathMatch>> {
    let ignore_case = table.get("ignoreUriCase").map_or(Some(false), |field| field.boolean());
    let Some(field) = table.get("uri") else {
        if let (Some(true), Some(field)) = (ignore_case, table.get("ignoreUriCase")) {
            field.warn_with("never-acts", "there is no condition on `uri`", "exact or prefix beside it");
        }
        return ignore_case.map(|_| None);
    };
    let Some((key, value)) = networking::condition(&field)? else { return Some(None) };
    let text = value.text()?;
    if text.is_empty() {
        value.fault_with("uri-empty", "the condition on `uri` is empty", "such as `prefix: /v1/`");
        return None;
    }
    if key == "regex" {
        if ignore_case? {
            let help = "write `(?i)` before the expression";
            field.warn_with("never-acts", "`ignoreUriCase` is not for expressions", help);
        }
        return networking::regex(&value, context.patterns).map(|pattern| Some(PathMatch::Regex(pattern)));
    }
    let text = paths::literal(&value, text, key == "prefix");
    let lower = || text.to_ascii_lowercase().into();
    Some(Some(match (key, ignore_case?) {
        ("exact", false) => PathMatch::Exact(text),
        ("exact", true) => PathMatch::ExactIgnoreCase(lower()),
        (_, true) if *text != *"/" => PathMatch::PrefixIgnoreCase(lower()),
        _ => PathMatch::Prefix(text),
    }))
}

fn headers(table: &Table<'_>, context: &Context<'_>) -> Option<Vec<HeaderMatch>> {
    let line = [
        ("method", HeaderName::Method),
        ("authority", HeaderName::Authority),
        ("scheme", HeaderName::Scheme),
    ];
    let mut whole = true;
    let mut all = Vec::new();
    for (key, name) in line {
        let Some(field) = table.get(key) else { continue };
        match networking::string_match(&field, context.patterns) {
            // Every request has one.
            Some(StringMatch::Present) => {}
            Some(value) => all.push(HeaderMatch { name, value }),
            None => whole = false,
        }
    }
    let named = named(table, "headers", context);
    all.extend(named?);
    all.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then_some(all)
}

/// Conditions by header, sorted by name.
fn named(table: &Table<'_>, key: &'static str, context: &Context<'_>) -> Option<Vec<HeaderMatch>> {
    let Some(field) = table.get(key) else { return Some(Vec::new()) };
    let read = |(name, field): &(&str, Field<'_>)| {
        let name = header_name(field, name);
        let value = networking::string_match(field, context.patterns);
        Some(HeaderMatch { name: name?, value: value? })
    };
    let all: Vec<_> = field.pairs()?.iter().map(read).collect();
    let mut all: Vec<HeaderMatch> = all.into_iter().collect::<Option<_>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Some(all)
}

fn header_name(field: &Field<'_>, name: &str) -> Option<HeaderName> {
    match name {
        ":method" => return Some(HeaderName::Method),
        ":authority" => return Some(HeaderName::Authority),
        ":scheme" => return Some(HeaderName::Scheme),
        "host" => {
            field.warn_with("never-matches", "HTTP/2 requests have no host header", "match `authority`");
        }
        "uri" | "method" | "authority" | "scheme" => {
            let help = "write it beside `headers`, not under it";
            field.warn_with("never-matches", format!("`{name}` is no header that callers send"), help);
        }
        _ if name.starts_with("@request.auth") => {
            let help = "claims of a token that something in front has checked can come in headers";
            field.fault_with(
                "not-supported",
                format!("`{name}` is not supported: tokens are not read"),
                help,
            );
            return None;
        }
        _ => {}
    }
    networking::header_name(field, name).map(HeaderName::Header)
}

#[allow(clippy::option_option)] // the outer one is the fault
fn more(table: &Table<'_>, context: &Context<'_>) -> Option<Option<Box<MoreMatch>>> {
    let without = named(table, "withoutHeaders", context);
    let query = query(table, context);
    let port = maybe(table, "port", networking::port);
    let more = MoreMatch { without: without?, query: query?, port: port?, protocol: None };
    Some((more != MoreMatch::default()).then(|| Box::new(more)))
}

fn query(table: &Table<'_>, context: &Context<'_>) -> Option<Vec<QueryMatch>> {
    let Some(field) = table.get("queryParams") else { return Some(Vec::new()) };
    let read = |(name, field): &(&str, Field<'_>)| {
        let value = networking::string_match(field, context.patterns)?;
        Some(QueryMatch { name: (*name).into(), value })
    };
    let all: Vec<_> = field.pairs()?.iter().map(read).collect();
    let mut all: Vec<QueryMatch> = all.into_iter().collect::<Option<_>>()?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Some(all)
}

#[allow(clippy::option_option)] // the outer one is the fault
fn source(table: &Table<'_>, place: Place) -> Option<Option<Box<SourceDraft>>> {
    let labels = networking::labels(table, "sourceLabels");
    let namespace = match filled(table, "sourceNamespace") {
        None => Some(None),
        Some((_, text)) if is_dns_label(text) => Some(Some(text.into())),
        Some((field, text)) => {
            field.fault_with("service-name", format!("`{text}` is no namespace"), "a DNS label");
            None
        }
    };
    let (labels, namespace): (_, Option<Arc<str>>) = (labels?, namespace?);
    let any = namespace.is_none() && labels.is_empty();
    Some((!any).then(|| Box::new(SourceDraft { place, host: None, namespace, labels })))
}
