//! The choice among members that are well: panic, slow start, hashes, and what outlives a reload.

use rand::SeedableRng;
use rand::rngs::SmallRng;
use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::snapshot::{HealthCheck, HealthCheckKind, LbPolicy, TrafficPolicy};
use crate::upstream::balance;
use crate::upstream::cluster::tests::{config, running};

const ALL_LB: [LbPolicy; 5] =
    [LbPolicy::RoundRobin, LbPolicy::LeastRequest, LbPolicy::Random, LbPolicy::RING_HASH, LbPolicy::MAGLEV];

/// One failure throws out, and all may be out.
fn outlier() -> Outlier {
    Outlier { consecutive_5xx: 1, max_ejection_percent: 100, success_rate: None, ..Outlier::default() }
}

fn policy() -> TrafficPolicy {
    TrafficPolicy { outlier: Some(outlier()), ..TrafficPolicy::default() }
}

fn cluster(lb: LbPolicy, members: usize, traffic: TrafficPolicy) -> ClusterState {
    next(lb, members, Some(traffic), None)
}

fn next(
    lb: LbPolicy,
    members: usize,
    traffic: Option<TrafficPolicy>,
    previous: Option<&ClusterState>,
) -> ClusterState {
    let mut config = config(lb, &vec![(1, false); members]);
    config.traffic = traffic.map(Box::new);
    running(config, previous)
}

fn throw_out(cluster: &ClusterState, member: usize) {
    cluster.note(&cluster.members[member], Outcome::Status(500));
    assert!(!cluster.members[member].is_healthy());
}

/// Who is picked within some hundred picks, each with another hash.
fn picked(cluster: &ClusterState) -> BTreeSet<usize> {
    let mut dice = SmallRng::seed_from_u64(1);
    let mut one = |turn: u64| {
        let ask = Ask { hash: Some(turn << 54), ..Ask::default() };
        balance::pick(cluster, &mut dice, &ask)
    };
    (0..400).filter_map(&mut one).collect()
}

#[test]
fn a_cluster_that_is_not_watched_has_no_guard_and_none_has_watches_for_a_hash_alone() {
    assert!(next(LbPolicy::RoundRobin, 2, None, None).guard.is_none());
    assert!(cluster(LbPolicy::RoundRobin, 2, TrafficPolicy::default()).guard.is_none());
    let hashed = next(LbPolicy::MAGLEV, 2, None, None);
    assert!(hashed.guard.is_some() && hashed.members.iter().all(|member| member.watch.is_none()));
    assert_eq!(picked(&hashed), BTreeSet::from([0, 1]));
}

#[test]
fn who_is_ejected_gets_nothing_until_he_comes_back() {
    for lb in ALL_LB {
        let cluster = cluster(lb, 5, policy());
        assert_eq!(picked(&cluster).len(), 5, "{lb:?}");
        throw_out(&cluster, 2);
        throw_out(&cluster, 4);
        assert_eq!(picked(&cluster), BTreeSet::from([0, 1, 3]), "{lb:?}");
        assert_eq!(cluster.healthy(), 3);
        cluster.members[2].watch.as_ref().expect("a watch").take_back();
        assert_eq!(picked(&cluster), BTreeSet::from([0, 1, 2, 3]), "{lb:?}");
    }
}

#[test]
fn below_the_panic_threshold_all_are_as_good_as_well_and_each_such_choice_is_counted() {
    for lb in ALL_LB {
        let cluster = cluster(lb, 4, policy());
        throw_out(&cluster, 0);
        throw_out(&cluster, 1);
        assert_eq!(picked(&cluster), BTreeSet::from([2, 3]), "{lb:?}: half is not below half");
        let counts = cluster.guard.as_ref().expect("a guard").counts();
        assert_eq!(counts.of(GuardEvent::HealthyPanic), 0);
        throw_out(&cluster, 2);
        assert_eq!(picked(&cluster).len(), 4, "{lb:?}");
        assert_eq!(counts.of(GuardEvent::HealthyPanic), 400);
    }
}

