//! A world for one test: Weir in this process on real sockets, scripted upstreams behind it, clients before it.
//!
//! Weir serves from files in a folder of its own, as `weir proxy` does; upstreams and clients run on the test's thread.
//! Laws: every port is chosen free, every wait has a deadline and names what it waited for, nothing sleeps to be right.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

pub mod client;
pub mod http2;
pub mod raw;
pub mod upstream;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use client::Client;
use tempfile::TempDir;
use tokio::sync::oneshot;
use weir::app::sidecar::{Leave, Options, Sidecar};
use weir::runtime::worker::local_runtime;
use weir::upstream::resolve::Resolver;

/// How long a test waits for anything that should happen at once.
pub const SOON: Duration = Duration::from_secs(10);
/// How long a whole test may take.
const TEST_DEADLINE: Duration = Duration::from_secs(120);
/// One line for each request, for [`World::log`].
const LOG_FORMAT: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT% \
    %ROUTE_NAME% %UPSTREAM_HOST%\\n";

/// The version of HTTP on one side of the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    One,
    Two,
}

impl Http {
    pub const BOTH: [Http; 2] = [Http::One, Http::Two];

    /// As a service's `protocol:` says it.
    pub fn protocol(self) -> &'static str {
        match self {
            Http::One => "http1",
            Http::Two => "http2",
        }
    }

    /// What the caller speaks, and what the upstream does: all four.
    pub fn matrix() -> impl Iterator<Item = (Http, Http)> {
        Http::BOTH.into_iter().flat_map(|down| Http::BOTH.map(|up| (down, up)))
    }
}

thread_local! {
    /// Proxies that were told to leave; waited for when the test's own sockets are closed.
    static LEAVING: RefCell<Vec<JoinHandle<()>>> = const { RefCell::new(Vec::new()) };
}

/// Runs a test on a runtime that takes local tasks, and waits for its proxies to be gone.
pub fn run<T>(test: impl AsyncFnOnce() -> T) -> T {
    let runtime = local_runtime().expect("a runtime");
    let result = runtime.block_on(async {
        let done = tokio::time::timeout(TEST_DEADLINE, test()).await;
        done.unwrap_or_else(|_| panic!("the test took more than {TEST_DEADLINE:?}"))
    });
    // Closes every socket of the test, so that no proxy waits for one of them.
    drop(runtime);
    for thread in LEAVING.take() {
        thread.join().expect("the proxy left in good order");
    }
    result
}

/// Waits for `future`, and panics with `what` when it takes longer than it should.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(SOON, what, future).await
}

/// [`soon`], with a deadline of its own.
pub async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {deadline:?}"),
    }
}

/// Waits until `check` gives something.
pub async fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The lines of an access log, without one that is still being written.
pub fn lines_of(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
    whole.map(|line| line.trim_end().to_owned()).collect()
}

/// The lines of an access log, once there are `count`.
pub async fn logged(log: &Path, count: usize) -> Vec<String> {
    until(&format!("{count} lines in the access log"), || {
        let lines = lines_of(log);
        (lines.len() >= count).then_some(lines)
    })
    .await
}

/// A port of 127.0.0.1 that nobody listens on, and that nobody who binds port 0 will get: for what must be known
/// before it is bound, and for what must refuse connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 15_200;
    const LAST: u16 = 32_000; // Linux hands out ports from 32768 on
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test binaries that run side by side begin in different places.
    let start = (std::process::id().wrapping_mul(37) % u32::from(LAST - FIRST)) as u16;
    for _ in FIRST..LAST {
        let offset = NEXT.fetch_add(1, Ordering::Relaxed).wrapping_add(start) % (LAST - FIRST);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, FIRST + offset)).is_ok() {
            return FIRST + offset;
        }
    }
    panic!("no free port");
}

/// A proxy that serves. It leaves when this is dropped.
pub struct World {
    folder: TempDir,
    listeners: HashMap<String, SocketAddr>,
    admin: SocketAddr,
    metrics: SocketAddr,
    leave: Option<oneshot::Sender<Leave>>,
    cut: Option<oneshot::Receiver<usize>>,
    thread: Option<JoinHandle<()>>,
}

