//! The wiring of `weir proxy`: files -> snapshot -> plane -> workers, and the admin pages beside them.
//!
//! Everything here runs on one control thread. Law: a step that fails leaves what serves as it is; on the way out
//! nothing that was accepted is dropped before the deadline.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::logging::LogLevels;
use crate::admin::{About, Admin, Command, Levels, Reloads, SplitStats};
use crate::config::{Diagnostics, Environment, Loaded};
use crate::proxy::planner::Planner;
use crate::proxy::server::{Server, Shared};
use crate::runtime::cores;
use crate::runtime::readiness::Readiness;
use crate::runtime::worker;
use crate::snapshot::{Snapshot, Workers};
use crate::sources::{self, FileSource, Start, Verdict, Watcher};
use crate::telemetry::{Format, ProcessMeter, Recorder, ServerMeter};
use crate::transport::endpoint::{self, Handler};
use crate::upstream::resolve::{self, Answer, Watches};

/// Exit status after a second signal: what was in flight was not finished.
const EXIT_AT_ONCE: i32 = 1;
/// Workers of a sidecar whose cgroup has no quota.
const WORKERS_WITHOUT_QUOTA: usize = 2;
/// Verdicts, look-ups and commands that may wait, of each, for the control thread.
const QUEUE: usize = 16;
/// Part of the cgroup's memory at which accepting pauses, in percent.
const MEMORY_PERCENT: u64 = 80;
/// How long a configuration waits for the names of new endpoints; later ones are added as they resolve.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);
/// How often series that nobody holds are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// weir.yaml.
    pub config: PathBuf,
    /// Where to keep, and to start from, the last good configuration.
    pub last_good: Option<PathBuf>,
    /// The process's log, whose levels the admin pages change; `None`: somebody else's.
    pub log: Option<LogLevels>,
}

impl Options {
    /// By `config`, without anything else.
    pub fn new(config: PathBuf) -> Options {
        Options { config, last_good: None, log: None }
    }
}

/// `weir proxy`: serves until a signal or the admin pages say to leave. A second signal ends the process at once.
pub fn run(options: &Options) -> ExitCode {
    let runtime = match worker::local_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Fault::Io(error)),
    };
    let code = runtime.block_on(async {
        let leave = match signals() {
            Ok(leave) => leave,
            Err(error) => return fail(&Fault::Io(error)),
        };
        match Sidecar::start(options).await {
            Ok(sidecar) => {
                sidecar.run(leave).await;
                ExitCode::SUCCESS
            }
            Err(fault) => fail(&fault),
        }
    });
    // Dropping it would wait for look-ups, and a name server that is silent would keep us beyond every deadline.
    runtime.shutdown_background();
    code
}

fn fail(fault: &Fault) -> ExitCode {
    match fault {
        Fault::Config(faults) => {
            eprintln!("{faults}");
            eprintln!(
                "weir proxy: the configuration has faults, so nothing was started; mend them, or start with --last-good"
            );
        }
        Fault::Io(error) => eprintln!("weir proxy: {error}"),
    }
    ExitCode::FAILURE
}

/// SIGTERM and SIGINT ask to leave; whichever comes second does not ask.
fn signals() -> io::Result<impl Future<Output = Leave>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (first, asked) = oneshot::channel();
    spawn_local(async move {
        let mut next = async || {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        next().await;
        let _ = first.send(());
        next().await;
        tracing::warn!("a second signal: leaving at once");
        std::process::exit(EXIT_AT_ONCE);
    });
    Ok(async move {
        // The task above lives as long as the runtime; an error cannot come before a signal.
        let _ = asked.await;
        Leave::Drain
    })
}

/// Why it does not run.
#[derive(Debug)]
pub enum Fault {
    /// The configuration has faults: all of them.
    Config(Diagnostics),
    /// The system refused something; the text says what, and what to do.
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Config(faults) => faults.fmt(f),
            Fault::Io(error) => error.fmt(f),
        }
    }
}

