//! Upstreams that end an attempt, each in its own way.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Notify;

use super::common::world::raw::{Goodbye, H2Request, Raw, RawUpstream};
use super::common::world::{Http, free_port};

/// Of what is to be late.
pub(super) const SHORT: Duration = Duration::from_millis(250);
/// Of a connection.
pub(super) const CONNECT: Duration = Duration::from_millis(1_000);

/// When the caller leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    BeforeTheHead,
    InTheBody,
}

/// A way in which attempts end, and the endpoint that brings it about.
pub(super) struct Kind {
    /// Of its host, its cluster and its row.
    pub(super) name: &'static str,
    pub(super) at: String,
    /// The whole request's bound, and an attempt's.
    pub(super) timeout: Option<Duration>,
    pub(super) per_try: Option<Duration>,
    /// Once more, for a 5xx or a reset.
    pub(super) retries: bool,
    /// One connection, one stream.
    pub(super) single: bool,
    /// What the cluster's breakers allow, as Envoy and Weir name it.
    pub(super) most: &'static [(&'static str, &'static str, u32)],
    /// A request without a bound is held there first.
    pub(super) held: bool,
    /// Another one waits for a connection behind it.
    pub(super) in_line: bool,
    pub(super) leaves: Option<Leaves>,
    /// Opened when the caller has the beginning of the body, where the upstream waits for that.
    pub(super) gate: Option<Rc<Notify>>,
    /// Requests that came.
    pub(super) begun: Rc<Cell<usize>>,
    /// What listens and is never asked.
    _kept: Option<(TcpListener, TcpStream)>,
}

/// What an upstream does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Closes,
    Resets,
    Garbage,
    CutsTheBody,
    ResetsInTheBody,
    Waits,
    WaitsInTheBody,
    Says503,
    Refuses,
    Cancels,
    Goodbye,
}

/// Those that there are over `up`.
pub(super) async fn all(up: Http) -> Vec<Kind> {
    let mut kinds = vec![Kind::at("connection-refused", format!("127.0.0.1:{}", free_port()))];
    let kept = full().await;
    let at = kept.0.local_addr().expect("an address").to_string();
    kinds.push(Kind { _kept: Some(kept), ..Kind::at("no-connection-in-time", at) });
    let both = [
        ("closed-before-the-head", Does::Closes),
        ("reset-before-the-head", Does::Resets),
        ("a-head-without-a-reading", Does::Garbage),
        ("cut-in-the-body", Does::CutsTheBody),
        ("reset-in-the-body", Does::ResetsInTheBody),
        ("answered-503", Does::Says503),
    ];
    let two = [
        ("refused-stream", Does::Refuses),
        ("cancelled-stream", Does::Cancels),
        ("goodbye-over-an-error", Does::Goodbye),
    ];
    let of_up = both.iter().chain(if up == Http::Two { &two[..] } else { &[] });
    for &(name, does) in of_up {
        kinds.push(Kind::doing(up, name, does).await);
    }
    let late = |kind: Kind| Kind { timeout: Some(SHORT), ..kind };
    kinds.push(late(Kind::doing(up, "late-head", Does::Waits).await));
    kinds.push(late(Kind::doing(up, "late-body", Does::WaitsInTheBody).await));
    let waits = Kind { single: true, held: true, ..Kind::doing(up, "late-in-our-line", Does::Waits).await };
    kinds.push(late(waits));
    let tried = |kind: Kind| Kind { retries: true, ..kind };
    let per_try = Kind { per_try: Some(SHORT), ..Kind::doing(up, "late-in-each-try", Does::Waits).await };
    kinds.push(tried(per_try));
    kinds.push(tried(Kind::doing(up, "answered-503-twice", Does::Says503).await));
    kinds.push(tried(Kind::doing(up, "reset-twice", Does::Resets).await));
    kinds.push(tried(Kind::at("refused-twice", format!("127.0.0.1:{}", free_port()))));
    let nobody_waits = Kind::doing(up, "nobody-may-wait", Does::Says503).await;
    kinds.push(Kind { most: &[("max_pending_requests", "pending", 0)], ..nobody_waits });
    kinds.extend(overflowing(up).await);
    let leaves = |kind: Kind, when| Kind { leaves: Some(when), ..kind };
    let before = Kind::doing(up, "the-caller-leaves", Does::Waits).await;
    kinds.push(leaves(before, Leaves::BeforeTheHead));
    let inside = Kind::doing(up, "the-caller-leaves-in-the-body", Does::WaitsInTheBody).await;
    kinds.push(leaves(inside, Leaves::InTheBody));
    kinds
}

/// Where a request meets a breaker that another one has opened, or that lets nothing through.
async fn overflowing(up: Http) -> Vec<Kind> {
    let mut kinds = Vec::new();
    let held = Kind::doing(up, "no-further-request", Does::Waits).await;
    kinds.push(Kind { held: true, most: &[("max_requests", "requests", 1)], ..held });
    let one_waits = &[("max_connections", "connections", 1), ("max_pending_requests", "pending", 1)];
    let held = Kind::doing(up, "no-further-place-in-the-line", Does::Waits).await;
    kinds.push(Kind { single: true, held: true, in_line: true, most: one_waits, ..held });
    let no_retries: &[_] = &[("max_retries", "retries", 0)];
    for (name, does) in [("no-retry-of-an-answer", Does::Says503), ("no-retry-of-a-reset", Does::Resets)] {
        kinds.push(Kind { retries: true, most: no_retries, ..Kind::doing(up, name, does).await });
    }
    let refused = Kind::at("no-retry-of-a-connection", format!("127.0.0.1:{}", free_port()));
    kinds.push(Kind { retries: true, most: no_retries, ..refused });
    kinds
}

