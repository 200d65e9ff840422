//! The access log: lines are made where the request ends and written elsewhere.
//!
//! Law: a worker never waits for the log, and what was queued when the process leaves is written before it has left.
//! What does not fit is dropped and counted. Knows nothing of rotation but to open its file anew when it is told to.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method};

pub use super::format::{Format, InvalidFormat};
pub use super::heads::LoggedHeads;
use super::line_queue::{Happened, LineQueue, LineThread, Sink};
use super::log_filter::{LogFilter, Sieve};
use super::record::RequestRecord;
use super::recorder::Counter;

/// The workers' side of one access log. Cloning shares it; the file is closed when the last clone is gone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    format: Arc<Format>,
    sieve: Option<Arc<Sieve>>,
    lines: LineQueue,
}

/// Every access log that is being written: the present one, and those of planes that have requests yet.
#[derive(Debug, Default)]
pub struct AccessLogs(Vec<LineThread>);

impl AccessLogs {
    /// Opens `path` for appending (`/dev/stdout` and `/dev/stderr` are the process's own) and starts its writer.
    /// `filter` says what is logged, where not everything is; `dropped` counts the lines that are lost.
    ///
    /// # Errors
    /// The operating system's, with the path.
    pub fn open(
        &mut self,
        path: &Path,
        mut format: Format,
        filter: Option<LogFilter>,
        dropped: Counter,
    ) -> io::Result<AccessLog> {
        let name = path.display().to_string();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("access log {name}: {error}"));
        let sink = Sink::open(path).map_err(named)?;
        let told = name.clone();
        let tell = move |what: Happened<'_>| tell(&told, &dropped, what);
        let (lines, thread) = LineQueue::start("access-log", sink, tell).map_err(named)?;
        self.0.retain(|thread| !thread.has_ended());
        self.0.push(thread);
        let sieve = filter.map(|filter| Arc::new(filter.fit(&mut format)));
        Ok(AccessLog { format: Arc::new(format), sieve, lines })
    }

    /// Opens every file anew by its path.
    pub fn reopen(&self) {
        self.0.iter().for_each(LineThread::reopen);
    }

    /// Writes what is queued and ends, within `patience`: a pipe that nobody reads may hold a writer up for ever.
    /// Returns the lines that were left. What is logged from now on is lost.
    pub fn close(&self, patience: Duration) -> u64 {
        let until = Instant::now() + patience;
        self.0.iter().for_each(LineThread::close);
        self.0.iter().map(|thread| thread.wait(until)).sum()
    }
}

fn tell(path: &str, dropped: &Counter, what: Happened<'_>) {
    match what {
        Happened::Lost(lines) => dropped.increment(lines),
        // The file may come back (a full disk does); the request has long been answered.
        Happened::Failing(error) => tracing::warn!(path, %error, "access log lines are lost"),
        Happened::Recovered(lost) => tracing::info!(path, lost, "the access log is written again"),
        Happened::Reopened => tracing::info!(path, "the access log was opened anew"),
        Happened::NotReopened(error) => {
            tracing::warn!(path, %error, "the access log cannot be opened anew; the old file is still written to");
        }
    }
}

impl AccessLog {
    /// What is kept of a request by `method`, of whose head nothing is taken yet.
    pub fn begin(&self, method: &Method) -> Box<LoggedHeads> {
        LoggedHeads::by(&self.format, method)
    }

    /// Takes what the format asks of a request's head: of one that goes to an upstream as the proxy has made it, so that
    /// the log shows the request id and the original path.
    pub fn request_head(&self, logged: &mut LoggedHeads, path: &[u8], authority: &[u8], headers: &HeaderMap) {
        logged.take_request(&self.format, path, authority, headers);
    }

    /// What is kept of a request whose head cannot be read.
    pub fn no_head(&self) -> Box<LoggedHeads> {
        LoggedHeads::of_nothing(&self.format)
    }

    /// The peer is believed about whom it stands before.
    pub fn trust_forwarded(&self, logged: &mut LoggedHeads, headers: &HeaderMap) {
        logged.trust_forwarded(&self.format, headers);
    }

    /// Takes what the format asks of the response's head, as the caller gets it.
    pub fn response_head(&self, logged: &mut LoggedHeads, headers: &HeaderMap) {
        logged.add_response(&self.format, headers);
    }

    /// Takes what the format asks of the response's trailers.
    pub fn response_trailers(&self, logged: &mut LoggedHeads, trailers: &HeaderMap) {
        logged.add_trailers(&self.format, trailers);
    }

    /// Queues the record's line, or counts it as dropped, unless the filter leaves the request out. Never waits. What was
    /// kept of the heads is gone afterwards.
    pub fn log(&self, record: &mut RequestRecord) {
        if self.sieve.as_ref().is_none_or(|sieve| sieve.passes(record)) {
            self.lines.push(self.format.line(record));
        }
        if let Some(logged) = record.logged.take() {
            logged.put_by();
        }
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
