//! Conditions of GRPCRoutes, against a reading of them that knows neither the reader nor the router.
//!
//! Law: of the calls of gRPC the rule with the longest service has it, then the longest method, then the most headers, then as
//! they stand; what is no call of gRPC is none of a GRPCRoute's.

#![allow(clippy::expect_used)] // a panic here is the report

mod common {
    pub(crate) mod engine;
}

use std::cmp::Reverse;

use common::engine::linked;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;
use weir::router::{self, Head};

const MAIN: &str = "listeners: [{name: l, address: \"127.0.0.1:80\", service: m}]\n\
    services: [{name: m, endpoints: [{address: \"10.0.0.1:80\", labels: {version: v1}}]}]\n";
const SERVICES: [&str; 3] = ["a.Predict", "a.PredictLong", "b.Model"];
const METHODS: [&str; 3] = ["Get", "GetAll", "Run"];
const NAMES: [&str; 2] = ["x-user", "x-team"];

/// A condition, and whether a text satisfies it, in plain words.
type Said = (&'static str, fn(&str) -> bool);

const OF_A: Said = ("a\\\\.Predict(Long)?", |text| text == "a.Predict" || text == "a.PredictLong");
const GETS: Said = ("Get.*", |text| text.starts_with("Get"));

#[derive(Clone, Debug)]
enum Called {
    Exact(Option<&'static str>, Option<&'static str>),
    Regex(Option<Said>, Option<Said>),
}

#[derive(Clone, Debug)]
struct Rule {
    called: Option<Called>,
    /// Names with their values.
    headers: Vec<(&'static str, &'static str)>,
}

#[derive(Clone, Debug)]
struct Call {
    service: &'static str,
    method: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    /// What the message is said to be.
    grpc: bool,
}

fn headers() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let value = || prop::option::weighted(0.4, select(&["alice", "bob"][..]));
    (value(), value()).prop_map(|(one, two)| {
        NAMES.into_iter().zip([one, two]).filter_map(|(name, value)| Some((name, value?))).collect()
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let exact = (prop::option::of(select(&SERVICES[..])), prop::option::of(select(&METHODS[..])));
    let regex = (prop::option::of(Just(OF_A)), prop::option::of(Just(GETS)));
    let called = prop_oneof![
        3 => exact.prop_map(|(service, method)| (service.or(method).is_some()).then_some(Called::Exact(service, method))),
        1 => regex.prop_map(|(service, method)| (service.or(method).is_some()).then_some(Called::Regex(service, method))),
    ];
    (called, headers()).prop_map(|(called, headers)| Rule { called, headers })
}

fn call() -> impl Strategy<Value = Call> {
    (select(&SERVICES[..]), select(&METHODS[..]), headers(), prop::bool::weighted(0.9))
        .prop_map(|(service, method, headers, grpc)| Call { service, method, headers, grpc })
}

impl Rule {
    fn holds(&self, call: &Call) -> bool {
        let called = match &self.called {
            None => true,
            Some(Called::Exact(service, method)) => {
                service.is_none_or(|own| own == call.service) && method.is_none_or(|own| own == call.method)
            }
            Some(Called::Regex(service, method)) => {
                service.is_none_or(|(_, means)| means(call.service))
                    && method.is_none_or(|(_, means)| means(call.method))
            }
        };
        call.grpc && called && self.headers.iter().all(|pair| call.headers.contains(pair))
    }

    /// Expressions come behind whatever is said exactly, the longer one first.
    fn rank(&self) -> (usize, usize, usize, usize) {
        let length = |text: &Option<&str>| text.map_or(0, str::len);
        let written = |said: &Option<Said>| said.map_or(0, |(text, _)| text.replace("\\\\", "\\").len());
        let (service, method, expression) = match &self.called {
            None => (0, 0, 0),
            Some(Called::Exact(service, method)) => (length(service), length(method), 0),
            Some(Called::Regex(service, method)) => (0, 0, written(service) + written(method)),
        };
        (service, method, expression, self.headers.len())
    }

    fn yaml(&self, number: usize) -> String {
        let part = |key: &str, text: Option<&str>| {
            text.map(|text| format!(", {key}: \"{text}\"")).unwrap_or_default()
        };
        let called = match &self.called {
            None => String::new(),
            Some(Called::Exact(service, method)) => {
                format!("method: {{type: Exact{}{}}}, ", part("service", *service), part("method", *method))
            }
            Some(Called::Regex(service, method)) => format!(
                "method: {{type: RegularExpression{}{}}}, ",
                part("service", service.map(|(text, _)| text)),
                part("method", method.map(|(text, _)| text))
            ),
        };
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| format!("{{name: {name}, value: {value}}}")).collect();
        format!(
            "{{name: r{number}, matches: [{{{called}headers: [{}]}}], backendRefs: [{{name: m, port: 80}}]}}",
            headers.join(", ")
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_grpc_route_takes_the_calls_that_satisfy_its_most_specific_match(
        rules in prop::collection::vec(rule(), 1..6), calls in prop::collection::vec(call(), 1..20),
    ) {
        let all: Vec<_> = rules.iter().enumerate().map(|(number, rule)| rule.yaml(number)).collect();
        let text = format!(
            "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: g}}\nspec: {{parentRefs: \
             [{{group: \"\", kind: Service, name: m}}], rules: [{}]}}\n",
            all.join(", ")
        );
        let snapshot = linked(MAIN, &text);
        let config = snapshot.route_configs.values().next().expect("one");
        let mut order: Vec<_> = rules.iter().enumerate().collect();
        order.sort_by_key(|(_, rule)| Reverse(rule.rank()));
        for call in &calls {
            let mut headers = HeaderMap::new();
            let kind = if call.grpc { "application/grpc+proto" } else { "application/json" };
            headers.insert("content-type", HeaderValue::from_static(kind));
            for (name, value) in &call.headers {
                headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            let path = format!("/{}/{}", call.service, call.method);
            let head = Head {
                method: &Method::POST,
                path: &path,
                query: None,
                host: "m",
                authority: "m",
                scheme: "http",
                headers: &headers,
                caller: None,
                local: None,
            };
            let found = router::explain(config, &head, 0).choice.map(|choice| choice.name.to_string());
            let wanted = match order.iter().find(|(_, rule)| rule.holds(call)) {
                Some((number, _)) => Some(format!("g.default/r{number}")),
                None => (!call.grpc).then(|| "default-route".to_owned()),
            };
            prop_assert_eq!(found, wanted, "{:?}\n{}", call, text);
        }
    }
}
