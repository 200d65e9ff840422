//! The version that a key sticks to: weighted rendezvous hashing.
//!
//! Every version draws a number `u` in (0, 1] by a hash of itself and the key, and the one with the smallest `-log(u) / w`
//! takes the request. These are exponential variables with the weights as rates, so a version is the smallest with the
//! probability of its share.
//!
//! # Laws
//! - The same key, salt, versions and weights give the same version in every process and release: all of it is whole
//!   numbers, the logarithm too.
//! - Over many keys each version has its share.
//! - A weight that rises takes keys from the others, and moves none between these; one that falls gives its own away.
//! - The order of the versions does not matter.

use std::cmp::Ordering;

use crate::message::xxhash::xxh64;
use crate::snapshot::VersionTarget;

/// What sets the draws of each version apart, by `salt` and by what it is: its service and labels, not its place. Of
/// several that are the same each has its own.
pub fn seeds(salt: &str, versions: &[VersionTarget]) -> Vec<u64> {
    let salt = xxh64(salt.as_bytes(), 0);
    let mut seeds = Vec::with_capacity(versions.len());
    for version in versions {
        let mut seed = xxh64(identity(version).as_bytes(), salt);
        while seeds.contains(&seed) {
            seed = xxh64(&seed.to_le_bytes(), salt);
        }
        seeds.push(seed);
    }
    seeds
}

fn identity(version: &VersionTarget) -> String {
    let mut text = version.service.as_deref().unwrap_or_default().to_owned();
    for (name, value) in version.labels.iter() {
        // No label holds either.
        text.push('\n');
        text.push_str(name);
        text.push('=');
        text.push_str(value);
    }
    text
}

/// The place of the version that `key` sticks to; `None` when none has weight. `versions`: seed and weight of each.
pub fn choose(key: &[u8], versions: impl IntoIterator<Item = (u64, u32)>) -> Option<usize> {
    let scored = versions.into_iter().enumerate().filter(|&(_, (_, weight))| weight > 0);
    let scored = scored.map(|(place, (seed, weight))| (place, Score::new(xxh64(key, seed), weight)));
    scored.min_by(|(_, a), (_, b)| a.compare(b)).map(|(place, _)| place)
}

/// `-log2(u) / weight`, as a fraction.
struct Score {
    log: u64,
    weight: u32,
    /// For two that are equal, so that their order does not matter.
    draw: u64,
}

impl Score {
    fn new(draw: u64, weight: u32) -> Score {
        Score { log: minus_log2(draw), weight, draw }
    }

    fn compare(&self, other: &Score) -> Ordering {
        let mine = u128::from(self.log) * u128::from(other.weight);
        let others = u128::from(other.log) * u128::from(self.weight);
        mine.cmp(&others).then(self.draw.cmp(&other.draw))
    }
}

/// Bits behind the point of [`minus_log2`].
const FRACTION: u32 = 48;

