//! The figures' laws: known distributions come back, and a minute is a minute.

use std::time::{Instant, SystemTime};

use super::*;
use crate::telemetry::record::{GrpcOutcome, RequestRecord};
use crate::telemetry::version::VersionMeter;
use crate::words::{HttpVersion, Protocol};

fn bucket_of(seconds: f64) -> usize {
    SECONDS.iter().position(|&bound| seconds <= bound).unwrap_or(SECONDS.len())
}

fn close(seen: Option<f64>, expected: f64) -> bool {
    seen.is_some_and(|seen| (seen / expected - 1.0).abs() < 0.01)
}

#[test]
fn percentiles_of_a_known_distribution_come_back() {
    // 1 to 1,000 ms, evenly: every percentile is known.
    let mut snapshot = Snapshot::default();
    for ms in 1..=1_000 {
        snapshot.buckets[bucket_of(f64::from(ms) / 1e3)] += 1;
    }
    snapshot.requests[Outcome::Success.index()] = 1_000;
    let figures = snapshot.figures(Duration::from_secs(10));
    assert!(
        close(figures.p50_ms, 500.0) && close(figures.p95_ms, 950.0) && close(figures.p99_ms, 990.0),
        "{figures:?}"
    );
    assert_eq!((figures.requests, figures.per_second, figures.success_rate), (1_000, 100.0, Some(1.0)));
}

#[test]
fn beyond_the_last_bound_a_percentile_is_that_bound_and_without_requests_there_is_none() {
    let mut snapshot = Snapshot::default();
    assert_eq!(snapshot.figures(Duration::ZERO).p99_ms, None);
    assert_eq!(snapshot.figures(Duration::ZERO).success_rate, None);
    snapshot.buckets[SECONDS.len()] = 3;
    assert_eq!(snapshot.figures(Duration::ZERO).p50_ms, Some(60_000.0));
}

#[test]
fn a_caller_that_leaves_or_errs_does_not_spoil_the_success_rate() {
    let snapshot = Snapshot { requests: [90, 5, 5, 100], ..Snapshot::default() };
    let figures = snapshot.figures(Duration::from_secs(1));
    assert_eq!((figures.requests, figures.success_rate), (200, Some(0.95)));
    assert_eq!(figures.client_error_rate, Some(0.05));
    assert_eq!((figures.client_errors, figures.server_errors, figures.cancelled), (5, 5, 100));
}

#[test]
fn the_last_minute_is_the_last_sixty_seconds_and_no_more() {
    let mut window = Window::default();
    assert_eq!(window.last_minute().1, Duration::ZERO);
    for second in 0..=200_u64 {
        // Ten requests in each second.
        window.push(Snapshot { requests: [10 * second, 0, 0, 0], ..Snapshot::default() });
        let (minute, elapsed) = window.last_minute();
        assert_eq!(elapsed.as_secs(), second.min(60));
        assert_eq!(minute.requests[0], 10 * second.min(60));
    }
}

#[test]
fn seconds_without_requests_take_no_room_and_leave_with_their_minute() {
    let mut window = Window::default();
    let mut requests = 0;
    for second in 0..500_u64 {
        // Bursts of two seconds, half a minute apart.
        requests += if second % 30 < 2 { 7 } else { 0 };
        window.push(Snapshot { requests: [requests, 0, 0, 0], ..Snapshot::default() });
        assert!(window.ring.len() <= 7, "{}", window.ring.len());
        let (minute, elapsed) = window.last_minute();
        assert_eq!(elapsed.as_secs(), second.min(60));
        let expected: u64 = (second.saturating_sub(59)..=second).filter(|at| at % 30 < 2).map(|_| 7).sum();
        // The first snapshot is where counting begins.
        assert_eq!(minute.requests[0], expected - if second < 60 { 7 } else { 0 }, "{second}");
    }
}

