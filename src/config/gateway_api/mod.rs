//! The Gateway API, `gateway.networking.k8s.io`: HTTPRoute and GRPCRoute -> drafts.
//!
//! Law: what the standard channel's schema and its CEL rules refuse is refused, each with its own code; what belongs to the
//! experimental channel or to an extension is refused by name. Source: the types of apis/v1.

mod backends;
mod cors;
pub(crate) mod fields;
mod filters;
mod grpc_route;
mod headers;
mod http_route;
mod order;
mod parents;
mod paths;
mod retry;
mod rules;
#[cfg(test)]
mod tests;
mod words;

use super::decode::Field;
use super::draft::{ActionDraft, Claim, Dialect, RouteDraft, RuleDraft};
use super::metadata::Metadata;
use super::patterns::Patterns;
use super::table::{Keys, Table};
use crate::snapshot::RedirectPort;

/// Of both kinds.
pub(crate) const API_VERSION: &str = "gateway.networking.k8s.io/v1";
/// Of an HTTPRoute alone; its fields are the same.
pub(crate) const OLDER_API_VERSION: &str = "gateway.networking.k8s.io/v1beta1";

/// Why `sessionPersistence` is refused.
const NO_SESSIONS: &str = "it belongs to the experimental channel; the annotation `weir/sticky` does it";

const KEYS: Keys = Keys {
    known: &["parentRefs", "hostnames", "rules"],
    later: &[],
    never: &[("useDefaultGateways", "which gateways take a route is said by `gateways` of weir.yaml")],
    proto: false,
};

/// `spec:` of an HTTPRoute.
pub(crate) fn http_route(spec: &Field<'_>, metadata: &Metadata, patterns: &Patterns) -> Option<RouteDraft> {
    let table = Table::new(spec, &KEYS)?;
    let attached = parents::attached(&table, metadata);
    let rules = match table.get("rules") {
        Some(field) => rules::rules(&field, patterns, &http_route::RULES),
        None => Some(rules::default_rule(spec, &http_route::RULES)),
    };
    Some(finish(spec, metadata, attached?, rules?))
}

/// `spec:` of a GRPCRoute.
pub(crate) fn grpc_route(spec: &Field<'_>, metadata: &Metadata, patterns: &Patterns) -> Option<RouteDraft> {
    let table = Table::new(spec, &KEYS)?;
    let attached = parents::attached(&table, metadata);
    let rules = match table.get("rules") {
        Some(field) => rules::rules(&field, patterns, &grpc_route::RULES),
        None => {
            let help = "without `rules` a GRPCRoute has no effect";
            spec.warn_with("empty", "it has no rules: no request matches", help);
            Some(Vec::new())
        }
    };
    Some(finish(spec, metadata, attached?, rules?))
}

fn finish(
    spec: &Field<'_>,
    metadata: &Metadata,
    attached: parents::Attached,
    rules: Vec<RuleDraft>,
) -> RouteDraft {
    let (claims, gateways) = (attached.claims, attached.gateways);
    let mut draft = RouteDraft { claims, gateways, rules, ..metadata.routes(Dialect::GatewayApi) };
    let mesh = draft.claims.iter().all(|claim| matches!(claim, Claim::Service(..)));
    let redirects = draft.rules.iter_mut().filter_map(|rule| match &mut rule.action {
        ActionDraft::Redirect(redirect) if mesh => Some(redirect),
        _ => None,
    });
    // Callers of a Service use the Service's port, not that of the listener beside them.
    redirects
        .filter(|redirect| redirect.port == RedirectPort::Listener)
        .for_each(|redirect| redirect.port = RedirectPort::Request);
    backends::annotate(&mut draft, &metadata.annotations.backends, spec.scope);
    draft
}
