//! The pause before another attempt, in the words of each dialect that has one.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use std::cell::Cell;

use common::dialects::{Served, gateway_route, to, virtual_service};
use common::world::client::get;
use common::world::upstream::{Upstream, full};
use common::world::{Http, run};
use futures_util::future::join_all;
use http::Response;

/// One that fails every other request, from the first on.
async fn failing_first() -> Upstream {
    let turn = Cell::new(0);
    Upstream::remembering(move |_| {
        let status = if turn.replace(turn.get() + 1) % 2 == 0 { 503 } else { 200 };
        Response::builder().status(status).body(full("answered")).expect("a response")
    })
    .await
}

/// The rules of a service whose requests have two seconds, and are tried again with this pause.
fn pausing(dialect: &str, pause: &str) -> String {
    match dialect {
        "VirtualService" => virtual_service(&format!(
            "{{timeout: 2s, retries: {{attempts: 1, retryOn: 5xx, backoff: {pause}}}, {}}}",
            to("v1")
        )),
        _ => gateway_route(
            "HTTPRoute",
            &format!(
                "{{timeouts: {{request: 2s}}, retry: {{codes: [503], attempts: 1, backoff: {pause}}}, \
                 backendRefs: [{{name: x-v1, port: 80}}]}}"
            ),
        ),
    }
}

/// A pause is drawn from nothing up to `backoff`: of nine years hardly one in a hundred million is of less than two seconds.
#[test]
fn another_attempt_is_not_made_before_its_pause_is_over() {
    run(async || {
        let each = |down, up, dialect, (pause, status, attempts)| async move {
            let rules = pausing(dialect, pause);
            let served = Served::with(up, failing_first().await, &rules).await;
            let answer = served.send(down, get("/m")).await;
            let told = (answer.status.as_u16(), served.v1.seen().len());
            assert_eq!(told, (status, attempts), "{dialect} {pause} {down:?} {up:?}");
            let retries = served.engine.metric("envoy_cluster_upstream_rq_retry");
            assert_eq!(retries, 1.0, "{dialect} {pause} {down:?} {up:?}: one was allowed in any case");
        };
        // All at once, as some wait for their time to end.
        let all = Http::matrix().flat_map(|(down, up)| {
            ["VirtualService", "HTTPRoute"].into_iter().flat_map(move |dialect| {
                [("1ms", 200, 2), ("80000h", 504, 1)].map(|one| each(down, up, dialect, one))
            })
        });
        join_all(all).await;
    });
}
