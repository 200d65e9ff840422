//! What the proxy's admin tells of its splits: `GET /splits`, fetched and read.
//!
//! Law: unknown keys are skipped and missing figures are `None`, so that the admin may tell more than the demo shows.
//! It must not know who draws it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The admin answers from memory on loopback: what takes longer is not coming.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A page of splits is a few hundred bytes a version.
const PAGE_MAX_BYTES: usize = 4 * 1024 * 1024;

/// All splits of the proxy, in one generation of its configuration.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct SplitsView {
    /// Counts accepted configurations.
    #[serde(default)]
    pub generation: u64,
    /// One for each rule that splits.
    #[serde(default)]
    pub splits: Vec<SplitView>,
}

/// One rule's split.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct SplitView {
    /// The service's full host name.
    #[serde(default)]
    pub service: String,
    /// The rule as `name.namespace`; none when no rule matches and all versions share.
    #[serde(default)]
    pub rule: Option<String>,
    /// Its versions, in the rule's order.
    #[serde(default)]
    pub versions: Vec<VersionView>,
}

/// One version of a split.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct VersionView {
    /// The version's name.
    pub version: String,
    /// The labels that select its endpoints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its weight in the rule.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Since the proxy started.
    #[serde(default)]
    pub start: Figures,
    /// Over the last minute.
    #[serde(default)]
    pub minute: Figures,
}

/// What was counted of one version over one span of time. Shares and rates go from 0 to 1.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Figures {
    /// Requests that were sent to the version.
    #[serde(default)]
    pub requests: u64,
    /// Their share of the split's requests.
    #[serde(default)]
    pub share: Option<f64>,
    /// The share of them that succeeded.
    #[serde(default)]
    pub success_rate: Option<f64>,
    /// Median latency, in milliseconds.
    #[serde(default)]
    pub p50_ms: Option<f64>,
    /// 95th percentile of the latency, in milliseconds.
    #[serde(default)]
    pub p95_ms: Option<f64>,
    /// 99th percentile of the latency, in milliseconds.
    #[serde(default)]
    pub p99_ms: Option<f64>,
    /// Requests a second.
    #[serde(default)]
    pub qps: Option<f64>,
}

/// Asks the admin for its splits.
///
/// # Errors
/// When it cannot be reached within two seconds, answers with another status than 200, or says what cannot be read.
pub async fn fetch(admin: SocketAddr) -> io::Result<SplitsView> {
    let page = timeout(FETCH_TIMEOUT, get(admin, "/splits")).await;
    let page =
        page.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the admin did not answer in time"))??;
    serde_json::from_slice(&page).map_err(io::Error::other)
}

async fn get(admin: SocketAddr, path: &str) -> io::Result<Bytes> {
    let stream = TcpStream::connect(admin).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::get(path).header(header::HOST, admin.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(io::Error::other)?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        if response.status() != StatusCode::OK {
            return Err(io::Error::other(format!("the admin answered {path} with {}", response.status())));
        }
        let body = Limited::new(response.into_body(), PAGE_MAX_BYTES).collect().await;
        Ok(body.map_err(io::Error::other)?.to_bytes())
    };
    let mut exchange = std::pin::pin!(exchange);
    // The connection ends with the exchange: nothing is left running behind.
    tokio::select! {
        page = exchange.as_mut() => page,
        ended = connection => {
            ended.map_err(io::Error::other)?;
            exchange.await
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const PAGE: &str = r#"{"generation":3,"splits":[{"service":"half-plus-two.default.svc.cluster.local",
        "rule":"canary.default","versions":[
        {"version":"v1","labels":{"version":"v1"},"weight":95,
         "start":{"requests":95,"share":0.95,"success_rate":1.0,"p50_ms":2.1,"p95_ms":3.0,"p99_ms":4.0},
         "minute":{"requests":95,"share":0.95,"success_rate":1.0,"p50_ms":2.1,"p95_ms":3.0,"p99_ms":4.0,"qps":38.0}},
        {"version":"v2","labels":{"version":"v2"},"weight":5,"later":true,
         "start":{"requests":0,"share":0.0,"success_rate":null,"p50_ms":null,"p95_ms":null,"p99_ms":null},
         "minute":{"requests":0,"share":0.0,"success_rate":null,"p50_ms":null,"p95_ms":null,"p99_ms":null,"qps":0.0}}
        ]}]}"#;

    /// Answers one connection with `reply`, whatever it asks.
    async fn admin(reply: String) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
        });
        addr
    }

    #[tokio::test]
    async fn a_page_of_the_admin_is_read_whole_and_unknown_keys_are_skipped() {
        let reply = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{PAGE}", PAGE.len());
        let view = fetch(admin(reply).await).await.unwrap();
        assert_eq!(view.generation, 3);
        let split = &view.splits[0];
        assert_eq!(split.rule.as_deref(), Some("canary.default"));
        assert_eq!((split.versions[0].weight, split.versions[0].minute.qps), (Some(95), Some(38.0)));
        assert_eq!((split.versions[1].start.p50_ms, split.versions[1].minute.success_rate), (None, None));
    }

    #[tokio::test]
    async fn an_admin_that_is_away_or_unwell_is_an_error_not_an_empty_view() {
        let reply = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned();
        assert!(fetch(admin(reply).await).await.unwrap_err().to_string().contains("503"));
        let reply = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{".to_owned();
        assert!(fetch(admin(reply).await).await.is_err());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(fetch(closed).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
