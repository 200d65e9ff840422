//! Upstreams that do as they are told, and clients that keep their connections and obey every goodbye.
//!
//! Law: an upstream lives on a thread of its own and ends with its value; a client counts as failed whatever a caller
//! would not have liked to see, and honours `connection: close` and GOAWAY before anything else.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_local;

pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;
pub type Answering = Pin<Box<dyn Future<Output = Answer>>>;

/// An HTTP server on a thread of its own.
pub struct Upstream {
    pub address: SocketAddr,
    /// Connections open now, and accepted ever.
    pub open: Arc<AtomicUsize>,
    pub accepted: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
}

/// Puts the tasks of an HTTP/2 connection on this thread.
#[derive(Clone, Copy)]
pub struct Here;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for Here {
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    Http1,
    Http2,
}

impl Upstream {
    /// Answers every request with what `answer` makes of it.
    pub fn start(
        wire: Wire,
        answer: impl Fn(Request<Incoming>) -> Answering + Clone + Send + 'static,
    ) -> Upstream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (open, accepted): (Arc<AtomicUsize>, Arc<AtomicUsize>) = Default::default();
        let counts = (open.clone(), accepted.clone());
        weir::runtime::worker::spawn("upstream", move || async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let serving = async {
                while let Ok((stream, _)) = listener.accept().await {
                    stream.set_nodelay(true).unwrap();
                    let (open, answer) = (counts.0.clone(), answer.clone());
                    open.fetch_add(1, Ordering::SeqCst);
                    counts.1.fetch_add(1, Ordering::SeqCst);
                    spawn_local(async move {
                        serve(wire, stream, answer).await;
                        open.fetch_sub(1, Ordering::SeqCst);
                    });
                }
            };
            tokio::select! {
                () = serving => {}
                _ = stopped => {}
            }
        })
        .unwrap();
        Upstream { address, open, accepted, _stop: stop }
    }

    pub fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve(wire: Wire, stream: TcpStream, answer: impl Fn(Request<Incoming>) -> Answering) {
    let service = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // How a connection ended is for the proxy to tell.
    let _ = match wire {
        Wire::Http1 => {
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
        }
        Wire::Http2 => {
            hyper::server::conn::http2::Builder::new(Here)
                .initial_stream_window_size(64 << 10)
                .initial_connection_window_size(256 << 20)
                .max_concurrent_streams(1000)
                .serve_connection(TokioIo::new(stream), service)
                .await
        }
    };
}

/// A whole answer: headers, then a body, which for gRPC ends with status 0.
pub fn answer(wire: Wire, headers: &[(&'static str, &str)], body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(());
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().unwrap());
    }
    let body = Full::new(body.into());
    response.map(|()| match wire {
        Wire::Http1 => body.boxed_unsync(),
        Wire::Http2 => {
            let status = HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
            body.with_trailers(std::future::ready(Some(Ok(status)))).boxed_unsync()
        }
    })
}

/// What many clients saw.
#[derive(Default)]
pub struct Tally {
    pub answered: Cell<u64>,
    pub faults: RefCell<Vec<String>>,
    /// Clients may open connections.
    pub no_dialling: Cell<bool>,
    /// Clients stop after the request they are at.
    pub stop: Cell<bool>,
    /// How often a server said goodbye.
    pub goodbyes: Cell<u64>,
}

impl Tally {
    pub fn fault(&self, fault: impl Into<String>) {
        self.faults.borrow_mut().push(fault.into());
    }

    pub fn assert_none_failed(&self) {
        let faults = self.faults.borrow();
        let some: Vec<_> = faults.iter().take(5).collect();
        assert!(faults.is_empty(), "{} of {} failed: {some:#?}", faults.len(), self.answered.get());
    }

    fn goodbye(&self) {
        self.goodbyes.set(self.goodbyes.get() + 1);
    }
}

/// A head and body as a client got them.
pub struct Got {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub trailers: HeaderMap,
    pub body: Bytes,
}

/// Whether the answer to the call of that number is right, and if not, why.
pub type Check = Rc<dyn Fn(u64, &Got) -> Result<(), String>>;

