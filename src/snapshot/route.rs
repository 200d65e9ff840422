//! Routes: which requests, and the versions that they are split over.
//!
//! Precedence is settled when linking. The law at run time: the best host, then the first route that matches.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::{Labels, Pattern};

/// A named set of virtual hosts; listeners refer to it by name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteConfig {
    /// Unique.
    pub name: Arc<str>,
    /// One domain stands in at most one of them.
    pub virtual_hosts: Vec<VirtualHost>,
}

/// The routes of one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VirtualHost {
    /// `<host>`, the service's full host.
    pub name: Arc<str>,
    /// Normal form: lower case, without a port; every short form of the service.
    pub domains: Vec<Domain>,
    /// In order of precedence; nothing stands behind a catch-all.
    pub routes: Vec<Arc<Route>>,
}

/// A host that a virtual host answers to, in Envoy's order of preference.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Domain {
    /// The very host.
    Exact(Arc<str>),
    /// `*.example.com`: at least one character in place of the star; the longest wins.
    Suffix(Arc<str>),
    /// `example.*`: at least one character in place of the star; the longest wins.
    Prefix(Arc<str>),
    /// `*`
    Any,
}

/// One rule in force.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Route {
    /// The rule as operators name it, `<name>.<namespace>`; `default-route` where no rule applies.
    pub name: Arc<str>,
    /// file:line of the rule, for people.
    pub origin: Arc<str>,
    /// Which requests.
    pub matches: RouteMatch,
    /// What becomes of them.
    pub forward: Forward,
}

/// All parts must hold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteMatch {
    /// On the normal form of the path, without the query.
    pub path: PathMatch,
    /// Sorted by name.
    pub headers: Vec<HeaderMatch>,
    /// Who calls; `None`: anybody.
    pub source: Option<SourceMatch>,
    /// A share of the requests, by the draw given.
    pub runtime_fraction: Option<Fraction>,
}

impl RouteMatch {
    /// What every request satisfies.
    pub fn any() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            source: None,
            runtime_fraction: None,
        }
    }

    /// Whether every request satisfies it.
    pub fn is_catch_all(&self) -> bool {
        *self == Self::any()
    }
}

/// `numerator` of `denominator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Fraction {
    pub numerator: u32,
    pub denominator: u32,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathMatch {
    /// By characters, as Istio's `uri.prefix` means it.
    Prefix(Arc<str>),
    /// The very path.
    Exact(Arc<str>),
    /// The whole path.
    Regex(Pattern),
}

/// A condition on one header. An absent header never matches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeaderMatch {
    /// Which header.
    pub name: HeaderName,
    /// Of its value; several values of one name are joined by commas.
    pub value: StringMatch,
}

/// A header, or a part of the request line that RouteRule treats as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum HeaderName {
    /// `method`
    Method,
    /// `authority`, as sent.
    Authority,
    /// `scheme`
    Scheme,
    /// Any other, lower case.
    Header(#[serde(serialize_with = "name_as_str")] OrdName),
}

/// A header name that can be sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrdName(pub http::HeaderName);

impl PartialOrd for OrdName {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for OrdName {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

fn name_as_str<S: Serializer>(name: &OrdName, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.0.as_str())
}

/// A condition on a value. Case counts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum StringMatch {
    /// The very value.
    Exact(Arc<str>),
    /// How it starts.
    Prefix(Arc<str>),
    /// The whole value.
    Regex(Pattern),
}

/// Who calls: a service, and labels that the caller must have among its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceMatch {
    /// Full host of the caller's service.
    pub service: Arc<str>,
    /// A subset of the caller's labels.
    pub labels: Labels,
}

/// The versions that requests are split over.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forward {
    /// Full host of the service.
    pub service: Arc<str>,
    /// At least one, in the order of the rule. Weights are relative, their sum is positive.
    pub versions: Vec<VersionTarget>,
    /// The whole request, retries included; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Whether a POST may be sent again when the connection failed.
    pub repeatable: bool,
}

/// One version: its share and, by protocol, its cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VersionTarget {
    /// The label `version` of the selection; `None` when the selection names none, so that the endpoint's own counts.
    pub version: Option<Arc<str>>,
    /// The selection; empty: every endpoint.
    pub labels: Labels,
    /// Relative share; 0 gets nothing.
    pub weight: u32,
    /// The cluster of gRPC requests.
    pub grpc_cluster: Arc<str>,
    /// The cluster of all other requests.
    pub http_cluster: Arc<str>,
}
