//! What is sent once more, and what never is.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}
mod wire_upstream;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use common::world::client::{Answer, Client, get, grpc_call, post, request};
use common::world::raw::{Raw, RawUpstream};
use common::world::upstream::{Upstream, full, grpc_message};
use common::world::{Http, World, free_port, one_service, run, split_rule, until};
use http::{Method, Response};
use wire_upstream::battery::{Battery, Book, Ours, Outcome, Reuse, Row, Step, frames, write};
use wire_upstream::{http1_server, http2_server};

/// An upstream of `up` that takes each request and then fails it, with the count of those it took.
async fn failing(up: Http) -> (String, Rc<RefCell<usize>>) {
    let taken: Rc<RefCell<usize>> = Rc::default();
    let count = taken.clone();
    let upstream = match up {
        Http::One => {
            RawUpstream::start(move |mut raw, _| {
                let count = count.clone();
                async move {
                    // A dial without a request is none.
                    if raw.read_head().await.is_some() {
                        *count.borrow_mut() += 1;
                    }
                    String::new()
                }
            })
            .await
        }
        Http::Two => {
            RawUpstream::start_h2(move |mut request, _| {
                let count = count.clone();
                async move {
                    *count.borrow_mut() += 1;
                    request.body().await;
                    request.reset(h2::Reason::INTERNAL_ERROR);
                }
            })
            .await
        }
    };
    (upstream.at(), taken)
}

async fn send(down: Http, world: &World, method: Method) -> Answer {
    let body = if method == Method::GET { common::world::upstream::empty() } else { full("{}") };
    let request = request(method, "/m").body(body).expect("a request");
    Client::connect(down, world.addr("in")).await.send(request).await
}

#[test]
fn a_post_that_may_have_been_processed_is_not_sent_twice() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (at, taken) = failing(up).await;
            let v1 = Upstream::start("v1").await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&at, "v1"), (&v1.at(), "v1")])).await;
            let mut failed = 0;
            for _ in 0..10 {
                failed += usize::from(send(down, &world, Method::POST).await.status == 503);
            }
            assert_eq!((failed, *taken.borrow(), v1.seen().len()), (5, 5, 5), "{down:?} {up:?}");
            assert!(
                world.log(10).await.iter().all(|line| line.contains(" 1 default-route ")),
                "{down:?} {up:?}"
            );
        }
    });
}

#[test]
fn a_post_of_a_repeatable_service_and_an_idempotent_method_are_sent_once_more_elsewhere() {
    run(async || {
        for (down, up) in Http::matrix() {
            for (repeatable, method) in [(true, Method::POST), (false, Method::GET), (false, Method::PUT)] {
                let (at, taken) = failing(up).await;
                let v1 = Upstream::start("v1").await;
                let settings = [format!("protocol: {}", up.protocol()), format!("repeatable: {repeatable}")];
                let settings = settings.each_ref().map(String::as_str);
                let world = World::start(&one_service(&settings, &[(&at, "v1"), (&v1.at(), "v1")])).await;
                for _ in 0..10 {
                    assert_eq!(
                        send(down, &world, method.clone()).await.text(),
                        "v1",
                        "{down:?} {up:?} {method}"
                    );
                }
                assert!(*taken.borrow() > 0 && v1.seen().len() == 10);
                if method != Method::GET {
                    assert!(v1.seen().iter().all(|seen| seen.body == "{}"), "with the same body");
                }
            }
        }
    });
}

#[test]
fn at_most_one_retry_is_made() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (a, taken_a) = failing(up).await;
            let (b, taken_b) = failing(up).await;
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&a, "v1"), (&b, "v1")])).await;
            assert_eq!(send(down, &world, Method::GET).await.status, 503);
            assert_eq!((*taken_a.borrow(), *taken_b.borrow()), (1, 1), "{down:?} {up:?}");
            assert!(world.log(1).await[0].contains(" 2 default-route "));
        }
    });
}

