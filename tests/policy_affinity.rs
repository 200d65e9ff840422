//! What sticks beyond the version: the endpoint within it, of the request and of its copies, by one session as by two.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::collections::BTreeSet;

use common::dialects::{destination_rule, with};
use common::engine::Engine;
use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run, until};

/// Three endpoints of each version, called by the version and their number, behind a proxy.
async fn six(up: Http, rules: &str) -> (Engine, Vec<Upstream>) {
    let mut all = Vec::new();
    let mut endpoints = Vec::new();
    for version in ["v1", "v2"] {
        for number in 0..3 {
            let upstream = Upstream::start(&format!("{version}-{number}")).await;
            endpoints.push((upstream.at(), version));
            all.push(upstream);
        }
    }
    let endpoints: Vec<_> = endpoints.iter().map(|(at, version)| (at.as_str(), *version)).collect();
    let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &endpoints);
    (Engine::start(1, &yaml, rules), all)
}

/// Half of the requests go to each version and stick to it by `sticky`; within it to an endpoint by the cookie `name`.
fn both(sticky: &str, name: &str) -> String {
    let cookie = format!("{{name: {name}, ttl: 60s, attributes: [{{name: SameSite, value: Lax}}]}}");
    let hash = format!("trafficPolicy: {{loadBalancer: {{consistentHash: {{httpCookie: {cookie}}}}}}}");
    let shares =
        "{destination: {host: x, subset: v1}, weight: 50}, {destination: {host: x, subset: v2}, weight: 50}";
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x, annotations: {{weir/sticky: \"{sticky}\"}}}}\n\
         spec: {{hosts: [x], http: [{{route: [{shares}]}}]}}\n{}",
        destination_rule(&hash)
    )
}

/// What an answer sets: each cookie with its attributes.
fn set(answer: &Answer) -> Vec<&str> {
    answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("text")).collect()
}

/// `name=value` of each.
fn pairs(answer: &Answer) -> Vec<String> {
    let pair = |cookie: &str| cookie.split(';').next().expect("a pair").to_owned();
    set(answer).into_iter().map(pair).collect()
}

#[test]
fn one_session_cookie_keeps_the_version_and_the_endpoint() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (engine, _all) = six(up, &both("cookie:session;set", "session")).await;
            let mut caller = Client::connect(down, engine.address("in")).await;
            let mut met = BTreeSet::new();
            for _ in 0..40 {
                let first = caller.get("/").await;
                let cookies = pairs(&first);
                assert_eq!(cookies.len(), 1, "{:?}", set(&first));
                for _ in 0..2 {
                    let again = caller.send(with(get("/"), &[("cookie", &cookies[0])])).await;
                    assert_eq!(
                        (again.upstream(), set(&again).len()),
                        (first.upstream(), 0),
                        "{down:?} {up:?}"
                    );
                }
                met.insert(first.upstream().to_owned());
            }
            assert!(
                met.iter().any(|name| name.starts_with("v1"))
                    && met.iter().any(|name| name.starts_with("v2")),
                "{met:?}"
            );
            assert!(met.len() > 2, "endpoints differ too: {met:?}");
        }
    });
}

#[test]
fn two_cookies_of_two_names_are_set_at_once_and_no_script_may_read_them() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (engine, _all) = six(up, &both("cookie:model;set=1h;Secure", "endpoint")).await;
            let mut caller = Client::connect(down, engine.address("in")).await;
            for _ in 0..10 {
                let first = caller.get("/").await;
                let said: Vec<_> =
                    set(&first).iter().map(|cookie| cookie.split_once("; ").expect("attributes").1).collect();
                assert_eq!(said, ["Max-Age=3600; Secure; HttpOnly", "Max-Age=60; SameSite=Lax; HttpOnly"]);
                let cookies = pairs(&first).join("; ");
                assert!(cookies.starts_with("model=") && cookies.contains("; endpoint="), "{cookies}");
                let again = caller.send(with(get("/"), &[("cookie", &cookies)])).await;
                assert_eq!((again.upstream(), set(&again).len()), (first.upstream(), 0));
            }
        }
    });
}

/// The same key, the same endpoint of the shadow, though the rule takes the key off the request: what counts is what the caller
/// sent.
#[test]
fn copies_of_what_is_alike_go_to_one_endpoint_where_the_shadow_goes_by_a_hash() {
    run(async || {
        let hash = "trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}";
        let rules = format!(
            "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec: {{hosts: [x], http: [{{\
             headers: {{request: {{remove: [x-user]}}}}, mirror: {{host: x, subset: v2}}, route: [{{destination: {{host: x, subset: v1}}}}]}}]}}\n{}",
            destination_rule(hash)
        );
        for (down, up) in Http::matrix() {
            let (engine, all) = six(up, &rules).await;
            let shadows = &all[3..];
            let copies = || -> Vec<usize> { shadows.iter().map(|shadow| shadow.seen().len()).collect() };
            let mut caller = Client::connect(down, engine.address("in")).await;
            let mut met = BTreeSet::new();
            for user in 0..30 {
                let before = copies();
                for count in 1..=3 {
                    let asked =
                        if up == Http::Two && user % 2 == 1 { grpc_call("/s.S/M", b"1") } else { get("/") };
                    let answer = caller.send(with(asked, &[("x-user", &format!("u{user}"))])).await;
                    assert!(answer.upstream().starts_with("v1"));
                    let sum = before.iter().sum::<usize>() + count;
                    until("the copy", || (copies().iter().sum::<usize>() == sum).then_some(())).await;
                }
                let got: Vec<usize> =
                    copies().iter().zip(&before).map(|(now, before)| now - before).collect();
                let of_user = got.iter().position(|&count| count == 3);
                met.insert(
                    of_user.unwrap_or_else(|| panic!("copies of one user at several endpoints: {got:?}")),
                );
            }
            assert!(met.len() > 1, "{down:?} {up:?}: {met:?}");
            assert!(shadows.iter().flat_map(Upstream::seen).all(|seen| seen.header("x-user").is_none()));
        }
    });
}
