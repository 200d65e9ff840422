//! Circuit breakers, under every order of their threads: never above the limit, never refused below it, all given back.

#![allow(clippy::expect_used)] // a panic of a model is its report

use std::sync::atomic::Ordering::Relaxed;

use shuttle::thread;

use super::*;
use crate::runtime::sync::step;

fn limited(requests: u32) -> Arc<Breakers> {
    Arc::new(Breakers::new(&CircuitBreakers { requests, ..CircuitBreakers::default() }))
}

/// Runs `each` in so many threads and waits for them.
fn together(threads: usize, each: impl Fn(usize) + Send + Sync + 'static) {
    let each = Arc::new(each);
    let threads: Vec<_> = (0..threads)
        .map(|number| {
            let each = each.clone();
            thread::spawn(move || each(number))
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("holds"));
}

#[test]
fn permits_out_never_pass_the_limit_and_all_come_back() {
    shuttle::check_dfs(
        || {
            let breakers = limited(1);
            // Not one of the modelled types: it counts without taking a turn.
            let held = Arc::new(std::sync::atomic::AtomicU32::new(0));
            let known = breakers.clone();
            together(2, move |_| {
                if let Some(permit) = known.try_acquire(Limit::Requests) {
                    assert_eq!(held.fetch_add(1, Relaxed), 0, "two hold the only permit");
                    step();
                    held.fetch_sub(1, Relaxed);
                    drop(permit);
                }
            });
            assert_eq!(breakers.of(Limit::Requests).out(), 0);
        },
        None,
    );
}

#[test]
fn nobody_is_refused_while_there_is_room() {
    shuttle::check_random(
        || {
            let breakers = limited(3);
            let known = breakers.clone();
            together(3, move |_| {
                for _ in 0..2 {
                    let permit = known.try_acquire(Limit::Requests);
                    assert!(permit.is_some(), "three want three");
                    assert!(known.of(Limit::Requests).out() <= 3);
                }
            });
            assert_eq!(breakers.of(Limit::Requests).out(), 0);
        },
        10_000,
    );
}

#[test]
fn a_reload_and_permits_beyond_the_limit_leave_the_count_right() {
    shuttle::check_random(
        || {
            let breakers = limited(2);
            let known = breakers.clone();
            together(3, move |number| match number {
                0 => known.adopt(&CircuitBreakers { requests: 1, ..CircuitBreakers::default() }),
                1 => {
                    let _first = known.acquire_anyway(Limit::Requests);
                    let _second = known.acquire_anyway(Limit::Requests);
                    assert!(known.of(Limit::Requests).out() >= 2);
                }
                _ => {
                    let permit = known.try_acquire(Limit::Requests);
                    assert!(permit.is_none() || known.of(Limit::Requests).out() >= 1);
                }
            });
            assert_eq!(breakers.of(Limit::Requests).out(), 0);
            let permit = breakers.try_acquire(Limit::Requests);
            assert!(
                permit.is_some() && breakers.try_acquire(Limit::Requests).is_none(),
                "the new limit holds"
            );
        },
        10_000,
    );
}
