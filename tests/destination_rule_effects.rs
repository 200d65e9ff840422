//! What a DestinationRule says of connections, requests and failing endpoints, field by field, from the file to the wire, by
//! both HTTPs. What each effect is in full is told by the `cluster_*` tests; how endpoints are chosen by
//! `destination_rule_balance.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod dialects;
    pub(crate) mod effects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};

use common::clusters::{EJECTED, caller, scraped};
use common::dialects::{Served, destination_rule, to, traffic_policy, virtual_service};
use common::effects::{
    begin, comes_back_when_both_times_are_over, connections_at_a_time, failures_in_a_row, left_alone_of_four,
    requests_at_a_time, requests_of_a_connection, retries_at_a_time, serve,
};
use common::engine::{Engine, eventually};
use common::world::raw::RawUpstream;
use common::world::upstream::Upstream;
use common::world::{Http, free_port, one_service, run, until};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;

/// A rule whose `connectionPool.http` says `rest`.
fn of_http(rest: &str) -> String {
    traffic_policy(&format!("connectionPool: {{http: {{{rest}}}}}"))
}

/// A rule whose `connectionPool.tcp` says `rest`.
fn of_tcp(rest: &str) -> String {
    traffic_policy(&format!("connectionPool: {{tcp: {{{rest}}}}}"))
}

/// A rule whose `outlierDetection` says `rest`, and looks at nobody within this test.
fn outlier(rest: &str) -> String {
    traffic_policy(&format!("outlierDetection: {{interval: 1h, baseEjectionTime: 1h, {rest}}}"))
}

#[test]
fn a_subset_has_settings_of_its_own_a_whole_group_at_a_time() {
    run(async || {
        // Of its group of bounds the subset says another one: the rule's does not hold for it.
        let rule = "trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}";
        let subset = "{name: v1, labels: {version: v1}}";
        let own =
            "{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {http: {maxRetries: 1}}}}";
        for (all, v1, ones) in [(rule, own, [false, true]), (rule, subset, [true, true])] {
            let rules = virtual_service(&format!(
                "{{match: [{{uri: {{exact: /1}}}}], {}}}, {{{}}}",
                to("v1"),
                to("v2")
            ))
            .replace(&destination_rule(""), &destination_rule(all).replace(subset, v1));
            for (down, up) in Http::matrix() {
                let served = Served::under(up, &rules).await;
                let mut client = served.caller(down).await;
                for _ in 0..3 {
                    client.get("/1").await;
                    client.get("/2").await;
                }
                for (upstream, one_each) in [&served.v1, &served.v2].into_iter().zip(ones) {
                    let wanted = if one_each { 3 } else { 1 };
                    assert_eq!(
                        (upstream.begun(), upstream.connections()),
                        (3, wanted),
                        "{down:?} {up:?} {v1}"
                    );
                }
            }
        }
        let own = "{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}}";
        let rules = virtual_service(&format!("{{{}}}", to("v1"))).replace(subset, own);
        let served = Served::under(Http::Two, &rules).await;
        for _ in 0..3 {
            served.caller(Http::Two).await.get("/").await;
        }
        assert_eq!(served.v1.connections(), 3);
    });
}

#[test]
fn settings_for_a_port_stand_for_all_groups_where_the_endpoints_have_it() {
    run(async || {
        for is_theirs in [true, false] {
            for (down, up) in Http::matrix() {
                let v1 = Upstream::start("v1").await;
                let port = if is_theirs { v1.addr().port() } else { free_port() };
                let rules = traffic_policy(&format!(
                    "connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}, portLevelSettings: \
                     [{{port: {{number: {port}}}, connectionPool: {{http: {{maxRequestsPerConnection: 2}}}}}}]"
                ));
                let engine = serve(up, &[&v1.at()], &rules);
                let mut client = caller(down, &engine).await;
                for _ in 0..4 {
                    client.get("/m").await;
                }
                assert_eq!(v1.connections(), if is_theirs { 2 } else { 4 }, "{down:?} {up:?}");
            }
        }
        // It says nothing of connections: what the rule says of them does not hold there.
        let v1 = Upstream::start("v1").await;
        let port = v1.addr().port();
        let rules = traffic_policy(&format!(
            "connectionPool: {{http: {{maxRequestsPerConnection: 1}}}}, portLevelSettings: \
             [{{port: {{number: {port}}}, loadBalancer: {{simple: RANDOM}}}}]"
        ));
        let engine = serve(Http::One, &[&v1.at()], &rules);
        for _ in 0..4 {
            caller(Http::Two, &engine).await.get("/m").await;
        }
        assert_eq!(v1.connections(), 1);
    });
}