/// A kind of call that clients repeat: what goes out, and whether what came back is right.
#[derive(Clone)]
pub struct Call {
    pub headers: Rc<dyn Fn(u64) -> Vec<(&'static str, String)>>,
    pub check: Check,
}

/// Calls over one connection at a time until told to stop, or until dialling is over.
pub async fn client(wire: Wire, address: SocketAddr, call: Call, tally: Rc<Tally>) {
    let mut number = 0;
    while !tally.stop.get() && !tally.no_dialling.get() {
        let stream = match TcpStream::connect(address).await {
            Ok(stream) => stream,
            Err(error) => return tally.fault(format!("dial: {error}")),
        };
        stream.set_nodelay(true).unwrap();
        let ended = match wire {
            Wire::Http1 => http1_calls(stream, &call, &tally, &mut number).await,
            Wire::Http2 => grpc_calls(stream, &call, &tally, &mut number).await,
        };
        if let Err(fault) = ended {
            return tally.fault(fault);
        }
    }
}

fn judge(call: &Call, tally: &Tally, number: &mut u64, got: &Got) {
    tally.answered.set(tally.answered.get() + 1);
    if got.status != 200 {
        let body = String::from_utf8_lossy(&got.body);
        tally.fault(format!("status {}: {body}", got.status));
    } else if let Err(fault) = (call.check)(*number, got) {
        tally.fault(fault);
    }
    *number += 1;
}

async fn http1_calls(stream: TcpStream, call: &Call, tally: &Tally, number: &mut u64) -> Result<(), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    spawn_local(connection);
    while !tally.stop.get() {
        let mut request = Request::post("/v1/models/m:predict").header("host", "m");
        for (name, value) in (call.headers)(*number) {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from_static(br#"{"instances":[1.0,2.0]}"#))).unwrap();
        let response =
            sender.send_request(request).await.map_err(|error| format!("HTTP/1 request: {error:?}"))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| format!("HTTP/1 body: {error:?}"))?.to_bytes();
        let closes = parts.headers.get("connection").is_some_and(|value| value == "close");
        let got = Got { status: parts.status, headers: parts.headers, trailers: HeaderMap::new(), body };
        judge(call, tally, number, &got);
        if closes {
            tally.goodbye();
            return Ok(());
        }
        sender.ready().await.map_err(|error| format!("HTTP/1 connection closed unannounced: {error:?}"))?;
    }
    Ok(())
}

async fn grpc_calls(stream: TcpStream, call: &Call, tally: &Tally, number: &mut u64) -> Result<(), String> {
    let (mut sender, connection) = h2::client::handshake(stream).await.map_err(|error| error.to_string())?;
    spawn_local(connection);
    while !tally.stop.get() {
        match grpc_call(&mut sender, &(call.headers)(*number), &Bytes::from_static(b"\0\0\0\0\x02hi")).await {
            Ok(got) => {
                let status = got.trailers.get("grpc-status").or(got.headers.get("grpc-status"));
                if status.is_none_or(|status| status != "0") {
                    tally.fault(format!("gRPC status {status:?} {:?}", got.headers.get("grpc-message")));
                }
                judge(call, tally, number, &got);
            }
            // Not sent, or above the last stream of the GOAWAY: to be sent by another connection.
            Err(error) if error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR) => {
                tally.goodbye();
                return Ok(());
            }
            Err(error) => return Err(format!("gRPC call {number}: {error:?}")),
        }
    }
    Ok(())
}

/// One gRPC call on a connection.
pub async fn grpc_call(
    sender: &mut h2::client::SendRequest<Bytes>,
    headers: &[(&'static str, String)],
    message: &Bytes,
) -> Result<Got, h2::Error> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("http://m/tensorflow.serving.PredictionService/Predict")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let mut ready = sender.clone().ready().await?;
    let (response, mut stream) = ready.send_request(request.body(()).unwrap(), false)?;
    stream.send_data(message.clone(), true)?;
    let (parts, mut body) = response.await?.into_parts();
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        all.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(Got { status: parts.status, headers: parts.headers, trailers, body: all.into() })
}

/// A body that is made as it is asked for: `pieces` of `size` bytes, for ever if `None`, each written by `fill`.
pub fn made_as_read(pieces: Option<u64>, size: usize) -> UnsyncBoxBody<Bytes, Infallible> {
    let (send, receive) = mpsc::channel::<Bytes>(1);
    let piece = Bytes::from(vec![b'x'; size]);
    spawn_local(async move {
        let mut left = pieces;
        while left != Some(0) && send.send(piece.clone()).await.is_ok() {
            left = left.map(|left| left - 1);
        }
    });
    let frames = futures_util::stream::unfold(receive, |mut receive| async {
        let piece = receive.recv().await?;
        Some((Ok(http_body::Frame::data(piece)), receive))
    });
    // The stream is local to its thread; an unsync box still wants `Send`, which a channel's end is.
    http_body_util::StreamBody::new(Box::pin(frames)).boxed_unsync()
}
