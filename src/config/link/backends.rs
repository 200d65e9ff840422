//! Backends of the Gateway API -> a service and which of its endpoints.
//!
//! Law: the Gateway API has a Service for each version and no subsets. What an annotation says counts first; then a declared
//! service of that name, all of it; then `<service>-<version>`, where a declared service has endpoints with that label. A
//! backend that means nothing keeps its share of the requests, and they get 500.

use super::clusters::Clusters;
use super::hosts::{Known, Registry};
use super::routes::Builder;
use super::shares::unserved;
use crate::config::draft::{Dialect, HostRef, RouteDraft, Select, ShareDraft};
use crate::config::names::nearest;
use crate::snapshot::{Labels, RoutePolicy, VersionTarget};

/// What requests get whose backend means nothing; gRPC callers get UNAVAILABLE whatever the status.
const NOT_FOUND: u16 = 500;

impl Builder<'_, '_> {
    /// Where a share or a mirror that names a backend goes; `said` are the labels of its annotation.
    pub(super) fn backend(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        (share, host): (&ShareDraft, &HostRef),
        said: &Labels,
        (weight, percent): (u32, f64),
    ) -> VersionTarget {
        let registry = self.registry;
        let found = find(registry, service, (host, &object.namespace), said);
        let (host, target) = match found {
            Some((known, labels)) => {
                self.found.extend(unserved(known, &labels, &share.place, percent));
                (known.host.clone(), self.clusters.select(known, &labels, weight))
            }
            None => {
                let host = match registry.of_object(host, &object.namespace) {
                    Ok(known) => known.host.to_string(),
                    Err(full) => full,
                };
                let reason = format!("no service and no version of one is `{host}`");
                let help = match nearest(&host, registry.iter().map(|known| known.host.as_ref())) {
                    Some(near) => format!("did you mean `{near}`? Its requests get {NOT_FOUND}"),
                    None => format!(
                        "a name of `services`, or one followed by `-` and a version; its requests get {NOT_FOUND}"
                    ),
                };
                self.found.push(share.place.warning("unknown-backend", reason).with_help(help));
                (host.as_str().into(), Clusters::absent(&host, "", weight))
            }
        };
        let other = service.is_none_or(|own| own.host != host);
        VersionTarget { service: other.then_some(host), ..target }
    }

    /// The policy of a route of the Gateway API some of whose backends mean nothing, which says what their requests get.
    pub(super) fn answering(
        &self,
        object: &RouteDraft,
        versions: &[VersionTarget],
        policy: Option<RoutePolicy>,
    ) -> Option<RoutePolicy> {
        let is_absent = |one: &VersionTarget| !self.clusters.built.contains_key(&one.http_cluster);
        if object.dialect != Dialect::GatewayApi || !versions.iter().any(is_absent) {
            return policy;
        }
        let mut policy = policy.unwrap_or_default();
        policy.cluster_not_found = Some(NOT_FOUND);
        Some(policy)
    }
}

/// The service that a backend of an object of `namespace` means, and the labels of its endpoints. `claimed` is the service
/// that the rule is about.
pub(super) fn find<'r, 'd>(
    registry: &'r Registry<'d>,
    claimed: Option<&'r Known<'d>>,
    (host, namespace): (&HostRef, &str),
    said: &Labels,
) -> Option<(&'r Known<'d>, Labels)> {
    if let Ok(known) = registry.of_object(host, namespace) {
        return Some((known, said.clone()));
    }
    let HostRef::Short { text, namespace: own } = host else { return None };
    // The service with the longest name first.
    let mut versions = text.rmatch_indices('-').filter_map(|(at, dash)| {
        let service = HostRef::Short { text: text[..at].to_owned(), namespace: own.clone() };
        Some((registry.of_object(&service, namespace).ok()?, &text[at + dash.len()..]))
    });
    if said.is_empty() {
        return versions.find_map(|(known, version)| Some((known, labels(known, version)?)));
    }
    versions.next().map(|(known, _)| known).or(claimed).map(|known| (known, said.clone()))
}

/// Whether a backend's name means no service, so that what an annotation says of it is of the service that is asked for.
pub(super) fn names_none(registry: &Registry<'_>, host: (&HostRef, &str), select: &Select) -> bool {
    matches!(select, Select::Backend(said) if !said.is_empty() && find(registry, None, host, said).is_none())
}

/// The label of the version that the end of a name means: itself, or the only one that looks like it where a name of a
/// Service may hold no dots, underscores or capitals.
fn labels(known: &Known<'_>, version: &str) -> Option<Labels> {
    let all = || known.draft.endpoints.iter().filter_map(|endpoint| endpoint.labels.get("version"));
    let alike = |label: &str| label.to_ascii_lowercase().replace(['.', '_'], "-") == version;
    let label = match all().find(|label| ***label == *version) {
        Some(label) => label,
        None => {
            let mut similar = all().filter(|label| alike(label));
            let first = similar.next()?;
            similar.all(|other| other == first).then_some(first)?
        }
    };
    Some(Labels::from([("version".into(), label.clone())]))
}

#[cfg(test)]
mod tests {
    use crate::config::{Document, Environment, Loaded, load};
    use crate::snapshot::Route;

