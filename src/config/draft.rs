//! What the dialects say of routes and of clusters, hosts unresolved: one draft for all of them.
//!
//! Law: a draft is right by itself (its names are names, its numbers in range); whether its hosts, subsets and gateways
//! exist is asked when linking. Where a dialect has a default, it has been filled in; where it says nothing, `None`.

use std::sync::Arc;
use std::time::Duration;

use super::diagnostic::Place;
use crate::snapshot::{
    DirectResponse, Domain, Fraction, HashKey, HeaderMatch, HealthCheck, KeepAlive, Labels, LbPolicy,
    MoreMatch, Outlier, PathMatch, Redirect, RetryBudget, RoutePolicy, SlowStart, TargetPolicy,
};

/// Who says it. Where several dialects claim a host, the last of this order has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dialect {
    /// RouteRule and DestinationPolicy.
    RouteRule,
    /// VirtualService and DestinationRule.
    VirtualService,
    /// HTTPRoute and GRPCRoute.
    GatewayApi,
}

/// One object with routes.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteDraft {
    /// Where its document starts.
    pub place: Place,
    /// Who says it.
    pub dialect: Dialect,
    /// `kind`
    pub kind: &'static str,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.creationTimestamp`, as written; without one it is the youngest.
    pub created: Option<Box<str>>,
    /// The hosts that it is about.
    pub claims: Vec<Claim>,
    /// The gateways that it is for; `None`: every listener.
    pub gateways: Option<Box<[GatewayRef]>>,
    /// In the order written.
    pub rules: Vec<RuleDraft>,
}

impl RouteDraft {
    /// What operators call it.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.name, self.namespace)
    }

    /// What operators and metrics call one of its rules.
    pub(crate) fn rule_name(&self, label: Option<&str>) -> String {
        let object = self.full_name();
        match label {
            None => object,
            Some(label) if label.starts_with('#') => format!("{object}{label}"),
            Some(label) => format!("{object}/{label}"),
        }
    }
}

/// A gateway, or a part of one. A listener stands for those that its `gateways:` names, and without them for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayRef {
    /// `name`, or `namespace/name`; `mesh` for callers that pass no gateway.
    pub name: Arc<str>,
    /// A listener's name.
    pub section: Option<Arc<str>>,
    /// A listener's port.
    pub port: Option<u16>,
}

/// A host that an object is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// A service's; of a host with a dot ([`HostRef::Short`]) that no service has, that very host.
    Service(HostRef, Place),
    /// Any other, or several by a star; of a host that a service has, that service.
    Domain(Domain, Place),
}

/// One condition and what becomes of the requests that satisfy it. A rule with several alternatives is several of these
/// with one action, one policy and one label.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleDraft {
    /// Where it stands.
    pub place: Place,
    /// Its own name, where the object has several rules: `#` and a number if it has none. What it is called in metrics is
    /// `name.namespace/label`, or `name.namespace#1`.
    pub label: Option<Arc<str>>,
    /// The gateways that it is for, where these are not its object's.
    pub gateways: Option<Box<[GatewayRef]>>,
    /// What it goes before.
    pub order: Order,
    /// `None`: every path.
    pub path: Option<PathMatch>,
    /// Sorted by name.
    pub headers: Vec<HeaderMatch>,
    /// Never an empty one.
    pub more: Option<Box<MoreMatch>>,
    /// Who calls.
    pub source: Option<Box<SourceDraft>>,
    /// What becomes of them.
    pub action: ActionDraft,
    /// Of the whole request; zero: none. `None`: as the service says.
    pub timeout: Option<Duration>,
    /// Whether a POST may be sent again when the connection failed; `None`: as the service says.
    pub repeatable: Option<bool>,
    /// Protocols that a caller may switch to, lower case.
    pub upgrades: Vec<Arc<str>>,
    /// Everything else.
    pub policy: Option<Arc<PolicyDraft>>,
}

