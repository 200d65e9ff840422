//! What objects say of clusters, laid over what `weir.yaml` says of their service.
//!
//! Law: `weir.yaml` < DestinationPolicy < DestinationRule < its subset < its port, as Istio lays them: a group of settings
//! that a subset says stands for the rule's whole group, and a port's settings for all groups. A DestinationPolicy holds
//! for exactly the labels that it names. Policies act where requests are split: local delivery knows none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::claims::unknown_host;
use super::hosts::{Known, Registry};
use super::overlay::{lay, of_one_port, or_else, over};
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::draft::{ClusterDraft, Dialect, Speaks, SubsetDraft, TrafficDraft};
use crate::config::weir_yaml::{EndpointDraft, ServiceDraft};
use crate::snapshot::{Address, Cluster, Labels, LbPolicy, UpstreamProtocol};

/// What is said of the clusters of each service.
#[derive(Debug, Default)]
pub(super) struct Settings<'d> {
    by_host: BTreeMap<Arc<str>, OfHost<'d>>,
    /// The places of settings that were told of already: once for all clusters.
    told: BTreeSet<Place>,
    /// What was found while clusters were built.
    pub(super) found: Vec<Diagnostic>,
}

/// The objects about one service, each list in order of precedence.
#[derive(Debug, Default)]
struct OfHost<'d> {
    policies: Vec<&'d TrafficDraft>,
    rules: Vec<&'d TrafficDraft>,
}

/// A subset's cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'s> {
    /// Which endpoints it has.
    pub(super) labels: &'s Labels,
    /// Its name, where its labels alone do not tell it from another cluster.
    pub(super) suffix: Option<&'s Arc<str>>,
}

impl<'d> Settings<'d> {
    /// Sorts objects to their services; tells of what has no effect.
    pub(super) fn new(
        traffic: &'d [TrafficDraft],
        registry: &Registry<'_>,
        found: &mut Vec<Diagnostic>,
    ) -> Settings<'d> {
        let mut settings = Settings::default();
        let mut sorted: Vec<_> = traffic.iter().filter(|one| is_ours(one, registry, found)).collect();
        sorted.sort_by(|a, b| age(a).cmp(&age(b)));
        for one in sorted {
            match registry.of_object(&one.host, &one.namespace) {
                Err(full) => found.push(unknown_host(&one.place, &full, registry)),
                Ok(known) => {
                    no_ports(known, one, found);
                    let host = settings.by_host.entry(known.host.clone()).or_default();
                    host.add(one, known, found);
                }
            }
        }
        for (name, host) in &mut settings.by_host {
            host.settle(name, found);
        }
        settings
    }

    /// What the subset `name` of a service is.
    pub(super) fn subset(&self, host: &str, name: &str) -> Option<Part<'_>> {
        let host = self.by_host.get(host)?;
        let own = host.subset(name)?;
        // The cluster of these labels belongs to the first subset that has them; that of all endpoints to the rule itself.
        let plain = host.by_labels(&own.labels).map(|first| &first.settings);
        let same = match plain {
            Some(settings) => *settings == own.settings,
            None => own.settings == ClusterDraft::default(),
        };
        Some(Part { labels: &own.labels, suffix: own.name.as_ref().filter(|_| !same) })
    }

    /// Lays everything that is said over a cluster as its service's keys make it; `suffix`: a subset's.
    pub(super) fn apply(&mut self, draft: &ServiceDraft, suffix: Option<&str>, cluster: &mut Cluster) {
        let port = only_port(cluster);
        let mut said = draft.settings.as_deref().cloned().unwrap_or_default();
        let host = self.by_host.get(&cluster.service);
        if let Some(host) = host {
            if port.is_none() {
                self.found.extend(host.mixed_ports(suffix, cluster));
            }
            said = or_else(host.said(&cluster.labels, suffix, port), said);
        }
        lay(&said, cluster);
        let outlier = said.at.outlier.filter(|_| never_ejects(cluster));
        self.tell_once(outlier, |place| idle_outlier(place, cluster));
        let stays = said.speaks == Some(Speaks::AsService) && draft.protocol == UpstreamProtocol::Http2;
        self.tell_once(said.at.speaks.filter(|_| stays), |place| stays_http2(place, cluster));
        let slow = matches!(cluster.lb, LbPolicy::RoundRobin | LbPolicy::LeastRequest);
        self.tell_once(said.at.slow_start.filter(|_| !slow), |place| no_slow_start(place, cluster));
    }

    fn tell_once(&mut self, place: Option<Place>, tell: impl FnOnce(&Place) -> Diagnostic) {
        if let Some(place) = place
            && self.told.insert(place.clone())
        {
            self.found.push(tell(&place));
        }
    }
}

