//! Gauges of one family that come and go together, with the configuration.
//!
//! Law: a gauge that is no more among them is off the pages at once. Counters stay for a while, so that a dashboard sees
//! what a version did; a level of something that is gone would count in every sum.

use std::collections::HashMap;

use super::family::{Family, Labels};
use super::recorder::{Gauge, Recorder};

/// See the module.
#[derive(Debug)]
pub struct GaugeSet {
    recorder: Recorder,
    family: &'static Family,
    present: HashMap<Labels, Gauge>,
}

impl GaugeSet {
    /// None yet.
    pub fn new(recorder: &Recorder, family: &'static Family) -> GaugeSet {
        GaugeSet { recorder: recorder.clone(), family, present: HashMap::new() }
    }

    /// The gauges of `labels`, in that order: those that were there keep their values, new ones are at zero, all others
    /// are withdrawn.
    pub fn replace(&mut self, labels: impl IntoIterator<Item = Labels>) -> Vec<Gauge> {
        let mut before = std::mem::take(&mut self.present);
        let mut take = |labels: Labels| {
            let known = self.present.get(&labels).cloned().or_else(|| before.remove(&labels));
            let gauge = known.unwrap_or_else(|| self.recorder.gauge(self.family, labels.clone()));
            self.present.insert(labels, gauge.clone());
            gauge
        };
        let gauges = labels.into_iter().map(&mut take).collect();
        for gauge in before.into_values() {
            self.recorder.withdraw(self.family, gauge);
        }
        gauges
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition::Page;
    use super::*;
    use std::time::Instant;

    static LEVEL: Family = Family::gauge("level", "A level.");

    fn labels(names: &[&str]) -> Vec<Labels> {
        names.iter().map(|name| Labels::new(&[("of", name)])).collect()
    }

    #[test]
    fn a_gauge_that_is_no_more_among_them_is_off_the_page_at_once_and_begins_anew() {
        let recorder = Recorder::new(1);
        let mut set = GaugeSet::new(&recorder, &LEVEL);
        let [a, b] = &set.replace(labels(&["a", "b"]))[..] else { panic!("two") };
        a.set(1.0);
        b.set(2.0);
        set.replace(labels(&["b", "c"]));
        let page = "# HELP level A level.\n# TYPE level gauge\nlevel{of=\"b\"} 2\nlevel{of=\"c\"} 0\n";
        assert_eq!(recorder.render(Page::Metrics), page, "though somebody holds a");
        a.set(7.0);
        assert_eq!(recorder.render(Page::Metrics), page);
        set.replace(labels(&["a"]));
        assert!(recorder.render(Page::Metrics).ends_with("\nlevel{of=\"a\"} 0\n"));
    }

    #[test]
    fn the_cells_of_a_withdrawn_gauge_are_used_again_when_nobody_holds_it() {
        let recorder = Recorder::new(1);
        let mut set = GaugeSet::new(&recorder, &LEVEL);
        let mut held = set.replace(labels(&["0"]));
        let bytes = recorder.cell_bytes();
        for round in 1..2_000 {
            // As a page does that is being sent.
            let gauges = set.replace(labels(&[&round.to_string()]));
            held[0].set(9.0);
            assert_eq!(gauges[0].get(), 0.0, "round {round} shares a cell with one that is held");
            held = gauges;
            recorder.expire(Instant::now());
        }
        assert_eq!((recorder.series(), recorder.cell_bytes()), (1, bytes));
    }
}
