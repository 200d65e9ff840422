//! Listeners and workers: what is bound, who serves, and how all of it leaves.
//!
//! Runs on the control thread. Law: a listening socket lives while any generation has its address and a second longer;
//! what was accepted is served. On the way out: grace, then no new connection, then an end before the deadline.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::downstream::{self, Arrival};
use super::lane::Lane;
pub use super::lane::Shared;
use super::plane::Plane;
use crate::runtime::clock;
use crate::runtime::drain::{Drain, DrainWatch, Phase};
use crate::runtime::worker;
use crate::snapshot::{BindAddress, Snapshot};
use crate::telemetry::bind_shard;
use crate::telemetry::families::envoy_server::SocketsSeries;
use crate::telemetry::families::weir::Limit;
use crate::transport::accept::{self, Load, Seat};
use crate::transport::dial;
use crate::transport::listen::Listening;

/// Connections that may wait in a worker's queue; beyond them the acceptor waits, and the kernel's backlog fills.
const QUEUE: usize = 1024;
/// How long a removed listener goes on accepting: callers hear of the change a moment later than we do.
const REMOVED_ACCEPTS: Duration = Duration::from_secs(1);
/// Share of the descriptors that connections may use, in percent; the rest is for files, DNS, scrapes.
const DESCRIPTORS_PERCENT: usize = 80;
/// Time for a worker to write its last words after its connections were cut.
const AFTER_CUT: Duration = Duration::from_secs(1);

/// What a worker is told.
enum Message {
    /// Serve this connection.
    Arrival(Arrival),
    /// The listener at this address was removed: say goodbye on its connections, or close them if `now`.
    Leave { address: BindAddress, now: bool },
    /// The deadline has come: end every connection.
    Cut,
}

/// See the module.
pub struct Server {
    shared: Arc<Shared>,
    seats: Vec<Seat<Message>>,
    workers: Vec<Worker>,
    drain: Drain,
    watch: DrainWatch,
    listeners: BTreeMap<BindAddress, Listener>,
    room: Rc<Room>,
    meter: SocketsSeries,
}

struct Worker {
    thread: JoinHandle<()>,
    done: oneshot::Receiver<()>,
}

/// A socket that accepts.
struct Listener {
    bound: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    accepting: tokio::task::JoinHandle<()>,
    /// Set when the address was removed: the last plane that had it.
    removed_from: Rc<RefCell<Option<Arc<Plane>>>>,
    /// Counts removals and returns, so that an old removal does not end a listener that came back.
    life: Rc<Cell<u64>>,
}

/// Whether there is room for another connection.
struct Room {
    connections: Cell<usize>,
    descriptors: usize,
    memory_is_short: AtomicBool,
    /// The limit for want of which accepting pauses.
    met: Cell<Option<Limit>>,
}

impl Server {
    /// Starts `workers` threads. They serve once a plane is published and applied.
    ///
    /// # Errors
    /// The operating system's, when it gives no thread.
    pub fn start(shared: Arc<Shared>, workers: usize) -> io::Result<Server> {
        let (drain, watch) = Drain::new();
        let mut server = Server {
            meter: SocketsSeries::new(&shared.recorder),
            shared,
            seats: Vec::new(),
            workers: Vec::new(),
            drain,
            watch,
            listeners: BTreeMap::new(),
            room: Rc::new(Room {
                connections: Cell::new(0),
                descriptors: descriptor_limit(),
                memory_is_short: AtomicBool::new(false),
                met: Cell::new(None),
            }),
        };
        for index in 0..workers {
            let (queue, messages) = mpsc::channel(QUEUE);
            let (tell_done, done) = oneshot::channel();
            let load = Arc::new(Load::default());
            let (shared, watch, seat_load) = (server.shared.clone(), server.watch.clone(), load.clone());
            let thread = worker::spawn(&format!("worker-{index}"), move || async move {
                work(index, shared, load, messages, watch).await;
                let _ = tell_done.send(());
            })?;
            server.seats.push(Seat { load: seat_load, queue });
            server.workers.push(Worker { thread, done });
            server.meter.workers_started.set(1.0);
        }
        Ok(server)
    }

