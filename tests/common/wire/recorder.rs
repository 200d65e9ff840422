//! An upstream that writes down what it got, byte for byte where it is HTTP/1, and answers as the target says.
//!
//! Law: it reads HTTP/1 as strictly as RFC 9112 allows and never guesses: what it cannot read without a doubt is noted
//! as a fault, for then a proxy has passed on what two servers could read differently.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::spawn_local;

use super::super::world::{Http, until};
use super::{latin1, shown};

/// Names and values, in the order in which they came; names as they were sent.
pub type Fields = Vec<(String, String)>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Got {
    /// Which of the recorder's connections it came by, from 0.
    pub connection: usize,
    pub http: Http,
    pub method: String,
    pub target: String,
    /// `host`, or `:authority`.
    pub authority: Vec<String>,
    /// All but `host`, the pseudo-fields and the framing of HTTP/1.
    pub fields: Fields,
    /// How HTTP/1 told the body's end: `content-length` or `transfer-encoding`, and the value.
    pub framing: Option<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Whether it came to its own end, and was not cut.
    pub whole: bool,
    /// What no request should be, if it is.
    pub fault: Option<String>,
}

impl Got {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let of_name = self.fields.iter().filter(|(field, _)| field.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value.as_str()).collect()
    }
}

#[derive(Default)]
struct Memory {
    got: RefCell<Vec<Got>>,
    begun: Cell<usize>,
    connections: Cell<usize>,
    /// Answers that are held back, and those of them whose request was given up.
    held: Cell<usize>,
    given_up: Cell<usize>,
    release: watch::Sender<bool>,
}

impl Memory {
    /// Waits for the release; `None`: `left` was first.
    async fn hold<T>(&self, left: impl Future<Output = T>) -> Option<()> {
        let mut released = self.release.subscribe();
        self.held.set(self.held.get() + 1);
        tokio::select! {
            _ = released.wait_for(|released| *released) => Some(()),
            _ = left => {
                self.given_up.set(self.given_up.get() + 1);
                None
            }
        }
    }
}

/// See the module. Serves HTTP/1.1 and HTTP/2 with prior knowledge, until the test ends.
#[derive(Clone)]
pub struct Recorder {
    addr: SocketAddr,
    memory: Rc<Memory>,
}

impl Recorder {
    pub async fn start() -> Recorder {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let recorder = Recorder { addr: listener.local_addr().expect("an address"), memory: Rc::default() };
        let memory = recorder.memory.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = memory.connections.replace(memory.connections.get() + 1);
                spawn_local(serve(stream, number, memory.clone()));
            }
        });
        recorder
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as configurations write it.
    pub fn at(&self) -> String {
        self.addr.to_string()
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.memory.connections.get()
    }

    /// How many requests have begun.
    pub fn begun(&self) -> usize {
        self.memory.begun.get()
    }

    /// How many answers are held back: see [`Recorder::release`].
    pub fn held(&self) -> usize {
        self.memory.held.get()
    }

    /// How many requests were given up while their answer was held back.
    pub fn given_up(&self) -> usize {
        self.memory.given_up.get()
    }

    /// Sends what was held back: the answers to `/hold`, and what stands behind the first half of those to `/half`.
    pub fn release(&self) {
        self.memory.release.send_replace(true);
    }

    /// Every request that has ended, one way or another, in that order.
    pub fn got(&self) -> Vec<Got> {
        self.memory.got.borrow().clone()
    }

    /// Waits until no request is on its way, and returns all.
    pub async fn settled(&self) -> Vec<Got> {
        let ended = || (self.memory.got.borrow().len() == self.memory.begun.get()).then_some(());
        until("every request that came upstream has ended", ended).await;
        self.got()
    }
}

async fn serve(stream: TcpStream, connection: usize, memory: Rc<Memory>) {
    let _ = stream.set_nodelay(true);
    let mut start = [0; 4];
    // `PRI ` begins HTTP/2's preface (RFC 9113 section 3.4), and no request of HTTP/1.
    let two = stream.peek(&mut start).await.is_ok() && &start == b"PRI ";
    if two {
        serve_two(stream, connection, memory).await;
    } else {
        let mut one = One { stream, ahead: Vec::new(), connection, memory };
        while one.request().await.is_some() {}
    }
}

/// A connection of HTTP/1.
struct One {
    stream: TcpStream,
    ahead: Vec<u8>,
    connection: usize,
    memory: Rc<Memory>,
}

