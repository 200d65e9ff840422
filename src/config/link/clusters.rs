//! Services -> clusters: one for each protocol's port and each selection of labels that a route asks for.
//!
//! Law: a selection without endpoints is a cluster without endpoints (503, flag UH), never a missing one.
//! Names are Istio 0.x's: `out.<host>|grpc|version=v1`. Istio cut names over 189 characters and appended a SHA-1, for
//! a limit that Envoy had then; here a long name stays whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::hosts::Known;
use super::traffic::Settings;
use crate::config::draft::Dialect;
use crate::config::weir_yaml::{EndpointDraft, ServiceDraft, Targets};
use crate::snapshot::{
    Address, Cluster, Endpoint, Labels, LbPolicy, Locality, UpstreamProtocol, VersionTarget,
};
use crate::words::Protocol;

/// Where requests are split.
const OUT: &str = "out";
/// Where they are delivered.
const IN: &str = "in";

/// The clusters that routes have asked for.
#[derive(Debug)]
pub(super) struct Clusters<'s> {
    pub(super) built: BTreeMap<Arc<str>, Arc<Cluster>>,
    connect_timeout: Duration,
    /// The services that a dialect other than RouteRule is about, by full host.
    dialects: BTreeMap<Arc<str>, Dialect>,
    /// What objects say of them.
    pub(super) settings: Settings<'s>,
}

/// A group of a service's endpoints.
struct Group<'g, 'd> {
    service: &'g Known<'d>,
    /// [`OUT`] or [`IN`].
    direction: &'static str,
    labels: &'g Labels,
    /// The subset's name, where its labels do not tell it from another cluster.
    suffix: Option<&'g str>,
    endpoints: Vec<&'d EndpointDraft>,
    /// Whether some endpoints have a port for each protocol, so that each protocol has its cluster.
    by_protocol: bool,
}

impl<'s> Clusters<'s> {
    pub(super) fn new(
        connect_timeout: Duration,
        dialects: BTreeMap<Arc<str>, Dialect>,
        settings: Settings<'s>,
    ) -> Clusters<'s> {
        Clusters { built: BTreeMap::new(), connect_timeout, dialects, settings }
    }

    /// How an endpoint is chosen where nobody says it: as the dialect that is about the service has it.
    fn default_lb(&self, host: &str) -> LbPolicy {
        match self.dialects.get(host) {
            Some(Dialect::VirtualService) => LbPolicy::LeastRequest,
            Some(Dialect::RouteRule | Dialect::GatewayApi) | None => LbPolicy::RoundRobin,
        }
    }

    /// The endpoints of `service` that have `labels`, as the target of a share.
    pub(super) fn select(&mut self, service: &Known<'_>, labels: &Labels, weight: u32) -> VersionTarget {
        self.out(service, labels, None, weight)
    }

    /// The subset `name` of `service` as the target of a share, and its labels; nothing if nobody says what it is.
    pub(super) fn subset(
        &mut self,
        service: &Known<'_>,
        name: &str,
        weight: u32,
    ) -> Option<(VersionTarget, Labels)> {
        let part = self.settings.subset(&service.host, name)?;
        let (labels, suffix) = (part.labels.clone(), part.suffix.cloned());
        Some((self.out(service, &labels, suffix.as_deref(), weight), labels))
    }

    fn out(
        &mut self,
        service: &Known<'_>,
        labels: &Labels,
        suffix: Option<&str>,
        weight: u32,
    ) -> VersionTarget {
        let endpoints = selected(service.draft, labels).collect();
        let by_protocol = service.draft.endpoints.iter().any(has_ports);
        let group = Group { service, direction: OUT, labels, suffix, endpoints, by_protocol };
        self.target(&group, weight)
    }

    /// A target whose cluster does not exist.
    pub(super) fn absent(host: &str, part: &str, weight: u32) -> VersionTarget {
        let name: Arc<str> = match part {
            "" => format!("out.{host}").into(),
            _ => format!("out.{host}@{part}").into(),
        };
        VersionTarget { weight, grpc_cluster: name.clone(), http_cluster: name, ..VersionTarget::default() }
    }

    /// The local endpoints of `service`.
    pub(super) fn local(&mut self, service: &Known<'_>) -> VersionTarget {
        let endpoints: Vec<_> = service.draft.endpoints.iter().filter(|endpoint| endpoint.local).collect();
        let by_protocol = endpoints.iter().any(|endpoint| has_ports(endpoint));
        let labels = &Labels::new();
        let group = Group { service, direction: IN, labels, suffix: None, endpoints, by_protocol };
        self.target(&group, 100)
    }

    fn target(&mut self, group: &Group<'_, '_>, weight: u32) -> VersionTarget {
        let [grpc, http] = match group.by_protocol {
            true => Protocol::ALL.map(|protocol| self.build(group, Some(protocol))),
            false => {
                let both = self.build(group, None);
                [both.clone(), both]
            }
        };
        // The clusters' own, not the rule's: thousands of rules name the same versions, and share them like this.
        VersionTarget {
            version: http.labels.get("version").cloned(),
            labels: http.labels.clone(),
            weight,
            grpc_cluster: grpc.name.clone(),
            http_cluster: http.name.clone(),
            ..VersionTarget::default()
        }
    }

    /// The cluster of a group for one protocol's port, or for every request.
    fn build(&mut self, group: &Group<'_, '_>, port: Option<Protocol>) -> Arc<Cluster> {
        let name = cluster_name(group, port);
        if let Some(known) = self.built.get(name.as_str()) {
            return known.clone();
        }
        let (name, draft) = (Arc::<str>::from(name), group.service.draft);
        let mut new = Cluster {
            name: name.clone(),
            service: group.service.host.clone(),
            labels: group.labels.clone(),
            protocol: upstream_protocol(group, port),
            lb: draft.lb.unwrap_or(self.default_lb(&group.service.host)),
            local_bias: draft.local_bias,
            connect_timeout: self.connect_timeout,
            dns_refresh: draft.dns_refresh,
            circuit_breakers: draft.circuit_breakers,
            localities: vec![Locality { priority: 0, endpoints: endpoints(group, port) }],
            traffic: None,
        };
        if group.direction == OUT {
            self.settings.apply(draft, group.suffix, &mut new);
        }
        let new = Arc::new(new);
        self.built.insert(name, new.clone());
        new
    }
}

