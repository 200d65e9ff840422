//! Tests of HTTPRoute and GRPCRoute: each limit and each rule of the schema, and what the fields become.

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Origin, Place, Severity};
use crate::config::draft::{ActionDraft, Claim, HostRef, Order, RuleDraft, Select};
use crate::config::yaml;
use crate::snapshot::{
    Domain, Fraction, HeaderName, PathMatch, PathRewrite, RetryCondition, StringMatch, UnmatchedPreflights,
};
use crate::words::Protocol;

mod checks;
mod fields;
mod filters;
mod meaning;
mod precedence;

fn metadata(kind: &'static str) -> Metadata {
    Metadata {
        place: Place { origin: Origin::of_file("a.yaml"), path: String::new() },
        kind,
        name: "r".into(),
        namespace: "web".into(),
        created: None,
        annotations: Default::default(),
    }
}

/// What `spec` of `kind` becomes, and what is told of it: severity, code and path.
fn read(kind: &'static str, spec: &str) -> (Option<RouteDraft>, Vec<(Severity, &'static str, String)>) {
    let nodes = yaml::parse(spec.as_bytes()).unwrap_or_else(|error| panic!("{spec}: {}", error.reason));
    let scope = Scope::new("a.yaml");
    let field = Field::root(&nodes[0], &scope);
    let patterns = Patterns::default();
    let draft = match kind {
        "HTTPRoute" => http_route(&field, &metadata(kind), &patterns),
        _ => grpc_route(&field, &metadata(kind), &patterns),
    };
    let found = scope.into_found().into_iter().map(|one| (one.severity, one.code, one.path)).collect();
    (draft, found)
}

#[track_caller]
fn loaded(kind: &'static str, spec: &str) -> RouteDraft {
    let (draft, found) = read(kind, spec);
    assert_eq!(found, [], "{spec}");
    draft.expect("without a fault there is a draft")
}

/// The rules of an HTTPRoute with these.
#[track_caller]
fn http(rules: &str) -> Vec<RuleDraft> {
    loaded("HTTPRoute", &format!("{{rules: {rules}}}")).rules
}

/// The only rule of an HTTPRoute with `keys` beside a backend.
#[track_caller]
fn rule(keys: &str) -> RuleDraft {
    let rules = http(&format!("[{{{keys}, backendRefs: [{{name: m, port: 80}}]}}]"));
    let [rule] = <[RuleDraft; 1]>::try_from(rules).expect("one rule");
    rule
}

/// The only fault of `spec`: code and path.
#[track_caller]
fn fault(kind: &'static str, spec: &str) -> (&'static str, String) {
    let (_, found) = read(kind, spec);
    let errors: Vec<_> = found.iter().filter(|(severity, ..)| *severity == Severity::Error).collect();
    let [(_, code, path)] = errors[..] else { panic!("{spec}: {found:?}") };
    (code, path.clone())
}

/// The only fault of an HTTPRoute whose rule has `keys`, by code and path below the rule.
#[track_caller]
fn rule_fault(keys: &str) -> (&'static str, String) {
    let (code, path) = fault("HTTPRoute", &format!("{{rules: [{{{keys}}}]}}"));
    (code, path.trim_start_matches("rules[0]").trim_start_matches('.').to_owned())
}
