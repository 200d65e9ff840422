//! How routings are written for Weir, each in its own dialect.
//!
//! Law: it is written from what was drawn, and knows nothing of Envoy's configuration.

use std::net::SocketAddr;

use serde_json::Value;

use super::drawn::{Dialect, Drawn, VERSIONS};
use super::{gateway_routes, route_rules, virtual_services};

/// weir.yaml and its rules. The workload that rules know has the address `caller`.
pub(super) fn written(drawn: &[Drawn], upstreams: &[SocketAddr], caller: &str) -> (String, String) {
    let own: Vec<String> = drawn.iter().filter(|one| one.service).map(Drawn::own).collect();
    let mut services = vec!["x".to_owned()];
    services.extend(own);
    let mut objects = Vec::new();
    for one in drawn {
        objects.extend(gateway_routes::grpc_route(one));
        match one.dialect {
            _ if one.rules(false).next().is_none() => {}
            Dialect::RouteRule => objects.extend(route_rules::written(one)),
            Dialect::VirtualService => objects.push(virtual_services::written(one)),
            Dialect::Gateway => objects.extend(gateway_routes::http_routes(one)),
        }
        // An older dialect's has no say, nor has a younger VirtualService.
        if one.contested {
            objects.push(virtual_services::in_vain(one));
            objects.extend(one.service.then(|| route_rules::in_vain(one)));
        }
    }
    of_objects(&services, upstreams, caller, objects)
}

/// weir.yaml with these services, all of them in every version, and objects.
pub(super) fn of_objects(
    services: &[String],
    upstreams: &[SocketAddr],
    caller: &str,
    objects: Vec<Value>,
) -> (String, String) {
    let mut yaml = format!(
        "listeners: [{{name: in, address: \"127.0.0.1:0\"}}]\n\
         callers: [{{cidr: {caller}/32, service: web.shop, labels: {{app: web}}}}]\n\
         limits: {{upstream_idle: {{http1: 2s, http2: 2s}}}}\nservices:\n"
    );
    for service in services {
        yaml += &format!("- name: {service}\n  endpoints:\n");
        for (version, address) in VERSIONS.iter().zip(upstreams) {
            yaml += &format!("  - {{address: \"{address}\", labels: {{version: {version}}}}}\n");
        }
    }
    let subsets = services.iter().map(|service| virtual_services::destination_rule(service));
    let rules: Vec<String> = subsets.chain(objects).map(|object| object.to_string()).collect();
    (yaml, rules.join("\n---\n"))
}