    const SERVICES: &str = "listeners: [{name: in, address: \"0.0.0.0:80\", service: m}]\nservices:\n\
        - name: m\n  endpoints:\n\
        \x20 - {address: \"10.0.0.1:80\", labels: {version: v1}}\n\
        \x20 - {address: \"10.0.0.2:80\", labels: {version: v1.10}}\n\
        \x20 - {address: \"10.0.0.3:80\", labels: {version: x_y}}\n\
        \x20 - {address: \"10.0.0.4:80\", labels: {version: x.y}}\n\
        - name: m-big\n  endpoints: [{address: \"10.0.0.5:80\", labels: {version: v1}}]\n\
        - name: m-v2\n  endpoints: [{address: \"10.0.0.6:80\", labels: {version: v9}}]\n\
        - name: elsewhere\n  namespace: web\n  endpoints: [{address: \"10.0.0.7:80\", labels: {version: v1}}]\n";

    /// One HTTPRoute of the service `m` with these backends.
    fn linked(backends: &str) -> Loaded {
        annotated("", backends)
    }

    /// The same with annotations.
    fn annotated(annotations: &str, backends: &str) -> Loaded {
        let route = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r, annotations: {{{annotations}}}}}\nspec:\n  \
             parentRefs: [{{group: \"\", kind: Service, name: m}}]\n  rules: [{{backendRefs: [{backends}]}}]\n"
        );
        let document = |name: &str, text: &str| Document { name: name.into(), bytes: text.into() };
        let loaded =
            load(&document("weir.yaml", SERVICES), &[document("r.yaml", &route)], &Environment::default());
        loaded.unwrap_or_else(|found| panic!("{found}"))
    }

    fn route(loaded: &Loaded) -> Route {
        let config = &loaded.snapshot.route_configs["service:m.default.svc.cluster.local"];
        Route::clone(&config.virtual_hosts[0].routes[0])
    }

    /// The cluster of the backend `name`.
    fn cluster(name: &str) -> String {
        let route = route(&linked(&format!("{{name: {name}, port: 80}}")));
        route.versions()[0].http_cluster.to_string()
    }

    #[test]
    fn a_backend_is_a_declared_service_else_a_version_of_the_one_with_the_longest_name() {
        for (name, wanted) in [
            ("m", "out.m.default.svc.cluster.local"),
            ("m-v1", "out.m.default.svc.cluster.local|version=v1"),
            ("m-big-v1", "out.m-big.default.svc.cluster.local|version=v1"),
            ("m-v2", "out.m-v2.default.svc.cluster.local"),
            ("m-v2-v9", "out.m-v2.default.svc.cluster.local|version=v9"),
            ("m-v1-10", "out.m.default.svc.cluster.local|version=v1.10"),
        ] {
            assert_eq!(cluster(name), wanted, "{name}");
        }
        let other = route(&linked("{name: elsewhere-v1, namespace: web, port: 80}"));
        assert_eq!(&*other.versions()[0].http_cluster, "out.elsewhere.web.svc.cluster.local|version=v1");
        assert_eq!(other.versions()[0].service.as_deref(), Some("elsewhere.web.svc.cluster.local"));
    }

    #[test]
    fn a_backend_that_means_nothing_keeps_its_share_with_500_and_is_told_of() {
        // The last could mean either of two versions.
        for name in ["m-v7", "n", "elsewhere-v1", "m-x-y"] {
            let loaded = linked(&format!("{{name: m-v1, port: 80, weight: 3}}, {{name: {name}, port: 80}}"));
            let codes: Vec<_> = loaded.warnings.iter().map(|one| one.code).collect();
            assert!(codes.contains(&"unknown-backend"), "{name}: {codes:?}");
            let route = route(&loaded);
            let clusters = &loaded.snapshot.clusters;
            let there: Vec<_> = route
                .versions()
                .iter()
                .map(|one| (one.weight, clusters.contains_key(&one.http_cluster)))
                .collect();
            assert_eq!(there, [(3, true), (1, false)], "{name}");
            assert_eq!(route.policy.and_then(|policy| policy.cluster_not_found), Some(500));
        }
        assert_eq!(route(&linked("{name: m-v1, port: 80}")).policy, None, "a plain split has no policy");
    }

    #[test]
    fn an_annotation_says_which_endpoints_a_backend_means_before_its_name_does() {
        for (backend, said, wanted) in [
            ("m-v1", "version=x.y", "out.m.default.svc.cluster.local|version=x.y"),
            ("m", "version=v1", "out.m.default.svc.cluster.local|version=v1"),
            ("m-canary", "version=v1", "out.m.default.svc.cluster.local|version=v1"),
            ("canary", "version=v1", "out.m.default.svc.cluster.local|version=v1"),
            ("m-big-canary", "version=v1", "out.m-big.default.svc.cluster.local|version=v1"),
        ] {
            let annotation = format!("weir/backend.{backend}: \"{said}\"");
            let loaded = annotated(&annotation, &format!("{{name: {backend}, port: 80}}"));
            assert_eq!(&*route(&loaded).versions()[0].http_cluster, wanted, "{backend}");
        }
        let loaded = annotated("weir/backend.other: \"version=v1\"", "{name: m, port: 80}");
        assert!(loaded.warnings.iter().any(|one| one.code == "never-acts"), "{}", loaded.warnings);
    }
}
