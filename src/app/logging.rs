//! The process's own log: to the standard error, as text or JSON, with levels that can be changed while it runs.
//!
//! Law: it never holds a header or a body. Ours are never logged; what the libraries below us say under `info` may show
//! them, so it is left out whatever the levels are. A panic is an event like any other.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, fmt, reload};

use super::log_lines::{OneLine, StandardError};
use crate::admin::Levels;
use crate::words::log_targets;

/// What is logged when nothing else is said.
pub const DEFAULT_LEVELS: &str = "info";
/// Directives in force at once.
const MAX_DIRECTIVES: usize = 64;
/// How long a thread that panics waits for its panic to be written.
const PANIC_PATIENCE: Duration = Duration::from_millis(200);

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The levels in force, and the way to change them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogLevels {
    /// `None`: the log is somebody else's.
    handle: Option<reload::Handle<Targets, Registry>>,
    directives: Arc<Mutex<String>>,
    format: LogFormat,
    /// Where the lines go, if that is ours.
    lines: Option<StandardError>,
}

/// Starts logging, once a process. `levels`: directives separated by commas, `debug` or `weir::proxy=debug`.
///
/// # Errors
/// What is wrong with `levels`; or that there is a log already.
pub fn init(levels: &str, format: LogFormat) -> Result<LogLevels, String> {
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = StandardError::start(format).map_err(|error| format!("the log: {error}"))?;
    let writer = lines.clone();
    let (subscriber, levels) = subscriber(levels, format, colours, move || writer.clone())?;
    subscriber.try_init().map_err(|error| error.to_string())?;
    let levels = LogLevels { lines: Some(lines), ..levels };
    let log = levels.clone();
    std::panic::set_hook(Box::new(move |panic| {
        tell_panic(panic);
        log.flush(PANIC_PATIENCE);
    }));
    Ok(levels)
}

fn tell_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (thread, reason) =
        (thread.name().unwrap_or("unnamed"), panic.payload_as_str().unwrap_or("no reason"));
    let at = panic.location().map(ToString::to_string).unwrap_or_default();
    let trace = Backtrace::capture();
    match trace.status() {
        BacktraceStatus::Captured => tracing::error!(thread, at, %trace, "panic: {reason}"),
        _ => tracing::error!(thread, at, "panic: {reason}"),
    }
}

/// Whether `levels` would be taken. Returns them as given.
///
/// # Errors
/// The reason, on one line.
pub fn check(levels: &str) -> Result<String, String> {
    parse(levels).map(|_| levels.to_owned())
}

impl LogLevels {
    /// The form of the lines.
    pub fn format(&self) -> LogFormat {
        self.format
    }

    /// Waits until what was logged is written, but not longer than `patience`.
    pub fn flush(&self, patience: Duration) {
        if let Some(lines) = &self.lines {
            lines.flush(patience);
        }
    }
}

impl Default for LogLevels {
    /// For a proxy within a process whose log is somebody else's: the levels are not to be changed.
    fn default() -> LogLevels {
        let directives = Arc::new(Mutex::new(DEFAULT_LEVELS.to_owned()));
        LogLevels { handle: None, directives, format: LogFormat::default(), lines: None }
    }
}

impl LogFormat {
    /// Its name on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}

impl Levels for LogLevels {
    fn directives(&self) -> String {
        self.directives.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, directives: &str) -> Result<(), String> {
        let targets = parse(directives)?;
        let mut present = self.directives.lock().unwrap_or_else(PoisonError::into_inner);
        let handle = self.handle.as_ref().ok_or("the log is not weir's own")?;
        handle.reload(targets).map_err(|error| error.to_string())?;
        directives.clone_into(&mut present);
        tracing::info!(levels = directives, "the log's levels are changed");
        Ok(())
    }
}

fn subscriber<W>(
    levels: &str,
    format: LogFormat,
    colours: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, LogLevels), String>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(levels)?);
    let writer = OneLine { inner: writer, format, colours: colours && format == LogFormat::Text };
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).boxed(),
    };
    let subscriber = Registry::default().with(filter).with(lines.with_filter(filter_fn(may_print)));
    let directives = Arc::new(Mutex::new(levels.to_owned()));
    Ok((subscriber, LogLevels { handle: Some(handle), directives, format, lines: None }))
}

/// The law of the module.
fn may_print(metadata: &Metadata<'_>) -> bool {
    let ours = metadata.target().split("::").next() == Some("weir");
    ours || *metadata.level() <= Level::INFO
}

/// What no directive names is at `info`.
fn parse(directives: &str) -> Result<Targets, String> {
    let mut targets = Targets::new().with_default(LevelFilter::INFO);
    if directives.split(',').count() > MAX_DIRECTIVES {
        return Err(format!("more than {MAX_DIRECTIVES} directives"));
    }
    for directive in directives.split(',') {
        targets = match directive.split_once('=') {
            Some((target, level)) => {
                log_targets::check(target.trim())?;
                targets.with_target(target.trim(), level_of(level)?)
            }
            None => targets.with_default(level_of(directive)?),
        };
    }
    Ok(targets)
}

fn level_of(name: &str) -> Result<LevelFilter, String> {
    Ok(match name.trim() {
        "trace" => LevelFilter::TRACE,
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        "error" => LevelFilter::ERROR,
        "off" => LevelFilter::OFF,
        name => return Err(format!("{name:?} is no level: trace, debug, info, warn, error or off")),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Page {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
        }
    }

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn levels_change_while_it_runs_and_bad_ones_change_nothing() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, levels) =
            subscriber("info", LogFormat::Json, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            let log = |number: u32| tracing::debug!(target: "weir::proxy", number, "told");
            log(1);
            assert_eq!(page.take(), "");
            levels.set("warn,weir::proxy=debug").unwrap();
            log(2);
            let line: serde_json::Value = serde_json::from_str(&page.take()).unwrap();
            assert_eq!(
                (&line["number"], &line["message"], &line["level"]),
                (&2.into(), &"told".into(), &"DEBUG".into())
            );
            assert!(levels.set("loud").is_err());
            assert_eq!(levels.directives(), "warn,weir::proxy=debug");
            log(3);
            assert!(page.take().contains("\"number\":3"));
        });
    }

    #[test]
    fn what_libraries_say_of_the_traffic_is_never_told() {
        let page = Page::default();
        let writer = page.clone();
        let (subscriber, _) = subscriber("trace", LogFormat::Text, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!(target: "h2::codec", "authorization: secret");
            tracing::trace!(target: "weirdly_named", "authorization: secret");
            tracing::warn!(target: "h2", "odd");
            tracing::trace!("ours");
        });
        let text = page.take();
        assert!(!text.contains("secret") && text.contains("odd") && text.contains("ours"), "{text}");
    }

    #[test]
    fn a_log_of_somebody_else_is_left_alone() {
        let levels = LogLevels::default();
        assert!(levels.set("debug").is_err());
        assert_eq!(levels.directives(), DEFAULT_LEVELS);
    }

    #[test]
    fn directives_are_levels_or_targets_with_levels() {
        for right in ["info", "off", "warning", "debug,weir::proxy=trace", "weir=debug , info"] {
            assert!(check(right).is_ok(), "{right}");
        }
        for wrong in ["", "loud", "info,", "weir=", "weir::proxy", "=x", "weir::proxi=debug"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
