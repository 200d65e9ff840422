//! Pingora as `benches/compare` measures it: its own proxy with our split, set up for speed.
//!
//!     weir-bench-pingora LISTEN http1|grpc THREADS ADDRESS=WEIGHT ADDRESS=WEIGHT...
//!
//! Worker threads that steal from nobody, upstream connections kept, no retries, no log, no cache. `grpc` is HTTP/2
//! with prior knowledge on both sides, with windows and streams so wide that they do not limit. Versions take turns
//! by their weights in the smooth way (nginx's): as even as the other proxies' splits.

use std::error::Error;
use std::sync::Mutex;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::protocols::ALPN;
use pingora::protocols::http::v2::server::default_h2_options;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::services::listening::Service;
use pingora::upstreams::peer::HttpPeer;

const WINDOW_BYTES: u32 = 1024 * 1024;
const USAGE: &str = "usage: weir-bench-pingora LISTEN http1|grpc THREADS ADDRESS=WEIGHT ADDRESS=WEIGHT...";

struct Version {
    peer: HttpPeer,
    weight: i64,
    /// The one with the most goes next: each turn adds its weight to everybody, and takes all of it from the chosen.
    credit: i64,
}

struct Split(Mutex<Vec<Version>>);

#[async_trait]
impl ProxyHttp for Split {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> pingora::Result<Box<HttpPeer>> {
        let mut versions = self.0.lock().expect("nobody panics while holding it");
        let total: i64 = versions.iter().map(|version| version.weight).sum();
        versions.iter_mut().for_each(|version| version.credit += version.weight);
        let next = versions.iter_mut().max_by_key(|version| version.credit).expect("one at least: see main");
        next.credit -= total;
        Ok(Box::new(next.peer.clone()))
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, protocol, threads, versions @ ..] = arguments.as_slice() else { return Err(USAGE.into()) };
    let h2c = match protocol.as_str() {
        "grpc" => true,
        "http1" => false,
        _ => return Err(USAGE.into()),
    };
    let versions = versions.iter().map(|text| version(text, h2c)).collect::<Result<Vec<_>, _>>()?;
    if versions.is_empty() {
        return Err(USAGE.into());
    }
    let mut server = Server::new_with_opt_and_conf(
        None,
        ServerConf {
            threads: threads.parse()?,
            work_stealing: false,
            upstream_keepalive_pool_size: 4096,
            grace_period_seconds: Some(0),
            graceful_shutdown_timeout_seconds: Some(0),
            ..ServerConf::default()
        },
    );
    server.bootstrap();
    let mut proxy = http_proxy(&server.configuration, Split(Mutex::new(versions)));
    let mut options = HttpServerOptions::default();
    options.h2c = h2c;
    proxy.server_options = Some(options);
    let mut windows = default_h2_options();
    windows.initial_window_size(WINDOW_BYTES).initial_connection_window_size(16 * WINDOW_BYTES);
    proxy.h2_options = Some(windows);
    let mut service = Service::new("split".to_owned(), proxy);
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever()
}

/// Reads `ADDRESS=WEIGHT`.
fn version(text: &str, h2c: bool) -> Result<Version, Box<dyn Error>> {
    let (address, weight) = text.split_once('=').ok_or(USAGE)?;
    let mut peer = HttpPeer::new(address.parse::<std::net::SocketAddr>()?, false, String::new());
    if h2c {
        peer.options.alpn = ALPN::H2;
        peer.options.max_h2_streams = 1000;
    }
    Ok(Version { peer, weight: weight.parse()?, credit: 0 })
}
