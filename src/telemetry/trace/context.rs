//! `traceparent`, by which a request says which trace it belongs to.
//!
//! Law: what is not exactly of the form is none; whoever reads a newer form than we know reads what ours would say of it.
//! Source: W3C trace context, sections 3.2 and 4.3.

use super::ids::{SpanId, TraceId, hex, unhex};

/// Digits and dashes of the form that we know, and write.
pub(super) const LENGTH: usize = 55;

/// Whoever made the parent records it.
const SAMPLED: u8 = 1;
/// The trace's id is as random as one can be (level 2). Passed on and never made up.
const RANDOM: u8 = 2;

/// A span, as others name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanContext {
    /// Its trace.
    pub trace: TraceId,
    /// The span.
    pub span: SpanId,
    flags: u8,
}

impl SpanContext {
    /// A span that is recorded, or not.
    pub fn new(trace: TraceId, span: SpanId, sampled: bool) -> SpanContext {
        SpanContext { trace, span, flags: u8::from(sampled) * SAMPLED }
    }

    /// Another span of the same trace.
    pub fn with_span(self, span: SpanId) -> SpanContext {
        SpanContext { span, ..self }
    }

    /// The same, recorded or not.
    pub fn with_sampled(self, sampled: bool) -> SpanContext {
        SpanContext { flags: (self.flags & !SAMPLED) | (u8::from(sampled) * SAMPLED), ..self }
    }

    /// Whether it is recorded.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The flags, as the wire has them.
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// Reads the value of `traceparent`.
    pub fn parse(value: &[u8]) -> Option<SpanContext> {
        let (known, more) = value.split_at_checked(LENGTH)?;
        let [version] = unhex::<1>(&known[..2])?;
        let fits = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|&next| next == b'-'),
        };
        let dashes = [2, 35, 52].into_iter().all(|place| known[place] == b'-');
        if !fits || !dashes {
            return None;
        }
        let [flags] = unhex::<1>(&known[53..])?;
        // What the others mean in a newer form nobody knows.
        let meant = if version == 0 { SAMPLED | RANDOM } else { SAMPLED };
        Some(SpanContext {
            trace: TraceId::parse(&known[3..35])?,
            span: SpanId::parse(&known[36..52])?,
            flags: flags & meant,
        })
    }

    /// The value of `traceparent`.
    pub fn to_text(self) -> [u8; LENGTH] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        hex(self.trace.bytes(), &mut text[3..35]);
        hex(self.span.bytes(), &mut text[36..52]);
        hex(&[self.flags], &mut text[53..]);
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<String> {
        SpanContext::parse(text.as_bytes())
            .map(|context| String::from_utf8(context.to_text().into()).expect("text"))
    }

    #[test]
    fn the_specifications_own_example_is_read_and_written() {
        let context = SpanContext::parse(EXAMPLE.as_bytes()).expect("a context");
        assert!(context.is_sampled());
        assert_eq!(context.trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span.to_string(), "00f067aa0ba902b7");
        assert_eq!(parse(EXAMPLE).as_deref(), Some(EXAMPLE));
    }

    #[test]
    fn what_is_not_exactly_of_the_form_is_none() {
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-.1",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_newer_form_is_read_as_far_as_ours_goes_and_written_as_ours() {
        let known = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7";
        for (newer, ours) in [("cc-*-01", "00-*-01"), ("01-*-09-more", "00-*-01"), ("fe-*-00-", "00-*-00")] {
            assert_eq!(parse(&newer.replace('*', known)), Some(ours.replace('*', known)));
        }
    }

    #[test]
    fn of_the_flags_those_are_passed_on_that_are_known() {
        for (flags, passed) in
            [("00", "00"), ("01", "01"), ("02", "02"), ("03", "03"), ("fd", "01"), ("ff", "03")]
        {
            let with = |flags| EXAMPLE.replace("-01", &format!("-{flags}"));
            assert_eq!(parse(&with(flags)), Some(with(passed)));
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(high in any::<u64>(), low in any::<u64>(), span in any::<u64>(), sampled: bool) {
            let context = SpanContext::new(TraceId::random(high, low), SpanId::random(span), sampled);
            prop_assert_eq!(SpanContext::parse(&context.to_text()), Some(context));
            prop_assert!(context.with_sampled(true).is_sampled() && !context.with_sampled(false).is_sampled());
        }

        #[test]
        fn a_byte_that_is_changed_makes_another_context_or_none(place in 0..LENGTH, byte: u8) {
            let mut text = *b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let before = SpanContext::parse(&text);
            prop_assume!(text[place] != byte);
            text[place] = byte;
            let after = SpanContext::parse(&text);
            // Of a newer form, and of flags that nobody knows, the rest is the same.
            prop_assert!(after != before || place < 2 || place == 53 || place == 54);
        }
    }
}
