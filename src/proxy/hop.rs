//! The hop between two Weirs: which service and version is meant, how often a request was handed on, and how busy the
//! receiving pod is.
//!
//! `x-weir-hop: <count>;<service host>;<label>=<value>,…` goes with every request to an endpoint that is not local;
//! a model server ignores it. Every answer of a delivery listener carries `x-weir-in-flight`; one by which a Weir refuses
//! the hop itself says why in `x-weir-refusal`, for its status may be the model server's own, or a gRPC caller's 200.
//! Law: these three fields of a caller's own are stripped; only the count is believed, which can but hurt themselves.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::planner::header_value;
use crate::snapshot::Labels;
use crate::telemetry::families::weir::HopError;

/// Hops after which a request is in a loop.
pub(super) const MAX_HOPS: u32 = 3;
/// Names the service and version meant.
pub(super) const HOP: HeaderName = HeaderName::from_static("x-weir-hop");
/// Requests in flight at the pod that answers.
pub(super) const IN_FLIGHT: HeaderName = HeaderName::from_static("x-weir-in-flight");

/// Why a Weir does not take the hop.
pub(super) const REFUSAL: HeaderName = HeaderName::from_static("x-weir-refusal");

/// The value for a request that comes from a caller.
pub(super) fn first_hop(service: &str, labels: &Labels) -> HeaderValue {
    header_value(&format!("1;{}", meant(service, labels)))
}

/// The value for a request that came over `hops` hops already.
pub(super) fn next_hop(hops: u32, first: &HeaderValue) -> HeaderValue {
    if hops == 0 {
        return first.clone();
    }
    match first.to_str().ok().and_then(|value| value.split_once(';')) {
        Some((_, meant)) => header_value(&format!("{};{meant}", hops + 1)),
        None => first.clone(),
    }
}

fn meant(service: &str, labels: &Labels) -> String {
    let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{service};{}", labels.join(","))
}

/// Hops behind a request; 0 when it comes from a caller.
pub(super) fn count(headers: &HeaderMap) -> u32 {
    headers
        .get(HOP)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next()?.parse().ok())
        .unwrap_or(0)
}

/// Whether the hop means `service` and one of the local endpoints by `labels`. A request without a hop means anyone.
pub(super) fn is_meant(headers: &HeaderMap, service: &str, local: &[Labels]) -> bool {
    let Some(value) = headers.get(HOP) else { return true };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.splitn(3, ';');
    let (_, host, labels) = (parts.next(), parts.next(), parts.next().unwrap_or_default());
    host == Some(service)
        && local.iter().any(|local| wanted(labels).all(|(name, value)| has(local, name, value)))
}

fn wanted(labels: &str) -> impl Iterator<Item = (&str, &str)> {
    labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn has(local: &Labels, name: &str, value: &str) -> bool {
    local.get(name).is_some_and(|have| **have == *value)
}

/// Takes what an answer says of its pod's load; `None`: it does not come from a Weir.
pub(super) fn take_in_flight(headers: &mut HeaderMap) -> Option<u32> {
    headers.remove(IN_FLIGHT)?.to_str().ok()?.parse().ok()
}

/// Takes why the other Weir refused the hop, if it did.
pub(super) fn take_refusal(headers: &mut HeaderMap) -> Option<HopError> {
    let why = headers.remove(REFUSAL)?;
    HopError::ALL.into_iter().find(|known| why == known.as_str())
}

/// Removes every field of Weir's own that a caller sent.
pub(super) fn strip(headers: &mut HeaderMap) {
    headers.remove(HOP);
    headers.remove(IN_FLIGHT);
    headers.remove(REFUSAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    fn with(value: HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(HOP, value)])
    }

    #[test]
    fn a_hop_means_a_service_and_the_labels_of_the_chosen_version() {
        let local = [labels(&[("app", "x"), ("version", "v2")])];
        let v2 = with(first_hop("x.ns", &labels(&[("version", "v2")])));
        assert!(is_meant(&v2, "x.ns", &local));
        assert!(!is_meant(&v2, "y.ns", &local));
        assert!(!is_meant(&with(first_hop("x.ns", &labels(&[("version", "v1")]))), "x.ns", &local));
        assert!(is_meant(&with(first_hop("x.ns", &labels(&[]))), "x.ns", &local));
        assert!(is_meant(&HeaderMap::new(), "x.ns", &local));
        assert!(!is_meant(&with(HeaderValue::from_static("1")), "x.ns", &local));
    }

    #[test]
    fn hops_are_counted_on() {
        let first = first_hop("x", &labels(&[("version", "v1")]));
        assert_eq!(next_hop(0, &first), "1;x;version=v1");
        assert_eq!(next_hop(2, &first), "3;x;version=v1");
        assert_eq!(count(&with(next_hop(2, &first))), 3);
        assert_eq!(count(&HeaderMap::new()), 0);
        assert_eq!(count(&with(HeaderValue::from_static("many"))), 0);
    }
}
