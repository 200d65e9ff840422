//! The split, under every order of its threads: together they get what one thread would have got.

#![allow(clippy::expect_used)] // a panic of a model is its report

use std::sync::{Arc, Mutex};

use shuttle::thread;

use super::Split;

/// How often each version was chosen by `threads` that choose `each` times.
fn counts(weights: &[u32], entropy: u64, threads: usize, each: usize) -> Vec<usize> {
    let split = Arc::new(Split::new(weights.to_vec(), entropy));
    let counts = Arc::new(Mutex::new(vec![0; weights.len()]));
    let threads: Vec<_> = (0..threads)
        .map(|_| {
            let (split, counts) = (split.clone(), counts.clone());
            thread::spawn(move || {
                for _ in 0..each {
                    let chosen = split.choose().expect("a version");
                    counts.lock().expect("nobody else runs")[chosen] += 1;
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().expect("holds"));
    let counts = counts.lock().expect("nobody else runs");
    counts.clone()
}

/// Half and half over whole periods from a phase that begins one: exactly half each.
#[test]
fn two_threads_share_whole_periods_exactly_by_weight() {
    // A phase that begins a period: the test below does not need one.
    let aligned =
        (0..).find(|&entropy| (super::mix(entropy, 1) >> 32).is_multiple_of(3)).expect("one in three");
    shuttle::check_dfs(move || assert_eq!(counts(&[2, 1], aligned, 2, 3), [4, 2]), None);
}

#[test]
fn many_threads_get_together_what_one_would_have_got() {
    for (weights, entropy) in [(vec![95, 5], 1), (vec![3, 2, 1], 2), (vec![1, 1, 1, 1], 3)] {
        shuttle::check_random(
            move || {
                let one = Split::new(weights.clone(), entropy);
                let mut expected = vec![0; weights.len()];
                (0..20).for_each(|_| expected[one.choose().expect("a version")] += 1);
                assert_eq!(counts(&weights, entropy, 4, 5), expected);
            },
            2_000,
        );
    }
}
