//! `backendRefs:` and the backend of a mirror.
//!
//! Law: a backend is a Service by its name; which endpoints that means is decided when linking (`link::backends`). The port
//! has to stand there, as the schema has it, and says nothing here: an endpoint's ports are those of weir.yaml.

use std::sync::Arc;

use super::filters::{self, Allowed};
use super::words::bounded;
use crate::config::annotations::Backend;
use crate::config::decode::{Field, Scope};
use crate::config::draft::{ActionDraft, HostRef, RouteDraft, Select, ShareDraft, TargetPolicyDraft};
use crate::config::names::is_dns_label;
use crate::config::networking;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::{Labels, TargetPolicy};

/// The largest weight.
const MAX_WEIGHT: i64 = 1_000_000;

/// Where the shares of a rule go. A lone one has all of it, whatever its weight, unless that is zero.
pub(super) fn shares(
    field: &Field<'_>,
    allowed: &Allowed,
    prefix: bool,
    patterns: &Patterns,
) -> Option<Vec<ShareDraft>> {
    const KEYS: Keys = Keys::of(&["group", "kind", "namespace", "name", "port", "weight", "filters"]);
    let read: Vec<_> = bounded(field, 16)?
        .iter()
        .map(|item| {
            let table = Table::new(item, &KEYS)?;
            let share = backend(&table);
            let weight =
                table.get("weight").map_or(Some(1), |field| field.integer_as("weight", 0..=MAX_WEIGHT));
            let policy = maybe(&table, "filters", |field| policy(field, allowed, prefix, patterns));
            Some(ShareDraft { weight: weight? as u32, policy: policy?.flatten(), ..share? })
        })
        .collect();
    let mut shares: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    if let [only] = &mut shares[..]
        && only.weight > 0
    {
        only.weight = 100;
    }
    Some(shares)
}

/// Where copies go.
pub(super) fn mirror(field: &Field<'_>) -> Option<ShareDraft> {
    backend(&Table::new(field, &Keys::of(&["group", "kind", "namespace", "name", "port"]))?)
}

fn backend(table: &Table<'_>) -> Option<ShareDraft> {
    let group = table.get("group").map_or(Some(""), |field| field.text());
    let kind = table.get("kind").map_or(Some("Service"), |field| field.text());
    let label = |field: &Field<'_>| {
        super::words::checked(field, "name", is_dns_label, "lower-case letters, digits and -")
            .map(str::to_owned)
    };
    let namespace = maybe(table, "namespace", label);
    let name = table.require("name").and_then(|field| label(&field));
    let port = table.require("port").and_then(|field| networking::port(&field));
    let (group, kind) = (group?, kind?);
    if (group, kind) != ("", "Service") {
        let reason = format!("a backend of kind `{kind}` of group `{group}` is not supported");
        table.field.fault_with("not-supported", reason, "Service of group \"\"");
        return None;
    }
    port?;
    Some(ShareDraft {
        place: table.field.place(),
        destination: Some(HostRef::Short { text: name?, namespace: namespace? }),
        select: Select::Backend(Labels::new()),
        port: None,
        weight: 100,
        policy: None,
    })
}

/// Gives the backends of `draft` the labels that annotations say. One that nothing names is told of.
pub(super) fn annotate(draft: &mut RouteDraft, said: &[Backend], scope: &Scope) {
    let mut used = vec![false; said.len()];
    let mut label = |share: &mut ShareDraft| {
        let Some(HostRef::Short { text, .. }) = &share.destination else { return };
        let Some(at) = said.iter().position(|one| *one.name == **text) else { return };
        used[at] = true;
        share.select = Select::Backend(said[at].labels.clone());
    };
    for rule in &mut draft.rules {
        if let ActionDraft::Shares(shares) = &mut rule.action {
            for share in shares {
                label(share);
                let own = share.policy.iter_mut().flat_map(|policy| &mut policy.mirrors);
                own.for_each(|mirror| label(&mut mirror.share));
            }
        }
        let policy = rule.policy.as_mut().filter(|policy| !policy.mirrors.is_empty());
        let mirrors = policy.into_iter().flat_map(|policy| &mut Arc::make_mut(policy).mirrors);
        mirrors.for_each(|mirror| label(&mut mirror.share));
    }
    for (one, _) in said.iter().zip(used).filter(|(_, used)| !used) {
        let reason = format!("no backend is `{}`: the annotation says nothing", one.name);
        scope.push(one.place.warning("never-acts", reason));
    }
}

/// Nothing if the filters do nothing.
fn policy(
    field: &Field<'_>,
    allowed: &Allowed,
    prefix: bool,
    patterns: &Patterns,
) -> Option<Option<Box<TargetPolicyDraft>>> {
    let filters = filters::filters(field, allowed, prefix, patterns)?;
    if filters.redirect.is_some() {
        filters.tell_of_what_never_acts(field);
    }
    let policy = TargetPolicy {
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        rewrite: filters.rewrite,
        mirrors: Vec::new(),
        cors: filters.cors,
        redirect: filters.redirect,
    };
    let draft = TargetPolicyDraft { policy, mirrors: filters.mirrors };
    Some((draft != TargetPolicyDraft::default()).then(|| draft.into()))
}
