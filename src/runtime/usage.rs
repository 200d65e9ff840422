//! What this process takes of the machine, as the kernel counts it: CPU time, descriptors, and since when.
//!
//! Source: proc(5), clock_gettime(2), getrlimit(2). For pages that are asked for seldom: some of it reads files.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Ticks a second of what proc(5) counts in them: `USER_HZ`, which is 100 on every architecture that Weir is built for. To ask
/// for it, the auxiliary vector is read, and that ends the process under valgrind, which counts what a request costs.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time of all threads, ended ones too, in seconds.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Descriptors that are open.
pub fn open_files() -> Option<u64> {
    let folder = "/proc/self/fd";
    // Since Linux 6.2 the folder's size is their number: thousands of them need not be listed.
    match fs::metadata(folder).ok()?.len() {
        0 => Some((fs::read_dir(folder).ok()?.count() as u64).saturating_sub(1)), // the listing's own
        open => Some(open),
    }
}

/// Descriptors that may be open; `None`: as many as there is memory for.
pub fn max_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// When the process started, in seconds since 1970, to a hundredth; the kernel's word for its own start is to a second.
pub fn started_at() -> Option<f64> {
    let ticks = start_ticks(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let booted = boot_seconds(&fs::read_to_string("/proc/stat").ok()?)?;
    Some(booted as f64 + ticks as f64 / TICKS_PER_SECOND)
}

/// Ticks from the kernel's start to the process's, the 22nd field. The second is the program's name in parentheses, which
/// may itself hold spaces and parentheses.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    behind_name.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// When the kernel started.
fn boot_seconds(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::time::SystemTime;

    #[test]
    fn a_process_is_as_old_as_the_kernel_says_whatever_its_name() {
        let stat =
            |name: &str| format!("7 ({name}) R 1 1 1 0 -1 4194304 103 0 0 0 5 6 0 0 20 0 1 0 6361998 29 4");
        for name in ["weir", "a b", "x) R 1 (y", ""] {
            assert_eq!(start_ticks(&stat(name)), Some(6_361_998), "{name}");
        }
        assert_eq!(start_ticks("7 (weir) R 1"), None);
        assert_eq!(start_ticks(""), None);
        assert_eq!(boot_seconds("cpu 1 2 3\nbtime 1795376698\nprocesses 5\n"), Some(1_795_376_698));
        assert_eq!(boot_seconds("cpu 1 2 3\n"), None);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        let started = started_at().expect("proc is mounted");
        // A day: a test that runs longer has other faults.
        assert!((now - 86_400.0..=now + 2.0).contains(&started), "{started}, and it is {now}");
    }

    #[test]
    fn cpu_time_grows_with_work_and_open_files_are_counted() {
        let before = cpu_seconds();
        let mut sum = 0_u64;
        while cpu_seconds() < before + 0.02 {
            sum = black_box(sum + 1);
        }
        assert!(sum > 0 && before > 0.0);
        // Other tests of this process open and close some meanwhile.
        let files: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").expect("a file")).collect();
        let open = open_files().expect("proc is mounted");
        assert!(open >= files.len() as u64, "{open}");
        assert!(max_files().is_none_or(|max| max >= open));
    }
}
