//! The table of maglev: every slot belongs to a member, each member has its share of them.
//!
//! Source: "Maglev: A Fast and Reliable Software Network Load Balancer", listing 1, with weights as Envoy has them. Law:
//! the table does not depend on the order in which members are given. Pure.

use crate::message::xxhash::xxh64;

/// A slot that nobody has yet.
const FREE: u32 = u32::MAX;

/// See the module.
#[derive(Debug)]
pub(super) struct Maglev {
    slots: Vec<u32>,
}

/// One member, as it asks for slots: in an order of its own.
struct Asking {
    member: u32,
    weight: f64,
    offset: u64,
    skip: u64,
    next: u64,
    due: f64,
}

impl Maglev {
    /// A table of `size` slots, a prime, for members with their names and weights.
    pub(super) fn new(members: &[(&str, u32)], size: u32) -> Maglev {
        let mut slots = vec![FREE; size as usize];
        let modulus = u64::from(size);
        let mut order: Vec<u32> = (0..members.len() as u32).collect();
        order.sort_by_key(|&member| members[member as usize].0);
        let most = members.iter().map(|&(_, weight)| f64::from(weight)).fold(0.0, f64::max);
        let mut asking: Vec<Asking> = order
            .into_iter()
            .map(|member| {
                let (name, weight) = members[member as usize];
                let offset = xxh64(name.as_bytes(), 0) % modulus;
                let skip = xxh64(name.as_bytes(), 1) % modulus.saturating_sub(1).max(1) + 1;
                Asking { member, weight: f64::from(weight), offset, skip, next: 0, due: 0.0 }
            })
            .collect();
        let (mut left, mut round) = (slots.len(), 1.0);
        while left > 0 && !asking.is_empty() {
            for one in &mut asking {
                // The heaviest asks in each round, one of a third of its weight in every third.
                if left == 0 || round * one.weight < one.due {
                    continue;
                }
                one.due += most;
                let slot = one.first_free(&slots, modulus);
                slots[slot] = one.member;
                left -= 1;
            }
            round += 1.0;
        }
        Maglev { slots }
    }

    /// The members from the slot of `hash` on, once round: neighbours are as good as drawn.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> {
        let from = (hash % (self.slots.len() as u64).max(1)) as usize;
        let (before, behind) = self.slots.split_at(from);
        behind.iter().chain(before).filter(|&&slot| slot != FREE).map(|&slot| slot as usize)
    }
}

impl Asking {
    fn first_free(&mut self, slots: &[u32], modulus: u64) -> usize {
        loop {
            let slot = ((self.offset + self.skip * self.next) % modulus) as usize;
            self.next += 1;
            if slots[slot] == FREE {
                return slot;
            }
        }
    }
}
