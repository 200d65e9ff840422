//! What a filter leaves out of the log, and what it does not.

use super::common::world::raw::Raw;
use super::common::world::{World, free_port, lines_of, run, until};
use super::upstream::Upstream;

/// What is asked: a path, the host, and the caller. The last is in every log, so that what stands before it is all.
const ASKED: [(&str, &str, &str); 6] = [
    ("/plain", "up", "curl/8"),
    ("/unavailable", "up", "curl/8"),
    ("/probe", "up", "kube-probe/1.31"),
    ("/no-route", "other", "curl/8"),
    ("/refused", "refused", "curl/8"),
    ("/last", "refused", "curl/8"),
];

/// The paths that are logged with `filter`.
async fn logged(filter: &str) -> Vec<String> {
    let upstream = Upstream::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("log");
    let (up, refused) = (upstream.at, free_port());
    let yaml = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\"}}]\n\
         access_log: {{path: '{}', format: '%REQ(:PATH)%', filter: {filter}}}\nservices:\n\
         - {{name: up, protocol: http1, endpoints: [{{address: \"{up}\"}}]}}\n\
         - {{name: refused, protocol: http1, endpoints: [{{address: \"127.0.0.1:{refused}\"}}]}}\n",
        log.display()
    );
    let world = World::start(&yaml).await;
    for (path, host, agent) in ASKED {
        let mut caller = Raw::connect(world.addr("in")).await;
        caller
            .write(format!(
                "GET {path} HTTP/1.1\r\nhost: {host}.default.svc.cluster.local\r\nuser-agent: {agent}\r\n\
                 connection: close\r\n\r\n"
            ))
            .await;
        caller.read_to_end().await;
    }
    let lines = until("the last is logged", || {
        Some(lines_of(&log)).filter(|lines| lines.last().is_some_and(|last| last == "/last"))
    })
    .await;
    lines[..lines.len() - 1].to_vec()
}

#[test]
fn a_filter_leaves_out_what_it_says_and_nothing_else() {
    run(async || {
        for (filter, expected) in [
            ("{}", &["/plain", "/unavailable", "/probe", "/no-route", "/refused"][..]),
            ("{status: {min: 500}}", &["/unavailable", "/refused"]),
            ("{status: {min: 400, max: 503}}", &["/unavailable", "/no-route", "/refused"]),
            ("{flags: [UH, UF]}", &["/refused"]),
            ("{flags: any}", &["/no-route", "/refused"]),
            ("{health_checks: false}", &["/plain", "/unavailable", "/no-route", "/refused"]),
            (
                "{duration: {max: 1h}, health_checks: false, status: {min: 404}}",
                &["/unavailable", "/no-route", "/refused"],
            ),
            (
                "{any: [{duration: {min: 1h}}, {flags: [UF]}, {status: {max: 404, min: 404}}]}",
                &["/no-route", "/refused"],
            ),
        ] {
            assert_eq!(logged(filter).await, expected, "{filter}");
        }
    });
}
