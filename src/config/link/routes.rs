//! Rules in order -> the routes of a host.
//!
//! Law: nothing behind a catch-all. A service that only RouteRules are about, or nobody, ends in `default-route` to all
//! of it, as Istio 0.7.1 emitted it, and so do requests that nobody speaks of; the other dialects end in 404. A rule that can have no effect is told of, never
//! dropped in silence.

use std::sync::Arc;

use super::clusters::Clusters;
use super::hosts::{Known, Registry};
use super::precedence::{Candidate, Won};
use crate::config::diagnostic::Diagnostic;
use crate::config::draft::{ActionDraft, Order, PolicyDraft, RouteDraft, SourceDraft};
use crate::snapshot::{
    Action, Caller, Forward, Labels, MoreMatch, PathMatch, Route, RouteMatch, RoutePolicy, SourceMatch,
    VersionTarget,
};
use crate::words::Protocol;

/// Which requests routes are for.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a, 'd> {
    /// The service that has their host, if one has: what is said without a name means it.
    service: Option<&'a Known<'d>>,
    /// The service whose time limit and the like hold where a rule has none of its own; without one the first that the rule
    /// leads to.
    settings: Option<&'a Known<'d>>,
}

impl<'a, 'd> About<'a, 'd> {
    /// Those for the hosts of a service, or for hosts that no service has.
    fn host(service: Option<&'a Known<'d>>) -> About<'a, 'd> {
        About { service, settings: service }
    }

    /// Those of a star for the hosts of all services with the settings of `one`.
    pub(super) fn services_like(one: &'a Known<'d>) -> About<'a, 'd> {
        About { service: None, settings: Some(one) }
    }
}

/// What routes are built from.
pub(super) struct Builder<'b, 'd> {
    pub(super) registry: &'b Registry<'d>,
    pub(super) callers: &'b [Arc<Caller>],
    pub(super) clusters: Clusters<'b>,
    pub(super) found: Vec<Diagnostic>,
}

impl Builder<'_, '_> {
    /// The routes of a host under the rules about it. `service` is the one that has the host, if one has.
    pub(super) fn routes(&mut self, service: Option<&Known<'_>>, won: &Won<'_>) -> Vec<Arc<Route>> {
        let (mut routes, is_open) = self.rules(About::host(service), won);
        routes.extend(service.filter(|_| is_open).and_then(|service| self.rest(service, won)));
        routes
    }

    /// The routes of the rules alone, and whether they leave something.
    pub(super) fn rules(&mut self, about: About<'_, '_>, won: &Won<'_>) -> (Vec<Arc<Route>>, bool) {
        let mut routes: Vec<Arc<Route>> = Vec::with_capacity(won.rules.len() + 1);
        let mut catch_all: Option<&Candidate<'_>> = None;
        for rule in &won.rules {
            if let Some(winner) = catch_all {
                // A duplicate is told of already.
                if rule.name() != winner.name() {
                    self.found.push(shadowed(rule, winner));
                }
                continue;
            }
            let mut route = self.route(about, rule);
            share_policies(&mut route, routes.last());
            if route.matches == all_of(rule.only) {
                catch_all = Some(rule);
            }
            routes.push(Arc::new(route));
        }
        (routes, catch_all.is_none())
    }

    /// Where what the rules leave goes to all of the service.
    pub(super) fn rest(&mut self, service: &Known<'_>, won: &Won<'_>) -> Option<Arc<Route>> {
        won.falls_back.then(|| {
            let whole = self.clusters.select(service, &Labels::new(), 100);
            let route = plain_route("default-route", service, whole);
            let (matches, policy) = (all_of(won.only), named(Some(service), None).map(Arc::new));
            Arc::new(Route { matches, policy, ..route })
        })
    }

    fn route(&mut self, about: About<'_, '_>, candidate: &Candidate<'_>) -> Route {
        let About { service, settings } = about;
        let Candidate { object, rule, only, .. } = *candidate;
        let action = match &rule.action {
            ActionDraft::Redirect(redirect) => Action::Redirect(redirect.clone()),
            ActionDraft::Direct(response) => Action::DirectResponse(response.clone()),
            ActionDraft::Whole => {
                let whole = service.map(|known| self.clusters.select(known, &Labels::new(), 100));
                self.forward(about, candidate, whole.into_iter().collect())
            }
            ActionDraft::Shares(shares) => {
                let versions = self.shares(service, object, shares);
                self.forward(about, candidate, versions)
            }
        };
        let matches = RouteMatch {
            path: rule.path.clone().unwrap_or_else(|| PathMatch::Prefix("/".into())),
            headers: rule.headers.clone(),
            source: rule.source.as_ref().map(|source| self.source(&object.namespace, source)),
            runtime_fraction: None,
            more: match only {
                None => rule.more.clone(),
                Some(_) => {
                    let own = rule.more.as_deref().cloned().unwrap_or_default();
                    Some(Box::new(MoreMatch { protocol: own.protocol.or(only), ..own }))
                }
            },
        };
        let draft = rule.policy.as_deref();
        let policy = match &action {
            Action::Forward(forward) => {
                let policy = draft.map(|draft| self.policy(service, object, draft));
                named(settings, self.answering(object, &forward.versions, policy))
            }
            Action::Redirect(_) | Action::DirectResponse(_) => draft.and_then(of_answers),
        };
        let origin = rule.place.origin.file_and_line().into();
        Route { name: candidate.name().into(), origin, matches, action, policy: policy.map(Arc::new) }
    }

