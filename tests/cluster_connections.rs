//! Bounds of the connections to a cluster's endpoints, and of the retries among its requests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::time::{Duration, Instant};

use common::clusters::{caller, scraped, serve, snapshot};
use common::engine::{DEADLINE, Engine, eventually};
use common::world::client::get;
use common::world::http2::{frame, kind};
use common::world::raw::{Raw, RawUpstream};
use common::world::upstream::Upstream;
use common::world::{Http, run};
use futures_util::future::join_all;
use weir::snapshot::{CircuitBreakers, Fraction, RetryBudget, TrafficPolicy};

#[test]
fn a_connection_takes_as_many_requests_as_it_says_and_is_closed() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::start("v1").await;
            let traffic = TrafficPolicy { requests_per_connection: Some(3), ..TrafficPolicy::default() };
            let engine = serve(up, &[&upstream.at()], &traffic);
            let mut client = caller(down, &engine).await;
            for _ in 0..9 {
                assert_eq!(client.get("/m").await.text(), "v1");
            }
            let connections: Vec<usize> = upstream.seen().iter().map(|seen| seen.connection).collect();
            assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2], "{down:?} {up:?}");
            eventually("all are closed", || upstream.open_connections() == 0).await;
        }
    });
}

#[test]
fn a_connection_takes_no_request_after_its_life() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::start("v1").await;
            let life = Duration::from_millis(50);
            let traffic = TrafficPolicy { connection_life: Some(life), ..TrafficPolicy::default() };
            let engine = serve(up, &[&upstream.at()], &traffic);
            let mut client = caller(down, &engine).await;
            client.get("/m").await;
            eventually("it is closed", || upstream.open_connections() == 0).await;
            assert_eq!(client.get("/m").await.text(), "v1", "{down:?} {up:?}");
            assert_eq!(upstream.connections(), 2);
        }
    });
}

#[test]
fn a_clusters_own_idle_time_counts_in_place_of_that_of_all() {
    run(async || {
        for up in Http::BOTH {
            let upstream = Upstream::start("v1").await;
            let idle = Duration::from_millis(50);
            let engine =
                serve(up, &[&upstream.at()], &TrafficPolicy { idle: Some(idle), ..TrafficPolicy::default() });
            caller(Http::One, &engine).await.get("/m").await;
            eventually("it is closed", || upstream.open_connections() == 0).await;
            assert_eq!(scraped(&engine, "envoy_cluster_upstream_cx_idle_timeout"), 1.0, "{up:?}");
        }
    });
}

#[test]
fn no_more_streams_are_open_on_a_connection_than_it_says() {
    run(async || {
        let upstream = Upstream::holding().await;
        let traffic = TrafficPolicy { streams_per_connection: Some(2), ..TrafficPolicy::default() };
        let engine = serve(Http::Two, &[&upstream.at()], &traffic);
        let mut clients = Vec::new();
        for _ in 0..5 {
            clients.push(caller(Http::One, &engine).await);
        }
        tokio::select! {
            _ = join_all(clients.iter_mut().map(|client| client.begin(get("/m")))) => panic!("nobody is answered"),
            () = upstream.wait_begun(5) => {}
        }
        assert_eq!(upstream.connections(), 3);
    });
}

#[test]
fn a_budget_takes_the_place_of_the_limit_of_retries() {
    run(async || {
        let budgets = [(0, 0.0), (1, 4.0)];
        for ((least, retries), (down, up)) in
            budgets.into_iter().flat_map(|budget| Http::matrix().map(move |ways| (budget, ways)))
        {
            let cut = RawUpstream::resetting(up).await;
            let share = Fraction { numerator: 0, denominator: 100 };
            let budget = RetryBudget { share, min_concurrency: least };
            let breakers =
                CircuitBreakers { retries: 0, retry_budget: Some(budget), ..CircuitBreakers::default() };
            let engine = Engine::serving(
                1,
                snapshot(up, &[&cut.at(), &cut.at()], |cluster| cluster.circuit_breakers = breakers),
            );
            let mut client = caller(down, &engine).await;
            for _ in 0..4 {
                assert_eq!(client.get("/m").await.status, 503, "{down:?} {up:?}");
            }
            let counted = ["rq_retry", "rq_retry_overflow"]
                .map(|what| scraped(&engine, &format!("envoy_cluster_upstream_{what}")));
            assert_eq!(counted, [retries, 4.0 - retries], "{down:?} {up:?}");
        }
    });
}

/// A server that hangs: its kernel holds what it does not read, and answers for it. Callers come and leave.
#[test]
fn connections_to_a_server_that_takes_nothing_end_and_are_no_more_than_the_limit() {
    run(async || {
        let hangs = RawUpstream::start(|mut raw, _| async move {
            raw.write(frame(kind::SETTINGS, 0, 0, [])).await;
            std::future::pending::<()>().await;
            String::new()
        })
        .await;
        let idle = Some(Duration::from_millis(1_500));
        let traffic = TrafficPolicy { idle, ..TrafficPolicy::default() };
        let breakers = CircuitBreakers { connections: 2, ..CircuitBreakers::default() };
        let engine = Engine::serving(
            1,
            snapshot(Http::Two, &[&hangs.at()], |cluster| {
                cluster.circuit_breakers = breakers;
                cluster.traffic = Some(Box::new(traffic.clone()));
                cluster.connect_timeout = Duration::from_secs(1);
            }),
        );
        let fields: String = (0..50).map(|n| format!("x-{n}: {}\r\n", "a".repeat(1_000))).collect();
        let request = format!("GET /m HTTP/1.1\r\nhost: x.default.svc.cluster.local\r\n{fields}\r\n");
        let open = || scraped(&engine, "envoy_cluster_upstream_cx_active");
        let start = Instant::now();
        // Until both are full, are given up, and are followed by others.
        while hangs.connections() < 4 {
            assert!(start.elapsed() < DEADLINE, "{} connections, {} open", hangs.connections(), open());
            let mut callers = Vec::new();
            for _ in 0..20 {
                let mut caller = Raw::connect(engine.address("in")).await;
                caller.write(&request).await;
                callers.push(caller);
            }
            eventually("all are there", || engine.metric("envoy_http_downstream_rq_active") == 20.0).await;
            assert!(open() <= 2.0, "{} connections", open());
            drop(callers);
            eventually("all have left", || engine.metric("envoy_http_downstream_rq_active") == 0.0).await;
        }
        eventually("all are given up", || open() == 0.0).await;
    });
}
