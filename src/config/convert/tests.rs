//! Laws of conversion: the same meaning, or a word about it.

use proptest::prelude::*;

use super::*;
use crate::config::{Environment, Loaded, load};
use crate::snapshot::{Route, Snapshot};

const MAIN: &str = "listeners:\n- {name: in, address: \"0.0.0.0:80\", service: m}\n- {name: o, address: \"0.0.0.0:81\", service: other}\nservices:\n\
    - name: m\n  endpoints:\n\
    \x20 - {address: \"10.0.0.1:80\", labels: {version: v1}}\n\
    \x20 - {address: \"10.0.0.2:80\", labels: {version: v2}}\n\
    - name: other\n  endpoints: [{address: \"10.0.0.3:80\", labels: {version: v1}}]\n";

fn document(name: &str, text: &str) -> Document {
    Document { name: name.into(), bytes: text.into() }
}

fn rule(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\n\
         spec: {{destination: {{name: m}}, {spec}}}\n"
    )
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {{name: {name}}}\n\
         spec: {{{spec}}}\n"
    )
}

/// The text, and what was told.
fn converted(rules: &str, target: Target) -> (String, Vec<String>) {
    let settings = Settings { target, domain: "cluster.local", port: 8500 };
    let converted =
        convert(&[document("rules.yaml", rules)], &settings).unwrap_or_else(|found| panic!("{found}"));
    let told = converted.notes.iter().map(|note| format!("{} {}", note.code, note.reason)).collect();
    (converted.text, told)
}

fn linked(rules: &str) -> Loaded {
    let loaded =
        load(&document("weir.yaml", MAIN), &[document("rules.yaml", rules)], &Environment::default());
    loaded.unwrap_or_else(|found| panic!("{found}\n{rules}"))
}

/// The routes of `m`, without their names and places.
fn routes(snapshot: &Snapshot) -> Vec<Route> {
    let config = &snapshot.route_configs["service:m.default.svc.cluster.local"];
    let nameless =
        |route: &std::sync::Arc<Route>| Route { name: "".into(), origin: "".into(), ..Route::clone(route) };
    config.virtual_hosts.iter().flat_map(|host| &host.routes).map(nameless).collect()
}

#[track_caller]
fn means_the_same(rules: &str, target: Target) {
    let (text, told) = converted(rules, target);
    let (before, after) = (linked(rules), linked(&text));
    assert_eq!(routes(&before.snapshot), routes(&after.snapshot), "{text}\n{told:?}");
    assert_eq!(before.snapshot.clusters, after.snapshot.clusters, "{text}");
    assert!(after.warnings.is_empty(), "{}\n{text}", after.warnings);
}

const SPLIT: &str = "websocketUpgrade: true, route: [{labels: {version: v1}, weight: 95}, {labels: {version: v2}, weight: 5}]";

#[test]
fn a_split_becomes_a_virtual_service_with_its_subsets() {
    let testers = "precedence: 2, websocketUpgrade: true, match: {request: {headers: {x-user: {exact: a}, \
                   uri: {prefix: /v1/}}}}, route: [{labels: {version: v2}}]";
    let (text, told) =
        converted(&(rule("canary", SPLIT) + &rule("testers", testers)), Target::VirtualService);
    assert_eq!(told, [""; 0]);
    let wanted = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: m
  namespace: default
spec:
  hosts:
  - m
  http:
  - name: testers
    match:
    - uri:
        prefix: /v1/
      headers:
        x-user:
          exact: a
    route:
    - destination:
        host: m
        subset: version-v2
  - name: canary
    route:
    - destination:
        host: m
        subset: version-v1
      weight: 95
    - destination:
        host: m
        subset: version-v2
      weight: 5
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: m
  namespace: default
spec:
  host: m
  trafficPolicy:
    loadBalancer:
      simple: ROUND_ROBIN
  subsets:
  - name: version-v1
    labels:
      version: v1
  - name: version-v2
    labels:
      version: v2
";
    assert_eq!(text, wanted);
}

