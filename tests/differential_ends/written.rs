//! The kinds, written for Envoy and for Weir, and what each counts of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use super::common::world::Http;
use super::upstreams::{CONNECT, Kind};
use super::{LOG_FORMAT, OF_CLUSTER, OF_ENDPOINT};

fn seconds(time: Duration) -> String {
    format!("{}s", time.as_secs_f64())
}

/// A bootstrap with one cluster for each kind.
pub(super) fn for_envoy(kinds: &[Kind], up: Http, log: &Path) -> String {
    let package = "type.googleapis.com/envoy.extensions";
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
    let clusters: Vec<Value> = kinds.iter().map(|kind| cluster(kind, up, package)).collect();
    let manager = json!({
        "@type": format!("{package}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "predict",
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": format!("{package}.filters.http.router.v3.Router")},
        }],
        "route_config": {"virtual_hosts": hosts},
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": format!("{package}.access_loggers.file.v3.FileAccessLog"),
                "path": log.to_string_lossy(),
                "log_format": {"text_format_source": {"inline_string": LOG_FORMAT.replace("\\n", "\n")}},
            },
        }],
    });
    let chain = json!({"filters": [{
        "name": "envoy.filters.network.http_connection_manager", "typed_config": manager,
    }]});
    let any = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
    let listener = json!({"name": "predict", "address": any, "filter_chains": [chain]});
    json!({"admin": {"address": any}, "static_resources": {"listeners": [listener], "clusters": clusters}})
        .to_string()
}

fn cluster(kind: &Kind, up: Http, package: &str) -> Value {
    let at: SocketAddr = kind.at.parse().expect("an address");
    let address = json!({"address": at.ip().to_string(), "port_value": at.port()});
    let endpoint = json!({"endpoint": {"address": {"socket_address": address}}});
    let mut thresholds = json!({});
    if kind.single {
        thresholds["max_connections"] = json!(1);
    }
    if kind.nobody_waits {
        thresholds["max_pending_requests"] = json!(0);
    }
    let protocol = match up {
        Http::One => json!({"http_protocol_options": {}}),
        Http::Two if kind.single => json!({"http2_protocol_options": {"max_concurrent_streams": 1}}),
        Http::Two => json!({"http2_protocol_options": {}}),
    };
    let options = json!({
        "@type": format!("{package}.upstreams.http.v3.HttpProtocolOptions"),
        "explicit_http_config": protocol,
    });
    json!({
        "name": kind.name,
        "type": "STATIC",
        "connect_timeout": seconds(CONNECT),
        "circuit_breakers": {"thresholds": [thresholds]},
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": kind.name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    })
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
        breakers.extend(kind.single.then_some("connections: 1"));
        breakers.extend(kind.nobody_waits.then_some("pending: 0"));
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

/// From the metrics and `/clusters`.
pub(super) fn counted_by_weir(pages: &[String; 2], kind: &Kind) -> BTreeMap<String, u64> {
    let [metrics, clusters] = pages;
    let label = format!("envoy_cluster_name=\"out.{}.", kind.name);
    let of_cluster = |name: &str| -> u64 {
        let (family, class) = match name.strip_prefix("upstream_rq_").and_then(|rest| rest.strip_suffix("xx"))
        {
            Some(class) => ("envoy_cluster_upstream_rq_xx".to_owned(), format!("class=\"{class}\"")),
            None => (format!("envoy_cluster_{name}"), String::new()),
        };
        let of_family = metrics.lines().filter_map(|line| line.strip_prefix(&family)?.strip_prefix('{'));
        let of_kind = of_family.filter(|line| line.contains(&label) && line.contains(&class));
        let counts = of_kind.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        counts.sum()
    };
    let mut counted: BTreeMap<String, u64> =
        OF_CLUSTER.iter().map(|name| ((*name).to_owned(), of_cluster(name))).collect();
    counted.extend(of_endpoint(clusters, kind));
    counted
}
