//! Listeners -> route configurations: which hosts a listener answers to, and the routes of each.
//!
//! Law: routes are built once for each host and set of gateways, so that listeners share them and nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::{Claims, Won, text};
use super::hosts::{Known, Registry};
use super::routes::{self, Builder};
use super::service;
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
}

impl<'s> Site<'s> {
    pub(super) fn of(listener: &'s ListenerDraft) -> Site<'s> {
        let port = match &listener.address {
            BindAddress::Socket(address) => Some(address.port()),
            BindAddress::Unix(_) => None,
        };
        Site { gateways: listener.gateways.as_deref(), name: &listener.name, port }
    }

    /// Whether the object has a rule for it.
    pub(super) fn takes(&self, object: &RouteDraft) -> bool {
        let own = |rule: &RuleDraft| self.is_of(rule.gateways.as_deref().or(object.gateways.as_deref()));
        object.rules.is_empty() || object.rules.iter().any(own)
    }

    /// Whether it stands for one of `gateways`.
    pub(super) fn is_of(&self, gateways: Option<&[GatewayRef]>) -> bool {
        let (Some(own), Some(wanted)) = (self.gateways, gateways) else { return true };
        wanted.iter().any(|wanted| {
            own.iter().any(|own| same_gateway(own, &wanted.name))
                && wanted.section.as_ref().is_none_or(|section| **section == *self.name)
                && wanted.port.is_none_or(|port| Some(port) == self.port)
        })
    }

    /// Set apart from other listeners: part of the names of its route configurations.
    fn suffix(&self) -> String {
        self.gateways.map(|_| format!("@{}", self.name)).unwrap_or_default()
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
        let site = Site::of(draft);
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
        for known in registry.iter() {
            let domains = domains.remove(&known.host).unwrap_or_default();
            virtual_hosts.push(VirtualHost {
                name: known.host.clone(),
                domains: domains.into_iter().map(Domain::Exact).collect(),
                routes: self.of_service(known, site),
            });
        }
        for domain in self.claims.domains((site, registry), None) {
            virtual_hosts.push(self.of_domain(domain, site));
        }
        self.add(RouteConfig { name: name.clone(), virtual_hosts });
        name
    }

    /// One service, whatever the host; before that the hosts of objects that lead to it.
    fn split(&mut self, known: &Known<'_>, site: &Site<'_>) -> Arc<str> {
        let name: Arc<str> = format!("service:{}{}", known.host, site.suffix()).into();
        if self.route_configs.contains_key(&name) {
            return name;
        }
        let registry = self.registry;
        let routes = self.of_only_service(known, site);
        let others = self.claims.domains((site, registry), Some(known));
        let mut hosts = vec![VirtualHost { name: known.host.clone(), domains: vec![Domain::Any], routes }];
        for domain in others.into_iter().filter(|domain| *domain != Domain::Any) {
            hosts.push(self.of_domain(domain, site));
        }
        self.add(RouteConfig { name: name.clone(), virtual_hosts: hosts });
        name
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
        let routes = vec![Arc::new(route)];
        let host = VirtualHost { name: known.host.clone(), domains: vec![Domain::Any], routes };
        self.add(RouteConfig { name: name.clone(), virtual_hosts: vec![host] });
        name
    }

    fn add(&mut self, config: RouteConfig) {
        self.route_configs.entry(config.name.clone()).or_insert_with(|| Arc::new(config));
    }

    fn of_domain(&mut self, domain: Domain, site: &Site<'_>) -> VirtualHost {
        let won = self.claims.of_domain(&domain, site, &mut self.builder.found);
        let routes = self.builder.routes(None, &won);
        VirtualHost { name: text(&domain).into(), domains: vec![domain], routes }
    }

    /// The routes of a service among others.
    fn of_service(&mut self, known: &Known<'_>, site: &Site<'_>) -> Vec<Arc<Route>> {
        let key = (known.host.to_string(), site.suffix());
        self.once(key, known, |claims, found| claims.of_service(known, site, found))
    }

    /// The routes of a service that a listener is for alone.
    fn of_only_service(&mut self, known: &Known<'_>, site: &Site<'_>) -> Vec<Arc<Route>> {
        if !self.claims.has_domains() {
            return self.of_service(known, site);
        }
        let (key, registry) = ((format!("{} alone", known.host), site.suffix()), self.registry);
        self.once(key, known, |claims, found| claims.of_only_service(known, (site, registry), found))
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
        let site = |gateways| Site { gateways, name: "web", port: Some(80) };
        let wanted = |name: &str, section: Option<&str>, port| {
            [GatewayRef { name: name.into(), section: section.map(Into::into), port }]
        };
        let edge = site(Some(&own[..]));
        assert!(edge.is_of(None) && edge.is_of(Some(&wanted("infra/edge", None, None))));
        assert!(edge.is_of(Some(&wanted("edge", Some("web"), Some(80)))));
        assert!(!edge.is_of(Some(&wanted("edge", Some("other"), None))));
        assert!(!edge.is_of(Some(&wanted("edge", None, Some(81)))));
        assert!(!edge.is_of(Some(&wanted("mesh", None, None))));
        assert!(site(None).is_of(Some(&wanted("mesh", Some("other"), Some(1)))));
    }
}
