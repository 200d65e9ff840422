//! A caller that sends bytes as they are, and reads answers of HTTP/1 as strictly as RFC 9112 allows.
//!
//! Law: nothing here panics on what the proxy sends or fails to send; what is wrong is told as text, so that a table can
//! go on with its next row.

use std::fmt;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::world::SOON;
use super::super::world::client::connect_from;
use super::{latin1, shown};

/// How the bytes of a message are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    AtOnce,
    /// One byte after the other, each when the one before has been read.
    EachByte,
    /// Two parts, the second when the first has been read.
    SplitAt(usize),
}

/// How the proxy's sending side ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Fin,
    Reset,
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// With its last empty line.
    pub head: String,
    pub body: Vec<u8>,
    /// The lines behind the last chunk.
    pub trailers: Vec<String>,
    /// The interim answers before it.
    pub interims: Vec<u16>,
}

impl Answer {
    /// The values of a field.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.split("\r\n").filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }

    /// Whether it announces the connection's end.
    pub fn says_close(&self) -> bool {
        self.values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.status, shown(&self.body))?;
        if !self.trailers.is_empty() || !self.interims.is_empty() {
            write!(f, ", trailers {:?}, interim {:?}", self.trailers, self.interims)?;
        }
        Ok(())
    }
}

/// A connection.
pub struct Caller {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Caller {
    /// From an address of its own, by which the proxy tells one caller from another.
    pub async fn connect(from: Option<IpAddr>, to: SocketAddr) -> Caller {
        Caller { stream: connect_from(from, to).await, ahead: Vec::new() }
    }

    /// Sends; a proxy that has closed already is no fault of the sender.
    pub async fn send(&mut self, bytes: &[u8], delivery: Delivery) {
        let pieces: Vec<&[u8]> = match delivery {
            Delivery::AtOnce => vec![bytes],
            Delivery::EachByte => bytes.chunks(1).collect(),
            Delivery::SplitAt(at) => {
                let (first, second) = bytes.split_at(at);
                vec![first, second]
            }
        };
        let last = pieces.len() - 1;
        let patience = Instant::now() + Duration::from_secs(3);
        for (number, piece) in pieces.into_iter().enumerate() {
            match timeout(SOON, self.stream.write_all(piece)).await {
                Ok(Ok(())) if number < last => self.taken(patience).await,
                Ok(Ok(())) => {}
                _ => return,
            }
        }
    }

