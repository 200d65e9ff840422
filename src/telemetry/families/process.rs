//! What the kernel says of this process, by the names that Prometheus' client libraries use.
//!
//! Law: nothing is counted here; the kernel is asked before each scrape.

use super::super::family::Family;
use super::super::recorder::{Gauge, RealCounter, Recorder};
use crate::runtime::usage;

static CPU_SECONDS: Family =
    Family::real_counter("process_cpu_seconds_total", "CPU time of all threads in seconds, user and system.")
        .by(&[]);
static RESIDENT: Family = Family::gauge("process_resident_memory_bytes", "Resident memory in bytes.").by(&[]);
static OPEN_FDS: Family = Family::gauge("process_open_fds", "File descriptors that are open.").by(&[]);
static MAX_FDS: Family = Family::gauge("process_max_fds", "File descriptors that may be open.").by(&[]);
static START_TIME: Family =
    Family::gauge("process_start_time_seconds", "Seconds since 1970 when the process started.").by(&[]);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&CPU_SECONDS, &RESIDENT, &OPEN_FDS, &MAX_FDS, &START_TIME];

/// See the module.
#[derive(Debug)]
pub(super) struct UsageMeter {
    cpu_seconds: RealCounter,
    resident: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    /// Held so that it stays on the page; it never changes. None where the kernel does not tell.
    _started: Option<Gauge>,
}

impl UsageMeter {
    /// Resolves the series, at zero but for the start.
    pub(super) fn new(recorder: &Recorder) -> UsageMeter {
        let started = |seconds| {
            let gauge = recorder.gauge(&START_TIME, &[]);
            gauge.set(seconds);
            gauge
        };
        UsageMeter {
            cpu_seconds: recorder.real_counter(&CPU_SECONDS, &[]),
            resident: recorder.gauge(&RESIDENT, &[]),
            open_fds: recorder.gauge(&OPEN_FDS, &[]),
            max_fds: recorder.gauge(&MAX_FDS, &[]),
            _started: usage::started_at().map(started),
        }
    }

    /// Asks the kernel. `resident_bytes` was read already.
    pub(super) fn refresh(&self, resident_bytes: u64) {
        self.cpu_seconds.advance_to(usage::cpu_seconds());
        self.resident.set(resident_bytes as f64);
        self.open_fds.set(usage::open_files().unwrap_or(0) as f64);
        self.max_fds.set(usage::max_files().map_or(f64::INFINITY, |limit| limit as f64));
    }
}
