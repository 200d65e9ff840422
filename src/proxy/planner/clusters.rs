//! The clusters of a plane: carried over while they are what they were, endpoints while anybody holds them.

use std::sync::{Arc, Weak};

use super::{DECLARED, Planner};
use crate::proxy::plane::{ClusterPlane, Plane};
use crate::snapshot::{self, Address, Snapshot};
use crate::telemetry::{ClusterMeter, GuardMeter};
use crate::transport::dial::Target;
use crate::upstream::cluster::{ClusterState, EndpointState};

impl Planner {
    pub(super) fn clusters(
        &mut self,
        snapshot: &Snapshot,
        previous: Option<&Plane>,
    ) -> Vec<Arc<ClusterPlane>> {
        let mut clusters = Vec::with_capacity(snapshot.clusters.len());
        for config in snapshot.clusters.values() {
            let old = previous.and_then(|plane| {
                let index =
                    plane.clusters.binary_search_by(|old| old.state.config.name.cmp(&config.name)).ok()?;
                plane.clusters.get(index)
            });
            clusters.push(match old {
                Some(old) if old.state.config == *config && self.is_current(&old.state) => old.clone(),
                _ => self.cluster(config, old),
            });
        }
        if clusters.len() <= DECLARED {
            for cluster in &clusters {
                cluster.meter.declare();
            }
        }
        clusters
    }

    /// Whether the members are what the names resolve to now.
    fn is_current(&self, state: &ClusterState) -> bool {
        let targets = state.config.endpoints().flat_map(|endpoint| self.names.targets(&endpoint.address));
        targets.eq(state.members.iter().map(|member| member.state.target.clone()))
    }

    fn cluster(
        &mut self,
        config: &Arc<snapshot::Cluster>,
        old: Option<&Arc<ClusterPlane>>,
    ) -> Arc<ClusterPlane> {
        let (names, endpoints) = (&self.names, &mut self.endpoints);
        let endpoint = |target: Target| {
            let key = (config.service.clone(), target.clone());
            if let Some(known) = endpoints.get(&key).and_then(Weak::upgrade) {
                return known;
            }
            let new = Arc::new(EndpointState::new(target));
            endpoints.insert(key, Arc::downgrade(&new));
            new
        };
        let addresses = |address: &Address| names.targets(address);
        let state =
            Arc::new(ClusterState::new(config.clone(), addresses, endpoint, old.map(|old| &*old.state)));
        let meter = match old {
            Some(old) => old.meter.clone(),
            None => Arc::new(ClusterMeter::new(&self.recorder, config.name.clone())),
        };
        let guard_meter = state.guard.as_ref().map(|_| {
            let known = old.and_then(|old| old.guard_meter.clone());
            known.unwrap_or_else(|| Arc::new(GuardMeter::new(&self.recorder, &config.name)))
        });
        if let Some(series) = meter.declared().filter(|_| old.is_some()) {
            series.membership_change.increment(1);
        }
        Arc::new(ClusterPlane { state, meter, guard_meter })
    }
}
