//! Finds the real programs (Envoy, Prometheus, a Python with TensorFlow, ...) that some tests run against.
//!
//! Its one law: a newcomer's `cargo test` passes with a Rust toolchain alone, and nobody mistakes that for the whole
//! proof. So a missing part is `None` and one loud line; with `WEIR_REQUIRE_PARTS=1`, which `.ci/run` sets, it is a
//! failure. It installs nothing: `tests/parts` does.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]

use std::env;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

/// The parts that are ordinary tools: the one a developer has installed anyway is as good as ours.
const ALSO_ON_PATH: [&str; 10] = [
    "alertmanager",
    "amtool",
    "chromedriver",
    "chromium",
    "haproxy",
    "nginx",
    "h2load",
    "prometheus",
    "promtool",
    "wrk",
];

/// The program of a part, by the name that `tests/parts` knows; for `tensorflow`, a Python that can import it.
///
/// # Panics
///
/// If the part is missing and `WEIR_REQUIRE_PARTS=1`.
pub fn part(name: &str) -> Option<PathBuf> {
    let found = find(name);
    if found.is_none() {
        skip(&format!("part {name} not found; run tests/parts {name}"));
    }
    found
}

/// Says that this test is not made, and why.
///
/// # Panics
///
/// If `WEIR_REQUIRE_PARTS=1`.
pub fn skip(why: &str) {
    let required = env::var_os("WEIR_REQUIRE_PARTS").is_some_and(|value| value == "1");
    assert!(!required, "WEIR_REQUIRE_PARTS=1, and {why}");
    let this = thread::current();
    let test = this.name().unwrap_or("a test");
    // Not `eprintln!`: the test harness would swallow it, as this test is going to pass.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {why}");
}

fn find(name: &str) -> Option<PathBuf> {
    let file = if name == "tensorflow" { "tensorflow-python" } else { name };
    let chosen = env::var_os("WEIR_PARTS_DIR").map(PathBuf::from);
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/parts");
    let installed = chosen.into_iter().chain([default]).map(|root| root.join("bin"));
    let on_path = ALSO_ON_PATH.contains(&name).then(|| env::var_os("PATH").unwrap_or_default());
    // Servers live in sbin, which an ordinary user's PATH often lacks.
    let sbin = on_path.is_some().then(|| ["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from));
    installed
        .chain(on_path.iter().flat_map(|path| env::split_paths(path)))
        .chain(sbin.into_iter().flatten())
        .map(|folder| folder.join(file))
        .find(|path| is_executable(path))
}

/// Follows links: one that dangles (a cache whose package is gone) is no part.
fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}
