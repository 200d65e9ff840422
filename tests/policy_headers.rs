//! Edits of fields, of requests and answers, by route and by share.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use common::policed::{Policed, edits, policy, share};
use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run, split_rule};

fn all(headers: &http::HeaderMap, name: &str) -> Vec<String> {
    headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

async fn send(down: Http, world: &Policed, fields: &[(&'static str, &str)]) -> Answer {
    let mut request = get("/");
    for (name, value) in fields {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    Client::connect(down, world.addr()).await.send(request).await
}

#[test]
fn a_routes_edits_reach_upstream_and_caller_by_both_https() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.request_headers = edits(&["gone"], &[("mine", "set")], &[("more", "2")]);
                policy.response_headers = edits(&["x-upstream"], &[("told", "yes")], &[("date", "more")]);
            });
            let fields = [("gone", "1"), ("mine", "theirs"), ("mine", "again"), ("more", "1"), ("kept", "1")];
            let answer = send(down, &world, &fields).await;
            let seen = v1.last();
            assert_eq!(all(&seen.head.headers, "mine"), ["set"], "{down:?} {up:?}");
            assert_eq!(all(&seen.head.headers, "more"), ["1", "2"]);
            assert_eq!((seen.header("gone"), seen.header("kept")), (None, Some("1")));
            assert_eq!((answer.header("x-upstream"), answer.header("told")), (None, Some("yes")));
            assert_eq!(all(&answer.headers, "date").len(), 2, "an added field stands beside the upstream's");
        }
    });
}

#[test]
fn a_shares_edits_come_first_and_are_its_own() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let world = Policed::start(&yaml, &split_rule(&[("v1", 50), ("v2", 50)]), |route| {
            share(route, "v1").request_headers =
                edits(&[], &[("both", "share"), ("share", "v1")], &[("list", "share")]);
            share(route, "v1").response_headers = edits(&[], &[("both", "share"), ("share", "v1")], &[]);
            let policy = policy(route);
            policy.request_headers = edits(&[], &[("both", "route")], &[("list", "route")]);
            policy.response_headers = edits(&[], &[("both", "route")], &[]);
        });
        let mut client = Client::connect(Http::One, world.addr()).await;
        for _ in 0..20 {
            let answer = client.get("/").await;
            let (upstream, of_share) = match answer.upstream() {
                "v1" => (&v1, Some("v1")),
                _ => (&v2, None),
            };
            assert_eq!((answer.header("both"), answer.header("share")), (Some("route"), of_share));
            let seen = upstream.last();
            assert_eq!((seen.header("both"), seen.header("share")), (Some("route"), of_share));
            let list: &[&str] = if of_share.is_some() { &["share", "route"] } else { &["route"] };
            assert_eq!(all(&seen.head.headers, "list"), list);
        }
        assert!(!v1.seen().is_empty() && !v2.seen().is_empty());
    });
}

#[test]
fn what_the_operator_says_wins_over_what_a_caller_may_not_say() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                policy.request_headers =
                    edits(&[], &[("x-envoy-decorator-operation", "op"), ("x-request-id", "fixed")], &[]);
            });
            send(down, &world, &[("x-envoy-decorator-operation", "theirs"), ("x-envoy-other", "1")]).await;
            let seen = v1.last();
            assert_eq!(seen.header("x-envoy-decorator-operation"), Some("op"));
            assert_eq!((seen.header("x-envoy-other"), seen.header("x-request-id")), (None, Some("fixed")));
        }
    });
}

#[test]
fn framing_is_never_edited() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let world = Policed::one(up, &v1, |policy| {
                let framing =
                    [("content-length", "99"), ("transfer-encoding", "gzip"), ("connection", "x-a")];
                policy.request_headers = edits(&["content-length", "host"], &framing, &[]);
                policy.response_headers = edits(&["content-length"], &framing, &framing);
            });
            let answer = Client::connect(down, world.addr())
                .await
                .send(common::world::client::post("/", "body"))
                .await;
            assert_eq!(
                (answer.text(), answer.header("content-length")),
                ("v1", Some("2")),
                "{down:?} {up:?}"
            );
            assert_eq!(v1.last().body, "body");
            assert_eq!(v1.last().header("content-length"), Some("4"));
        }
    });
}

#[test]
fn a_routes_edits_are_in_weirs_own_answers_too() {
    run(async || {
        for down in Http::BOTH {
            let gone = format!("127.0.0.1:{}", common::world::free_port());
            let world =
                Policed::start(&one_service(&[], &[(&gone, "v1")]), &split_rule(&[("v1", 100)]), |route| {
                    let policy = policy(route);
                    policy.response_headers = edits(&[], &[("told", "yes")], &[]);
                });
            let answer = send(down, &world, &[]).await;
            assert_eq!((answer.status.as_u16(), answer.header("told")), (503, Some("yes")));
            let answer = Client::connect(down, world.addr()).await.send(grpc_call("/s/m", b"1")).await;
            assert_eq!((answer.grpc_status(), answer.header("told")), (Some("14"), Some("yes")));
            assert!(world.last_log(2).await.contains("UF"));
        }
    });
}

#[test]
fn an_answer_given_up_by_the_sweep_has_them_as_well() {
    run(async || {
        let held = Upstream::holding().await;
        let yaml = one_service(&[], &[(&held.at(), "v1")]) + "limits: {stream_idle: 200ms}\n";
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| {
            policy(route).response_headers = edits(&[], &[("told", "yes")], &[]);
        });
        for down in Http::BOTH {
            let answer = send(down, &world, &[]).await;
            assert_eq!((answer.status.as_u16(), answer.header("told")), (504, Some("yes")));
            assert_eq!(answer.text(), "stream timeout");
        }
    });
}

#[test]
fn metadata_of_grpc_is_edited_and_its_trailers_are_left_alone() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = Policed::one(Http::Two, &v1, |policy| {
            policy.request_headers = edits(&["secret-bin"], &[("tenant", "a")], &[]);
            policy.response_headers = edits(&["grpc-status"], &[("told", "yes")], &[]);
        });
        let mut request = grpc_call("/s/m", b"1");
        request.headers_mut().insert("secret-bin", "AA".parse().unwrap());
        let answer = Client::connect(Http::Two, world.addr()).await.send(request).await;
        assert_eq!((answer.grpc_status(), answer.header("told")), (Some("0"), Some("yes")),);
        assert_eq!((v1.last().header("tenant"), v1.last().header("secret-bin")), (Some("a"), None));
    });
}
