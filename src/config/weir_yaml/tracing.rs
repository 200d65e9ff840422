//! `tracing:`, of `weir.yaml`.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use crate::config::decode::Field;
use crate::config::diagnostic::Place;
use crate::config::table::{Keys, Table};
use crate::config::values;
use crate::snapshot::{Address, Fraction, OtlpProtocol, Tracing};

const KEYS: Keys = Keys {
    known: &["endpoint", "protocol", "sample_percent", "service_name", "timeout"],
    later: &["headers", "tls"],
    never: &[],
    proto: false,
};
/// Of OpenTelemetry's exporters.
const PATH: &str = "/v1/traces";
/// The same.
const TIMEOUT: Duration = Duration::from_secs(10);
/// A batch that takes longer holds up all that come behind it.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// As Istio's.
const SAMPLE_PERCENT: f64 = 1.0;
/// What is right for `endpoint`.
const ENDPOINT: &str = "such as http://otel-collector.observability:4317, or unix:/path";

/// What `endpoint` says.
struct Endpoint {
    address: Address,
    authority: Arc<str>,
    path: Option<Arc<str>>,
}

/// `tracing:`, and where its endpoint stands; left out or `off`: none.
pub(super) fn tracing(field: Option<&Field<'_>>) -> Option<(Tracing, Place)> {
    let field = field.filter(|field| !super::settings::is_off(field))?;
    let table = Table::new(field, &KEYS)?;
    let is_http = table.get("protocol").and_then(|field| field.word(&[("grpc", false), ("http", true)]));
    let sample = table.get("sample_percent").and_then(|field| field.percent()).unwrap_or(SAMPLE_PERCENT);
    let service_name = table.get("service_name").and_then(|field| field.filled()).map(Arc::from);
    let timeout = table.get("timeout").and_then(|field| field.duration_in(TIMEOUTS)).unwrap_or(TIMEOUT);
    let field = table.require("endpoint")?;
    let endpoint = endpoint(&field)?;
    let protocol = match (is_http.unwrap_or(false), endpoint.path) {
        (true, path) => OtlpProtocol::Http { path: path.unwrap_or_else(|| PATH.into()) },
        (false, None) => OtlpProtocol::Grpc,
        (false, Some(path)) => {
            field.fault_with(
                "address",
                format!("gRPC has no path such as `{path}`"),
                "protocol: http has one",
            );
            return None;
        }
    };
    let tracing = Tracing {
        collector: endpoint.address,
        authority: endpoint.authority,
        protocol,
        timeout,
        sample: Fraction::of_percent(sample),
        service_name,
    };
    Some((tracing, field.place()))
}

/// `http://host:port/path`, of which all but host and port may be left out; or a socket in the file system.
fn endpoint(field: &Field<'_>) -> Option<Endpoint> {
    let text = field.filled()?;
    if text.starts_with("https://") {
        field.fault("not-supported", "a collector by TLS is not supported yet");
        return None;
    }
    let rest = text.strip_prefix("http://").unwrap_or(text);
    let (address, path) = match rest.split_once('/') {
        Some((address, path)) if !rest.starts_with("unix:") => (address, Some(path)),
        _ => (rest, None),
    };
    let path = path.filter(|path| !path.is_empty()).map(|path| format!("/{path}"));
    if let Some(path) = path.as_ref().filter(|path| http::uri::PathAndQuery::try_from(path.as_str()).is_err())
    {
        field.fault_with("address", format!("`{path}` is no path"), ENDPOINT);
        return None;
    }
    let address = field.parsed("address", ENDPOINT, |_| values::parse_address(address))?;
    let authority = match &address {
        Address::Unix(_) => "localhost".into(),
        address => address.to_string().into(),
    };
    Some(Endpoint { address, authority, path: path.map(Arc::from) })
}
