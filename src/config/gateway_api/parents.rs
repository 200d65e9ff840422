//! `parentRefs:` and `hostnames:`: what a route is attached to, and the hosts that it is about.
//!
//! Law: a Service as parent is a claim of that service, whatever the host (as in GAMMA, where hostnames then have no
//! meaning); a Gateway as parent narrows the listeners to those that stand for it, and the hostnames are what is claimed.

use super::words::{bounded, hostname, object_name};
use crate::config::decode::Field;
use crate::config::draft::{Claim, GatewayRef, HostRef};
use crate::config::metadata::Metadata;
use crate::config::names::is_dns_label;
use crate::config::networking;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::Domain;

/// What a route is attached to.
pub(super) struct Attached {
    pub(super) claims: Vec<Claim>,
    pub(super) gateways: Option<Box<[GatewayRef]>>,
}

/// One of `parentRefs:`.
struct Parent<'n> {
    field: Field<'n>,
    is_service: bool,
    namespace: &'n str,
    name: &'n str,
    section: Option<&'n str>,
    port: Option<u16>,
}

const GATEWAY_GROUP: &str = "gateway.networking.k8s.io";

/// Reads both lists.
pub(super) fn attached(table: &Table<'_>, metadata: &Metadata) -> Option<Attached> {
    let parents = table.get("parentRefs").map_or_else(|| Some(Vec::new()), |field| parents(&field, metadata));
    let hosts = table.get("hostnames").map_or_else(|| Some(Vec::new()), |field| hostnames(&field));
    let (parents, hosts) = (parents?, hosts?);
    let services: Vec<_> = parents.iter().filter(|parent| parent.is_service).collect();
    if services.is_empty() {
        let any = || vec![Claim::Domain(Domain::Any, table.field.place())];
        let gateways: Box<[_]> = parents.iter().map(gateway).collect();
        return Some(Attached {
            claims: if hosts.is_empty() { any() } else { hosts },
            gateways: (!gateways.is_empty()).then_some(gateways),
        });
    }
    if services.len() < parents.len() {
        let help = "write a route for the services and one for the gateways";
        let list = table.get("parentRefs").unwrap_or_else(|| table.field.clone());
        list.fault_with("not-supported", "Services and Gateways as parents of one route", help);
        return None;
    }
    if let Some(field) = table.get("hostnames").filter(|_| !hosts.is_empty()) {
        let help = "a Service as parent is the host; leave `hostnames` out";
        field.warn_with("never-acts", "hostnames have no meaning for a route of a Service", help);
    }
    let claims = services.iter().map(|parent| {
        let host =
            HostRef::Short { text: parent.name.to_owned(), namespace: Some(parent.namespace.to_owned()) };
        Claim::Service(host, parent.field.place())
    });
    let mesh = GatewayRef { name: "mesh".into(), section: None, port: None };
    Some(Attached { claims: claims.collect(), gateways: Some([mesh].into()) })
}

fn gateway(parent: &Parent<'_>) -> GatewayRef {
    GatewayRef {
        name: format!("{}/{}", parent.namespace, parent.name).into(),
        section: parent.section.map(Into::into),
        port: parent.port,
    }
}

fn hostnames(field: &Field<'_>) -> Option<Vec<Claim>> {
    let mut claims = Vec::new();
    let mut whole = true;
    for item in bounded(field, 16)? {
        match hostname(&item) {
            Some(domain) => claims.push(Claim::Domain(domain, item.place())),
            None => whole = false,
        }
    }
    whole.then_some(claims)
}

fn parents<'n>(field: &Field<'n>, metadata: &'n Metadata) -> Option<Vec<Parent<'n>>> {
    let read: Vec<_> = bounded(field, 32)?.iter().map(|item| parent(item, metadata)).collect();
    let parents: Vec<_> = read.into_iter().collect::<Option<_>>()?;
    let mut distinct = true;
    for (index, one) in parents.iter().enumerate() {
        let same = |other: &&Parent<'_>| {
            (other.is_service, other.namespace, other.name) == (one.is_service, one.namespace, one.name)
        };
        let Some(other) = parents[..index].iter().find(same) else { continue };
        let parts = |parent: &Parent<'_>| (parent.section.is_some(), parent.port.is_some());
        let again = parents[..index]
            .iter()
            .filter(same)
            .any(|old| (old.section, old.port) == (one.section, one.port));
        if again || parts(other) != parts(one) {
            let help = "parents that are one object each have a `sectionName` or a `port` of their own";
            one.field.fault_with("parent", format!("`{}` is a parent twice", one.name), help);
            distinct = false;
        }
    }
    distinct.then_some(parents)
}

fn parent<'n>(field: &Field<'n>, metadata: &'n Metadata) -> Option<Parent<'n>> {
    const KEYS: Keys = Keys::of(&["group", "kind", "namespace", "name", "sectionName", "port"]);
    let table = Table::new(field, &KEYS)?;
    let group = table.get("group").map_or(Some(GATEWAY_GROUP), |field| field.text());
    let kind = table.get("kind").map_or(Some("Gateway"), |field| field.text());
    let namespace = table.get("namespace").map_or(Some(&*metadata.namespace), |field| {
        super::words::checked(&field, "name", is_dns_label, "lower-case letters, digits and -")
    });
    let name = table.require("name").and_then(|field| object_name(&field));
    let section = maybe(&table, "sectionName", object_name);
    let port = maybe(&table, "port", networking::port);
    let is_service = match (group?, kind?) {
        (GATEWAY_GROUP, "Gateway") => false,
        ("", "Service") => true,
        (group, kind) => {
            let reason = format!("a parent of kind `{kind}` of group `{group}` is not supported");
            let help = format!("Gateway of {GATEWAY_GROUP}, or Service of group \"\"");
            field.fault_with("not-supported", reason, help);
            return None;
        }
    };
    let (section, port) = (section?, port?);
    if is_service {
        for key in ["sectionName", "port"] {
            if let Some(field) = table.get(key) {
                let help = "a rule holds for the service, whatever the port";
                field.fault_with("not-supported", format!("`{key}` of a Service is not supported"), help);
                return None;
            }
        }
    }
    Some(Parent { field: field.clone(), is_service, namespace: namespace?, name: name?, section, port })
}
