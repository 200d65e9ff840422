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
const GATEWAY: &str = "listeners stand in weir.yaml; `gateways` there names those it stands for";
const NO_CONNECTIONS: &str = "Weir splits HTTP and gRPC";

/// Kinds that stand beside routes, by their group, and why they are refused.
const REFUSED: &[(&str, &str, &str)] = &[
    (OLD_ISTIO, "EgressRule", "Weir forwards to the `services` of weir.yaml alone"),
    (OLD_ISTIO, "IngressRule", "listeners stand in weir.yaml"),
    (OLD_ISTIO, "QuotaSpec", "there is no Mixer"),
    (OLD_ISTIO, "QuotaSpecBinding", "there is no Mixer"),
    (ISTIO, "Gateway", GATEWAY),
    (ISTIO, "ServiceEntry", "services stand in weir.yaml"),
    (ISTIO, "WorkloadEntry", "endpoints stand in weir.yaml"),
    (ISTIO, "WorkloadGroup", "endpoints stand in weir.yaml"),
    (ISTIO, "Sidecar", "what a proxy sees stands in weir.yaml"),
    (ISTIO, "EnvoyFilter", "there is no Envoy to patch"),
    (GATEWAY_API, "Gateway", GATEWAY),
    (GATEWAY_API, "GatewayClass", "Weir stands for every gateway that a listener names"),
    (GATEWAY_API, "TCPRoute", NO_CONNECTIONS),
    (GATEWAY_API, "TLSRoute", NO_CONNECTIONS),
    (GATEWAY_API, "UDPRoute", NO_CONNECTIONS),
    (GATEWAY_API, "ReferenceGrant", "files are not kept apart by namespace: every reference is granted"),
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
        (Some(version), Some(name)) => one(field, &kind, (version, name), patterns, into),
        _ => {}
    }
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
            let group = version.split_once('/').map_or("", |(group, _)| group);
            let known = REFUSED.iter().find(|(of, kind, _)| (*of, *kind) == (group, name));
            let (code, why) = match known {
                Some((_, _, why)) => ("not-supported", format!(": {why}")),
                None => ("unknown-kind", String::new()),
            };
            let reason = format!("`{name}` of `{version}` is not supported{why}");
            kind.fault_with(code, reason, SUPPORTED);
        }
    }
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
