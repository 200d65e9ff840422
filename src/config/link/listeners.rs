//! Listeners -> route configurations: which hosts a listener answers to, and the routes of each.
//!
//! Law: routes are built once for each host and set of gateways, so that listeners share them and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::{Claims, MESH, text};
use super::hosts::{Known, Registry};
use super::precedence::Won;
use super::routes::{self, Builder};
use super::service;
use super::stars::Stars;
use crate::config::diagnostic::Diagnostic;
use crate::config::draft::{GatewayRef, RouteDraft, RuleDraft};
use crate::config::weir_yaml::{ListenerDraft, ListenerMode};
use crate::snapshot::{
    Action, BindAddress, ChainMatch, Domain, FilterChain, Listener, Mode, Route, RouteConfig, Service,
    VirtualHost,
};

/// The name of the route configuration that listeners without a service share.
const BY_HOST: &str = "hosts";

/// What of a listener decides which objects hold for it.
#[derive(Debug)]
pub(super) struct Site<'s> {
    /// `None`: all.
    gateways: Option<&'s [Arc<str>]>,
    name: &'s str,
    port: Option<u16>,
    /// Whether some object is for a part of a gateway, so that listeners differ by name and port.
    parts: bool,
}

impl<'s> Site<'s> {
    pub(super) fn of(listener: &'s ListenerDraft, parts: bool) -> Site<'s> {
        let port = match &listener.address {
            BindAddress::Socket(address) => Some(address.port()),
            BindAddress::Unix(_) => None,
        };
        Site { gateways: listener.gateways.as_deref(), name: &listener.name, port, parts }
    }

    /// Whether the object has a rule for it.
    pub(super) fn takes(&self, object: &RouteDraft) -> bool {
        let own = |rule: &RuleDraft| self.is_of(rule.gateways.as_deref().or(object.gateways.as_deref()));
        object.rules.is_empty() || object.rules.iter().any(own)
    }

    /// Whether it stands for one of `gateways`. Which part of one is asked of every listener.
    pub(super) fn is_of(&self, gateways: Option<&[GatewayRef]>) -> bool {
        let Some(wanted) = gateways else { return true };
        wanted.iter().any(|wanted| {
            self.stands_for(&wanted.name)
                && wanted.section.as_ref().is_none_or(|section| **section == *self.name)
                && wanted.port.is_none_or(|port| Some(port) == self.port)
        })
    }

    fn stands_for(&self, gateway: &str) -> bool {
        self.gateways.is_none_or(|own| own.iter().any(|own| same_gateway(own, gateway)))
    }

    /// Whether callers come to it that pass no gateway.
    pub(super) fn is_mesh(&self) -> bool {
        self.stands_for(MESH)
    }

    /// Set apart from other listeners: part of the names of its route configurations.
    fn suffix(&self) -> String {
        match self.parts || self.gateways.is_some() {
            true => format!("@{}", self.name),
            false => String::new(),
        }
    }
}

/// A name without a namespace stands for that name in any.
fn same_gateway(a: &str, b: &str) -> bool {
    let bare = |text: &str| !text.contains('/');
    let last = |text: &str| text.rsplit('/').next().unwrap_or_default().to_owned();
    a == b || (bare(a) || bare(b)) && last(a) == last(b)
}

/// Gathers what the listeners need.
pub(super) struct Linker<'l, 'd> {
    registry: &'l Registry<'d>,
    claims: Claims<'l>,
    /// The services that a listener is for, by full host.
    used: BTreeSet<Arc<str>>,
    /// By host, listener's gateways, and whether the listener is for one service.
    routes: BTreeMap<(String, String), Vec<Arc<Route>>>,
    pub(super) route_configs: BTreeMap<Arc<str>, Arc<RouteConfig>>,
    pub(super) builder: Builder<'l, 'd>,
}

impl<'l, 'd> Linker<'l, 'd> {
    pub(super) fn new(registry: &'l Registry<'d>, claims: Claims<'l>, builder: Builder<'l, 'd>) -> Self {
        let (used, routes, route_configs) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Linker { registry, claims, used, routes, route_configs, builder }
    }

    pub(super) fn listener(&mut self, draft: &ListenerDraft) -> Option<Listener> {
        let service = match &draft.service {
            None => None,
            Some((reference, place)) => match self.registry.resolve(reference) {
                Ok(known) => Some(known),
                Err(error) => {
                    self.builder.found.push(place.error(error.code, error.reason).with_help(error.help));
                    return None;
                }
            },
        };
        let site = Site::of(draft, self.claims.parts);
        let needs_host = service.is_none();
        let (mode, route_config) = match (&draft.mode, service) {
            (ListenerMode::Split, None) => (Mode::Split, self.by_host(&site)),
            (ListenerMode::Split, Some(known)) => (Mode::Split, self.split(known, &site)),
            (ListenerMode::Deliver { .. }, None) => return None,
            (ListenerMode::Deliver { peers }, Some(known)) => {
                let mode = Mode::Deliver { service: known.host.clone(), peers: peers.clone() };
                (mode, self.deliver(draft, known))
            }
        };
        let chain = FilterChain {
            matches: ChainMatch::Any,
            stat_prefix: draft.name.clone(),
            route_config,
            mode,
            needs_host,
            use_remote_address: draft.use_remote_address,
        };
        Some(Listener {
            name: draft.name.clone(),
            address: draft.address.clone(),
            filter_chains: vec![chain],
        })
    }

