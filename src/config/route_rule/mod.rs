//! RouteRule `config.istio.io/v1alpha2`: documents -> [`RouteRuleDraft`].
//!
//! Law: what Istio 0.7.1's validator refused is refused, each check with its own code; what does not work yet is
//! refused by name. Names may be lowerCamel or snake_case, as in protobuf's JSON.

mod draft;
mod matches;
mod service_ref;
#[cfg(test)]
mod tests;

use super::decode::{Field, Scope};
use super::names::{is_dns_label, is_fqdn};
use super::table::{Keys, Table};
use super::tree::Node;
use crate::snapshot::Labels;

pub(crate) use draft::{Entry, RouteRuleDraft, ServiceRef};
pub(crate) use matches::Patterns;

const API_VERSION: &str = "config.istio.io/v1alpha2";
const SUPPORTED: &str =
    "supported: kind RouteRule of apiVersion config.istio.io/v1alpha2, and a List of them";

/// Whether the document has the shape of a Kubernetes object.
pub(crate) fn is_object(document: &Node) -> bool {
    document.get("apiVersion").is_some() || document.get("kind").is_some()
}

/// The rules of one document; those at fault are left out.
pub(crate) fn decode(document: &Node, scope: &Scope, patterns: &Patterns) -> Vec<RouteRuleDraft> {
    object(&Field::root(document, scope), scope, patterns)
}

fn object(field: &Field<'_>, scope: &Scope, patterns: &Patterns) -> Vec<RouteRuleDraft> {
    let word = |key| field.node.get(key).filter(|node| !node.is_null()).map(|node| field.child(key, node));
    if field.pairs().is_none() {
        return Vec::new();
    }
    let (Some(version), Some(kind)) = (word("apiVersion"), word("kind")) else {
        field.fault_with("unknown-kind", "`apiVersion` or `kind` is missing", SUPPORTED);
        return Vec::new();
    };
    match (version.text(), kind.text()) {
        (Some(API_VERSION), Some("RouteRule")) => {
            let errors_before = scope.errors();
            let rule = rule(field, patterns);
            rule.filter(|_| scope.errors() == errors_before).into_iter().collect()
        }
        (Some("v1"), Some("List")) => {
            const KEYS: Keys = Keys::of(&["apiVersion", "kind", "metadata", "items"]);
            let items = Table::new(field, &KEYS).and_then(|table| table.require("items")?.items());
            items.unwrap_or_default().iter().flat_map(|item| object(item, scope, patterns)).collect()
        }
        (Some(version), Some(other)) => {
            kind.fault_with("unknown-kind", format!("`{other}` of `{version}` is not supported"), SUPPORTED);
            Vec::new()
        }
        _ => Vec::new(),
    }
}

fn rule(field: &Field<'_>, patterns: &Patterns) -> Option<RouteRuleDraft> {
    const KEYS: Keys = Keys::of(&["apiVersion", "kind", "metadata", "spec", "status"]);
    let table = Table::new(field, &KEYS)?;
    let metadata = table.require("metadata").and_then(|field| metadata(&field));
    let spec = table.require("spec").and_then(|field| spec(&field, patterns));
    let (name, namespace) = metadata?;
    Some(RouteRuleDraft { place: field.place(), name: name.into(), namespace: namespace.into(), ..spec? })
}

/// Name and namespace; everything else that Kubernetes writes there is accepted.
fn metadata<'n>(field: &Field<'n>) -> Option<(&'n str, &'n str)> {
    const KEYS: Keys = Keys::of(&[
        "name",
        "namespace",
        "labels",
        "annotations",
        "creationTimestamp",
        "resourceVersion",
        "uid",
        "generation",
        "selfLink",
        "managedFields",
        "finalizers",
        "ownerReferences",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generateName",
        "clusterName",
    ]);
    let table = Table::new(field, &KEYS)?;
    let checked = |field: &Field<'n>, check: fn(&str) -> bool| {
        let text = field.filled()?;
        if !check(text) {
            field.fault_with("name", format!("`{text}` is no name"), "lower-case letters, digits and -");
            return None;
        }
        Some(text)
    };
    let name = table.require("name").and_then(|field| checked(&field, is_fqdn));
    let namespace = table.get("namespace").map_or(Some("default"), |field| checked(&field, is_dns_label));
    Some((name?, namespace?))
}

