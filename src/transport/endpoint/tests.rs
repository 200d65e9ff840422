//! The endpoint over a real socket: what it answers, refuses and survives.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_local};

use super::*;
use crate::runtime::worker::local_runtime;
use crate::telemetry::families::weir::Limit;
use crate::telemetry::{ProcessMeter, Recorder};

/// Echoes the length of the body, and counts.
#[derive(Default)]
struct Echo {
    asked: Cell<u32>,
}

impl Handler for Echo {
    fn answer(&self, request: Request<Bytes>) -> Answer {
        self.asked.set(self.asked.get() + 1);
        // A page that is made piece by piece, and one that is there.
        let text = format!("{} {}", request.method(), request.body().len());
        let pieces = text.clone().into_bytes().into_iter().map(|byte| Bytes::from(vec![byte]));
        match request.uri().path() {
            "/written" => Response::new(AnswerBody::written(lines).unwrap()),
            "/pieces" => Response::new(AnswerBody::Pieces(Box::new(pieces))),
            _ => Response::new(text.into()),
        }
    }
}

/// So many lines are far more than waits for a reader.
const LINES: usize = 1 << 20;

fn lines(out: &mut dyn io::Write) -> io::Result<()> {
    let written = (0..LINES).try_for_each(|line| writeln!(out, "{line}"));
    WRITERS_LEFT.fetch_add(u32::from(written.is_err()), Ordering::SeqCst);
    written
}

/// Writers that nobody read to the end.
static WRITERS_LEFT: AtomicU32 = AtomicU32::new(0);

struct Served {
    address: SocketAddr,
    echo: Rc<Echo>,
    gave_way: Counter,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn served() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let echo = Rc::new(Echo::default());
    let recorder = Recorder::new(1);
    let gave_way = ProcessMeter::new(&recorder).of_limit(Limit::AdminConnections);
    let task = spawn_local(serve(listener, echo.clone(), gave_way.clone(), async { drop(stopped.await) }));
    Served { address, echo, gave_way, stop, task }
}

/// Sends `request` and reads until the other side ends.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    answer
}

/// Within a deadline.
fn run(test: impl Future<Output = ()>) {
    local_runtime().unwrap().block_on(async { timeout(Duration::from_secs(30), test).await.unwrap() });
}

#[test]
fn a_request_is_handed_over_whole_and_answered() {
    run(async {
        let served = served().await;
        let request = b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 5\r\n\r\nhello";
        assert!(exchange(served.address, request).await.ends_with("\r\n\r\nPOST 5"));
        let request = b"HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(served.address, request).await;
        assert!(answer.contains("content-length: 6\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn a_page_in_pieces_arrives_whole_by_either_version() {
    run(async {
        let served = served().await;
        let answer = exchange(served.address, b"GET /pieces HTTP/1.0\r\n\r\n").await;
        assert!(answer.ends_with("\r\n\r\nGET 0"), "{answer}");
        let request = b"GET /pieces HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answer = exchange(served.address, request).await;
        let chunks: String = "GET 0".chars().map(|c| format!("1\r\n{c}\r\n")).collect();
        assert!(answer.ends_with(&format!("\r\n\r\n{chunks}0\r\n\r\n")), "{answer}");
    });
}

#[test]
fn a_page_that_is_written_arrives_whole_and_its_writer_ends_when_the_reader_leaves() {
    run(async {
        let served = served().await;
        let answer = exchange(served.address, b"GET /written HTTP/1.0\r\n\r\n").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.lines().count(), LINES);
        assert!(body.lines().enumerate().all(|(line, text)| text == line.to_string()));
        assert_eq!(WRITERS_LEFT.load(Ordering::SeqCst), 0);
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(b"GET /written HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        drop(stream);
        while WRITERS_LEFT.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await; // between two looks
        }
    });
}

#[test]
fn a_body_beyond_the_bound_is_refused_and_never_handed_over() {
    run(async {
        let served = served().await;
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", MAX_BODY_BYTES + 1);
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((&answer, served.echo.asked.get()), (b"HTTP/1.1 413", 0));
        let chunk = format!("{MAX_BODY_BYTES:x}\r\n{}\r\n1\r\ny\r\n", "x".repeat(MAX_BODY_BYTES));
        let head = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = exchange(served.address, format!("{head}{chunk}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert_eq!(served.echo.asked.get(), 0);
    });
}

#[test]
fn what_is_no_request_ends_its_connection_and_nothing_else() {
    run(async {
        let served = served().await;
        assert!(exchange(served.address, b"\x16\x03\x01\x00 no\r\n\r\n").await.starts_with("HTTP/1.1 400"));
        let long = format!("GET / HTTP/1.1\r\nx: {}", "y".repeat(MAX_HEAD_BYTES));
        let refused = exchange(served.address, long.as_bytes()).await;
        assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 4"), "{refused}");
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(exchange(served.address, request).await.ends_with("GET 0"));
    });
}

#[test]
fn of_more_connections_than_allowed_the_one_whose_last_request_is_longest_ago_gives_way() {
    run(async {
        let served = served().await;
        let mut idle = Vec::new();
        for place in 0..MAX_CONNECTIONS {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            // Every other one never asks.
            if place % 2 == 0 {
                round(&mut stream).await;
            }
            idle.push(stream);
        }
        // The oldest of all has asked again since.
        round(&mut idle[0]).await;
        assert_eq!(served.gave_way.get(), 0);
        let request = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        // While this one holds the last place.
        let mut late = TcpStream::connect(served.address).await.unwrap();
        round(&mut late).await;
        assert_eq!(idle[1].read(&mut [0; 1]).await.unwrap_or(0), 0, "the one whose place it has");
        assert_eq!(served.gave_way.get(), 1);
        round(&mut idle[0]).await;
        round(&mut idle[2]).await;
        round(&mut late).await;
        assert!(exchange(served.address, request).await.ends_with("GET 0"));
    });
}

/// A request on a connection that stays.
async fn round(stream: &mut TcpStream) {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"GET 0") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "closed");
    }
}

#[test]
fn when_stopped_it_closes_what_is_idle_and_ends() {
    run(async {
        let served = served().await;
        let mut idle = TcpStream::connect(served.address).await.unwrap();
        round(&mut idle).await;
        served.stop.send(()).unwrap();
        served.task.await.unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        assert_eq!(
            TcpStream::connect(served.address).await.unwrap_err().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    });
}
