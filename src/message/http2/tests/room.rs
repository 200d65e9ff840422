//! Room for what is to be sent: who waits for it is let in when it is there, whoever else has left.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::pipe::{Pipe, run, turns};
use crate::message::http2::client;
use crate::message::http2::core::{Core, QUANTUM, Role, Settings, Shared};
use crate::message::http2::error::{By, Error};
use crate::message::http2::frame::{FrameHead, HEAD_BYTES, Reason, flag, kind};
use crate::message::http2::handles::{Handle, SendStream};

/// How often it was woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Woken>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Woken {
    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

fn bytes_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = FrameHead { length: payload.len() as u32, kind, flags, stream };
    [&head.bytes()[..], payload].concat()
}

fn fed(core: &Shared, bytes: &[u8]) {
    core.borrow_mut().receive(&mut BytesMut::from(bytes)).expect("in order");
}

/// The connection's task: it writes all, and sleeps.
fn turn(core: &Shared, task: &Arc<Woken>) {
    let waker = Waker::from(task.clone());
    let mut core = core.borrow_mut();
    core.begin_turn(&Context::from_waker(&waker));
    let all = core.out.len();
    core.out.advance(all);
    core.end_turn();
}

/// An upload, on whose stream there is another handle, as that of the answer is.
fn upload(core: &Shared) -> (SendStream, Handle) {
    let uri = Uri::from_static("http://x/");
    let place =
        core.borrow_mut().send_request(&Method::POST, &uri, &HeaderMap::new(), false).expect("a stream");
    core.borrow_mut().streams[place].handles = 2;
    (SendStream(Handle::counted(core.clone(), place)), Handle::counted(core.clone(), place))
}

/// How much of `n` bytes it sends at once.
fn send(stream: &mut SendStream, woken: &Arc<Woken>, n: usize) -> usize {
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    let mut body = Bytes::from(vec![1; n]);
    while stream.poll_send(&cx, &mut body, false).is_ready() && !body.is_empty() {}
    n - body.len()
}

/// Uploads whose callers leave: before room is kept for them, and behind it. Their streams are still there.
#[test]
fn uploads_that_are_dropped_in_line_leave_their_room_to_the_next() {
    for kept in [false, true] {
        let core = Rc::new(RefCell::new(Core::new(Role::Client, Settings::default())));
        fed(&core, &bytes_of(kind::SETTINGS, 0, 0, &[]));
        let (task, nobody, sixth) = (Arc::<Woken>::default(), Arc::default(), Arc::<Woken>::default());
        let mut large = upload(&core);
        assert_eq!(send(&mut large.0, &nobody, 100_000), 65_535, "the connection's window");
        let mut five: Vec<_> = (0..5).map(|_| upload(&core)).collect();
        for (stream, _) in &mut five {
            assert_eq!(send(stream, &nobody, 100_000), 0);
        }
        let mut last = upload(&core);
        assert_eq!(send(&mut last.0, &sixth, 100_000), 0);
        turn(&core, &task);
        let more = bytes_of(kind::WINDOW_UPDATE, 0, 0, &(5 * QUANTUM as u32).to_be_bytes());
        if kept {
            fed(&core, &more);
            turn(&core, &task);
            assert_eq!((core.borrow().granted, sixth.times()), (5 * QUANTUM, 0), "five are let in");
        }
        let before = task.times();
        let answers: Vec<Handle> = five.into_iter().map(|(_, answer)| answer).collect();
        if kept {
            assert_eq!((core.borrow().granted, task.times()), (0, before + 1), "it is woken once");
        } else {
            assert_eq!(core.borrow().waiting.len(), 1);
            fed(&core, &more);
        }
        turn(&core, &task);
        assert_eq!(sixth.times(), 1);
        assert_eq!(send(&mut last.0, &sixth, 100_000), 65_535, "its own window");
        assert_eq!(core.borrow().granted, 0);
        drop(answers);
    }
}

