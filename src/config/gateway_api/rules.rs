//! `rules:` of either kind of route: names, matches, filters, backends, times.
//!
//! Law: a rule with several matches is as many drafts with one label, one action and one policy, so that all of them share
//! one split. A rule that leads nowhere answers with an error, as the Gateway API has it, and is told of.

use std::sync::{Arc, LazyLock};

use super::filters::{self, Allowed, Filters};
use super::words::{bounded, object_name};
use super::{backends, retry};
use crate::config::decode::Field;
use crate::config::draft::{ActionDraft, Order, PolicyDraft, RuleDraft, ShareDraft};
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table};
use crate::snapshot::{DirectResponse, HeaderMatch, MoreMatch, PathMatch, RoutePolicy};

/// What the two kinds of route differ in.
pub(super) struct Kind {
    pub(super) keys: Keys,
    /// Those of a rule and of its backends.
    pub(super) filters: &'static Allowed,
    /// What requests get that no backend is for.
    pub(super) no_backend: u16,
    /// Whether a caller may switch to WebSocket, which in the Gateway API nobody has to allow.
    pub(super) websocket: bool,
    /// Whether the list has an entry at least.
    pub(super) needs_rules: bool,
    pub(super) read: fn(&Field<'_>, &Patterns) -> Option<Match>,
    /// What holds without `matches`.
    pub(super) any: fn() -> Match,
}

/// One of `matches:`.
#[derive(Clone)]
pub(super) struct Match {
    pub(super) order: Order,
    pub(super) path: Option<PathMatch>,
    /// Whether the path's condition is of type `PathPrefix`.
    pub(super) is_prefix: bool,
    pub(super) headers: Vec<HeaderMatch>,
    pub(super) more: Option<Box<MoreMatch>>,
}

/// Limits of the schema.
const MAX_RULES: usize = 16;
const MAX_MATCHES: usize = 64;
const MAX_MATCHES_OF_ALL: usize = 128;

/// The rules of a list.
pub(super) fn rules(field: &Field<'_>, patterns: &Patterns, kind: &Kind) -> Option<Vec<RuleDraft>> {
    let items = bounded(field, MAX_RULES)?;
    if items.is_empty() && kind.needs_rules {
        field.fault_with("empty", "it has no rules", "one at least, or no `rules` at all");
        return None;
    }
    let names: Vec<_> = items.iter().map(name).collect();
    let mut whole = distinct(&names);
    let mut drafts = Vec::new();
    for (index, (item, name)) in items.iter().zip(&names).enumerate() {
        // A lone rule needs none: its route's name says which it is.
        let number = || (items.len() > 1).then(|| format!("#{}", index + 1).into());
        let label = name.as_ref().map_or_else(number, |(_, name)| Some((*name).into()));
        match rule(item, label, patterns, kind) {
            Some(rules) => drafts.extend(rules),
            None => whole = false,
        }
    }
    if drafts.len() > MAX_MATCHES_OF_ALL {
        let help = format!("at most {MAX_MATCHES_OF_ALL} in all rules of a route");
        field.fault_with("too-many", format!("it has {} matches", drafts.len()), help);
        return None;
    }
    whole.then_some(drafts)
}

/// What holds without `rules`: one rule for everything, which leads nowhere.
pub(super) fn default_rule(spec: &Field<'_>, kind: &Kind) -> Vec<RuleDraft> {
    let action = nowhere(spec, kind);
    vec![draft(
        spec,
        (kind.any)(),
        Body { label: None, action, times: retry::Times::default(), policy: None },
        kind,
    )]
}

/// Its field and text, if it has one that is right.
fn name<'n>(rule: &Field<'n>) -> Option<(Field<'n>, &'n str)> {
    let node = rule.node.get("name").filter(|node| !node.is_null())?;
    let field = rule.child("name", node);
    let text = object_name(&field)?;
    Some((field, text))
}

