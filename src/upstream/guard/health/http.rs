//! A health check by HTTP: a GET, and a status that is among those expected. The body says nothing.

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Request};

use super::Found;
use crate::snapshot::{Cluster, HeaderEdit, UpstreamProtocol};
use crate::transport::io::Stream;
use crate::upstream::ask::{Answer, Wanted, by_http1, by_http2};

/// Who asks.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static("weir-health-check");

/// What is asked.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) host: Option<&'a str>,
    pub(super) expected: &'a [(u16, u16)],
    pub(super) headers: &'a [HeaderEdit],
}

/// Asks an endpoint, by the HTTP that its cluster speaks.
pub(super) async fn ask(stream: Stream, question: &Question<'_>, cluster: &Cluster) -> Found {
    let host = question.host.unwrap_or(&cluster.service);
    let target = (question.path, host);
    match get(stream, target, question.headers, cluster.protocol, Wanted::Head).await {
        None => Found::Silent,
        Some(answer) if is_expected(answer.status.as_u16(), question.expected) => Found::Well,
        Some(_) => Found::Ill,
    }
}

/// The answer to a GET of a path of a host, if what is wanted of it comes.
pub(super) async fn get(
    stream: Stream,
    (path, host): (&str, &str),
    headers: &[HeaderEdit],
    protocol: UpstreamProtocol,
    wanted: Wanted,
) -> Option<Answer> {
    let http2 = protocol == UpstreamProtocol::Http2;
    let uri = if http2 { format!("http://{host}{path}") } else { path.to_owned() };
    let mut request = Request::get(uri).header(USER_AGENT, AGENT);
    if !http2 {
        request = request.header(HOST, host);
    }
    for edit in headers {
        request = request.header(&edit.name.0, &*edit.value);
    }
    // Whoever wrote something that is no target or no host has been told; here it is an endpoint that never answers.
    if http2 {
        by_http2(stream, request.body(Bytes::new()).ok()?, wanted).await
    } else {
        by_http1(stream, request.body(Bytes::new()).ok()?, wanted).await
    }
}

fn is_expected(status: u16, expected: &[(u16, u16)]) -> bool {
    if expected.is_empty() {
        status == 200
    } else {
        expected.iter().any(|&(from, to)| (from..to).contains(&status))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_expected_in_half_open_ranges_and_200_where_none_is_said() {
        let expected = [(200, 204), (404, 405)];
        let found: Vec<u16> = (100..600).filter(|&status| is_expected(status, &expected)).collect();
        assert_eq!(found, [200, 201, 202, 203, 404]);
        assert_eq!((100..600).filter(|&status| is_expected(status, &[])).collect::<Vec<u16>>(), [200]);
    }
}