impl<'d> OfHost<'d> {
    fn add(&mut self, one: &'d TrafficDraft, known: &Known<'_>, found: &mut Vec<Diagnostic>) {
        if one.dialect == Dialect::RouteRule {
            self.policies.push(one);
            return;
        }
        for subset in &one.subsets {
            let other = subset.name.as_ref().and_then(|name| self.subset(name));
            if let (Some(other), Some(name)) = (other, &subset.name) {
                let place = other.place.origin.file_and_line();
                let reason =
                    format!("`{}` has a subset `{name}` already ({place}): this one has no say", known.host);
                found.push(subset.place.warning("host-claimed", reason));
            }
        }
        self.rules.push(one);
    }

    /// Where both dialects speak of a service the newer has it; of several rules one says what holds for all endpoints.
    fn settle(&mut self, host: &str, found: &mut Vec<Diagnostic>) {
        if let Some(rule) = self.rules.first() {
            for policy in self.policies.drain(..) {
                found.push(claimed(host, policy, rule));
            }
        }
        let nothing = ClusterDraft::default();
        let mut speakers = self.rules.iter().filter(|rule| rule.all != nothing);
        if let Some(first) = speakers.next() {
            found.extend(speakers.map(|other| claimed(host, other, first)));
        }
    }

    fn subset(&self, name: &str) -> Option<&'d SubsetDraft> {
        let all = self.rules.iter().flat_map(|rule| &rule.subsets);
        all.into_iter().find(|subset| subset.name.as_deref() == Some(name))
    }

    /// The subset that has a cluster of these labels; all endpoints are nobody's.
    fn by_labels(&self, labels: &Labels) -> Option<&'d SubsetDraft> {
        let mut all = self.rules.iter().flat_map(|rule| &rule.subsets);
        all.find(|subset| subset.labels == *labels && !labels.is_empty())
    }

    /// What rules say of a cluster, the narrower last.
    fn levels(&self, labels: &Labels, suffix: Option<&str>) -> impl Iterator<Item = &'d ClusterDraft> {
        let nothing = ClusterDraft::default();
        let all = self.rules.iter().map(|rule| &rule.all).find(|all| **all != nothing);
        let subset = match suffix {
            Some(name) => self.subset(name),
            None => self.by_labels(labels),
        };
        all.into_iter().chain(subset.map(|subset| &subset.settings))
    }

    /// Tells of settings for a port that only some endpoints of the cluster have: a cluster has one set of settings.
    fn mixed_ports(&self, suffix: Option<&str>, cluster: &Cluster) -> Vec<Diagnostic> {
        let has = |port: u16| cluster.endpoints().any(|endpoint| endpoint.address.port() == Some(port));
        let tell = |(port, own): &(u16, ClusterDraft)| {
            let name = &cluster.name;
            let reason = format!(
                "endpoints of `{name}` have other ports too: the settings of port {port} do not hold there"
            );
            let help = "a subset for the endpoints of each port";
            Some(own.at.whole.as_ref()?.warning("never-acts", reason).with_help(help))
        };
        let ports = self.levels(&cluster.labels, suffix).flat_map(|level| &level.ports);
        ports.filter(|(port, _)| has(*port)).filter_map(tell).collect()
    }

    fn said(&self, labels: &Labels, suffix: Option<&str>, port: Option<u16>) -> ClusterDraft {
        let of_labels = |policy: &&'d TrafficDraft| -> Option<&'d ClusterDraft> {
            let subset = policy.subsets.iter().find(|subset| subset.labels == *labels);
            let whole = Some(&policy.all).filter(|all| labels.is_empty() && **all != ClusterDraft::default());
            subset.map(|subset| &subset.settings).or(whole)
        };
        if let Some(policy) = self.policies.iter().find_map(of_labels) {
            return policy.clone();
        }
        let mut said = ClusterDraft::default();
        for level in self.levels(labels, suffix) {
            said = over(said, level);
            if let Some((_, own)) = level.ports.iter().find(|(number, _)| Some(*number) == port) {
                said = of_one_port(said, own);
            }
        }
        said
    }
}

