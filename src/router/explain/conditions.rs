//! Which requests a rule takes, in plain words: one line a condition.
//!
//! Law: whatever a route can ask of a request is told. A rule without a line takes every request.

use std::fmt::Display;

use super::super::condition::Named;
use crate::snapshot::{Fraction, PathMatch, RouteMatch, SourceMatch, StringMatch};
use crate::words::Protocol;

/// All that must hold; none for a rule that takes every request.
pub(super) fn of(matches: &RouteMatch) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(path(&matches.path));
    lines.extend(matches.headers.iter().map(|one| value(&Named(&one.name), &one.value)));
    lines.extend(matches.source.iter().flat_map(source));
    if let Some(more) = matches.more.as_deref() {
        let without = |one| format!("not: {one}");
        lines.extend(more.without.iter().map(|one| without(value(&Named(&one.name), &one.value))));
        let parameter = |name| format!("query parameter {name}");
        lines.extend(more.query.iter().map(|one| value(&parameter(&one.name), &one.value)));
        lines.extend(more.port.map(|port| format!("the request came in by port {port}")));
        lines.extend(more.protocol.map(|protocol| match protocol {
            Protocol::Grpc => "the request is gRPC".to_owned(),
            Protocol::Http => "the request is not gRPC".to_owned(),
        }));
    }
    lines.extend(matches.runtime_fraction.map(|Fraction { numerator, denominator }| {
        format!("{} % of the requests", f64::from(numerator) * 100.0 / f64::from(denominator))
    }));
    lines
}

fn path(condition: &PathMatch) -> Option<String> {
    Some(match condition {
        PathMatch::Prefix(prefix) if **prefix == *"/" => return None,
        PathMatch::Prefix(prefix) => format!("the path starts with {prefix}"),
        PathMatch::PrefixIgnoreCase(prefix) => format!("the path starts with {prefix}, whatever the case"),
        PathMatch::Segments(segments) => format!("the path is {segments} or below it"),
        PathMatch::Exact(exact) => format!("the path is {exact}"),
        PathMatch::ExactIgnoreCase(exact) => format!("the path is {exact}, whatever the case"),
        PathMatch::Regex(pattern) => format!("the path matches {} as a whole", pattern.as_str()),
    })
}

fn value(name: &dyn Display, condition: &StringMatch) -> String {
    match condition {
        StringMatch::Exact(exact) => format!("{name} is {exact:?}"),
        StringMatch::Prefix(prefix) => format!("{name} starts with {prefix:?}"),
        StringMatch::Regex(pattern) => format!("{name} matches {} as a whole", pattern.as_str()),
        StringMatch::Present => format!("{name} is there"),
    }
}

fn source(condition: &SourceMatch) -> Vec<String> {
    let service = condition.service.as_ref().map(|service| format!("the caller is {service}"));
    let namespace =
        condition.namespace.as_ref().map(|namespace| format!("the caller is of namespace {namespace}"));
    let labels = condition.labels.iter().map(|(key, value)| format!("the caller's label {key} is {value}"));
    service.into_iter().chain(namespace).chain(labels).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::route::OrdName;
    use crate::snapshot::{HeaderMatch, HeaderName, MoreMatch, Pattern, QueryMatch};

    #[test]
    fn a_rule_that_takes_every_request_has_no_condition() {
        assert_eq!(of(&RouteMatch::any()), Vec::<String>::new());
    }

    #[test]
    fn every_condition_is_told_in_a_line() {
        let header = |name, value| HeaderMatch {
            name: HeaderName::Header(OrdName(http::HeaderName::from_static(name))),
            value,
        };
        let matches = RouteMatch {
            path: PathMatch::Segments("/v1".into()),
            headers: vec![
                HeaderMatch { name: HeaderName::Method, value: StringMatch::Exact("GET".into()) },
                header("x-a", StringMatch::Prefix("b".into())),
                header("x-c", StringMatch::Regex(Pattern::new("d.*").expect("compiles"))),
                header("x-e", StringMatch::Present),
            ],
            source: Some(SourceMatch {
                service: Some("web.default.svc.cluster.local".into()),
                namespace: Some("default".into()),
                labels: [("version".into(), "v3".into())].into(),
            }),
            runtime_fraction: Some(Fraction::of_percent(12.5)),
            more: Some(Box::new(MoreMatch {
                without: vec![header("x-f", StringMatch::Exact("g".into()))],
                query: vec![QueryMatch { name: "h".into(), value: StringMatch::Exact("i".into()) }],
                port: Some(8500),
                protocol: Some(Protocol::Grpc),
            })),
        };
        assert_eq!(
            of(&matches),
            [
                "the path is /v1 or below it",
                "the method is \"GET\"",
                "header x-a starts with \"b\"",
                "header x-c matches d.* as a whole",
                "header x-e is there",
                "the caller is web.default.svc.cluster.local",
                "the caller is of namespace default",
                "the caller's label version is v3",
                "not: header x-f is \"g\"",
                "query parameter h is \"i\"",
                "the request came in by port 8500",
                "the request is gRPC",
                "12.5 % of the requests",
            ]
        );
    }
}
