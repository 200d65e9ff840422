//! What one worker owns: its view of the present generation, its connections up and down, its requests in flight.
//!
//! Law: one thread only; a request takes no lock and looks nothing up by label. The sweep, ten times a second, does
//! what would otherwise cost every request a timer.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwapOption, Cache};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use slab::Slab;
use tokio::task::yield_now;

use super::dimensions;
use super::downstream::{Downstream, Goodbye};
use super::exchange::{Chosen, Exchange};
use super::plane::Plane;
pub(super) use super::pools::Pool;
use super::pools::{ClusterPools, Pools};
use super::reply::Reason;
use crate::runtime::clock::{self, Tick};
use crate::runtime::drain::Phase;
use crate::runtime::readiness::Readiness;
use crate::runtime::sync;
use crate::snapshot::{BindAddress, Caller, Service, Snapshot};
use crate::telemetry::{
    CallerLabels, ProcessMeter, Recorder, UNKNOWN, VersionLabels, VersionMeter, WorkloadLabels, families,
};
use crate::transport::accept::Load;
use crate::transport::activity::End;

/// One downstream connection's share of the buffer budget is one part in so many.
const BUFFER_SHARES: usize = 8;
/// Time without progress after which a stream of a connection that is over its share is reset.
const SHARE_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that the sweep looks at before others have their turn.
const SWEPT_AT_ONCE: usize = 128;
/// A connection's HTTP/1 read buffer, at the largest and at the smallest.
const READ_BUFFERS: [usize; 2] = [128 << 10, 64 << 10];

/// What all workers and the control thread share beside the plane.
pub struct Shared {
    /// The present plane; the only way to a new one.
    pub plane: Arc<ArcSwapOption<Plane>>,
    /// Every metric.
    pub recorder: Recorder,
    /// Those of the whole process.
    pub process: ProcessMeter,
    /// Whether clients should go elsewhere.
    pub readiness: Readiness,
    /// Unread bytes of each worker.
    pub buffered: Vec<AtomicUsize>,
    /// Bytes kept for retries, of all workers.
    pub replay: AtomicUsize,
    /// Bytes held for copies of requests alone, of all workers.
    pub copied: AtomicUsize,
    /// Time zero of endpoints' failures.
    pub start: Instant,
}

/// See the module.
pub(super) struct Lane {
    /// 0 to the number of workers.
    pub(super) index: usize,
    pub(super) shared: Arc<Shared>,
    pub(super) load: Arc<Load>,
    pub(super) dice: RefCell<SmallRng>,
    pub(super) connections: RefCell<Slab<Rc<Downstream>>>,
    pub(super) exchanges: RefCell<Slab<Rc<Exchange>>>,
    /// Copies of requests under way.
    pub(super) mirrors: Cell<usize>,
    cache: RefCell<PlaneCache>,
    current: RefCell<Option<Rc<Generation>>>,
    /// The view of the plane that last lost a listener, until the sweep finds no connection that uses it.
    removed: RefCell<Option<Rc<Generation>>>,
    pools: Pools,
    phase: Cell<Phase>,
}

type PlaneCache = Cache<Arc<ArcSwapOption<Plane>>, Option<Arc<Plane>>>;

/// One plane as this worker uses it.
pub(super) struct Generation {
    pub(super) plane: Arc<Plane>,
    /// By cluster, by member.
    pub(super) pools: Vec<ClusterPools>,
    /// By route configuration, by route.
    meters: Vec<Vec<RouteMeters>>,
}

#[derive(Default)]
struct RouteMeters(RefCell<Vec<RouteMeter>>);

struct RouteMeter {
    target: u32,
    version: Arc<str>,
    caller: Option<usize>,
    delivers: bool,
    meter: Rc<VersionMeter>,
}

impl Lane {
    /// A worker's lane, before its first connection.
    pub(super) fn new(index: usize, shared: Arc<Shared>, load: Arc<Load>) -> Lane {
        Lane {
            index,
            cache: RefCell::new(Cache::new(shared.plane.clone())),
            shared,
            load,
            dice: RefCell::new(SmallRng::seed_from_u64(rand::random())),
            connections: RefCell::default(),
            exchanges: RefCell::default(),
            mirrors: Cell::new(0),
            current: RefCell::default(),
            removed: RefCell::default(),
            pools: Pools::default(),
            phase: Cell::new(Phase::Serving),
        }
    }