    /// Binds the addresses of `snapshot` that are not bound yet. To be done before its plane is published, so that a
    /// configuration whose port is taken changes nothing.
    ///
    /// # Errors
    /// The first address that cannot be bound, named, and what to do.
    pub fn bind(&self, snapshot: &Snapshot) -> io::Result<Vec<(BindAddress, Listening)>> {
        let mut bound = Vec::new();
        for listener in &snapshot.listeners {
            if !self.listeners.contains_key(&listener.address) {
                let listening = Listening::bind(&listener.address).map_err(|error| {
                    self.meter.create_failure.increment(1);
                    let advice = match error.kind() {
                        io::ErrorKind::AddrInUse => ": stop what listens there or choose another address",
                        _ => "",
                    };
                    let (name, address) = (&listener.name, &listener.address);
                    io::Error::new(
                        error.kind(),
                        format!("listener {name}: cannot bind {address}: {error}{advice}"),
                    )
                })?;
                bound.push((listener.address.clone(), listening));
            }
        }
        Ok(bound)
    }

    /// Brings the listeners in line with `plane`, which was published: accepts on what is new, lets go of what it lacks.
    pub fn apply(
        &mut self,
        plane: &Arc<Plane>,
        previous: Option<&Arc<Plane>>,
        bound: Vec<(BindAddress, Listening)>,
    ) {
        self.room.connections.set(plane.snapshot.limits.connections);
        if previous.is_none() {
            self.meter.initialization_time.observe(self.shared.start.elapsed().as_secs_f64() * 1e3);
        }
        for (address, listening) in bound {
            let listener = self.accept(address.clone(), listening);
            self.listeners.insert(address, listener);
        }
        for (address, listener) in &self.listeners {
            let wanted = plane.listener(address).is_some();
            let removed = listener.removed_from.borrow().is_some();
            if wanted && removed {
                listener.life.set(listener.life.get() + 1);
                listener.removed_from.replace(None);
            } else if !wanted && !removed {
                listener.life.set(listener.life.get() + 1);
                listener.removed_from.replace(previous.cloned());
                self.tell_all(|| Message::Leave { address: address.clone(), now: false });
            }
        }
        self.show_draining();
    }

    /// Closes the sockets that were removed `REMOVED_ACCEPTS` ago. To be called with every removal.
    pub async fn close_removed(server: &RefCell<Server>) {
        let removed: Vec<(BindAddress, u64)> = server
            .borrow()
            .listeners
            .iter()
            .filter(|(_, listener)| listener.removed_from.borrow().is_some())
            .map(|(address, listener)| (address.clone(), listener.life.get()))
            .collect();
        if removed.is_empty() {
            return;
        }
        sleep(REMOVED_ACCEPTS).await;
        for (address, life) in removed {
            let listener = {
                let mut server = server.borrow_mut();
                let same = server.listeners.get(&address).is_some_and(|listener| listener.life.get() == life);
                if same { server.listeners.remove(&address) } else { None }
            };
            if let Some(listener) = listener {
                listener.close().await;
                let server = server.borrow();
                server.tell_all(|| Message::Leave { address: address.clone(), now: true });
                server.show_draining();
            }
        }
    }

    fn show_draining(&self) {
        let draining = self.listeners.values().filter(|listener| listener.removed_from.borrow().is_some());
        self.meter.draining.set(draining.count() as f64);
    }

    /// The address that a listener got, which tells the port chosen for port 0.
    pub fn bound(&self, address: &BindAddress) -> Option<SocketAddr> {
        self.listeners.get(address)?.bound
    }

    /// Downstream connections and open streams of all workers.
    pub fn load(&self) -> (usize, usize) {
        self.loads().into_iter().fold((0, 0), |sum, load| (sum.0 + load.0, sum.1 + load.1))
    }

    /// Downstream connections and open streams of each worker.
    pub fn loads(&self) -> Vec<(usize, usize)> {
        self.seats.iter().map(|seat| (seat.load.connections(), seat.load.streams())).collect()
    }

    /// Pauses or resumes accepting for want of memory.
    pub fn set_memory_is_short(&self, short: bool) {
        if self.room.memory_is_short.swap(short, Ordering::Relaxed) != short {
            tracing::warn!(short, "accepting follows the memory of the cgroup");
        }
    }

    /// How to obey the drain.
    pub fn watch(&self) -> DrainWatch {
        self.watch.clone()
    }

    /// Readiness is down; goodbyes are said; everything is still taken.
    pub fn begin_drain(&self) {
        self.shared.readiness.drain();
        self.drain.advance(Phase::Grace);
    }

    /// Stops accepting, lets the workers finish, ends before `deadline`. Returns the requests that were cut.
    pub async fn finish(mut self, deadline: Duration) -> usize {
        let until = Instant::now() + deadline;
        for (_, listener) in std::mem::take(&mut self.listeners) {
            listener.close().await;
        }
        self.drain.advance(Phase::Closing);
        let mut done: Vec<_> = self.workers.iter_mut().map(|worker| &mut worker.done).collect();
        let all_done = async {
            for worker in &mut done {
                // An error is a worker that has already gone.
                let _ = worker.await;
            }
        };
        let in_time = timeout(until.saturating_duration_since(Instant::now()), all_done).await.is_ok();
        let cut = if in_time { 0 } else { self.cut().await };
        self.seats.clear();
        for worker in self.workers {
            if worker.thread.is_finished() || in_time {
                drop(worker.thread.join());
            }
        }
        cut
    }

