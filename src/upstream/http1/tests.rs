//! The laws of one connection, over real sockets.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::connection::Connection;
use super::{SendError, round_trip};
use crate::message::body::{Body, BodyError};
use crate::runtime::worker::local_runtime;
use crate::transport::activity::Activity;
use crate::transport::io::{Io, Stream};

/// Far beyond what anything here takes.
const SOON: Duration = Duration::from_secs(20);

fn run(test: impl AsyncFnOnce()) {
    let runtime = local_runtime().expect("a runtime");
    runtime.block_on(async { timeout(SOON, test()).await.expect("done in time") });
}

/// A connection and its upstream's end.
async fn pair() -> (Rc<Connection>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
    let (theirs, _) = listener.accept().await.expect("accepted");
    let io = Io::new(Stream::Tcp(ours), Rc::new(Activity::new(false)));
    (Rc::new(Connection::new(io, (), 128 << 10, None)), theirs)
}

fn head(method: &Method) -> Box<Parts> {
    let request = Request::builder().method(method).uri("/v1?q=1").header("host", "a").body(());
    Box::new(request.expect("a request").into_parts().0)
}

/// A body of frames; `announced` is what it says of its length. Without an end it waits for ever behind its last frame.
struct Scripted {
    frames: VecDeque<Result<Frame<Bytes>, BodyError>>,
    announced: Option<u64>,
    ends: bool,
}

