//! What is legal alone but not together: two of one name, two on one address, endpoints that are ourselves.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::diagnostic::{Diagnostic, Place};
use crate::config::input::Environment;
use crate::config::weir_yaml::{EndpointDraft, ListenerDraft, ServiceDraft, ServiceHost, Targets, WeirDraft};
use crate::snapshot::{Address, BindAddress, Labels, UpstreamProtocol};

/// Every fault between the drafts of one file.
pub(super) fn check(draft: &WeirDraft, environment: &Environment, found: &mut Vec<Diagnostic>) {
    let bound = bound(draft);
    names(&draft.listeners, found);
    addresses(&bound, found);
    callers(draft, found);
    services(draft, found);
    for service in &draft.services {
        mixed_protocols(service, found);
        duplicate_endpoints(service, found);
        for endpoint in &service.endpoints {
            for address in endpoint.targets.addresses() {
                let help = "give the model server's own port";
                own_address((address, &endpoint.place), help, &bound, environment, found);
            }
        }
    }
    // Each batch of spans would be a request, which has spans.
    if let Some((tracing, place)) = &draft.tracing {
        own_address((&tracing.collector, place), "give the collector's own port", &bound, environment, found);
    }
}

/// An address that this process binds, who does, and where that is said.
struct Bound<'d> {
    address: BindAddress,
    who: String,
    place: &'d Place,
}

fn bound(draft: &WeirDraft) -> Vec<Bound<'_>> {
    let admin = |address: SocketAddr, key: &str| Bound {
        address: BindAddress::Socket(address),
        who: format!("`admin.{key}`"),
        place: &draft.admin_place,
    };
    let mut all = vec![admin(draft.admin.address, "address")];
    all.extend(draft.admin.metrics_address.map(|address| admin(address, "metrics_address")));
    all.extend(draft.listeners.iter().map(|listener| Bound {
        address: listener.address.clone(),
        who: format!("the listener `{}`", listener.name),
        place: &listener.address_place,
    }));
    all
}

fn names(listeners: &[ListenerDraft], found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&str, &Place> = HashMap::new();
    for listener in listeners {
        if let Some(other) = first.insert(&listener.name, &listener.place) {
            let reason =
                format!("`{}` is the name of {} ({}) already", listener.name, other.path, other.origin);
            found.push(listener.place.error("duplicate-listener", reason));
        }
    }
}

fn addresses(bound: &[Bound<'_>], found: &mut Vec<Diagnostic>) {
    for (index, later) in bound.iter().enumerate() {
        if let Some(earlier) =
            bound.iter().take(index).find(|earlier| overlap(&earlier.address, &later.address))
        {
            let reason = format!(
                "{} cannot have {}: {} has {}",
                later.who, later.address, earlier.who, earlier.address
            );
            let error = later.place.error("duplicate-address", reason);
            let both = family(&later.address) != family(&earlier.address);
            found.push(if both { error.with_help("`[::]` takes IPv4 as well") } else { error });
        }
    }
}

/// Whether it is an IPv4 address; `None` for a path.
fn family(address: &BindAddress) -> Option<bool> {
    match address {
        BindAddress::Socket(address) => Some(address.ip().to_canonical().is_ipv4()),
        BindAddress::Unix(_) => None,
    }
}

/// Whether the second bind would fail. Port 0 is a new port each time, but a snapshot tells listeners by address.
/// `[::]` takes every address of both families.
fn overlap(a: &BindAddress, b: &BindAddress) -> bool {
    match (a, b) {
        (BindAddress::Socket(a), BindAddress::Socket(b)) if a.port() == b.port() && a.port() != 0 => {
            let (a, b) = (a.ip().to_canonical(), b.ip().to_canonical());
            let all = IpAddr::from(Ipv6Addr::UNSPECIFIED);
            a == b
                || a == all
                || b == all
                || a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified())
        }
        _ => a == b,
    }
}

fn callers(draft: &WeirDraft, found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<IpNet, &Place> = HashMap::new();
    for caller in &draft.callers {
        if let Some(other) = first.insert(caller.cidr, &caller.place) {
            let reason = format!("{} is {} ({}) already", caller.cidr, other.path, other.origin);
            found.push(caller.place.error("duplicate-caller", reason));
        }
    }
}

fn services(draft: &WeirDraft, found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<String, &Place> = HashMap::new();
    for service in &draft.services {
        let host = match &service.host {
            ServiceHost::Full(host) => host.to_string(),
            ServiceHost::Named { name, namespace } => format!("{name}.{namespace}.svc.{}", draft.node.domain),
        };
        if let Some(other) = first.get(&host) {
            let reason = format!("`{host}` is {} ({}) already", other.path, other.origin);
            found.push(service.place.error("duplicate-service", reason));
        } else {
            first.insert(host, &service.place);
        }
    }
}

