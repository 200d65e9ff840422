//! `health_check:` of weir.yaml through the whole proxy, in each of its kinds: who is ill gets nothing, whatever the
//! caller speaks.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use common::world::client::Client;
use common::world::raw::RawUpstream;
use common::world::upstream::{BoxBody, Seen, Upstream, frames, full, grpc_message, grpc_ok};
use common::world::{Http, SOON, World, free_port, one_service, run, until};
use http::Response;
use http_body::Frame;

/// One way to ask.
struct Kind {
    /// As `health_check:` says it, without times.
    said: &'static str,
    protocol: &'static str,
    /// What an endpoint is asked.
    target: &'static str,
    /// What it says while it is well, and while it is not.
    answer: fn(bool) -> Response<BoxBody>,
}

const KINDS: [Kind; 7] = [
    Kind {
        said: "http: {path: /healthz}",
        protocol: "http1",
        target: "/healthz",
        answer: |well| status(if well { 200 } else { 500 }),
    },
    Kind {
        said: "http: {path: \"/healthz?deep\", expected_statuses: [404, 200-204]}",
        protocol: "http2",
        target: "/healthz?deep",
        answer: |well| status(if well { 404 } else { 205 }),
    },
    Kind {
        said: "grpc: {}",
        protocol: "http2",
        target: "/grpc.health.v1.Health/Check",
        answer: |well| grpc(&[8, if well { 1 } else { 2 }]),
    },
    Kind {
        said: "grpc: {service_name: predict, authority: health.test}",
        protocol: "request",
        target: "/grpc.health.v1.Health/Check",
        answer: |well| if well { grpc(&[8, 1]) } else { status(404) },
    },
    Kind {
        said: "model: {name: half}",
        protocol: "http1",
        target: "/v1/models/half",
        answer: |well| model(if well { "AVAILABLE" } else { "LOADING" }),
    },
    Kind {
        said: "model: {name: half, version: 3}",
        protocol: "request",
        target: "/v1/models/half/versions/3",
        answer: |well| model(if well { "AVAILABLE" } else { "UNLOADING" }),
    },
    Kind {
        said: "model: {name: half, version: 3}",
        protocol: "http2",
        target: "/tensorflow.serving.ModelService/GetModelStatus",
        // `ModelVersionStatus{version: 3, state: AVAILABLE}`, or END.
        answer: |well| grpc(&[10, 4, 8, 3, 16, if well { 30 } else { 50 }]),
    },
];

fn status(status: u16) -> Response<BoxBody> {
    Response::builder().status(status).body(full("health")).expect("a response")
}

fn grpc(message: &[u8]) -> Response<BoxBody> {
    let body = frames(vec![Frame::data(grpc_message(message)), Frame::trailers(grpc_ok())]);
    Response::builder().header("content-type", "application/grpc").body(body).expect("a response")
}

