//! The model server of `benches/compare`: it reads each request to its end and answers with the same few bytes.
//!
//!     bench-backend v1 v2
//!
//! Each name gets two ports of its own on loopback, one for REST over HTTP/1.1 and one for gRPC over HTTP/2 with prior
//! knowledge. Where they are is one line of JSON on stdout; whoever connects to `control` gets, as JSON, what arrived
//! so far.
//!
//! Its one law: it costs next to nothing, as it shares a core with the load. So it frames HTTP itself, and a real
//! server's engine is what it is not: it decodes no header but `content-length`, and refuses (411) the one thing that
//! it would otherwise misread, a chunked request.

use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::{Buf, BytesMut};
use rustix::net::RecvFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// What TensorFlow Serving answers to a REST predict of its toy model, give or take the numbers.
const REST_REPLY: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    date: Thu, 01 Jan 2026 00:00:00 GMT\r\ncontent-length: 60\r\n\r\n\
    {\n    \"predictions\": [2.5, 3.0, 4.5, 2.5, 3.0, 4.5, 3.25]\n}\n";
const LENGTH_REQUIRED: &[u8] =
    b"HTTP/1.1 411 Length Required\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// A thousand connections may come at once; with the usual backlog the kernel would refuse some.
const BACKLOG: u32 = 4096;
/// One read takes at most about this much.
const READ_BYTES: usize = 64 * 1024;
const MAX_DISCARD_BYTES: usize = 1024 * 1024;
const MAX_HEAD_BYTES: usize = 64 * 1024;

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    body_bytes: AtomicU64,
}

struct Version {
    name: String,
    rest: Counts,
    grpc: Counts,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut versions = Vec::new();
    let mut places = Vec::new();
    for name in std::env::args().skip(1) {
        let version =
            Arc::new(Version { name: name.clone(), rest: Counts::default(), grpc: Counts::default() });
        let (rest, grpc) = (listen()?, listen()?);
        places.push(format!(
            r#""{name}": {{"rest": "{}", "grpc": "{}"}}"#,
            rest.local_addr()?,
            grpc.local_addr()?
        ));
        tokio::spawn(accept(rest, version.clone(), serve_http1));
        tokio::spawn(accept(grpc, version.clone(), serve_http2));
        versions.push(version);
    }
    let control = listen()?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, r#"{{"control": "{}", "versions": {{{}}}}}"#, control.local_addr()?, places.join(", "))?;
    stdout.flush()?;
    loop {
        let (mut stream, _) = control.accept().await?;
        // A client that went away is no reason to end.
        let _ = stream.write_all(report(&versions).as_bytes()).await;
    }
}

fn listen() -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(BACKLOG)
}

fn report(versions: &[Arc<Version>]) -> String {
    let count = |counts: &Counts| {
        format!(
            r#"{{"requests": {}, "body_bytes": {}}}"#,
            counts.requests.load(Relaxed),
            counts.body_bytes.load(Relaxed)
        )
    };
    let each: Vec<String> = versions
        .iter()
        .map(|version| {
            format!(
                r#""{}": {{"rest": {}, "grpc": {}}}"#,
                version.name,
                count(&version.rest),
                count(&version.grpc)
            )
        })
        .collect();
    format!("{{{}}}\n", each.join(", "))
}

async fn accept<F>(listener: TcpListener, version: Arc<Version>, serve: fn(TcpStream, Arc<Version>) -> F)
where
    F: Future<Output = io::Result<()>> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let version = version.clone();
        tokio::spawn(async move {
            // Connections that break while nothing is under way are the proxies' right; what is lost with them
            // shows in the counts.
            let served = match stream.set_nodelay(true) {
                Ok(()) => serve(stream, version).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served
                && error.kind() == io::ErrorKind::InvalidData
            {
                let _ = writeln!(io::stderr(), "bench-backend: {error}");
            }
        });
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

// ---- HTTP/1.1 ------------------------------------------------------------------------------------------------------

async fn serve_http1(mut stream: TcpStream, version: Arc<Version>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        let head = loop {
            if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break buffer.split_to(end + 4);
            }
            if buffer.len() > MAX_HEAD_BYTES {
                return Err(invalid("a request head without an end"));
            }
            buffer.reserve(READ_BYTES);
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let Some(length) = content_length(&head) else {
            return stream.write_all(LENGTH_REQUIRED).await;
        };
        drop(head);
        let here = length.min(buffer.len());
        buffer.advance(here);
        if !discard(&stream, length - here).await? {
            return Ok(());
        }
        version.rest.requests.fetch_add(1, Relaxed);
        version.rest.body_bytes.fetch_add(length as u64, Relaxed);
        stream.write_all(REST_REPLY).await?;
    }
}

