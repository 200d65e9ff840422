//! Slow start: an endpoint that is new gets its share little by little, while its caches and models warm up.
//!
//! Source: Envoy's `slow_start_config`. Pure.

use crate::snapshot::SlowStart;

/// What weights are counted in while shares grow, so that a part of 1 can be said.
const PARTS: f64 = 100.0;

/// The weight of a member of `weight` that is well since `for_ms`, in hundredths.
pub(super) fn weight(config: &SlowStart, weight: u32, for_ms: u64) -> u32 {
    let window_ms = config.window.as_secs_f64() * 1e3;
    let full = f64::from(weight) * PARTS;
    // Within its first second nobody has less than after it.
    let passed = (for_ms as f64).max(1e3) / window_ms.max(1.0);
    let factor =
        if passed >= 1.0 { 1.0 } else { passed.powf(1.0 / config.aggression.max(f64::MIN_POSITIVE)) };
    let least = f64::from(config.min_weight_percent.min(100)) / 100.0;
    (full * factor.max(least)).round().clamp(1.0, f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn config(aggression: f64) -> SlowStart {
        SlowStart { window: Duration::from_secs(60), aggression, min_weight_percent: 10 }
    }

    #[test]
    fn a_share_grows_with_time_from_the_least_to_the_whole_and_stays_whole() {
        let at = |for_ms| weight(&config(1.0), 4, for_ms);
        assert_eq!(
            [at(0), at(6_000), at(30_000), at(45_000), at(60_000), at(1 << 40)],
            [40, 40, 200, 300, 400, 400]
        );
        let mut last = 0;
        for for_ms in (0..70_000).step_by(500) {
            assert!(at(for_ms) >= last);
            last = at(for_ms);
        }
    }

    #[test]
    fn aggression_above_one_grows_faster_at_the_beginning_and_below_one_slower() {
        let at = |aggression| weight(&config(aggression), 1, 15_000);
        assert_eq!([at(1.0), at(2.0), at(0.5)], [25, 50, 10]);
    }

    #[test]
    fn nobody_is_without_a_share() {
        let none = SlowStart { min_weight_percent: 0, ..config(0.01) };
        assert_eq!(weight(&none, 1, 0), 1);
    }
}