/// A verdict, and who waits to hear whether it is in force now.
struct Judged {
    verdict: Verdict,
    in_force: oneshot::Sender<bool>,
}

/// Ends the process's service, from a signal or from the admin pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Grace, then an end before the deadline.
    Drain,
    /// No grace: close, finish what is in flight, within the deadline.
    Quit,
}

/// A proxy that serves.
pub struct Sidecar {
    control: Rc<Control>,
    judged: mpsc::Receiver<Judged>,
    answers: mpsc::Receiver<Answer>,
    commands: mpsc::Receiver<Command>,
    pages: Vec<Page>,
    watcher: Watcher,
}

/// An admin address that answers.
struct Page {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What the control thread holds.
struct Control {
    shared: Arc<Shared>,
    planner: RefCell<Planner>,
    server: RefCell<Server>,
    stats: Rc<RefCell<SplitStats>>,
    reloads: Rc<RefCell<Reloads>>,
    watches: RefCell<Watches>,
}

impl Sidecar {
    /// Loads, binds and serves. Must run on a current-thread runtime that takes local tasks.
    ///
    /// # Errors
    /// The configuration's faults, or the system's; nothing is left running.
    pub async fn start(options: &Options) -> Result<Sidecar, Fault> {
        let source =
            FileSource::new(&options.config, environment()).with_last_good(options.last_good.clone());
        let start = sources::start(&source).map_err(Fault::Config)?;
        tell_warnings(&start.loaded);
        if let Some(faults) = &start.refused {
            tracing::error!("the configuration has faults; the last good one serves\n{faults}");
        }
        let snapshot = Arc::new(start.loaded.snapshot.clone());
        let workers = workers(&snapshot);
        let recorder = Recorder::new(workers);
        let process = ProcessMeter::new(&recorder);
        let plane = Arc::new(ArcSwapOption::empty());
        let planner = Planner::new(recorder.clone(), process.clone(), plane.clone());
        let readiness = Readiness::default();
        let starting = readiness.block_on("listeners");
        let shared = Arc::new(Shared {
            plane,
            recorder,
            process,
            readiness,
            buffered: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            replay: AtomicUsize::new(0),
            start: Instant::now(),
        });
        let server = Server::start(shared.clone(), workers).map_err(Fault::Io)?;
        let (send, judged) = mpsc::channel(QUEUE);
        let (answer, answers) = mpsc::channel(QUEUE);
        let (tell, commands) = mpsc::channel(QUEUE);
        let control = Rc::new(Control {
            stats: Rc::new(RefCell::new(SplitStats::new(shared.recorder.clone(), Instant::now()))),
            reloads: Rc::new(RefCell::new(Reloads::new())),
            shared,
            planner: RefCell::new(planner),
            server: RefCell::new(server),
            watches: RefCell::new(Watches::new(answer)),
        });
        let pages = control.pages(options, &snapshot, workers, tell).await.map_err(Fault::Io)?;
        control.look_up_new(&snapshot).await;
        let generation = control.publish(snapshot.clone()).map_err(Fault::Io)?;
        control.note_start(&start, generation);
        let deliver = move |verdict| {
            let (in_force, told) = oneshot::channel();
            // Nobody listens any more: the process leaves, and nothing comes into force.
            send.blocking_send(Judged { verdict, in_force }).is_ok() && told.blocking_recv().unwrap_or(false)
        };
        let watcher = Watcher::start(source, &start, deliver).map_err(Fault::Io)?;
        drop(starting);
        tell_ready(&snapshot, workers);
        Ok(Sidecar { control, judged, answers, commands, pages, watcher })
    }

    /// The address that the named listener got, which tells the port chosen for port 0.
    pub fn bound(&self, listener: &str) -> Option<SocketAddr> {
        let plane = self.control.shared.plane.load_full()?;
        let listener = plane.listeners.iter().find(|plane| &*plane.listener.name == listener)?;
        self.control.server.borrow().bound(&listener.listener.address)
    }

