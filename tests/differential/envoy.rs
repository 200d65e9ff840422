//! The real Envoy, configured as near to Weir as it can be.
//!
//! Law: what is compared is what Envoy does with the same choices made, not what a default of its leaves open: paths
//! are normalised, escaped slashes refused, HTTP/1.0, trailers and unknown methods let through.

// Compiled into two tests, neither of which uses all of it.
#![allow(dead_code)]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::LOG_FORMAT;

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
    /// Starts it before an upstream for HTTP/1.
    pub(super) fn start(program: &Path, upstream: SocketAddr) -> Envoy {
        Envoy::with(program, |log| configuration(upstream, log))
    }

    /// Starts it with a configuration of one's own, whose listener is `predict`; it is given the place of the access log.
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

fn configuration(upstream: SocketAddr, log: &Path) -> String {
    let (ip, port, log) = (upstream.ip(), upstream.port(), log.display());
    format!(
        r#"
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}}}
static_resources:
  listeners:
  - name: predict
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: predict
          codec_type: AUTO
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          delayed_close_timeout: 0.1s
          http_protocol_options:
            accept_http_10: true
            default_host_for_http_10: x
            enable_trailers: true
            allow_custom_methods: true
          http2_protocol_options:
            override_stream_error_on_invalid_http_message: true
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
              path: "{log}"
              log_format: {{text_format_source: {{inline_string: "{LOG_FORMAT}"}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {{prefix: "/"}}
                route: {{cluster: x, timeout: 0s}}
  clusters:
  - name: x
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{http_protocol_options: {{enable_trailers: true}}}}
    load_assignment:
      cluster_name: x
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: {ip}, port_value: {port}}}}}}}
"#
    )
}
