//! How a DestinationRule has endpoints chosen, field by field, from the file to the wire, by both HTTPs: in which way, by
//! what a hash is of, and how those begin that come new.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod dialects;
    pub(crate) mod effects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use common::clusters::caller;
use common::dialects::{traffic_policy, with};
use common::effects::{Choice, choice, serve};
use common::engine::{Engine, linked};
use common::world::client::{Client, get};
use common::world::upstream::{BoxBody, Upstream};
use common::world::{Http, one_service, run};
use http::Request;

/// A rule that chooses as `rest` says.
fn balancer(rest: &str) -> String {
    traffic_policy(&format!("loadBalancer: {{{rest}}}"))
}

/// A rule that hashes as `rest` says.
fn hashing(rest: &str) -> String {
    balancer(&format!("consistentHash: {{{rest}}}"))
}

#[test]
fn endpoints_are_chosen_in_the_way_that_is_named() {
    run(async || {
        for (name, wanted) in [
            ("ROUND_ROBIN", Choice::InTurn),
            ("LEAST_REQUEST", Choice::LeastLoaded),
            ("LEAST_CONN", Choice::LeastLoaded),
            ("RANDOM", Choice::Drawn),
        ] {
            for (down, up) in Http::matrix() {
                let rules = balancer(&format!("simple: {name}"));
                assert_eq!(choice(down, up, &rules).await, wanted, "{name} {down:?} {up:?}");
            }
        }
    });
}

/// Endpoints, which tell their numbers.
async fn endpoints() -> Vec<Upstream> {
    let mut all = Vec::new();
    for number in 0..4 {
        all.push(Upstream::start(&number.to_string()).await);
    }
    all
}

fn serve_all(up: Http, all: &[Upstream], rules: &str) -> Engine {
    let at: Vec<_> = all.iter().map(Upstream::at).collect();
    serve(up, &at.iter().map(String::as_str).collect::<Vec<_>>(), rules)
}

/// A request of a user, in whose field, cookie and parameter his name stands.
fn of_user(user: usize) -> Request<BoxBody> {
    let fields = [("x-user", format!("u{user}")), ("cookie", format!("a=b; user=u{user}"))];
    with(get(&format!("/m?user=u{user}")), &fields.each_ref().map(|(name, value)| (*name, &**value)))
}

/// By user, who answers.
async fn owners(client: &mut Client) -> Vec<String> {
    let mut owners = Vec::new();
    for user in 0..40 {
        owners.push(client.send(of_user(user)).await.upstream().to_owned());
    }
    owners
}

#[test]
fn who_has_the_same_key_meets_the_same_endpoint_and_other_keys_meet_others() {
    run(async || {
        let all = endpoints().await;
        let mut of_keys = Vec::new();
        for key in ["httpHeaderName: x-user", "httpQueryParameterName: user", "httpCookie: {name: user}"] {
            let mut first = None;
            for (down, up) in Http::matrix() {
                let engine = serve_all(up, &all, &hashing(key));
                let met = owners(&mut caller(down, &engine).await).await;
                assert_eq!(met.iter().collect::<BTreeSet<_>>().len(), 4, "{key}: 40 users meet all");
                assert_eq!(*first.get_or_insert(met.clone()), met, "{key} {down:?} {up:?}");
            }
            of_keys.push(first);
        }
        // The hash is of the value, wherever it stands.
        assert!(of_keys.iter().all(|one| *one == of_keys[0]), "{of_keys:?}");
    });
}

