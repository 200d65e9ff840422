//! The wiring of `weir proxy`: files -> snapshot -> plane -> workers, and the admin pages beside them.
//!
//! Everything here runs on one control thread. Law: a step that fails leaves what serves as it is; on the way out
//! nothing that was accepted is dropped before the deadline.

mod control;
mod pages;

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::logging::{LogFormat, LogLevels};
use super::signals::{Obey, Signals};
use crate::admin::{Command, Reloads, SplitStats};
use crate::config::{Diagnostics, Environment};
use crate::proxy::planner::Planner;
use crate::proxy::server::{Server, Shared};
use crate::runtime::cores;
use crate::runtime::readiness::Readiness;
use crate::runtime::worker;
use crate::snapshot::{Snapshot, Workers};
use crate::sources::{self, Bell, FileSource, Watcher};
use crate::telemetry::{Format, ProcessMeter, Recorder};
use crate::upstream::resolve::{Answer, Resolver, Watches};

use control::{Control, Judged, tell_faults, tell_warnings};
use pages::Page;

/// Workers of a sidecar whose cgroup has no quota.
const WORKERS_WITHOUT_QUOTA: usize = 2;
/// Verdicts, look-ups and commands that may wait, of each, for the control thread.
const QUEUE: usize = 16;
/// How often series that nobody holds are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);
/// How long the process's own log may take for its last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// How long a process that leaves at once waits for the lines that it has queued.
const LAST_WORDS_AT_ONCE: Duration = Duration::from_millis(200);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// weir.yaml.
    pub config: PathBuf,
    /// Where to keep, and to start from, the last good configuration.
    pub last_good: Option<PathBuf>,
    /// The process's log, whose levels the admin pages change; `None`: somebody else's.
    pub log: Option<LogLevels>,
    /// Who is asked for the names of endpoints.
    pub resolver: Resolver,
}

impl Options {
    /// By `config`, without anything else; the system's resolver is asked for names.
    pub fn new(config: PathBuf) -> Options {
        Options { config, last_good: None, log: None, resolver: Resolver::default() }
    }
}

/// `weir proxy`: serves until a signal or the admin pages say to leave. A second signal ends the process at once.
pub fn run(options: &Options) -> ExitCode {
    let runtime = match worker::local_runtime() {
        Ok(runtime) => runtime,
        Err(error) => return fail(options, &Fault::Io(error)),
    };
    let code = runtime.block_on(async {
        let signals = match Signals::listen() {
            Ok(signals) => signals,
            Err(error) => return fail(options, &Fault::Io(error)),
        };
        match Sidecar::start(options).await {
            Ok(sidecar) => {
                let ears = sidecar.ears(options.log.clone());
                sidecar.run(signals.obeyed_by(ears)).await;
                ExitCode::SUCCESS
            }
            Err(fault) => fail(options, &fault),
        }
    });
    // Dropping it would wait for look-ups, and a name server that is silent would keep us beyond every deadline.
    runtime.shutdown_background();
    if let Some(log) = &options.log {
        log.flush(LAST_WORDS);
    }
    code
}

/// Tells why nothing was started: in lines for people and their editors, or as the log's JSON.
fn fail(options: &Options, fault: &Fault) -> ExitCode {
    const ADVICE: &str =
        "the configuration has faults, so nothing was started; mend them, or start with --last-good";
    let as_json = options.log.as_ref().is_some_and(|log| log.format() == LogFormat::Json);
    match fault {
        Fault::Config(faults) if as_json => {
            tell_faults(faults);
            tracing::error!(faults = faults.len(), "{ADVICE}");
        }
        Fault::Io(error) if as_json => tracing::error!("{error}"),
        Fault::Config(faults) => say(&format!("{faults}\nweir proxy: {ADVICE}")),
        Fault::Io(error) => say(&format!("weir proxy: {}", error.to_string().escape_default())),
    }
    ExitCode::FAILURE
}

/// To the standard error, behind what the log has to say. Nobody may be listening.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// What a proxy hears of signals.
struct Ears {
    control: Rc<Control>,
    bell: Bell,
    log: Option<LogLevels>,
}

impl Obey for Ears {
    fn look_again(&self) {
        self.bell.ring();
    }

    fn reopen_logs(&self) {
        self.control.reopen_logs();
    }

    fn last_words(&self) {
        self.control.write_last_lines(LAST_WORDS_AT_ONCE);
        if let Some(log) = &self.log {
            log.flush(LAST_WORDS_AT_ONCE);
        }
    }
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
            tracing::error!("the configuration has faults; the last good one serves");
            tell_faults(faults);
        }
        let snapshot = Arc::new(start.loaded.snapshot.clone());
        let workers = workers(&snapshot);
        let recorder = Recorder::new(workers);
        let process = ProcessMeter::new(&recorder);
        let plane = Arc::new(ArcSwapOption::empty());
        let mut planner = Planner::new(recorder.clone(), process.clone(), plane.clone());
        planner.resolver = options.resolver.clone();
        let readiness = Readiness::default();
        let starting = readiness.block_on("listeners");
        let shared = Arc::new(Shared {
            plane,
            recorder,
            process,
            readiness,
            buffered: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            replay: AtomicUsize::new(0),
            copied: AtomicUsize::new(0),
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
            watches: RefCell::new(Watches::new(options.resolver.clone(), answer)),
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

    fn ears(&self, log: Option<LogLevels>) -> Ears {
        Ears { control: self.control.clone(), bell: self.watcher.bell(), log }
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
                Some(command) = commands.recv() => match command {
                    Command::DrainListeners => break Leave::Drain,
                    Command::Quit => break Leave::Quit,
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
            page.close().await;
        }
        cut
    }
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
        check_log_text: |text| Format::check_text(text).map_err(|error| error.to_string()),
        headers_of_log: Format::headers_of,
        ..Environment::from_variables(|name| std::env::var(name).ok())
    }
}
