//! Which traces are recorded, where nobody has decided before.
//!
//! Law: by the trace's id alone, so that all who sample at a rate, and at a lower one, agree; nothing is drawn.
//! Source: OpenTelemetry's consistent probability sampling: recorded is what has at least the threshold in its last 56
//! bits.

use super::ids::{RANDOM_BITS, TraceId};

/// A part of all traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    threshold: u64,
}

impl Rate {
    /// `numerator` of `denominator`; more than all is all, and a part of nothing is none.
    pub fn new(numerator: u32, denominator: u32) -> Rate {
        let all = 1_u128 << RANDOM_BITS;
        let share = (all * u128::from(numerator)).checked_div(denominator.into()).unwrap_or(0);
        Rate { threshold: u64::try_from(all.saturating_sub(share)).unwrap_or(0) }
    }

    /// Whether the trace is recorded.
    pub fn takes(self, trace: TraceId) -> bool {
        trace.randomness() >= self.threshold
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;

    use super::*;

    #[test]
    fn none_and_all_are_exact_and_a_share_is_one() {
        let mut dice = SmallRng::seed_from_u64(7);
        let traces: Vec<_> =
            (0..100_000).map(|_| TraceId::random(dice.next_u64(), dice.next_u64())).collect();
        let taken = |rate: Rate| traces.iter().filter(|trace| rate.takes(**trace)).count();
        assert_eq!((taken(Rate::new(0, 100)), taken(Rate::new(1, 0))), (0, 0));
        assert_eq!((taken(Rate::new(100, 100)), taken(Rate::new(3, 2))), (100_000, 100_000));
        // Six standard deviations of a fair draw: of this seed, it is what it is.
        assert!(taken(Rate::new(1, 100)).abs_diff(1_000) < 190);
    }

    proptest! {
        #[test]
        fn what_a_lower_rate_takes_a_higher_one_takes_too(low: u64, a in 0_u32..=1_000, b in 0_u32..=1_000) {
            let trace = TraceId::random(0, low);
            let (lower, higher) = (Rate::new(a.min(b), 1_000), Rate::new(a.max(b), 1_000));
            prop_assert!(!lower.takes(trace) || higher.takes(trace));
        }
    }
}