/// What decides which of the rules about a host comes first. Rules of one host are of one dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Falling; then namespace, then name.
    Precedence(i32),
    /// As they stand.
    Listed,
    /// The more specific first; then the older, then namespace and name, then as they stand.
    Specificity(Specificity),
}

/// Ranks from the most important one; the greater is the more specific. What each stands for is its dialect's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Specificity(pub [u32; 6]);

/// What becomes of requests.
#[derive(Clone, Debug, PartialEq)]
pub enum ActionDraft {
    /// They go to all endpoints of the claimed service.
    Whole,
    /// They are split.
    Shares(Vec<ShareDraft>),
    /// Their caller is sent elsewhere.
    Redirect(Box<Redirect>),
    /// They are answered here.
    Direct(Box<DirectResponse>),
}

/// One share of a split.
#[derive(Clone, Debug, PartialEq)]
pub struct ShareDraft {
    /// Where it stands.
    pub place: Place,
    /// Its service; `None`: the claimed one.
    pub destination: Option<HostRef>,
    /// Which of its endpoints.
    pub select: Select,
    /// The port of these.
    pub port: Option<u16>,
    /// Relative; a lone one has 100.
    pub weight: u32,
    /// What is said of it alone.
    pub policy: Option<Box<TargetPolicyDraft>>,
}

/// Which endpoints of a service.
#[derive(Clone, Debug, PartialEq)]
pub enum Select {
    /// Those with these labels; all if there are none.
    Labels(Labels),
    /// Those of a named subset.
    Subset(Arc<str>),
    /// Those that the name of a backend means: a service's or those of one version; with these labels, if it is said.
    Backend(Labels),
}

/// What is said of a rule beside its shares.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyDraft {
    /// Its `mirrors` are empty.
    pub policy: RoutePolicy,
    /// These are its mirrors.
    pub mirrors: Vec<MirrorDraft>,
}

/// What is said of a share alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TargetPolicyDraft {
    /// Its `mirrors` are empty.
    pub policy: TargetPolicy,
    /// These are its mirrors.
    pub mirrors: Vec<MirrorDraft>,
}

/// Where copies go.
#[derive(Clone, Debug, PartialEq)]
pub struct MirrorDraft {
    /// Its weight has no meaning.
    pub share: ShareDraft,
    /// How many of the requests.
    pub fraction: Fraction,
}

/// Who calls: every part that is given must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDraft {
    /// Where it stands.
    pub place: Place,
    /// The caller's service.
    pub host: Option<HostRef>,
    /// The caller's namespace.
    pub namespace: Option<Arc<str>>,
    /// A subset of the caller's labels.
    pub labels: Labels,
}

/// One object about the clusters of a service.
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficDraft {
    /// Where its document starts.
    pub place: Place,
    /// Who says it.
    pub dialect: Dialect,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `metadata.creationTimestamp`, as written; without one it is the youngest.
    pub created: Option<Box<str>>,
    /// The service.
    pub host: HostRef,
    /// Who calls; a DestinationPolicy's alone.
    pub source: Option<Box<SourceDraft>>,
    /// What holds for all its endpoints.
    pub all: ClusterDraft,
    /// What holds for some.
    pub subsets: Vec<SubsetDraft>,
}

/// Endpoints of a service by their labels, and what holds for them.
#[derive(Clone, Debug, PartialEq)]
pub struct SubsetDraft {
    /// Where it stands.
    pub place: Place,
    /// What routes call it; a DestinationPolicy has no name for it.
    pub name: Option<Arc<str>>,
    /// Theirs.
    pub labels: Labels,
    /// What holds for them.
    pub settings: ClusterDraft,
}