/// Requests of callers that leave fill what waits to be written; the next one waits, until the server reads on.
#[test]
fn a_request_that_waits_for_what_is_unsent_goes_on_when_that_has_left() {
    run(async || {
        let (here, mut there) = tokio::io::duplex(1 << 10);
        there.write_all(&bytes_of(kind::SETTINGS, 0, 0, &[])).await.expect("taken");
        let (sender, mut connection) = client::connect(Pipe::over(here, 1 << 10), Settings::default());
        let again = Rc::new(Notify::new());
        let tell = again.clone();
        let task = spawn_local(std::future::poll_fn(move |cx| {
            let polled = std::pin::Pin::new(&mut connection).poll(cx).map(drop);
            if connection.has_room_again() {
                tell.notify_waiters();
            }
            polled
        }));
        turns().await;
        assert!(sender.has_room());
        let mut fields = HeaderMap::new();
        let large = HeaderValue::from_bytes(&[b'a'; 8 << 10]).expect("a value");
        fields.insert("x-large", large);
        let mut sent = 0;
        while sender.has_room() {
            let uri = Uri::from_static("http://x/");
            sender.send_request(&Method::GET, &uri, &fields, true).expect("a stream");
            sent += 1;
            assert!(sent <= 256, "nothing bounds what is not sent");
            turns().await;
        }
        assert!(sent > 100, "{sent}");
        turns().await;
        assert!(!sender.has_room(), "the server has read nothing");
        let mut waits = Box::pin(again.notified());
        waits.as_mut().enable();
        let mut read = [0; 1 << 10];
        let mut bytes = 0;
        let reads = async {
            loop {
                bytes += there.read(&mut read).await.expect("requests");
            }
        };
        tokio::select! {
            () = waits => {}
            () = reads => {}
        }
        assert!(sender.has_room());
        // It is told as soon as there is room, not when all has left.
        assert!(bytes < 64 << 10, "{bytes}");
        drop(task);
    });
}

/// Whatever is left for a server that takes nothing: requests of callers that have left, or the word that it was wrong.
#[test]
fn a_connection_that_is_done_does_not_wait_for_a_server_that_takes_nothing() {
    run(async || {
        for breaks in [false, true] {
            let (here, mut there) = tokio::io::duplex(1 << 10);
            there.write_all(&bytes_of(kind::SETTINGS, 0, 0, &[])).await.expect("taken");
            let settings = Settings { untaken: Duration::from_millis(20), ..Settings::default() };
            let (sender, mut connection) = client::connect(Pipe::over(here, 1 << 10), settings);
            let seen = Rc::new(Cell::new(false));
            let tell = seen.clone();
            let task = spawn_local(std::future::poll_fn(move |cx| {
                let polled = std::pin::Pin::new(&mut connection).poll(cx);
                tell.set(connection.is_untaken());
                polled
            }));
            turns().await;
            let mut fields = HeaderMap::new();
            fields.insert("x-large", HeaderValue::from_bytes(&[b'a'; 8 << 10]).expect("a value"));
            let uri = Uri::from_static("http://x/");
            let stream = sender.send_request(&Method::GET, &uri, &fields, true).expect("a stream");
            turns().await;
            assert!(!task.is_finished() && !seen.get(), "a stream is open");
            if breaks {
                there.write_all(&bytes_of(kind::DATA, 0, 0, b"")).await.expect("taken");
            } else {
                drop(sender);
                drop(stream);
            }
            turns().await;
            assert!(seen.get());
            assert!(task.await.expect("a result").is_err());
        }
    });
}

/// The last stream is said once; an error behind it still is said.
#[test]
fn a_server_that_leaves_says_its_last_word_once() {
    for (why, expected) in [(Reason::NO_ERROR, 2), (Reason::PROTOCOL_ERROR, 3)] {
        let core = Rc::new(RefCell::new(Core::new(Role::Server, Settings::default())));
        fed(&core, &bytes_of(kind::SETTINGS, 0, 0, &[]));
        core.borrow_mut().leave();
        fed(&core, &bytes_of(kind::PING, flag::ACK, 0, b"leaving!"));
        core.borrow_mut().fail(Error::GoAway(why, By::User));
        let core = core.borrow();
        let mut rest = core.out.single().expect("in one piece");
        let mut said = 0;
        while let Some((head, more)) = rest.split_at_checked(HEAD_BYTES) {
            let [a, b, c, of, ..] = *head else { unreachable!() };
            said += usize::from(of == kind::GOAWAY);
            rest = &more[u32::from_be_bytes([0, a, b, c]) as usize..];
        }
        assert_eq!(said, expected, "{why:?}");
    }
}
