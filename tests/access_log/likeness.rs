//! The same formats in Envoy and in Weir, and the same requests to both.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::common::parts::part;
use super::common::world::raw::Raw;
use super::common::world::{World, free_port, lines_of, run, until};
use super::differences::{self, Difference};
use super::envoy::{self, Envoy};
use super::upstream::Upstream;

/// Numbers that differ from run to run.
const MEASURED: [&str; 8] = [
    "CONNECTION_ID",
    "DURATION",
    "REQUEST_DURATION",
    "REQUEST_TX_DURATION",
    "RESPONSE_DURATION",
    "RESPONSE_TX_DURATION",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
];
/// What is compared as it is printed, but for ports.
const SAME: [&str; 42] = [
    "BYTES_RECEIVED",
    "BYTES_SENT",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "ENVIRONMENT(CARGO_PKG_NAME)",
    "ENVIRONMENT(NO_SUCH_VARIABLE)",
    "GRPC_STATUS",
    "GRPC_STATUS(CAMEL_STRING)",
    "GRPC_STATUS(NUMBER)",
    "GRPC_STATUS(SNAKE_STRING)",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LOCAL_REPLY_BODY",
    "PROTOCOL",
    "REQ(:AUTHORITY)",
    "REQ(:METHOD)",
    "REQ(X-NONE?X-PROBE):3",
    "REQUEST_HEADER(X-PROBE)",
    "REQ(X-EMPTY)",
    "REQ(X-TWICE)",
    "REQUESTED_SERVER_NAME",
    "RESP(X-KIND)",
    "RESPONSE_HEADER(X-NONE?X-KIND)",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_TRAILER(X-NONE?X-OTHER)",
    "STREAM_ID",
    "TRACE_ID",
    "TRAILER(X-CHECKSUM):2",
    "UPSTREAM_HOST",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "VIRTUAL_CLUSTER_NAME",
];

/// What is sent, on a connection of its own, to a host of which there are three: see [`routes`].
pub(super) struct Probe {
    pub(super) name: &'static str,
    pub(super) bytes: String,
    leaves: bool,
}

/// Between the texts of a line in text.
const COLUMN: &str = " ;; ";

#[test]
fn every_difference_to_envoy_in_what_an_operator_prints_is_listed_and_explained() {
    let Some(program) = part("envoy") else { return };
    let found = run(async || {
        let upstream = Upstream::start().await;
        let refused = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let folder = tempfile::tempdir().expect("a folder");
        let envoy = Envoy::with(&program, |log| for_envoy(upstream.at, refused, log, &formats()));
        send_all(envoy.address, &upstream).await;
        let mut of_weir = BTreeMap::new();
        for (name, format) in formats() {
            let log = folder.path().join(name);
            let weir = World::with_rules(
                &for_weir(upstream.at, refused, &log, &format),
                &[("routes.yaml", &routes())],
            )
            .await;
            send_all(weir.addr("in"), &upstream).await;
            let lines = told(&log, name, weir.addr("in"), &upstream, refused).await;
            of_weir.extend(lines.into_iter().map(|(line, values)| ((line, name), values)));
        }
        let mut differing = Differing::new();
        for (name, _) in formats() {
            let log = envoy.log.with_file_name(name);
            for (line, envoy) in told(&log, name, envoy.address, &upstream, refused).await {
                note_differences(&mut differing, name, &line, &envoy, &of_weir[&(line.clone(), name)]);
            }
        }
        rows(differing)
    });
    differences::check("access_log/differences.md", "Access log", &found);
}

/// A probe, an operator, and what Envoy and Weir print for it: in which formats.
type Differing = BTreeMap<(String, String, String, String), Vec<&'static str>>;

fn note_differences(
    differing: &mut Differing,
    format: &'static str,
    probe: &str,
    envoy: &BTreeMap<String, String>,
    weir: &BTreeMap<String, String>,
) {
    let operators: BTreeSet<&String> = envoy.keys().chain(weir.keys()).collect();
    for operator in operators {
        let [envoy, weir] = [envoy, weir].map(|line| line.get(operator).map_or("absent", |value| value));
        if envoy != weir {
            // A text looks the same in all formats.
            let [envoy, weir] = [envoy, weir].map(|value| unquoted(value).to_owned());
            differing.entry((probe.to_owned(), operator.clone(), envoy, weir)).or_default().push(format);
        }
    }
}

pub(super) fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value)
}

fn rows(differing: Differing) -> Vec<Difference> {
    let row = |((probe, operator, envoy, weir), formats): ((String, String, String, String), Vec<&str>)| {
        let probe = format!("{probe}: {operator}; {}", formats.join(", "));
        let [envoy, weir] =
            [envoy, weir].map(|value| if value.is_empty() { "nothing".into() } else { value });
        Difference::new(&probe, &envoy, &weir)
    };
    differing.into_iter().map(row).collect()
}

