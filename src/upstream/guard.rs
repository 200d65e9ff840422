//! Who of a cluster's members is well, and the choice among those: outlier detection, health checks, panic, slow start,
//! and what a hash belongs to.
//!
//! Law: a choice looks at a list of members that are well, which is made when anybody's health changes and not with a
//! request. Whoever sees first that it changed makes the list; there is no lock. A list of many members is not made
//! more often than its length allows; until it is, a choice looks whether whom it meets is still well. Health outlives
//! reloads with its [`Watch`]. A cluster that is not watched and looks at no hash has no guard.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use arc_swap::ArcSwap;
use rand::{Rng, RngExt as _};

use super::balance::Ask;
use super::balance::hashed::Hashed;
use super::cluster::{ClusterState, Member};
use crate::runtime::sync::step;
use crate::snapshot::{Cluster, Outlier, SlowStart};
use crate::telemetry::{GuardCounts, GuardEvent};
use crate::transport::dial::Target;
use outlier::Scene;
use usable::Usable;
use watch::{Census, MAX_CHECKS};

pub mod health;
#[cfg(all(test, feature = "models"))]
#[path = "guard_models.rs"]
mod models;
mod outlier;
mod slow_start;
mod tasks;
#[cfg(test)]
mod tests;
mod usable;
mod watch;

pub use outlier::Outcome;
pub use tasks::Guards;
pub use watch::Watch;

/// Members for which a list is at most made every millisecond: so much of a worker's time is a few parts of a hundred.
const MEMBERS_A_MS: u64 = 200;
/// Draws that may meet somebody who is ill since the list was made, before it is made anew whatever its length.
const DRAWS: usize = 4;
/// What the clock of slow starts shows when the process starts: who is well since 0 is so for years.
const START_MS: u64 = 1 << 40;

/// See the module.
#[derive(Debug)]
pub struct Guard {
    census: Arc<Census>,
    usable: ArcSwap<Usable>,
    hashed: Option<Hashed>,
    outlier: Option<Outlier>,
    slow_start: Option<SlowStart>,
    /// Below this percentage of members that are well, all are as good as well.
    panic_threshold: u32,
    members: usize,
    /// Whether a member was ever chosen, in this generation or before.
    used: Arc<AtomicBool>,
}

/// Milliseconds on the clock of ejections and of slow starts.
fn now_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START_MS.saturating_add(u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX))
}

impl Guard {
    /// The guard of a cluster's `members`, if it needs one: sets their watches, those of `previous` as far as they were
    /// members there.
    pub(super) fn new(
        config: &Cluster,
        members: &mut [Member],
        previous: Option<&ClusterState>,
    ) -> Option<Box<Guard>> {
        let traffic = config.traffic.as_deref();
        let outlier = traffic.and_then(|traffic| traffic.outlier);
        let slow_start = traffic.and_then(|traffic| traffic.slow_start);
        let checks = traffic.map_or(0, |traffic| traffic.health_checks.len()).min(MAX_CHECKS);
        let hashed = Hashed::new(config.lb, members);
        let is_watched = outlier.is_some() || slow_start.is_some() || checks > 0;
        if !is_watched && hashed.is_none() {
            return None;
        }
        let before = previous.and_then(|previous| previous.guard.as_ref());
        let census = before.map(|guard| guard.census.clone()).unwrap_or_default();
        if is_watched {
            watch_all(members, previous, &census, checks, outlier.is_some());
            if slow_start.is_some() && before.is_none_or(|guard| guard.slow_start.is_none()) {
                spare_the_known(previous);
            }
        }
        leave(members, previous);
        let panic_threshold = traffic.map_or(50, |traffic| traffic.panic_threshold);
        let (members, of) = (members.len(), &*members);
        let mut guard = Guard {
            usable: ArcSwap::from_pointee(Usable::none()),
            census,
            hashed,
            outlier,
            slow_start,
            panic_threshold,
            members,
            used: before.map(|guard| guard.used.clone()).unwrap_or_default(),
        };
        guard.usable = ArcSwap::from_pointee(guard.look(of, now_ms()));
        Some(Box::new(guard))
    }

    /// How an attempt ended at the member that `watch` watches.
    pub fn note(&self, watch: &Watch, outcome: Outcome) {
        if self.outlier.is_some() {
            self.note_at(watch, outcome, now_ms());
        }
    }

    fn note_at(&self, watch: &Watch, outcome: Outcome, now_ms: u64) {
        if let Some(scene) = self.scene(now_ms) {
            scene.note(watch, outcome);
        }
    }

    /// The end of an interval of outlier detection.
    fn end_interval(&self, members: &[Member], now_ms: u64) {
        if let Some(scene) = self.scene(now_ms) {
            let watches: Vec<&Watch> = members.iter().filter_map(|member| member.watch.as_deref()).collect();
            scene.end_interval(&watches);
        }
    }

