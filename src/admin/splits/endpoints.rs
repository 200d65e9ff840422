//! The endpoints of a version under one rule, by what is known of them.
//!
//! Law: as `weir_endpoints` counts: an address once, in whatever clusters it is, and as ill if it is in one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::states::State;
use crate::proxy::census;
use crate::proxy::plane::{ClusterPlane, RoutePlane};
use crate::telemetry::families::levels::EndpointHealth;
use crate::upstream::cluster::Member;
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

impl Row {
    /// In a word.
    pub(super) fn state(&self) -> State {
        match (self.healthy, self.ejected + self.failed_check) {
            (0, _) => State::Failing,
            (_, 0) => State::Good,
            _ => State::Degraded,
        }
    }
}

#[derive(Debug, PartialEq, Serialize)]
struct Unwell {
    address: Arc<str>,
    state: &'static str,
}

/// How those are, of which [`of`] tells. While all are well it costs a look at each, for whoever asks of many rules.
pub(super) fn state(
    route: &RoutePlane,
    service: &str,
    version: &str,
    clusters: &[Arc<ClusterPlane>],
) -> State {
    let mut members = members(route, service, version, clusters).peekable();
    if members.peek().is_none() {
        return State::Failing;
    }
    let is_well = |member: &Member| {
        member.watch.as_ref().is_none_or(|watch| !watch.has_failed_check() && !watch.is_ejected())
    };
    if members.all(is_well) { State::Good } else { of(route, service, version, clusters).state() }
}

fn members<'p>(
    route: &'p RoutePlane,
    service: &'p str,
    version: &'p str,
    clusters: &'p [Arc<ClusterPlane>],
) -> impl Iterator<Item = &'p Member> {
    let targets = route.targets.iter().filter(move |target| *target.service.host == *service);
    let of_targets = targets.flat_map(|target| target.clusters.iter().flatten());
    let members =
        of_targets.filter_map(|&index| clusters.get(index)).flat_map(|cluster| &cluster.state.members);
    members.filter(move |member| *member.version == *version)
}

/// Those of `version` of `service` that the rule's requests may reach.
pub(super) fn of(route: &RoutePlane, service: &str, version: &str, clusters: &[Arc<ClusterPlane>]) -> Row {
    let mut addresses: BTreeMap<&Arc<str>, Vec<Arc<Watch>>> = BTreeMap::new();
    for member in members(route, service, version, clusters) {
        addresses.entry(&member.state.name).or_default().extend(member.watch.clone());
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
