//! Of objects that claim one host, those that have it, and their rules in order.
//!
//! Law: the newest dialect has it; of VirtualServices the oldest object. GRPCRoutes say nothing of requests that are not
//! gRPC: where nobody else of their dialect does, these are the next dialect's. Who loses is told.

use std::cmp::{Ordering, Reverse};

use super::claims::is_answer;
use super::listeners::Site;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::draft::{Dialect, Order, RouteDraft, RuleDraft};
use crate::words::Protocol;

/// A rule and its object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'d> {
    pub(super) object: &'d RouteDraft,
    pub(super) rule: &'d RuleDraft,
    /// The requests that are left to it, where others have the rest.
    pub(super) only: Option<Protocol>,
    is_namesake: bool,
}

impl Candidate<'_> {
    /// What operators and metrics call it: with its kind where an object of another kind has the same name.
    pub(super) fn name(&self) -> String {
        let name = self.object.rule_name(self.rule.label.as_deref());
        match self.is_namesake {
            true => format!("{}:{name}", self.object.kind.to_ascii_lowercase()),
            false => name,
        }
    }
}

/// The rules that hold for a host, in order.
#[derive(Clone, Debug)]
pub(super) struct Won<'d> {
    pub(super) rules: Vec<Candidate<'d>>,
    /// Whether somebody claims the host.
    pub(super) is_claimed: bool,
    /// Whether what they leave goes to all of the host's service.
    pub(super) falls_back: bool,
    /// Of what, if it is not all.
    pub(super) only: Option<Protocol>,
}

impl<'d> Won<'d> {
    /// Whether all of them answer by themselves.
    pub(super) fn only_answers(&self) -> bool {
        self.is_claimed && self.rules.iter().all(|one| is_answer(one.object))
    }

    /// What they leave goes by `rest`.
    pub(super) fn and_then(mut self, rest: Won<'d>) -> Won<'d> {
        self.rules.extend(rest.rules);
        Won { rules: self.rules, ..rest }
    }
}

/// An object that claims a host, and where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claimant<'d> {
    pub(super) object: &'d RouteDraft,
    pub(super) place: &'d Place,
    /// Whether an object of another kind has its name.
    pub(super) is_namesake: bool,
}

/// The rules that hold for `host`.
pub(super) fn win<'c, 'd: 'c>(
    host: &str,
    claimants: impl Iterator<Item = &'c Claimant<'d>>,
    site: &Site<'_>,
    found: &mut Vec<Diagnostic>,
) -> Won<'d> {
    let mut left: Vec<_> = claimants.collect();
    let mut won = Won { rules: Vec::new(), is_claimed: false, falls_back: true, only: None };
    while let Some(dialect) = left.iter().map(|one| one.object.dialect).max() {
        let (mut winners, mut losers): (Vec<&Claimant<'d>>, Vec<_>) =
            left.into_iter().partition(|one| one.object.dialect == dialect);
        winners.sort_by(|a, b| age(a.object).cmp(&age(b.object)));
        if dialect == Dialect::VirtualService {
            losers.extend(winners.drain(1..));
        }
        let mut rules: Vec<_> = winners.iter().flat_map(|one| rules(one, site, won.only)).collect();
        rules.sort_by(compare);
        let calls = rules.iter().all(is_for_calls);
        for loser in &losers {
            found.extend(winners.first().map(|winner| claimed(host, loser, winner, calls)));
        }
        won.rules.extend(rules);
        won.is_claimed = true;
        if !calls {
            won.falls_back = dialect == Dialect::RouteRule;
            break;
        }
        won.only = Some(Protocol::Http);
        left = losers.into_iter().filter(|one| one.object.dialect < dialect).collect();
    }
    won
}

/// The rules of an object for a site.
fn rules<'d>(
    one: &Claimant<'d>,
    site: &Site<'_>,
    only: Option<Protocol>,
) -> impl Iterator<Item = Candidate<'d>> {
    let Claimant { object, is_namesake, .. } = *one;
    let own = object.rules.iter().filter(|rule| site.is_of(rule.gateways.as_deref()));
    own.map(move |rule| Candidate { object, rule, only, is_namesake })
}

/// Whether it takes gRPC requests alone.
fn is_for_calls(one: &Candidate<'_>) -> bool {
    one.rule.more.as_ref().is_some_and(|more| more.protocol == Some(Protocol::Grpc))
}

fn claimed(host: &str, loser: &Claimant<'_>, winner: &Claimant<'_>, calls: bool) -> Diagnostic {
    let (kind, name, place) = (winner.object.kind, winner.object.full_name(), &winner.place.origin);
    let place = place.file_and_line();
    let reason = match calls {
        true => {
            format!("gRPC requests of `{host}` have the {kind} `{name}` ({place}): this one has the others")
        }
        false => format!("`{host}` has the {kind} `{name}` ({place}): this one has no say"),
    };
    let help = match loser.object.dialect == winner.object.dialect {
        true => "the oldest has a host whole; put the rules into one object",
        false => "HTTPRoute and GRPCRoute go before VirtualService, VirtualService before RouteRule",
    };
    loser.place.warning("host-claimed", reason).with_help(help)
}

/// The older first; an object without a date is the youngest.
fn age(object: &RouteDraft) -> (bool, Option<&str>, &str, &str) {
    (object.created.is_none(), object.created.as_deref(), &object.namespace, &object.name)
}

/// Which of two rules about one host goes first. Equal ones stay as they stand.
fn compare(a: &Candidate<'_>, b: &Candidate<'_>) -> Ordering {
    match (a.rule.order, b.rule.order) {
        (Order::Precedence(a_rank), Order::Precedence(b_rank)) => {
            let namespaces = a.object.namespace.cmp(&b.object.namespace);
            let names = namespaces.then_with(|| a.object.name.cmp(&b.object.name));
            Reverse(a_rank).cmp(&Reverse(b_rank)).then(names)
        }
        (Order::Specificity(a_rank), Order::Specificity(b_rank)) => {
            Reverse(a_rank).cmp(&Reverse(b_rank)).then_with(|| age(a.object).cmp(&age(b.object)))
        }
        _ => Ordering::Equal,
    }
}
