//! Bytes: a client that sends what no HTTP library would, and upstreams that fail as no HTTP server should.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_local;

use super::client::connect_from;
use super::{Http, soon};

/// One side of a TCP connection.
pub struct Raw {
    stream: TcpStream,
    /// Read, and not yet taken.
    ahead: Vec<u8>,
}

impl Raw {
    /// A client's connection.
    pub async fn connect(to: SocketAddr) -> Raw {
        Raw::over(connect_from(None, to).await)
    }

    /// A connection that is there.
    pub fn over(stream: TcpStream) -> Raw {
        Raw { stream, ahead: Vec::new() }
    }

    /// The socket itself; what was read ahead must have been taken.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.ahead.is_empty(), "bytes were read ahead");
        self.stream
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon("a write", self.stream.write_all(bytes.as_ref())).await.expect("written");
    }

    /// Reads up to and with `end`; what stands behind it is read later. `None`: the peer closed before.
    pub async fn read_until(&mut self, end: &[u8]) -> Option<String> {
        soon("bytes", async {
            loop {
                if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                    let taken: Vec<u8> = self.ahead.drain(..at + end.len()).collect();
                    return Some(String::from_utf8(taken).expect("text"));
                }
                if self.more().await == 0 {
                    return None;
                }
            }
        })
        .await
    }

    /// Reads a head, with its empty line.
    pub async fn read_head(&mut self) -> Option<String> {
        self.read_until(b"\r\n\r\n").await
    }

    /// Reads exactly `count` bytes.
    pub async fn read_exact(&mut self, count: usize) -> Vec<u8> {
        soon("bytes", async {
            while self.ahead.len() < count {
                assert!(
                    self.more().await > 0,
                    "the peer closed after {:?}",
                    String::from_utf8_lossy(&self.ahead)
                );
            }
            self.ahead.drain(..count).collect()
        })
        .await
    }

    /// Reads so many bytes, or fewer where the peer closes before.
    pub async fn read_at_most(&mut self, count: usize) -> String {
        soon("bytes", async {
            while self.ahead.len() < count && self.more().await > 0 {}
            let count = count.min(self.ahead.len());
            String::from_utf8(self.ahead.drain(..count).collect()).expect("text")
        })
        .await
    }

    /// Reads what is there, or comes next; nothing: the peer closed.
    pub async fn read_some(&mut self) -> String {
        if self.ahead.is_empty() {
            soon("bytes", self.more()).await;
        }
        String::from_utf8(std::mem::take(&mut self.ahead)).expect("text")
    }

    /// Reads an answer whose length its head tells: head, body.
    pub async fn read_answer(&mut self) -> (String, String) {
        let head = self.read_head().await.expect("an answer");
        let length = header_of(&head, "content-length").map_or(0, |length| length.parse().expect("a length"));
        (head, String::from_utf8(self.read_exact(length).await).expect("text"))
    }

    /// Reads what is left until the peer closes, in order or not.
    pub async fn read_to_end(&mut self) -> String {
        soon("the end of the connection", async {
            while self.more().await > 0 {}
            String::from_utf8_lossy(&std::mem::take(&mut self.ahead)).into_owned()
        })
        .await
    }

    async fn more(&mut self) -> usize {
        self.stream.read_buf(&mut self.ahead).await.unwrap_or(0)
    }
}

/// A field of a head that was read as text.
pub fn header_of<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// An upstream whose connections do what a script says. They close when the script ends.
#[derive(Clone)]
pub struct RawUpstream {
    addr: SocketAddr,
    connections: Rc<Cell<usize>>,
    notes: Rc<RefCell<Vec<String>>>,
}