impl One {
    /// One request, read and answered; `None`: the connection is to be closed.
    async fn request(&mut self) -> Option<()> {
        let head = match self.until(b"\r\n\r\n").await {
            Some(head) => head,
            None if self.ahead.is_empty() => return None,
            None => {
                self.memory.begun.set(self.memory.begun.get() + 1);
                let mut got = self.empty();
                got.fault = Some(format!("a head that is none: {}", shown(&self.ahead)));
                self.memory.got.borrow_mut().push(got);
                return None;
            }
        };
        self.memory.begun.set(self.memory.begun.get() + 1);
        let mut got = self.read_head(&head);
        let read = if got.fault.is_none() { self.body(&mut got).await } else { None };
        got.whole = read.is_some();
        let (method, target, fine) =
            (got.method.clone(), got.target.clone(), got.whole && got.fault.is_none());
        self.memory.got.borrow_mut().push(got);
        if !fine {
            return None;
        }
        let (answer, closes) = answer_of_one(&method, &target);
        let mut rest = answer.as_bytes();
        if target == "/hold" || target == "/half" {
            let first = if target == "/half" { rest.len() - 5 } else { 0 };
            self.stream.write_all(&rest[..first]).await.ok()?;
            rest = &rest[first..];
            let memory = self.memory.clone();
            memory.hold(self.more()).await?;
        }
        self.stream.write_all(rest).await.ok()?;
        (!closes).then_some(())
    }

    fn empty(&self) -> Got {
        Got {
            connection: self.connection,
            http: Http::One,
            method: String::new(),
            target: String::new(),
            authority: Vec::new(),
            fields: Vec::new(),
            framing: None,
            body: Vec::new(),
            trailers: Vec::new(),
            whole: false,
            fault: None,
        }
    }

    fn read_head(&self, head: &[u8]) -> Got {
        let mut got = self.empty();
        let text = latin1(head);
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let first = lines.next().unwrap_or_default();
        match first.split(' ').collect::<Vec<_>>()[..] {
            [method, target, "HTTP/1.1"] => (got.method, got.target) = (method.into(), target.into()),
            _ => got.fault = Some(format!("the request line {first:?}")),
        }
        for line in lines {
            match line.split_once(": ") {
                Some((name, value)) if is_token(name) && !has_control(value) => {
                    sort_field(&mut got, name, value);
                }
                _ => got.fault = Some(format!("the field line {line:?}")),
            }
        }
        got
    }

    /// The body, by the framing that the head tells; `None`: it was cut, or cannot be read.
    async fn body(&mut self, got: &mut Got) -> Option<()> {
        match got.framing.clone() {
            None => Some(()),
            Some((name, value)) if name == "content-length" => {
                let Ok(mut left) = value.parse::<usize>() else {
                    got.fault = Some(format!("the length {value:?}"));
                    return None;
                };
                while left > 0 {
                    let piece = self.some(left).await?;
                    left -= piece.len();
                    got.body.extend_from_slice(&piece);
                }
                Some(())
            }
            Some((_, value)) if value == "chunked" => self.chunks(got).await,
            Some((_, value)) => {
                got.fault = Some(format!("the transfer coding {value:?}"));
                None
            }
        }
    }

    async fn chunks(&mut self, got: &mut Got) -> Option<()> {
        loop {
            let line = latin1(&self.until(b"\r\n").await?);
            let digits = line.trim_end_matches("\r\n");
            let mut left = match usize::from_str_radix(digits, 16) {
                Ok(size) if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => size,
                _ => {
                    got.fault = Some(format!("the chunk's head {line:?}"));
                    return None;
                }
            };
            if left == 0 {
                break;
            }
            while left > 0 {
                let piece = self.some(left).await?;
                left -= piece.len();
                got.body.extend_from_slice(&piece);
            }
            let end = self.until(b"\r\n").await?;
            if end != b"\r\n" {
                got.fault = Some(format!("a chunk that ends with {}", shown(&end)));
                return None;
            }
        }
        loop {
            let line = latin1(&self.until(b"\r\n").await?);
            match line.trim_end_matches("\r\n").split_once(": ") {
                Some((name, value)) => got.trailers.push((name.to_owned(), value.to_owned())),
                None if line == "\r\n" => return Some(()),
                None => {
                    got.fault = Some(format!("the trailer line {line:?}"));
                    return None;
                }
            }
        }
    }

    /// Up to and with `end`.
    async fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return Some(self.ahead.drain(..at + end.len()).collect());
            }
            self.more().await?;
        }
    }

    /// Some bytes, at most `most`.
    async fn some(&mut self, most: usize) -> Option<Vec<u8>> {
        if self.ahead.is_empty() {
            self.more().await?;
        }
        Some(self.ahead.drain(..most.min(self.ahead.len())).collect())
    }

    async fn more(&mut self) -> Option<()> {
        self.stream.read_buf(&mut self.ahead).await.ok().filter(|&count| count > 0).map(|_| ())
    }
}

