//! Upgrades of HTTP/1.1: WebSocket and others, once both ends have agreed bytes that nobody reads on their way.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use common::policed::{Policed, edits, policy};
use common::world::client::{Client, get};
use common::world::raw::{Raw, RawUpstream, header_of};
use common::world::upstream::Upstream;
use common::world::{Http, one_service, run, split_rule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir::snapshot::{Action, Route};

const ASK: &str = "GET /chat HTTP/1.1\r\nhost: x\r\nconnection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nx-upstream: v1\r\n\r\n";

/// A text frame with a mask, as a browser sends it: to the proxy nothing but bytes.
const FRAME: &[u8] = &[0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];

fn allows(upgrades: &'static [&'static str]) -> impl Fn(&mut Route) {
    move |route| match &mut route.action {
        Action::Forward(forward) => forward.upgrades = upgrades.iter().map(|&name| name.into()).collect(),
        other => panic!("{other:?}"),
    }
}

/// A proxy that lets WebSocket through to `at`.
fn world(at: &str) -> Policed {
    Policed::start(&one_service(&[], &[(at, "v1")]), &split_rule(&[("v1", 100)]), allows(&["websocket"]))
}

/// One that agrees, and sends back what it gets until it gets no more; then it says goodbye and closes.
async fn echo() -> RawUpstream {
    RawUpstream::start(|mut raw, _| async move {
        let head = raw.read_head().await.expect("a head");
        raw.write(AGREED).await;
        let mut stream = raw.into_stream();
        let mut bytes = vec![0; 64 << 10];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            if stream.write_all(&bytes[..read]).await.is_err() {
                return head;
            }
        }
        let _ = stream.write_all(b"goodbye").await;
        head
    })
    .await
}

async fn switched(world: &Policed) -> (Raw, String) {
    let mut raw = Raw::connect(world.addr()).await;
    raw.write(ASK).await;
    let head = raw.read_head().await.expect("a head");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (raw, head)
}

#[test]
fn frames_pass_both_ways_as_they_are() {
    run(async || {
        let upstream = echo().await;
        let world = world(&upstream.at());
        let (mut raw, head) = switched(&world).await;
        assert_eq!(header_of(&head, "upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        assert_eq!(header_of(&head, "connection"), Some("upgrade"));
        assert_eq!(header_of(&head, "content-length").or(header_of(&head, "transfer-encoding")), None);
        for _ in 0..3 {
            raw.write(FRAME).await;
            assert_eq!(raw.read_exact(FRAME.len()).await, FRAME);
        }
        let large: Vec<u8> = (0..1_000_000u32).map(|at| (at % 251) as u8).collect();
        let mut stream = raw.into_stream();
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; large.len()];
        let (sent, got) = tokio::join!(write.write_all(&large), read.read_exact(&mut back));
        sent.expect("written");
        got.expect("read");
        assert!(back == large);
        drop(stream);
        let line = world.last_log(1).await;
        assert!(line.starts_with("101 ") && line.ends_with(" 1 v1"), "{line}");
    });
}

#[test]
fn a_caller_that_sends_no_more_is_still_told_what_the_upstream_says() {
    run(async || {
        let upstream = echo().await;
        let world = world(&upstream.at());
        let (mut raw, _) = switched(&world).await;
        raw.write(FRAME).await;
        raw.read_exact(FRAME.len()).await;
        let mut stream = raw.into_stream();
        stream.shutdown().await.expect("an end");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.expect("an end in good order");
        assert_eq!(rest, b"goodbye");
        assert_eq!(world.last_log(1).await, "101 - via_upstream 1 v1");
    });
}

#[test]
fn an_upstream_that_closes_ends_the_tunnel_and_so_does_a_caller_that_leaves() {
    run(async || {
        let upstream = RawUpstream::start(|mut raw, _| async move {
            raw.read_head().await;
            raw.write([AGREED.as_bytes(), b"first"].concat()).await;
            String::new()
        })
        .await;
        let world = world(&upstream.at());
        let (mut raw, _) = switched(&world).await;
        assert_eq!(raw.read_to_end().await, "first", "what came behind the head is not lost");
        assert_eq!(world.last_log(1).await, "101 - via_upstream 1 v1");

        let upstream = echo().await;
        let world = self::world(&upstream.at());
        let (raw, _) = switched(&world).await;
        drop(raw);
        world.last_log(1).await;
        common::world::until("the upstream sees the end", || (!upstream.notes().is_empty()).then_some(()))
            .await;
        assert_eq!(world.metric("envoy_http_downstream_rq_active"), 0.0);
    });
}

#[test]
fn the_upstream_is_asked_for_the_same_by_http1_with_the_routes_edits() {
    run(async || {
        let upstream = echo().await;
        let yaml =
            one_service(&["protocol: auto"], &[(&upstream.at(), "v1")]).replace("  protocol: auto\n", "");
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| {
            allows(&["websocket"])(route);
            let policy = policy(route);
            policy.request_headers = edits(&["upgrade"], &[("tenant", "a"), ("connection", "close")], &[]);
            policy.response_headers = edits(&["upgrade"], &[("told", "yes")], &[]);
        });
        let (raw, head) = switched(&world).await;
        assert_eq!(header_of(&head, "told"), Some("yes"));
        drop(raw);
        common::world::until("the upstream sees the end", || (!upstream.notes().is_empty()).then_some(()))
            .await;
        let asked = upstream.notes().remove(0);
        assert!(asked.starts_with("GET /chat HTTP/1.1\r\n"), "{asked}");
        for (name, value) in [
            ("connection", "upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("tenant", "a"),
        ] {
            assert_eq!(header_of(&asked, name), Some(value), "{asked}");
        }
        assert_eq!(header_of(&asked, "transfer-encoding"), None);
    });
}

#[test]
fn what_no_route_allows_is_403_and_no_share_counts() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        for upgrades in [&[][..], &["other"]] {
            let yaml = one_service(&[], &[(&v1.at(), "v1")]);
            let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), allows(upgrades));
            let mut raw = Raw::connect(world.addr()).await;
            raw.write(ASK).await;
            let answer = raw.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            assert_eq!(world.last_log(1).await, "403 - upgrade_failed 0 -");
            assert_eq!(world.metric("weir_split_choices_total"), 0.0);
        }
        assert_eq!(v1.begun(), 0);
    });
}

