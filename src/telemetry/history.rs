//! Five minutes of one version, for whoever looks next: requests and failures, in steps of five seconds.
//!
//! Law: it is kept whether or not somebody looks, as people look when something has happened. Only a version that had a
//! request within the five minutes has one; its size is fixed. A step is whole when it is told, and is the same each
//! time.

use super::record::Outcome;
use super::window::Snapshot;

/// Seconds of a step.
pub const STEP: u64 = 5;
/// Five minutes of them.
const STEPS: usize = 60;

/// What happened in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// All requests.
    pub requests: u32,
    /// Those whose answer blames the request.
    pub client_errors: u32,
    /// Those that the server failed.
    pub server_errors: u32,
}

impl Point {
    /// What was counted from one snapshot to the other.
    pub(super) fn between(earlier: &Snapshot, later: &Snapshot) -> Point {
        let grown = |at: usize| later.requests[at].saturating_sub(earlier.requests[at]);
        // Beyond what five seconds can hold.
        let small = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        Point {
            requests: small((0..later.requests.len()).map(grown).sum()),
            client_errors: small(grown(Outcome::ClientError.index())),
            server_errors: small(grown(Outcome::ServerError.index())),
        }
    }
}

/// See the module. Steps are told apart by their number, of a count that all versions share.
#[derive(Debug)]
pub(super) struct History {
    /// Each where its number modulo their count says.
    points: [Point; STEPS],
    newest: u64,
    /// The newest that had a request.
    busy: u64,
}

impl History {
    /// One in which nothing happened before this step.
    pub(super) fn new(step: u64, point: Point) -> History {
        let mut history = History { points: [Point::default(); STEPS], newest: step, busy: step };
        history.push(step, point);
        history
    }

    /// Takes a step that is whole.
    pub(super) fn push(&mut self, step: u64, point: Point) {
        // Those that passed while the process was stopped.
        for skipped in (self.newest + 1..step).rev().take(STEPS) {
            self.points[place(skipped)] = Point::default();
        }
        self.points[place(step)] = point;
        self.newest = step;
        if point.requests > 0 {
            self.busy = step;
        }
    }

    /// Whether all that it knows is that nothing happened.
    pub(super) fn is_empty(&self) -> bool {
        self.newest - self.busy >= STEPS as u64
    }

    /// The last `count` steps, oldest first.
    pub(super) fn last(&self, count: usize) -> Vec<Point> {
        let oldest = (self.newest + 1).saturating_sub(count.min(STEPS) as u64);
        (oldest..=self.newest).map(|step| self.points[place(step)]).collect()
    }
}

fn place(step: u64) -> usize {
    (step % STEPS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(requests: u32) -> Point {
        Point { requests, ..Point::default() }
    }

    fn requests(history: &History, count: usize) -> Vec<u32> {
        history.last(count).iter().map(|point| point.requests).collect()
    }

    #[test]
    fn it_keeps_five_minutes_and_no_more() {
        let mut history = History::new(7, point(7));
        assert_eq!(requests(&history, 3), [0, 0, 7]);
        for step in 8..=1_000 {
            history.push(step, point(step as u32));
            assert_eq!(requests(&history, 2), [step as u32 - 1, step as u32]);
        }
        assert_eq!(requests(&history, STEPS), (941..=1_000).collect::<Vec<_>>());
        assert_eq!(requests(&history, STEPS + 1).len(), STEPS);
    }

    #[test]
    fn it_is_empty_when_its_last_request_is_five_minutes_old() {
        let mut history = History::new(1, point(1));
        (2..=STEPS as u64).for_each(|step| history.push(step, point(0)));
        assert!(!history.is_empty() && requests(&history, STEPS)[0] == 1);
        history.push(STEPS as u64 + 1, point(0));
        assert!(history.is_empty() && requests(&history, STEPS) == [0; STEPS]);
    }

    #[test]
    fn of_steps_that_were_skipped_it_tells_nothing_that_was_before() {
        for skipped in [1_u64, 59, 60, 61, 1_000] {
            let mut history = History::new(1, point(9));
            (2..=200).for_each(|step| history.push(step, point(9)));
            history.push(201 + skipped, point(5));
            let told = requests(&history, STEPS);
            let known = STEPS.saturating_sub(skipped as usize + 1);
            assert_eq!((told[STEPS - 1], told.iter().filter(|&&requests| requests == 9).count()), (5, known));
            assert!(told[known..STEPS - 1].iter().all(|&requests| requests == 0), "{skipped}: {told:?}");
        }
    }

    #[test]
    fn a_point_is_what_grew_by_who_was_to_blame() {
        let earlier = Snapshot { requests: [1, 2, 3, 4], ..Snapshot::default() };
        let mut later = earlier.clone();
        later.requests[Outcome::Success.index()] += 10;
        later.requests[Outcome::ClientError.index()] += 20;
        later.requests[Outcome::ServerError.index()] += 30;
        later.requests[Outcome::Cancelled.index()] += 40;
        let point = Point { requests: 100, client_errors: 20, server_errors: 30 };
        assert_eq!(Point::between(&earlier, &later), point);
        later.requests[0] = u64::MAX / 2;
        assert_eq!(Point::between(&earlier, &later).requests, u32::MAX);
    }
}