/// `-log2((draw + 1) / 2^64)`, from 0 to 64.
fn minus_log2(draw: u64) -> u64 {
    let Some(number) = draw.checked_add(1) else { return 0 };
    let whole = number.ilog2();
    // From 1 to 2, with 63 bits behind the point. Its square has the next bit of the logarithm before the point.
    let mut mantissa = u128::from(number << (63 - whole));
    let mut log = u64::from(whole);
    for _ in 0..FRACTION {
        mantissa = (mantissa * mantissa) >> 63;
        log <<= 1;
        if mantissa >> 64 != 0 {
            mantissa >>= 1;
            log |= 1;
        }
    }
    (64 << FRACTION) - log
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(name: &str, weight: u32) -> VersionTarget {
        VersionTarget {
            labels: [("version".into(), name.into())].into_iter().collect(),
            weight,
            ..VersionTarget::default()
        }
    }

    fn chosen(salt: &str, versions: &[VersionTarget], key: u64) -> usize {
        let seeds = seeds(salt, versions);
        let weights = versions.iter().map(|version| version.weight);
        choose(&key.to_le_bytes(), seeds.into_iter().zip(weights)).expect("a version")
    }

    fn named(weights: &[u32]) -> Vec<VersionTarget> {
        weights.iter().enumerate().map(|(place, &weight)| version(&format!("v{place}"), weight)).collect()
    }

    #[test]
    fn the_logarithm_is_that_of_floating_point() {
        for draw in [0, 1, 2, 3, 1 << 20, (1 << 63) - 1, 1 << 63, u64::MAX / 3, u64::MAX - 1, u64::MAX] {
            let exact = 64.0 - ((draw as f64) + 1.0).log2();
            let ours = minus_log2(draw) as f64 / (1u64 << FRACTION) as f64;
            assert!((exact - ours).abs() < 1e-11, "{draw}: {exact} {ours}");
        }
    }

    /// Chi-square of 20,000 keys against the shares: for up to three degrees of freedom 30 is passed once in a million.
    #[test]
    fn over_many_keys_each_version_has_its_share() {
        const KEYS: u64 = 20_000;
        for weights in [&[95, 5][..], &[1, 1], &[50, 30, 15, 5], &[1, 0, 999]] {
            for salt in ["a", "b", "rule.ns"] {
                let versions = named(weights);
                let mut counts = vec![0u64; weights.len()];
                (0..KEYS).for_each(|key| counts[chosen(salt, &versions, key)] += 1);
                let sum: u32 = weights.iter().sum();
                let parts = counts.iter().zip(weights).filter(|&(_, &weight)| weight > 0);
                let chi: f64 = parts
                    .map(|(&count, &weight)| {
                        let share = KEYS as f64 * f64::from(weight) / f64::from(sum);
                        (count as f64 - share).powi(2) / share
                    })
                    .sum();
                assert!(chi < 30.0, "{weights:?} {salt}: {counts:?}");
                assert!(counts.iter().zip(weights).all(|(&count, &weight)| weight > 0 || count == 0));
            }
        }
    }

    #[test]
    fn the_same_key_gives_the_same_version_in_every_release() {
        let versions = named(&[60, 30, 10]);
        let chosen: Vec<usize> = (0..24).map(|key| chosen("salt", &versions, key)).collect();
        assert_eq!(chosen, GOLDEN);
    }

    const GOLDEN: [usize; 24] = [0, 0, 0, 1, 1, 0, 2, 2, 2, 2, 2, 0, 2, 1, 1, 2, 0, 0, 0, 0, 0, 0, 1, 0];

    #[test]
    fn another_salt_gives_other_choices() {
        let versions = named(&[1, 1]);
        let differ =
            (0..1000).filter(|&key| chosen("a", &versions, key) != chosen("b", &versions, key)).count();
        assert!((400..600).contains(&differ), "{differ}");
    }

    #[test]
    fn shares_of_the_same_labels_are_added_up() {
        let versions = [version("v1", 50), version("v2", 25), version("v2", 25)];
        let first = (0..10_000).filter(|&key| chosen("a", &versions, key) == 0).count();
        assert!((4750..5250).contains(&first), "{first}");
    }

    #[test]
    fn without_weight_there_is_no_version() {
        assert_eq!(choose(b"key", [(1, 0), (2, 0)]), None);
        assert_eq!(choose(b"key", []), None);
    }

    proptest! {
        #[test]
        fn a_weight_that_rises_only_moves_keys_to_its_version(
            mut weights in proptest::collection::vec(0u32..100, 2..6), place in 0usize..6, by in 1u32..1_000_000,
        ) {
            let place = place % weights.len();
            prop_assume!(weights.iter().sum::<u32>() > 0);
            let before = named(&weights);
            weights[place] += by;
            let after = named(&weights);
            for key in 0..200 {
                let (from, to) = (chosen("s", &before, key), chosen("s", &after, key));
                prop_assert!(from == to || to == place, "{key}: {from} {to}");
            }
        }

        #[test]
        fn the_order_of_versions_does_not_matter(
            weights in proptest::collection::vec(1u32..100, 2..6), turn in 0usize..6,
        ) {
            let versions = named(&weights);
            let mut turned = versions.clone();
            turned.rotate_left(turn % weights.len());
            for key in 0..100 {
                let (a, b) = (chosen("s", &versions, key), chosen("s", &turned, key));
                prop_assert_eq!(&versions[a], &turned[b]);
            }
        }
    }
}