    fn forward(
        &mut self,
        About { service, settings }: About<'_, '_>,
        candidate: &Candidate<'_>,
        mut versions: Vec<VersionTarget>,
    ) -> Action {
        let rule = candidate.rule;
        // A host that is no service's is about that of its first share, passing over those that nobody knows.
        let mut named = versions.iter().filter_map(|version| version.service.clone());
        let known = named.find(|host| self.registry.get(host).is_some());
        let first = known.or_else(|| versions.first().and_then(|version| version.service.clone()));
        let known = service.or_else(|| self.registry.get(first.as_deref()?));
        let service = known.map_or_else(|| first.clone().unwrap_or_default(), |known| known.host.clone());
        let base = Forward { service, ..settings.or(known).map(forward).unwrap_or_default() };
        for version in &mut versions {
            version.service = version.service.take().filter(|own| *own != base.service);
        }
        Action::Forward(Forward {
            versions,
            timeout: rule.timeout.map_or(base.timeout, |own| Some(own).filter(|own| !own.is_zero())),
            repeatable: rule.repeatable.unwrap_or(base.repeatable),
            upgrades: if rule.upgrades.is_empty() { base.upgrades } else { rule.upgrades.clone() },
            ..base
        })
    }

    fn policy(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        draft: &PolicyDraft,
    ) -> RoutePolicy {
        let mirrors = self.mirrors(service, object, &draft.mirrors);
        RoutePolicy { mirrors, ..draft.policy.clone() }
    }

    fn source(&mut self, namespace: &str, source: &SourceDraft) -> SourceMatch {
        let service = source.host.as_ref().map(|host| match self.registry.of_object(host, namespace) {
            Ok(known) => known.host.clone(),
            Err(full) => full.into(),
        });
        let is_source = |caller: &Arc<Caller>| {
            service.as_ref().is_none_or(|service| caller.service == *service)
                && source.namespace.as_ref().is_none_or(|namespace| caller.namespace == *namespace)
                && source.labels.iter().all(|(key, value)| caller.labels.get(key) == Some(value))
        };
        if !self.callers.iter().any(is_source) {
            let who = match &service {
                Some(service) => format!("is `{service}` with these labels"),
                None => "has this namespace and these labels".into(),
            };
            let reason = format!("none of `callers` {who}: the rule never applies");
            self.found.push(source.place.warning("unknown-caller", reason));
        }
        SourceMatch { service, namespace: source.namespace.clone(), labels: source.labels.clone() }
    }
}

/// What acts on requests that the rule answers itself. The rest is about those that it forwards: readers tell of it.
fn of_answers(draft: &PolicyDraft) -> Option<RoutePolicy> {
    let RoutePolicy { fault, cors, response_headers, .. } = &draft.policy;
    let policy = RoutePolicy {
        fault: fault.clone(),
        cors: cors.clone(),
        response_headers: response_headers.clone(),
        ..RoutePolicy::default()
    };
    (policy != RoutePolicy::default()).then_some(policy)
}

/// What is equal to what the route before it has is that: a rule may have a thousand alternatives, each of them a route.
fn share_policies(route: &mut Route, before: Option<&Arc<Route>>) {
    let Some(before) = before else { return };
    if route.policy == before.policy {
        route.policy.clone_from(&before.policy);
    }
    let Action::Forward(forward) = &mut route.action else { return };
    for (own, before) in forward.versions.iter_mut().zip(before.versions()) {
        if own.policy == before.policy {
            own.policy.clone_from(&before.policy);
        }
    }
}

/// Takes every request of a protocol, or every request.
fn all_of(only: Option<Protocol>) -> RouteMatch {
    let more = only.map(|protocol| Box::new(MoreMatch { protocol: Some(protocol), ..MoreMatch::default() }));
    RouteMatch { more, ..RouteMatch::any() }
}

fn shadowed(rule: &Candidate<'_>, winner: &Candidate<'_>) -> Diagnostic {
    let (name, place) = (winner.name(), winner.rule.place.origin.file_and_line());
    let reason =
        format!("the rule `{}` is never reached: `{name}` ({place}) matches every request", rule.name());
    let help = match winner.rule.order {
        Order::Precedence(rank) => format!("a precedence over {rank}"),
        Order::Listed => "a place before it".into(),
        Order::Specificity(_) => "a condition".into(),
    };
    rule.rule.place.warning("shadowed", reason).with_help(help)
}

/// A policy with the field that names the version, where the service asks for one and the rule does not.
fn named(service: Option<&Known<'_>>, policy: Option<RoutePolicy>) -> Option<RoutePolicy> {
    let Some(name) = service.and_then(|known| known.draft.version_header.as_ref()) else { return policy };
    let mut policy = policy.unwrap_or_default();
    policy.version_header.get_or_insert_with(|| name.clone());
    Some(policy)
}