/// Whether the object is for this proxy: its source, if it has one, is a service that has an endpoint beside us, as Istio
/// decided it.
fn is_ours(one: &TrafficDraft, registry: &Registry<'_>, found: &mut Vec<Diagnostic>) -> bool {
    let Some(source) = &one.source else { return true };
    let Some(host) = &source.host else { return true };
    let beside = |endpoint: &EndpointDraft| {
        endpoint.local
            && source
                .labels
                .iter()
                .all(|(key, value)| endpoint.labels.get(key).is_some_and(|own| own == value))
    };
    let known = registry.of_object(host, &one.namespace);
    if known.as_ref().is_ok_and(|known| known.draft.endpoints.iter().any(beside)) {
        return true;
    }
    let host = known.map_or_else(|full| full, |known| known.host.to_string());
    let reason = format!("no endpoint of `{host}` stands beside this proxy: the policy is for others");
    found.push(source.place.warning("never-acts", reason).with_help("`local: true` on such an endpoint"));
    false
}

fn claimed(host: &str, loser: &TrafficDraft, winner: &TrafficDraft) -> Diagnostic {
    let place = winner.place.origin.file_and_line();
    let reason =
        format!("`{host}` has `{}.{}` ({place}): this one has no say", winner.name, winner.namespace);
    let help = "one DestinationRule for a service; it goes before a DestinationPolicy";
    loser.place.warning("host-claimed", reason).with_help(help)
}

/// Tells of settings for ports that no endpoint has.
fn no_ports(known: &Known<'_>, one: &TrafficDraft, found: &mut Vec<Diagnostic>) {
    if known.draft.endpoints.is_empty() {
        return;
    }
    let levels = std::iter::once(&one.all).chain(one.subsets.iter().map(|subset| &subset.settings));
    for (port, own) in levels.flat_map(|level| &level.ports) {
        if let Some(place) = own.at.whole.as_ref().filter(|_| !known.draft.has_port(*port)) {
            let reason = format!("no endpoint of `{}` has the port {port}", known.host);
            let help = "a port of `endpoints`, not one of a Kubernetes Service";
            found.push(place.warning("no-port", reason).with_help(help));
        }
    }
}

/// The older first, as of VirtualServices; an object without a date is the youngest.
fn age(object: &TrafficDraft) -> (bool, Option<&str>, &str, &str) {
    (object.created.is_none(), object.created.as_deref(), &object.namespace, &object.name)
}

/// The port of all endpoints, if it is one.
fn only_port(cluster: &Cluster) -> Option<u16> {
    let mut ports = cluster.endpoints().map(|endpoint| endpoint.address.port());
    let first = ports.next().flatten()?;
    ports.all(|port| port == Some(first)).then_some(first)
}

/// Whether the share that may be left out is less than one endpoint. A name may stand for any number of them.
fn never_ejects(cluster: &Cluster) -> bool {
    let Some(outlier) = cluster.traffic.as_ref().and_then(|traffic| traffic.outlier) else { return false };
    let count = cluster.endpoints().count() as u64;
    let named = cluster.endpoints().any(|endpoint| matches!(endpoint.address, Address::Dns { .. }));
    let share = count * u64::from(outlier.max_ejection_percent);
    count > 0 && !named && share < 100 && !outlier.always_eject_one_host
}

fn stays_http2(place: &Place, cluster: &Cluster) -> Diagnostic {
    let reason = format!("`{}` speaks HTTP/2 whatever its pool says: `protocol: http2`", cluster.service);
    place.warning("never-acts", reason).with_help("leave `protocol` out of weir.yaml")
}

fn no_slow_start(place: &Place, cluster: &Cluster) -> Diagnostic {
    let reason =
        format!("the endpoints of `{}` are not chosen in a way that knows a slow start", cluster.name);
    place.warning("never-acts", reason).with_help("in turn, or the least loaded")
}

fn idle_outlier(place: &Place, cluster: &Cluster) -> Diagnostic {
    let percent = cluster.traffic.as_ref().and_then(|traffic| traffic.outlier).unwrap_or_default();
    let (percent, count) = (percent.max_ejection_percent, cluster.endpoints().count());
    let reason =
        format!("no endpoint of `{}` is ever left out: {percent} % of {count} is none", cluster.name);
    let help = format!("{} % or more", 100_usize.div_ceil(count.max(1)));
    place.warning("never-acts", reason).with_help(help)
}
