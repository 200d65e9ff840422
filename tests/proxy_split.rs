//! The shares that upstreams get of real traffic, whichever HTTP is spoken and however many workers serve it.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::collections::BTreeMap;

use common::world::client::{Answer, Client, get, grpc_call, post};
use common::world::upstream::Upstream;
use common::world::{Http, World, one_service, run, split_rule};

/// Upstreams `v1` and `v2` behind weights.
async fn world(settings: &str, weights: &[(&str, u32)]) -> World {
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]) + settings;
    World::with_rules(&yaml, &[("split.yaml", &split_rule(weights))]).await
}

/// How many answers came from each upstream, or with which status.
fn count(answers: impl IntoIterator<Item = Answer>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        let who = match answer.header("x-upstream") {
            Some(name) => name.to_owned(),
            None => answer.grpc_status().unwrap_or(answer.status.as_str()).to_owned(),
        };
        *counts.entry(who).or_default() += 1;
    }
    counts
}

fn is_fifty(counts: &BTreeMap<String, usize>) {
    let v2 = counts.get("v2").copied().unwrap_or(0);
    assert!((49..=51).contains(&v2) && counts.len() == 2, "{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), 1000);
}

#[test]
fn five_percent_of_a_thousand_requests_in_a_row_are_fifty() {
    run(async || {
        let world = world("", &[("v1", 95), ("v2", 5)]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            let mut answers = Vec::new();
            for _ in 0..1000 {
                answers.push(client.get("/").await);
            }
            is_fifty(&count(answers));
        }
    });
}

#[test]
fn five_percent_of_a_thousand_grpc_calls_over_sixteen_connections_and_two_workers_are_fifty() {
    sixteen_connections(Http::Two, true);
}

#[test]
fn five_percent_of_a_thousand_requests_over_sixteen_connections_and_two_workers_are_fifty() {
    Http::BOTH.into_iter().for_each(|down| sixteen_connections(down, false));
}

fn sixteen_connections(down: Http, grpc: bool) {
    run(async || {
        let world = world("\nworkers: 2\n", &[("v1", 95), ("v2", 5)]).await;
        let addr = world.addr("in");
        let each = |index: usize| async move {
            let mut client = Client::connect(down, addr).await;
            let mut answers = Vec::new();
            // 1,000 over 16: the first eight connections send one more.
            for _ in 0..62 + usize::from(index < 8) {
                let request = if grpc { grpc_call("/s/m", b"1") } else { get("/") };
                answers.push(client.send(request).await);
            }
            answers
        };
        let answers = futures_util::future::join_all((0..16).map(each)).await;
        is_fifty(&count(answers.into_iter().flatten()));
    });
}

#[test]
fn two_kinds_of_call_that_alternate_each_see_half() {
    run(async || {
        for down in Http::BOTH {
            let world = world("", &[("v1", 50), ("v2", 50)]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let mut kinds = [Vec::new(), Vec::new()];
            // Of 2,000 draws 5 % are four and a half standard deviations: luck does not fail this.
            for _ in 0..2000 {
                kinds[0].push(client.get("/status").await);
                kinds[1].push(client.send(post("/predict", "{}")).await);
            }
            for answers in kinds {
                let counts = count(answers);
                assert!((900..=1100).contains(&counts["v2"]), "{down:?}: {counts:?}");
            }
        }
    });
}

#[test]
fn a_version_of_weight_zero_gets_nothing() {
    run(async || {
        let world = world("", &[("v1", 100), ("v2", 0)]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..100 {
                assert_eq!(client.get("/").await.upstream(), "v1");
            }
        }
    });
}

#[test]
fn without_a_rule_the_load_is_balanced_over_all_versions() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let world = World::start(&one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")])).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..20 {
                client.get("/").await;
            }
        }
        assert_eq!((v1.seen().len(), v2.seen().len()), (20, 20));
    });
}

#[test]
fn the_share_of_a_version_without_endpoints_is_answered_with_503() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let rule = split_rule(&[("v1", 80), ("v3", 20)]);
        let yaml = one_service(&[], &[(&v1.at(), "v1")]);
        let world = World::with_rules(&yaml, &[("split.yaml", &rule)]).await;
        for (down, grpc, refused) in
            [(Http::One, false, "503"), (Http::Two, false, "503"), (Http::Two, true, "14")]
        {
            let mut client = Client::connect(down, world.addr("in")).await;
            let mut answers = Vec::new();
            for _ in 0..100 {
                answers.push(client.send(if grpc { grpc_call("/s/m", b"1") } else { get("/") }).await);
            }
            let lost = answers.iter().filter(|answer| answer.header("x-upstream").is_none());
            for answer in lost.filter(|_| !grpc) {
                assert_eq!(answer.text(), "no healthy upstream");
            }
            let counts = count(answers);
            assert!((19..=21).contains(&counts[refused]) && counts.len() == 2, "{counts:?}");
        }
        let log = world.log(300).await;
        let without = log.iter().filter(|line| line.contains(" UH no_healthy_upstream ")).count();
        assert!((57..=63).contains(&without), "{without}");
    });
}
