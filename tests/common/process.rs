//! `weir proxy` as a process that is sent signals, starved of disk and watched: with its output, its addresses and its
//! end. Before it a plain caller, behind it a plain upstream, both of threads, so that nothing waits for a test's task.
//!
//! Law: each process has a loopback address that no other uses, every wait has a deadline and shows what the process
//! said, and what was started is killed with its value.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::loopback::own_ip;

/// For what should happen at once.
pub const SOON: Duration = Duration::from_secs(30);

/// How to start a process.
pub struct Setup {
    folder: tempfile::TempDir,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    args: Vec<String>,
    /// Commands of a shell that run before it, and whether in a mount namespace of its own.
    before: Option<(String, bool)>,
    stdout: Option<Stdio>,
    stderr: Option<Stdio>,
    env: Vec<(&'static str, PathBuf)>,
    nobody: bool,
}

impl Setup {
    /// With a `weir.yaml` that has a listener `predict` for the service `m`, no grace on the way out unless `yaml` has a
    /// `drain:`, and then `yaml`.
    pub fn new(yaml: &str) -> Setup {
        let folder = tempfile::tempdir().unwrap();
        let ip = own_ip();
        // All at once, so that they differ.
        let [address, admin] =
            [(); 2].map(|()| TcpListener::bind((ip, 0)).unwrap()).map(|free| free.local_addr().unwrap());
        let setup = Setup {
            folder,
            address,
            admin,
            args: Vec::new(),
            before: None,
            stdout: None,
            stderr: None,
            env: Vec::new(),
            nobody: false,
        };
        setup.write("weir.yaml", setup.main(yaml));
        setup
    }

    /// The text of a `weir.yaml` for these addresses.
    pub fn main(&self, yaml: &str) -> String {
        main_of(self.address, self.admin, yaml)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// More arguments of `weir proxy`; `{}` stands for the folder.
    pub fn args(mut self, args: &[&str]) -> Setup {
        let folder = self.folder.path().display().to_string();
        self.args.extend(args.iter().map(|arg| arg.replace("{}", &folder)));
        self
    }

    /// Runs in a mount namespace of its own, after these commands of a shell; `{}` stands for the folder.
    pub fn after(mut self, commands: &str) -> Setup {
        self.before = Some((commands.replace("{}", &self.folder.path().display().to_string()), true));
        self
    }

    /// Runs with what this command of a shell sets, such as `ulimit`.
    pub fn with(mut self, command: &str) -> Setup {
        self.before = Some((command.to_owned(), false));
        self
    }

    pub fn stdout(mut self, stdout: Stdio) -> Setup {
        self.stdout = Some(stdout);
        self
    }

    /// What is said there is not to be had by [`Process::said`].
    pub fn stderr(mut self, stderr: Stdio) -> Setup {
        self.stderr = Some(stderr);
        self
    }

    /// With a variable in its environment that holds a path.
    pub fn env(mut self, name: &'static str, path: PathBuf) -> Setup {
        self.env.push((name, path));
        self
    }

    /// As the user that may do nothing, where we are root, who may do everything.
    pub fn by_nobody(mut self) -> Setup {
        self.nobody = rustix::process::geteuid().is_root();
        self
    }

    fn command(&mut self) -> Command {
        let binary = env!("CARGO_BIN_EXE_weir");
        let mut command = match &self.before {
            None => Command::new(binary),
            Some((before, in_namespace)) => {
                let mut command = Command::new(if *in_namespace { "unshare" } else { "sh" });
                command.args(if *in_namespace { &["-m", "sh", "-c"][..] } else { &["-c"] });
                command.arg(format!("set -e; {before}; exec \"$0\" \"$@\"")).arg(binary);
                command
            }
        };
        command.args(["proxy", "-c"]).arg(self.path("weir.yaml")).args(&self.args);
        command.envs(self.env.iter().map(|(name, path)| (name, path)));
        if self.nobody {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
            command.uid(65534).gid(65534);
        }
        let stdout = self.stdout.take().unwrap_or_else(|| File::create(self.path("stdout")).unwrap().into());
        let stderr = self.stderr.take().unwrap_or_else(|| File::create(self.path("stderr")).unwrap().into());
        command.stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        command
    }

    /// Starts it, and waits for nothing.
    pub fn spawn(mut self) -> Process {
        let child = self.command().spawn().unwrap();
        let Setup { folder, address, admin, .. } = self;
        Process { child, address, admin, folder }
    }

    /// Starts it; serves when this returns.
    pub fn start(self) -> Process {
        let mut process = self.spawn();
        process.until("it serves", |process| process.get("/").is_some());
        process
    }

    /// Runs it to its end, which must come soon: exit status and what it said.
    pub fn fail(mut self) -> (ExitStatus, String) {
        let mut child = Killed(self.command().spawn().unwrap());
        let until = Instant::now() + SOON;
        let status = loop {
            match child.0.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "it does not end: {}", self.said()),
            }
            sleep(Duration::from_millis(5));
        };
        (status, self.said())
    }

