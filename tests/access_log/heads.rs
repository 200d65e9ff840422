//! Which head a line shows: the one that the upstream got, and of a request that went no further the one that came.

use super::common::world::raw::Raw;
use super::common::world::{World, lines_of, run, until};
use super::upstream::Upstream;

#[test]
fn a_request_that_goes_no_further_is_logged_as_it_came_and_under_the_trace_of_its_span() {
    run(async || {
        let upstream = Upstream::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("log");
        // Nobody collects the spans: all that counts is that there are some.
        let yaml = format!(
            "listeners: [{{name: in, address: \"127.0.0.1:0\"}}]\n\
             tracing: {{endpoint: \"http://collector.invalid:4318\", protocol: http, sample_percent: 100}}\n\
             access_log: {{path: '{}', format: '%REQ(:METHOD)% %REQ(:PATH)% %REQ(X-A)% %RESPONSE_FLAGS% %TRACE_ID%'}}\n\
             services: [{{name: up, protocol: http1, endpoints: [{{address: \"{}\"}}]}}]\n",
            log.display(),
            upstream.at
        );
        let world = World::start(&yaml).await;
        for (count, (host, line)) in
            [("up", "GET /b a -"), ("other", "GET //a/../b a NR")].into_iter().enumerate()
        {
            let mut caller = Raw::connect(world.addr("in")).await;
            caller
                .write(format!(
                    "GET //a/../b HTTP/1.1\r\nhost: {host}.default.svc.cluster.local\r\nx-a: a\r\nconnection: close\r\n\r\n"
                ))
                .await;
            caller.read_to_end().await;
            let lines =
                until("it is logged", || Some(lines_of(&log)).filter(|lines| lines.len() > count)).await;
            let (said, trace) = lines[count].rsplit_once(' ').expect("a line");
            assert_eq!(said, line);
            assert!(
                trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{}",
                lines[count]
            );
        }
    });
}