    /// The present generation; `None` before the first plane.
    pub(super) fn generation(&self) -> Option<Rc<Generation>> {
        let mut cache = self.cache.borrow_mut();
        let plane = cache.load().as_ref()?;
        sync::step();
        if let Some(current) = &*self.current.borrow()
            && Arc::ptr_eq(&current.plane, plane)
        {
            return Some(current.clone());
        }
        let generation = Rc::new(Generation::new(plane.clone(), self.pools.adopt(plane)));
        self.current.replace(Some(generation.clone()));
        Some(generation)
    }

    /// A view of `plane`, which is not the present one, for a connection whose listener was removed. Connections that
    /// come one after another share it; what it takes of the present pools keeps the present settings.
    pub(super) fn generation_for(&self, plane: Arc<Plane>) -> Rc<Generation> {
        if let Some(known) = &*self.removed.borrow()
            && Arc::ptr_eq(&known.plane, &plane)
        {
            return known.clone();
        }
        let pools = self.pools.view(&plane);
        let generation = Rc::new(Generation::new(plane, pools));
        self.removed.replace(Some(generation.clone()));
        generation
    }

    /// Where the process stands on its way out, as this worker was told.
    pub(super) fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Whether answers should say goodbye.
    pub(super) fn says_goodbye(&self) -> bool {
        self.phase.get() > Phase::Serving || self.shared.readiness.is_failed()
    }

