//! The proxy's engine in this process, without files or admin: a planner, workers, and everything that they count.
//!
//! The thread that holds it is the control thread. Law: nothing here waits without a deadline.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::task::spawn_local;
use tokio::time::sleep;
use weir::config::{self, Document, Environment};
use weir::proxy::plane::Plane;
use weir::proxy::planner::Planner;
use weir::proxy::server::{Server, Shared};
use weir::runtime::readiness::Readiness;
use weir::snapshot::Snapshot;
use weir::telemetry::{Page, ProcessMeter, Recorder};

/// Longest wait for something that has to happen.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// See the module.
pub struct Engine {
    pub shared: Arc<Shared>,
    pub planner: RefCell<Planner>,
    pub server: Rc<RefCell<Server>>,
}

/// Runs a test on a thread whose tasks never leave it.
pub fn on_control_thread<T>(test: impl Future<Output = T>) -> T {
    weir::runtime::worker::local_runtime().unwrap().block_on(test)
}

/// Waits until `holds`, looking often; a failure names `what`.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !holds() {
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A `weir.yaml` and its rules, linked.
pub fn linked(main: &str, rules: &str) -> Arc<Snapshot> {
    let document = |name: &str, text: &str| Document { name: name.into(), bytes: text.into() };
    let documents: Vec<Document> =
        (!rules.is_empty()).then(|| document("rules.yaml", rules)).into_iter().collect();
    let loaded = config::load(&document("weir.yaml", main), &documents, &Environment::default());
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{faults}\n{rules}")).snapshot)
}

impl Engine {
    /// Serves `main` and `rules` with `workers` threads.
    pub fn start(workers: usize, main: &str, rules: &str) -> Engine {
        Engine::serving(workers, linked(main, rules))
    }

    /// Serves `snapshot` with `workers` threads.
    pub fn serving(workers: usize, snapshot: Arc<Snapshot>) -> Engine {
        let recorder = Recorder::new(workers);
        let process = ProcessMeter::new(&recorder);
        let plane = Arc::new(ArcSwapOption::empty());
        let planner = Planner::new(recorder.clone(), process.clone(), plane.clone());
        let shared = Arc::new(Shared {
            plane,
            recorder,
            process,
            readiness: Readiness::default(),
            buffered: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            replay: AtomicUsize::new(0),
            copied: AtomicUsize::new(0),
            start: Instant::now(),
        });
        let server = Rc::new(RefCell::new(Server::start(shared.clone(), workers).unwrap()));
        let engine = Engine { shared, planner: RefCell::new(planner), server };
        engine.publish(snapshot);
        engine
    }

    /// What the sidecar does with a new snapshot.
    pub fn publish(&self, snapshot: Arc<Snapshot>) -> Arc<Plane> {
        let bound = self.server.borrow().bind(&snapshot).unwrap();
        let previous = self.shared.plane.load_full();
        let plane = self.planner.borrow_mut().publish(snapshot).unwrap();
        self.server.borrow_mut().apply(&plane, previous.as_ref(), bound);
        let server = self.server.clone();
        spawn_local(async move { Server::close_removed(&server).await });
        plane
    }

    /// Where the named listener listens.
    pub fn address(&self, listener: &str) -> SocketAddr {
        let plane = self.shared.plane.load_full().unwrap();
        let listener = plane.listeners.iter().find(|plane| &*plane.listener.name == listener).unwrap();
        self.server.borrow().bound(&listener.listener.address).unwrap()
    }

    /// The sum of all series that begin with `series`: a family, or a family and its first labels.
    pub fn metric(&self, series: &str) -> f64 {
        sum_of(&self.shared.recorder.render(Page::Metrics), series)
    }
}

/// The sum of all series of a page that begin with `series`. Where there is none it is not a number, which is no count
/// at all: a family that was renamed must not pass for zero.
pub fn sum_of(page: &str, series: &str) -> f64 {
    let lines = page.lines().filter(|line| {
        let rest = line.strip_prefix(series);
        rest.is_some_and(|rest| rest.starts_with([' ', '{', ',', '}']))
    });
    let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
}
