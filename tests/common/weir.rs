//! Runs the real binary, `weir proxy`, on addresses that nobody else has.
//!
//! Its laws: what is started is killed with the value that started it; nothing waits without a deadline; a test that
//! fails shows what each proxy said. All calls block, briefly.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::fmt::{Debug, Write as _};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::loopback::own_ip;

/// A machine under load; a quiet one needs some 20 ms.
const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Where one proxy listens. Chosen before it starts, as the proxies of two pods name each other.
#[derive(Clone, Copy, Debug)]
pub struct Pod {
    pub predict: SocketAddr,
    pub delivery: SocketAddr,
    pub admin: SocketAddr,
    pub metrics: SocketAddr,
}

/// A running proxy.
pub struct Weir {
    pub pod: Pod,
    folder: TempDir,
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Pod {
    pub fn new() -> Pod {
        let [predict, delivery, admin, metrics] = std::array::from_fn(|_| free_address());
        Pod { predict, delivery, admin, metrics }
    }

    /// The listeners of a sidecar: one that splits, and one for other pods.
    pub fn sidecar_listeners(&self, service: &str) -> String {
        format!(
            "{}- {{name: delivery, address: '{}', service: {service}, mode: deliver}}\n",
            self.gateway_listener(service),
            self.delivery
        )
    }

    /// The listener of a proxy without a model server of its own.
    pub fn gateway_listener(&self, service: &str) -> String {
        format!("listeners:\n- {{name: predict, address: '{}', service: {service}}}\n", self.predict)
    }

    /// A gateway of `service` in namespace `models`, whose versions 1 and 2 are where they say: by gRPC, and by REST.
    pub fn two_versions(&self, service: &str, [v1, v2]: [(SocketAddr, SocketAddr); 2]) -> String {
        let endpoint = |(grpc, rest): (SocketAddr, SocketAddr), version: &str| {
            format!("  - {{grpc: '{grpc}', http: '{rest}', labels: {{version: {version}}}}}\n")
        };
        format!(
            "workers: 2\n{}services:\n- name: {service}\n  namespace: models\n  endpoints:\n{}{}",
            self.gateway_listener(service),
            endpoint(v1, "v1"),
            endpoint(v2, "v2")
        )
    }

    /// Starts `weir proxy` with `config` (all but its `admin` and `rules`) and `rules`; returns when it is ready.
    pub fn start(self, config: &str, rules: &str) -> Weir {
        let folder = tempfile::tempdir().unwrap();
        let Pod { admin, metrics, .. } = self;
        let config = format!(
            "admin: {{address: '{admin}', metrics_address: '{metrics}'}}\n{config}rules: [rules.yaml]\n"
        );
        fs::write(folder.path().join("rules.yaml"), rules).unwrap();
        fs::write(folder.path().join("weir.yaml"), config).unwrap();
        let said = Arc::default();
        let child = spawn(&folder, &said);
        let mut weir = Weir { pod: self, folder, child, said };
        weir.wait_until_ready();
        weir
    }
}

/// The binary that cargo built, over the configuration in `folder`; what it says is kept.
fn spawn(folder: &TempDir, said: &Arc<Mutex<Vec<String>>>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    // As an operator would: what it says of its files is where they stand in the folder.
    command.args(["proxy", "-c", "weir.yaml"]).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary that cargo built");
    let (stderr, lines) = (child.stderr.take().expect("piped"), said.clone());
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            lines.lock().unwrap().push(line);
        }
    });
    child
}

impl Weir {
    fn wait_until_ready(&mut self) {
        let until = Instant::now() + DEADLINE;
        while get(self.pod.metrics, "/ready").is_none_or(|(status, _)| status != 200) {
            assert!(self.child.try_wait().unwrap().is_none(), "weir proxy ended at its start");
            assert!(Instant::now() < until, "weir proxy was not ready before the deadline");
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// The number of the process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Puts other rules in place of those it was started with.
    pub fn write_rules(&self, rules: &str) {
        fs::write(self.folder.path().join("rules.yaml"), rules).unwrap();
    }

    /// Ends the process at once, as a node that loses its power would; returns when it is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after that, where it was; returns when it is ready.
    pub fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.said);
        self.wait_until_ready();
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let mut text = format!("weir proxy at {} said:\n", self.pod.predict);
            for line in self.said.lock().unwrap().iter() {
                let _ = writeln!(text, "    {line}");
            }
            print!("{text}");
        }
    }
}

/// A `RouteRule` that shares the service `half-plus-two` out: version and weight of each entry.
pub fn rule(shares: &[(&str, u32)]) -> String {
    let entries: String = shares
        .iter()
        .map(|(version, weight)| format!("  - {{labels: {{version: {version}}}, weight: {weight}}}\n"))
        .collect();
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: canary, namespace: models}}\n\
         spec:\n  destination: {{name: half-plus-two}}\n  route:\n{entries}"
    )
}

/// A port that nobody else takes, on one address of this process's own.
pub fn free_address() -> SocketAddr {
    static IP: OnceLock<IpAddr> = OnceLock::new();
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let ip = *IP.get_or_init(|| match cfg!(target_os = "linux") {
        true => own_ip().into(),
        false => Ipv4Addr::LOCALHOST.into(),
    });
    loop {
        let address = SocketAddr::new(ip, NEXT.fetch_add(1, Ordering::Relaxed));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// The answer to a plain GET: status and body; `None` when nobody answers.
pub fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    // HTTP/1.0, so that no answer is chunked.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Looks until `look` finds `expected`; at the deadline the last finding is the report.
#[track_caller]
pub fn eventually<T: PartialEq + Debug>(what: &str, expected: T, mut look: impl FnMut() -> T) {
    let until = Instant::now() + DEADLINE;
    loop {
        let found = look();
        if found == expected {
            return;
        }
        assert!(Instant::now() < until, "{what}: {found:?}, not {expected:?}");
        thread::sleep(LOOK_AGAIN);
    }
}
