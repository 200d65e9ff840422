//! What one update of a metric costs: `cargo bench --bench recorder`.
//!
//! Law of the recorder that this shows: an observation takes less than 10 ns, with one thread or two at once. Prints
//! the best of several rounds, as whatever else runs on the machine only ever adds.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant, SystemTime};

use weir::telemetry::families::buckets;
use weir::telemetry::{
    Family, GrpcOutcome, Page, Recorder, RequestRecord, VersionLabels, VersionMeter, bind_shard,
};
use weir::words::{GrpcStatus, HttpVersion, Protocol};

const ROUNDS: usize = 7;
const UPDATES: u32 = 4_000_000;
/// Durations to observe: 1,024 that hit most buckets, in no order that a branch predictor could learn.
const VALUES: usize = 1024;

static COUNT: Family = Family::counter("bench_total", "A count.");
static LEVEL: Family = Family::gauge("bench_level", "A level.");
static WIDE: Family = Family::histogram("bench_wide_seconds", "Our own buckets.", buckets::SECONDS);
static ENVOY: Family = Family::histogram("bench_envoy_ms", "Envoy's buckets.", buckets::ENVOY);

fn main() {
    let recorder = Recorder::new(2);
    let (count, level) = (recorder.counter(&COUNT, &[]), recorder.gauge(&LEVEL, &[]));
    let (wide, envoy) = (recorder.histogram(&WIDE, &[]), recorder.histogram(&ENVOY, &[]));
    let seconds = values();
    let ms: Vec<f64> = seconds.iter().map(|value| value * 1e3).collect();
    let bytes = recorder.cell_bytes();

    for threads in [1, 2] {
        print("counter", threads, UPDATES, |_| count.increment(black_box(1)));
        print("gauge, up and down", threads, UPDATES, |_| {
            level.increment(black_box(1.0));
            level.decrement(black_box(1.0));
        });
        print("histogram, 19 buckets", threads, UPDATES, |i| envoy.observe(black_box(ms[i % VALUES])));
        print("histogram, 52 buckets", threads, UPDATES, |i| wide.observe(black_box(seconds[i % VALUES])));
        print("the same, one value", threads, UPDATES, |_| wide.observe(black_box(0.0042)));
    }
    assert_eq!(recorder.cell_bytes(), bytes, "observations add no memory");
    whole_reports();
}

/// All families of one request, as the split listener reports it.
fn whole_reports() {
    let recorder = Recorder::new(2);
    let labels = VersionLabels::new("half.kubeflow.svc.cluster.local", "split", "v1");
    let meter = VersionMeter::declare(&recorder, &labels);
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::now(), HttpVersion::Http2, Protocol::Grpc);
    record.status = 200;
    record.grpc_status = GrpcOutcome::Known(GrpcStatus::Ok);
    let _guard = bind_shard(0);
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for i in 0..UPDATES / 10 {
            record.duration = Duration::from_micros(u64::from(i % 5_000));
            meter.report_source(black_box(&record));
        }
        best = best.min(start.elapsed());
    }
    let each = best.as_secs_f64() * 1e9 / f64::from(UPDATES / 10);
    println!("{:<28} 1 thread   {each:6.1} ns", "a request, all families");
    let _others: Vec<_> = (2..=100)
        .map(|i| {
            VersionMeter::declare(
                &recorder,
                &VersionLabels { version: format!("v{i}").into(), ..labels.clone() },
            )
        })
        .collect();
    let start = Instant::now();
    let page = recorder.render(Page::Metrics);
    println!(
        "one page of 100 versions: {} series, {} KiB of text in {:.1} ms; {} KiB of cells",
        recorder.series(),
        page.len() / 1024,
        start.elapsed().as_secs_f64() * 1e3,
        recorder.cell_bytes() / 1024
    );
}

fn print(what: &str, threads: usize, updates: u32, update: impl Fn(usize) + Sync) {
    let best = (0..ROUNDS).map(|_| round(threads, updates, &update)).min().unwrap_or_default();
    let each = best.as_secs_f64() * 1e9 / f64::from(updates);
    println!("{what:<28} {threads} thread{} {each:6.1} ns", if threads == 1 { "  " } else { "s " });
}

/// The slowest thread's time for its updates, all threads on the same series.
fn round(threads: usize, updates: u32, update: &(impl Fn(usize) + Sync)) -> Duration {
    let together = Barrier::new(threads);
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..threads)
            .map(|index| {
                let together = &together;
                scope.spawn(move || {
                    let guard = bind_shard(index);
                    assert!(guard.is_own());
                    together.wait();
                    let start = Instant::now();
                    (0..updates as usize).for_each(update);
                    start.elapsed()
                })
            })
            .collect();
        runs.into_iter().filter_map(|run| run.join().ok()).max().unwrap_or_default()
    })
}

/// From 0.1 ms to 100 s, spread evenly over the decades by a small generator.
fn values() -> Vec<f64> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..VALUES).map(|_| 1e-4 * 10_f64.powf(6.0 * next(&mut state))).collect()
}
