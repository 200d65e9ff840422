//! An attempt by HTTP/1: a connection, the request over it, the answer's head from it.
//!
//! Law: a request of which a byte was written may have been processed; one of which none was, was not.

use std::rc::Rc;

use http::Response;
use http::request::Parts;

use super::lease::{Connection, Lease};
use super::outcome::no_connection;
use super::{Keeping, Stage};
use crate::message::body::Body;
use crate::proxy::exchange::{Exchange, Upload};
use crate::proxy::lane::Pool;
use crate::proxy::reply::Reason;
use crate::proxy::retry::{Failure, Processed};
use crate::telemetry::Wire;
use crate::telemetry::families::weir::RetryReason;
use crate::upstream::http1::{Http1Lease, SendError};

/// Sends the request and waits for the answer's head.
pub(super) async fn send(
    exchange: &Rc<Exchange>,
    pool: &Pool,
    head: &Parts,
    keeping: Keeping,
    lease: &mut Lease,
) -> Result<Response<Body>, Failure> {
    let mut connection = match pool.http1.acquire(!keeping.bears_loss).await {
        Ok(connection) => connection,
        Err(why) => return Err(no_connection(exchange, why)),
    };
    lease.begin();
    exchange.stage.set(Stage::Sent);
    exchange.note_connected(|| (connection.local(), sent_and_received(&connection)));
    let answered = connection.send(head, Upload::next_attempt(exchange, keeping.body)).await;
    answered.inspect(|_| lease.hold(Connection::Http1(connection))).map_err(failed)
}

/// What goes over the connection from now on: it has one request at a time.
fn sent_and_received(connection: &Http1Lease) -> Wire {
    let Some(activity) = connection.activity() else { return Wire::default() };
    let (sent, received) = (activity.bytes_written(), activity.bytes_read());
    Wire::new(move || (activity.bytes_written() - sent, activity.bytes_read() - received))
}

/// What a failed exchange on a connection means for the caller, and for another attempt.
pub(super) fn failed(error: SendError) -> Failure {
    let maybe = |reason| Failure { reason, processed: Processed::Maybe };
    match error {
        SendError::Unsent => {
            let processed = Processed::No(RetryReason::Unsent);
            Failure { reason: Reason::UpstreamClosed, processed }
        }
        SendError::Closed => maybe(Reason::UpstreamClosed),
        SendError::Unreadable => maybe(Reason::UpstreamProtocolError),
        // Whose doing that was the upload knows (`Upload::fault_or`).
        SendError::Upload(_) => maybe(Reason::LocalReset),
    }
}
