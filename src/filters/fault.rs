//! What is made to go wrong with a request.
//!
//! Law: delay and abort are decided apart, each by a draw of its own.

use std::time::Duration;

use crate::snapshot::{AbortStatus, Fault};

/// What becomes of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// It waits for so long first.
    pub delay: Option<Duration>,
    /// It is answered with this.
    pub abort: Option<AbortStatus>,
}

/// Decides by two draws, each any number drawn evenly.
pub fn decide(fault: &Fault, draws: [u64; 2]) -> Decision {
    let delay = fault.delay.filter(|delay| delay.fraction.holds(draws[0])).map(|delay| delay.fixed);
    let abort = fault.abort.filter(|abort| abort.fraction.holds(draws[1])).map(|abort| abort.status);
    Decision { delay, abort }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Abort, Delay, Fraction};

    #[test]
    fn delay_and_abort_each_hold_for_their_own_share_of_the_draws() {
        let fraction = |percent| Fraction::of_percent(percent);
        let fault = Fault {
            delay: Some(Delay { fixed: Duration::from_secs(5), fraction: fraction(0.01) }),
            abort: Some(Abort { status: AbortStatus::Http(418), fraction: fraction(50.0) }),
        };
        let decide = |draws| {
            let Decision { delay, abort } = decide(&fault, draws);
            (delay.is_some(), abort.is_some())
        };
        assert_eq!(decide([99, 499_999]), (true, true));
        assert_eq!(decide([100, 499_999]), (false, true));
        assert_eq!(decide([99, 500_000]), (true, false));
        assert_eq!(decide([1_000_000 + 99, 2_000_000 - 1]), (true, false));
        let none = Fault { delay: None, abort: None };
        assert_eq!(super::decide(&none, [0, 0]), Decision::default());
    }

    #[test]
    fn every_request_and_none_are_fractions_too() {
        let abort = |percent| Fault {
            delay: None,
            abort: Some(Abort { status: AbortStatus::Http(500), fraction: Fraction::of_percent(percent) }),
        };
        for draw in [0, 1, 999_999, 1_000_000, u64::MAX] {
            assert!(super::decide(&abort(100.0), [0, draw]).abort.is_some());
            assert!(super::decide(&abort(0.0), [0, draw]).abort.is_none());
        }
    }
}
