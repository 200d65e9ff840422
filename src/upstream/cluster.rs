//! A cluster as all workers share it: its members, their load, the turn of the round robin, the breakers.
//!
//! Law: a change of endpoints makes a new `ClusterState`; load and breakers are carried over, so nothing that is in
//! flight is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use super::balance::Turns;
use super::breaker::Breakers;
use super::guard::{Guard, Outcome, Watch};
use crate::snapshot::{Address, Cluster};
use crate::transport::dial::Target;

/// How long a failure counts as load against an endpoint, for least request.
const FAILURE_COUNTS_FOR: Duration = Duration::from_secs(5);
/// How long a report of an endpoint counts: one that is avoided for its report sends no other.
const REPORT_COUNTS_FOR: Duration = Duration::from_secs(1);
/// Requests in flight that a recent failure weighs as much as.
const FAILURE_LOAD: u32 = 16;

/// What all workers know of one address of one service.
#[derive(Debug)]
pub struct EndpointState {
    /// Where to dial.
    pub target: Target,
    /// `target` as logs and admin pages print it.
    pub name: Arc<str>,
    in_flight: AtomicU32,
    /// What the endpoint itself said was in flight there, with its last answer over a hop, and above that, in the
    /// upper half, when: one word, so that no worker sees the one without the other.
    reported: AtomicU64,
    /// Who gave its last answer: an [`Answerer`].
    answerer: AtomicU8,
    /// Milliseconds on the process's clock; 0: never.
    failed_at_ms: AtomicU64,
    /// Whole-life counts for `/clusters`.
    pub counts: EndpointCounts,
}

/// Who answers at an endpoint.
#[derive(Clone, Copy)]
enum Answerer {
    /// Nobody did yet.
    Nobody,
    /// Another Weir.
    Weir,
    /// A model server, or whoever else.
    ModelServer,
}

/// Counts of one endpoint since it is known.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are Envoy's, of `/clusters`
pub struct EndpointCounts {
    pub cx_total: AtomicU64,
    pub cx_active: AtomicU64,
    pub cx_connect_fail: AtomicU64,
    pub rq_total: AtomicU64,
    pub rq_success: AtomicU64,
    pub rq_error: AtomicU64,
    pub rq_timeout: AtomicU64,
    pub rq_pending_active: AtomicU64,
}

impl EndpointState {
    /// An endpoint that nobody has tried yet.
    pub fn new(target: Target) -> EndpointState {
        EndpointState {
            name: target.to_string().into(),
            target,
            in_flight: AtomicU32::new(0),
            reported: AtomicU64::new(0),
            answerer: AtomicU8::new(Answerer::Nobody as u8),
            failed_at_ms: AtomicU64::new(0),
            counts: EndpointCounts::default(),
        }
    }

