//! The real Envoy, and the frame of a configuration for it.
//!
//! Law: what tests mean to differ in is theirs to say; the frame makes no choice where Envoy has a default.

// Compiled into several tests, few of which use all of it.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A machine under load; a quiet one needs a second.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running Envoy; killed with this value.
pub(super) struct Envoy {
    pub(super) address: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) log: PathBuf,
    child: Child,
    // Holds its configuration and its logs.
    _folder: tempfile::TempDir,
}

impl Envoy {
    /// Starts it with a configuration whose listener is `predict`; it is given the place of the access log.
    pub(super) fn with(program: &Path, configuration: impl FnOnce(&Path) -> String) -> Envoy {
        let folder = tempfile::tempdir().expect("a folder");
        let [config, log, said, admin] =
            ["envoy.yaml", "access.log", "said", "admin"].map(|name| folder.path().join(name));
        fs::write(&config, configuration(&log)).expect("written");
        let output = fs::File::create(&said).expect("created");
        let mut child = Command::new(program)
            .arg("-c")
            .arg(&config)
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--file-flush-interval-msec", "20"])
            .args(["--log-level", "warning", "--admin-address-path"])
            .arg(&admin)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a handle"))
            .stderr(output)
            .spawn()
            .expect("envoy starts");
        let start = Instant::now();
        let (admin, address) = loop {
            if let Some(found) = listens_at(&admin) {
                break found;
            }
            let ended = child.try_wait().expect("a child");
            let text = || fs::read_to_string(&said).unwrap_or_default();
            assert!(
                ended.is_none() && start.elapsed() < DEADLINE,
                "envoy does not serve: {ended:?}\n{}",
                text()
            );
            thread::sleep(Duration::from_millis(20));
        };
        Envoy { address, admin, log, child, _folder: folder }
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The ports that it chose, its admin's first, once it serves.
fn listens_at(admin: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let admin = fs::read_to_string(admin).ok()?.trim().parse().ok()?;
    if !page(admin, "/ready")?.starts_with("HTTP/1.1 200 ") {
        return None;
    }
    let listeners = page(admin, "/listeners")?;
    // `predict::127.0.0.1:40000`
    let address = listeners.lines().find_map(|line| line.strip_prefix("predict::"))?.trim().parse().ok()?;
    Some((admin, address))
}

/// A page of its admin, as it came.
fn page(admin: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&admin, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    // Envoy's admin speaks no HTTP/1.0.
    let request = format!("GET {path} HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// A configuration with one listener `predict`, over HTTP/1 and HTTP/2: more fields of its connection manager, the types
/// of the HTTP filters before its router, the fields of its routes, and clusters. All are in YAML's flow style, as JSON is.
pub(super) fn bootstrap(manager: &str, filters: &[&str], routes: &str, clusters: &[String]) -> String {
    let package = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3";
    let any = address(SocketAddr::from(([127, 0, 0, 1], 0)));
    let filters: Vec<String> = filters.iter().chain(&["router.v3.Router"]).copied().map(filter).collect();
    let (filters, clusters) = (filters.join(", "), clusters.join(", "));
    format!(
        r#"
admin: {{address: {any}}}
static_resources:
  listeners:
  - name: predict
    address: {any}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config: {{"@type": {package}.HttpConnectionManager, stat_prefix: predict, http_filters: [{filters}], route_config: {{{routes}}}, {manager}}}
  clusters: [{clusters}]
"#
    )
}

fn filter(kind: &str) -> String {
    let name = kind.split('.').next().unwrap_or_default();
    let kind = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    format!("{{name: envoy.filters.http.{name}, typed_config: {{\"@type\": {kind}}}}}")
}

/// The connection manager's access log, each line in `format`.
pub(super) fn access_log(log: &Path, format: &str) -> String {
    let kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    let format = format!("{{text_format_source: {{inline_string: \"{format}\"}}}}");
    let log = log.display();
    format!(
        "access_log: [{{name: envoy.access_loggers.file, typed_config: \
         {{\"@type\": {kind}, path: \"{log}\", log_format: {format}}}}}]"
    )
}

/// A cluster with one endpoint or none, and more of its fields.
pub(super) fn cluster(name: &str, endpoint: Option<SocketAddr>, more: &str) -> String {
    of_endpoints(name, endpoint.as_slice(), more)
}

/// The same with any number of endpoints.
pub(super) fn of_endpoints(name: &str, endpoints: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|at| format!("{{endpoint: {{address: {}}}}}", address(*at))).collect();
    let endpoints = endpoints.join(", ");
    let assignment = format!("{{cluster_name: {name}, endpoints: [{{lb_endpoints: [{endpoints}]}}]}}");
    format!("{{name: {name}, type: STATIC, load_assignment: {assignment}, {more}}}")
}

/// A cluster's field that says what it speaks, such as `http2_protocol_options: {}`.
pub(super) fn speaks(options: &str) -> String {
    protocol(&format!("explicit_http_config: {{{options}}}"))
}

/// The same for one that speaks what the caller does.
pub(super) fn speaks_as_asked() -> String {
    protocol("use_downstream_protocol_config: {http_protocol_options: {}, http2_protocol_options: {}}")
}

fn protocol(options: &str) -> String {
    let kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    format!(
        "typed_extension_protocol_options: {{{kind}: {{\"@type\": type.googleapis.com/{kind}, {options}}}}}"
    )
}

fn address(at: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", at.ip(), at.port())
}
