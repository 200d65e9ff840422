//! Which member a hash belongs to, by ring or by table.
//!
//! Law: the order of members that a hash meets is made once for a cluster. A member that is left out for a while, or was
//! just tried, is passed over: only its keys move, and they come back.

use super::maglev::Maglev;
use super::ring::Ring;
use crate::snapshot::LbPolicy;
use crate::upstream::cluster::Member;

/// See the module.
#[derive(Debug)]
pub(in crate::upstream) struct Hashed(Order);

#[derive(Debug)]
enum Order {
    Ring(Ring),
    Maglev(Maglev),
}

impl Hashed {
    /// What `lb` needs for `members`; nothing for one that looks at no hash.
    pub(in crate::upstream) fn new(lb: LbPolicy, members: &[Member]) -> Option<Hashed> {
        let named: Vec<(&str, u32)> =
            members.iter().map(|member| (&*member.state.name, member.weight)).collect();
        Some(Hashed(match lb {
            LbPolicy::RingHash { minimum, maximum } => Order::Ring(Ring::new(&named, minimum, maximum)),
            LbPolicy::Maglev { table } => Order::Maglev(Maglev::new(&named, table)),
            LbPolicy::RoundRobin | LbPolicy::LeastRequest | LbPolicy::Random => return None,
        }))
    }

    /// The first member from `hash` on that will do.
    pub(in crate::upstream) fn find(&self, hash: u64, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        match &self.0 {
            Order::Ring(ring) => ring.walk(hash).find(|&member| will_do(member)),
            Order::Maglev(maglev) => maglev.walk(hash).find(|&member| will_do(member)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::message::xxhash::xxh64;
    use crate::upstream::cluster::tests::cluster;

    const KEYS: u64 = 20_000;
    const BOTH: [LbPolicy; 2] = [LbPolicy::RING_HASH, LbPolicy::MAGLEV];

    fn members(weights: &[u32]) -> Vec<Member> {
        let weights: Vec<_> = weights.iter().map(|&weight| (weight, false)).collect();
        cluster(LbPolicy::RoundRobin, &weights).members
    }

    /// By key, the name of the member that it belongs to.
    fn owners(lb: LbPolicy, members: &[Member], will_do: impl Fn(usize) -> bool) -> Vec<String> {
        let hashed = Hashed::new(lb, members).expect("it looks at the hash");
        let owner = |key: u64| hashed.find(xxh64(&key.to_le_bytes(), 7), &will_do).expect("a member");
        (0..KEYS).map(|key| members[owner(key)].state.name.to_string()).collect()
    }

    fn shares(owners: &[String]) -> HashMap<&str, f64> {
        let mut shares = HashMap::new();
        for owner in owners {
            *shares.entry(owner.as_str()).or_default() += 1.0 / KEYS as f64;
        }
        shares
    }

    #[test]
    fn each_member_has_about_its_share_of_the_keys() {
        for (lb, slack) in [(LbPolicy::RING_HASH, 0.25), (LbPolicy::MAGLEV, 0.05)] {
            let members = members(&[1, 1, 2, 4]);
            let owners = owners(lb, &members, |_| true);
            let shares = shares(&owners);
            for member in &members {
                let (is, due) = (shares[&*member.state.name], f64::from(member.weight) / 8.0);
                assert!((is - due).abs() < due * slack, "{lb:?}: {} has {is}, not {due}", member.state.name);
            }
        }
    }

    #[test]
    fn a_member_that_is_left_out_gives_away_its_own_keys_alone_and_to_all_others() {
        for lb in BOTH {
            let members = members(&[1; 10]);
            let (before, after) =
                (owners(lb, &members, |_| true), owners(lb, &members, |member| member != 3));
            let left = &*members[3].state.name;
            let mut heirs = HashMap::<&str, usize>::new();
            for (before, after) in before.iter().zip(&after) {
                if before == left {
                    *heirs.entry(after).or_default() += 1;
                } else {
                    assert_eq!(before, after, "{lb:?}: a key of another moved");
                }
            }
            assert_eq!(heirs.len(), 9, "{lb:?}: {heirs:?}");
        }
    }

    #[test]
    fn a_member_that_goes_for_good_moves_few_keys_of_the_others() {
        for lb in BOTH {
            let all = members(&[1; 10]);
            let rest: Vec<Member> = all
                .iter()
                .enumerate()
                .filter(|&(index, _)| index != 3)
                .map(|(_, member)| member.clone())
                .collect();
            let (before, after) = (owners(lb, &all, |_| true), owners(lb, &rest, |_| true));
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            // A tenth has to move.
            assert!((KEYS as usize / 20..KEYS as usize / 4).contains(&moved), "{lb:?}: {moved}");
        }
    }

    #[test]
    fn the_order_in_which_members_are_written_says_nothing() {
        for lb in BOTH {
            let forward = members(&[1, 2, 3, 1]);
            let backward: Vec<Member> = forward.iter().rev().cloned().collect();
            assert_eq!(owners(lb, &forward, |_| true), owners(lb, &backward, |_| true), "{lb:?}");
        }
    }

    #[test]
    fn points_and_slots_are_as_many_as_was_asked_for() {
        let members = members(&[1, 3]);
        let named: Vec<(&str, u32)> =
            members.iter().map(|member| (&*member.state.name, member.weight)).collect();
        assert_eq!(Ring::new(&named, 1_024, 8 << 20).walk(0).count(), 1_024);
        assert_eq!(Ring::new(&named, 1_024, 100).walk(0).count(), 100);
        assert_eq!(Ring::new(&named, 3, 8 << 20).walk(0).count(), 4, "each member has a whole share");
        assert_eq!(Maglev::new(&named, 97).walk(1 << 60).count(), 97);
        assert_eq!(Maglev::new(&[], 97).walk(5).count() + Ring::new(&[], 5, 9).walk(5).count(), 0);
    }
}
