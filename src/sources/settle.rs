//! When to look at files that somebody is changing.
//!
//! Law: after 200 ms of quiet, at most 1 s after the first change. A fault counts when it was seen in quiet; a file
//! gone counts when nothing was touched for 500 ms. Pure: `now` is an argument. It must not know files.

use std::time::{Duration, Instant};

/// Without a change for this long, whoever writes has finished.
pub(super) const QUIET: Duration = Duration::from_millis(200);
/// After the first change nobody waits longer than this for quiet.
pub(super) const MAX_WAIT: Duration = Duration::from_secs(1);
/// A file that is missing this long after the last change is gone; before, it may be in the course of replacement.
pub(super) const GONE: Duration = Duration::from_millis(500);
/// After a look in the midst of changes that saw nothing whole.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// So many such looks; then what is seen counts, though it never became quiet. In all 1.4 s after the first change.
const LOOKS_MAX: u32 = 20;

/// What was touched and not judged yet.
#[derive(Debug, Default)]
pub(super) struct Settle(Option<Pending>);

#[derive(Debug)]
struct Pending {
    last_touch: Instant,
    /// Look after this long without a touch.
    quiet: Duration,
    /// Look by then, quiet or not.
    by: Instant,
    looks: u32,
}

impl Settle {
    /// Something was touched.
    pub(super) fn touched(&mut self, now: Instant) {
        let fresh = Pending { last_touch: now, quiet: QUIET, by: now + MAX_WAIT, looks: 0 };
        let pending = self.0.get_or_insert(fresh);
        pending.last_touch = now;
        pending.quiet = QUIET;
    }

    /// When to look; `None`: when something is touched.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.as_ref().map(|pending| pending.by.min(pending.last_touch + pending.quiet))
    }

    /// Whether a file that is missing at `now` is gone. If not, another look follows.
    pub(super) fn is_gone(&mut self, now: Instant) -> bool {
        let Some(pending) = &mut self.0 else { return true };
        let gone = now >= pending.last_touch + GONE;
        if !gone {
            pending.look_again(now, GONE);
        }
        gone
    }

    /// Whether a fault seen at `now` counts. If not, another look follows.
    pub(super) fn counts(&mut self, now: Instant) -> bool {
        let Some(pending) = &mut self.0 else { return true };
        let counts = pending.is_quiet(now) || pending.looks >= LOOKS_MAX;
        if !counts {
            pending.look_again(now, QUIET);
        }
        counts
    }

    /// What was touched has been judged.
    pub(super) fn done(&mut self) {
        self.0 = None;
    }
}

impl Pending {
    fn is_quiet(&self, now: Instant) -> bool {
        now >= self.last_touch + QUIET
    }

    fn look_again(&mut self, now: Instant, quiet: Duration) {
        let soon = !self.is_quiet(now) && self.looks < LOOKS_MAX;
        self.by = now + if soon { LOOK_AGAIN } else { MAX_WAIT };
        self.quiet = quiet;
        self.looks += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_look_is_due_after_200_ms_of_quiet() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        assert_eq!(settle.due(), None);
        settle.touched(start);
        assert_eq!(settle.due(), Some(start + ms(200)));
        settle.touched(start + ms(150));
        assert_eq!(settle.due(), Some(start + ms(350)));
        settle.done();
        assert_eq!(settle.due(), None);
    }

    #[test]
    fn a_look_is_due_at_most_one_second_after_the_first_change() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        (0..1000).for_each(|at| settle.touched(start + ms(at)));
        assert_eq!(settle.due(), Some(start + ms(1000)));
    }

    #[test]
    fn a_fault_seen_in_quiet_counts() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        settle.touched(start);
        assert!(settle.counts(start + ms(200)));
    }

    #[test]
    fn a_fault_seen_amid_changes_is_looked_at_again_soon_but_not_for_ever() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        settle.touched(start);
        let mut now = start + MAX_WAIT;
        settle.touched(now);
        for _ in 0..LOOKS_MAX {
            assert!(!settle.counts(now));
            assert_eq!(settle.due(), Some(now + LOOK_AGAIN));
            now += LOOK_AGAIN;
            settle.touched(now);
        }
        assert!(settle.counts(now));
        assert!(now <= start + ms(1400));
    }

    #[test]
    fn a_missing_file_is_gone_500_ms_after_the_last_change() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        settle.touched(start);
        assert!(!settle.is_gone(start + ms(200)));
        assert_eq!(settle.due(), Some(start + ms(500)));
        assert!(settle.is_gone(start + ms(500)));
    }

    #[test]
    fn a_file_that_comes_back_is_looked_at_after_the_usual_quiet() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        settle.touched(start);
        assert!(!settle.is_gone(start + ms(200)));
        settle.touched(start + ms(250));
        assert_eq!(settle.due(), Some(start + ms(450)));
    }

    #[test]
    fn a_file_missing_amid_changes_is_never_gone_and_looked_for_ever_more_rarely() {
        let (mut settle, start) = (Settle::default(), Instant::now());
        let (mut looks, mut due) = (0, start + ms(1000));
        settle.touched(start);
        for at in (0..10_000).step_by(10).map(|at| start + ms(at)) {
            settle.touched(at);
            if at >= due {
                assert!(!settle.is_gone(at));
                due = settle.due().unwrap();
                looks += 1;
            }
        }
        assert!((10..400).contains(&looks), "{looks}");
    }
}
