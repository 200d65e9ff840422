//! One service behind a proxy in this process, whose clusters have whatever policy a test gives them.
//!
//! Policies are written into the snapshot itself, so that no dialect's reading of them is what is tested.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use weir::snapshot::{Cluster, Outlier, Snapshot, TrafficPolicy};

use super::engine::{Engine, linked};
use super::world::client::Client;
use super::world::{Http, one_service};

/// How many endpoints outlier detection has thrown out.
pub const EJECTED: &str = "envoy_cluster_outlier_detection_ejections_active";
/// The body of Weir's own answer where nobody is well.
pub const NOBODY: &str = "no healthy upstream";

/// A service `x` of `upstreams` that speak `up`, its clusters changed by `change`.
pub fn snapshot(up: Http, upstreams: &[&str], change: impl Fn(&mut Cluster)) -> Arc<Snapshot> {
    let endpoints: Vec<(&str, &str)> = upstreams.iter().map(|&at| (at, "v1")).collect();
    let protocol = format!("protocol: {}", up.protocol());
    let linked = linked(&one_service(&[&protocol], &endpoints), "");
    let mut snapshot = Snapshot::clone(&linked);
    snapshot.clusters.values_mut().for_each(|cluster| change(Arc::make_mut(cluster)));
    Arc::new(snapshot)
}

/// [`snapshot`], served by one worker under `traffic`.
pub fn serve(up: Http, upstreams: &[&str], traffic: &TrafficPolicy) -> Engine {
    Engine::serving(1, snapshot(up, upstreams, |cluster| cluster.traffic = Some(Box::new(traffic.clone()))))
}

/// A caller of the service.
pub async fn caller(down: Http, engine: &Engine) -> Client {
    Client::connect(down, engine.address("in")).await
}

/// Who fails so often in a row is thrown out for an hour, and all may be.
pub fn outlier(failures: u32) -> Outlier {
    let hour = Duration::from_secs(3600);
    Outlier {
        consecutive_5xx: failures,
        max_ejection_percent: 100,
        base_ejection_time: hour,
        max_ejection_time: hour,
        success_rate: None,
        ..Outlier::default()
    }
}

/// A policy that says so, and never panics.
pub fn throwing_out(outlier: Outlier) -> TrafficPolicy {
    TrafficPolicy { outlier: Some(outlier), panic_threshold: 0, ..TrafficPolicy::default() }
}

/// Puts all clusters under `traffic`.
pub fn put_under(snapshot: &mut Snapshot, traffic: &TrafficPolicy) {
    for cluster in snapshot.clusters.values_mut() {
        Arc::make_mut(cluster).traffic = Some(Box::new(traffic.clone()));
    }
}

/// A family of the engine's, brought up to date as a scrape would.
pub fn scraped(engine: &Engine, family: &str) -> f64 {
    let plane = engine.shared.plane.load_full().expect("a plane");
    plane.clusters.iter().for_each(|cluster| cluster.refresh());
    engine.metric(family)
}
