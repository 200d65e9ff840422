//! The change of planes, under every order of the control thread and two workers: a published plane is seen, a request
//! keeps the one it began with, and an old one goes when nobody holds it, on the control thread.

#![allow(clippy::expect_used)] // a panic of a model is its report

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use shuttle::scheduler::RandomScheduler;
use shuttle::{Config, Runner, thread};

use super::lane::{Generation, Lane, Shared};
use super::plane::Plane;
use super::planner::Planner;
use crate::runtime::readiness::Readiness;
use crate::runtime::sync::{AtomicU64, step};
use crate::snapshot::{
    Address, Admin, CircuitBreakers, Cluster, Drain, Endpoint, Labels, LbPolicy, Limits, Locality, Node,
    Snapshot, UpstreamProtocol, Workers,
};
use crate::telemetry::{ProcessMeter, Recorder};

const WORKERS: usize = 2;
const RELOADS: u64 = 2;
const SCHEDULES: usize = 3_000;
/// Building a plane takes more stack than shuttle gives a thread by default.
const STACK_BYTES: usize = 1 << 20;

#[test]
fn a_request_keeps_its_plane_and_old_planes_are_dropped_on_the_control_thread() {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(RandomScheduler::new(SCHEDULES), config).run(reloads_while_requests_come);
}

fn reloads_while_requests_come() {
    let recorder = Recorder::new(WORKERS);
    let process = ProcessMeter::new(&recorder);
    let published = Arc::new(ArcSwapOption::empty());
    let mut planner = Planner::new(recorder.clone(), process.clone(), published.clone());
    let mut planes = vec![publish(&mut planner, 0)];
    let shared = Arc::new(Shared {
        plane: published,
        recorder,
        process,
        readiness: Readiness::default(),
        buffered: (0..WORKERS).map(|_| AtomicUsize::new(0)).collect(),
        replay: AtomicUsize::new(0),
        copied: AtomicUsize::new(0),
        start: Instant::now(),
    });
    // The number of the last plane whose publication is over.
    let announced = Arc::new(AtomicU64::new(1));
    let workers: Vec<_> = (0..WORKERS)
        .map(|index| {
            let (shared, announced) = (shared.clone(), announced.clone());
            thread::spawn(move || work(index, shared, &announced))
        })
        .collect();
    for reload in 1..=RELOADS {
        planes.push(publish(&mut planner, reload));
        announced.store(1 + reload, SeqCst);
        planner.collect();
    }
    workers.into_iter().for_each(|worker| worker.join().expect("holds"));
    assert_eq!(planner.collect(), 1, "an old plane stays for ever");
    let alive: Vec<bool> = planes.iter().map(|plane| plane.strong_count() > 0).collect();
    assert_eq!(alive, [false, false, true], "only the last is left");
}

/// Three requests, each begun before the one before ends.
fn work(index: usize, shared: Arc<Shared>, announced: &AtomicU64) {
    let lane = Lane::new(index, shared, Arc::default());
    let mut earlier: Option<Rc<Generation>> = None;
    for _ in 0..3 {
        let at_least = announced.load(SeqCst);
        let now = lane.generation().expect("a plane is published");
        assert!(now.plane.number >= at_least, "a plane that was published is not seen");
        step();
        if let Some(earlier) = earlier.replace(now) {
            let plane = Arc::downgrade(&earlier.plane);
            drop(earlier);
            assert!(plane.strong_count() > 0, "a request dropped its plane");
        }
        step();
    }
    let plane = earlier.map(|earlier| Arc::downgrade(&earlier.plane)).expect("requests came");
    step();
    drop(lane);
    // No other thread came in between: what is gone now went here.
    assert!(plane.strong_count() > 0, "a worker dropped a plane");
}

fn publish(planner: &mut Planner, reload: u64) -> Weak<Plane> {
    let plane = planner.publish(Arc::new(snapshot(reload))).expect("there is no log to open");
    Arc::downgrade(&plane)
}

/// A configuration with one cluster that each reload changes.
fn snapshot(reload: u64) -> Snapshot {
    let endpoint = Endpoint {
        address: Address::Socket(([10, 0, 0, 1], 8500).into()),
        labels: Labels::new(),
        version: "v1".into(),
        local: false,
        weight: 1,
    };
    let cluster = Cluster {
        name: "out.m|http|version=v1".into(),
        service: "m".into(),
        labels: Labels::new(),
        protocol: UpstreamProtocol::AsRequest,
        lb: LbPolicy::RoundRobin,
        local_bias: 0,
        connect_timeout: Duration::from_secs(1 + reload),
        dns_refresh: Duration::from_secs(5),
        circuit_breakers: CircuitBreakers::default(),
        localities: vec![Locality { priority: 0, endpoints: vec![endpoint] }],
        traffic: None,
    };
    let name: Arc<str> = "model".into();
    Snapshot {
        node: Node {
            id: name.clone(),
            cluster: name.clone(),
            namespace: name.clone(),
            workload: name.clone(),
            labels: Labels::new(),
            domain: name,
        },
        admin: Admin { address: ([127, 0, 0, 1], 0).into(), metrics_address: None },
        workers: Workers::Fixed(WORKERS),
        access_log: None,
        tracing: None,
        drain: Drain { grace: Duration::ZERO, deadline: Duration::ZERO },
        limits: Limits::default(),
        internal_cidrs: Vec::new(),
        callers: Vec::new(),
        dimensions: Vec::new(),
        grpc_as_http: true,
        listeners: Vec::new(),
        route_configs: BTreeMap::new(),
        clusters: BTreeMap::from([(cluster.name.clone(), Arc::new(cluster))]),
        services: BTreeMap::new(),
    }
}
