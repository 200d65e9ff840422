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
    let members = &cluster.members;
    if members.len() <= 1 {
        return (members.len() == 1).then_some(0);
    }
    let places = Places {
        turns: &cluster.turns,
        own: cluster.own,
        count: members.len(),
        member: |place| place,
        weight: |place: usize| members[place].weight,
    };
    Some(places.choose(cluster, dice, ask))
}

/// Those to choose among, two at least, each at a place: all members of a cluster, or those that are well.
pub(super) struct Places<'a, M, W> {
    pub(super) turns: &'a Turns,
    /// The pod's own.
    pub(super) own: Option<usize>,
    pub(super) count: usize,
    /// The index of the member at a place.
    pub(super) member: M,
    /// What it weighs now.
    pub(super) weight: W,
}

impl<M: Fn(usize) -> usize, W: Fn(usize) -> u32> Places<'_, M, W> {
    /// The index of the member to try: without a hash, by the cluster's policy.
    #[inline]
    pub(super) fn choose(&self, cluster: &ClusterState, dice: &mut impl Rng, ask: &Ask<'_>) -> usize {
        let place = self.draw(cluster, dice, ask.now_ms);
        let member = (self.member)(place);
        if ask.tried.contains(&member) { self.another(place, cluster, dice, ask) } else { member }
    }

    /// In place of the one at `place`, which was tried: a few further draws, then the next in line that was not.
    #[cold]
    fn another(&self, place: usize, cluster: &ClusterState, dice: &mut impl Rng, ask: &Ask<'_>) -> usize {
        let is_fresh = |&place: &usize| !ask.tried.contains(&(self.member)(place));
        let drawn = (0..3).map(|_| self.draw(cluster, dice, ask.now_ms)).find(is_fresh);
        let in_line = || (1..self.count).map(|step| (place + step) % self.count).find(is_fresh);
        (self.member)(drawn.or_else(in_line).unwrap_or(place))
    }

    fn draw(&self, cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
        match cluster.config.lb {
            LbPolicy::RoundRobin => self.turns.at(cluster.turn.fetch_add(1, Ordering::Relaxed)),
            LbPolicy::Random | LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => self.turns.draw(dice),
            LbPolicy::LeastRequest => self.least_of_two(cluster, dice, now_ms),
        }
    }

    /// The less loaded of two for its weight; the first where they are equal, so that an idle cluster is drawn by weight
    /// alone. The pod's own is always the first, and may have so many more requests as `local_bias` says.
    fn least_of_two(&self, cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
        let first = self.own.unwrap_or_else(|| self.turns.draw(dice));
        let mut second = self.turns.draw(dice);
        if second == first {
            second = (first + 1 + dice.random_range(0..self.count - 1)) % self.count;
        }
        let load = |place| u64::from(cluster.members[(self.member)(place)].state.load(now_ms));
        let bias = if self.own.is_some() { u64::from(cluster.config.local_bias) } else { 0 };
        let for_weight = |load: u64, place| load * u64::from((self.weight)(place));
        if for_weight(load(first), second) <= for_weight(load(second) + bias, first) { first } else { second }
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
