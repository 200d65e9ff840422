//! Which member of a cluster gets the next attempt. Pure but for the shared turn and loads.

use std::sync::atomic::Ordering;

use rand::{Rng, RngExt as _};

use super::cluster::ClusterState;
use crate::snapshot::LbPolicy;

pub(super) mod hashed;
mod maglev;
mod ring;
mod turns;

pub use turns::Turns;

/// What of a request a choice may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// The clock of endpoints' loads; only least request looks at it.
    pub now_ms: u64,
    /// What ring hash and maglev go by; without it they choose at random.
    pub hash: Option<u64>,
    /// Members that have just failed, avoided while there is another.
    pub tried: &'a [usize],
}

/// The index of the member to try next.
///
/// `None`: the cluster has no member, or none that is well and no panic.
#[inline]
pub fn pick(cluster: &ClusterState, dice: &mut impl Rng, ask: &Ask<'_>) -> Option<usize> {
    if let Some(guard) = &cluster.guard {
        return guard.pick(cluster, dice, ask);
    }
    let count = cluster.members.len();
    if count <= 1 {
        return (count == 1).then_some(0);
    }
    let index = draw(cluster, dice, ask.now_ms);
    if !ask.tried.contains(&index) {
        return Some(index);
    }
    let tried = |index| ask.tried.contains(&index);
    Some(another(count, index, tried, || draw(cluster, dice, ask.now_ms)))
}

/// In place of `index`, which was tried: a few further draws, then the next in line of `count` that was not.
#[cold]
pub(super) fn another(
    count: usize,
    index: usize,
    tried: impl Fn(usize) -> bool,
    mut draw: impl FnMut() -> usize,
) -> usize {
    let drawn = (0..3).map(|_| draw()).find(|&drawn| !tried(drawn));
    let in_line = || (1..count).map(|step| (index + step) % count).find(|&next| !tried(next));
    drawn.or_else(in_line).unwrap_or(index)
}

fn draw(cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
    match cluster.config.lb {
        LbPolicy::RoundRobin => cluster.turns.at(cluster.turn.fetch_add(1, Ordering::Relaxed)),
        // No hash is asked for here.
        LbPolicy::Random | LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => cluster.turns.draw(dice),
        LbPolicy::LeastRequest => least_of_two(cluster, dice, now_ms),
    }
}

/// The less loaded of two. The pod's own endpoint is always one of them, and wins within `local_bias`.
fn least_of_two(cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
    let own = cluster.own;
    let first = own.unwrap_or_else(|| cluster.turns.draw(dice));
    let mut second = cluster.turns.draw(dice);
    if second == first {
        second = (first + 1 + dice.random_range(0..cluster.members.len() - 1)) % cluster.members.len();
    }
    let weight = |index: usize| cluster.members[index].weight;
    less_loaded(cluster, now_ms, [(first, weight(first)), (second, weight(second))])
}

/// The less loaded of two members for its weight; the first where they are equal, so that an idle cluster is drawn by
/// weight alone. The pod's own, if it is the first, may have so many more requests as `local_bias` says.
pub(super) fn less_loaded(cluster: &ClusterState, now_ms: u64, [first, second]: [(usize, u32); 2]) -> usize {
    let load = |index: usize| u64::from(cluster.members[index].state.load(now_ms));
    let bias = if cluster.own == Some(first.0) { u64::from(cluster.config.local_bias) } else { 0 };
    let for_weight = |load: u64, weight: u32| load * u64::from(weight);
    if for_weight(load(first.0), second.1) <= for_weight(load(second.0) + bias, first.1) {
        first.0
    } else {
        second.0
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;
    use crate::upstream::cluster::tests::cluster;

    fn count(cluster: &ClusterState, picks: usize) -> Vec<usize> {
        let mut dice = SmallRng::seed_from_u64(1);
        let mut counts = vec![0; cluster.members.len()];
        for _ in 0..picks {
            counts[pick(cluster, &mut dice, &Ask::default()).expect("a member")] += 1;
        }
        counts
    }

    #[test]
    fn round_robin_gives_each_member_its_weight_exactly() {
        assert_eq!(count(&cluster(LbPolicy::RoundRobin, &[(1, false), (3, false)]), 400), [100, 300]);
    }

    #[test]
    fn random_gives_each_member_about_its_weight() {
        let counts = count(&cluster(LbPolicy::Random, &[(1, false), (3, false)]), 4000);
        assert!((900..1100).contains(&counts[0]), "{counts:?}");
    }

    #[test]
    fn the_own_endpoint_wins_until_it_is_busier_by_more_than_the_bias() {
        let cluster = cluster(LbPolicy::LeastRequest, &[(1, false), (1, true)]);
        let mut dice = SmallRng::seed_from_u64(1);
        let mut held = Vec::new();
        for _ in 0..5 {
            assert_eq!(pick(&cluster, &mut dice, &Ask::default()), Some(1));
            held.push(cluster.members[1].state.begin());
        }
        assert_eq!(pick(&cluster, &mut dice, &Ask::default()), Some(0));
    }

    #[test]
    fn least_request_holds_loads_by_weight_and_draws_an_idle_cluster_by_weight() {
        let cluster = cluster(LbPolicy::LeastRequest, &[(1, false), (3, false)]);
        let idle = count(&cluster, 4000);
        assert!((900..1100).contains(&idle[0]), "{idle:?}");
        let mut dice = SmallRng::seed_from_u64(3);
        let mut held = [Vec::new(), Vec::new()];
        for _ in 0..400 {
            let picked = pick(&cluster, &mut dice, &Ask::default()).expect("a member");
            held[picked].push(cluster.members[picked].state.begin());
        }
        assert!((97..=103).contains(&held[0].len()), "{} and {}", held[0].len(), held[1].len());
    }

    #[test]
    fn none_that_was_tried_is_picked_while_there_is_another() {
        for lb in [LbPolicy::RoundRobin, LbPolicy::LeastRequest, LbPolicy::Random] {
            let cluster = cluster(lb, &[(50, false), (1, false), (50, true), (50, false)]);
            let mut dice = SmallRng::seed_from_u64(7);
            for tried in [&[0, 2, 3][..], &[3, 0, 2]] {
                let ask = Ask { tried, ..Ask::default() };
                assert!((0..50).all(|_| pick(&cluster, &mut dice, &ask) == Some(1)), "{lb:?}");
            }
            let all = Ask { tried: &[0, 1, 2, 3], ..Ask::default() };
            assert!(pick(&cluster, &mut dice, &all).is_some(), "one that failed is better than none");
        }
    }

    #[test]
    fn a_member_that_has_just_failed_is_avoided_where_there_is_another() {
        for lb in [LbPolicy::RoundRobin, LbPolicy::LeastRequest, LbPolicy::Random] {
            let two = cluster(lb, &[(1, false), (1, true)]);
            let mut dice = SmallRng::seed_from_u64(7);
            for _ in 0..100 {
                let ask = Ask { tried: &[1], ..Ask::default() };
                assert_eq!(pick(&two, &mut dice, &ask), Some(0), "{lb:?}");
            }
        }
        let mut dice = SmallRng::seed_from_u64(7);
        let ask = Ask { tried: &[0], ..Ask::default() };
        assert_eq!(pick(&cluster(LbPolicy::RoundRobin, &[(1, false)]), &mut dice, &ask), Some(0));
        assert_eq!(pick(&cluster(LbPolicy::RoundRobin, &[]), &mut dice, &ask), None);
    }
}
