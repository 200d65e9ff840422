//! The loop against servers of a few lines, each with one fault: what is counted, and from when.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};

use crate::engine::run;
use crate::http1;
use crate::options::{Plan, Request};

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server that answers request `n` of all by `answer(n)` and goes on with the connection while that says so.
/// It lives as long as the process: a test's last connection may come at any time.
struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: fn(usize) -> (&'static [u8], bool)) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let (accepted, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let count = accepted.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, SeqCst);
                let asked = asked.clone();
                thread::spawn(move || serve(stream, &asked, answer));
            }
        });
        Server { address, accepted }
    }

    fn plan(&self, requests: u64) -> Plan {
        Plan {
            address: self.address,
            request: Request::Http1(http1::Template::new("GET", "/", "test", &[], b"")),
            connections: 1,
            idle: 0,
            new_connections: false,
            requests: Some(requests),
            seconds: None,
            interval_ns: None,
            warmup: Duration::ZERO,
            timeout: Duration::from_secs(60),
        }
    }
}

fn serve(mut stream: TcpStream, asked: &AtomicUsize, answer: fn(usize) -> (&'static [u8], bool)) {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        while !seen.ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => return,
                Ok(read) => seen.extend_from_slice(&buffer[..read]),
            }
        }
        seen.clear();
        let (bytes, goes_on) = answer(asked.fetch_add(1, SeqCst));
        if stream.write_all(bytes).is_err() || !goes_on {
            return;
        }
    }
}

fn failures(report: &Value) -> Vec<(&str, u64)> {
    let failed = report["failed"].as_object().expect("kinds");
    failed
        .iter()
        .filter_map(|(kind, count)| Some((kind.as_str(), count.as_u64()?)))
        .filter(|(_, count)| *count > 0)
        .collect()
}

#[test]
fn whole_answers_succeed_and_are_counted_once() {
    let server = Server::start(|_| (GOOD, true));
    let report = run(&Plan { connections: 7, ..server.plan(1_000) }).expect("a report");
    assert_eq!(report["succeeded"], json!(1_000));
    assert_eq!(report["requests"], json!(1_000));
    assert_eq!(report["answer_bytes"], json!(2_000));
    assert_eq!(report["statuses"], json!({ "200": 1_000 }));
    assert_eq!(failures(&report), []);
    assert_eq!(server.accepted.load(SeqCst), 7);
}

/// The first answer takes 300 ms. By then 29 more were due on the only connection, 10 ms apart: none of them was
/// answered before, however quick its own answer is.
#[test]
fn at_a_fixed_rate_a_request_held_up_by_the_one_before_shows_its_wait() {
    let server = Server::start(|n| {
        if n == 0 {
            thread::sleep(Duration::from_millis(300));
        }
        (GOOD, true)
    });
    let report = run(&Plan { interval_ns: Some(1e7), ..server.plan(30) }).expect("a report");
    assert_eq!(report["succeeded"], json!(30));
    assert!(report["late"].as_u64() >= Some(29), "{report}");
    let us = |name: &str| report["latency_us"][name].as_f64().expect("a latency");
    assert!(us("p50") >= 140_000.0 && us("max") >= 299_000.0, "{report}");
}

#[test]
fn each_failure_is_counted_by_its_kind() {
    type Answer = fn(usize) -> (&'static [u8], bool);
    let cases: [(&str, Answer); 4] = [
        ("status", |_| (b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", true)),
        ("closed", |_| (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", false)),
        ("body", |_| (b"HTTP/1.1 200 OK\r\n\r\n", true)),
        ("timeout", |_| (b"HTTP/1.1 200 OK\r\n", true)),
    ];
    for (kind, answer) in cases {
        let server = Server::start(answer);
        let timeout = Duration::from_millis(if kind == "timeout" { 100 } else { 60_000 });
        let report = run(&Plan { timeout, ..server.plan(3) }).expect("a report");
        assert_eq!(failures(&report), [(kind, 3)], "{report}");
        assert_eq!(report["succeeded"], json!(0), "{kind}");
    }
}

#[test]
fn where_nobody_listens_every_request_fails_to_connect() {
    // A port that is ours and does not listen: nobody else can take it meanwhile.
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    let address = silent.local_addr().ok().and_then(|address| address.as_socket()).expect("its address");
    let server = Server { address, accepted: Arc::default() };
    for interval_ns in [None, Some(1e6)] {
        let report = run(&Plan { interval_ns, connections: 2, ..server.plan(20) }).expect("a report");
        assert_eq!(failures(&report), [("connect", 20)], "{report}");
    }
}

#[test]
fn an_answer_that_closes_costs_a_connection_and_no_request() {
    let server =
        Server::start(|_| (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false));
    let report = run(&server.plan(20)).expect("a report");
    assert_eq!((failures(&report), &report["succeeded"]), (vec![], &json!(20)));
    assert!(server.accepted.load(SeqCst) >= 20);
}

#[test]
fn a_connection_for_each_request_is_one_for_each() {
    let server = Server::start(|_| (GOOD, true));
    let report = run(&Plan { new_connections: true, connections: 3, ..server.plan(50) }).expect("a report");
    assert_eq!((failures(&report), &report["succeeded"]), (vec![], &json!(50)));
    assert_eq!(report["connects"], json!(50));
    assert_eq!(server.accepted.load(SeqCst), 50);
}

#[test]
fn idle_connections_ask_once_and_do_not_count() {
    let server = Server::start(|_| (GOOD, true));
    let report = run(&Plan { idle: 25, ..server.plan(10) }).expect("a report");
    assert_eq!((&report["requests"], &report["succeeded"]), (&json!(10), &json!(10)));
    assert_eq!(report["idle"], json!({ "opened": 25, "closed": 0 }));
    assert_eq!(server.accepted.load(SeqCst), 26);
}
