//! Who has a host: objects -> the rules about each service, and about each host that is no service's, in order.
//!
//! Law: a host is of one dialect: the newest that somebody wrote, so that moving to it needs no deletion. Within
//! VirtualService one object has a host whole, the oldest; within the others all are merged. Who loses is told.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::backends;
use super::hosts::{Known, Registry};
use super::listeners::Site;
use super::precedence::{Candidate, Claimant, Won, win};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::draft::{
    ActionDraft, Claim, Dialect, GatewayRef, HostRef, RouteDraft, RuleDraft, Select, ShareDraft,
};
use crate::config::names::nearest;
use crate::config::objects::Objects;
use crate::config::weir_yaml::ListenerDraft;
use crate::snapshot::Domain;

/// Every claim, by what it is about.
#[derive(Debug, Default)]
pub(super) struct Claims<'d> {
    /// By full host.
    services: BTreeMap<Arc<str>, Vec<Claimant<'d>>>,
    /// Hosts that no service has.
    domains: BTreeMap<Domain, Vec<Claimant<'d>>>,
    /// Whether an object is for a part of a gateway, so that it matters which listener asks.
    pub(super) parts: bool,
}

/// The service that a listener is for alone, and what knows where objects lead.
type Alone<'a, 'r> = (&'a Known<'r>, &'a Registry<'r>);

/// The gateway of callers that pass none.
pub(super) const MESH: &str = "mesh";

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
        let mut claims = Claims { parts: objects.iter().any(has_parts), ..Claims::default() };
        let namesakes = namesakes(objects);
        // An object without rules says nothing of its hosts: it takes them from nobody.
        for object in objects.iter().filter(|object| !object.rules.is_empty()) {
            let is_namesake = namesakes.contains(&(&*object.namespace, &*object.name));
            for claim in &object.claims {
                claims.add(object, (claim, is_namesake), registry, found);
            }
        }
        claims
    }

    fn add(
        &mut self,
        object: &'d RouteDraft,
        (claim, is_namesake): (&'d Claim, bool),
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
            claimants.push(Claimant { object, place, is_namesake });
        }
    }

    /// One warning for each object whose gateways no listener stands for.
    pub(super) fn unreachable(&self, objects: &[RouteDraft], listeners: &[ListenerDraft]) -> Vec<Diagnostic> {
        let sites: Vec<_> =
            listeners.iter().filter(|one| one.is_split()).map(|one| Site::of(one, self.parts)).collect();
        let lost =
            objects.iter().filter(|one| !sites.is_empty() && !sites.iter().any(|site| site.takes(one)));
        let warning = |object: &RouteDraft| {
            let names: Vec<_> = object.gateways.iter().flatten().map(gateway).collect();
            let reason = format!("no listener stands for {}: no rule of it has an effect", names.join(", "));
            let help = match has_parts(object) {
                true => {
                    "`sectionName` is the name of a listener, `port` its port; `gateways` what it stands for"
                }
                false => "name it under a listener's `gateways`",
            };
            object.place.warning("unknown-gateway", reason).with_help(help)
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

    /// Those about a service; of one that nobody claims, those about the narrowest star that its host falls under. At a
    /// listener that is for it `alone` objects that lead elsewhere have no say.
    pub(super) fn of_service(
        &self,
        known: &Known<'_>,
        site: &Site<'_>,
        alone: Option<Alone<'_, '_>>,
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let stars = match self.has_own(known, site) {
            true => Vec::new(),
            false => self.stars(site, alone),
        };
        match narrowest(&stars, &known.host) {
            Some(star) => self.of_star(star, site, alone, found),
            None => self.own(known, site, found),
        }
    }

    /// Whether somebody claims the service itself.
    pub(super) fn has_own(&self, known: &Known<'_>, site: &Site<'_>) -> bool {
        self.services.get(&known.host).is_some_and(|own| own.iter().any(|one| site.takes(one.object)))
    }

    /// Those about the service itself.
    pub(super) fn own(&self, known: &Known<'_>, site: &Site<'_>, found: &mut Vec<Diagnostic>) -> Won<'d> {
        let own = self.services.get(&known.host).map_or(&[][..], Vec::as_slice);
        win(&known.host, own.iter().filter(|one| site.takes(one.object)), site, found)
    }

    /// Those about a star, at the hosts of services under it.
    pub(super) fn of_star(
        &self,
        star: &Domain,
        site: &Site<'_>,
        alone: Option<Alone<'_, '_>>,
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let mut won = self.of_domain(star, site, alone, found);
        // What comes in by a gateway takes nothing from callers beside us, nor does what only answers.
        let spares = |one: &Candidate<'_>| {
            let gateways = one.rule.gateways.as_deref().or(one.object.gateways.as_deref());
            is_answer(one.object) || gateways.is_some_and(|all| !all.iter().any(is_mesh))
        };
        won.falls_back |= site.is_mesh() && won.rules.iter().all(spares);
        won
    }

    /// The stars with rules for this site.
    pub(super) fn stars(&self, site: &Site<'_>, alone: Option<Alone<'_, '_>>) -> Vec<Domain> {
        let stars = self.domains.iter().filter(|(domain, _)| !matches!(domain, Domain::Exact(_)));
        let held = stars.filter(|(_, all)| all.iter().any(|one| holds(one, site, alone)));
        held.map(|(domain, _)| domain.clone()).collect()
    }

    /// Those about a service at a listener that is for it alone, for hosts that are not its own: `*` means it too. Where
    /// the winners only answer, what they leave goes on to the others.
    pub(super) fn of_only_service(
        &self,
        alone: Alone<'_, '_>,
        site: &Site<'_>,
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let of = |all: Option<&'_ Vec<Claimant<'d>>>| all.cloned().unwrap_or_default();
        let mut all = of(self.services.get(&alone.0.host));
        all.retain(|one| site.takes(one.object));
        for one in of(self.domains.get(&Domain::Any)) {
            let twice = all.iter().any(|other| std::ptr::eq(other.object, one.object));
            if !twice && holds(&one, site, Some(alone)) {
                all.push(one);
            }
        }
        let mut told = Vec::new();
        let won = win("*", all.iter(), site, &mut told);
        if !won.only_answers() {
            found.append(&mut told);
            return won;
        }
        let rest = win("*", all.iter().filter(|one| !is_answer(one.object)), site, found);
        won.and_then(rest)
    }

    /// The hosts that no service has and that somebody claims for this site; `alone`: by objects that lead there.
    pub(super) fn domains(&self, site: &Site<'_>, alone: Option<Alone<'_, '_>>) -> Vec<Domain> {
        let holds = |one: &Claimant<'_>| holds(one, site, alone);
        let claimed = self.domains.iter().filter(|(_, all)| all.iter().any(holds));
        claimed.map(|(domain, _)| domain.clone()).collect()
    }

    /// Those about such a host.
    pub(super) fn of_domain(
        &self,
        domain: &Domain,
        site: &Site<'_>,
        alone: Option<Alone<'_, '_>>,
        found: &mut Vec<Diagnostic>,
    ) -> Won<'d> {
        let all = self.domains.get(domain).map_or(&[][..], Vec::as_slice);
        win(&text(domain), all.iter().filter(|one| holds(one, site, alone)), site, found)
    }
}

