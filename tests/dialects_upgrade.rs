//! Upgrades as each dialect allows them: WebSocket passes where a rule, or the service, says so; elsewhere it is refused. What
//! a tunnel does in full is told by `policy_upgrade.rs`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dialects;
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::dialects::{gateway_route, route_rule, to, virtual_service};
use common::engine::Engine;
use common::world::client::{Client, get, request};
use common::world::raw::{Raw, RawUpstream, header_of};
use common::world::upstream::{Upstream, empty};
use common::world::{Http, one_service, run};
use http::Method;

/// A handshake that asks for `upgrade`, whose `connection` field is given.
fn ask(connection: &str, upgrade: &str) -> String {
    format!("GET /chat HTTP/1.1\r\nhost: x\r\n{connection}upgrade: {upgrade}\r\n\r\n")
}

const NOMINATED: &str = "connection: Upgrade\r\n";

/// An upstream that agrees to whatever it is asked for, and sends back the five bytes that come next. Each connection notes the head.
async fn agreeing() -> RawUpstream {
    RawUpstream::start(|mut raw, _| async move {
        let head = raw.read_head().await.unwrap_or_default();
        let Some(protocol) = header_of(&head, "upgrade") else {
            raw.write("HTTP/1.1 200 OK\r\nx-upstream: v1\r\ncontent-length: 2\r\n\r\nv1").await;
            return head;
        };
        raw.write(format!(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
        ))
        .await;
        let bytes = raw.read_exact(5).await;
        raw.write(bytes).await;
        head
    })
    .await
}

/// A proxy that goes to `at`, by `rules`.
fn serve(at: &str, setting: &str, rules: &str) -> Engine {
    let settings: Vec<&str> = (!setting.is_empty()).then_some(setting).into_iter().collect();
    Engine::start(1, &one_service(&settings, &[(at, "v1")]), rules)
}

/// Asks, and when the answer is 101 sends bytes through. The head of the answer.
async fn handshake(engine: &Engine, ask: &str) -> String {
    let mut raw = Raw::connect(engine.address("in")).await;
    raw.write(ask).await;
    let head = raw.read_head().await.expect("an answer");
    if head.starts_with("HTTP/1.1 101 ") {
        raw.write("bytes").await;
        assert_eq!(raw.read_exact(5).await, b"bytes");
    }
    head
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).expect("a status")
}

#[test]
fn each_dialect_lets_websocket_through_where_it_says_so() {
    run(async || {
        let all = "route: [{labels: {version: v1}}]";
        let backend = "{backendRefs: [{name: x-v1, port: 80}]}";
        for (setting, rules, code) in [
            ("", route_rule(&format!("websocketUpgrade: true, {all}")), "101"),
            ("", route_rule(&format!("websocketUpgrade: false, {all}")), "403"),
            ("", route_rule(all), "403"),
            ("", virtual_service(&format!("{{{}}}", to("v1"))), "101"),
            ("", gateway_route("HTTPRoute", backend), "101"),
            ("upgrades: [websocket]", String::new(), "101"),
            ("upgrades: [websocket]", route_rule(all), "101"),
            ("upgrades: [other]", String::new(), "403"),
        ] {
            let engine = serve(&agreeing().await.at(), setting, &rules);
            let head = handshake(&engine, &ask(NOMINATED, "websocket")).await;
            assert_eq!(status(&head), code, "{setting} {rules}");
        }
    });
}

/// By HTTP/2 nobody can ask for an upgrade but by an extended CONNECT, which no connection is told of.
#[test]
fn http2_callers_of_the_same_rules_are_served_and_cannot_switch() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        for rules in [
            route_rule("websocketUpgrade: true, route: [{labels: {version: v1}}]"),
            virtual_service(&format!("{{{}}}", to("v1"))),
            gateway_route("HTTPRoute", "{backendRefs: [{name: x-v1, port: 80}]}"),
        ] {
            let engine = serve(&v1.at(), "", &rules);
            for down in Http::BOTH {
                let mut caller = Client::connect(down, engine.address("in")).await;
                assert_eq!(caller.send(get("/chat")).await.upstream(), "v1", "{rules}");
            }
            let mut caller = Client::connect(Http::Two, engine.address("in")).await;
            let connect = request(Method::CONNECT, "x:80").body(empty()).expect("a request");
            let Client::Two(sender) = &mut caller else { unreachable!() };
            assert_eq!(sender.send_request(connect).await.expect("an answer").status(), 404);
        }
    });
}

/// RFC 9110 sections 7.6.1 and 7.8: a field that `connection` does not name is another hop's.
#[test]
fn an_upgrade_that_connection_does_not_name_is_none_and_the_request_is_served() {
    run(async || {
        for connection in ["", "connection: keep-alive\r\n", "connection: upgraded, not-upgrade\r\n"] {
            for rules in
                [route_rule("websocketUpgrade: true, route: [{labels: {version: v1}}]"), String::new()]
            {
                let upstream = agreeing().await;
                let engine = serve(&upstream.at(), "", &rules);
                let mut raw = Raw::connect(engine.address("in")).await;
                for _ in 0..2 {
                    raw.write(ask(connection, "websocket")).await;
                    let (head, body) = raw.read_answer().await;
                    assert_eq!((status(&head), body.as_str()), ("200", "v1"), "{connection}{rules}");
                    assert_eq!(header_of(&head, "connection"), None, "the connection serves on");
                }
                for head in upstream.notes() {
                    assert_eq!(header_of(&head, "upgrade"), None, "{head}");
                }
            }
        }
    });
}

#[test]
fn of_several_protocols_the_first_that_is_allowed_is_asked_for() {
    run(async || {
        for (upgrade, code, asked) in [
            ("websocket, foo", "101", "websocket"),
            ("foo/2, WebSocket", "101", "WebSocket"),
            ("foo\r\nupgrade: , websocket", "101", "websocket"),
            ("bar, websocket", "101", "bar"),
            ("h2c, websocket", "101", "websocket"),
            ("foo, baz", "403", ""),
        ] {
            for connection in [NOMINATED, "connection: keep-alive\r\nconnection: x, upgrade\r\n"] {
                let upstream = agreeing().await;
                let engine = serve(&upstream.at(), "upgrades: [websocket, bar]", "");
                let head = handshake(&engine, &ask(connection, upgrade)).await;
                assert_eq!(status(&head), code, "{upgrade}");
                if code == "101" {
                    assert_eq!(header_of(&head, "upgrade"), Some(asked), "{upgrade}");
                    common::world::until("the end", || (!upstream.notes().is_empty()).then_some(())).await;
                    assert_eq!(header_of(&upstream.notes()[0], "upgrade"), Some(asked), "{upgrade}");
                }
            }
        }
    });
}
