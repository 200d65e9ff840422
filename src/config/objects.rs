//! Documents of rule files -> drafts: which dialect reads an object, by its `apiVersion` and `kind`.
//!
//! Law: an object with a fault is left out, and told of; one that nobody reads is refused by name. Several dialects may
//! stand side by side, in one file or in one List.

use super::decode::{Field, Scope};
use super::draft::{RouteDraft, TrafficDraft};
use super::metadata::Metadata;
use super::patterns::Patterns;
use super::table::{Keys, Table};
use super::tree::Node;
use super::{destination_policy, destination_rule, gateway_api, networking, route_rule, virtual_service};

const SUPPORTED: &str = "supported: RouteRule and DestinationPolicy of config.istio.io/v1alpha2, VirtualService and \
    DestinationRule of networking.istio.io/v1, HTTPRoute and GRPCRoute of gateway.networking.k8s.io/v1, and a List of \
    them";

const OLD_ISTIO: &str = "config.istio.io";
const ISTIO: &str = "networking.istio.io";
const GATEWAY_API: &str = "gateway.networking.k8s.io";
const NO_CONNECTIONS: &str = "Weir splits HTTP and gRPC";

/// Kinds that stand beside routes, by their group, and why they are refused.
const REFUSED: &[(&str, &str, &str)] = &[
    (OLD_ISTIO, "EgressRule", "Weir forwards to the `services` of weir.yaml alone"),
    (OLD_ISTIO, "IngressRule", "listeners stand in weir.yaml"),
    (OLD_ISTIO, "QuotaSpec", "there is no Mixer"),
    (OLD_ISTIO, "QuotaSpecBinding", "there is no Mixer"),
    (ISTIO, "ServiceEntry", "services stand in weir.yaml"),
    (ISTIO, "WorkloadEntry", "endpoints stand in weir.yaml"),
    (ISTIO, "WorkloadGroup", "endpoints stand in weir.yaml"),
    (ISTIO, "Sidecar", "what a proxy sees stands in weir.yaml"),
    (ISTIO, "EnvoyFilter", "there is no Envoy to patch"),
    (GATEWAY_API, "TCPRoute", NO_CONNECTIONS),
    (GATEWAY_API, "TLSRoute", NO_CONNECTIONS),
    (GATEWAY_API, "UDPRoute", NO_CONNECTIONS),
    (GATEWAY_API, "ReferenceGrant", "files are not kept apart by namespace: every reference is granted"),
];

const GATEWAY: &str = "a listener with `gateways: [NAME]`, or without `gateways` for all";

/// Kinds that only say what weir.yaml says, and where that is said there. They stand beside routes in files that are written
/// for others, and a route does not change its meaning without them.
const SAID_ELSEWHERE: &[(&str, &str, &str)] = &[
    (ISTIO, "Gateway", GATEWAY),
    (GATEWAY_API, "Gateway", GATEWAY),
    (GATEWAY_API, "GatewayClass", "nothing: a listener stands for gateways of any class"),
];

/// The kinds that are read, by group, and a version in which they are.
const READ: &[(&str, &[&str], &str)] = &[
    (OLD_ISTIO, &["RouteRule", "DestinationPolicy"], "v1alpha2"),
    (ISTIO, &["VirtualService", "DestinationRule"], "v1"),
    (GATEWAY_API, &["HTTPRoute", "GRPCRoute"], "v1"),
];

/// What rule files say.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    /// Objects with routes.
    pub(crate) routes: Vec<RouteDraft>,
    /// Objects about clusters.
    pub(crate) traffic: Vec<TrafficDraft>,
}

impl Objects {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.routes.len() + self.traffic.len()
    }

    /// Forgets all but the first of each.
    pub(crate) fn truncate(&mut self, (routes, traffic): (usize, usize)) {
        self.routes.truncate(routes);
        self.traffic.truncate(traffic);
    }
}

/// Whether the document has the shape of a Kubernetes object.
pub(crate) fn is_object(document: &Node) -> bool {
    document.get("apiVersion").is_some() || document.get("kind").is_some()
}