#[test]
fn no_more_connections_are_open_than_it_says_and_the_rest_waits() {
    run(async || {
        connections_at_a_time(&of_tcp("maxConnections: 2"), 2, 3, false).await;
        connections_at_a_time(&of_tcp("maxConnections: 0"), 5, 0, false).await;
    });
}

#[test]
fn no_more_requests_wait_for_a_connection_than_it_says() {
    run(async || {
        let rules = |pending: u32| {
            traffic_policy(&format!(
                "connectionPool: {{tcp: {{maxConnections: 1}}, http: {{http1MaxPendingRequests: {pending}}}}}"
            ))
        };
        connections_at_a_time(&rules(2), 1, 2, true).await;
        connections_at_a_time(&rules(0), 1, 4, false).await;
    });
}

#[test]
fn no_more_requests_are_under_way_than_it_says() {
    run(async || requests_at_a_time(&of_http("http2MaxRequests: 2"), 2).await);
}

#[test]
fn a_connection_takes_no_more_requests_than_it_says() {
    run(async || {
        for (said, most) in [(2, Some(2)), (1, Some(1)), (0, None)] {
            requests_of_a_connection(&of_http(&format!("maxRequestsPerConnection: {said}")), most).await;
        }
    });
}

#[test]
fn no_more_retries_are_under_way_than_it_says() {
    run(async || {
        retries_at_a_time(&of_http("maxRetries: 1"), 1.0, 1.0).await;
        retries_at_a_time(&of_http("maxRetries: 2"), 2.0, 0.0).await;
    });
}

#[test]
fn a_budget_of_retries_takes_the_place_of_their_number() {
    run(async || {
        for (budget, made, refused) in [
            ("percent: 0, minRetryConcurrency: 1", 1.0, 1.0),
            ("percent: 0, minRetryConcurrency: 2", 2.0, 0.0),
            ("percent: 100, minRetryConcurrency: 0", 2.0, 0.0),
        ] {
            // The number says otherwise each time.
            let number = if refused > 0.0 { 10 } else { 1 };
            let rules = traffic_policy(&format!(
                "connectionPool: {{http: {{maxRetries: {number}}}}}, retryBudget: {{{budget}}}"
            ));
            retries_at_a_time(&rules, made, refused).await;
        }
    });
}

#[test]
fn a_connection_is_closed_when_it_has_lived_or_idled_for_as_long_as_it_says() {
    run(async || {
        for (rules, idles) in
            [(of_tcp("maxConnectionDuration: 50ms"), false), (of_http("idleTimeout: 50ms"), true)]
        {
            for (down, up) in Http::matrix() {
                let upstream = Upstream::start("v1").await;
                let engine = serve(up, &[&upstream.at()], &rules);
                let mut client = caller(down, &engine).await;
                client.get("/m").await;
                eventually("it is closed", || upstream.open_connections() == 0).await;
                let idled = scraped(&engine, "envoy_cluster_upstream_cx_idle_timeout");
                assert_eq!(idled, f64::from(u8::from(idles)), "{down:?} {up:?} {rules}");
                assert_eq!(client.get("/m").await.text(), "v1");
                assert_eq!(upstream.connections(), 2, "{down:?} {up:?} {rules}");
            }
        }
    });
}

