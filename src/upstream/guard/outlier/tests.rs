//! Envoy's arithmetic of ejections, case by case. Time and draws are given.

use std::sync::Arc;

use super::*;
use crate::snapshot::{FailurePercentage, SuccessRate};

/// A cluster of so many watched endpoints.
struct Stage {
    config: Outlier,
    census: Arc<Census>,
    watches: Vec<Watch>,
    draw: fn(u64) -> u64,
}

impl Stage {
    fn new(members: usize, config: Outlier) -> Stage {
        let census: Arc<Census> = Arc::default();
        let watches = (0..members).map(|_| Watch::new(census.clone(), 0, 0)).collect();
        Stage { config, census, watches, draw: |_| 0 }
    }

    fn at(&self, now_ms: u64) -> Scene<'_> {
        let (config, census, members) = (&self.config, &*self.census, self.watches.len());
        Scene { config, census, members, now_ms, draw: self.draw }
    }

    fn note(&self, member: usize, outcomes: &[Outcome]) {
        outcomes.iter().for_each(|&outcome| self.at(0).note(&self.watches[member], outcome));
    }

    fn end_interval(&self, now_ms: u64) {
        self.at(now_ms).end_interval(&self.watches.iter().collect::<Vec<_>>());
    }

    /// Who is out.
    fn out(&self) -> Vec<usize> {
        let out: Vec<usize> =
            (0..self.watches.len()).filter(|&member| self.watches[member].is_ejected()).collect();
        assert_eq!(self.census.ejected() as usize, out.len(), "the count is that of the flags");
        out
    }

    fn count(&self, event: GuardEvent) -> u64 {
        self.census.counts.of(event)
    }
}

const NOBODY: [usize; 0] = [];
const OK: Outcome = Outcome::Status(200);
const E500: Outcome = Outcome::Status(500);
const E503: Outcome = Outcome::Status(503);

/// Five in a row, all may be out, no rates.
fn simple() -> Outlier {
    Outlier { max_ejection_percent: 100, success_rate: None, ..Outlier::default() }
}

#[test]
fn as_many_5xx_in_a_row_as_it_says_eject_and_a_success_begins_anew() {
    let stage = Stage::new(2, simple());
    stage.note(
        0,
        &[E500, E503, E500, E500, OK, E500, E500, E500, Outcome::Status(404), E500, E500, E500, E500],
    );
    assert_eq!(stage.out(), NOBODY);
    stage.note(0, &[E500]);
    assert_eq!(stage.out(), [0]);
    assert_eq!(stage.count(GuardEvent::Enforced5xx) + stage.count(GuardEvent::EnforcedTotal), 2);
}

#[test]
fn without_a_split_failures_without_an_answer_count_as_503_and_504() {
    let stage = Stage::new(2, Outlier { enforcing_consecutive_gateway_failure: 100, ..simple() });
    stage.note(0, &[Outcome::Connect, Outcome::Reset, Outcome::Timeout, E503, Outcome::Status(502)]);
    assert_eq!(stage.out(), [0]);
    assert_eq!(stage.count(GuardEvent::EnforcedGateway), 1);
    assert_eq!(stage.count(GuardEvent::DetectedLocalOrigin), 0);
}

#[test]
fn other_5xx_end_a_run_of_gateway_failures() {
    let config = Outlier { consecutive_5xx: 100, enforcing_consecutive_gateway_failure: 100, ..simple() };
    let stage = Stage::new(2, config);
    stage.note(0, &[E503, E503, E503, E503, E500, E503, E503, E503, E503]);
    assert_eq!(stage.out(), NOBODY);
    stage.note(0, &[E503]);
    assert_eq!(stage.out(), [0]);
}

