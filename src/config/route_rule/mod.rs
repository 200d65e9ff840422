//! RouteRule `config.istio.io/v1alpha2`: documents -> drafts.
//!
//! Law: what Istio 0.7.1's validator refused is refused, each check with its own code; what does not work yet is
//! refused by name. Names may be lowerCamel or snake_case, as in protobuf's JSON.

mod matches;
mod service_ref;
#[cfg(test)]
mod tests;

use super::decode::Field;
use super::draft::{
    ActionDraft, Claim, Dialect, Order, RouteDraft, RuleDraft, Select, ShareDraft, SourceDraft,
};
use super::metadata::Metadata;
use super::patterns::Patterns;
use super::table::{Keys, Table};
use crate::snapshot::Labels;
use service_ref::ServiceRef;

pub(crate) const API_VERSION: &str = "config.istio.io/v1alpha2";

/// One rule, by its `spec:`.
pub(crate) fn decode(spec: &Field<'_>, metadata: &Metadata, patterns: &Patterns) -> Option<RouteDraft> {
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
    let route = table.get("route").map_or(Some(None), |field| route(&field).map(Some));
    let (precedence, matches, destination) = (precedence? as i32, matches?, destination?);
    let rule = RuleDraft {
        place: metadata.place.clone(),
        label: None,
        gateways: None,
        order: Order::Precedence(precedence),
        path: matches.path,
        headers: matches.headers,
        more: None,
        source: matches.source.map(source),
        action: route?.map_or(ActionDraft::Whole, ActionDraft::Shares),
        timeout: None,
        repeatable: None,
        upgrades: Vec::new(),
        policy: None,
    };
    let claim = Claim::Service(destination.host, destination.place);
    Some(RouteDraft { claims: vec![claim], rules: vec![rule], ..metadata.routes(Dialect::RouteRule) })
}

fn source(source: ServiceRef) -> Box<SourceDraft> {
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
    let destination = service_ref::service_ref(&field)?;
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
    let destination = table.get("destination").map_or(Some(None), |field| {
        let destination = service_ref::service_ref(&field)?;
        if destination.labels != Labels::new() {
            let help = "write the labels beside `destination`";
            field.fault_with("not-supported", "`labels` inside `destination` are not supported yet", help);
            return None;
        }
        Some(Some(destination.host))
    });
    let (labels, weight) = (labels?, weight?);
    Some(ShareDraft {
        place: field.place(),
        destination: destination?,
        select: Select::Labels(labels),
        port: None,
        weight: weight as u32,
        policy: None,
    })
}
