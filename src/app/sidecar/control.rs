//! What the control thread does while a proxy serves: obeys verdicts and names, and leads the way out.
//!
//! Law: a step that fails leaves what serves as it is; on the way out nothing that was accepted is dropped before the
//! deadline, and no line of the access log before it is written.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::Leave;
use crate::admin::{Reloads, SplitStats};
use crate::config::{Diagnostics, Loaded};
use crate::proxy::planner::Planner;
use crate::proxy::server::{Server, Shared};
use crate::runtime::cores;
use crate::snapshot::Snapshot;
use crate::sources::{Start, Verdict};
use crate::upstream::resolve::{self, Answer, Watches};

/// Part of the cgroup's memory at which accepting pauses, in percent.
const MEMORY_PERCENT: u64 = 80;
/// How long a configuration waits for the names of new endpoints; later ones are added as they resolve.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);
/// Faults of one configuration that are logged; `/config_dump` has as many.
const FAULTS_TOLD: usize = 100;
/// More than the allocator puts beside other pieces.
const LARGE_PIECE: usize = 4 << 20;
/// How long the access log's writer may take for what is queued, when everything else is done.
const LAST_LINES: Duration = Duration::from_secs(2);
/// The same of whoever sends spans, where the drain leaves as much; and what it has in any case.
const LAST_SPANS: Duration = Duration::from_secs(5);
const LAST_SPANS_AT_LEAST: Duration = Duration::from_millis(500);

/// A verdict, and who waits to hear whether it is in force now.
pub(super) struct Judged {
    pub(super) verdict: Verdict,
    pub(super) in_force: oneshot::Sender<bool>,
}

/// What the control thread holds.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) planner: RefCell<Planner>,
    pub(super) server: RefCell<Server>,
    pub(super) stats: Rc<RefCell<SplitStats>>,
    pub(super) reloads: Rc<RefCell<Reloads>>,
    pub(super) watches: RefCell<Watches>,
}

impl Control {
    pub(super) async fn obey(self: &Rc<Self>, judged: Judged) {
        let in_force = match judged.verdict {
            Verdict::Accepted(loaded) => self.accept(*loaded).await,
            Verdict::Refused(faults) => {
                self.reloads.borrow_mut().refused(Timestamp::now(), self.generation(), &faults);
                self.refuse();
                tell_faults(&faults);
                false
            }
            Verdict::Unchanged => {
                tracing::info!("the files hold what is in force");
                true
            }
            Verdict::Restored => {
                tracing::info!("the files hold again what is in force");
                self.reloads.borrow_mut().restored(Timestamp::now(), self.generation());
                self.shared.process.config_last_reload_success.set(1.0);
                true
            }
        };
        let _ = judged.in_force.send(in_force);
    }

    /// Returns whether it is in force now.
    async fn accept(self: &Rc<Self>, mut loaded: Loaded) -> bool {
        tell_warnings(&loaded);
        self.keep_fixed(&mut loaded.snapshot);
        self.look_up_new(&loaded.snapshot).await;
        match self.publish(Arc::new(loaded.snapshot)) {
            Ok(generation) => {
                tracing::info!(generation, rules = loaded.rules, "a new configuration is in force");
                self.shared.process.config_accepted.increment(1);
                self.reloads.borrow_mut().accepted(Timestamp::now(), generation, &loaded.warnings);
                true
            }
            Err(error) => {
                self.reloads.borrow_mut().failed(Timestamp::now(), self.generation(), &error.to_string());
                self.refuse();
                tracing::error!("{error}");
                false
            }
        }
    }

    /// What was bound, started and named at the start stays: a snapshot that said otherwise would make labels and the
    /// admin pages lie.
    fn keep_fixed(&self, snapshot: &mut Snapshot) {
        if let Some(plane) = self.shared.plane.load_full() {
            let running = &plane.snapshot;
            keep("admin", &running.admin, &mut snapshot.admin);
            keep("workers", &running.workers, &mut snapshot.workers);
            keep("node", &running.node, &mut snapshot.node);
        }
    }

    fn refuse(&self) {
        tracing::error!("the new configuration is refused; what is in force stays");
        self.shared.process.config_refused.increment(1);
        self.shared.process.config_last_reload_success.set(0.0);
    }

