//! The rows of the table: what is set low, how it is passed, and what the caller gets.

use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use weir::telemetry::families::Limit;

use super::common::frames::{self, Frames, PREFACE, kind, whole};
use super::common::world::client::{Client, get};
use super::common::world::raw::Raw;
use super::common::world::{Http, SOON};
use super::{Row, Scene, counts, told, told_and_closed};

pub(super) fn of_heads() -> Vec<Row> {
    vec![
        Row {
            name: "bytes of a head",
            limit: Limit::HeadBytes,
            limits: "head_bytes: 8KiB",
            service: &[],
            times: 1..=1,
            also: &[],
            act: |scene| {
                async move {
                    let mut raw = scene.connect().await;
                    raw.write(format!("GET / HTTP/1.1\r\nhost: x\r\nx-a: {}\r\n\r\n", "a".repeat(9_000)))
                        .await;
                    told_and_closed(&mut raw).await
                }
                .boxed_local()
            },
            effect: "431 Request Header Fields Too Large, closed",
        },
        Row {
            name: "fields of a head, HTTP/1",
            limit: Limit::HeadCount,
            limits: "head_count: 10",
            service: &[],
            times: 1..=1,
            also: &[],
            act: |scene| {
                async move {
                    let mut raw = scene.connect().await;
                    raw.write(format!("GET / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x-a: b\r\n".repeat(10))).await;
                    told_and_closed(&mut raw).await
                }
                .boxed_local()
            },
            effect: "431 Request Header Fields Too Large, closed",
        },
        Row {
            name: "fields of a head, HTTP/2",
            limit: Limit::HeadCount,
            limits: "head_count: 10",
            service: &[],
            times: 1..=1,
            also: &[],
            act: |scene| {
                async move {
                    let mut request = get("/");
                    for n in 0..11 {
                        let name: http::HeaderName = format!("x-{n}").parse().expect("a name");
                        request.headers_mut().insert(name, http::HeaderValue::from_static("b"));
                    }
                    Client::connect(Http::Two, scene.world.addr("in"))
                        .await
                        .send(request)
                        .await
                        .status
                        .to_string()
                }
                .boxed_local()
            },
            effect: "431 Request Header Fields Too Large",
        },
        Row {
            name: "time for a head, HTTP/1",
            limit: Limit::HeadTimeout,
            limits: "head_timeout: 200ms",
            service: &[],
            times: 1..=1,
            also: &["envoy_http_downstream_rq_timeout"],
            act: |scene| {
                async move {
                    let mut raw = scene.connect().await;
                    raw.write("GET / HTTP/1.1\r\nho").await;
                    told_and_closed(&mut raw).await
                }
                .boxed_local()
            },
            effect: "408 request header timeout, closed",
        },
        Row {
            name: "time for the first head, HTTP/2",
            limit: Limit::HeadTimeout,
            limits: "head_timeout: 200ms",
            service: &[],
            times: 1..=1,
            also: &["envoy_http_downstream_rq_timeout"],
            act: |scene| {
                async move {
                    let mut raw = scene.connect().await;
                    raw.write([PREFACE, &frames::settings(&[])].concat()).await;
                    raw.read_to_end().await;
                    "closed".into()
                }
                .boxed_local()
            },
            effect: "closed",
        },
    ]
}

