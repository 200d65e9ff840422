//! Who of a cluster's members is well, and the choice among those: outlier detection, health checks, panic, slow start,
//! and what a hash belongs to.
//!
//! Law: a choice looks at a list of members that are well, which is made when anybody's health changes and not with a
//! request. Whoever sees first that it changed makes the list; there is no lock. Health outlives reloads with its
//! [`Watch`]. A cluster that is not watched and looks at no hash has no guard.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use rand::{Rng, RngExt as _};

use super::balance::hashed::Hashed;
use super::balance::{self, Ask};
use super::cluster::{ClusterState, Member, turns};
use crate::runtime::sync::step;
use crate::snapshot::{Cluster, LbPolicy, Outlier, SlowStart};
use crate::telemetry::{GuardCounts, GuardEvent};
use crate::transport::dial::Target;
use outlier::Scene;
use watch::{Census, MAX_CHECKS};

mod health;
#[cfg(all(test, feature = "models"))]
#[path = "guard_models.rs"]
mod models;
mod outlier;
mod slow_start;
mod tasks;
#[cfg(test)]
mod tests;
mod watch;

pub use outlier::Outcome;
pub use tasks::Guards;
pub use watch::Watch;

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
}

/// The members to choose among.
#[derive(Debug)]
struct Usable {
    /// The census's count of changes when it was made.
    changes: u32,
    /// Too few are well: these are all.
    panic: bool,
    /// Indexes of members, with the weight that each has now.
    members: Vec<(usize, u32)>,
    /// Places in `members`, by turn.
    turns: Vec<u32>,
    /// Whether a member stands in `members`, by its index.
    holds: Vec<bool>,
    /// The place of this pod's own, if it is among them.
    own: Option<usize>,
}

/// Milliseconds on the clock of ejections and of slow starts.
fn now_ms() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
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

    /// The member to try; `None` if none is well and there is no panic.
    pub fn pick(&self, cluster: &ClusterState, dice: &mut impl Rng, ask: &Ask<'_>) -> Option<usize> {
        let mut usable = self.usable.load();
        if usable.changes != self.census.changes() {
            step();
            self.usable.store(Arc::new(self.look(&cluster.members, now_ms())));
            usable = self.usable.load();
        }
        if usable.panic {
            self.census.counts.count(GuardEvent::HealthyPanic);
        }
        if let [] | [_] = usable.members[..] {
            return usable.members.first().map(|&(member, _)| member);
        }
        if let (Some(hashed), Some(hash)) = (&self.hashed, ask.hash) {
            let fresh = |member: usize| usable.holds[member] && !ask.tried.contains(&member);
            return hashed.find(hash, fresh).or_else(|| hashed.find(hash, |member| usable.holds[member]));
        }
        let place = usable.draw(cluster, dice, ask.now_ms);
        let picked = usable.members[place].0;
        if !ask.tried.contains(&picked) {
            return Some(picked);
        }
        let tried = |&place: &usize| ask.tried.contains(&usable.members[place].0);
        let tried: Vec<usize> = (0..usable.members.len()).filter(tried).collect();
        let draw = || usable.draw(cluster, dice, ask.now_ms);
        Some(usable.members[balance::another(usable.members.len(), place, &tried, draw)].0)
    }

    /// Makes the list anew.
    fn look(&self, members: &[Member], now_ms: u64) -> Usable {
        // Before anything that may change: what changes from here on is seen the next time.
        let changes = self.census.changes();
        step();
        let well: Vec<bool> = members.iter().map(Member::is_healthy).collect();
        let count = well.iter().filter(|&&well| well).count();
        let panic = count * 100 < self.panic_threshold as usize * members.len();
        let slow_start = self.slow_start.as_ref().filter(|_| self.is_starting(members, now_ms));
        let weighs = |member: &Member| match (slow_start, &member.watch) {
            (Some(config), Some(watch)) => slow_start::weight(config, member.weight, watch.well_for(now_ms)),
            _ => member.weight,
        };
        let chosen = members.iter().enumerate().filter(|&(index, _)| panic || well[index]);
        let chosen: Vec<(usize, u32)> = chosen.map(|(index, member)| (index, weighs(member))).collect();
        let mut holds = vec![false; members.len()];
        chosen.iter().for_each(|&(index, _)| holds[index] = true);
        Usable {
            changes,
            panic,
            turns: if chosen.is_empty() {
                Vec::new()
            } else {
                turns(chosen.iter().map(|&(_, weight)| weight))
            },
            own: chosen.iter().position(|&(index, _)| members[index].local),
            members: chosen,
            holds,
        }
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
            None => Arc::new(Watch::new(census.clone(), 0, now_ms)),
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

impl Usable {
    fn none() -> Usable {
        Usable {
            changes: 0,
            panic: false,
            members: Vec::new(),
            turns: Vec::new(),
            holds: Vec::new(),
            own: None,
        }
    }

    /// A place in `members`, of which there are at least two.
    fn draw(&self, cluster: &ClusterState, dice: &mut impl Rng, now_ms: u64) -> usize {
        match cluster.config.lb {
            LbPolicy::RoundRobin => {
                let turn = cluster.turn.fetch_add(1, Relaxed);
                self.turns[turn % self.turns.len()] as usize
            }
            // Without a hash.
            LbPolicy::Random | LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => self.by_weight(dice),
            LbPolicy::LeastRequest => {
                let first = self.own.unwrap_or_else(|| self.by_weight(dice));
                let mut second = self.by_weight(dice);
                if second == first {
                    let count = self.members.len();
                    second = (first + 1 + dice.random_range(0..count - 1)) % count;
                }
                let two = [self.members[first], self.members[second]];
                if balance::less_loaded(cluster, now_ms, two) == two[0].0 { first } else { second }
            }
        }
    }

    fn by_weight(&self, dice: &mut impl Rng) -> usize {
        self.turns[dice.random_range(0..self.turns.len())] as usize
    }
}
