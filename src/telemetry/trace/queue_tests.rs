//! Nobody waits, nothing is lost uncounted.

use std::time::{Instant, SystemTime};

use http::HeaderMap;

use super::*;
use crate::runtime::worker::local_runtime;
use crate::telemetry::trace::{Rate, Tracer, Where};
use crate::telemetry::{Page, Recorder, RequestRecord};
use crate::words::{HttpVersion, Protocol};

fn finished(queue: &SpanQueue) -> Finished {
    let tracer = Tracer { rate: Rate::new(1, 1), queue: queue.clone() };
    let trace = tracer.begin(&mut HeaderMap::new(), || 7).expect("it is recorded");
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
        assert_eq!(batch.len(), BATCH_SPANS);
        queue.push(finished(&queue));
        assert_eq!(dropped(&recorder, "queue_full"), "6", "it keeps its place while it is on its way");
        source.done(batch.len());
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
        assert_eq!(source.next().await.map(|batch| batch.len()), Some(1));
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
        assert_eq!(source.next().await.map(|batch| batch.len()), Some(1), "it does not gather any more");
        assert_eq!(source.closer().abandon(), 1, "it was not told to have left");
        assert_eq!(dropped(&recorder, "shutdown"), "1");
        assert!(source.next().await.is_none());
        drop(source);
        queue.push(finished(&queue));
        assert_eq!(dropped(&recorder, "shutdown"), "2");
    });
}
