//! How many endpoints each version of each service has, by what is known of them.
//!
//! Law: an address counts once, in whatever clusters it is a member, and as ill if it is in one of them. A version that a
//! rule names is there without endpoints, too: none is what somebody wants to be told of.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::plane::ClusterPlane;
use crate::telemetry::families::levels::{EndpointHealth, endpoint_labels};
use crate::telemetry::{Gauge, GaugeSet};
use crate::upstream::guard::Watch;

/// The endpoints of one version of a service.
#[derive(Debug)]
pub struct VersionEndpoints {
    /// Addresses that nobody watches.
    unwatched: usize,
    /// What the clusters of each other one know of it.
    watched: Vec<Vec<Arc<Watch>>>,
    /// By state.
    gauges: Vec<Gauge>,
}

/// What is known of each address of a version, by the address.
type Addresses = BTreeMap<Arc<str>, Vec<Arc<Watch>>>;

/// The versions that `clusters` name, or have endpoints of: those that some rule leads to. Others leave the page.
pub(super) fn census(clusters: &[Arc<ClusterPlane>], gauges: &mut GaugeSet) -> Vec<VersionEndpoints> {
    let mut versions: BTreeMap<(Arc<str>, Arc<str>), Addresses> = BTreeMap::new();
    for cluster in clusters {
        let (service, labels) = (&cluster.state.config.service, &cluster.state.config.labels);
        if let Some(named) = labels.get("version") {
            versions.entry((service.clone(), named.clone())).or_default();
        }
        for member in &cluster.state.members {
            let addresses = versions.entry((service.clone(), member.version.clone())).or_default();
            addresses.entry(member.state.name.clone()).or_default().extend(member.watch.clone());
        }
    }
    let labels = versions.keys().flat_map(|(service, version)| {
        EndpointHealth::ALL.map(|state| endpoint_labels(service, version, state))
    });
    let gauges = gauges.replace(labels);
    let of_each = versions.into_values().zip(gauges.chunks(EndpointHealth::ALL.len()));
    of_each.map(|(addresses, gauges)| VersionEndpoints::new(addresses, gauges)).collect()
}

impl VersionEndpoints {
    fn new(addresses: Addresses, gauges: &[Gauge]) -> VersionEndpoints {
        let all = addresses.len();
        let watched: Vec<_> = addresses.into_values().filter(|watches| !watches.is_empty()).collect();
        VersionEndpoints { unwatched: all - watched.len(), watched, gauges: gauges.to_vec() }
    }

    /// Brings the gauges up to date. For the control thread, before each scrape.
    pub fn refresh(&self) {
        let mut counts = [self.unwatched, 0, 0];
        for watches in &self.watched {
            counts[health(watches) as usize] += 1;
        }
        for (gauge, count) in self.gauges.iter().zip(counts) {
            gauge.set(count as f64);
        }
    }
}

/// What the clusters of an address know of it, together.
pub fn health(watches: &[Arc<Watch>]) -> EndpointHealth {
    if watches.iter().any(|watch| watch.has_failed_check()) {
        EndpointHealth::FailedCheck
    } else if watches.iter().any(|watch| watch.is_ejected()) {
        EndpointHealth::Ejected
    } else {
        EndpointHealth::Healthy
    }
}
