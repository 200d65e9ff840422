//! `IstioService` as RouteRule uses it. Source of the checks: Istio 0.7.1 `pilot/pkg/model/validation.go`.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::config::decode::Field;
use crate::config::diagnostic::Place;
use crate::config::draft::HostRef;
use crate::config::names::{is_dns_label, is_fqdn, is_istio_label_part};
use crate::config::table::{Keys, Table, filled};
use crate::snapshot::Labels;

/// One service: a host in parts or whole, and labels.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRef {
    pub(crate) place: Place,
    pub(crate) host: HostRef,
    pub(crate) labels: Labels,
}

const KEYS: Keys = Keys {
    known: &["name", "namespace", "domain", "service", "labels"],
    later: &[],
    never: &[],
    proto: true,
};

/// The destination of a share, whose host may be left out: the rule's own then. Istio did not check it at all.
pub(super) fn share_ref(field: &Field<'_>) -> Option<(Option<HostRef>, Labels)> {
    let table = Table::new(field, &KEYS)?;
    let named = KEYS.known.iter().any(|key| *key != "labels" && table.get(key).is_some());
    if named {
        return checked(&table).map(|one| (Some(one.host), one.labels));
    }
    Some((None, labels(table.get("labels").as_ref())?))
}

/// One service, checked.
pub(crate) fn service_ref(field: &Field<'_>) -> Option<ServiceRef> {
    checked(&Table::new(field, &KEYS)?)
}

fn checked(table: &Table<'_>) -> Option<ServiceRef> {
    let field = &table.field;
    let labels = labels(table.get("labels").as_ref());
    let host = match (filled(table, "service"), filled(table, "name")) {
        (None, None) => {
            field.fault_with(
                "service-ref",
                "neither `name` nor `service` says which service",
                "one of the two",
            );
            None
        }
        (Some((service, _)), Some(_)) => {
            service.fault_with(
                "service-ref",
                "both `name` and `service` say which service",
                "one of the two",
            );
            None
        }
        (Some((service, host)), None) => whole(table, &service, host),
        (None, Some((name, text))) => parts(table, &name, text),
    };
    Some(ServiceRef { place: field.place(), host: host?, labels: labels? })
}

/// Labels, checked; none if left out.
pub(super) fn labels(field: Option<&Field<'_>>) -> Option<Labels> {
    field.map_or_else(|| Some(Labels::new()), |field| field.labels(is_istio_label_part))
}

fn whole(table: &Table<'_>, field: &Field<'_>, host: &str) -> Option<HostRef> {
    let mut good = true;
    if !is_service_host(host) {
        field.fault_with(
            "service-host",
            format!("`{host}` is no host"),
            "a DNS name, an IP address or an IPv4 range",
        );
        good = false;
    }
    for key in ["namespace", "domain"] {
        if let Some((other, _)) = filled(table, key) {
            other.fault("service-host", format!("`{key}` and `service` exclude each other"));
            good = false;
        }
    }
    good.then(|| HostRef::Whole(host.to_owned()))
}

/// An IPv4 range, an IP address, or a domain that may start with a star.
fn is_service_host(host: &str) -> bool {
    if host.contains('/') {
        return host.parse::<Ipv4Net>().is_ok();
    }
    let domain =
        host.strip_prefix("*.").or_else(|| host.strip_prefix("*-")).or_else(|| host.strip_prefix('*'));
    host == "*" || host.parse::<Ipv4Addr>().is_ok() || is_fqdn(&domain.unwrap_or(host).to_ascii_lowercase())
}

fn parts(table: &Table<'_>, field: &Field<'_>, name: &str) -> Option<HostRef> {
    let label = |field: &Field<'_>, text: &str| {
        let good = is_dns_label(text);
        if !good {
            let help = "lower-case letters, digits and -, at most 63";
            field.fault_with("service-name", format!("`{text}` is no DNS label"), help);
        }
        good
    };
    let mut good = label(field, name);
    let namespace = filled(table, "namespace");
    if let Some((field, text)) = &namespace {
        good &= label(field, text);
    }
    let domain = filled(table, "domain");
    if let Some((field, text)) = domain.as_ref().filter(|(_, text)| !is_fqdn(text)) {
        field.fault_with("service-name", format!("`{text}` is no domain"), "such as svc.cluster.local");
        good = false;
    }
    let owned = |part: Option<(Field<'_>, &str)>| part.map(|(_, text)| text.to_owned());
    good.then(|| HostRef::Parts { name: name.to_owned(), namespace: owned(namespace), domain: owned(domain) })
}
