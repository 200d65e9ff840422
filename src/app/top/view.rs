//! What a proxy's admin tells of its splits: `GET /splits`, fetched and read.
//!
//! Law: unknown keys are skipped and missing figures are `None`, so that the admin may tell more than is shown. It must
//! not know who draws it.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::time::timeout;

/// The admin answers from memory on loopback: what takes longer is not coming.
const FETCH_TIMEOUT: Duration = Duration::from_secs(2);
/// A page of splits is a few hundred bytes a version.
const PAGE_MAX_BYTES: u64 = 64 << 20;

/// All splits of the proxy, in one generation of its configuration.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct SplitsView {
    /// Counts accepted configurations.
    #[serde(default)]
    pub generation: u64,
    /// One for each rule that splits.
    #[serde(default)]
    pub splits: Vec<SplitView>,
    /// Rules beyond those that were asked for.
    #[serde(default)]
    pub left_out: usize,
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
    /// Its service, where that is not the rule's.
    #[serde(default)]
    pub service: Option<String>,
    /// The labels that select its endpoints.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its weight in the rule.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Who takes its requests.
    #[serde(default)]
    pub endpoints: Option<Endpoints>,
    /// How well it does.
    #[serde(default)]
    pub states: States,
    /// Since the proxy started.
    #[serde(default)]
    pub start: Figures,
    /// Over the last minute.
    #[serde(default)]
    pub minute: Figures,
}

/// Addresses of endpoints by state.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
#[allow(missing_docs)] // the names are those of `weir_endpoints`
pub struct Endpoints {
    pub healthy: usize,
    pub ejected: usize,
    pub failed_check: usize,
}

/// How well a version does by the admin's judgement, each in its word; `None` where there is nothing to say.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct States {
    /// `good`, `degraded` or `failing`.
    pub success: Option<String>,
    /// `high`: at least half of its requests, or well above those of the rule's other versions.
    pub client_errors: Option<String>,
    /// As of success.
    pub endpoints: Option<String>,
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
    /// The share of them whose answer blames the request.
    #[serde(default)]
    pub client_error_rate: Option<f64>,
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
pub async fn fetch(admin: impl ToSocketAddrs) -> io::Result<SplitsView> {
    read(&page(admin, "/splits").await?)
}

/// What a page of splits says.
///
/// # Errors
/// When it cannot be read.
pub fn read(page: &[u8]) -> io::Result<SplitsView> {
    serde_json::from_slice(page).map_err(io::Error::other)
}

/// A page of the admin.
///
/// # Errors
/// When it cannot be reached within two seconds, or answers with another status than 200.
pub async fn page(admin: impl ToSocketAddrs, path: &str) -> io::Result<Vec<u8>> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the admin did not answer in time");
    let answer = timeout(FETCH_TIMEOUT, exchange(admin, path)).await.map_err(late)??;
    let invalid = || io::Error::other("its answer is not HTTP/1");
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(invalid)?;
    let (head, body) = (&answer[..end], &answer[end + 4..]);
    let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.get(2..5)).ok_or_else(invalid)?;
    if status == b"200" {
        return Ok(body.to_vec());
    }
    let (status, reason) = (String::from_utf8_lossy(status), String::from_utf8_lossy(body));
    Err(io::Error::other(format!("the admin answered {path} with {status}: {}", reason.trim())))
}

/// HTTP/1.0, so that the answer is in one piece and ends with the connection.
async fn exchange(admin: impl ToSocketAddrs, path: &str) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(admin).await?;
    // Not the name: whoever gives the address one of its own may ask, and need not be local.
    let request = format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", stream.peer_addr()?);
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(PAGE_MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

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
    async fn an_admin_may_be_named_and_is_asked_by_its_address() {
        // Of the name's addresses, the one at which it listens.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut some) = (Vec::new(), [0; 1024]);
            while !request.ends_with(b"\r\n\r\n") {
                let n = stream.read(&mut some).await.unwrap();
                assert!(n > 0);
                request.extend_from_slice(&some[..n]);
            }
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n{}").await.unwrap();
            String::from_utf8(request).unwrap()
        });
        assert_eq!(fetch(format!("localhost:{}", address.port())).await.unwrap(), SplitsView::default());
        assert!(asked.await.unwrap().contains(&format!("\r\nhost: {address}\r\n")));
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
