//! One service behind a proxy in this process, whose clusters have whatever policy a test gives them.
//!
//! Policies are written into the snapshot itself, so that no dialect's reading of them is what is tested.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir::snapshot::{Cluster, Snapshot, TrafficPolicy};

use super::engine::{Engine, linked};
use super::world::client::{Answer, Client};
use super::world::{Http, SOON, one_service};

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

/// Sends GETs until an answer is as it should be, and returns it.
pub async fn until_answer(what: &str, client: &mut Client, is: impl Fn(&Answer) -> bool) -> Answer {
    let start = Instant::now();
    loop {
        let answer = client.get("/m").await;
        if is(&answer) {
            return answer;
        }
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}, but {answer:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A family of the engine's, brought up to date as a scrape would.
pub fn scraped(engine: &Engine, family: &str) -> f64 {
    let plane = engine.shared.plane.load_full().expect("a plane");
    plane.clusters.iter().for_each(|cluster| cluster.refresh());
    engine.metric(family)
}
