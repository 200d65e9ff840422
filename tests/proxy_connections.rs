//! HTTP/1 connections in odd moments: who waits for whom, what is held meanwhile, and who is taken for gone.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::rc::Rc;
use std::time::Duration;

use common::world::raw::{Raw, RawUpstream};
use common::world::{Http, World, free_port, one_service, run, soon, within};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

/// An upstream that serves GET with `ok`, and echoes nothing.
async fn plain() -> RawUpstream {
    RawUpstream::start(|mut raw, _| async move {
        while raw.read_head().await.is_some() {
            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        }
        String::new()
    })
    .await
}

/// A server that sends its events one by one is no caller that does not read.
#[test]
fn an_answer_that_is_only_slow_to_come_is_charged_nothing() {
    run(async || {
        const CALLERS: usize = 40;
        let go_on = Rc::new(Notify::new());
        let told = go_on.clone();
        let slow = RawUpstream::start(move |mut raw, _| {
            let go_on = told.clone();
            async move {
                raw.read_head().await;
                raw.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
                go_on.notified().await;
                raw.write("6\r\nsecond\r\n0\r\n\r\n").await;
                raw.read_to_end().await
            }
        })
        .await;
        // Eight answers that nobody reads would be too many.
        let yaml =
            one_service(&["protocol: http1"], &[(&slow.at(), "v1")]) + "limits: {buffer_budget: 1MiB}\n";
        let world = World::start(&yaml).await;
        let mut callers = Vec::new();
        for _ in 0..CALLERS {
            let mut caller = Raw::connect(world.addr("in")).await;
            caller.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            caller.read_until(b"first\r\n").await.expect("the beginning");
            callers.push(caller);
        }
        // Longer than an answer may stand still before it counts as one that is not read.
        sleep(Duration::from_millis(800)).await;
        go_on.notify_waiters();
        for mut caller in callers {
            let rest = caller.read_to_end().await;
            assert!(rest.ends_with("6\r\nsecond\r\n0\r\n\r\n"), "{rest:?}");
        }
        assert_eq!(world.metric("weir_buffer_resets_total", &[]).await, 0.0);
    });
}

/// What is read of a body that was answered already begins no head, nor does an empty line (RFC 9112 section 2.2).
#[test]
fn a_connection_on_which_nothing_is_due_gets_no_408() {
    run(async || {
        let v1 = plain().await;
        let refused = format!("127.0.0.1:{}", free_port());
        let yaml = format!(
            "limits: {{head_timeout: 300ms}}\nlisteners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\n\
             - {{name: dead, address: \"127.0.0.2:0\", service: y}}\nservices:\n- name: x\n  endpoints: [{{address: \
             \"{}\", labels: {{version: v1}}}}]\n- name: y\n  endpoints: [{{address: \"{refused}\", labels: {{version: v1}}}}]\n",
            v1.at()
        );
        let world = World::start(&yaml).await;
        let late_body = {
            let mut caller = Raw::connect(world.addr("dead")).await;
            caller.write("POST / HTTP/1.1\r\nhost: y\r\ncontent-length: 5\r\n\r\n").await;
            assert!(caller.read_answer().await.0.starts_with("HTTP/1.1 503 "));
            caller.write("hello").await;
            ("a body that came after its answer", caller)
        };
        let empty_line = {
            let mut caller = Raw::connect(world.addr("in")).await;
            caller.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n\r\n").await;
            assert!(caller.read_answer().await.0.starts_with("HTTP/1.1 200 "));
            ("an empty line behind a request", caller)
        };
        sleep(Duration::from_millis(900)).await; // three times the limit
        for (row, mut caller) in [late_body, empty_line] {
            caller.write("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
            let head = caller.read_answer().await.0;
            assert!(head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.1 503 "), "{row}: {head}");
        }
        assert_eq!(world.metric("weir_limit_exceeded_total", &["head_timeout"]).await, 0.0);
    });
}

#[test]
fn a_caller_that_leaves_behind_an_early_answer_is_found_out() {
    run(async || {
        let early = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            raw.read_until(b"0\r\n\r\n").await.expect("the request's end");
            let since = Instant::now();
            raw.read_to_end().await;
            format!("gone after {} ms", since.elapsed().as_millis())
        })
        .await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&early.at(), "v1")])).await;
        let mut caller = Raw::connect(world.addr("in")).await;
        caller.write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n").await;
        caller.read_until(b"hello\r\n").await.expect("the early answer");
        caller.write("0\r\n\r\n").await;
        sleep(Duration::from_millis(50)).await; // the request is whole upstream before its caller leaves
        drop(caller);
        let log = within(Duration::from_secs(3), "the caller is found out", world.log(1)).await;
        assert!(log[0].starts_with("200 DC "), "{log:?}");
    });
}

