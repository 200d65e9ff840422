//! The acceptor: takes connections off one listening socket and hands each to the least loaded worker.
//!
//! Law: it runs on the control thread, holds at most one connection of its own, and never spins: out of
//! descriptors or of room it sleeps and looks again.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::listen::{Accepted, Listening};

/// Pause when the process has no descriptor or no room for another connection.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// How long an acceptor that was stopped goes on: what waits in the kernel's queue would be reset with the socket.
const LAST_CALL: Duration = Duration::from_millis(5);

/// How busy a worker is, kept by the worker and its connections, read by the acceptors.
#[derive(Debug, Default)]
pub struct Load {
    connections: AtomicUsize,
    streams: AtomicUsize,
}

impl Load {
    /// Counts a connection until the guard is dropped.
    pub fn connection(self: &Arc<Load>) -> ConnectionSlot {
        self.connections.fetch_add(1, Ordering::Relaxed);
        ConnectionSlot { load: self.clone() }
    }

    /// A stream was opened.
    pub fn open_stream(&self) {
        self.streams.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream ended.
    pub fn close_stream(&self) {
        self.streams.fetch_sub(1, Ordering::Relaxed);
    }

    /// Connections held now.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Streams open now.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }
}

/// A connection that counts as long as this lives, from the hand-over on.
#[derive(Debug)]
pub struct ConnectionSlot {
    load: Arc<Load>,
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.load.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a worker takes connections from, wrapped as its messages `T`.
#[derive(Debug)]
pub struct Seat<T> {
    /// How busy the worker is.
    pub load: Arc<Load>,
    /// Its queue.
    pub queue: mpsc::Sender<T>,
}

impl<T> Clone for Seat<T> {
    fn clone(&self) -> Seat<T> {
        Seat { load: self.load.clone(), queue: self.queue.clone() }
    }
}

/// Accepts until `stop` is done, and then what the kernel has taken in by then. `wrap` makes the hand-over;
/// `may_accept` says whether there is room.
///
/// A connection that was accepted is always handed over: `stop` is looked at between connections.
pub async fn run<T>(
    listening: &Listening,
    seats: &[Seat<T>],
    may_accept: impl Fn() -> bool,
    wrap: impl Fn(Accepted, ConnectionSlot) -> T,
    stop: impl Future<Output = ()>,
) {
    let stop = stop.then(|()| sleep(LAST_CALL));
    tokio::pin!(stop);
    loop {
        let next = async {
            while !may_accept() {
                sleep(FULL_PAUSE).await;
            }
            listening.accept().await
        };
        let accepted = tokio::select! {
            biased;
            accepted = next => accepted,
            () = &mut stop => return,
        };
        match accepted {
            Ok(connection) => hand_over(seats, connection, &wrap).await,
            Err(error) if is_of_the_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "accepting pauses");
                sleep(FULL_PAUSE).await;
            }
        }
    }
}

async fn hand_over<T>(
    seats: &[Seat<T>],
    connection: Accepted,
    wrap: &impl Fn(Accepted, ConnectionSlot) -> T,
) {
    let Some(seat) = seats.iter().min_by_key(|seat| (seat.load.streams(), seat.load.connections())) else {
        return;
    };
    let slot = seat.load.connection();
    // A full queue means that the worker is stuck; waiting here is the backpressure. A closed one: it is leaving.
    if seat.queue.send(wrap(connection, slot)).await.is_err() {
        tracing::debug!("a worker left while a connection was handed to it");
    }
}

/// Errors that concern one connection which died in the queue, not the socket.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, InvalidInput, NotConnected,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | NotConnected | InvalidInput
    )
}
