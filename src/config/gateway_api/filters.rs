//! `filters:` of a rule and of a backend.
//!
//! Law: each has one type and the key of this type, no other. The order in which they are written has no meaning: headers
//! are edited, then the path is rewritten, as Envoy does it.

use super::words::{bounded, one_of, precise_host};
use super::{backends, cors, headers, paths};
use crate::config::decode::Field;
use crate::config::draft::MirrorDraft;
use crate::config::networking;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::{Cors, Fraction, HeaderEdits, Redirect, RedirectPort, Rewrite};

/// What the filters of one list say.
#[derive(Debug, Default)]
pub(super) struct Filters {
    pub(super) request_headers: HeaderEdits,
    pub(super) response_headers: HeaderEdits,
    pub(super) redirect: Option<Redirect>,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) cors: Option<Cors>,
    pub(super) mirrors: Vec<MirrorDraft>,
}

impl Filters {
    /// Tells of what has no effect beside a redirect.
    pub(super) fn tell_of_what_never_acts(&self, field: &Field<'_>) {
        if !self.mirrors.is_empty() {
            let help = "a RequestRedirect or a RequestMirror";
            field.warn_with("never-acts", "a request that is redirected is not mirrored", help);
        }
        if !self.request_headers.is_empty() {
            let help = "a RequestRedirect or a RequestHeaderModifier";
            field.warn_with("never-acts", "a request that is redirected reaches nobody", help);
        }
    }
}

/// Which filters may stand in a list.
pub(super) struct Allowed {
    keys: Keys,
    /// Each with its key.
    types: &'static [(&'static str, &'static str)],
}

const NO_EXTENSION: &str = "Weir has no extensions of its own";
const NO_AUTH: &str = "it belongs to the experimental channel";

const HTTP_TYPES: &[(&str, &str)] = &[
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("RequestMirror", "requestMirror"),
    ("RequestRedirect", "requestRedirect"),
    ("URLRewrite", "urlRewrite"),
    ("CORS", "cors"),
    ("ExtensionRef", "extensionRef"),
    ("ExternalAuth", "externalAuth"),
];

/// Of a rule and of a backend of an HTTPRoute.
pub(super) const HTTP: Allowed = Allowed {
    keys: Keys {
        known: &[
            "type",
            "requestHeaderModifier",
            "responseHeaderModifier",
            "requestMirror",
            "requestRedirect",
            "urlRewrite",
            "cors",
        ],
        later: &[],
        never: &[("extensionRef", NO_EXTENSION), ("externalAuth", NO_AUTH)],
        proto: false,
    },
    types: HTTP_TYPES,
};

/// Of a rule and of a backend of a GRPCRoute.
pub(super) const GRPC: Allowed = Allowed {
    keys: Keys {
        known: &["type", "requestHeaderModifier", "responseHeaderModifier", "requestMirror"],
        later: &[],
        never: &[("extensionRef", NO_EXTENSION)],
        proto: false,
    },
    types: &[HTTP_TYPES[0], HTTP_TYPES[1], HTTP_TYPES[2], HTTP_TYPES[6]],
};

/// Reads a list; `prefix`: whether the rule has one match, of type `PathPrefix`.
pub(super) fn filters(
    field: &Field<'_>,
    allowed: &Allowed,
    prefix: bool,
    patterns: &Patterns,
) -> Option<Filters> {
    let mut filters = Filters::default();
    let mut seen = Vec::new();
    let mut whole = true;
    for item in bounded(field, 16)? {
        let read = body(&item, allowed, &mut seen).and_then(|(key, body)| {
            match key {
                "requestHeaderModifier" => filters.request_headers = headers::edits(&body)?,
                "responseHeaderModifier" => filters.response_headers = headers::edits(&body)?,
                "requestMirror" => filters.mirrors.extend(mirror(&body)?),
                "requestRedirect" => filters.redirect = Some(redirect(&body, prefix)?),
                "urlRewrite" => filters.rewrite = Some(rewrite(&body, prefix)?),
                _ => filters.cors = Some(cors::cors(&body, patterns)?),
            }
            Some(())
        });
        whole &= read.is_some();
    }
    if seen.contains(&"requestRedirect") && seen.contains(&"urlRewrite") {
        let help = "a redirect has a `path` of its own";
        field.fault_with("filter", "RequestRedirect and URLRewrite stand side by side", help);
        return None;
    }
    whole.then_some(filters)
}

