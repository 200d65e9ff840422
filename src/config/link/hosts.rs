//! Which service a host means: every form that Istio knew, and who wins when two services share one.
//!
//! Law: a declared host beats every short form; a bare name means the service of the node's own namespace, else the
//! only service of that name.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::draft::HostRef;
use crate::config::names::nearest;
use crate::config::weir_yaml::{ServiceDraft, ServiceHost};
use crate::snapshot::Node;

/// A service and its full host.
#[derive(Debug)]
pub(super) struct Known<'d> {
    pub(super) host: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) namespace: Arc<str>,
    pub(super) draft: &'d ServiceDraft,
}

/// Every service by its full host.
#[derive(Debug)]
pub(super) struct Registry<'d> {
    services: BTreeMap<Arc<str>, Known<'d>>,
    /// The full hosts that a short form may mean.
    short: BTreeMap<String, Vec<Arc<str>>>,
    node: &'d Node,
}

/// Why a reference means no service: the reason, and help.
#[derive(Debug)]
pub(super) struct Unresolved {
    pub(super) code: &'static str,
    pub(super) reason: String,
    pub(super) help: String,
}

impl<'d> Registry<'d> {
    /// Of services that share a host the first stays.
    pub(super) fn new(drafts: &'d [ServiceDraft], node: &'d Node) -> Registry<'d> {
        let mut services = BTreeMap::new();
        for draft in drafts {
            let (host, name, namespace) = match &draft.host {
                ServiceHost::Full(host) => (host.clone(), host.clone(), "unknown".into()),
                ServiceHost::Named { name, namespace } => {
                    (full_host(name, namespace, &node.domain), name.clone(), namespace.clone())
                }
            };
            services.entry(host.clone()).or_insert(Known { host, name, namespace, draft });
        }
        let mut short: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for known in services.values() {
            for form in short_forms(known) {
                short.entry(form).or_default().push(known.host.clone());
            }
        }
        Registry { services, short, node }
    }

    /// All, by host.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Known<'d>> {
        self.services.values()
    }

    /// The service with exactly this full host.
    pub(super) fn get(&self, host: &str) -> Option<&Known<'d>> {
        self.services.get(host)
    }

    /// The service that `reference`, in any form, means, if it means one.
    pub(super) fn find(&self, reference: &str) -> Option<&Known<'d>> {
        if reference.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return self.find(&reference.to_ascii_lowercase());
        }
        self.get(reference).or_else(|| match self.named(reference)[..] {
            [only] => Some(only),
            ref several => several.iter().find(|known| known.namespace == self.node.namespace).copied(),
        })
    }

    /// The services that have the short form `reference`, lower case.
    fn named(&self, reference: &str) -> Vec<&Known<'d>> {
        let hosts = self.short.get(reference).map_or(&[][..], Vec::as_slice);
        hosts.iter().filter_map(|host| self.get(host)).collect()
    }

    /// The service that `reference`, in any form, means.
    pub(super) fn resolve(&self, reference: &str) -> Result<&Known<'d>, Unresolved> {
        let reference = reference.to_ascii_lowercase();
        if let Some(known) = self.find(&reference) {
            return Ok(known);
        }
        let named = self.named(&reference);
        if let [first, ..] = named[..] {
            let reason = format!("`{reference}` is the name of {} services", named.len());
            let help = format!("such as {}.{}", first.name, first.namespace);
            return Err(Unresolved { code: "ambiguous-service", reason, help });
        }
        let names: Vec<_> = self.iter().map(|known| known.name.as_ref()).collect();
        let help = match nearest(&reference, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "one of `services`".into(),
        };
        let reason = format!("no service is `{reference}`");
        Err(Unresolved { code: "unknown-service", reason, help })
    }

    /// The service that `host` of an object of `namespace` means, or its full host.
    pub(super) fn of_object(&self, host: &HostRef, namespace: &str) -> Result<&Known<'d>, String> {
        let full = host.resolve(namespace, &self.node.domain);
        match (self.get(&full), host) {
            (Some(known), _) => Ok(known),
            (None, HostRef::Short { text, .. }) if text.contains('.') => self.find(text).ok_or(full),
            _ => Err(full),
        }
    }

    /// Every host that a service answers to, normal form, and the service's full host.
    pub(super) fn domains(&self) -> BTreeMap<Arc<str>, Vec<Arc<str>>> {
        let mut owner: BTreeMap<Arc<str>, &Known<'_>> =
            self.iter().map(|known| (known.host.clone(), known)).collect();
        for form in self.short.keys() {
            // A name that several have without a winner means none of them.
            if let Some(known) = self.find(form) {
                owner.entry(form.as_str().into()).or_insert(known);
            }
        }
        let mut domains: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        for (domain, known) in owner {
            domains.entry(known.host.clone()).or_default().push(domain);
        }
        domains
    }

    /// Full host, name and namespace of a caller's service, which need not be one of ours.
    pub(super) fn caller(&self, reference: &str) -> (Arc<str>, Arc<str>, Arc<str>) {
        if let Some(known) = self.find(reference) {
            return (known.host.clone(), known.name.clone(), known.namespace.clone());
        }
        let suffix = format!(".svc.{}", self.node.domain);
        let short =
            reference.strip_suffix(&suffix).or_else(|| reference.strip_suffix(".svc")).unwrap_or(reference);
        let (name, namespace) = short.split_once('.').unwrap_or((short, &self.node.namespace));
        match namespace.contains('.') {
            true => (reference.into(), reference.into(), "unknown".into()),
            false => (full_host(name, namespace, &self.node.domain), name.into(), namespace.into()),
        }
    }
}

fn full_host(name: &str, namespace: &str, domain: &str) -> Arc<str> {
    format!("{name}.{namespace}.svc.{domain}").into()
}

/// `name`, `name.namespace`, `name.namespace.svc`; nothing for a service declared by its host.
fn short_forms(known: &Known<'_>) -> Vec<String> {
    match &known.draft.host {
        ServiceHost::Full(_) => Vec::new(),
        ServiceHost::Named { name, namespace } => {
            vec![name.to_string(), format!("{name}.{namespace}"), format!("{name}.{namespace}.svc")]
        }
    }
}