pub(super) fn of_connections() -> Vec<Row> {
    vec![
        Row {
            name: "connections to an admin address",
            limit: Limit::AdminConnections,
            limits: "",
            service: &[],
            times: 1..=1,
            also: &[],
            act: |scene| {
                async move {
                    let admin = scene.world.admin();
                    let mut held = Vec::new();
                    for _ in 0..64 {
                        held.push(Raw::connect(admin).await);
                    }
                    let newest = Client::connect(Http::One, admin).await.get("/ready").await;
                    // None of them has asked: the one that came first gives way.
                    let oldest = held[0].read_to_end().await;
                    format!(
                        "{} to the newest, {} bytes and the end to the oldest",
                        newest.status,
                        oldest.len()
                    )
                }
                .boxed_local()
            },
            effect: "200 OK to the newest, 0 bytes and the end to the oldest",
        },
        Row {
            name: "an idle connection, HTTP/1",
            limit: Limit::DownstreamIdle,
            limits: "downstream_idle: 300ms",
            service: &[],
            times: 1..=1,
            also: &["envoy_http_downstream_cx_idle_timeout"],
            act: |scene| async move { told_and_closed(&mut scene.begin("/").await).await }.boxed_local(),
            effect: "200 ok, closed",
        },
        Row {
            name: "a connection that has sent nothing",
            limit: Limit::DownstreamIdle,
            limits: "downstream_idle: 300ms",
            service: &[],
            times: 1..=1,
            also: &["envoy_http_downstream_cx_idle_timeout"],
            act: |scene| async move { told(&mut scene.connect().await).await }.boxed_local(),
            effect: "closed",
        },
        Row {
            name: "an idle connection, HTTP/2",
            limit: Limit::DownstreamIdle,
            limits: "downstream_idle: 300ms",
            service: &["protocol: http1"],
            times: 1..=1,
            also: &["envoy_http_downstream_cx_idle_timeout"],
            act: |scene| {
                async move {
                    let mut caller = Frames::connect(scene.world.addr("in")).await;
                    caller.write(whole(1, &frames::get("/"))).await;
                    loop {
                        match caller.next().await {
                            Some(frame) if frame.kind == kind::GOAWAY => {
                                break format!("GOAWAY {}", frame.code());
                            }
                            Some(_) => {}
                            None => break "closed without a word".into(),
                        }
                    }
                }
                .boxed_local()
            },
            effect: "GOAWAY 0",
        },
        Row {
            name: "connections",
            limit: Limit::Connections,
            limits: "connections: 1",
            service: &[],
            // Full once more with the second.
            times: 1..=2,
            also: &["envoy_listener_downstream_cx_overflow"],
            act: |scene| {
                async move {
                    let mut first = scene.begin("/").await;
                    let before = told(&mut first).await;
                    let mut second = scene.begin("/").await;
                    let start = std::time::Instant::now();
                    while counts(&scene.world).await["connections"] == 0 {
                        assert!(start.elapsed() < SOON, "accepting does not pause");
                    }
                    // The first goes on; the second waits until there is room.
                    first.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
                    let meanwhile = told(&mut first).await;
                    let waited = scene.taken.get();
                    drop(first);
                    format!("{before}, {meanwhile}, {waited} upstream, then {}", told(&mut second).await)
                }
                .boxed_local()
            },
            effect: "200 ok, 200 ok, 2 upstream, then 200 ok",
        },
    ]
}

pub(super) fn of_time() -> Vec<Row> {
    let held: fn(Rc<Scene>) -> LocalBoxFuture<'static, String> = |scene| {
        async move { format!("{} {}", told(&mut scene.begin("/hold").await).await, scene.flags().await) }
            .boxed_local()
    };
    let begun: fn(Rc<Scene>) -> LocalBoxFuture<'static, String> = |scene| {
        async move { format!("{} {}", told(&mut scene.begin("/begin").await).await, scene.flags().await) }
            .boxed_local()
    };
    let row = |name, limit, limits, service, also, act, effect| Row {
        name,
        limit,
        limits,
        service,
        times: 1..=1,
        also,
        act,
        effect,
    };
    vec![
        row(
            "no byte moves before the answer",
            Limit::StreamIdle,
            "stream_idle: 300ms",
            &[],
            &["envoy_http_downstream_rq_idle_timeout"],
            held,
            "504 stream timeout SI",
        ),
        row(
            "no byte moves in the answer",
            Limit::StreamIdle,
            "stream_idle: 300ms",
            &[],
            &["envoy_http_downstream_rq_idle_timeout"],
            begun,
            "200 a cut SI",
        ),
        row(
            "the time of a request before the answer",
            Limit::RequestTimeout,
            "",
            &["timeout: 300ms"],
            &["envoy_cluster_upstream_rq_timeout"],
            held,
            "504 upstream request timeout UT",
        ),
        row(
            "the time of a request in the answer",
            Limit::RequestTimeout,
            "",
            &["timeout: 300ms"],
            &[],
            begun,
            "200 a cut UT",
        ),
        row(
            "time to connect, up to SETTINGS",
            Limit::ConnectTimeout,
            "connect_timeout: 300ms",
            &["protocol: http2"],
            &["envoy_cluster_upstream_cx_connect_timeout"],
            |scene| {
                async move {
                    let answer = told(&mut scene.begin("/").await).await;
                    format!("{} {}", &answer[..3], scene.flags().await)
                }
                .boxed_local()
            },
            "503 UF",
        ),
    ]
}

