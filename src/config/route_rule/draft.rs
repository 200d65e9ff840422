//! What a RouteRule says, hosts unresolved.

use std::sync::Arc;

use crate::config::diagnostic::Place;
use crate::config::draft::HostRef;
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
