//! Who has a host: objects -> the rules about each service, and about each host that is no service's, in order.
//!
//! Law: a host is of one dialect: the newest that somebody wrote, so that moving to it needs no deletion. Within
//! VirtualService one object has a host whole, the oldest; within the others all are merged. Who loses is told.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::backends;
use super::hosts::{Known, Registry};
use super::listeners::Site;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::draft::{
    ActionDraft, Claim, Dialect, HostRef, Order, RouteDraft, RuleDraft, Select, ShareDraft,
};
use crate::config::names::nearest;
use crate::config::objects::Objects;
use crate::config::weir_yaml::ListenerDraft;
use crate::snapshot::Domain;

/// A rule and its object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'d> {
    pub(super) object: &'d RouteDraft,
    pub(super) rule: &'d RuleDraft,
}

impl Candidate<'_> {
    /// What operators and metrics call it.
    pub(super) fn name(&self) -> String {
        self.object.rule_name(self.rule.label.as_deref())
    }
}

/// The rules that hold for a host, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Won<'d> {
    pub(super) rules: Vec<Candidate<'d>>,
    /// Whose they are; `None`: nobody claims the host.
    pub(super) dialect: Option<Dialect>,
}

/// An object that claims a host, and where.
#[derive(Clone, Copy, Debug)]
struct Claimant<'d> {
    object: &'d RouteDraft,
    place: &'d Place,
}

/// Every claim, by what it is about.
#[derive(Debug, Default)]
pub(super) struct Claims<'d> {
    /// By full host.
    services: BTreeMap<Arc<str>, Vec<Claimant<'d>>>,
    /// Hosts that no service has.
    domains: BTreeMap<Domain, Vec<Claimant<'d>>>,
}

/// One error for each object whose name another of its kind has already.
pub(crate) fn duplicates(objects: &Objects) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let routes = objects.routes.iter();
    let routes = routes.map(|one| (("rule", one.kind), &*one.namespace, &*one.name, &one.place));
    let kind = |dialect: Dialect| match dialect {
        Dialect::RouteRule => "DestinationPolicy",
        Dialect::VirtualService => "DestinationRule",
        Dialect::GatewayApi => "BackendPolicy",
    };
    let traffic = objects.traffic.iter();
    let traffic = traffic.map(|one| (("policy", kind(one.dialect)), &*one.namespace, &*one.name, &one.place));
    let mut first: HashMap<(&str, &str, &str), &Place> = HashMap::new();
    for ((what, kind), namespace, name, place) in routes.chain(traffic) {
        match first.get(&(kind, namespace, name)) {
            None => drop(first.insert((kind, namespace, name), place)),
            Some(other) => {
                let other = other.origin.file_and_line();
                let reason = format!("the {what} `{name}.{namespace}` stands at {other} already");
                found.push(place.error("duplicate-rule", reason));
            }
        }
    }
    found
}

