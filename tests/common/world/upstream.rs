//! Upstreams: servers for HTTP/1.1, HTTP/2 and gRPC on one port, that tell their name and remember what they saw.
//!
//! They run on the test's own thread. For what no well-behaved server does there is [`super::raw`].

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::until;

/// A free port of 127.0.0.1.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Any body.
pub type BoxBody = UnsyncBoxBody<Bytes, Infallible>;
type Handler = Rc<dyn Fn(Request<Incoming>) -> LocalBoxFuture<'static, Response<BoxBody>>>;

/// No body.
pub fn empty() -> BoxBody {
    Empty::new().boxed_unsync()
}

/// One piece, whose length is told.
pub fn full(bytes: impl Into<Bytes>) -> BoxBody {
    Full::new(bytes.into()).boxed_unsync()
}

/// Frames as they are given, whose length is not told.
pub fn frames(frames: Vec<Frame<Bytes>>) -> BoxBody {
    StreamBody::new(futures_util::stream::iter(frames.into_iter().map(Ok))).boxed_unsync()
}

/// A body that is sent piece by piece, until the sender is dropped.
pub fn channel() -> (mpsc::UnboundedSender<Frame<Bytes>>, BoxBody) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|frame| frame.map(Ok)));
    (sender, StreamBody::new(stream).boxed_unsync())
}

/// What comes with a request, sent back as it comes, and `trailers` behind it.
pub fn echoed(request: Request<Incoming>, trailers: Option<HeaderMap>) -> BoxBody {
    let (sender, body) = channel();
    spawn_local(async move {
        let mut coming = request.into_body();
        while let Some(Ok(frame)) = coming.frame().await {
            let _ = sender.send(frame);
        }
        if let Some(trailers) = trailers {
            let _ = sender.send(Frame::trailers(trailers));
        }
    });
    body
}

/// A gRPC message in its frame of five bytes.
pub fn grpc_message(payload: &[u8]) -> Bytes {
    let mut message = vec![0];
    message.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    message.extend_from_slice(payload);
    message.into()
}

/// Trailers of a call that went well.
pub fn grpc_ok() -> HeaderMap {
    HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))])
}

/// A request as an upstream saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Which of the upstream's connections it came by, from 0.
    pub connection: usize,
    pub head: Parts,
    /// What had come when it was recorded; all of it for [`Upstream::start`].
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Seen {
    /// The field's value, if there is exactly one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.head.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("text");
        assert!(values.next().is_none(), "{name} stands twice: {:?}", self.head.headers);
        Some(value)
    }

    /// The host that it names, whichever HTTP it came by.
    pub fn host(&self) -> &str {
        let of_target = self.head.uri.authority().map(http::uri::Authority::as_str);
        of_target.or_else(|| self.header("host")).expect("a host")
    }

    /// Path and query.
    pub fn target(&self) -> &str {
        self.head.uri.path_and_query().map_or("", |target| target.as_str())
    }
}

/// What an upstream remembers.
#[derive(Default)]
pub struct Memory {
    requests: RefCell<Vec<Seen>>,
    /// Requests whose head has come.
    begun: Cell<usize>,
    /// Handlers that were dropped before they had answered.
    cancelled: Cell<usize>,
    connections: Cell<usize>,
    open: Cell<usize>,
}

/// A server that lives as long as the test.
#[derive(Clone)]
pub struct Upstream {
    addr: Option<SocketAddr>,
    memory: Rc<Memory>,
}

impl Upstream {
    /// One that reads each request whole, remembers it, and answers with its name as body and in `x-upstream`; a gRPC
    /// call with its name as the one message, and trailers.
    pub async fn start(name: &str) -> Upstream {
        let name = name.to_owned();
        Upstream::remembering(move |seen| answer_of(&name, &seen)).await
    }

    /// [`Upstream::start`] at an address of one's own choice.
    pub async fn start_at(name: &str, at: SocketAddr) -> Upstream {
        let name = name.to_owned();
        Upstream::serving(at, move |memory, connection, request| {
            let name = name.clone();
            async move { answer_of(&name, &remember(&memory, connection, request).await) }.boxed_local()
        })
        .await
    }

    /// One that reads each request whole, remembers it, and answers as `answer` says.
    pub async fn remembering(answer: impl Fn(Seen) -> Response<BoxBody> + 'static) -> Upstream {
        Upstream::remembering_at(ANY_PORT, answer).await
    }

    /// [`Upstream::remembering`] at an address of one's own choice.
    pub async fn remembering_at(
        at: SocketAddr,
        answer: impl Fn(Seen) -> Response<BoxBody> + 'static,
    ) -> Upstream {
        let answer = Rc::new(answer);
        Upstream::serving(at, move |memory, connection, request| {
            let answer = answer.clone();
            async move { answer(remember(&memory, connection, request).await) }.boxed_local()
        })
        .await
    }