#[test]
fn with_a_panic_threshold_of_zero_nobody_is_picked_when_nobody_is_well() {
    for lb in ALL_LB {
        let cluster = cluster(lb, 2, TrafficPolicy { panic_threshold: 0, ..policy() });
        throw_out(&cluster, 0);
        assert_eq!(picked(&cluster), BTreeSet::from([1]), "{lb:?}");
        throw_out(&cluster, 1);
        assert_eq!(picked(&cluster), BTreeSet::new(), "{lb:?}");
    }
}

#[test]
fn none_that_was_tried_is_picked_while_there_is_another_that_is_well() {
    for lb in ALL_LB {
        let cluster = cluster(lb, 4, policy());
        throw_out(&cluster, 1);
        let mut dice = SmallRng::seed_from_u64(1);
        let mut pick = |tried: &[usize], hash| {
            let ask = Ask { tried, hash: Some(hash), ..Ask::default() };
            balance::pick(&cluster, &mut dice, &ask).expect("a member")
        };
        for turn in 0..100_u64 {
            assert_eq!(pick(&[0, 3], turn << 57), 2, "{lb:?}");
            assert_ne!(
                pick(&[0, 2, 3], turn << 57),
                1,
                "{lb:?}: one that failed is better than one that is ill"
            );
        }
    }
}

#[test]
fn the_pods_own_endpoint_is_preferred_while_it_is_well() {
    let mut config = config(LbPolicy::LeastRequest, &[(1, false), (1, true), (1, false)]);
    config.traffic = Some(Box::new(policy()));
    let cluster = running(config, None);
    assert_eq!(picked(&cluster), BTreeSet::from([1]));
    throw_out(&cluster, 1);
    assert_eq!(picked(&cluster), BTreeSet::from([0, 2]));
}

#[test]
fn a_new_endpoint_has_the_least_share_at_first_and_its_whole_share_after_the_window() {
    let slow_start = SlowStart { window: Duration::from_secs(60), ..SlowStart::default() };
    let traffic = TrafficPolicy { slow_start: Some(slow_start), ..TrafficPolicy::default() };
    let cluster = cluster(LbPolicy::RoundRobin, 2, traffic);
    let guard = cluster.guard.as_ref().expect("a guard");
    // The first is there for long; all the second has is its weight at that time.
    let began = now_ms();
    let watch = cluster.members[0].watch.as_ref().expect("a watch");
    watch.set_check(0, false, began);
    let shares = |now_ms| -> Vec<u32> {
        guard.look(&cluster.members, now_ms).members.iter().map(|&(_, weight)| weight).collect()
    };
    assert_eq!(shares(began + 120_000), [1]);
    watch.set_check(0, true, began + 100_000);
    assert_eq!(shares(began + 101_000), [10, 100]);
    assert_eq!(shares(began + 130_000), [50, 100]);
    assert_eq!(shares(began + 161_000), [1, 1], "nobody's share grows any more");
    let turns = guard.look(&cluster.members, began + 106_000).turns;
    let first = (0..1_100).filter(|&turn| turns.at(turn) == 0).count();
    assert_eq!(first, 100, "one of eleven");
}

#[test]
fn who_served_before_shares_were_to_grow_has_its_whole_share_at_once() {
    let hour = SlowStart { window: Duration::from_secs(3600), ..SlowStart::default() };
    let slow = TrafficPolicy { slow_start: Some(hour), ..TrafficPolicy::default() };
    for before in [None, Some(policy())] {
        let first = next(LbPolicy::RoundRobin, 1, before, None);
        let second = next(LbPolicy::RoundRobin, 2, Some(slow.clone()), Some(&first));
        let weights = |cluster: &ClusterState| -> Vec<u32> {
            let guard = cluster.guard.as_ref().expect("a guard");
            guard.usable.load().members.iter().map(|&(_, weight)| weight).collect()
        };
        assert_eq!(weights(&second), [100, 10]);
        let third = next(LbPolicy::RoundRobin, 2, Some(slow.clone()), Some(&second));
        assert_eq!(weights(&third), [100, 10], "a further reload makes nobody's share whole");
    }
}

