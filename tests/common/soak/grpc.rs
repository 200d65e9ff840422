//! Callers by HTTP/2: unary and streamed calls on shared connections, REST on them, slow readers, and leavers.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::ask::{Ask, HEADER};
use super::callers::{Callers, Phase};
use super::judge::{End, Got};
use super::pattern::{self, Checked};
use super::server2::send;

const PATIENCE: Duration = Duration::from_secs(60);
const STALL_MS: u32 = 1000;

/// A connection that is made again when it breaks.
#[derive(Default)]
pub struct Channel {
    sender: RefCell<Option<SendRequest<Bytes>>>,
}

impl Channel {
    async fn sender(&self, callers: &Callers) -> Result<SendRequest<Bytes>, String> {
        let known = self.sender.borrow().clone();
        if let Some(sender) = known {
            return sender.ready().await.map_err(|error| error.to_string());
        }
        let stream = TcpStream::connect(callers.address).await.map_err(|error| format!("dial: {error}"))?;
        stream.set_nodelay(true).unwrap();
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(256 << 10).initial_connection_window_size(16 << 20);
        let (sender, connection) =
            builder.handshake(stream).await.map_err(|error| format!("handshake: {error}"))?;
        spawn_local(async move { drop(connection.await) });
        *self.sender.borrow_mut() = Some(sender.clone());
        sender.ready().await.map_err(|error| error.to_string())
    }

    fn close(&self) {
        self.sender.take();
    }
}

/// How a call is made.
#[derive(Clone, Copy)]
pub struct How {
    /// Or REST.
    pub grpc: bool,
    pub host: &'static str,
    pub pace: Duration,
}

impl How {
    pub const GRPC: How = How { grpc: true, host: "m", pace: Duration::ZERO };
}

fn open(
    sender: &mut SendRequest<Bytes>,
    ask: &Ask,
    how: How,
) -> Result<(ResponseFuture, SendStream<Bytes>), String> {
    let path = if how.grpc { "tensorflow.serving.PredictionService/Predict" } else { "v1/models/m:predict" };
    let content = if how.grpc { "application/grpc" } else { "application/json" };
    let mut request = Request::post(format!("http://{}/{path}", how.host))
        .header("content-type", content)
        .header("te", "trailers")
        .header(HEADER, ask.to_header());
    if ask.harm.stalls() {
        request = request.header("x-envoy-upstream-rq-timeout-ms", STALL_MS);
    }
    sender.send_request(request.body(()).unwrap(), false).map_err(|error| error.to_string())
}

/// Sends all of a body; a failure shows in the answer.
async fn upload(stream: &mut SendStream<Bytes>, pieces: impl IntoIterator<Item = Bytes>) -> bool {
    for piece in pieces {
        if send(stream, piece).await.is_err() {
            return false;
        }
    }
    stream.send_data(Bytes::new(), true).is_ok()
}

