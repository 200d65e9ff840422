//! The split: which version takes the next request. Even, not a die: the count of each version follows its weight
//! closely at every moment, and yet no caller's rhythm can lock on to it.
//!
//! # The schedule
//! Between two parts with weights `a >= b` the schedule is cut into strata of `(a + b) / b` slots (rounded to whole
//! slots, so that every period of `a + b` slots holds exactly `b` strata). In each stratum one slot, drawn at random,
//! goes to the lighter part; all others go to the heavier one. More than two versions are a binary tree of such
//! splits, and the position within a branch is the number of choices that went into it before.
//!
//! # Laws
//! Two versions: let `C(n)` be the choices of the lighter part among the first `n`. Stratum `j` begins at
//! `ceil(j (a+b) / b)`, so `n` lies in stratum `j = floor(n b / (a+b))` and `C(n)` is `j` or `j + 1`: it is off its
//! share by less than 1 above and at most 1 below. A run of choices is a difference of two such counts: less than 2
//! off. A run of whole periods covers as many strata as it should and cuts at most one at each end alike: at most 1 off.
//!
//! k versions: in a run, a branch's count is off by `e`, and its part of it by less than `e s + 2`, where `s < 1` is the
//! part's share of the branch. Along a path of depth d the error is thus less than `2 (1 + s_d + s_d s_(d-1) + …)`,
//! which is less than `2 d`; the tree is balanced, so `d = ceil(log2 k)`.
//!
//! Two callers that alternate: slots are drawn independently in each stratum, so each caller sees the share.
//!
//! Choosing is a pure function of a position; the position is one shared counter for each rule.

use std::sync::atomic::Ordering;

use crate::runtime::sync::AtomicU64;

/// The split of one rule, shared by all workers.
#[derive(Debug)]
pub struct Split {
    tree: Option<Node>,
    position: AtomicU64,
    seed: u64,
}

#[derive(Debug)]
enum Node {
    Version(usize),
    Fork {
        /// The heavier and the lighter part.
        heavy: Box<Node>,
        light: Box<Node>,
        /// Slots of a period, and how many of them go to the lighter part.
        period: u64,
        light_slots: u64,
        /// Sets the draws of this fork apart from those of the others.
        salt: u64,
    },
}

impl Split {
    /// A split over `weights`, at a random phase given by `entropy`.
    pub fn new(weights: Vec<u32>, entropy: u64) -> Split {
        let parts: Vec<(usize, u64)> =
            weights.iter().enumerate().filter(|&(_, &w)| w > 0).map(|(i, &w)| (i, u64::from(w))).collect();
        let tree = build(&parts, &mut 0);
        // A phase in the middle of the counter's range neither wraps nor repeats.
        let position = AtomicU64::new(mix(entropy, 1) >> 32);
        Split { tree, position, seed: mix(entropy, 2) }
    }

    /// The version of the next request; `None` when no version has weight.
    pub fn choose(&self) -> Option<usize> {
        match self.tree.as_ref()? {
            Node::Version(index) => Some(*index), // a plain route: nothing to count
            fork => Some(fork.at(self.position.fetch_add(1, Ordering::Relaxed), self.seed)),
        }
    }
}

impl Node {
    fn at(&self, position: u64, seed: u64) -> usize {
        match self {
            Node::Version(index) => *index,
            Node::Fork { heavy, light, period, light_slots, salt } => {
                let stratum = wide_div(position, *light_slots, *period);
                let begin = ceil_div(stratum, *period, *light_slots);
                let end = ceil_div(stratum + 1, *period, *light_slots);
                let drawn = begin + mix(seed ^ salt, stratum) % (end - begin);
                let light_before = stratum + u64::from(drawn < position);
                if position == drawn {
                    light.at(light_before, seed)
                } else {
                    heavy.at(position - light_before, seed)
                }
            }
        }
    }
}

/// Halves the list again and again, so that the depth is `ceil(log2 k)`.
fn build(parts: &[(usize, u64)], forks: &mut u64) -> Option<Node> {
    match parts {
        [] => None,
        [(index, _)] => Some(Node::Version(*index)),
        _ => {
            let (left, right) = parts.split_at(parts.len().div_ceil(2));
            let weight = |parts: &[(usize, u64)]| parts.iter().map(|&(_, w)| w).sum::<u64>();
            let (heavy, light) = if weight(left) >= weight(right) { (left, right) } else { (right, left) };
            let divisor = gcd(weight(heavy), weight(light));
            *forks += 1;
            let salt = mix(0, *forks);
            Some(Node::Fork {
                period: (weight(heavy) + weight(light)) / divisor,
                light_slots: weight(light) / divisor,
                heavy: Box::new(build(heavy, forks)?),
                light: Box::new(build(light, forks)?),
                salt,
            })
        }
    }
}