    /// Requests of ours in flight there.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Counts a request in flight until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.counts.rq_total.fetch_add(1, Ordering::Relaxed);
        InFlight { endpoint: self.clone() }
    }

    /// A connection to it failed, at `now_ms` on the process's clock.
    pub fn note_failure(&self, now_ms: u64) {
        self.failed_at_ms.store(now_ms.max(1), Ordering::Relaxed);
    }

    /// It said, at `now_ms`, how many requests are in flight there, ours among them.
    pub fn note_reported(&self, in_flight: u32, now_ms: u64) {
        self.reported.store(now_ms << 32 | u64::from(in_flight), Ordering::Relaxed);
        self.set_answerer(Answerer::Weir);
    }

    /// It answered as another Weir does that refuses a hop.
    pub fn note_weir(&self) {
        self.set_answerer(Answerer::Weir);
    }

    /// It answered as a model server does.
    pub fn note_no_weir(&self) {
        self.set_answerer(Answerer::ModelServer);
    }

    /// Whether another Weir may answer there: it did the last time, or nobody did yet.
    pub fn may_be_weir(&self) -> bool {
        self.is_weir() != Some(false)
    }

    /// Whether its last answer came from another Weir; `None`: there was none yet.
    pub fn is_weir(&self) -> Option<bool> {
        let answerer = self.answerer.load(Ordering::Relaxed);
        (answerer != Answerer::Nobody as u8).then_some(answerer == Answerer::Weir as u8)
    }

    /// All workers read it with every request; it is written when it changes.
    fn set_answerer(&self, answerer: Answerer) {
        if self.answerer.load(Ordering::Relaxed) != answerer as u8 {
            self.answerer.store(answerer as u8, Ordering::Relaxed);
        }
    }

    /// How busy it is, as far as known: for comparing two of them.
    pub fn load(&self, now_ms: u64) -> u32 {
        let failed_at = self.failed_at_ms.load(Ordering::Relaxed);
        let fresh =
            failed_at != 0 && now_ms.saturating_sub(failed_at) < FAILURE_COUNTS_FOR.as_millis() as u64;
        let penalty = if fresh { FAILURE_LOAD } else { 0 };
        self.in_flight().max(self.reported(now_ms)).saturating_add(penalty)
    }

    /// What it said, while that is fresh. Half a word of milliseconds comes round after 49 days: an old report that
    /// counts for two seconds then does no harm.
    fn reported(&self, now_ms: u64) -> u32 {
        let word = self.reported.load(Ordering::Relaxed);
        let age = (now_ms as u32).wrapping_sub((word >> 32) as u32);
        // Either side of the report: a worker's reading of the clock may be a little older than another's report.
        let limit = REPORT_COUNTS_FOR.as_millis() as u32;
        let fresh = age < limit || age.wrapping_neg() < limit;
        if fresh { word as u32 } else { 0 }
    }
}

/// One request in flight at an endpoint.
#[derive(Debug)]
pub struct InFlight {
    endpoint: Arc<EndpointState>,
}