/// A socket that listens, and takes no further connection: its queue holds one, which is there.
async fn full() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("a port");
    let listener = socket.listen(0).expect("it listens");
    let first =
        TcpStream::connect(listener.local_addr().expect("an address")).await.expect("the queue's one");
    (listener, first)
}

impl Kind {
    fn at(name: &'static str, at: String) -> Kind {
        Kind {
            name,
            at,
            timeout: None,
            per_try: None,
            retries: false,
            single: false,
            most: &[],
            held: false,
            in_line: false,
            leaves: None,
            gate: None,
            begun: Rc::default(),
            _kept: None,
        }
    }

    async fn doing(up: Http, name: &'static str, does: Does) -> Kind {
        let begun: Rc<Cell<usize>> = Rc::default();
        let gate: Rc<Notify> = Rc::default();
        let is_gated = matches!(does, Does::CutsTheBody | Does::ResetsInTheBody);
        let (counts, opened) = (begun.clone(), gate.clone());
        let upstream = match (up, does) {
            (Http::One, _) => {
                RawUpstream::start(move |raw, _| one(raw, does, counts.clone(), opened.clone())).await
            }
            (Http::Two, Does::Garbage) => {
                RawUpstream::start(|mut raw, _| async move {
                    raw.write("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
                    raw.read_to_end().await
                })
                .await
            }
            (Http::Two, _) => {
                RawUpstream::start_h2(move |request, _| two(request, does, counts.clone(), opened.clone()))
                    .await
            }
        };
        Kind { begun, gate: is_gated.then_some(gate), ..Kind::at(name, upstream.at()) }
    }
}

async fn one(mut raw: Raw, does: Does, begun: Rc<Cell<usize>>, gate: Rc<Notify>) -> String {
    while raw.read_head().await.is_some() {
        begun.set(begun.get() + 1);
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf";
        match does {
            Does::Garbage => raw.write("what is this\r\n\r\n").await,
            Does::Says503 => {
                raw.write("HTTP/1.1 503 Bad\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbad").await;
                return String::new();
            }
            Does::Waits => return raw.read_to_end().await,
            Does::WaitsInTheBody => {
                raw.write(half).await;
                return raw.read_to_end().await;
            }
            Does::CutsTheBody => {
                raw.write(half).await;
                gate.notified().await;
                return String::new();
            }
            Does::ResetsInTheBody => {
                raw.write(half).await;
                gate.notified().await;
                raw.into_stream().set_zero_linger().expect("linger");
                return String::new();
            }
            Does::Resets => {
                raw.into_stream().set_zero_linger().expect("linger");
                return String::new();
            }
            _ => return String::new(),
        }
    }
    String::new()
}

async fn two(mut request: H2Request, does: Does, begun: Rc<Cell<usize>>, gate: Rc<Notify>) {
    begun.set(begun.get() + 1);
    let head = |status| Response::builder().status(status).body(()).expect("a response");
    match does {
        Does::Says503 => {
            let mut head = head(503);
            head.headers_mut().insert("content-length", http::HeaderValue::from_static("3"));
            let mut body = request.respond.send_response(head, false).expect("a stream");
            body.send_data(Bytes::from_static(b"bad"), true).expect("sent");
        }
        Does::Waits => std::future::pending().await,
        Does::WaitsInTheBody | Does::CutsTheBody | Does::ResetsInTheBody => {
            let mut head = head(200);
            head.headers_mut().insert("content-length", http::HeaderValue::from_static("10"));
            let mut body = request.respond.send_response(head, false).expect("a stream");
            body.send_data(Bytes::from_static(b"half"), false).expect("sent");
            if does == Does::WaitsInTheBody {
                return std::future::poll_fn(|cx| body.poll_reset(cx)).await.map_or((), drop);
            }
            gate.notified().await;
            match does {
                Does::CutsTheBody => {
                    request.say_goodbye(Goodbye::Abrupt(h2::Reason::INTERNAL_ERROR));
                    std::future::pending().await
                }
                _ => body.send_reset(h2::Reason::INTERNAL_ERROR),
            }
        }
        Does::Refuses => request.reset(h2::Reason::REFUSED_STREAM),
        Does::Cancels => request.reset(h2::Reason::CANCEL),
        Does::Resets => request.reset(h2::Reason::INTERNAL_ERROR),
        Does::Goodbye => {
            request.say_goodbye(Goodbye::Abrupt(h2::Reason::INTERNAL_ERROR));
            std::future::pending().await
        }
        Does::Closes => {
            request.say_goodbye(Goodbye::Abrupt(h2::Reason::NO_ERROR));
            std::future::pending().await
        }
        Does::Garbage => {}
    }
}