/// The narrowest of `stars` that `host` falls under.
pub(super) fn narrowest<'s>(stars: &'s [Domain], host: &str) -> Option<&'s Domain> {
    let rank = |domain: &Domain| match domain {
        Domain::Suffix(end) if host.len() > end.len() && host.ends_with(&**end) => Some((2, end.len())),
        Domain::Prefix(start) if host.len() > start.len() && host.starts_with(&**start) => {
            Some((1, start.len()))
        }
        Domain::Any => Some((0, 0)),
        _ => None,
    };
    let ranked = stars.iter().filter_map(|star| Some((rank(star)?, star)));
    ranked.max_by_key(|(rank, _)| *rank).map(|(_, star)| star)
}

/// Whether an object has a say at a site.
fn holds(one: &Claimant<'_>, site: &Site<'_>, alone: Option<Alone<'_, '_>>) -> bool {
    site.takes(one.object)
        && alone
            .is_none_or(|(known, registry)| is_answer(one.object) || leads_to(one.object, known, registry))
}

/// Whether each of its rules answers by itself, so that it leads to no service and holds for all of them.
pub(super) fn is_answer(object: &RouteDraft) -> bool {
    let answers = |rule: &RuleDraft| matches!(rule.action, ActionDraft::Redirect(_) | ActionDraft::Direct(_));
    object.rules.iter().all(answers)
}

/// Whether it is for a part of a gateway.
fn has_parts(object: &RouteDraft) -> bool {
    object.gateways.iter().flatten().any(|one| one.section.is_some() || one.port.is_some())
}

fn is_mesh(gateway: &GatewayRef) -> bool {
    &*gateway.name == MESH
}

fn gateway(wanted: &GatewayRef) -> String {
    let section = wanted.section.as_ref().map(|section| format!(", section `{section}`"));
    let port = wanted.port.map(|port| format!(", port {port}"));
    format!("`{}`{}{}", wanted.name, section.unwrap_or_default(), port.unwrap_or_default())
}

/// Namespaces and names that objects of several kinds have.
fn namesakes(objects: &[RouteDraft]) -> HashSet<(&str, &str)> {
    let mut kinds: HashMap<(&str, &str), &str> = HashMap::new();
    let several = objects.iter().filter_map(|one| {
        let key = (&*one.namespace, &*one.name);
        (*kinds.entry(key).or_insert(one.kind) != one.kind).then_some(key)
    });
    several.collect()
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

pub(super) fn unknown_host(place: &Place, host: &str, registry: &Registry<'_>) -> Diagnostic {
    let reason = format!("no service is `{host}`: the rule has no effect");
    let warning = place.warning("unknown-service", reason);
    match nearest(host, registry.iter().map(|known| known.host.as_ref())) {
        Some(near) => warning.with_help(format!("did you mean `{near}`?")),
        None => warning,
    }
}
