//! `metadata:` of a Kubernetes object, the same for every kind.
//!
//! Law: what Kubernetes itself writes there is accepted; what nobody knows is refused.

use std::sync::Arc;

use super::annotations::Annotations;
use super::decode::Field;
use super::diagnostic::Place;
use super::draft::{Dialect, RouteDraft};
use super::names::{is_dns_label, is_fqdn};
use super::table::{Keys, Table};

/// Who an object is. With a fault in it the scope has an error, and the names may be empty.
#[derive(Clone, Debug)]
pub(crate) struct Metadata {
    /// Where the object starts.
    pub(crate) place: Place,
    /// `kind`
    pub(crate) kind: &'static str,
    /// `name`
    pub(crate) name: Arc<str>,
    /// `namespace`, or `default`
    pub(crate) namespace: Arc<str>,
    /// `creationTimestamp`, as written.
    pub(crate) created: Option<Box<str>>,
    /// `annotations`. What they say of rules is added once the object is read.
    pub(crate) annotations: Annotations,
}

const KEYS: Keys = Keys::of(&[
    "name",
    "namespace",
    "labels",
    "annotations",
    "creationTimestamp",
    "resourceVersion",
    "uid",
    "generation",
    "selfLink",
    "managedFields",
    "finalizers",
    "ownerReferences",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generateName",
    "clusterName",
]);

impl Metadata {
    /// Reads `metadata:` of `object`, a `kind`.
    pub(crate) fn read(object: &Field<'_>, kind: &'static str, metadata: Option<&Field<'_>>) -> Metadata {
        let table = metadata.and_then(|field| Table::new(field, &KEYS));
        let get = |key| table.as_ref().and_then(|table| table.get(key));
        let name = table.as_ref().and_then(|table| checked(&table.require("name")?, is_fqdn));
        let namespace = match get("namespace") {
            Some(field) => checked(&field, is_dns_label),
            None => Some("default"),
        };
        // Kubernetes writes `null` for an object that is not stored yet.
        let created = get("creationTimestamp").and_then(|field| moment(&field));
        Metadata {
            place: object.place(),
            kind,
            name: name.unwrap_or_default().into(),
            namespace: namespace.unwrap_or_default().into(),
            created: created.map(Into::into),
            annotations: get("annotations").map(|field| Annotations::read(&field, kind)).unwrap_or_default(),
        }
    }

    /// An object with routes, by whom nothing is claimed yet.
    pub(crate) fn routes(&self, dialect: Dialect) -> RouteDraft {
        RouteDraft {
            place: self.place.clone(),
            dialect,
            kind: self.kind,
            name: self.name.clone(),
            namespace: self.namespace.clone(),
            created: self.created.clone(),
            claims: Vec::new(),
            gateways: None,
            rules: Vec::new(),
        }
    }
}

/// A time as Kubernetes writes it: ages are compared as text, which only one form allows.
fn moment<'n>(field: &Field<'n>) -> Option<&'n str> {
    let text = field.text()?;
    let form = b"0000-00-00T00:00:00Z";
    let same = |(byte, form): (u8, &u8)| match form {
        b'0' => byte.is_ascii_digit(),
        other => byte == *other,
    };
    if text.len() != form.len() || !text.bytes().zip(form).all(same) {
        field.wrong_type(
            "a time in UTC",
            Some("as Kubernetes writes it, such as 2026-01-31T12:00:00Z".into()),
        );
        return None;
    }
    Some(text)
}

fn checked<'n>(field: &Field<'n>, check: fn(&str) -> bool) -> Option<&'n str> {
    let text = field.filled()?;
    if !check(text) {
        field.fault_with("name", format!("`{text}` is no name"), "lower-case letters, digits and -");
        return None;
    }
    Some(text)
}
