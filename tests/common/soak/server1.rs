//! Model servers by HTTP/1: right answers, and the harm that a request asks for.
//!
//! Law: a connection is closed without a word only where that is the harm asked for, so that nobody else's request is
//! lost with it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;

use super::ask::{Ask, HEADER, Harm};
use super::http1::{Body, Conn, Framing, Head, Quiet};
use super::ledger::{Ledger, Place};
use super::pattern::{self, Checked};

const FOREVER: Duration = Duration::from_secs(60);
const POISON: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";

/// What becomes of the connection.
enum Next {
    Keep,
    /// Bytes were sent behind an answer: nobody may use it again.
    Poisoned,
    Close,
    Reset,
    /// The proxy has let go of the request.
    Left,
}

/// Serves connections for ever.
pub async fn serve(listener: std::net::TcpListener, ledger: Arc<Ledger>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        let ledger = ledger.clone();
        spawn_local(async move {
            let _open = Place::open(&ledger);
            connection(stream, &ledger).await;
        });
    }
}

async fn connection(stream: TcpStream, ledger: &Arc<Ledger>) {
    let mut conn = Conn::new(stream);
    let mut poisoned = false;
    loop {
        // An end within a head is a caller that has left.
        let head = match conn.head().await {
            Ok(Some(head)) => head,
            Ok(None) => return,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return ledger.fault(format!("a request that cannot be read: {error}"));
            }
            Err(_) => return,
        };
        let Some(ask) = head.get(HEADER).and_then(Ask::parse) else {
            return ledger.fault(format!("a request that nobody sent: {head:?}"));
        };
        if poisoned {
            ledger.fault(format!("request {}: on a connection with bytes behind an answer", ask.id));
        }
        let _active = Place::active(ledger);
        let next = match exchange(&mut conn, &head, &ask, ledger).await {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                ledger.fault(format!("request {}: {error}", ask.id));
                Next::Close
            }
            Err(_) => Next::Left,
        };
        match next {
            Next::Keep => {}
            Next::Poisoned => poisoned = true,
            Next::Close => return,
            Next::Reset => return conn.reset(),
            Next::Left => return ledger.left(ask.id),
        }
    }
}

async fn exchange(conn: &mut Conn, head: &Head, ask: &Ask, ledger: &Ledger) -> io::Result<Next> {
    let harm = ledger.arrives(ask);
    let before_body = ask.pick(1, 2) == 0;
    match harm {
        Harm::Reset if before_body => return Ok(Next::Reset),
        Harm::Early => {
            answer(conn, ask, "connection: close\r\n", b"").await?;
            conn.stream.shutdown().await?;
            conn.drain().await;
            return Ok(Next::Close);
        }
        _ => {}
    }
    read_body(conn, head, ask, ledger).await?;
    if ask.think_ms > 0 {
        match conn.quiet_for(Duration::from_millis(ask.think_ms)).await {
            Quiet::Yes => {}
            Quiet::Left => return Ok(Next::Left),
            Quiet::Bytes => return Err(io::Error::new(io::ErrorKind::InvalidData, "bytes behind a request")),
        }
    }
    match harm {
        Harm::Reset => Ok(Next::Reset),
        Harm::Close => Ok(Next::Close),
        Harm::Stall => {
            conn.quiet_for(FOREVER).await;
            Ok(Next::Left)
        }
        Harm::Garbage => {
            conn.stream.write_all(b"\x15\x03\x01\0\x02\x02\x16").await?;
            Ok(Next::Close)
        }
        Harm::Refuse => {
            let id = ask.id;
            let refusal = format!("HTTP/1.1 503 Busy\r\nx-soak-id: {id}\r\ncontent-length: 7\r\n\r\nrefused");
            conn.stream.write_all(refusal.as_bytes()).await?;
            Ok(Next::Keep)
        }
        Harm::Cut | Harm::StallInBody => half_an_answer(conn, ask, harm).await,
        _ => {
            let close = if ask.close { "connection: close\r\n" } else { "" };
            let extra: &[u8] = if harm == Harm::Extra { POISON } else { b"" };
            answer(conn, ask, close, extra).await?;
            Ok(match harm {
                Harm::Extra => Next::Poisoned,
                _ if ask.close => Next::Close,
                _ => Next::Keep,
            })
        }
    }
}

async fn read_body(conn: &mut Conn, head: &Head, ask: &Ask, ledger: &Ledger) -> io::Result<()> {
    let mut body = Body::new(head.framing(Framing::Length(0))?);
    let mut checked = Checked::new(pattern::up(ask, false));
    while let Some(piece) = conn.piece(&mut body).await? {
        checked.take(&piece);
    }
    ledger.whole(ask.id);
    checked.whole().map_err(|wrong| io::Error::new(io::ErrorKind::InvalidData, format!("going up: {wrong}")))
}

fn is_chunked(ask: &Ask) -> bool {
    ask.pick(2, 2) == 0
}

fn head(ask: &Ask, length: usize, more: &str) -> String {
    let framing = match is_chunked(ask) {
        true => "transfer-encoding: chunked\r\n".to_owned(),
        false => format!("content-length: {length}\r\n"),
    };
    format!("HTTP/1.1 200 OK\r\nx-soak-id: {}\r\n{framing}{more}\r\n", ask.id)
}

/// A right one. `behind` leaves with its end, so that nobody can take the connection in between.
async fn answer(conn: &mut Conn, ask: &Ask, more: &str, behind: &[u8]) -> io::Result<()> {
    let pieces = pattern::down(ask, false);
    let head = head(ask, pattern::length(&pieces), more);
    let trailers = format!("x-soak-end: {}\r\n", ask.id);
    conn.write_body(head, pieces, is_chunked(ask).then_some(&trailers), behind).await
}

async fn half_an_answer(conn: &mut Conn, ask: &Ask, harm: Harm) -> io::Result<Next> {
    let mut pieces = pattern::down(ask, false);
    let head = head(ask, pattern::length(&pieces), "");
    pieces.truncate(pieces.len().div_ceil(2));
    let mut half = head.into_bytes();
    for piece in pieces {
        if is_chunked(ask) {
            half.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        half.extend_from_slice(&piece[..piece.len() / 2]);
        if is_chunked(ask) {
            break;
        }
    }
    conn.stream.write_all(&half).await?;
    if harm == Harm::Cut {
        return Ok(if ask.pick(3, 2) == 0 { Next::Close } else { Next::Reset });
    }
    conn.quiet_for(FOREVER).await;
    Ok(Next::Left)
}
