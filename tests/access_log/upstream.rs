//! An upstream that answers as the path says, and knows who has called.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::net::TcpListener;
use tokio::task::spawn_local;

use super::common::world::raw::{Raw, header_of};

/// See the module.
#[derive(Clone)]
pub(super) struct Upstream {
    pub(super) at: SocketAddr,
    /// The other ends of its connections.
    pub(super) callers: Rc<RefCell<BTreeSet<String>>>,
    /// Heads that came.
    pub(super) heads: Rc<Cell<usize>>,
}

impl Upstream {
    pub(super) async fn start() -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let upstream = Upstream { at, callers: Rc::default(), heads: Rc::default() };
        let known = upstream.clone();
        spawn_local(async move {
            while let Ok((stream, caller)) = listener.accept().await {
                known.callers.borrow_mut().insert(caller.to_string());
                let known = known.clone();
                spawn_local(async move { known.serve(Raw::over(stream)).await });
            }
        });
        upstream
    }

    async fn serve(&self, mut connection: Raw) {
        while let Some(head) = connection.read_head().await {
            self.heads.set(self.heads.get() + 1);
            let length = header_of(&head, "content-length").and_then(|length| length.parse().ok());
            if head.contains("/left") {
                // Its caller leaves before the body is whole.
                connection.read_until(b"never").await;
                return;
            }
            connection.read_exact(length.unwrap_or(0)).await;
            let Some(answer) = answer(&head) else { return };
            connection.write(answer).await;
        }
    }
}

/// What it answers to `head`; `None`: it closes.
fn answer(head: &str) -> Option<String> {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let grpc = |status: &str| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n{status}content-length: 0\r\n\r\n")
    };
    Some(match path.rsplit('/').next().unwrap_or_default() {
        "closes" => return None,
        "unavailable" => "HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nbusy".into(),
        "trailers" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\
                       x-checksum: 4f2a\r\nx-other: b\r\n\r\n"
            .into(),
        "grpc-none" => grpc(""),
        "grpc-strange" => grpc("grpc-status: 99\r\n"),
        "grpc-no-number" => grpc("grpc-status: abc\r\n"),
        "grpc-not-found" => grpc("grpc-status: 5\r\n"),
        _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nx-kind: one\r\nx-kind: two\r\n\r\nhello".into(),
    })
}
