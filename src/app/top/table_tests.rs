//! The table's laws: what is shown, and that it fits.

use super::*;
use crate::app::top::view::{Figures, SplitView, States};

fn view(generation: u64, counts: &[(&str, u32, u64)]) -> SplitsView {
    let versions = counts.iter().map(|&(version, weight, requests)| VersionView {
        version: version.to_owned(),
        weight: Some(weight),
        start: Figures { requests, ..Figures::default() },
        minute: Figures { success_rate: Some(1.0), p50_ms: Some(2.12), p99_ms: None, ..Figures::default() },
        ..VersionView::default()
    });
    let split = SplitView { service: "s".to_owned(), rule: None, versions: versions.collect() };
    SplitsView { generation, splits: vec![split], left_out: 0 }
}

fn seen(recent: &mut Recent, at: Instant, view: &SplitsView) -> Vec<(Option<f64>, Option<f64>)> {
    recent.rows(at, view).into_iter().map(|row| (row.share, row.per_second)).collect()
}

#[test]
fn the_first_view_has_shares_but_no_rate() {
    let rows = seen(&mut Recent::default(), Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
    assert_eq!(rows, [(Some(0.95), None), (Some(0.05), None)]);
}

#[test]
fn share_and_rate_are_those_of_the_last_five_seconds() {
    let (mut recent, start) = (Recent::default(), Instant::now());
    for second in 0..=10_u64 {
        // Ten a second to v1 for five seconds, then ten a second to v2.
        let counts = [("v1", 50, second.min(5) * 10), ("v2", 50, second.saturating_sub(5) * 10)];
        let rows = seen(&mut recent, start + Duration::from_secs(second), &view(1, &counts));
        match second {
            5 => assert_eq!(rows, [(Some(1.0), Some(10.0)), (Some(0.0), Some(0.0))]),
            10 => assert_eq!(rows, [(Some(0.0), Some(0.0)), (Some(1.0), Some(10.0))]),
            _ => {}
        }
    }
    assert!(recent.seen.len() <= 7);
}

#[test]
fn a_new_generation_forgets_what_came_before_it() {
    let (mut recent, start) = (Recent::default(), Instant::now());
    let at = |second| start + Duration::from_secs(second);
    seen(&mut recent, at(0), &view(1, &[("v1", 95, 0), ("v2", 5, 0)]));
    seen(&mut recent, at(1), &view(1, &[("v1", 95, 38), ("v2", 5, 2)]));
    let rows = seen(&mut recent, at(2), &view(2, &[("v1", 50, 58), ("v2", 50, 22)]));
    assert_eq!(rows, [(Some(0.5), Some(20.0)), (Some(0.5), Some(20.0))]);
}

#[test]
fn a_counter_that_begins_anew_gives_no_negative_rate() {
    let (mut recent, start) = (Recent::default(), Instant::now());
    seen(&mut recent, start, &view(1, &[("v1", 100, 1000)]));
    let rows = seen(&mut recent, start + Duration::from_secs(2), &view(1, &[("v1", 100, 10)]));
    assert_eq!(rows, [(Some(1.0), Some(5.0))]);
}

#[test]
fn what_has_no_data_is_a_dash() {
    let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 0)]));
    let line = Screen::new(&DEMO, false, true).draw(Duration::from_secs(3), &rows);
    assert_eq!(line, "  3s  version v1  weight 95  share -  req/s -  success 100.0 %  p50 2.1 ms  p99 -\n");
}

#[test]
fn without_a_terminal_there_is_one_plain_line_a_version() {
    let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
    let mut screen = Screen::new(&DEMO, false, true);
    for _ in 0..2 {
        let text = screen.draw(Duration::ZERO, &rows);
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b'));
    }
}

#[test]
fn on_a_terminal_the_next_table_begins_where_the_last_one_did() {
    let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
    let mut screen = Screen::new(&DEMO, true, false);
    let first = screen.draw(Duration::ZERO, &rows);
    let lines = first.lines().count();
    assert!(!first.contains('\x1b'), "no colours were asked for, and nothing is to be drawn over: {first:?}");
    let second = screen.draw(Duration::ZERO, &rows);
    assert_eq!(second, format!("\x1b[{lines}A\r\x1b[J{first}"));
    screen.leave();
    assert_eq!(screen.draw(Duration::ZERO, &rows), first);
}

#[test]
fn colours_show_on_a_terminal_only() {
    let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19)]));
    assert!(Screen::new(&DEMO, true, true).draw(Duration::ZERO, &rows).contains("\x1b["));
    assert!(!Screen::new(&DEMO, false, true).draw(Duration::ZERO, &rows).contains('\x1b'));
}

