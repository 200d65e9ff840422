//! One end is ours, the other is the h2 crate's: a second opinion on all of it.

use std::future::poll_fn;
use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream as TheirBody;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use tokio::io::DuplexStream;
use tokio::task::spawn_local;

use super::ours::server;
use super::pipe::{Pipe, pattern, read_all, run, send_all};
use crate::message::http2::{Settings, client};

const SIZES: [usize; 8] = [0, 1, 255, 2_048, 16_384, 16_385, 70_000, 400_000];

fn fields(n: usize) -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("content-type", HeaderValue::from_static("application/grpc"));
    fields.insert("x-number", HeaderValue::from(n));
    fields
}

async fn their_body(mut body: TheirBody) -> (Vec<u8>, Option<HeaderMap>) {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.expect("data");
        body.flow_control().release_capacity(piece.len()).expect("what was read");
        all.extend_from_slice(&piece);
    }
    (all, body.trailers().await.expect("a proper end"))
}

async fn their_upload(stream: &mut h2::SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let n = poll_fn(|cx| stream.poll_capacity(cx)).await.expect("open").expect("room");
        stream.send_data(data.split_to(n), false).expect("open");
    }
    stream.send_trailers(fields(7)).expect("open");
}

async fn their_server(stream: DuplexStream) {
    let mut server = h2::server::handshake(stream).await.expect("a handshake");
    while let Some(Ok((request, mut respond))) = server.accept().await {
        spawn_local(async move {
            let (parts, body) = request.into_parts();
            let (all, trailers) = their_body(body).await;
            let mut response = Response::new(());
            *response.headers_mut() = parts.headers;
            let mut stream = respond.send_response(response, false).expect("open");
            assert_eq!(trailers.expect("trailers")["x-number"], "7");
            their_upload(&mut stream, all.into()).await;
        });
    }
}

#[test]
fn our_client_and_their_server_agree() {
    run(async || {
        for most in [100, 50_000] {
            let (here, there) = tokio::io::duplex(most);
            spawn_local(their_server(there));
            let (sender, connection) = client::connect(Pipe::over(here, most), Settings::default());
            spawn_local(connection);
            let sender = Rc::new(sender);
            while sender.max_streams().is_none() {
                tokio::task::yield_now().await;
            }
            let calls: Vec<_> = SIZES
                .into_iter()
                .map(|size| {
                    let sender = sender.clone();
                    spawn_local(async move {
                        let uri = "http://x/echo".parse().expect("a URI");
                        let (answer, mut stream) =
                            sender.send_request(&Method::POST, &uri, &fields(size), false).expect("open");
                        send_all(&mut stream, pattern(size), false).await.expect("taken");
                        stream.send_trailers(&fields(7)).expect("open");
                        let answer = answer.await.expect("an answer");
                        assert_eq!(answer.headers()["x-number"], size.to_string());
                        let (body, trailers) = read_all(&mut answer.into_body()).await.expect("whole");
                        assert!(body == pattern(size), "{size}: {} bytes", body.len());
                        assert_eq!(trailers.expect("trailers"), fields(7));
                    })
                })
                .collect();
            for call in calls {
                call.await.expect("no panic");
            }
        }
    });
}

#[test]
fn their_client_and_our_server_agree() {
    run(async || {
        for most in [100, 50_000] {
            let (here, there) = tokio::io::duplex(most);
            server(Pipe::over(there, most), Settings::default(), |request, respond| {
                spawn_local(async move {
                    let (parts, mut body) = request.into_parts();
                    assert_eq!((parts.method, parts.uri.path()), (Method::POST, "/echo"));
                    let (all, trailers) = read_all(&mut body).await.expect("whole");
                    let mut stream =
                        respond.send_response(StatusCode::OK, &parts.headers, false).expect("open");
                    send_all(&mut stream, all, false).await.expect("taken");
                    stream.send_trailers(&trailers.expect("trailers")).expect("open");
                });
            });
            let (sender, connection) = h2::client::handshake(here).await.expect("a handshake");
            spawn_local(connection);
            let calls: Vec<_> = SIZES
                .into_iter()
                .map(|size| {
                    let sender = sender.clone();
                    spawn_local(async move {
                        let mut sender = sender.ready().await.expect("room");
                        let mut request = Request::post("http://x/echo").body(()).expect("a request");
                        *request.headers_mut() = fields(size);
                        let (answer, mut stream) = sender.send_request(request, false).expect("open");
                        their_upload(&mut stream, pattern(size).into()).await;
                        let answer = answer.await.expect("an answer");
                        assert_eq!(answer.headers()["x-number"], size.to_string());
                        let (body, trailers) = their_body(answer.into_body()).await;
                        assert!(body == pattern(size), "{size}: {} bytes", body.len());
                        assert_eq!(trailers.expect("trailers"), fields(7));
                    })
                })
                .collect();
            for call in calls {
                call.await.expect("no panic");
            }
        }
    });
}
