//! The ring of ring hash: each member has points on it, and a hash belongs to the next point.
//!
//! Law: a member's points depend on its address and its share alone, so that who leaves takes no other's keys along.
//! Points are where Envoy puts them: XXH64 of `<address>_<number>`. Pure.

use crate::message::xxhash::xxh64;

/// See the module.
#[derive(Debug)]
pub(super) struct Ring {
    /// Sorted by place; members by index.
    points: Vec<(u64, u32)>,
}

impl Ring {
    /// A ring of members with their names and weights. It has at least `minimum` points in all and each member its share
    /// of them, unless that is more than `maximum`.
    pub(super) fn new(members: &[(&str, u32)], minimum: u32, maximum: u32) -> Ring {
        let sum: f64 = members.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let least = members.iter().map(|&(_, weight)| f64::from(weight) / sum).fold(f64::INFINITY, f64::min);
        // The least share has a whole number of points.
        let scale = ((least * f64::from(minimum)).ceil() / least).min(f64::from(maximum));
        let mut points = Vec::new();
        let mut key = String::new();
        for (index, &(name, weight)) in members.iter().enumerate() {
            // What is but a rounding fault beyond a whole number makes no further point.
            let due = (scale * f64::from(weight) / sum - 1e-6).ceil() as u64;
            for number in 0..due {
                key.clear();
                key.push_str(name);
                key.push('_');
                key.push_str(itoa::Buffer::new().format(number));
                points.push((xxh64(key.as_bytes(), 0), index as u32));
            }
        }
        points.sort_unstable();
        Ring { points }
    }

    /// The members from the point of `hash` on, once round.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> {
        let from = self.points.partition_point(|&(point, _)| point < hash);
        let (before, behind) = self.points.split_at(from);
        behind.iter().chain(before).map(|&(_, member)| member as usize)
    }
}
