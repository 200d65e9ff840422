//! `weir proxy` as a process of its own: to be signalled, and to have its memory measured.
//!
//! Law: each has a loopback address that no other process uses, so a free port found on it stays free; it is killed
//! with its value. `WEIR_BIN` names another binary than the one that cargo built, such as an optimized one.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::loopback::own_ip;

const DEADLINE: Duration = Duration::from_secs(20);

/// See the module.
pub struct Weir {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Weir {
    /// Starts it with a listener for the service `m`, `rest` of a `weir.yaml`, and `rules`; serves when this returns.
    pub fn start(rest: &str, rules: &str) -> Weir {
        Weir::launch(None, ", service: m", rest, rules)
    }

    /// [`Weir::start`] with so many descriptors at most.
    pub fn start_within(descriptors: Option<u32>, rest: &str, rules: &str) -> Weir {
        Weir::launch(descriptors, ", service: m", rest, rules)
    }

    /// [`Weir::start`] with a listener for all services, by their hosts.
    pub fn start_gateway(rest: &str, rules: &str) -> Weir {
        Weir::launch(None, "", rest, rules)
    }

    fn launch(descriptors: Option<u32>, service: &str, rest: &str, rules: &str) -> Weir {
        let folder = tempfile::tempdir().unwrap();
        let ip = own_ip();
        // All at once, so that they differ.
        let [address, admin, metrics] =
            [(); 3].map(|()| TcpListener::bind((ip, 0)).unwrap()).map(|free| free.local_addr().unwrap());
        let mut main = format!(
            "listeners: [{{name: predict, address: '{address}'{service}}}]\n\
             admin: {{address: '{admin}', metrics_address: '{metrics}'}}\n{rest}"
        );
        if !rules.is_empty() {
            main += "rules: [rules.yaml]\n";
            fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        }
        fs::write(folder.path().join("weir.yaml"), main).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let binary = std::env::var_os("WEIR_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_weir").into());
        let limit = descriptors.map_or(String::new(), |most| format!("ulimit -n {most} && "));
        let child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" \"$@\"")])
            .arg(binary)
            .args(["proxy", "-c"])
            .arg(folder.path().join("weir.yaml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut weir = Weir { child, address, admin, folder };
        let until = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            let left = weir.child.try_wait().unwrap();
            assert!(left.is_none() && Instant::now() < until, "it does not serve: {left:?}\n{}", weir.log());
            sleep(Duration::from_millis(10));
        }
        weir
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn main(&self) -> PathBuf {
        self.folder.path().join("weir.yaml")
    }

    pub fn rules(&self) -> PathBuf {
        self.folder.path().join("rules.yaml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// A page of its admin: status and text.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        // HTTP/1.0 has no chunks, in which long pages come otherwise.
        let request = format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut all = String::new();
        timeout(DEADLINE, stream.read_to_string(&mut all)).await.expect("a page in time").unwrap();
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    /// Waits for its end; `None`: it did not come in time.
    pub async fn exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let until = Instant::now() + within;
        loop {
            match self.child.try_wait().unwrap() {
                None if Instant::now() < until => tokio::time::sleep(Duration::from_millis(10)).await,
                ended => return ended,
            }
        }
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Time that its threads have used, in the kernel and outside.
    pub fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10) // USER_HZ is 100
    }

    /// Bytes of memory that are its own, shared pages by their share (PSS).
    pub fn memory(&self) -> u64 {
        memory_of(self.child.id()).unwrap()
    }

    /// Watches how its memory grows from now on.
    pub fn watch_memory(&self) -> MemoryWatch {
        let (before, process) = (self.memory(), self.child.id());
        let watched = Arc::new((AtomicU64::new(before), AtomicBool::new(false)));
        let shared = watched.clone();
        let thread = thread::spawn(move || {
            while !shared.1.load(Ordering::Relaxed) {
                if let Some(now) = memory_of(process) {
                    shared.0.fetch_max(now, Ordering::Relaxed);
                }
                sleep(Duration::from_millis(20)); // between two looks
            }
        });
        MemoryWatch { before, watched, thread: Some(thread) }
    }
}

/// A thread of its own that looks at a process's memory every 20 ms, whatever else the test is busy with.
pub struct MemoryWatch {
    before: u64,
    /// The most so far, and whether it is over.
    watched: Arc<(AtomicU64, AtomicBool)>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    /// By how many bytes memory grew at most.
    pub fn grown(&self) -> u64 {
        self.watched.0.load(Ordering::Relaxed) - self.before
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.watched.1.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// `None`: it is gone.
fn memory_of(process: u32) -> Option<u64> {
    let smaps = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
    let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<u64>().ok()? << 10)
}

impl Drop for Weir {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
