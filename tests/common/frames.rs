//! A client of raw HTTP/2 frames: it writes whatever bytes a test asks for, and reads frames back.
//!
//! Laws: it encodes header blocks by hand (literals without indexing, no Huffman code), so that a test decides every
//! byte; it tells the peer to keep no dynamic table, so that of an answer's block no more than `:status` has to be
//! understood; every wait has a deadline.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::expect_used)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

pub use super::world::http2::{PREFACE, block, code, flag, kind, literal, setting, string};

/// The authority that requests name unless they say another.
pub const AUTHORITY: &str = "x.default.svc.cluster.local";
/// How long a frame that must come may take on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// One frame as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag == flag
    }

    /// The code of a RST_STREAM or a GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == kind::GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("a code"))
    }
}

/// A frame with any header and payload; the length is the payload's.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame_of_length(payload.len(), kind, flags, stream, payload)
}

/// [`frame`] that claims another length.
pub fn frame_of_length(length: usize, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(length).expect("24 bits").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// HEADERS.
pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

/// HEADERS of a whole request without a body.
pub fn whole(stream: u32, block: &[u8]) -> Vec<u8> {
    headers(stream, flag::WHOLE, block)
}

/// HEADERS of a request whose body follows.
pub fn open(stream: u32, block: &[u8]) -> Vec<u8> {
    headers(stream, flag::END_HEADERS, block)
}

/// CONTINUATION.
pub fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

/// DATA.
pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, bytes)
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, 0, stream, &code.to_be_bytes())
}

/// SETTINGS.
pub fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (key, value) in settings {
        payload.extend_from_slice(&key.to_be_bytes());
        payload.extend_from_slice(&value.to_be_bytes());
    }
    frame(kind::SETTINGS, 0, 0, &payload)
}

/// PING.
pub fn ping(payload: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, 0, 0, &payload)
}

/// WINDOW_UPDATE.
pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// PRIORITY.
pub fn priority(stream: u32, depends_on: u32) -> Vec<u8> {
    let mut payload = depends_on.to_be_bytes().to_vec();
    payload.push(15);
    frame(kind::PRIORITY, 0, stream, &payload)
}

/// A field as a literal that the peer has to remember (RFC 7541 section 6.2.1).
pub fn remembered(name: &[u8], value: &[u8]) -> Vec<u8> {
    [vec![0x40], string(name), string(value)].concat()
}

/// The four pseudo-header fields of a request.
pub fn request<'a>(method: &'a str, path: &'a str) -> [(&'a str, &'a str); 4] {
    [(":method", method), (":scheme", "http"), (":authority", AUTHORITY), (":path", path)]
}

/// The block of a request with more fields.
pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    block(&[&request(method, path), fields].concat())
}

/// The block of a GET.
pub fn get(path: &str) -> Vec<u8> {
    head("GET", path, &[])
}

/// What became of a stream or of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// An answer to its end.
    Answer { status: u16, body: Vec<u8>, then: Then },
    /// RST_STREAM before any answer.
    Reset(u32),
    /// GOAWAY with an error, or one that ended the connection.
    GoAway(u32),
    /// The connection closed without a word.
    Closed,
}

/// What ended an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    End,
    Reset(u32),
}

/// A connection.
pub struct Frames {
    stream: TcpStream,
    ahead: Vec<u8>,
    /// SETTINGS of the peer are acknowledged as they are read.
    pub acknowledges: bool,
}

impl Frames {
    /// A connection on which nothing was said.
    pub async fn silent(to: SocketAddr) -> Frames {
        let stream = timeout_at(Instant::now() + DEADLINE, TcpStream::connect(to)).await;
        let stream = stream.expect("a connection in time").expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        Frames { stream, ahead: Vec::new(), acknowledges: true }
    }

    /// A connection with preface and SETTINGS, which has read the peer's.
    pub async fn connect(to: SocketAddr) -> Frames {
        Frames::with_settings(to, &[]).await
    }

    /// [`Frames::connect`], with settings of the test's.
    pub async fn with_settings(to: SocketAddr, more: &[(u16, u32)]) -> Frames {
        let mut frames = Frames::silent(to).await;
        let all = [&[(setting::HEADER_TABLE_SIZE, 0)], more].concat();
        frames.write([PREFACE, &settings(&all)].concat()).await;
        // SETTINGS, and the acknowledgement of ours.
        while !frames.next().await.is_some_and(|frame| frame.kind == kind::SETTINGS && frame.has(flag::ACK)) {
        }
        frames
    }