impl RawUpstream {
    /// `script` runs for each connection, with its number from 0; what it returns is noted.
    pub async fn start<F>(script: impl Fn(Raw, usize) -> F + 'static) -> RawUpstream
    where
        F: Future<Output = String> + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("an address");
        let upstream = RawUpstream { addr, connections: Rc::default(), notes: Rc::default() };
        let (connections, notes) = (upstream.connections.clone(), upstream.notes.clone());
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let number = connections.replace(connections.get() + 1);
                let (connection, notes) = (script(Raw::over(stream), number), notes.clone());
                spawn_local(async move {
                    let note = connection.await;
                    notes.borrow_mut().push(note);
                });
            }
        });
        upstream
    }

    /// One that reads a request's head and goes, without a word.
    pub async fn going() -> RawUpstream {
        RawUpstream::start(|mut raw, _| async move { raw.read_head().await.unwrap_or_default() }).await
    }

    /// One that ends each request before it answers: its connection by HTTP/1, its stream by HTTP/2.
    pub async fn resetting(up: Http) -> RawUpstream {
        match up {
            Http::One => RawUpstream::going().await,
            Http::Two => {
                RawUpstream::start_h2(|mut request, _| async move {
                    request.reset(h2::Reason::INTERNAL_ERROR);
                })
                .await
            }
        }
    }

    /// One that keeps the second request that it reads, tells `kept` of it, and refuses all others: of two callers the
    /// first one's retry is under way for as long as it likes.
    pub async fn refusing_but_the_second(up: Http, kept: &Rc<Notify>) -> RawUpstream {
        let kept = kept.clone();
        let keep = move |number| {
            let kept = kept.clone();
            async move {
                if number == 1 {
                    kept.notify_one();
                    std::future::pending::<()>().await;
                }
            }
        };
        match up {
            Http::One => {
                RawUpstream::start(move |mut raw, number| {
                    let keep = keep.clone();
                    async move {
                        let head = raw.read_head().await.unwrap_or_default();
                        keep(number).await;
                        head
                    }
                })
                .await
            }
            Http::Two => {
                RawUpstream::start_h2(move |mut request, number| {
                    let keep = keep.clone();
                    async move {
                        keep(number).await;
                        request.reset(h2::Reason::REFUSED_STREAM);
                    }
                })
                .await
            }
        }
    }

    /// One that takes connections, and reads nothing.
    pub async fn mute() -> RawUpstream {
        RawUpstream::start(|raw, _| async move {
            std::future::pending::<()>().await;
            drop(raw);
            String::new()
        })
        .await
    }

    /// An HTTP/2 upstream on the `h2` crate, whose every request goes to `script` with its number from 0.
    pub async fn start_h2<F>(script: impl Fn(H2Request, usize) -> F + Clone + 'static) -> RawUpstream
    where
        F: Future<Output = ()> + 'static,
    {
        let requests = Rc::new(Cell::new(0));
        RawUpstream::start(move |raw, connection| {
            let (script, requests) = (script.clone(), requests.clone());
            async move {
                let Ok(mut server) = h2::server::handshake(raw.into_stream()).await else {
                    return String::new();
                };
                let (goodbye, mut goodbyes) = mpsc::unbounded_channel();
                loop {
                    let next = tokio::select! {
                        next = server.accept() => next,
                        Some(how) = goodbyes.recv() => {
                            match how {
                                Goodbye::Graceful => server.graceful_shutdown(),
                                Goodbye::Abrupt(reason) => server.abrupt_shutdown(reason),
                            }
                            continue;
                        }
                    };
                    let Some(Ok((request, respond))) = next else { return "ended".into() };
                    let number = requests.replace(requests.get() + 1);
                    let request = H2Request { request, respond, connection, goodbye: goodbye.clone() };
                    spawn_local(script(request, number));
                }
            }
        })
        .await
    }

    /// Where it listens, as configurations write it.
    pub fn at(&self) -> String {
        self.addr.to_string()
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.get()
    }

    /// What the scripts returned, in the order in which they ended.
    pub fn notes(&self) -> Vec<String> {
        self.notes.borrow().clone()
    }
}

/// How an HTTP/2 upstream leaves.
#[derive(Clone, Copy, Debug)]
pub enum Goodbye {
    Graceful,
    Abrupt(h2::Reason),
}

/// A request at an HTTP/2 upstream on the `h2` crate.
pub struct H2Request {
    pub request: http::Request<h2::RecvStream>,
    pub respond: h2::server::SendResponse<Bytes>,
    pub connection: usize,
    goodbye: mpsc::UnboundedSender<Goodbye>,
}

impl H2Request {
    /// Sends GOAWAY on the request's connection, with every stream that is open.
    pub fn say_goodbye(&self, how: Goodbye) {
        let _ = self.goodbye.send(how);
    }

    /// The body, read whole; `None`: the stream was reset first.
    pub async fn body(&mut self) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        let body = self.request.body_mut();
        while let Some(piece) = body.data().await {
            let piece = piece.ok()?;
            body.flow_control().release_capacity(piece.len()).ok()?;
            whole.extend_from_slice(&piece);
        }
        Some(whole)
    }

    /// Answers 200 with `body`.
    pub fn answer(&mut self, body: &str) {
        let response = http::Response::builder().header("x-upstream", body).body(()).expect("a response");
        let mut stream = self.respond.send_response(response, false).expect("a stream");
        stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).expect("sent");
    }

    /// Refuses or resets the stream.
    pub fn reset(&mut self, reason: h2::Reason) {
        self.respond.send_reset(reason);
    }
}
