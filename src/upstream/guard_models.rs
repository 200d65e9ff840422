//! Ejections, under every order of their threads: the bound holds, the count is that of the flags, and what a worker
//! sees of a change it sees for good.

#![allow(clippy::expect_used)] // a panic of a model is its report

use rand::SeedableRng;
use rand::rngs::SmallRng;
use shuttle::thread;

use super::*;
use crate::snapshot::{LbPolicy, TrafficPolicy};
use crate::upstream::balance;
use crate::upstream::cluster::tests::{config, running};

const SCHEDULES: usize = 5_000;

fn cluster(members: usize, percent: u32) -> Arc<ClusterState> {
    let outlier = Outlier {
        consecutive_5xx: 1,
        max_ejection_percent: percent,
        success_rate: None,
        ..Outlier::default()
    };
    let mut config = config(LbPolicy::RoundRobin, &vec![(1, false); members]);
    let policy = TrafficPolicy { outlier: Some(outlier), panic_threshold: 0, ..TrafficPolicy::default() };
    config.traffic = Some(Box::new(policy));
    Arc::new(running(config, None))
}

fn watch(cluster: &ClusterState, member: usize) -> &Watch {
    cluster.members[member].watch.as_deref().expect("it is watched")
}

/// Runs each in a thread and waits for all.
fn together(cluster: &Arc<ClusterState>, threads: Vec<fn(&ClusterState)>) {
    let threads: Vec<_> = threads
        .into_iter()
        .map(|run| {
            let cluster = cluster.clone();
            thread::spawn(move || run(&cluster))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("holds"));
}

fn fail(cluster: &ClusterState, member: usize) {
    cluster.note(&cluster.members[member], Outcome::Status(500));
    let guard = cluster.guard.as_ref().expect("a guard");
    assert!(guard.census.ejected() <= 1, "more are out than may be");
}

#[test]
fn never_more_are_out_than_may_be_whoever_throws_them_out_at_once() {
    shuttle::check_random(
        || {
            let cluster = cluster(2, 50);
            together(
                &cluster,
                vec![|cluster| fail(cluster, 0), |cluster| fail(cluster, 1), |cluster| fail(cluster, 0)],
            );
            assert_eq!(cluster.healthy(), 1, "one may be out, and one is");
            assert_eq!(cluster.guard.as_ref().expect("a guard").census.ejected(), 1);
        },
        SCHEDULES,
    );
}

#[test]
fn the_count_is_that_of_the_flags_when_some_come_in_while_others_go_out() {
    shuttle::check_random(
        || {
            let cluster = cluster(2, 50);
            fail(&cluster, 0);
            together(
                &cluster,
                vec![|cluster| watch(cluster, 0).take_back(), |cluster| fail(cluster, 1), |cluster| {
                    fail(cluster, 0)
                }],
            );
            let out = cluster.members.len() - cluster.healthy();
            assert_eq!(cluster.guard.as_ref().expect("a guard").census.ejected() as usize, out);
        },
        SCHEDULES,
    );
}

#[test]
fn who_leaves_has_no_place_among_the_ejected_whoever_throws_him_out_at_that_moment() {
    shuttle::check_random(
        || {
            let cluster = cluster(2, 50);
            together(
                &cluster,
                vec![|cluster| fail(cluster, 0), |cluster| watch(cluster, 0).leave(), |cluster| {
                    watch(cluster, 0).take_back()
                }],
            );
            assert_eq!(cluster.guard.as_ref().expect("a guard").census.ejected(), 0);
            fail(&cluster, 1);
            assert!(watch(&cluster, 1).is_ejected(), "there is room");
        },
        SCHEDULES,
    );
}

#[test]
fn a_choice_sees_every_change_that_was_made_before_it() {
    shuttle::check_random(
        || {
            let cluster = cluster(2, 50);
            together(
                &cluster,
                vec![
                    |cluster| {
                        fail(cluster, 0);
                        let picked = balance::pick(cluster, &mut SmallRng::seed_from_u64(1), &Ask::default());
                        // The other may be well again by now; the first is not, unless he was spared for the other.
                        assert!(
                            picked == Some(1)
                                || watch(cluster, 1).is_ejected()
                                || watch(cluster, 0).is_healthy()
                        );
                    },
                    |cluster| {
                        let _ = balance::pick(cluster, &mut SmallRng::seed_from_u64(2), &Ask::default());
                        watch(cluster, 0).take_back();
                        let _ = balance::pick(cluster, &mut SmallRng::seed_from_u64(3), &Ask::default());
                    },
                ],
            );
            let well: Vec<bool> = cluster.members.iter().map(Member::is_healthy).collect();
            let mut dice = SmallRng::seed_from_u64(4);
            for _ in 0..4 {
                let picked = balance::pick(&cluster, &mut dice, &Ask::default()).expect("one is well");
                assert!(well[picked], "an old list outlived a newer one");
            }
        },
        SCHEDULES,
    );
}
