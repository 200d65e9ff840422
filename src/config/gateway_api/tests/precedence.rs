//! The order of matches, against a reference that reads the specification's list word by word.

use std::cmp::Ordering;

use proptest::prelude::*;

use super::*;
use crate::config::draft::Specificity;

/// A match as the reference sees it.
#[derive(Clone, Debug)]
struct Slow {
    path: SlowPath,
    method: bool,
    headers: usize,
    query: usize,
}

#[derive(Clone, Debug)]
enum SlowPath {
    Any,
    Exact(String),
    Prefix(String),
    Regex(String),
}

/// Which of two goes first, criterion by criterion; `Equal` if none tells.
fn slow(a: &Slow, b: &Slow) -> Ordering {
    let is_exact = |one: &Slow| matches!(one.path, SlowPath::Exact(_));
    let prefix = |one: &Slow| match &one.path {
        SlowPath::Prefix(text) => {
            Some(text.trim_end_matches('/').chars().count()).filter(|length| *length > 0)
        }
        _ => None,
    };
    let regex = |one: &Slow| match &one.path {
        SlowPath::Regex(text) => Some(text.chars().count()),
        _ => None,
    };
    // `then_with` keeps the first criterion that tells; more of each goes first.
    is_exact(b)
        .cmp(&is_exact(a))
        .then_with(|| prefix(b).cmp(&prefix(a)))
        .then_with(|| regex(b).cmp(&regex(a)))
        .then_with(|| b.method.cmp(&a.method))
        .then_with(|| b.headers.cmp(&a.headers))
        .then_with(|| b.query.cmp(&a.query))
}

impl Slow {
    fn yaml(&self) -> String {
        let path = match &self.path {
            SlowPath::Any => String::new(),
            SlowPath::Exact(text) => format!("path: {{type: Exact, value: \"{text}\"}}, "),
            SlowPath::Prefix(text) => format!("path: {{value: \"{text}\"}}, "),
            SlowPath::Regex(text) => format!("path: {{type: RegularExpression, value: \"{text}\"}}, "),
        };
        let method = if self.method { "method: POST, " } else { "" };
        let list = |count: usize| {
            let entries: Vec<_> = (0..count).map(|index| format!("{{name: n{index}, value: v}}")).collect();
            entries.join(", ")
        };
        format!("{{{path}{method}headers: [{}], queryParams: [{}]}}", list(self.headers), list(self.query))
    }
}

fn any_match() -> impl Strategy<Value = Slow> {
    let path = prop_oneof![
        Just(SlowPath::Any),
        "(/[ab]{1,2}){1,3}/?".prop_map(SlowPath::Exact),
        "(/[ab]{1,2}){0,3}/?".prop_map(|text| SlowPath::Prefix(if text.is_empty() {
            "/".into()
        } else {
            text
        })),
        "/[ab.]{0,4}".prop_map(SlowPath::Regex),
    ];
    (path, any::<bool>(), 0..3_usize, 0..3_usize).prop_map(|(path, method, headers, query)| Slow {
        path,
        method,
        headers,
        query,
    })
}

fn rank(rule: &RuleDraft) -> Specificity {
    match rule.order {
        Order::Specificity(rank) => rank,
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn the_order_of_matches_is_that_of_a_slow_reference(matches in prop::collection::vec(any_match(), 2..8)) {
        let list: Vec<_> = matches.iter().map(Slow::yaml).collect();
        let rules = http(&format!("[{{matches: [{}], backendRefs: [{{name: m, port: 80}}]}}]", list.join(", ")));
        for (a, one) in matches.iter().zip(&rules) {
            for (b, other) in matches.iter().zip(&rules) {
                prop_assert_eq!(slow(a, b), rank(other).cmp(&rank(one)), "{:?} and {:?}", a, b);
            }
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "\\PC{0,40}|[-a-z0-9*./:%(){}\\[\\], ]{0,60}") {
        for kind in ["HTTPRoute", "GRPCRoute"] {
            for spec in [
                text.clone(),
                format!("{{rules: [{{matches: [{{path: {{value: '{text}'}}, method: {{service: '{text}'}}}}]}}]}}"),
                format!("{{hostnames: ['{text}'], rules: [{{filters: [{{type: CORS, cors: {{allowOrigins: ['{text}']}}}}]}}]}}"),
            ] {
                let Ok(nodes) = yaml::parse(spec.as_bytes()) else { continue };
                let scope = Scope::new("a.yaml");
                for node in &nodes {
                    let (field, patterns) = (Field::root(node, &scope), Patterns::default());
                    let _ = match kind {
                        "HTTPRoute" => http_route(&field, &metadata(kind), &patterns),
                        _ => grpc_route(&field, &metadata(kind), &patterns),
                    };
                }
            }
        }
    }
}

#[test]
fn a_grpc_match_goes_by_the_length_of_service_then_method_then_expression_then_headers() {
    let called = [
        "{method: {service: abc.Def, method: M}}",
        "{method: {service: abc.Def}, headers: [{name: a, value: b}]}",
        "{method: {service: abc.Def}}",
        "{method: {service: abc.De, method: LongMethod}}",
        "{method: {method: Method}}",
        "{method: {method: Meth}}",
        "{method: {type: RegularExpression, service: abc.*}}",
        "{method: {type: RegularExpression, service: a.*}}",
        "{headers: [{name: a, value: b}]}",
        "{}",
    ];
    let spec =
        format!("{{rules: [{{matches: [{}], backendRefs: [{{name: m, port: 80}}]}}]}}", called.join(", "));
    let ranks: Vec<_> = loaded("GRPCRoute", &spec).rules.iter().map(rank).collect();
    assert!(ranks.is_sorted_by(|a, b| a > b), "{ranks:?}");
    let most = http(
        "[{matches: [{path: {type: Exact, value: /abc}, method: POST}], backendRefs: [{name: m, port: 80}]}]",
    );
    assert!(ranks.iter().all(|rank_of| *rank_of > rank(&most[0])), "gRPC's rules come before all others");
}
