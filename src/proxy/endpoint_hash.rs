//! What ring hash and maglev choose an endpoint by: a hash of the first of the cluster's keys that the request has.
//!
//! Law: the same key gives the same hash in every process and release. A request without any of them sticks to nothing,
//! unless a cookie is to be set: then it goes where the cookie will bring the next.

use rand::{Rng, RngExt as _};

use crate::filters::key::{self, Made, Request};
use crate::message::xxhash::xxh64;
use crate::snapshot::HashKey;
use crate::upstream::cluster::ClusterState;

/// The hash of a request, if it has one of the cluster's keys.
pub(super) fn of(cluster: &ClusterState, request: Request<'_>) -> Option<u64> {
    key::of(keys(cluster), request).map(|key| xxh64(&key, 0))
}

/// The same; a request without a key may get a cookie, which is then set with its answer.
pub(super) fn of_or_made<'c>(
    cluster: &'c ClusterState,
    request: Request<'_>,
    dice: &mut impl Rng,
) -> (Option<u64>, Option<Made<'c>>) {
    if let Some(hash) = of(cluster, request) {
        return (Some(hash), None);
    }
    let made = key::to_set(keys(cluster)).map(|cookie| Made::new(cookie, dice.random()));
    (made.as_ref().map(|made| xxh64(made.value(), 0)), made)
}

fn keys(cluster: &ClusterState) -> &[HashKey] {
    cluster.config.traffic.as_ref().map_or(&[], |traffic| &traffic.hash)
}