#[test]
fn a_state_is_a_word_or_a_figure_and_never_a_colour_alone() {
    let view = wide();
    let lines = Screen::new(&TOP, true, true).once(&minute_rows(&view));
    assert!(lines.contains("\x1b[33m61.5 % high\x1b[0m"), "{lines:?}");
    // The other version has as many, and the admin says nothing of it.
    assert!(lines.contains("       61.5 %  "), "{lines:?}");
    assert!(
        lines.contains("\x1b[31m✕ 50.0 %\x1b[0m") && lines.contains("\x1b[33m    ! 2/3\x1b[0m"),
        "{lines:?}"
    );
}

#[test]
fn without_colours_a_state_is_a_mark_in_the_table_and_a_word_in_a_line() {
    let mut view = wide();
    let text = Screen::new(&TOP, true, false).once(&minute_rows(&view));
    assert!(text.contains("✕ 50.0 %") && text.contains("! 2/3") && !text.contains('\x1b'), "{text}");
    // Nothing is said of what the admin says nothing of.
    assert!(text.lines().last().is_some_and(|line| !line.contains(['✓', '!', '✕'])), "{text}");
    let states = &mut view.splits[0].versions[0].states;
    (states.success, states.endpoints) = (Some("good".to_owned()), Some("good".to_owned()));
    let text = Screen::new(&TOP, true, false).once(&minute_rows(&view));
    assert!(text.contains("✓ 50.0 %") && text.contains("✓ 2/3"), "{text}");
    let lines = Screen::new(&TOP, false, false).draw(Duration::ZERO, &minute_rows(&view));
    let line = |place: usize| lines.lines().nth(place).unwrap().to_owned();
    assert!(line(0).contains("success 50.0 % good  ") && line(0).ends_with("endpoints 2/3 good"), "{lines}");
    assert!(line(1).contains("success 50.0 % failing  "), "{lines}");
    assert!(line(2).contains("success -  ") && line(2).ends_with("endpoints -"), "{lines}");
}

#[test]
fn what_was_not_asked_for_is_told_within_the_terminal() {
    let rows = minute_rows(&wide());
    let whole = sized(80, 100).draw(Duration::ZERO, &rows).lines().count();
    let last = |height: usize, left_out: usize| {
        let mut screen = sized(80, height);
        screen.set_left_out(left_out);
        let text = screen.draw(Duration::ZERO, &rows);
        assert!(text.lines().count() < height, "{text}");
        text.lines().last().unwrap().to_owned()
    };
    assert_eq!(last(100, 7), " … 7 more rules");
    assert_eq!(last(whole + 2, 7), " … 7 more rules");
    assert_eq!(last(whole + 1, 7), " … 1 more line, 7 more rules");
    assert_eq!(last(whole, 1), " … 2 more lines, 1 more rule");
    let mut screen = Screen::new(&TOP, false, false);
    screen.set_left_out(7);
    assert_eq!(screen.once(&rows).lines().last(), Some(" … 7 more rules"));
    assert!(!screen.draw(Duration::ZERO, &rows).contains('…'), "there are lines of versions alone");
}

#[test]
fn a_rule_that_was_not_shown_before_has_no_rate_until_it_was_seen_twice() {
    let (mut recent, start) = (Recent::default(), Instant::now());
    let at = |second| start + Duration::from_secs(second);
    let of = |rule: &str, requests: u64| {
        let mut view = view(1, &[("v1", 50, requests), ("v2", 50, requests)]);
        (view.splits[0].rule, view.left_out) = (Some(rule.to_owned()), 1);
        view
    };
    seen(&mut recent, at(0), &of("a", 100));
    let new = seen(&mut recent, at(1), &of("b", 5000));
    assert_eq!(new, [(Some(0.5), None), (Some(0.5), None)]);
    let rows = seen(&mut recent, at(3), &of("b", 5020));
    assert_eq!(rows, [(Some(0.5), Some(10.0)), (Some(0.5), Some(10.0))]);
    // Where all are shown, one that was not there has begun at zero.
    let mut whole = of("c", 60);
    whole.left_out = 0;
    seen(&mut recent, at(4), &whole);
    let mut more = whole.clone();
    more.splits.extend(of("d", 30).splits);
    let rows = seen(&mut recent, at(10), &more);
    assert_eq!(rows[2], (Some(0.5), Some(5.0)));
}

/// Two rules; long names, three versions, one of them with an endpoint that is ill.
fn wide() -> SplitsView {
    let mut view = view(3, &[("v1", 90, 900), ("v2-quantised-with-a-very-long-name-of-its-own", 10, 100)]);
    let figures = Figures {
        requests: 100,
        share: Some(0.1),
        success_rate: Some(0.5),
        client_error_rate: Some(0.615),
        p50_ms: Some(12.0),
        p95_ms: Some(120.0),
        p99_ms: Some(1200.0),
        qps: Some(16.7),
    };
    view.splits[0].rule = Some("canary.models".to_owned());
    for version in &mut view.splits[0].versions {
        version.minute = figures.clone();
        version.endpoints = Some(Endpoints { healthy: 2, ejected: 1, failed_check: 0 });
        version.states = States {
            success: Some("failing".to_owned()),
            client_errors: None,
            endpoints: Some("degraded".to_owned()),
        };
    }
    view.splits[0].versions[0].states.client_errors = Some("high".to_owned());
    let other = VersionView {
        version: "v3".to_owned(),
        service: Some("other.models.svc.cluster.local".to_owned()),
        ..VersionView::default()
    };
    let service = "half-plus-two.models.svc.cluster.local".to_owned();
    view.splits.push(SplitView { service, rule: None, versions: vec![other] });
    view
}