/// `floor(a * b / c)`; the result fits because `b <= c`.
fn wide_div(a: u64, b: u64, c: u64) -> u64 {
    (u128::from(a) * u128::from(b) / u128::from(c)) as u64
}

/// `ceil(a * b / c)`
fn ceil_div(a: u64, b: u64, c: u64) -> u64 {
    (u128::from(a) * u128::from(b)).div_ceil(u128::from(c)) as u64
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// SplitMix64's finaliser: a well-spread number from two. Source: Steele, Lea, Flood, OOPSLA 2014.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(all(test, feature = "models"))]
#[path = "split_models.rs"]
mod models;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choices(weights: &[u32], entropy: u64, n: usize) -> Vec<usize> {
        let split = Split::new(weights.to_vec(), entropy);
        (0..n).map(|_| split.choose().expect("a version")).collect()
    }

    proptest! {
        #[test]
        fn two_versions_are_less_than_two_off_in_any_run(
            a in 1u32..100, b in 1u32..100, entropy: u64, from in 0usize..300, length in 1usize..700,
        ) {
            let chosen = choices(&[a, b], entropy, from + length);
            let count = chosen[from..].iter().filter(|&&v| v == 1).count() as f64;
            let share = length as f64 * f64::from(b) / f64::from(a + b);
            prop_assert!((count - share).abs() < 2.0, "{count} of {share}");
        }

        #[test]
        fn two_versions_are_at_most_one_off_over_whole_periods(
            a in 1u32..60, b in 1u32..60, entropy: u64, from in 0usize..200, periods in 1usize..5,
        ) {
            let divisor = gcd(u64::from(a), u64::from(b)) as u32;
            let length = periods * ((a + b) / divisor) as usize;
            let chosen = choices(&[a, b], entropy, from + length);
            let count = chosen[from..].iter().filter(|&&v| v == 1).count() as i64;
            prop_assert!((count - (periods as u32 * b / divisor) as i64).abs() <= 1);
        }

        #[test]
        fn k_versions_are_less_than_twice_the_depth_off_in_any_run(
            weights in proptest::collection::vec(0u32..50, 1..9), entropy: u64, from in 0usize..200, length in 1usize..500,
        ) {
            let parts = weights.iter().filter(|&&w| w > 0).count();
            prop_assume!(parts > 0);
            let depth = (parts as f64).log2().ceil().max(1.0);
            let chosen = choices(&weights, entropy, from + length);
            let sum: u32 = weights.iter().sum();
            for (version, &weight) in weights.iter().enumerate() {
                let count = chosen[from..].iter().filter(|&&v| v == version).count() as f64;
                let share = length as f64 * f64::from(weight) / f64::from(sum);
                prop_assert!((count - share).abs() < 2.0 * depth, "{version}: {count} of {share}");
                prop_assert!(weight > 0 || count == 0.0);
            }
        }

        #[test]
        fn two_kinds_of_call_that_alternate_each_see_the_share(weight in 5u32..96, entropy: u64) {
            let chosen = choices(&[100 - weight, weight], entropy, 20_000);
            for kind in 0..2 {
                let count = chosen.iter().skip(kind).step_by(2).filter(|&&v| v == 1).count() as f64;
                // Five standard deviations of 10,000 independent draws: a lock would be off by thousands.
                let share = 100.0 * f64::from(weight);
                prop_assert!((count - share).abs() < 250.0, "kind {kind}: {count} of {share}");
            }
        }
    }

    #[test]
    fn ninety_five_to_five_gives_fifty_of_a_thousand() {
        for entropy in 0..50 {
            let count = choices(&[95, 5], entropy, 1000).iter().filter(|&&v| v == 1).count();
            assert!((49..=51).contains(&count), "{count}");
        }
    }

    #[test]
    fn one_version_takes_all_and_no_weight_takes_none() {
        assert_eq!(choices(&[0, 7, 0], 1, 5), [1; 5]);
        assert_eq!(Split::new(vec![0, 0], 1).choose(), None);
        assert_eq!(Split::new(vec![], 1).choose(), None);
    }
}
