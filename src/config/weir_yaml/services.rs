//! `services:` of a `weir.yaml`.

use std::sync::Arc;
use std::time::Duration;

use super::draft::{EndpointDraft, ServiceDraft, ServiceHost, Targets};
use super::settings::labels;
use super::traffic;
use crate::config::decode::Field;
use crate::config::names::{is_dns_label, is_fqdn};
use crate::config::networking::{self, header_name};
use crate::config::table::{Keys, Table};
use crate::config::values::MAX_DURATION;
use crate::snapshot::{CircuitBreakers, UpstreamProtocol};

const KEYS: Keys = Keys::of(&[
    "name",
    "namespace",
    "host",
    "protocol",
    "repeatable",
    "timeout",
    "lb",
    "local_bias",
    "circuit_breakers",
    "outlier",
    "health_check",
    "hash",
    "slow_start",
    "panic_threshold",
    "retry_budget",
    "upgrades",
    "version_header",
    "dns_refresh",
    "endpoints",
]);

/// One service; `None` when its name or an endpoint cannot be made out.
pub(super) fn service(field: &Field<'_>) -> Option<ServiceDraft> {
    let table = Table::new(field, &KEYS)?;
    let host = service_host(&table);
    let protocol = table.get("protocol").and_then(|field| {
        use UpstreamProtocol::*;
        field.word(&[("request", AsRequest), ("http1", Http1), ("http2", Http2)])
    });
    let timeout =
        table.get("timeout").and_then(|field| field.duration()).filter(|timeout| !timeout.is_zero());
    let local_bias = table.get("local_bias").and_then(|field| field.integer(0..=i64::from(u32::MAX)));
    let refresh_range = Duration::from_millis(100)..=MAX_DURATION;
    let dns_refresh = table.get("dns_refresh").and_then(|field| field.duration_in(refresh_range));
    let lb = table.get("lb").and_then(|field| traffic::lb(&field));
    let draft = ServiceDraft {
        place: field.place(),
        protocol: protocol.unwrap_or(UpstreamProtocol::AsRequest),
        repeatable: table.get("repeatable").and_then(|field| field.boolean()).unwrap_or(false),
        timeout,
        lb,
        local_bias: local_bias.map_or(4, |bias| bias as u32),
        circuit_breakers: circuit_breakers(table.get("circuit_breakers").as_ref()),
        settings: traffic::settings(&table, lb),
        upgrades: table.get("upgrades").and_then(|field| upgrades(&field)).unwrap_or_default(),
        version_header: table.get("version_header").and_then(|field| {
            let name = header_name(&field, field.filled()?)?;
            networking::version_header(&field, name)
        }),
        dns_refresh: dns_refresh.unwrap_or(Duration::from_secs(5)),
        endpoints: endpoints(&table)?,
        host: host?,
    };
    Some(draft)
}

fn service_host(table: &Table<'_>) -> Option<ServiceHost> {
    let (name, namespace) = (table.get("name"), table.get("namespace"));
    let Some(host) = table.get("host") else {
        let label = |field: &Field<'_>| {
            let text = field.filled()?;
            if !is_dns_label(text) {
                field.fault_with(
                    "dns-name",
                    format!("`{text}` is no DNS label"),
                    "lower-case letters, digits and -",
                );
                return None;
            }
            Some(Arc::from(text))
        };
        let namespace = match &namespace {
            Some(field) => label(field),
            None => Some("default".into()),
        };
        if name.is_none() {
            table.field.fault_with("missing", "`name` is missing", "or `host`");
        }
        return Some(ServiceHost::Named { name: label(&name?)?, namespace: namespace? });
    };
    for (key, other) in [("name", name), ("namespace", namespace)] {
        if let Some(other) = other {
            other.fault("conflict", format!("`{key}` and `host` exclude each other"));
        }
    }
    let text = host.filled()?.to_ascii_lowercase();
    if !is_fqdn(&text) {
        host.fault_with(
            "dns-name",
            format!("`{text}` is no host"),
            "such as models.example.com, without a port",
        );
        return None;
    }
    Some(ServiceHost::Full(text.into()))
}

/// Protocols that callers may switch to, lower case.
fn upgrades(field: &Field<'_>) -> Option<Vec<Arc<str>>> {
    let token = |field: &Field<'_>| {
        let text = field.filled()?.to_ascii_lowercase();
        let good = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._+/".contains(&byte));
        if !good {
            field.fault_with("upgrade", format!("`{text}` is no protocol"), "such as websocket");
        }
        good.then(|| Arc::from(text))
    };
    let all: Vec<_> = field.items()?.iter().map(token).collect();
    all.into_iter().collect()
}

fn circuit_breakers(field: Option<&Field<'_>>) -> CircuitBreakers {
    let default = CircuitBreakers::default();
    let keys = Keys::of(&["connections", "pending", "requests", "retries"]);
    let Some(table) = field.and_then(|field| Table::new(field, &keys)) else { return default };
    let read = |key, least: i64, default: u32| {
        let value = table.get(key).and_then(|field| field.integer(least..=i64::from(u32::MAX)));
        value.map_or(default, |value| value as u32)
    };
    CircuitBreakers {
        connections: read("connections", 1, default.connections),
        pending: read("pending", 0, default.pending),
        requests: read("requests", 1, default.requests),
        retries: read("retries", 0, default.retries),
        retry_budget: default.retry_budget,
    }
}

/// Every endpoint, or `None` when one cannot be made out; all of them are read.
fn endpoints(table: &Table<'_>) -> Option<Vec<EndpointDraft>> {
    let items = table.require("endpoints")?;
    let all: Vec<_> = items.items()?.iter().map(endpoint).collect();
    if all.is_empty() {
        items.warn_with("no-endpoints", "every request of this service will get 503", "add an endpoint");
    }
    all.into_iter().collect()
}

fn endpoint(field: &Field<'_>) -> Option<EndpointDraft> {
    let table = Table::new(field, &Keys::of(&["address", "grpc", "http", "labels", "local", "weight"]))?;
    let targets = targets(&table);
    let labels = table.get("labels").map_or_else(|| Some(Default::default()), |field| labels(&field));
    let local = table.get("local").map_or(Some(false), |field| field.boolean());
    let weight = table.get("weight").map_or(Some(1), |field| field.integer(1..=1_000_000));
    let (labels, local, weight) = (labels?, local?, weight? as u32);
    Some(EndpointDraft { place: field.place(), targets: targets?, labels, local, weight })
}

fn targets(table: &Table<'_>) -> Option<Targets> {
    let (address, grpc, http) = (table.get("address"), table.get("grpc"), table.get("http"));
    let Some(address) = address else {
        if grpc.is_none() && http.is_none() {
            let help = "`address` for every request, or `grpc` and `http`";
            table.field.fault_with("missing", "the endpoint has no address", help);
            return None;
        }
        let read = |field: Option<Field<'_>>| match field {
            None => Some(None),
            Some(field) => field.address().map(Some),
        };
        let (grpc, http) = (read(grpc), read(http));
        return Some(Targets::ByProtocol { grpc: grpc?, http: http? });
    };
    for (key, other) in [("grpc", &grpc), ("http", &http)] {
        if let Some(other) = other {
            other.fault("conflict", format!("`{key}` and `address` exclude each other"));
        }
    }
    address.address().filter(|_| grpc.is_none() && http.is_none()).map(Targets::Both)
}
