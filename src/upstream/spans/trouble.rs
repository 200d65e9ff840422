//! What the process's log says of spans that do not arrive.
//!
//! Law: of each kind of trouble the first is told at once, and one line in ten seconds; what a line leaves out the next
//! one tells, of its kind or that all is well again, so that no span is lost untold. It reads no clock and writes
//! nothing: `now` is an argument, and lines are given back.

use std::time::{Duration, Instant};

use crate::telemetry::families::SpanLoss;

/// Of each kind one line in so long.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(10);
/// Characters of a reason: collectors write theirs themselves.
const REASON_CHARS: usize = 300;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A batch did not arrive; it is sent again.
    Retrying,
    /// Spans are lost.
    Lost(SpanLoss),
    /// The collector takes spans, after lines that said that it does not.
    Again,
}

/// A line that is due.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) what: What,
    /// Of the batch that is sent again; or lost since the last line of the kind, or of any kind.
    pub(super) spans: usize,
    pub(super) reason: String,
}

/// A kind of line: when it was last told, and what is to tell.
#[derive(Debug, Default)]
struct Kind {
    told: Option<Instant>,
    waits: bool,
    spans: usize,
    reason: String,
}

impl Kind {
    fn note(&mut self, spans: usize, reason: &str) {
        self.waits = true;
        self.spans = spans;
        self.reason = reason.chars().take(REASON_CHARS).collect();
    }

    fn forget(&mut self) -> usize {
        self.waits = false;
        std::mem::take(&mut self.spans)
    }

    fn may_tell(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.saturating_duration_since(told) >= TELL_EVERY)
    }

    fn line(&mut self, what: What, now: Instant) -> Line {
        self.told = Some(now);
        Line { what, spans: self.forget(), reason: std::mem::take(&mut self.reason) }
    }
}

/// What is known of the way to one collector.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    retrying: Kind,
    /// By [`SpanLoss`].
    lost: [Kind; SpanLoss::ALL.len()],
    again: Kind,
    /// Whether the last line about the collector said that it takes none.
    is_told: bool,
}

impl Troubles {
    /// A batch of so many spans did not arrive, and is sent again.
    pub(super) fn failed(&mut self, spans: usize, reason: &str) {
        self.retrying.note(spans, reason);
        self.again.forget();
    }

    /// So many spans are lost.
    pub(super) fn lost(&mut self, why: SpanLoss, spans: usize, reason: &str) {
        if spans == 0 {
            return;
        }
        let kind = &mut self.lost[why as usize];
        kind.note(kind.spans + spans, reason);
        if why != SpanLoss::QueueFull {
            self.retrying.forget();
            self.again.forget();
        }
    }

    /// A batch was taken whole.
    pub(super) fn taken(&mut self) {
        self.retrying.forget();
        self.again.waits = self.is_told;
    }

    /// The lines whose time has come; with `all` those too whose time has not.
    pub(super) fn due(&mut self, now: Instant, all: bool) -> Vec<Line> {
        let mut lines = Vec::new();
        for why in SpanLoss::ALL {
            let kind = &mut self.lost[why as usize];
            if kind.waits && (all || kind.may_tell(now)) {
                lines.push(kind.line(What::Lost(why), now));
                self.is_told |= why != SpanLoss::QueueFull;
            }
        }
        if self.retrying.waits && self.retrying.may_tell(now) {
            lines.push(self.retrying.line(What::Retrying, now));
            self.is_told = true;
        }
        if self.again.waits && self.again.may_tell(now) {
            self.again.spans = self.lost.iter_mut().map(Kind::forget).sum();
            lines.push(self.again.line(What::Again, now));
            self.is_told = false;
        }
        lines
    }

    /// When there may be a line next, with no more trouble than there is; `None`: there will be none.
    pub(super) fn next(&self) -> Option<Instant> {
        let kinds = self.lost.iter().chain([&self.retrying, &self.again]);
        kinds.filter(|kind| kind.waits).filter_map(|kind| Some(kind.told? + TELL_EVERY)).min()
    }

