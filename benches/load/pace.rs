//! Which request is due when: the closed loop's "now", the open loop's timetable.
//!
//! Pure: times are nanoseconds of the run, and the caller knows the time.

use std::collections::VecDeque;

pub(crate) struct Pace {
    open: Option<Timetable>,
    /// Before this is warm-up.
    counted_from_ns: u64,
    /// From this on nothing is due.
    end_ns: u64,
    /// Requests to come, those of the warm-up not counted.
    left: u64,
}

/// Request `n` is due at `begin + n * interval`, whatever becomes of the others.
struct Timetable {
    begin_ns: u64,
    interval_ns: f64,
    next: u64,
    /// Due, and nobody was free to send it.
    waiting: VecDeque<u64>,
}

impl Timetable {
    fn next_ns(&self) -> u64 {
        self.begin_ns + (self.next as f64 * self.interval_ns) as u64
    }
}

impl Pace {
    /// From `begin_ns` on; `interval_ns` makes it an open loop. Without `seconds_ns` and `requests` it has no end.
    pub(crate) fn new(
        begin_ns: u64,
        warmup_ns: u64,
        seconds_ns: Option<u64>,
        requests: Option<u64>,
        interval_ns: Option<f64>,
    ) -> Pace {
        let counted_from_ns = begin_ns + warmup_ns;
        Pace {
            open: interval_ns.map(|interval_ns| Timetable {
                begin_ns,
                interval_ns,
                next: 0,
                waiting: VecDeque::new(),
            }),
            counted_from_ns,
            end_ns: seconds_ns.map_or(u64::MAX, |seconds_ns| counted_from_ns + seconds_ns),
            left: requests.unwrap_or(u64::MAX),
        }
    }

    /// When the request to send now was due; none if none is.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        self.fill(now);
        match &mut self.open {
            Some(open) => open.waiting.pop_front(),
            None => self.draw(now).then_some(now),
        }
    }

    /// When the one that has waited longest was due.
    pub(crate) fn longest_waiting(&self) -> Option<u64> {
        self.open.as_ref()?.waiting.front().copied()
    }

    /// When the next one of the timetable is due.
    pub(crate) fn next_due(&self) -> Option<u64> {
        let due = self.open.as_ref()?.next_ns();
        (due < self.end_ns && self.left > 0).then_some(due)
    }

    /// Nothing is due any more, now or later.
    pub(crate) fn is_over(&mut self, now: u64) -> bool {
        self.fill(now);
        match &self.open {
            Some(open) => open.waiting.is_empty() && self.next_due().is_none(),
            None => self.left == 0 || now >= self.end_ns,
        }
    }

    fn fill(&mut self, now: u64) {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            self.draw(due);
            if let Some(open) = &mut self.open {
                open.next += 1;
                open.waiting.push_back(due);
            }
        }
    }

    /// One request less to come, if there is one for this time.
    fn draw(&mut self, due: u64) -> bool {
        if due >= self.end_ns || self.left == 0 {
            return false;
        }
        if due >= self.counted_from_ns {
            self.left -= 1;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(pace: &mut Pace, now: u64) -> Vec<u64> {
        std::iter::from_fn(|| pace.take(now)).collect()
    }

    #[test]
    fn an_open_loop_keeps_its_timetable_whoever_looks_when() {
        let mut pace = Pace::new(1_000, 0, Some(1_000), None, Some(300.0));
        assert!(all(&mut pace, 999).is_empty());
        assert_eq!(pace.next_due(), Some(1_000));
        assert_eq!(all(&mut pace, 1_299), [1_000]);
        assert_eq!(pace.next_due(), Some(1_300));
        // Nobody looked for long: what was due meanwhile was due when it was.
        assert_eq!(all(&mut pace, 9_999), [1_300, 1_600, 1_900]);
        assert!(pace.is_over(9_999));
    }

    #[test]
    fn an_open_loop_is_not_over_while_a_request_waits() {
        let mut pace = Pace::new(0, 0, None, Some(2), Some(10.0));
        assert!(!pace.is_over(0));
        assert!(!pace.is_over(50), "both are due and neither is sent");
        assert_eq!(pace.longest_waiting(), Some(0));
        assert_eq!(all(&mut pace, 50), [0, 10]);
        assert!(pace.is_over(50));
        assert_eq!(pace.next_due(), None);
    }

    #[test]
    fn a_closed_loop_sends_now_until_its_time_or_its_count_is_up() {
        let mut pace = Pace::new(0, 100, Some(1_000), None, None);
        assert_eq!(pace.take(5), Some(5));
        assert_eq!(pace.take(1_099), Some(1_099));
        assert!(!pace.is_over(1_099));
        assert_eq!(pace.take(1_100), None);
        assert!(pace.is_over(1_100));

        let mut pace = Pace::new(0, 100, None, Some(2), None);
        assert_eq!(
            [pace.take(1), pace.take(2), pace.take(3)],
            [Some(1), Some(2), Some(3)],
            "a warm-up counts none"
        );
        assert_eq!([pace.take(100), pace.take(101), pace.take(102)], [Some(100), Some(101), None]);
    }

    #[test]
    fn the_count_of_an_open_loop_begins_after_its_warm_up() {
        let mut pace = Pace::new(0, 25, None, Some(2), Some(10.0));
        assert_eq!(all(&mut pace, 1_000), [0, 10, 20, 30, 40]);
        assert!(pace.is_over(1_000));
    }
}
