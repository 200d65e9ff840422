//! HTTP/2 connections to one endpoint: many streams each, counted by us, another connection when one is full.
//!
//! On our own engine: the number of unread bytes of each stream is known, a stream can be given up from outside, and a
//! request costs no hand-over to another task. `ARCHITECTURE.md` has the reasons.
//!
//! Law: no stream is queued inside the engine; the streams that we count on a connection never pass
//! `min(MAX_STREAMS, the peer's limit)`. Dialling is single-flight: while one dial runs, everybody waits for it. A
//! connection whose server takes nothing any more ends, and counts until it has.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared as SharedFuture};
use http::request::Parts;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::breaker::Limit;
use super::pool::{Bounds, NoConnection, Shared};
use crate::message::http2::client::{self, ResponseFuture, SendRequest};
use crate::message::http2::{Error, SendStream, Settings, Tally};
use crate::runtime::clock::{self, Tick};
use crate::transport::activity::Activity;
use crate::transport::dial::DialError;
use crate::transport::io::Io;

/// Streams on one connection, whatever more the peer would take: beyond it one TCP connection is the bottleneck.
const MAX_STREAMS: usize = 100;
/// The peer left, or speaks something else, before its SETTINGS.
const NOT_HTTP2: DialError = DialError::Failed(std::io::ErrorKind::ConnectionReset);
/// What one response may send ahead of its reader.
const STREAM_WINDOW: u32 = 64 << 10;
const STREAM_WINDOW_MOST: u32 = 256 << 10;
/// Never the bound: a shared window would let one caller's unread streams stop everybody's bodies.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;
/// Bytes of requests that wait to be written, beyond which no further body is taken: what one turn of a caller's
/// connection brings then leaves in one system call.
const OUT_FULL: usize = 112 << 10;
/// Bytes of a response head.
const RESPONSE_HEAD_BYTES: u32 = 60 << 10;
/// A stream that ends after so long, and its connection has brought no byte for as long: the peer may be gone without
/// a word, and TCP would take minutes to say so. A peer that is only slow loses nothing but new streams.
const SILENT: Duration = Duration::from_secs(1);
/// Dials of one request that gave a connection which was over, as a server that restarts may greet with GOAWAY.
const FRUITLESS_DIALS: usize = 3;
/// Streams that we reset and that are remembered. A frame on one that is forgotten counts as the upstream's fault, and
/// 1,024 of these end the connection: answers that cross our cancellations would add up to that.
const REMEMBERED_RESETS: usize = 2_048;
/// Interim answers (1xx) before the answer: more than a server has reason to send, and it could go on for ever.
const INTERIM_ANSWERS: u8 = 16;

/// See the module.
#[derive(Debug)]
pub struct Http2Pool {
    shared: Rc<Shared>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    connections: RefCell<Vec<Rc<Connection>>>,
    dial: RefCell<Option<Dial>>,
    /// Connections that are no longer in the list, and whose servers do not take the rest of what was sent.
    untaken: Cell<usize>,
    /// Told when a stream ended or a connection did.
    changed: Notify,
}

type Dial = SharedFuture<LocalBoxFuture<'static, Result<(), DialError>>>;

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("connections", &self.connections.borrow().len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest,
    streams: Cell<usize>,
    idle_since: Cell<Tick>,
    /// Takes no new stream: it ended, the peer said goodbye, or nothing is heard of it.
    retired: Cell<bool>,
    activity: Rc<Activity>,
    local: Option<SocketAddr>,
    /// Streams that may be open at once, if the peer allows as many.
    most: usize,
    /// What bounds its use, where anything does.
    bounds: Option<Box<Bounds>>,
    /// What had been read, and since when no more has come: as the last sweep saw it.
    heard: Cell<(u64, Tick)>,
}

/// Room for one stream on a connection; held for as long as the stream lives.
#[derive(Debug)]
pub struct Http2Lease {
    connection: Rc<Connection>,
    state: Rc<State>,
    since: Tick,
}

impl Http2Pool {
    pub(super) fn new(shared: Rc<Shared>) -> Http2Pool {
        Http2Pool { shared, state: Rc::default() }
    }

