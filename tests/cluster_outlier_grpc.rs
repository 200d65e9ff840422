//! Outlier detection of gRPC calls: by the status that ends them, wherever it stands.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod clusters;
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::clusters::{EJECTED, caller, outlier, put_under, scraped, serve, throwing_out};
use common::engine::eventually;
use common::policed::{Policed, routes, share, versions};
use common::world::client::{Client, grpc_call};
use common::world::raw::{H2Request, RawUpstream};
use common::world::upstream::{Upstream, grpc_message};
use common::world::{Http, one_service, run, soon, split_rule, until};
use http::{HeaderMap, HeaderValue, Response};
use weir::snapshot::{
    BackOff, Fraction, Mirror, Outlier, RetryCondition, RetryPolicy, RoutePolicy, TrafficPolicy,
};

/// Three in a row, and for an hour.
fn traffic() -> TrafficPolicy {
    throwing_out(Outlier { max_ejection_percent: 50, always_eject_one_host: true, ..outlier(3) })
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// A head, then a status in the trailers.
    With(&'static str),
    /// The same behind a message.
    AfterMessage(&'static str),
    /// A head, then a reset.
    Cut,
    /// A head, and no end.
    Never,
}

async fn end(mut request: H2Request, ends: Ends) {
    request.body().await;
    let head = Response::builder().header("content-type", "application/grpc").body(()).expect("a head");
    let mut stream = request.respond.send_response(head, false).expect("a stream");
    let status = |code| {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static(code));
        trailers
    };
    match ends {
        Ends::With(code) => stream.send_trailers(status(code)).expect("sent"),
        Ends::AfterMessage(code) => {
            stream.send_data(grpc_message(b"hello"), false).expect("sent");
            stream.send_trailers(status(code)).expect("sent");
        }
        Ends::Cut => stream.send_reset(h2::Reason::INTERNAL_ERROR),
        Ends::Never => std::future::pending::<()>().await,
    }
}

/// An upstream whose calls end as `script` says, one after the other, and the last for ever.
async fn ending(script: &'static [Ends]) -> RawUpstream {
    RawUpstream::start_h2(move |request, number| end(request, script[number.min(script.len() - 1)])).await
}

#[test]
fn who_fails_every_call_in_its_trailers_is_thrown_out() {
    run(async || {
        for script in [&[Ends::With("14")], &[Ends::AfterMessage("13")], &[Ends::Cut]] {
            let (bad, good) = (ending(script).await, Upstream::start("good").await);
            let engine = serve(Http::Two, &[&bad.at(), &good.at()], &traffic());
            let mut client = caller(Http::Two, &engine).await;
            let mut failed = 0;
            for _ in 0..20 {
                let Ok(response) = client.begin(grpc_call("/s.S/M", b"hi")).await else { continue };
                match common::world::client::read(response).await {
                    Ok(answer) if answer.grpc_status() == Some("0") => {}
                    _ => failed += 1,
                }
            }
            assert_eq!((failed, good.seen().len()), (3, 17), "{script:?}");
            assert_eq!(scraped(&engine, EJECTED), 1.0);
        }
    });
}

/// `docs/metrics.md` says so, and that Envoy waits for the trailers.
#[test]
fn an_endpoints_own_counts_go_by_the_head_of_each_answer_whoever_watches() {
    run(async || {
        for traffic in [TrafficPolicy::default(), traffic()] {
            let bad = ending(&[Ends::With("14")]).await;
            let engine = serve(Http::Two, &[&bad.at()], &traffic);
            let answer = caller(Http::Two, &engine).await.send(grpc_call("/s.S/M", b"hi")).await;
            assert_eq!(answer.grpc_status(), Some("14"));
            let plane = engine.shared.plane.load_full().expect("a plane");
            let members = plane.clusters.iter().flat_map(|cluster| &cluster.state.members);
            let counts: Vec<(u64, u64)> = members
                .map(|member| &member.state.counts)
                .map(|counts| (counts.rq_success.load(Relaxed), counts.rq_error.load(Relaxed)))
                .collect();
            assert!(counts.contains(&(1, 0)) && !counts.iter().any(|(_, error)| *error > 0), "{counts:?}");
        }
    });
}

#[test]
fn so_is_one_whose_calls_are_all_made_again() {
    run(async || {
        let (bad, good) = (ending(&[Ends::With("14")]).await, Upstream::start("good").await);
        let yaml = one_service(&["protocol: http2"], &[(&bad.at(), "v1"), (&good.at(), "v1")]);
        let proxy = Policed::serving(&yaml, &split_rule(&[("v1", 100)]), |snapshot| {
            put_under(snapshot, &traffic());
            for route in routes(snapshot) {
                let retry = RetryPolicy {
                    on: [RetryCondition::Unavailable].into_iter().collect(),
                    back_off: BackOff { base: Duration::ZERO, max: Duration::ZERO },
                    ..RetryPolicy::default()
                };
                let policy = RoutePolicy { retry: Some(retry), ..RoutePolicy::default() };
                route.policy = Some(Arc::new(policy));
            }
        });
        let mut client = Client::connect(Http::Two, proxy.addr()).await;
        for _ in 0..20 {
            assert_eq!(client.send(grpc_call("/s.S/M", b"hi")).await.grpc_status(), Some("0"));
        }
        assert_eq!((good.seen().len(), scraped(&proxy.engine, EJECTED)), (20, 1.0));
        assert_eq!(proxy.metric("envoy_cluster_upstream_rq_retry"), 3.0);
    });
}

#[test]
fn a_call_that_ends_well_ends_the_run_and_so_does_one_whose_caller_leaves_behind_the_head() {
    run(async || {
        const BAD: Ends = Ends::With("14");
        for between in [Ends::With("0"), Ends::With("5"), Ends::AfterMessage("0"), Ends::Never] {
            let script: &'static [Ends] = Box::leak(Box::new([BAD, BAD, between, BAD, BAD, Ends::With("0")]));
            let upstream = ending(script).await;
            let engine = serve(Http::Two, &[&upstream.at()], &traffic());
            let mut client = caller(Http::Two, &engine).await;
            for ends in script {
                let response =
                    soon("a head", client.begin(grpc_call("/s.S/M", b"hi"))).await.expect("a head");
                if matches!(ends, Ends::Never) {
                    drop(response);
                    let quiet = || engine.metric("envoy_cluster_upstream_rq_active") == 0.0;
                    eventually("the call is over", quiet).await;
                    continue;
                }
                let answer = common::world::client::read(response).await.expect("an answer");
                assert!(answer.grpc_status().is_some());
            }
            assert_eq!(scraped(&engine, EJECTED), 0.0, "{between:?}");
        }
    });
}

#[test]
fn the_trailers_of_copies_count_as_well() {
    run(async || {
        let (good, bad) = (Upstream::start("good").await, ending(&[Ends::With("14")]).await);
        let yaml = one_service(&["protocol: http2"], &[(&good.at(), "v1"), (&bad.at(), "v2")]);
        let proxy = Policed::serving(&yaml, &split_rule(&[("v1", 100), ("v2", 0)]), |snapshot| {
            put_under(snapshot, &traffic());
            for route in routes(snapshot) {
                let Some(target) = versions(route).get(1).cloned() else { continue };
                share(route, "v1").mirrors = vec![Mirror { target, fraction: Fraction::ALWAYS }];
            }
        });
        let mut client = Client::connect(Http::Two, proxy.addr()).await;
        for _ in 0..3 {
            assert_eq!(client.send(grpc_call("/s.S/M", b"hi")).await.grpc_status(), Some("0"));
        }
        until("the shadow is out", || (scraped(&proxy.engine, EJECTED) == 1.0).then_some(())).await;
    });
}
