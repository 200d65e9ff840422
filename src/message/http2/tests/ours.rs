//! Both ends are ours.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use tokio::task::spawn_local;

use super::pipe::{Pipe, pattern, pipe, read_all, run, send_all, turns};
use crate::message::http2::client::{self, SendRequest};
use crate::message::http2::error::{By, Error};
use crate::message::http2::server::Connection;
use crate::message::http2::{Reason, RecvStream, SendResponse, Settings};

fn uri(path: &str) -> Uri {
    format!("http://x{path}").parse().expect("a URI")
}

/// A server that hands each request to `serve`, and stays for as long as the connection does.
pub(super) fn server(
    wire: Pipe,
    settings: Settings,
    mut serve: impl FnMut(Request<RecvStream>, SendResponse) + 'static,
) -> Rc<RefCell<Option<Result<(), Error>>>> {
    let ended = Rc::new(RefCell::new(None));
    let end = ended.clone();
    spawn_local(async move {
        let mut connection = Connection::new(wire, settings);
        let result = std::future::poll_fn(|cx| {
            let over = connection.poll(cx);
            while let Some((head, body, respond)) = connection.accept() {
                serve(Request::from_parts(*head, body), respond);
            }
            over
        })
        .await;
        end.replace(Some(result));
    });
    ended
}

async fn client(wire: Pipe, settings: Settings) -> SendRequest {
    let (sender, connection) = client::connect(wire, settings);
    spawn_local(connection);
    while sender.max_streams().is_none() {
        tokio::task::yield_now().await;
    }
    sender
}

/// Answers with what it was sent, trailers and all.
fn echo(request: Request<RecvStream>, respond: SendResponse) {
    spawn_local(async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(StatusCode::OK, &HeaderMap::new(), false).expect("it is open");
        let (all, trailers) = read_all(&mut body).await.expect("a whole body");
        send_all(&mut stream, all, false).await.expect("it is taken");
        match trailers {
            Some(trailers) => stream.send_trailers(&trailers).expect("it is open"),
            None => stream.send_end().expect("it is open"),
        }
    });
}

#[test]
fn bodies_of_all_sizes_come_back_whole_over_pipes_of_all_sizes() {
    run(async || {
        for most in [7, 1_000, 100_000] {
            let (here, there) = pipe(most);
            server(there, Settings::default(), echo);
            let sender = client(here, Settings::default()).await;
            for size in [0, 1, 2_048, 2_049, 16_384, 16_385, 65_536, 300_000] {
                let (mut answer, mut stream) = sender
                    .send_request(&Method::POST, &uri("/echo"), &HeaderMap::new(), false)
                    .expect("it is open");
                let upload = spawn_local(async move {
                    send_all(&mut stream, pattern(size), false).await.expect("it is taken");
                    let mut trailers = HeaderMap::new();
                    trailers.insert("x-checksum", HeaderValue::from_static("1"));
                    stream.send_trailers(&trailers).expect("it is open");
                });
                let answer = (&mut answer).await.expect("an answer");
                let (body, trailers) = read_all(&mut answer.into_body()).await.expect("a whole body");
                assert!(body == pattern(size), "{size} over {most}: {} bytes", body.len());
                assert_eq!(trailers.expect("trailers")["x-checksum"], "1");
                upload.await.expect("no panic");
            }
        }
    });
}

#[test]
fn what_the_streams_of_a_tick_send_leaves_in_one_write() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        let (writes, back) = (here.writes.clone(), there.writes.clone());
        server(there, Settings::default(), |_, respond| {
            spawn_local(async move {
                let _ = respond.send_response(StatusCode::NO_CONTENT, &HeaderMap::new(), true);
            });
        });
        let sender = client(here, Settings::default()).await;
        turns().await;
        let before = (writes.get(), back.get());
        let answers: Vec<_> = (0..50)
            .map(|_| sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true).expect("open").0)
            .collect();
        for answer in answers {
            assert_eq!(answer.await.expect("an answer").status(), 204);
        }
        assert_eq!((writes.get() - before.0, back.get() - before.1), (1, 1));
    });
}