/// How often the list was made while `change` changed somebody's health before each of so many choices, all in one
/// millisecond.
fn lists_made(cluster: &ClusterState, choices: usize, mut change: impl FnMut(usize)) -> usize {
    let guard = cluster.guard.as_ref().expect("a guard");
    let (mut dice, mut lists) = (SmallRng::seed_from_u64(1), vec![guard.usable.load_full()]);
    let now_ms = lists[0].made_ms;
    for choice in 0..choices {
        change(choice);
        let old = guard.usable.load_full();
        let ask = Ask::default();
        let picked = guard.pick_after_a_change(&old, cluster, &mut dice, &ask, now_ms).expect("a member");
        assert!(cluster.members[picked].is_healthy(), "who is ill since the list was made gets nothing");
        let list = guard.usable.load_full();
        if !Arc::ptr_eq(&list, &lists[lists.len() - 1]) {
            lists.push(list);
        }
    }
    lists.len() - 1
}

#[test]
fn ten_thousand_members_that_come_and_go_cost_a_choice_a_few_steps_and_not_a_walk_over_all() {
    for lb in ALL_LB {
        let none = TrafficPolicy { panic_threshold: 0, ..policy() };
        let cluster = cluster(lb, 10_000, none);
        let flap = |choice: usize| {
            let member = choice * 7 % 10_000;
            cluster.note(&cluster.members[member], Outcome::Status(500));
            cluster.members[member].watch.as_ref().expect("a watch").take_back();
        };
        assert_eq!(lists_made(&cluster, 1_000, flap), 0, "{lb:?}: nobody is ill when he is met");
        // A walk takes 10,000 steps: so many lists are a few steps a choice.
        let go = |choice| throw_out(&cluster, choice);
        let lists = lists_made(&cluster, 9_900, go);
        assert!(lists <= 20, "{lb:?}: {lists} lists for 9,900 that went");
    }
}

#[test]
fn the_list_of_many_members_is_made_anew_when_its_time_is_over_and_that_of_few_at_once() {
    for (members, patience_ms) in [(100, 0), (1_000, 5), (10_000, 50)] {
        let cluster = cluster(LbPolicy::RoundRobin, members, policy());
        let guard = cluster.guard.as_ref().expect("a guard");
        let made_after = |later_ms: u64| {
            throw_out(&cluster, 0);
            let old = guard.usable.load_full();
            let (mut dice, ask) = (SmallRng::seed_from_u64(1), Ask::default());
            guard.pick_after_a_change(&old, &cluster, &mut dice, &ask, old.made_ms + later_ms);
            cluster.members[0].watch.as_ref().expect("a watch").take_back();
            !Arc::ptr_eq(&old, &guard.usable.load_full())
        };
        assert!(made_after(patience_ms), "{members}");
        assert!(patience_ms == 0 || !made_after(patience_ms - 1), "{members}");
    }
}

#[test]
fn health_outlives_a_reload_and_a_change_of_members() {
    let first = cluster(LbPolicy::RoundRobin, 3, policy());
    throw_out(&first, 1);
    let longer = TrafficPolicy { panic_threshold: 10, ..policy() };
    let second = next(LbPolicy::RoundRobin, 4, Some(longer), Some(&first));
    assert_eq!(picked(&second), BTreeSet::from([0, 2, 3]));
    // A worker that still holds the old one sees what the new one learns, and the other way round.
    throw_out(&second, 2);
    assert_eq!(picked(&first), BTreeSet::from([0, 1, 2]), "one of three is left: panic");
    first.members[1].watch.as_ref().expect("a watch").take_back();
    assert_eq!(picked(&second), BTreeSet::from([0, 1, 3]));
    // Without outlier detection nobody would let it in again.
    let checked = TrafficPolicy {
        health_checks: vec![HealthCheck::new(HealthCheckKind::Tcp)],
        ..TrafficPolicy::default()
    };
    let third = next(LbPolicy::RoundRobin, 4, Some(checked), Some(&second));
    assert_eq!(
        (third.healthy(), picked(&third).len()),
        (4, 4),
        "and who served goes on before his first check"
    );
}

