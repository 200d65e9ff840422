//! Moments, connections and trailers, whichever HTTP is spoken on either side.

use serde_json::Value;

use super::common::world::client::{Client, grpc_call, post};
use super::common::world::upstream::{self, Upstream};
use super::common::world::{Http, World, logged, one_service, run};

const FORMAT: &str = "{connection: \"%CONNECTION_ID%\", local: \"%UPSTREAM_LOCAL_ADDRESS%\", \
    remote: \"%UPSTREAM_REMOTE_ADDRESS%\", status: \"%TRAILER(grpc-status)%\", times: [\"%REQUEST_DURATION%\", \
    \"%REQUEST_TX_DURATION%\", \"%RESPONSE_DURATION%\", \"%DURATION%\"], rest: \"%RESPONSE_TX_DURATION%\"}";

/// A world before `upstream`, and where it logs.
async fn world(upstream: &Upstream, up: Http, folder: &std::path::Path) -> (World, std::path::PathBuf) {
    let log = folder.join("log");
    let access_log = format!("access_log: {{path: '{}', format: {{json: {FORMAT}}}}}\n", log.display());
    let protocol = format!("protocol: {}", up.protocol());
    let yaml = one_service(&[&protocol], &[(&upstream.at(), "v1")]);
    (World::start(&format!("{access_log}{yaml}")).await, log)
}

async fn lines(log: &std::path::Path, count: usize) -> Vec<Value> {
    let lines = logged(log, count).await;
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn moments_are_in_their_order_and_connections_are_told_apart_whichever_http_is_spoken() {
    run(async || {
        for (down, up) in Http::matrix() {
            let case = format!("{down:?} to {up:?}");
            let folder = tempfile::tempdir().expect("a folder");
            let upstream = Upstream::start("v1").await;
            let (world, log) = world(&upstream, up, folder.path()).await;
            let mut caller = Client::connect(down, world.addr("in")).await;
            for _ in 0..2 {
                assert_eq!(caller.send(post("/a", "a body")).await.status, 200, "{case}");
            }
            let mut another = Client::connect(down, world.addr("in")).await;
            another.send(post("/a", "a body")).await;
            let lines = lines(&log, 3).await;
            let connections: Vec<u64> =
                lines.iter().map(|line| line["connection"].as_u64().expect("a number")).collect();
            assert!(
                connections[0] == connections[1] && connections[1] != connections[2],
                "{case}: {lines:?}"
            );
            for line in &lines {
                assert_eq!(line["remote"], upstream.at(), "{case}");
                let local: std::net::SocketAddr =
                    line["local"].as_str().expect("a text").parse().expect("an address");
                assert!(local.ip().is_loopback() && local != upstream.addr(), "{case}: {line}");
                let times: Vec<u64> = line["times"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|time| time.as_u64().expect("a number"))
                    .collect();
                assert!(times.is_sorted() && line["rest"].as_u64() <= Some(times[3]), "{case}: {line}");
            }
            assert_eq!(lines[0]["local"], lines[1]["local"], "{case}: one connection upstream");
        }
    });
}

#[test]
fn trailers_of_a_call_are_logged() {
    run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let upstream = Upstream::handling(async |request| {
            http::Response::new(upstream::echoed(request, Some(upstream::grpc_ok())))
        })
        .await;
        let (world, log) = world(&upstream, Http::Two, folder.path()).await;
        let mut caller = Client::connect(Http::Two, world.addr("in")).await;
        let answer = caller.send(grpc_call("/p.S/M", b"payload")).await;
        assert_eq!(answer.grpc_status(), Some("0"));
        assert_eq!(lines(&log, 1).await[0]["status"], "0");
    });
}
