//! Drain, under every order of its threads: the phase only goes forward, and nobody who waits is forgotten.

#![allow(clippy::expect_used)] // a panic of a model is its report

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::thread;

use super::{Drain, Phase};

/// A lost wake-up leaves a thread that waits for ever, which the scheduler reports.
#[test]
fn every_watcher_sees_closing_whoever_decides_and_whenever_it_asks() {
    shuttle::check_random(
        || {
            let (drain, watch) = Drain::new();
            let drain = Arc::new(drain);
            let watchers: Vec<_> = (0..2)
                .map(|_| {
                    let mut watch = watch.clone();
                    thread::spawn(move || {
                        block_on(watch.reached(Phase::Grace));
                        assert!(watch.phase() >= Phase::Grace);
                        block_on(watch.reached(Phase::Closing));
                        assert_eq!(watch.phase(), Phase::Closing);
                    })
                })
                .collect();
            // One signal takes the steps one by one, a second one skips the grace.
            let first = drain.clone();
            let deciders = [
                thread::spawn(move || {
                    first.advance(Phase::Grace);
                    first.advance(Phase::Closing);
                }),
                thread::spawn(move || drain.advance(Phase::Closing)),
            ];
            for thread in deciders.into_iter().chain(watchers) {
                thread.join().expect("holds");
            }
        },
        10_000,
    );
}

#[test]
fn no_phase_follows_a_later_one() {
    shuttle::check_dfs(
        || {
            let (drain, watch) = Drain::new();
            let drain = Arc::new(drain);
            let deciders = [Phase::Grace, Phase::Closing].map(|phase| {
                let drain = drain.clone();
                thread::spawn(move || drain.advance(phase))
            });
            let seen = [watch.phase(), watch.phase(), watch.phase()];
            assert!(seen.is_sorted(), "{seen:?}");
            for decider in deciders {
                decider.join().expect("holds");
            }
            assert_eq!(watch.phase(), Phase::Closing);
        },
        None,
    );
}
