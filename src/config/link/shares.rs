//! Shares and mirrors -> the clusters that they go to.
//!
//! Law: a share whose service or endpoints nobody knows keeps its part of the requests, and they are refused: nothing is
//! divided among the others behind anybody's back. It is told of.

use std::sync::Arc;

use super::clusters::{Clusters, selected};
use super::hosts::Known;
use super::routes::Builder;
use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::draft::{MirrorDraft, RouteDraft, Select, ShareDraft, TargetPolicyDraft};
use crate::config::names::nearest;
use crate::config::weir_yaml::Targets;
use crate::snapshot::{HeaderEdits, Labels, Mirror, TargetPolicy, VersionTarget};

impl Builder<'_, '_> {
    /// Where the shares of a rule about `service` go. A target names its service unless that is `service`.
    pub(super) fn shares(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        shares: &[ShareDraft],
    ) -> Vec<VersionTarget> {
        let sum: u64 = shares.iter().map(|share| u64::from(share.weight)).sum();
        let target = |share: &ShareDraft| {
            let (weight, percent) = match shares {
                [_] => (100, 100.0),
                _ => (share.weight, f64::from(share.weight) * 100.0 / sum.max(1) as f64),
            };
            // Whoever is sent elsewhere needs no endpoint.
            let elsewhere = share.policy.as_ref().is_some_and(|own| own.policy.redirect.is_some());
            let reaching = if elsewhere { 0.0 } else { percent };
            let target = self.target(service, object, share, (weight, reaching));
            let policy = share.policy.as_ref().map(|one| Arc::new(self.target_policy(service, object, one)));
            VersionTarget { policy, ..target }
        };
        shares.iter().map(target).collect()
    }

    fn target_policy(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        draft: &TargetPolicyDraft,
    ) -> TargetPolicy {
        if draft.policy.redirect.is_some() {
            // Nobody gets its requests; readers tell of what is said of them.
            let request_headers = HeaderEdits::default();
            return TargetPolicy { request_headers, rewrite: None, ..draft.policy.clone() };
        }
        let mirrors = self.mirrors(service, object, &draft.mirrors);
        TargetPolicy { mirrors, ..draft.policy.clone() }
    }

    /// Where copies of requests to `service` go.
    pub(super) fn mirrors(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        drafts: &[MirrorDraft],
    ) -> Vec<Mirror> {
        let mirror = |draft: &MirrorDraft| Mirror {
            target: self.target(service, object, &draft.share, (100, 100.0)),
            fraction: draft.fraction,
        };
        drafts.iter().map(mirror).collect()
    }

    fn target(
        &mut self,
        service: Option<&Known<'_>>,
        object: &RouteDraft,
        share: &ShareDraft,
        (weight, percent): (u32, f64),
    ) -> VersionTarget {
        if let (Some(host), Select::Backend(said)) = (&share.destination, &share.select) {
            return self.backend(service, object, (share, host), said, (weight, percent));
        }
        let known = match &share.destination {
            None => service.ok_or_else(String::new),
            Some(host) => self.registry.of_object(host, &object.namespace),
        };
        let known = match known {
            Ok(known) => known,
            Err(host) => {
                self.found.push(self.unknown_destination(&share.place, &host));
                return VersionTarget {
                    service: Some(host.as_str().into()),
                    ..Clusters::absent(&host, "", weight)
                };
            }
        };
        let target = match &share.select {
            Select::Labels(labels) | Select::Backend(labels) => {
                self.found.extend(unserved(known, labels, &share.place, percent));
                self.clusters.select(known, labels, weight)
            }
            Select::Subset(name) => match self.clusters.subset(known, name, weight) {
                Some((target, labels)) => {
                    self.found.extend(unserved(known, &labels, &share.place, percent));
                    target
                }
                None => {
                    let reason = format!("nobody says what the subset `{name}` of `{}` is", known.host);
                    let warning = share.place.warning("unknown-subset", reason);
                    self.found.push(warning.with_help("a DestinationRule for this host, with such a subset"));
                    Clusters::absent(&known.host, name, weight)
                }
            },
        };
        if let Some(port) = share.port.filter(|port| !known.draft.has_port(*port)) {
            let reason = format!("no endpoint of `{}` has the port {port}", known.host);
            let help = "requests go to the ports that `endpoints` gives";
            self.found.push(share.place.warning("no-port", reason).with_help(help));
        }
        let other = service.is_none_or(|own| own.host != known.host);
        VersionTarget { service: other.then(|| known.host.clone()), ..target }
    }

    fn unknown_destination(&self, place: &Place, host: &str) -> Diagnostic {
        let warning =
            place.warning("unknown-service", format!("no service is `{host}`: its requests get 503"));
        match nearest(host, self.registry.iter().map(|known| known.host.as_ref())) {
            Some(near) => warning.with_help(format!("did you mean `{near}`?")),
            None => warning,
        }
    }
}

/// A share that will get 503: nobody has its labels, or nobody of them the port that other endpoints have.
pub(super) fn unserved(
    service: &Known<'_>,
    labels: &Labels,
    place: &Place,
    percent: f64,
) -> Option<Diagnostic> {
    let listed: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let (host, listed) = (&service.host, listed.join(","));
    let percent = (percent * 100.0).round() / 100.0;
    let missing = |port: &str, what: &str| {
        let reason = format!("no endpoint of `{host}` with {listed} has {port}");
        place.warning("no-endpoints", reason).with_help(format!("{percent} % of {what} get 503"))
    };
    let any = |serves: fn(&Targets) -> bool| {
        let all = service.draft.endpoints.iter().any(|endpoint| serves(&endpoint.targets));
        all && !selected(service.draft, labels).any(|endpoint| serves(&endpoint.targets))
    };
    if percent == 0.0 || service.draft.endpoints.is_empty() {
        return None;
    }
    if selected(service.draft, labels).next().is_none() {
        let warning = place.warning("no-endpoints", format!("no endpoint of `{host}` has {listed}"));
        return Some(warning.with_help(format!("{percent} % of the requests get 503")));
    }
    if any(|targets| !matches!(targets, Targets::ByProtocol { grpc: None, .. })) {
        return Some(missing("`grpc:`", "the gRPC requests"));
    }
    any(|targets| !matches!(targets, Targets::ByProtocol { http: None, .. }))
        .then(|| missing("`http:`", "the other requests"))
}
