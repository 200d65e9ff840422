//! Nobody waits, nothing is lost uncounted.

use std::pin::pin;
use std::time::{Instant, SystemTime};

use futures_util::FutureExt as _;
use http::HeaderMap;

use super::*;
use crate::runtime::worker::local_runtime;
use crate::telemetry::trace::{Attempt, Head, Rate, SpanId, Text, Tracer, Where};
use crate::telemetry::{Page, Recorder, RequestRecord};
use crate::words::{HttpVersion, Protocol};

fn finished(queue: &SpanQueue) -> Finished {
    asked(queue, &mut HeaderMap::new(), "", 0)
}

/// A request whose head says `text` wherever a caller may write something, after so many attempts.
fn asked(queue: &SpanQueue, headers: &mut HeaderMap, text: &str, attempts: usize) -> Finished {
    let tracer = Tracer { rate: Rate::new(1, 1), queue: queue.clone() };
    let mut trace = tracer.begin(headers, || 7).expect("it is recorded");
    let said = || Text::of(text);
    trace.head = Some(Head {
        method: said(),
        scheme: "http",
        path: said(),
        authority: said(),
        user_agent: said(),
        forwarded_for: None,
    });
    for _ in 0..attempts {
        let attempt = Attempt {
            span: SpanId::random(7),
            started: Instant::now(),
            ended: None,
            endpoint: "10.0.0.1:80".into(),
            authority: said(),
            path: Some(said()),
            http2: false,
            status: 0,
            grpc_status: Default::default(),
            error: None,
        };
        trace.begin_attempt(attempt, &mut HeaderMap::new());
    }
    let record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http);
    trace.finish(&record, Where::default())
}

fn dropped(recorder: &Recorder, why: &str) -> String {
    let page = recorder.render(Page::Metrics);
    let series = format!("weir_spans_dropped_total{{reason=\"{why}\"}} ");
    page.lines().find_map(|line| line.strip_prefix(&series)).expect("the series").to_owned()
}

fn world() -> (Recorder, SpanQueue, SpanSource) {
    let recorder = Recorder::new(1);
    let (queue, source) = span_queue(SpanMeter::new(&recorder));
    (recorder, queue, source)
}

#[test]
fn what_does_not_fit_is_lost_and_counted_until_what_was_taken_has_left() {
    local_runtime().expect("a runtime").block_on(async {
        let (recorder, queue, mut source) = world();
        for _ in 0..QUEUE_SPANS + 5 {
            queue.push(finished(&queue));
        }
        assert_eq!(dropped(&recorder, "queue_full"), "5");
        let overflow = source.overflow();
        overflow.wait().await;
        assert_eq!((overflow.take(), overflow.take()), (5, 0));
        let batch = source.next().await.expect("a batch");
        assert_eq!((batch.spans(), batch.requests.len()), (BATCH_SPANS, BATCH_SPANS));
        queue.push(finished(&queue));
        assert_eq!(dropped(&recorder, "queue_full"), "6", "it keeps its place while it is on its way");
        source.done(batch);
        queue.push(finished(&queue));
        assert_eq!(dropped(&recorder, "queue_full"), "6");
    });
}

#[test]
fn when_nobody_has_spans_any_more_the_rest_comes_and_then_the_end() {
    local_runtime().expect("a runtime").block_on(async {
        let (_recorder, queue, mut source) = world();
        queue.push(finished(&queue));
        drop(queue);
        assert_eq!(source.next().await.map(|batch| batch.spans()), Some(1));
        assert!(source.next().await.is_none());
    });
}

#[test]
fn closing_ends_every_wait_and_what_is_left_then_is_counted() {
    local_runtime().expect("a runtime").block_on(async {
        let (recorder, queue, mut source) = world();
        queue.push(finished(&queue));
        source.closer().close();
        source.pause(Duration::from_secs(3_600)).await;
        assert_eq!(source.next().await.map(|batch| batch.spans()), Some(1), "it does not gather any more");
        assert_eq!(source.closer().abandon(), 1, "it was not told to have left");
        assert_eq!(dropped(&recorder, "shutdown"), "1");
        assert!(source.next().await.is_none());
        drop(source);
        queue.push(finished(&queue));
        assert_eq!(dropped(&recorder, "shutdown"), "2");
    });
}

/// The head that takes the most: whatever its caller writes is long.
fn long(queue: &SpanQueue, attempts: usize) -> Finished {
    let mut headers = HeaderMap::new();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", parent.parse().expect("a value"));
    for member in 0..32 {
        let state = format!("k{member}={}", "x".repeat(256));
        headers.append("tracestate", state.parse().expect("a value"));
    }
    asked(queue, &mut headers, &"a".repeat(60_000), attempts)
}

#[test]
fn what_is_kept_of_a_request_is_little_however_long_its_head_is() {
    let (_recorder, queue, _source) = world();
    for attempts in [0, 1, 101] {
        let (long, short) =
            (long(&queue, attempts).bytes(), asked(&queue, &mut HeaderMap::new(), "", attempts).bytes());
        let texts = 4 + 2 * attempts;
        assert_eq!(long - short, texts * 1_024 + (3 * 259 + 2), "{attempts} attempts");
        assert!(short < 1_024 + attempts * 512, "{short} with {attempts} attempts");
    }
}

#[test]
fn what_waits_is_bounded_in_bytes_too_and_many_bytes_are_a_batch() {
    local_runtime().expect("a runtime").block_on(async {
        let (recorder, queue, mut source) = world();
        let bytes = long(&queue, 0).bytes();
        let fit = QUEUE_BYTES / bytes;
        assert!(fit < QUEUE_SPANS, "{bytes}");
        for _ in 0..fit + 3 {
            queue.push(long(&queue, 0));
        }
        assert_eq!(dropped(&recorder, "queue_full"), "3");
        let batch = source.next().await.expect("a batch");
        assert_eq!(batch.requests.len(), BATCH_BYTES.div_ceil(bytes));
        let freed = batch.requests.len();
        source.done(batch);
        for _ in 0..freed + 1 {
            queue.push(long(&queue, 0));
        }
        assert_eq!(dropped(&recorder, "queue_full"), "4", "as many as have left");
    });
}

#[test]
fn many_bytes_do_not_gather() {
    local_runtime().expect("a runtime").block_on(async {
        let (_recorder, queue, mut source) = world();
        let mut next = pin!(source.next());
        assert!(next.as_mut().now_or_never().is_none(), "it waits for more");
        for _ in 0..BATCH_BYTES.div_ceil(long(&queue, 0).bytes()) {
            queue.push(long(&queue, 0));
        }
        let batch = next.now_or_never().flatten().expect("it is there at once");
        assert!(batch.spans() < BATCH_SPANS);
    });
}