fn distinct(names: &[Option<(Field<'_>, &str)>]) -> bool {
    let mut distinct = true;
    for (index, (field, text)) in
        names.iter().enumerate().filter_map(|(index, name)| Some((index, name.as_ref()?)))
    {
        if names[..index].iter().flatten().any(|(_, other)| other == text) {
            field.fault_with(
                "repeated",
                format!("`{text}` is the name of another rule"),
                "each rule has its own",
            );
            distinct = false;
        }
    }
    distinct
}

/// What all matches of a rule share.
#[derive(Clone)]
struct Body {
    label: Option<Arc<str>>,
    action: ActionDraft,
    times: retry::Times,
    policy: Option<Arc<PolicyDraft>>,
}

fn rule(
    field: &Field<'_>,
    label: Option<Arc<str>>,
    patterns: &Patterns,
    kind: &Kind,
) -> Option<Vec<RuleDraft>> {
    let table = Table::new(field, &kind.keys)?;
    let matches = matches(&table, patterns, kind);
    // With a fault in the matches nothing is said of prefixes.
    let prefix = matches.as_ref().is_none_or(|all| matches!(&all[..], [(_, only)] if only.is_prefix));
    let filters = table.get("filters").map_or_else(
        || Some(Filters::default()),
        |field| filters::filters(&field, kind.filters, prefix, patterns),
    );
    let shares = table
        .get("backendRefs")
        .map_or_else(|| Some(Vec::new()), |field| backends::shares(&field, kind.filters, prefix, patterns));
    let times = retry::times(&table);
    let (mut filters, mut times, shares) = (filters?, times?, shares?);
    let of_share = |share: &ShareDraft| share.policy.as_ref().is_some_and(|own| own.policy.cors.is_some());
    if filters.cors.is_some()
        && shares.iter().any(of_share)
        && let Some(field) = table.get("backendRefs")
    {
        field.fault_with("filter", "the rule and a backend have a filter `CORS`", "one of the two");
        return None;
    }
    let action = action(&table, &mut filters, shares, kind)?;
    let policy = RoutePolicy {
        retry: times.retry.take(),
        cors: filters.cors,
        request_headers: filters.request_headers,
        response_headers: filters.response_headers,
        rewrite: filters.rewrite,
        ..RoutePolicy::default()
    };
    let policy = PolicyDraft { policy, mirrors: filters.mirrors };
    let policy = (policy != PolicyDraft::default()).then(|| policy.into());
    let body = Body { label, action, times, policy };
    Some(matches?.into_iter().map(|(place, one)| draft(&place, one, body.clone(), kind)).collect())
}

/// Each with the field that it stands in; the default stands where the rule does.
fn matches<'n>(table: &Table<'n>, patterns: &Patterns, kind: &Kind) -> Option<Vec<(Field<'n>, Match)>> {
    let items = table.get("matches").map_or(Some(Vec::new()), |field| bounded(&field, MAX_MATCHES))?;
    if items.is_empty() {
        return Some(vec![(table.field.clone(), (kind.any)())]);
    }
    let read: Vec<_> = items.into_iter().map(|item| Some(((kind.read)(&item, patterns)?, item))).collect();
    read.into_iter().map(|read| read.map(|(one, item)| (item, one))).collect()
}

fn action(
    table: &Table<'_>,
    filters: &mut Filters,
    shares: Vec<ShareDraft>,
    kind: &Kind,
) -> Option<ActionDraft> {
    let Some(redirect) = filters.redirect.take() else {
        return Some(match shares.iter().any(|share| share.weight > 0) {
            true => ActionDraft::Shares(shares),
            false => nowhere(&table.field, kind),
        });
    };
    if let Some(field) = table.get("backendRefs").filter(|_| !shares.is_empty()) {
        let help = "a RequestRedirect or backends";
        field.fault_with("redirect", "a request that is redirected reaches no backend", help);
        return None;
    }
    if let Some(field) = table.get("filters") {
        filters.tell_of_what_never_acts(&field);
    }
    for field in ["timeouts", "retry"].into_iter().filter_map(|key| table.get(key)) {
        field.warn_with("never-acts", "a request that is redirected is not forwarded", "leave it out");
    }
    Some(ActionDraft::Redirect(redirect.into()))
}

fn nowhere(field: &Field<'_>, kind: &Kind) -> ActionDraft {
    let status = kind.no_backend;
    let help = "`backendRefs` with a weight above zero";
    field.warn_with("no-backend", format!("no backend has a share: requests get {status}"), help);
    ActionDraft::Direct(Box::new(DirectResponse { status, body: None, content_type: None }))
}

fn draft(field: &Field<'_>, one: Match, body: Body, kind: &Kind) -> RuleDraft {
    static WEBSOCKET: LazyLock<Arc<str>> = LazyLock::new(|| "websocket".into());
    let forwards = matches!(body.action, ActionDraft::Shares(_));
    RuleDraft {
        place: field.place(),
        label: body.label,
        gateways: None,
        order: one.order,
        path: one.path,
        headers: one.headers,
        more: one.more,
        source: None,
        action: body.action,
        timeout: body.times.request,
        repeatable: None,
        upgrades: if forwards && kind.websocket { vec![WEBSOCKET.clone()] } else { Vec::new() },
        policy: body.policy,
    }
}