/// Settings of clusters; `None`: nothing is said.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the names are those of the cluster
pub struct ClusterDraft {
    pub lb: Option<LbPolicy>,
    pub connections: Option<u32>,
    pub pending: Option<u32>,
    pub requests: Option<u32>,
    pub retries: Option<u32>,
    pub retry_budget: Option<RetryBudget>,
    pub connect_timeout: Option<Duration>,
    pub speaks: Option<Speaks>,
    pub traffic: TrafficOverlay,
    /// The same for endpoints with a port.
    pub ports: Vec<(u16, ClusterDraft)>,
    /// Where some of it stands.
    pub at: Spots,
}

/// What is spoken to endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// HTTP/2, whatever the request came in.
    Http2,
    /// What the service's `protocol` says.
    AsService,
    /// What the request came in.
    AsRequest,
}

/// Where settings stand that linking may have something to say of. Settings are the same wherever they are said.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)] // the names are those of the settings
pub struct Spots {
    /// All of them; those of a port have such a place.
    pub whole: Option<Place>,
    pub outlier: Option<Place>,
    pub speaks: Option<Place>,
    pub slow_start: Option<Place>,
}

impl PartialEq for Spots {
    fn eq(&self, _: &Spots) -> bool {
        true
    }
}

/// What of a cluster's traffic policy is said; `None`: nothing is said.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // the names are those of the traffic policy
pub struct TrafficOverlay {
    pub hash: Option<Vec<HashKey>>,
    pub outlier: Option<Outlier>,
    pub health_checks: Option<Vec<HealthCheck>>,
    pub panic_threshold: Option<u32>,
    pub slow_start: Option<SlowStart>,
    pub requests_per_connection: Option<u32>,
    pub streams_per_connection: Option<u32>,
    pub idle: Option<Duration>,
    pub connection_life: Option<Duration>,
    pub keep_alive: Option<KeepAlive>,
}

/// A host as an object names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRef {
    /// The whole host.
    Whole(String),
    /// RouteRule's `name:`, `namespace:`, `domain:`.
    #[allow(missing_docs)]
    Parts { name: String, namespace: Option<String>, domain: Option<String> },
    /// A host whose form tells: without a dot a service of that namespace, else as written.
    #[allow(missing_docs)]
    Short { text: String, namespace: Option<String> },
}

impl HostRef {
    /// The full host (Istio 0.7.1 `ResolveHostname`): an explicit domain must itself hold `svc.`.
    pub(crate) fn resolve(&self, own_namespace: &str, node_domain: &str) -> String {
        match self {
            HostRef::Whole(host) => host.to_ascii_lowercase(),
            HostRef::Parts { name, namespace, domain } => {
                let namespace = namespace.as_deref().unwrap_or(own_namespace);
                match domain {
                    Some(domain) => format!("{name}.{namespace}.{domain}"),
                    None => format!("{name}.{namespace}.svc.{node_domain}"),
                }
            }
            HostRef::Short { text, .. } if text.contains('.') => text.to_ascii_lowercase(),
            HostRef::Short { text, namespace } => {
                let namespace = namespace.as_deref().unwrap_or(own_namespace);
                format!("{}.{namespace}.svc.{node_domain}", text.to_ascii_lowercase())
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
        let short = |text: &str, namespace: Option<&str>| HostRef::Short {
            text: text.into(),
            namespace: namespace.map(Into::into),
        };
        assert_eq!(resolve(short("inception", None)), "inception.kubeflow.svc.cluster.local");
        assert_eq!(resolve(short("Inception", Some("web"))), "inception.web.svc.cluster.local");
        assert_eq!(resolve(short("Models.example.com", Some("web"))), "models.example.com");
    }

    #[test]
    fn specificity_is_compared_rank_by_rank() {
        assert!(Specificity([1, 0, 0, 0, 0, 0]) > Specificity([0, 9, 9, 9, 9, 9]));
        assert!(Specificity([1, 2, 0, 0, 0, 1]) > Specificity([1, 2, 0, 0, 0, 0]));
        assert!(
            Dialect::GatewayApi > Dialect::VirtualService && Dialect::VirtualService > Dialect::RouteRule
        );
    }
}
