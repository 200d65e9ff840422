//! HTTP/1 by hand, for callers and upstreams: heads and bodies read strictly, nothing forgiven.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ROOM: usize = 64 << 10;
const MOST_HEAD: usize = 64 << 10;

/// A connection, and what was read ahead.
pub struct Conn {
    pub stream: TcpStream,
    pub buf: BytesMut,
}

/// A first line and fields.
#[derive(Debug)]
pub struct Head {
    pub line: String,
    pub fields: Vec<(String, String)>,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A body that is being read.
pub struct Body {
    framing: Framing,
    /// Of the chunk at hand.
    chunk: usize,
    /// Behind the first chunk.
    begun: bool,
    done: bool,
    pub trailers: Vec<(String, String)>,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl Head {
    pub fn get(&self, name: &str) -> Option<&str> {
        find(&self.fields, name)
    }

    pub fn status(&self) -> Option<u16> {
        self.line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
    }

    /// `otherwise` is what neither length nor chunks mean.
    pub fn framing(&self, otherwise: Framing) -> io::Result<Framing> {
        match (self.get("transfer-encoding"), self.get("content-length")) {
            (Some("chunked"), None) => Ok(Framing::Chunked),
            (None, Some(length)) => length.parse().map(Framing::Length).map_err(|_| bad("a length")),
            (None, None) => Ok(otherwise),
            _ => Err(bad(format!("framing of two readings: {self:?}"))),
        }
    }

    pub fn closes(&self) -> bool {
        self.get("connection") == Some("close")
    }
}

pub fn find<'f>(fields: &'f [(String, String)], name: &str) -> Option<&'f str> {
    fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

fn fields<'t>(lines: impl Iterator<Item = &'t str>) -> io::Result<Vec<(String, String)>> {
    let field = |line: &str| {
        let (name, value) = line.split_once(": ").ok_or_else(|| bad(format!("a field: {line:?}")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    lines.map(field).collect()
}

impl Conn {
    pub fn new(stream: TcpStream) -> Conn {
        stream.set_nodelay(true).unwrap();
        Conn { stream, buf: BytesMut::new() }
    }

    /// Closing resets the connection.
    pub fn reset(self) {
        let _ = socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads once; 0 is the end.
    pub async fn fill(&mut self) -> io::Result<usize> {
        self.buf.reserve(ROOM);
        self.stream.read_buf(&mut self.buf).await
    }

    /// A head; `None`: the peer closed before it.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buf.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = self.buf.split_to(end + 4);
                let text = std::str::from_utf8(&head[..end]).map_err(|_| bad("a head that is no text"))?;
                let mut lines = text.split("\r\n");
                let line = lines.next().unwrap_or_default().to_owned();
                return Ok(Some(Head { line, fields: fields(lines)? }));
            }
            if self.buf.len() > MOST_HEAD {
                return Err(bad("an endless head"));
            }
            if self.fill().await? == 0 {
                let empty = self.buf.is_empty();
                return if empty { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buf.windows(2).position(|window| window == b"\r\n") {
                let line = self.buf.split_to(end + 2);
                return String::from_utf8(line[..end].to_vec()).map_err(|_| bad("a line"));
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next piece of a body; `None` is its proper end.
    pub async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Bytes>> {
        if body.done {
            return Ok(None);
        }
        let most = match body.framing {
            Framing::Length(left) => left,
            Framing::UntilClose => usize::MAX,
            Framing::Chunked => {
                if body.chunk == 0 {
                    self.chunk(body).await?;
                }
                body.chunk
            }
        };
        if most == 0 {
            body.done = true;
            return Ok(None);
        }
        if self.buf.is_empty() && self.fill().await? == 0 {
            if body.framing == Framing::UntilClose {
                body.done = true;
                return Ok(None);
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let piece = self.buf.split_to(most.min(self.buf.len())).freeze();
        body.chunk = body.chunk.saturating_sub(piece.len());
        if let Framing::Length(left) = &mut body.framing {
            *left -= piece.len();
        }
        Ok(Some(piece))
    }

    /// The start of the next chunk; with the last one, the trailers.
    async fn chunk(&mut self, body: &mut Body) -> io::Result<()> {
        if std::mem::replace(&mut body.begun, true) && !self.line().await?.is_empty() {
            return Err(bad("a chunk without its end"));
        }
        let size = self.line().await?;
        body.chunk = usize::from_str_radix(&size, 16).map_err(|_| bad(format!("a chunk size: {size:?}")))?;
        if body.chunk == 0 {
            let mut lines = Vec::new();
            loop {
                match self.line().await? {
                    line if line.is_empty() => break,
                    line => lines.push(line),
                }
            }
            body.trailers = fields(lines.iter().map(String::as_str))?;
        }
        Ok(())
    }

    /// Writes head and body; in chunks if there are `trailers`, even empty ones, and `behind` with the end.
    pub async fn write_body(
        &mut self,
        head: String,
        pieces: VecDeque<Bytes>,
        trailers: Option<&String>,
        behind: &[u8],
    ) -> io::Result<()> {
        let chunked = trailers.is_some();
        // What is small leaves in one write, as everybody's does.
        let mut out = BytesMut::from(head.as_str());
        for piece in pieces {
            if chunked {
                out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            out.extend_from_slice(&piece);
            if chunked {
                out.extend_from_slice(b"\r\n");
            }
            if out.len() >= ROOM {
                self.stream.write_all(&out).await?;
                out.clear();
            }
        }
        if let Some(trailers) = trailers {
            out.extend_from_slice(format!("0\r\n{trailers}\r\n").as_bytes());
        }
        out.extend_from_slice(behind);
        self.stream.write_all(&out).await
    }

    /// Waits so long, unless something comes: that ends it, bytes or an end alike.
    pub async fn quiet_for(&mut self, time: Duration) -> Quiet {
        tokio::select! {
            () = tokio::time::sleep(time) => Quiet::Yes,
            read = self.fill() => match read {
                Ok(0) | Err(_) => Quiet::Left,
                Ok(_) => Quiet::Bytes,
            },
        }
    }

    /// Reads away what is left, until the peer closes.
    pub async fn drain(&mut self) {
        while self.fill().await.is_ok_and(|n| n > 0) {
            let n = self.buf.len();
            self.buf.advance(n);
        }
    }
}

/// What became of a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quiet {
    Yes,
    Left,
    Bytes,
}

impl Body {
    pub fn new(framing: Framing) -> Body {
        Body { framing, chunk: 0, begun: false, done: false, trailers: Vec::new() }
    }
}