    /// Binds what is new, publishes, lets go of what is gone. Returns the generation.
    pub(super) fn publish(self: &Rc<Self>, snapshot: Arc<Snapshot>) -> io::Result<u64> {
        let bound = self.server.borrow().bind(&snapshot)?;
        let previous = self.shared.plane.load_full();
        let plane = self.planner.borrow_mut().publish(snapshot)?;
        self.server.borrow_mut().apply(&plane, previous.as_ref(), bound);
        let control = self.clone();
        spawn_local(async move { Server::close_removed(&control.server).await });
        self.stats.borrow_mut().adopt(self.planner.borrow().declared());
        let wanted = resolve::wanted(&plane.snapshot);
        let names = &mut self.planner.borrow_mut().names;
        names.retain(&wanted);
        self.watches.borrow_mut().want(&wanted, names);
        self.shared.process.config_last_reload_success.set(1.0);
        if let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            self.shared.process.config_last_success_timestamp.set(now.as_secs_f64());
        }
        Ok(plane.generation)
    }

    pub(super) fn generation(&self) -> u64 {
        self.shared.plane.load().as_ref().map_or(0, |plane| plane.generation)
    }

    pub(super) fn note_start(&self, start: &Start, generation: u64) {
        let mut reloads = self.reloads.borrow_mut();
        match &start.refused {
            Some(faults) => {
                self.shared.process.config_last_reload_success.set(0.0);
                reloads.refused(Timestamp::now(), generation, faults);
            }
            None => reloads.accepted(Timestamp::now(), generation, &start.loaded.warnings),
        }
    }

    /// Asks for names that nobody asks for yet, before the plane that wants them, so that it does not begin with
    /// empty clusters. Holds up everything else on this thread, hence the deadline.
    pub(super) async fn look_up_new(&self, snapshot: &Snapshot) {
        let mut wanted = resolve::wanted(snapshot);
        wanted.retain(|name, _| !self.watches.borrow().holds(name));
        let resolver = self.watches.borrow().resolver().clone();
        let answers = resolver.ask_all(wanted.into_keys(), FIRST_LOOK_UP).await;
        let mut planner = self.planner.borrow_mut();
        for answer in answers {
            planner.learn(answer);
        }
    }

    pub(super) fn learn(&self, answer: Answer) {
        // An answer may have waited here while a reload let go of its name.
        if !self.watches.borrow().holds(&answer.name) {
            return;
        }
        let mut planner = self.planner.borrow_mut();
        if planner.learn(answer) {
            planner.publish_endpoints();
            self.stats.borrow_mut().adopt(planner.declared());
        }
    }

    pub(super) fn each_second(&self) {
        self.planner.borrow_mut().collect();
        have_memory_given_back();
        self.stats.borrow_mut().tick(Instant::now());
        self.shared.recorder.tick(Instant::now());
        let buffered: usize = self.shared.buffered.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        self.shared.process.buffered_bytes.set(buffered as f64);
        let short = match (cores::cgroup_memory_limit(), cores::cgroup_memory_in_use()) {
            (Some(limit), Some(used)) => used > limit / 100 * MEMORY_PERCENT,
            _ => false,
        };
        self.server.borrow().set_memory_is_short(short);
    }

    pub(super) async fn leave(self: Rc<Self>, how: Leave) -> usize {
        let drain = self.shared.plane.load_full().map_or_else(Default::default, |plane| plane.snapshot.drain);
        tracing::info!(?how, grace = ?drain.grace, deadline = ?drain.deadline, "leaving");
        let began = Instant::now();
        self.server.borrow().begin_drain();
        let grace = if how == Leave::Drain { drain.grace } else { Duration::ZERO };
        sleep(grace).await;
        let fresh = Server::start(self.shared.clone(), 0);
        let server = match fresh {
            Ok(empty) => self.server.replace(empty),
            Err(_) => return 0,
        };
        let cut = server.finish(drain.deadline.saturating_sub(grace)).await;
        if cut > 0 {
            tracing::warn!(cut, "the deadline cut requests");
        }
        self.write_last_lines(LAST_LINES);
        self.send_last_spans(drain.deadline.saturating_sub(began.elapsed()));
        tracing::info!(cut, took = ?began.elapsed(), "left");
        cut
    }

    /// Has the spans sent that are left, within what is left of the drain. Blocks, as this thread has nothing else to do
    /// then.
    fn send_last_spans(&self, left: Duration) {
        let spans = self.planner.borrow().spans.close(left.clamp(LAST_SPANS_AT_LEAST, LAST_SPANS));
        if spans > 0 {
            tracing::warn!(spans, "the collector takes no spans; the last ones are lost");
        }
    }

    /// Has the access log's files opened anew by their paths.
    pub(super) fn reopen_logs(&self) {
        self.planner.borrow().logs.reopen();
    }

    /// Has the access log written to its end. Blocks, as this thread has nothing else to do then.
    pub(super) fn write_last_lines(&self, patience: Duration) {
        let left = self.planner.borrow().logs.close(patience);
        if left > 0 {
            tracing::warn!(lines = left, "the access log's file takes no lines; the last ones are lost");
        }
    }
}

/// The allocator gives back what has been free for a second, but only looks for it when somebody frees a large piece:
/// what a reload or a burst has left would stay for as long as nothing happens. So a piece is taken, and freed untouched.
fn have_memory_given_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE_PIECE)));
}

/// Puts the `running` value in place of a new one, and says so.
fn keep<T: Clone + PartialEq>(key: &str, running: &T, new: &mut T) {
    if new != running {
        tracing::warn!("`{key}` takes effect at a restart");
        new.clone_from(running);
    }
}

pub(super) fn tell_warnings(loaded: &Loaded) {
    for warning in loaded.warnings.iter() {
        tracing::warn!("{warning}");
    }
}

/// One line for each fault, up to a bound.
pub(super) fn tell_faults(faults: &Diagnostics) {
    for fault in faults.iter().take(FAULTS_TOLD) {
        tracing::error!("{fault}");
    }
    let more = faults.len().saturating_sub(FAULTS_TOLD);
    if more > 0 {
        tracing::error!(more, "and more faults; `weir validate` tells them all");
    }
}
