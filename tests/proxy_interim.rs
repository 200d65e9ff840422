//! Interim answers (1xx, RFC 9110 section 15.2): an upstream's are read over and change nothing, as in Envoy; the one that a
//! caller waits for before it sends its body is given here.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use bytes::Bytes;
use common::world::client::{Client, get, post};
use common::world::raw::{H2Request, Raw, RawUpstream};
use common::world::upstream::Upstream;
use common::world::{Http, World, one_service, run, soon, split_rule, until};
use http::{Request, Response};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// What a well-behaved upstream may say before its answer.
const INTERIM: [u16; 4] = [100, 102, 103, 103];

/// A status and a link, which is all that such an answer has.
fn interim(status: u16) -> String {
    format!("HTTP/1.1 {status} Wait\r\nlink: </a>; rel=preload\r\n\r\n")
}

fn inform(asked: &mut H2Request, status: u16) {
    let told =
        Response::builder().status(status).header("link", "</a>; rel=preload").body(()).expect("an answer");
    asked.respond.send_informational(told).expect("sent");
}

/// An upstream by `up` that says all of [`INTERIM`] before each answer `ok`.
async fn talkative(up: Http) -> RawUpstream {
    match up {
        Http::One => {
            RawUpstream::start(|mut raw, _| async move {
                while raw.read_head().await.is_some() {
                    for status in INTERIM {
                        raw.write(interim(status)).await;
                    }
                    raw.write("HTTP/1.1 200 OK\r\nx-upstream: ok\r\ncontent-length: 2\r\n\r\nok").await;
                }
                String::new()
            })
            .await
        }
        Http::Two => {
            RawUpstream::start_h2(|mut asked, _| async move {
                INTERIM.into_iter().for_each(|status| inform(&mut asked, status));
                asked.answer("ok");
            })
            .await
        }
    }
}

async fn serving(up: Http, at: &str, settings: &[&str], rules: &str) -> World {
    let protocol = format!("protocol: {}", up.protocol());
    let settings: Vec<&str> = [&*protocol].iter().chain(settings).copied().collect();
    World::with_rules(&one_service(&settings, &[(at, "v1")]), &[("r.yaml", rules)]).await
}

/// The fields of an answer's head, and what is read of its connection, are those of the answer alone; by a plain route and by one
/// that does more.
#[test]
fn interim_answers_of_an_upstream_are_read_over_and_its_connection_serves_on() {
    run(async || {
        let plain = split_rule(&[("v1", 100)]);
        let edited = plain.clone() + "  appendHeaders: {x-a: b}\n";
        for rules in [plain, edited] {
            for (down, up) in Http::matrix() {
                let upstream = talkative(up).await;
                let world = serving(up, &upstream.at(), &[], &rules).await;
                let mut caller = Client::connect(down, world.addr("in")).await;
                for _ in 0..3 {
                    let answer = caller.get("/").await;
                    assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"), "{down:?} {up:?}");
                    assert_eq!(
                        answer.header("link"),
                        None,
                        "what an interim answer says is not the answer's"
                    );
                }
                assert_eq!(upstream.connections(), 1, "{down:?} {up:?}");
            }
        }
    });
}

#[test]
fn nothing_of_an_interim_answer_reaches_a_caller() {
    run(async || {
        for up in Http::BOTH {
            let upstream = talkative(up).await;
            let world = serving(up, &upstream.at(), &[], &split_rule(&[("v1", 100)])).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
            let all = raw.read_to_end().await;
            assert!(all.starts_with("HTTP/1.1 200 ") && all.contains("\r\nok"), "{all}");
            assert!(all.matches("HTTP/1.1").count() == 1 && !all.contains("link"), "{all}");
        }
    });
}

/// The upstream is lost behind an interim answer: the request has no answer yet, and goes again where any such one would.
#[test]
fn an_attempt_that_is_lost_behind_an_interim_answer_is_made_again_as_one_without_it() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = match up {
                Http::One => {
                    RawUpstream::start(|mut raw, connection| async move {
                        raw.read_head().await;
                        raw.write(interim(103)).await;
                        if connection > 0 {
                            raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                            raw.read_head().await;
                        }
                        String::new()
                    })
                    .await
                }
                Http::Two => {
                    RawUpstream::start_h2(|mut asked, number| async move {
                        inform(&mut asked, 103);
                        match number {
                            0 => asked.reset(h2::Reason::INTERNAL_ERROR),
                            _ => asked.answer("ok"),
                        }
                    })
                    .await
                }
            };
            let world = serving(up, &upstream.at(), &[], &split_rule(&[("v1", 100)])).await;
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "ok"), "{down:?} {up:?}");
            assert!(world.log(1).await[0].starts_with("200 - via_upstream 2 "), "{:?}", world.log(1).await);
        }
    });
}