    /// Moves on to `phase` and tells every connection.
    pub(super) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.connections.borrow().iter().for_each(|(_, connection)| connection.enter(phase));
    }

    /// Tells every connection that came by `address`, whose listener was removed.
    pub(super) fn close_listener(&self, address: &BindAddress, phase: Phase) {
        for (_, connection) in &*self.connections.borrow() {
            if connection.address == *address {
                connection.enter(phase);
            }
        }
    }

    /// Ends every connection, at the deadline.
    pub(super) fn cut(&self) {
        self.connections.borrow().iter().for_each(|(_, connection)| connection.cut());
    }

    /// Whether no connection is left, those included that were handed over and have not begun.
    pub(super) fn is_idle(&self) -> bool {
        self.load.connections() == 0
    }

    /// Milliseconds on the process's clock.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.shared.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The read buffer of a new HTTP/1 connection: as large as leaves all of them an eighth of the budget.
    pub(super) fn read_buffer(&self) -> usize {
        let budget = self.generation().map_or(0, |now| now.plane.snapshot.limits.buffer_budget);
        let each = budget / BUFFER_SHARES / (self.connections.borrow().len() + 1);
        READ_BUFFERS.into_iter().find(|&size| size <= each).unwrap_or(READ_BUFFERS[READ_BUFFERS.len() - 1])
    }

    /// Ends what is overdue, closes what is idle, keeps the buffers within their budget. Where there is much to look at,
    /// requests have their turn in between.
    pub(super) async fn sweep(&self, real: Instant) {
        clock::advance(self.shared.start, real);
        let now = clock::now();
        let Some(generation) = self.generation() else { return };
        let limits = &generation.plane.snapshot.limits;
        let patient = self.sweep_exchanges(now, real, limits.stream_idle);
        self.sweep_connections(now, &generation, &patient).await;
        self.removed.borrow_mut().take_if(|removed| Rc::strong_count(removed) == 1);
        self.pools.sweep(now);
        self.hold_budget(now, limits.buffer_budget);
    }

    /// `patient`: those on which a request has an idle time of its own.
    async fn sweep_connections(&self, now: Tick, present: &Rc<Generation>, patient: &[usize]) {
        let mut from = 0;
        loop {
            let to = from + SWEPT_AT_ONCE;
            {
                let connections = self.connections.borrow();
                for connection in (from..to).filter_map(|key| connections.get(key)) {
                    self.sweep_connection(connection, now, present, patient);
                }
                if to >= connections.capacity() {
                    return;
                }
            }
            from = to;
            yield_now().await;
        }
    }

    fn sweep_connection(
        &self,
        connection: &Downstream,
        now: Tick,
        present: &Rc<Generation>,
        patient: &[usize],
    ) {
        connection.follow(present);
        connection.flow.flush();
        connection.activity.wake_to_watch();
        let mut bounds = connection.bounds();
        if patient.contains(&connection.key.get()) {
            bounds.no_progress = Duration::ZERO;
        }
        if let Some(why) = connection.activity.overdue(now, &bounds) {
            self.end_overdue(connection, why, now);
        }
    }

    fn end_overdue(&self, connection: &Downstream, why: End, now: Tick) {
        use families::weir::Limit;
        let told = match why {
            End::Idle => connection.say_goodbye(now),
            _ => Goodbye::NotSaid,
        };
        let ended = matches!(told, Goodbye::NotSaid | Goodbye::Unheard) && connection.activity.end(why);
        if matches!(told, Goodbye::Said) || (matches!(told, Goodbye::NotSaid) && ended) {
            let (limit, counter) = match why {
                End::HeadTimeout => (Limit::HeadTimeout, Some(&connection.listener.http.rq_timeout)),
                End::Idle => (Limit::DownstreamIdle, Some(&connection.listener.http.cx_idle_timeout)),
                End::NoProgress | End::Drain => (Limit::StreamIdle, None),
            };
            self.shared.process.limit_exceeded(limit);
            if let Some(counter) = counter {
                counter.increment(1);
            }
        }
    }

    /// Returns the connections on which a request has an idle time of its own.
    fn sweep_exchanges(&self, now: Tick, real: Instant, stream_idle: Duration) -> Vec<usize> {
        let mut patient = Vec::new();
        let mut overdue = |exchange: &Rc<Exchange>| {
            exchange.upload.compact();
            let own = exchange.idle_of_its_own();
            if own.is_some() {
                patient.push(exchange.connection_key());
            }
            exchange.overdue(now, real, own.unwrap_or(stream_idle))
        };
        // Giving up an exchange takes it off the list, so the list is not held meanwhile.
        let overdue: Vec<(Rc<Exchange>, Reason)> = self
            .exchanges
            .borrow()
            .iter()
            .filter_map(|(_, exchange)| Some((exchange.clone(), overdue(exchange)?)))
            .collect();
        for (exchange, reason) in overdue {
            let limit = match reason {
                Reason::GrpcDeadline => None, // its task counts it
                Reason::Timeout => Some(families::weir::Limit::RequestTimeout),
                Reason::PerTryIdle => Some(families::weir::Limit::StreamIdle),
                _ => {
                    exchange.seat.listener.http.rq_idle_timeout.increment(1);
                    Some(families::weir::Limit::StreamIdle)
                }
            };
            limit.into_iter().for_each(|limit| self.shared.process.limit_exceeded(limit));
            exchange.give_up(reason);
        }
        patient
    }

    /// Gives up the streams longest without progress until what all hold is within the budget, beginning with
    /// connections that hold more than their share. A connection's share alone costs only streams that stand still:
    /// a slow caller with many answers under way is no attack.
    fn hold_budget(&self, now: Tick, budget: usize) {
        let mut held: Vec<(Rc<Exchange>, usize)> = self
            .exchanges
            .borrow()
            .iter()
            .map(|(_, exchange)| (exchange.clone(), exchange.held_bytes()))
            .filter(|&(_, bytes)| bytes > 0)
            .collect();
        let mut mine: usize = held.iter().map(|(_, bytes)| bytes).sum();
        self.shared.buffered[self.index].store(mine, Ordering::Relaxed);
        let mut all: usize = self.shared.buffered.iter().map(|bytes| bytes.load(Ordering::Relaxed)).sum();
        let share = budget / BUFFER_SHARES;
        if all <= budget && mine <= share {
            return;
        }
        held.sort_by_key(|(exchange, _)| exchange.progress());
        let mut of_connection: HashMap<usize, usize> = HashMap::new();
        for (exchange, bytes) in &held {
            *of_connection.entry(exchange.connection_key()).or_default() += bytes;
        }
        // What another worker holds too much of is for that worker to let go.
        let fair = budget / self.shared.buffered.len();
        for within_share in [false, true] {
            for (exchange, bytes) in &held {
                let Some(connection) = of_connection.get_mut(&exchange.connection_key()) else { continue };
                let stands_still = now.since(exchange.progress()) > SHARE_PATIENCE;
                let over = all > budget && mine > fair;
                let goes = if within_share { over } else { *connection > share && (over || stands_still) };
                if goes && !exchange.is_given_up() {
                    *connection -= bytes;
                    (mine, all) = (mine - bytes, all - bytes);
                    self.reset_for_budget(exchange, within_share);
                }
            }
        }
        self.shared.buffered[self.index].store(mine, Ordering::Relaxed);
    }

    fn reset_for_budget(&self, exchange: &Exchange, within_share: bool) {
        use families::weir::Limit;
        let limit = if within_share { Limit::BufferBudget } else { Limit::BufferShare };
        self.shared.process.limit_exceeded(limit);
        self.shared.process.buffer_resets.increment(1);
        exchange.give_up(Reason::LocalReset);
    }
}

