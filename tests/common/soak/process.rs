//! What the proxy's process costs: memory, descriptors, threads, as the kernel tells.

use std::fs;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Memory of its own, shared pages by their share.
    pub pss: u64,
    /// Of it, what no file backs.
    pub anonymous: u64,
    pub descriptors: usize,
    pub threads: usize,
}

impl Cost {
    pub fn of(pid: u32) -> Cost {
        let entries = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let of = |name| {
            let kib = smaps.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
        };
        let (pss, anonymous) = (of("Pss:"), of("Anonymous:"));
        Cost { pss, anonymous, descriptors: entries("fd"), threads: entries("task") }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Cost { pss, anonymous, descriptors, threads } = self;
        let [pss, anonymous] = [pss, anonymous].map(|bytes| *bytes as f64 / (1 << 20) as f64);
        write!(f, "{pss:.1} MiB ({anonymous:.1} anonymous), {descriptors} descriptors, {threads} threads")
    }
}