#[test]
fn interim_answers_are_no_answer_in_time() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = match up {
                Http::One => {
                    RawUpstream::start(|mut raw, _| async move {
                        raw.read_head().await;
                        raw.write(interim(102)).await;
                        raw.read_to_end().await
                    })
                    .await
                }
                Http::Two => {
                    RawUpstream::start_h2(|mut asked, _| async move {
                        inform(&mut asked, 102);
                        std::future::poll_fn(|cx| asked.respond.poll_reset(cx)).await.ok();
                    })
                    .await
                }
            };
            let world = serving(up, &upstream.at(), &["timeout: 200ms"], &split_rule(&[("v1", 100)])).await;
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!(answer.status, 504, "{down:?} {up:?}");
            assert!(world.log(1).await[0].starts_with("504 UT "), "{:?}", world.log(1).await);
        }
    });
}

/// A caller's stream of HTTP/2, by a crate that shows interim answers.
async fn h2_caller(world: &World) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(world.addr("in")).await.expect("a connection");
    let (sender, connection) = h2::client::handshake(stream).await.expect("a handshake");
    spawn_local(async move { drop(connection.await) });
    soon("a stream", sender.ready()).await.expect("a stream")
}

fn expecting(path: &str) -> Request<()> {
    Request::post(format!("http://x{path}"))
        .header("expect", "100-continue")
        .header("content-length", "4")
        .body(())
        .expect("a request")
}

#[test]
fn a_caller_that_waits_to_be_asked_for_its_body_is_asked_whichever_http_it_speaks() {
    run(async || {
        for up in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let world = serving(up, &v1.at(), &[], &split_rule(&[("v1", 100)])).await;
            let mut raw = Raw::connect(world.addr("in")).await;
            raw.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue\r\n\r\n")
                .await;
            let asked = raw.read_head().await.expect("an interim answer");
            assert!(asked.starts_with("HTTP/1.1 100 "), "{asked}");
            raw.write("body").await;
            let (head, body) = raw.read_answer().await;
            assert!(head.starts_with("HTTP/1.1 200 ") && body == "v1", "{head}");

            let mut sender = h2_caller(&world).await;
            let (mut answer, mut stream) = sender.send_request(expecting("/"), false).expect("sent");
            let asked =
                soon("an interim answer", std::future::poll_fn(|cx| answer.poll_informational(cx))).await;
            assert_eq!(asked.expect("one").expect("good").status(), 100, "{up:?}");
            stream.send_data(Bytes::from_static(b"body"), true).expect("sent");
            assert_eq!(soon("an answer", answer).await.expect("one").status(), 200);
            for seen in v1.seen() {
                assert_eq!(
                    (seen.header("expect"), &seen.body[..]),
                    (None, &b"body"[..]),
                    "it goes no further"
                );
            }
            assert_eq!(v1.seen().len(), 2);
        }
    });
}

#[test]
fn a_caller_that_is_refused_or_has_sent_all_is_not_asked_for_more() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let refused = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x}\nspec: {hosts: [x], http: [\
                       {match: [{uri: {prefix: /no}}], directResponse: {status: 413}}, {route: [{destination: {host: x}}]}]}\n";
        let world = serving(Http::One, &v1.at(), &[], refused).await;
        let mut sender = h2_caller(&world).await;
        let (mut answer, _stream) = sender.send_request(expecting("/no"), false).expect("sent");
        let asked = soon("the answer", std::future::poll_fn(|cx| answer.poll_informational(cx))).await;
        assert!(asked.is_none(), "the answer comes first: {asked:?}");
        assert_eq!(soon("the answer", answer).await.expect("one").status(), 413);

        let (mut answer, mut stream) = sender.send_request(expecting("/"), false).expect("sent");
        stream.send_data(Bytes::from_static(b"body"), true).expect("sent");
        let mut interim = 0;
        while let Some(one) =
            soon("the answer", std::future::poll_fn(|cx| answer.poll_informational(cx))).await
        {
            assert_eq!(one.expect("good").status(), 100);
            interim += 1;
        }
        assert!(interim <= 1, "asked once at most");
        assert_eq!(soon("the answer", answer).await.expect("one").status(), 200);
        until("the body", || (v1.seen().len() == 1).then_some(())).await;
        assert_eq!(v1.only().body, "body");
        for down in Http::BOTH {
            let mut asked = post("/", "body");
            asked.headers_mut().insert("expect", "100-continue".parse().expect("a value"));
            let answer = Client::connect(down, world.addr("in")).await.send(asked).await;
            assert_eq!(answer.upstream(), "v1", "{down:?}");
        }
        assert_eq!(Client::connect(Http::Two, world.addr("in")).await.send(get("/")).await.upstream(), "v1");
    });
}