/// The objects of one document; those at fault are left out.
pub(crate) fn decode(document: &Node, scope: &Scope, patterns: &Patterns, into: &mut Objects) {
    object(&Field::root(document, scope), patterns, into);
}

fn object(field: &Field<'_>, patterns: &Patterns, into: &mut Objects) {
    let word = |key| field.node.get(key).filter(|node| !node.is_null()).map(|node| field.child(key, node));
    if field.pairs().is_none() {
        return;
    }
    let (Some(version), Some(kind)) = (word("apiVersion"), word("kind")) else {
        field.fault_with("unknown-kind", "`apiVersion` or `kind` is missing", SUPPORTED);
        return;
    };
    match (version.text(), kind.text()) {
        (Some("v1"), Some("List")) => list(field, patterns, into),
        (Some(version), Some(name)) if is_list(version, name) => list(field, patterns, into),
        (Some(version), Some(name)) => one(field, &kind, (version, name), patterns, into),
        _ => {}
    }
}

/// Whether it is the list of a kind that is read, as the API server answers. Each item says its own version.
fn is_list(version: &str, name: &str) -> bool {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let kind = name.strip_suffix("List").unwrap_or_default();
    READ.iter().any(|(of, kinds, _)| *of == group && kinds.contains(&kind))
}

fn list(field: &Field<'_>, patterns: &Patterns, into: &mut Objects) {
    const KEYS: Keys = Keys::of(&["apiVersion", "kind", "metadata", "items"]);
    let items = Table::new(field, &KEYS).and_then(|table| table.require("items")?.items());
    for item in items.unwrap_or_default() {
        object(&item, patterns, into);
    }
}

fn one(
    field: &Field<'_>,
    kind: &Field<'_>,
    (version, name): (&str, &str),
    patterns: &Patterns,
    into: &mut Objects,
) {
    match (version, name) {
        (route_rule::API_VERSION, "RouteRule") => {
            into.routes.extend(routes(field, "RouteRule", |spec, metadata| {
                route_rule::decode(spec, metadata, patterns)
            }));
        }
        (route_rule::API_VERSION, "DestinationPolicy") => {
            into.traffic.extend(read(field, "DestinationPolicy", destination_policy::decode));
        }
        (gateway_api::API_VERSION | gateway_api::OLDER_API_VERSION, "HTTPRoute") => {
            into.routes.extend(routes(field, "HTTPRoute", |spec, metadata| {
                gateway_api::http_route(spec, metadata, patterns)
            }));
        }
        (gateway_api::API_VERSION, "GRPCRoute") => {
            into.routes.extend(routes(field, "GRPCRoute", |spec, metadata| {
                gateway_api::grpc_route(spec, metadata, patterns)
            }));
        }
        (version, "VirtualService") if networking::API_VERSIONS.contains(&version) => {
            into.routes.extend(routes(field, "VirtualService", |spec, metadata| {
                virtual_service::decode(spec, metadata, patterns)
            }));
        }
        (version, "DestinationRule") if networking::API_VERSIONS.contains(&version) => {
            into.traffic.extend(read(field, "DestinationRule", destination_rule::decode));
        }
        _ => {
            tell_of_unread(kind, (version, name));
        }
    }
}

/// Tells of an object that nobody reads.
fn tell_of_unread(kind: &Field<'_>, (version, name): (&str, &str)) {
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let of = |table: &'static [(&str, &str, &'static str)]| {
        table.iter().find(|(of, kind, _)| (*of, *kind) == (group, name)).map(|(_, _, why)| *why)
    };
    if let Some(instead) = of(SAID_ELSEWHERE) {
        let reason = format!("`{name}` says what weir.yaml says: it is passed over");
        kind.warn_with("ignored", reason, instead);
        return;
    }
    let other = READ.iter().find(|(of, kinds, _)| *of == group && kinds.contains(&name));
    let (code, why) = match (of(REFUSED), other) {
        (Some(why), _) => ("not-supported", format!(": {why}")),
        (None, Some((_, _, version))) => ("unknown-kind", format!(": write `{group}/{version}`")),
        (None, None) => ("unknown-kind", String::new()),
    };
    let reason = format!("`{name}` of `{version}` is not supported{why}");
    kind.fault_with(code, reason, SUPPORTED);
}

