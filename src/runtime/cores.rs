//! How many cores the process may use: the quota of its cgroup, not the cores of the host.
//!
//! Source: cgroup v2 `cpu.max`, cgroup v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`.

use std::fs;
use std::path::Path;

/// The cgroup's CPU quota in cores, rounded up; `None` without a quota.
pub fn cgroup_quota() -> Option<usize> {
    read_quota(Path::new("/sys/fs/cgroup"))
}

fn read_quota(root: &Path) -> Option<usize> {
    if let Ok(text) = fs::read_to_string(root.join("cpu.max")) {
        return parse_cpu_max(&text);
    }
    let number =
        |name: &str| fs::read_to_string(root.join("cpu").join(name)).ok()?.trim().parse::<i64>().ok();
    quota_in_cores(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

fn parse_cpu_max(text: &str) -> Option<usize> {
    let mut words = text.split_whitespace();
    let quota = words.next()?.parse::<i64>().ok()?; // "max" is no number: no quota
    quota_in_cores(quota, words.next()?.parse().ok()?)
}

fn quota_in_cores(quota_us: i64, period_us: i64) -> Option<usize> {
    if quota_us <= 0 || period_us <= 0 {
        return None;
    }
    usize::try_from((quota_us + period_us - 1) / period_us).ok()
}

/// Bytes of memory that the cgroup allows; `None` without a limit.
pub fn cgroup_memory_limit() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    read("/sys/fs/cgroup/memory.max")
        .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
        .filter(|&limit| limit < 1 << 60)
}

/// Bytes of memory that the cgroup uses now.
pub fn cgroup_memory_in_use() -> Option<u64> {
    let read = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    read("/sys/fs/cgroup/memory.current").or_else(|| read("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_rounded_up_to_whole_cores_and_max_is_none() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(2));
        assert_eq!(parse_cpu_max("50000 100000"), Some(1));
        assert_eq!(parse_cpu_max("max 100000"), None);
        assert_eq!(parse_cpu_max(""), None);
        assert_eq!(quota_in_cores(-1, 100_000), None);
    }
}
