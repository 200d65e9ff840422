//! Weights as each dialect has them, against the sentence of its specification.
//!
//! Law: a RouteRule's sum to 100, but a lone entry needs none; a VirtualService's and an HTTPRoute's are relative, 0 and 1
//! where nothing is said; a lone share of Istio's has all; nothing is divided anew.

#![allow(clippy::expect_used)] // a panic here is the report

use http::{HeaderMap, Method};
use proptest::prelude::*;
use weir::config::{self, Document, Environment};
use weir::router::{self, Head};

const MAIN: &str = "listeners: [{name: l, address: \"127.0.0.1:80\", service: m}]\nservices:\n- name: m\n  endpoints:\n\
    \x20 - {address: \"10.0.0.1:80\", labels: {version: v0}}\n  - {address: \"10.0.0.2:80\", labels: {version: v1}}\n\
    \x20 - {address: \"10.0.0.3:80\", labels: {version: v2}}\n  - {address: \"10.0.0.4:80\", labels: {version: v3}}\n";

/// The percentages of the shares, in their order; nothing if the rules are refused.
fn percentages(rules: &str) -> Option<Vec<f64>> {
    let document = |text: &str| Document { name: "a.yaml".into(), bytes: text.into() };
    let loaded = config::load(&document(MAIN), &[document(rules)], &Environment::default()).ok()?;
    let config = loaded.snapshot.route_configs.values().next().expect("one");
    let head = Head {
        method: &Method::GET,
        path: "/",
        query: None,
        host: "m",
        authority: "m",
        scheme: "http",
        headers: &HeaderMap::new(),
        caller: None,
        local: None,
    };
    let choice = router::explain(config, &head, 0).choice.expect("every request has a route");
    Some(choice.versions.iter().map(|share| share.percent).collect())
}

fn parts(weights: &[u64]) -> Vec<f64> {
    let sum: u64 = weights.iter().sum();
    weights.iter().map(|weight| *weight as f64 * 100.0 / sum as f64).collect()
}

/// Entries of a list, each with its version and its weight as far as one is said.
fn entries(weights: &[Option<u64>], entry: fn(usize, &str) -> String) -> String {
    let said = |weight: &Option<u64>| weight.map(|weight| format!(", weight: {weight}")).unwrap_or_default();
    let all: Vec<_> = weights.iter().enumerate().map(|(place, weight)| entry(place, &said(weight))).collect();
    all.join(", ")
}

/// Few numbers, so that sums of 100 come up.
fn weights() -> impl Strategy<Value = Vec<Option<u64>>> {
    let weight = prop::sample::select(
        &[None, Some(0), Some(1), Some(5), Some(50), Some(95), Some(100), Some(101)][..],
    );
    prop::collection::vec(weight, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn weights_of_a_route_rule_sum_to_100_and_a_lone_entry_needs_none(weights in weights()) {
        let route = entries(&weights, |place, weight| format!("{{labels: {{version: v{place}}}{weight}}}"));
        let got = percentages(&format!(
            "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r}}\n\
             spec: {{destination: {{name: m}}, route: [{route}]}}\n"
        ));
        let numbers: Vec<u64> = weights.iter().map(|weight| weight.unwrap_or(0)).collect();
        let wanted = match (&numbers[..], numbers.iter().sum()) {
            (all, _) if all.iter().any(|weight| *weight > 100) => None,
            ([0], _) => Some(vec![100.0]),
            (all, 100) => Some(parts(all)),
            _ => None,
        };
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn weights_of_a_virtual_service_are_relative_and_none_is_0_unless_it_is_alone(weights in weights()) {
        let route = entries(&weights, |place, weight| format!("{{destination: {{host: m, subset: v{place}}}{weight}}}"));
        let got = percentages(&format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: r}}\n\
             spec: {{hosts: [m], http: [{{route: [{route}]}}]}}\n---\n\
             apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: m}}\nspec: {{host: m, subsets: [\
             {{name: v0, labels: {{version: v0}}}}, {{name: v1, labels: {{version: v1}}}}, \
             {{name: v2, labels: {{version: v2}}}}, {{name: v3, labels: {{version: v3}}}}]}}\n"
        ));
        let numbers: Vec<u64> = weights.iter().map(|weight| weight.unwrap_or(0)).collect();
        let wanted = match (&numbers[..], numbers.iter().sum()) {
            ([_], _) => Some(vec![100.0]),
            (_, 0) => None,
            (all, _) => Some(parts(all)),
        };
        prop_assert_eq!(got, wanted);
    }

    #[test]
    fn weights_of_an_http_route_are_relative_and_none_is_1(weights in weights()) {
        let backends = entries(&weights, |place, weight| format!("{{name: m-v{place}, port: 80{weight}}}"));
        let got = percentages(&format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: r}}\nspec: {{parentRefs: \
             [{{group: \"\", kind: Service, name: m}}], rules: [{{backendRefs: [{backends}]}}]}}\n"
        ));
        let numbers: Vec<u64> = weights.iter().map(|weight| weight.unwrap_or(1)).collect();
        // Without a share there is no backend: 500.
        let wanted = if numbers.iter().sum::<u64>() == 0 { Vec::new() } else { parts(&numbers) };
        prop_assert_eq!(got, Some(wanted));
    }
}
