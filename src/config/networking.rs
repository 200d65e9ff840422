//! What VirtualService and DestinationRule (`networking.istio.io`) have in common: hosts, shares, conditions on strings;
//! and what other dialects read alike: ports, hosts with a port, names and values of headers, origins.
//!
//! Law: what Istio's validation refuses is refused. As in protobuf, an empty string is one that was left out.

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::decode::Field;
use super::draft::HostRef;
use super::names::is_fqdn;
use super::patterns::Patterns;
use super::table::{Keys, Table, each};
use crate::message::hop_by_hop::is_editable;
use crate::snapshot::route::OrdName;
use crate::snapshot::{Fraction, Labels, StringMatch};

/// The versions of the API that hold the same fields.
pub(super) const API_VERSIONS: [&str; 3] =
    ["networking.istio.io/v1alpha3", "networking.istio.io/v1beta1", "networking.istio.io/v1"];

/// The host of a service: a DNS name, short or whole, or an IPv4 address.
pub(super) fn host(field: &Field<'_>) -> Option<HostRef> {
    let text = field.filled()?;
    let lower = text.to_ascii_lowercase();
    if lower.parse::<Ipv4Addr>().is_err() && !is_fqdn(&lower) {
        field.fault_with("service-host", format!("`{text}` is no host"), "a DNS name, without a port");
        return None;
    }
    Some(HostRef::Short { text: lower, namespace: None })
}

/// `exportTo:`; whoever puts a file here wants this proxy to see it, so that `.` and `*` are one.
pub(super) fn export_to(table: &Table<'_>) -> Option<()> {
    let all = each(table, "exportTo", |field| match field.text()? {
        "*" | "." => Some(()),
        other => {
            let reason = format!("`{other}` is not supported: files are not kept apart by namespace");
            field.fault_with("not-supported", reason, "\"*\" or \".\"");
            None
        }
    });
    all.map(drop)
}

/// `Percent`: `{value: 12.5}`; without a value 0, as in protobuf.
pub(super) fn fraction(field: &Field<'_>) -> Option<Fraction> {
    let table = Table::new(field, &Keys::of(&["value"]))?;
    let value = table.get("value").map_or(Some(0.0), |field| field.percent())?;
    Some(Fraction::of_percent(value))
}

/// The older form of a percentage: whole percent.
pub(super) fn whole_percent(field: &Field<'_>) -> Option<Fraction> {
    field.percent()?; // what is none of either kind is told of as such
    field.integer_as("percent", 0..=100).map(|percent| Fraction::of_percent(percent as f64))
}

/// Tells of a share that is zero; then there is nothing to do.
pub(super) fn acts(field: &Field<'_>, fraction: Fraction) -> bool {
    if fraction.numerator == 0 {
        field.warn_with("never-acts", "no request is concerned", "a percentage over 0");
    }
    fraction.numerator > 0
}

/// Which of `exact`, `prefix` and `regex` a condition says; nothing: `{}`.
#[allow(clippy::option_option)] // the outer one is the fault
pub(super) fn condition<'n>(field: &Field<'n>) -> Option<Option<(&'static str, Field<'n>)>> {
    const WORDS: [&str; 3] = ["exact", "prefix", "regex"];
    if field.node.kind_name() == "a string" {
        let help = format!("write `{{exact: \"{}\"}}`", field.text()?);
        field.fault_with("match", "a bare string is no condition", help);
        return None;
    }
    let table = Table::new(field, &Keys::of(&WORDS))?;
    let given: Vec<_> = WORDS.into_iter().filter_map(|key| Some((key, table.get(key)?))).collect();
    if given.len() > 1 {
        field.fault_with("match", "it has more than one condition", "one of exact, prefix and regex");
        return None;
    }
    Some(given.into_iter().next())
}

/// A condition on a value. `{}`, and the regular expression `*` that is none, ask that it is there.
pub(super) fn string_match(field: &Field<'_>, patterns: &Patterns) -> Option<StringMatch> {
    let Some((key, value)) = condition(field)? else { return Some(StringMatch::Present) };
    match (key, value.text()?) {
        ("exact", text) => Some(StringMatch::Exact(text.into())),
        ("prefix", "") | ("regex", "*") => Some(StringMatch::Present),
        ("prefix", text) => Some(StringMatch::Prefix(text.into())),
        _ => regex(&value, patterns).map(StringMatch::Regex),
    }
}

