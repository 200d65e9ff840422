//! Heads that could be read in two ways, and what HTTP/1.1 asks of a server beside answering.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::time::Duration;

use common::world::client::{Client, get, request};
use common::world::raw::{Raw, header_of};
use common::world::upstream::{Upstream, empty};
use common::world::{Http, World, one_service, run, within};
use http::Method;

/// A proxy before one upstream that is spoken to by `up`.
async fn world(up: Http) -> (World, Upstream) {
    let v1 = Upstream::start("v1").await;
    (World::start(&one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")])).await, v1)
}

/// What HTTP/1.1 cannot say in one way only.
#[test]
fn a_head_with_two_readings_is_refused_and_the_connection_closed() {
    run(async || {
        let (world, v1) = world(Http::One).await;
        let table = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x/y\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\na",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /s HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1, 1\r\n\r\na",
            "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: +1\r\n\r\na",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx-a : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: x\r\nx-a: a\0b\r\n\r\n",
        ];
        for text in table {
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write(text).await;
            let all = within(Duration::from_secs(5), text, raw.read_to_end()).await;
            assert!(all.starts_with("HTTP/1.1 400 "), "{text:?}: {all:?}");
            assert_eq!(all.matches("HTTP/1.").count(), 1, "{text:?}: {all:?}");
        }
        assert_eq!(v1.begun(), 0);
    });
}

#[test]
fn a_host_that_disagrees_with_the_authority_is_refused() {
    run(async || {
        let (world, v1) = world(Http::One).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        for (host, status) in [("other", 400), ("x", 200)] {
            let mut request = get("http://x/");
            request.headers_mut().insert("host", host.parse().expect("a host"));
            // The client must not move it into the authority.
            let Client::Two(sender) = &mut client else { unreachable!() };
            assert_eq!(sender.send_request(request).await.expect("an answer").status(), status);
        }
        assert_eq!(v1.seen().len(), 1);
    });
}

#[test]
fn upgrades_and_tunnels_are_refused_and_h2c_is_ignored() {
    run(async || {
        let (world, v1) = world(Http::One).await;
        let ask = async |head: &str| {
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write(head).await;
            raw.read_head().await.expect("an answer")
        };
        let websocket = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        let refused = ask(websocket).await;
        assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
        assert_eq!(header_of(&refused, "connection"), Some("close"));
        assert!(ask("CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        assert!(ask("OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n").await.starts_with("HTTP/1.1 404 "));
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        let connect = request(Method::CONNECT, "x:80").body(empty()).expect("a request");
        let Client::Two(sender) = &mut client else { unreachable!() };
        assert_eq!(sender.send_request(connect).await.expect("an answer").status(), 404);
        assert_eq!(v1.begun(), 0);
        let h2c = "GET / HTTP/1.1\r\nhost: x\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA\r\n\r\n";
        assert!(ask(h2c).await.starts_with("HTTP/1.1 200 "));
        assert_eq!((v1.only().header("upgrade"), v1.only().header("http2-settings")), (None, None));
    });
}

#[test]
fn requests_in_a_pipeline_are_answered_in_order() {
    run(async || {
        let upstream = Upstream::remembering(|seen| {
            http::Response::new(common::world::upstream::full(seen.target().to_owned()))
        })
        .await;
        let world = World::start(&one_service(&[], &[(&upstream.at(), "v1")])).await;
        let mut raw = Raw::connect(world.addr("in")).await;
        raw.write("GET /1 HTTP/1.1\r\nhost: x\r\n\r\nGET /2 HTTP/1.1\r\nhost: x\r\n\r\nGET /3 HTTP/1.1\r\nhost: x\r\n\r\n").await;
        for path in ["/1", "/2", "/3"] {
            assert_eq!(raw.read_answer().await.1, path);
        }
    });
}

#[test]
fn expect_100_continue_is_answered_here_and_goes_no_further() {
    run(async || {
        for up in Http::BOTH {
            let (world, v1) = world(up).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
                .await;
            let go_on = raw.read_head().await.expect("an answer");
            assert!(go_on.starts_with("HTTP/1.1 100 "), "{go_on}");
            raw.write("body").await;
            let (head, body) = raw.read_answer().await;
            assert!(head.starts_with("HTTP/1.1 200 ") && body == "v1", "{head}");
            let seen = v1.only();
            assert_eq!((seen.header("expect"), &seen.body[..]), (None, &b"body"[..]));
        }
    });
}