    pub(super) fn sweep(&self, now: Tick) {
        let limit = self.shared.idle.get().http2;
        self.state.connections.borrow_mut().retain(|connection| {
            let read = connection.activity.bytes_read();
            if read != connection.heard.get().0 {
                connection.heard.set((read, now));
            }
            let idle = connection.streams.get() == 0 && now.age_since(connection.idle_since.get()) > limit;
            if idle {
                self.shared.meter.cx_idle_timeout.increment(1);
            }
            if connection.bounds.as_ref().is_some_and(|bounds| bounds.is_old(now)) {
                connection.retired.set(true);
            }
            !idle && !connection.retired.get()
        });
    }

    /// Connections open for new streams.
    pub fn connections(&self) -> usize {
        self.state.connections.borrow().len()
    }

    /// Room for a stream: on a connection that has some, else on a new one, else (at the limit) on the first that has.
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn acquire(&self) -> Result<Http2Lease, NoConnection> {
        if let Some(lease) = self.take_room() {
            return Ok(lease);
        }
        let _waiting = self.shared.permit_to_wait()?;
        let mut fruitless = 0;
        loop {
            let changed = self.state.changed.notified();
            // Without a bound the request would dial as fast as it can, for as long as it lasts.
            if fruitless == FRUITLESS_DIALS {
                return Err(NoConnection::Dial(NOT_HTTP2));
            }
            match self.dial() {
                Some(dial) => {
                    dial.await.map_err(NoConnection::Dial)?;
                    fruitless += 1;
                }
                None if self.shared.cluster().breakers.of(Limit::Connections).limit() == 0 => {
                    return Err(NoConnection::Overflow(Limit::Connections));
                }
                None => changed.await,
            }
            if let Some(lease) = self.take_room() {
                return Ok(lease);
            }
            // Connections that others have filled are no reason to give up.
            if self.connections() > 0 {
                fruitless = 0;
            }
        }
    }

    fn take_room(&self) -> Option<Http2Lease> {
        let mut connections = self.state.connections.borrow_mut();
        connections.retain(|connection| connection.is_open());
        let connection = connections.iter().find(|connection| connection.has_room())?;
        connection.streams.set(connection.streams.get() + 1);
        if let Some(bounds) = &connection.bounds
            && bounds.count()
        {
            connection.retired.set(true);
        }
        Some(Http2Lease { connection: connection.clone(), state: self.state.clone(), since: clock::now() })
    }

    /// The dial that runs, or a new one; `None` at the limit of connections.
    fn dial(&self) -> Option<Dial> {
        let mut running = self.state.dial.borrow_mut();
        if let Some(dial) = &*running {
            return Some(dial.clone());
        }
        let has_one = !self.state.connections.borrow().is_empty() || self.state.untaken.get() > 0;
        let permit = self.shared.permit_to_open(has_one)?;
        let (shared, state) = (self.shared.clone(), self.state.clone());
        let dial = async move {
            let opened = connect(&shared, &state, permit).await;
            state.dial.borrow_mut().take();
            opened
        };
        let dial = dial.boxed_local().shared();
        *running = Some(dial.clone());
        // On a task of its own: the caller that began it may leave, and the others still wait.
        spawn_local(dial.clone());
        Some(dial)
    }
}

