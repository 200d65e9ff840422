//! RouteRule `config.istio.io/v1alpha2`: documents -> drafts.
//!
//! Law: what Istio 0.7.1's validator refused is refused, each check with its own code; what Istio
//! never implemented is refused by name. Names may be lowerCamel or snake_case, as in protobuf's JSON.

mod faults;
mod fields;
mod matches;
mod policies;
mod service_ref;
#[cfg(test)]
mod tests;

use super::decode::Field;
use super::draft::{
    ActionDraft, Claim, Dialect, Order, RouteDraft, RuleDraft, Select, ShareDraft, SourceDraft,
};
use super::metadata::Metadata;
use super::patterns::Patterns;
use super::table::{Keys, Table, maybe};
use super::tree::Value;
use crate::snapshot::{Labels, Redirect};

pub(crate) use fields::FIELDS;
use service_ref::share_ref;
pub(crate) use service_ref::{ServiceRef, service_ref};

pub(crate) const API_VERSION: &str = "config.istio.io/v1alpha2";
/// A policy of whatever form.
pub(crate) const CUSTOM: (&str, &str) = ("custom", "Istio's proxies had no use for it");
/// The one protocol that a rule can let callers switch to.
const WEBSOCKET: &str = "websocket";

const KEYS: Keys = Keys {
    known: &[
        "destination",
        "precedence",
        "match",
        "route",
        "redirect",
        "rewrite",
        "websocketUpgrade",
        "httpReqTimeout",
        "httpReqRetries",
        "httpFault",
        "mirror",
        "corsPolicy",
        "appendHeaders",
    ],
    later: &[],
    never: &[("l4Fault", "Istio never implemented it, and its validator refused it")],
    proto: true,
};

/// One rule, by its `spec:`.
pub(crate) fn decode(spec: &Field<'_>, metadata: &Metadata, patterns: &Patterns) -> Option<RouteDraft> {
    let table = Table::new(spec, &KEYS)?;
    let destination = destination(&table);
    let precedence =
        table.get("precedence").map_or(Some(0), |field| field.integer(i32::MIN.into()..=i32::MAX.into()));
    let matches = table
        .get("match")
        .map_or_else(|| Some(Default::default()), |field| matches::matches(&field, patterns));
    if let Some(field) = table.get_with_null("route").filter(|field| field.node.is_null()) {
        field.warn_with("empty", "`route` is empty: requests go to every version", "list the versions");
    }
    let route = maybe(&table, "route", route);
    let redirect = redirect(&table);
    let websocket = maybe(&table, "websocketUpgrade", |field| field.boolean());
    let timeout = maybe(&table, "httpReqTimeout", policies::timeout);
    let policy = policies::policies(&table);
    let (precedence, matches, destination) = (precedence? as i32, matches?, destination?);
    let action = match (redirect?, route?) {
        (Some(redirect), _) => ActionDraft::Redirect(Box::new(redirect)),
        (None, Some(shares)) => ActionDraft::Shares(shares),
        (None, None) => ActionDraft::Whole,
    };
    let rule = RuleDraft {
        place: metadata.place.clone(),
        label: None,
        gateways: None,
        order: Order::Precedence(precedence),
        path: matches.path,
        headers: matches.headers,
        more: None,
        source: matches.source.map(source),
        action,
        timeout: timeout?.flatten(),
        repeatable: None,
        upgrades: websocket?.filter(|asked| *asked).map(|_| WEBSOCKET.into()).into_iter().collect(),
        policy: policy?,
    };
    let claim = Claim::Service(destination.host, destination.place);
    Some(RouteDraft { claims: vec![claim], rules: vec![rule], ..metadata.routes(Dialect::RouteRule) })
}

/// A redirect stands alone.
#[allow(clippy::option_option)]
fn redirect(table: &Table<'_>) -> Option<Option<Redirect>> {
    let Some(field) = table.get("redirect") else { return Some(None) };
    let mut good = true;
    let entries = |field: &Field<'_>| !matches!(&field.node.value, Value::Sequence(all) if all.is_empty());
    let asked = |field: &Field<'_>| field.node.is_true();
    let all: [(&'static str, &dyn Fn(&Field<'_>) -> bool); 4] =
        [("route", &entries), ("httpFault", &|_| true), ("rewrite", &|_| true), ("websocketUpgrade", &asked)];
    for (key, counts) in all {
        if let Some(other) = table.get(key).filter(|other| counts(other)) {
            let help = "a redirected request goes nowhere else";
            other.fault_with("redirect", format!("`{key}` and `redirect` exclude each other"), help);
            good = false;
        }
    }
    for key in ["mirror", "appendHeaders", "httpReqTimeout", "httpReqRetries"] {
        if let Some(other) = table.get(key) {
            other.warn_with("never-acts", "a redirected request goes nowhere", "leave it out");
        }
    }
    let redirect = policies::redirect(&field);
    redirect.filter(|_| good).map(Some)
}

/// Who calls.
pub(crate) fn source(source: ServiceRef) -> Box<SourceDraft> {
    let ServiceRef { place, host, labels } = source;
    Box::new(SourceDraft { place, host: Some(host), namespace: None, labels })
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
    let destination = service_ref(&field)?;
    if destination.labels != Labels::new() {
        let help = "labels belong to the entries of `route`";
        field.fault_with("destination-labels", "a rule is about a whole service", help);
        return None;
    }
    Some(destination)
}

/// The entries, with weights that sum to 100.
fn route(field: &Field<'_>) -> Option<Vec<ShareDraft>> {
    let entries: Vec<_> = field.items()?.iter().map(entry).collect();
    let mut entries: Vec<ShareDraft> = entries.into_iter().collect::<Option<_>>()?;
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

fn entry(field: &Field<'_>) -> Option<ShareDraft> {
    let table = Table::new(
        field,
        &Keys { known: &["destination", "labels", "weight"], later: &[], never: &[], proto: true },
    )?;
    let labels = service_ref::labels(table.get("labels").as_ref());
    let weight = table.get("weight").map_or(Some(0), |field| field.integer_as("weight", 0..=100));
    let destination = maybe(&table, "destination", share_ref);
    let (mut labels, weight, destination) = (labels?, weight?, destination?);
    let (host, of_host) = destination.unwrap_or_default();
    if !of_host.is_empty() {
        if !labels.is_empty() && labels != of_host {
            field.fault_with("label", "`labels` and those of `destination` differ", "one of the two");
            return None;
        }
        labels = of_host;
    }
    Some(ShareDraft {
        place: field.place(),
        destination: host,
        select: Select::Labels(labels),
        port: None,
        weight: weight as u32,
        policy: None,
    })
}
