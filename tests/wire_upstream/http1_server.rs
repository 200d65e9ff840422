//! An HTTP/1 server that reads a request in order and then does what a [`Row`](super::battery::Row) says.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::battery::{BEGUN, Book, Step};
use crate::common::world::raw::{RawUpstream, header_of};

/// One connection, of which reads and writes may fail without harm to the test.
pub struct Peer {
    pub stream: TcpStream,
    ahead: Vec<u8>,
}

impl Peer {
    pub fn over(stream: TcpStream) -> Peer {
        stream.set_nodelay(true).expect("no delay");
        Peer { stream, ahead: Vec::new() }
    }

    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.ahead).await.ok()? > 0).then_some(())
    }

    /// Reads exactly `count` bytes.
    pub async fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < count {
            self.more().await?;
        }
        Some(self.ahead.drain(..count).collect())
    }

    /// Reads up to and with `end`.
    pub async fn until(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return String::from_utf8(self.ahead.drain(..at + end.len()).collect()).ok();
            }
            self.more().await?;
        }
    }

    /// Reads until the proxy closes.
    pub async fn drain(&mut self) {
        while self.more().await.is_some() {
            self.ahead.clear();
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Option<()> {
        self.stream.write_all(bytes).await.ok()
    }

    /// Writes and reads at once, until the proxy has gone.
    pub async fn flood(&mut self, bytes: &[u8]) {
        let (mut reads, mut writes) = self.stream.split();
        let write = async { while writes.write_all(bytes).await.is_ok() {} };
        let read = async {
            let mut buffer = [0; 4096];
            while reads.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
        };
        tokio::select! { () = write => {}, () = read => {} }
    }

    /// Reads a request's head, and its body if it has one; `early` says whether to leave the body.
    pub async fn request(&mut self, early: impl Fn() -> bool) -> Option<(String, String)> {
        let head = self.until(b"\r\n\r\n").await?;
        if early() {
            return Some((head, String::new()));
        }
        let mut body = String::new();
        if header_of(&head, "transfer-encoding").is_some() {
            loop {
                let size = self.until(b"\r\n").await?;
                let size = usize::from_str_radix(size.trim_end(), 16).expect("a size in hexadecimal");
                let chunk = self.exactly(size + 2).await?;
                if size == 0 {
                    break;
                }
                body.push_str(std::str::from_utf8(&chunk[..size]).expect("text"));
            }
        } else if let Some(length) = header_of(&head, "content-length") {
            let length = length.parse().expect("a length");
            body = String::from_utf8(self.exactly(length).await?).expect("text");
        }
        Some((head, body))
    }
}

/// How the connection goes on after steps.
pub enum Then {
    /// It takes the next request.
    Goes,
    /// It is over.
    Ends,
}

/// Does what a row says, and tells when it is done.
pub async fn act(peer: &mut Peer, book: &Book, id: usize, stream: u32, steps: &[Step]) -> Then {
    let then = act_on(peer, book, id, stream, steps).await;
    book.steps_done(id);
    then
}

async fn act_on(peer: &mut Peer, book: &Book, id: usize, stream: u32, steps: &[Step]) -> Then {
    for step in steps {
        match step {
            Step::Write(make) => {
                if peer.write(&make(stream)).await.is_none() {
                    return Then::Ends;
                }
            }
            Step::Begun => {
                let chunk = [BEGUN, b"\r\n"].concat();
                if peer.until(&chunk).await.is_none() {
                    return Then::Ends;
                }
            }
            Step::Head => book.head_seen(id).await,
            Step::Slowly(bytes) => {
                for byte in bytes {
                    if peer.write(&[*byte]).await.is_none() {
                        return Then::Ends;
                    }
                    // A packet for each byte: the reader's turn comes in between.
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            Step::Endless(make) => {
                let bytes = make(stream);
                tokio::select! { () = peer.flood(&bytes) => {}, () = book.row_over(id) => {} }
                return Then::Ends;
            }
            Step::PingAck => {
                if !super::http2_server::ping_ack(peer).await {
                    return Then::Ends;
                }
            }
            Step::Fin => return Then::Ends,
            Step::Rst => {
                let _ = peer.stream.set_zero_linger();
                return Then::Ends;
            }
            Step::Hold => {
                tokio::select! { () = peer.drain() => {}, () = book.row_over(id) => {} }
                return Then::Ends;
            }
        }
    }
    Then::Goes
}

/// The server.
pub async fn serve(book: Rc<Book>) -> RawUpstream {
    RawUpstream::start(move |raw, number| {
        let book = book.clone();
        async move {
            let mut peer = Peer::over(raw.into_stream());
            while peer.request(|| book.is_early()).await.is_some() {
                let Some((id, steps)) = book.take(number) else { break };
                if matches!(act(&mut peer, &book, id, 0, &steps).await, Then::Ends) {
                    break;
                }
            }
            book.connection_closed(number);
            String::new()
        }
    })
    .await
}
