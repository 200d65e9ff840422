//! How long to wait before another attempt. Pure: the draw is an argument.
//!
//! Source: Envoy's `retry_back_off`, an exponential one with full jitter.

use std::time::Duration;

use crate::snapshot::BackOff;

/// The pause before the `n`th retry, from 1 on: a share of `min((2^n - 1) * base, max)`, as large as `draw` is among all
/// numbers.
pub(in crate::proxy) fn pause(back_off: BackOff, n: u32, draw: u64) -> Duration {
    let steps = 1_u32.checked_shl(n).map_or(u32::MAX, |power| power - 1);
    let ceiling = back_off.base.saturating_mul(steps).min(back_off.max);
    // A pause of more than five centuries is none that anybody means.
    let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(((u128::from(nanos) * u128::from(draw)) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_and_the_draw_chooses_below_it() {
        let back_off = BackOff { base: ms(25), max: ms(250) };
        for (n, ceiling) in
            [(1, 25), (2, 75), (3, 175), (4, 250), (5, 250), (31, 250), (32, 250), (4_000, 250)]
        {
            assert_eq!(pause(back_off, n, 0), ms(0));
            assert_eq!(pause(back_off, n, 1 << 63), ms(ceiling) / 2);
            let longest = pause(back_off, n, u64::MAX);
            assert!(longest < ms(ceiling) && longest > ms(ceiling - 1), "{n}: {longest:?}");
        }
    }

    #[test]
    fn a_pause_of_nothing_is_none_and_one_without_end_does_not_overflow() {
        assert_eq!(pause(BackOff { base: ms(0), max: ms(250) }, 9, u64::MAX), ms(0));
        assert_eq!(pause(BackOff { base: ms(25), max: ms(0) }, 9, u64::MAX), ms(0));
        let endless = BackOff { base: Duration::MAX, max: Duration::MAX };
        assert!(pause(endless, 9, u64::MAX) > Duration::from_secs(1 << 33));
    }
}