/// The object of every operator alone, some nested, in a list and among text.
fn object() -> Value {
    let mut all = Map::new();
    for operator in MEASURED.iter().chain(&SAME) {
        all.insert((*operator).to_owned(), format!("%{operator}%").into());
    }
    json!({
        "path": "%REQ(:PATH)%",
        "all": all,
        "list": ["%REQ(X-NONE)%", "%RESPONSE_CODE%", 1, true, null, "", "100%%"],
        "nothing": {"absent": "%REQ(X-NONE)%", "deeper": {"absent": "%REQ(X-NONE)%"}},
        "text": "<%REQ(X-NONE)%> %RESPONSE_CODE% \"%PROTOCOL%\"",
        "unset": "%REQ(X-NONE)%%REQ(X-NONE)%",
        "literal": "as it stands",
        "null": null,
        "object": {},
    })
}

/// Each by its name, as `weir.yaml` has it.
fn formats() -> [(&'static str, Value); 3] {
    let text: Vec<String> = MEASURED.iter().chain(&SAME).map(|operator| format!("%{operator}%")).collect();
    [
        ("json", json!({"json": object()})),
        ("sparse", json!({"json": object(), "omit_empty": true})),
        ("text", format!("%REQ(:PATH)%{COLUMN}{}", text.join(COLUMN)).into()),
    ]
}

pub(super) fn for_weir(up: SocketAddr, refused: SocketAddr, log: &Path, format: &Value) -> String {
    let access_log = json!({"path": log, "format": format});
    format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\"}}]\naccess_log: {access_log}\nservices:\n\
         - {{name: up, protocol: http1, endpoints: [{{address: \"{up}\"}}]}}\n\
         - {{name: refused, protocol: http1, endpoints: [{{address: \"{refused}\"}}]}}\n\
         - {{name: empty, protocol: http1, endpoints: []}}\n"
    )
}

/// No retries, as in Envoy without a word.
pub(super) fn routes() -> String {
    let rule = |name: &str| {
        json!({
            "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
            "spec": {"hosts": [format!("{name}.example")], "http": [{
                "route": [{"destination": {"host": name}}], "retries": {"attempts": 0},
            }]},
        })
        .to_string()
    };
    ["up", "refused", "empty"].map(rule).join("\n---\n")
}

/// It writes a log in each of `formats`, beside `log` and under its name.
pub(super) fn for_envoy(
    up: SocketAddr,
    refused: SocketAddr,
    log: &Path,
    formats: &[(&str, Value)],
) -> String {
    let kind = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog";
    let logs: Vec<Value> = formats
        .iter()
        .map(|(name, format)| {
            let form = match format {
                Value::String(text) => json!({"text_format_source": {"inline_string": format!("{text}\n")}}),
                object => json!({
                    "json_format": object["json"],
                    "omit_empty_values": object["omit_empty"].as_bool().unwrap_or(false),
                }),
            };
            let config = json!({"@type": kind, "path": log.with_file_name(name), "log_format": form});
            json!({"name": "envoy.access_loggers.file", "typed_config": config})
        })
        .collect();
    let manager = format!(
        "access_log: {}, http_protocol_options: {{enable_trailers: true}}, normalize_path: true",
        Value::from(logs)
    );
    let hosts = ["up", "refused", "empty"].map(|name| {
        json!({
            "name": name, "domains": [format!("{name}.example")],
            "routes": [{"name": name, "match": {"prefix": "/"}, "route": {"cluster": name, "timeout": "0s"}}],
        })
    });
    let speaks = envoy::speaks("http_protocol_options: {enable_trailers: true}");
    let clusters = [("up", Some(up)), ("refused", Some(refused)), ("empty", None)];
    envoy::bootstrap(
        &manager,
        &[],
        &format!("virtual_hosts: {}", Value::from(hosts.to_vec())),
        &clusters.map(|(name, endpoint)| envoy::cluster(name, endpoint, &speaks)),
    )
}

pub(super) fn probes() -> Vec<Probe> {
    let probe = |name, bytes: String| Probe { name, bytes, leaves: false };
    let asked = |name: &'static str, host: &str, method: &str, more: &str, body: &str| {
        let length =
            if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        probe(
            name,
            format!(
                "{method} /{name} HTTP/1.1\r\nhost: {host}.example\r\nconnection: close\r\n\
                 x-request-id: 11111111-2222-4333-8444-555555555555\r\n{more}{length}\r\n{body}"
            ),
        )
    };
    let plain = |name, host, more: &str| asked(name, host, "GET", more, "");
    let call = |name, host| asked(name, host, "POST", "content-type: application/grpc\r\n", "");
    let forwarded = |name, values: &'static str| plain(name, "up", values);
    vec![
        plain("plain", "up", ""),
        plain("fields", "up", "x-probe: a \"probe\" \\ of é\r\nx-empty:\r\nx-twice: a\r\nx-twice: b\r\n"),
        asked("post", "up", "POST", "", "a body"),
        plain("unavailable", "up", ""),
        plain("trailers", "up", ""),
        asked("closes", "up", "POST", "content-length: 0\r\n", ""),
        plain("refused", "refused", ""),
        plain("empty", "empty", ""),
        plain("no-route", "other", ""),
        call("grpc-none", "up"),
        call("grpc-strange", "up"),
        call("grpc-no-number", "up"),
        call("grpc-not-found", "up"),
        call("grpc-refused", "refused"),
        call("grpc-no-route", "other"),
        plain("status-of-no-call/grpc-not-found", "up", ""),
        forwarded("forwarded", "x-forwarded-for: 192.0.2.1, 192.0.2.7\r\n"),
        forwarded("forwarded-6", "x-forwarded-for: 2001:db8::7\r\n"),
        forwarded("forwarded-twice", "x-forwarded-for: 192.0.2.1\r\nx-forwarded-for: 192.0.2.7\r\n"),
        forwarded("forwarded-port", "x-forwarded-for: 192.0.2.1:80\r\n"),
        forwarded("forwarded-nonsense", "x-forwarded-for: me\r\n"),
        plain("traced", "up", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n"),
        probe("unreadable", "GET /unreadable HTTP/1.1\r\nno field\r\n\r\n".into()),
        Probe { leaves: true, ..asked("left", "up", "POST", "", "half of") },
    ]
}