async fn connect(
    shared: &Rc<Shared>,
    state: &Rc<State>,
    permit: super::breaker::Permit,
) -> Result<(), DialError> {
    let (io, open) = shared.open(permit).await?;
    let (activity, local) = (io.activity().clone(), io.local());
    let patience = shared.cluster().config.connect_timeout;
    let settings = Settings {
        stream_window: STREAM_WINDOW,
        stream_window_most: STREAM_WINDOW_MOST,
        connection_window: CONNECTION_WINDOW,
        out_full: OUT_FULL,
        max_header_list: RESPONSE_HEAD_BYTES,
        remembered_resets: REMEMBERED_RESETS,
        interim_answers: INTERIM_ANSWERS,
        untaken: patience,
        ..Settings::default()
    };
    let (sender, mut connection) = client::connect(io, settings);
    let settled = match timeout(patience, settled(&mut connection, &sender)).await {
        Ok(settled) => settled,
        Err(_) => Err(DialError::Timeout),
    };
    settled.inspect_err(|&error| shared.note_dial_failure(error))?;
    shared.meter.cx_http2_total.increment(1);
    let cluster = shared.cluster();
    let most = cluster.config.traffic.as_ref().and_then(|traffic| traffic.streams_per_connection);
    let entry = Rc::new(Connection {
        most: most.map_or(MAX_STREAMS, |most| MAX_STREAMS.min(most as usize).max(1)),
        bounds: Bounds::new(&cluster),
        sender,
        streams: Cell::new(0),
        idle_since: Cell::new(clock::now()),
        retired: Cell::new(false),
        activity,
        local,
        heard: Cell::new((0, clock::now())),
    });
    state.connections.borrow_mut().push(entry.clone());
    // The task must not keep the sender alive, itself or by the list it stands in: when the pool goes, idle
    // connections end.
    let (state, entry) = (Rc::downgrade(state), Rc::downgrade(&entry));
    spawn_local(async move {
        let mut counts_untaken = false;
        poll_fn(|cx| {
            let over = Pin::new(&mut connection).poll(cx);
            if connection.is_untaken()
                && !counts_untaken
                && let Some(state) = state.upgrade()
            {
                counts_untaken = true;
                state.untaken.set(state.untaken.get() + 1);
            }
            if connection.has_room_again()
                && let Some(state) = state.upgrade()
            {
                state.changed.notify_waiters();
            }
            over.map(drop)
        })
        .await;
        drop((open, connection));
        if let Some(entry) = entry.upgrade() {
            entry.retired.set(true);
        }
        if let Some(state) = state.upgrade() {
            state.connections.borrow_mut().retain(|connection| !connection.retired.get());
            state.untaken.set(state.untaken.get() - usize::from(counts_untaken));
            state.changed.notify_waiters();
        }
    });
    Ok(())
}

/// Waits until the peer's SETTINGS allow a stream: those opened before would be refused.
async fn settled(connection: &mut client::Connection<Io>, sender: &SendRequest) -> Result<(), DialError> {
    poll_fn(|cx| match Pin::new(&mut *connection).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Err(NOT_HTTP2)),
        Poll::Pending if sender.max_streams().unwrap_or(0) == 0 => Poll::Pending,
        Poll::Pending => Poll::Ready(Ok(())),
    })
    .await
}

impl Connection {
    /// Whether new streams may be opened; the engine knows of a GOAWAY before the connection ends.
    fn is_open(&self) -> bool {
        !self.retired.get() && self.sender.is_open()
    }

    /// Room by our count, which still holds streams that are to be reset, and by the engine's.
    fn has_room(&self) -> bool {
        self.streams.get() < self.most.min(self.sender.max_streams().unwrap_or(0) as usize)
            && self.sender.has_room()
    }
}

impl Http2Lease {
    /// The connection's own address; of a Unix-domain socket there is none.
    pub fn local(&self) -> Option<SocketAddr> {
        self.connection.local
    }

    /// Counts what the stream that is opened next sends and receives.
    pub fn tally(&self) -> Rc<Tally> {
        self.connection.sender.tally()
    }

    /// Opens the stream.
    ///
    /// # Errors
    /// The engine's, and nothing was sent: the connection takes no new stream, or the request cannot be put on a wire.
    pub fn send(&self, head: &Parts, end_of_stream: bool) -> Result<(ResponseFuture, SendStream), Error> {
        let sent = self.connection.sender.send_request(&head.method, &head.uri, &head.headers, end_of_stream);
        // Errors of the connection retire it; one of the request itself (no wire form) does not.
        if sent.as_ref().is_err_and(|error| *error != Error::Unsendable) {
            self.retire();
        }
        sent
    }

    /// No new stream goes over this connection: the peer said goodbye or broke the protocol.
    pub fn retire(&self) {
        self.connection.retired.set(true);
    }
}

impl Drop for Http2Lease {
    fn drop(&mut self) {
        let (now, (read, heard)) = (clock::now(), self.connection.heard.get());
        let silent = self.connection.activity.bytes_read() == read && now.since(heard) > SILENT;
        if silent && now.since(self.since) > SILENT {
            self.retire();
        }
        self.connection.streams.set(self.connection.streams.get() - 1);
        self.connection.idle_since.set(clock::now());
        self.state.changed.notify_one();
    }
}