    /// Serves until `leave` says how to end; then ends that way. Returns the requests that the deadline cut.
    pub async fn run(self, leave: impl Future<Output = Leave>) -> usize {
        let Sidecar { control, mut judged, mut answers, mut commands, pages, watcher } = self;
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leave = std::pin::pin!(leave);
        let mut expired = Instant::now();
        let how = loop {
            tokio::select! {
                how = &mut leave => break how,
                Some(judged) = judged.recv() => control.obey(judged).await,
                Some(answer) = answers.recv() => control.learn(answer),
                Some(command) = commands.recv() => break match command {
                    Command::DrainListeners => Leave::Drain,
                    Command::Quit => Leave::Quit,
                },
                _ = seconds.tick() => {
                    control.each_second();
                    if expired.elapsed() >= EXPIRE_EVERY {
                        expired = Instant::now();
                        control.shared.recorder.expire(expired);
                    }
                }
            }
        };
        // First the queues: the watcher's thread may be waiting for what becomes of its verdict, and is waited for when
        // it is dropped; and nobody need ask for names any more.
        drop((judged, answers));
        let cut = control.leave(how).await;
        // Not waited for: it may be reading from a file system that hangs.
        std::thread::spawn(move || drop(watcher));
        for page in pages {
            let _ = page.stop.send(());
            let _ = page.task.await;
        }
        cut
    }
}

impl Control {
    async fn obey(self: &Rc<Self>, judged: Judged) {
        let in_force = match judged.verdict {
            Verdict::Accepted(loaded) => self.accept(*loaded).await,
            Verdict::Refused(faults) => {
                self.reloads.borrow_mut().refused(Timestamp::now(), self.generation(), &faults);
                self.refuse(&faults.to_string());
                false
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
                self.refuse(&error.to_string());
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

    fn refuse(&self, faults: &str) {
        tracing::error!("the new configuration is refused; what is in force stays\n{faults}");
        self.shared.process.config_refused.increment(1);
        self.shared.process.config_last_reload_success.set(0.0);
    }

    /// Binds what is new, publishes, lets go of what is gone. Returns the generation.
    fn publish(self: &Rc<Self>, snapshot: Arc<Snapshot>) -> io::Result<u64> {
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

    fn generation(&self) -> u64 {
        self.shared.plane.load().as_ref().map_or(0, |plane| plane.generation)
    }

    fn note_start(&self, start: &Start, generation: u64) {
        let mut reloads = self.reloads.borrow_mut();
        match &start.refused {
            Some(faults) => {
                self.shared.process.config_last_reload_success.set(0.0);
                reloads.refused(Timestamp::now(), generation, faults);
            }
            None => reloads.accepted(Timestamp::now(), generation, &start.loaded.warnings),
        }
    }

    /// The admin pages, which answer from now on: `/ready` says what is missing.
    async fn pages(
        &self,
        options: &Options,
        snapshot: &Snapshot,
        workers: usize,
        commands: mpsc::Sender<Command>,
    ) -> io::Result<Vec<Page>> {
        let admin = Rc::new(Admin {
            plane: self.shared.plane.clone(),
            recorder: self.shared.recorder.clone(),
            server: ServerMeter::new(&self.shared.recorder, self.shared.start, workers),
            readiness: self.shared.readiness.clone(),
            reloads: self.reloads.clone(),
            stats: self.stats.clone(),
            commands,
            levels: match &options.log {
                Some(levels) => Rc::new(levels.clone()),
                None => Rc::new(NoLevels),
            },
            about: About {
                node: snapshot.node.clone(),
                concurrency: workers,
                config_path: options.config.display().to_string(),
                last_good: options.last_good.as_ref().map(|path| path.display().to_string()),
                log_format: options.log.as_ref().map_or("none", |log| log.format().as_str()),
            },
            start: self.shared.start,
        });
        let mut pages = vec![page("admin.address", snapshot.admin.address, admin.everything()).await?];
        if let Some(address) = snapshot.admin.metrics_address {
            pages.push(page("admin.metrics_address", address, admin.public()).await?);
        }
        Ok(pages)
    }

    /// Asks for names that nobody asks for yet, before the plane that wants them, so that it does not begin with
    /// empty clusters. Holds up everything else on this thread, hence the deadline.
    async fn look_up_new(&self, snapshot: &Snapshot) {
        let mut wanted = resolve::wanted(snapshot);
        wanted.retain(|name, _| !self.watches.borrow().holds(name));
        let answers = resolve::ask_all(wanted.into_keys(), FIRST_LOOK_UP).await;
        let mut planner = self.planner.borrow_mut();
        for answer in answers {
            planner.names.learn(answer);
        }
    }

    fn learn(&self, answer: Answer) {
        // An answer may have waited here while a reload let go of its name.
        if !self.watches.borrow().holds(&answer.name) {
            return;
        }
        let mut planner = self.planner.borrow_mut();
        if planner.names.learn(answer) {
            planner.publish_endpoints();
            self.stats.borrow_mut().adopt(planner.declared());
        }
    }

    fn each_second(&self) {
        self.planner.borrow_mut().collect();
        self.stats.borrow_mut().tick(Instant::now());
        let buffered: usize = self.shared.buffered.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        self.shared.process.buffered_bytes.set(buffered as f64);
        let short = match (cores::cgroup_memory_limit(), cores::cgroup_memory_in_use()) {
            (Some(limit), Some(used)) => used > limit / 100 * MEMORY_PERCENT,
            _ => false,
        };
        self.server.borrow().set_memory_is_short(short);
    }

    async fn leave(self: Rc<Self>, how: Leave) -> usize {
        let drain = self.shared.plane.load_full().map_or_else(Default::default, |plane| plane.snapshot.drain);
        tracing::info!(?how, grace = ?drain.grace, deadline = ?drain.deadline, "leaving");
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
        cut
    }
}

/// Levels of a log that is not ours to change.
struct NoLevels;

impl Levels for NoLevels {
    fn directives(&self) -> String {
        "off".to_owned()
    }

    fn set(&self, _: &str) -> Result<(), String> {
        Err("this process has no log of its own".to_owned())
    }
}

async fn page(key: &str, address: SocketAddr, handler: Rc<dyn Handler>) -> io::Result<Page> {
    let listener = TcpListener::bind(address).await.map_err(|error| {
        let text = format!(
            "{key}: cannot bind {address}: {error}: stop what listens there or choose another address"
        );
        io::Error::new(error.kind(), text)
    })?;
    let (stop, stopped) = oneshot::channel();
    let task = spawn_local(endpoint::serve(listener, handler, async move { drop(stopped.await) }));
    Ok(Page { stop, task })
}

fn tell_ready(snapshot: &Snapshot, workers: usize) {
    let listeners: Vec<_> = snapshot
        .listeners
        .iter()
        .map(|listener| format!("{} on {}", listener.name, listener.address))
        .collect();
    tracing::info!(workers, admin = %snapshot.admin.address, "serving: {}", listeners.join(", "));
}

fn workers(snapshot: &Snapshot) -> usize {
    match snapshot.workers {
        Workers::Fixed(count) => count,
        Workers::Auto => cores::cgroup_quota().unwrap_or(WORKERS_WITHOUT_QUOTA),
    }
    .max(1)
}

/// The process's environment, with telemetry's judgement of log formats.
pub fn environment() -> Environment {
    Environment {
        check_log_format: |format| Format::parse(format).map(drop).map_err(|error| error.to_string()),
        ..Environment::from_variables(|name| std::env::var(name).ok())
    }
}

/// Puts the `running` value in place of a new one, and says so.
fn keep<T: Clone + PartialEq>(key: &str, running: &T, new: &mut T) {
    if new != running {
        tracing::warn!("`{key}` takes effect at a restart");
        new.clone_from(running);
    }
}

fn tell_warnings(loaded: &Loaded) {
    for warning in loaded.warnings.iter() {
        tracing::warn!("{warning}");
    }
}
