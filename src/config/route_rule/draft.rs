//! What a RouteRule says, hosts unresolved.

use std::sync::Arc;

use crate::config::diagnostic::Place;
use crate::snapshot::{HeaderMatch, Labels, PathMatch};

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct RouteRuleDraft {
    /// Where its document starts.
    pub(crate) place: Place,
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) destination: ServiceRef,
    pub(crate) precedence: i32,
    pub(crate) path: Option<PathMatch>,
    /// Sorted by name.
    pub(crate) headers: Vec<HeaderMatch>,
    pub(crate) source: Option<ServiceRef>,
    /// `None`: the whole service.
    pub(crate) route: Option<Vec<Entry>>,
}

/// One of `route:`. Weights sum to 100.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) place: Place,
    pub(crate) destination: Option<ServiceRef>,
    pub(crate) labels: Labels,
    pub(crate) weight: u32,
}

/// `IstioService`: a host in parts or whole, and labels.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRef {
    pub(crate) place: Place,
    pub(crate) host: HostRef,
    pub(crate) labels: Labels,
}

/// The host of an `IstioService`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HostRef {
    /// `service:`, the whole host.
    Whole(String),
    /// `name:`, `namespace:`, `domain:`
    Parts { name: String, namespace: Option<String>, domain: Option<String> },
}

impl HostRef {
    /// The full host (Istio 0.7.1 `ResolveHostname`): an explicit domain must itself hold `svc.`.
    pub(crate) fn resolve(&self, rule_namespace: &str, node_domain: &str) -> String {
        match self {
            HostRef::Whole(host) => host.to_ascii_lowercase(),
            HostRef::Parts { name, namespace, domain } => {
                let namespace = namespace.as_deref().unwrap_or(rule_namespace);
                match domain {
                    Some(domain) => format!("{name}.{namespace}.{domain}"),
                    None => format!("{name}.{namespace}.svc.{node_domain}"),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_resolves_as_istio_resolved_it() {
        let parts = |namespace: Option<&str>, domain: Option<&str>| HostRef::Parts {
            name: "inception".into(),
            namespace: namespace.map(Into::into),
            domain: domain.map(Into::into),
        };
        let resolve = |host: HostRef| host.resolve("kubeflow", "cluster.local");
        assert_eq!(resolve(parts(None, None)), "inception.kubeflow.svc.cluster.local");
        assert_eq!(resolve(parts(Some("web"), None)), "inception.web.svc.cluster.local");
        assert_eq!(resolve(parts(None, Some("svc.other"))), "inception.kubeflow.svc.other");
        assert_eq!(resolve(HostRef::Whole("Models.example.com".into())), "models.example.com");
    }
}
