//! Which member of a cluster gets the next attempt. Pure but for the shared turn and loads.

use std::sync::atomic::Ordering;

use rand::{Rng, RngExt as _};

use super::cluster::ClusterState;
use crate::snapshot::LbPolicy;

/// The index of the member to try; `exclude` is one that has just failed, avoided where there is another.
///
/// `None`: the cluster has no member.
pub fn pick(
    cluster: &ClusterState,
    dice: &mut impl Rng,
    now_ms: u64,
    exclude: Option<usize>,
) -> Option<usize> {
    let count = cluster.members.len();
    if count <= 1 {
        return (count == 1).then_some(0);
    }
    let mut index = draw(cluster, dice, now_ms);
    // A few further draws, then the next in line: the excluded one is avoided for certain.
    for _ in 0..3 {
        if Some(index) != exclude {
            return Some(index);
        }
        index = draw(cluster, dice, now_ms);
    }
    Some(if Some(index) == exclude { (index + 1) % count } else { index })
}

fn draw(cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
    match cluster.config.lb {
        LbPolicy::RoundRobin => {
            let turn = cluster.turn.fetch_add(1, Ordering::Relaxed);
            cluster.turns[turn % cluster.turns.len()] as usize
        }
        // No hash is asked for here.
        LbPolicy::Random | LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => by_weight(cluster, dice),
        LbPolicy::LeastRequest => least_of_two(cluster, dice, now_ms),
    }
}

fn by_weight(cluster: &ClusterState, dice: &mut impl Rng) -> usize {
    cluster.turns[dice.random_range(0..cluster.turns.len())] as usize
}

/// The less loaded of two. The pod's own endpoint is always one of them, and wins within `local_bias`.
fn least_of_two(cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
    let own = cluster.own;
    let first = own.unwrap_or_else(|| by_weight(cluster, dice));
    let mut second = by_weight(cluster, dice);
    if second == first {
        second = (first + 1 + dice.random_range(0..cluster.members.len() - 1)) % cluster.members.len();
    }
    let load = |index: usize| cluster.members[index].state.load(now_ms);
    let bias = if own.is_some() { cluster.config.local_bias } else { 0 };
    if load(first) <= load(second).saturating_add(bias) { first } else { second }
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
            counts[pick(cluster, &mut dice, 0, None).expect("a member")] += 1;
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
            assert_eq!(pick(&cluster, &mut dice, 0, None), Some(1));
            held.push(cluster.members[1].state.begin());
        }
        assert_eq!(pick(&cluster, &mut dice, 0, None), Some(0));
    }

    #[test]
    fn a_member_that_has_just_failed_is_avoided_where_there_is_another() {
        for lb in [LbPolicy::RoundRobin, LbPolicy::LeastRequest, LbPolicy::Random] {
            let two = cluster(lb, &[(1, false), (1, true)]);
            let mut dice = SmallRng::seed_from_u64(7);
            for _ in 0..100 {
                assert_eq!(pick(&two, &mut dice, 0, Some(1)), Some(0), "{lb:?}");
            }
        }
        let mut dice = SmallRng::seed_from_u64(7);
        assert_eq!(pick(&cluster(LbPolicy::RoundRobin, &[(1, false)]), &mut dice, 0, Some(0)), Some(0));
        assert_eq!(pick(&cluster(LbPolicy::RoundRobin, &[]), &mut dice, 0, None), None);
    }
}
