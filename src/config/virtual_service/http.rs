//! `http[]`: one rule, in as many [`RuleDraft`]s as it has alternatives.
//!
//! Law: a rule forwards, redirects or answers; what would have no effect beside that is refused where Istio refuses it,
//! and told of where Istio does not.

use std::sync::Arc;

use super::matches::{self, Alternative};
use super::{Context, action, edits, fault, policy};
use crate::config::decode::Field;
use crate::config::draft::{ActionDraft, Order, PolicyDraft, RuleDraft};
use crate::config::networking::plain_name;
use crate::config::table::{Keys, Table, each, filled, maybe};
use crate::snapshot::RoutePolicy;

const KEYS: Keys = Keys {
    known: &[
        "name",
        "match",
        "route",
        "redirect",
        "directResponse",
        "rewrite",
        "timeout",
        "retries",
        "fault",
        "mirror",
        "mirrorPercent",
        "mirrorPercentage",
        "mirrors",
        "corsPolicy",
        "headers",
    ],
    later: &[],
    never: &[
        ("delegate", "one object says all about a host"),
        ("websocketUpgrade", "upgrades to WebSocket are always allowed"),
        ("appendHeaders", "Istio has dropped it; write `headers.request.add`"),
        ("appendRequestHeaders", "Istio has dropped it; write `headers.request.add`"),
        ("removeRequestHeaders", "Istio has dropped it; write `headers.request.remove`"),
        ("appendResponseHeaders", "Istio has dropped it; write `headers.response.add`"),
        ("removeResponseHeaders", "Istio has dropped it; write `headers.response.remove`"),
    ],
    proto: true,
};

/// Alternatives of one rule.
const MAX_ALTERNATIVES: usize = 1_024;

/// One rule; `label` makes its name unique. `None` when something cannot be made out.
pub(super) fn rule(
    field: &Field<'_>,
    context: &Context<'_>,
    label: &mut dyn FnMut(Option<Arc<str>>) -> Option<Arc<str>>,
) -> Option<Vec<RuleDraft>> {
    let table = Table::new(field, &KEYS)?;
    let name = filled(&table, "name").map_or(Some(None), |(field, text)| plain_name(&field, text).map(Some));
    let alternatives = alternatives(&table, context);
    let edits = edits::edits(&table, context);
    let timeout = maybe(&table, "timeout", |field| field.duration());
    let retries = maybe(&table, "retries", policy::retries);
    let fault = maybe(&table, "fault", fault::fault);
    let cors = maybe(&table, "corsPolicy", |field| policy::cors(field, context));
    let mirrors = policy::mirrors(&table);
    let action = action::action(&table, edits.as_ref().and_then(|edits| edits.path()));
    let (action, edits) = (action?, edits?);
    let forwards = matches!(action, ActionDraft::Shares(_));
    if !forwards {
        tell_of_what_never_acts(&table);
    }
    let (retries, fault, cors, mirrors) = (retries?, fault?, cors?, mirrors?);
    let drafts = PolicyDraft {
        policy: RoutePolicy {
            retry: retries,
            fault: fault.flatten(),
            cors,
            request_headers: edits.request,
            response_headers: edits.response,
            rewrite: edits.rewrite,
            ..RoutePolicy::default()
        },
        mirrors,
    };
    let said = (drafts != PolicyDraft::default()).then(|| Arc::new(drafts));
    let label = label(name?);
    let timeout = timeout?;
    let mut alternatives = alternatives?;
    if alternatives.is_empty() {
        alternatives.push(Alternative::default());
    }
    let draft = |one: Alternative| RuleDraft {
        place: field.place(),
        label: label.clone(),
        gateways: one.gateways,
        order: Order::Listed,
        path: one.path,
        headers: one.headers,
        more: one.more,
        source: one.source,
        action: action.clone(),
        timeout,
        repeatable: None,
        upgrades: if forwards { vec!["websocket".into()] } else { Vec::new() },
        policy: said.clone(),
    };
    Some(alternatives.into_iter().map(draft).collect())
}

/// `match:`. Each becomes a route, with the policy of the rule in it.
fn alternatives(table: &Table<'_>, context: &Context<'_>) -> Option<Vec<Alternative>> {
    if let Some(field) = table.get("match") {
        let count = field.items()?.len();
        if count > MAX_ALTERNATIVES {
            let help = format!("at most {MAX_ALTERNATIVES}; a regular expression says many at once");
            field.fault_with("too-many", format!("it has {count} entries"), help);
            return None;
        }
    }
    each(table, "match", |field| matches::alternative(field, context))
}

/// Istio takes these beside a redirect or an answer, and drops them.
fn tell_of_what_never_acts(table: &Table<'_>) {
    let tell = |field: &Field<'_>, key: &str| {
        let help = format!("leave `{key}` out");
        field.warn_with("never-acts", "no request of this rule is forwarded", help);
    };
    for key in ["timeout", "retries", "mirror", "mirrors"] {
        if let Some(field) = table.get(key) {
            tell(&field, key);
        }
    }
    if let Some(field) = table.get("headers")
        && let Some(node) = field.node.get("request").filter(|node| !node.is_null())
    {
        tell(&field.child("request", node), "headers.request");
    }
}
