//! Clients: one connection each, HTTP/1.1 or HTTP/2, with answers read whole or piece by piece.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE};
use http::request::Builder;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::spawn_local;

use super::upstream::{BoxBody, LocalExec, channel, empty, full, grpc_message};
use super::{Http, SOON, soon};

/// The authority that requests name unless they say another.
pub const AUTHORITY: &str = "x.default.svc.cluster.local";

/// A connection to the proxy.
pub enum Client {
    One(http1::SendRequest<BoxBody>),
    Two(http2::SendRequest<BoxBody>),
}

/// An answer read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub version: Version,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// The field's value, if there is exactly one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next()?.to_str().expect("text");
        assert!(values.next().is_none(), "{name} stands twice: {:?}", self.headers);
        Some(value)
    }

    /// The gRPC status, of the trailers or of the head.
    pub fn grpc_status(&self) -> Option<&str> {
        let of = |headers: &HeaderMap| headers.get("grpc-status").is_some();
        let headers = self.trailers.as_ref().filter(|trailers| of(trailers)).unwrap_or(&self.headers);
        headers.get("grpc-status").map(|status| status.to_str().expect("text"))
    }

    /// The upstream that answered, by the name it tells; a gRPC answer tells it in its message too.
    pub fn upstream(&self) -> &str {
        self.header("x-upstream").unwrap_or_else(|| panic!("no upstream answered: {self:?}"))
    }
}

/// Connects by TCP, from 127.0.0.1 or from another address of this machine.
pub async fn connect_from(from: Option<IpAddr>, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0)).expect("a local address");
    }
    let stream = soon("a connection", socket.connect(to)).await.expect("connected");
    stream.set_nodelay(true).expect("no delay");
    stream
}

impl Client {
    /// A connection from 127.0.0.1.
    pub async fn connect(http: Http, to: SocketAddr) -> Client {
        Client::connect_from(http, None, to).await
    }

    /// A connection from `from`, such as 127.0.0.2.
    pub async fn connect_from(http: Http, from: Option<IpAddr>, to: SocketAddr) -> Client {
        let io = TokioIo::new(connect_from(from, to).await);
        // How the connection ends is told to the requests that are on it.
        match http {
            Http::One => {
                let (sender, connection) = http1::handshake(io).await.expect("a handshake");
                spawn_local(async move { drop(connection.await) });
                Client::One(sender)
            }
            Http::Two => {
                let (sender, connection) = http2::handshake(LocalExec, io).await.expect("a handshake");
                spawn_local(async move { drop(connection.await) });
                Client::Two(sender)
            }
        }
    }

    fn http(&self) -> Http {
        match self {
            Client::One(_) => Http::One,
            Client::Two(_) => Http::Two,
        }
    }

    /// Sends `request`, in the form of the connection's HTTP; the answer comes with its head. [`AUTHORITY`] is added
    /// where it names none.
    pub async fn begin(&mut self, request: Request<BoxBody>) -> hyper::Result<Response<Incoming>> {
        let request = fit(self.http(), request);
        match self {
            Client::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Client::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// Sends `request` and reads its answer whole.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(&mut self, request: Request<BoxBody>) -> Answer {
        let what = format!("an answer to {} {}", request.method(), request.uri());
        soon(&what, async {
            let response = self.begin(request).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            read(response).await.unwrap_or_else(|error| panic!("{what}: {error:?}"))
        })
        .await
    }

    /// POST `path`, with a body of which the second part comes after a silence, read whole.
    pub async fn post_slowly(&mut self, path: &str, silence: Duration) -> Answer {
        let (sender, body) = channel();
        sender.send(Frame::data("first ".into())).expect("sent");
        let rest = async {
            tokio::time::sleep(silence).await;
            // A request that was answered already takes no more.
            let _ = sender.send(Frame::data("last".into()));
            drop(sender);
        };
        let request = request(Method::POST, path).body(body).expect("a request");
        tokio::join!(self.send(request), rest).0
    }

    /// GET `path`, read whole.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(get(path)).await
    }

    /// GET `/m` until an answer is as it should be.
    pub async fn get_until(&mut self, what: &str, is: impl Fn(&Answer) -> bool) -> Answer {
        let start = Instant::now();
        loop {
            let answer = self.get("/m").await;
            if is(&answer) {
                return answer;
            }
            assert!(start.elapsed() < SOON, "{what}: not within {SOON:?}, but {answer:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Reads an answer to its end.
///
/// # Errors
/// hyper's, when it was cut.
pub async fn read(response: Response<Incoming>) -> hyper::Result<Answer> {
    let (parts, body) = response.into_parts();
    let whole = body.collect().await?;
    let trailers = whole.trailers().cloned();
    let (status, version, headers) = (parts.status, parts.version, parts.headers);
    Ok(Answer { status, version, headers, body: whole.to_bytes(), trailers })
}

/// Begins a request.
pub fn request(method: Method, path: &str) -> Builder {
    Request::builder().method(method).uri(path)
}

/// A GET without a body.
pub fn get(path: &str) -> Request<BoxBody> {
    request(Method::GET, path).body(empty()).expect("a request")
}

/// A POST with a body.
pub fn post(path: &str, body: impl Into<Bytes>) -> Request<BoxBody> {
    request(Method::POST, path).body(full(body)).expect("a request")
}

/// What a browser asks before a request with `method` of a page of `origin`.
pub fn preflight(origin: &str, method: &str) -> Request<BoxBody> {
    let asked = request(Method::OPTIONS, "/").header("origin", origin);
    asked.header("access-control-request-method", method).body(empty()).expect("a request")
}

/// Begins a gRPC call.
pub fn grpc(path: &str) -> Builder {
    request(Method::POST, path).header(CONTENT_TYPE, "application/grpc").header(TE, "trailers")
}

/// A unary gRPC call with one message.
pub fn grpc_call(path: &str, payload: &[u8]) -> Request<BoxBody> {
    grpc(path).body(full(grpc_message(payload))).expect("a request")
}

/// HTTP/1.1 wants the target's path and a Host; HTTP/2 wants a whole URI.
fn fit(http: Http, request: Request<BoxBody>) -> Request<BoxBody> {
    let (mut parts, body) = request.into_parts();
    let named = parts.uri.authority().is_some();
    match http {
        Http::One if !named && !parts.headers.contains_key(HOST) => {
            parts.headers.insert(HOST, http::HeaderValue::from_static(AUTHORITY));
        }
        Http::One => {}
        Http::Two => {
            let host = parts.headers.remove(HOST);
            if !named {
                let host = host.as_ref().map_or(AUTHORITY, |host| host.to_str().expect("text"));
                let mut uri = parts.uri.into_parts();
                uri.scheme = Some(http::uri::Scheme::HTTP);
                uri.authority = Some(host.parse().expect("an authority"));
                parts.uri = http::Uri::from_parts(uri).expect("a URI");
            }
        }
    }
    Request::from_parts(parts, body)
}