#[test]
fn with_a_split_failures_without_an_answer_count_apart() {
    let config =
        Outlier { split_external_local_origin_errors: true, consecutive_local_origin_failure: 2, ..simple() };
    let stage = Stage::new(3, config);
    stage.note(0, &[E500, E500, E500, E500, Outcome::Connect]);
    assert_eq!(stage.out(), NOBODY);
    stage.note(0, &[E500]);
    assert_eq!(stage.out(), [0], "the answers are five in a row all the same");
    stage.note(1, &[Outcome::Connect, E500, Outcome::Reset]);
    assert_eq!(stage.out(), [0], "any answer is a success of the network");
    stage.note(1, &[Outcome::Timeout]);
    assert_eq!(stage.out(), [0, 1]);
    assert_eq!(stage.count(GuardEvent::EnforcedLocalOrigin), 1);
}

#[test]
fn no_more_are_out_than_the_percentage_allows() {
    // Members, percent, how many may be out.
    for (members, percent, most) in [
        (1, 10, 0),
        (9, 10, 0),
        (10, 10, 1),
        (19, 10, 1),
        (20, 10, 2),
        (3, 100, 3),
        (3, 50, 1),
        (4, 50, 2),
        (5, 0, 0),
    ] {
        let stage = Stage::new(members, Outlier { max_ejection_percent: percent, ..simple() });
        (0..members).for_each(|member| stage.note(member, &[E500; 5]));
        assert_eq!(stage.out().len(), most, "{percent} % of {members}");
        assert_eq!(stage.count(GuardEvent::Overflow) as usize, members - most);
        assert_eq!(stage.count(GuardEvent::Detected5xx) as usize, members);
        let one = Outlier { max_ejection_percent: percent, always_eject_one_host: true, ..simple() };
        let stage = Stage::new(members, one);
        (0..members).for_each(|member| stage.note(member, &[E500; 5]));
        assert_eq!(stage.out().len(), most.max(1), "{percent} % of {members}, but one at least");
    }
}

#[test]
fn a_detection_that_ejects_nobody_begins_a_new_run() {
    let stage = Stage::new(1, Outlier { max_ejection_percent: 0, ..simple() });
    stage.note(0, &[E500; 14]);
    assert_eq!(stage.count(GuardEvent::Overflow), 2);
    stage.note(0, &[E500]);
    assert_eq!(stage.count(GuardEvent::Overflow), 3);
}

#[test]
fn enforcing_is_the_chance_that_a_detection_ejects() {
    for (draw, enforcing, is_out) in
        [(|_| 29, 30, true), (|_| 30, 30, false), (|_| 0, 0, false), (|_| 99, 100, true)]
            as [(fn(u64) -> u64, u32, bool); 4]
    {
        let mut stage = Stage::new(1, Outlier { enforcing_consecutive_5xx: enforcing, ..simple() });
        stage.draw = draw;
        stage.note(0, &[E500; 5]);
        assert_eq!(stage.out().len() == 1, is_out, "{enforcing}");
        assert_eq!(stage.count(GuardEvent::Detected5xx), 1);
        assert_eq!(stage.count(GuardEvent::Enforced5xx) == 1, is_out);
    }
}

#[test]
fn it_is_out_for_longer_each_time_up_to_the_longest_and_forgiven_in_time() {
    let seconds = Duration::from_secs;
    let config = Outlier { base_ejection_time: seconds(30), max_ejection_time: seconds(100), ..simple() };
    let stage = Stage::new(1, config);
    let mut now_ms = 0;
    let mut out_for = |times: u64| {
        (0..5).for_each(|_| stage.at(now_ms).note(&stage.watches[0], E500));
        assert_eq!(stage.out(), [0]);
        stage.end_interval(now_ms + times * 1000 - 1);
        assert_eq!(stage.out(), [0], "{times} s");
        now_ms += times * 1000;
        stage.end_interval(now_ms);
        assert_eq!(stage.out(), NOBODY, "{times} s");
    };
    [30, 60, 90, 100, 100, 100].into_iter().for_each(&mut out_for);
    // Five times at most are remembered, and one is forgotten with each interval that it is in.
    (0..4).for_each(|_| stage.end_interval(0));
    out_for(60);
    (0..9).for_each(|_| stage.end_interval(0));
    out_for(30);
}