/// An address whose connections the system neither makes nor refuses: as many wait to be accepted as may.
async fn nobody_accepts() -> (SocketAddr, tokio::net::TcpListener) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a port");
    let listener = socket.listen(1).expect("it listens");
    let at = listener.local_addr().expect("an address");
    for _ in 0..8 {
        spawn_local(async move {
            let waiting = TcpStream::connect(at).await;
            std::future::pending::<()>().await;
            drop(waiting);
        });
    }
    let line = format!(" 0100007F:{:04X} 00000000:0000 0A 00000000:", at.port());
    until("its line is full", || {
        let all = fs::read_to_string("/proc/net/tcp").expect("a table");
        let own = all.lines().find_map(|one| one.split_once(&line))?.1;
        (u32::from_str_radix(own.get(..8)?, 16).ok()? > 1).then_some(())
    })
    .await;
    (at, listener)
}

#[test]
fn a_connection_that_takes_longer_than_it_says_is_given_up() {
    run(async || {
        // By HTTP/2 it is made when the other side has said its SETTINGS.
        let mute = RawUpstream::mute().await;
        let (full, _listener) = nobody_accepts().await;
        for (up, at) in [(Http::One, full.to_string()), (Http::Two, mute.at())] {
            for down in Http::BOTH {
                let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&at, "v1")])
                    + "limits: {connect_timeout: 1h}\n";
                let engine = Engine::start(1, &yaml, &of_tcp("connectTimeout: 100ms"));
                let answer = caller(down, &engine).await.get("/m").await;
                assert_eq!(answer.status, 503, "{down:?} {up:?}");
                assert!(
                    answer.text().ends_with("reset reason: connection timeout"),
                    "{down:?} {up:?} {answer:?}"
                );
            }
        }
    });
}

/// The seconds until the system probes the connection to this port, if it is to do so.
fn probed_in(port: u16) -> Option<u64> {
    let all = fs::read_to_string("/proc/net/tcp").expect("a table");
    let mut lines = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let peer = format!("0100007F:{port:04X}");
    // Address, peer, state (1: established), queues, and the kind of timer (2: probes) with its hundredths.
    let own = lines.find(|line| line.get(2) == Some(&&*peer) && line.get(3) == Some(&"01"))?;
    let (kind, left) = own.get(5)?.split_once(':')?;
    let left = u64::from_str_radix(left, 16).expect("a number");
    (kind == "02").then_some(left / 100)
}

#[test]
fn a_connection_is_probed_after_the_time_that_it_says() {
    run(async || {
        for (rules, wanted) in [
            (of_tcp("tcpKeepalive: {time: 5000s, probes: 3, interval: 75s}"), Some(5000)),
            (of_tcp("tcpKeepalive: {time: 1000s}"), Some(1000)),
            (of_tcp("maxConnections: 5"), None),
        ] {
            for (down, up) in Http::matrix() {
                let v1 = Upstream::start("v1").await;
                let engine = serve(up, &[&v1.at()], &rules);
                let mut client = caller(down, &engine).await;
                client.get("/m").await;
                // The timer of an answer that is to be acknowledged goes before.
                let found = until("the timer", || {
                    let found = probed_in(v1.addr().port());
                    (found.is_some() == wanted.is_some()).then_some(found)
                })
                .await;
                let near = found.zip(wanted).is_none_or(|(left, time)| left <= time + 1 && left + 900 > time);
                assert!(near, "{down:?} {up:?} {rules}: {found:?}");
            }
        }
    });
}

#[test]
fn http_2_is_spoken_where_it_says_so_and_as_many_streams_are_open_on_a_connection() {
    run(async || {
        for down in Http::BOTH {
            let held = Upstream::holding().await;
            let rules = of_http("h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 2");
            let engine = serve(Http::One, &[&held.at()], &rules);
            for begun in 1..=5 {
                begin(down, &engine, "/m");
                held.wait_begun(begun).await;
            }
            assert_eq!(held.connections(), 3, "{down:?}: two, two and one");
        }
    });
}

