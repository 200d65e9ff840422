//! An end of an HTTP/2 connection against a peer that sends anything: what it sends is always in order, within the
//! windows that it was given, and of streams that are there; what is to be sent leaves as soon as there are windows for
//! it, however it is woken; when the peer has gone the connection ends.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::runtime::{Builder, Runtime};
use weir::message::http2::client::{self, ResponseFuture};
use weir::message::http2::connection::Wire;
use weir::message::http2::frame::{
    self, FrameHead, GoAway, HEAD_BYTES, PREFACE, Reason, flag, kind, setting,
};
use weir::message::http2::head::Decoder;
use weir::message::http2::{RecvStream, SendResponse, SendStream, Settings, server};

use super::input::Input;

const SETTINGS: Settings = Settings {
    stream_window: 20_000,
    stream_window_most: 20_000,
    connection_window: 70_000,
    out_full: 64 << 10,
    max_streams: 5,
    max_header_list: 2_000,
    unseen_resets: 3,
    remembered_resets: 4,
    interim_answers: 2,
    untaken: Duration::from_secs(5),
};
/// A request's block and a response's, of the static table and a literal.
const REQUEST: &[u8] = b"\x83\x86\x84\x41\x01x";
const RESPONSE: &[u8] = b"\x88";
/// More than a few frames can need.
const TURNS: usize = 60;

thread_local! {
    /// For the timer of a connection that waits for its peer's end; nothing runs on it.
    static CLOCK: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
}

/// See the module.
pub fn check(data: &[u8]) {
    let clock = CLOCK.with(|clock| clock.handle().clone());
    let _entered = clock.enter();
    let mut input = Input::new(data);
    let is_server = input.flag();
    let pipe = Pipe(Rc::default());
    pipe.0.borrow_mut().takes = input.pick(&[usize::MAX, 1_000, 100, 0]);
    let mut watch = Watch::new(is_server);
    let mut end = Driven {
        end: if is_server { End::server(&pipe) } else { End::client(&pipe) },
        task: Task::default(),
    };
    if is_server {
        pipe.0.borrow_mut().arrives(PREFACE);
    }
    if input.below(8) != 1 {
        let mut first = Vec::new();
        let window = input.pick(&[3_000, 40_000]);
        frame::put_settings(&mut first, &[(setting::INITIAL_WINDOW_SIZE, window)]);
        watch.gives(&first);
        pipe.0.borrow_mut().arrives(&first);
    }
    for _ in 0..40 {
        if input.is_empty() {
            break;
        }
        let bytes = peers_frame(&mut input, is_server);
        watch.gives(&bytes);
        pipe.0.borrow_mut().arrives(&bytes);
        if input.flag() {
            end.goes_on(&mut input);
            watch.looks_at(&pipe.0.borrow().written);
        }
    }
    end.goes_on(&mut input);
    let is_stuck = pipe.0.borrow().takes == 0;
    if !is_stuck {
        drains(&mut end, &pipe, &mut watch, &mut input);
    }
    pipe.0.borrow_mut().is_over = true;
    let is_done = (0..TURNS).any(|_| end.poll());
    assert!(is_done || is_stuck, "the peer has gone, and the connection goes on");
    watch.looks_at(&pipe.0.borrow().written);
    drop(end);
}

/// One frame of the peer's, more often right than wrong.
fn peers_frame(input: &mut Input<'_>, to_server: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let stream = u32::from(input.pick(&[1_u8, 1, 3, 5, 7, 9, 11, 2, 0]));
    let flags = input.pick(&[flag::END_HEADERS, flag::END_HEADERS | flag::END_STREAM, 0, flag::END_STREAM]);
    let mut put = |kind: u8, flags: u8, payload: &[u8]| {
        frame::put_head(&mut out, kind, flags, stream, payload.len() as u32);
        out.extend_from_slice(payload);
    };
    let numbers = [0_u32, 1, 100, 5_000, 65_535, 1 << 20, (1 << 31) - 1];
    match input.below(12) {
        0 => {
            let (kind, flags) = (input.byte() % 11, input.byte());
            put(kind, flags, input.bytes(40));
        }
        1..=3 => put(kind::HEADERS, flags, if to_server { REQUEST } else { RESPONSE }),
        4 => put(kind::HEADERS, flags, b"\x40\x03x-a\x011"),
        5 => put(kind::HEADERS, flags, input.bytes(60)),
        6 | 7 => {
            let length = input.pick(&[0, 1, 300, 9_000, 16_384]);
            put(kind::DATA, flags & flag::END_STREAM, &vec![7; length]);
        }
        8 => put(kind::WINDOW_UPDATE, 0, &input.pick(&numbers).to_be_bytes()),
        9 => put(kind::RST_STREAM, 0, &u32::from(input.byte()).to_be_bytes()),
        10 => {
            let ids = [
                setting::HEADER_TABLE_SIZE,
                setting::INITIAL_WINDOW_SIZE,
                setting::MAX_FRAME_SIZE,
                setting::MAX_CONCURRENT_STREAMS,
            ];
            frame::put_settings(&mut out, &[(input.pick(&ids), input.pick(&numbers))]);
        }
        _ if input.flag() => frame::put_ping(&mut out, 0, *b"pingpong"),
        _ => {
            let goaway = GoAway { last_stream: stream, reason: Reason(input.below(3) as u32) };
            frame::put_goaway(&mut out, goaway, b"");
        }
    }
    out
}

