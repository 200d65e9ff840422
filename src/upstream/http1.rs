//! HTTP/1 connections to one endpoint: one request at a time each, the last used is used next.
//!
//! Law: a connection comes back only when both of its bodies ended where they should; any other is dropped, which
//! closes it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::breaker::Limit;
use super::pool::{NoConnection, Shared};
use crate::runtime::clock::{self, Tick};
use crate::transport::dial::DialError;

/// A request that cannot be sent again takes no connection that has been idle for longer: the upstream may be
/// closing it at this moment, and the loss could not be mended.
const FRESH: Duration = Duration::from_secs(1);
/// Read buffer of a connection at its largest: at 256 KiB a large body costs 3 % less CPU and half as much memory again.
const READ_BUFFER: usize = 128 << 10;
/// The same where an endpoint has many connections: a caller that does not read holds two of them.
const SMALL_READ_BUFFER: usize = 32 << 10;
const MANY: usize = 32;
/// Bytes of a response head, and its fields.
const RESPONSE_HEAD_BYTES: usize = 60 << 10;
const RESPONSE_HEAD_COUNT: usize = 100;

/// See the module.
#[derive(Debug)]
pub struct Http1Pool<B> {
    shared: Rc<Shared>,
    idle: Rc<RefCell<Vec<Idle<B>>>>,
    /// Connections, from their dial on: those that are on their way count, or a burst would pass every limit.
    open: Rc<Cell<usize>>,
    /// Told when a connection came back or ended.
    changed: Rc<Notify>,
}

#[derive(Debug)]
struct Idle<B> {
    sender: SendRequest<B>,
    since: Tick,
}

/// One of the worker's connections to the endpoint, counted from its dial on; its end is told to one that waits.
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

/// A connection on loan for one request.
#[derive(Debug)]
pub struct Http1Lease<B> {
    sender: SendRequest<B>,
    idle: Rc<RefCell<Vec<Idle<B>>>>,
    changed: Rc<Notify>,
}

impl<B: http_body::Body + 'static> Http1Pool<B> {
    pub(super) fn new(shared: Rc<Shared>) -> Http1Pool<B> {
        Http1Pool { shared, idle: Rc::default(), open: Rc::default(), changed: Rc::default() }
    }

    pub(super) fn sweep(&self, now: Tick) {
        let limit = self.shared.idle.get().http1;
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|idle| !idle.sender.is_closed() && now.age_since(idle.since) <= limit);
        self.shared.meter.cx_idle_timeout.increment((before - idle.len()) as u64);
    }

    fn lend(&self, sender: SendRequest<B>) -> Http1Lease<B> {
        Http1Lease { sender, idle: self.idle.clone(), changed: self.changed.clone() }
    }

    /// The connection used last, if one is fit. `must_be_fresh`: the request cannot be sent again.
    async fn take_idle(&self, must_be_fresh: bool) -> Option<Http1Lease<B>> {
        let limit = if must_be_fresh {
            FRESH.min(self.shared.idle.get().http1)
        } else {
            self.shared.idle.get().http1
        };
        loop {
            let mut idle = {
                let mut all = self.idle.borrow_mut();
                // The top is the youngest: when it is too old, all are.
                if clock::now().age_since(all.last()?.since) > limit {
                    return None;
                }
                all.pop()?
            };
            // It may need one more turn of its task after the last body; a closed one says so at once.
            if idle.sender.ready().await.is_ok() {
                return Some(self.lend(idle.sender));
            }
        }
    }
}

impl<B> Http1Pool<B>
where
    B: http_body::Body<Data = bytes::Bytes> + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    /// A connection that is ready: an idle one, else a new one, else (at the limit) the next that comes back.
    ///
    /// # Errors
    /// See [`NoConnection`].
    pub async fn acquire(&self, must_be_fresh: bool) -> Result<Http1Lease<B>, NoConnection> {
        if let Some(lease) = self.take_idle(must_be_fresh).await {
            return Ok(lease);
        }
        let _waiting = self.shared.permit_to_wait()?;
        loop {
            let changed = self.changed.notified();
            if let Some(permit) = self.shared.permit_to_open(self.open.get() > 0) {
                let counted = Counted::new(&self.open, &self.changed);
                let (io, open) = self.shared.open(permit).await.map_err(NoConnection::Dial)?;
                return self.handshake(io, open, counted).await;
            }
            if self.shared.cluster().breakers.of(Limit::Connections).limit() == 0 {
                return Err(NoConnection::Overflow(Limit::Connections));
            }
            changed.await;
            if let Some(lease) = self.take_idle(must_be_fresh).await {
                return Ok(lease);
            }
        }
    }

    async fn handshake(
        &self,
        io: crate::transport::io::Io,
        open: super::pool::Open,
        counted: Counted,
    ) -> Result<Http1Lease<B>, NoConnection> {
        let handshake = Builder::new()
            .max_buf_size(if self.open.get() > MANY { SMALL_READ_BUFFER } else { READ_BUFFER })
            .max_header_size(RESPONSE_HEAD_BYTES)
            .max_headers(RESPONSE_HEAD_COUNT)
            .handshake(TokioIo::new(io))
            .await;
        let (sender, connection) = handshake
            .map_err(|_| NoConnection::Dial(DialError::Failed(std::io::ErrorKind::ConnectionReset)))?;
        self.shared.meter.cx_http1_total.increment(1);
        spawn_local(async move {
            // How it ended is told to the request that was on it; an idle one may end as it likes.
            let _ = connection.await;
            drop((open, counted));
        });
        Ok(self.lend(sender))
    }
}

impl<B: http_body::Body + 'static> Http1Lease<B> {
    /// Sends the request; its response comes with the head.
    ///
    /// # Errors
    /// hyper's reason, with the request itself when none of it was sent.
    pub async fn send(
        &mut self,
        request: http::Request<B>,
    ) -> Result<Response<Incoming>, TrySendError<http::Request<B>>> {
        self.sender.try_send_request(request).await
    }

    /// Gives the connection back: both bodies have ended as they should.
    pub fn give_back(self) {
        if !self.sender.is_closed() {
            self.idle.borrow_mut().push(Idle { sender: self.sender, since: clock::now() });
            self.changed.notify_one();
        }
    }
}