#[test]
fn an_answer_of_the_upstream_is_never_asked_for_again_whatever_it_says() {
    run(async || {
        for (down, up) in Http::matrix() {
            let upstream = Upstream::remembering(|_| {
                Response::builder().status(503).body(full("busy")).expect("a response")
            })
            .await;
            let settings = [&format!("protocol: {}", up.protocol()), "repeatable: true"];
            let world =
                World::start(&one_service(&settings, &[(&upstream.at(), "v1"), (&upstream.at(), "v1")]))
                    .await;
            let answer = send(down, &world, Method::GET).await;
            assert_eq!((answer.status.as_u16(), answer.text(), upstream.seen().len()), (503, "busy", 1));
        }
    });
}

#[test]
fn no_retry_is_made_beyond_the_limit_of_retries() {
    run(async || {
        let going = RawUpstream::going().await;
        let v1 = Upstream::start("v1").await;
        let settings = ["protocol: http1", "circuit_breakers: {retries: 0}"];
        let world = World::start(&one_service(&settings, &[(&going.at(), "v1"), (&v1.at(), "v1")])).await;
        let mut failed = 0;
        for _ in 0..10 {
            failed += usize::from(send(Http::One, &world, Method::GET).await.status == 503);
        }
        assert_eq!((failed, going.connections(), v1.seen().len()), (5, 5, 5));
    });
}

#[test]
fn an_endpoint_that_refuses_connections_costs_no_request_while_there_is_another() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let closed = format!("127.0.0.1:{}", free_port());
            let protocol = format!("protocol: {}", up.protocol());
            let world = World::start(&one_service(&[&protocol], &[(&closed, "v1"), (&v1.at(), "v1")])).await;
            for _ in 0..10 {
                let answer = send(down, &world, Method::POST).await;
                assert_eq!(answer.status, 200, "{down:?} {up:?}: {answer:?}");
            }
            assert!(v1.seen().iter().all(|seen| seen.body == "{}"));
        }
    });
}

#[test]
fn a_retry_stays_within_the_version_that_was_chosen() {
    run(async || {
        let v2 = Upstream::start("v2").await;
        let closed = format!("127.0.0.1:{}", free_port());
        let yaml = one_service(&[], &[(&closed, "v1"), (&v2.at(), "v2")]);
        let world = World::with_rules(&yaml, &[("r.yaml", &split_rule(&[("v1", 50), ("v2", 50)]))]).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        let mut failed = 0;
        for _ in 0..100 {
            failed += usize::from(client.get("/").await.status == 503);
        }
        assert!((49..=51).contains(&failed) && v2.seen().len() == 100 - failed, "{failed}");
    });
}

#[test]
fn a_refused_stream_is_opened_again_with_the_same_body() {
    run(async || {
        for down in Http::BOTH {
            for reads_first in [false, true] {
                let bodies: Rc<RefCell<Vec<Vec<u8>>>> = Rc::default();
                let of_script = bodies.clone();
                let refusing = RawUpstream::start_h2(move |mut request, number| {
                    let bodies = of_script.clone();
                    async move {
                        let body = if reads_first || number % 2 == 1 { request.body().await } else { None };
                        if number % 2 == 0 {
                            return request.reset(h2::Reason::REFUSED_STREAM);
                        }
                        bodies.borrow_mut().extend(body);
                        request.answer("taken");
                    }
                })
                .await;
                let world = World::start(&one_service(&["protocol: http2"], &[(&refusing.at(), "v1")])).await;
                let mut client = Client::connect(down, world.addr("in")).await;
                let large: Vec<u8> = (0..200_000).map(|i| i as u8).collect();
                for body in [b"{}".to_vec(), large] {
                    let answer = client.send(post("/m", body.clone())).await;
                    assert_eq!(answer.text(), "taken", "{down:?} {answer:?}");
                    assert!(bodies.borrow().last() == Some(&body), "the same body");
                }
                assert_eq!(client.send(grpc_call("/s/m", b"call")).await.text(), "taken");
                assert_eq!(bodies.borrow().last(), Some(&grpc_message(b"call").to_vec()));
                assert!(world.log(3).await.iter().all(|line| line.contains(" 2 default-route ")));
            }
        }
    });
}

