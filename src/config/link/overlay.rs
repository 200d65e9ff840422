//! Settings of clusters laid over each other, and over a cluster.
//!
//! Law: a group of settings (balancing, bounds, outlier detection) is taken whole, between the levels of a DestinationRule;
//! over what weir.yaml says, one setting at a time. Where a setting stands goes along with it.

use crate::config::draft::{ClusterDraft, Speaks, Spots, TrafficOverlay};
use crate::snapshot::{Cluster, LbPolicy, TrafficPolicy, UpstreamProtocol};

/// Whether a setting of a group is there.
fn balances(draft: &ClusterDraft) -> bool {
    draft.lb.is_some() || draft.traffic.hash.is_some() || draft.traffic.slow_start.is_some()
}

fn bounds(draft: &ClusterDraft) -> bool {
    let ClusterDraft { connections, pending, requests, retries, connect_timeout, speaks, traffic, .. } =
        draft;
    [connections, pending, requests, retries].into_iter().any(Option::is_some)
        || [connect_timeout, &traffic.idle, &traffic.connection_life].into_iter().any(Option::is_some)
        || [&traffic.requests_per_connection, &traffic.streams_per_connection]
            .into_iter()
            .any(Option::is_some)
        || speaks.is_some()
        || traffic.keep_alive.is_some()
}

/// `top` over `base`, a whole group at a time.
pub(super) fn over(base: ClusterDraft, top: &ClusterDraft) -> ClusterDraft {
    let mut said = of_one_port(base.clone(), top);
    if !balances(top) {
        take_balancing(&mut said, &base);
    }
    if !bounds(top) {
        take_bounds(&mut said, &base);
    }
    if top.traffic.outlier.is_none() {
        said.traffic.outlier = base.traffic.outlier;
        said.traffic.panic_threshold = base.traffic.panic_threshold;
        said.at.outlier = base.at.outlier;
    }
    said.retry_budget = top.retry_budget.or(base.retry_budget);
    said
}

/// A port's settings stand for all groups; what no port can say stays.
pub(super) fn of_one_port(base: ClusterDraft, own: &ClusterDraft) -> ClusterDraft {
    let traffic = TrafficOverlay { health_checks: base.traffic.health_checks, ..own.traffic.clone() };
    ClusterDraft { retry_budget: base.retry_budget, traffic, ports: Vec::new(), ..own.clone() }
}

fn take_balancing(said: &mut ClusterDraft, from: &ClusterDraft) {
    said.lb = from.lb;
    said.traffic.hash.clone_from(&from.traffic.hash);
    said.traffic.slow_start = from.traffic.slow_start;
    said.at.slow_start.clone_from(&from.at.slow_start);
}

fn take_bounds(said: &mut ClusterDraft, from: &ClusterDraft) {
    said.connections = from.connections;
    said.pending = from.pending;
    said.requests = from.requests;
    said.retries = from.retries;
    said.connect_timeout = from.connect_timeout;
    said.speaks = from.speaks;
    said.at.speaks.clone_from(&from.at.speaks);
    said.traffic.requests_per_connection = from.traffic.requests_per_connection;
    said.traffic.streams_per_connection = from.traffic.streams_per_connection;
    said.traffic.idle = from.traffic.idle;
    said.traffic.connection_life = from.traffic.connection_life;
    said.traffic.keep_alive = from.traffic.keep_alive;
}

/// `top`, and where it says nothing `base`, one setting at a time.
pub(super) fn or_else(top: ClusterDraft, base: ClusterDraft) -> ClusterDraft {
    let (above, below) = (top.traffic, base.traffic);
    ClusterDraft {
        lb: top.lb.or(base.lb),
        connections: top.connections.or(base.connections),
        pending: top.pending.or(base.pending),
        requests: top.requests.or(base.requests),
        retries: top.retries.or(base.retries),
        retry_budget: top.retry_budget.or(base.retry_budget),
        connect_timeout: top.connect_timeout.or(base.connect_timeout),
        speaks: top.speaks.or(base.speaks),
        traffic: TrafficOverlay {
            hash: above.hash.or(below.hash),
            outlier: above.outlier.or(below.outlier),
            health_checks: above.health_checks.or(below.health_checks),
            panic_threshold: above.panic_threshold.or(below.panic_threshold),
            slow_start: above.slow_start.or(below.slow_start),
            requests_per_connection: above.requests_per_connection.or(below.requests_per_connection),
            streams_per_connection: above.streams_per_connection.or(below.streams_per_connection),
            idle: above.idle.or(below.idle),
            connection_life: above.connection_life.or(below.connection_life),
            keep_alive: above.keep_alive.or(below.keep_alive),
        },
        ports: Vec::new(),
        at: Spots {
            whole: None,
            outlier: top.at.outlier.or(base.at.outlier),
            speaks: top.at.speaks.or(base.at.speaks),
            slow_start: top.at.slow_start.or(base.at.slow_start),
        },
    }
}

/// Makes a cluster what is said of it.
pub(super) fn lay(said: &ClusterDraft, cluster: &mut Cluster) {
    cluster.lb = said.lb.unwrap_or(cluster.lb);
    cluster.connect_timeout = said.connect_timeout.unwrap_or(cluster.connect_timeout);
    match said.speaks {
        Some(Speaks::Http2) => cluster.protocol = UpstreamProtocol::Http2,
        Some(Speaks::AsRequest) => cluster.protocol = UpstreamProtocol::AsRequest,
        Some(Speaks::AsService) | None => {}
    }
    let breakers = &mut cluster.circuit_breakers;
    breakers.connections = said.connections.unwrap_or(breakers.connections);
    breakers.pending = said.pending.unwrap_or(breakers.pending);
    breakers.requests = said.requests.unwrap_or(breakers.requests);
    breakers.retries = said.retries.unwrap_or(breakers.retries);
    breakers.retry_budget = said.retry_budget.or(breakers.retry_budget);
    if said.traffic == TrafficOverlay::default() {
        return;
    }
    let mut policy = TrafficPolicy::default();
    let traffic = &said.traffic;
    // A key that nothing hashes is not looked for.
    if matches!(cluster.lb, LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. }) {
        policy.hash = traffic.hash.clone().unwrap_or_default();
    }
    policy.outlier = traffic.outlier;
    policy.health_checks = traffic.health_checks.clone().unwrap_or_default();
    policy.panic_threshold = traffic.panic_threshold.unwrap_or(policy.panic_threshold);
    policy.slow_start = traffic.slow_start;
    policy.requests_per_connection = traffic.requests_per_connection;
    policy.streams_per_connection = traffic.streams_per_connection;
    policy.idle = traffic.idle;
    policy.connection_life = traffic.connection_life;
    policy.keep_alive = traffic.keep_alive;
    cluster.traffic = (policy != TrafficPolicy::default()).then(|| Box::new(policy));
}
