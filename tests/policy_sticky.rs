//! Sticky versions: the same key, the same version; by header, metadata, cookie, query and address.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::collections::BTreeMap;
use std::time::Duration;

use common::policed::{Policed, policy, versions};
use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run, split_rule};
use weir::snapshot::route::OrdName;
use weir::snapshot::{Cookie, HashKey, LbPolicy, RoutePolicy, Sticky, TrafficPolicy};

const SPLIT: [(&str, u32); 2] = [("v1", 50), ("v2", 50)];

/// Two versions at 50/50 that requests stick to by `keys`.
async fn sticky(up: Http, keys: &[HashKey], salt: &str) -> Policed {
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let protocol = format!("protocol: {}", up.protocol());
    let yaml = one_service(&[&protocol], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
    Policed::start(&yaml, &split_rule(&SPLIT), |route| by(policy(route), keys, salt))
}

fn by(policy: &mut RoutePolicy, keys: &[HashKey], salt: &str) {
    policy.sticky = Some(Sticky { keys: keys.to_vec(), salt: salt.into() });
    policy.version_header = Some(header("x-version"));
}

fn header(name: &'static str) -> OrdName {
    OrdName(http::HeaderName::from_static(name))
}

fn cookie(set: Option<u64>) -> HashKey {
    HashKey::Cookie(Cookie {
        name: "model".into(),
        set: set.map(Duration::from_secs),
        path: Some("/v1".into()),
        attributes: Some("Secure; HttpOnly".into()),
    })
}

async fn ask(client: &mut Client, target: &str, fields: &[(&'static str, &str)]) -> Answer {
    let mut request = get(target);
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let answer = client.send(request).await;
    assert_eq!(answer.header("x-version"), Some(answer.upstream()), "the answer names the version");
    answer
}

/// The versions of forty keys, each asked for three times, which must be the same; both versions have some.
async fn of_keys(
    client: &mut Client,
    mut request: impl FnMut(usize) -> http::Request<common::world::upstream::BoxBody>,
) -> Vec<String> {
    let mut found = Vec::new();
    for key in 0..40 {
        let first = client.send(request(key)).await.upstream().to_owned();
        for _ in 0..2 {
            assert_eq!(client.send(request(key)).await.upstream(), first, "{key}");
        }
        found.push(first);
    }
    assert!(["v1", "v2"].iter().all(|version| found.iter().any(|found| found == version)), "{found:?}");
    found
}

#[test]
fn the_same_header_gets_the_same_version_by_every_http_and_from_every_proxy() {
    run(async || {
        let mut all = Vec::new();
        for (down, up) in Http::matrix() {
            let world = sticky(up, &[HashKey::Header(header("user"))], "rule").await;
            let mut client = Client::connect(down, world.addr()).await;
            let request = |key: usize| {
                let mut request = get("/");
                request.headers_mut().insert("user", format!("u{key}").parse().unwrap());
                request
            };
            all.push(of_keys(&mut client, request).await);
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    });
}

#[test]
fn metadata_of_a_grpc_call_is_a_key_as_a_header_is() {
    run(async || {
        let world = sticky(Http::Two, &[HashKey::Header(header("user"))], "rule").await;
        let mut client = Client::connect(Http::Two, world.addr()).await;
        let call = |key: usize| {
            let mut request = grpc_call("/s/m", b"1");
            request.headers_mut().insert("user", format!("u{key}").parse().unwrap());
            request
        };
        let of_calls = of_keys(&mut client, call).await;
        let plain = |key: usize| {
            let mut request = get("/");
            request.headers_mut().insert("user", format!("u{key}").parse().unwrap());
            request
        };
        assert_eq!(
            of_keys(&mut client, plain).await,
            of_calls,
            "the protocol's cluster comes after the version"
        );
    });
}

#[test]
fn a_parameter_of_the_query_is_a_key_decoded() {
    run(async || {
        for down in Http::BOTH {
            let world = sticky(Http::One, &[HashKey::Query("user id".into())], "rule").await;
            let mut client = Client::connect(down, world.addr()).await;
            let plain = of_keys(&mut client, |key| get(&format!("/?a=1&user%20id=u{key}"))).await;
            let coded = of_keys(&mut client, |key| get(&format!("/b?user%20id=%75{key}"))).await;
            assert_eq!(plain, coded);
        }
    });
}

#[test]
fn a_callers_address_is_a_key_without_its_port() {
    run(async || {
        for down in Http::BOTH {
            let world = sticky(Http::One, &[HashKey::SourceAddress], "rule").await;
            let mut seen = BTreeMap::new();
            for last in 1..=16u8 {
                let address = std::net::IpAddr::from([127, 0, 0, last]);
                for _ in 0..2 {
                    let mut client = Client::connect_from(down, Some(address), world.addr()).await;
                    let version = client.get("/").await.upstream().to_owned();
                    assert_eq!(*seen.entry(last).or_insert(version.clone()), version);
                }
            }
            assert!(["v1", "v2"].iter().all(|version| seen.values().any(|seen| seen == version)), "{seen:?}");
        }
    });
}

#[test]
fn a_caller_without_the_cookie_gets_one_that_it_sticks_by() {
    run(async || {
        for (down, up) in Http::matrix() {
            let world = sticky(up, &[cookie(Some(60))], "rule").await;
            let mut client = Client::connect(down, world.addr()).await;
            let mut found = Vec::new();
            for _ in 0..20 {
                let first = ask(&mut client, "/", &[("cookie", "other=1")]).await;
                let set = first.header("set-cookie").expect("a cookie").to_owned();
                let (pair, attributes) = set.split_once("; ").expect("attributes");
                assert_eq!(attributes, "Max-Age=60; Path=/v1; Secure; HttpOnly");
                assert_eq!(pair.len(), "model=".len() + 32, "{pair}");
                let again = ask(&mut client, "/", &[("cookie", &format!("a=b; {pair}"))]).await;
                assert_eq!((again.upstream(), again.header("set-cookie")), (first.upstream(), None));
                found.push(first.upstream().to_owned());
            }
            assert!(
                ["v1", "v2"].iter().all(|version| found.iter().any(|found| found == version)),
                "{found:?}"
            );
        }
    });
}

#[test]
fn a_request_without_a_key_takes_the_schedules_turn_and_no_cookie_is_made_unless_that_is_asked_for() {
    run(async || {
        for down in Http::BOTH {
            let world = sticky(Http::One, &[HashKey::Header(header("user")), cookie(None)], "rule").await;
            let mut client = Client::connect(down, world.addr()).await;
            let mut first = 0;
            for _ in 0..100 {
                let answer = ask(&mut client, "/", &[]).await;
                assert_eq!(answer.header("set-cookie"), None);
                first += i32::from(answer.upstream() == "v1");
            }
            assert!((48..=52).contains(&first), "the schedule is even: {first}");
        }
    });
}

#[test]
fn a_rules_salt_sets_its_choices_apart() {
    run(async || {
        let mut found = Vec::new();
        for salt in ["a", "b"] {
            let world = sticky(Http::One, &[HashKey::Header(header("user"))], salt).await;
            let mut client = Client::connect(Http::Two, world.addr()).await;
            let request = |key: usize| {
                let mut request = get("/");
                request.headers_mut().insert("user", format!("u{key}").parse().unwrap());
                request
            };
            found.push(of_keys(&mut client, request).await);
        }
        assert_ne!(found[0], found[1]);
    });
}

#[test]
fn raising_a_weight_moves_keys_to_its_version_alone_and_choices_are_counted() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let mut before: Vec<String> = Vec::new();
        for weight in [5, 50, 95, 100] {
            let world = Policed::start(&yaml, &split_rule(&SPLIT), |route| {
                by(policy(route), &[HashKey::Header(header("user"))], "rule");
                versions(route)[0].weight = 100 - weight;
                versions(route)[1].weight = weight;
            });
            let mut client = Client::connect(Http::Two, world.addr()).await;
            let mut now = Vec::new();
            for key in 0..60 {
                now.push(ask(&mut client, "/", &[("user", &format!("u{key}"))]).await.upstream().to_owned());
            }
            let stays = |(before, now): (&String, &String)| before == now || now == "v2";
            assert!(before.iter().zip(&now).all(stays), "{before:?} {now:?}");
            assert_eq!(world.metric("weir_split_choices_total"), 60.0);
            before = now;
        }
        assert!(before.iter().all(|version| version == "v2"), "at 0 nothing is left");
    });
}

/// Four endpoints of one version, whose cluster goes by a hash.
#[test]
fn within_a_version_the_same_key_gets_the_same_endpoint() {
    run(async || {
        for (down, up) in Http::matrix() {
            let mut upstreams = Vec::new();
            for name in ["a", "b", "c", "d"] {
                upstreams.push((Upstream::start(name).await.at(), "v1"));
            }
            let endpoints: Vec<(&str, &str)> =
                upstreams.iter().map(|(at, version)| (&**at, *version)).collect();
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &endpoints);
            let world = Policed::serving(&yaml, &split_rule(&[("v1", 100)]), |snapshot| {
                for cluster in snapshot.clusters.values_mut() {
                    let cluster = std::sync::Arc::make_mut(cluster);
                    cluster.lb = LbPolicy::RingHash { minimum: 1024, maximum: 8192 };
                    let hash = vec![HashKey::Header(header("user")), cookie(Some(0))];
                    cluster.traffic = Some(Box::new(TrafficPolicy { hash, ..TrafficPolicy::default() }));
                }
            });
            let mut client = Client::connect(down, world.addr()).await;
            let mut found = std::collections::BTreeSet::new();
            for key in 0..40 {
                let mut first = None;
                for _ in 0..3 {
                    let mut request = get("/");
                    request.headers_mut().insert("user", format!("u{key}").parse().unwrap());
                    let answer = client.send(request).await;
                    assert_eq!(first.get_or_insert(answer.upstream().to_owned()), answer.upstream());
                    found.insert(answer.upstream().to_owned());
                }
            }
            assert_eq!(found.len(), 4, "{found:?}");
            let first = client.get("/").await;
            let set = first.header("set-cookie").expect("a cookie").to_owned();
            let (pair, attributes) = set.split_once("; ").expect("attributes");
            assert_eq!(attributes, "Path=/v1; Secure; HttpOnly", "it lasts for a session");
            for _ in 0..5 {
                let mut request = get("/");
                request.headers_mut().insert("cookie", pair.parse().unwrap());
                assert_eq!(client.send(request).await.upstream(), first.upstream());
            }
        }
    });
}
