//! Active health checks: endpoints are asked whether they are well, each by a task of its own.
//!
//! Law: thresholds are Envoy's. The first answer counts at once; an answer that says otherwise than it should makes ill
//! at once, none at all only as often in a row as the threshold says. Nothing of a check runs on a worker. Endpoints of
//! a cluster are not asked in step, and only so many of them at once.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::now_ms;
use super::watch::Watch;
use crate::snapshot::{HealthCheck, HealthCheckKind};
use crate::telemetry::GuardEvent;
use crate::transport::dial::{self, Target};
use crate::upstream::cluster::ClusterState;

mod grpc;
mod http;
mod model;

pub use grpc::{message_of, says_serving};
pub use model::{json_says_available, says_available};

/// Questions of one cluster that are open at once: each is a connection, and the control thread has other things to do.
pub(super) const AT_ONCE: usize = 128;

/// Whom a task asks.
pub(super) struct Checked {
    /// The cluster as it is now.
    pub(super) state: Rc<RefCell<Arc<ClusterState>>>,
    pub(super) target: Target,
    pub(super) watch: Arc<Watch>,
    /// Of the check among the cluster's.
    pub(super) place: usize,
    /// A permit for each question of the cluster that may be open.
    pub(super) at_once: Rc<Semaphore>,
}

/// What one question came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is well.
    Well,
    /// It says that it is not, or not what it should.
    Ill,
    /// It said nothing, or nothing in time.
    Silent,
}

/// Answers in a row.
#[derive(Debug, Default)]
struct Tally {
    asked: bool,
    well: u32,
    silent: u32,
}

impl Tally {
    /// What an endpoint that is taken for `is_well` is to be taken for from now on.
    fn judge(&mut self, found: Found, is_well: bool, check: &HealthCheck) -> bool {
        let first = !std::mem::replace(&mut self.asked, true);
        if found == Found::Well {
            self.silent = 0;
            self.well = if is_well { 0 } else { self.well + 1 };
            return is_well || first || self.well >= check.healthy_threshold;
        }
        self.well = 0;
        self.silent = if is_well { self.silent + 1 } else { 0 };
        is_well && found == Found::Silent && self.silent < check.unhealthy_threshold
    }
}

/// Asks time and again.
pub(super) async fn keep_checking(checked: Checked, check: HealthCheck) {
    let target = match (&checked.target, check.port) {
        (Target::Tcp(address), Some(port)) => Target::Tcp((address.ip(), port).into()),
        (target, _) => target.clone(),
    };
    let mut tally = Tally::default();
    let mut pace = first_pace(&mut rand::rng());
    loop {
        let turn = checked.at_once.acquire().await;
        let state = checked.state.borrow().clone();
        let found = timeout(check.timeout, ask(&check, &target, &state)).await.unwrap_or(Found::Silent);
        drop(turn);
        note(&checked, &check, &mut tally, found, &state);
        drop(state);
        wait(&checked, &check, pace).await;
        pace = 1.0;
    }
}

fn note(checked: &Checked, check: &HealthCheck, tally: &mut Tally, found: Found, state: &ClusterState) {
    let Some(guard) = &state.guard else { return };
    let counts = guard.counts();
    counts.count(GuardEvent::CheckAttempt);
    if found == Found::Well {
        counts.count(GuardEvent::CheckSuccess);
    } else {
        counts.count(GuardEvent::CheckFailure);
    }
    if found == Found::Silent {
        counts.count(GuardEvent::CheckNetworkFailure);
    }
    let watch = &checked.watch;
    let is_well = tally.judge(found, !watch.has_failed(checked.place), check);
    if watch.set_check(checked.place, is_well, now_ms()) {
        let (cluster, endpoint) = (&state.config.name, &checked.target);
        if is_well {
            tracing::info!(%cluster, %endpoint, "a health check finds the endpoint well");
        } else {
            tracing::warn!(%cluster, %endpoint, ?found, "a health check finds the endpoint ill");
        }
    }
    // Who is asked and says that he is well is: outlier detection goes by what it saw before.
    if found == Found::Well && !watch.has_failed_check() {
        watch.take_back();
    }
}

