//! Phase 4: the version that was chosen, its cluster for the request's protocol, and the way there.
//!
//! Law: a choice counts here, whatever comes of it, so that shares are those of all requests.

use super::attempt::{self, Way};
use super::exchange::{Chosen, Exchange};
use super::reply::Reason;
use super::request::Routed;
use crate::snapshot::Mode;
use crate::upstream::breaker;

/// The way to the version `index` of the route.
pub(super) fn way<'a>(exchange: &'a Exchange, routed: &Routed, index: usize) -> Result<Way<'a>, Reason> {
    let generation = &exchange.seat.generation;
    let route = routed.route(exchange);
    let cluster = cluster(exchange, routed, index)?;
    let plane = &generation.plane.clusters[cluster];
    Ok(Way {
        http2: attempt::speaks_http2(plane, exchange),
        cluster: plane,
        pools: &generation.pools[cluster],
        target: &route.targets[index],
        hops: routed.hops,
        repeatable: route.repeatable,
    })
}

/// The index of the version's cluster, in which there is room for the request.
fn cluster(exchange: &Exchange, routed: &Routed, index: usize) -> Result<usize, Reason> {
    let target = &routed.route(exchange).targets[index];
    if matches!(exchange.seat.listener.chain().mode, Mode::Split) {
        target.choices.increment(1);
    }
    let mut chosen = Chosen {
        route: (routed.at.0 as u32, routed.at.1 as u32),
        target: index as u32,
        version: target.version.clone(),
        _permit: None,
    };
    let result = match target.cluster(exchange.protocol()) {
        None => {
            exchange.seat.listener.http.no_cluster.increment(1);
            Err(Reason::NoCluster)
        }
        Some(cluster) => {
            let plane = &exchange.seat.generation.plane.clusters[cluster];
            exchange.record.borrow_mut().cluster = Some(plane.state.config.name.clone());
            chosen._permit = plane.state.breakers.try_acquire(breaker::Limit::Requests);
            if chosen._permit.is_some() {
                Ok(cluster)
            } else {
                Err(attempt::overflow(exchange, plane, breaker::Limit::Requests))
            }
        }
    };
    exchange.chosen.replace(Some(chosen));
    result
}
