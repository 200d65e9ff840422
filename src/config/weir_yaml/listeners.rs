//! `listeners:` and `callers:` of a `weir.yaml`.

use std::sync::Arc;

use super::draft::{CallerDraft, ListenerDraft, ListenerMode};
use super::settings::labels;
use crate::config::decode::Field;
use crate::config::names::is_fqdn;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::PeerFilter;

/// One listener; `None` when it has no usable name or address.
pub(super) fn listener(field: &Field<'_>) -> Option<ListenerDraft> {
    const KEYS: Keys =
        Keys::of(&["name", "address", "service", "mode", "allow", "gateways", "use_remote_address", "tls"]);
    let table = Table::new(field, &KEYS)?;
    if let Some(tls) = table.get("tls") {
        refuse_filled(&tls, "tls");
    }
    let name = table.require("name").and_then(|field| listener_name(&field));
    let address = table.require("address");
    let service = table.get("service").and_then(|field| Some((field.filled()?.to_owned(), field.place())));
    let mode = mode(&table);
    let gateways = maybe(&table, "gateways", |field| gateways(field, &mode));
    let use_remote_address =
        table.get("use_remote_address").and_then(|field| field.boolean()).unwrap_or(false);
    Some(ListenerDraft {
        place: field.place(),
        name: name?.into(),
        address: address.as_ref()?.bind_address()?,
        address_place: address.as_ref()?.place(),
        service,
        mode,
        gateways: gateways?,
        use_remote_address,
    })
}

/// Names become metric labels and stat prefixes.
fn listener_name<'n>(field: &Field<'n>) -> Option<&'n str> {
    let name = field.filled()?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match name.len() <= 63 && name.bytes().all(allowed) {
        true => Some(name),
        false => {
            field.fault_with("name", format!("`{name}` is no name"), "at most 63 letters, digits, - _ and .");
            None
        }
    }
}

fn mode(table: &Table<'_>) -> ListenerMode {
    let deliver = table.get("mode").and_then(|field| field.word(&[("split", false), ("deliver", true)]));
    let allow = table.get("allow");
    let peers = allow.as_ref().and_then(peers).unwrap_or(PeerFilter::EndpointsAnd(Vec::new()));
    if deliver.unwrap_or(false) {
        if table.get("service").is_none() {
            table.field.fault("missing", "`service` is missing: a delivery listener serves one service");
        }
        return ListenerMode::Deliver { peers };
    }
    if let Some(allow) = allow.filter(|_| peers != PeerFilter::EndpointsAnd(Vec::new())) {
        allow.fault_with("allow", "only a delivery listener asks who its peers are", "mode: deliver");
    }
    ListenerMode::Split
}

/// `any`, or ranges besides the service's endpoints.
fn peers(field: &Field<'_>) -> Option<PeerFilter> {
    if field.node.kind_name() == "a string" {
        return field.word(&[("any", ())]).map(|()| PeerFilter::Any);
    }
    let ranges: Vec<_> = field.items()?.iter().map(|item| item.cidr()).collect();
    ranges.into_iter().collect::<Option<_>>().map(PeerFilter::EndpointsAnd)
}

/// Names of gateways, perhaps with a namespace; `mesh` for callers that pass none.
fn gateways(field: &Field<'_>, mode: &ListenerMode) -> Option<Vec<Arc<str>>> {
    if matches!(mode, ListenerMode::Deliver { .. }) {
        field.fault_with("conflict", "a delivery listener has no rules", "mode: split");
        return None;
    }
    let name = |field: &Field<'_>| {
        let text = field.filled()?;
        if !text.splitn(2, '/').all(is_fqdn) {
            field.fault_with("name", format!("`{text}` is no gateway"), "`name`, `namespace/name` or `mesh`");
            return None;
        }
        Some(Arc::from(text))
    };
    let all: Vec<_> = field.items()?.iter().map(name).collect();
    let mut all = all.into_iter().collect::<Option<Vec<_>>>()?;
    if all.is_empty() {
        field.fault_with("missing", "it needs one entry at least", "without the key it stands for all");
        return None;
    }
    all.sort();
    all.dedup();
    Some(all)
}

/// A key whose only value so far is its documented default, `{}`.
pub(super) fn refuse_filled(field: &Field<'_>, key: &str) {
    if field.pairs().is_some_and(|pairs| !pairs.is_empty()) {
        field.fault_with("not-supported", format!("`{key}` is not supported yet"), "leave it out");
    }
}

/// One caller.
pub(super) fn caller(field: &Field<'_>) -> Option<CallerDraft> {
    let table = Table::new(field, &Keys::of(&["cidr", "service", "labels"]))?;
    let cidr = table.require("cidr").and_then(|field| field.cidr());
    let service = table.require("service").and_then(|field| {
        let service = field.filled()?.to_ascii_lowercase();
        if !is_fqdn(&service) {
            field.fault_with("dns-name", format!("`{service}` is no host"), "such as frontend.web");
            return None;
        }
        Some(service)
    });
    let labels = table.get("labels").map_or_else(|| Some(Default::default()), |field| labels(&field));
    Some(CallerDraft { place: field.place(), cidr: cidr?, service: service?, labels: labels? })
}
