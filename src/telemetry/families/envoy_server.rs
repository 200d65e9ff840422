//! Envoy's families for the server, its listeners as a whole and its clusters as a whole.
//!
//! Law: as in [`envoy`](super::envoy). Memory is read from the kernel's page for this process; nothing on the
//! request's path comes here. What Prometheus itself calls the process's is brought up to date with it.

use std::time::Instant;

use super::super::contract::Label;
use super::super::family::{Family, Labels};
use super::super::recorder::{Counter, Gauge, Histogram, Recorder};
use super::buckets::ENVOY;
use super::envoy::meter;
use super::process::UsageMeter;

const NONE: &[Label] = &[];

/// The values of `envoy_server_state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Serving.
    Live = 0,
    /// Leaving.
    Draining = 1,
    /// Waiting for its first configuration.
    PreInitializing = 2,
    /// Preparing its listeners.
    Initializing = 3,
}

meter! {
    /// What the server as a whole shows.
    ServerSeries by NONE {
        live: Gauge gauge "envoy_server_live" "1 while the server takes requests.",
        state: Gauge gauge "envoy_server_state" "0 live, 1 draining, 2 pre-initializing, 3 initializing.",
        uptime: Gauge gauge "envoy_server_uptime" "Seconds since the start.",
        concurrency: Gauge gauge "envoy_server_concurrency" "Worker threads.",
        total_connections: Gauge gauge "envoy_server_total_connections" "Downstream connections that are open.",
        memory_allocated: Gauge gauge "envoy_server_memory_allocated" "Bytes of memory in use, files apart.",
        memory_heap_size: Gauge gauge "envoy_server_memory_heap_size" "Bytes of memory in use, files apart, as memory_allocated: the allocator does not tell what of it is free.",
        memory_physical_size: Gauge gauge "envoy_server_memory_physical_size" "Bytes of memory in use.",
        version: Gauge gauge "envoy_server_version" "The version as one number.",
        hot_restart_epoch: Gauge gauge "envoy_server_hot_restart_epoch" "Always 0: there is no hot restart.",
        days_until_first_cert_expiring: Gauge gauge "envoy_server_days_until_first_cert_expiring"
            "Always 4294967295, as in an Envoy without certificates: there is no TLS.",
        listeners_active: Gauge gauge "envoy_listener_manager_total_listeners_active" "Listeners that accept.",
        listeners_warming: Gauge gauge "envoy_listener_manager_total_listeners_warming"
            "Always 0: a configuration is in force whole, or not at all.",
        clusters_active: Gauge gauge "envoy_cluster_manager_active_clusters" "Clusters that are in use.",
        clusters_warming: Gauge gauge "envoy_cluster_manager_warming_clusters"
            "Always 0: a configuration is in force whole, or not at all.",
    }
}

meter! {
    /// What becomes of clusters and listeners from one configuration to the next.
    PlannerSeries by NONE {
        listener_added: Counter counter "envoy_listener_manager_listener_added" "Listeners added.",
        listener_modified: Counter counter "envoy_listener_manager_listener_modified" "Listeners changed.",
        listener_removed: Counter counter "envoy_listener_manager_listener_removed" "Listeners removed.",
        cluster_added: Counter counter "envoy_cluster_manager_cluster_added" "Clusters added.",
        cluster_modified: Counter counter "envoy_cluster_manager_cluster_modified" "Clusters changed.",
        cluster_removed: Counter counter "envoy_cluster_manager_cluster_removed" "Clusters removed.",
    }
}

meter! {
    /// What becomes of sockets and workers.
    SocketsSeries by NONE {
        create_failure: Counter counter "envoy_listener_manager_listener_create_failure"
            "Listeners that could not be bound.",
        draining: Gauge gauge "envoy_listener_manager_total_listeners_draining"
            "Listeners that were removed and still accept.",
        workers_started: Gauge gauge "envoy_listener_manager_workers_started" "1 when the workers run.",
        initialization_time: Histogram histogram "envoy_server_initialization_time_ms"
            "Milliseconds from the start to the first configuration in force.",
    }
}

impl PlannerSeries {
    /// Resolves the series, at zero.
    pub fn new(recorder: &Recorder) -> PlannerSeries {
        PlannerSeries::resolve(recorder, &Labels::new(&[]))
    }
}

