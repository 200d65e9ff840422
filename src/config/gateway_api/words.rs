//! The shapes of words in the Gateway API, and readers of fields that have them.
//!
//! Source: the patterns of apis/v1/shared_types.go and GEP-2257 (durations).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::config::decode::Field;
use crate::config::names::is_fqdn;
use crate::config::values::parse_duration;
use crate::snapshot::Domain;
use crate::snapshot::route::OrdName;

/// The entries of a list of at most `most`.
pub(super) fn bounded<'n>(field: &Field<'n>, most: usize) -> Option<Vec<Field<'n>>> {
    let items = field.items()?;
    if items.len() > most {
        field.fault_with("too-many", format!("it has {} entries", items.len()), format!("at most {most}"));
        return None;
    }
    Some(items)
}

/// A text of `least` to `most` characters.
pub(super) fn sized<'n>(field: &Field<'n>, least: usize, most: usize) -> Option<&'n str> {
    let text = field.text()?;
    let length = text.chars().count();
    if !(least..=most).contains(&length) {
        let help = format!("{least} to {most} characters");
        field.fault_with("length", format!("it has {length} characters"), help);
        return None;
    }
    Some(text)
}

/// One of a closed set of words; `code` tells what it is about.
pub(super) fn one_of<'n>(field: &Field<'n>, words: &[&'static str]) -> Option<&'static str> {
    let pairs: Vec<_> = words.iter().map(|word| (*word, *word)).collect();
    field.word(&pairs)
}

/// A name of a DNS subdomain, as objects have.
pub(super) fn object_name<'n>(field: &Field<'n>) -> Option<&'n str> {
    checked(field, "name", is_fqdn, "lower-case letters, digits, - and .")
}

/// A text that `check` accepts.
pub(super) fn checked<'n>(
    field: &Field<'n>,
    code: &'static str,
    check: impl FnOnce(&str) -> bool,
    help: &str,
) -> Option<&'n str> {
    let text = field.filled()?;
    if !check(text) {
        field.fault_with(code, format!("`{text}` is none"), help);
        return None;
    }
    Some(text)
}

/// A host without a star: RFC 1123, no IP address.
pub(super) fn precise_host(field: &Field<'_>) -> Option<Arc<str>> {
    let help = "lower-case DNS labels, no IP address and no port";
    checked(field, "hostname", is_host, help).map(Into::into)
}

/// A host, or `*.` before one.
pub(super) fn hostname(field: &Field<'_>) -> Option<Domain> {
    let good = |text: &str| is_host(text.strip_prefix("*.").unwrap_or(text));
    let help = "lower-case DNS labels, perhaps with `*.` before them; no IP address and no port";
    let text = checked(field, "hostname", good, help)?;
    Some(match text.strip_prefix('*') {
        Some(suffix) => Domain::Suffix(suffix.into()),
        None => Domain::Exact(text.into()),
    })
}

fn is_host(text: &str) -> bool {
    is_fqdn(text) && text.len() <= 253 && text.parse::<IpAddr>().is_err()
}

/// `10s`, `1h30m`: at most four numbers of at most five digits, without a fraction.
pub(super) fn duration(field: &Field<'_>) -> Option<Duration> {
    field.parsed("duration", "such as 500ms, 10s or 1h30m", |text| match is_gep_2257(text) {
        true => parse_duration(text),
        false => Err(format!("`{text}` is no duration of the Gateway API")),
    })
}

fn is_gep_2257(text: &str) -> bool {
    let mut rest = text;
    for part in 0.. {
        if rest.is_empty() {
            return part > 0;
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let tail = &rest[digits..];
        let unit = ["ms", "h", "m", "s"].into_iter().find(|unit| tail.starts_with(unit));
        let (1..=5, 0..4, Some(unit)) = (digits, part, unit) else { return false };
        rest = &tail[unit.len()..];
    }
    false
}

/// The name of a header that may be matched, in any case.
pub(super) fn header_name(field: &Field<'_>) -> Option<OrdName> {
    let text = sized(field, 1, 256)?;
    match http::HeaderName::from_bytes(text.as_bytes()) {
        Ok(name) => Some(OrdName(name)),
        Err(_) => {
            let help = "letters, digits and !#$%&'*+-.^_`|~";
            field.fault_with("header-name", format!("`{text}` is no header name"), help);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_what_gep_2257_says() {
        for good in ["0s", "10s", "1h30m", "99999ms", "1h1m1s1ms"] {
            assert!(is_gep_2257(good), "{good}");
        }
        for bad in ["", "10", "1.5s", "100000s", "1h1m1s1ms1s", "1d", "-1s", "1us", "s"] {
            assert!(!is_gep_2257(bad), "{bad}");
        }
    }
}