#[test]
fn streams_that_send_without_end_share_the_connection_evenly() {
    run(async || {
        let (here, there) = pipe(10_000);
        let counts: Rc<[Cell<usize>; 5]> = Rc::default();
        let of_server = counts.clone();
        let (mut number, settings) = (0, Settings { stream_window: 1 << 20, ..Settings::default() });
        server(there, settings, move |request, respond| {
            let (counts, this) = (of_server.clone(), number);
            number += 1;
            spawn_local(async move {
                let (mut body, _respond) = (request.into_body(), respond);
                while let Some(Ok(frame)) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
                    let n = frame.into_data().map_or(0, |data| data.len());
                    counts[this].set(counts[this].get() + n);
                }
            });
        });
        let sender = client(here, Settings::default()).await;
        let mut answers = Vec::new();
        for _ in 0..5 {
            let (answer, mut stream) =
                sender.send_request(&Method::POST, &uri("/"), &HeaderMap::new(), false).expect("open");
            answers.push(answer);
            spawn_local(async move {
                let piece = Bytes::from(vec![7; 1 << 20]);
                while send_all(&mut stream, piece.clone(), false).await.is_ok() {}
            });
        }
        while counts.iter().map(Cell::get).sum::<usize>() < 20 << 20 {
            tokio::task::yield_now().await;
        }
        let all: Vec<usize> = counts.iter().map(Cell::get).collect();
        let (least, most) = (all.iter().min().expect("five"), all.iter().max().expect("five"));
        assert!(most - least <= 512 << 10, "{all:?}");
    });
}

#[test]
fn a_body_that_nobody_reads_stops_its_sender_and_no_other() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        let held = Rc::new(RefCell::new(Vec::new()));
        let keep = held.clone();
        let settings = Settings { stream_window: 70_000, connection_window: 1 << 20, ..Settings::default() };
        server(there, settings, move |request, respond| {
            if request.uri().path() == "/held" {
                keep.borrow_mut().push((request, respond));
            } else {
                echo(request, respond);
            }
        });
        let sender = client(here, Settings::default()).await;
        let sent = Rc::new(Cell::new(0));
        let told = sent.clone();
        let (_answer, mut held_stream) =
            sender.send_request(&Method::POST, &uri("/held"), &HeaderMap::new(), false).expect("open");
        spawn_local(async move {
            loop {
                let mut piece = Bytes::from_static(&[1; 1_000]);
                while !piece.is_empty() {
                    let before = piece.len();
                    if std::future::poll_fn(|cx| held_stream.poll_send(cx, &mut piece, false)).await.is_err()
                    {
                        return;
                    }
                    told.set(told.get() + before - piece.len());
                }
            }
        });
        let (answer, mut stream) =
            sender.send_request(&Method::POST, &uri("/echo"), &HeaderMap::new(), false).expect("open");
        let upload = async {
            send_all(&mut stream, pattern(2 << 20), true).await.expect("it is taken");
        };
        let download = async { read_all(&mut answer.await.expect("an answer").into_body()).await };
        let ((), body) = tokio::join!(upload, download);
        assert_eq!(body.expect("a whole body").0.len(), 2 << 20);
        assert_eq!(sent.get(), 70_000, "the window, to the byte");
        assert_eq!(held.borrow()[0].0.body().unread_bytes(), 70_000);
    });
}

#[test]
fn a_handle_that_goes_resets_its_stream_and_no_other() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let tell = seen.clone();
        server(there, Settings::default(), move |request, mut respond| {
            let tell = tell.clone();
            spawn_local(async move {
                if request.uri().path() == "/" {
                    let _ = respond.send_response(StatusCode::OK, &HeaderMap::new(), true);
                } else {
                    let why = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                    tell.borrow_mut().push(why);
                }
            });
        });
        let sender = client(here, Settings::default()).await;
        let held = sender.send_request(&Method::GET, &uri("/held"), &HeaderMap::new(), true).expect("open");
        turns().await;
        drop(held);
        turns().await;
        assert_eq!(*seen.borrow(), [Error::Reset(Reason::CANCEL, By::Remote)]);
        let (answer, _) =
            sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true).expect("open");
        assert_eq!(answer.await.expect("an answer").status(), 200);
    });
}