/// One route for everything.
pub(super) fn plain_route(name: &str, service: &Known<'_>, target: VersionTarget) -> Route {
    let origin = service.draft.place.origin.file_and_line().into();
    let action = Action::Forward(Forward { versions: vec![target], ..forward(service) });
    Route { name: name.into(), origin, matches: RouteMatch::any(), action, policy: None }
}

fn forward(service: &Known<'_>) -> Forward {
    Forward {
        service: service.host.clone(),
        timeout: service.draft.timeout,
        repeatable: service.draft.repeatable,
        upgrades: service.draft.upgrades.clone(),
        ..Forward::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Document, Environment, load};
    use crate::snapshot::Route;

    const MAIN: &str = "listeners: [{name: in, address: \"0.0.0.0:80\", service: m}]\n\
        services: [{name: m, endpoints: [{address: \"10.0.0.1:80\", labels: {version: v1}}]}]\n";

    /// The first route of the service under one object, and the codes of what is told.
    fn linked(version: &str, kind: &str, metadata: &str, spec: &str) -> (Route, Vec<&'static str>) {
        let object =
            format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: r, {metadata}}}\nspec: {spec}\n");
        let document = |name: &str, text: &str| Document { name: name.into(), bytes: text.into() };
        let rules = [document("r.yaml", &object)];
        let loaded = load(&document("weir.yaml", MAIN), &rules, &Environment::default());
        let loaded = loaded.unwrap_or_else(|found| panic!("{found}"));
        let config = &loaded.snapshot.route_configs["service:m.default.svc.cluster.local"];
        let codes = loaded.warnings.iter().map(|one| one.code).collect();
        (Route::clone(&config.virtual_hosts[0].routes[0]), codes)
    }

    #[test]
    fn what_is_said_of_forwarding_beside_a_redirect_is_told_of_and_left_out_in_every_dialect() {
        for (version, kind, spec) in [
            (
                "config.istio.io/v1alpha2",
                "RouteRule",
                "{destination: {name: m}, redirect: {authority: a.example}, mirror: {name: nobody}, appendHeaders: {x-a: b}, \
                 httpReqTimeout: {simpleTimeout: {timeout: 1s}}, \
                 httpReqRetries: {simpleRetry: {attempts: 1, perTryTimeout: 1s}}}",
            ),
            (
                "networking.istio.io/v1",
                "VirtualService",
                "{hosts: [m], http: [{redirect: {authority: a.example}, mirror: {host: nobody}, timeout: 1s, \
                 retries: {attempts: 1}, headers: {request: {set: {x-a: b, host: b.example}}}}]}",
            ),
            (
                "gateway.networking.k8s.io/v1",
                "HTTPRoute",
                "{parentRefs: [{group: \"\", kind: Service, name: m}], rules: [{timeouts: {request: 1s}, retry: {}, filters: [\
                 {type: RequestRedirect, requestRedirect: {hostname: a.example}}, \
                 {type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 80}}}, \
                 {type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}]}]}",
            ),
        ] {
            let (route, codes) = linked(version, kind, "", spec);
            assert_eq!(route.policy, None, "{kind}");
            assert_eq!(codes, ["never-acts"; 4], "{kind}: and nothing of who would get the copies");
        }
        let spec = "{hosts: [m], http: [{directResponse: {status: 403}, corsPolicy: {allowOrigin: [\"*\"]}, \
                    headers: {response: {remove: [x-a]}}}]}";
        let (route, codes) = linked("networking.istio.io/v1", "VirtualService", "", spec);
        let policy = route.policy.expect("a policy");
        assert!(policy.cors.is_some() && policy.response_headers.remove.len() == 1, "answers have these");
        assert_eq!(codes, [""; 0]);
    }

    #[test]
    fn a_share_that_is_sent_elsewhere_needs_no_endpoint_and_has_nothing_that_is_about_forwarding() {
        let spec = |filters: &str| {
            format!(
                "{{parentRefs: [{{group: \"\", kind: Service, name: m}}], rules: [{{backendRefs: [{{name: m, port: 80}}, \
                 {{name: next, port: 80, filters: [{filters}]}}]}}]}}"
            )
        };
        let linked = |filters: &str| {
            let metadata = "annotations: {weir/backend.next: \"version=v9\"}";
            linked("gateway.networking.k8s.io/v1", "HTTPRoute", metadata, &spec(filters))
        };
        assert_eq!(linked("").1, ["no-endpoints"]);
        let (route, codes) = linked(
            "{type: RequestRedirect, requestRedirect: {hostname: a.example}}, \
             {type: RequestMirror, requestMirror: {backendRef: {name: nobody, port: 80}}}, \
             {type: RequestHeaderModifier, requestHeaderModifier: {remove: [x-a]}}",
        );
        let own = route.versions()[1].policy.as_ref().expect("a policy");
        assert!(
            own.redirect.is_some() && own.mirrors.is_empty() && own.request_headers.is_empty(),
            "{own:?}"
        );
        assert_eq!(codes, ["never-acts"; 2]);
    }
}
