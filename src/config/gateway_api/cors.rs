//! The filter `CORS`.
//!
//! Law: an origin is compared as browsers write it: lower case, without the port that its scheme has by itself. `*` as a
//! host, or before a host's first dot, stands for any labels. A preflight from elsewhere is answered here, without any
//! `access-control-` field, as the Gateway API has it.

use std::sync::Arc;
use std::time::Duration;

use super::words::{bounded, header_name, one_of, sized};
use crate::config::decode::Field;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table};
use crate::snapshot::{Cors, StringMatch, UnmatchedPreflights};

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "*"];

/// Reads the filter.
pub(super) fn cors(field: &Field<'_>, patterns: &Patterns) -> Option<Cors> {
    const KEYS: Keys = Keys::of(&[
        "allowOrigins",
        "allowCredentials",
        "allowMethods",
        "allowHeaders",
        "exposeHeaders",
        "maxAge",
    ]);
    let table = Table::new(field, &KEYS)?;
    let origins = match table.get("allowOrigins") {
        Some(field) => origins(&field, patterns),
        None => {
            field.warn_with("never-acts", "no origin is let in", "`allowOrigins`");
            Some(Vec::new())
        }
    };
    let method = |field: &Field<'_>| one_of(field, &METHODS).map(str::to_owned);
    let header = |field: &Field<'_>| {
        header_name(field)?;
        field.text().map(str::to_owned)
    };
    let methods = table.get("allowMethods").map_or(Some(None), |field| joined(&field, 9, method));
    let headers = table.get("allowHeaders").map_or(Some(None), |field| joined(&field, 64, header));
    let expose = table.get("exposeHeaders").map_or(Some(None), |field| joined(&field, 64, header));
    let credentials = table.get("allowCredentials").map_or(Some(false), |field| field.boolean());
    let max_age =
        table.get("maxAge").map_or(Some(5), |field| field.integer_as("cors", 1..=i64::from(i32::MAX)));
    let (credentials, mut expose) = (credentials?, expose?);
    if let Some(field) = table.get("exposeHeaders").filter(|_| credentials && expose.as_deref() == Some("*"))
    {
        let help = "with credentials browsers read `*` as a name; write the names";
        field.warn_with("never-acts", "`*` exposes nothing to requests with credentials", help);
        expose = None;
    }
    Some(Cors {
        origins: origins?,
        methods: methods?,
        headers: headers?,
        expose,
        max_age: Some(Duration::from_secs(max_age? as u64)),
        credentials,
        unmatched_preflights: UnmatchedPreflights::Answer,
    })
}

/// A set of words as it is sent; `*` stands alone.
fn joined(
    field: &Field<'_>,
    most: usize,
    word: impl Fn(&Field<'_>) -> Option<String>,
) -> Option<Option<Arc<str>>> {
    let items = bounded(field, most)?;
    let read: Vec<_> = items.iter().map(word).collect();
    let words: Vec<String> = read.into_iter().collect::<Option<_>>()?;
    alone(field, &words)?;
    Some((!words.is_empty()).then(|| words.join(",").into()))
}

fn alone(field: &Field<'_>, words: &[String]) -> Option<()> {
    if words.len() > 1 && words.iter().any(|word| word == "*") {
        field.fault_with("cors", "`*` stands beside others", "`*` alone, or the others");
        return None;
    }
    let repeated = words.iter().enumerate().find(|(index, word)| words[..*index].contains(word));
    if let Some((_, word)) = repeated {
        field.fault_with("repeated", format!("`{word}` stands twice"), "each once");
        return None;
    }
    Some(())
}

fn origins(field: &Field<'_>, patterns: &Patterns) -> Option<Vec<StringMatch>> {
    let items = bounded(field, 64)?;
    let read: Vec<_> = items.iter().map(|item| sized(item, 1, 253).map(str::to_owned)).collect();
    let words: Vec<String> = read.into_iter().collect::<Option<_>>()?;
    alone(field, &words)?;
    let read: Vec<_> = items.iter().map(|item| origin(item, patterns)).collect();
    read.into_iter().collect()
}

fn origin(field: &Field<'_>, patterns: &Patterns) -> Option<StringMatch> {
    let text = field.text()?.to_ascii_lowercase();
    if text == "*" {
        return Some(StringMatch::Present);
    }
    let Some((origin, starred)) = normal(&text) else {
        let help =
            "`*`, or http or https, a host that may start with `*.`, perhaps a port: https://*.example.com";
        field.fault_with("cors", format!("`{text}` is no origin"), help);
        return None;
    };
    if !starred {
        return Some(StringMatch::Exact(origin.into()));
    }
    let expression = regex::escape(&origin).replacen(r"\*", "[^/:]+", 1);
    field
        .parsed("cors", "fewer origins with a star", |_| patterns.compile(&expression))
        .map(StringMatch::Regex)
}

/// An origin without its scheme's own port, and whether its host has a star.
fn normal(text: &str) -> Option<(String, bool)> {
    let (scheme, rest) = text.split_once("://")?;
    let own_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return None,
    };
    let (host, port) = match rest.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (rest, None),
    };
    // `parse` alone would take a sign.
    let is_port = |port: &str| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    if !port.is_none_or(is_port) {
        return None;
    }
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let starred = host == "*" || host.starts_with("*.");
    let named = host.strip_prefix("*.").unwrap_or(host);
    if host != "*" && !named.split('.').all(label) {
        return None;
    }
    let origin = match port.filter(|port| *port != own_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Some((origin, starred))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        let normal = |text: &str| normal(text).map(|(origin, _)| origin);
        assert_eq!(normal("https://example.com:443").as_deref(), Some("https://example.com"));
        assert_eq!(normal("http://example.com:443").as_deref(), Some("http://example.com:443"));
        assert_eq!(normal("https://*.example.com:8443").as_deref(), Some("https://*.example.com:8443"));
        for bad in [
            "example.com",
            "ftp://example.com",
            "https://",
            "https://a:0",
            "https://a:65536",
            "https://a.*.com",
            "https://a/",
            "https://a*.com",
            "https://a..com",
            "https://+1",
            "https://a:+80",
        ] {
            assert_eq!(normal(bad), None, "{bad}");
        }
    }
}
