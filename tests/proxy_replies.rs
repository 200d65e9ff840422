//! What a caller gets when Weir itself answers: Envoy's status, body and flag; for a gRPC caller a gRPC status.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::time::{Duration, Instant};

use common::world::client::{self, Answer, Client, get, grpc_call, post, request};
use common::world::raw::{Goodbye, Raw, RawUpstream};
use common::world::upstream::{Upstream, channel, empty};
use common::world::{Http, World, free_port, one_service, run};
use http::Method;
use http_body::Frame;

const RESET: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// A plain answer of Weir's own.
fn is_plain(answer: &Answer, status: u16, body: &str) {
    assert_eq!((answer.status.as_u16(), answer.text()), (status, body));
    assert_eq!(answer.header("content-type"), (!body.is_empty()).then_some("text/plain"), "{answer:?}");
    assert_eq!(answer.header("x-envoy-upstream-service-time"), None);
    assert_eq!(answer.header("x-upstream"), None);
    if answer.version == http::Version::HTTP_11 {
        assert_eq!(answer.header("content-length"), Some(body.len().to_string().as_str()));
    }
    assert!(answer.header("date").is_some());
}

/// The same for a gRPC caller: the status stands in the head, and there is no body.
fn is_grpc(answer: &Answer, status: &str, message: &str) {
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-type")),
        (200, Some("application/grpc")),
        "{answer:?}"
    );
    assert_eq!((answer.header("grpc-status"), answer.text()), (Some(status), ""), "{answer:?}");
    assert_eq!(answer.header("grpc-message"), (!message.is_empty()).then_some(message));
}

/// Asks by each HTTP, and by gRPC; each answer must be `status` with `body`, and logged with `flag` and `details`.
async fn each_caller_gets(world: &World, status: u16, grpc: &str, body: &str, logged: &str) {
    for down in Http::BOTH {
        is_plain(&Client::connect(down, world.addr("in")).await.send(post("/m", "{}")).await, status, body);
        is_grpc(
            &Client::connect(down, world.addr("in")).await.send(grpc_call("/s/m", b"1")).await,
            grpc,
            body,
        );
    }
    let log = world.log(4).await;
    for (line, status) in log.iter().zip([status, 200].iter().cycle()) {
        assert!(line.starts_with(&format!("{status} {logged}")), "{line}");
    }
}

#[test]
fn no_known_service_is_404_with_nr() {
    run(async || {
        let yaml = "listeners:\n- {name: in, address: \"127.0.0.1:0\"}\nservices:\n\
                    - {name: other, endpoints: [{address: \"127.0.0.1:1\"}]}\n";
        each_caller_gets(&World::start(yaml).await, 404, "12", "", "NR route_not_found").await;
    });
}

#[test]
fn no_endpoint_is_503_with_uh() {
    run(async || {
        let world = World::start(&one_service(&[], &[])).await;
        each_caller_gets(&world, 503, "14", "no healthy upstream", "UH no_healthy_upstream").await;
    });
}

#[test]
fn a_closed_port_is_503_with_uf() {
    run(async || {
        let closed = format!("127.0.0.1:{}", free_port());
        let world = World::start(&one_service(&[], &[(&closed, "v1")])).await;
        let logged = "UF upstream_reset_before_response_started{remote_connection_failure}";
        each_caller_gets(&world, 503, "14", &format!("{RESET}remote connection failure"), logged).await;
    });
}

#[test]
fn a_request_too_many_is_503_with_uo() {
    run(async || {
        for up in Http::BOTH {
            let held = Upstream::holding().await;
            let settings = ["circuit_breakers: {requests: 1}", &format!("protocol: {}", up.protocol())];
            let world = World::start(&one_service(&settings, &[(&held.at(), "v1")])).await;
            let mut first = Client::connect(Http::Two, world.addr("in")).await;
            let mut first = std::pin::pin!(first.begin(get("/")));
            tokio::select! {
                _ = &mut first => panic!("the first is answered"),
                () = held.wait_begun(1) => {}
            }
            let body = format!("{RESET}overflow");
            for down in Http::BOTH {
                let answer = Client::connect(down, world.addr("in")).await.get("/").await;
                is_plain(&answer, 503, &body);
                assert_eq!(answer.header("x-envoy-overloaded"), Some("true"));
            }
            let answer =
                Client::connect(Http::Two, world.addr("in")).await.send(grpc_call("/s/m", b"1")).await;
            is_grpc(&answer, "14", &body);
            for line in world.log(3).await {
                assert!(line.contains(" UO upstream_reset_before_response_started{overflow} "), "{line}");
            }
            assert_eq!(held.begun(), 1);
        }
    });
}

