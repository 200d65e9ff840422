//! HTTP/2 frames by hand, and a server that does with them what a [`Row`](super::battery::Row) says.
//!
//! It knows as much HPACK as it takes to write literal fields, and none to read: what is asked stands in the [`Book`].
#![allow(dead_code, unused_imports, unreachable_pub, clippy::expect_used)]

use std::rc::Rc;

use super::battery::Book;
use super::http1_server::{Peer, Then, act};
pub use crate::common::world::http2::flag::{ACK, END_HEADERS, END_STREAM as END, PADDED};
pub use crate::common::world::http2::kind::*;
pub use crate::common::world::http2::{PREFACE, block, frame};
use crate::common::world::raw::RawUpstream;

/// HEADERS, whole.
pub fn headers(stream: u32, fields: &[(&str, &str)], end: bool) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | u8::from(end), stream, block(fields))
}

/// The head `:status: 200`.
pub fn ok(stream: u32) -> Vec<u8> {
    headers(stream, &[(":status", "200")], false)
}

pub fn data(stream: u32, bytes: impl AsRef<[u8]>, end: bool) -> Vec<u8> {
    frame(DATA, u8::from(end), stream, bytes)
}

pub fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, code.to_be_bytes())
}

pub fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, [last.to_be_bytes(), code.to_be_bytes()].concat())
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

pub fn window_update(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, by.to_be_bytes())
}

/// A frame as it was read.
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads one frame.
pub async fn read_frame(peer: &mut Peer) -> Option<Frame> {
    let head = peer.exactly(9).await?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & (u32::MAX >> 1);
    Some(Frame { kind: head[3], flags: head[4], stream, payload: peer.exactly(length).await? })
}

/// Reads the next frame of a stream, or RST_STREAM, GOAWAY; SETTINGS and PING are acknowledged on the way.
pub async fn next_frame(peer: &mut Peer) -> Option<Frame> {
    loop {
        let frame_read = read_frame(peer).await?;
        match frame_read.kind {
            SETTINGS if frame_read.flags & ACK == 0 => peer.write(&frame(SETTINGS, ACK, 0, [])).await?,
            PING if frame_read.flags & ACK == 0 => {
                peer.write(&frame(PING, ACK, 0, &frame_read.payload)).await?;
            }
            SETTINGS | PING | WINDOW_UPDATE | PRIORITY => {}
            _ => return Some(frame_read),
        }
    }
}

/// Reads up to the acknowledgement of a PING.
pub async fn ping_ack(peer: &mut Peer) -> bool {
    while let Some(frame) = read_frame(peer).await {
        if frame.kind == PING && frame.flags & ACK != 0 {
            return true;
        }
    }
    false
}

/// Takes the preface and tells settings.
pub async fn greet(peer: &mut Peer, settings: &[u8]) -> Option<()> {
    peer.exactly(PREFACE.len()).await?;
    peer.write(&frame(SETTINGS, 0, 0, settings)).await
}

/// Reads up to the end of the next request after stream `last`; its stream. `early`: its head is enough.
pub async fn next_request(peer: &mut Peer, last: u32, early: impl Fn() -> bool) -> Option<u32> {
    loop {
        let frame = next_frame(peer).await?;
        let ends = matches!(frame.kind, HEADERS | DATA) && frame.flags & END != 0;
        if frame.stream > last && (ends || frame.kind == HEADERS && early()) {
            return Some(frame.stream);
        }
    }
}

/// The server.
pub async fn serve(book: Rc<Book>) -> RawUpstream {
    RawUpstream::start(move |raw, number| {
        let book = book.clone();
        async move {
            let mut peer = Peer::over(raw.into_stream());
            if greet(&mut peer, &[]).await.is_none() {
                return String::new();
            }
            let mut last = 0;
            while let Some(stream) = next_request(&mut peer, last, || book.is_early()).await {
                last = stream;
                let Some((id, steps)) = book.take(number) else { break };
                if matches!(act(&mut peer, &book, id, stream, &steps).await, Then::Ends) {
                    break;
                }
            }
            book.connection_closed(number);
            String::new()
        }
    })
    .await
}
