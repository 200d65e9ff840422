//! Proof of hand-over and drain: connections are spread, and who leaves loses nothing, be it a process or a listener.
//!
//! Clients honour `connection: close` and GOAWAY, and stop dialling a while after `/ready` has fallen.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/child.rs"]
mod child;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/traffic.rs"]
mod traffic;

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use child::Weir;
use engine::{DEADLINE, Engine, eventually, linked, on_control_thread};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;
use traffic::{Call, Tally, Upstream, Wire, answer, client, grpc_call};

const CLIENTS: usize = 8;

/// Answers after a few milliseconds, so that requests are in flight at any moment.
fn upstreams() -> [Upstream; 2] {
    [Wire::Http1, Wire::Http2].map(|wire| {
        Upstream::start(wire, move |_| {
            Box::pin(async move {
                sleep(Duration::from_millis(5)).await;
                answer(wire, &[], "answer")
            })
        })
    })
}

fn services(upstreams: &[Upstream; 2]) -> String {
    let [http, grpc] = upstreams.each_ref().map(|upstream| upstream.address);
    format!(
        "services: [{{name: m, endpoints: [{{http: '{http}', grpc: '{grpc}', labels: {{version: v1}}}}]}}]\n"
    )
}

fn call() -> Call {
    let whole =
        |got: &traffic::Got| if &got.body[..] == b"answer" { Ok(()) } else { Err("a cut body".to_owned()) };
    Call { headers: Rc::new(|_| Vec::new()), check: Rc::new(move |_, got| whole(got)) }
}

fn clients(address: std::net::SocketAddr, tally: &Rc<Tally>) -> Vec<JoinHandle<()>> {
    let wires = [Wire::Http1, Wire::Http2].into_iter().flat_map(|wire| [wire; CLIENTS]);
    wires.map(|wire| spawn_local(client(wire, address, call(), tally.clone()))).collect()
}

async fn grown_by(tally: &Tally, more: u64) {
    let until = tally.answered.get() + more;
    eventually("there is load", || tally.answered.get() >= until).await;
}

#[test]
fn a_signal_to_leave_loses_no_request_and_the_process_ends_well_before_its_deadline() {
    on_control_thread(async {
        let upstreams = upstreams();
        let mut weir = Weir::start(
            &format!("workers: 2\ndrain: {{grace: 4s, deadline: 20s}}\n{}", services(&upstreams)),
            "",
        );
        let tally = Rc::new(Tally::default());
        let clients = clients(weir.address, &tally);
        grown_by(&tally, 500).await;
        weir.terminate();
        let left = Instant::now();
        while weir.page("/ready").await.0 == 200 {
            assert!(left.elapsed() < Duration::from_secs(4), "readiness falls at once");
        }
        // Whoever looks at readiness now and then hears of it later: until then connections and requests are taken.
        let dialled = tally.goodbyes.get();
        grown_by(&tally, 100).await;
        assert!(tally.goodbyes.get() > dialled, "goodbyes are said, and new connections taken");
        tally.no_dialling.set(true);
        for client in clients {
            client.await.unwrap();
        }
        let said = left.elapsed();
        let status = weir.exit(Duration::from_secs(10)).await.expect("it ends before the deadline");
        println!(
            "{} answers; all clients gone after {said:?}, the process after {:?}",
            tally.answered.get(),
            left.elapsed()
        );
        tally.assert_none_failed();
        assert!(status.success(), "{status}\n{}", weir.log());
        assert!(left.elapsed() >= Duration::from_secs(4), "it is there for all of the grace");
        assert!(tally.goodbyes.get() >= 2 * CLIENTS as u64, "every client was told");
    });
}

