//! What stands behind both proxies: servers for HTTP/1.1 and HTTP/2 that do what each request asks of them, and tell
//! what came.
//!
//! Law: the n-th attempt of a request gets the n-th of the deeds that its field `x-do` names, the last one for all that
//! follow. What reached a server is told in words that do not depend on the version of HTTP.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::common::world::Http;
use super::common::world::upstream::grpc_message;
use super::words;

/// The field by which a request is told from all others.
pub(super) const PROBE: &str = "x-probe";
/// What the upstream is to do, attempt by attempt: `503,200`.
pub(super) const DO: &str = "x-do";
/// Fields of its answer: `name=value;name=value`.
pub(super) const EMIT: &str = "x-emit";

/// A server.
pub(super) struct Behind {
    pub(super) addr: SocketAddr,
    memory: Rc<Memory>,
}

#[derive(Default)]
struct Memory {
    /// Probe and words of each request, in their order.
    got: RefCell<Vec<(String, String)>>,
}

impl Behind {
    /// One that speaks `http`.
    pub(super) async fn start(http: Http) -> Behind {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let behind = Behind { addr: listener.local_addr().expect("an address"), memory: Rc::default() };
        let memory = behind.memory.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // It is only faster with it.
                let _ = stream.set_nodelay(true);
                let memory = memory.clone();
                spawn_local(async move {
                    match http {
                        Http::One => one(stream, &memory).await,
                        Http::Two => two(stream, memory).await,
                    }
                });
            }
        });
        behind
    }

    /// What came of a probe, in its order.
    pub(super) fn got(&self, probe: &str) -> Vec<String> {
        let got = self.memory.got.borrow();
        got.iter().filter(|(of, _)| of == probe).map(|(_, words)| words.clone()).collect()
    }
}

/// A request, whole.
#[derive(Default)]
struct Got {
    method: String,
    target: String,
    authority: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

impl Got {
    fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    fn emitted(&self) -> impl Iterator<Item = (&str, &str)> {
        self.value(EMIT).into_iter().flat_map(|all| all.split(';')).filter_map(|one| one.split_once('='))
    }