    fn said(&self) -> String {
        fs::read_to_string(self.path("stderr")).unwrap_or_default()
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main_of(address: SocketAddr, admin: SocketAddr, yaml: &str) -> String {
    let drain = if yaml.contains("drain:") { "" } else { "drain: {grace: 0s, deadline: 10s}\n" };
    format!(
        "listeners: [{{name: predict, address: '{address}', service: m}}]\n\
         admin: {{address: '{admin}', metrics_address: off}}\nworkers: 1\n{drain}{yaml}"
    )
}

/// A running proxy.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    folder: tempfile::TempDir,
}

impl Process {
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Writes `weir.yaml` anew.
    pub fn write_main(&self, yaml: &str) {
        self.write("new", main_of(self.address, self.admin, yaml));
        fs::rename(self.path("new"), self.path("weir.yaml")).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap_or_default()).into_owned()
    }

    /// A path as the process sees it, in whichever namespace it is.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let root = format!("/proc/{}/root", self.child.id());
        Path::new(&root).join(path.strip_prefix("/").unwrap())
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.read("stderr")
    }

    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Bytes of memory that are its own, shared pages by their share (PSS).
    pub fn memory(&self) -> u64 {
        let smaps = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let line = smaps.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// Whether the kernel has it stopped.
    pub fn is_stopped(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        stat.rsplit(") ").next().unwrap().starts_with('T')
    }

    /// Waits until `check` holds.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut check: impl FnMut(&Process) -> bool) {
        let until = Instant::now() + SOON;
        while !check(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < until,
                "{what}: not before {ended:?} or a deadline:\n{}",
                self.said()
            );
            sleep(Duration::from_millis(5));
        }
    }

    #[track_caller]
    pub fn until_said(&mut self, text: &str) {
        self.until(&format!("it says {text:?}"), |process| process.said().contains(text));
    }

    /// Waits for its end.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end:\n{}", self.said());
            sleep(Duration::from_millis(5));
        }
    }

    /// One request by a connection of its own: status and body. `None`: no answer.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        Caller::connect(self.address).ok()?.get(path, "")
    }

    /// A page of its admin.
    pub fn page(&self, path: &str) -> String {
        let answer = Caller::connect(self.admin).ok().and_then(|mut admin| {
            admin.write(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"))?;
            admin.answer()
        });
        answer.map(|(_, body)| body).unwrap_or_default()
    }

    /// The sum of the series that begin with `series`: a family, or a family with its first labels. Where there is
    /// none it is not a number, which is no count at all: a family that was renamed must not pass for zero.
    pub fn metric(&self, series: &str) -> f64 {
        let page = self.page("/metrics");
        let those = page.lines().filter(|line| {
            line.strip_prefix(series).is_some_and(|rest| rest.starts_with(['{', ' ', ',', '}']))
        });
        let values = those.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have left already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            println!("weir proxy said:\n{}", self.said());
        }
    }
}

/// A connection that asks and reads, and gives up in time.
pub struct Caller {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Caller {
    pub fn connect(to: SocketAddr) -> std::io::Result<Caller> {
        let stream = TcpStream::connect_timeout(&to, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        stream.set_nodelay(true)?;
        Ok(Caller { stream, ahead: Vec::new() })
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Option<()> {
        self.stream.write_all(bytes.as_ref()).ok()
    }

    /// `headers`: whole lines.
    pub fn get(&mut self, path: &str, headers: &str) -> Option<(u16, String)> {
        self.write(format!("GET {path} HTTP/1.1\r\nhost: m\r\n{headers}\r\n"))?;
        self.answer()
    }

    /// The value of a field in the answer to a GET.
    pub fn field(&mut self, path: &str, name: &str) -> Option<String> {
        self.write(format!("GET {path} HTTP/1.1\r\nhost: m\r\n\r\n"))?;
        let head = self.until(b"\r\n\r\n")?;
        self.body(&head)?;
        field_of(&head, name)
    }

    /// The next answer, by its length or its chunks.
    pub fn answer(&mut self) -> Option<(u16, String)> {
        let head = self.until(b"\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, String::from_utf8_lossy(&self.body(&head)?).into_owned()))
    }

    fn body(&mut self, head: &str) -> Option<Vec<u8>> {
        match field_of(head, "content-length") {
            Some(length) => self.exactly(length.parse().ok()?),
            None if field_of(head, "transfer-encoding").is_some() => self.chunks(),
            None => Some(Vec::new()),
        }
    }

    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let size = self.until(b"\r\n")?;
            let size = usize::from_str_radix(size.trim(), 16).ok()?;
            all.extend(self.exactly(size)?);
            self.until(b"\r\n")?;
            if size == 0 {
                return Some(all);
            }
        }
    }

    fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                let taken: Vec<u8> = self.ahead.drain(..at + end.len()).collect();
                return Some(String::from_utf8_lossy(&taken).into_owned());
            }
            self.more()?;
        }
    }

    /// So many bytes; `None`: the peer closed before.
    pub fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            self.more()?;
        }
        Some(self.ahead.drain(..count).collect())
    }

    fn more(&mut self) -> Option<()> {
        let mut some = [0; 16 << 10];
        let count = self.stream.read(&mut some).ok().filter(|&count| count > 0)?;
        self.ahead.extend_from_slice(&some[..count]);
        Some(())
    }

    /// Says that nothing more will be written.
    pub fn end_writing(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Whether the peer has closed; waits for bytes or the end.
    pub fn is_closed(&mut self) -> bool {
        self.more().is_none()
    }
}

