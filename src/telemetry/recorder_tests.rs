//! The recorder's laws: no update is lost, none adds memory, and a series lives as long as it should.

use std::sync::Barrier;
use std::time::Duration;

use super::*;
use crate::telemetry::registry::IDLE;
use crate::telemetry::shard::bind_shard;

static COUNT: Family = Family::counter("count_total", "A count.");
static LEVEL: Family = Family::gauge("level", "A level.");
static TIME: Family = Family::histogram("time_seconds", "A time.", &[0.5, 1.0, 2.0]);

#[test]
fn updates_of_bound_and_unbound_threads_sum_exactly() {
    const EACH: u64 = 50_000;
    let recorder = Recorder::new(3);
    let (count, level) = (recorder.counter(&COUNT, &[]), recorder.gauge(&LEVEL, &[]));
    let time = recorder.histogram(&TIME, &[]);
    let together = Barrier::new(6);
    std::thread::scope(|scope| {
        // Three bound, one bound beyond the recorder's workers, two unbound.
        for index in [Some(10), Some(0), Some(1), Some(2), None, None] {
            let (count, level, time, together) = (&count, &level, &time, &together);
            scope.spawn(move || {
                let _guard = index.map(bind_shard);
                together.wait();
                for i in 0..EACH {
                    count.increment(2);
                    level.increment(3.0);
                    level.decrement(2.0);
                    time.observe((i % 3) as f64);
                }
            });
        }
    });
    assert_eq!((count.get(), level.get()), (12 * EACH, 6.0 * EACH as f64));
    assert_eq!(time.count(), 6 * EACH);
    let sum: u64 = (0..EACH).map(|i| i % 3).sum();
    assert_eq!(time.sum(), (6 * sum) as f64);
}

#[test]
fn a_bound_is_part_of_its_own_bucket() {
    let time = Recorder::new(1).histogram(&TIME, &[]);
    for value in [0.0, 0.5, 0.500_000_1, 1.0, 2.0, 2.1, f64::INFINITY, -1.0, f64::NAN] {
        time.observe(value);
    }
    let mut buckets = [0; 4];
    time.add_buckets(&mut buckets);
    assert_eq!(buckets, [3, 2, 1, 2], "and a NaN is no observation");
    assert_eq!(time.count(), 8);
}

#[test]
fn observations_add_no_memory() {
    let recorder = Recorder::new(2);
    let time = recorder.histogram(&TIME, &[("a", "b")]);
    let before = (recorder.cell_bytes(), recorder.series(), recorder.render(Page::Metrics).lines().count());
    for i in 0..10_000_000_u32 {
        time.observe(f64::from(i) * 1e-6);
    }
    let after = (recorder.cell_bytes(), recorder.series(), recorder.render(Page::Metrics).lines().count());
    assert_eq!((after, time.count()), (before, 10_000_000));
}

#[test]
fn the_same_name_and_labels_are_the_same_series() {
    let recorder = Recorder::new(1);
    recorder.counter(&COUNT, &[("a", "1")]).increment(1);
    recorder.counter(&COUNT, &[("a", "2")]).increment(5);
    let again = recorder.counter(&COUNT, &[("a", "1")]);
    again.increment(1);
    assert_eq!((again.get(), recorder.series()), (2, 2));
}

#[test]
fn a_set_gauge_shows_what_was_set_whoever_moved_it_before() {
    let level = Recorder::new(2).gauge(&LEVEL, &[]);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _guard = bind_shard(1);
            level.increment(7.0);
            level.set(3.0);
        });
    });
    assert_eq!(level.get(), 3.0);
    level.set(-2.5);
    level.increment(1.0);
    assert_eq!(level.get(), -1.5);
}

#[test]
fn a_series_leaves_fifteen_minutes_after_its_last_handle() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    let count = recorder.counter(&COUNT, &[]);
    count.increment(4);
    recorder.expire(start);
    let kept = count.clone();
    drop(count);
    recorder.expire(start + IDLE * 2);
    assert_eq!(recorder.series(), 1, "a handle keeps it");
    drop(kept);
    let idle = start + IDLE * 3;
    recorder.expire(idle);
    recorder.expire(idle + IDLE - Duration::from_secs(1));
    assert!(recorder.render(Page::Metrics).contains("count_total 4\n"));
    recorder.expire(idle + IDLE);
    assert_eq!((recorder.series(), recorder.render(Page::Metrics).as_str()), (0, ""));
    let bytes = recorder.cell_bytes();
    assert_eq!(
        (recorder.counter(&COUNT, &[]).get(), recorder.cell_bytes()),
        (0, bytes),
        "its cells are used again"
    );
}

#[test]
fn a_series_taken_up_again_keeps_its_value_and_its_fifteen_minutes() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    recorder.counter(&COUNT, &[]).increment(4);
    recorder.expire(start);
    assert_eq!(recorder.counter(&COUNT, &[]).get(), 4);
    recorder.expire(start + IDLE);
    assert_eq!(recorder.series(), 1, "the time runs from the second handle's end");
    recorder.expire(start + IDLE * 2);
    assert_eq!(recorder.series(), 0);
}

#[test]
fn what_the_facade_takes_up_is_counted_described_and_never_expires() {
    let (recorder, start) = (Recorder::new(1), Instant::now());
    metrics::with_local_recorder(&recorder, || {
        metrics::describe_counter!("lib.calls", "Calls \\ of a library.");
        metrics::counter!("lib.calls", "who" => "x\"y").increment(2);
        metrics::counter!("lib.calls", "who" => "x\"y").absolute(5);
        metrics::gauge!("lib_level").set(2.5);
        metrics::gauge!("lib_level").decrement(1.0);
        metrics::histogram!("lib_seconds").record(0.01);
        metrics::gauge!("lib.calls").set(99.0);
    });
    recorder.expire(start);
    recorder.expire(start + IDLE * 2);
    let page = recorder.render(Page::Metrics);
    for line in [
        "# HELP lib_calls Calls \\\\ of a library.",
        "# TYPE lib_calls counter",
        "lib_calls{who=\"x\\\"y\"} 5",
        "lib_level 1.5",
        "lib_seconds_bucket{le=\"0.01\"} 1",
        "lib_seconds_bucket{le=\"0.008\"} 0",
    ] {
        assert!(page.lines().any(|seen| seen == line), "{line} in {page}");
    }
    assert!(!page.contains("99"), "a name keeps its kind");
}
