//! Routes: which requests, and what becomes of them: the versions that they are split over, a redirect, an answer.
//!
//! Precedence is settled when linking. The law at run time: the best host, then the first route that matches.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::edit::{DirectResponse, Redirect};
use super::policy::{RoutePolicy, TargetPolicy};
use super::{Labels, Pattern};
use crate::words::Protocol;

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
    /// Normal form: lower case, without a port; every short form of the service. None where it only stands before others.
    pub domains: Vec<Domain>,
    /// The virtual host of this configuration whose routes go before its own; that one has none before it. A star holds for
    /// thousands of services, and its routes stand there once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Arc<str>>,
    /// In order of precedence; nothing stands behind a catch-all.
    pub routes: Vec<Arc<Route>>,
}

impl RouteConfig {
    /// Every route that `host`, one of this configuration, asks, in order.
    pub fn routes_of<'c>(&'c self, host: &'c VirtualHost) -> impl Iterator<Item = &'c Arc<Route>> {
        let before =
            host.after.as_ref().and_then(|name| self.virtual_hosts.iter().find(|one| one.name == *name));
        before.into_iter().chain([host]).flat_map(|host| &host.routes)
    }
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
    #[serde(flatten)]
    pub action: Action,
    /// Everything else that is said of them. Nothing for a plain split, which then pays one test. The alternatives of a rule
    /// share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<RoutePolicy>>,
}

/// What becomes of a request. In JSON the name of the variant is a field of the route.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It goes to a version.
    Forward(Forward),
    /// Its caller is sent elsewhere.
    Redirect(Box<Redirect>),
    /// It is answered here.
    DirectResponse(Box<DirectResponse>),
}

impl Route {
    /// Where requests go, unless they are answered here.
    pub fn forward(&self) -> Option<&Forward> {
        match &self.action {
            Action::Forward(forward) => Some(forward),
            Action::Redirect(_) | Action::DirectResponse(_) => None,
        }
    }

    /// The versions that requests are split over; none where they are answered here.
    pub fn versions(&self) -> &[VersionTarget] {
        self.forward().map_or(&[], |forward| &forward.versions)
    }

    /// Full host of the service that the rule is about; empty where requests are answered here.
    pub fn service(&self) -> Arc<str> {
        self.forward().map(|forward| forward.service.clone()).unwrap_or_default()
    }
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
    /// Conditions that few rules have; never an empty one, for what is equal must look equal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub more: Option<Box<MoreMatch>>,
}

/// Conditions that few rules have; all must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MoreMatch {
    /// `withoutHeaders`: no field of this name with such a value. An absent one satisfies it. Sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub without: Vec<HeaderMatch>,
    /// On parameters of the query, decoded. Of several with one name the first counts. Sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<QueryMatch>,
    /// The local port that the request came in by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// gRPC requests alone, or all others alone.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "protocol_as_str")]
    pub protocol: Option<Protocol>,
}

/// A condition on one parameter of the query. An absent one never matches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QueryMatch {
    /// Its name, decoded.
    pub name: Arc<str>,
    /// Of its value.
    pub value: StringMatch,
}

impl RouteMatch {
    /// What every request satisfies.
    pub fn any() -> RouteMatch {
        RouteMatch {
            path: PathMatch::Prefix("/".into()),
            headers: Vec::new(),
            source: None,
            runtime_fraction: None,
            more: None,
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

impl Fraction {
    /// Every time.
    pub const ALWAYS: Fraction = Fraction { numerator: 1_000_000, denominator: 1_000_000 };

    /// 0 to 100, to the millionth, as Envoy writes Istio's percentages.
    pub fn of_percent(percent: f64) -> Fraction {
        let numerator = (percent.clamp(0.0, 100.0) * 10_000.0).round() as u32;
        Fraction { numerator, denominator: 1_000_000 }
    }

    /// Whether it holds for `draw`, any number drawn evenly.
    pub fn holds(self, draw: u64) -> bool {
        draw.checked_rem(self.denominator.into()).is_some_and(|slot| slot < self.numerator.into())
    }
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathMatch {
    /// By characters, as Istio's `uri.prefix` means it.
    Prefix(Arc<str>),
    /// By segments, as the Gateway API's `PathPrefix` means it: `/a` holds for `/a` and `/a/b`, not for `/ab`. Written
    /// without a final slash; `/` is [`PathMatch::Prefix`].
    Segments(Arc<str>),
    /// The very path.
    Exact(Arc<str>),
    /// The whole path.
    Regex(Pattern),
    /// Like [`PathMatch::Prefix`], whatever the case of ASCII letters. Lower case.
    PrefixIgnoreCase(Arc<str>),
    /// Like [`PathMatch::Exact`], whatever the case of ASCII letters. Lower case.
    ExactIgnoreCase(Arc<str>),
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
    Header(OrdName),
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

impl Serialize for OrdName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
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
    /// Any value: what is asked is that it is there.
    Present,
}

impl StringMatch {
    /// Whether it holds for `value`.
    pub fn holds(&self, value: &[u8]) -> bool {
        match self {
            StringMatch::Exact(exact) => *value == *exact.as_bytes(),
            StringMatch::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
            StringMatch::Regex(pattern) => pattern.is_match(value),
            StringMatch::Present => true,
        }
    }
}

/// Who calls: every part that is given must hold. An unknown caller satisfies none.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct SourceMatch {
    /// Full host of the caller's service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
    /// The caller's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// A subset of the caller's labels.
    pub labels: Labels,
}

/// The versions that requests are split over.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Forward {
    /// Full host of the service that the rule is about.
    pub service: Arc<str>,
    /// At least one, in the order of the rule. Weights are relative, their sum is positive. A lone one has 100.
    pub versions: Vec<VersionTarget>,
    /// The whole request, retries included; `None`: no limit.
    pub timeout: Option<Duration>,
    /// Whether a POST may be sent again when the connection failed.
    pub repeatable: bool,
    /// Protocols that an HTTP/1.1 caller may switch to (`websocket`), lower case. Not in the policy: only a request that
    /// asks for one pays for looking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub upgrades: Vec<Arc<str>>,
}

/// One version: its share and, by protocol, its cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VersionTarget {
    /// Full host of its service, where that is not the rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Arc<str>>,
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
    /// What is said of this share alone; shared as a route's policy is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Arc<TargetPolicy>>,
}

fn protocol_as_str<S: Serializer>(protocol: &Option<Protocol>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(protocol.map_or("", Protocol::as_str))
}
