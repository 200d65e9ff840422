//! Callers by HTTP/1: kept connections, new ones, pipelined and half-closed requests, slow readers, and leavers.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::ask::{Ask, HEADER, Harm};
use super::callers::{Callers, Phase, Sent};
use super::http1::{Body, Conn, Framing, Head, find};
use super::judge::{End, Got};
use super::pattern::{self, Checked};

/// No request takes as long: a hang is reported as what it is.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a request waits for its answer when its upstream will never give one.
const STALL_MS: u32 = 1000;

/// How a request is spoken.
#[derive(Clone, Copy)]
pub struct How {
    pub get: bool,
    pub version: &'static str,
    pub connection: Option<&'static str>,
    pub host: &'static str,
    /// How long the reader sleeps between pieces.
    pub pace: Duration,
}

impl How {
    pub const PLAIN: How =
        How { get: false, version: "1.1", connection: None, host: "m", pace: Duration::ZERO };
}

/// Dials, patiently.
pub async fn dial(callers: &Callers) -> io::Result<Conn> {
    TcpStream::connect(callers.address).await.map(Conn::new)
}

fn head(ask: &Ask, how: How) -> (String, bool) {
    let (method, version, host) = (if how.get { "GET" } else { "POST" }, how.version, how.host);
    let mut head = format!(
        "{method} /v1/models/m:predict HTTP/{version}\r\nhost: {host}\r\n{HEADER}: {}\r\n",
        ask.to_header()
    );
    if ask.harm.stalls() {
        head += &format!("x-envoy-upstream-rq-timeout-ms: {STALL_MS}\r\n");
    }
    if let Some(connection) = how.connection {
        head += &format!("connection: {connection}\r\n");
    }
    let chunked = ask.up > 0 && version == "1.1" && ask.pick(4, 3) == 0;
    if chunked {
        head += "transfer-encoding: chunked\r\n";
    } else if !how.get {
        head += &format!("content-length: {}\r\n", ask.up);
    }
    if ask.up > 0 && version == "1.1" && ask.pick(5, 8) == 0 {
        head += "expect: 100-continue\r\n";
    }
    (head + "\r\n", chunked)
}

/// Writes a whole request. A failure is not told: what matters is what comes back.
async fn write(conn: &mut Conn, ask: &Ask, how: How) {
    let (head, chunked) = head(ask, how);
    let none = String::new();
    let _ = conn.write_body(head, pattern::up(ask, false), chunked.then_some(&none), b"").await;
}

/// Reads one answer. Whether another may follow on the connection.
async fn read(conn: &mut Conn, ask: &Ask, how: How) -> (End, bool) {
    let head = loop {
        match conn.head().await {
            Ok(Some(head)) if head.line == "HTTP/1.1 100 Continue" => {}
            Ok(Some(head)) => break head,
            Ok(None) => return (End::Nothing("closed".into()), false),
            Err(error) => return (End::Nothing(error.to_string()), false),
        }
    };
    match answer(conn, &head, ask, how).await {
        Ok(got) => (End::Answer(got), !head.closes() && how.version == "1.1"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            (End::Nothing(format!("an answer that cannot be read: {error}")), false)
        }
        Err(error) => (End::Cut(error.to_string()), false),
    }
}

async fn answer(conn: &mut Conn, head: &Head, ask: &Ask, how: How) -> io::Result<Got> {
    let status = head.status().ok_or(io::ErrorKind::InvalidData)?;
    let framing = head.framing(Framing::UntilClose)?;
    let from_upstream = head.get("x-soak-id") == Some(&ask.id.to_string());
    let (mut body, mut checked, mut text) =
        (Body::new(framing), Checked::new(pattern::down(ask, false)), String::new());
    while let Some(piece) = conn.piece(&mut body).await? {
        if status == 200 {
            checked.take(&piece);
        } else {
            text += &String::from_utf8_lossy(&piece);
        }
        if !how.pace.is_zero() {
            sleep(how.pace).await;
        }
    }
    let mut right = checked.whole();
    // What the upstream sent in chunks carries a field behind them, for whoever can take it.
    let end = find(&body.trailers, "x-soak-end");
    if right.is_ok() && framing == Framing::Chunked && end != Some(&ask.id.to_string()) {
        right = Err(format!("trailers {:?}", body.trailers));
    }
    Ok(Got { status, grpc: None, from_upstream, text, right })
}

/// One request and its answer.
async fn exchange(conn: &mut Conn, ask: &Ask, how: How) -> (End, bool) {
    let exchange = async {
        write(conn, ask, how).await;
        read(conn, ask, how).await
    };
    timeout(PATIENCE, exchange).await.unwrap_or((End::Nothing("no end".into()), false))
}