/// The peer opens each stream's window, and that of all bit by bit, until there is just enough; then it resets a stream.
fn drains(end: &mut Driven, pipe: &Pipe, watch: &mut Watch, input: &mut Input<'_>) {
    let reset = u32::from(input.pick(&[101_u8, 1, 3, 5, 7]));
    let pieces = input.below(5) as u32 + 1;
    let mut left: u32 = end.end.exchanges().iter().map(|exchange| exchange.left.len() as u32).sum();
    end.end.exchanges().iter_mut().for_each(Exchange::drains);
    let mut gives = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = Vec::new();
        put(&mut frame);
        watch.gives(&frame);
        pipe.0.borrow_mut().arrives(&frame);
    };
    gives(&|out| frame::put_settings(out, &[(setting::INITIAL_WINDOW_SIZE, 1 << 20)]));
    for piece in 1..=pieces {
        let by = if piece == pieces { left } else { left / 2 };
        left -= by;
        if by > 0 {
            gives(&|out| frame::put_window_update(out, 0, by));
        }
        if piece == pieces && reset < 100 {
            gives(&|out| frame::put_rst_stream(out, reset, Reason(8)));
        }
        if end.drains() {
            return;
        }
    }
    let waits = |exchange: &Exchange| exchange.sends.is_some() && !exchange.left.is_empty();
    assert!(!end.end.exchanges().iter().any(waits), "a body waits though there are windows for it");
}

/// Whether a task was woken since it was polled.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A task that can be woken.
#[derive(Clone, Default)]
struct Task(Arc<Woken>);

impl Task {
    fn waker(&self) -> Waker {
        self.0.0.store(false, Ordering::Relaxed);
        Waker::from(self.0.clone())
    }

    fn is_woken(&self) -> bool {
        self.0.0.load(Ordering::Relaxed)
    }
}

/// What is between the two ends.
#[derive(Clone)]
struct Pipe(Rc<RefCell<Bytewise>>);

#[derive(Default)]
struct Bytewise {
    incoming: BytesMut,
    is_over: bool,
    written: Vec<u8>,
    /// Bytes that are taken at a time; 0: none at all.
    takes: usize,
}

impl Bytewise {
    fn arrives(&mut self, bytes: &[u8]) {
        self.incoming.extend_from_slice(bytes);
    }
}

