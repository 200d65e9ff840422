//! Runs the Python programs of `tests/real`: TensorFlow behind our servicer, and TensorFlow Serving's real clients.
//!
//! Its law: nothing here waits without a deadline, and no process outlives the value that started it. All calls
//! block; a test on a Tokio runtime makes them in `spawn_blocking`. It knows nothing of Weir: a target is an address.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// Importing TensorFlow takes 5 s on a quiet machine; a loaded one with a cold disk has needed ten times that.
const START: Duration = Duration::from_secs(120);
/// A server that is up answers `counts` at once.
const ANSWER: Duration = Duration::from_secs(10);

/// Writes `half_plus_two` as SavedModels into `folder`: `folder/1` (x/2 + 2) and `folder/2` (x/2 + 3).
pub fn make_models(python: &Path, folder: &Path) {
    let mut command = script(python, "make_models.py");
    command.arg(folder);
    let mut process = Process::start(command, "make_models.py");
    process.wait(START);
}

/// One version of `half_plus_two`, served on loopback by gRPC and by REST. Killed when dropped.
pub struct ModelServer {
    process: Process,
    /// Where it speaks gRPC.
    pub grpc: SocketAddr,
    /// Where it speaks REST.
    pub rest: SocketAddr,
}

/// What a model server was asked so far, faulty requests included.
#[derive(Debug, Deserialize)]
pub struct ServerCounts {
    pub grpc: u64,
    pub rest: u64,
    /// Protocol, then kind of call (`Predict`, `GetModelStatus`; `predict`, `status`, `metadata`).
    pub by_kind: BTreeMap<String, BTreeMap<String, u64>>,
}

impl ModelServer {
    /// Serves `models/<version>`, as `make_models` wrote it, and returns when it accepts requests.
    pub fn start(python: &Path, models: &Path, version: u64) -> Self {
        Self::start_on(python, models, version, 0, 0)
    }

    /// As `start`, on ports chosen by the caller: to come back where an earlier one was killed.
    pub fn start_on(python: &Path, models: &Path, version: u64, grpc_port: u16, rest_port: u16) -> Self {
        #[derive(Deserialize)]
        struct Ready {
            grpc_port: u16,
            rest_port: u16,
        }
        let version = version.to_string();
        let mut command = script(python, "model_server.py");
        command.arg("--model-dir").arg(models.join(&version)).args(["--name", "half_plus_two"]);
        command.args(["--version", &version]);
        command.args(["--grpc-port", &grpc_port.to_string(), "--rest-port", &rest_port.to_string()]);
        let mut process = Process::start(command, &format!("model_server.py, version {version}"));
        let ready: Ready = process.json(Instant::now() + START);
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self { process, grpc: at(ready.grpc_port), rest: at(ready.rest_port) }
    }

    /// What it was asked so far.
    pub fn counts(&mut self) -> ServerCounts {
        let stdin = self.process.stdin.as_mut().expect("piped");
        stdin.write_all(b"counts\n").and_then(|()| stdin.flush()).expect("the model server lives");
        self.process.json(Instant::now() + ANSWER)
    }
}

/// What the real client is to send. Each connection has one request at a time and is kept for all of them.
#[derive(Clone, Copy, Debug)]
pub struct Calls {
    pub target: SocketAddr,
    pub protocol: Protocol,
    pub mode: Mode,
    /// All connections together.
    pub requests: u64,
    pub connections: u64,
}

/// How the client speaks to a model server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// tensorflow-serving-api's stubs over grpcio.
    Grpc,
    /// HTTP/1.1 and JSON.
    Rest,
}

/// Which calls a connection makes, in turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    Predict,
    Status,
    /// Prediction, status, prediction, ...: the caller that a strictly even schedule would bind.
    Alternate,
}

/// What the client saw.
#[derive(Debug, Deserialize)]
pub struct Report {
    pub requests: u64,
    pub errors: u64,
    /// Version that served -> requests; a version that served none is absent.
    pub by_version: BTreeMap<String, u64>,
    /// Kind of call (`predict`, `status`), then version.
    pub by_kind: BTreeMap<String, BTreeMap<String, u64>>,
    /// gRPC status, HTTP code or Python exception -> requests.
    pub by_error: BTreeMap<String, u64>,
    pub first_error: Option<String>,
}