    /// One that answers each request as the handler says; it remembers only how many came, and how many were left.
    pub async fn handling<F>(handler: impl Fn(Request<Incoming>) -> F + 'static) -> Upstream
    where
        F: Future<Output = Response<BoxBody>> + 'static,
    {
        Upstream::handling_at(ANY_PORT, handler).await
    }

    /// [`Upstream::handling`] at an address of one's own choice.
    pub async fn handling_at<F>(
        at: SocketAddr,
        handler: impl Fn(Request<Incoming>) -> F + 'static,
    ) -> Upstream
    where
        F: Future<Output = Response<BoxBody>> + 'static,
    {
        Upstream::serving(at, move |_, _, request| handler(request).boxed_local()).await
    }

    /// One that remembers each request, and answers with `status`.
    pub async fn failing(status: u16) -> Upstream {
        Upstream::remembering(move |_| {
            Response::builder().status(status).body(full("bad")).expect("a response")
        })
        .await
    }

    /// One that never answers its first request, and the others at once.
    pub async fn holding_the_first() -> Upstream {
        let asked = Cell::new(0);
        Upstream::handling(move |_| {
            let first = asked.replace(asked.get() + 1) == 0;
            async move {
                match first {
                    true => std::future::pending().await,
                    false => Response::new(full("second")),
                }
            }
        })
        .await
    }

    /// One that reads heads and no more, and never answers.
    pub async fn blind() -> Upstream {
        Upstream::handling(|request| async move {
            let _held = request;
            std::future::pending().await
        })
        .await
    }

    /// One that reads each request whole and never answers.
    pub async fn holding() -> Upstream {
        Upstream::handling(|request| async move {
            // hyper looks for the end of an HTTP/1 connection only once the body is read.
            let _ = request.into_body().collect().await;
            std::future::pending().await
        })
        .await
    }

    async fn serving(
        at: SocketAddr,
        handler: impl Fn(Rc<Memory>, usize, Request<Incoming>) -> LocalBoxFuture<'static, Response<BoxBody>>
        + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind(at).await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let memory = Rc::new(Memory::default());
        let (upstream, handler) = (Upstream { addr: Some(addr), memory: memory.clone() }, Rc::new(handler));
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("no delay");
                let mut start = [0; 3];
                let (memory, handler) = (memory.clone(), handler.clone());
                spawn_local(async move {
                    let two = stream.peek(&mut start).await.is_ok() && &start == b"PRI";
                    serve(stream, two, memory, handler).await;
                });
            }
        });
        upstream
    }

    /// [`Upstream::start`] at the path of a Unix-domain socket, for HTTP/1.1.
    pub async fn start_unix(name: &str, path: &Path) -> Upstream {
        let listener = UnixListener::bind(path).expect("a socket");
        let (memory, name) = (Rc::new(Memory::default()), name.to_owned());
        let upstream = Upstream { addr: None, memory: memory.clone() };
        let handler = Rc::new(move |memory: Rc<Memory>, connection, request| {
            let name = name.clone();
            async move { answer_of(&name, &remember(&memory, connection, request).await) }.boxed_local()
        });
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn_local(serve(stream, false, memory.clone(), handler.clone()));
            }
        });
        upstream
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr.expect("an upstream on a port")
    }

    /// [`Upstream::addr`] as configurations write it.
    pub fn at(&self) -> String {
        self.addr().to_string()
    }

    /// Every request that was remembered.
    pub fn seen(&self) -> Vec<Seen> {
        self.memory.requests.borrow().clone()
    }

    /// The only request that was remembered.
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// The last request that was remembered.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request")
    }

    /// How many requests came, answered or not.
    pub fn begun(&self) -> usize {
        self.memory.begun.get()
    }

    /// How many requests were cancelled before their answer.
    pub fn cancelled(&self) -> usize {
        self.memory.cancelled.get()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.memory.connections.get()
    }

    /// How many connections are open now.
    pub fn open_connections(&self) -> usize {
        self.memory.open.get()
    }

    /// Waits until `count` requests have come.
    pub async fn wait_begun(&self, count: usize) {
        until(&format!("{count} requests upstream"), || (self.begun() >= count).then_some(())).await;
    }
}

fn answer_of(name: &str, seen: &Seen) -> Response<BoxBody> {
    let grpc = seen
        .head
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let response = Response::builder().header("x-upstream", name);
    if grpc {
        let body = vec![Frame::data(grpc_message(name.as_bytes())), Frame::trailers(grpc_ok())];
        return response.header(CONTENT_TYPE, "application/grpc").body(frames(body)).expect("a response");
    }
    response.body(full(name.to_owned())).expect("a response")
}

async fn remember(memory: &Memory, connection: usize, request: Request<Incoming>) -> Seen {
    let (head, body) = request.into_parts();
    // A body that was cut is remembered as none.
    let whole = body.collect().await.ok();
    let trailers = whole.as_ref().and_then(|whole| whole.trailers().cloned());
    let body = whole.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let seen = Seen { connection, head, body, trailers };
    memory.requests.borrow_mut().push(seen.clone());
    seen
}

/// Runs hyper's tasks on the test's thread.
#[derive(Clone, Copy, Debug)]
pub struct LocalExec;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExec
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(spawn_local(future));
    }
}

async fn serve<S, H>(stream: S, two: bool, memory: Rc<Memory>, handler: Rc<H>)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Rc<Memory>, usize, Request<Incoming>) -> LocalBoxFuture<'static, Response<BoxBody>> + 'static,
{
    let connection = memory.connections.replace(memory.connections.get() + 1);
    memory.open.set(memory.open.get() + 1);
    let of_service = memory.clone();
    let service = service_fn(move |request| {
        let (memory, handler) = (of_service.clone(), handler.clone());
        async move {
            memory.begun.set(memory.begun.get() + 1);
            let mut answered = Answered { memory: memory.clone(), done: false };
            let response = handler(memory, connection, request).await;
            answered.done = true;
            Ok::<_, Infallible>(response)
        }
    });
    let io = TokioIo::new(stream);
    // How a connection ends is what the test looks at from its other end.
    if two {
        let _ = hyper::server::conn::http2::Builder::new(LocalExec).serve_connection(io, service).await;
    } else {
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    }
    memory.open.set(memory.open.get() - 1);
}

/// Counts a handler that is dropped before it is done.
struct Answered {
    memory: Rc<Memory>,
    done: bool,
}

impl Drop for Answered {
    fn drop(&mut self) {
        if !self.done {
            self.memory.cancelled.set(self.memory.cancelled.get() + 1);
        }
    }
}
