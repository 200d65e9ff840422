//! How well a version does, in the words that the live page and `weir top` show: good, degraded, failing; high.
//!
//! Law: judged here alone, of figures alone, so that whoever shows them says the same. It must not know who does.

use serde::{Serialize, Serializer};

use crate::telemetry::Figures;

/// From this share of success on a version is well.
const GOOD: f64 = 0.999;
/// And from this on it is not failing yet.
const DEGRADED: f64 = 0.95;
/// Client errors are compared where a version has so many requests, and the others of its rule together have as many.
const MIN_REQUESTS: u64 = 20;
/// Fewer client errors of a version are chance.
const MIN_CLIENT_ERRORS: u64 = 5;
/// From this share on they are high whatever the other versions have: where all answer 400, or one is alone, or there
/// is too little traffic to compare, callers fail all the same.
const HALF: f64 = 0.5;
/// Below it their share is high at so many times the others' …
const TIMES: f64 = 2.0;
/// … and so much above it.
const ABOVE: f64 = 0.05;

/// In the order in which they want somebody to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    Good,
    Degraded,
    Failing,
}

impl State {
    /// As it is shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            State::Good => "good",
            State::Degraded => "degraded",
            State::Failing => "failing",
        }
    }
}

/// Of client errors, which a version has for its callers' sake or for its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientErrors {
    /// At least half of its requests, or well above those of the other versions of its rule.
    High,
}

impl ClientErrors {
    /// As it is shown.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ClientErrors::High => "high",
        }
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for ClientErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Of the last minute; `null` where there is nothing to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct States {
    pub(super) success: Option<State>,
    pub(super) client_errors: Option<ClientErrors>,
    pub(super) endpoints: Option<State>,
}

/// What was counted of a version in the last minute, as far as it is judged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    /// Requests whose caller stayed.
    pub(super) judged: u64,
    pub(super) client_errors: u64,
    pub(super) success_rate: Option<f64>,
}

impl From<&Figures> for Counted {
    fn from(figures: &Figures) -> Counted {
        Counted {
            judged: figures.requests.saturating_sub(figures.cancelled),
            client_errors: figures.client_errors,
            success_rate: figures.success_rate,
        }
    }
}

/// The states of a rule's versions, in their order, by what was counted of them and how their endpoints are.
pub(super) fn of_rule(versions: &[(Counted, State)]) -> Vec<States> {
    let sum = |of: fn(&Counted) -> u64| versions.iter().map(|(counted, _)| of(counted)).sum::<u64>();
    let (judged, client_errors) = (sum(|counted| counted.judged), sum(|counted| counted.client_errors));
    let states = versions.iter().map(|(counted, endpoints)| {
        let others = (judged - counted.judged, client_errors - counted.client_errors);
        States {
            success: counted.success_rate.map(success),
            client_errors: are_high(counted, others).then_some(ClientErrors::High),
            endpoints: Some(*endpoints),
        }
    });
    states.collect()
}

fn success(rate: f64) -> State {
    match rate {
        rate if rate >= GOOD => State::Good,
        rate if rate >= DEGRADED => State::Degraded,
        _ => State::Failing,
    }
}

/// Whether a version's client errors are high: by themselves, or beside the others', `(requests, client errors)`.
fn are_high(own: &Counted, others: (u64, u64)) -> bool {
    if own.client_errors < MIN_CLIENT_ERRORS {
        return false;
    }
    let share = own.client_errors as f64 / own.judged as f64;
    share >= HALF || own.judged >= MIN_REQUESTS && others.0 >= MIN_REQUESTS && is_well_above(share, others)
}

fn is_well_above(share: f64, (requests, client_errors): (u64, u64)) -> bool {
    let others = client_errors as f64 / requests as f64;
    share >= TIMES * others && share >= others + ABOVE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(judged: u64, client_errors: u64) -> Counted {
        Counted { judged, client_errors, success_rate: Some(1.0) }
    }

    /// Which of a rule's versions have high client errors, by `(requests, client errors)` of each.
    fn high(versions: &[(u64, u64)]) -> Vec<bool> {
        let versions: Vec<_> =
            versions.iter().map(|&(all, errors)| (counted(all, errors), State::Good)).collect();
        of_rule(&versions).iter().map(|states| states.client_errors.is_some()).collect()
    }

    #[test]
    fn client_errors_are_high_where_they_are_well_above_those_of_the_other_versions() {
        assert_eq!(high(&[(52, 32), (48, 0)]), [true, false]);
        assert_eq!(high(&[(900, 9), (50, 5), (50, 40)]), [false, false, true]);
        // Twice and five points: each alone is too little.
        assert_eq!(high(&[(100, 10), (100, 5)]), [true, false]);
        assert_eq!(high(&[(100, 9), (100, 5)]), [false, false]);
        assert_eq!(high(&[(1000, 40), (1000, 10)]), [false, false]);
        assert_eq!(high(&[(100, 49), (100, 30)]), [false, false]);
    }

    #[test]
    fn client_errors_are_compared_by_a_sample_and_never_of_a_version_that_is_alone() {
        for few in [[(19, 9), (900, 0)], [(900, 449), (19, 0)], [(20, 4), (900, 0)]] {
            assert_eq!(high(&few), [false, false], "{few:?}");
        }
        assert_eq!(high(&[(20, 5), (20, 0)]), [true, false]);
        assert_eq!(high(&[(1000, 499)]), [false]);
        assert_eq!(high(&[(1000, 499), (1000, 499)]), [false, false]);
    }

    #[test]
    fn client_errors_are_high_where_they_are_half_of_the_requests_whatever_the_others_do() {
        assert_eq!(high(&[(1000, 1000)]), [true]);
        assert_eq!(high(&[(1000, 500), (1000, 499)]), [true, false]);
        assert_eq!(high(&[(1000, 1000), (1000, 1000)]), [true, true]);
        // With little traffic, though not of a handful.
        assert_eq!(high(&[(10, 5), (0, 0)]), [true, false]);
        assert_eq!(high(&[(11, 5), (0, 0)]), [false, false]);
        assert_eq!(high(&[(4, 4), (0, 0)]), [false, false]);
    }

    #[test]
    fn success_is_good_degraded_or_failing_and_nothing_without_requests() {
        let state = |success_rate| {
            let counted = Counted { success_rate, ..Counted::default() };
            of_rule(&[(counted, State::Good)])[0].success
        };
        assert_eq!(state(None), None);
        for (rate, wanted) in [
            (1.0, State::Good),
            (0.999, State::Good),
            (0.998, State::Degraded),
            (0.95, State::Degraded),
            (0.949, State::Failing),
        ] {
            assert_eq!(state(Some(rate)), Some(wanted), "{rate}");
        }
    }
}