#[test]
fn a_split_becomes_an_http_route_with_a_service_for_each_version() {
    let (text, told) = converted(&rule("canary", SPLIT), Target::HttpRoute);
    assert_eq!(told, [""; 0]);
    let wanted = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: m
  namespace: default
spec:
  parentRefs:
  - group: \"\"
    kind: Service
    name: m
  rules:
  - name: canary
    backendRefs:
    - name: m-v1
      port: 8500
      weight: 95
    - name: m-v2
      port: 8500
      weight: 5
";
    assert_eq!(text, wanted);
    means_the_same(&rule("canary", SPLIT), Target::HttpRoute);
}

#[test]
fn every_policy_of_a_rule_means_the_same_in_a_virtual_service() {
    for policy in [
        "httpReqTimeout: {simpleTimeout: {timeout: 1.5s}}",
        "httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 250ms}}",
        "httpFault: {delay: {percent: 0.5, fixedDelay: 2s}, abort: {percent: 10, httpStatus: 503}}",
        "mirror: {name: m, labels: {version: v2}}",
        "mirror: {name: other}",
        "corsPolicy: {allowOrigin: [\"*\", \"http://a.b\"], allowMethods: [GET, POST], allowHeaders: [x-a], \
         exposeHeaders: [x-b], maxAge: 24h, allowCredentials: true}",
        "appendHeaders: {x-b: 100%%, x-a: \"a b: c\"}",
        "rewrite: {uri: /v2/, authority: \"h.example:80\"}",
        "match: {request: {headers: {uri: {regex: \"/v[0-9]+/.*\"}, method: {exact: POST}, scheme: {prefix: http}, \
         authority: {regex: \".*\"}, x-a: {prefix: \"a.b\"}, x-c: {regex: \"c|d\"}}}}",
    ] {
        // Where not all match, the rest goes to the whole service, which a VirtualService lets upgrade.
        let last = match policy.starts_with("match") {
            true => rule("last", &format!("precedence: -1, {SPLIT}")),
            false => String::new(),
        };
        means_the_same(&(rule("canary", &format!("{SPLIT}, {policy}")) + &last), Target::VirtualService);
    }
    let redirect = "precedence: 1, match: {request: {headers: {uri: {exact: /old}}}}, redirect: {uri: /new, authority: \"h:81\"}";
    means_the_same(&(rule("moved", redirect) + &rule("canary", SPLIT)), Target::VirtualService);
}

#[test]
fn a_rule_that_the_other_dialect_would_not_take_is_left_out_and_told_of() {
    let odd = rule(
        "odd",
        &format!("precedence: 1, {SPLIT}, corsPolicy: {{allowOrigin: [\"no origin\"], maxAge: 5s}}"),
    );
    let (text, told) = converted(&(odd + &rule("canary", SPLIT)), Target::HttpRoute);
    assert!(!text.contains("name: odd") && text.contains("name: canary"), "{text}");
    assert!(
        told.iter().any(|one| one.contains("an HTTPRoute would not be taken, and the rule is left out")),
        "{told:?}"
    );
    let star = format!("{SPLIT}, corsPolicy: {{allowOrigin: [\"*\", \"http://a.b\"], maxAge: 5s}}");
    let (text, _) = converted(&rule("canary", &star), Target::HttpRoute);
    assert!(text.contains("allowOrigins:\n        - \"*\"\n        maxAge"), "{text}");
    linked(&text);
}

#[test]
fn times_are_written_as_each_dialect_has_them() {
    use std::time::Duration;
    let long = Duration::from_millis(100_000_000 + 2_500);
    assert_eq!((said::seconds(long), said::whole(long)), ("100002.5s".into(), "27h46m42s500ms".into()));
    assert_eq!((said::seconds(Duration::ZERO), said::whole(Duration::ZERO)), ("0s".into(), "0s".into()));
}