#[test]
fn a_late_answer_is_504_with_ut_when_the_time_is_up() {
    run(async || {
        for up in Http::BOTH {
            let held = Upstream::holding().await;
            let settings = ["timeout: 200ms", &format!("protocol: {}", up.protocol())];
            let world = World::start(&one_service(&settings, &[(&held.at(), "v1")])).await;
            let start = Instant::now();
            each_caller_gets(&world, 504, "14", "upstream request timeout", "UT response_timeout").await;
            assert!(start.elapsed() >= Duration::from_millis(800), "four timeouts in a row");
            common::world::until("the upstream hears of it", || (held.cancelled() == 4).then_some(())).await;
            assert_eq!(world.metric("envoy_cluster_upstream_rq_timeout", &[]).await, 4.0);
        }
    });
}

#[test]
fn a_stream_on_which_nothing_moves_is_504_with_si() {
    run(async || {
        let held = Upstream::holding().await;
        let yaml = one_service(&[], &[(&held.at(), "v1")]) + "\nlimits: {stream_idle: 200ms}\n";
        let world = World::start(&yaml).await;
        each_caller_gets(&world, 504, "14", "stream timeout", "SI stream_idle_timeout").await;
        world.counts("http_downstream_rq_idle_timeout", 4.0).await;
        world.counts("http_downstream_rq_tx_reset", 0.0).await;
        world.counts("cluster_upstream_rq_tx_reset", 4.0).await;
    });
}

#[test]
fn a_request_whose_body_stops_coming_is_408_with_si() {
    run(async || {
        for up in Http::BOTH {
            let held = Upstream::holding().await;
            let protocol = format!("protocol: {}", up.protocol());
            let yaml = one_service(&[&protocol], &[(&held.at(), "v1")]) + "\nlimits: {stream_idle: 200ms}\n";
            let world = World::start(&yaml).await;
            for down in Http::BOTH {
                for grpc in [false, true] {
                    // Its sender is held.
                    let (sender, body) = channel();
                    sender.send(Frame::data("part".into())).expect("the other end is here");
                    let begun = if grpc { client::grpc("/s.S/M") } else { request(Method::POST, "/m") };
                    let request = begun.body(body).expect("a request");
                    let answer = Client::connect(down, world.addr("in")).await.send(request).await;
                    match grpc {
                        false => is_plain(&answer, 408, "stream timeout"),
                        true => is_grpc(&answer, "2", "stream timeout"),
                    }
                    assert_eq!(
                        answer.header("connection"),
                        (down == Http::One).then_some("close"),
                        "{down:?}"
                    );
                }
            }
            let statuses = [408, 200, 408, 200].map(|status| format!("{status} SI stream_idle_timeout 1 "));
            for (line, start) in world.log(4).await.iter().zip(statuses) {
                assert!(line.starts_with(&start), "{line}");
            }
            world.counts("http_downstream_rq_idle_timeout", 4.0).await;
        }
    });
}

#[test]
fn an_upstream_that_closes_before_its_head_is_503_with_uc() {
    run(async || {
        let closing = RawUpstream::going().await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&closing.at(), "v1")])).await;
        let logged = "UC upstream_reset_before_response_started{connection_termination} 1 ";
        each_caller_gets(&world, 503, "14", &format!("{RESET}connection termination"), logged).await;
        assert_eq!(closing.connections(), 4, "a POST is not sent twice");
    });
}

#[test]
fn an_upstream_that_resets_the_stream_is_503_with_ur() {
    run(async || {
        let resetting = RawUpstream::start_h2(|mut request, _| async move {
            request.body().await;
            request.reset(h2::Reason::INTERNAL_ERROR);
        })
        .await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&resetting.at(), "v1")])).await;
        let logged = "UR upstream_reset_before_response_started{remote_reset} 1 ";
        each_caller_gets(&world, 503, "14", &format!("{RESET}remote reset"), logged).await;
        assert_eq!(resetting.connections(), 1, "a stream that was reset ends no connection");
    });
}