/// Puts a field where it belongs; framing that stands twice is a fault.
fn sort_field(got: &mut Got, name: &str, value: &str) {
    match name.to_ascii_lowercase().as_str() {
        "host" => got.authority.push(value.to_owned()),
        framing @ ("content-length" | "transfer-encoding") => {
            if got.framing.replace((framing.to_owned(), value.to_owned())).is_some() {
                got.fault = Some("framing stands twice".into());
            }
        }
        _ => got.fields.push((name.to_owned(), value.to_owned())),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// RFC 9110 section 5.5: what must not stand in a value.
fn has_control(value: &str) -> bool {
    value.chars().any(|c| (c < ' ' && c != '\t') || c == '\x7f')
}

/// What the target asks for: the whole answer of HTTP/1, and whether the connection closes behind it.
fn answer_of_one(method: &str, target: &str) -> (String, bool) {
    let (head, body, closes) = match target {
        "/chunked" => (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "5\r\nhello\r\n6\r\n again\r\n0\r\n\r\n",
            false,
        ),
        "/trailers" => (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-after\r\n\r\n",
            "5\r\nhello\r\n0\r\nx-after: 1\r\ncontent-length: 7\r\n\r\n",
            false,
        ),
        "/close" => ("HTTP/1.0 200 OK\r\n\r\n", "hello", true),
        "/none" => ("HTTP/1.1 204 No Content\r\n\r\n", "", false),
        "/half" => ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n", "helloagain", false),
        "/cut" => ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "5\r\nhello\r\n", true),
        _ => ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", "ok", false),
    };
    (if method == "HEAD" { head.to_owned() } else { format!("{head}{body}") }, closes)
}

async fn serve_two(stream: TcpStream, connection: usize, memory: Rc<Memory>) {
    // Requests that are cut are what many tests are about: they are no attack here.
    let mut server = h2::server::Builder::new();
    server.max_pending_accept_reset_streams(10_000).max_concurrent_reset_streams(10_000);
    let Ok(mut server) = server.handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = server.accept().await {
        memory.begun.set(memory.begun.get() + 1);
        spawn_local(request_of_two(request, respond, connection, memory.clone()));
    }
}

async fn request_of_two(
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
    connection: usize,
    memory: Rc<Memory>,
) {
    let (head, mut stream) = request.into_parts();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str()).to_owned();
    let mut got = Got {
        connection,
        http: Http::Two,
        method: head.method.as_str().to_owned(),
        target: target.clone(),
        authority: head.uri.authority().iter().map(|authority| authority.as_str().to_owned()).collect(),
        fields: fields_of(&head.headers),
        framing: None,
        body: Vec::new(),
        trailers: Vec::new(),
        whole: false,
        fault: None,
    };
    got.whole = read_two(&mut stream, &mut got).await.is_some();
    // The length is no framing in HTTP/2, but it is told.
    got.framing =
        got.values("content-length").first().map(|value| ("content-length".into(), (*value).into()));
    got.fields.retain(|(name, _)| name != "content-length");
    if got.fields.iter().any(|(name, _)| name == "host") {
        got.fault = Some("a host beside :authority".into());
    }
    let whole = got.whole;
    memory.got.borrow_mut().push(got);
    if whole {
        // The caller may have left.
        let _ = answer_two(respond, &head.method, &target, &memory).await;
    }
}

async fn read_two(stream: &mut h2::RecvStream, got: &mut Got) -> Option<()> {
    while let Some(piece) = stream.data().await {
        let piece = piece.ok()?;
        stream.flow_control().release_capacity(piece.len()).ok()?;
        got.body.extend_from_slice(&piece);
    }
    if let Some(trailers) = stream.trailers().await.ok()? {
        got.trailers = fields_of(&trailers);
    }
    Some(())
}

fn fields_of(headers: &HeaderMap) -> Fields {
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), latin1(value.as_bytes()))).collect()
}

/// The same answers by HTTP/2.
async fn answer_two(
    mut respond: h2::server::SendResponse<Bytes>,
    method: &http::Method,
    target: &str,
    memory: &Memory,
) -> Result<(), h2::Error> {
    let mut head = http::Response::new(());
    let (body, told) = match target {
        "/chunked" => ("hello again", false),
        "/trailers" | "/close" | "/cut" => ("hello", false),
        "/half" => ("helloagain", true),
        "/none" => {
            *head.status_mut() = http::StatusCode::NO_CONTENT;
            ("", false)
        }
        _ => ("ok", true),
    };
    if told {
        head.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if target == "/hold" && memory.hold(poll_fn(|cx| respond.poll_reset(cx))).await.is_none() {
        return Ok(());
    }
    let over = body.is_empty() || method == http::Method::HEAD;
    let mut stream = respond.send_response(head, over)?;
    if over {
        return Ok(());
    }
    let (mut body, trailers) = (Bytes::from_static(body.as_bytes()), target == "/trailers");
    if target == "/half" {
        stream.send_data(body.split_to(5), false)?;
        if memory.hold(poll_fn(|cx| stream.poll_reset(cx))).await.is_none() {
            return Ok(());
        }
    }
    if target == "/cut" {
        stream.reserve_capacity(body.len());
        stream.send_data(body, false)?;
        // What was sent goes out first.
        tokio::task::yield_now().await;
        stream.send_reset(h2::Reason::INTERNAL_ERROR);
        return Ok(());
    }
    stream.send_data(body, !trailers)?;
    if trailers {
        let name = HeaderName::from_static("x-after");
        stream.send_trailers(HeaderMap::from_iter([(name, HeaderValue::from_static("1"))]))?;
    }
    Ok(())
}