    /// Until when nothing is told of a full queue.
    pub(super) fn queue_is_quiet_until(&self, now: Instant) -> Option<Instant> {
        let kind = &self.lost[SpanLoss::QueueFull as usize];
        if kind.may_tell(now) { None } else { kind.told.map(|told| told + TELL_EVERY) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told at a second of a story that began at `start`.
    fn told(troubles: &mut Troubles, start: Instant, second: u64) -> Vec<(What, usize)> {
        let lines = troubles.due(start + Duration::from_secs(second), false);
        lines.into_iter().map(|line| (line.what, line.spans)).collect()
    }

    const UNREACHABLE: What = What::Lost(SpanLoss::Unreachable);
    const REFUSED: What = What::Lost(SpanLoss::Refused);
    const FULL: What = What::Lost(SpanLoss::QueueFull);

    #[test]
    fn the_first_try_that_fails_is_told_and_one_line_in_ten_seconds() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        assert_eq!(told(&mut troubles, start, 0), []);
        troubles.failed(98, "connection refused");
        assert_eq!(told(&mut troubles, start, 0), [(What::Retrying, 98)]);
        for second in 1..10 {
            troubles.failed(98, "connection refused");
            assert_eq!(told(&mut troubles, start, second), [], "{second}");
        }
        assert_eq!(troubles.next(), Some(start + TELL_EVERY));
        assert_eq!(told(&mut troubles, start, 10), [(What::Retrying, 98)]);
        troubles.lost(SpanLoss::Unreachable, 98, "connection refused");
        assert_eq!(told(&mut troubles, start, 11), [(UNREACHABLE, 98)]);
    }

    #[test]
    fn what_a_line_leaves_out_is_told_once_its_time_has_come_though_the_storm_has_ended() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        troubles.lost(SpanLoss::Refused, 98, "it answers 400");
        assert_eq!(told(&mut troubles, start, 0), [(REFUSED, 98)]);
        (0..3).for_each(|_| troubles.lost(SpanLoss::Refused, 260, "it answers 400"));
        assert_eq!(told(&mut troubles, start, 3), []);
        assert_eq!(troubles.next(), Some(start + TELL_EVERY));
        assert_eq!(told(&mut troubles, start, 10), [(REFUSED, 780)]);
        assert_eq!((told(&mut troubles, start, 99), troubles.next()), (vec![], None));
    }

    #[test]
    fn that_spans_are_taken_again_is_told_once_with_what_was_lost_since_the_last_line() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        troubles.taken();
        assert_eq!(told(&mut troubles, start, 0), [], "nobody said otherwise");
        troubles.lost(SpanLoss::Unreachable, 5, "no answer");
        assert_eq!(told(&mut troubles, start, 0), [(UNREACHABLE, 5)]);
        troubles.lost(SpanLoss::Unreachable, 7, "no answer");
        troubles.lost(SpanLoss::QueueFull, 1, "");
        assert_eq!(told(&mut troubles, start, 1), [(FULL, 1)]);
        troubles.lost(SpanLoss::QueueFull, 2, "");
        troubles.taken();
        assert_eq!(told(&mut troubles, start, 2), [(What::Again, 9)]);
        troubles.taken();
        assert_eq!((told(&mut troubles, start, 30), troubles.next()), (vec![], None));
    }

    #[test]
    fn a_collector_that_comes_and_goes_makes_two_lines_in_ten_seconds() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        let mut lines = Vec::new();
        for second in 0..60 {
            match second % 2 {
                0 => troubles.failed(1, "connection refused"),
                _ => troubles.taken(),
            }
            lines.extend(told(&mut troubles, start, second));
        }
        assert_eq!(lines, [(What::Retrying, 1), (What::Again, 0)].repeat(6));
    }

    #[test]
    fn a_full_queue_says_nothing_of_whether_the_collector_takes_spans() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        troubles.lost(SpanLoss::QueueFull, 40, "");
        assert_eq!(told(&mut troubles, start, 0), [(FULL, 40)]);
        assert_eq!(troubles.queue_is_quiet_until(start), Some(start + TELL_EVERY));
        assert_eq!(troubles.queue_is_quiet_until(start + TELL_EVERY), None);
        troubles.taken();
        assert_eq!(told(&mut troubles, start, 1), []);
    }

    #[test]
    fn at_the_end_everything_is_told() {
        let (mut troubles, start) = (Troubles::default(), Instant::now());
        for spans in [1, 2] {
            troubles.lost(SpanLoss::Shutdown, spans, &"x".repeat(1_000));
            let lines = troubles.due(start, true);
            assert_eq!(lines.iter().map(|line| line.spans).collect::<Vec<_>>(), [spans]);
            assert_eq!(lines[0].reason.len(), REASON_CHARS);
        }
    }
}
