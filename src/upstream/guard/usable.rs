//! The members to choose among, as somebody found them at one moment.
//!
//! Law: it is made in one walk over the members and never changes. Pure but for the shared turn and loads.

use rand::Rng;

use crate::upstream::balance::hashed::Hashed;
use crate::upstream::balance::{Ask, Places, Turns};
use crate::upstream::cluster::{ClusterState, Member};

/// See the module.
#[derive(Debug)]
pub(super) struct Usable {
    /// The census's count of changes when it was made.
    pub(super) changes: u32,
    /// When that was, on the guard's clock.
    pub(super) made_ms: u64,
    /// Too few are well: these are all.
    pub(super) panic: bool,
    /// Indexes of members, with the weight that each has now.
    pub(super) members: Vec<(usize, u32)>,
    /// Places in `members`, by turn.
    pub(super) turns: Turns,
    /// Whether a member stands in `members`, by its index.
    holds: Vec<bool>,
    /// The place of this pod's own, if it is among them.
    own: Option<usize>,
}

impl Usable {
    /// Nobody.
    pub(super) fn none() -> Usable {
        Usable::new(0, 0, &[], 0, |_| 0)
    }

    /// Those of `members` that are well, or all if those are fewer than `panic_threshold` says in percent. `weighs` tells
    /// the weight that a member has now.
    pub(super) fn new(
        changes: u32,
        made_ms: u64,
        members: &[Member],
        panic_threshold: u32,
        weighs: impl Fn(&Member) -> u32,
    ) -> Usable {
        let mut holds: Vec<bool> = members.iter().map(Member::is_healthy).collect();
        let well = holds.iter().filter(|&&well| well).count();
        let panic = well * 100 < panic_threshold as usize * members.len();
        if panic {
            holds.fill(true);
        }
        let chosen = members.iter().enumerate().filter(|&(index, _)| holds[index]);
        let chosen: Vec<(usize, u32)> = chosen.map(|(index, member)| (index, weighs(member))).collect();
        Usable {
            changes,
            made_ms,
            panic,
            turns: Turns::new(chosen.iter().map(|&(_, weight)| weight)),
            own: chosen.iter().position(|&(index, _)| members[index].local),
            members: chosen,
            holds,
        }
    }

    /// The index of the member to try; `None`: there is nobody.
    pub(super) fn choose(
        &self,
        hashed: Option<&Hashed>,
        cluster: &ClusterState,
        dice: &mut impl Rng,
        ask: &Ask<'_>,
    ) -> Option<usize> {
        if let [] | [_] = self.members[..] {
            return self.members.first().map(|&(member, _)| member);
        }
        if let (Some(hashed), Some(hash)) = (hashed, ask.hash) {
            let fresh = |member: usize| self.holds[member] && !ask.tried.contains(&member);
            return hashed.find(hash, fresh).or_else(|| hashed.find(hash, |member| self.holds[member]));
        }
        let places = Places {
            turns: &self.turns,
            own: self.own,
            count: self.members.len(),
            member: |place: usize| self.members[place].0,
            weight: |place: usize| self.members[place].1,
        };
        Some(places.choose(cluster, dice, ask))
    }
}
