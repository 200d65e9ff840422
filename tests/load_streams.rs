//! Proof of how HTTP/2 connections to an upstream are used: streams counted by us, another connection when one is
//! full, one dial at a time; and what HTTP/1 makes of the same limits.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/engine.rs"]
mod engine;
#[path = "common/traffic.rs"]
mod traffic;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use engine::{DEADLINE, Engine, eventually, on_control_thread};
use futures_util::future::join_all;
use http::{HeaderMap, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::timeout;
use traffic::{Got, Upstream, Wire, answer, grpc_call};

/// A gRPC server that answers nobody until told to, and knows which connection every stream came by.
struct Holding {
    address: SocketAddr,
    /// Streams open now, and at most ever, by connection.
    streams: Rc<RefCell<Vec<(usize, usize)>>>,
    go: watch::Sender<bool>,
}

impl Holding {
    /// `limit`: streams that it takes on one connection. `settles_after`: how late its SETTINGS come.
    async fn start(limit: Option<u32>, settles_after: Duration) -> Holding {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Rc<RefCell<Vec<(usize, usize)>>> = Rc::default();
        let (go, told) = watch::channel(false);
        let counts = streams.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let index = counts.borrow().len();
                counts.borrow_mut().push((0, 0));
                let (counts, told) = (counts.clone(), told.clone());
                spawn_local(async move {
                    tokio::time::sleep(settles_after).await;
                    let mut builder = h2::server::Builder::new();
                    if let Some(limit) = limit {
                        builder.max_concurrent_streams(limit);
                    }
                    // The proxy may close the connection whenever it likes.
                    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
                    while let Some(Ok((_, respond))) = connection.accept().await {
                        spawn_local(hold(index, counts.clone(), told.clone(), respond));
                    }
                });
            }
        });
        Holding { address, streams, go }
    }

    fn open(&self) -> usize {
        self.streams.borrow().iter().map(|(now, _)| now).sum()
    }

    fn connections(&self) -> usize {
        self.streams.borrow().len()
    }

    fn most_on_one(&self) -> usize {
        self.streams.borrow().iter().map(|&(_, most)| most).max().unwrap_or(0)
    }
}

async fn hold(
    index: usize,
    counts: Rc<RefCell<Vec<(usize, usize)>>>,
    mut told: watch::Receiver<bool>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    {
        let (now, most) = &mut counts.borrow_mut()[index];
        *now += 1;
        *most = (*most).max(*now);
    }
    tokio::select! {
        _ = told.wait_for(|&go| go) => {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            if let Ok(mut stream) = respond.send_response(head, false) {
                let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
                let _ = stream.send_trailers(status); // the caller may have left
            }
        }
        _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => {}
    }
    counts.borrow_mut()[index].0 -= 1;
}

fn engine(address: SocketAddr, more: &str) -> Engine {
    let main = format!(
        "listeners: [{{name: predict, address: '127.0.0.1:0', service: m}}]\n\
         services: [{{name: m, {more} endpoints: [{{address: '{address}', labels: {{version: v1}}}}]}}]\n"
    );
    Engine::start(1, &main, "")
}

/// `count` calls at once, `each` on one connection to the proxy.
fn calls(
    address: SocketAddr,
    count: usize,
    each: usize,
) -> impl Future<Output = Vec<Result<Got, h2::Error>>> {
    let connections = (0..count / each).map(move |_| async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        spawn_local(connection);
        let calls = (0..each).map(|_| {
            let mut sender = sender.clone();
            async move { grpc_call(&mut sender, &[], &Bytes::from_static(b"\0\0\0\0\0")).await }
        });
        timeout(DEADLINE, join_all(calls)).await.expect("answers in time")
    });
    let all = join_all(connections);
    async { all.await.into_iter().flatten().collect() }
}

