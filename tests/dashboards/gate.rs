//! Pages that are handed out when the test says so.
//!
//! `irate()` looks at two samples and no others. So a Prometheus that asks here gets one before the traffic and one after it,
//! and each panel of Istio's shows all of the traffic, at whatever moment it is looked at.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use http::Response;

use crate::common::world::Http;
use crate::common::world::client::Client;
use crate::common::world::until;
use crate::common::world::upstream::{Upstream, full};

/// Stands before a proxy's metrics.
pub(crate) struct Gate {
    upstream: Upstream,
    open: Rc<Cell<bool>>,
}

impl Gate {
    pub(crate) async fn before(metrics: SocketAddr) -> Gate {
        let open = Rc::new(Cell::new(false));
        let opened = open.clone();
        let upstream = Upstream::handling(move |_| {
            let pass = opened.replace(false);
            async move {
                if !pass {
                    return Response::builder().status(503).body(full("not now")).expect("a response");
                }
                let page = Client::connect(Http::One, metrics).await.get("/metrics").await;
                Response::builder()
                    .header("content-type", "text/plain; version=0.0.4")
                    .body(full(page.body))
                    .expect("a response")
            }
        })
        .await;
        Gate { upstream, open }
    }

    pub(crate) fn at(&self) -> String {
        self.upstream.at()
    }

    /// Hands out one page.
    pub(crate) async fn once(&self) {
        self.open.set(true);
        until("it was scraped", || (!self.open.get()).then_some(())).await;
    }
}
