//! The access log: lines are made where the request ends and written elsewhere.
//!
//! Law: a worker never waits for the log. The queue is bounded in lines and bytes; what does not fit is dropped and
//! counted. Knows nothing of rotation: whoever moves the file away starts a new log.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use http::{HeaderMap, Method};

pub use super::format::{Format, InvalidFormat};
pub use super::heads::LoggedHeads;
use super::line::write_line;
use super::record::RequestRecord;
use super::recorder::Counter;

/// Lines that may wait for the writer: a burst of a tenth of a second at 80,000 requests a second.
const QUEUE_LINES: usize = 8 * 1024;
/// Bytes that may wait for the writer, as one line may hold a path of 60 KiB.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// The writer hands over at once what is there, up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// The workers' side of one access log. Cloning shares it; the writer ends when the last clone is gone.
#[derive(Clone, Debug)]
pub struct AccessLog {
    shared: Arc<Shared>,
    lines: SyncSender<String>,
}

#[derive(Debug)]
struct Shared {
    format: Format,
    dropped: Counter,
    queued_bytes: AtomicUsize,
}

impl AccessLog {
    /// Opens `path` for appending (`/dev/stdout` and `/dev/stderr` are the process' own) and makes both sides.
    /// `dropped` counts the lines that are lost.
    pub fn open(path: &Path, format: Format, dropped: Counter) -> io::Result<(AccessLog, Writer)> {
        let sink: Box<dyn Write + Send> = match path.to_str() {
            // Opening these anew fails where they are sockets, as under some supervisors.
            Some("/dev/stdout") => Box::new(io::stdout()),
            Some("/dev/stderr") => Box::new(io::stderr()),
            _ => Box::new(OpenOptions::new().append(true).create(true).open(path)?),
        };
        Ok(Self::to_sink(sink, format, dropped))
    }

    fn to_sink(sink: Box<dyn Write + Send>, format: Format, dropped: Counter) -> (AccessLog, Writer) {
        let (sender, receiver) = sync_channel(QUEUE_LINES);
        let shared = Arc::new(Shared { format, dropped, queued_bytes: AtomicUsize::new(0) });
        let writer = Writer { shared: Arc::clone(&shared), lines: receiver, sink };
        (AccessLog { shared, lines: sender }, writer)
    }

    /// Takes what the format asks of a request's head. To be called when the proxy has made its own changes to the
    /// headers, so that the log shows the request id and the original path.
    pub fn request_heads(
        &self,
        method: &Method,
        path: &[u8],
        authority: &[u8],
        headers: &HeaderMap,
    ) -> Box<LoggedHeads> {
        Box::new(LoggedHeads::of_request(&self.shared.format, method, path, authority, headers))
    }

    /// Takes what the format asks of the response's head, as the caller gets it.
    pub fn response_head(&self, logged: &mut LoggedHeads, headers: &HeaderMap) {
        logged.add_response(&self.shared.format, headers);
    }

    /// The record's line, with its newline.
    pub fn line(&self, record: &RequestRecord) -> String {
        let mut line = String::with_capacity(512);
        write_line(&mut line, &self.shared.format, record);
        line
    }

    /// Queues the record's line, or counts it as dropped. Never waits.
    pub fn log(&self, record: &RequestRecord) {
        let line = self.line(record);
        let bytes = line.len();
        let fits = self.shared.queued_bytes.fetch_add(bytes, Relaxed) + bytes <= QUEUE_BYTES;
        if !fits || self.lines.try_send(line).is_err() {
            self.shared.queued_bytes.fetch_sub(bytes, Relaxed);
            self.shared.dropped.increment(1);
        }
    }
}

/// The control side: puts lines into the file.
pub struct Writer {
    shared: Arc<Shared>,
    lines: Receiver<String>,
    sink: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// Writes until every [`AccessLog`] of this log is gone and the queue is empty. Blocks: for a thread of its own.
    pub fn run(mut self) {
        let mut batch = String::new();
        while let Ok(line) = self.lines.recv() {
            batch.push_str(&line);
            let mut lines = 1;
            while batch.len() < BATCH_BYTES {
                let Ok(line) = self.lines.try_recv() else { break };
                batch.push_str(&line);
                lines += 1;
            }
            if let Err(error) = self.sink.write_all(batch.as_bytes()).and_then(|()| self.sink.flush()) {
                // The file may come back (a full disk does); the request has long been answered.
                tracing::warn!(%error, lines, "access log lines lost");
                self.shared.dropped.increment(lines);
            }
            self.shared.queued_bytes.fetch_sub(batch.len(), Relaxed);
            batch.clear();
        }
    }
}

#[cfg(test)]
#[path = "access_log_tests.rs"]
mod tests;
