//! What a request's fields say of its trace, and how they are made to say another span of it.
//!
//! Laws: `traceparent` counts before B3, and one that has no reading begins a new trace; a new trace has no
//! `tracestate`. Whoever speaks B3 is answered in it: each form of it that came goes on, beside `traceparent`, and says
//! the same.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::b3::{self, B3, Decision, Several};
use super::context::SpanContext;
use super::ids::SpanId;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const SINGLE: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_SPAN_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

/// What a request's fields say of its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incoming {
    /// The caller's span.
    pub parent: Option<SpanContext>,
    /// Whether it is recorded, if its caller has decided that.
    pub sampled: Option<bool>,
    /// All of that stands in `traceparent`, so that the fields may pass as they are.
    pub is_w3c: bool,
    /// There is a list of `tracestate`.
    pub has_state: bool,
    /// How it goes on.
    pub forms: Forms,
}

/// In which forms of B3 a trace goes on, beside `traceparent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forms {
    single: bool,
    several: bool,
    /// Whoever comes next is to record it, too, whatever the rates are.
    debug: bool,
}

impl Incoming {
    /// Reads them.
    pub fn of(headers: &HeaderMap) -> Incoming {
        let found = Found::of(headers);
        let mut forms = Forms { single: found.single, several: found.several, debug: false };
        if found.traceparent {
            let parent = only(headers, &TRACEPARENT).and_then(SpanContext::parse);
            let sampled = parent.map(|parent| parent.is_sampled());
            return Incoming {
                parent,
                sampled,
                is_w3c: parent.is_some(),
                has_state: found.tracestate,
                forms,
            };
        }
        let said = match (forms.single, forms.several) {
            (true, _) => only(headers, &SINGLE).and_then(B3::parse),
            (false, true) => B3::parse_several(Several {
                trace: only(headers, &TRACE_ID),
                span: only(headers, &SPAN_ID),
                sampled: only(headers, &SAMPLED),
                flags: only(headers, &FLAGS),
            }),
            (false, false) => None,
        };
        let none =
            Incoming { parent: None, sampled: None, is_w3c: false, has_state: found.tracestate, forms };
        let Some(said) = said else { return none };
        forms.debug = said.decision == Decision::Debug;
        let sampled = said.decision.sampled();
        let parent = said.ids.map(|(trace, span)| SpanContext::new(trace, span, sampled == Some(true)));
        Incoming { parent, sampled, forms, ..none }
    }
}

/// Which fields of a trace are there. One look at each name costs less than looking up each that might be there, and
/// mostly there is none.
#[derive(Default)]
struct Found {
    traceparent: bool,
    tracestate: bool,
    single: bool,
    several: bool,
}

impl Found {
    fn of(headers: &HeaderMap) -> Found {
        let mut found = Found::default();
        for name in headers.keys() {
            let name = name.as_str();
            if !matches!(name.as_bytes().first(), Some(b't' | b'b' | b'x')) {
                continue; // most names, at the first byte
            }
            match name {
                "traceparent" => found.traceparent = true,
                "tracestate" => found.tracestate = true,
                "b3" => found.single = true,
                "x-b3-traceid" | "x-b3-spanid" | "x-b3-sampled" | "x-b3-flags" => found.several = true,
                _ => {}
            }
        }
        found
    }
}

/// The value of a field that may stand there once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// The values of `tracestate`.
pub(super) fn states(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(TRACESTATE).iter().map(HeaderValue::as_bytes)
}

/// Takes out what says of another trace.
pub(super) fn forget_state(headers: &mut HeaderMap) {
    headers.remove(TRACESTATE);
}

impl Forms {
    /// Has `headers` say that `span`, whose own parent is `parent`, makes the request.
    pub fn inject(self, headers: &mut HeaderMap, span: SpanContext, parent: Option<SpanId>) {
        set(headers, TRACEPARENT, &span.to_text());
        if !self.single && !self.several {
            return;
        }
        let trace = b3::trace_text(span.trace);
        let state = match (span.is_sampled(), self.debug) {
            (true, true) => "d",
            (true, false) => "1",
            (false, _) => "0",
        };
        if self.single {
            let parent = parent.map(|parent| format!("-{parent}")).unwrap_or_default();
            set(headers, SINGLE, format!("{trace}-{}-{state}{parent}", span.span).as_bytes());
        }
        if self.several {
            set(headers, TRACE_ID, trace.as_bytes());
            set(headers, SPAN_ID, span.span.to_string().as_bytes());
            match parent {
                Some(parent) => set(headers, PARENT_SPAN_ID, parent.to_string().as_bytes()),
                None => drop(headers.remove(PARENT_SPAN_ID)),
            }
            // Of a trace for debugging it is the flag that says so (and that it is recorded).
            let (said, unsaid) = if state == "d" { (FLAGS, SAMPLED) } else { (SAMPLED, FLAGS) };
            set(headers, said, if state == "d" { b"1" } else { state.as_bytes() });
            headers.remove(unsaid);
        }
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    // Digits and dashes are what a field may hold.
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
#[path = "carrier_tests.rs"]
mod tests;
