//! What the proxy's process costs: memory, descriptors, threads, as the kernel tells.

use std::fs;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub pss: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Cost {
    pub fn of(pid: u32) -> Cost {
        let entries = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let pss = smaps.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        let pss = pss.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
        Cost { pss, descriptors: entries("fd"), threads: entries("task") }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { pss, descriptors, threads } = self;
        write!(f, "{:.1} MiB, {descriptors} descriptors, {threads} threads", *pss as f64 / (1 << 20) as f64)
    }
}