/// The key of a filter's type, and what stands there.
fn body<'n>(
    field: &Field<'n>,
    allowed: &Allowed,
    seen: &mut Vec<&'static str>,
) -> Option<(&'static str, Field<'n>)> {
    let table = Table::new(field, &allowed.keys)?;
    let kind = table.require("type")?;
    let types: Vec<_> = allowed.types.iter().map(|(name, _)| *name).collect();
    let name = one_of(&kind, &types)?;
    let (_, key) = *allowed.types.iter().find(|(known, _)| *known == name)?;
    if let Some((_, why)) = allowed.keys.never.iter().find(|(never, _)| *never == key) {
        // Where its key stands it is told of already.
        if field.node.get(key).is_none() {
            kind.fault("not-supported", format!("`{name}` is not supported: {why}"));
        }
        return None;
    }
    let mut others = allowed.keys.known.iter().filter(|known| **known != "type" && **known != key);
    if let Some(other) = others.find_map(|other| table.get(other)) {
        other.fault_with("filter", format!("it does not belong to a filter of type `{name}`"), key);
        return None;
    }
    let body = table.require(key)?;
    if key != "requestMirror" && seen.contains(&key) {
        field.fault_with("filter", format!("a second `{name}`"), "once; RequestMirror alone may be repeated");
        return None;
    }
    seen.push(key);
    Some((key, body))
}

fn redirect(field: &Field<'_>, prefix: bool) -> Option<Redirect> {
    let table = Table::new(field, &Keys::of(&["scheme", "hostname", "path", "port", "statusCode"]))?;
    let scheme = maybe(&table, "scheme", |field| one_of(field, &["http", "https"]));
    let host = maybe(&table, "hostname", precise_host);
    let path = maybe(&table, "path", |field| paths::modifier(field, prefix));
    let port = maybe(&table, "port", networking::port);
    let status = table.get("statusCode").map_or(Some(302), |field| status(&field));
    let (scheme, port) = (scheme?, port?);
    let unsaid = if scheme.is_some() { RedirectPort::OfScheme } else { RedirectPort::Listener };
    Some(Redirect {
        scheme: scheme.map(Into::into),
        host: host?,
        port: port.map_or(unsaid, RedirectPort::Number),
        path: path?,
        strip_query: false,
        status: status?,
    })
}

fn status(field: &Field<'_>) -> Option<u16> {
    let status = field.integer_as("status", 300..=399)? as u16;
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        field.fault_with("status", format!("{status} is no redirect"), "301, 302, 303, 307 or 308");
        return None;
    }
    Some(status)
}

fn rewrite(field: &Field<'_>, prefix: bool) -> Option<Rewrite> {
    let table = Table::new(field, &Keys::of(&["hostname", "path"]))?;
    let host = maybe(&table, "hostname", precise_host);
    let path = maybe(&table, "path", |field| paths::modifier(field, prefix));
    Some(Rewrite { path: path?, host: host? })
}

/// Nothing for a share of zero, which is told of.
fn mirror(field: &Field<'_>) -> Option<Option<MirrorDraft>> {
    let table = Table::new(field, &Keys::of(&["backendRef", "percent", "fraction"]))?;
    let share = table.require("backendRef").and_then(|field| backends::mirror(&field));
    let fraction = match (table.get("percent"), table.get("fraction")) {
        (Some(field), Some(_)) => {
            field.fault_with("mirror", "`percent` and `fraction` stand side by side", "one of them");
            None
        }
        (Some(field), None) => {
            field.integer_as("percent", 0..=100).map(|percent| Fraction::of_percent(percent as f64))
        }
        (None, Some(field)) => fraction(&field),
        (None, None) => Some(Fraction::ALWAYS),
    };
    let (share, fraction) = (share?, fraction?);
    if fraction.numerator == 0 {
        field.warn_with("never-acts", "no request is mirrored", "a share above zero");
        return Some(None);
    }
    Some(Some(MirrorDraft { share, fraction }))
}

/// In millionths where that is exact, so that equal shares look equal.
fn fraction(field: &Field<'_>) -> Option<Fraction> {
    let table = Table::new(field, &Keys::of(&["numerator", "denominator"]))?;
    let most = i64::from(i32::MAX);
    let denominator =
        table.get("denominator").map_or(Some(100), |field| field.integer_as("fraction", 1..=most))?;
    let numerator = table.require("numerator")?.integer_as("fraction", 0..=denominator)?;
    let millionths = numerator * 1_000_000;
    let (numerator, denominator) = match millionths % denominator {
        0 => (millionths / denominator, 1_000_000),
        _ => (numerator, denominator),
    };
    Some(Fraction { numerator: numerator as u32, denominator: denominator as u32 })
}