#[test]
fn jitter_is_added_to_the_time_and_drawn_up_to_what_it_says() {
    let mut stage = Stage::new(1, Outlier { max_ejection_time_jitter: Duration::from_secs(2), ..simple() });
    stage.draw = |below| if below == 100 { 0 } else { below - 1 };
    stage.note(0, &[E500; 5]);
    stage.end_interval(31_999);
    assert_eq!(stage.out(), [0]);
    stage.end_interval(32_000);
    assert_eq!(stage.out(), NOBODY);
}

#[test]
fn a_few_failures_do_not_throw_out_who_has_just_come_back() {
    let stage = Stage::new(1, simple());
    stage.note(0, &[E500; 9]);
    stage.end_interval(30_000);
    stage.note(0, &[E500; 4]);
    assert_eq!(stage.out(), NOBODY);
}

/// So many requests, of which so many in a hundred succeed.
fn requests(stage: &Stage, member: usize, count: u32, percent: u32) {
    for number in 0..count {
        stage.note(member, &[if number % 100 < percent { OK } else { Outcome::Status(500) }]);
    }
}

fn by_rate() -> Outlier {
    Outlier { consecutive_5xx: u32::MAX, success_rate: Some(SuccessRate::default()), ..simple() }
}

#[test]
fn who_succeeds_less_often_than_mean_less_factor_times_deviation_is_ejected() {
    let stage = Stage::new(5, by_rate());
    // Mean 90, deviation 20: below 52 goes out.
    for (member, percent) in [100, 100, 100, 100, 50].into_iter().enumerate() {
        requests(&stage, member, 100, percent);
    }
    stage.end_interval(10_000);
    assert_eq!(stage.out(), [4]);
    assert_eq!(stage.count(GuardEvent::EnforcedSuccessRate), 1);
    assert_eq!(stage.watches[3].success_rates(), [Some(100.0), None]);
    let compared = || stage.census.compared.each_ref().map(|compared| compared.told());
    let [by_answers, by_anybody] = compared();
    let (average, least) = by_answers.expect("a comparison");
    assert!(average == 90.0 && (least - 52.0).abs() < 1e-9 && by_anybody.is_none(), "{average} {least}");
    stage.end_interval(20_000);
    assert_eq!(stage.watches[3].success_rates(), [None, None], "each interval counts alone");
    assert_eq!(compared(), [None, None]);
}

#[test]
fn rates_are_compared_only_of_enough_requests_and_among_enough_endpoints() {
    for (few, members) in [(99, 5), (100, 4)] {
        let stage = Stage::new(members, by_rate());
        (1..members).for_each(|member| requests(&stage, member, 100, 100));
        requests(&stage, 0, few, 0);
        stage.end_interval(10_000);
        assert_eq!(stage.out(), NOBODY, "{few} requests, {members} endpoints");
    }
}

#[test]
fn who_fails_too_often_in_percent_is_ejected() {
    let percentage = FailurePercentage { threshold: 85, enforcing: 100, ..FailurePercentage::default() };
    let config = Outlier { success_rate: None, failure_percentage: Some(percentage), ..by_rate() };
    let stage = Stage::new(5, config);
    for (member, percent) in [100, 15, 16, 0, 90].into_iter().enumerate() {
        requests(&stage, member, 100, percent);
    }
    stage.end_interval(10_000);
    assert_eq!(stage.out(), [1, 3]);
    assert_eq!(stage.count(GuardEvent::EnforcedPercentage), 2);
}

#[test]
fn with_a_split_the_rate_of_answers_is_compared_too() {
    let config = Outlier {
        split_external_local_origin_errors: true,
        consecutive_local_origin_failure: u32::MAX,
        ..by_rate()
    };
    let stage = Stage::new(5, config);
    (0..4).for_each(|member| requests(&stage, member, 100, 100));
    (0..100).for_each(|_| stage.note(4, &[Outcome::Connect]));
    stage.end_interval(10_000);
    assert_eq!(stage.out(), [4]);
    assert_eq!(stage.count(GuardEvent::EnforcedLocalSuccessRate), 1);
    assert_eq!(stage.count(GuardEvent::DetectedSuccessRate), 0, "no answer, no status");
}