/// An expression that must match whole values.
pub(super) fn regex(field: &Field<'_>, patterns: &Patterns) -> Option<crate::snapshot::Pattern> {
    field.filled()?;
    field.parsed("regex", "it must match the whole value", |text| patterns.compile(text))
}

/// A header's name, in any case.
pub(super) fn header_name(field: &Field<'_>, name: &str) -> Option<OrdName> {
    let read = http::HeaderName::from_bytes(name.as_bytes());
    if read.is_err() {
        field.fault_with("header-name", format!("`{name}` is no header name"), "letters, digits and hyphens");
    }
    read.ok().map(OrdName)
}

/// A header's value, to be sent as it stands: Envoy's operators are refused, `%%` is a percent.
pub(super) fn header_value(field: &Field<'_>) -> Option<Arc<str>> {
    let text = field.filled()?;
    if http::HeaderValue::from_str(text).is_err() {
        field.fault("header-value", "it holds what no header may hold");
        return None;
    }
    if text.replace("%%", "").contains('%') {
        let reason = "Envoy's operators (`%…%`) are not supported";
        field.fault_with("not-supported", reason, "a percent is written `%%`");
        return None;
    }
    Some(text.replace("%%", "%").into())
}

/// The name of a header that may be edited.
pub(super) fn editable(field: &Field<'_>, name: &OrdName) -> Option<()> {
    let name = name.0.as_str();
    if !is_editable(name) {
        let reason = format!("`{name}` is no header to edit");
        field.fault_with("header-name", reason, "the proxy writes it itself on each connection");
        return None;
    }
    Some(())
}

/// What asks for localities, where it is `wanted`.
pub(super) fn no_localities(field: &Field<'_>, wanted: bool) -> Option<()> {
    if !wanted {
        return Some(()); // what is not asked for is not missed
    }
    let key = field.path.rsplit('.').next().unwrap_or_default();
    let reason = format!("`{key}` is not supported: endpoints have no localities here");
    field.fault_with("not-supported", reason, "leave it out");
    None
}

/// The name of the answer's header that tells the chosen version: one that means nothing to whoever reads the answer.
pub(super) fn version_header(field: &Field<'_>, name: OrdName) -> Option<OrdName> {
    const MEANT: [&str; 9] = [
        "content-encoding",
        "content-type",
        "date",
        "grpc-encoding",
        "grpc-message",
        "grpc-status",
        "location",
        "server",
        "set-cookie",
    ];
    editable(field, &name)?;
    if MEANT.contains(&name.0.as_str()) {
        let reason = format!("`{}` says something else of an answer", name.0);
        field.fault_with("header-name", reason, "such as x-model-version");
        return None;
    }
    Some(name)
}

/// Whether `text` is a host, perhaps with a port.
pub(super) fn is_authority(text: &str) -> bool {
    let Ok(authority) = text.parse::<http::uri::Authority>() else { return false };
    let end = authority.as_str().rsplit(']').next().unwrap_or_default();
    let port = end.split_once(':').map(|(_, port)| port);
    let digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let good = port.is_none_or(|port| digits(port) && port.parse::<u16>().is_ok_and(|port| port > 0));
    good && !text.contains('@') && !authority.host().is_empty()
}

/// A host, and the port that it may have behind it.
pub(super) fn split_port(authority: &str) -> (&str, Option<u16>) {
    let split = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    split.map_or((authority, None), |(host, port)| (host, Some(port)))
}

/// An origin that is let in, as Istio's older lists have it: `*` means every one, as in Envoy.
pub(super) fn origin(text: &str) -> StringMatch {
    match text {
        "*" => StringMatch::Present,
        _ => StringMatch::Exact(text.into()),
    }
}

/// A name as it stands, without anything that breaks a line.
pub(super) fn plain_name(field: &Field<'_>, text: &str) -> Option<Arc<str>> {
    if text.chars().any(char::is_control) {
        field.fault("name", "it holds control characters");
        return None;
    }
    Some(text.into())
}

/// A port's number.
pub(super) fn port(field: &Field<'_>) -> Option<u16> {
    field.integer(1..=65_535).map(|port| port as u16)
}

/// Labels; none if they are left out.
pub(super) fn labels(table: &Table<'_>, key: &'static str) -> Option<Labels> {
    table
        .get(key)
        .map_or_else(|| Some(Labels::new()), |field| field.labels(super::names::is_istio_label_part))
}
