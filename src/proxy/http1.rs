//! A caller's HTTP/1 connection, on our own engine: `wire` reads it, `answer` writes it, this page is its life.
//!
//! Law: one request at a time, each answered before the next is looked at. On the way out the present one is finished
//! and answered with `connection: close`; nothing idle is closed before [`Phase::Closing`], for the caller's next
//! request may be under way.

mod answer;
mod wire;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::{Method, Response, Version};

use self::wire::{Next, Wire};
use super::downstream::Downstream;
use super::exchange::DownloadBody;
use super::reply::Reason;
use super::request;
use crate::message::http1::head::RequestHead;
use crate::runtime::drain::Phase;
use crate::transport::io::Io;

/// What the request says of its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    version: Version,
    /// It was HEAD: the answer has no body.
    for_head: bool,
    keep_alive: bool,
}

/// Serves the connection to its end.
pub(super) async fn serve(downstream: &Rc<Downstream>, io: Io) {
    downstream.listener.http.cx_http1_total.increment(1);
    let wire = Rc::new(Wire::new(downstream, io));
    loop {
        let persists = match wire.next_head(downstream).await {
            Next::Head(head) => exchange(downstream, &wire, head).await,
            Next::Refused(reason) => {
                refuse(downstream, &wire, reason).await;
                false
            }
            Next::Over => return,
        };
        if !persists {
            wire.say_farewell(downstream).await;
            return;
        }
    }
}

/// One request and its answer. Returns whether the connection goes on.
async fn exchange(downstream: &Rc<Downstream>, wire: &Rc<Wire>, head: RequestHead) -> bool {
    let RequestHead { parts, framing, keep_alive, expects_continue } = head;
    let asked = Asked { version: parts.version, for_head: parts.method == Method::HEAD, keep_alive };
    let body = wire.begin_body(framing, expects_continue, asked.version);
    let response = {
        let mut served = pin!(request::serve(downstream.clone(), parts, body));
        poll_fn(|cx| {
            downstream.activity.remember_task(cx.waker());
            if downstream.must_end() {
                return Poll::Ready(None);
            }
            let response = served.as_mut().poll(cx);
            // Asked behind it, which may have read the caller's end; and an upload that breaks off with its caller looks
            // like an upstream's failure.
            if wire.has_left() || (response.is_pending() && wire.poll_left(cx)) {
                return Poll::Ready(None);
            }
            response.map(Some)
        })
        .await
    };
    // Leaving here drops the request, and that cancels it upstream.
    match response {
        Some(response) => answer(downstream, wire, response, asked).await,
        None => false,
    }
}

/// A message that has no reading.
async fn refuse(downstream: &Rc<Downstream>, wire: &Rc<Wire>, reason: Reason) {
    let response = request::refuse(downstream, reason);
    let asked = Asked { version: Version::HTTP_11, for_head: false, keep_alive: false };
    answer(downstream, wire, response, asked).await;
}

async fn answer(
    downstream: &Rc<Downstream>,
    wire: &Rc<Wire>,
    response: Response<DownloadBody>,
    asked: Asked,
) -> bool {
    let persists = answer::send(downstream, wire, response, asked).await;
    persists && wire.read_out().await && downstream.phase() < Phase::Closing
}

/// What a connection holds while it is open, beside the bytes that wait to be taken apart.
#[cfg(test)]
pub(super) const WIRE_BYTES: usize = size_of::<Wire>();