impl Wire for Pipe {
    fn poll_fill(&mut self, _: &mut Context<'_>, buf: &mut BytesMut, room: usize) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        let n = room.min(pipe.incoming.len());
        if n == 0 && !pipe.is_over {
            return Poll::Pending;
        }
        buf.extend_from_slice(&pipe.incoming.split_to(n));
        Poll::Ready(Ok(n))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut pipe = self.0.borrow_mut();
        let mut left = pipe.takes;
        for buf in bufs {
            let n = buf.len().min(left);
            pipe.written.extend_from_slice(&buf[..n]);
            left -= n;
        }
        match pipe.takes - left {
            0 => Poll::Pending,
            n => Poll::Ready(Ok(n)),
        }
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The end that is tried, and the task that drives it.
struct Driven {
    end: End,
    task: Task,
}

/// The end itself, and what uses it.
enum End {
    Server(server::Connection<Pipe>, Vec<Exchange>),
    Client(client::Connection<Pipe>, client::SendRequest, Vec<Exchange>),
}

/// A stream in use.
#[derive(Default)]
struct Exchange {
    answer: Option<ResponseFuture>,
    respond: Option<SendResponse>,
    reads: Option<RecvStream>,
    sends: Option<SendStream>,
    left: Bytes,
    task: Task,
}

impl End {
    fn server(pipe: &Pipe) -> End {
        End::Server(server::Connection::new(pipe.clone(), SETTINGS), Vec::new())
    }

    fn client(pipe: &Pipe) -> End {
        let (sender, connection) = client::connect(pipe.clone(), SETTINGS);
        End::Client(connection, sender, Vec::new())
    }

    fn exchanges(&mut self) -> &mut Vec<Exchange> {
        let (End::Server(_, exchanges) | End::Client(_, _, exchanges)) = self;
        exchanges
    }
}

impl Driven {
    /// Whether the connection is over.
    fn poll(&mut self) -> bool {
        let waker = self.task.waker();
        let mut cx = Context::from_waker(&waker);
        match &mut self.end {
            End::Server(connection, exchanges) => {
                let polled = connection.poll(&mut cx);
                while let Some((_, body, respond)) = connection.accept() {
                    let reads = Some(body);
                    exchanges.push(Exchange { respond: Some(respond), reads, ..Exchange::default() });
                }
                polled.is_ready()
            }
            End::Client(connection, ..) => Pin::new(connection).poll(&mut cx).is_ready(),
        }
    }

    fn goes_on(&mut self, input: &mut Input<'_>) {
        for _ in 0..TURNS / 4 {
            if self.poll() {
                return;
            }
            if let End::Client(_, sender, exchanges) = &mut self.end
                && sender.has_room()
                && exchanges.len() < 4
            {
                let uri = "http://x/a".parse().expect("a URI");
                let no_body = input.flag();
                if let Ok((answer, sends)) =
                    sender.send_request(&Method::POST, &uri, &HeaderMap::new(), no_body)
                {
                    let (answer, sends) = (Some(answer), (!no_body).then_some(sends));
                    let left = Bytes::from_static(&[3; 30_000]);
                    exchanges.push(Exchange { answer, sends, left, ..Exchange::default() });
                }
            }
            for exchange in self.end.exchanges() {
                exchange.goes_on(input);
            }
        }
    }

    /// Whether the connection is over. Something has arrived for it; beyond that nobody is polled who was not woken.
    fn drains(&mut self) -> bool {
        for _ in 0..1_000 {
            if self.poll() {
                return true;
            }
            while let Some(exchange) =
                self.end.exchanges().iter_mut().find(|exchange| exchange.task.is_woken())
            {
                exchange.drains();
            }
            if !self.task.is_woken() {
                return false;
            }
        }
        panic!("the connection's task is woken again and again");
    }
}

impl Exchange {
    fn goes_on(&mut self, input: &mut Input<'_>) {
        let waker = self.task.waker();
        let mut cx = Context::from_waker(&waker);
        let does = input.below(6);
        match does {
            0 => self.reads = None,
            1 => {
                if let Some(sends) = &mut self.sends {
                    sends.send_reset(Reason(8));
                }
            }
            2 => self.respond = None,
            _ => {}
        }
        if let Some(answer) = &mut self.answer
            && let Poll::Ready(done) = Pin::new(answer).poll(&mut cx)
        {
            self.answer = None;
            self.reads = done.ok().map(http::Response::into_body);
        }
        if does > 3
            && let Some(reads) = &mut self.reads
        {
            let before = reads.unread_bytes();
            if let Poll::Ready(Some(Ok(frame))) = reads.poll_frame(&cx)
                && let Ok(data) = frame.into_data()
            {
                assert!(!data.is_empty());
                assert_eq!(reads.unread_bytes() + data.len(), before);
            }
        }
        if does == 3
            && let Some(respond) = self.respond.take()
        {
            let end = input.flag();
            self.left = Bytes::from_static(&[5; 30_000]);
            let sends = respond.send_response(StatusCode::OK, &trailers(), end).ok();
            self.sends = sends.filter(|_| !end);
        }
        self.sends(input, &cx);
    }

    /// Sends what is left as far as it may.
    fn drains(&mut self) {
        let waker = self.task.waker();
        let cx = Context::from_waker(&waker);
        while let Some(sends) = &mut self.sends
            && !self.left.is_empty()
        {
            match sends.poll_send(&cx, &mut self.left, false) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.sends = None,
                Poll::Pending => return,
            }
        }
    }

    fn sends(&mut self, input: &mut Input<'_>, cx: &Context<'_>) {
        let Some(sends) = &mut self.sends else { return };
        if self.left.is_empty() {
            let _ = if input.flag() { sends.send_trailers(&trailers()) } else { sends.send_end() };
            self.sends = None;
            return;
        }
        let before = self.left.len();
        let with_end = input.flag();
        match sends.poll_send(cx, &mut self.left, with_end) {
            Poll::Ready(Ok(())) => assert!(self.left.len() < before),
            Poll::Ready(Err(_)) => self.sends = None,
            Poll::Pending => assert_eq!(self.left.len(), before),
        }
        if with_end && self.left.is_empty() {
            self.sends = None;
        }
    }
}

fn trailers() -> HeaderMap {
    [(http::header::VIA, HeaderValue::from_static("2 x"))].into_iter().collect()
}

/// How far a stream is, by what was written on it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Head,
    Body,
    Ended,
    Reset,
}