impl World {
    /// Starts Weir from the text of a weir.yaml, without rules.
    pub async fn start(yaml: &str) -> World {
        World::with_rules(yaml, &[]).await
    }

    /// Starts Weir with rule files, each a name in `rules/` and its text. `admin`, `access_log`, `drain`, `workers`
    /// and `rules` are filled in where `yaml` does not say them.
    ///
    /// # Panics
    /// When it refuses the configuration; the faults are told.
    pub async fn with_rules(yaml: &str, rules: &[(&str, &str)]) -> World {
        World::with_resolver(yaml, rules, Resolver::default()).await
    }

    /// [`World::with_rules`], where `resolver` is asked for names.
    pub async fn with_resolver(yaml: &str, rules: &[(&str, &str)], resolver: Resolver) -> World {
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("rules")).expect("a folder of rules");
        for (name, text) in rules {
            fs::write(folder.path().join("rules").join(name), text).expect("a rule is written");
        }
        let [admin, metrics] = [(); 2].map(|()| SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
        let config = folder.path().join("weir.yaml");
        fs::write(&config, complete(yaml, folder.path(), admin, metrics)).expect("weir.yaml is written");
        let (leave, left) = oneshot::channel();
        let (tell, told) = oneshot::channel();
        let (tell_cut, cut) = oneshot::channel();
        let names: Vec<String> = names(yaml).map(str::to_owned).collect();
        let thread = thread::spawn(move || {
            let options = Options { resolver, ..Options::new(config) };
            serve(&options, &names, tell, left, tell_cut);
        });
        let started = soon("the proxy starts", told).await.expect("the proxy's thread tells");
        let listeners = started.unwrap_or_else(|fault| panic!("the proxy does not start:\n{fault}\n{yaml}"));
        World { folder, listeners, admin, metrics, leave: Some(leave), cut: Some(cut), thread: Some(thread) }
    }

    /// The address of a listener.
    pub fn addr(&self, listener: &str) -> SocketAddr {
        *self
            .listeners
            .get(listener)
            .unwrap_or_else(|| panic!("no listener `{listener}`: {:?}", self.listeners))
    }

    /// The admin address.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The address of the metrics.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The folder of weir.yaml and `rules/`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The lines of the access log, once there are `count`: status, flags, details, attempts, route, upstream.
    pub async fn log(&self, count: usize) -> Vec<String> {
        logged(&self.folder.path().join("access.log"), count).await
    }

