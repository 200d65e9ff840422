//! HTTP/1 connections to one endpoint: one request at a time each, the last used is used next.
//!
//! The engine is ours, without a task or a channel for a connection: a request's own task writes and reads it.
//!
//! Law: a connection comes back only when the request was written whole, the answer ended by its framing, both sides
//! keep the connection, and nothing more came; any other is closed at once. One on which anything came while it was
//! idle is never used again.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::breaker::Limit;
use super::pool::{Bounds, NoConnection, Shared};
use crate::message::body::{Body, BodyError};
use crate::runtime::clock::{self, Tick};
use crate::transport::activity::Activity;
use crate::transport::io::Io;
use connection::Connection;

mod connection;
mod round_trip;
mod sending;
#[cfg(test)]
mod tests;

/// A request that cannot be sent again takes no connection that has been idle for longer: the upstream may be
/// closing it at this moment, and the loss could not be mended.
const FRESH: Duration = Duration::from_secs(1);
/// What is read at once of a long body: at 256 KiB a large body costs 3 % less CPU and half as much memory again.
const READ_BUFFER: usize = 128 << 10;
/// The same where an endpoint has many connections: a caller that does not read holds two of them.
const SMALL_READ_BUFFER: usize = 32 << 10;
const MANY: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Http1Pool {
    shared: Rc<Shared>,
    idle: Rc<RefCell<Vec<Idle>>>,
    /// Connections, from their dial on: those that are on their way count, or a burst would pass every limit.
    open: Rc<Cell<usize>>,
    /// Told when a connection came back or ended.
    changed: Rc<Notify>,
}

#[derive(Debug)]
struct Idle {
    connection: Rc<Connection>,
    since: Tick,
}

/// One of the worker's connections to the endpoint, counted from its dial on; its end is told to one that waits.
#[derive(Debug)]
struct Counted {
    count: Rc<Cell<usize>>,
    changed: Rc<Notify>,
}

impl Counted {
    fn new(count: &Rc<Cell<usize>>, changed: &Rc<Notify>) -> Counted {
        count.set(count.get() + 1);
        Counted { count: count.clone(), changed: changed.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.set(self.count.get() - 1);
        self.changed.notify_one();
    }
}

/// A connection on loan for one request. Dropped, it closes: nobody waits for what is still on its way.
#[derive(Debug)]
pub struct Http1Lease {
    connection: Rc<Connection>,
    idle: Rc<RefCell<Vec<Idle>>>,
    changed: Rc<Notify>,
    /// The rest of a request whose answer began before its end.
    upload: Option<AbortHandle>,
    given_back: bool,
}

/// Why a request has no answer.
#[derive(Debug)]
pub enum SendError {
    /// None of it was written: the connection had ended.
    Unsent,
    /// The upstream closed or reset the connection before the head of its answer.
    Closed,
    /// The answer's head has no reading, or none that anybody asked for.
    Unreadable,
    /// The request's own body broke off.
    Upload(BodyError),
}

impl Http1Pool {
    pub(super) fn new(shared: Rc<Shared>) -> Http1Pool {
        Http1Pool { shared, idle: Rc::default(), open: Rc::default(), changed: Rc::default() }
    }

    pub(super) fn sweep(&self, now: Tick) {
        let limit = self.shared.idle.get().http1;
        let mut timed_out = 0;
        self.idle.borrow_mut().retain(|idle| {
            let late = now.age_since(idle.since) > limit;
            timed_out += u64::from(late);
            !late && !idle.connection.is_old(now) && idle.connection.is_quiet()
        });
        // Asking for a meter makes its series, which is for those who have something to count.
        if timed_out > 0 {
            self.shared.meter.cx_idle_timeout.increment(timed_out);
        }
    }

    fn lend(&self, connection: Rc<Connection>) -> Http1Lease {
        let (idle, changed) = (self.idle.clone(), self.changed.clone());
        Http1Lease { connection, idle, changed, upload: None, given_back: false }
    }

    /// The connection used last, if one is fit. `must_be_fresh`: the request cannot be sent again.
    fn take_idle(&self, must_be_fresh: bool) -> Option<Http1Lease> {
        let limit = self.shared.idle.get().http1;
        let limit = if must_be_fresh { FRESH.min(limit) } else { limit };
        loop {
            let idle = {
                let mut all = self.idle.borrow_mut();
                // The top is the youngest: when it is too old, all are.
                if clock::now().age_since(all.last()?.since) > limit {
                    return None;
                }
                all.pop()?
            };
            if idle.connection.is_quiet() {
                return Some(self.lend(idle.connection));
            }
        }
    }

    /// A connection that is ready: an idle one, else a new one, else (at the limit) the next that comes back.
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn acquire(&self, must_be_fresh: bool) -> Result<Http1Lease, NoConnection> {
        if let Some(lease) = self.take_idle(must_be_fresh) {
            return Ok(lease);
        }
        let _waiting = self.shared.permit_to_wait()?;
        loop {
            let changed = self.changed.notified();
            if let Some(permit) = self.shared.permit_to_open(self.open.get() > 0) {
                let counted = Counted::new(&self.open, &self.changed);
                let (io, open) = self.shared.open(permit).await.map_err(NoConnection::Dial)?;
                self.shared.meter.cx_http1_total.increment(1);
                let room = if self.open.get() > MANY { SMALL_READ_BUFFER } else { READ_BUFFER };
                let bounds = Bounds::new(&self.shared.cluster());
                return Ok(self.lend(Rc::new(Connection::new(io, (open, counted), room, bounds))));
            }
            if self.shared.cluster().breakers.of(Limit::Connections).limit() == 0 {
                return Err(NoConnection::Overflow(Limit::Connections));
            }
            // One that is too old for this request makes room for a new one.
            if self.idle.borrow_mut().pop().is_some() {
                continue;
            }
            changed.await;
            if let Some(lease) = self.take_idle(must_be_fresh) {
                return Ok(lease);
            }
        }
    }
}

/// One request over a connection of its own, which ends with the answer.
///
/// # Errors
/// See [`SendError`].
pub(super) async fn ask_once(io: Io, head: &Parts, body: Body) -> Result<Response<Body>, SendError> {
    let connection = Rc::new(Connection::new(io, (), SMALL_READ_BUFFER, None));
    Ok(round_trip::run(&connection, head, body).await?.0)
}

impl Http1Lease {
    /// Sends the request; its answer comes with the head, even while the request's body is still on its way.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn send<B>(&mut self, head: &Parts, body: B) -> Result<Response<Body>, SendError>
    where
        B: http_body::Body<Data = Bytes, Error = BodyError> + Unpin + 'static,
    {
        let (response, upload) = round_trip::run(&self.connection, head, body).await?;
        self.upload = upload;
        Ok(response)
    }

    /// The connection's own address; of a Unix-domain socket there is none.
    pub fn local(&self) -> Option<SocketAddr> {
        self.connection.local()
    }

    /// What the connection has sent and received.
    pub fn activity(&self) -> Option<Rc<Activity>> {
        self.connection.activity()
    }

    /// Gives the connection back, or closes it if it is not fit for another request.
    pub fn give_back(mut self) {
        if self.connection.rest() && !self.connection.is_spent() {
            self.given_back = true;
            self.idle.borrow_mut().push(Idle { connection: self.connection.clone(), since: clock::now() });
            self.changed.notify_one();
        }
    }
}

impl Drop for Http1Lease {
    fn drop(&mut self) {
        if self.given_back {
            return;
        }
        self.connection.close();
        if let Some(upload) = &self.upload {
            upload.abort();
        }
    }
}
