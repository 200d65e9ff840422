//! B3, by which older tracers say which trace a request belongs to: in one field or in several.
//!
//! Law: ids that are not exactly of the form are none, and then nothing of the rest counts.
//! Source: openzipkin/b3-propagation.

use super::ids::{SpanId, TraceId};

/// What the caller has decided about recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is recorded.
    Accept,
    /// It is not.
    Deny,
    /// It is recorded, whatever anybody's rate is, and whoever comes next is told the same.
    Debug,
    /// That is left to us.
    Deferred,
}

/// What B3 says of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct B3 {
    /// The caller's span; a caller may decide without having one.
    pub ids: Option<(TraceId, SpanId)>,
    /// See [`Decision`].
    pub decision: Decision,
}

impl Decision {
    /// `None`: it is left to us.
    pub fn sampled(self) -> Option<bool> {
        match self {
            Decision::Accept | Decision::Debug => Some(true),
            Decision::Deny => Some(false),
            Decision::Deferred => None,
        }
    }
}

/// The fields of the form with several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Several<'v> {
    /// `x-b3-traceid`
    pub trace: Option<&'v [u8]>,
    /// `x-b3-spanid`
    pub span: Option<&'v [u8]>,
    /// `x-b3-sampled`
    pub sampled: Option<&'v [u8]>,
    /// `x-b3-flags`
    pub flags: Option<&'v [u8]>,
}

impl B3 {
    /// Reads the value of `b3`: `TRACE-SPAN`, `TRACE-SPAN-STATE`, `TRACE-SPAN-STATE-PARENT`, or a state alone.
    pub fn parse(value: &[u8]) -> Option<B3> {
        let state = |text: &[u8]| match text {
            b"1" => Some(Decision::Accept),
            b"0" => Some(Decision::Deny),
            b"d" => Some(Decision::Debug),
            _ => None,
        };
        let mut parts = value.split(|&byte| byte == b'-');
        let first = parts.next()?;
        let Some(span) = parts.next() else {
            return state(first).map(|decision| B3 { ids: None, decision });
        };
        let decision = parts.next().map_or(Some(Decision::Deferred), state)?;
        if let Some(parent) = parts.next() {
            SpanId::parse(parent)?;
        }
        if parts.next().is_some() {
            return None;
        }
        Some(B3 { ids: Some((trace_id(first)?, SpanId::parse(span)?)), decision })
    }

    /// Reads the form with several fields.
    pub fn parse_several(fields: Several<'_>) -> Option<B3> {
        let decision = match (fields.flags, fields.sampled) {
            (Some(b"1"), _) => Decision::Debug,
            (_, None) => Decision::Deferred,
            // Older tracers wrote the words.
            (_, Some(b"1" | b"true")) => Decision::Accept,
            (_, Some(b"0" | b"false")) => Decision::Deny,
            (_, Some(_)) => return None,
        };
        let ids = match (fields.trace, fields.span) {
            (None, None) if decision == Decision::Deferred => return None,
            (None, None) => None,
            (trace, span) => Some((trace_id(trace?)?, SpanId::parse(span?)?)),
        };
        Some(B3 { ids, decision })
    }
}

/// 16 bytes, or the last 8 of them.
fn trace_id(digits: &[u8]) -> Option<TraceId> {
    if digits.len() != 16 {
        return TraceId::parse(digits);
    }
    let mut padded = [b'0'; 32];
    padded[16..].copy_from_slice(digits);
    TraceId::parse(&padded)
}