    fn words(&self) -> String {
        let text = words::fields(&self.fields, words::Way::Up);
        let mut text = format!("{} {} of {} {{{text}}}", self.method, self.target, self.authority);
        if !self.body.is_empty() {
            text += &format!(" {:?}", self.body.escape_ascii().to_string());
        }
        if !self.trailers.is_empty() {
            text += &format!(" trailers {{{}}}", words::fields(&self.trailers, words::Way::Up));
        }
        text
    }
}

impl Memory {
    /// Remembers a request; what is to be done with it.
    fn take(&self, got: &Got) -> String {
        let probe = got.value(PROBE).unwrap_or_default().to_owned();
        let mut all = self.got.borrow_mut();
        let attempt = all.iter().filter(|(of, _)| *of == probe).count();
        all.push((probe, got.words()));
        let deeds: Vec<&str> = got.value(DO).unwrap_or("200").split(',').collect();
        deeds[attempt.min(deeds.len() - 1)].to_owned()
    }
}

async fn one(stream: TcpStream, memory: &Memory) {
    let mut stream = BufReader::new(stream);
    while let Some(got) = read(&mut stream).await {
        let deed = memory.take(&got);
        let mut fields: String = got.emitted().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        fields += &format!("x-did: {deed}\r\n");
        let (bytes, goes_on) = match deed.as_str() {
            "hang" => {
                // Until the proxy gives it up.
                let _ = stream.read_u8().await;
                return;
            }
            "close" => return,
            "garbage" => ("what is this\r\n\r\n".to_owned(), false),
            "cut" => (format!("HTTP/1.1 200 OK\r\n{fields}content-length: 9\r\n\r\nhalf"), false),
            "stall" => {
                let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: 9\r\n\r\nhalf");
                if stream.write_all(head.as_bytes()).await.is_ok() {
                    let _ = stream.read_u8().await;
                }
                return;
            }
            "switch" => {
                let protocol = got.value("upgrade").unwrap_or("nothing");
                let head = format!(
                    "HTTP/1.1 101 Switching Protocols\r\n{fields}connection: upgrade\r\nupgrade: {protocol}\r\n\r\n"
                );
                return echo(stream, &head).await;
            }
            "204" | "304" => (format!("HTTP/1.1 {deed} Bare\r\n{fields}\r\n"), true),
            status => {
                let body = if got.method == "HEAD" { "" } else { "done" };
                (format!("HTTP/1.1 {status} Some\r\n{fields}content-length: 4\r\n\r\n{body}"), true)
            }
        };
        if stream.write_all(bytes.as_bytes()).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Sends back what comes, behind `head`.
async fn echo(mut stream: BufReader<TcpStream>, head: &str) {
    let mut bytes = vec![0; 1024];
    if stream.write_all(head.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(count @ 1..) = stream.read(&mut bytes).await {
        if stream.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

/// A request; `None`: the connection has ended, or what came is none.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Got> {
    let line = line(stream).await?;
    let mut parts = line.split(' ');
    let (method, target) = (parts.next()?.to_owned(), parts.next()?.to_owned());
    let mut got = Got { method, target, fields: fields(stream).await?, ..Got::default() };
    got.authority = got.value("host").unwrap_or_default().to_owned();
    if let Some(length) = got.value("content-length") {
        got.body = vec![0; length.parse().ok()?];
        stream.read_exact(&mut got.body).await.ok()?;
    } else if got.value("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&self::line(stream).await?, 16).ok()?;
            if size == 0 {
                break;
            }
            let mut piece = vec![0; size + 2];
            stream.read_exact(&mut piece).await.ok()?;
            got.body.extend_from_slice(&piece[..size]);
        }
        got.trailers = fields(stream).await?;
    }
    Some(got)
}

/// Fields up to the empty line.
async fn fields(stream: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut all = Vec::new();
    loop {
        let line = line(stream).await?;
        if line.is_empty() {
            return Some(all);
        }
        let (name, value) = line.split_once(':')?;
        all.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn two(stream: TcpStream, memory: Rc<Memory>) {
    let Ok(mut server) = h2::server::handshake(stream).await else { return };
    let (close, mut closes) = mpsc::unbounded_channel();
    loop {
        let next = tokio::select! {
            next = server.accept() => next,
            // Dropped with all its streams.
            Some(()) = closes.recv() => return,
        };
        let Some(Ok((request, respond))) = next else { return };
        spawn_local(stream_of_two(request, respond, memory.clone(), close.clone()));
    }
}

/// `None`: the proxy has given it up.
async fn stream_of_two(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    memory: Rc<Memory>,
    close: mpsc::UnboundedSender<()>,
) -> Option<()> {
    let got = whole(request).await?;
    let deed = memory.take(&got);
    let mut head = Response::builder().header("x-did", &deed);
    for (name, value) in got.emitted() {
        head = head.header(name, value);
    }
    let grpc = |head: http::response::Builder| head.header("content-type", "application/grpc");
    match deed.split_once('-').unwrap_or((&deed, "")) {
        ("hang", _) => {
            // Until the proxy gives it up.
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok()?;
        }
        ("close", _) => {
            close.send(()).ok()?;
            // Held until then, for what is dropped is reset first.
            std::future::poll_fn(|cx| respond.poll_reset(cx)).await.ok()?;
        }
        ("refuse", _) => respond.send_reset(Reason::REFUSED_STREAM),
        ("reset", _) => respond.send_reset(Reason::INTERNAL_ERROR),
        ("cut", _) => {
            let mut body = respond.send_response(head.body(()).ok()?, false).ok()?;
            body.send_data("half".into(), false).ok()?;
            // So that the head has gone before.
            tokio::time::sleep(Duration::from_millis(20)).await;
            body.send_reset(Reason::INTERNAL_ERROR);
        }
        ("stall", _) => {
            let mut body = respond.send_response(head.body(()).ok()?, false).ok()?;
            body.send_data("half".into(), false).ok()?;
            std::future::poll_fn(|cx| body.poll_reset(cx)).await.ok()?;
        }
        // The status in the head, which is the whole answer.
        ("grpc", status) => {
            let head = grpc(head).header("grpc-status", status).header("grpc-message", "no");
            respond.send_response(head.body(()).ok()?, true).ok()?;
        }
        // The status behind a head.
        ("trailers", status) => {
            let mut body = respond.send_response(grpc(head).body(()).ok()?, false).ok()?;
            body.send_trailers(trailers(status)?).ok()?;
        }
        // The status behind a message.
        ("message", status) => {
            let mut body = respond.send_response(grpc(head).body(()).ok()?, false).ok()?;
            body.send_data(grpc_message(b"done"), false).ok()?;
            body.send_trailers(trailers(status)?).ok()?;
        }
        (status @ ("204" | "304"), _) => {
            respond.send_response(head.status(status).body(()).ok()?, true).ok()?;
        }
        (status, _) => {
            let head = head.status(status).header("content-length", "4").body(()).ok()?;
            let over = got.method == "HEAD";
            let mut body = respond.send_response(head, over).ok()?;
            if !over {
                body.send_data("done".into(), true).ok()?;
            }
        }
    }
    Some(())
}

fn trailers(status: &str) -> Option<HeaderMap> {
    let value = HeaderValue::from_str(status).ok()?;
    Some(HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), value)]))
}

async fn whole(request: Request<RecvStream>) -> Option<Got> {
    let (head, mut body) = request.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.ok()?;
        body.flow_control().release_capacity(piece.len()).ok()?;
        bytes.extend_from_slice(&piece);
    }
    let trailers = body.trailers().await.ok()?.unwrap_or_default();
    Some(Got {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority: head.uri.authority().map(ToString::to_string).unwrap_or_default(),
        fields: words::of_map(&head.headers),
        body: bytes,
        trailers: words::of_map(&trailers),
    })
}