/// RFC 9113 section 8.1: the rest of a request that was answered is not wanted, and that is no failure.
#[test]
fn a_server_that_has_answered_refuses_the_rest_without_an_error() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        server(there, Settings::default(), |_, respond| {
            let _ = respond.send_response(StatusCode::FORBIDDEN, &HeaderMap::new(), true);
        });
        let sender = client(here, Settings::default()).await;
        let (answer, mut stream) =
            sender.send_request(&Method::POST, &uri("/"), &HeaderMap::new(), false).expect("open");
        let answer = answer.await.expect("an answer");
        assert_eq!(answer.status(), 403);
        read_all(&mut answer.into_body()).await.expect("no body, and its end");
        let why = std::future::poll_fn(|cx| stream.poll_reset(cx)).await;
        assert_eq!(why, Error::Reset(Reason::NO_ERROR, By::Remote));
    });
}

#[test]
fn a_server_that_leaves_serves_what_it_has_and_takes_no_more() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        let held = Rc::new(RefCell::new(None));
        let (keep, leave) = (held.clone(), Rc::new(Cell::new(false)));
        let asked = leave.clone();
        let ended = Rc::new(Cell::new(false));
        let end = ended.clone();
        spawn_local(async move {
            let mut connection = Connection::new(there, Settings::default());
            std::future::poll_fn(|cx| {
                if asked.get() {
                    connection.graceful_shutdown();
                }
                let over = connection.poll(cx);
                while let Some((_, _, respond)) = connection.accept() {
                    keep.replace(Some(respond));
                }
                over
            })
            .await
            .expect("an orderly end");
            end.set(true);
        });
        let sender = client(here, Settings::default()).await;
        leave.set(true);
        let (answer, _) =
            sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true).expect("open");
        turns().await;
        assert!(!sender.is_open(), "it was told");
        let refused = sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true);
        assert_eq!(refused.err(), Some(Error::GoAway(Reason::NO_ERROR, By::Remote)));
        assert!(!ended.get());
        let respond: SendResponse = held.take().expect("a request");
        drop(respond.send_response(StatusCode::OK, &HeaderMap::new(), true));
        assert_eq!(answer.await.expect("an answer").status(), 200);
        turns().await;
        assert!(ended.get());
    });
}

#[test]
fn a_connection_without_senders_and_streams_ends() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        let ended = server(there, Settings::default(), |_, respond| {
            let _ = respond.send_response(StatusCode::OK, &HeaderMap::new(), true);
        });
        let sender = client(here, Settings::default()).await;
        let (answer, stream) =
            sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true).expect("open");
        drop((sender, stream));
        assert_eq!(answer.await.expect("an answer").status(), 200);
        turns().await;
        assert_eq!(*ended.borrow(), Some(Ok(())));
    });
}

#[test]
fn streams_fail_with_their_connection() {
    run(async || {
        let (here, there) = pipe(1 << 20);
        server(there, Settings::default(), |_, respond| {
            drop(spawn_local(async move {
                let _respond = respond;
                std::future::pending::<()>().await;
            }))
        });
        let (sender, mut connection) = client::connect(here, Settings::default());
        let answer = std::future::poll_fn(|cx| {
            assert!(std::pin::Pin::new(&mut connection).poll(cx).is_pending());
            if sender.max_streams().is_none() {
                return std::task::Poll::Pending;
            }
            let sent = sender.send_request(&Method::GET, &uri("/"), &HeaderMap::new(), true);
            std::task::Poll::Ready(sent.expect("open").0)
        })
        .await;
        drop(connection);
        assert!(answer.await.expect_err("none can come").is_io());
        assert!(!sender.is_open());
    });
}

/// To close while the peer still sends is to reset the connection, and what it has not read yet is lost with it.
#[test]
fn a_server_that_has_ended_reads_on_until_its_client_ends() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    run(async || {
        let (mut here, there) = tokio::io::duplex(1 << 10);
        let ended = server(Pipe::over(there, 1 << 10), Settings::default(), |_, _| {});
        here.write_all(&[&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &[0; 9]].concat()).await.expect("taken");
        let mut said = Vec::new();
        here.read_to_end(&mut said).await.expect("its end");
        here.write_all(&[7; 10_000]).await.expect("all of it is taken");
        assert_eq!(*ended.borrow(), None);
        drop(here);
        turns().await;
        assert_eq!(*ended.borrow(), Some(Err(Error::GoAway(Reason::PROTOCOL_ERROR, By::Engine))));
    });
}
