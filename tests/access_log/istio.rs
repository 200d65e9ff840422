//! Istio's default formats, before and since `UPSTREAM_CLUSTER_RAW`: what each line says in Envoy and in Weir.
//!
//! Law: a format that a mesh has today is taken as it stands, and its lines say the same.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::common::parts::part;
use super::common::world::raw::Raw;
use super::common::world::{World, free_port, lines_of, run, until};
use super::envoy::Envoy;
use super::likeness::{for_envoy, for_weir, probes, routes, unquoted, with_names};
use super::upstream::Upstream;

/// What a line says, in the order of the text: the key in JSON, the operators, whether the text has it in quotes.
const FIELDS: [(&str, &str, bool); 22] = [
    ("start_time", "[%START_TIME%]", false),
    ("request", "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%", true),
    ("response_code", "%RESPONSE_CODE%", false),
    ("response_flags", "%RESPONSE_FLAGS%", false),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%", false),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%", false),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%", true),
    ("bytes_received", "%BYTES_RECEIVED%", false),
    ("bytes_sent", "%BYTES_SENT%", false),
    ("duration", "%DURATION%", false),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%", false),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%", true),
    ("user_agent", "%REQ(USER-AGENT)%", true),
    ("request_id", "%REQ(X-REQUEST-ID)%", true),
    ("authority", "%REQ(:AUTHORITY)%", true),
    ("upstream_host", "%UPSTREAM_HOST%", true),
    ("upstream_cluster", "", false),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%", false),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%", false),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%", false),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%", false),
    ("route_name", "%ROUTE_NAME%", false),
];
/// The cluster's operator in the older ones, and in today's.
const CLUSTER: [(&str, &str); 2] = [("old", "%UPSTREAM_CLUSTER%"), ("new", "%UPSTREAM_CLUSTER_RAW%")];
/// A request that is answered, one that the upstream refuses, and two that reach none.
const PROBES: [&str; 4] = ["plain", "unavailable", "empty", "no-route"];

/// Text and JSON of each.
fn formats() -> Vec<(String, Value)> {
    let both = CLUSTER.iter().flat_map(|(name, cluster)| {
        let fields = FIELDS.iter().map(|&(key, operators, is_quoted)| {
            (key, if key == "upstream_cluster" { *cluster } else { operators }, is_quoted)
        });
        let text = fields.clone().map(|(_, operators, is_quoted)| match is_quoted {
            true => format!("\"{operators}\""),
            false => operators.to_owned(),
        });
        let text = text.collect::<Vec<_>>().join(" ");
        // The request line has a key for each part there.
        let parts = [
            ("method", "%REQ(:METHOD)%"),
            ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
            ("protocol", "%PROTOCOL%"),
        ];
        let keyed = fields.map(|(key, operators, _)| (key, operators)).filter(|(key, _)| *key != "request");
        let object: Map<String, Value> = keyed
            .chain(parts)
            .map(|(key, operators)| (key.to_owned(), operators.trim_matches(['[', ']']).into()))
            .collect();
        [(format!("{name}-text"), text.into()), (format!("{name}-json"), json!({"json": object}))]
    });
    both.collect()
}

#[test]
fn istios_default_formats_are_taken_and_say_what_they_say_in_envoy() {
    let Some(program) = part("envoy") else { return };
    run(async || {
        let upstream = Upstream::start().await;
        let refused = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let formats = formats();
        let named: Vec<(&str, Value)> =
            formats.iter().map(|(name, format)| (&**name, format.clone())).collect();
        let envoy = Envoy::with(&program, |log| for_envoy(upstream.at, refused, log, &named));
        send(envoy.address).await;
        let folder = tempfile::tempdir().expect("a folder");
        for (name, format) in &formats {
            let log = folder.path().join(name);
            let config = for_weir(upstream.at, refused, &log, format);
            let weir = World::with_rules(&config, &[("routes.yaml", &routes())]).await;
            send(weir.addr("in")).await;
            let told = told(&log, weir.addr("in"), &upstream).await;
            let wanted = self::told(&envoy.log.with_file_name(name), envoy.address, &upstream).await;
            assert_eq!(told, wanted, "{name}");
        }
    });
}

async fn send(to: SocketAddr) {
    for name in PROBES {
        let probe = probes().into_iter().find(|probe| probe.name == name).expect("a probe");
        let mut caller = Raw::connect(to).await;
        caller.write(&probe.bytes).await;
        caller.read_to_end().await;
    }
}

/// What each line says. What differs from run to run, and what each gives names of its own, is put in words.
async fn told(log: &Path, to: SocketAddr, upstream: &Upstream) -> Vec<BTreeMap<String, String>> {
    let lines = until("a line of each", || {
        let lines = if log.exists() { lines_of(log) } else { Vec::new() };
        (lines.len() >= PROBES.len()).then_some(lines)
    })
    .await;
    let fields = |line: &String| match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(object) => object.into_iter().map(|(key, value)| (key, value.to_string())).collect(),
        Err(_) => of_text(line),
    };
    let words = |(key, value): (String, String)| {
        let told = unquoted(&value);
        let is_number = !told.is_empty() && told.bytes().all(|byte| byte.is_ascii_digit());
        let word = match &*key {
            "start_time" if told.trim_matches(['[', ']']).ends_with('Z') => "a time".to_owned(),
            "duration" | "upstream_service_time" if is_number => "a number".to_owned(),
            "upstream_cluster" | "route_name" if !["-", "null"].contains(&told) => "a name".to_owned(),
            "upstream_local_address" if upstream.callers.borrow().contains(told) => "its own end".to_owned(),
            _ => with_names(told, to, upstream.at, upstream.at),
        };
        (key, word)
    };
    lines.iter().map(fields).map(|fields: Vec<_>| fields.into_iter().map(words).collect()).collect()
}

/// Spaces stand between fields, and in quotes.
fn of_text(line: &str) -> Vec<(String, String)> {
    let mut values: Vec<String> = vec![String::new()];
    let mut is_quoted = false;
    for c in line.chars() {
        is_quoted ^= c == '"';
        match values.last_mut() {
            Some(value) if c != ' ' || is_quoted => value.push(c),
            _ => values.push(String::new()),
        }
    }
    assert_eq!(values.len(), FIELDS.len(), "{line}");
    FIELDS.iter().map(|(key, _, _)| (*key).to_owned()).zip(values).collect()
}