#[test]
fn a_stream_that_is_refused_again_is_given_up() {
    run(async || {
        let refusing = RawUpstream::start_h2(|mut request, _| async move {
            request.reset(h2::Reason::REFUSED_STREAM);
        })
        .await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&refusing.at(), "v1")])).await;
        let answer = send(Http::Two, &world, Method::POST).await;
        assert_eq!(answer.status, 503);
        assert!(answer.text().ends_with("remote refused stream reset"), "{answer:?}");
        assert!(world.log(1).await[0].contains(" 2 default-route "));
    });
}

#[test]
fn a_body_that_was_too_large_to_keep_is_not_sent_again() {
    run(async || {
        let refusing = RawUpstream::start_h2(|mut request, number| async move {
            request.body().await;
            if number == 0 { request.reset(h2::Reason::REFUSED_STREAM) } else { request.answer("taken") }
        })
        .await;
        let yaml =
            one_service(&["protocol: http2"], &[(&refusing.at(), "v1")]) + "\nlimits: {replay_bytes: 1KiB}\n";
        let world = World::start(&yaml).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        assert_eq!(client.send(post("/m", vec![7; 100_000])).await.status, 503);
        assert_eq!(client.send(post("/m", vec![7; 1000])).await.text(), "taken");
        assert!(world.log(1).await[0].contains(" 1 default-route "));
    });
}

/// HTTP/2 by hand: takes the first request and says GOAWAY below it, as a server does that restarts.
async fn says_goodbye(mut raw: Raw) {
    const PREFACE: usize = 24;
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY_BELOW_ALL: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    const HEADERS: u8 = 1;
    raw.read_exact(PREFACE).await;
    raw.write(SETTINGS).await;
    loop {
        let head = raw.read_exact(9).await;
        raw.read_exact(usize::from(head[1]) << 8 | usize::from(head[2])).await;
        if head[3] == HEADERS {
            raw.write(GOAWAY_BELOW_ALL).await;
            raw.read_to_end().await;
            return;
        }
    }
}

#[test]
fn a_stream_above_a_goaway_is_opened_again_on_another_connection_with_the_same_body() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let behind = v1.addr();
            let leaving = RawUpstream::start(move |raw, number| async move {
                if number == 0 {
                    says_goodbye(raw).await;
                } else {
                    let mut there = tokio::net::TcpStream::connect(behind).await.expect("connected");
                    let _ = tokio::io::copy_bidirectional(&mut raw.into_stream(), &mut there).await;
                }
                String::new()
            })
            .await;
            let world = World::start(&one_service(&["protocol: http2"], &[(&leaving.at(), "v1")])).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            assert_eq!(client.send(post("/m", "body")).await.text(), "v1");
            assert_eq!((&v1.only().body[..], leaving.connections()), (&b"body"[..], 2));
        }
    });
}

#[test]
fn a_connection_that_the_upstream_closed_while_it_was_idle_costs_no_request() {
    run(async || {
        for (down, method) in
            Http::BOTH.into_iter().flat_map(|down| [(down, Method::POST), (down, Method::GET)])
        {
            let closing = RawUpstream::start(|mut raw, _| async move {
                raw.read_head().await;
                raw.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                String::new()
            })
            .await;
            let world = World::start(&one_service(&["protocol: http1"], &[(&closing.at(), "v1")])).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for n in 1..=50 {
                let request = if method == Method::POST { post("/m", "") } else { get("/") };
                let answer = client.send(request).await;
                assert_eq!(answer.text(), "ok", "{down:?} {method} {n}");
                // The end of the old connection is on its way before the next request.
                until("the upstream closed", || (closing.notes().len() >= n).then_some(())).await;
            }
        }
    });
}

