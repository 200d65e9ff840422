//! What is a GRPCRoute's own: its keys and its matches.
//!
//! Law: its rules hold for gRPC requests alone. A service and a method are a path, as gRPC has it: `/service/method`.

use super::rules::{Kind, Match};
use super::words::{one_of, sized};
use super::{filters, headers, order};
use crate::config::decode::Field;
use crate::config::patterns::Patterns;
use crate::config::table::{Keys, Table};
use crate::snapshot::{MoreMatch, PathMatch};
use crate::words::Protocol;

/// Its rules.
pub(super) const RULES: Kind = Kind {
    keys: Keys {
        known: &["name", "matches", "filters", "backendRefs"],
        later: &[],
        never: &[("sessionPersistence", super::NO_SESSIONS)],
        proto: false,
    },
    filters: &filters::GRPC,
    no_backend: 503, // which stands for UNAVAILABLE
    websocket: false,
    needs_rules: false,
    read,
    any,
};

/// A condition on the path, and how many characters of service, method and expression it has.
#[derive(Default)]
struct Called {
    path: Option<PathMatch>,
    service: usize,
    method: usize,
    expression: usize,
}

fn any() -> Match {
    of(Called::default(), Vec::new())
}

fn of(called: Called, headers: Vec<crate::snapshot::HeaderMatch>) -> Match {
    Match {
        order: order::grpc(called.service, called.method, called.expression, headers.len()),
        path: called.path,
        is_prefix: false,
        headers,
        more: Some(Box::new(MoreMatch { protocol: Some(Protocol::Grpc), ..MoreMatch::default() })),
    }
}

fn read(field: &Field<'_>, patterns: &Patterns) -> Option<Match> {
    let table = Table::new(field, &Keys::of(&["method", "headers"]))?;
    let called =
        table.get("method").map_or_else(|| Some(Called::default()), |field| called(&field, patterns));
    let headers = table.get("headers").map_or(Some(Vec::new()), |field| headers::matches(&field, patterns));
    Some(of(called?, headers?))
}

fn called(field: &Field<'_>, patterns: &Patterns) -> Option<Called> {
    let table = Table::new(field, &Keys::of(&["type", "service", "method"]))?;
    let kind =
        table.get("type").map_or(Some("Exact"), |field| one_of(&field, &["Exact", "RegularExpression"]));
    let part = |key: &'static str| match table.get(key) {
        None => Some(None),
        Some(field) => sized(&field, 0, 1_024).map(|text| (!text.is_empty()).then_some((field, text))),
    };
    let (service, method) = (part("service"), part("method"));
    let (kind, service, method) = (kind?, service?, method?);
    if service.is_none() && method.is_none() {
        field.fault_with("match", "neither a service nor a method is said", "`service`, `method` or both");
        return None;
    }
    match kind {
        "Exact" => exact(service, method, patterns),
        _ => expression(field, service, method, patterns),
    }
}

type Part<'n> = Option<(Field<'n>, &'n str)>;

fn exact(service: Part<'_>, method: Part<'_>, patterns: &Patterns) -> Option<Called> {
    let is_service = |text: &str| text.strip_prefix('.').unwrap_or(text).split('.').all(is_identifier);
    let help = "letters, digits and _; of a service several with dots between them";
    let mut right = true;
    for (part, check) in [(&service, &is_service as &dyn Fn(&str) -> bool), (&method, &is_identifier)] {
        if let Some((field, text)) = part
            && !check(text)
        {
            field.fault_with("match", format!("`{text}` is no name in gRPC"), help);
            right = false;
        }
    }
    if !right {
        return None;
    }
    let service = service.map(|(_, text)| text);
    let path = match (service, &method) {
        (Some(service), Some((_, method))) => PathMatch::Exact(format!("/{service}/{method}").into()),
        (Some(service), None) => PathMatch::Segments(format!("/{service}").into()),
        (None, Some((field, method))) => {
            let source = format!("/[^/]+/{method}");
            PathMatch::Regex(field.parsed("regex", "fewer expressions", |_| patterns.compile(&source))?)
        }
        (None, None) => return None,
    };
    Some(Called {
        path: Some(path),
        service: service.map_or(0, str::len),
        method: method.map_or(0, |(_, text)| text.len()),
        expression: 0,
    })
}

fn is_identifier(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| byte.is_ascii_alphabetic() || *byte == b'_')
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

fn expression(field: &Field<'_>, service: Part<'_>, method: Part<'_>, patterns: &Patterns) -> Option<Called> {
    // Each alone first, so that none can close the other's group.
    let check = |part: &Part<'_>| match part {
        None => Some(()),
        Some((field, _)) => headers::regex(field, patterns).map(drop),
    };
    let (one, other) = (check(&service), check(&method));
    one.and(other)?;
    let text = |part: &Part<'_>| part.as_ref().map_or("[^/]+", |(_, text)| *text).to_owned();
    let source = format!("/(?:{})/(?:{})", text(&service), text(&method));
    let path = match patterns.compile(&source) {
        Ok(pattern) => PathMatch::Regex(pattern),
        Err(reason) => {
            field.fault_with("regex", reason, "an expression for the service and one for the method");
            return None;
        }
    };
    let length = |part: &Part<'_>| part.as_ref().map_or(0, |(_, text)| text.len());
    Some(Called { path: Some(path), expression: length(&service) + length(&method), ..Called::default() })
}
