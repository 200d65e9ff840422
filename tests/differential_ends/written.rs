//! The kinds, written for Envoy and for Weir, and what each counts of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::world::Http;
use super::envoy;
use super::upstreams::{CONNECT, Kind};
use super::{LOG_FORMAT, OF_CLUSTER, OF_ENDPOINT};

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// A bootstrap with one cluster for each kind.
pub(super) fn for_envoy(kinds: &[Kind], up: Http, log: &Path) -> String {
    let hosts: Vec<Value> = kinds
        .iter()
        .map(|kind| {
            let mut action = json!({"cluster": kind.name, "timeout": "0s"});
            let held = json!({"match": {"path": "/held"}, "route": action});
            if let Some(timeout) = kind.timeout {
                action["timeout"] = json!(seconds(timeout));
            }
            if kind.retries {
                action["retry_policy"] = json!({"retry_on": "5xx", "num_retries": 1});
                if let Some(per_try) = kind.per_try {
                    action["retry_policy"]["per_try_timeout"] = json!(seconds(per_try));
                }
            }
            let rest = json!({"match": {"prefix": "/"}, "route": action});
            json!({"name": kind.name, "domains": [format!("{}.example", kind.name)], "routes": [held, rest]})
        })
        .collect();
    let clusters: Vec<String> = kinds.iter().map(|kind| cluster(kind, up)).collect();
    let routes = format!("virtual_hosts: {}", Value::from(hosts));
    envoy::bootstrap(&envoy::access_log(log, LOG_FORMAT), &[], &routes, &clusters)
}

fn cluster(kind: &Kind, up: Http) -> String {
    let mut thresholds = json!({});
    if kind.single {
        thresholds["max_connections"] = json!(1);
    }
    for (name, _, most) in kind.most {
        thresholds[*name] = json!(most);
    }
    let up = envoy::speaks(match up {
        Http::One => "http_protocol_options: {}",
        Http::Two if kind.single => "http2_protocol_options: {max_concurrent_streams: 1}",
        Http::Two => "http2_protocol_options: {}",
    });
    let connect = seconds(CONNECT);
    let more = format!("connect_timeout: {connect}, circuit_breakers: {{thresholds: [{thresholds}]}}, {up}");
    envoy::cluster(kind.name, Some(kind.at.parse().expect("an address")), &more)
}

/// weir.yaml, and a VirtualService for each kind.
pub(super) fn for_weir(kinds: &[Kind], up: Http, log: &Path) -> (String, String) {
    let mut yaml = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\"}}]\nlimits: {{connect_timeout: {}ms}}\n\
         access_log: {{path: \"{}\", format: \"{LOG_FORMAT}\"}}\nservices:\n",
        CONNECT.as_millis(),
        log.display()
    );
    let mut objects = Vec::new();
    for kind in kinds {
        let Kind { name, at, .. } = kind;
        let mut breakers = Vec::new();
        breakers.extend((kind.single && kind.most.is_empty()).then(|| "connections: 1".to_owned()));
        breakers.extend(kind.most.iter().map(|(_, name, most)| format!("{name}: {most}")));
        yaml += &format!(
            "- name: {name}\n  protocol: {}\n  circuit_breakers: {{{}}}\n  endpoints: [{{address: \"{at}\"}}]\n",
            up.protocol(),
            breakers.join(", ")
        );
        let destination = json!([{"destination": {"host": name}}]);
        let held = json!({"match": [{"uri": {"exact": "/held"}}], "route": destination});
        let mut rest = json!({"route": destination, "retries": {"attempts": 0}});
        if let Some(timeout) = kind.timeout {
            rest["timeout"] = json!(seconds(timeout));
        }
        if kind.retries {
            rest["retries"] = json!({"attempts": 1, "retryOn": "5xx"});
            if let Some(per_try) = kind.per_try {
                rest["retries"]["perTryTimeout"] = json!(seconds(per_try));
            }
        }
        objects.push(
            json!({
                "apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": name},
                "spec": {"hosts": [format!("{name}.example")], "http": [held, rest]},
            })
            .to_string(),
        );
        if kind.single {
            let pool = json!({"http": {"maxConcurrentStreams": 1}});
            objects.push(
                json!({
                    "apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"name": name},
                    "spec": {"host": name, "trafficPolicy": {"connectionPool": pool}},
                })
                .to_string(),
            );
        }
    }
    (yaml, objects.join("\n---\n"))
}

/// From `/stats` and `/clusters`.
pub(super) fn counted_by_envoy(pages: &[String; 2], kind: &Kind) -> BTreeMap<String, u64> {
    let [stats, clusters] = pages;
    let start = format!("cluster.{}.", kind.name);
    let of_cluster = |name: &str| {
        let mut lines = stats.lines().filter_map(|line| line.strip_prefix(&start)?.split_once(": "));
        lines.find(|(found, _)| *found == name).map_or(0, |(_, count)| count.parse().expect("a count"))
    };
    let mut counted: BTreeMap<String, u64> =
        OF_CLUSTER.iter().map(|name| ((*name).to_owned(), of_cluster(name))).collect();
    counted.extend(of_endpoint(clusters, kind));
    counted
}

/// Both write them in the same way.
fn of_endpoint(clusters: &str, kind: &Kind) -> BTreeMap<String, u64> {
    let at = format!("::{}::", kind.at);
    let lines: Vec<(&str, &str)> =
        clusters.lines().filter_map(|line| line.split_once(&at)?.1.split_once("::")).collect();
    let of = |name: &str| {
        let values = lines.iter().filter(|(found, _)| *found == name);
        values.map(|(_, count)| count.parse().expect("a count")).max().expect("the endpoint is told")
    };
    OF_ENDPOINT.iter().map(|name| (format!("endpoint {name}"), of(name))).collect()
}

/// The family that a count of Envoy's has on a page for Prometheus, and the label that says which status it is of.
fn prometheus(name: &str) -> (String, String) {
    let family = format!("envoy_cluster_{}", name.replace('.', "_"));
    let Some((family, of)) = family.rsplit_once("_rq_") else { return (family, String::new()) };
    match of.strip_suffix("xx") {
        Some(class) => (format!("{family}_rq_xx"), format!("response_code_class=\"{class}\"")),
        None if of.parse::<u16>().is_ok() => (format!("{family}_rq"), format!("response_code=\"{of}\"")),
        None => (format!("{family}_rq_{of}"), String::new()),
    }
}

/// From the metrics and `/clusters`.
pub(super) fn counted_by_weir(pages: &[String; 2], kind: &Kind) -> BTreeMap<String, u64> {
    let [metrics, clusters] = pages;
    let label = format!("envoy_cluster_name=\"out.{}.", kind.name);
    let of_cluster = |name: &str| -> u64 {
        let (family, label_of_status) = prometheus(name);
        let of_family = metrics.lines().filter_map(|line| line.strip_prefix(&family)?.strip_prefix('{'));
        let of_kind = of_family.filter(|line| line.contains(&label) && line.contains(&label_of_status));
        let counts = of_kind.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        counts.sum()
    };
    let mut counted: BTreeMap<String, u64> =
        OF_CLUSTER.iter().map(|name| ((*name).to_owned(), of_cluster(name))).collect();
    counted.extend(of_endpoint(clusters, kind));
    counted
}
