//! Lines on their way to a file: a bounded queue, and the thread that empties it.
//!
//! Law: who has a line never waits. What does not fit is lost and counted; what was queued is written in order, and
//! only whole lines follow each other: a line that the file took half of is finished before the next begins. Knows no
//! format.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Lines that may wait for the writer: a burst of a tenth of a second at 80,000 requests a second.
pub(super) const QUEUE_LINES: u64 = 8 * 1024;
/// Bytes that may wait for the writer, as one line may hold a path of 60 KiB.
const QUEUE_BYTES: usize = 8 * 1024 * 1024;
/// The writer hands over at once what is there, up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// How long the writer lets lines gather once there is one. Woken for each line, it would cost a worker a system call
/// and two changes of thread a request.
const GATHER: Duration = Duration::from_millis(10);
/// Trouble is told once in so long.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How often who waits for the thread looks at it.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// Pause for a pipe that is full and does not wait by itself.
const FULL_PAUSE: Duration = Duration::from_millis(10);

/// What the owner of a queue may want to count or to tell. Called by whoever it happens to.
#[derive(Debug)]
pub enum Happened<'e> {
    /// So many lines will not be written.
    Lost(u64),
    /// Writing fails, for the first time or still; not said more than once in ten seconds.
    Failing(&'e io::Error),
    /// Writing works again; so many lines were lost since it failed.
    Recovered(u64),
    /// The file was opened anew, as asked.
    Reopened,
    /// The file could not be opened anew; the old one is still written to.
    NotReopened(&'e io::Error),
}

type Tell = Box<dyn Fn(Happened<'_>) + Send + Sync>;

/// The side that has lines. Cloning shares it; when the last clone is gone the rest is written and the thread ends.
#[derive(Clone, Debug)]
pub struct LineQueue(Arc<Queue>);

#[derive(Debug)]
struct Queue {
    shared: Arc<Shared>,
    items: Sender<Item>,
}

struct Shared {
    tell: Tell,
    queued_bytes: AtomicUsize,
    queued_lines: AtomicU64,
    reopen: AtomicBool,
    close: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("queued_bytes", &self.queued_bytes).finish_non_exhaustive()
    }
}

enum Item {
    Line(Vec<u8>),
    /// Look at what is asked for.
    Wake,
}

/// The side that asks things of the thread. Does not keep it alive.
#[derive(Debug)]
pub struct LineThread {
    queue: Weak<Queue>,
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl LineQueue {
    /// Starts the thread `name`, which writes to `sink`. `tell` hears what happens; it must not wait.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread.
    pub fn start(
        name: &str,
        sink: Sink,
        tell: impl Fn(Happened<'_>) + Send + Sync + 'static,
    ) -> io::Result<(LineQueue, LineThread)> {
        let (queue, writer) = LineQueue::new(sink, Box::new(tell));
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || writer.run())?;
        let (weak, shared) = (Arc::downgrade(&queue.0), Arc::clone(&queue.0.shared));
        Ok((queue, LineThread { queue: weak, shared, thread }))
    }

    pub(super) fn new(sink: Sink, tell: Tell) -> (LineQueue, LineWriter) {
        // Bounded by our own count: a channel with bounds takes the memory for all of them at once.
        let (sender, items) = channel();
        let shared = Arc::new(Shared {
            tell,
            queued_bytes: AtomicUsize::new(0),
            queued_lines: AtomicU64::new(0),
            reopen: AtomicBool::new(false),
            close: AtomicBool::new(false),
        });
        let writer = LineWriter { shared: Arc::clone(&shared), items, sink, trouble: Trouble::default() };
        (LineQueue(Arc::new(Queue { shared, items: sender })), writer)
    }

    /// Queues `line`, which ends in a newline, or counts it as lost. Never waits.
    pub fn push(&self, line: impl Into<Vec<u8>>) {
        let line = line.into();
        let (shared, bytes) = (&self.0.shared, line.len());
        let fits = shared.queued_bytes.fetch_add(bytes, Relaxed) + bytes <= QUEUE_BYTES;
        let fits = (shared.queued_lines.fetch_add(1, Relaxed) < QUEUE_LINES) && fits;
        if !fits || self.0.items.send(Item::Line(line)).is_err() {
            shared.forget(1, bytes);
            (shared.tell)(Happened::Lost(1));
        }
    }
}

impl Shared {
    fn forget(&self, lines: u64, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Relaxed);
        self.queued_lines.fetch_sub(lines, Relaxed);
    }
}

impl LineThread {
    /// Has the file opened anew by its path, for whoever has moved it away.
    pub fn reopen(&self) {
        self.shared.reopen.store(true, SeqCst);
        self.wake();
    }

    /// Whether the thread has ended.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    /// Has the thread end when it has written what is queued; [`wait`](Self::wait) waits for that.
    pub fn close(&self) {
        self.shared.close.store(true, SeqCst);
        self.wake();
    }

    /// Waits until what is queued is written, but not beyond `until`.
    pub fn flush(&self, until: Instant) {
        while self.shared.queued_lines.load(SeqCst) > 0 && Instant::now() < until {
            sleep(LOOK_AGAIN);
        }
    }

    /// Waits until the thread has ended, but not beyond `until`. Returns the lines that it left.
    pub fn wait(&self, until: Instant) -> u64 {
        while !self.has_ended() {
            if Instant::now() >= until {
                return self.shared.queued_lines.load(SeqCst);
            }
            sleep(LOOK_AGAIN);
        }
        0
    }

    fn wake(&self) {
        if let Some(queue) = self.queue.upgrade() {
            let _ = queue.items.send(Item::Wake);
        }
    }
}

/// The side that writes.
pub(super) struct LineWriter {
    shared: Arc<Shared>,
    items: Receiver<Item>,
    sink: Sink,
    trouble: Trouble,
}

/// What is known of writes that failed.
#[derive(Default)]
struct Trouble {
    /// Lines since it was last told that writing works.
    lost: u64,
    /// Whether the last that was told is that writing fails.
    told: bool,
    quiet_until: Option<Instant>,
}

impl LineWriter {
    /// Writes until nobody has lines any more, or until it is told to end. Blocks: for a thread of its own.
    pub(super) fn run(mut self) {
        let mut batch = Vec::new();
        let mut behind = false;
        while let Some(first) = self.next() {
            let mut lines = take(first, &mut batch);
            if lines > 0 && !behind && !self.shared.close.load(SeqCst) {
                sleep(GATHER);
            }
            while batch.len() < BATCH_BYTES {
                let Ok(item) = self.items.try_recv() else { break };
                lines += take(item, &mut batch);
            }
            behind = batch.len() >= BATCH_BYTES;
            self.write(&batch);
            self.shared.forget(lines, batch.len());
            batch.clear();
            // Afterwards, so that the lines from before it was asked for are in the old file.
            if self.shared.reopen.swap(false, SeqCst) {
                self.reopen();
            }
        }
    }

    fn next(&self) -> Option<Item> {
        match self.shared.close.load(SeqCst) {
            true => self.items.try_recv().ok(),
            false => self.items.recv().ok(),
        }
    }

    fn reopen(&mut self) {
        match self.sink.reopen() {
            Ok(()) => (self.shared.tell)(Happened::Reopened),
            Err(error) => (self.shared.tell)(Happened::NotReopened(&error)),
        }
    }

    fn write(&mut self, batch: &[u8]) {
        let (tell, trouble) = (&self.shared.tell, &mut self.trouble);
        match self.sink.write(batch) {
            Ok(()) if trouble.told && !batch.is_empty() => {
                trouble.told = false;
                tell(Happened::Recovered(std::mem::take(&mut trouble.lost)));
            }
            Ok(()) => {}
            Err(failure) => {
                tell(Happened::Lost(failure.lost));
                trouble.lost += failure.lost;
                let now = Instant::now();
                if trouble.quiet_until.is_none_or(|until| now >= until) {
                    trouble.quiet_until = Some(now + TELL_EVERY);
                    trouble.told = true;
                    tell(Happened::Failing(&failure.error));
                }
            }
        }
    }
}

/// Appends what `item` holds to `batch`; returns how many lines that is.
fn take(item: Item, batch: &mut Vec<u8>) -> u64 {
    match item {
        Item::Line(line) => {
            batch.extend_from_slice(&line);
            1
        }
        Item::Wake => 0,
    }
}

/// Where lines go.
pub struct Sink {
    /// To be opened anew when that is asked for.
    path: Option<PathBuf>,
    file: Box<dyn Write + Send>,
    /// The rest of a line whose beginning is in the file.
    torn: Vec<u8>,
}

/// A write that failed.
struct Failure {
    error: io::Error,
    /// Lines of which nothing was written.
    lost: u64,
}

impl std::fmt::Debug for Sink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sink").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Sink {
    /// Opens `path` for appending; `/dev/stdout` and `/dev/stderr` are the process's own.
    ///
    /// # Errors
    /// The operating system's.
    pub fn open(path: &Path) -> io::Result<Sink> {
        // Opening these anew fails where they are sockets, as under some supervisors. Copies of the descriptors, as
        // the library's streams keep the end of a line that was not written, and would write it twice.
        match path.to_str() {
            Some("/dev/stdout") => Sink::standard(&io::stdout()),
            Some("/dev/stderr") => Sink::standard(&io::stderr()),
            _ => {
                let (file, torn) = open(path)?;
                Ok(Sink { path: Some(path.to_owned()), file: Box::new(file), torn })
            }
        }
    }

    fn standard(stream: &impl AsFd) -> io::Result<Sink> {
        Ok(Sink::to(File::from(stream.as_fd().try_clone_to_owned()?)))
    }

    /// Writes to `file`, which is never opened anew.
    pub(super) fn to(file: impl Write + Send + 'static) -> Sink {
        Sink { path: None, file: Box::new(file), torn: Vec::new() }
    }

    fn reopen(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let (file, torn) = open(path)?;
        // The old file's last line is finished there, if it can be.
        let rest = std::mem::take(&mut self.torn);
        let _ = self.put(&rest);
        (self.file, self.torn) = (Box::new(file), torn);
        Ok(())
    }

    /// Writes whole lines. Those that do not go in whole are lost, but for one that has begun.
    fn write(&mut self, lines: &[u8]) -> Result<(), Failure> {
        let torn = std::mem::take(&mut self.torn);
        if let Err((written, error)) = self.put(&torn) {
            self.torn = torn[written..].to_vec();
            return Err(Failure { error, lost: count_lines(lines) });
        }
        let Err((written, error)) = self.put(lines) else { return Ok(()) };
        let (before, rest) = lines.split_at(written);
        let begun = before.last().is_some_and(|&byte| byte != b'\n');
        let end = rest.iter().position(|&byte| byte == b'\n').map_or(rest.len(), |at| at + 1);
        let (begun, lost) = rest.split_at(if begun { end } else { 0 });
        self.torn = begun.to_vec();
        Err(Failure { error, lost: count_lines(lost) })
    }

    /// Writes `bytes`, or says how many of them were written before what error.
    fn put(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.file.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(some) => written += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A full pipe or socket that somebody else has made non-blocking: wait as for any other.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(FULL_PAUSE),
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }
}

fn count_lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

/// Opens a file, or a pipe, for appending. With it comes what its last line lacks: a process that was killed, or a disk
/// that was full, may have left half of one.
fn open(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let kind = fs::metadata(path).ok().map(|found| found.file_type());
    // Opening a pipe for writing alone waits for a reader; one that is opened for both does not, and outlives readers.
    let pipe = kind.is_some_and(|kind| kind.is_fifo());
    let file = OpenOptions::new().read(pipe).append(true).create(true).open(path)?;
    let torn = !pipe && ends_in_half_a_line(path).unwrap_or(false);
    Ok((file, if torn { b"\n".to_vec() } else { Vec::new() }))
}

fn ends_in_half_a_line(path: &Path) -> io::Result<bool> {
    let found = fs::metadata(path)?;
    if !found.is_file() || found.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, found.len() - 1)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
#[path = "line_queue_tests.rs"]
mod tests;
