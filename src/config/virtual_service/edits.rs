//! `headers:` of a rule or a share, and `rewrite:`.
//!
//! Law: a value is sent as it stands: Envoy's `%OPERATORS%` are refused, `%%` is a percent. `host` and `:authority` among
//! the request's fields are a rewrite of the host, as in Istio.

use std::sync::Arc;

use super::Context;
use crate::config::decode::Field;
use crate::config::networking;
use crate::config::paths;
use crate::config::table::{Keys, Table, each, filled, maybe};
use crate::snapshot::edit::HeaderEdit;
use crate::snapshot::route::OrdName;
use crate::snapshot::{HeaderEdits, PathRewrite, Rewrite};

/// What a rule or a share says of its messages.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) request: HeaderEdits,
    pub(super) response: HeaderEdits,
    pub(super) rewrite: Option<Rewrite>,
}

impl Edits {
    /// The other path, if there is one.
    pub(super) fn path(&self) -> Option<&PathRewrite> {
        self.rewrite.as_ref()?.path.as_ref()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty() && self.rewrite.is_none()
    }
}

/// `headers:` and `rewrite:` of a rule.
pub(super) fn edits(table: &Table<'_>, context: &Context<'_>) -> Option<Edits> {
    let headers = headers(table);
    let rewrite = maybe(table, "rewrite", |field| rewrite(field, context));
    let (mut edits, rewrite) = (headers?, rewrite?);
    let Some(rewrite) = rewrite else { return Some(edits) };
    let host = edits.rewrite.take().and_then(|rewrite| rewrite.host);
    if host.is_some() && rewrite.host.is_some() {
        table.field.fault_with("rewrite", "two places say the host", "`rewrite.authority` alone");
        return None;
    }
    edits.rewrite = Some(Rewrite { path: rewrite.path, host: rewrite.host.or(host) });
    Some(edits)
}

/// `headers:` alone; a host among them is a rewrite.
pub(super) fn headers(table: &Table<'_>) -> Option<Edits> {
    let Some(field) = table.get("headers") else { return Some(Edits::default()) };
    let table = Table::new(&field, &Keys::of(&["request", "response"]))?;
    let mut host = None;
    let request = maybe(&table, "request", |field| operations(field, Some(&mut host)));
    let response = maybe(&table, "response", |field| operations(field, None));
    Some(Edits {
        request: request?.unwrap_or_default(),
        response: response?.unwrap_or_default(),
        rewrite: host.map(|host| Rewrite { path: None, host: Some(host) }),
    })
}

/// `set`, `add` and `remove`; `host`: where the request's host goes.
fn operations(field: &Field<'_>, mut host: Option<&mut Option<Arc<str>>>) -> Option<HeaderEdits> {
    let table = Table::new(field, &Keys::of(&["set", "add", "remove"]))?;
    let set = fields(&table, "set", host.as_deref_mut());
    let add = fields(&table, "add", host);
    let remove = each(&table, "remove", |field| name(field, field.text()?));
    let mut remove = remove?;
    remove.sort();
    Some(HeaderEdits { remove, set: set?, add: add? })
}

fn name(field: &Field<'_>, name: &str) -> Option<OrdName> {
    if name.starts_with(':') || name.eq_ignore_ascii_case("host") {
        let help = "`rewrite`, `redirect` and `directResponse` change the first line";
        field.fault_with("header-name", format!("`{name}` is no field that can be edited"), help);
        return None;
    }
    let name = networking::header_name(field, name)?;
    networking::editable(field, &name).map(|()| name)
}

/// Fields by name, sorted, for YAML's order means nothing there.
fn fields(
    table: &Table<'_>,
    key: &'static str,
    mut host: Option<&mut Option<Arc<str>>>,
) -> Option<Vec<HeaderEdit>> {
    let Some(field) = table.get(key) else { return Some(Vec::new()) };
    let mut whole = true;
    let mut edits = Vec::new();
    for (text, field) in field.pairs()? {
        let value = networking::header_value(&field);
        let is_host = text.eq_ignore_ascii_case("host") || text.eq_ignore_ascii_case(":authority");
        match (&mut host, is_host) {
            (Some(host), true) => {
                if host.is_some() {
                    field.fault_with("rewrite", "two places say the host", "`rewrite.authority` alone");
                    whole = false;
                }
                **host = value.and_then(|value| authority(&field, &value));
                whole &= host.is_some();
            }
            _ => match (name(&field, text), value) {
                (Some(name), Some(value)) => edits.push(HeaderEdit { name, value }),
                _ => whole = false,
            },
        }
    }
    edits.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then_some(edits)
}

/// A host, perhaps with a port.
pub(super) fn authority(field: &Field<'_>, text: &str) -> Option<Arc<str>> {
    let good = networking::is_authority(text);
    if !good {
        field.fault_with("rewrite", format!("`{text}` is no host"), "such as models.example.com:8500");
    }
    good.then(|| text.into())
}

/// `rewrite:`
fn rewrite(field: &Field<'_>, context: &Context<'_>) -> Option<Rewrite> {
    let table = Table::new(
        field,
        &Keys { known: &["uri", "authority", "uriRegexRewrite"], later: &[], never: &[], proto: true },
    )?;
    let uri = filled(&table, "uri");
    let host = match filled(&table, "authority") {
        None => Some(None),
        Some((field, text)) => authority(&field, text).map(Some),
    };
    let regex = maybe(&table, "uriRegexRewrite", |field| substitution(field, context));
    if let (Some(_), Some(field)) = (&uri, table.get("uriRegexRewrite")) {
        field.fault_with("rewrite", "`uri` and `uriRegexRewrite` exclude each other", "one of the two");
        return None;
    }
    let path = match uri {
        None => regex?,
        Some((field, text)) => {
            paths::check_replacement(&field, "rewrite", text, false)?;
            Some(PathRewrite::Prefix(text.into()))
        }
    };
    let host = host?;
    if path.is_none() && host.is_none() {
        field.fault_with("rewrite", "it says nothing", "uri, uriRegexRewrite or authority");
        return None;
    }
    Some(Rewrite { path, host })
}

fn substitution(field: &Field<'_>, context: &Context<'_>) -> Option<PathRewrite> {
    let table = Table::new(field, &Keys::of(&["match", "rewrite"]))?;
    let (expression, with) = (table.require("match"), table.get("rewrite"));
    let expression = expression?;
    expression.filled()?;
    let with = with.map_or(Some(""), |field| {
        let text = field.text()?;
        let good = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if !good {
            field.fault_with(
                "rewrite",
                format!("`{text}` is no part of a path"),
                "letters, `/`, `%20`, `\\1`",
            );
        }
        good.then_some(text)
    })?;
    let help = "an RE2 expression, and `\\1` for its first group";
    expression.parsed("regex", help, |text| context.patterns.substitution(text, with)).map(PathRewrite::Regex)
}