/// Sends each, and waits until it is answered or, where its caller leaves, upstream.
async fn send_all(to: SocketAddr, upstream: &Upstream) {
    for probe in probes() {
        let before = upstream.heads.get();
        let mut caller = Raw::connect(to).await;
        if probe.leaves {
            let half = probe.bytes.replace("content-length: 7", "content-length: 99");
            caller.write(half).await;
            until("it is upstream", || (upstream.heads.get() > before).then_some(())).await;
            continue;
        }
        caller.write(&probe.bytes).await;
        // Whatever it is, it ends with the connection.
        caller.read_to_end().await;
    }
}

/// What a log says of each probe, by operator. What differs from run to run is put in words.
async fn told(
    log: &Path,
    format: &str,
    to: SocketAddr,
    upstream: &Upstream,
    refused: SocketAddr,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let probes = probes();
    let lines = until(&format!("{} lines of {}", probes.len(), log.display()), || {
        let lines = if fs::exists(log).unwrap_or(false) { lines_of(log) } else { Vec::new() };
        (lines.len() >= probes.len()).then_some(lines)
    })
    .await;
    assert_eq!(lines.len(), probes.len(), "{lines:#?}");
    let words = |key: &str, value: &str| -> String {
        let operator = key.rsplit('.').next().unwrap_or(key);
        if MEASURED.contains(&operator) && value.bytes().all(|byte| byte.is_ascii_digit()) {
            return "a number".into();
        }
        let callers = upstream.callers.borrow();
        match operator {
            "DOWNSTREAM_LOCAL_PORT" if value == to.port().to_string() => "its port".into(),
            "UPSTREAM_LOCAL_ADDRESS" if callers.contains(value.trim_matches('"')) => "its own end".into(),
            _ => with_names(value, to, upstream.at, refused),
        }
    };
    let mut all = BTreeMap::new();
    for line in lines {
        let values = match format {
            "text" => of_text(&line),
            _ => of_json(&line),
        };
        let path = values.get("path").map_or("-", |path| path.trim_matches('"')).to_owned();
        let name = probes.iter().find(|probe| path == format!("/{}", probe.name)).map(|probe| probe.name);
        let name = name.unwrap_or("unreadable");
        let values = values.into_iter().map(|(key, value)| {
            let value = words(&key, &value);
            (key, value)
        });
        let twice = all.insert(name.to_owned(), values.collect());
        assert!(twice.is_none(), "{name} is logged twice in {}", log.display());
    }
    all
}

/// With names in place of the addresses that are known; any other on this machine is the caller's.
pub(super) fn with_names(value: &str, to: SocketAddr, up: SocketAddr, refused: SocketAddr) -> String {
    let bare = unquoted(value);
    let quoted = bare.len() < value.len();
    let named = match bare.parse::<SocketAddr>() {
        Ok(address) if address == to => "the listener",
        Ok(address) if address == up => "the upstream",
        Ok(address) if address == refused => "the endpoint that refuses",
        Ok(address) if address.ip().is_loopback() => "the caller",
        _ => bare,
    };
    if quoted { format!("\"{named}\"") } else { named.to_owned() }
}

fn of_text(line: &str) -> BTreeMap<String, String> {
    let mut columns = line.split(COLUMN).map(str::to_owned);
    let path = columns.next().unwrap_or_default();
    let keys = MEASURED.iter().chain(&SAME).map(|operator| (*operator).to_owned());
    std::iter::once(("path".to_owned(), path)).chain(keys.zip(columns)).collect()
}

fn of_json(line: &str) -> BTreeMap<String, String> {
    let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let keys: Vec<_> = object.as_object().expect("an object").keys().collect();
    assert!(keys.is_sorted(), "{line}");
    let mut values = BTreeMap::new();
    for (key, value) in object.as_object().expect("an object") {
        match value {
            Value::Object(inner) if key == "all" => {
                values.extend(inner.iter().map(|(key, value)| (key.clone(), value.to_string())));
            }
            value => drop(values.insert(key.clone(), value.to_string())),
        }
    }
    values
}