async fn exchange(callers: &Callers, channel: &Channel, ask: &Ask, how: How) -> End {
    let mut sender = match channel.sender(callers).await {
        Ok(sender) => sender,
        Err(error) => {
            channel.close();
            return End::Nothing(error);
        }
    };
    let (response, mut stream) = match open(&mut sender, ask, how) {
        Ok(opened) => opened,
        Err(error) => {
            channel.close();
            return End::Nothing(error);
        }
    };
    let upload = upload(&mut stream, pattern::up(ask, how.grpc));
    let download = async {
        let (head, body) = response.await?.into_parts();
        Ok(read(head.status.as_u16(), &head.headers, body, ask, how).await)
    };
    match join(upload, download).await.1 {
        Ok(Ok(got)) => End::Answer(got),
        Ok(Err(error)) => End::Cut(error.to_string()),
        // A reset overtakes a head that was not sent yet; nobody takes it for an end.
        Err(error) if h2::Error::is_reset(&error) => End::Cut(error.to_string()),
        Err(error) => {
            channel.close();
            End::Nothing(error.to_string())
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

async fn read(
    status: u16,
    headers: &HeaderMap,
    mut body: RecvStream,
    ask: &Ask,
    how: How,
) -> Result<Got, h2::Error> {
    let from_upstream = text(headers, "x-soak-id") == Some(&ask.id.to_string());
    let (mut checked, mut message) = (Checked::new(pattern::down(ask, how.grpc)), String::new());
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        if status == 200 {
            checked.take(&piece);
        } else {
            message += &String::from_utf8_lossy(&piece);
        }
        if !how.pace.is_zero() {
            sleep(how.pace).await;
        }
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    let mut right = checked.whole();
    let end = text(&trailers, "x-soak-end");
    if how.grpc && right.is_ok() && end != Some(&ask.id.to_string()) {
        right = Err(format!("trailers {trailers:?}"));
    }
    let told = text(&trailers, "grpc-status").or(text(headers, "grpc-status"));
    let grpc = if how.grpc { told.and_then(|told| told.parse().ok()).or(Some(u16::MAX)) } else { None };
    message += text(headers, "grpc-message").unwrap_or_default();
    Ok(Got { status, grpc, from_upstream, text: message, right })
}

/// One call, judged.
pub async fn call(callers: &Callers, kind: &'static str, channel: &Channel, ask: Ask, how: How) {
    let sent = callers.sent(kind, &ask, how.grpc, false);
    let end = timeout(PATIENCE, exchange(callers, channel, &ask, how)).await;
    callers.ended(kind, sent, end.unwrap_or(End::Nothing("no end".into())));
}

/// Leaves before the head, in the upload or in the download: by RST_STREAM.
pub async fn leaver(callers: &Callers, kind: &'static str, channel: &Channel) {
    let mut ask = callers.ask(500, 500, &[]);
    let phase = ask.pick(7, 3);
    match phase {
        0 => ask.think_ms = 2000,
        1 => ask.up = 602_112,
        _ => ask.down = 8 << 20,
    }
    let how = How { host: "c", ..How::GRPC };
    let _ = callers.sent(kind, &ask, true, false);
    let leaves = || callers.cancelled(ask.id, Phase { at: Phase::AT[phase as usize], by: "RST_STREAM" });
    let leaving = async {
        let mut sender = channel.sender(callers).await?;
        let (response, mut stream) = open(&mut sender, &ask, how)?;
        if phase == 1 {
            for piece in pattern::up(&ask, true).into_iter().take(6) {
                let _ = send(&mut stream, piece).await;
            }
            sleep(Duration::from_millis(ask.pick(8, 30))).await;
            leaves();
            stream.send_reset(Reason::CANCEL);
            return Ok::<_, String>(());
        }
        upload(&mut stream, pattern::up(&ask, true)).await;
        if phase == 0 {
            sleep(Duration::from_millis(ask.pick(8, 30))).await;
            leaves();
            stream.send_reset(Reason::CANCEL);
            return Ok(());
        }
        let mut body = response.await.map_err(|error| error.to_string())?.into_body();
        let _ = body.data().await;
        leaves();
        stream.send_reset(Reason::CANCEL);
        Ok(())
    };
    // What became of it nobody waits for; that the connection broke is noticed by the next.
    if !matches!(timeout(PATIENCE, leaving).await, Ok(Ok(()))) {
        channel.close();
    }
}

/// Several calls whose connection goes away with them.
pub async fn dropped(callers: &Callers, kind: &'static str) {
    let channel = Channel::default();
    let mut open_calls = Vec::new();
    for _ in 0..4 {
        let mut ask = callers.ask(500, 500, &[]);
        ask.think_ms = 2000;
        let Ok(mut sender) = channel.sender(callers).await else { return };
        let how = How { host: "c", ..How::GRPC };
        let Ok((response, mut stream)) = open(&mut sender, &ask, how) else { return };
        let _ = callers.sent(kind, &ask, true, false);
        upload(&mut stream, pattern::up(&ask, true)).await;
        open_calls.push((ask.id, response, stream));
    }
    sleep(Duration::from_millis(open_calls[0].0 % 30)).await;
    for (id, ..) in &open_calls {
        callers.cancelled(*id, Phase { at: Phase::AT[0], by: "the end of the HTTP/2 connection" });
    }
}