#[test]
fn an_upstream_that_leaves_with_an_error_is_503_and_its_post_is_not_sent_again() {
    run(async || {
        let leaving = RawUpstream::start_h2(|mut request, _| async move {
            request.body().await;
            request.say_goodbye(Goodbye::Abrupt(h2::Reason::INTERNAL_ERROR));
        })
        .await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&leaving.at(), "v1")])).await;
        let answer = Client::connect(Http::Two, world.addr("in")).await.send(post("/m", "{}")).await;
        // GOAWAY and the end of the connection race each other.
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(leaving.connections(), 1);
    });
}

#[test]
fn an_answer_that_cannot_be_read_is_502_with_upe() {
    run(async || {
        for garbage in
            ["SSH-2.0-OpenSSH\r\n\r\n", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
        {
            let upstream = RawUpstream::start(move |mut raw, _| async move {
                raw.read_head().await;
                raw.write(garbage).await;
                raw.read_to_end().await
            })
            .await;
            let world = World::start(&one_service(&["protocol: http1"], &[(&upstream.at(), "v1")])).await;
            for down in Http::BOTH {
                let answer = Client::connect(down, world.addr("in")).await.get("/").await;
                is_plain(&answer, 502, &format!("{RESET}protocol error"));
            }
            for line in world.log(2).await {
                assert!(line.starts_with("502 UPE "), "{line}");
            }
        }
    });
}

#[test]
fn a_101_that_nobody_asked_for_is_a_bad_gateway() {
    run(async || {
        let upstream = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
            raw.read_to_end().await
        })
        .await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&upstream.at(), "v1")])).await;
        for down in Http::BOTH {
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!(answer.status, 502, "{answer:?}");
        }
    });
}

#[test]
fn an_answer_of_our_own_to_head_has_no_body() {
    run(async || {
        let world = World::start(&one_service(&[], &[])).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            let head = request(Method::HEAD, "/").body(empty()).expect("a request");
            let answer = client.send(head).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, ""), "{down:?}");
            assert_eq!(answer.header("content-length"), Some("19"));
            assert_eq!(client.get("/").await.text(), "no healthy upstream", "the connection goes on");
        }
    });
}

#[test]
fn a_head_that_is_too_large_is_431_and_one_below_the_limit_passes() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = one_service(&[], &[(&v1.at(), "v1")]) + "\nlimits: {head_bytes: 20KiB, head_count: 20}\n";
        let world = World::start(&yaml).await;
        for (fields, bytes, status) in [(10, 10, 200), (30, 10, 431), (1, 19 << 10, 200), (1, 21 << 10, 431)]
        {
            let mut raw = Raw::connect(world.addr("in")).await;
            let value = "v".repeat(bytes);
            let fields: String = (0..fields).map(|n| format!("x-{n}: {value}\r\n")).collect();
            raw.write(format!("GET / HTTP/1.1\r\nhost: x\r\n{fields}\r\n")).await;
            let head = raw.read_head().await.expect("an answer");
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        }
    });
}

#[test]
fn a_caller_that_still_sends_its_body_gets_the_answer_all_the_same() {
    run(async || {
        let closed = format!("127.0.0.1:{}", free_port());
        for endpoints in [vec![], vec![(closed.as_str(), "v1")]] {
            let world = World::start(&one_service(&[], &endpoints)).await;
            for down in Http::BOTH {
                for _ in 0..5 {
                    let mut client = Client::connect(down, world.addr("in")).await;
                    assert_eq!(client.send(post("/m", vec![7; 3_000_000])).await.status, 503, "{down:?}");
                }
            }
            // Refused before it is read, with `connection: close`.
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("POST /%2f HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n").await;
            raw.write(vec![7; 3_000_000]).await;
            assert!(raw.read_to_end().await.starts_with("HTTP/1.1 400 "));
        }
    });
}

#[test]
fn a_caller_that_asks_before_it_sends_its_body_is_refused_at_once() {
    run(async || {
        let world = World::start(&one_service(&[], &[])).await;
        let mut raw = Raw::connect(world.addr("in")).await;
        raw.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n").await;
        let (head, body) = raw.read_answer().await;
        assert!(head.starts_with("HTTP/1.1 503 ") && body == "no healthy upstream", "{head}");
        let closed =
            common::world::within(Duration::from_millis(1500), "the connection ends", raw.read_to_end())
                .await;
        assert_eq!(closed, "", "for nobody knows whether the body comes");
    });
}