#[test]
fn figures_follow_the_versions_meter_for_every_protocol_and_a_minute_begins_with_them() {
    let recorder = Recorder::new(1);
    let labels = VersionLabels::new("half.default.svc.cluster.local", "split", "v2");
    let meter = VersionMeter::declare(&recorder, &labels);
    let report = |protocol, status, grpc_status| {
        let (wall, version) = (SystemTime::UNIX_EPOCH, HttpVersion::Http2);
        let mut record = RequestRecord::new(Instant::now(), wall, version, protocol);
        (record.status, record.grpc_status, record.duration) =
            (status, grpc_status, Duration::from_millis(2));
        meter.report_source(&record);
    };
    report(Protocol::Http, 200, GrpcOutcome::Absent);
    let mut stats = VersionStats::new(&recorder, &labels, 0);
    stats.tick(1);
    for _ in 0..3 {
        report(Protocol::Http, 200, GrpcOutcome::Absent);
    }
    report(Protocol::Grpc, 200, GrpcOutcome::parse(b"14"));
    stats.tick(2);
    let (ever, minute) = (stats.since_start(Duration::from_secs(10)), stats.last_minute());
    assert_eq!((ever.requests, ever.server_errors, ever.per_second), (5, 1, 0.5));
    assert_eq!((minute.requests, minute.server_errors, minute.per_second), (4, 1, 2.0));
    assert_eq!((ever.success_rate, minute.success_rate), (Some(0.8), Some(0.75)));
    assert!(minute.p99_ms.is_some_and(|ms| ms > 1.6 && ms <= 2.0), "{minute:?}");
}

#[test]
fn the_steps_of_five_minutes_are_there_for_the_first_who_looks_and_a_version_at_rest_keeps_none() {
    let recorder = Recorder::new(1);
    let labels = VersionLabels::new("half.default.svc.cluster.local", "split", "v2");
    let meter = VersionMeter::declare(&recorder, &labels);
    let report = |status| {
        let (wall, version) = (SystemTime::UNIX_EPOCH, HttpVersion::Http2);
        let mut record = RequestRecord::new(Instant::now(), wall, version, Protocol::Http);
        record.status = status;
        meter.report_source(&record);
    };
    // It comes in the middle of a step, the second of all.
    let mut stats = VersionStats::new(&recorder, &labels, 7);
    let told = |steps: Vec<Point>| -> Vec<(u32, u32)> {
        steps.iter().map(|step| (step.requests, step.server_errors)).collect()
    };
    (8..=9).for_each(|now| stats.tick(now));
    report(500);
    assert_eq!(told(stats.steps(9, 300)), []);
    stats.tick(10);
    assert_eq!(told(stats.steps(10, 300)), [(1, 1)]);
    // One a second, of which those of the fourth step fail.
    for now in 11..=200 {
        report(if (16..=20).contains(&now) { 503 } else { 200 });
        stats.tick(now);
    }
    let seen = told(stats.steps(204, 300));
    assert_eq!((seen.len(), &seen[..4]), (39, &[(1, 1), (5, 0), (5, 5), (5, 0)][..]));
    assert!(seen[3..].iter().all(|&step| step == (5, 0)), "{seen:?}");
    assert_eq!(told(stats.steps(204, 10)), [(5, 0); 2]);
    // Nobody asks any more, and nothing comes: five minutes later nothing is kept, and what is told stays true.
    for now in 201..=499 {
        stats.tick(now);
        assert!(stats.history.is_some(), "{now}");
    }
    assert_eq!(told(stats.steps(499, 300))[..3], [(5, 0), (0, 0), (0, 0)]);
    stats.tick(500);
    assert!(stats.history.is_none());
    assert_eq!(told(stats.steps(500, 300)), [(0, 0); 60]);
}

#[test]
fn a_snapshot_of_so_many_seconds_ago_is_found_among_those_that_lasted() {
    let mut window = Window::default();
    assert_eq!(window.ends(5), None);
    // 0, 1, 1, 1, 4, 5, 5
    for requests in [0, 1, 1, 1, 4, 5, 5] {
        window.push(Snapshot { requests: [requests, 0, 0, 0], ..Snapshot::default() });
    }
    let earlier = |seconds| window.ends(seconds).map(|(earlier, now)| (earlier.requests[0], now.requests[0]));
    for (seconds, found) in [(0, 5), (1, 5), (2, 4), (3, 1), (5, 1), (6, 0), (7, 0), (100, 0)] {
        assert_eq!(earlier(seconds), Some((found, 5)), "{seconds}");
    }
}