#[test]
fn an_endpoint_that_leaves_while_it_is_out_makes_room_for_another_though_somebody_still_holds_it() {
    let half = Outlier { max_ejection_percent: 50, ..outlier() };
    let traffic = TrafficPolicy { outlier: Some(half), ..TrafficPolicy::default() };
    let first = cluster(LbPolicy::RoundRobin, 3, traffic.clone());
    throw_out(&first, 2);
    let second = next(LbPolicy::RoundRobin, 2, Some(traffic.clone()), Some(&first));
    let out = || second.guard.as_ref().expect("a guard").census.ejected();
    assert_eq!(out(), 0);
    cluster_note(&second, 0);
    assert_eq!((second.healthy(), out()), (1, 1));
    // Whatever becomes of it from now on is nothing of the others'.
    let left = first.members[2].watch.as_ref().expect("a watch");
    assert!(left.is_ejected());
    left.take_back();
    assert_eq!(out(), 1);
    cluster_note(&first, 2);
    assert_eq!((first.members[2].is_healthy(), out()), (true, 1));
    drop(first);
    assert_eq!(out(), 1);
    // An address that comes back is a new one.
    let third = next(LbPolicy::RoundRobin, 3, Some(traffic), Some(&second));
    assert_eq!((third.healthy(), out()), (2, 1));
}

#[test]
fn an_endpoint_that_never_left_after_all_has_its_place_again() {
    let half = Outlier { max_ejection_percent: 50, ..outlier() };
    let traffic = TrafficPolicy { outlier: Some(half), ..TrafficPolicy::default() };
    let first = cluster(LbPolicy::RoundRobin, 2, traffic.clone());
    throw_out(&first, 1);
    let out = || first.guard.as_ref().expect("a guard").census.ejected();
    drop(next(LbPolicy::RoundRobin, 1, Some(traffic.clone()), Some(&first)));
    assert_eq!(out(), 0, "what was made of it was dropped");
    let second = next(LbPolicy::RoundRobin, 2, Some(traffic), Some(&first));
    assert_eq!(out(), 1);
    cluster_note(&second, 0);
    assert_eq!(second.healthy(), 1, "there is room for no other");
}

fn cluster_note(cluster: &ClusterState, member: usize) {
    cluster.note(&cluster.members[member], Outcome::Status(500));
}

#[test]
fn a_new_endpoint_is_ill_until_all_its_health_checks_find_it_well() {
    let checks = vec![HealthCheck::new(HealthCheckKind::Tcp); 2];
    let traffic = TrafficPolicy { health_checks: checks, panic_threshold: 0, ..TrafficPolicy::default() };
    let first = cluster(LbPolicy::RoundRobin, 2, traffic.clone());
    assert_eq!(picked(&first), BTreeSet::new());
    let watch = first.members[1].watch.as_ref().expect("a watch");
    watch.set_check(0, true, 0);
    assert!(watch.has_failed(1) && picked(&first).is_empty());
    watch.set_check(1, true, 0);
    assert_eq!(picked(&first), BTreeSet::from([1]));
    let second = next(LbPolicy::RoundRobin, 3, Some(traffic), Some(&first));
    assert_eq!(picked(&second), BTreeSet::from([1]), "what was found stays");
    assert!(second.members[2].watch.as_ref().expect("a watch").has_failed_check());
}
