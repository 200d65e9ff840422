//! Five minutes of one version, for those who look: requests and failures, in steps of five seconds.
//!
//! Law: it begins when somebody asks, with the minute that is known anyway, and is forgotten a minute after the last who
//! asked; it grows to a bound. A step is whole when it is told, and is the same each time.

use std::collections::VecDeque;

use super::record::Outcome;
use super::window::Snapshot;

/// Seconds of a step.
pub const STEP: usize = 5;
/// Seconds that are kept.
const SECONDS: usize = 300;
/// Seconds for which nobody has to ask before it is forgotten.
const FORGET_AFTER: usize = 60;

/// What happened in a second or in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// All requests.
    pub requests: u64,
    /// Those whose answer blames the request.
    pub client_errors: u64,
    /// Those that the server failed.
    pub server_errors: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    /// Oldest first; each a second.
    points: VecDeque<Point>,
    last: Point,
    unasked: usize,
}

impl History {
    /// One that begins with these seconds.
    pub(super) fn new<'s>(seconds: impl IntoIterator<Item = &'s Snapshot>) -> History {
        let mut seconds = seconds.into_iter();
        let last = seconds.next().map(total).unwrap_or_default();
        let mut history = History { points: VecDeque::new(), last, unasked: 0 };
        seconds.for_each(|second| history.push(second));
        history
    }

    /// Takes what has been counted until now. Once a second.
    pub(super) fn push(&mut self, now: &Snapshot) {
        let now = total(now);
        self.points.push_back(Point {
            requests: now.requests.saturating_sub(self.last.requests),
            client_errors: now.client_errors.saturating_sub(self.last.client_errors),
            server_errors: now.server_errors.saturating_sub(self.last.server_errors),
        });
        self.last = now;
        if self.points.len() > SECONDS {
            self.points.pop_front();
        }
        self.unasked += 1;
    }

    /// Whether nobody has asked for it for long.
    pub(super) fn is_forgotten(&self) -> bool {
        self.unasked > FORGET_AFTER
    }

    /// The whole steps within the last `seconds`, oldest first, `ticks` seconds after a moment that all versions share.
    pub(super) fn steps(&mut self, ticks: u64, seconds: usize) -> Vec<Point> {
        self.unasked = 0;
        // Newer than the end of the last whole step.
        let unfinished = (ticks % STEP as u64) as usize;
        let whole = self.points.len().saturating_sub(unfinished);
        let newest_first: Vec<Point> = self.points.iter().take(whole).rev().copied().collect();
        let steps = newest_first.chunks_exact(STEP).take(seconds / STEP).map(|step| Point {
            requests: step.iter().map(|second| second.requests).sum(),
            client_errors: step.iter().map(|second| second.client_errors).sum(),
            server_errors: step.iter().map(|second| second.server_errors).sum(),
        });
        let mut steps: Vec<Point> = steps.collect();
        steps.reverse();
        steps
    }
}

fn total(snapshot: &Snapshot) -> Point {
    Point {
        requests: snapshot.requests.iter().sum(),
        client_errors: snapshot.requests[Outcome::ClientError.index()],
        server_errors: snapshot.requests[Outcome::ServerError.index()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// So many requests since the start, a fifth of them failed by the server, a tenth by the callers.
    fn counted(requests: u64) -> Snapshot {
        let mut snapshot = Snapshot::default();
        snapshot.requests[Outcome::ServerError.index()] = requests / 5;
        snapshot.requests[Outcome::ClientError.index()] = requests / 10;
        snapshot.requests[Outcome::Success.index()] = requests - requests / 5 - requests / 10;
        snapshot
    }

    fn requests(steps: &[Point]) -> Vec<u64> {
        steps.iter().map(|step| step.requests).collect()
    }

    #[test]
    fn a_step_is_told_when_it_is_whole_and_stays_as_it_is() {
        let mut history = History::new([&counted(0)]);
        let mut told: Vec<Vec<u64>> = Vec::new();
        for second in 1..=23_u64 {
            history.push(&counted(second * (second + 1) / 2));
            told.push(requests(&history.steps(second, SECONDS)));
        }
        // 1 + 2 + 3 + 4 + 5 requests in the first five seconds, and so on.
        assert_eq!(told[3], Vec::<u64>::new());
        assert_eq!((&told[4], &told[8]), (&vec![15], &vec![15]));
        assert_eq!(told[22], [15, 40, 65, 90]);
        assert_eq!(history.steps(23, 10).iter().map(|step| step.requests).collect::<Vec<_>>(), [65, 90]);
        assert_eq!(history.steps(23, 5)[0].server_errors, 210 / 5 - 120 / 5);
        assert_eq!(history.steps(23, 5)[0].client_errors, 210 / 10 - 120 / 10);
    }

    #[test]
    fn it_begins_with_what_is_known_and_keeps_five_minutes() {
        let known: Vec<Snapshot> = (0..=60).map(|second| counted(second * 10)).collect();
        let mut history = History::new(&known);
        assert_eq!(requests(&history.steps(60, SECONDS)), [50; 12]);
        for second in 61..=1_000 {
            history.push(&counted(second * 10));
        }
        assert_eq!(requests(&history.steps(1_000, SECONDS)), [50; 60]);
        assert_eq!(history.points.len(), SECONDS);
    }

    #[test]
    fn it_is_forgotten_a_minute_after_the_last_who_asked() {
        let mut history = History::new([]);
        for _ in 0..FORGET_AFTER {
            history.push(&counted(0));
        }
        assert!(!history.is_forgotten());
        history.steps(60, SECONDS);
        for _ in 0..=FORGET_AFTER {
            history.push(&counted(0));
        }
        assert!(history.is_forgotten());
    }
}