/// Takes `missing` bytes off the socket without copying them: half of what a large body would cost here. False if
/// the peer went away before.
async fn discard(stream: &TcpStream, mut missing: usize) -> io::Result<bool> {
    // The kernel wants to know where it would write; for TCP and MSG_TRUNC it then does not.
    let mut nowhere = vec![0; missing.min(MAX_DISCARD_BYTES)];
    while missing > 0 {
        let most = missing.min(MAX_DISCARD_BYTES);
        stream.readable().await?;
        let taken = stream.try_io(Interest::READABLE, || {
            let (_, taken) = rustix::net::recv(stream, &mut nowhere[..most], RecvFlags::TRUNC)?;
            Ok(taken)
        });
        match taken {
            Ok(0) => return Ok(false),
            Ok(taken) => missing -= taken,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

/// Zero for a request without a body; `None` if its length cannot be known before its end.
fn content_length(head: &[u8]) -> Option<usize> {
    let mut length = Some(0);
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            length = str::from_utf8(&value[1..]).ok().and_then(|value| value.trim().parse().ok());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return None;
        }
    }
    length
}

// ---- gRPC over HTTP/2 (RFC 9113, RFC 7541) --------------------------------------------------------------------------

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// The largest frame payload that we permit, which is also the default (RFC 9113, 4.2).
const MAX_FRAME_BYTES: usize = 16_384;
const MAX_WINDOW: u32 = (1 << 31) - 1;
const DEFAULT_WINDOW: u32 = 65_535;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

const SETTING_HEADER_TABLE_SIZE: u16 = 0x1;
const SETTING_INITIAL_WINDOW_SIZE: u16 = 0x4;

/// A gRPC message of 100 bytes, as long as a PredictResponse of a small model, behind its five bytes of framing.
const GRPC_REPLY: [u8; 105] = {
    let mut reply = [0x2a; 105];
    reply[0] = 0;
    reply[1] = 0;
    reply[2] = 0;
    reply[3] = 0;
    reply[4] = 100;
    reply
};

/// What the peer's header table holds of ours. A gRPC server lets its peer remember `content-type` and `grpc-status`,
/// and names them by a byte from then on; a peer that wants no table (nginx) gets them spelt out each time.
#[derive(Clone, Copy)]
enum Table {
    Unwanted,
    Empty,
    Filled,
}

impl Table {
    fn headers(self) -> &'static [u8] {
        match self {
            Table::Unwanted => b"\x88\x0f\x10\x10application/grpc",
            Table::Empty => b"\x88\x5f\x10application/grpc",
            Table::Filled => b"\x88\xbf",
        }
    }

    fn trailers(self) -> &'static [u8] {
        match self {
            Table::Unwanted => b"\x00\x0bgrpc-status\x010",
            Table::Empty => b"\x40\x0bgrpc-status\x010",
            Table::Filled => b"\xbe",
        }
    }
}

struct Http2 {
    version: Arc<Version>,
    out: Vec<u8>,
    table: Table,
    /// What we may still send on the connection.
    send_window: i64,
    /// What the peer has sent since we last gave it window.
    received_bytes: u32,
}