#[test]
fn who_fails_as_often_in_a_row_as_it_says_is_left_alone_by_any_5xx_or_by_a_gateways() {
    run(async || {
        for (said, status, asked) in [
            ("consecutive5xxErrors: 3", 500, Some(3)),
            ("consecutive5xxErrors: 3", 503, Some(3)),
            ("maxEjectionPercent: 50", 500, Some(5)),
            ("consecutive5xxErrors: 0", 500, None),
            ("consecutiveGatewayErrors: 2", 503, Some(2)),
            ("consecutiveGatewayErrors: 2", 502, Some(2)),
            ("consecutiveGatewayErrors: 2", 500, Some(5)),
            ("consecutiveGatewayErrors: 0, consecutive5xxErrors: 0", 503, None),
            ("consecutiveGatewayErrors: 2, consecutive5xxErrors: 0", 504, Some(2)),
            ("consecutiveGatewayErrors: 2, consecutive5xxErrors: 0", 500, None),
            ("consecutiveGatewayErrors: 2, consecutive5xxErrors: 1", 404, None),
        ] {
            let percent = if said.contains("maxEjection") { "" } else { ", maxEjectionPercent: 50" };
            failures_in_a_row(&outlier(&format!("{said}{percent}")), status, asked).await;
        }
    });
}

#[test]
fn who_takes_no_connection_is_counted_apart_where_it_says_so() {
    run(async || {
        for (said, failures) in [
            ("consecutive5xxErrors: 3", 3.0),
            ("consecutive5xxErrors: 3, splitExternalLocalOriginErrors: false", 3.0),
            (
                "consecutive5xxErrors: 1, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 2",
                2.0,
            ),
            ("consecutive5xxErrors: 1, splitExternalLocalOriginErrors: true", 5.0),
        ] {
            for (down, up) in Http::matrix() {
                let (gone, good) = (format!("127.0.0.1:{}", free_port()), Upstream::start("good").await);
                let engine =
                    serve(up, &[&gone, &good.at()], &outlier(&format!("{said}, maxEjectionPercent: 50")));
                let mut client = caller(down, &engine).await;
                for _ in 0..30 {
                    assert_eq!(client.get("/m").await.text(), "good", "a retry finds the other");
                }
                let failed = scraped(&engine, "envoy_cluster_upstream_cx_connect_fail");
                assert_eq!(failed, failures, "{down:?} {up:?} {said}");
            }
        }
    });
}

#[test]
fn who_is_left_alone_comes_back_after_his_time_at_the_end_of_an_interval() {
    run(async || {
        let rules = |ejection: &str, interval: &str| {
            traffic_policy(&format!(
                "outlierDetection: {{baseEjectionTime: {ejection}, interval: {interval}, consecutive5xxErrors: 1, \
                 maxEjectionPercent: 50}}"
            ))
        };
        comes_back_when_both_times_are_over(rules, "50ms").await;
    });
}

#[test]
fn no_more_endpoints_are_left_alone_than_its_part_of_all() {
    run(async || {
        for (said, most) in [
            ("maxEjectionPercent: 50, ", 2.0),
            ("maxEjectionPercent: 100, ", 4.0),
            ("maxEjectionPercent: 25, ", 1.0),
            ("", 0.0),
        ] {
            left_alone_of_four(&outlier(&format!("{said}consecutive5xxErrors: 2")), most).await;
        }
    });
}

#[test]
fn below_the_part_of_all_that_has_to_be_well_all_are_asked() {
    run(async || {
        // One of three is well: 33 %.
        for (said, asked) in [(", minHealthPercent: 34", 8), (", minHealthPercent: 33", 0), ("", 0)] {
            for (down, up) in Http::matrix() {
                let all = [
                    Upstream::failing(500).await,
                    Upstream::failing(500).await,
                    Upstream::start("good").await,
                ];
                let at = all.each_ref().map(Upstream::at);
                let rules = outlier(&format!("consecutive5xxErrors: 1, maxEjectionPercent: 100{said}"));
                let engine = serve(up, &at.each_ref().map(String::as_str), &rules);
                let mut client = caller(down, &engine).await;
                client.get_until("two are out", |_| scraped(&engine, EJECTED) == 2.0).await;
                let bad = || all[0].begun() + all[1].begun();
                let before = bad();
                for _ in 0..12 {
                    client.get("/m").await;
                }
                assert_eq!(bad() - before, asked, "{down:?} {up:?} {said}");
            }
        }
    });
}