/// To an HTTP/1.0 caller only a reset says that an answer of untold length was cut.
#[test]
fn a_cut_answer_is_reset_for_http_1_0_whatever_else_the_caller_has_sent() {
    run(async || {
        let cutting = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
            String::new()
        })
        .await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&cutting.at(), "v1")])).await;
        for behind in ["", "GET", "GET / HTTP/1.0\r\n\r\n"] {
            let mut caller = Raw::connect(world.addr("in")).await;
            caller.write(format!("GET / HTTP/1.0\r\nhost: x\r\n\r\n{behind}")).await;
            caller.read_until(b"hello").await.expect("the beginning");
            let mut stream = caller.into_stream();
            let end = soon("the end", tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 64])).await;
            let reset = end.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset);
            assert!(reset, "{behind:?}: {end:?}");
        }
    });
}

/// A request that takes no connection which was idle for long does not wait for one either.
#[test]
fn at_the_limit_of_connections_an_old_one_makes_room() {
    run(async || {
        let v1 = RawUpstream::start(|mut raw, _| async move {
            while raw.read_until(b"\r\n\r\nx").await.is_some() {
                raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            }
            String::new()
        })
        .await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1}"];
        let yaml = one_service(&settings, &[(&v1.at(), "v1")]) + "limits: {upstream_idle: {http1: 60s}}\n";
        let world = World::start(&yaml).await;
        let mut caller = Raw::connect(world.addr("in")).await;
        for pause in [0, 1_300] {
            sleep(Duration::from_millis(pause)).await;
            caller.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx").await;
            assert!(caller.read_answer().await.0.starts_with("HTTP/1.1 200 "));
        }
        assert_eq!(v1.connections(), 2);
    });
}

#[test]
fn what_is_wrong_with_a_body_is_counted_like_what_is_wrong_with_a_head() {
    run(async || {
        let v1 = plain().await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&v1.at(), "v1")])).await;
        let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let trailers: String = (0..120).map(|n| format!("x-{n}: 1\r\n")).collect();
        let rows = [(format!("{chunked}g\r\n"), 400), (format!("{chunked}0\r\n{trailers}\r\n"), 431)];
        for (bytes, status) in rows {
            let mut caller = Raw::connect(world.addr("in")).await;
            caller.write(bytes).await;
            let head = caller.read_answer().await.0;
            assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        }
        assert_eq!(world.metric("weir_limit_exceeded_total", &["head_count"]).await, 1.0);
        assert_eq!(world.metric("envoy_http_downstream_cx_protocol_error", &[]).await, 1.0);
    });
}

#[test]
fn trailers_behind_no_body_arrive_however_they_come() {
    run(async || {
        for up in Http::BOTH {
            let upstream = common::world::upstream::Upstream::start("v1").await;
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&upstream.at(), "v1")]);
            let world = World::start(&yaml).await;
            for pause in [false, true] {
                let mut caller = Raw::connect(world.addr("in")).await;
                caller.write("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
                if pause {
                    let nothing = timeout(Duration::from_millis(50), caller.read_head()).await;
                    assert!(nothing.is_err(), "{nothing:?}");
                }
                caller.write("0\r\nx-sum: 1\r\n\r\n").await;
                caller.read_answer().await;
            }
            for seen in upstream.seen() {
                let trailers = seen.trailers.as_ref().expect("trailers");
                assert_eq!(trailers["x-sum"], "1", "{up:?}");
            }
        }
    });
}
