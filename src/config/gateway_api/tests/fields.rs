//! The table of fields against the readers.

use super::*;
use crate::config::fields::{FieldRow, Support};
use crate::config::gateway_api::fields;

/// A spec in which the sample of a row stands at its place, and nothing else but what must.
fn spec(row: &FieldRow) -> String {
    let parts: Vec<_> = row.path.split('.').skip(1).collect();
    let (_, parents) = parts.split_last().expect("below spec");
    let mut text = row.sample.to_owned();
    for (index, part) in parents.iter().enumerate().rev() {
        let own = parents.get(index + 1).copied().or(parts.last().copied()).unwrap_or_default();
        let beside = match *part {
            "filters[]" if !text.contains("type: ") || own != "type" => filter_type(own),
            "backendRefs[]" if own == "filters[]" => "name: m, port: 80",
            "rules[]" if needs_backend(&text) => "backendRefs: [{name: m, port: 80}]",
            _ => "",
        };
        let comma = if beside.is_empty() { "" } else { ", " };
        text = match part.strip_suffix("[]") {
            Some(list) => format!("{list}: [{{{text}{comma}{beside}}}]"),
            None => format!("{part}: {{{text}}}"),
        };
    }
    match text.contains("rules: ") {
        true => format!("{{{text}}}"),
        false => format!("{{{text}, rules: [{{backendRefs: [{{name: m, port: 80}}]}}]}}"),
    }
}

fn filter_type(key: &str) -> &'static str {
    match key {
        "requestHeaderModifier" => "type: RequestHeaderModifier",
        "responseHeaderModifier" => "type: ResponseHeaderModifier",
        "requestMirror" => "type: RequestMirror",
        "requestRedirect" => "type: RequestRedirect",
        "urlRewrite" => "type: URLRewrite",
        "cors" => "type: CORS",
        "externalAuth" => "type: ExternalAuth",
        "extensionRef" => "type: ExtensionRef",
        _ => "",
    }
}

fn needs_backend(rule: &str) -> bool {
    !rule.contains("backendRefs: ") && !rule.contains("requestRedirect: ")
}

#[test]
fn each_supported_field_loads_and_each_refused_one_is_refused_by_name_at_its_place() {
    let mut wrong = Vec::new();
    for (kind, rows) in [("HTTPRoute", fields::HTTP_ROUTE), ("GRPCRoute", fields::GRPC_ROUTE)] {
        for row in rows {
            let spec = spec(row);
            let (draft, found) = read(kind, &spec);
            let path = row.path.trim_start_matches("spec.").replace("[]", "[0]");
            let right = match row.is {
                Support::Supported | Support::Inert => found.is_empty() && draft.is_some(),
                Support::Refused => found == [(Severity::Error, "not-supported", path)],
            };
            if !right {
                wrong.push(format!("{kind} {}: {found:?}\n    {spec}", row.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
