//! Quantiles out of buckets.
//!
//! Law: pure. Interpolated within a bucket as Prometheus' `histogram_quantile` does, so that both say the same.

/// The quantiles that Envoy computes.
pub(in crate::telemetry) const SHARES: [f64; 10] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 1.0];
/// The same in percent.
pub(super) const PERCENTS: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// The values that these shares of the observations did not pass; `None` without any. `counts` has an entry more than
/// there are `bounds`; what is in it was above all of them, and is taken for the last.
pub(in crate::telemetry) fn quantiles(bounds: &[f64], counts: &[u64]) -> [Option<f64>; SHARES.len()] {
    let total: u64 = counts.iter().sum();
    SHARES.map(|share| at(bounds, counts, share * total as f64))
}

fn at(bounds: &[f64], counts: &[u64], rank: f64) -> Option<f64> {
    let (mut below, mut highest) = (0.0, None);
    for (bucket, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let lower = bucket.checked_sub(1).and_then(|before| bounds.get(before)).copied().unwrap_or(0.0);
        let upper = bounds.get(bucket).copied().unwrap_or(lower);
        let count = count as f64;
        if below + count >= rank {
            return Some(lower + (upper - lower) * ((rank - below) / count));
        }
        below += count;
        highest = Some(upper);
    }
    // A rank may be a rounding above the number of observations.
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket_and_in_the_last_one_at_its_bound() {
        let of = |counts: &[u64]| quantiles(&[1.0, 2.0, 4.0], counts);
        assert_eq!(of(&[0, 0, 0, 0]), [None; 10]);
        assert_eq!(of(&[0, 4, 0, 0])[..4], [Some(1.0), Some(1.25), Some(1.5), Some(1.75)]);
        assert_eq!(of(&[0, 4, 0, 0])[9], Some(2.0));
        let two = of(&[2, 0, 2, 0]);
        assert_eq!((two[0], two[2], two[3], two[9]), (Some(0.0), Some(1.0), Some(3.0), Some(4.0)));
        assert_eq!(of(&[0, 0, 0, 7]), [Some(4.0); 10]);
    }

    #[test]
    fn quantiles_never_fall() {
        for seed in 0..500_u64 {
            let counts: Vec<u64> = (0..4).map(|i| ((seed * 7919) >> (2 * i)) % 5).collect();
            let found = quantiles(&[0.5, 1.0, 25.0], &counts);
            assert!(found.is_sorted(), "{counts:?} {found:?}");
        }
    }
}
