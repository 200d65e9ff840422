//! DestinationRule: `spec:` -> [`TrafficDraft`].
//!
//! Law: Istio's overlay of settings: a subset's group of settings (balancing, connections, outlier detection) stands for
//! the rule's whole group, and a port's for all of them; `link::overlay` does it. What is for TLS is refused by name.
//!
//! Source: istio/api `networking/v1alpha3/destination_rule.proto`, Istio's `validation.go` and `cluster_traffic_policy.go`.

mod balancing;
mod fields;
mod outlier;
mod pool;
#[cfg(test)]
mod tests;

pub(super) use balancing::{aggression, attribute, prime, token};
pub(super) use fields::FIELDS;

use std::collections::HashSet;

use super::decode::Field;
use super::draft::{ClusterDraft, Dialect, SubsetDraft, TrafficDraft};
use super::metadata::Metadata;
use super::networking;
use super::table::{Keys, Table, each, filled, maybe};
use crate::snapshot::{Fraction, RetryBudget};

/// One DestinationRule; `None` when something cannot be made out.
pub(super) fn decode(field: &Field<'_>, metadata: &Metadata) -> Option<TrafficDraft> {
    const KEYS: Keys = Keys {
        known: &["host", "trafficPolicy", "subsets", "exportTo"],
        later: &[],
        never: &[("workloadSelector", "a file is for the proxy that reads it")],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let host = table.require("host").and_then(|field| host(&field));
    let all = maybe(&table, "trafficPolicy", |field| traffic_policy(field));
    let mut names = HashSet::new();
    let subsets = each(&table, "subsets", |field| subset(field, &mut names));
    let exported = networking::export_to(&table);
    let (host, all, subsets) = (host?, all?.unwrap_or_default(), subsets?);
    exported?;
    Some(TrafficDraft {
        place: metadata.place.clone(),
        dialect: Dialect::VirtualService,
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        created: metadata.created.clone(),
        host,
        source: None,
        all,
        subsets,
    })
}

fn host(field: &Field<'_>) -> Option<super::draft::HostRef> {
    if field.text()?.starts_with('*') {
        let reason = "a rule for several hosts is not supported";
        field.fault_with("not-supported", reason, "a DestinationRule for each service");
        return None;
    }
    networking::host(field)
}

fn subset(field: &Field<'_>, names: &mut HashSet<String>) -> Option<SubsetDraft> {
    const KEYS: Keys =
        Keys { known: &["name", "labels", "trafficPolicy"], later: &[], never: &[], proto: true };
    let table = Table::new(field, &KEYS)?;
    let name = table.require("name").and_then(|field| {
        let text = field.filled()?;
        if !names.insert(text.to_owned()) {
            field.fault("duplicate-subset", format!("`{text}` is the name of another subset already"));
            return None;
        }
        networking::plain_name(&field, text)
    });
    let labels = networking::labels(&table, "labels");
    let settings = maybe(&table, "trafficPolicy", |field| traffic_policy(field));
    Some(SubsetDraft {
        place: field.place(),
        name: Some(name?),
        labels: labels?,
        settings: settings?.unwrap_or_default(),
    })
}

/// `trafficPolicy:` of a rule or a subset.
fn traffic_policy(field: &Field<'_>) -> Option<ClusterDraft> {
    const KEYS: Keys = Keys {
        known: &[
            "loadBalancer",
            "connectionPool",
            "outlierDetection",
            "portLevelSettings",
            "retryBudget",
            "tls",
        ],
        later: &[],
        never: &[
            ("tunnel", "requests are routed here, not connections"),
            ("proxyProtocol", "upstream connections carry nothing but HTTP"),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let settings = groups(&table);
    let budget = maybe(&table, "retryBudget", retry_budget);
    let mut numbers = HashSet::new();
    let ports = each(&table, "portLevelSettings", |field| port_settings(field, &mut numbers));
    let mut settings = settings?;
    settings.retry_budget = budget?;
    settings.ports = ports?;
    Some(settings)
}

/// The groups that a port may have as well.
fn groups(table: &Table<'_>) -> Option<ClusterDraft> {
    let mut settings = ClusterDraft::default();
    let balancing = maybe(table, "loadBalancer", |field| balancing::read(field, &mut settings));
    let pool = maybe(table, "connectionPool", |field| pool::read(field, &mut settings));
    let outlier = maybe(table, "outlierDetection", |field| outlier::read(field, &mut settings));
    let tls = maybe(table, "tls", tls);
    let (_, _, _, _) = (balancing?, pool?, outlier?, tls?);
    Some(settings)
}

fn port_settings(field: &Field<'_>, numbers: &mut HashSet<u16>) -> Option<(u16, ClusterDraft)> {
    const KEYS: Keys = Keys {
        known: &["port", "loadBalancer", "connectionPool", "outlierDetection", "tls"],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let port = table.require("port").and_then(|field| {
        let number = Table::new(&field, &Keys::of(&["number"]))?.require("number")?;
        let port = networking::port(&number)?;
        if !numbers.insert(port) {
            number.fault("duplicate-port", format!("{port} stands twice"));
            return None;
        }
        Some(port)
    });
    let settings = groups(&table);
    let (port, mut settings) = (port?, settings?);
    settings.at.whole = Some(field.place());
    Some((port, settings))
}

/// `tls: {mode: DISABLE}` is what happens anyway.
fn tls(field: &Field<'_>) -> Option<()> {
    let table = Table::new(
        field,
        &Keys {
            known: &["mode"],
            later: &[
                "clientCertificate",
                "privateKey",
                "caCertificates",
                "credentialName",
                "subjectAltNames",
                "sni",
                "insecureSkipVerify",
                "caCrl",
            ],
            never: &[],
            proto: true,
        },
    )?;
    match filled(&table, "mode") {
        None | Some((_, "DISABLE")) => Some(()),
        Some((field, mode)) => {
            field.fault_with("not-supported", format!("`{mode}` is not supported yet"), "DISABLE");
            None
        }
    }
}

/// `retryBudget:`, by default a fifth of the requests and three at least.
fn retry_budget(field: &Field<'_>) -> Option<RetryBudget> {
    const KEYS: Keys =
        Keys { known: &["percent", "minRetryConcurrency"], later: &[], never: &[], proto: true };
    let table = Table::new(field, &KEYS)?;
    let default = RetryBudget::default();
    let percent = maybe(&table, "percent", Field::percent);
    let least = maybe(&table, "minRetryConcurrency", |field| field.integer(0..=u32::MAX.into()));
    Some(RetryBudget {
        share: percent?.map_or(default.share, Fraction::of_percent),
        min_concurrency: least?.map_or(default.min_concurrency, |least| least as u32),
    })
}