impl Report {
    /// Requests that this version served, of any kind.
    pub fn served_by(&self, version: &str) -> u64 {
        self.by_version.get(version).copied().unwrap_or(0)
    }

    /// Requests of this kind that this version served.
    pub fn of_kind(&self, kind: &str, version: &str) -> u64 {
        self.by_kind.get(kind).and_then(|versions| versions.get(version)).copied().unwrap_or(0)
    }
}

impl Calls {
    /// Sends them all and reports, or panics at the deadline.
    pub fn run(self, python: &Path, deadline: Duration) -> Report {
        self.start(python).report(deadline)
    }

    /// Starts sending; the test can change the world meanwhile.
    pub fn start(self, python: &Path) -> RunningCalls {
        let protocol = match self.protocol {
            Protocol::Grpc => "grpc",
            Protocol::Rest => "rest",
        };
        let mode = match self.mode {
            Mode::Predict => "predict",
            Mode::Status => "status",
            Mode::Alternate => "alternate",
        };
        let mut command = script(python, "client.py");
        command.args(["--target", &self.target.to_string(), "--protocol", protocol, "--mode", mode]);
        command.args(["--requests", &self.requests.to_string(), "--parallel", &self.connections.to_string()]);
        RunningCalls { process: Process::start(command, "client.py") }
    }
}

/// A client that is sending. Killed when dropped.
pub struct RunningCalls {
    process: Process,
}

impl RunningCalls {
    /// Waits for the client's end.
    pub fn report(mut self, deadline: Duration) -> Report {
        let until = Instant::now() + deadline;
        let report = self.process.json(until);
        self.process.wait(until.saturating_duration_since(Instant::now()));
        report
    }
}

fn script(python: &Path, name: &str) -> Command {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "real", name].iter().collect();
    let mut command = Command::new(python);
    command.arg(path);
    command
}

/// A child with its stdout as lines, its stderr kept for the report, and nobody waiting on it for ever.
struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    stderr: Receiver<String>,
}

impl Process {
    fn start(mut command: Command, name: &str) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let lines = lines_of(child.stdout.take().expect("piped"));
        let stderr = lines_of(child.stderr.take().expect("piped"));
        let stdin = child.stdin.take();
        Self { name: name.to_owned(), child, stdin, lines, stderr }
    }

    /// The next line of its stdout, which is JSON.
    fn json<T: DeserializeOwned>(&mut self, until: Instant) -> T {
        let line = self.line(until);
        serde_json::from_str(&line).unwrap_or_else(|error| self.fail(&format!("{error} in: {line}")))
    }

    fn line(&mut self, until: Instant) -> String {
        match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => self.fail("said nothing before its deadline"),
            Err(RecvTimeoutError::Disconnected) => self.fail("ended without an answer"),
        }
    }

    /// Waits until it has ended well. Its stdout closes as it ends, so a line channel that closes is the signal.
    fn wait(&mut self, deadline: Duration) {
        let until = Instant::now() + deadline;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => self.fail("did not end before its deadline"),
            }
        }
        let status = self.child.wait().expect("our own child");
        if !status.success() {
            self.fail(&format!("ended with {status}"));
        }
    }

    fn fail(&mut self, what: &str) -> ! {
        let _ = self.child.kill();
        // Its stderr ends with it, unless a child of its own holds the pipe.
        let until = Instant::now() + Duration::from_secs(1);
        let mut said = String::new();
        while let Ok(line) = self.stderr.recv_timeout(until.saturating_duration_since(Instant::now())) {
            said.push_str(&line);
            said.push('\n');
        }
        panic!("{} {what}\n{said}", self.name);
    }
}

/// A pipe's lines, read by a thread that ends with the pipe: at the latest when the child is killed.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                break;
            }
        }
    });
    lines
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
