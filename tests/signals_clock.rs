//! Laws of time: whoever sets the machine's clock changes what is told of it, and no limit and no duration.
//!
//! The clock that is set is a process's own: a small library, built by the C compiler that building Weir needs, stands
//! before it. Limits of minutes are not waited for; that only the monotonic clock is asked for them is read in the
//! sources.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/parts.rs"]
mod parts;
#[path = "common/process.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use process::{Caller, Setup, Upstream};
use rustix::process::Signal;

/// Adds the seconds that stand in a file to the wall clock, and leaves every other clock alone.
const LIBRARY: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *time) {
    int result = syscall(SYS_clock_gettime, clock, time);
    const char *name = getenv("WALL_CLOCK_OFFSET");
    if (result == 0 && clock == CLOCK_REALTIME && name) {
        FILE *file = fopen(name, "r");
        long offset = 0;
        if (file) {
            if (fscanf(file, "%ld", &offset) != 1) offset = 0;
            fclose(file);
        }
        time->tv_sec += offset;
    }
    return result;
}
"#;

const DAY: i64 = 24 * 3600;

/// The library, or `None`, loudly, where there is no C compiler.
fn library(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, LIBRARY).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    parts::skip("there is no C compiler");
    None
}

#[test]
fn the_wall_clock_may_jump_and_only_dates_and_logs_follow() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start("v1"));
    let Some(library) = library(folder.path()) else { return };
    let offset = folder.path().join("offset");
    let setup = Setup::new("").env("LD_PRELOAD", library).env("WALL_CLOCK_OFFSET", offset.clone());
    let yaml = format!(
        "{}access_log: {{path: '{}', format: '%START_TIME(%s)% %DURATION% %REQ(:PATH)% %RESPONSE_CODE%'}}\n\
         limits: {{downstream_idle: 1h, stream_idle: 1h, head_timeout: 1h}}\n",
        Upstream::services(&[(&upstream, "v1")]),
        setup.path("access.log").display()
    );
    setup.write("weir.yaml", setup.main(&yaml));
    let mut weir = setup.start();
    let mut idle = Caller::connect(weir.address).unwrap();
    let mut half = Caller::connect(weir.address).unwrap();
    half.write("GET /half HTTP/1.1\r\nho").unwrap();
    let mut held = Caller::connect(weir.address).unwrap();
    held.write("GET /hold HTTP/1.1\r\nhost: m\r\n\r\n").unwrap();
    upstream.until_holding(1);
    for (turn, days) in [3650, -3650, 1, 0].into_iter().enumerate() {
        fs::write(&offset, (days * DAY).to_string()).unwrap();
        let year = |days: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
            let date = jiff::Timestamp::from_second(now + days * DAY).unwrap();
            date.strftime("%b %Y").to_string()
        };
        let right = |weir: &process::Process| {
            let date = Caller::connect(weir.address).unwrap().field("/date", "date").unwrap();
            date.contains(&year(days))
        };
        weir.until("the date follows", right);
        // Files are looked at, and names and pools are aged, by the other clock.
        weir.write("weir.yaml", format!("{}# {turn}\n", weir.read("weir.yaml")));
        weir.until("a reload", |weir| weir.metric("weir_config_generation") >= turn as f64 + 2.0);
    }
    fs::write(&offset, (-365 * DAY).to_string()).unwrap();
    upstream.release();
    assert_eq!(held.answer(), Some((200, "v1".into())));
    half.write("st: m\r\n\r\n").unwrap();
    assert_eq!(half.answer(), Some((200, "v1".into())));
    assert_eq!(idle.get("/idle", ""), Some((200, "v1".into())));
    assert_eq!(weir.metric("weir_limit_exceeded_total"), 0.0);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    for line in weir.read("access.log").lines() {
        let duration: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(duration < 120_000, "a duration by the wall clock: {line}");
    }
}

#[test]
fn a_limit_acts_in_its_time_though_the_wall_clock_runs_backwards() {
    let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start("v1"));
    let Some(library) = library(folder.path()) else { return };
    let offset = folder.path().join("offset");
    let setup = Setup::new(&format!(
        "{}limits: {{downstream_idle: 1s, head_timeout: 1s}}\n",
        Upstream::services(&[(&upstream, "v1")])
    ));
    let mut weir = setup.env("LD_PRELOAD", library).env("WALL_CLOCK_OFFSET", offset.clone()).start();
    let mut idle = Caller::connect(weir.address).unwrap();
    assert_eq!(idle.get("/", "").unwrap().0, 200);
    let begun = Instant::now();
    // Every moment is before the last one.
    let closed = std::thread::spawn(move || idle.is_closed());
    for second in 0.. {
        fs::write(&offset, (-second * DAY).to_string()).unwrap();
        if closed.is_finished() {
            break;
        }
        assert!(begun.elapsed() < process::SOON, "it is never closed");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(closed.join().unwrap());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
}

/// Who may ask what time it is for people, and what for.
const MAY_ASK: [(&str, &str); 7] = [
    ("src/app/log_lines.rs", "the time of a line of the log"),
    ("src/app/sidecar/control.rs", "when a verdict came, for the admin pages and a metric"),
    ("src/proxy/exchange.rs", "%START_TIME%"),
    ("src/proxy/headers.rs", "the date of an answer"),
    ("src/telemetry/trace/record.rs", "when a span began"),
    ("src/admin/tests.rs", "a test"),
    ("src/runtime/usage.rs", "a test"),
];

#[test]
fn only_what_is_told_to_people_asks_the_wall_clock() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut folders, mut wrong) = (vec![root.join("src")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().display().to_string();
            let asks =
                ["SystemTime::now", "Timestamp::now", "Zoned::now"].iter().any(|ask| text.contains(ask));
            if asks && !MAY_ASK.iter().any(|(file, _)| *file == name) {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "limits and durations are for `Instant`: {wrong:?}");
}