    /// Every service, by each of its hosts, and every other host that somebody claims.
    fn by_host(&mut self, site: &Site<'_>) -> Arc<str> {
        let name: Arc<str> = format!("{BY_HOST}{}", site.suffix()).into();
        if self.route_configs.contains_key(&name) {
            return name;
        }
        let mut domains = self.registry.domains();
        let registry = self.registry;
        let mut virtual_hosts = Vec::new();
        let mut stars = Stars::new(&self.claims, site);
        for known in registry.iter() {
            let domains = domains.remove(&known.host).unwrap_or_default();
            let routes = match stars.of(known, &self.claims, site) {
                None => self.of_claimed(known, site),
                Some(star) => {
                    self.used.insert(known.host.clone());
                    let place = (known, virtual_hosts.len());
                    stars.routes(place, star, (&self.claims, site), &mut self.builder)
                }
            };
            let domains = domains.into_iter().map(Domain::Exact).collect();
            virtual_hosts.push(VirtualHost { name: known.host.clone(), domains, after: None, routes });
        }
        for domain in self.claims.domains(site, None) {
            let won = self.claims.of_domain(&domain, site, None, &mut self.builder.found);
            let routes = self.builder.routes(None, &won);
            virtual_hosts.push(host(text(&domain), vec![domain], routes));
        }
        stars.put_before(&mut virtual_hosts);
        self.add(RouteConfig { name: name.clone(), virtual_hosts });
        name
    }

    /// One service, whatever the host. Its own hosts, and those of objects that lead to it, go before any other.
    fn split(&mut self, known: &Known<'_>, site: &Site<'_>) -> Arc<str> {
        let name: Arc<str> = format!("service:{}{}", known.host, site.suffix()).into();
        if self.route_configs.contains_key(&name) {
            return name;
        }
        let whole = self.of_only_service(known, site);
        let mut hosts = vec![host(known.host.clone(), vec![Domain::Any], whole.clone())];
        if self.claims.has_domains() {
            self.before(&mut hosts, known, site);
        }
        self.add(RouteConfig { name: name.clone(), virtual_hosts: hosts });
        name
    }

    /// Adds what is narrower than any host.
    fn before(&mut self, hosts: &mut Vec<VirtualHost>, known: &Known<'_>, site: &Site<'_>) {
        let alone = Some((known, self.registry));
        let whole = hosts.first().map(|any| any.routes.clone()).unwrap_or_default();
        let mut others = self.claims.domains(site, alone);
        others.retain(|domain| *domain != Domain::Any);
        let own = self.of_own_hosts(known, site);
        let domains = self.registry.domains().remove(&known.host).unwrap_or_default();
        let mut domains: Vec<_> = domains.into_iter().map(Domain::Exact).collect();
        let is_star = |domain: &Domain| !matches!(domain, Domain::Exact(_));
        match hosts.first_mut() {
            // Of one mind with any host: named only where a star could come between.
            Some(any) if own == whole => {
                if others.iter().any(is_star) {
                    domains.append(&mut any.domains);
                    any.domains = domains;
                }
            }
            _ => {
                hosts.push(host(format!("own:{}", known.host), domains, own));
            }
        }
        for domain in others {
            let won = self.claims.of_domain(&domain, site, alone, &mut self.builder.found);
            let mut routes = self.builder.routes(None, &won);
            let is_open = !routes.iter().any(|route| route.matches.is_catch_all());
            if is_open && won.only_answers() {
                routes.extend(whole.iter().cloned());
            }
            hosts.push(host(text(&domain), vec![domain], routes));
        }
    }

    /// The local endpoints of one service.
    fn deliver(&mut self, listener: &ListenerDraft, known: &Known<'_>) -> Arc<str> {
        if !known.draft.endpoints.iter().any(|endpoint| endpoint.local) {
            let reason = format!("`{}` has no endpoint with `local: true` to deliver to", known.host);
            self.builder.found.push(listener.place.error("no-local-endpoint", reason));
        }
        self.used.insert(known.host.clone());
        let target = self.builder.clusters.local(known);
        let mut route = routes::plain_route("deliver", known, target);
        if let Action::Forward(forward) = &mut route.action {
            forward.timeout = None; // whoever split the request holds its time limit
        }
        let name: Arc<str> = format!("deliver:{}", known.host).into();
        let host = host(known.host.clone(), vec![Domain::Any], vec![Arc::new(route)]);
        self.add(RouteConfig { name: name.clone(), virtual_hosts: vec![host] });
        name
    }

