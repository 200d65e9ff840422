//! HTTP/2 by hand: frames with literal fields, and a caller that tells what became of stream 1.
//!
//! Law: nothing is checked or repaired on the way out, so that what no library would send can be sent. Source: RFC 9113
//! sections 4.1 and 6; RFC 7541 sections 5.1, 5.2 and 6.2.2.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::world::SOON;
use super::super::world::client::connect_from;
// Each test compiles this for itself and uses a part.
#[allow(unused_imports)]
pub use super::super::world::http2::flag::{END_HEADERS, END_STREAM as END, PADDED};
pub use super::super::world::http2::kind::*;
#[allow(unused_imports)]
pub use super::super::world::http2::{PREFACE, block, frame, literal as field};

/// A whole head in one frame.
pub fn head(stream: u32, over: bool, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | if over { END } else { 0 }, stream, block(fields))
}

pub fn data(stream: u32, over: bool, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    frame(DATA, if over { END } else { 0 }, stream, bytes)
}

/// The connection of a caller.
pub struct Caller {
    stream: TcpStream,
    ahead: Vec<u8>,
}

/// What became of stream 1, and then of the connection.
#[derive(Default)]
struct Fate {
    status: Option<u16>,
    /// The reason of RST_STREAM.
    reset: Option<u32>,
    over: bool,
    /// The reason of GOAWAY.
    goodbye: Option<u32>,
    closed: bool,
}

impl Caller {
    pub async fn connect(from: Option<IpAddr>, to: SocketAddr) -> Caller {
        Caller { stream: connect_from(from, to).await, ahead: Vec::new() }
    }

    /// Sends the preface, SETTINGS and these frames, and tells the end of stream 1 and of the connection in words.
    pub async fn ask(&mut self, frames: &[u8]) -> String {
        let bytes = [PREFACE, &frame(SETTINGS, 0, 0, []), frames].concat();
        self.ask_raw(&bytes).await
    }

    /// [`Caller::ask`] with a preface of its own.
    pub async fn ask_raw(&mut self, bytes: &[u8]) -> String {
        // A proxy that has closed already is no fault of the sender.
        let _ = timeout(SOON, self.stream.write_all(bytes)).await;
        let mut fate = Fate::default();
        let told = timeout(SOON, async {
            while !fate.closed && !fate.over {
                self.frame(&mut fate).await;
            }
            if !fate.closed {
                let _ = self.stream.write_all(&frame(PING, 0, 0, *b"are you?")).await;
                while !fate.closed && self.frame(&mut fate).await != Some(PING) {}
            }
        });
        let in_time = told.await.is_ok();
        in_words(&fate, in_time)
    }

    /// Reads a frame; its kind, if it is an acknowledgement that was waited for or an event.
    async fn frame(&mut self, fate: &mut Fate) -> Option<u8> {
        while self.ahead.len() < 9 || self.ahead.len() < 9 + length(&self.ahead) {
            if !matches!(self.stream.read_buf(&mut self.ahead).await, Ok(1..)) {
                fate.closed = true;
                return None;
            }
        }
        let bytes: Vec<u8> = self.ahead.drain(..9 + length(&self.ahead)).collect();
        let (head, payload) = bytes.split_at(9);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let code = |at: usize| {
            payload.get(at..at + 4).map_or(0, |code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]))
        };
        match (kind, stream) {
            (SETTINGS, _) if flags & END == 0 => {
                let _ = self.stream.write_all(&frame(SETTINGS, END, 0, [])).await;
            }
            (HEADERS, 1) => {
                let status = fate.status.or_else(|| status_of(payload));
                fate.status = status.filter(|status| *status >= 200);
                fate.over |= flags & END != 0;
            }
            (DATA, 1) => fate.over |= flags & END != 0,
            (RST_STREAM, 1) => (fate.reset, fate.over) = (Some(code(0)), true),
            (GOAWAY, _) => fate.goodbye = Some(code(4)),
            (PING, _) if flags & END != 0 => return Some(PING),
            _ => {}
        }
        None
    }
}

fn length(head: &[u8]) -> usize {
    u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize
}

fn in_words(fate: &Fate, in_time: bool) -> String {
    let mut words = Vec::new();
    words.extend(fate.status.map(|status| status.to_string()));
    if fate.status.is_some() && !fate.over {
        words.push("cut".into());
    }
    words.extend(fate.reset.map(|reason| format!("reset {}", reason_in_words(reason))));
    words.extend(fate.goodbye.map(|reason| format!("goodbye {}", reason_in_words(reason))));
    words.push(match (in_time, fate.closed) {
        (false, _) => "nothing in time".into(),
        (true, true) => "closed".into(),
        (true, false) => "kept".into(),
    });
    words.join(", ")
}

fn reason_in_words(reason: u32) -> String {
    format!("{:?}", h2::Reason::from(reason))
}

/// The status, which stands first: indexed, or a literal with the name's index 8 (RFC 7541 appendix A).
fn status_of(block: &[u8]) -> Option<u16> {
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    match block {
        // A change of the table's size may stand before it.
        [first, rest @ ..] if first & 0xe0 == 0x20 => status_of(rest),
        [first @ 0x88..=0x8e, ..] => Some(indexed[usize::from(first - 0x88)]),
        [0x48 | 0x08 | 0x18, 3, a, b, c, ..] => std::str::from_utf8(&[*a, *b, *c]).ok()?.parse().ok(),
        [0x48 | 0x08 | 0x18, length @ (0x82 | 0x83), rest @ ..] => {
            digits(rest.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// Digits by Huffman's code: 0 to 2 have 5 bits, 3 to 9 have 6 (RFC 7541 appendix B).
fn digits(coded: &[u8]) -> Option<u16> {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0_u16, |number, &bit| number << 1 | u16::from(bit));
    let (mut at, mut status) = (0, 0);
    for _ in 0..3 {
        let short = number(bits.get(at..at + 5)?);
        let (digit, taken) = match short {
            0..=2 => (short, 5),
            _ => (number(bits.get(at..at + 6)?).checked_sub(0x19)? + 3, 6),
        };
        status = status * 10 + digit;
        at += taken;
    }
    Some(status)
}