impl Generation {
    fn new(plane: Arc<Plane>, pools: Vec<ClusterPools>) -> Generation {
        let meters =
            plane.routes.iter().map(|routes| routes.routes.iter().map(|_| RouteMeters::default()).collect());
        Generation { pools, meters: meters.collect(), plane }
    }

    /// The meter of one version under one route, for one caller, made at first use.
    pub(super) fn meter(
        &self,
        recorder: &Recorder,
        chosen: &Chosen,
        caller: Option<usize>,
        delivers: bool,
    ) -> Rc<VersionMeter> {
        let (version, (config, route)) = (&chosen.version, chosen.route);
        let mut meters = self.meters[config as usize][route as usize].0.borrow_mut();
        let known = meters.iter().find(|known| {
            known.caller == caller
                && known.target == chosen.target
                && known.delivers == delivers
                && (Arc::ptr_eq(&known.version, version) || known.version == *version)
        });
        if let Some(known) = known {
            return known.meter.clone();
        }
        let snapshot = &self.plane.snapshot;
        let (route, target) = chosen.find(&self.plane);
        let who = caller.map(|caller| &*snapshot.callers[caller]);
        let labels = version_labels(snapshot, &target.service, &route.route.name, version, who, delivers);
        let meter = Rc::new(VersionMeter::declare(recorder, &labels));
        let (target, version) = (chosen.target, version.clone());
        meters.push(RouteMeter { target, version, caller, delivers, meter: meter.clone() });
        meter
    }
}

/// The labels of one version of a route as one caller sees it. `delivers`: this process has its model server.
pub(super) fn version_labels(
    snapshot: &Snapshot,
    service: &Service,
    rule: &Arc<str>,
    version: &Arc<str>,
    caller: Option<&Caller>,
    delivers: bool,
) -> VersionLabels {
    let unknown: Arc<str> = UNKNOWN.into();
    let mut labels = VersionLabels::new(&service.host, rule, version);
    labels.service_name = service.name.clone();
    labels.service_namespace = service.namespace.clone();
    labels.workload = WorkloadLabels {
        name: if delivers { snapshot.node.workload.clone() } else { workload_of(&service.name, version) },
        namespace: service.namespace.clone(),
        app: service.name.clone(),
        canonical_service: service.name.clone(),
        canonical_revision: version.clone(),
        cluster: snapshot.node.cluster.clone(),
        principal: unknown.clone(),
    };
    if let Some(caller) = caller {
        let label = |name: &str| caller.labels.get(name).cloned().unwrap_or_else(|| unknown.clone());
        labels.caller = CallerLabels {
            service: caller.service.clone(),
            version: label("version"),
            workload: WorkloadLabels {
                name: match (caller.labels.get("workload"), caller.labels.get("version")) {
                    (Some(workload), _) => workload.clone(),
                    (None, Some(version)) => {
                        workload_of(caller.labels.get("app").unwrap_or(&caller.name), version)
                    }
                    (None, None) => unknown.clone(),
                },
                namespace: caller.namespace.clone(),
                app: label("app"),
                canonical_service: caller.name.clone(),
                canonical_revision: label("version"),
                cluster: unknown.clone(),
                principal: unknown.clone(),
            },
        };
    }
    if !delivers {
        labels.dimensions = dimensions::labels(snapshot);
    }
    labels.grpc_as_http = snapshot.grpc_as_http;
    labels.reports_source = !delivers;
    labels.reports_destination = delivers;
    labels
}

/// What runs a version of a service, as its Deployment is named by custom: `inception-v1`.
fn workload_of(service: &str, version: &Arc<str>) -> Arc<str> {
    if **version == *UNKNOWN { version.clone() } else { format!("{service}-{version}").into() }
}