/// Reads one object with routes, and adds what its annotations say of them.
fn routes(
    field: &Field<'_>,
    kind: &'static str,
    decode: impl FnOnce(&Field<'_>, &Metadata) -> Option<RouteDraft>,
) -> Option<RouteDraft> {
    read(field, kind, |spec, metadata| {
        let mut draft = decode(spec, metadata)?;
        metadata.annotations.apply(&mut draft, field);
        Some(draft)
    })
}

/// Reads one object: `decode` gets its `spec:`. Nothing if it has a fault anywhere.
fn read<T>(
    field: &Field<'_>,
    kind: &'static str,
    decode: impl FnOnce(&Field<'_>, &Metadata) -> Option<T>,
) -> Option<T> {
    const KEYS: Keys = Keys::of(&["apiVersion", "kind", "metadata", "spec", "status"]);
    let errors_before = field.scope.errors();
    let table = Table::new(field, &KEYS)?;
    let metadata = Metadata::read(field, kind, table.require("metadata").as_ref());
    let draft = table.require("spec").and_then(|spec| decode(&spec, &metadata));
    draft.filter(|_| field.scope.errors() == errors_before)
}

#[cfg(test)]
mod tests {
    use crate::config::{Diagnostics, Document, read_rules};

    /// How many objects are read of `text`, and what is told.
    fn read(text: &str) -> (usize, Vec<String>) {
        let mut found = Diagnostics::new();
        let document = Document { name: "a.yaml".into(), bytes: text.into() };
        let objects = read_rules(&[document], &mut found);
        let told = found.iter().map(|one| format!("{} {} {}", one.severity, one.code, one.reason));
        (objects.len(), told.collect())
    }

    #[test]
    fn the_list_of_a_kind_is_read_as_the_api_server_answers_it() {
        let item = "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: m}, \
                    spec: {hosts: [m], http: [{route: [{destination: {host: m}}]}]}}";
        let list = |version: &str, kind: &str| {
            read(&format!(
                "apiVersion: {version}\nkind: {kind}\nmetadata: {{resourceVersion: \"7\"}}\nitems: [{item}, {item}]\n"
            ))
        };
        assert_eq!(list("networking.istio.io/v1", "VirtualServiceList"), (2, Vec::new()));
        assert_eq!(list("v1", "List"), (2, Vec::new()));
        let (read, found) = list("v1", "PodList");
        assert!(read == 0 && found[0].starts_with("error unknown-kind `PodList` of `v1`"), "{found:?}");
    }

    #[test]
    fn another_version_of_a_kind_that_is_read_is_told_with_the_one_that_is() {
        let (_, found) =
            read("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: GRPCRoute\nmetadata: {name: m}\n");
        let reason = "`GRPCRoute` of `gateway.networking.k8s.io/v1alpha2` is not supported: \
                      write `gateway.networking.k8s.io/v1`";
        assert_eq!(found, [format!("error unknown-kind {reason}")]);
    }

    #[test]
    fn what_weir_yaml_says_is_passed_over_beside_the_routes_that_hold() {
        for (version, kind) in [
            ("networking.istio.io/v1alpha3", "Gateway"),
            ("gateway.networking.k8s.io/v1", "Gateway"),
            ("gateway.networking.k8s.io/v1beta1", "GatewayClass"),
        ] {
            let (read, found) = read(&format!(
                "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: g}}\nspec: {{anything: [1]}}\n---\n\
                 apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r}}\n\
                 spec: {{destination: {{name: m}}}}\n"
            ));
            let told = format!("warning ignored `{kind}` says what weir.yaml says: it is passed over");
            assert_eq!((read, found), (1, vec![told]));
        }
        let (_, found) =
            read("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s}\n");
        assert!(found[0].starts_with("error not-supported"), "{found:?}");
    }
}
