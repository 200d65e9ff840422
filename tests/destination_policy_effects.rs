//! What a DestinationPolicy does, field by field, from the file to the wire, by both HTTPs. What each effect is in full is
//! told by the `cluster_*` tests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod dialects;
    pub(crate) mod effects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::clusters::caller;
use common::dialects::{Served, destination_policy, route_rule};
use common::effects::{
    Choice, choice, comes_back_when_both_times_are_over, connections_at_a_time, failures_in_a_row,
    left_alone_of_four, requests_at_a_time, requests_of_a_connection, retries_at_a_time,
};
use common::engine::Engine;
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run};

/// A breaker that says `rest`, beside the times without which none is read.
fn breaker(rest: &str) -> String {
    destination_policy(&format!(
        "circuitBreaker: {{simpleCb: {{sleepWindow: 1h, httpDetectionInterval: 1h, {rest}}}}}"
    ))
}

#[test]
fn a_policy_holds_for_the_version_whose_labels_it_names() {
    run(async || {
        let policy = breaker("httpMaxRequestsPerConnection: 1")
            .replace("destination: {name: x}", "destination: {name: x, labels: {version: v1}}");
        let rules =
            route_rule("route: [{labels: {version: v1}, weight: 50}, {labels: {version: v2}, weight: 50}]")
                + &policy;
        for (down, up) in Http::matrix() {
            let served = Served::under(up, &rules).await;
            let mut client = served.caller(down).await;
            for _ in 0..20 {
                client.get("/m").await;
            }
            let (held, other) = (&served.v1, &served.v2);
            assert!(held.begun() > 2 && other.begun() > 2, "both have their share");
            assert_eq!(held.connections(), held.begun(), "{down:?} {up:?}: one for each request");
            assert_eq!(other.connections(), 1, "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_policy_with_a_source_holds_beside_an_endpoint_of_that_service_and_nowhere_else() {
    run(async || {
        let rules = breaker("httpMaxRequestsPerConnection: 1")
            .replace("destination: {name: x}", "destination: {name: x}, source: {name: web}");
        for (local, connections) in [(true, 4), (false, 1)] {
            for (down, up) in Http::matrix() {
                let v1 = Upstream::start("v1").await;
                let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")])
                    + &format!(
                        "- {{name: web, endpoints: [{{address: \"127.0.0.1:9\", local: {local}}}]}}\n"
                    );
                let engine = Engine::start(1, &yaml, &rules);
                let mut client = caller(down, &engine).await;
                for _ in 0..4 {
                    client.get("/m").await;
                }
                assert_eq!(v1.connections(), connections, "{down:?} {up:?} local: {local}");
            }
        }
    });
}

#[test]
fn endpoints_are_chosen_in_the_way_that_is_named() {
    run(async || {
        for (name, wanted) in
            [("ROUND_ROBIN", Choice::InTurn), ("LEAST_CONN", Choice::LeastLoaded), ("RANDOM", Choice::Drawn)]
        {
            for (down, up) in Http::matrix() {
                let rules = destination_policy(&format!("loadBalancing: {{name: {name}}}"));
                assert_eq!(choice(down, up, &rules).await, wanted, "{name} {down:?} {up:?}");
            }
        }
    });
}

#[test]
fn no_more_connections_are_open_than_it_says_and_the_rest_waits() {
    run(async || {
        connections_at_a_time(&breaker("maxConnections: 2"), 2, 3, false).await;
        connections_at_a_time(&breaker("maxConnections: 0"), 5, 0, false).await;
    });
}

#[test]
fn no_more_requests_wait_for_a_connection_than_it_says() {
    run(async || {
        connections_at_a_time(&breaker("maxConnections: 1, httpMaxPendingRequests: 2"), 1, 2, true).await;
        connections_at_a_time(&breaker("maxConnections: 1, httpMaxPendingRequests: 0"), 1, 4, false).await;
    });
}

#[test]
fn no_more_requests_are_under_way_than_it_says() {
    run(async || requests_at_a_time(&breaker("httpMaxRequests: 2"), 2).await);
}

#[test]
fn a_connection_takes_no_more_requests_than_it_says() {
    run(async || {
        for (said, most) in [(2, Some(2)), (1, Some(1)), (0, None)] {
            let rules = breaker(&format!("httpMaxRequestsPerConnection: {said}"));
            requests_of_a_connection(&rules, most).await;
        }
    });
}

#[test]
fn no_more_retries_are_under_way_than_it_says() {
    run(async || {
        retries_at_a_time(&breaker("httpMaxRetries: 1"), 1.0, 1.0).await;
        retries_at_a_time(&breaker("httpMaxRetries: 2"), 2.0, 0.0).await;
    });
}

#[test]
fn who_fails_as_often_in_a_row_as_it_says_is_left_alone() {
    run(async || {
        for (said, asked) in [("httpConsecutiveErrors: 3, ", 3), ("httpConsecutiveErrors: 0, ", 5), ("", 5)] {
            let rules = breaker(&format!("{said}httpMaxEjectionPercent: 50"));
            failures_in_a_row(&rules, 500, Some(asked)).await;
        }
    });
}

#[test]
fn no_more_endpoints_are_left_alone_than_its_part_of_all() {
    run(async || {
        for (said, most) in [
            ("httpMaxEjectionPercent: 50, ", 2.0),
            ("httpMaxEjectionPercent: 100, ", 4.0),
            ("httpMaxEjectionPercent: 0, ", 0.0),
            ("", 0.0),
        ] {
            left_alone_of_four(&breaker(&format!("{said}httpConsecutiveErrors: 2")), most).await;
        }
    });
}

#[test]
fn who_is_left_alone_comes_back_after_its_sleep_at_the_end_of_an_interval() {
    run(async || {
        let rules = |sleep: &str, interval: &str| {
            destination_policy(&format!(
                "circuitBreaker: {{simpleCb: {{sleepWindow: {sleep}, httpDetectionInterval: {interval}, \
                 httpConsecutiveErrors: 1, httpMaxEjectionPercent: 50}}}}"
            ))
        };
        comes_back_when_both_times_are_over(rules, "1s").await;
    });
}
