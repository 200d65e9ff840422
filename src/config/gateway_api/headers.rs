//! Conditions on headers and query parameters, and edits of headers.

use super::words::{bounded, header_name, one_of, sized};
use crate::config::decode::Field;
use crate::config::networking::editable as editable_name;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table};
use crate::snapshot::edit::HeaderEdit;
use crate::snapshot::route::OrdName;
use crate::snapshot::{HeaderEdits, HeaderMatch, HeaderName, QueryMatch, StringMatch};

/// `headers:` of a match, sorted by name. Of names that differ in case alone the first counts.
pub(super) fn matches(field: &Field<'_>, patterns: &Patterns) -> Option<Vec<HeaderMatch>> {
    let mut headers: Vec<HeaderMatch> = Vec::new();
    let mut spellings = Vec::new();
    let mut whole = true;
    for item in bounded(field, 16)? {
        let condition = condition(&item, patterns, 4_096);
        let Some((name, header, value)) =
            condition.and_then(|(name, value)| Some((name.clone(), header_name(&name)?, value)))
        else {
            whole = false;
            continue;
        };
        let known = match header.0.as_str() {
            "host" => HeaderName::Authority,
            _ => HeaderName::Header(header),
        };
        let spelling = name.text()?;
        if spellings.contains(&spelling) {
            whole &= repeated(&name, "header");
        } else if headers.iter().any(|other| other.name == known) {
            let help = "one condition for each name, in whatever case";
            name.warn_with("never-acts", "another condition on this header comes first", help);
        } else {
            headers.push(HeaderMatch { name: known, value });
        }
        spellings.push(spelling);
    }
    headers.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then_some(headers)
}

/// `queryParams:` of a match, sorted by name. Case counts.
pub(super) fn query(field: &Field<'_>, patterns: &Patterns) -> Option<Vec<QueryMatch>> {
    let mut parameters: Vec<QueryMatch> = Vec::new();
    let mut whole = true;
    for item in bounded(field, 16)? {
        let condition = condition(&item, patterns, 1_024);
        let Some((name, value)) = condition.filter(|(name, _)| header_name(name).is_some()) else {
            whole = false;
            continue;
        };
        let text = name.text()?;
        if parameters.iter().any(|other| &*other.name == text) {
            whole &= repeated(&name, "parameter");
        } else {
            parameters.push(QueryMatch { name: text.into(), value });
        }
    }
    parameters.sort_by(|a, b| a.name.cmp(&b.name));
    whole.then_some(parameters)
}

/// The schema makes a name the key of its list, so that it cannot stand twice.
fn repeated(name: &Field<'_>, what: &str) -> bool {
    let help = "one condition for each name";
    name.fault_with("repeated", format!("the {what} has a condition already"), help);
    false
}

/// `{type, name, value}`: the name's field, and the condition.
fn condition<'n>(field: &Field<'n>, patterns: &Patterns, most: usize) -> Option<(Field<'n>, StringMatch)> {
    let table = Table::new(field, &Keys::of(&["type", "name", "value"]))?;
    let kind =
        table.get("type").map_or(Some("Exact"), |field| one_of(&field, &["Exact", "RegularExpression"]));
    let name = table.require("name");
    let value = table.require("value").filter(|field| sized(field, 1, most).is_some());
    let (kind, value) = (kind?, value?);
    let condition = match kind {
        "Exact" => StringMatch::Exact(value.text()?.into()),
        _ => StringMatch::Regex(regex(&value, patterns)?),
    };
    Some((name?, condition))
}

/// An expression that must match a whole value.
pub(super) fn regex(field: &Field<'_>, patterns: &Patterns) -> Option<crate::snapshot::Pattern> {
    field.parsed("regex", "it must match the whole value", |text| patterns.compile(text))
}

/// `requestHeaderModifier:` and `responseHeaderModifier:`.
pub(super) fn edits(field: &Field<'_>) -> Option<HeaderEdits> {
    let table = Table::new(field, &Keys::of(&["set", "add", "remove"]))?;
    let mut names = Vec::new();
    let mut edits = HeaderEdits::default();
    let mut whole = true;
    for (key, list) in [("set", &mut edits.set), ("add", &mut edits.add)] {
        let Some(field) = table.get(key) else { continue };
        for item in bounded(&field, 16)? {
            match edit(&item, &mut names) {
                Some(edit) => list.push(edit),
                None => whole = false,
            }
        }
    }
    if let Some(field) = table.get("remove") {
        for item in bounded(&field, 16)? {
            match editable(&item, &mut names) {
                Some(name) => edits.remove.push(name),
                None => whole = false,
            }
        }
    }
    whole.then_some(edits)
}

fn edit(field: &Field<'_>, names: &mut Vec<OrdName>) -> Option<HeaderEdit> {
    let table = Table::new(field, &Keys::of(&["name", "value"]))?;
    let name = table.require("name").and_then(|field| editable(&field, names));
    let value = table.require("value").and_then(|field| {
        let text = sized(&field, 1, 4_096)?;
        if http::HeaderValue::from_str(text).is_err() || text.trim() != text {
            let help = "printable characters, no space at either end";
            field.fault_with("header-value", "it is no value of a header", help);
            return None;
        }
        Some(text.into())
    });
    Some(HeaderEdit { name: name?, value: value? })
}

/// A header that may be edited, and is not edited twice.
fn editable(field: &Field<'_>, names: &mut Vec<OrdName>) -> Option<OrdName> {
    let name = header_name(field)?;
    let text = name.0.as_str();
    if text == "host" {
        field.fault_with("header-name", "the host is no header to edit", "`hostname` of a URLRewrite");
        return None;
    }
    editable_name(field, &name)?;
    if names.contains(&name) {
        let help = "one of set, add and remove, once for each name";
        field.fault_with("repeated", format!("`{text}` is edited twice"), help);
        return None;
    }
    names.push(name.clone());
    Some(name)
}
