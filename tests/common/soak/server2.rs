//! Model servers by gRPC: right answers, and the harm that a request asks for.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::ask::{Ask, HEADER, Harm};
use super::ledger::{Ledger, Place};
use super::pattern::{self, Checked};

/// What a stream asks of its connection.
enum Goodbye {
    Goaway,
    Kill,
}

/// The proxy has let go of a stream.
pub struct Left;

impl From<h2::Error> for Left {
    fn from(_: h2::Error) -> Left {
        Left
    }
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
    stream.set_nodelay(true).unwrap();
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(256 << 10).initial_connection_window_size(4 << 20);
    let Ok(mut server) = builder.handshake::<_, Bytes>(stream).await else { return };
    let (tell, mut told) = mpsc::unbounded_channel();
    loop {
        tokio::select! {
            next = server.accept() => {
                let Some(Ok((request, respond))) = next else { return };
                let (ledger, tell) = (ledger.clone(), tell.clone());
                spawn_local(async move { stream_of(request, respond, &ledger, &tell).await });
            }
            Some(goodbye) = told.recv() => match goodbye {
                Goodbye::Goaway => server.graceful_shutdown(),
                Goodbye::Kill => return ledger.kills(),
            },
        }
    }
}

async fn stream_of(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    ledger: &Arc<Ledger>,
    tell: &mpsc::UnboundedSender<Goodbye>,
) {
    let header = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let Some(ask) = header.and_then(Ask::parse) else {
        return ledger.fault(format!("a call that nobody made: {request:?}"));
    };
    let _active = Place::active(ledger);
    if exchange(request, &mut respond, &ask, ledger, tell).await.is_err() {
        ledger.left(ask.id);
    }
}

async fn exchange(
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    ask: &Ask,
    ledger: &Ledger,
    tell: &mpsc::UnboundedSender<Goodbye>,
) -> Result<(), Left> {
    let harm = ledger.arrives(ask);
    if harm == Harm::StreamRefused {
        respond.send_reset(Reason::REFUSED_STREAM);
        return Ok(());
    }
    let (taking, answering) = (take(request, ask, ledger), respond_to(respond, ask, harm, tell));
    if ask.duplex {
        let (taken, answered) = join(taking, answering).await;
        return taken.and(answered);
    }
    taking.await?;
    answering.await
}

/// Reads the body of a request, and checks it.
async fn take(mut request: Request<RecvStream>, ask: &Ask, ledger: &Ledger) -> Result<(), Left> {
    let mut checked = Checked::new(pattern::up(ask, true));
    let body = request.body_mut();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        checked.take(&piece);
    }
    ledger.whole(ask.id);
    if let Err(wrong) = checked.whole() {
        ledger.fault(format!("call {}: going up: {wrong}", ask.id));
    }
    Ok(())
}

async fn respond_to(
    respond: &mut SendResponse<Bytes>,
    ask: &Ask,
    harm: Harm,
    tell: &mpsc::UnboundedSender<Goodbye>,
) -> Result<(), Left> {
    if ask.think_ms > 0 {
        think(respond, Duration::from_millis(ask.think_ms)).await?;
    }
    let head = Response::builder().header("content-type", "application/grpc").header("x-soak-id", ask.id);
    match harm {
        Harm::StreamReset => respond.send_reset(Reason::INTERNAL_ERROR),
        Harm::Stall => think(respond, Duration::from_secs(60)).await?,
        Harm::Refuse => {
            let refusal = head.header("grpc-status", "3").header("grpc-message", "refused");
            respond.send_response(refusal.body(()).unwrap(), true)?;
        }
        Harm::Kill if ask.pick(1, 2) == 0 => {
            let _ = tell.send(Goodbye::Kill);
            // Not let go of before: that would reset the stream.
            let _ = poll_fn(|cx| respond.poll_reset(cx)).await;
        }
        _ => {
            let stream = respond.send_response(head.body(()).unwrap(), false)?;
            answer(stream, ask, harm, tell).await?;
        }
    }
    Ok(())
}

/// Takes so long, unless the stream is reset.
async fn think(respond: &mut SendResponse<Bytes>, time: Duration) -> Result<(), Left> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        _ = poll_fn(|cx| respond.poll_reset(cx)) => Err(Left),
    }
}

async fn answer(
    mut stream: SendStream<Bytes>,
    ask: &Ask,
    harm: Harm,
    tell: &mpsc::UnboundedSender<Goodbye>,
) -> Result<(), Left> {
    let mut pieces = pattern::down(ask, true);
    if matches!(harm, Harm::StreamCut | Harm::StallInBody | Harm::Kill) {
        pieces.truncate(pieces.len() / 2);
    }
    for piece in pieces {
        send(&mut stream, piece).await?;
    }
    match harm {
        Harm::StreamCut => stream.send_reset(Reason::INTERNAL_ERROR),
        Harm::StallInBody => {
            poll_fn(|cx| stream.poll_reset(cx)).await?;
            return Err(Left);
        }
        Harm::Kill => {
            let _ = tell.send(Goodbye::Kill);
            let _ = poll_fn(|cx| stream.poll_reset(cx)).await;
        }
        _ => {
            if harm == Harm::Goaway {
                let _ = tell.send(Goodbye::Goaway);
            }
            let status = [("grpc-status", "0".to_owned()), ("x-soak-end", ask.id.to_string())];
            let status = status.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            stream.send_trailers(HeaderMap::from_iter(status))?;
        }
    }
    Ok(())
}

/// Sends a piece as the windows allow.
pub async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Result<(), Left> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let capacity = poll_fn(|cx| stream.poll_capacity(cx)).await.ok_or(Left)??;
        stream.send_data(piece.split_to(capacity.min(piece.len())), false)?;
    }
    Ok(())
}
