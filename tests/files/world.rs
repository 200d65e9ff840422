//! A configuration in a directory of its own, and who watches it.
//!
//! Law: every wait is for a verdict, with a deadline.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use weir::config::{Diagnostics, Environment, Loaded};
use weir::sources::{FileSource, Verdict, Watcher, start};

pub const DEADLINE: Duration = Duration::from_secs(10);
/// "New rules visible within 1.5 s", and half a second for a machine that does other things, too.
const VISIBLE_WITHIN: Duration = Duration::from_secs(2);
/// How often a machine that does other things may come late.
const ATTEMPTS: usize = 10;
/// What is sure to be said within the second that the watcher waits at most, and was not, is not said.
pub const SILENCE: Duration = Duration::from_millis(1300);

pub fn main_file(rules: &str) -> String {
    format!(
        "listeners:\n- {{name: predict, address: '127.0.0.1:8500', service: inception}}\nservices:\n\
         - name: inception\n  namespace: kubeflow\n  endpoints:\n\
         \x20 - {{address: '127.0.0.1:9001', labels: {{version: v1}}}}\n\
         \x20 - {{address: '127.0.0.1:9002', labels: {{version: v2}}}}\nrules: [{rules}]\n"
    )
}

/// A rule that gives `v2` so many of 100.
pub fn rule(v2: u32) -> String {
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: split, namespace: kubeflow}}\n\
         spec:\n  destination: {{name: inception}}\n  route:\n\
         \x20 - {{labels: {{version: v1}}, weight: {}}}\n  - {{labels: {{version: v2}}, weight: {v2}}}\n",
        100 - v2
    )
}

/// The weights of the first route: of v1 and v2 by the rule, or of all versions without one.
pub fn weights(loaded: &Loaded) -> Vec<u32> {
    let hosts = loaded.snapshot.route_configs.values().flat_map(|routes| &routes.virtual_hosts);
    let route = hosts.flat_map(|host| &host.routes).next().unwrap();
    route.versions().iter().map(|version| version.weight).collect()
}

/// A configuration in a directory of its own, and who watches it.
pub struct World {
    pub folder: tempfile::TempDir,
    pub verdicts: Receiver<Verdict>,
    pub watcher: Option<Watcher>,
}

impl World {
    /// `weir.yaml` and `rules/a.yaml`, which gives v2 5 %; watched.
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("rules")).unwrap();
        fs::write(folder.path().join("rules/a.yaml"), rule(5)).unwrap();
        fs::write(folder.path().join("weir.yaml"), main_file("rules")).unwrap();
        World::watch(folder)
    }

    pub fn watch(folder: tempfile::TempDir) -> World {
        let source = FileSource::new(&folder.path().join("weir.yaml"), Environment::default());
        let start = start(&source).unwrap();
        let (send, verdicts) = channel();
        let watcher = Watcher::start(source, &start, move |verdict| send.send(verdict).is_ok()).unwrap();
        World { folder, verdicts, watcher: Some(watcher) }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn write_by_rename(&self, name: &str, text: &str) {
        self.write(".new", text);
        fs::rename(self.path(".new"), self.path(name)).unwrap();
    }

    #[track_caller]
    pub fn next(&self) -> Verdict {
        self.verdicts.recv_timeout(DEADLINE).unwrap()
    }

    #[track_caller]
    pub fn accepted(&self) -> Loaded {
        match self.next() {
            Verdict::Accepted(loaded) => *loaded,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn refused(&self) -> Diagnostics {
        match self.next() {
            Verdict::Refused(faults) => faults,
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub fn nothing_is_said(&self) {
        assert_eq!(self.verdicts.recv_timeout(SILENCE), Err(RecvTimeoutError::Timeout));
    }
}

/// What is in force soon: `attempt`, in a world of its own, gives the time it took, or none where the machine let it wait
/// so long that it says nothing. Then, and where the machine was late, it is tried again.
#[track_caller]
pub fn is_in_force_soon(attempt: impl Fn(&World) -> Option<Duration>) {
    let mut took = Vec::new();
    for _ in 0..ATTEMPTS {
        let this = attempt(&World::new());
        if this.is_some_and(|took| took < VISIBLE_WITHIN) {
            return;
        }
        took.push(this);
    }
    panic!("{took:?}");
}

/// A volume as the kubelet lays it out: each file a link through `..data`, which is renamed.
pub fn config_map(folder: &Path, generation: u32, files: &[(&str, String)]) {
    let data = format!("..2026_{generation}");
    fs::create_dir_all(folder.join(&data)).unwrap();
    for (name, text) in files {
        fs::write(folder.join(&data).join(name), text).unwrap();
        if generation == 0 {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
    }
    symlink(&data, folder.join("..data_tmp")).unwrap();
    fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if generation > 0 {
        fs::remove_dir_all(folder.join(format!("..2026_{}", generation - 1))).unwrap();
    }
}