/// The spec; name, namespace and place are the caller's to fill in.
fn spec(field: &Field<'_>, patterns: &Patterns) -> Option<RouteRuleDraft> {
    const KEYS: Keys = Keys {
        known: &["destination", "precedence", "match", "route"],
        later: &[
            "redirect",
            "rewrite",
            "websocketUpgrade",
            "httpReqTimeout",
            "httpReqRetries",
            "httpFault",
            "l4Fault",
            "mirror",
            "corsPolicy",
            "appendHeaders",
        ],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let destination = destination(&table);
    let precedence =
        table.get("precedence").map_or(Some(0), |field| field.integer(i32::MIN.into()..=i32::MAX.into()));
    let matches = table
        .get("match")
        .map_or_else(|| Some(Default::default()), |field| matches::matches(&field, patterns));
    if let Some(field) = table.get_with_null("route").filter(|field| field.node.is_null()) {
        field.warn_with("empty", "`route` is empty: requests go to every version", "list the versions");
    }
    let route = table.get("route").map_or(Some(None), |field| route(&field).map(Some));
    let (precedence, matches) = (precedence? as i32, matches?);
    Some(RouteRuleDraft {
        place: field.place(),
        name: "".into(),
        namespace: "".into(),
        destination: destination?,
        precedence,
        path: matches.path,
        headers: matches.headers,
        source: matches.source,
        route: route?,
    })
}

fn destination(table: &Table<'_>) -> Option<ServiceRef> {
    let Some(field) = table.get("destination") else {
        table.field.fault_with(
            "destination-missing",
            "`destination` is missing",
            "the service that the rule is about",
        );
        return None;
    };
    let destination = service_ref::service_ref(&field)?;
    if destination.labels != Labels::new() {
        let help = "labels belong to the entries of `route`";
        field.fault_with("destination-labels", "a rule is about a whole service", help);
        return None;
    }
    Some(destination)
}

/// The entries, with weights that sum to 100.
fn route(field: &Field<'_>) -> Option<Vec<Entry>> {
    let entries: Vec<_> = field.items()?.iter().map(entry).collect();
    let mut entries: Vec<Entry> = entries.into_iter().collect::<Option<_>>()?;
    let sum: u32 = entries.iter().map(|entry| entry.weight).sum();
    match &mut entries[..] {
        [only] if only.weight == 0 => only.weight = 100,
        _ if sum == 100 => {}
        _ => {
            field.fault_with(
                "weight-sum",
                format!("the weights sum to {sum}"),
                "100; a lone entry needs no weight",
            );
            return None;
        }
    }
    Some(entries)
}

fn entry(field: &Field<'_>) -> Option<Entry> {
    let table = Table::new(
        field,
        &Keys { known: &["destination", "labels", "weight"], later: &[], never: &[], proto: true },
    )?;
    let labels = service_ref::labels(table.get("labels").as_ref());
    let weight = table.get("weight").map_or(Some(0), |field| field.integer_as("weight", 0..=100));
    let destination = table.get("destination").map_or(Some(None), |field| {
        let destination = service_ref::service_ref(&field)?;
        if destination.labels != Labels::new() {
            let help = "write the labels beside `destination`";
            field.fault_with("not-supported", "`labels` inside `destination` are not supported yet", help);
            return None;
        }
        Some(Some(destination))
    });
    let (labels, weight) = (labels?, weight?);
    Some(Entry { place: field.place(), destination: destination?, labels, weight: weight as u32 })
}
