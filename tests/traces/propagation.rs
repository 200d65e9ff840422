//! What a request's fields say of its trace, on the way through.

use http::Request;

use crate::common::otlp::{Collector, Via, traceparent};
use crate::common::world::client::{Client, request};
use crate::common::world::upstream::{BoxBody, Seen, Upstream, empty, full};
use crate::common::world::{Http, World, one_service, run};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const B3: &str = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";

fn asking(fields: &[(&str, &str)]) -> Request<BoxBody> {
    let builder = request(http::Method::POST, "/m");
    let builder = fields.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(full("{}")).expect("a request")
}

/// A request with `fields` as the upstream gets it, on each way through a proxy with `tracing`.
async fn passed(tracing: &str, fields: &[(&str, &str)]) -> Vec<Seen> {
    let mut seen = Vec::new();
    for (down, up) in Http::matrix() {
        let v1 = Upstream::start("v1").await;
        let protocol = format!("protocol: {}", up.protocol());
        let world = World::start(&(one_service(&[&protocol], &[(&v1.at(), "v1")]) + tracing)).await;
        let answer = Client::connect(down, world.addr("in")).await.send(asking(fields)).await;
        assert_eq!(answer.status, 200);
        seen.push(v1.only());
    }
    seen
}

fn fields_of_trace(seen: &Seen) -> Vec<String> {
    let is_of_trace = |name: &str| name.starts_with("trace") || name.contains("b3");
    let fields = seen.head.headers.iter().filter(|(name, _)| is_of_trace(name.as_str()));
    fields.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect()
}

#[test]
fn without_tracing_fields_pass_untouched_and_none_are_made() {
    run(async || {
        let fields =
            [("traceparent", PARENT), ("tracestate", "a=1"), ("b3", B3), ("x-b3-traceid", "nonsense")];
        for seen in passed("", &fields).await {
            let mut passed = fields_of_trace(&seen);
            passed.sort();
            let mut sent = fields.map(|(name, value)| format!("{name}: {value}"));
            sent.sort();
            assert_eq!(passed, sent);
        }
        for seen in passed("", &[("traceparent", "nonsense")]).await {
            assert_eq!(fields_of_trace(&seen), ["traceparent: nonsense"]);
        }
        for seen in passed("", &[]).await {
            assert!(fields_of_trace(&seen).is_empty());
        }
    });
}

#[test]
fn what_the_caller_does_not_record_passes_untouched() {
    run(async || {
        let collector = Collector::start().await;
        let tracing = Via::Grpc.tracing(&collector.at(), 100);
        let unsampled = PARENT.replace("-01", "-00");
        for seen in passed(&tracing, &[("traceparent", &unsampled), ("tracestate", "a=1")]).await {
            assert_eq!(
                (seen.header("traceparent"), seen.header("tracestate")),
                (Some(&*unsampled), Some("a=1"))
            );
        }
    });
}

#[test]
fn what_is_recorded_goes_on_as_a_span_of_our_own_in_the_callers_trace() {
    run(async || {
        let collector = Collector::start().await;
        for seen in
            passed(&Via::Grpc.tracing(&collector.at(), 0), &[("traceparent", PARENT), ("tracestate", "a=1")])
                .await
        {
            let (trace, span, flags) = traceparent(seen.header("traceparent").expect("a trace"));
            let (of_caller, callers, _) = traceparent(PARENT);
            assert_eq!((trace, flags, seen.header("tracestate")), (of_caller, "01", Some("a=1")));
            assert_ne!(span, callers);
        }
    });
}

#[test]
fn a_new_trace_begins_where_there_is_none_or_none_that_can_be_read() {
    run(async || {
        let collector = Collector::start().await;
        for percent in [0, 100] {
            let expected = if percent == 0 { "00" } else { "01" };
            for fields in [
                &[][..],
                &[("traceparent", "00-nonsense-01"), ("tracestate", "a=1")],
                &[("tracestate", "a=1")],
            ] {
                for seen in passed(&Via::Http.tracing(&collector.at(), percent), fields).await {
                    let (_, _, flags) = traceparent(seen.header("traceparent").expect("a trace"));
                    assert_eq!((flags, seen.header("tracestate")), (expected, None));
                }
            }
        }
    });
}

#[test]
fn b3_is_followed_and_goes_on_beside_traceparent() {
    run(async || {
        let collector = Collector::start().await;
        let (trace, span) = B3.split_once('-').expect("two");
        let tracing = Via::Grpc.tracing(&collector.at(), 0);
        for seen in passed(&tracing, &[("b3", &format!("{B3}-1"))]).await {
            let (of_w3c, ours, flags) = traceparent(seen.header("traceparent").expect("a trace"));
            assert_eq!((of_w3c, flags), (trace, "01"));
            let b3 = seen.header("b3").expect("B3");
            assert!(b3.starts_with(&format!("{trace}-{ours}-1-")) && ours != span, "{b3}");
        }
        for seen in
            passed(&tracing, &[("x-b3-traceid", trace), ("x-b3-spanid", span), ("x-b3-sampled", "0")]).await
        {
            assert_eq!(seen.header("traceparent"), Some(&*format!("00-{trace}-{span}-00")));
            assert_eq!((seen.header("x-b3-spanid"), seen.header("x-b3-sampled")), (Some(span), Some("0")));
        }
    });
}

#[test]
fn a_share_of_new_traces_is_recorded_and_others_are_as_their_callers_said() {
    run(async || {
        const SENT: usize = 400;
        let (v1, collector) = (Upstream::start("v1").await, Collector::start().await);
        let yaml =
            one_service(&["protocol: http2"], &[(&v1.at(), "v1")]) + &Via::Grpc.tracing(&collector.at(), 25);
        let world = World::start(&yaml).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        for _ in 0..SENT {
            client.send(request(http::Method::GET, "/m").body(empty()).expect("a request")).await;
        }
        let flagged = |seen: &Seen| traceparent(seen.header("traceparent").expect("a trace")).2 == "01";
        let recorded = v1.seen().iter().filter(|seen| flagged(seen)).count();
        // Eight standard deviations.
        assert!(recorded.abs_diff(SENT / 4) < 70, "{recorded}");
        let spans = collector.wait(2 * recorded).await;
        let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| span.id.clone()).collect();
        assert_eq!(ids.len(), 2 * recorded, "each span has an id of its own");
    });
}