#[test]
fn an_upstream_that_speaks_http2_and_a_request_with_a_body_are_403() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = one_service(&["protocol: http2"], &[(&v1.at(), "v1")]);
        let two = Policed::start(&yaml, &split_rule(&[("v1", 100)]), allows(&["websocket"]));
        let one = world(&v1.at());
        let with_body = ASK.replace("\r\n\r\n", "\r\ncontent-length: 2\r\n\r\nab");
        for (world, ask) in [(&two, ASK), (&one, &with_body)] {
            let mut raw = Raw::connect(world.addr()).await;
            raw.write(ask).await;
            let answer = raw.read_to_end().await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
        assert_eq!(v1.begun(), 0);
    });
}

#[test]
fn an_upstream_that_does_not_agree_is_passed_on_and_the_connection_closes() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = world(&v1.at());
        let mut raw = Raw::connect(world.addr()).await;
        raw.write(ASK).await;
        let answer = raw.read_to_end().await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nv1"), "{answer}");
        assert_eq!(header_of(&answer, "connection"), Some("close"));
        assert_eq!(world.last_log(1).await, "200 - via_upstream 1 v1");
    });
}

#[test]
fn a_protocol_that_was_not_asked_for_is_502_whether_one_was_asked_for_or_none() {
    run(async || {
        let other = AGREED.replace("websocket", "other");
        for (answer, ask) in
            [(other.clone(), ASK.to_owned()), (AGREED.into(), "GET / HTTP/1.1\r\nhost: x\r\n\r\n".into())]
        {
            let upstream = RawUpstream::start(move |mut raw, _| {
                let answer = answer.clone();
                async move {
                    raw.read_head().await;
                    raw.write(answer).await;
                    raw.read_to_end().await
                }
            })
            .await;
            let world = world(&upstream.at());
            let mut raw = Raw::connect(world.addr()).await;
            raw.write(ask).await;
            let (head, _) = raw.read_answer().await;
            assert!(head.starts_with("HTTP/1.1 502 "), "{head}");
            assert!(world.last_log(1).await.starts_with("502 UPE "));
        }
    });
}

#[test]
fn a_tunnel_in_which_nothing_moves_ends_at_the_idle_limit_and_a_routes_timeout_does_not_end_it() {
    run(async || {
        let upstream = echo().await;
        let yaml =
            one_service(&["timeout: 300ms"], &[(&upstream.at(), "v1")]) + "limits: {stream_idle: 2s}\n";
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), allows(&["websocket"]));
        let (mut raw, _) = switched(&world).await;
        let start = std::time::Instant::now();
        while start.elapsed() < std::time::Duration::from_millis(900) {
            raw.write(FRAME).await;
            assert_eq!(raw.read_exact(FRAME.len()).await, FRAME, "the timeout is over");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let line = world.last_log(1).await;
        assert!(line.starts_with("101 SI stream_idle_timeout "), "{line}");
    });
}

#[test]
fn a_hop_takes_what_the_split_allowed_and_other_requests_of_the_listener_go_on() {
    run(async || {
        let model = echo().await;
        let deliver = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x, mode: deliver}}\n\
             services:\n- name: x\n  endpoints:\n  - {{address: \"{}\", local: true, labels: {{version: v1}}}}\n",
            model.at()
        );
        let other = Policed::start(&deliver, "", |_| {});
        let world = world(&other.addr().to_string());
        let (mut raw, _) = switched(&world).await;
        raw.write(FRAME).await;
        assert_eq!(raw.read_exact(FRAME.len()).await, FRAME);
        let mut direct = Raw::connect(other.addr()).await;
        direct.write(ASK).await;
        assert!(direct.read_to_end().await.starts_with("HTTP/1.1 403 "), "it came from no Weir");
        let v1 = Upstream::start("v1").await;
        let plain = self::world(&v1.at());
        for down in Http::BOTH {
            assert_eq!(Client::connect(down, plain.addr()).await.send(get("/")).await.upstream(), "v1");
        }
    });
}