    async fn cut(&mut self) -> usize {
        let (_, open) = self.load();
        self.shared.process.drain_cut_requests.increment(open as u64);
        self.tell_all(|| Message::Cut);
        let last_words = async {
            for worker in &mut self.workers {
                // One that was done in time has said so, and says it once only.
                if !worker.done.is_terminated() {
                    let _ = (&mut worker.done).await;
                }
            }
        };
        let _ = timeout(AFTER_CUT, last_words).await;
        open
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for seat in &self.seats {
            let (queue, message) = (seat.queue.clone(), message());
            // A full queue is waited for on a task: the control thread goes on.
            spawn_local(async move { drop(queue.send(message).await) });
        }
    }

    fn accept(&self, address: BindAddress, listening: Listening) -> Listener {
        let (stop, stopped) = oneshot::channel();
        let removed_from: Rc<RefCell<Option<Arc<Plane>>>> = Rc::default();
        let (seats, room, removed) = (self.seats.clone(), self.room.clone(), removed_from.clone());
        let (shared, listening_at) = (self.shared.clone(), address.clone());
        let bound = listening.local_addr();
        let accepting = spawn_local(async move {
            let may_accept = || room.has(&seats, &shared, &listening_at);
            let wrap = |accepted, slot| {
                let removed_from = removed.borrow().clone();
                Message::Arrival(Arrival { accepted, slot, address: listening_at.clone(), removed_from })
            };
            let stopped = async { drop(stopped.await) };
            accept::run(&listening, &seats, may_accept, wrap, stopped).await;
        });
        Listener { bound, stop: Some(stop), accepting, removed_from, life: Rc::default() }
    }
}

impl Listener {
    /// Stops accepting and closes the socket.
    async fn close(mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        // A panic there has been logged; the socket is closed either way.
        let _ = self.accepting.await;
    }
}

impl Room {
    fn has(&self, seats: &[Seat<Message>], shared: &Shared, address: &BindAddress) -> bool {
        let down: usize = seats.iter().map(|seat| seat.load.connections()).sum();
        let descriptors = self.descriptors * DESCRIPTORS_PERCENT / 100;
        let met = if down >= self.connections.get() || down + dial::open_connections() >= descriptors {
            Some(Limit::Connections)
        } else {
            self.memory_is_short.load(Ordering::Relaxed).then_some(Limit::Memory)
        };
        let before = self.met.replace(met);
        if let Some(limit) = met
            && before != met
        {
            shared.process.limit_exceeded(limit);
            if let Some(plane) = shared.plane.load().as_ref()
                && let Some(listener) = plane.listener(address)
            {
                listener.meter.cx_overflow.increment(1);
            }
        }
        met.is_none()
    }
}

/// Raises the soft limit of descriptors to the hard one; returns what holds then.
fn descriptor_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Refused is no harm: the soft limit is what holds then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile)
        .current
        .and_then(|limit| usize::try_from(limit).ok())
        .unwrap_or(usize::MAX / 100)
}

/// A worker's life.
async fn work(
    index: usize,
    shared: Arc<Shared>,
    load: Arc<Load>,
    mut messages: mpsc::Receiver<Message>,
    mut drain: DrainWatch,
) {
    let _shard = bind_shard(index);
    let lane = Rc::new(Lane::new(index, shared, load));
    let mut ticks = interval(clock::SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut phase = Phase::Serving;
    loop {
        let next = if phase == Phase::Serving { Phase::Grace } else { Phase::Closing };
        tokio::select! {
            message = messages.recv() => match message {
                Some(message) => obey(&lane, message),
                None => return,
            },
            () = clock::sweep_due(&mut ticks) => {
                lane.sweep(Instant::now()).await;
                if phase == Phase::Closing && lane.is_idle() && messages.is_empty() {
                    return;
                }
            }
            () = drain.reached(next), if phase < Phase::Closing => {
                phase = drain.phase();
                lane.enter(phase);
            }
        }
    }
}

fn obey(lane: &Rc<Lane>, message: Message) {
    match message {
        Message::Arrival(arrival) => drop(spawn_local(downstream::serve(lane.clone(), arrival))),
        Message::Leave { address, now } => {
            lane.close_listener(&address, if now { Phase::Closing } else { Phase::Grace })
        }
        Message::Cut => lane.cut(),
    }
}
