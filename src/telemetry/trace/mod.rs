//! Traces: what a request says of the one that it belongs to, and the spans that Weir adds to it.
//!
//! Law: only what is sampled has a record; of the rest nothing is kept. Knows no configuration, and not where spans go:
//! whoever sends them takes them out of the [queue](SpanQueue).

mod b3;
mod carrier;
mod context;
mod ids;
mod queue;
mod record;
mod sampler;
mod span;
mod state;

pub use b3::{B3, Decision, Several};
pub use carrier::Incoming;
pub use context::SpanContext;
pub use ids::{SpanId, TraceId};
pub use queue::{BATCH_SPANS, Batch, Closer, Overflow, QUEUE_SPANS, SpanQueue, SpanSource, span_queue};
pub use record::{Attempt, AttemptEnd, Finished, Head, Text, Trace, Where};
pub use sampler::Rate;
pub use span::{Kind, Span, Value, spans_of};
pub use state::list as state_list;

use carrier::Forms;
use http::HeaderMap;

/// What begins traces: how many, and where their spans go.
#[derive(Clone, Debug)]
pub struct Tracer {
    /// Of those that nobody has decided about before.
    pub rate: Rate,
    /// Where the spans of requests that are over go.
    pub queue: SpanQueue,
}

impl Tracer {
    /// Has `headers` say a trace that goes on here: the caller's, or a new one. Where it is recorded, its record begins.
    /// `draw` gives random bits.
    pub fn begin(&self, headers: &mut HeaderMap, mut draw: impl FnMut() -> u64) -> Option<Box<Trace>> {
        let incoming = Incoming::of(headers);
        if incoming.is_w3c && incoming.sampled == Some(false) {
            return None; // the usual case: all is said already
        }
        let trace = incoming.parent.map_or_else(|| TraceId::random(draw(), draw()), |parent| parent.trace);
        let sampled = incoming.sampled.unwrap_or_else(|| self.rate.takes(trace));
        if incoming.has_state && !incoming.is_w3c {
            carrier::forget_state(headers);
        }
        if !sampled {
            let span = match incoming.parent {
                Some(parent) => parent.with_sampled(false),
                // Nobody will see that span, so that its id need not be drawn.
                None => SpanContext::new(trace, SpanId::random(trace.randomness()), false),
            };
            // What a caller has said itself in B3 it has said already.
            let is_said = incoming.parent.is_some() && incoming.sampled.is_some();
            let forms = if is_said { Forms::default() } else { incoming.forms };
            forms.inject(headers, span, None);
            return None;
        }
        let id = SpanId::random(draw());
        let span =
            incoming.parent.map_or_else(|| SpanContext::new(trace, id, true), |parent| parent.with_span(id));
        let span = span.with_sampled(true);
        let parent = incoming.parent.map(|parent| parent.span);
        // What is asked beside the attempts, such as a copy, belongs to the request itself.
        incoming.forms.inject(headers, span, parent);
        Some(Box::new(Trace::new(span, parent, state::list(carrier::states(headers)), incoming.forms)))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use rand::rngs::SmallRng;
    use rand::{Rng as _, SeedableRng as _};

    use super::*;
    use crate::telemetry::Recorder;
    use crate::telemetry::families::SpanMeter;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// What becomes of a request with `fields` at a rate of so many percent.
    fn begin(percent: u32, fields: &[(&'static str, &str)]) -> (HeaderMap, Option<Box<Trace>>) {
        let (queue, _source) = span_queue(SpanMeter::new(&Recorder::new(1)));
        let tracer = Tracer { rate: Rate::new(percent, 100), queue };
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().expect("a value"));
        }
        let mut dice = SmallRng::seed_from_u64(1);
        let trace = tracer.begin(&mut headers, || dice.next_u64());
        (headers, trace)
    }

    fn said(headers: &HeaderMap) -> SpanContext {
        SpanContext::parse(headers["traceparent"].as_bytes()).expect("a context")
    }

    #[test]
    fn a_caller_that_records_is_followed_whatever_the_rate_is() {
        let (headers, trace) =
            begin(0, &[("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]);
        let trace = trace.expect("it is recorded");
        let parent = SpanContext::parse(PARENT.as_bytes()).expect("a context");
        assert_eq!((trace.parent, trace.span.trace), (Some(parent.span), parent.trace));
        assert_eq!((said(&headers), trace.state.as_str()), (trace.span, "a=1,b=2"));
        assert_ne!(trace.span.span, parent.span);
        assert_eq!(headers.get_all("tracestate").iter().count(), 2, "it is passed on as it came");
    }

    #[test]
    fn a_caller_that_does_not_record_is_followed_whatever_the_rate_is_and_its_fields_pass() {
        let parent = PARENT.replace("-01", "-00");
        let (headers, trace) = begin(100, &[("traceparent", &parent), ("tracestate", "a=1")]);
        assert!(trace.is_none() && headers["traceparent"] == parent && headers["tracestate"] == "a=1");
        let several = [("x-b3-traceid", "64fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1")];
        let denied =
            [several[0], several[1], ("x-b3-parentspanid", "05e3ac9a4f6e3b90"), ("x-b3-sampled", "0")];
        let (mut headers, trace) = begin(100, &denied);
        assert_eq!(said(&headers).to_text(), *b"00-000000000000000064fe8b2a57d3eff7-e457b5a2e4d86bd1-00");
        headers.remove("traceparent");
        assert!(trace.is_none() && denied.iter().all(|(name, value)| headers[*name] == value), "{headers:?}");
        let (headers, trace) = begin(100, &[("b3", "0")]);
        assert!(trace.is_none() && !said(&headers).is_sampled());
        assert!(headers["b3"].to_str().expect("text").ends_with("-0"), "{headers:?}");
    }

    #[test]
    fn a_new_trace_says_to_the_next_what_was_decided() {
        for fields in
            [&[][..], &[("traceparent", "nonsense"), ("tracestate", "a=1")], &[("tracestate", "a=1")]]
        {
            let (headers, trace) = begin(0, fields);
            assert!(trace.is_none() && !said(&headers).is_sampled() && headers.len() == 1, "{headers:?}");
            let (headers, trace) = begin(100, fields);
            let trace = trace.expect("it is recorded");
            assert!(trace.parent.is_none() && trace.state.is_empty());
            assert!(
                said(&headers) == trace.span && trace.span.is_sampled() && headers.len() == 1,
                "{headers:?}"
            );
        }
    }

    #[test]
    fn a_caller_that_leaves_it_to_us_gets_our_decision_in_its_own_form() {
        let b3 = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1";
        let (headers, trace) = begin(0, &[("b3", b3)]);
        assert!(trace.is_none() && headers["b3"] == format!("{b3}-0") && !said(&headers).is_sampled());
        let (headers, trace) = begin(100, &[("b3", b3)]);
        let trace = trace.expect("it is recorded");
        assert_eq!(
            headers["b3"],
            format!("80f198ee56343ba864fe8b2a57d3eff7-{}-1-e457b5a2e4d86bd1", trace.span.span)
        );
        assert_eq!(said(&headers), trace.span);
    }
}