fn assert_all_answered(answers: &[Result<Got, h2::Error>]) {
    for answer in answers {
        let got = answer.as_ref().unwrap();
        let status = got.trailers.get("grpc-status").or(got.headers.get("grpc-status"));
        assert_eq!(status, Some(&"0".parse().unwrap()), "{:?}", got.headers);
    }
}

#[test]
fn fifty_first_requests_at_once_dial_one_http2_connection() {
    on_control_thread(async {
        let upstream = Holding::start(None, Duration::ZERO).await;
        let engine = engine(upstream.address, "");
        let calls = spawn_local(calls(engine.address("predict"), 50, 10));
        eventually("all fifty are there", || upstream.open() == 50).await;
        assert_eq!(upstream.connections(), 1);
        upstream.go.send_replace(true);
        assert_all_answered(&calls.await.unwrap());
        assert_eq!(engine.metric("envoy_cluster_upstream_cx_http2_total"), 1.0);
        assert_eq!(engine.metric("envoy_cluster_upstream_rq_active"), 0.0);
    });
}

#[test]
fn a_connection_carries_a_hundred_streams_and_the_next_request_opens_another() {
    on_control_thread(async {
        let upstream = Holding::start(None, Duration::ZERO).await;
        let engine = engine(upstream.address, "");
        let first = spawn_local(calls(engine.address("predict"), 100, 50));
        eventually("a hundred are there", || upstream.open() == 100).await;
        assert_eq!(upstream.connections(), 1);
        let more = spawn_local(calls(engine.address("predict"), 150, 50));
        eventually("all are there", || upstream.open() == 250).await;
        assert_eq!((upstream.connections(), upstream.most_on_one()), (3, 100));
        upstream.go.send_replace(true);
        assert_all_answered(&first.await.unwrap());
        assert_all_answered(&more.await.unwrap());
    });
}

#[test]
fn a_peer_that_takes_ten_streams_gets_ten_on_each_connection_even_before_its_settings_came() {
    on_control_thread(async {
        for settles_after in [Duration::ZERO, Duration::from_millis(200)] {
            let upstream = Holding::start(Some(10), settles_after).await;
            let engine = engine(upstream.address, "");
            let calls = spawn_local(calls(engine.address("predict"), 50, 50));
            eventually("all fifty are there", || upstream.open() == 50).await;
            assert_eq!((upstream.connections(), upstream.most_on_one()), (5, 10));
            upstream.go.send_replace(true);
            assert_all_answered(&calls.await.unwrap());
            assert_eq!(engine.metric("weir_retries_total"), 0.0, "nothing had to be sent twice");
        }
    });
}

#[test]
fn at_the_limit_of_connections_requests_wait_for_a_stream_and_all_are_served() {
    on_control_thread(async {
        let upstream = Holding::start(Some(10), Duration::ZERO).await;
        let engine = engine(upstream.address, "circuit_breakers: {connections: 2},");
        let calls = spawn_local(calls(engine.address("predict"), 50, 50));
        eventually("two connections are full", || upstream.open() == 20).await;
        upstream.go.send_replace(true);
        assert_all_answered(&calls.await.unwrap());
        assert_eq!((upstream.connections(), upstream.most_on_one()), (2, 10));
    });
}

#[test]
fn http1_requests_at_once_open_no_more_connections_than_allowed_and_all_are_served() {
    on_control_thread(async {
        let upstream = Upstream::start(Wire::Http1, |_| {
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                answer(Wire::Http1, &[], "ok")
            })
        });
        let engine = engine(upstream.address, "circuit_breakers: {connections: 3},");
        let address = engine.address("predict");
        let one = async || {
            let stream = TcpStream::connect(address).await.unwrap();
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            spawn_local(connection);
            let request = http::Request::get("/").header("host", "m").body(String::new()).unwrap();
            timeout(DEADLINE, sender.send_request(request)).await.expect("in time").unwrap().status()
        };
        let statuses = join_all((0..40).map(|_| one())).await;
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
        assert!(upstream.accepted() <= 3, "{} connections", upstream.accepted());
    });
}