async fn serve_http2(mut stream: TcpStream, version: Arc<Version>) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    let mut connection = Http2 {
        version,
        out: Vec::new(),
        table: Table::Empty,
        send_window: i64::from(DEFAULT_WINDOW),
        received_bytes: 0,
    };
    // Every window as wide as it goes: what is measured is the proxy's flow control, not ours.
    connection.frame(
        SETTINGS,
        0,
        0,
        &[&SETTING_INITIAL_WINDOW_SIZE.to_be_bytes(), &MAX_WINDOW.to_be_bytes()],
    );
    connection.frame(WINDOW_UPDATE, 0, 0, &[&(MAX_WINDOW - DEFAULT_WINDOW).to_be_bytes()]);
    let mut greeted = false;
    loop {
        if !greeted && buffer.len() >= PREFACE.len() {
            if !buffer.starts_with(PREFACE) {
                return Err(invalid("not HTTP/2 with prior knowledge"));
            }
            buffer.advance(PREFACE.len());
            greeted = true;
        }
        while greeted && connection.take_frame(&mut buffer)? {}
        if !connection.out.is_empty() {
            stream.write_all(&connection.out).await?;
            connection.out.clear();
        }
        buffer.reserve(READ_BYTES);
        if stream.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

impl Http2 {
    /// Handles the first frame of `buffer`; false if it is not whole yet.
    fn take_frame(&mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        let Some(&[a, b, c, kind, flags, d, e, f, g]) = buffer.first_chunk::<FRAME_HEAD_BYTES>() else {
            return Ok(false);
        };
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let stream = u32::from_be_bytes([d, e, f, g]) & MAX_WINDOW;
        if length > MAX_FRAME_BYTES {
            return Err(invalid("a frame larger than permitted"));
        }
        let Some(payload) = buffer.get(FRAME_HEAD_BYTES..FRAME_HEAD_BYTES + length) else {
            return Ok(false);
        };
        match kind {
            DATA => self.data(stream, flags, payload)?,
            HEADERS if flags & END_STREAM != 0 => self.reply(stream)?,
            SETTINGS if flags & ACK == 0 => self.settings(payload)?,
            PING if flags & ACK == 0 => self.frame(PING, ACK, 0, &[payload]),
            WINDOW_UPDATE if stream == 0 => {
                let more = payload.first_chunk().ok_or_else(|| invalid("a short WINDOW_UPDATE"))?;
                self.send_window += i64::from(u32::from_be_bytes(*more));
            }
            GOAWAY if payload.get(4..8) != Some(&[0; 4]) => {
                return Err(invalid("the peer saw a fault of ours"));
            }
            RST_STREAM => return Err(invalid("the peer gave up a request")),
            _ => {}
        }
        buffer.advance(FRAME_HEAD_BYTES + length);
        Ok(true)
    }

    /// Padding counts as body: nobody pads.
    fn data(&mut self, stream: u32, flags: u8, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        self.version.grpc.body_bytes.fetch_add(u64::from(length), Relaxed);
        self.received_bytes += length;
        if self.received_bytes > MAX_WINDOW / 2 {
            let credit = self.received_bytes.to_be_bytes();
            self.frame(WINDOW_UPDATE, 0, 0, &[&credit]);
            self.received_bytes = 0;
        }
        if flags & END_STREAM != 0 { self.reply(stream) } else { Ok(()) }
    }

    fn settings(&mut self, payload: &[u8]) -> io::Result<()> {
        for setting in payload.chunks_exact(6) {
            let id = u16::from_be_bytes([setting[0], setting[1]]);
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match id {
                // Without replies under way, as a peer sends this first; later changes come from nobody we measure.
                SETTING_HEADER_TABLE_SIZE if value < 4096 => self.table = Table::Unwanted,
                SETTING_INITIAL_WINDOW_SIZE if (value as usize) < GRPC_REPLY.len() => {
                    return Err(invalid("a stream window too small for a reply"));
                }
                _ => {}
            }
        }
        self.frame(SETTINGS, ACK, 0, &[]);
        Ok(())
    }

    fn reply(&mut self, stream: u32) -> io::Result<()> {
        self.version.grpc.requests.fetch_add(1, Relaxed);
        self.send_window -= GRPC_REPLY.len() as i64;
        // Replies are so small that every peer has given new window long before; one that did not must not pass
        // for slow.
        if self.send_window < 0 {
            return Err(invalid("the connection's window is used up"));
        }
        self.frame(HEADERS, END_HEADERS, stream, &[self.table.headers()]);
        self.frame(DATA, 0, stream, &[&GRPC_REPLY]);
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, &[self.table.trailers()]);
        if matches!(self.table, Table::Empty) {
            self.table = Table::Filled;
        }
        Ok(())
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[&[u8]]) {
        let length: usize = payload.iter().map(|part| part.len()).sum();
        self.out.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
        self.out.extend_from_slice(&[kind, flags]);
        self.out.extend_from_slice(&stream.to_be_bytes());
        for part in payload {
            self.out.extend_from_slice(part);
        }
    }
}