impl<'d> Claims<'d> {
    /// Sorts objects to the hosts that they claim; tells of those about services that nobody declared.
    pub(super) fn new(
        objects: &'d [RouteDraft],
        registry: &Registry<'_>,
        found: &mut Vec<Diagnostic>,
    ) -> Claims<'d> {
        let mut claims = Claims::default();
        for object in objects {
            for claim in &object.claims {
                claims.add(object, claim, registry, found);
            }
        }
        claims
    }

    fn add(
        &mut self,
        object: &'d RouteDraft,
        claim: &'d Claim,
        registry: &Registry<'_>,
        found: &mut Vec<Diagnostic>,
    ) {
        let (service, place) = match claim {
            Claim::Service(host, place) => match registry.of_object(host, &object.namespace) {
                Ok(known) => (Ok(known), place),
                Err(full) if matches!(host, HostRef::Short { text, .. } if text.contains('.')) => {
                    (Err(Domain::Exact(full.into())), place)
                }
                Err(full) => return found.push(unknown_host(place, &full, registry)),
            },
            Claim::Domain(Domain::Exact(host), place) => match registry.find(host) {
                Some(known) => (Ok(known), place),
                None => (Err(Domain::Exact(host.to_ascii_lowercase().into())), place),
            },
            Claim::Domain(domain, place) => (Err(domain.clone()), place),
        };
        let claimants = match service {
            Ok(known) => self.services.entry(known.host.clone()).or_default(),
            Err(domain) => self.domains.entry(domain).or_default(),
        };
        if !claimants.iter().any(|one| std::ptr::eq(one.object, object)) {
            claimants.push(Claimant { object, place });
        }
    }

    /// One warning for each object whose gateways no listener stands for.
    pub(super) fn unreachable(&self, objects: &[RouteDraft], listeners: &[ListenerDraft]) -> Vec<Diagnostic> {
        let sites: Vec<_> = listeners.iter().filter(|one| one.is_split()).map(Site::of).collect();
        let lost =
            objects.iter().filter(|one| !sites.is_empty() && !sites.iter().any(|site| site.takes(one)));
        let warning = |object: &RouteDraft| {
            let names: Vec<_> =
                object.gateways.iter().flatten().map(|one| format!("`{}`", one.name)).collect();
            let reason = format!("no listener stands for {}: no rule of it has an effect", names.join(", "));
            object.place.warning("unknown-gateway", reason).with_help("name it under a listener's `gateways`")
        };
        lost.map(warning).collect()
    }

    /// The dialect of each service that somebody claims.
    pub(super) fn dialects(&self) -> BTreeMap<Arc<str>, Dialect> {
        let dialect = |claimants: &[Claimant<'_>]| claimants.iter().map(|one| one.object.dialect).max();
        self.services.iter().filter_map(|(host, all)| Some((host.clone(), dialect(all)?))).collect()
    }

    /// Whether hosts are claimed that no service has.
    pub(super) fn has_domains(&self) -> bool {
        !self.domains.is_empty()
    }

    /// Those about a service; of one that nobody claims, those about the narrowest star that its host falls under.
    pub(super) fn of_service(
        &self,
        known: &Known<'_>,
        site: &Site<'_>,
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let own = self.services.get(&known.host).map_or(&[][..], Vec::as_slice);
        let won = win(&known.host, own.iter().filter(|one| site.takes(one.object)), site, found);
        match (won.dialect, self.star(&known.host, site)) {
            (None, Some(domain)) => self.of_domain(domain, site, found),
            _ => won,
        }
    }

    /// The narrowest star with rules for this site that `host` falls under.
    fn star(&self, host: &str, site: &Site<'_>) -> Option<&Domain> {
        let rank = |domain: &Domain| match domain {
            Domain::Suffix(end) if host.len() > end.len() && host.ends_with(&**end) => Some((2, end.len())),
            Domain::Prefix(start) if host.len() > start.len() && host.starts_with(&**start) => {
                Some((1, start.len()))
            }
            Domain::Any => Some((0, 0)),
            _ => None,
        };
        let taken = |all: &[Claimant<'_>]| all.iter().any(|one| site.takes(one.object));
        let stars = self.domains.iter().filter(|(_, all)| taken(all));
        let ranked = stars.filter_map(|(domain, _)| Some((rank(domain)?, domain)));
        ranked.max_by_key(|(rank, _)| *rank).map(|(_, domain)| domain)
    }

    /// Those about a service at a listener that is for it alone, where `*` means it too.
    pub(super) fn of_only_service(
        &self,
        known: &Known<'_>,
        (site, registry): (&Site<'_>, &Registry<'_>),
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let of = |all: Option<&'_ Vec<Claimant<'d>>>| all.cloned().unwrap_or_default();
        let mut all = of(self.services.get(&known.host));
        for one in of(self.domains.get(&Domain::Any)) {
            let twice = all.iter().any(|other| std::ptr::eq(other.object, one.object));
            if !twice && leads_to(one.object, known, registry) {
                all.push(one);
            }
        }
        win(&known.host, all.iter().filter(|one| site.takes(one.object)), site, found)
    }

    /// The hosts that no service has and that somebody claims for this site; `only`: by objects that lead there.
    pub(super) fn domains(
        &self,
        (site, registry): (&Site<'_>, &Registry<'_>),
        only: Option<&Known<'_>>,
    ) -> Vec<Domain> {
        let leads = |one: &Claimant<'_>| {
            site.takes(one.object) && only.is_none_or(|known| leads_to(one.object, known, registry))
        };
        let claimed = self.domains.iter().filter(|(_, all)| all.iter().any(leads));
        claimed.map(|(domain, _)| domain.clone()).collect()
    }

    /// Those about such a host.
    pub(super) fn of_domain(&self, domain: &Domain, site: &Site<'_>, found: &mut Vec<Diagnostic>) -> Won<'d> {
        let all = self.domains.get(domain).map_or(&[][..], Vec::as_slice);
        win(&text(domain), all.iter().filter(|one| site.takes(one.object)), site, found)
    }
}

/// A host with its star.
pub(super) fn text(domain: &Domain) -> String {
    match domain {
        Domain::Exact(host) => host.to_string(),
        Domain::Suffix(end) => format!("*{end}"),
        Domain::Prefix(start) => format!("{start}*"),
        Domain::Any => "*".into(),
    }
}

/// Whether a rule of `object` forwards to the service.
fn leads_to(object: &RouteDraft, known: &Known<'_>, registry: &Registry<'_>) -> bool {
    let there = |share: &ShareDraft| {
        let found = share.destination.as_ref().and_then(|host| match &share.select {
            Select::Backend(said) => {
                backends::find(registry, None, (host, &object.namespace), said).map(|(known, _)| known)
            }
            Select::Labels(_) | Select::Subset(_) => registry.of_object(host, &object.namespace).ok(),
        });
        found.is_some_and(|found| found.host == known.host)
    };
    object.rules.iter().any(|rule| match &rule.action {
        ActionDraft::Shares(shares) => shares.iter().any(there),
        ActionDraft::Whole | ActionDraft::Redirect(_) | ActionDraft::Direct(_) => false,
    })
}

/// Of objects that claim one host, the rules that hold for it.
fn win<'c, 'd: 'c>(
    host: &str,
    claimants: impl Iterator<Item = &'c Claimant<'d>>,
    site: &Site<'_>,
    found: &mut Vec<Diagnostic>,
) -> Won<'d> {
    let claimants: Vec<_> = claimants.collect();
    let Some(dialect) = claimants.iter().map(|one| one.object.dialect).max() else { return Won::default() };
    let (mut winners, mut losers): (Vec<&Claimant<'d>>, Vec<_>) =
        claimants.into_iter().partition(|one| one.object.dialect == dialect);
    winners.sort_by(|a, b| age(a.object).cmp(&age(b.object)));
    if dialect == Dialect::VirtualService {
        losers.extend(winners.drain(1..));
    }
    for loser in losers {
        found.extend(winners.first().map(|winner| claimed(host, loser, winner)));
    }
    let rules = winners.iter().flat_map(|one| one.object.rules.iter().map(move |rule| (one.object, rule)));
    let rules = rules.filter(|(_, rule)| site.is_of(rule.gateways.as_deref()));
    let mut rules: Vec<_> = rules.map(|(object, rule)| Candidate { object, rule }).collect();
    rules.sort_by(compare);
    Won { rules, dialect: Some(dialect) }
}

fn claimed(host: &str, loser: &Claimant<'_>, winner: &Claimant<'_>) -> Diagnostic {
    let (kind, name, place) = (winner.object.kind, winner.object.full_name(), &winner.place.origin);
    let reason = format!("`{host}` has the {kind} `{name}` ({}): this one has no say", place.file_and_line());
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

pub(super) fn unknown_host(place: &Place, host: &str, registry: &Registry<'_>) -> Diagnostic {
    let reason = format!("no service is `{host}`: the rule has no effect");
    let warning = place.warning("unknown-service", reason);
    match nearest(host, registry.iter().map(|known| known.host.as_ref())) {
        Some(near) => warning.with_help(format!("did you mean `{near}`?")),
        None => warning,
    }
}
