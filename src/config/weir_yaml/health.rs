//! `health_check:` of a service: one way to ask its endpoints whether they are well, or several.
//!
//! Law: an endpoint is well when all of them say so. Statuses are ranges with both ends.

use std::sync::Arc;
use std::time::Duration;

use crate::config::decode::Field;
use crate::config::networking;
use crate::config::table::{Keys, Table, filled, maybe};
use crate::config::tree::Value;
use crate::config::values::MAX_DURATION;
use crate::snapshot::edit::HeaderEdit;
use crate::snapshot::{HealthCheck, HealthCheckKind};

/// Each has a task of its own for every endpoint.
const MAX_CHECKS: usize = 8;

/// One check, or a list of them.
pub(super) fn checks(field: &Field<'_>) -> Option<Vec<HealthCheck>> {
    let Value::Sequence(_) = &field.node.value else { return check(field).map(|one| vec![one]) };
    let items = field.items()?;
    if items.len() > MAX_CHECKS {
        let reason = format!("{} health checks of one service", items.len());
        field.fault_with("too-many", reason, format!("at most {MAX_CHECKS}"));
        return None;
    }
    let all: Vec<_> = items.iter().map(check).collect();
    all.into_iter().collect()
}

fn check(field: &Field<'_>) -> Option<HealthCheck> {
    const KEYS: Keys = Keys::of(&[
        "http",
        "grpc",
        "tcp",
        "model",
        "timeout",
        "interval",
        "interval_jitter",
        "no_traffic_interval",
        "unhealthy_threshold",
        "healthy_threshold",
        "port",
    ]);
    let table = Table::new(field, &KEYS)?;
    let kinds: [(&'static str, fn(&Field<'_>) -> Option<HealthCheckKind>); 4] =
        [("http", http), ("grpc", grpc), ("tcp", tcp), ("model", model)];
    let mut given: Vec<_> =
        kinds.into_iter().filter_map(|(key, read)| table.get(key).map(|field| read(&field))).collect();
    let positive = Duration::from_millis(1)..=MAX_DURATION;
    let time = |key| maybe(&table, key, |field| field.duration_in(positive.clone()));
    let (timeout, interval, idle) = (time("timeout"), time("interval"), time("no_traffic_interval"));
    let jitter = maybe(&table, "interval_jitter", |field| field.duration());
    let threshold = |key| maybe(&table, key, |field| field.integer(1..=1_000).map(|count| count as u32));
    let (unhealthy, healthy) = (threshold("unhealthy_threshold"), threshold("healthy_threshold"));
    let port = maybe(&table, "port", networking::port);
    let only = given.pop().filter(|_| given.is_empty());
    if only.is_none() {
        field.fault_with("health-check", "it is not one way to ask", "one of http, grpc, tcp and model");
    }
    let default = HealthCheck::new(only??);
    Some(HealthCheck {
        timeout: timeout?.unwrap_or(default.timeout),
        interval: interval?.unwrap_or(default.interval),
        interval_jitter: jitter?.unwrap_or(default.interval_jitter),
        no_traffic_interval: idle?.unwrap_or(default.no_traffic_interval),
        unhealthy_threshold: unhealthy?.unwrap_or(default.unhealthy_threshold),
        healthy_threshold: healthy?.unwrap_or(default.healthy_threshold),
        port: port?,
        kind: default.kind,
    })
}

fn http(field: &Field<'_>) -> Option<HealthCheckKind> {
    let table = Table::new(field, &Keys::of(&["path", "host", "expected_statuses", "headers"]))?;
    let path = table.require("path").and_then(|field| {
        let text = field.filled()?;
        let good = text.starts_with('/') && text.parse::<::http::uri::PathAndQuery>().is_ok();
        if !good {
            field.fault_with("health-check", format!("`{text}` is no path"), "such as /healthz");
        }
        good.then(|| Arc::from(text))
    });
    let host = host(&table, "host");
    let expected = maybe(&table, "expected_statuses", |field| {
        let all: Vec<_> = field.items()?.iter().map(statuses).collect();
        all.into_iter().collect::<Option<Vec<_>>>()
    });
    let headers = maybe(&table, "headers", headers);
    Some(HealthCheckKind::Http {
        path: path?,
        host: host?,
        expected: expected?.filter(|all| !all.is_empty()).unwrap_or_else(|| vec![(200, 201)]),
        headers: headers?.unwrap_or_default(),
    })
}

/// `200`, or `200-299`.
fn statuses(field: &Field<'_>) -> Option<(u16, u16)> {
    let help = "a status such as 200, or \"200-299\"";
    if field.node.kind_name() == "a number" {
        let status = field.integer_as("status", 100..=599)? as u16;
        return Some((status, status + 1));
    }
    field.parsed("status", help, |text| {
        let status = |text: &str| text.parse::<u16>().ok().filter(|status| (100..600).contains(status));
        let ends = text.split_once('-').and_then(|(first, last)| Some((status(first)?, status(last)?)));
        let ends = ends.filter(|(first, last)| first <= last);
        ends.map(|(first, last)| (first, last + 1)).ok_or_else(|| format!("`{text}` is no range of statuses"))
    })
}

fn headers(field: &Field<'_>) -> Option<Vec<HeaderEdit>> {
    let read = |(name, field): &(&str, Field<'_>)| {
        let name =
            networking::header_name(field, name).filter(|name| networking::editable(field, name).is_some());
        let value = field.text()?;
        if ::http::HeaderValue::from_str(value).is_err() {
            field.fault("header-value", "it holds what no header may hold");
            return None;
        }
        Some(HeaderEdit { name: name?, value: value.into() })
    };
    let all: Vec<_> = field.pairs()?.iter().map(read).collect();
    all.into_iter().collect()
}

#[allow(clippy::option_option)] // the outer one is the fault
fn host(table: &Table<'_>, key: &'static str) -> Option<Option<Arc<str>>> {
    let Some((field, text)) = filled(table, key) else { return Some(None) };
    if !networking::is_authority(text) {
        field.fault_with("service-host", format!("`{text}` is no host"), "such as models.example.com");
        return None;
    }
    Some(Some(text.into()))
}

fn grpc(field: &Field<'_>) -> Option<HealthCheckKind> {
    let table = Table::new(field, &Keys::of(&["service_name", "authority"]))?;
    let service = match filled(&table, "service_name") {
        None => Some(None),
        Some((field, text)) => networking::plain_name(&field, text).map(Some),
    };
    let authority = host(&table, "authority");
    Some(HealthCheckKind::Grpc { service: service?, authority: authority? })
}

fn tcp(field: &Field<'_>) -> Option<HealthCheckKind> {
    Table::new(field, &Keys::of(&[])).map(|_| HealthCheckKind::Tcp)
}

/// TensorFlow Serving's name of a model has no `/` and no `:`.
fn model(field: &Field<'_>) -> Option<HealthCheckKind> {
    let table = Table::new(field, &Keys::of(&["name", "version"]))?;
    let name = table.require("name").and_then(|field| {
        let text = field.filled()?;
        let good = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:?#%".contains(&byte));
        if !good {
            field.fault_with("health-check", format!("`{text}` is no model"), "letters, digits, - _ and .");
        }
        good.then(|| Arc::from(text))
    });
    let version = maybe(&table, "version", |field| field.integer(0..=i64::MAX).map(|version| version as u64));
    Some(HealthCheckKind::Model { name: name?, version: version? })
}