#[test]
fn an_http2_connection_that_ended_while_it_was_idle_costs_no_request() {
    run(async || {
        let closing = RawUpstream::start(|raw, _| async move {
            let mut peer = http1_server::Peer::over(raw.into_stream());
            http2_server::greet(&mut peer, &[]).await;
            if let Some(id) = http2_server::next_request(&mut peer, 0, || false).await {
                let answer = [http2_server::ok(id), http2_server::data(id, "ok", true)].concat();
                let _ = peer.write(&answer).await;
            }
            String::new()
        })
        .await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&closing.at(), "v1")])).await;
        let mut client = Client::connect(Http::Two, world.addr("in")).await;
        for n in 1..=50 {
            assert_eq!(client.send(post("/m", "x")).await.text(), "ok", "{n}");
            // The end of the old connection is on its way before the next request.
            until("the upstream closed", || (closing.notes().len() >= n).then_some(())).await;
        }
    });
}

/// What the failure of an attempt says of its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// It was not processed: it goes again.
    Unprocessed,
    /// It may have been: it goes again if its method or its service allows that.
    Lost,
    /// Nothing that another attempt could mend, or too late: it never goes again.
    Final,
}

type Kind = (&'static str, fn() -> Vec<Step>, Outcome, Tells);

const HTTP1_KINDS: [Kind; 8] = [
    ("closes", || vec![Step::Fin], Outcome::Ours(Ours::Closed), Tells::Lost),
    ("resets", || vec![Step::Rst], Outcome::Ours(Ours::Closed), Tells::Lost),
    (
        "closes in its head",
        || vec![write("HTTP/1.1 200"), Step::Fin],
        Outcome::Ours(Ours::Closed),
        Tells::Lost,
    ),
    (
        "closes after 100",
        || vec![write("HTTP/1.1 100 Continue\r\n\r\n"), Step::Fin],
        Outcome::Ours(Ours::Closed),
        Tells::Lost,
    ),
    ("garbage", || vec![write("garbage\r\n\r\n"), Step::Hold], Outcome::Ours(Ours::Protocol), Tells::Final),
    (
        "503",
        || vec![write("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")],
        Outcome::Whole(503, ""),
        Tells::Final,
    ),
    (
        "421 of a model server",
        || vec![write("HTTP/1.1 421 Elsewhere\r\ncontent-length: 0\r\n\r\n")],
        Outcome::Whole(421, ""),
        Tells::Final,
    ),
    (
        "a cut in the body",
        || vec![write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nbegun"), Step::Head, Step::Fin],
        Outcome::Cut(200, &["UC"]),
        Tells::Final,
    ),
];

const HTTP2_KINDS: [Kind; 10] = [
    ("closes", || vec![Step::Fin], Outcome::Ours(Ours::Closed), Tells::Lost),
    ("resets the connection", || vec![Step::Rst], Outcome::Ours(Ours::Closed), Tells::Lost),
    (
        "INTERNAL_ERROR",
        || vec![frames(|id| http2_server::rst(id, 2))],
        Outcome::Ours(Ours::Reset),
        Tells::Lost,
    ),
    ("CANCEL", || vec![frames(|id| http2_server::rst(id, 8))], Outcome::Ours(Ours::Reset), Tells::Lost),
    (
        "GOAWAY with an error",
        || vec![frames(|_| http2_server::goaway(0, 2)), Step::Fin],
        Outcome::Ours(Ours::Reset),
        Tells::Lost,
    ),
    (
        "REFUSED_STREAM",
        || vec![frames(|id| http2_server::rst(id, 7))],
        Outcome::Ours(Ours::Refused),
        Tells::Unprocessed,
    ),
    (
        "GOAWAY below",
        || vec![frames(|_| http2_server::goaway(0, 0)), Step::Hold],
        Outcome::Ours(Ours::Reset),
        Tells::Unprocessed,
    ),
    ("garbage", || vec![frames(|_| vec![0xff; 64]), Step::Hold], Outcome::Ours(Ours::Protocol), Tells::Final),
    (
        "503",
        || vec![frames(|id| http2_server::headers(id, &[(":status", "503")], true))],
        Outcome::Whole(503, ""),
        Tells::Final,
    ),
    (
        "a cut in the body",
        || vec![frames(http2_server::ok), Step::Head, frames(|id| http2_server::rst(id, 2))],
        Outcome::Cut(200, &["UR"]),
        Tells::Final,
    ),
];

/// Methods, and whether RFC 9110 section 9.2.2 calls them idempotent.
const METHODS: [(&str, bool); 9] = [
    ("POST", false),
    ("PATCH", false),
    ("BREW", false),
    ("GET", true),
    ("HEAD", true),
    ("OPTIONS", true),
    ("TRACE", true),
    ("PUT", true),
    ("DELETE", true),
];

/// A proxy before an upstream that counts what it is sent, and fails as rows say.
async fn counting(up: Http, settings: &[&str]) -> Battery {
    let book = Rc::<Book>::default();
    let protocol = format!("protocol: {}", up.protocol());
    let settings = [&[&protocol[..]], settings].concat();
    let rest = "limits: {upstream_idle: {http1: 3s, http2: 3s}}";
    match up {
        Http::One => {
            let next = write("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnext");
            Battery::start(&settings, rest, http1_server::serve(book.clone()).await, book, next).await
        }
        Http::Two => {
            let next = frames(|id| [http2_server::ok(id), http2_server::data(id, "next", true)].concat());
            Battery::start(&settings, rest, http2_server::serve(book.clone()).await, book, next).await
        }
    }
}

#[test]
fn no_failure_of_any_kind_sends_a_request_twice_that_may_have_been_processed_and_must_not_be_repeated() {
    run(async || {
        for up in Http::BOTH {
            let kinds = if up == Http::One { &HTTP1_KINDS[..] } else { &HTTP2_KINDS[..] };
            for repeatable in [false, true] {
                let mut rows = Vec::new();
                for (kind, (method, idempotent)) in
                    kinds.iter().flat_map(|kind| METHODS.map(|method| (kind, method)))
                {
                    let (name, steps, outcome, tells) = *kind;
                    // The answer to HEAD has no body that could be cut.
                    if method == "HEAD" && matches!(outcome, Outcome::Cut(..)) {
                        continue;
                    }
                    let again = match tells {
                        Tells::Unprocessed => true,
                        Tells::Lost => idempotent || repeatable,
                        Tells::Final => false,
                    };
                    let method = Method::from_bytes(method.as_bytes()).expect("a token");
                    let row = Row::new(name, "RFC 9110 9.2.2", steps(), outcome, Reuse::May).by(method);
                    rows.push(row.attempts(if again { 2 } else { 1 }));
                }
                counting(up, &[&format!("repeatable: {repeatable}")]).await.run(&rows).await;
            }
        }
    });
}

#[test]
fn time_that_is_up_is_never_answered_by_another_attempt_even_where_requests_may_be_repeated() {
    run(async || {
        for up in Http::BOTH {
            let rows = [Method::POST, Method::GET, Method::PUT].map(|method| {
                // On HTTP/2 the connection goes on.
                let steps = if up == Http::One { vec![Step::Hold] } else { Vec::new() };
                let outcome = Outcome::Ours(Ours::Timeout);
                Row::new("says nothing", "docs/wire.md", steps, outcome, Reuse::May).by(method)
            });
            counting(up, &["repeatable: true", "timeout: 300ms"]).await.run(&rows).await;
        }
    });
}

#[test]
fn a_body_that_was_too_large_to_keep_is_sent_once_even_where_requests_may_be_repeated() {
    run(async || {
        for down in Http::BOTH {
            let taken = Rc::new(Cell::new(0));
            let count = taken.clone();
            let failing = RawUpstream::start(move |mut raw, _| {
                let count = count.clone();
                async move {
                    raw.read_head().await;
                    count.set(count.get() + 1);
                    // More than is kept.
                    raw.read_exact(2_000).await;
                    String::new()
                }
            })
            .await;
            let yaml = one_service(&["protocol: http1", "repeatable: true"], &[(&failing.at(), "v1")]);
            let world = World::start(&(yaml + "\nlimits: {replay_bytes: 1KiB}\n")).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            assert_eq!(client.send(post("/m", vec![7; 100_000])).await.status, 503, "{down:?}");
            assert_eq!(taken.get(), 1, "{down:?}");
        }
    });
}