    fn add(&mut self, config: RouteConfig) {
        self.route_configs.entry(config.name.clone()).or_insert_with(|| Arc::new(config));
    }

    /// The routes of a service that no star holds for.
    fn of_claimed(&mut self, known: &Known<'_>, site: &Site<'_>) -> Vec<Arc<Route>> {
        let key = (known.host.to_string(), site.suffix());
        self.once(key, known, |claims, found| claims.own(known, site, found))
    }

    /// The routes of a service that a listener is for alone, at the service's own hosts.
    fn of_own_hosts(&mut self, known: &Known<'_>, site: &Site<'_>) -> Vec<Arc<Route>> {
        let (key, alone) = ((format!("{} own", known.host), site.suffix()), Some((known, self.registry)));
        self.once(key, known, |claims, found| claims.of_service(known, site, alone, found))
    }

    /// The routes of a service that a listener is for alone, at any other host.
    fn of_only_service(&mut self, known: &Known<'_>, site: &Site<'_>) -> Vec<Arc<Route>> {
        if !self.claims.has_domains() {
            return self.of_claimed(known, site);
        }
        let (key, alone) = ((format!("{} alone", known.host), site.suffix()), (known, self.registry));
        self.once(key, known, |claims, found| claims.of_only_service(alone, site, found))
    }

    fn once(
        &mut self,
        key: (String, String),
        known: &Known<'_>,
        win: impl FnOnce(&Claims<'l>, &mut Vec<Diagnostic>) -> Won<'l>,
    ) -> Vec<Arc<Route>> {
        if let Some(routes) = self.routes.get(&key) {
            return routes.clone();
        }
        self.used.insert(known.host.clone());
        let won = win(&self.claims, &mut self.builder.found);
        let routes = self.builder.routes(Some(known), &won);
        self.routes.insert(key, routes.clone());
        routes
    }

    /// Services that a listener is for, and those that their rules lead to.
    pub(super) fn use_targets(&mut self) {
        let targets = self.builder.clusters.built.values();
        self.used.extend(targets.map(|cluster| cluster.service.clone()));
    }

    pub(super) fn used_services(&self) -> BTreeMap<Arc<str>, Arc<Service>> {
        let used = self.used.iter().filter_map(|host| self.registry.get(host));
        used.map(|known| (known.host.clone(), Arc::new(service(known)))).collect()
    }

    pub(super) fn tell_of_unused(&mut self) {
        for known in self.registry.iter().filter(|known| !self.used.contains(&known.host)) {
            let reason = format!("no listener leads to `{}`", known.host);
            self.builder.found.push(known.draft.place.warning("unused-service", reason));
        }
    }
}

/// One that stands after no other.
fn host(name: impl Into<Arc<str>>, domains: Vec<Domain>, routes: Vec<Arc<Route>>) -> VirtualHost {
    VirtualHost { name: name.into(), domains, after: None, routes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_a_namespace_is_that_of_any() {
        assert!(same_gateway("a", "a") && same_gateway("n/a", "a") && same_gateway("a", "n/a"));
        assert!(!same_gateway("n/a", "m/a") && !same_gateway("a", "b") && !same_gateway("a", "n/b"));
    }

    #[test]
    fn a_listener_stands_for_its_gateways_and_without_any_for_all() {
        let own: Vec<Arc<str>> = vec!["edge".into()];
        let site = |gateways| Site { gateways, name: "web", port: Some(80), parts: true };
        let wanted = |name: &str, section: Option<&str>, port| {
            [GatewayRef { name: name.into(), section: section.map(Into::into), port }]
        };
        let edge = site(Some(&own[..]));
        assert!(edge.is_of(None) && edge.is_of(Some(&wanted("infra/edge", None, None))));
        assert!(edge.is_of(Some(&wanted("edge", Some("web"), Some(80)))));
        assert!(!edge.is_of(Some(&wanted("edge", Some("other"), None))));
        assert!(!edge.is_of(Some(&wanted("edge", None, Some(81)))));
        assert!(!edge.is_of(Some(&wanted("mesh", None, None))));
        let any = site(None);
        assert!(
            any.is_of(Some(&wanted("mesh", None, None))) && any.is_of(Some(&wanted("n/edge", None, None)))
        );
        assert!(any.is_of(Some(&wanted("edge", Some("web"), Some(80)))));
        assert!(
            !any.is_of(Some(&wanted("edge", Some("other"), None))),
            "a part of a gateway is asked of all"
        );
        assert!(!any.is_of(Some(&wanted("edge", None, Some(81)))));
        assert!(any.is_mesh() && !edge.is_mesh());
    }
}
