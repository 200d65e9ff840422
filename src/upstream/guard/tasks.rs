//! What looks after clusters on the control thread: ends of intervals, slow starts, health checks.
//!
//! Law: one task for each thing, for as long as it is wanted; a reload that still wants it does not disturb it. A cluster
//! that is not watched has none.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::health::{self, Checked};
use super::now_ms;
use super::watch::{MAX_CHECKS, Watch};
use crate::snapshot::HealthCheck;
use crate::transport::dial::Target;
use crate::upstream::cluster::ClusterState;

/// How often shares grow during a slow start: so many times in its window, within bounds.
const STEPS: u32 = 100;
const STEP_BOUNDS: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];

/// The tasks of all clusters. Dropping it ends them.
#[derive(Debug, Default)]
pub struct Guards {
    clusters: BTreeMap<Arc<str>, Guarded>,
}

/// Those of one cluster.
#[derive(Debug)]
struct Guarded {
    /// As it is now.
    state: Rc<RefCell<Arc<ClusterState>>>,
    /// With the interval.
    outlier: Option<(Duration, Task)>,
    /// With the window.
    slow_start: Option<(Duration, Task)>,
    /// By endpoint and place of the check.
    checks: HashMap<(Target, usize), Checking>,
    checks_at_once: Rc<Semaphore>,
}

/// The health check of one endpoint.
#[derive(Debug)]
struct Checking {
    check: HealthCheck,
    watch: Arc<Watch>,
    _task: Task,
}

#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    fn start(task: impl Future<Output = ()> + 'static) -> Task {
        Task(spawn_local(task))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Guards {
    /// From now on looks after `clusters`, and after no other.
    pub fn want<'a>(&mut self, clusters: impl Iterator<Item = &'a Arc<ClusterState>>) {
        let mut before = std::mem::take(&mut self.clusters);
        for state in clusters.filter(|state| state.guard.is_some() && state.config.traffic.is_some()) {
            let name = &state.config.name;
            let guarded = before.remove(name).unwrap_or_else(|| Guarded::new(state));
            self.clusters.insert(name.clone(), guarded.adopt(state));
        }
    }
}

impl Guarded {
    fn new(state: &Arc<ClusterState>) -> Guarded {
        let state = Rc::new(RefCell::new(state.clone()));
        let checks_at_once = Rc::new(Semaphore::new(health::AT_ONCE));
        Guarded { state, outlier: None, slow_start: None, checks: HashMap::new(), checks_at_once }
    }

    fn adopt(mut self, state: &Arc<ClusterState>) -> Guarded {
        self.state.replace(state.clone());
        let Some(traffic) = &state.config.traffic else { return self };
        let interval = traffic.outlier.map(|outlier| outlier.interval);
        let shared = &self.state;
        keep_or_start(&mut self.outlier, interval, |interval| end_intervals(shared.clone(), interval));
        let window = traffic.slow_start.map(|slow_start| slow_start.window);
        keep_or_start(&mut self.slow_start, window, |window| let_shares_grow(shared.clone(), window));
        let mut before = std::mem::take(&mut self.checks);
        for member in &state.members {
            let Some(watch) = &member.watch else { continue };
            for (place, check) in traffic.health_checks.iter().enumerate().take(MAX_CHECKS) {
                let key = (member.state.target.clone(), place);
                let known = before.remove(&key);
                let known = known.filter(|known| known.check == *check && Arc::ptr_eq(&known.watch, watch));
                let checking = known.unwrap_or_else(|| {
                    let checked = Checked {
                        state: self.state.clone(),
                        target: member.state.target.clone(),
                        watch: watch.clone(),
                        place,
                        at_once: self.checks_at_once.clone(),
                    };
                    let task = Task::start(health::keep_checking(checked, check.clone()));
                    Checking { check: check.clone(), watch: watch.clone(), _task: task }
                });
                // An address that stands twice is asked once.
                self.checks.entry(key).or_insert(checking);
            }
        }
        self
    }
}

/// Keeps a task whose time is as it was; else starts it with the new one, if there is one.
fn keep_or_start<F: Future<Output = ()> + 'static>(
    slot: &mut Option<(Duration, Task)>,
    wanted: Option<Duration>,
    start: impl FnOnce(Duration) -> F,
) {
    if slot.as_ref().map(|(time, _)| *time) != wanted {
        *slot = wanted.map(|time| (time, Task::start(start(time))));
    }
}

async fn end_intervals(state: Rc<RefCell<Arc<ClusterState>>>, interval: Duration) {
    loop {
        sleep(interval.max(Duration::from_millis(1))).await;
        let state = state.borrow().clone();
        if let Some(guard) = &state.guard {
            guard.end_interval(&state.members, now_ms());
        }
    }
}

async fn let_shares_grow(state: Rc<RefCell<Arc<ClusterState>>>, window: Duration) {
    let [least, most] = STEP_BOUNDS;
    let step = (window / STEPS).clamp(least, most);
    let mut grew = true;
    loop {
        sleep(step).await;
        let state = state.borrow().clone();
        if let Some(guard) = &state.guard {
            let grows = guard.is_starting(&state.members, now_ms());
            // Once more at the end, for the whole share: told, so that no list of a moment before outlives it.
            if grows || grew {
                guard.renew(&state.members, now_ms());
            }
            if grew && !grows {
                guard.census.tell();
            }
            grew = grows;
        }
    }
}
