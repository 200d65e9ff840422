//! Ring hash and maglev through the whole proxy: who has the same key meets the same endpoint.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use common::clusters::{caller, scraped, snapshot};
use common::engine::{Engine, eventually};
use common::world::client::{Client, grpc_call, request};
use common::world::upstream::{Upstream, empty, full};
use common::world::{Http, free_port, run};
use http::{HeaderName, HeaderValue, Method, Response};
use weir::snapshot::route::OrdName;
use weir::snapshot::{Cookie, HashKey, HealthCheck, HealthCheckKind, LbPolicy, TrafficPolicy};

const BOTH: [LbPolicy; 2] = [LbPolicy::RING_HASH, LbPolicy::MAGLEV];

fn serve(lb: LbPolicy, up: Http, at: &[&str], hash: Vec<HashKey>) -> Engine {
    let traffic = TrafficPolicy { hash, ..TrafficPolicy::default() };
    let change = |cluster: &mut weir::snapshot::Cluster| {
        cluster.lb = lb;
        cluster.traffic = Some(Box::new(traffic.clone()));
    };
    Engine::serving(2, snapshot(up, at, change))
}

fn header(name: &'static str) -> HashKey {
    HashKey::Header(OrdName(HeaderName::from_static(name)))
}

async fn upstreams(count: usize) -> Vec<Upstream> {
    let mut all = Vec::new();
    for number in 0..count {
        all.push(Upstream::start(&format!("u{number}")).await);
    }
    all
}