/// The part of an interval after which an endpoint is asked for the second time. All are asked for the first time at
/// once, as nobody serves before; with this they fall out of step.
fn first_pace(dice: &mut impl Rng) -> f64 {
    dice.random_range(0.5..1.0)
}

/// Until it is time to ask again: later while nobody has sent the cluster anything, but not once somebody does. `pace`
/// is the part of that time that is waited for.
async fn wait(checked: &Checked, check: &HealthCheck, pace: f64) {
    let jitter = u64::try_from(check.interval_jitter.as_millis()).unwrap_or(u64::MAX - 1);
    let jitter = Duration::from_millis(rand::rng().random_range(0..=jitter));
    let (asked, unused) = (Instant::now(), check.no_traffic_interval.mul_f64(pace));
    let mut interval = check.interval.mul_f64(pace);
    loop {
        sleep((interval + jitter).max(Duration::from_millis(1))).await;
        interval = check.interval;
        let is_used = checked.state.borrow().guard.as_ref().is_some_and(|guard| guard.is_used());
        if is_used || asked.elapsed() >= unused {
            return;
        }
    }
}

/// One question; whoever calls it bounds its time.
async fn ask(check: &HealthCheck, target: &Target, state: &ClusterState) -> Found {
    let Ok(stream) = dial::dial(target, check.timeout).await else { return Found::Silent };
    match &check.kind {
        HealthCheckKind::Tcp => Found::Well,
        HealthCheckKind::Http { path, host, expected, headers } => {
            let question = http::Question { path, host: host.as_deref(), expected, headers };
            http::ask(stream, &question, &state.config).await
        }
        HealthCheckKind::Grpc { service, authority } => {
            grpc::ask(stream, service.as_deref(), authority.as_deref(), &state.config).await
        }
        HealthCheckKind::Model { name, version } => model::ask(stream, name, *version, &state.config).await,
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::Found::{Ill, Silent, Well};
    use super::*;

    fn check() -> HealthCheck {
        HealthCheck { unhealthy_threshold: 3, healthy_threshold: 2, ..HealthCheck::new(HealthCheckKind::Tcp) }
    }

    /// What it is taken for after each answer, if it was taken for `is_well` before the first.
    fn judged(mut is_well: bool, found: &[Found]) -> Vec<bool> {
        let (check, mut tally) = (check(), Tally::default());
        let mut judge = |&found| {
            is_well = tally.judge(found, is_well, &check);
            is_well
        };
        found.iter().map(&mut judge).collect()
    }

    #[test]
    fn a_thousand_endpoints_are_asked_again_spread_over_half_an_interval() {
        let mut dice = SmallRng::seed_from_u64(1);
        let mut of_each_tenth = [0; 10];
        for _ in 0..1_000 {
            of_each_tenth[((first_pace(&mut dice) - 0.5) * 20.0) as usize] += 1;
        }
        assert!(of_each_tenth.iter().all(|count| (50..200).contains(count)), "{of_each_tenth:?}");
    }

    #[test]
    fn the_first_answer_counts_at_once() {
        assert_eq!(judged(false, &[Well]), [true]);
        assert_eq!(judged(false, &[Silent, Well, Well]), [false, false, true], "the second is not the first");
    }

    #[test]
    fn silence_makes_ill_after_as_many_in_a_row_as_the_threshold_says() {
        assert_eq!(judged(true, &[Silent, Silent, Silent]), [true, true, false]);
        assert_eq!(
            judged(true, &[Silent, Silent, Well, Silent, Silent, Silent]),
            [true, true, true, true, true, false]
        );
    }

    #[test]
    fn an_answer_that_is_not_as_it_should_be_makes_ill_at_once() {
        assert_eq!(judged(true, &[Well, Ill]), [true, false]);
    }

    #[test]
    fn an_ill_one_is_well_again_after_as_many_good_answers_in_a_row_as_the_threshold_says() {
        assert_eq!(
            judged(true, &[Ill, Well, Ill, Well, Well, Well]),
            [false, false, false, false, true, true]
        );
        assert_eq!(judged(true, &[Ill, Well, Silent, Well, Well]), [false, false, false, false, true]);
    }
}