    /// Ends the caller's sending side.
    pub async fn shut_down(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// Waits until the proxy's process has taken what was sent, as far as the system tells; not for ever, as a proxy
    /// that has refused may leave it.
    async fn taken(&self, until: Instant) {
        while Instant::now() < until && self.is_waiting() {
            // The upstream runs on this thread, too.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether sent bytes wait in either socket's queue: the column `tx_queue:rx_queue` of Linux's table.
    fn is_waiting(&self) -> bool {
        let (Ok(own), Ok(peer)) = (self.stream.local_addr(), self.stream.peer_addr()) else { return false };
        let Ok(table) = fs::read_to_string("/proc/net/tcp") else { return false };
        let (own, peer) = (in_table(own), in_table(peer));
        // Local, remote, state, queues.
        let queues = |local: &str, remote: &str| {
            let at = table.find(&format!(" {local} {remote} "))? + local.len() + remote.len() + 6;
            table.get(at..at + 17)?.split_once(':')
        };
        let waits = |queue: &str| queue.bytes().any(|digit| digit != b'0');
        queues(&own, &peer).is_some_and(|(to_send, _)| waits(to_send))
            || queues(&peer, &own).is_some_and(|(_, to_read)| waits(to_read))
    }

    /// The next answer, to a request of this method.
    ///
    /// # Errors
    /// What is wrong with it.
    pub async fn answer(&mut self, method: &str) -> Result<Answer, String> {
        match timeout(SOON, self.read_answer(method)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {SOON:?}, only {}", shown(&self.ahead))),
        }
    }

    /// The next head, an interim one or the answer's.
    ///
    /// # Errors
    /// What came instead.
    pub async fn head(&mut self) -> Result<String, String> {
        match timeout(SOON, self.until(b"\r\n\r\n")).await {
            Ok(head) => head,
            Err(_) => Err(format!("no head within {SOON:?}, only {}", shown(&self.ahead))),
        }
    }

    /// Waits for the end, before which nothing more may come.
    ///
    /// # Errors
    /// What came instead.
    pub async fn end(&mut self) -> Result<Ended, String> {
        let ended = timeout(SOON, async {
            while self.ahead.is_empty() && self.more().await? > 0 {}
            std::io::Result::Ok(())
        })
        .await;
        match ended {
            Err(_) => Err(format!("the connection is open after {SOON:?}")),
            Ok(Err(_)) => Ok(Ended::Reset),
            Ok(Ok(())) if self.ahead.is_empty() => Ok(Ended::Fin),
            Ok(Ok(())) => Err(format!("more came: {}", shown(&self.ahead))),
        }
    }

    /// Everything that still comes, until the end or the deadline.
    pub async fn rest(&mut self) -> (Vec<u8>, Option<Ended>) {
        let ended = timeout(SOON, async {
            loop {
                match self.more().await {
                    Ok(0) => return Ended::Fin,
                    Ok(_) => {}
                    Err(_) => return Ended::Reset,
                }
            }
        })
        .await;
        (std::mem::take(&mut self.ahead), ended.ok())
    }

    async fn read_answer(&mut self, method: &str) -> Result<Answer, String> {
        let mut interims = Vec::new();
        loop {
            let head = self.until(b"\r\n\r\n").await?;
            let status = status_of(&head)?;
            if (100..200).contains(&status) {
                interims.push(status);
                continue;
            }
            let mut answer = Answer { status, head, body: Vec::new(), trailers: Vec::new(), interims };
            let bodiless = method == "HEAD" || status == 204 || status == 304;
            if !bodiless {
                self.body(&mut answer).await?;
            }
            return Ok(answer);
        }
    }

    /// RFC 9112 section 6.3.
    async fn body(&mut self, answer: &mut Answer) -> Result<(), String> {
        let lengths: Vec<String> = answer.values("content-length").into_iter().map(str::to_owned).collect();
        let codings: Vec<String> =
            answer.values("transfer-encoding").into_iter().map(str::to_owned).collect();
        match (lengths.as_slice(), codings.as_slice()) {
            ([length], []) => {
                let length = length.parse().map_err(|_| format!("the length {length:?}"))?;
                answer.body = self.exactly(length).await?;
                Ok(())
            }
            ([], [coding]) if coding == "chunked" => self.chunks(answer).await,
            ([], []) => {
                while self.more().await.map_err(|_| "a body up to the close was cut".to_owned())? > 0 {}
                answer.body = std::mem::take(&mut self.ahead);
                Ok(())
            }
            _ => Err(format!("two readings of {:?}", answer.head)),
        }
    }

    async fn chunks(&mut self, answer: &mut Answer) -> Result<(), String> {
        loop {
            let line = self.until(b"\r\n").await?;
            let size =
                usize::from_str_radix(line.trim_end(), 16).map_err(|_| format!("the chunk {line:?}"))?;
            if size == 0 {
                break;
            }
            answer.body.extend(self.exactly(size).await?);
            let end = self.exactly(2).await?;
            if end != b"\r\n" {
                return Err(format!("a chunk that ends with {}", shown(&end)));
            }
        }
        loop {
            let line = self.until(b"\r\n").await?;
            if line == "\r\n" {
                return Ok(());
            }
            answer.trailers.push(line.trim_end().to_owned());
        }
    }

    async fn until(&mut self, end: &[u8]) -> Result<String, String> {
        loop {
            if let Some(at) = self.ahead.windows(end.len()).position(|window| window == end) {
                return Ok(latin1(&self.ahead.drain(..at + end.len()).collect::<Vec<_>>()));
            }
            match self.more().await {
                Ok(0) => return Err(format!("closed after {}", shown(&self.ahead))),
                Ok(_) => {}
                Err(_) => return Err(format!("reset after {}", shown(&self.ahead))),
            }
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.ahead.len() < count {
            match self.more().await {
                Ok(1..) => {}
                _ => return Err(format!("the body ends after {}", shown(&self.ahead))),
            }
        }
        Ok(self.ahead.drain(..count).collect())
    }

    async fn more(&mut self) -> std::io::Result<usize> {
        self.stream.read_buf(&mut self.ahead).await
    }
}

fn status_of(head: &str) -> Result<u16, String> {
    let line = head.split("\r\n").next().unwrap_or_default();
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 "));
    let digits = rest.and_then(|rest| rest.get(..3)).filter(|_| line.as_bytes().get(12) == Some(&b' '));
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("the status line {line:?}"))
}

/// An address as `/proc/net/tcp` writes it.
fn in_table(address: SocketAddr) -> String {
    match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), address.port()),
        IpAddr::V6(_) => String::new(),
    }
}
