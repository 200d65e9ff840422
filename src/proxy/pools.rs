//! A worker's connection pools: one for each endpoint that it has sent something to.
//!
//! Law: a pool is made with the first request that wants it, so that thousands of endpoints cost neither a new plane nor
//! the sweep anything until they are used. A new plane takes over the pools whose endpoint it still has; the others close
//! when their last request ends. It must not know requests.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::ops::Index;
use std::rc::Rc;
use std::sync::Arc;

use super::plane::{ClusterPlane, Plane};
use crate::runtime::clock::Tick;
use crate::snapshot::IdleTimeouts;
use crate::transport::dial::Target;
use crate::upstream::pool::EndpointPool;

pub(super) type Pool = Rc<EndpointPool>;

/// The pools of a worker that are in use.
#[derive(Default)]
pub(super) struct Pools(Rc<RefCell<InUse>>);

#[derive(Default)]
struct InUse {
    /// The plane whose settings they have; another one adds nothing to them.
    plane: u64,
    /// By cluster.
    by_cluster: HashMap<Arc<str>, HashMap<Target, Pool>>,
}

/// The pools of one cluster's members under one plane, by the member's index.
pub(super) struct ClusterPools {
    cluster: Arc<ClusterPlane>,
    plane: u64,
    idle: IdleTimeouts,
    members: Vec<OnceCell<Pool>>,
    in_use: Rc<RefCell<InUse>>,
}

impl Pools {
    /// Those of a new plane, which takes over what it still has.
    pub(super) fn adopt(&self, plane: &Plane) -> Vec<ClusterPools> {
        let mut in_use = self.0.borrow_mut();
        let mut old = std::mem::take(&mut in_use.by_cluster);
        in_use.plane = plane.number;
        let of_cluster = |cluster: &Arc<ClusterPlane>| {
            let pools = self.of_cluster(plane, cluster);
            if let Some(old) = old.remove(&cluster.state.config.name) {
                let kept = pools.take_over(&old);
                if !kept.is_empty() {
                    in_use.by_cluster.insert(cluster.state.config.name.clone(), kept);
                }
            }
            pools
        };
        plane.clusters.iter().map(of_cluster).collect()
    }

    /// A view of a plane that is not the present one: what it takes of the pools in use keeps the present settings.
    pub(super) fn view(&self, plane: &Plane) -> Vec<ClusterPools> {
        plane.clusters.iter().map(|cluster| self.of_cluster(plane, cluster)).collect()
    }

    /// Closes what is idle for too long.
    pub(super) fn sweep(&self, now: Tick) {
        self.0.borrow().by_cluster.values().flat_map(HashMap::values).for_each(|pool| pool.sweep(now));
    }

    fn of_cluster(&self, plane: &Plane, cluster: &Arc<ClusterPlane>) -> ClusterPools {
        ClusterPools {
            cluster: cluster.clone(),
            plane: plane.number,
            idle: plane.snapshot.limits.upstream_idle,
            members: cluster.state.members.iter().map(|_| OnceCell::new()).collect(),
            in_use: self.0.clone(),
        }
    }
}

impl ClusterPools {
    /// The pools of `old` whose very endpoint is a member, under our settings.
    fn take_over(&self, old: &HashMap<Target, Pool>) -> HashMap<Target, Pool> {
        let mut kept = HashMap::with_capacity(old.len());
        for (member, cell) in self.cluster.state.members.iter().zip(&self.members) {
            let known = old.get(&member.state.target);
            if let Some(pool) = known.filter(|pool| Arc::ptr_eq(pool.endpoint(), &member.state)) {
                pool.adopt(&self.cluster.state, self.idle);
                kept.insert(member.state.target.clone(), pool.clone());
                let _ = cell.set(pool.clone());
            }
        }
        kept
    }

    /// The pool of a member that nobody has asked for yet: the one in use if it is of that very endpoint (an address may
    /// stand twice in a cluster), else a new one.
    fn first_use(&self, member: usize) -> Pool {
        let endpoint = &self.cluster.state.members[member].state;
        let mut in_use = self.in_use.borrow_mut();
        let name = &self.cluster.state.config.name;
        let known = in_use.by_cluster.get(name).and_then(|pools| pools.get(&endpoint.target));
        if let Some(pool) = known.filter(|pool| Arc::ptr_eq(pool.endpoint(), endpoint)) {
            return pool.clone();
        }
        let (state, meter) = (self.cluster.state.clone(), self.cluster.meter.clone());
        let pool = Rc::new(EndpointPool::new(state, endpoint.clone(), meter, self.idle));
        // A plane that is on its way out keeps it for itself: it ends with the last request.
        if in_use.plane == self.plane {
            let of_cluster = in_use.by_cluster.entry(name.clone()).or_default();
            of_cluster.insert(endpoint.target.clone(), pool.clone());
        }
        pool
    }
}

impl Index<usize> for ClusterPools {
    type Output = Pool;

    fn index(&self, member: usize) -> &Pool {
        self.members[member].get_or_init(|| self.first_use(member))
    }
}