#[test]
fn what_no_rule_holds_for_goes_to_the_whole_service_as_before() {
    let some =
        rule("some", "match: {request: {headers: {x-a: {exact: a}}}}, route: [{labels: {version: v1}}]");
    let (text, told) = converted(&some, Target::VirtualService);
    assert!(
        text.contains("  - name: default-route\n    route:\n    - destination:\n        host: m\n---"),
        "{text}"
    );
    assert_eq!(
        told,
        ["no-equal without `websocketUpgrade` upgrades were refused; a VirtualService always lets them"]
    );
    let (text, _) = converted(&some, Target::HttpRoute);
    assert!(
        text.ends_with("  - name: default-route\n    backendRefs:\n    - name: m\n      port: 8500\n"),
        "{text}"
    );
}

#[test]
fn annotations_are_kept_for_all_rules_or_by_rule() {
    let annotated = rule("canary", SPLIT).replace(
        "{name: canary}",
        "{name: canary, annotations: {weir/sticky: \"cookie:id;set=1h;path=/;Secure, header:x-a\", \
         weir/version-header: x-version, weir/repeatable: \"true\"}}",
    );
    means_the_same(&annotated, Target::VirtualService);
    means_the_same(&annotated, Target::HttpRoute);
    let other = rule(
        "other",
        "precedence: 1, websocketUpgrade: true, match: {request: {headers: {x-a: {exact: a}}}}",
    );
    for target in [Target::VirtualService, Target::HttpRoute] {
        means_the_same(&(annotated.clone() + &other), target);
    }
    let (text, _) = converted(&(annotated + &other), Target::VirtualService);
    assert!(text.contains("weir/version-header.canary: x-version"), "{text}");
    let long = "a".repeat(60);
    let long = rule(&long, SPLIT).replace("{name: a", "{annotations: {weir/repeatable: \"true\"}, name: a");
    let (text, told) = converted(&(long + &other), Target::VirtualService);
    assert!(!text.contains("repeatable") && told.iter().any(|one| one.contains("longer than")), "{told:?}");
    let tries = rule(
        "canary",
        &format!("{SPLIT}, httpReqRetries: {{simpleRetry: {{attempts: 3, perTryTimeout: 250ms}}}}"),
    );
    let tries = tries.replace(
        "{name: canary}",
        "{name: canary, annotations: {weir/idle-timeout: 1m30s, weir/max-grpc-timeout: 5s, \
         weir/per-try-idle-timeout: 100ms, weir/retriable-headers: \"x-a,x-b\"}}",
    );
    means_the_same(&tries, Target::VirtualService);
}

#[test]
fn a_policy_becomes_what_holds_for_its_subset() {
    let of_v1 = policy(
        "v1",
        "destination: {name: m, labels: {version: v1}}, loadBalancing: {name: RANDOM}, circuitBreaker: {simpleCb: \
         {maxConnections: 7, httpMaxPendingRequests: 8, httpMaxRequests: 9, httpMaxRetries: 2}}",
    );
    let breaker = "sleepWindow: 30s, httpDetectionInterval: 10s, maxConnections";
    let of_v1 = of_v1.replace("maxConnections", breaker);
    let (text, _) = converted(&(rule("canary", SPLIT) + &of_v1), Target::VirtualService);
    let after = linked(&text).snapshot;
    let cluster = &after.clusters["out.m.default.svc.cluster.local|version=v1"];
    let breakers = cluster.circuit_breakers;
    assert_eq!((breakers.connections, breakers.pending, breakers.requests, breakers.retries), (7, 8, 9, 2));
    assert_eq!(cluster.lb, crate::snapshot::LbPolicy::Random);
    assert_eq!(
        after.clusters["out.m.default.svc.cluster.local|version=v2"].circuit_breakers,
        Default::default()
    );
    let (_, told) = converted(&(rule("canary", SPLIT) + &of_v1), Target::HttpRoute);
    assert_eq!(told, ["no-equal a DestinationPolicy has no equal: it is left as it is"]);
}