/// The endpoints of `draft` that have all of `labels`.
pub(super) fn selected<'d>(
    draft: &'d ServiceDraft,
    labels: &Labels,
) -> impl Iterator<Item = &'d EndpointDraft> {
    draft.endpoints.iter().filter(move |endpoint| {
        labels.iter().all(|(key, value)| endpoint.labels.get(key).is_some_and(|own| own == value))
    })
}

fn has_ports(endpoint: &EndpointDraft) -> bool {
    matches!(endpoint.targets, Targets::ByProtocol { .. })
}

fn cluster_name(group: &Group<'_, '_>, port: Option<Protocol>) -> String {
    let mut name = format!("{}.{}", group.direction, group.service.host);
    if let Some(port) = port {
        name = format!("{name}|{}", port.as_str());
    }
    for (index, (key, value)) in group.labels.iter().enumerate() {
        name.push(if index == 0 { '|' } else { ',' });
        name.push_str(key);
        if !value.is_empty() {
            name.push('=');
            name.push_str(value);
        }
    }
    if let Some(suffix) = group.suffix {
        name.push('@');
        name.push_str(suffix);
    }
    name
}

/// An `address:` serves both clusters; where it shares one with `http:` endpoints it speaks what they speak.
fn upstream_protocol(group: &Group<'_, '_>, port: Option<Protocol>) -> UpstreamProtocol {
    let service = group.service.draft.protocol;
    match port {
        Some(Protocol::Grpc) => UpstreamProtocol::Http2,
        Some(Protocol::Http) if group.endpoints.iter().any(|endpoint| has_ports(endpoint)) => match service {
            UpstreamProtocol::Http2 => UpstreamProtocol::Http2,
            UpstreamProtocol::AsRequest | UpstreamProtocol::Http1 => UpstreamProtocol::Http1,
        },
        Some(Protocol::Http) | None => service,
    }
}

fn endpoints(group: &Group<'_, '_>, port: Option<Protocol>) -> Vec<Endpoint> {
    let address = |endpoint: &EndpointDraft| -> Option<Address> {
        match (&endpoint.targets, port) {
            (Targets::Both(address), _) => Some(address.clone()),
            (Targets::ByProtocol { grpc, .. }, Some(Protocol::Grpc)) => grpc.clone(),
            (Targets::ByProtocol { http, .. }, _) => http.clone(),
        }
    };
    let built = |endpoint: &&EndpointDraft| {
        Some(Endpoint {
            address: address(endpoint)?,
            labels: endpoint.labels.clone(),
            version: version(endpoint),
            local: endpoint.local,
            weight: endpoint.weight,
        })
    };
    group.endpoints.iter().filter_map(built).collect()
}

/// The label `version`, or `unknown`.
pub(super) fn version(endpoint: &EndpointDraft) -> Arc<str> {
    endpoint.labels.get("version").cloned().unwrap_or_else(|| "unknown".into())
}
