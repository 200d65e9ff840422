//! What ring hash and maglev choose an endpoint by: a hash of the first of the cluster's keys that the request has.
//!
//! Law: the same key gives the same hash in every process and release. A request without any of them sticks to nothing,
//! unless a cookie is to be set: then it goes where the cookie will bring the next.

use std::net::IpAddr;

use http::HeaderValue;
use http::request::Parts;
use rand::{Rng, RngExt as _};

use crate::filters::key;
use crate::message::xxhash::xxh64;
use crate::upstream::cluster::ClusterState;

/// The hash of a request from `source`, and the cookie that is set with its answer.
pub(super) fn of(
    cluster: &ClusterState,
    head: &Parts,
    source: Option<IpAddr>,
    dice: &mut impl Rng,
) -> (Option<u64>, Option<HeaderValue>) {
    let keys = cluster.config.traffic.as_ref().map_or(&[][..], |traffic| &traffic.hash);
    let request = key::Request { headers: &head.headers, query: head.uri.query(), source };
    if let Some(key) = key::of(keys, request) {
        return (Some(xxh64(&key, 0)), None);
    }
    let Some(cookie) = key::to_set(keys) else { return (None, None) };
    let value = format!("{:032x}", dice.random::<u128>());
    (Some(xxh64(value.as_bytes(), 0)), key::set_cookie(cookie, &value))
}
