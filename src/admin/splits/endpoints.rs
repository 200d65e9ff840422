//! The endpoints of a version under one rule, by what is known of them.
//!
//! Law: as `weir_endpoints` counts: an address once, in whatever clusters it is, and as ill if it is in one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::proxy::census;
use crate::proxy::plane::{ClusterPlane, RoutePlane};
use crate::telemetry::families::levels::EndpointHealth;
use crate::upstream::guard::Watch;

/// Addresses of ill endpoints that are told of.
const MAX_UNWELL: usize = 20;

/// Addresses by state.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) healthy: usize,
    pub(super) ejected: usize,
    pub(super) failed_check: usize,
    /// The first of those that are not healthy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unwell: Vec<Unwell>,
}

#[derive(Debug, PartialEq, Serialize)]
struct Unwell {
    address: Arc<str>,
    state: &'static str,
}

/// Those of `version` of `service` that the rule's requests may reach.
pub(super) fn of(route: &RoutePlane, service: &str, version: &str, clusters: &[Arc<ClusterPlane>]) -> Row {
    let mut addresses: BTreeMap<&Arc<str>, Vec<Arc<Watch>>> = BTreeMap::new();
    let targets = route.targets.iter().filter(|target| *target.service.host == *service);
    for target in targets {
        let of_target = target.clusters.iter().flatten().filter_map(|&index| clusters.get(index));
        let members = of_target.flat_map(|cluster| &cluster.state.members);
        for member in members.filter(|member| *member.version == *version) {
            addresses.entry(&member.state.name).or_default().extend(member.watch.clone());
        }
    }
    let mut row = Row::default();
    for (address, watches) in addresses {
        let health = census::health(&watches);
        match health {
            EndpointHealth::Healthy => row.healthy += 1,
            EndpointHealth::Ejected => row.ejected += 1,
            EndpointHealth::FailedCheck => row.failed_check += 1,
        }
        if health != EndpointHealth::Healthy && row.unwell.len() < MAX_UNWELL {
            row.unwell.push(Unwell { address: address.clone(), state: health.as_str() });
        }
    }
    row
}