/// In a service with both kinds of endpoints an `address:` stands beside `grpc:` in one cluster, which speaks HTTP/2.
fn mixed_protocols(service: &ServiceDraft, found: &mut Vec<Diagnostic>) {
    let grpc = |one: &EndpointDraft| matches!(&one.targets, Targets::ByProtocol { grpc: Some(_), .. });
    let both = |one: &&EndpointDraft| matches!(one.targets, Targets::Both(_));
    if service.protocol != UpstreamProtocol::Http1 || !service.endpoints.iter().any(grpc) {
        return;
    }
    for endpoint in service.endpoints.iter().filter(both) {
        let reason = "an `address:` that speaks HTTP/1.1 cannot stand beside `grpc:` endpoints";
        found.push(
            endpoint.place.error("mixed-protocols", reason).with_help("`http:`, or `protocol: request`"),
        );
    }
}

fn duplicate_endpoints(service: &ServiceDraft, found: &mut Vec<Diagnostic>) {
    let mut first: HashMap<&Address, (&Labels, &Place)> = HashMap::new();
    for endpoint in &service.endpoints {
        for address in endpoint.targets.addresses() {
            let Some((labels, other)) = first.insert(address, (&endpoint.labels, &endpoint.place)) else {
                continue;
            };
            // One address under `grpc:` and `http:` is a server that speaks both.
            if other != &endpoint.place {
                let more = if labels == &endpoint.labels { "" } else { " with other labels" };
                let reason = format!("{address} stands at {} ({}) too{more}", other.path, other.origin);
                found.push(endpoint.place.warning("duplicate-endpoint", reason));
            }
        }
    }
}

/// A fault where `address` is our own.
fn own_address(
    (address, place): (&Address, &Place),
    help: &str,
    bound: &[Bound<'_>],
    environment: &Environment,
    found: &mut Vec<Diagnostic>,
) {
    if let Some(own) = bound.iter().find(|own| reaches(address, &own.address, environment.pod_ip)) {
        let reason = format!("{address} is {} ({}) of this proxy itself", own.who, own.address);
        found.push(place.error("own-address", reason).with_help(help));
    }
}

/// Whether dialling `address` in this pod ends at `bound`.
fn reaches(address: &Address, bound: &BindAddress, pod_ip: Option<IpAddr>) -> bool {
    let (targets, port) = match (address, bound) {
        (Address::Unix(path), BindAddress::Unix(own)) => return path == own,
        (Address::Socket(address), _) => (vec![address.ip().to_canonical()], address.port()),
        (Address::Dns { host, port }, _) => {
            let name = host.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            let both = [IpAddr::from([127, 0, 0, 1]), Ipv6Addr::LOCALHOST.into()];
            (if local { both.to_vec() } else { Vec::new() }, *port)
        }
        _ => return false,
    };
    let BindAddress::Socket(own) = bound else { return false };
    let own_ip = own.ip().to_canonical();
    let ours = |ip: &IpAddr| {
        let here = ip.is_loopback() || ip.is_unspecified() || Some(*ip) == pod_ip.map(|ip| ip.to_canonical());
        // `[::]` takes IPv4 as well.
        let family = own_ip.is_ipv6() || ip.is_ipv4();
        *ip == own_ip
            || own_ip.is_unspecified() && here && family
            || ip.is_unspecified() && own_ip.is_loopback()
    };
    own.port() == port && targets.iter().any(ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_addresses_overlap_where_the_second_bind_would_fail() {
        let socket = |text: &str| BindAddress::Socket(text.parse().expect("an address"));
        let both = |a: &str, b: &str| {
            let there = overlap(&socket(a), &socket(b));
            assert_eq!(there, overlap(&socket(b), &socket(a)), "{a} and {b}");
            there
        };
        assert!(both("0.0.0.0:80", "127.0.0.1:80"));
        assert!(both("[::]:80", "0.0.0.0:80"), "`[::]` takes IPv4 as well");
        assert!(both("[::]:80", "127.0.0.1:80") && both("[::]:80", "[::1]:80"));
        assert!(both("[::ffff:127.0.0.1]:80", "127.0.0.1:80") && both("[::ffff:127.0.0.1]:80", "0.0.0.0:80"));
        assert!(!both("[::1]:80", "127.0.0.1:80") && !both("0.0.0.0:80", "[::1]:80"));
        assert!(!both("[::]:80", "0.0.0.0:81") && !both("[::]:0", "0.0.0.0:0"));
    }
}