    /// Writes; a peer that has closed is found out by reading.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.try_write(bytes).await;
    }

    /// Writes all, unless the peer closes; `false` also when it has not taken it in time.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.write_within(DEADLINE, bytes).await
    }

    /// [`Frames::try_write`] with a time of its own.
    pub async fn write_within(&mut self, time: Duration, bytes: impl AsRef<[u8]>) -> bool {
        timeout_at(Instant::now() + time, self.stream.write_all(bytes.as_ref()))
            .await
            .is_ok_and(|written| written.is_ok())
    }

    /// Ends the sending side.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// The next frame; `None`: the peer closed.
    ///
    /// # Panics
    /// When neither comes in time.
    pub async fn next(&mut self) -> Option<Frame> {
        let next = self.next_within(DEADLINE).await;
        next.expect("neither a frame nor the end of the connection came in time")
    }

    /// The next frame; the inner `None`: the peer closed; the outer one: nothing came in time.
    pub async fn next_within(&mut self, time: Duration) -> Option<Option<Frame>> {
        let until = Instant::now() + time;
        loop {
            if let Some(frame) = self.take() {
                if self.acknowledges && frame.kind == kind::SETTINGS && !frame.has(flag::ACK) {
                    self.write(frame_ack()).await;
                }
                return Some(Some(frame));
            }
            match timeout_at(until, self.stream.read_buf(&mut self.ahead)).await {
                Err(_) => return None,
                Ok(Ok(0) | Err(_)) => return Some(None),
                Ok(Ok(_)) => {}
            }
        }
    }

    fn take(&mut self) -> Option<Frame> {
        let [a, b, c, kind, flags, s0, s1, s2, s3] = *self.ahead.first_chunk::<9>()?;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = self.ahead.get(9..9 + length)?.to_vec();
        self.ahead.drain(..9 + length);
        Some(Frame { kind, flags, stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]), payload })
    }

    /// What becomes of `stream`; frames of others pass unseen. A GOAWAY without an error ends nothing.
    pub async fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut answer, mut body) = (None, Vec::new());
        let mut said = None;
        loop {
            let Some(frame) = self.next().await else {
                return said.map_or(Outcome::Closed, Outcome::GoAway);
            };
            let ends = frame.has(flag::END_STREAM);
            match frame.kind {
                kind::GOAWAY if frame.code() != code::NO_ERROR => return Outcome::GoAway(frame.code()),
                kind::GOAWAY => said = Some(code::NO_ERROR),
                kind::RST_STREAM if frame.stream == stream => {
                    let code = frame.code();
                    let Some(status) = answer else { return Outcome::Reset(code) };
                    return Outcome::Answer { status, body, then: Then::Reset(code) };
                }
                kind::HEADERS if frame.stream == stream => {
                    let status = *answer.get_or_insert_with(|| status_of(&frame.payload));
                    if ends {
                        return Outcome::Answer { status, body, then: Then::End };
                    }
                }
                kind::DATA if frame.stream == stream => {
                    body.extend_from_slice(&frame.payload);
                    if let Some(status) = answer.filter(|_| ends) {
                        return Outcome::Answer { status, body, then: Then::End };
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads until the connection ends: the code of its GOAWAY, if there was one.
    pub async fn read_to_end(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.next().await {
            if frame.kind == kind::GOAWAY {
                code = Some(frame.code());
            }
        }
        code
    }

    /// Whether the peer answers a PING: then it has read all that was written before.
    pub async fn is_alive(&mut self) -> bool {
        self.write(ping(*b"ALIVE???")).await;
        while let Some(frame) = self.next().await {
            match frame.kind {
                kind::PING if frame.has(flag::ACK) && frame.payload == b"ALIVE???" => return true,
                kind::GOAWAY if frame.code() != code::NO_ERROR => return false,
                _ => {}
            }
        }
        false
    }
}

fn frame_ack() -> Vec<u8> {
    frame(kind::SETTINGS, flag::ACK, 0, &[])
}

/// The status of a block that stands in no dynamic table.
///
/// # Panics
/// When the block does not begin with `:status`.
pub fn status_of(block: &[u8]) -> u16 {
    let mut rest = block;
    while let [update, more @ ..] = rest
        && update & 0xe0 == 0x20
    {
        rest = more; // a change of the table's size, below 31
    }
    match rest {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        [0x08 | 0x18 | 0x48, length, text @ ..] => {
            let text = &text[..usize::from(length & 0x7f)];
            let digits = if length & 0x80 == 0 { text.to_vec() } else { huffman_digits(text) };
            String::from_utf8(digits).expect("digits").parse().expect("a status")
        }
        _ => panic!("no status at the head of {block:x?}"),
    }
}

/// Three digits in Huffman's code (RFC 7541 appendix B): 0 to 2 have five bits, the others six.
fn huffman_digits(text: &[u8]) -> Vec<u8> {
    let bits = text.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte)) << (64 - 8 * text.len());
    let (mut digits, mut at) = (Vec::new(), 0);
    while digits.len() < 3 {
        let six = (bits << at >> 58) as u8;
        let (digit, length) = if six >> 1 <= 2 { (six >> 1, 5) } else { (six - 0b01_1001 + 3, 6) };
        digits.push(b'0' + digit);
        at += length;
    }
    digits
}
