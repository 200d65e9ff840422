//! What callers get on routes with policies where Weir answers itself, and what the log says of the version.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use common::policed::{Policed, policy, versions};
use common::world::client::{Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, free_port, one_service, run, split_rule};
use weir::snapshot::route::OrdName;

#[test]
fn a_missing_cluster_is_503_or_what_the_route_says_and_unavailable_to_grpc() {
    run(async || {
        for status in [None, Some(500), Some(404)] {
            let world = Policed::start(
                &one_service(&[], &[("127.0.0.1:1", "v1")]),
                &split_rule(&[("v1", 100)]),
                |route| {
                    policy(route).cluster_not_found = status;
                    let version = &mut versions(route)[0];
                    (version.http_cluster, version.grpc_cluster) = ("absent".into(), "absent".into());
                },
            );
            let told = status.unwrap_or(503);
            for down in Http::BOTH {
                let answer = Client::connect(down, world.addr()).await.get("/").await;
                assert_eq!((answer.status.as_u16(), answer.text()), (told, ""));
            }
            let answer = Client::connect(Http::Two, world.addr()).await.send(grpc_call("/s/m", b"1")).await;
            assert_eq!(answer.grpc_status(), Some("14"));
            let lines = world.log(3).await;
            assert_eq!(lines[0], format!("{told} NC cluster_not_found 0 v1"));
            assert_eq!(lines[2], "200 NC cluster_not_found 0 v1");
            assert_eq!(world.metric("envoy_http_no_cluster"), 3.0);
        }
    });
}

#[test]
fn the_chosen_version_stands_in_the_log_and_in_the_field_that_was_asked_for() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let gone = format!("127.0.0.1:{}", free_port());
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&gone, "v2")]);
        let world = Policed::start(&yaml, &split_rule(&[("v1", 50), ("v2", 50)]), |route| {
            let name = OrdName(http::HeaderName::from_static("x-model-version"));
            policy(route).version_header = Some(name);
        });
        let mut count = 0;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr()).await;
            for _ in 0..10 {
                let answer = client.get("/").await;
                let version = if answer.status == 200 { "v1" } else { "v2" };
                assert_eq!(answer.header("x-model-version"), Some(version), "{answer:?}");
                count += 1;
                let line = world.last_log(count).await;
                assert!(line.ends_with(&format!(" {version}")), "{line}");
            }
        }
    });
}

#[test]
fn without_a_rule_the_endpoints_own_version_counts() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let world = Policed::start(&yaml, "", |route| {
            let name = OrdName(http::HeaderName::from_static("x-model-version"));
            policy(route).version_header = Some(name);
        });
        for (place, down) in Http::BOTH.into_iter().enumerate() {
            let answer = Client::connect(down, world.addr()).await.get("/").await;
            assert_eq!(answer.header("x-model-version"), Some(answer.upstream()));
            assert!(world.last_log(place + 1).await.ends_with(answer.upstream()));
        }
    });
}

#[test]
fn a_plain_route_logs_its_version_too_and_says_nothing_to_the_caller() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world =
            Policed::start(&one_service(&[], &[(&v1.at(), "v1")]), &split_rule(&[("v1", 100)]), |_| {});
        for (place, down) in Http::BOTH.into_iter().enumerate() {
            let answer = Client::connect(down, world.addr()).await.get("/").await;
            assert!(!answer.headers.iter().any(|(name, value)| name != "x-upstream" && value == "v1"));
            assert_eq!(world.last_log(place + 1).await, "200 - via_upstream 1 v1");
        }
    });
}

#[test]
fn a_request_that_no_route_takes_has_no_version() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = one_service(&[], &[(&v1.at(), "v1")]).replace(", service: x}", "}");
        let world = Policed::start(&yaml, "", |route| {
            let name = OrdName(http::HeaderName::from_static("x-model-version"));
            policy(route).version_header = Some(name);
        });
        for (place, down) in Http::BOTH.into_iter().enumerate() {
            let mut request = get("/");
            request.headers_mut().insert("host", "unknown".parse().unwrap());
            let answer = Client::connect(down, world.addr()).await.send(request).await;
            assert_eq!((answer.status.as_u16(), answer.header("x-model-version")), (404, None));
            assert_eq!(world.last_log(place + 1).await, "404 NR route_not_found 0 -");
        }
    });
}
