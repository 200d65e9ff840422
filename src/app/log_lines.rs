//! The process's log as lines: each event one line, whatever is in it, and nobody waits for whoever reads it.
//!
//! Law: a line ends where its event ends. What would end it earlier, or tell a terminal something, is escaped; a line
//! of JSON stays the JSON that it is.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;

use super::logging::LogFormat;
use crate::telemetry::line_queue::{Happened, LineQueue, LineThread, Sink};

/// How events are written down, on their way to `inner`.
pub(super) struct OneLine<W> {
    pub(super) inner: W,
    pub(super) format: LogFormat,
    /// Whether the formatter colours: then colours pass, and nothing else of what a terminal obeys.
    pub(super) colours: bool,
}

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLineWriter<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLineWriter { inner: self.inner.make_writer(), format: self.format, colours: self.colours }
    }

    fn make_writer_for(&'w self, event: &Metadata<'_>) -> Self::Writer {
        let inner = self.inner.make_writer_for(event);
        OneLineWriter { inner, format: self.format, colours: self.colours }
    }
}

/// Takes one event.
pub(super) struct OneLineWriter<W> {
    inner: W,
    format: LogFormat,
    colours: bool,
}

impl<W: Write> Write for OneLineWriter<W> {
    /// `event` is a whole one: the formatter hands it over in one piece.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        self.inner.write_all(one_line(&text, self.format, self.colours).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn one_line(event: &str, format: LogFormat, colours: bool) -> String {
    let body = event.strip_suffix('\n').unwrap_or(event);
    let mut line = String::with_capacity(body.len() + 1);
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        let colour = if colours { colour_at(rest) } else { "" };
        let (taken, after) = rest.split_at(colour.len().max(c.len_utf8()));
        rest = after;
        match format {
            _ if !colour.is_empty() || !breaks_a_line(c) => line.push_str(taken),
            LogFormat::Text => line.extend(c.escape_default()),
            // All of them are below U+10000: one unit is enough. They can only stand within strings.
            LogFormat::Json => {
                let _infallible = write!(line, "\\u{:04x}", u32::from(c));
            }
        }
    }
    line.push('\n');
    line
}

/// Some readers of lines, and some terminals, take these for the end of a line or for an order.
fn breaks_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// The escape sequence for a colour with which `text` begins; empty if it begins with none.
fn colour_at(text: &str) -> &str {
    let parameters = text.strip_prefix("\x1b[").unwrap_or_default();
    let end = parameters.find(|c: char| !c.is_ascii_digit() && c != ';');
    match end {
        Some(end) if parameters[end..].starts_with('m') => &text[..end + 3],
        _ => "",
    }
}

/// The standard error, written to by a thread of its own: whoever reads it may have stopped reading.
#[derive(Clone, Debug)]
pub(super) struct StandardError {
    lines: LineQueue,
    thread: Arc<LineThread>,
    lost: Arc<AtomicU64>,
    format: LogFormat,
}

impl StandardError {
    pub(super) fn start(format: LogFormat) -> io::Result<StandardError> {
        let sink = Sink::open("/dev/stderr".as_ref())?;
        let lost = Arc::<AtomicU64>::default();
        let counted = lost.clone();
        let tell = move |what: Happened<'_>| {
            // There is nowhere to tell of a log that fails, but in the log when it works again.
            if let Happened::Lost(lines) = what {
                counted.fetch_add(lines, Ordering::Relaxed);
            }
        };
        let (lines, thread) = LineQueue::start("log", sink, tell)?;
        Ok(StandardError { lines, thread: Arc::new(thread), lost, format })
    }

    /// Waits until what was logged is written, but not longer than `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        self.thread.flush(Instant::now() + patience);
    }

    fn push(&self, line: String) {
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let now = jiff::Timestamp::now();
            self.lines.push(match self.format {
                LogFormat::Text => format!("{now:.6} WARN weir::log: lines of this log were lost lost={lost}\n"),
                LogFormat::Json => format!(
                    "{{\"timestamp\":\"{now:.6}\",\"level\":\"WARN\",\"message\":\"lines of this log were lost\",\
                     \"lost\":{lost},\"target\":\"weir::log\"}}\n"
                ),
            });
        }
        self.lines.push(line);
    }
}

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_would_break_a_line_is_escaped_in_the_form_of_the_log() {
        let nasty = "a\nb\r\0\x1b[31mred\u{7f}\u{85}\u{2028}é\n";
        assert_eq!(
            one_line(nasty, LogFormat::Text, false),
            "a\\nb\\r\\u{0}\\u{1b}[31mred\\u{7f}\\u{85}\\u{2028}é\n"
        );
        assert_eq!(
            one_line("{\"m\":\"\u{85}\u{2028}\u{7f}\"}\n", LogFormat::Json, false),
            "{\"m\":\"\\u0085\\u2028\\u007f\"}\n"
        );
    }

    #[test]
    fn the_formatters_colours_pass_and_no_other_order_to_a_terminal() {
        let coloured = "\x1b[2m\x1b[0;31mred\x1b[0m \x1b]0;title\x07 \x1b[2J \x1b[\n";
        assert_eq!(
            one_line(coloured, LogFormat::Text, true),
            "\x1b[2m\x1b[0;31mred\x1b[0m \\u{1b}]0;title\\u{7} \\u{1b}[2J \\u{1b}[\n"
        );
    }

    proptest! {
        #[test]
        fn any_event_is_one_line(event: String, colours: bool) {
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = one_line(&event, format, colours);
                let body = line.strip_suffix('\n').unwrap();
                let ends = body.contains(|c| breaks_a_line(c) && c != '\x1b');
                prop_assert!(!ends);
            }
        }
    }
}
