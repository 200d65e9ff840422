//! How many cores and how much memory the process may use: the bounds of its cgroup, not those of the host.
//!
//! Source: cgroup v2 `cpu.max`, cgroup v1 `cpu.cfs_quota_us` and `cpu.cfs_period_us`; `memory.stat` of both.

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

/// Bytes of memory that the cgroup uses now and that the kernel cannot simply take back: its working set, as the
/// kubelet reckons it. Without the subtraction a log file or two, cached, would look like a want of memory.
pub fn cgroup_memory_in_use() -> Option<u64> {
    working_set(Path::new("/sys/fs/cgroup"))
}

fn working_set(root: &Path) -> Option<u64> {
    let v2 = (root.to_owned(), "memory.current", "inactive_file");
    let v1 = (root.join("memory"), "memory.usage_in_bytes", "total_inactive_file");
    [v2, v1].into_iter().find_map(|(folder, usage, reclaimable)| {
        let used = fs::read_to_string(folder.join(usage)).ok()?.trim().parse::<u64>().ok()?;
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        Some(used.saturating_sub(stat_of(&stat, reclaimable).unwrap_or(0)))
    })
}

fn stat_of(stat: &str, key: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
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

    #[test]
    fn memory_in_use_leaves_out_the_cache_that_can_be_taken_back() {
        let write = |root: &Path, name: &str, text: &str| {
            let file = root.join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, text).expect("written");
        };
        let v1 = tempfile::tempdir().expect("a folder");
        assert_eq!(working_set(v1.path()), None);
        write(v1.path(), "memory/memory.usage_in_bytes", "900\n");
        write(v1.path(), "memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n");
        assert_eq!(working_set(v1.path()), Some(600));

        let v2 = tempfile::tempdir().expect("a folder");
        write(v2.path(), "memory.current", "1000\n");
        assert_eq!(working_set(v2.path()), Some(1000), "without the statistics");
        write(v2.path(), "memory.stat", "anon 5\ninactive_file_x 7\ninactive_file 400\nactive_file 9\n");
        assert_eq!(working_set(v2.path()), Some(600));
        write(v2.path(), "memory.stat", "inactive_file 4000\n");
        assert_eq!(working_set(v2.path()), Some(0), "read a moment later");
    }
}