fn field_of(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

/// An upstream that answers each request with its name; those whose path has `hold` when it is told to.
pub struct Upstream {
    pub address: SocketAddr,
    held: Arc<(Mutex<bool>, Condvar)>,
    holding: Arc<AtomicUsize>,
}

impl Upstream {
    pub fn start(name: &'static str) -> Upstream {
        Upstream::on(TcpListener::bind("127.0.0.1:0").unwrap(), name)
    }

    /// Behind a socket that is there already.
    pub fn on(listener: TcpListener, name: &'static str) -> Upstream {
        let address = listener.local_addr().unwrap();
        let held = Arc::<(Mutex<bool>, Condvar)>::default();
        let holding = Arc::<AtomicUsize>::default();
        let (gate, count) = (held.clone(), holding.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (gate, count) = (gate.clone(), count.clone());
                thread::spawn(move || serve(stream, name, &gate, &count));
            }
        });
        Upstream { address, held, holding }
    }

    /// `services:` with these upstreams as the versions of `m` by their names.
    pub fn services(upstreams: &[(&Upstream, &str)]) -> String {
        let mut yaml = "services:\n- name: m\n  endpoints:\n".to_owned();
        for (upstream, version) in upstreams {
            yaml += &format!("  - {{address: '{}', labels: {{version: {version}}}}}\n", upstream.address);
        }
        yaml
    }

    /// Waits until so many requests are held.
    #[track_caller]
    pub fn until_holding(&self, count: usize) {
        let until = Instant::now() + SOON;
        while self.holding.load(Ordering::SeqCst) < count {
            assert!(Instant::now() < until, "{count} requests do not reach the upstream");
            sleep(Duration::from_millis(5));
        }
    }

    /// Answers what is held, and holds nothing any more.
    pub fn release(&self) {
        *self.held.0.lock().unwrap() = true;
        self.held.1.notify_all();
    }
}

fn serve(stream: TcpStream, name: &str, gate: &(Mutex<bool>, Condvar), holding: &AtomicUsize) {
    let mut caller = Caller { stream, ahead: Vec::new() };
    while let Some(head) = caller.until(b"\r\n\r\n") {
        if head.lines().next().is_some_and(|line| line.contains("hold")) {
            holding.fetch_add(1, Ordering::SeqCst);
            let mut open = gate.0.lock().unwrap();
            while !*open {
                open = gate.1.wait(open).unwrap();
            }
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nset-cookie: s=answer-secret-cookie\r\n\
             x-secret: answer-secret-header\r\n\r\n{name}",
            name.len()
        );
        if caller.write(answer).is_none() {
            return;
        }
    }
    let _ = caller.stream.shutdown(Shutdown::Both);
}

/// Callers that ask without a pause until they are stopped, and note what was no good answer.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<String>>>,
}

impl Traffic {
    pub fn start(to: SocketAddr, callers: usize) -> Traffic {
        let (stop, asked) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..callers).map(|_| {
            let (stop, asked) = (stop.clone(), asked.clone());
            thread::spawn(move || ask(to, &stop, &asked))
        });
        Traffic { threads: threads.collect(), stop, asked }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Ends it: how many requests there were, and what went wrong.
    pub fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let wrong = self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (self.asked.load(Ordering::SeqCst), wrong)
    }
}

fn ask(to: SocketAddr, stop: &AtomicBool, asked: &AtomicUsize) -> Vec<String> {
    let (mut wrong, mut connection) = (Vec::new(), None);
    while !stop.load(Ordering::SeqCst) && wrong.len() < 20 {
        let caller = match &mut connection {
            Some(caller) => caller,
            None => match Caller::connect(to) {
                Ok(caller) => connection.insert(caller),
                Err(error) => {
                    wrong.push(format!("connect: {error}"));
                    continue;
                }
            },
        };
        let answer = caller.get("/v1/models/m:predict", "");
        asked.fetch_add(1, Ordering::SeqCst);
        match answer {
            Some((200, _)) => {}
            other => {
                wrong.push(format!("{other:?}"));
                connection = None;
            }
        }
        sleep(Duration::from_millis(1)); // a thousand requests a second for each caller are enough
    }
    wrong
}
