//! Whose turn it is: the order in which members get requests in turn, each as often as its weight says and spread out.
//!
//! Law: over one period every member has exactly its weight of turns, however many members there are and whatever they
//! weigh. It is made in time that grows with the members, but for a bound. Pure.

use std::num::NonZeroUsize;

use rand::{Rng, RngExt as _};

/// Turns of a period up to which they are written out; a longer one is stepped through.
const MAX_WRITTEN: u64 = 4096;

/// See the module. Members are told by their places among the weights.
#[derive(Debug)]
pub struct Turns(Order);

#[derive(Debug)]
enum Order {
    /// One after the other.
    Equal(NonZeroUsize),
    Written(Vec<u32>),
    /// Each member has as many points in line as its weight says, up to its end; each turn goes `stride` points on,
    /// which meets every point of a period once.
    Strided {
        ends: Vec<u64>,
        total: u64,
        stride: u64,
    },
}

impl Turns {
    /// The turns of members with these weights; without any it is nobody's, and told as the first's.
    pub(in crate::upstream) fn new(weights: impl Iterator<Item = u32>) -> Turns {
        Turns::counted(weights, || {})
    }

    /// [`Turns::new`], with a call for each step of the making.
    fn counted(weights: impl Iterator<Item = u32>, mut step: impl FnMut()) -> Turns {
        let mut weights: Vec<u64> = weights.map(|weight| u64::from(weight.max(1))).collect();
        let divisor = weights.iter().fold(0, |divisor, &weight| {
            step();
            common_divisor(divisor, weight)
        });
        weights.iter_mut().for_each(|weight| *weight /= divisor);
        let total: u64 = weights.iter().sum();
        Turns(if total == weights.len() as u64 {
            Order::Equal(NonZeroUsize::new(weights.len()).unwrap_or(NonZeroUsize::MIN))
        } else if total <= MAX_WRITTEN {
            Order::Written(written(&weights, total, step))
        } else {
            let ends = weights.iter().scan(0, |end, weight| {
                step();
                *end += weight;
                Some(*end)
            });
            Order::Strided { ends: ends.collect(), total, stride: stride(total) }
        })
    }

    /// Whose the turn of this number is.
    #[inline]
    pub(in crate::upstream) fn at(&self, turn: usize) -> usize {
        match &self.0 {
            Order::Equal(count) => turn % *count,
            Order::Written(turns) => turns[turn % turns.len()] as usize,
            Order::Strided { ends, total, stride } => {
                let point = u128::from(turn as u64 % total) * u128::from(*stride) % u128::from(*total);
                owner(ends, point as u64)
            }
        }
    }

    /// Anybody, by weight.
    #[inline]
    pub(in crate::upstream) fn draw(&self, dice: &mut impl Rng) -> usize {
        match &self.0 {
            Order::Equal(count) => dice.random_range(0..count.get()),
            Order::Written(turns) => turns[dice.random_range(0..turns.len())] as usize,
            Order::Strided { ends, total, .. } => owner(ends, dice.random_range(0..*total)),
        }
    }
}

fn owner(ends: &[u64], point: u64) -> usize {
    ends.partition_point(|&end| end <= point)
}

fn common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The nth of a member's turns is due in the middle of the nth part of the period, which it is cut into by its weight.
fn written(weights: &[u64], total: u64, mut step: impl FnMut()) -> Vec<u32> {
    let mut due = std::collections::BinaryHeap::with_capacity(weights.len());
    for (member, &weight) in weights.iter().enumerate() {
        due.push(Due { at: 1, of: 2 * weight, member: member as u32 });
    }
    let mut turns = Vec::with_capacity(total as usize);
    for _ in 0..total {
        step();
        if let Some(mut first) = due.peek_mut() {
            turns.push(first.member);
            first.at += 2;
        }
    }
    turns
}

