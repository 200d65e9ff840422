//! What a route answers itself: redirects and direct responses, by both HTTPs and to gRPC callers.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod policed;
    pub(crate) mod world;
}

use common::policed::Policed;
use common::world::client::{Answer, Client, get, grpc_call, post, request};
use common::world::upstream::{Upstream, empty};
use common::world::{Http, one_service, run, soon, split_rule};
use http::Method;
use weir::snapshot::{Action, DirectResponse, PathRewrite, Redirect, RedirectPort};

const NOTHING: Redirect = Redirect {
    scheme: None,
    host: None,
    port: RedirectPort::Request,
    path: None,
    strip_query: false,
    status: 301,
};

/// A proxy whose only route answers as `action` says; nobody is behind it.
fn answering(action: Action) -> Policed {
    let yaml = one_service(&[], &[("127.0.0.1:1", "v1")]);
    Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| route.action = action.clone())
}

fn redirecting(redirect: Redirect) -> Policed {
    answering(Action::Redirect(Box::new(redirect)))
}

fn direct(status: u16, body: Option<&str>, kind: Option<&str>) -> Policed {
    answering(Action::DirectResponse(Box::new(DirectResponse {
        status,
        body: body.map(Into::into),
        content_type: kind.map(Into::into),
    })))
}

async fn ask(down: Http, world: &Policed, target: &str, fields: &[(&'static str, &str)]) -> Answer {
    let mut request = get(target);
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    Client::connect(down, world.addr()).await.send(request).await
}

#[test]
fn a_redirect_names_the_parts_it_changes_and_keeps_the_others() {
    run(async || {
        let host = ("host", "x.default:8080");
        for (redirect, location) in [
            (NOTHING, "http://x.default:8080/a/b?q=1"),
            (Redirect { scheme: Some("https".into()), ..NOTHING }, "https://x.default/a/b?q=1"),
            (
                Redirect { host: Some("y.example".into()), port: RedirectPort::Number(81), ..NOTHING },
                "http://y.example:81/a/b?q=1",
            ),
            (
                Redirect { path: Some(PathRewrite::Full("/c".into())), strip_query: true, ..NOTHING },
                "http://x.default:8080/c",
            ),
            (
                Redirect { path: Some(PathRewrite::Segments("/c/".into())), ..NOTHING },
                "http://x.default:8080/c/a/b?q=1",
            ),
        ] {
            let world = redirecting(redirect);
            for down in Http::BOTH {
                let answer = ask(down, &world, "/a//b?q=1", &[host]).await;
                assert_eq!((answer.status.as_u16(), answer.header("location")), (301, Some(location)));
                assert_eq!(answer.text(), "");
            }
            assert_eq!(world.metric("envoy_http_rq_redirect"), 2.0);
            assert!(world.log(2).await.iter().all(|line| line == "301 - direct_response 0 -"));
        }
    });
}

#[test]
fn a_redirect_has_its_status_and_the_scheme_of_whoever_ended_tls() {
    run(async || {
        for status in [302, 303, 307, 308] {
            let world = redirecting(Redirect { status, ..NOTHING });
            for down in Http::BOTH {
                let answer = ask(down, &world, "/", &[("host", "x"), ("x-forwarded-proto", "https")]).await;
                assert_eq!((answer.status.as_u16(), answer.header("location")), (status, Some("https://x/")));
            }
        }
    });
}

#[test]
fn a_redirect_to_what_is_no_path_is_500() {
    run(async || {
        let world = redirecting(Redirect { path: Some(PathRewrite::Full("/%2f".into())), ..NOTHING });
        for down in Http::BOTH {
            assert_eq!(ask(down, &world, "/", &[]).await.status, 500);
        }
        assert!(world.log(2).await.iter().all(|line| line == "500 - path_rewrite_failed 0 -"));
    });
}

#[test]
fn a_direct_response_has_its_status_body_and_type() {
    run(async || {
        for (body, kind, told) in [
            (Some("{}"), Some("application/json"), Some("application/json")),
            (Some("text"), None, Some("text/plain")),
            (None, None, None),
        ] {
            let world = direct(418, body, kind);
            for down in Http::BOTH {
                let mut client = Client::connect(down, world.addr()).await;
                let answer = client.get("/").await;
                assert_eq!((answer.status.as_u16(), answer.text()), (418, body.unwrap_or_default()));
                assert_eq!(answer.header("content-type"), told);
                let head = client.send(request(Method::HEAD, "/").body(empty()).unwrap()).await;
                let length = body.unwrap_or_default().len().to_string();
                assert_eq!((head.text(), head.header("content-length")), ("", Some(&*length)));
                let posted = client.send(post("/", vec![7; 300_000])).await;
                assert_eq!((posted.status.as_u16(), posted.text()), (418, body.unwrap_or_default()));
            }
            assert_eq!(world.metric("envoy_http_rq_direct_response"), 6.0);
            assert!(world.log(6).await.iter().all(|line| line == "418 - direct_response 0 -"));
        }
    });
}

#[test]
fn an_answer_that_may_have_no_content_has_none_and_the_connection_serves_on() {
    run(async || {
        for status in [204, 304] {
            let world = direct(status, Some("text"), None);
            for down in Http::BOTH {
                let mut client = Client::connect(down, world.addr()).await;
                for _ in 0..2 {
                    let answer = client.get("/").await;
                    assert_eq!((answer.status.as_u16(), answer.text()), (status, ""));
                }
            }
        }
    });
}

#[test]
fn a_body_of_a_mebibyte_goes_out_whole_to_many_at_once() {
    run(async || {
        let text = "0123456789abcdef".repeat(1 << 16);
        let world = direct(200, Some(&text), None);
        for down in Http::BOTH {
            let one = || async {
                let answer = Client::connect(down, world.addr()).await.get("/").await;
                assert!(answer.text() == text, "{} bytes", answer.body.len());
            };
            futures_util::future::join_all((0..4).map(|_| one())).await;
        }
    });
}

#[test]
fn a_large_answer_that_nobody_reads_is_cut_when_it_is_idle() {
    run(async || {
        let text = "x".repeat(1 << 20);
        let yaml = one_service(&[], &[("127.0.0.1:1", "v1")]) + "limits: {stream_idle: 300ms}\n";
        let action = DirectResponse { status: 200, body: Some(text.into()), content_type: None };
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| {
            route.action = Action::DirectResponse(Box::new(action.clone()));
        });
        // Its window takes 64 KiB, and nobody reads them.
        let stream = tokio::net::TcpStream::connect(world.addr()).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = http::Request::get("http://x/").body(()).unwrap();
        let (answer, _) = sender.send_request(request, true).unwrap();
        let unread = soon("a head", answer).await.unwrap();
        let line = world.last_log(1).await;
        assert!(line.starts_with("200 SI stream_idle_timeout"), "{line}");
        drop(unread);
        assert_eq!(world.metric("envoy_http_downstream_rq_active"), 0.0);
    });
}

#[test]
fn a_grpc_caller_gets_the_status_that_stands_for_it() {
    run(async || {
        for (status, grpc) in [(403, "7"), (404, "12"), (503, "14"), (418, "2")] {
            let world = direct(status, Some("go away"), None);
            let answer = Client::connect(Http::Two, world.addr()).await.send(grpc_call("/s/m", b"1")).await;
            assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some(grpc)));
            assert_eq!(answer.header("grpc-message"), Some("go away"));
        }
        let world = redirecting(NOTHING);
        let answer = Client::connect(Http::Two, world.addr()).await.send(grpc_call("/s/m", b"1")).await;
        assert_eq!((answer.grpc_status(), answer.header("location").is_some()), (Some("2"), true));
    });
}

#[test]
fn no_version_is_chosen_for_what_is_answered_here() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = one_service(&[], &[(&v1.at(), "v1")]);
        let world = Policed::start(&yaml, &split_rule(&[("v1", 100)]), |route| {
            route.action = Action::Redirect(Box::new(NOTHING));
        });
        for down in Http::BOTH {
            ask(down, &world, "/", &[]).await;
        }
        assert_eq!(v1.begun(), 0);
        let choices = world.metric("weir_split_choices_total");
        assert!(choices.is_nan() || choices == 0.0, "{choices}");
    });
}