pub(super) fn of_bytes() -> Vec<Row> {
    /// So many bodies of 20,000 bytes are more than a mebibyte.
    const BODIES: usize = 53;
    vec![
        Row {
            name: "bytes of all connections",
            limit: Limit::BufferBudget,
            limits: "buffer_budget: 1MiB",
            service: &["protocol: http1", "repeatable: true"],
            // What is on its way counts more than what is kept, so another may have to go.
            times: 1..=3,
            also: &["weir_buffer_resets_total"],
            act: |scene| {
                async move {
                    let mut first = scene.post("/hold", 20_000).await;
                    let mut others = Vec::new();
                    for _ in 1..BODIES {
                        others.push(scene.post("/hold", 20_000).await);
                    }
                    let answer = told(&mut first).await;
                    format!("{} {}", &answer[..3], scene.flags().await)
                }
                .boxed_local()
            },
            effect: "503 LR",
        },
        Row {
            name: "bytes of one connection",
            limit: Limit::BufferShare,
            limits: "buffer_budget: 1MiB",
            service: &["protocol: http1", "repeatable: true"],
            times: 1..=1,
            also: &["weir_buffer_resets_total"],
            act: |scene| {
                async move {
                    let answer = told(&mut scene.post("/hold", 200_000).await).await;
                    format!("{} {}", &answer[..3], scene.flags().await)
                }
                .boxed_local()
            },
            effect: "503 LR",
        },
        Row {
            name: "bytes kept of one request",
            limit: Limit::ReplayBytes,
            limits: "replay_bytes: 1KiB",
            service: &["protocol: http1", "repeatable: true"],
            times: 1..=1,
            also: &["weir_replay_exceeded_total"],
            act: |scene| {
                async move {
                    let answer = told(&mut scene.post("/drop", 5_000).await).await;
                    format!("{}, sent {} times", &answer[..3], scene.taken.get())
                }
                .boxed_local()
            },
            effect: "503, sent 1 times",
        },
        Row {
            name: "bytes kept of all requests",
            limit: Limit::ReplayBudget,
            limits: "replay_bytes: 20KiB, replay_budget: 20KiB",
            service: &["protocol: http1", "repeatable: true"],
            times: 1..=1,
            also: &["weir_replay_exceeded_total"],
            act: |scene| {
                async move {
                    let _kept = scene.post("/hold", 15_000).await;
                    let answer = told(&mut scene.post("/drop", 15_000).await).await;
                    format!("{}, sent {} times", &answer[..3], scene.taken.get() - 1)
                }
                .boxed_local()
            },
            effect: "503, sent 1 times",
        },
    ]
}

pub(super) fn of_clusters() -> Vec<Row> {
    vec![
        Row {
            name: "requests that wait for a connection",
            limit: Limit::MaxPending,
            limits: "",
            service: &["protocol: http1", "circuit_breakers: {connections: 1, pending: 1}"],
            times: 1..=1,
            also: &["envoy_cluster_upstream_rq_pending_overflow"],
            act: |scene| {
                async move {
                    let _in_flight = scene.begin("/hold").await;
                    scene.until_taken(1).await;
                    let _waits = scene.begin("/").await;
                    scene.world.counts("cluster_upstream_rq_pending_active", 1.0).await;
                    let answer = told(&mut scene.begin("/").await).await;
                    assert!(scene.world.metric("envoy_cluster_upstream_cx_overflow", &[]).await >= 1.0);
                    format!("{} {}", &answer[..3], scene.flags().await)
                }
                .boxed_local()
            },
            effect: "503 UO",
        },
        Row {
            name: "requests in flight",
            limit: Limit::MaxRequests,
            limits: "",
            service: &["circuit_breakers: {requests: 1}"],
            times: 1..=1,
            also: &["envoy_cluster_upstream_rq_pending_overflow"],
            act: |scene| {
                async move {
                    let _in_flight = scene.begin("/hold").await;
                    scene.until_taken(1).await;
                    let answer = told(&mut scene.begin("/").await).await;
                    format!("{} {}", &answer[..3], scene.flags().await)
                }
                .boxed_local()
            },
            effect: "503 UO",
        },
        Row {
            name: "retries in flight",
            limit: Limit::MaxRetries,
            limits: "",
            service: &["protocol: http1", "circuit_breakers: {retries: 0}"],
            times: 1..=1,
            also: &["envoy_cluster_upstream_rq_retry_overflow"],
            act: |scene| {
                async move {
                    let answer = told(&mut scene.begin("/drop").await).await;
                    format!("{} {}, sent {} times", &answer[..3], scene.flags().await, scene.taken.get())
                }
                .boxed_local()
            },
            effect: "503 UC, sent 1 times",
        },
    ]
}
