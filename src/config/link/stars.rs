//! The routes of stars at the hosts of services that nobody else speaks of.
//!
//! Law: they are built once for each star and for all services of the same settings, and stand once in a configuration:
//! a thousand rules at a thousand services are a thousand routes. What they leave goes to each service by a route of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::backends::names_none;
use super::claims::{Claims, narrowest, text};
use super::hosts::{Known, Registry};
use super::listeners::Site;
use super::precedence::Won;
use super::routes::{About, Builder};
use crate::config::draft::{ActionDraft, RouteDraft, RuleDraft, ShareDraft};
use crate::snapshot::{Domain, OrdName, Route, VirtualHost};

/// The stars of a site, and what was built for them.
pub(super) struct Stars<'d> {
    /// Those with rules.
    domains: Vec<Domain>,
    /// What each says of services, and whether it says the same of each.
    won: HashMap<Domain, (Won<'d>, bool)>,
    /// By the star and the settings of services.
    known: HashMap<(Domain, Settings), usize>,
    built: Vec<Built>,
    /// The places of virtual hosts that stand after one of these.
    after: Vec<(usize, usize)>,
}

/// What of a service decides what becomes of requests beside the rules.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Settings {
    timeout: Option<Duration>,
    repeatable: bool,
    upgrades: Vec<Arc<str>>,
    version_header: Option<http::HeaderName>,
}

/// The routes of a star.
struct Built {
    star: Domain,
    /// The name of a virtual host for them.
    name: Arc<str>,
    routes: Vec<Arc<Route>>,
    is_open: bool,
}

impl<'d> Stars<'d> {
    pub(super) fn new(claims: &Claims<'d>, site: &Site<'_>) -> Stars<'d> {
        Stars {
            domains: claims.stars(site, None),
            won: HashMap::new(),
            known: HashMap::new(),
            built: Vec::new(),
            after: Vec::new(),
        }
    }

    /// The star that a service falls under, where nobody speaks of the service itself.
    pub(super) fn of(&self, known: &Known<'_>, claims: &Claims<'d>, site: &Site<'_>) -> Option<Domain> {
        match claims.has_own(known, site) {
            true => None,
            false => narrowest(&self.domains, &known.host).cloned(),
        }
    }

    /// The routes of a service's own, where its virtual host is put at `place`.
    pub(super) fn routes(
        &mut self,
        (known, place): (&Known<'_>, usize),
        star: Domain,
        (claims, site): (&Claims<'d>, &Site<'_>),
        builder: &mut Builder<'_, '_>,
    ) -> Vec<Arc<Route>> {
        let (won, is_same) = self.won.entry(star.clone()).or_insert_with(|| {
            let won = claims.of_star(&star, site, None, &mut builder.found);
            let is_same =
                !won.rules.iter().any(|one| means_the_asked(one.object, one.rule, builder.registry));
            (won, is_same)
        });
        if !*is_same {
            return builder.routes(Some(known), won);
        }
        let key = (star.clone(), Settings::of(known));
        let built = *self.known.entry(key).or_insert_with(|| {
            let (routes, is_open) = builder.rules(About::services_like(known), won);
            let name = format!("{}:{}", text(&star), known.host).into();
            self.built.push(Built { star, name, routes, is_open });
            self.built.len() - 1
        });
        self.after.push((place, built));
        let is_open = self.built.get(built).is_some_and(|built| built.is_open);
        builder.rest(known, won).filter(|_| is_open).into_iter().collect()
    }

    /// Puts the routes of stars before those of the services: by the star's own virtual host where these are its routes, too.
    pub(super) fn put_before(self, hosts: &mut Vec<VirtualHost>) {
        let mut names = Vec::with_capacity(self.built.len());
        for Built { star, name, routes, .. } in self.built {
            let same = hosts.iter().find(|host| host.domains == [star.clone()] && host.routes == routes);
            names.push(same.map_or(name.clone(), |host| host.name.clone()));
            if same.is_none() {
                hosts.push(VirtualHost { name, domains: Vec::new(), after: None, routes });
            }
        }
        for (place, built) in self.after {
            if let Some(host) = hosts.get_mut(place) {
                host.after = names.get(built).cloned();
            }
        }
    }
}

impl Settings {
    fn of(known: &Known<'_>) -> Settings {
        Settings {
            timeout: known.draft.timeout,
            repeatable: known.draft.repeatable,
            upgrades: known.draft.upgrades.clone(),
            version_header: known.draft.version_header.as_ref().map(|OrdName(name)| name.clone()),
        }
    }
}

/// Whether a rule leads to whatever service is asked for.
fn means_the_asked(object: &RouteDraft, rule: &RuleDraft, registry: &Registry<'_>) -> bool {
    let share = |share: &ShareDraft| match &share.destination {
        None => true,
        Some(host) => names_none(registry, (host, &object.namespace), &share.select),
    };
    let with_mirrors = |one: &ShareDraft| {
        share(one) || one.policy.iter().flat_map(|policy| &policy.mirrors).any(|mirror| share(&mirror.share))
    };
    let leads = match &rule.action {
        ActionDraft::Whole => true,
        ActionDraft::Shares(shares) => shares.iter().any(with_mirrors),
        ActionDraft::Redirect(_) | ActionDraft::Direct(_) => false,
    };
    leads || rule.policy.iter().flat_map(|policy| &policy.mirrors).any(|mirror| share(&mirror.share))
}