fn sized(width: usize, height: usize) -> Screen {
    Screen { size: Some((width, height)), ..Screen::new(&TOP, true, false) }
}

#[test]
fn no_line_is_wider_than_the_terminal_and_what_tells_least_goes_first() {
    let rows = minute_rows(&wide());
    for width in 1..=200 {
        for line in sized(width, 100).draw(Duration::ZERO, &rows).lines() {
            assert!(line.chars().count() <= width, "{width}: {line:?}");
        }
    }
    let heading = |width| {
        let drawn = sized(width, 100).draw(Duration::ZERO, &rows);
        drawn.lines().nth(1).unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let all =
        ["version", "weight", "share", "req/s", "success", "client", "err", "p50", "p95", "p99", "endpoints"];
    assert_eq!(heading(200), all);
    assert_eq!(heading(80), ["version", "weight", "share", "req/s", "success", "client", "err", "p99"]);
    assert_eq!(heading(61), ["version", "share", "req/s", "success", "client", "err"]);
    assert_eq!(heading(41), ["version", "share", "success"]);
}

#[test]
fn each_rule_has_its_name_and_its_service_above_its_versions() {
    let text = Screen::new(&TOP, true, false).once(&minute_rows(&wide()));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], " canary.models  s");
    assert!(lines[1].trim_start().starts_with("version "), "{text}");
    assert!(
        lines[3].starts_with(" v1 ")
            && lines[3].ends_with("✕ 50.0 %  61.5 % high  12.0 ms  120.0 ms  1200.0 ms      ! 2/3"),
        "{text}"
    );
    assert_eq!(lines[5], "");
    assert_eq!(lines[6], " no rule: all versions share  half-plus-two.models.svc.cluster.local");
    assert!(lines[9].starts_with(" v3 of other.models.svc.cluster.local "), "{text}");
}

#[test]
fn a_table_that_is_higher_than_the_terminal_tells_how_much_is_missing_and_is_drawn_in_place() {
    let rows = minute_rows(&wide());
    let whole = sized(80, 100).draw(Duration::ZERO, &rows).lines().count();
    let mut screen = sized(80, 6);
    let text = screen.draw(Duration::ZERO, &rows);
    assert_eq!(text.lines().count(), 5);
    assert_eq!(text.lines().last(), Some(&*format!(" … {} more lines", whole - 4)));
    assert!(screen.draw(Duration::ZERO, &rows).starts_with("\x1b[5A\r\x1b[J"));
}

#[test]
fn a_notice_is_above_the_table_within_the_terminal_and_only_where_it_is_drawn_in_place() {
    let rows = minute_rows(&wide());
    let mut screen = sized(40, 6);
    screen.set_notice(Some("connection lost for 7 s: nobody is there, nor was there ever".to_owned()));
    let text = screen.draw(Duration::ZERO, &rows);
    assert_eq!(text.lines().next(), Some(" ! connection lost for 7 s: nobody is t…"));
    assert_eq!(text.lines().count(), 5);
    screen.set_notice(None);
    assert!(!screen.draw(Duration::ZERO, &rows).contains("lost"));
    let mut lines = Screen::new(&TOP, false, false);
    lines.set_notice(Some("lost".to_owned()));
    assert!(!lines.draw(Duration::ZERO, &rows).contains("lost"));
}

#[test]
fn a_name_is_letters_on_a_terminal_whatever_it_holds() {
    let mut view = wide();
    view.splits[0].versions[0].version = "v\x1b[2J1".to_owned();
    view.splits[0].service = "s\r\n".to_owned();
    let text = Screen::new(&TOP, true, true).once(&minute_rows(&view));
    assert!(text.contains("v?[2J1") && text.contains("s??") && !text.contains("\x1b[2J"), "{text:?}");
}

#[test]
fn lines_for_programs_name_the_rule_and_the_service() {
    let text = Screen::new(&TOP, false, true).draw(Duration::from_secs(7), &minute_rows(&wide()));
    let expected = "  7s  service s  rule canary.models  version v1  weight 90  share 10.0 %  req/s 16.7  \
        success 50.0 % failing  client err 61.5 % high  p50 12.0 ms  p95 120.0 ms  p99 1200.0 ms  \
        endpoints 2/3 degraded";
    assert_eq!(text.lines().next(), Some(expected));
    assert!(
        text.lines().nth(2).is_some_and(|line| line.contains("  rule -  version v3 of other.models.")),
        "{text}"
    );
}