    fn scene(&self, now_ms: u64) -> Option<Scene<'_>> {
        let config = self.outlier.as_ref()?;
        let draw = |below| rand::rng().random_range(0..below);
        Some(Scene { config, census: &self.census, members: self.members, now_ms, draw })
    }

    /// What happened so far.
    pub fn counts(&self) -> &GuardCounts {
        &self.census.counts
    }

    /// Of a cluster whose outliers are looked for: what rates of success were compared with in the last interval, the
    /// average and the least that is no outlier's; first those by answers, then those by whether anybody answered.
    pub fn compared(&self) -> Option<[Option<(f64, f64)>; 2]> {
        let [external, local] = &self.census.compared;
        self.outlier.is_some().then(|| [external.told(), local.told()])
    }

    /// Whether anything was ever sent to a member.
    fn is_used(&self) -> bool {
        self.used.load(Relaxed)
    }

    /// The member to try; `None` if none is well and there is no panic.
    pub fn pick(&self, cluster: &ClusterState, dice: &mut impl Rng, ask: &Ask<'_>) -> Option<usize> {
        if !self.is_used() {
            self.used.store(true, Relaxed);
        }
        let usable = self.usable.load();
        if usable.changes == self.census.changes() {
            return self.choose(&usable, cluster, dice, ask);
        }
        step();
        self.pick_after_a_change(&usable, cluster, dice, ask, now_ms())
    }

    /// The same, when the list is not that of now.
    #[cold]
    fn pick_after_a_change(
        &self,
        old: &Usable,
        cluster: &ClusterState,
        dice: &mut impl Rng,
        ask: &Ask<'_>,
        now_ms: u64,
    ) -> Option<usize> {
        let due_ms = old.made_ms.saturating_add(cluster.members.len() as u64 / MEMBERS_A_MS);
        if now_ms < due_ms && !old.members.is_empty() {
            let mut tried = ask.tried.to_vec();
            for _ in 0..DRAWS {
                let picked = self.choose(old, cluster, dice, &Ask { tried: &tried, ..*ask })?;
                if old.panic || cluster.members[picked].is_healthy() {
                    return Some(picked);
                }
                tried.push(picked);
            }
        }
        let new = self.renew(&cluster.members, now_ms);
        self.choose(&new, cluster, dice, ask)
    }

    fn choose(
        &self,
        usable: &Usable,
        cluster: &ClusterState,
        dice: &mut impl Rng,
        ask: &Ask<'_>,
    ) -> Option<usize> {
        if usable.panic {
            self.census.counts.count(GuardEvent::HealthyPanic);
        }
        usable.choose(self.hashed.as_ref(), cluster, dice, ask)
    }

    /// Makes the list anew, and the choices of all workers go by it.
    fn renew(&self, members: &[Member], now_ms: u64) -> Arc<Usable> {
        let new = Arc::new(self.look(members, now_ms));
        self.usable.store(new.clone());
        new
    }

    fn look(&self, members: &[Member], now_ms: u64) -> Usable {
        // Before anything that may change: what changes from here on is seen the next time.
        let changes = self.census.changes();
        step();
        let slow_start = self.slow_start.as_ref().filter(|_| self.is_starting(members, now_ms));
        let weighs = |member: &Member| match (slow_start, &member.watch) {
            (Some(config), Some(watch)) => slow_start::weight(config, member.weight, watch.well_for(now_ms)),
            _ => member.weight,
        };
        Usable::new(changes, now_ms, members, self.panic_threshold, weighs)
    }

    /// Whether anybody's share still grows.
    fn is_starting(&self, members: &[Member], now_ms: u64) -> bool {
        let Some(config) = &self.slow_start else { return false };
        let window = config.window.as_millis();
        let mut watches = members.iter().filter_map(|member| member.watch.as_ref());
        watches.any(|watch| u128::from(watch.well_for(now_ms)) < window)
    }
}

/// Gives every member its watch: the one that it had in `previous`, or a new one. An address that stands twice has one.
/// Whoever is new is not well before his health checks say so; who served before any check was asked for goes on.
fn watch_all(
    members: &mut [Member],
    previous: Option<&ClusterState>,
    census: &Arc<Census>,
    checks: usize,
    has_outlier: bool,
) {
    let now_ms = now_ms();
    let mut watches: HashMap<Target, Arc<Watch>> = HashMap::new();
    for member in previous.into_iter().flat_map(|previous| &previous.members) {
        let watch = match &member.watch {
            Some(watch) => watch.clone(),
            None => Arc::new(Watch::new(census.clone(), 0, 0)),
        };
        watch.adopt(checks, has_outlier);
        watches.insert(member.state.target.clone(), watch);
    }
    for member in members {
        let new = || Arc::new(Watch::new(census.clone(), checks, now_ms));
        member.watch = Some(watches.entry(member.state.target.clone()).or_insert_with(new).clone());
    }
}

/// Who is watched in `previous` and is no member any more gives back its place among the ejected.
fn leave(members: &[Member], previous: Option<&ClusterState>) {
    let stays: HashSet<*const Watch> =
        members.iter().filter_map(|member| Some(Arc::as_ptr(member.watch.as_ref()?))).collect();
    let before = previous.into_iter().flat_map(|previous| &previous.members);
    let watches = before.filter_map(|member| member.watch.as_ref());
    watches.filter(|watch| !stays.contains(&Arc::as_ptr(watch))).for_each(|watch| watch.leave());
}

/// Who served before shares were to grow is not new: only whoever comes from now on is.
fn spare_the_known(previous: Option<&ClusterState>) {
    let known = previous.into_iter().flat_map(|previous| &previous.members);
    known.filter_map(|member| member.watch.as_ref()).for_each(|watch| watch.set_well_since(0));
}
