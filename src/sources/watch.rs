//! Watching a configuration's files and judging what they have become.
//!
//! Law: a notice only says that it is time to look; what counts is what is read then. The directories are watched
//! anew before each look, so that nothing that changes afterwards is missed. One thread of its own, which parses, too:
//! a large configuration must not delay anything else.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use super::Verdict;
use super::judge::{Judge, Judgement};
use super::places::Places;
use super::read::{Documents, fingerprint, read_file, read_rules, rule_paths};
use super::settle::Settle;
use super::start::{FileSource, Start};
use crate::config::Diagnostics;

/// Some file systems (network, FUSE) send no notice of what others change.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Where directories cannot be watched (the system's limit of watches is spent).
const LOOK_EVERY_UNWATCHED: Duration = Duration::from_millis(500);

/// How often files that change while they are read are read again.
const READS_MAX: u32 = 3;

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    bell: Bell,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Asks the watcher to look now, and to say what it sees even if it has said so before.
#[derive(Clone, Debug)]
pub struct Bell {
    bell: SyncSender<()>,
    asked: Arc<AtomicBool>,
}

impl Bell {
    /// Returns at once; the verdict comes as any other.
    pub fn ring(&self) {
        self.asked.store(true, Ordering::SeqCst);
        let _ = self.bell.try_send(()); // full: it will wake up anyway
    }
}

impl Watcher {
    /// Watches the files of `source` and hands every verdict that differs from the last to `deliver`, which runs on
    /// the watcher's thread and must not drop the watcher. It returns whether the configuration is in force now: only
    /// then it is remembered, and else it is handed over again at the next look. `start` is what is in force.
    pub fn start(
        source: FileSource,
        start: &Start,
        deliver: impl FnMut(Verdict) -> bool + Send + 'static,
    ) -> io::Result<Watcher> {
        // One place: a bell that has rung need not ring again before it is heard.
        let (bell, heard) = sync_channel(1);
        let bell = Bell { bell, asked: Arc::default() };
        let stop = Arc::new(AtomicBool::new(false));
        let places = Arc::new(Mutex::new(Places::default()));
        let mut watch = Watch {
            notices: Notices {
                watcher: None,
                bell: bell.bell.clone(),
                places,
                watched: BTreeSet::new(),
                complete: false,
            },
            judge: Judge::started(source, start),
            settle: Settle::default(),
            rule_paths: Vec::new(),
            content: None,
            asked: bell.asked.clone(),
            deliver,
        };
        let stopped = stop.clone();
        let run = move || watch.run(&heard, &stopped);
        let thread = std::thread::Builder::new().name("weir-files".to_owned()).spawn(run)?;
        Ok(Watcher { bell, stop, thread: Some(thread) })
    }