#[test]
fn a_request_that_outlives_the_deadline_is_cut_and_the_process_still_ends_with_0() {
    on_control_thread(async {
        let never = Upstream::start(Wire::Http2, |_| Box::pin(std::future::pending()));
        let rest = format!(
            "workers: 2\ndrain: {{grace: 100ms, deadline: 600ms}}\n\
             services: [{{name: m, endpoints: [{{address: '{}', labels: {{version: v1}}}}]}}]\n",
            never.address
        );
        let mut weir = Weir::start(&rest, "");
        let stream = TcpStream::connect(weir.address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        spawn_local(connection);
        let call =
            spawn_local(async move { grpc_call(&mut sender, &[], &Bytes::from_static(b"\0\0\0\0\0")).await });
        eventually("it is in flight", || never.accepted() == 1).await;
        weir.terminate();
        let left = Instant::now();
        let status = weir.exit(Duration::from_secs(5)).await.expect("an end");
        assert!(status.success(), "{status}\n{}", weir.log());
        assert!(left.elapsed() >= Duration::from_millis(550), "the deadline is for the request");
        assert!(call.await.unwrap().is_err(), "the cut is visible");
        assert!(weir.log().contains("the deadline cut requests"), "{}", weir.log());
    });
}

/// Listeners that were removed and still accept.
fn draining(engine: &Engine) -> f64 {
    engine.metric("envoy_listener_manager_total_listeners_draining")
}

#[test]
fn a_removed_listener_loses_no_request_and_its_connections_are_told_to_go() {
    on_control_thread(async {
        let upstreams = upstreams();
        let listener = |name: &str, ip: &str| format!("{{name: {name}, address: '{ip}:0', service: m}}");
        let (stays, goes) = (listener("stays", "127.0.0.1"), listener("goes", "127.0.0.2"));
        let main = |listeners: &str| format!("listeners: [{listeners}]\n{}", services(&upstreams));
        let engine = Engine::start(2, &main(&format!("{stays}, {goes}")), "");
        let (going, staying) = (Rc::new(Tally::default()), Rc::new(Tally::default()));
        let leave = clients(engine.address("goes"), &going);
        let stay = clients(engine.address("stays"), &staying);
        grown_by(&going, 300).await;
        let gone = engine.address("goes");
        let removed = engine.publish(linked(&main(&stays), ""));
        assert_eq!(draining(&engine), 1.0);
        // Callers hear of it a moment later than we do, and still dial until then.
        grown_by(&going, 50).await;
        going.no_dialling.set(true);
        for client in leave {
            client.await.unwrap();
        }
        going.assert_none_failed();
        assert!(going.goodbyes.get() >= 2 * CLIENTS as u64, "every connection was told");
        eventually("the socket is closed", || std::net::TcpStream::connect(gone).is_err()).await;
        eventually("nothing drains", || draining(&engine) == 0.0).await;
        grown_by(&staying, 300).await;
        staying.stop.set(true);
        for client in stay {
            client.await.unwrap();
        }
        staying.assert_none_failed();
        assert_eq!(staying.goodbyes.get(), 0, "nobody else was disturbed");
        eventually("one plane is left", || engine.planner.borrow_mut().collect() == 1).await;
        assert_eq!(removed.number, 2);
    });
}

#[test]
fn connections_are_spread_over_the_workers_and_new_ones_avoid_the_busy() {
    on_control_thread(async {
        let upstreams = upstreams();
        let never = Upstream::start(Wire::Http2, |_| Box::pin(std::future::pending()));
        let main = format!(
            "listeners:\n- {{name: predict, address: '127.0.0.1:0', service: m}}\n\
             - {{name: stuck, address: '127.0.0.2:0', service: s}}\n{}\
             - {{name: s, endpoints: [{{address: '{}', labels: {{version: v1}}}}]}}\n",
            services(&upstreams).replace("services: [{", "services:\n- {").replace("]}]\n", "]}\n"),
            never.address
        );
        let engine = Engine::start(2, &main, "");
        let threads = worker_threads();
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(TcpStream::connect(engine.address("predict")).await.unwrap());
        }
        eventually("all four are taken", || engine.server.borrow().load().0 == 4).await;
        let loads = || engine.server.borrow().loads();
        assert_eq!(loads(), [(2, 0), (2, 0)], "{threads} workers");
        drop(open);
        eventually("none is left", || engine.server.borrow().load().0 == 0).await;
        // One worker gets a connection with streams that do not end: the next connections go to the other.
        let (sender, connection) =
            h2::client::handshake(TcpStream::connect(engine.address("stuck")).await.unwrap()).await.unwrap();
        spawn_local(connection);
        for _ in 0..5 {
            let mut sender = sender.clone();
            spawn_local(async move {
                grpc_call(&mut sender, &[], &Bytes::from_static(b"\0\0\0\0\0")).await.err()
            });
        }
        eventually("five streams are open", || engine.server.borrow().load().1 == 5).await;
        let mut open = Vec::new();
        for _ in 0..3 {
            open.push(TcpStream::connect(engine.address("predict")).await.unwrap());
        }
        eventually("they are taken", || engine.server.borrow().load().0 == 4).await;
        let mut loads = loads();
        loads.sort();
        assert_eq!(loads, [(1, 5), (3, 0)]);
    });
}

fn worker_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("worker-")).count()
}

#[test]
fn a_connection_accepted_at_the_last_moment_is_served() {
    on_control_thread(async {
        let upstreams = upstreams();
        for _ in 0..20 {
            let engine = Engine::start(
                1,
                &format!(
                    "listeners: [{{name: predict, address: '127.0.0.1:0', service: m}}]\n{}",
                    services(&upstreams)
                ),
                "",
            );
            let address = engine.address("predict");
            // The whole request is there before the proxy begins to leave.
            let mut stream = TcpStream::connect(address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.1\r\nhost: m\r\n\r\n")
                .await
                .unwrap();
            let Engine { server, .. } = engine;
            let server = Rc::try_unwrap(server).ok();
            let finishing = match server {
                Some(server) => spawn_local(async move {
                    let server = server.into_inner();
                    server.begin_drain();
                    server.finish(DEADLINE).await
                }),
                None => panic!("somebody else holds the server"),
            };
            let mut all = String::new();
            tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut all).await.unwrap();
            assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("answer"), "{all:?}");
            assert_eq!(finishing.await.unwrap(), 0);
        }
    });
}