/// A member's next turn, at a fraction of the period. The greatest is the one that is due first; of several the first.
#[derive(PartialEq, Eq)]
struct Due {
    at: u64,
    of: u64,
    member: u32,
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        // Both sides are below the square of what is written out at most.
        let (ours, theirs) = (self.at * other.of, other.at * self.of);
        theirs.cmp(&ours).then(other.member.cmp(&self.member))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// What goes round in `total` points and meets each, any stretch of turns evenly over all: like the golden section, whose
/// continued fraction has the smallest quotients of all. Of those near it the best.
fn stride(total: u64) -> u64 {
    let golden = (total as f64 * 0.618_033_988_75) as u64;
    let near = (golden..total).take(64).filter(|&stride| common_divisor(stride, total) == 1);
    near.min_by_key(|&stride| largest_quotient(total, stride)).unwrap_or(1)
}

/// Of the continued fraction of `a` over `b`.
fn largest_quotient(mut a: u64, mut b: u64) -> u64 {
    let mut largest = 0;
    while b != 0 {
        largest = largest.max(a / b);
        (a, b) = (b, a % b);
    }
    largest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

    fn turns(weights: &[u32]) -> Turns {
        Turns::new(weights.iter().copied())
    }

    fn of_each(turns: &Turns, members: usize, range: std::ops::Range<usize>) -> Vec<u64> {
        let mut of_each = vec![0; members];
        range.for_each(|turn| of_each[turns.at(turn)] += 1);
        of_each
    }

    fn mixed(members: usize) -> Vec<u32> {
        (0..members as u32).map(|member| 1 + member * 7_919 % 97).collect()
    }

    #[test]
    fn members_of_one_weight_have_their_turns_one_after_the_other() {
        for weight in [1, 7, u32::MAX] {
            let turns = turns(&[weight; 3]);
            assert_eq!((0..7).map(|turn| turns.at(turn)).collect::<Vec<_>>(), [0, 1, 2, 0, 1, 2, 0]);
        }
        assert_eq!(turns(&[]).at(5), 0);
    }

    #[test]
    fn a_heavy_member_does_not_have_its_turns_in_a_row() {
        let turns = turns(&[3, 1, 2]);
        assert_eq!((0..6).map(|turn| turns.at(turn)).collect::<Vec<_>>(), [0, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn ten_thousand_members_have_their_shares_exactly_and_cost_a_few_steps_each() {
        for members in [2, 90, 1_000, 10_000] {
            let weights = mixed(members);
            let mut steps = 0;
            let turns = Turns::counted(weights.iter().copied(), || steps += 1);
            assert!(steps <= 2 * members as u64 + MAX_WRITTEN, "{members} members took {steps} steps");
            let total: usize = weights.iter().map(|&weight| weight as usize).sum();
            let of_each = of_each(&turns, members, 1_000_000..1_000_000 + total);
            assert!(of_each.iter().zip(&weights).all(|(&has, &due)| has == u64::from(due)), "{members}");
        }
    }

    #[test]
    fn the_turns_of_a_long_period_are_spread_out_too() {
        // A tenth of the period is never far from a tenth of anybody's turns.
        let weights = mixed(1_000);
        let turns = turns(&weights);
        let tenth = weights.iter().sum::<u32>() as usize / 10;
        for part in 0..10 {
            let of_each = of_each(&turns, weights.len(), part * tenth..(part + 1) * tenth);
            for (&has, &weight) in of_each.iter().zip(&weights) {
                let due = f64::from(weight) / 10.0;
                assert!((has as f64 - due).abs() < 4.0, "{has} of {due}");
            }
        }
    }

    #[test]
    fn a_draw_goes_by_weight() {
        for (weights, first) in [(&[1, 3][..], 0.25), (&[5_000, 15_001], 0.25), (&[2, 2], 0.5)] {
            let (turns, mut dice) = (turns(weights), SmallRng::seed_from_u64(5));
            let drawn = (0..10_000).filter(|_| turns.draw(&mut dice) == 0).count() as f64 / 10_000.0;
            assert!((drawn - first).abs() < 0.03, "{weights:?}: {drawn}");
        }
    }

    proptest! {
        #[test]
        fn over_one_period_everybody_has_exactly_his_weight(
            weights in prop::collection::vec(1..300_u32, 1..60), begin in any::<u32>(),
        ) {
            let turns = turns(&weights);
            let begin = begin as usize;
            let total = weights.iter().sum::<u32>() as usize;
            // Strided turns begin a period where the number is a multiple of it; so do all.
            let begin = begin - begin % total;
            let of_each = of_each(&turns, weights.len(), begin..begin + total);
            prop_assert_eq!(of_each, weights.iter().map(|&weight| u64::from(weight)).collect::<Vec<_>>());
        }

        #[test]
        fn no_weights_make_it_panic(
            weights in prop::collection::vec(any::<u32>(), 0..40), turn in any::<usize>(), seed in any::<u64>(),
        ) {
            let turns = turns(&weights);
            prop_assert!(turns.at(turn) < weights.len().max(1));
            prop_assert!(turns.draw(&mut SmallRng::seed_from_u64(seed)) < weights.len().max(1));
        }
    }
}