/// A request on the connection that is kept in `kept`, or on a new one.
pub async fn kept(
    callers: &Callers,
    kind: &'static str,
    kept: &mut Option<Conn>,
    ask: Ask,
    how: How,
) -> io::Result<()> {
    let mut conn = match kept.take() {
        Some(conn) => conn,
        None => dial(callers).await?,
    };
    let sent = callers.sent(kind, &ask, false, how.get);
    let (end, goes_on) = exchange(&mut conn, &ask, how).await;
    let right = callers.ended(kind, sent, end);
    // Behind harm the connection may be closed at any moment, and rightly so.
    if right && goes_on {
        *kept = Some(conn);
    }
    Ok(())
}

/// Several requests at once on one connection.
pub async fn pipelined(callers: &Callers, kind: &'static str, count: u64) -> io::Result<()> {
    let mut conn = dial(callers).await?;
    let harms = Harm::HTTP1.map(|harm| if harm == Harm::Early { Harm::None } else { harm });
    let how = |ask: &Ask| How { get: ask.pick(6, 2) == 0, ..How::PLAIN };
    let asks = (0..count).map(|_| {
        let mut ask = callers.ask(600, 600, &harms);
        ask.up = if how(&ask).get { 0 } else { ask.up };
        ask
    });
    let asks: Vec<Ask> = asks.collect();
    let sent: Vec<Sent> = asks.iter().map(|ask| callers.sent(kind, ask, false, how(ask).get)).collect();
    for ask in &asks {
        write(&mut conn, ask, how(ask)).await;
    }
    let mut open = true;
    for sent in sent {
        if !open {
            callers.not_begun(&sent);
            continue;
        }
        let answer = timeout(PATIENCE, read(&mut conn, &sent.ask, how(&sent.ask))).await;
        let (end, goes_on) = answer.unwrap_or((End::Nothing("no end".into()), false));
        let cut = !matches!(end, End::Answer(_));
        callers.ended(kind, sent, end);
        open = goes_on && !cut;
    }
    Ok(())
}

/// A request whose caller sends nothing more, and wants its answer all the same.
pub async fn half_closed(callers: &Callers, kind: &'static str) -> io::Result<()> {
    let mut conn = dial(callers).await?;
    // Once an answer stands still its half-closed caller counts as gone.
    let harms = Harm::HTTP1.map(|harm| if harm == Harm::StallInBody { Harm::None } else { harm });
    let ask = callers.ask(600, 600, &harms);
    let sent = callers.sent(kind, &ask, false, false);
    write(&mut conn, &ask, How::PLAIN).await;
    conn.stream.shutdown().await?;
    let read = timeout(PATIENCE, read(&mut conn, &ask, How::PLAIN)).await;
    let (end, _) = read.unwrap_or((End::Nothing("no end".into()), false));
    callers.ended(kind, sent, end);
    Ok(())
}

/// Leaves before the head, in the upload or in the download; by FIN or by RST.
pub async fn leaver(callers: &Callers, kind: &'static str) -> io::Result<()> {
    let mut conn = dial(callers).await?;
    let how = How { host: "c", ..How::PLAIN };
    let mut ask = callers.ask(600, 600, &[]);
    let phase = ask.pick(7, 3);
    match phase {
        0 => ask.think_ms = 2000,
        1 => ask.up = 602_112,
        _ => ask.down = 8 << 20,
    }
    let _ = callers.sent(kind, &ask, false, false);
    if phase == 1 {
        let (head, chunked) = head(&ask, how);
        let mut pieces = pattern::up(&ask, false);
        pieces.truncate(5);
        let mut bytes = head.into_bytes();
        for piece in pieces {
            if chunked {
                bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            }
            bytes.extend_from_slice(&piece);
            bytes.extend_from_slice(if chunked { b"\r\n" } else { b"" });
        }
        let _ = timeout(PATIENCE, conn.stream.write_all(&bytes)).await;
    } else {
        write(&mut conn, &ask, how).await;
    }
    match phase {
        2 => drop(timeout(PATIENCE, conn.head()).await),
        // At any moment, so that every moment is met.
        _ => sleep(Duration::from_millis(ask.pick(8, 30))).await,
    }
    let resets = ask.pick(9, 2) == 0;
    callers
        .cancelled(ask.id, Phase { at: Phase::AT[phase as usize], by: if resets { "RST" } else { "close" } });
    if resets {
        conn.reset();
    }
    Ok(())
}

/// Reads slowly.
pub async fn slow(callers: &Callers, kind: &'static str) -> io::Result<()> {
    let ask = callers.ask(600, 2 << 20, &[]);
    let how = How { pace: Duration::from_millis(20), ..How::PLAIN };
    kept(callers, kind, &mut None, ask, how).await
}