impl InFlight {
    /// Where it is.
    pub fn endpoint(&self) -> &EndpointState {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An endpoint as a member of one cluster.
#[derive(Clone, Debug)]
pub struct Member {
    /// What all clusters of the service know of it.
    pub state: Arc<EndpointState>,
    /// Its label `version`, or `unknown`.
    pub version: Arc<str>,
    /// Whether it is this pod's own.
    pub local: bool,
    /// Share among the members, at least 1.
    pub weight: u32,
    /// What is watched of it, in a cluster that looks at health.
    pub watch: Option<Arc<Watch>>,
}

/// A cluster that serves.
#[derive(Debug)]
pub struct ClusterState {
    /// What was configured.
    pub config: Arc<Cluster>,
    /// Every address, names resolved.
    pub members: Vec<Member>,
    /// The first of them that is this pod's own.
    pub own: Option<usize>,
    /// Whose turn it is.
    pub turns: Turns,
    /// The turn of the round robin.
    pub turn: Arc<AtomicUsize>,
    /// Limits over all workers.
    pub breakers: Arc<Breakers>,
    /// Who of the members is well, and what hashes belong to; nothing for a cluster that asks for neither.
    pub guard: Option<Box<Guard>>,
}

impl ClusterState {
    /// Makes `config` run. `addresses` gives the targets of an address (several for a name, none for one that does
    /// not resolve), `endpoint` what is known of a target already, `previous` the state that this one replaces.
    pub fn new(
        config: Arc<Cluster>,
        addresses: impl Fn(&Address) -> Vec<Target>,
        mut endpoint: impl FnMut(Target) -> Arc<EndpointState>,
        previous: Option<&ClusterState>,
    ) -> ClusterState {
        let mut members = Vec::new();
        for configured in config.endpoints() {
            for target in addresses(&configured.address) {
                members.push(Member {
                    state: endpoint(target),
                    version: configured.version.clone(),
                    local: configured.local,
                    weight: configured.weight,
                    watch: None,
                });
            }
        }
        let breakers = match previous {
            Some(previous) => {
                previous.breakers.adopt(&config.circuit_breakers);
                previous.breakers.clone()
            }
            None => Arc::new(Breakers::new(&config.circuit_breakers)),
        };
        let turn = previous.map(|previous| previous.turn.clone()).unwrap_or_default();
        let own = members.iter().position(|member| member.local);
        let guard = Guard::new(&config, &mut members, previous);
        let turns = Turns::new(members.iter().map(|member| member.weight));
        ClusterState { turns, own, config, members, turn, breakers, guard }
    }

    /// How an attempt at `member` ended, for whoever watches it.
    #[inline]
    pub fn note(&self, member: &Member, outcome: Outcome) {
        if let (Some(watch), Some(guard)) = (&member.watch, &self.guard) {
            guard.note(watch, outcome);
        }
    }

    /// Members that are well, as far as anybody looks at it.
    pub fn healthy(&self) -> usize {
        self.members.iter().filter(|member| member.is_healthy()).count()
    }
}

impl Member {
    /// Whether nobody says that it is not.
    pub fn is_healthy(&self) -> bool {
        self.watch.as_ref().is_none_or(|watch| watch.is_healthy())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::snapshot::{CircuitBreakers, Endpoint, Labels, LbPolicy, Locality, UpstreamProtocol};

    pub(crate) fn cluster(lb: LbPolicy, weights: &[(u32, bool)]) -> ClusterState {
        running(config(lb, weights), None)
    }

    /// Members on the ports from 1000 on.
    pub(crate) fn config(lb: LbPolicy, weights: &[(u32, bool)]) -> Cluster {
        let endpoints = weights
            .iter()
            .enumerate()
            .map(|(i, &(weight, local))| Endpoint {
                address: Address::Socket(([127, 0, 0, 1], 1000 + i as u16).into()),
                labels: Labels::new(),
                version: "v1".into(),
                local,
                weight,
            })
            .collect();
        Cluster {
            name: "out.x".into(),
            service: "x".into(),
            labels: Labels::new(),
            protocol: UpstreamProtocol::AsRequest,
            lb,
            local_bias: 4,
            connect_timeout: Duration::from_secs(5),
            dns_refresh: Duration::from_secs(5),
            circuit_breakers: CircuitBreakers::default(),
            localities: vec![Locality { priority: 0, endpoints }],
            traffic: None,
        }
    }

    pub(crate) fn running(config: Cluster, previous: Option<&ClusterState>) -> ClusterState {
        let addresses = |address: &Address| match address {
            Address::Socket(address) => vec![Target::Tcp(*address)],
            _ => Vec::new(),
        };
        let endpoint = |target| Arc::new(EndpointState::new(target));
        ClusterState::new(Arc::new(config), addresses, endpoint, previous)
    }

    #[test]
    fn a_failure_weighs_as_load_and_is_forgiven() {
        let endpoint = Arc::new(EndpointState::new(Target::Tcp(([127, 0, 0, 1], 1).into())));
        let _busy = endpoint.begin();
        endpoint.note_failure(10_000);
        assert_eq!(endpoint.load(10_100), 1 + FAILURE_LOAD);
        assert_eq!(endpoint.load(15_001), 1);
    }

    #[test]
    fn a_report_counts_for_a_second_however_long_the_process_runs() {
        for reported_at in [0, 5_000, u64::from(u32::MAX) - 10] {
            let endpoint = Arc::new(EndpointState::new(Target::Tcp(([127, 0, 0, 1], 1).into())));
            let _busy = endpoint.begin();
            endpoint.note_reported(40, reported_at);
            assert_eq!(endpoint.load(reported_at.saturating_sub(3)), 40, "by a clock that is a little late");
            assert_eq!(endpoint.load(reported_at + 999), 40);
            assert_eq!(endpoint.load(reported_at + 1_000), 1, "nothing new was heard");
            assert_eq!(endpoint.load(reported_at + (1 << 31)), 1, "not for weeks either");
            endpoint.note_reported(7, reported_at + 2_000);
            assert_eq!(endpoint.load(reported_at + 2_001), 7);
        }
    }
}