impl SocketsSeries {
    /// Resolves the series, at zero.
    pub fn new(recorder: &Recorder) -> SocketsSeries {
        SocketsSeries::resolve(recorder, &Labels::new(&[]))
    }
}

/// What the server as a whole shows; a deref leads to the series.
#[derive(Debug)]
pub struct ServerMeter {
    started: Instant,
    series: ServerSeries,
    usage: UsageMeter,
}

impl ServerMeter {
    /// Resolves the series for a server that started at `started` with `workers` threads.
    pub fn new(recorder: &Recorder, started: Instant, workers: usize) -> ServerMeter {
        let series = ServerSeries::resolve(recorder, &Labels::new(&[]));
        series.concurrency.set(workers as f64);
        series.days_until_first_cert_expiring.set(u32::MAX.into());
        series.version.set(version_number(env!("CARGO_PKG_VERSION")));
        let meter = ServerMeter { started, series, usage: UsageMeter::new(recorder) };
        meter.set_state(ServerState::PreInitializing);
        meter
    }

    /// Shows a new state.
    pub fn set_state(&self, state: ServerState) {
        self.series.state.set(f64::from(state as u8));
        self.series.live.set(if state == ServerState::Live { 1.0 } else { 0.0 });
    }

    /// Reads the clock, and what the process takes. For the control thread, before each scrape.
    pub fn refresh(&self, now: Instant) {
        self.series.uptime.set(now.saturating_duration_since(self.started).as_secs() as f64);
        let memory = Memory::read();
        self.series.memory_allocated.set(memory.anonymous_bytes as f64);
        self.series.memory_heap_size.set(memory.anonymous_bytes as f64);
        self.series.memory_physical_size.set(memory.resident_bytes as f64);
        self.usage.refresh(memory.resident_bytes);
    }
}

impl std::ops::Deref for ServerMeter {
    type Target = ServerSeries;

    fn deref(&self) -> &ServerSeries {
        &self.series
    }
}

/// What the kernel says of this process' memory; zero where it says nothing. For `/memory` as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All memory in use.
    pub resident_bytes: u64,
    /// The part that is no file's.
    pub anonymous_bytes: u64,
}

impl Memory {
    /// Reads it now.
    pub fn read() -> Memory {
        std::fs::read_to_string("/proc/self/status").map(|text| Memory::parse(&text)).unwrap_or_default()
    }

    fn parse(status: &str) -> Memory {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
            kibibytes.unwrap_or(0).saturating_mul(1024)
        };
        Memory { resident_bytes: bytes("VmRSS"), anonymous_bytes: bytes("RssAnon") }
    }
}

/// `1.2.3` as 1002003, so that a newer version is a greater number.
fn version_number(version: &str) -> f64 {
    version.split('.').take(3).fold(0.0, |number, part| number * 1000.0 + part.parse().unwrap_or(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_missing_lines_are_zero() {
        let memory = Memory::parse("Name:\tweir\nVmRSS:\t    1024 kB\nVmData:\t   2048 kB\n");
        assert_eq!(memory, Memory { resident_bytes: 1 << 20, anonymous_bytes: 0 });
        assert_eq!(Memory::parse("RssAnon:\t   2 kB\n").anonymous_bytes, 2 << 10);
    }

    #[test]
    fn the_version_is_one_number_that_grows() {
        assert_eq!(version_number("1.2.3"), 1_002_003.0);
        assert!(version_number("0.10.0") > version_number("0.9.9"));
    }

    #[test]
    fn a_server_shows_its_state_and_age() {
        let (recorder, started) = (Recorder::new(1), Instant::now());
        let meter = ServerMeter::new(&recorder, started, 2);
        meter.set_state(ServerState::Live);
        meter.refresh(started + std::time::Duration::from_secs(90));
        assert_eq!((meter.live.get(), meter.state.get(), meter.uptime.get()), (1.0, 0.0, 90.0));
        let [heap, all] = [&meter.memory_heap_size, &meter.memory_physical_size].map(Gauge::get);
        assert!(
            0.0 < heap && heap <= all,
            "address space that nothing stands behind is no heap: {heap}, {all}"
        );
        meter.set_state(ServerState::Draining);
        assert_eq!((meter.live.get(), meter.state.get()), (0.0, 1.0));
    }
}