/// The trace's id as B3 writes it: as short as it came.
pub(super) fn trace_text(trace: TraceId) -> String {
    let text = trace.to_string();
    if trace.is_short() { text[16..].to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
    const SPAN: &str = "e457b5a2e4d86bd1";

    fn parse(text: &str) -> Option<(Option<(String, String)>, Decision)> {
        let b3 = B3::parse(text.as_bytes())?;
        Some((b3.ids.map(|(trace, span)| (trace_text(trace), span.to_string())), b3.decision))
    }

    #[test]
    fn one_field_has_ids_and_a_state_or_a_state_alone() {
        let ids = || Some((TRACE.to_owned(), SPAN.to_owned()));
        assert_eq!(parse(&format!("{TRACE}-{SPAN}-1-05e3ac9a4f6e3b90")), Some((ids(), Decision::Accept)));
        assert_eq!(parse(&format!("{TRACE}-{SPAN}-d")), Some((ids(), Decision::Debug)));
        assert_eq!(parse(&format!("{TRACE}-{SPAN}-0")), Some((ids(), Decision::Deny)));
        assert_eq!(parse(&format!("{TRACE}-{SPAN}")), Some((ids(), Decision::Deferred)));
        assert_eq!(parse("0"), Some((None, Decision::Deny)));
        assert_eq!(parse("1"), Some((None, Decision::Accept)));
        assert_eq!(parse("d"), Some((None, Decision::Debug)));
    }

    #[test]
    fn a_short_trace_id_stays_short() {
        let read = parse("64fe8b2a57d3eff7-e457b5a2e4d86bd1-1").expect("B3");
        assert_eq!(read.0, Some(("64fe8b2a57d3eff7".into(), SPAN.into())));
    }

    #[test]
    fn what_is_not_exactly_of_the_form_is_none() {
        for wrong in ["", "2", "true", "-", TRACE, "1-", "80F198EE56343BA864FE8B2A57D3EFF7-e457b5a2e4d86bd1"]
        {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
        for wrong in ["*-", "*-1-", "*-1-05e3ac9a4f6e3b90-1", "*-x", "*-1-05e3", "*-1-0000000000000000"] {
            let wrong = wrong.replace('*', &format!("{TRACE}-{SPAN}"));
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
        assert_eq!(parse(&format!("{TRACE}-0000000000000000-1")), None);
        assert_eq!(parse(&format!("0000000000000000-{SPAN}-1")), None);
    }

    #[test]
    fn several_fields_say_the_same_as_one() {
        let (trace, span) = (Some(TRACE.as_bytes()), Some(SPAN.as_bytes()));
        let both = Several { trace, span, ..Several::default() };
        let ids = B3::parse_several(both).expect("B3").ids;
        assert!(ids.is_some());
        for (sampled, flags, decision) in [
            (None, None, Decision::Deferred),
            (Some(&b"1"[..]), None, Decision::Accept),
            (Some(b"true"), None, Decision::Accept),
            (Some(b"0"), None, Decision::Deny),
            (Some(b"false"), Some(&b"0"[..]), Decision::Deny),
            (Some(b"0"), Some(b"1"), Decision::Debug),
            (None, Some(b"1"), Decision::Debug),
        ] {
            assert_eq!(B3::parse_several(Several { sampled, flags, ..both }), Some(B3 { ids, decision }));
        }
        let alone = Several { sampled: Some(b"0"), ..Several::default() };
        assert_eq!(B3::parse_several(alone), Some(B3 { ids: None, decision: Decision::Deny }));
        for wrong in [
            Several::default(),
            Several { trace, ..Several::default() },
            Several { span, sampled: Some(b"1"), ..Several::default() },
            Several { sampled: Some(b"maybe"), ..both },
        ] {
            assert_eq!(B3::parse_several(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn what_stands_in_one_field_and_in_several_is_the_same(
            high in prop_oneof![Just(0), any::<u64>()], low: u64, span: u64, state in 0_usize..4,
        ) {
            let (trace, span) = (TraceId::random(high, low), SpanId::random(span));
            let (suffix, sampled, flags) =
                [("", None, None), ("-1", Some("1"), None), ("-0", Some("0"), None), ("-d", None, Some("1"))][state];
            let one = B3::parse(format!("{}-{span}{suffix}", trace_text(trace)).as_bytes());
            let (trace_text, span_text) = (trace_text(trace), span.to_string());
            let several = B3::parse_several(Several {
                trace: Some(trace_text.as_bytes()),
                span: Some(span_text.as_bytes()),
                sampled: sampled.map(str::as_bytes),
                flags: flags.map(str::as_bytes),
            });
            prop_assert_eq!(one, several);
            prop_assert_eq!(one.and_then(|b3| b3.ids), Some((trace, span)));
        }
    }
}
