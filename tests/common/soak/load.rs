//! The mix: what is asked, how often a second, by how many at once.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{MissedTickBehavior, interval};

use super::ask::Harm;
use super::callers::Callers;
use super::grpc::{self, Channel};
use super::rest::{self, How};

const IMAGE: usize = 602_112;
/// Too long to be kept for a second attempt, or to be sent within bounds of time: no harm that asks for either.
const BIG: usize = 8 << 20;

/// A kind of call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Kept,
    New,
    Pipelined,
    HalfClosed,
    Http10,
    Image,
    Big,
    Slow,
    Leaver,
    RestByHttp2,
    Unary,
    Streaming,
    Duplex,
    GrpcImage,
    GrpcBig,
    GrpcSlow,
    GrpcLeaver,
    GrpcDropped,
}

/// Name, times a second, tasks that share them.
const MIX: [(Kind, &str, f64, usize); 18] = [
    (Kind::Kept, "REST, kept connections", 40.0, 4),
    (Kind::New, "REST, new connections", 10.0, 2),
    (Kind::Pipelined, "REST, pipelined", 5.0, 2),
    (Kind::HalfClosed, "REST, half-closed", 5.0, 2),
    (Kind::Http10, "REST, HTTP/1.0", 4.0, 2),
    (Kind::Image, "REST, 602 KB", 6.0, 3),
    (Kind::Big, "REST, 8 MiB", 0.5, 1),
    (Kind::Slow, "REST, slow readers", 1.0, 4),
    (Kind::Leaver, "REST, leavers", 9.0, 3),
    (Kind::RestByHttp2, "REST by HTTP/2", 5.0, 2),
    (Kind::Unary, "gRPC, unary", 40.0, 8),
    (Kind::Streaming, "gRPC, streaming", 8.0, 4),
    (Kind::Duplex, "gRPC, both ways at once", 4.0, 2),
    (Kind::GrpcImage, "gRPC, 602 KB", 6.0, 3),
    (Kind::GrpcBig, "gRPC, 8 MiB", 0.5, 1),
    (Kind::GrpcSlow, "gRPC, slow readers", 1.0, 4),
    (Kind::GrpcLeaver, "gRPC, leavers", 9.0, 3),
    (Kind::GrpcDropped, "gRPC, dropped connections", 0.5, 1),
];

/// Starts the load, `rate` times the mix; it ends when the callers are told to stop.
pub fn start(callers: &Rc<Callers>, rate: f64) -> Vec<JoinHandle<()>> {
    let shared = [(); 2].map(|()| Rc::new(Channel::default()));
    let mut tasks = Vec::new();
    for (kind, name, times, count) in MIX {
        for task in 0..count {
            let channel = match kind {
                Kind::GrpcSlow | Kind::GrpcBig => Rc::new(Channel::default()),
                _ => shared[task % 2].clone(),
            };
            let every = Duration::from_secs_f64(count as f64 / (times * rate));
            tasks.push(spawn_local(run(callers.clone(), kind, name, channel, every)));
        }
    }
    tasks
}

async fn run(callers: Rc<Callers>, kind: Kind, name: &'static str, channel: Rc<Channel>, every: Duration) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut kept = None;
    loop {
        ticks.tick().await;
        if callers.stop.get() {
            return;
        }
        if let Err(error) = once(&callers, kind, name, &channel, &mut kept).await {
            callers.accounts.borrow_mut().unexplained.push(format!("{name}: {error}"));
        }
    }
}

async fn once(
    callers: &Callers,
    kind: Kind,
    name: &'static str,
    channel: &Channel,
    kept: &mut Option<super::http1::Conn>,
) -> io::Result<()> {
    let ask = |up, down| callers.ask(up, down, &Harm::HTTP1);
    let call = |up, down| callers.ask(up, down, &Harm::HTTP2);
    match kind {
        Kind::Kept => {
            let mut ask = ask(600, 600);
            let get = ask.pick(20, 4) == 0;
            ask.up = if get { 0 } else { ask.up };
            rest::kept(callers, name, kept, ask, How { get, ..How::PLAIN }).await?;
        }
        Kind::New => {
            let ask = ask(600, 600);
            let connection = (ask.pick(20, 2) == 0).then_some("close");
            rest::kept(callers, name, &mut None, ask, How { connection, ..How::PLAIN }).await?;
        }
        Kind::Pipelined => rest::pipelined(callers, name, 4).await?,
        Kind::HalfClosed => rest::half_closed(callers, name).await?,
        Kind::Http10 => {
            let ask = ask(600, 6000);
            rest::kept(callers, name, &mut None, ask, How { version: "1.0", ..How::PLAIN }).await?;
        }
        Kind::Image => {
            let id = ask(IMAGE, 600);
            let ask = match id.pick(20, 3) {
                0 => id,
                1 => super::ask::Ask { up: 600, down: IMAGE, ..id },
                _ => super::ask::Ask { down: IMAGE, ..id },
            };
            rest::kept(callers, name, kept, ask, How::PLAIN).await?;
        }
        Kind::Big => {
            let ask =
                callers.ask(BIG, BIG, &[Harm::Close, Harm::Cut, Harm::Extra, Harm::Garbage, Harm::Refuse]);
            rest::kept(callers, name, kept, ask, How::PLAIN).await?;
        }
        Kind::Slow => rest::slow(callers, name).await?,
        Kind::Leaver => rest::leaver(callers, name).await?,
        Kind::RestByHttp2 => {
            let how = grpc::How { grpc: false, ..grpc::How::GRPC };
            grpc::call(callers, name, channel, ask(600, 6000), how).await;
        }
        Kind::Unary => grpc::call(callers, name, channel, call(500, 500), grpc::How::GRPC).await,
        Kind::Streaming => {
            let mut ask = call(500, 3000);
            ask.messages = 20;
            grpc::call(callers, name, channel, ask, grpc::How::GRPC).await;
        }
        Kind::Duplex => {
            let mut ask = callers.ask(IMAGE, 30_000, &[Harm::Kill, Harm::StreamCut]);
            (ask.messages, ask.duplex) = (20, true);
            grpc::call(callers, name, channel, ask, grpc::How::GRPC).await;
        }
        Kind::GrpcImage => {
            let id = call(IMAGE, 500);
            let down = if id.pick(20, 2) == 0 { IMAGE } else { 500 };
            grpc::call(callers, name, channel, super::ask::Ask { down, ..id }, grpc::How::GRPC).await;
        }
        Kind::GrpcBig => {
            let harms = [Harm::Goaway, Harm::Kill, Harm::Refuse, Harm::StreamCut, Harm::StreamReset];
            grpc::call(callers, name, channel, callers.ask(BIG, BIG, &harms), grpc::How::GRPC).await;
        }
        Kind::GrpcSlow => {
            let how = grpc::How { pace: Duration::from_millis(20), ..grpc::How::GRPC };
            grpc::call(callers, name, channel, callers.ask(500, 2 << 20, &[]), how).await;
        }
        Kind::GrpcLeaver => grpc::leaver(callers, name, channel).await,
        Kind::GrpcDropped => grpc::dropped(callers, name).await,
    }
    Ok(())
}
