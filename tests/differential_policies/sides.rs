//! Both proxies with the same routes before the same kind of servers, and what comes of a request at each.
//!
//! Law: the two configurations are written from the same scenes; neither side's text is made from the other's.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::behind::Behind;
use super::common::world::{Http, World, free_port, lines_of, until};
use super::envoy::{self, Envoy};
use super::scene::Scene;

/// Of both. Probe, status, flags, details, attempts.
const LOG_FORMAT: &str = "%REQ(X-PROBE)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n";

/// The servers of one side.
struct Servers {
    one: Behind,
    two: Behind,
    shadow: Behind,
    /// Nobody listens there.
    refused: SocketAddr,
}

impl Servers {
    async fn start() -> Servers {
        Servers {
            one: Behind::start(Http::One).await,
            two: Behind::start(Http::Two).await,
            shadow: Behind::start(Http::One).await,
            refused: SocketAddr::from(([127, 0, 0, 1], free_port())),
        }
    }

    /// Name, address and version of HTTP of each cluster; without an address it has no endpoint.
    fn clusters(&self) -> [(&'static str, Option<SocketAddr>, Http); 5] {
        [
            ("one", Some(self.one.addr), Http::One),
            ("two", Some(self.two.addr), Http::Two),
            ("shadow", Some(self.shadow.addr), Http::One),
            ("refused", Some(self.refused), Http::One),
            ("none", None, Http::One),
        ]
    }
}

/// A proxy, what stands behind it, and its access log.
pub(super) struct Side {
    pub(super) addr: SocketAddr,
    log: PathBuf,
    servers: Servers,
    // Ends the proxy.
    _proxy: Proxy,
}

/// What lives as long as its side.
#[allow(dead_code)] // held, not read
enum Proxy {
    Envoy(Envoy),
    Weir(World, TempDir),
}

/// What both are told beside the routes.
#[derive(Clone, Copy, Default)]
pub(super) struct Limits {
    /// A request on which no byte moves.
    pub(super) stream_idle: Option<Duration>,
    /// A head that does not end.
    pub(super) head: Option<Duration>,
    /// Whether callers here are internal ones.
    pub(super) internal: bool,
}

impl Side {
    pub(super) async fn envoy(program: &Path, scenes: &[Scene], limits: Limits) -> Side {
        let servers = Servers::start().await;
        let envoy = Envoy::with(program, |log| for_envoy(scenes, &servers, limits, log));
        Side { addr: envoy.address, log: envoy.log.clone(), servers, _proxy: Proxy::Envoy(envoy) }
    }

    pub(super) async fn weir(scenes: &[Scene], limits: Limits) -> Side {
        let servers = Servers::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("access.log");
        let yaml = weir_yaml(&servers, limits, &log);
        let rules: String = scenes.iter().map(Scene::for_weir).collect();
        let world = World::with_rules(&yaml, &[("scenes.yaml", &rules)]).await;
        Side { addr: world.addr("in"), log, servers, _proxy: Proxy::Weir(world, folder) }
    }

    /// What came upstream of a probe: to the servers, and to the shadow.
    pub(super) fn upstream(&self, probe: &str) -> String {
        let mut words = [self.servers.one.got(probe), self.servers.two.got(probe)].concat();
        words.extend(self.servers.shadow.got(probe).into_iter().map(|copy| format!("copy {copy}")));
        // The attempts of one request differ in nothing that is told, but for the rare one.
        let mut counted: Vec<(String, usize)> = Vec::new();
        for word in words {
            match counted.last_mut() {
                Some((last, count)) if *last == word => *count += 1,
                _ => counted.push((word, 1)),
            }
        }
        let told = counted.into_iter().map(|(word, count)| match count {
            1 => word,
            count => format!("{count} times {word}"),
        });
        let told: Vec<String> = told.collect();
        if told.is_empty() { "nothing".to_owned() } else { told.join(" and ") }
    }

    /// Waits until the shadow has as many copies of a probe.
    pub(super) async fn copied(&self, probe: &str, count: usize) {
        until(&format!("{count} copies of {probe}"), || {
            (self.servers.shadow.got(probe).len() >= count).then_some(())
        })
        .await;
    }

    /// The lines of the access log by probe, once each of `probes` has one.
    pub(super) async fn logged(&self, probes: &[String]) -> BTreeMap<String, Vec<String>> {
        until("a line in the access log for each request", || {
            let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for line in lines_of(&self.log) {
                if let Some((probe, rest)) = line.split_once(' ') {
                    lines.entry(probe.to_owned()).or_default().push(rest.to_owned());
                }
            }
            probes.iter().all(|probe| lines.contains_key(probe)).then_some(lines)
        })
        .await
    }
}

fn weir_yaml(servers: &Servers, limits: Limits, log: &Path) -> String {
    let mut yaml = "listeners: [{name: in, address: \"127.0.0.1:0\"}]\nservices:\n".to_owned();
    for (name, address, http) in servers.clusters() {
        let endpoint = address.map(|address| format!("{{address: \"{address}\"}}")).unwrap_or_default();
        let _ = writeln!(
            yaml,
            "- {{name: {name}, protocol: {}, circuit_breakers: {{retries: 100}}, endpoints: [{endpoint}]}}",
            http.protocol()
        );
    }
    let limit = |key: &str, value: Option<Duration>| {
        value.map(|value| format!("{key}: {}ms, ", value.as_millis())).unwrap_or_default()
    };
    let (idle, head) = (limit("stream_idle", limits.stream_idle), limit("head_timeout", limits.head));
    let _ = writeln!(yaml, "limits: {{{idle}{head}connections: 1000}}");
    if limits.internal {
        let _ = writeln!(yaml, "internal_cidrs: [127.0.0.0/8]");
    }
    let _ = writeln!(yaml, "access_log: {{path: \"{}\", format: \"{LOG_FORMAT}\"}}", log.display());
    yaml
}

fn for_envoy(scenes: &[Scene], servers: &Servers, limits: Limits, log: &Path) -> String {
    let hosts: Vec<String> = scenes.iter().map(Scene::for_envoy).collect();
    let clusters = servers.clusters().map(|(name, address, http)| {
        let up = envoy::speaks(match http {
            Http::One => "http_protocol_options: {}",
            Http::Two => "http2_protocol_options: {}",
        });
        envoy::cluster(
            name,
            address,
            &format!("circuit_breakers: {{thresholds: [{{max_retries: 100}}]}}, {up}"),
        )
    });
    let limit = |key: &str, value: Option<Duration>| {
        value.map(|value| format!("{key}: {}s, ", value.as_secs_f64())).unwrap_or_default()
    };
    let (idle, head) =
        (limit("stream_idle_timeout", limits.stream_idle), limit("request_headers_timeout", limits.head));
    let internal = match limits.internal {
        true => {
            "use_remote_address: true, skip_xff_append: true, internal_address_config: {cidr_ranges: \
             [{address_prefix: 127.0.0.0, prefix_len: 8}]}, "
        }
        false => "",
    };
    let manager = "normalize_path: true, merge_slashes: true, delayed_close_timeout: 0.1s, \
                   server_header_transformation: PASS_THROUGH";
    envoy::bootstrap(
        &format!("{idle}{head}{internal}{manager}, {}", envoy::access_log(log, LOG_FORMAT)),
        &["cors.v3.Cors", "fault.v3.HTTPFault"],
        &format!("validate_clusters: false, virtual_hosts: [{}]", hosts.join(", ")),
        &clusters,
    )
}