    /// The sum of a family's series whose labels contain all of `labels`, from the metrics page.
    ///
    /// # Panics
    /// When the family has no series at all: one that was renamed must not pass for zero.
    pub async fn metric(&self, family: &str, labels: &[&str]) -> f64 {
        let page = client::Client::connect(Http::One, self.metrics).await.get("/metrics").await;
        let of_family =
            |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let lines: Vec<&str> = page.text().lines().filter(of_family).collect();
        assert!(!lines.is_empty(), "there is no series of {family}");
        let matching = lines.iter().filter(|line| labels.iter().all(|label| line.contains(label)));
        matching.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until the series of Envoy's family `envoy_<family>`, at least one, add up to `count`.
    pub async fn counts(&self, family: &str, count: f64) {
        let start = Instant::now();
        loop {
            let answer = Client::connect(Http::One, self.metrics).await.get("/metrics").await;
            let samples =
                answer.text().lines().filter_map(|line| line.strip_prefix("envoy_")?.split_once(' '));
            let of_family = samples.filter(|(series, _)| series.split('{').next() == Some(family));
            let values: Vec<f64> = of_family.map(|(_, value)| value.parse().expect("a number")).collect();
            let seen: f64 = values.iter().sum();
            if seen == count && !values.is_empty() {
                return;
            }
            assert!(start.elapsed() < SOON, "{family} is {seen} in {} series, not {count}", values.len());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends it, and returns the requests that the deadline cut.
    pub async fn leave(mut self, how: Leave) -> usize {
        let (leave, cut) = (self.leave.take().expect("it serves"), self.cut.take().expect("it serves"));
        leave.send(how).expect("it still serves");
        within(TEST_DEADLINE, "the proxy leaves", cut).await.expect("the proxy's thread tells")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(leave) = self.leave.take() {
            let _ = leave.send(Leave::Quit);
        }
        LEAVING.with_borrow_mut(|leaving| leaving.extend(self.thread.take()));
    }
}

/// The life of the proxy's control thread.
fn serve(
    options: &Options,
    names: &[String],
    tell: oneshot::Sender<Result<HashMap<String, SocketAddr>, String>>,
    left: oneshot::Receiver<Leave>,
    tell_cut: oneshot::Sender<usize>,
) {
    local_runtime().expect("a runtime").block_on(async {
        let sidecar = match Sidecar::start(options).await {
            Ok(sidecar) => sidecar,
            Err(fault) => return drop(tell.send(Err(fault.to_string()))),
        };
        let bound = names.iter().filter_map(|name| Some((name.clone(), sidecar.bound(name)?))).collect();
        let _ = tell.send(Ok(bound));
        let _ = tell_cut.send(sidecar.run(async { left.await.unwrap_or(Leave::Quit) }).await);
    });
}

/// Everything that is called `name:` in `yaml`: listeners are among them.
fn names(yaml: &str) -> impl Iterator<Item = &str> {
    yaml.split("name:").skip(1).filter_map(|rest| rest.split([',', '}', '\n']).next()).map(str::trim)
}

fn complete(yaml: &str, folder: &Path, admin: SocketAddr, metrics: SocketAddr) -> String {
    let log = folder.join("access.log");
    let defaults = [
        ("admin:", format!("{{address: \"{admin}\", metrics_address: \"{metrics}\"}}")),
        ("access_log:", format!("{{path: \"{}\", format: \"{LOG_FORMAT}\"}}", log.display())),
        ("drain:", "{grace: 0s, deadline: 5s}".into()),
        ("workers:", "1".into()),
        ("rules:", "[rules/]".into()),
    ];
    let mut text = yaml.to_owned();
    for (key, value) in defaults {
        if !yaml.lines().any(|line| line.starts_with(key)) {
            text.push_str(&format!("\n{key} {value}\n"));
        }
    }
    text
}

/// A weir.yaml with one listener `in` for one service `x`: more settings of the service, each `key: value`, and its
/// endpoints as `(address, version)`.
pub fn one_service(settings: &[&str], endpoints: &[(&str, &str)]) -> String {
    let mut yaml =
        "listeners:\n- {name: in, address: \"127.0.0.1:0\", service: x}\nservices:\n- name: x\n".to_owned();
    settings.iter().for_each(|setting| yaml.push_str(&format!("  {setting}\n")));
    yaml.push_str("  endpoints:");
    yaml.push_str(if endpoints.is_empty() { " []\n" } else { "\n" });
    for (address, version) in endpoints {
        yaml.push_str(&format!("  - {{address: \"{address}\", labels: {{version: {version}}}}}\n"));
    }
    yaml
}

/// A RouteRule for service `x` that splits by weight.
pub fn split_rule(weights: &[(&str, u32)]) -> String {
    rule("split", 1, "", weights)
}

/// A RouteRule for service `x`. `matches` is what stands behind `match:` in YAML's flow style; empty for none.
pub fn rule(name: &str, precedence: i32, matches: &str, weights: &[(&str, u32)]) -> String {
    let matches = if matches.is_empty() { String::new() } else { format!("  match: {matches}\n") };
    let route: String = weights
        .iter()
        .map(|(version, weight)| format!("  - {{labels: {{version: {version}}}, weight: {weight}}}\n"))
        .collect();
    format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\nspec:\n  \
         destination: {{name: x}}\n  precedence: {precedence}\n{matches}  route:\n{route}"
    )
}