/// Who answers a GET with these fields.
async fn ask(client: &mut Client, path: &str, fields: &[(&'static str, String)]) -> String {
    let mut request = request(Method::GET, path);
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    client.send(request.body(empty()).expect("a request")).await.text().to_owned()
}

#[test]
fn the_same_key_meets_the_same_endpoint_over_all_workers_and_processes_and_other_keys_meet_all() {
    run(async || {
        let all = upstreams(4).await;
        let at: Vec<String> = all.iter().map(Upstream::at).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        for lb in BOTH {
            for (down, up) in Http::matrix() {
                let keys = || vec![header("x-user"), HashKey::Query("user".into())];
                let (engine, other) = (serve(lb, up, &at, keys()), serve(lb, up, &at, keys()));
                let mut clients =
                    [caller(down, &engine).await, caller(down, &engine).await, caller(down, &other).await];
                let mut met = BTreeSet::new();
                for user in 0..40 {
                    let mut of_user = BTreeSet::new();
                    for client in &mut clients {
                        of_user.insert(ask(client, "/m", &[("x-user", format!("u{user}"))]).await);
                        of_user.insert(ask(client, &format!("/m?user=u{user}"), &[]).await);
                    }
                    assert_eq!(of_user.len(), 1, "{lb:?} {down:?} {up:?}: {of_user:?}");
                    met.extend(of_user);
                }
                assert_eq!(met.len(), 4, "{lb:?} {down:?} {up:?}");
            }
        }
    });
}

#[test]
fn grpc_metadata_is_a_key_like_any_other() {
    run(async || {
        let all = upstreams(4).await;
        let at: Vec<String> = all.iter().map(Upstream::at).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        let engine = serve(LbPolicy::MAGLEV, Http::Two, &at, vec![header("session")]);
        let mut client = caller(Http::Two, &engine).await;
        for _ in 0..10 {
            let mut call = grpc_call("/s/m", b"hi");
            call.headers_mut().insert("session", HeaderValue::from_static("alice"));
            client.send(call).await;
        }
        let met: Vec<usize> =
            all.iter().map(|upstream| upstream.seen().len()).filter(|&seen| seen > 0).collect();
        assert_eq!(met, [10]);
    });
}

#[test]
fn without_a_key_endpoints_are_drawn_and_a_cookie_that_is_set_brings_back() {
    run(async || {
        let all = upstreams(4).await;
        let at: Vec<String> = all.iter().map(Upstream::at).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        for (lb, (down, up)) in BOTH.into_iter().flat_map(|lb| Http::matrix().map(move |ways| (lb, ways))) {
            let engine = serve(lb, up, &at, vec![header("x-user")]);
            let mut client = caller(down, &engine).await;
            let mut met = BTreeSet::new();
            while met.len() < 4 {
                met.insert(ask(&mut client, "/m", &[]).await);
            }
            let cookie = Cookie {
                name: "endpoint".into(),
                set: Some(Duration::from_secs(60)),
                path: Some("/".into()),
                attributes: None,
            };
            let engine = serve(lb, up, &at, vec![HashKey::Cookie(cookie)]);
            let mut client = caller(down, &engine).await;
            for _ in 0..20 {
                let first = client.get("/m").await;
                let set = first.header("set-cookie").expect("a cookie").to_owned();
                let (pair, rest) = set.split_once(';').expect("attributes");
                assert!(rest.contains("Max-Age=60") && rest.contains("Path=/"), "{set}");
                let again = ask(&mut client, "/m", &[("cookie", pair.to_owned())]).await;
                assert_eq!(again, first.text(), "{lb:?} {down:?} {up:?}: {pair}");
            }
        }
    });
}

#[test]
fn who_cannot_be_reached_gives_his_keys_to_others_for_a_retry() {
    run(async || {
        let all = upstreams(2).await;
        let gone = format!("127.0.0.1:{}", free_port());
        for (lb, (down, up)) in BOTH.into_iter().flat_map(|lb| Http::matrix().map(move |ways| (lb, ways))) {
            let engine = serve(lb, up, &[&all[0].at(), &gone, &all[1].at()], vec![header("x-user")]);
            let mut client = caller(down, &engine).await;
            for user in 0..30 {
                let met = ask(&mut client, "/m", &[("x-user", format!("u{user}"))]).await;
                assert!(met == "u0" || met == "u1", "{lb:?} {down:?} {up:?}: {met}");
            }
            let retried = engine.metric("envoy_cluster_upstream_rq_retry_success");
            assert!(retried >= 1.0, "{lb:?} {down:?} {up:?}");
        }
    });
}

/// By user, who answers; every answer is a good one.
async fn owners(client: &mut Client, users: usize) -> Vec<String> {
    let mut owners = Vec::new();
    for user in 0..users {
        owners.push(ask(client, "/m", &[("x-user", format!("user-{user}"))]).await);
    }
    owners
}

#[test]
fn an_endpoint_that_leaves_moves_few_keys_of_the_others_and_one_that_comes_back_gets_its_own() {
    run(async || {
        let all = upstreams(5).await;
        let at: Vec<String> = all.iter().map(Upstream::at).collect();
        let at: Vec<&str> = at.iter().map(String::as_str).collect();
        for lb in BOTH {
            for (down, up) in Http::matrix() {
                const USERS: usize = 200;
                let traffic = TrafficPolicy { hash: vec![header("x-user")], ..TrafficPolicy::default() };
                let of = |at: &[&str]| {
                    snapshot(up, at, |cluster| {
                        cluster.lb = lb;
                        cluster.traffic = Some(Box::new(traffic.clone()));
                    })
                };
                let engine = Engine::serving(2, of(&at));
                let mut client = caller(down, &engine).await;
                let before = owners(&mut client, USERS).await;
                engine.publish(of(&at[..4]));
                let after = owners(&mut client, USERS).await;
                assert!(after.iter().all(|owner| owner != "u4"), "{lb:?} {down:?} {up:?}");
                let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
                let of_others = before.iter().filter(|owner| *owner != "u4").count();
                // By the remainder of a division four of five keys would move.
                assert!(
                    stayed * 10 >= of_others * 6,
                    "{lb:?} {down:?} {up:?}: {stayed} of {of_others} stayed"
                );
                engine.publish(of(&at));
                assert_eq!(owners(&mut client, USERS).await, before, "{lb:?} {down:?} {up:?}");
            }
        }
    });
}

#[test]
fn an_endpoint_that_is_ill_gives_away_its_own_keys_alone_and_gets_them_back() {
    run(async || {
        for lb in BOTH {
            for down in Http::BOTH {
                let is_well = Rc::new(Cell::new(true));
                let now = is_well.clone();
                let falls = Upstream::remembering(move |seen| {
                    let status = if seen.target() == "/m" || now.get() { 200 } else { 503 };
                    Response::builder().status(status).body(full("falls")).expect("a response")
                })
                .await;
                let others = upstreams(3).await;
                let at: Vec<String> = others.iter().chain([&falls]).map(Upstream::at).collect();
                let at: Vec<&str> = at.iter().map(String::as_str).collect();
                let kind = HealthCheckKind::Http {
                    path: "/h".into(),
                    host: None,
                    expected: Vec::new(),
                    headers: Vec::new(),
                };
                let often = Duration::from_millis(10);
                let check = HealthCheck {
                    interval: often,
                    no_traffic_interval: often,
                    timeout: Duration::from_secs(10),
                    ..HealthCheck::new(kind)
                };
                let traffic = TrafficPolicy {
                    hash: vec![header("x-user")],
                    health_checks: vec![check],
                    ..TrafficPolicy::default()
                };
                let engine = Engine::serving(
                    1,
                    snapshot(Http::Two, &at, |cluster| {
                        cluster.lb = lb;
                        cluster.traffic = Some(Box::new(traffic.clone()));
                    }),
                );
                let healthy = async |count: f64| {
                    let family = "envoy_cluster_membership_healthy";
                    eventually("they are as well as they should be", || scraped(&engine, family) == count)
                        .await;
                };
                healthy(4.0).await;
                let mut client = caller(down, &engine).await;
                let before = owners(&mut client, 100).await;
                is_well.set(false);
                healthy(3.0).await;
                for (before, after) in before.iter().zip(owners(&mut client, 100).await) {
                    assert!(after != "falls" && (*before == after || before == "falls"), "{lb:?} {down:?}");
                }
                is_well.set(true);
                healthy(4.0).await;
                assert_eq!(owners(&mut client, 100).await, before, "{lb:?} {down:?}");
            }
        }
    });
}
