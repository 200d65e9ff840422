//! What fields say, and are made to say.

use http::HeaderMap;
use proptest::prelude::*;

use super::*;
use crate::telemetry::trace::TraceId;

const W3C: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().expect("a value"));
    }
    headers
}

/// Trace, span and what was decided; `-` for what is not there.
fn read(fields: &[(&'static str, &str)]) -> String {
    let incoming = Incoming::of(&headers(fields));
    let parent = incoming.parent.map_or("-".to_owned(), |parent| format!("{} {}", parent.trace, parent.span));
    let sampled = match incoming.sampled {
        None => "-",
        Some(true) => "yes",
        Some(false) => "no",
    };
    format!("{parent} {sampled}")
}

#[test]
fn traceparent_counts_before_b3_and_one_without_a_reading_leaves_nothing() {
    let b3 = format!("{TRACE}-{SPAN}-0");
    let parent = "4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7 yes";
    assert_eq!(read(&[("traceparent", W3C), ("b3", &b3)]), parent);
    assert_eq!(read(&[("traceparent", "nonsense"), ("b3", &b3)]), "- -");
    assert_eq!(read(&[("traceparent", W3C), ("traceparent", W3C)]), "- -", "there can be only one");
    assert_eq!(read(&[("b3", &b3), ("x-b3-sampled", "1")]), format!("{TRACE} {SPAN} no"));
    assert_eq!(read(&[]), "- -");
}

#[test]
fn b3_is_read_in_both_forms() {
    assert_eq!(read(&[("b3", &format!("{TRACE}-{SPAN}"))]), format!("{TRACE} {SPAN} -"));
    assert_eq!(read(&[("b3", "0")]), "- no");
    let several = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "1")];
    assert_eq!(read(&several), format!("{TRACE} {SPAN} yes"));
    assert_eq!(read(&[("x-b3-sampled", "1")]), "- yes");
    assert_eq!(read(&[("x-b3-traceid", TRACE)]), "- -", "half of it says nothing");
}

/// The fields of a trace, sorted, after a span of it was put in.
fn injected(fields: &[(&'static str, &str)], sampled: bool) -> Vec<String> {
    let mut headers = headers(fields);
    let incoming = Incoming::of(&headers);
    let span = SpanContext::new(TraceId::random(1, 2), SpanId::random(3), sampled);
    incoming.forms.inject(&mut headers, span, Some(SpanId::random(4)));
    let mut said: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("text"))).collect();
    said.sort();
    said
}

#[test]
fn what_came_in_b3_goes_on_in_b3_and_as_traceparent() {
    const OURS: &str = "traceparent: 00-00000000000000010000000000000002-0000000000000003-";
    assert_eq!(injected(&[], true), [format!("{OURS}01")]);
    assert_eq!(injected(&[("traceparent", W3C)], false), [format!("{OURS}00")]);
    let single =
        |state| format!("b3: 00000000000000010000000000000002-0000000000000003-{state}-0000000000000004");
    assert_eq!(injected(&[("b3", "1")], true), [single("1"), format!("{OURS}01")]);
    assert_eq!(injected(&[("b3", "d")], true), [single("d"), format!("{OURS}01")]);
    assert_eq!(injected(&[("b3", "d"), ("traceparent", W3C)], false), [single("0"), format!("{OURS}00")]);
    let several = |last: &str, flags: &str| {
        let rest = [
            format!("{OURS}{flags}"),
            "x-b3-parentspanid: 0000000000000004".into(),
            "x-b3-spanid: 0000000000000003".into(),
            "x-b3-traceid: 00000000000000010000000000000002".into(),
            last.to_owned(),
        ];
        let mut rest = rest.to_vec();
        rest.sort();
        rest
    };
    let ids = [("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-parentspanid", SPAN)];
    assert_eq!(injected(&ids, true), several("x-b3-sampled: 1", "01"));
    assert_eq!(injected(&[ids[0], ids[1], ("x-b3-flags", "1")], true), several("x-b3-flags: 1", "01"));
    assert_eq!(injected(&[("x-b3-sampled", "0")], false), several("x-b3-sampled: 0", "00"));
}

proptest! {
    #[test]
    fn what_was_put_in_is_read_in_every_form(
        high in prop_oneof![Just(0), any::<u64>()], low: u64, id: u64, sampled: bool, form in 0_usize..3,
    ) {
        let mut headers = headers([&[][..], &[("b3", "1")], &[("x-b3-sampled", "1")]][form]);
        let span = SpanContext::new(TraceId::random(high, low), SpanId::random(id), sampled);
        let forms = Incoming::of(&headers).forms;
        forms.inject(&mut headers, span, None);
        let read = Incoming::of(&headers);
        prop_assert_eq!((read.parent, read.sampled, read.is_w3c, read.forms), (Some(span), Some(sampled), true, forms));
        headers.remove("traceparent");
        let of_b3 = Incoming::of(&headers);
        if form > 0 {
            prop_assert_eq!((of_b3.parent, of_b3.sampled, of_b3.forms), (Some(span), Some(sampled), forms));
        }
    }
}