fn model(state: &str) -> Response<BoxBody> {
    Response::new(full(format!(r#"{{"model_version_status": [{{"version": "3", "state": "{state}"}}]}}"#)))
}

/// An upstream that answers `/m` with its name, and everything else as `answer` does.
async fn upstream(name: &'static str, answer: impl Fn(&Seen) -> Response<BoxBody> + 'static) -> Upstream {
    Upstream::remembering(move |seen| match seen.target() {
        "/m" => Response::builder().header("x-upstream", name).body(full(name)).expect("a response"),
        _ => answer(&seen),
    })
    .await
}

async fn serve(said: &str, protocol: &str, endpoints: &[&str]) -> World {
    let check = format!("health_check: {{{said}, interval: 20ms, no_traffic_interval: 20ms, timeout: 10s}}");
    let settings = [&*check, &format!("protocol: {protocol}"), "panic_threshold: 0"];
    let endpoints: Vec<_> = endpoints.iter().map(|&at| (at, "v1")).collect();
    World::start(&one_service(&settings, &endpoints)).await
}

#[test]
fn who_a_check_finds_ill_gets_nothing_until_it_finds_him_well() {
    run(async || {
        for kind in &KINDS {
            for down in Http::BOTH {
                let is_well = Rc::new(Cell::new(false));
                let (answer, now) = (kind.answer, is_well.clone());
                let bad = upstream("bad", move |_| answer(now.get())).await;
                let good = upstream("good", move |_| answer(true)).await;
                let world = serve(kind.said, kind.protocol, &[&bad.at(), &good.at()]).await;
                let what = |told: &str| format!("{} {down:?}: {told}", kind.said);
                let mut client = Client::connect(down, world.addr("in")).await;
                client.get_until(&what("one is well"), |answer| answer.status == 200).await;
                for _ in 0..10 {
                    assert_eq!(client.get("/m").await.upstream(), "good", "{}", what("the other is ill"));
                }
                is_well.set(true);
                client.get_until(&what("it is well"), |answer| answer.text() == "bad").await;
                let before = bad.seen().iter().filter(|seen| seen.target() == "/m").count();
                for _ in 0..10 {
                    client.get("/m").await;
                }
                let after = bad.seen().iter().filter(|seen| seen.target() == "/m").count();
                assert_eq!(after - before, 5, "{}", what("it has its share"));
                is_well.set(false);
                let mut in_row = 0;
                let start = Instant::now();
                while in_row < 10 {
                    assert!(start.elapsed() < SOON, "{}", what("it never is ill again"));
                    in_row = if client.get("/m").await.upstream() == "good" { in_row + 1 } else { 0 };
                }
                let asked = bad.seen().into_iter().find(|seen| seen.target() != "/m").expect("a question");
                assert_eq!(asked.target(), kind.target, "{}", what("what it is asked"));
            }
        }
    });
}

#[test]
fn a_tcp_check_asks_for_a_connection_and_nothing_more() {
    run(async || {
        for down in Http::BOTH {
            let listens = RawUpstream::start(|mut raw, _| async move {
                match raw.read_head().await {
                    None => "left".into(),
                    Some(_) => {
                        raw.write("HTTP/1.1 200 OK\r\nx-upstream: listens\r\ncontent-length: 0\r\n\r\n")
                            .await;
                        "asked".to_owned()
                    }
                }
            })
            .await;
            let gone = format!("127.0.0.1:{}", free_port());
            let world = serve("tcp: {}", "http1", &[&gone, &listens.at()]).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            client.get_until("one is well", |answer| answer.status == 200).await;
            for _ in 0..10 {
                assert_eq!(client.get("/m").await.upstream(), "listens", "{down:?}");
            }
            until("it was looked at and left", || listens.notes().contains(&"left".into()).then_some(()))
                .await;
            assert_eq!(world.metric("envoy_cluster_upstream_cx_connect_fail", &[]).await, 0.0);
        }
    });
}

#[test]
fn where_several_checks_are_listed_all_have_to_be_good() {
    run(async || {
        for down in Http::BOTH {
            let is_well = Rc::new(Cell::new(false));
            let now = is_well.clone();
            let upstream = upstream("u", move |seen| match seen.target() {
                "/live" => status(200),
                _ => status(if now.get() { 200 } else { 503 }),
            })
            .await;
            let times = "interval: 20ms, no_traffic_interval: 20ms, timeout: 10s";
            let checks = format!(
                "health_check: [{{http: {{path: /live}}, {times}}}, {{http: {{path: /ready}}, {times}}}, {{tcp: {{}}, {times}}}]"
            );
            let world =
                World::start(&one_service(&[&checks, "panic_threshold: 0"], &[(&upstream.at(), "v1")])).await;
            let asked = |path: &str| upstream.seen().iter().filter(|seen| seen.target() == path).count();
            until("both are asked", || (asked("/live") > 1 && asked("/ready") > 1).then_some(())).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = client.get("/m").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"), "{down:?}");
            is_well.set(true);
            client.get_until("all are good", |answer| answer.status == 200).await;
        }
    });
}

#[test]
fn below_the_panic_threshold_ill_endpoints_are_asked_too_and_at_it_they_are_not() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (threshold, panics) in [(34, true), (33, false)] {
                let good = upstream("good", |_| status(200)).await;
                let (ill, worse) =
                    (upstream("ill", |_| status(503)).await, upstream("worse", |_| status(503)).await);
                let check = "health_check: {http: {path: /h}, interval: 20ms, no_traffic_interval: 20ms, timeout: 10s}";
                let settings = [
                    check,
                    &format!("protocol: {}", up.protocol()),
                    &format!("panic_threshold: {threshold}"),
                ];
                let at = [ill.at(), worse.at(), good.at()];
                let endpoints: Vec<_> = at.iter().map(|at| (at.as_str(), "v1")).collect();
                let world = World::start(&one_service(&settings, &endpoints)).await;
                world.counts("cluster_membership_healthy", 1.0).await;
                let mut client = Client::connect(down, world.addr("in")).await;
                let mut met = Vec::new();
                for _ in 0..12 {
                    met.push(client.get("/m").await.upstream().to_owned());
                }
                let of_good = met.iter().filter(|name| *name == "good").count();
                assert_eq!(of_good, if panics { 4 } else { 12 }, "{down:?} {up:?} {threshold}: {met:?}");
            }
        }
    });
}