    /// To be rung by whoever has been asked to look.
    pub fn bell(&self) -> Bell {
        self.bell.clone()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.bell.bell.try_send(()); // full: it will wake up anyway
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the thread owns.
struct Watch<D> {
    notices: Notices,
    judge: Judge,
    settle: Settle,
    /// Where the rules were when the main file last told.
    rule_paths: Vec<PathBuf>,
    /// The fingerprint of what it was then.
    content: Option<u64>,
    /// Somebody wants to hear the next verdict, whatever it is.
    asked: Arc<AtomicBool>,
    deliver: D,
}

impl<D: FnMut(Verdict) -> bool> Watch<D> {
    fn run(&mut self, bell: &Receiver<()>, stop: &AtomicBool) {
        // The files may have changed since they were read; and from here on they are watched.
        self.glance();
        let mut glance_at = Instant::now() + LOOK_EVERY;
        loop {
            let wake_at = self.settle.due().unwrap_or(glance_at);
            let heard = bell.recv_timeout(wake_at.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) || heard == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            let now = Instant::now();
            if heard.is_ok() {
                self.settle.touched(now);
            }
            match self.settle.due() {
                Some(due) if due <= now => self.look(now, bell),
                Some(_) => continue,
                None if glance_at <= now => self.glance(),
                None => continue,
            }
            let every = if self.notices.complete { LOOK_EVERY } else { LOOK_EVERY_UNWATCHED };
            glance_at = Instant::now() + every;
        }
    }

    /// Reads and judges, unless it is too early for that at `now`, when the look began.
    fn look(&mut self, now: Instant, bell: &Receiver<()>) {
        let documents = self.read_at_one_moment();
        if bell.try_recv().is_ok() {
            // Somebody wrote while we read: this was not quiet.
            self.settle.touched(Instant::now());
        }
        if documents.as_ref().is_ok_and(|documents| self.judge.misses_a_file(documents))
            && !self.settle.is_gone(now)
        {
            return;
        }
        let judgement = self.judge.judge(documents);
        if matches!(judgement, Judgement::Faulty(..)) && !self.settle.counts(now) {
            return;
        }
        self.settle.done();
        let asked = self.asked.swap(false, Ordering::SeqCst);
        self.judge.settle(judgement, asked, &mut self.deliver);
    }

    /// Reads until it reads the same twice: files that are replaced together (a ConfigMap's, by one link) and between
    /// two reads shall not be half old, half new. Who never stops writing is not waited for.
    fn read_at_one_moment(&mut self) -> Result<Documents, Diagnostics> {
        let mut documents = self.read();
        for _ in 0..READS_MAX {
            let again = self.read();
            let same = match (&documents, &again) {
                (Ok(documents), Ok(again)) => documents.fingerprint() == again.fingerprint(),
                (Err(faults), Err(again)) => faults == again,
                _ => false,
            };
            documents = again;
            if same {
                break;
            }
            self.settle.touched(Instant::now());
        }
        documents
    }

    /// Reads, to see whether a change went unnoticed.
    fn glance(&mut self) {
        let documents = self.read();
        self.judge.remember_at_last(&documents);
        if self.judge.is_news(&documents) {
            // Dated after the read: the change may have come while it was under way.
            self.settle.touched(Instant::now());
        }
    }

    fn read(&mut self) -> Result<Documents, Diagnostics> {
        let path = &self.judge.source.main;
        loop {
            // Before anything is read: setting a watch anew loses the notices that have not been heard yet.
            self.notices.watch(Places::of(path, &self.rule_paths));
            let main = read_file(path)?;
            // Parsed for what changes alone: each look reads it twice, and nothing but looking goes on most of the time.
            let content = fingerprint(&main);
            let told = self.content.replace(content);
            match (told != Some(content)).then(|| rule_paths(path, &main)).flatten() {
                Some(rule_paths) if rule_paths != self.rule_paths => self.rule_paths = rule_paths,
                _ => return Ok(read_rules(main, &self.rule_paths)),
            }
        }
    }
}

/// Notices of changes in the directories that matter.
struct Notices {
    watcher: Option<RecommendedWatcher>,
    bell: SyncSender<()>,
    places: Arc<Mutex<Places>>,
    watched: BTreeSet<PathBuf>,
    /// Whether every directory is watched.
    complete: bool,
}

impl Notices {
    /// Watches for changes of `places`, and of nothing else.
    fn watch(&mut self, places: Places) {
        let folders: BTreeSet<PathBuf> = places.folders().into_iter().map(PathBuf::from).collect();
        *self.places.lock().unwrap_or_else(PoisonError::into_inner) = places;
        let was_complete = std::mem::replace(&mut self.complete, false);
        let result = self.watch_folders(folders);
        self.complete = result.is_ok();
        if let Err(error) = result
            && was_complete
        {
            tracing::warn!(%error, "directories cannot be watched; the files are read every 500 ms instead");
        }
    }

    fn watch_folders(&mut self, folders: BTreeSet<PathBuf>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            None => self.watcher.insert(ringing(self.bell.clone(), self.places.clone())?),
        };
        // A directory that was replaced by another of the same name has lost its watch: all are set anew.
        for folder in std::mem::take(&mut self.watched) {
            let _ = watcher.unwatch(&folder);
        }
        for folder in folders {
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(folder)),
                // Gone since; the directory above it tells when it comes back.
                Err(notify::Error { kind: notify::ErrorKind::PathNotFound, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// A watcher that rings `bell` for every change that concerns `places`.
fn ringing(bell: SyncSender<()>, places: Arc<Mutex<Places>>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let concerns = event.as_ref().map_or(true, |event| {
            let places = places.lock().unwrap_or_else(PoisonError::into_inner);
            event.need_rescan()
                || (is_change(&event.kind) && event.paths.iter().any(|path| places.concern(path)))
        });
        if concerns {
            let _ = bell.try_send(()); // full: it has rung
        }
    })
}

/// Our own reading is no change.
fn is_change(kind: &EventKind) -> bool {
    !matches!(kind, EventKind::Access(access) if *access != AccessKind::Close(AccessMode::Write))
}