#[test]
fn the_address_of_the_caller_is_a_key() {
    run(async || {
        let all = endpoints().await;
        for (down, up) in Http::matrix() {
            let engine = serve_all(up, &all, &hashing("useSourceIp: true"));
            let mut met = BTreeSet::new();
            for last in 2..42 {
                let from = Some(Ipv4Addr::new(127, 0, 0, last).into());
                let mut of_caller = BTreeSet::new();
                for _ in 0..2 {
                    let mut client = Client::connect_from(down, from, engine.address("in")).await;
                    for user in 0..2 {
                        of_caller.insert(client.send(of_user(user)).await.upstream().to_owned());
                    }
                }
                assert_eq!(of_caller.len(), 1, "{down:?} {up:?} {last}: {of_caller:?}");
                met.extend(of_caller);
            }
            assert_eq!(met.len(), 4, "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_cookie_with_a_time_to_live_is_set_for_callers_without_it_as_it_says() {
    run(async || {
        let all = endpoints().await;
        let attributes = "attributes: [{name: SameSite, value: Lax}, {name: Partitioned}]";
        for (said, attributes) in [
            ("ttl: 60s", Some("Max-Age=60; HttpOnly")),
            ("ttl: 0s", Some("HttpOnly")),
            (
                &*format!("ttl: 60s, path: /m, {attributes}"),
                Some("Max-Age=60; Path=/m; SameSite=Lax; Partitioned; HttpOnly"),
            ),
            ("path: /", None),
        ] {
            for (down, up) in Http::matrix() {
                let engine =
                    serve_all(up, &all, &hashing(&format!("httpCookie: {{name: endpoint, {said}}}")));
                let mut client = caller(down, &engine).await;
                let first = client.get("/m").await;
                let Some(attributes) = attributes else {
                    assert_eq!(first.header("set-cookie"), None, "{down:?} {up:?} {said}");
                    continue;
                };
                let set = first.header("set-cookie").expect("a cookie");
                let (pair, rest) = set.split_once("; ").expect("attributes");
                assert_eq!(rest, attributes, "{down:?} {up:?} {said}");
                for _ in 0..4 {
                    let again = client.send(with(get("/m"), &[("cookie", pair)])).await;
                    assert_eq!(
                        (again.upstream(), again.header("set-cookie")),
                        (first.upstream(), None),
                        "{said}"
                    );
                }
            }
        }
    });
}

/// Two tables of other sizes agree about all 40 users once in 10^24 runs, at most.
#[test]
fn rings_and_tables_are_as_large_as_they_say() {
    run(async || {
        let all = endpoints().await;
        for (down, up) in Http::matrix() {
            let of = async |said: &str| {
                let engine = serve_all(up, &all, &hashing(&format!("httpHeaderName: x-user{said}")));
                owners(&mut caller(down, &engine).await).await
            };
            let (ring, small) =
                (of(", ringHash: {minimumRingSize: 1024}").await, of(", minimumRingSize: 4").await);
            assert_eq!(of("").await, ring, "1024 is Envoy's least");
            assert_eq!(of(", ringHash: {}").await, ring);
            assert_eq!(of(", minimumRingSize: 1024").await, ring, "the old form says the same");
            assert_ne!(ring, small, "{down:?} {up:?}");
            assert_eq!(of(", ringHash: {minimumRingSize: 4}").await, small, "{down:?} {up:?}");
            let (table, less) =
                (of(", maglev: {tableSize: 65537}").await, of(", maglev: {tableSize: 1009}").await);
            assert_eq!(of(", maglev: {}").await, table, "65537 is Envoy's size");
            assert!(less != table && table != ring, "{down:?} {up:?}");
        }
    });
}

#[test]
fn who_comes_new_begins_with_the_share_and_grows_as_it_says() {
    run(async || {
        // Of as many requests as give the old one 100. At ten hours the new one's share stays what it is at first, unless
        // it grows like a root of the time.
        for (said, period, shares) in [
            ("warmup: {duration: 10h}", 110, 10..=10),
            ("warmupDurationSecs: 10h", 110, 10..=10),
            ("warmup: {duration: 10h, minimumPercent: 25}", 125, 25..=25),
            ("simple: ROUND_ROBIN, warmup: {duration: 10h, minimumPercent: 50, aggression: 1}", 150, 50..=50),
            ("warmup: {duration: 10h, aggression: 1000}", 200, 90..=100),
            ("simple: ROUND_ROBIN", 200, 100..=100),
        ] {
            for (down, up) in Http::matrix() {
                let (old, new) = (Upstream::start("old").await, Upstream::start("new").await);
                let protocol = format!("protocol: {}", up.protocol());
                let yaml = |endpoints: &[(&str, &str)]| one_service(&[&protocol], endpoints);
                let (at_old, at_new) = (old.at(), new.at());
                let engine = Engine::start(1, &yaml(&[(&at_old, "v1")]), "");
                let mut client = caller(down, &engine).await;
                client.get("/m").await;
                engine.publish(linked(&yaml(&[(&at_old, "v1"), (&at_new, "v1")]), &balancer(said)));
                for _ in 0..period {
                    assert_eq!(client.get("/m").await.status, 200);
                }
                assert!(shares.contains(&new.begun()), "{down:?} {up:?} {said}: {}", new.begun());
            }
        }
    });
}