impl http_body::Body for Scripted {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.frames.pop_front() {
            None if !self.ends => Poll::Pending,
            frame => Poll::Ready(frame),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.announced.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn scripted(announced: Option<u64>, frames: impl IntoIterator<Item = Frame<Bytes>>) -> Scripted {
    Scripted { frames: frames.into_iter().map(Ok).collect(), announced, ends: true }
}

fn data(bytes: &[u8]) -> Frame<Bytes> {
    Frame::data(Bytes::copy_from_slice(bytes))
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let waiting = async {
        while !condition() {
            yield_now().await;
        }
    };
    timeout(SOON, waiting).await.unwrap_or_else(|_| panic!("{what} in time"));
}

/// What the upstream gets of a request with `body`, to the end of the connection, and what came of sending it.
async fn sent<B>(method: Method, body: B) -> (String, Result<(), SendError>)
where
    B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
{
    let (connection, mut theirs) = pair().await;
    theirs.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.expect("written");
    let result = round_trip::run(&connection, &head(&method), body).await.map(drop);
    connection.close();
    let mut got = Vec::new();
    // It ends with a reset where the answer was not read.
    while theirs.read_buf(&mut got).await.is_ok_and(|read| read > 0) {}
    (String::from_utf8(got).expect("text"), result)
}

#[test]
fn a_request_says_what_is_known_of_its_body() {
    run(async || {
        let sum = HeaderMap::from_iter([("x-sum".parse().expect("a name"), HeaderValue::from_static("1"))]);
        let long = "x".repeat(10_000);
        let (get, post) = ("GET /v1?q=1 HTTP/1.1\r\nhost: a\r\n", "POST /v1?q=1 HTTP/1.1\r\nhost: a\r\n");
        let chunked = |chunks: &str| format!("{post}transfer-encoding: chunked\r\n\r\n{chunks}");
        let pieces = [data(b"ab"), data(b""), data(b"c")];
        let rows = [
            ("no body", sent(Method::GET, Body::Empty).await, format!("{get}\r\n")),
            (
                "no body of POST",
                sent(Method::POST, Body::Empty).await,
                format!("{post}content-length: 0\r\n\r\n"),
            ),
            (
                "a length",
                sent(Method::POST, Body::Full("hello".into())).await,
                format!("{post}content-length: 5\r\n\r\nhello"),
            ),
            (
                "a long piece",
                sent(Method::POST, Body::Full(long.clone().into())).await,
                format!("{post}content-length: 10000\r\n\r\n{long}"),
            ),
            (
                "no length",
                sent(Method::POST, scripted(None, pieces)).await,
                chunked("2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"),
            ),
            (
                "long pieces and trailers",
                sent(
                    Method::POST,
                    scripted(None, [data(long.as_bytes()), data(b"c"), Frame::trailers(sum.clone())]),
                )
                .await,
                chunked(&format!("2710\r\n{long}\r\n1\r\nc\r\n0\r\nx-sum: 1\r\n\r\n")),
            ),
            (
                "trailers beside a length",
                sent(Method::POST, scripted(Some(2), [data(b"ab"), Frame::trailers(sum)])).await,
                format!("{post}content-length: 2\r\n\r\nab"),
            ),
        ];
        for (name, (got, result), expected) in rows {
            assert!(result.is_ok(), "{name}: {result:?}");
            assert_eq!(got, expected, "{name}");
        }
    });
}

#[test]
fn a_body_that_breaks_off_is_never_ended_cleanly() {
    run(async || {
        let breaks = |announced| Scripted {
            frames: [Ok(data(b"ab")), Err(BodyError::Abandoned)].into(),
            announced,
            ends: true,
        };
        for (name, body) in [
            ("chunked", breaks(None)),
            ("with a length", breaks(Some(9))),
            ("shorter than announced", scripted(Some(9), [data(b"ab")])),
            ("longer than announced", scripted(Some(3), [data(b"ab"), data(b"cd")])),
        ] {
            let (got, result) = sent(Method::POST, body).await;
            assert!(matches!(result, Err(SendError::Upload(_))), "{name}: {result:?}");
            let body = got.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(!body.contains("0\r\n") && body.len() < 3 + 6, "{name}: {got}");
        }
    });
}

#[test]
fn an_answer_comes_down_while_its_request_still_goes_up() {
    run(async || {
        let (connection, mut theirs) = pair().await;
        theirs.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig").await.expect("written");
        let body = Scripted { ends: false, ..scripted(None, [data(b"ab")]) };
        let (response, upload) =
            round_trip::run(&connection, &head(&Method::POST), body).await.expect("an answer");
        assert_eq!(response.status(), 413);
        let whole = response.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(whole, "big");
        assert!(!connection.rest(), "its request is unfinished");
        upload.expect("the rest of the request has a task").abort();
        connection.close();
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.expect("text");
        assert!(got.ends_with("2\r\nab\r\n"), "{got}");
    });
}

#[test]
fn an_answer_that_is_there_outlives_the_write_that_failed() {
    run(async || {
        let (connection, mut theirs) = pair().await;
        let body = Body::Full(vec![b'x'; 32 << 20].into());
        let upstream = async {
            // It has read some of the request, answers and goes: the rest of the request meets a reset.
            theirs.read_u8().await.expect("a byte");
            let answer = b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
            theirs.write_all(answer).await.expect("written");
            drop(theirs);
        };
        let head = head(&Method::POST);
        let sending = round_trip::run(&connection, &head, body);
        let (answered, ()) = tokio::join!(sending, upstream);
        let (response, _) = answered.expect("an answer");
        assert_eq!(response.status(), 413);
        assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "big");
        assert!(!connection.rest());
    });
}

#[test]
fn a_request_of_which_nothing_was_written_is_told_apart() {
    run(async || {
        let (connection, theirs) = pair().await;
        theirs.set_zero_linger().expect("set");
        drop(theirs);
        until("a reset", || !connection.is_quiet()).await;
        let sent = round_trip::run(&connection, &head(&Method::POST), Body::Full("hello".into())).await;
        assert!(matches!(sent, Err(SendError::Unsent)));
    });
}

#[test]
fn a_connection_serves_again_only_when_nothing_is_left_over() {
    run(async || {
        let rows = [
            ("a length", Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", true),
            (
                "chunks",
                Method::GET,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
                true,
            ),
            ("204", Method::GET, "HTTP/1.1 204 No Content\r\n\r\n", true),
            ("an answer to HEAD", Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", true),
            ("behind an interim answer", Method::GET, "HTTP/1.1 103 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n", true),
            ("HTTP/1.0 that stays", Method::GET, "HTTP/1.0 204 x\r\nconnection: keep-alive\r\n\r\n", true),
            ("HTTP/1.0", Method::GET, "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
            (
                "close",
                Method::GET,
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
                false,
            ),
            ("a byte too many", Method::GET, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok!", false),
            ("an answer too many", Method::GET, "HTTP/1.1 204 x\r\n\r\nHTTP/1.1 204 x\r\n\r\n", false),
            ("a body for HEAD", Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false),
        ];
        for (name, method, answer, serves) in rows {
            let (connection, mut theirs) = pair().await;
            theirs.write_all(answer.as_bytes()).await.expect("written");
            let (response, upload) =
                round_trip::run(&connection, &head(&method), Body::Empty).await.expect(name);
            assert!(upload.is_none(), "{name}");
            response.into_body().collect().await.expect(name);
            assert_eq!(connection.rest(), serves, "{name}");
        }
        let (connection, mut theirs) = pair().await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\n\r\nto the end").await.expect("written");
        drop(theirs);
        let (response, _) =
            round_trip::run(&connection, &head(&Method::GET), Body::Empty).await.expect("an answer");
        assert_eq!(response.into_body().collect().await.expect("whole").to_bytes(), "to the end");
        assert!(!connection.rest(), "it has ended");
    });
}

#[test]
fn an_idle_connection_is_quiet_until_anything_comes() {
    run(async || {
        for (name, bytes) in [("a byte", &b"x"[..]), ("the end", b"")] {
            let (connection, mut theirs) = pair().await;
            assert!(connection.is_quiet(), "{name}");
            theirs.write_all(bytes).await.expect("written");
            theirs.shutdown().await.expect("shut down");
            until(name, || !connection.is_quiet()).await;
        }
    });
}

#[test]
fn dropping_the_body_before_its_end_closes_at_once() {
    run(async || {
        let (connection, mut theirs) = pair().await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await.expect("written");
        let (response, _) =
            round_trip::run(&connection, &head(&Method::GET), Body::Empty).await.expect("an answer");
        let mut body = response.into_body();
        let first = body.frame().await.expect("a frame").expect("bytes");
        assert_eq!(first.into_data().expect("data"), "ok");
        drop(body);
        let mut request = Vec::new();
        theirs.read_to_end(&mut request).await.expect("closed");
        assert!(!connection.rest());
    });
}

#[test]
fn what_came_of_an_answer_goes_down_before_its_cut_is_told() {
    run(async || {
        let (connection, mut theirs) = pair().await;
        theirs.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok").await.expect("written");
        drop(theirs);
        let (response, _) =
            round_trip::run(&connection, &head(&Method::GET), Body::Empty).await.expect("an answer");
        let mut body = response.into_body();
        let (mut turns, mut turn_of_last) = (0, 0);
        let cut = poll_fn(|cx| {
            turns += 1;
            // Asked again and again in one turn, as one does who gathers what is there.
            for _ in 0..3 {
                match Pin::new(&mut body.frame()).poll(cx) {
                    Poll::Ready(Some(Ok(_))) => turn_of_last = turns,
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(error),
                    Poll::Ready(None) => panic!("a clean end"),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await;
        assert!(matches!(cut, BodyError::Http1(_)), "{cut:?}");
        assert!(turn_of_last > 0 && turns > turn_of_last, "{turn_of_last} of {turns}");
    });
}