/// Looks at what the end that is tried writes.
struct Watch {
    is_server: bool,
    at: usize,
    decoder: Decoder,
    streams: BTreeMap<u32, (Phase, u64)>,
    /// What the peer has given: the largest window at the start, for all streams, and for each. No stream is there
    /// before its first SETTINGS.
    start: Option<u64>,
    all: u64,
    each: BTreeMap<u32, u64>,
    sent: u64,
    /// Streams that the peer has opened, or may have.
    opened: u32,
    last_goodbye: u32,
}

impl Watch {
    fn new(is_server: bool) -> Watch {
        Watch {
            is_server,
            at: if is_server { 0 } else { PREFACE.len() },
            decoder: Decoder::new(frame::DEFAULT_TABLE_SIZE as usize),
            streams: BTreeMap::new(),
            start: None,
            all: 65_535,
            each: BTreeMap::new(),
            sent: 0,
            opened: 0,
            last_goodbye: u32::MAX,
        }
    }

    /// What the peer sends.
    fn gives(&mut self, bytes: &[u8]) {
        let Some((head, payload)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return };
        let head = FrameHead::parse(head);
        match head.kind {
            kind::HEADERS => self.opened = self.opened.max(head.stream),
            kind::WINDOW_UPDATE => {
                let by = u64::from(frame::window_update(head, payload).unwrap_or(0));
                let window =
                    if head.stream == 0 { &mut self.all } else { self.each.entry(head.stream).or_default() };
                *window += by;
            }
            kind::SETTINGS => {
                if let Ok(frame::Settings::Values(values)) = frame::settings(head, payload) {
                    let windows = values.filter(|(id, _)| *id == setting::INITIAL_WINDOW_SIZE);
                    let most = windows.map(|(_, window)| u64::from(window)).max().or(self.start);
                    self.start = most.max(self.start).or(Some(65_535));
                }
            }
            _ => {}
        }
    }

    /// What was written to here, as far as it is new and whole.
    fn looks_at(&mut self, written: &[u8]) {
        while let Some((head, behind)) = written.get(self.at..).and_then(|rest| rest.split_first_chunk()) {
            let head = FrameHead::parse(head);
            let Some(payload) = behind.get(..head.length as usize) else { return };
            self.frame(head, payload);
            self.at += HEAD_BYTES + payload.len();
        }
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8]) {
        assert!(head.length <= frame::MOST_MAX_FRAME_SIZE);
        let stream = head.stream;
        let known = self.streams.get(&stream).copied();
        if self.is_server && stream != 0 {
            assert!(stream % 2 == 1 && stream <= self.opened, "a frame on {stream}, which is idle");
        }
        let (phase, sent) = known.unwrap_or((Phase::Head, 0));
        let ends = if head.has(flag::END_STREAM) { Phase::Ended } else { Phase::Body };
        let mut becomes = |phase: Phase, sent: u64| {
            self.streams.insert(stream, (phase, sent));
        };
        match head.kind {
            kind::DATA => {
                assert_eq!(phase, Phase::Body, "DATA on {stream}");
                let sent = sent + payload.len() as u64;
                becomes(ends, sent);
                self.sent += payload.len() as u64;
                let window = self.start.unwrap_or(0) + self.each.get(&stream).copied().unwrap_or(0);
                assert!(sent <= window && self.sent <= self.all, "{sent} of {window} on {stream}");
            }
            kind::HEADERS => {
                assert!(head.has(flag::END_HEADERS));
                match phase {
                    Phase::Head if self.is_server => {
                        assert!(self.decoder.response(payload, 1 << 20).is_ok(), "{payload:x?}");
                    }
                    Phase::Head => assert!(self.decoder.request(payload, 1 << 20).is_ok(), "{payload:x?}"),
                    Phase::Body => {
                        assert!(self.decoder.response_trailers(payload, 1 << 20).is_ok(), "{payload:x?}");
                        assert_eq!(ends, Phase::Ended, "trailers end their stream");
                    }
                    Phase::Ended | Phase::Reset => panic!("HEADERS on {stream}, {phase:?}"),
                }
                self.streams.insert(stream, (ends, sent));
            }
            kind::RST_STREAM => {
                assert!(self.is_server || known.is_some(), "a reset of {stream}, which is idle");
                becomes(Phase::Reset, sent);
            }
            kind::WINDOW_UPDATE => {
                assert!(frame::window_update(head, payload).is_ok());
                assert_ne!(phase, Phase::Reset, "a window of {stream}");
            }
            kind::GOAWAY => {
                let last = frame::goaway(head, payload).expect("well-formed").last_stream;
                assert!(last <= self.last_goodbye);
                self.last_goodbye = last;
            }
            kind::SETTINGS => assert!(frame::settings(head, payload).is_ok()),
            kind::PING => assert!(frame::ping(head, payload).is_ok()),
            other => panic!("a frame of kind {other}"),
        }
    }
}