#[test]
fn a_condition_without_an_equal_leaves_the_rule_out_and_a_policy_without_one_only_itself() {
    let source =
        rule("s", "precedence: 3, match: {source: {name: frontend}}, route: [{labels: {version: v1}}]");
    for target in [Target::VirtualService, Target::HttpRoute] {
        let (text, told) = converted(&(source.clone() + &rule("canary", SPLIT)), target);
        assert!(!text.contains("name: s\n"), "{text}");
        assert!(
            told.iter().any(|one| one == "no-equal `match.source` has no equal: the rule is left out"),
            "{told:?}"
        );
    }
    let odd = [
        ("match: {request: {headers: {scheme: {exact: http}}}}", "scheme has no equal: the rule is left out"),
        ("match: {request: {headers: {method: {prefix: G}}}}", "method has no equal: the rule is left out"),
        ("match: {request: {headers: {x-a: {prefix: G}}}}", "a prefix of header x-a has no equal"),
        ("match: {request: {headers: {uri: {prefix: /a}}}}", "it holds for `/a` and for what is below `/a/`"),
        ("httpFault: {abort: {percent: 10, httpStatus: 503}}", "faults have no equal: none are made"),
        ("httpReqRetries: {simpleRetry: {attempts: 3, perTryTimeout: 250ms}}", "`5xx` has no equal"),
        ("corsPolicy: {allowOrigin: [\"*\"]}", "without `maxAge` a preflight's answer holds for 5 s there"),
    ];
    for (spec, reason) in odd {
        let (text, told) = converted(&rule("r", &format!("{SPLIT}, {spec}")), Target::HttpRoute);
        assert!(
            told.iter().any(|one| one.starts_with("no-equal ") && one.contains(reason)),
            "{reason}: {told:?}"
        );
        linked(&text);
    }
}

#[test]
fn whom_the_requests_of_a_rule_that_is_left_out_fall_to_is_told_and_what_it_refused_loudest() {
    let of = |path: &str, more: &str| {
        format!("match: {{{more}request: {{headers: {{uri: {{exact: {path}}}}}}}}}, {SPLIT}")
    };
    let deny = format!(
        "precedence: 5, {}, httpFault: {{abort: {{percent: 100, httpStatus: 403}}}}",
        of("/a", "source: {name: web}, ")
    );
    let elsewhere = format!("precedence: 4, {}", of("/b", ""));
    let lost_too = format!("precedence: 3, {}", of("/a", "source: {name: api}, "));
    let heir = format!("precedence: 2, {}", of("/a", ""));
    let rules = rule("deny", &deny) + &rule("b", &elsewhere) + &rule("lost", &lost_too) + &rule("pre", &heir);
    for target in [Target::VirtualService, Target::HttpRoute] {
        let (_, told) = converted(&rules, target);
        for note in [
            "no-equal what `deny.default` aborted is served from now on, first by `pre.default`",
            "no-equal the requests of `lost.default` fall to `pre.default` first",
        ] {
            assert!(told.iter().any(|one| one == note), "{target:?}: {told:?}");
        }
        let (_, told) = converted(&rule("deny", &deny), target);
        let note = "no-equal what `deny.default` aborted is served from now on, first by what the service has for requests without a rule";
        assert!(told.iter().any(|one| one == note), "{target:?}: {told:?}");
    }
}

#[test]
fn a_rule_that_a_more_specific_one_overtakes_is_told_of_unless_they_exclude_each_other() {
    let header = |name: &str, rank: i32, headers: &str| {
        let spec = format!("precedence: {rank}, {SPLIT}, match: {{request: {{headers: {{{headers}}}}}}}");
        rule(name, &spec)
    };
    let overtaken = header("a", 2, "x-a: {exact: a}") + &header("b", 1, "x-b: {exact: b}, x-c: {exact: c}");
    let (_, told) = converted(&overtaken, Target::HttpRoute);
    assert!(told.len() == 1 && told[0].contains("`b.default` is more specific than `a.default`"), "{told:?}");
    let apart = header("a", 2, "x-a: {exact: a}") + &header("b", 1, "x-a: {exact: b}, x-c: {exact: c}");
    assert_eq!(converted(&apart, Target::HttpRoute).1, [""; 0]);
}

#[test]
fn many_rules_become_several_routes_and_keep_their_order() {
    let all: String = (0..20)
        .map(|number| {
            let spec = format!(
                "precedence: {}, websocketUpgrade: true, match: {{request: {{headers: {{x-a: {{exact: \"{number}\"}}}}}}}}",
                100 - number
            );
            rule(&format!("r{number}"), &spec)
        })
        .collect();
    let all = all + &rule("canary", SPLIT);
    let (text, _) = converted(&all, Target::HttpRoute);
    assert_eq!(text.matches("kind: HTTPRoute").count(), 2);
    means_the_same(&all, Target::HttpRoute);
    means_the_same(&all, Target::VirtualService);
}

#[test]
fn what_is_newer_already_is_left_and_what_is_broken_is_refused() {
    let (text, _) = converted(&rule("canary", SPLIT), Target::VirtualService);
    let (nothing, told) = converted(&text, Target::HttpRoute);
    assert_eq!((nothing.as_str(), told.len()), ("", 2));
    let settings = Settings { target: Target::HttpRoute, domain: "cluster.local", port: 80 };
    let broken = document("rules.yaml", &rule("canary", "route: [{weight: 7}, {weight: 9}]"));
    assert!(convert(&[broken], &settings).is_err());
}

#[test]
fn hosts_are_named_as_their_own_namespace_calls_them() {
    let elsewhere = rule("canary", SPLIT)
        .replace("{name: canary}", "{name: canary, namespace: web}")
        .replace("{name: m}", "{name: m, namespace: kubeflow}");
    let (text, _) = converted(&elsewhere, Target::VirtualService);
    assert!(
        text.contains("  name: m\n  namespace: kubeflow\n") && text.contains("- name: canary.web\n"),
        "{text}"
    );
    let host = |host: &HostRef| Name::of(host, "web", "cluster.local");
    let whole = host(&HostRef::Whole("m.kubeflow.svc.cluster.local".into()));
    assert_eq!((&*whole.short, whole.from("kubeflow"), whole.from("web")), ("m", "m", &*whole.full));
    assert!(!host(&HostRef::Whole("models.example.com".into())).is_service());
}

fn condition() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("exact: \"a.b\""),
        Just("exact: \"\u{e9} 7\""),
        Just("prefix: no"),
        Just("regex: \"(a|b)+\""),
    ]
    .prop_map(|text| format!("{{{text}}}"))
}

prop_compose! {
    fn any_rule()(
        precedence in -2..3_i32,
        headers in proptest::collection::btree_map("x-[a-d]", condition(), 0..3),
        uri in proptest::option::of(prop_oneof![
            Just("{exact: /a/b}"), Just("{prefix: /a}"), Just("{regex: \"/a/.*|/b\"}"), Just("{prefix: /}")
        ]),
        weight in 0..=100_u32,
        other in proptest::option::of(Just("destination: {name: other}, ")),
    ) -> String {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let uri = uri.map(|uri| format!("uri: {uri}"));
        let all: Vec<String> = headers.chain(uri).collect();
        let matches = match all.is_empty() {
            true => String::new(),
            false => format!("match: {{request: {{headers: {{{}}}}}}}, ", all.join(", ")),
        };
        format!(
            "precedence: {precedence}, websocketUpgrade: true, {matches}route: [{{labels: {{version: v1}}, weight: {weight}}}, \
             {{{}labels: {{version: v2}}, weight: {}}}]",
            other.unwrap_or_default(), 100 - weight
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_rules_mean_the_same_as_a_virtual_service(specs in proptest::collection::vec(any_rule(), 1..6)) {
        let all: String = specs.iter().enumerate().map(|(number, spec)| rule(&format!("r{number}"), spec)).collect();
        let all = all + &rule("last", &SPLIT.replace("websocketUpgrade", "precedence: -9, websocketUpgrade"));
        let (text, _) = converted(&all, Target::VirtualService);
        let (before, after) = (linked(&all).snapshot, linked(&text).snapshot);
        prop_assert_eq!(routes(&before), routes(&after));
        prop_assert_eq!(before.clusters, after.clusters);
    }

    #[test]
    fn any_rules_become_http_routes_that_load(specs in proptest::collection::vec(any_rule(), 1..6)) {
        let all: String = specs.iter().enumerate().map(|(number, spec)| rule(&format!("r{number}"), spec)).collect();
        let (text, _) = converted(&all, Target::HttpRoute);
        linked(&text);
    }
}
