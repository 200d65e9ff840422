//! GRPCRoute seen from both ends of a running proxy.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Answer, Client, get, grpc_call};
use common::world::upstream::{BoxBody, Upstream};
use common::world::{Http, World, one_service, run};
use http::Request;

/// A GRPCRoute of the service `x`, with rules in YAML's flow style.
fn route(rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {{name: calls}}\nspec:\n  \
         parentRefs: [{{group: \"\", kind: Service, name: x}}]\n  rules: {rules}\n"
    )
}

/// A proxy for the service `x` with two versions, and its upstreams.
struct Split {
    world: World,
    v1: Upstream,
    v2: Upstream,
}

impl Split {
    async fn with(rules: &[&str]) -> Split {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let names: Vec<_> = (0..rules.len()).map(|index| format!("r{index}.yaml")).collect();
        let files: Vec<_> = names.iter().map(String::as_str).zip(rules.iter().copied()).collect();
        Split { world: World::with_rules(&yaml, &files).await, v1, v2 }
    }

    async fn of(rules: &str) -> Split {
        Split::with(&[&route(rules)]).await
    }

    async fn send(&self, request: Request<BoxBody>) -> Answer {
        Client::connect(Http::Two, self.world.addr("in")).await.send(request).await
    }

    /// Which upstream answers a call with these metadata.
    async fn call(&self, method: &str, metadata: &[(&'static str, &'static str)]) -> String {
        let mut request = grpc_call(method, b"hello");
        for (name, value) in metadata {
            request.headers_mut().insert(*name, value.parse().expect("a value"));
        }
        let answer = self.send(request).await;
        match answer.grpc_status() {
            Some("0") => answer.upstream().to_owned(),
            other => format!("{other:?}"),
        }
    }
}

const UNIMPLEMENTED: &str = "Some(\"12\")";
const UNAVAILABLE: &str = "Some(\"14\")";

/// Backends of a version.
fn to(version: &str) -> String {
    format!("backendRefs: [{{name: x-{version}, port: 80}}]")
}

#[test]
fn calls_are_split_by_weight() {
    run(async || {
        let split =
            Split::of("[{backendRefs: [{name: x-v1, port: 80, weight: 3}, {name: x-v2, port: 80}]}]").await;
        for _ in 0..40 {
            assert!(split.call("/a.B/C", &[]).await.starts_with('v'));
        }
        let (most, few) = (split.v1.seen().len(), split.v2.seen().len());
        assert!(most + few == 40 && few.abs_diff(10) <= 1, "{most} and {few}");
    });
}

#[test]
fn each_kind_of_match_takes_exactly_what_it_says() {
    type Case = (&'static str, &'static [(&'static str, &'static str)], bool);
    let table: [(&str, &[Case]); 6] = [
        (
            "method: {service: a.B, method: C}",
            &[("/a.B/C", &[], true), ("/a.B/D", &[], false), ("/a.X/C", &[], false)],
        ),
        ("method: {service: a.B}", &[("/a.B/C", &[], true), ("/a.B/D", &[], true), ("/a.Bc/D", &[], false)]),
        ("method: {method: C}", &[("/a.B/C", &[], true), ("/x.Y/C", &[], true), ("/a.B/Cc", &[], false)]),
        (
            "method: {type: RegularExpression, service: \"a[.].*\", method: \"C|D\"}",
            &[("/a.B/C", &[], true), ("/a.Z/D", &[], true), ("/a.B/E", &[], false), ("/b.B/C", &[], false)],
        ),
        (
            "headers: [{name: x-user, value: ann}]",
            &[
                ("/a.B/C", &[("x-user", "ann")], true),
                ("/a.B/C", &[("x-user", "bob")], false),
                ("/a.B/C", &[], false),
            ],
        ),
        (
            "method: {service: a.B}, headers: [{type: RegularExpression, name: x-user, value: \"a.*\"}]",
            &[
                ("/a.B/C", &[("x-user", "ann")], true),
                ("/x.Y/C", &[("x-user", "ann")], false),
                ("/a.B/C", &[], false),
            ],
        ),
    ];
    run(async || {
        for (matches, cases) in table {
            let split =
                Split::of(&format!("[{{{}}}, {{matches: [{{{matches}}}], {}}}]", to("v1"), to("v2"))).await;
            for (method, metadata, holds) in cases {
                let wanted = if *holds { "v2" } else { "v1" };
                assert_eq!(split.call(method, metadata).await, wanted, "{matches}: {method} {metadata:?}");
            }
        }
    });
}

#[test]
fn a_longer_service_goes_before_a_shorter_one_and_a_method_before_none() {
    run(async || {
        let rule =
            |called: &str, version: &str| format!("{{matches: [{{method: {{{called}}}}}], {}}}", to(version));
        let rules = format!(
            "[{}, {}, {}]",
            rule("type: RegularExpression, service: \".*\"", "v1"),
            rule("service: a.B", "v2"),
            rule("service: a.B, method: C", "v1")
        );
        let split = Split::of(&rules).await;
        for (method, wanted) in [("/a.B/C", "v1"), ("/a.B/D", "v2"), ("/z.Z/Z", "v1")] {
            assert_eq!(split.call(method, &[]).await, wanted, "{method}");
        }
    });
}

#[test]
fn a_grpcroute_takes_grpc_alone_and_goes_before_an_httproute_of_the_host() {
    run(async || {
        let rest = route(&format!(
            "[{{matches: [{{path: {{type: Exact, value: /a.B/C}}}}], {0}}}, {{{0}}}]",
            to("v2")
        ));
        let rest = rest.replace("kind: GRPCRoute", "kind: HTTPRoute");
        let split = Split::with(&[&rest, &route(&format!("[{{{}}}]", to("v1")))]).await;
        assert_eq!(split.call("/a.B/C", &[]).await, "v1");
        for http in Http::BOTH {
            let answer = Client::connect(http, split.world.addr("in")).await.send(get("/a.B/C")).await;
            assert_eq!(answer.upstream(), "v2", "{http:?}");
        }
    });
}

#[test]
fn what_no_rule_takes_is_unimplemented_and_what_leads_nowhere_unavailable() {
    run(async || {
        let rules = format!(
            "[{{matches: [{{method: {{service: a.None}}}}]}}, {{matches: [{{method: {{service: a.Lost}}}}], {}}}, \
             {{matches: [{{method: {{service: a.B}}}}], {}}}]",
            to("v9"),
            to("v1")
        );
        let split = Split::of(&rules).await;
        assert_eq!(split.call("/a.B/C", &[]).await, "v1");
        assert_eq!(split.call("/a.Other/C", &[]).await, UNIMPLEMENTED);
        assert_eq!(split.call("/a.None/C", &[]).await, UNAVAILABLE);
        assert_eq!(split.call("/a.Lost/C", &[]).await, UNAVAILABLE);
    });
}

#[test]
fn metadata_is_edited_both_ways() {
    run(async || {
        let modifier = |kind: &str, key: &str| {
            format!("{{type: {kind}, {key}: {{set: [{{name: x-set, value: weir}}], remove: [x-gone]}}}}")
        };
        let rules = format!(
            "[{{filters: [{}, {}], {}}}]",
            modifier("RequestHeaderModifier", "requestHeaderModifier"),
            modifier("ResponseHeaderModifier", "responseHeaderModifier"),
            to("v1")
        );
        let split = Split::of(&rules).await;
        let mut request = grpc_call("/a.B/C", b"hello");
        request.headers_mut().insert("x-gone", "caller".parse().expect("a value"));
        let answer = split.send(request).await;
        let seen = split.v1.only();
        assert_eq!((seen.header("x-set"), seen.header("x-gone")), (Some("weir"), None));
        assert_eq!((answer.header("x-set"), answer.grpc_status()), (Some("weir"), Some("0")));
    });
}

#[test]
fn a_grpcroute_alone_leaves_other_requests_to_the_service_or_to_the_next_dialect() {
    run(async || {
        let calls = route(&format!("[{{matches: [{{method: {{service: a.B}}}}], {}}}]", to("v1")));
        let rest = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: rest}\nspec:\n  \
                    destination: {name: x}\n  route: [{labels: {version: v2}}]\n";
        for (files, versions) in [(vec![calls.as_str()], &["v1", "v2"][..]), (vec![&calls, rest], &["v2"])] {
            let split = Split::with(&files).await;
            for http in Http::BOTH {
                let mut client = Client::connect(http, split.world.addr("in")).await;
                for _ in 0..4 {
                    let answer = client.send(get("/v1/models/m")).await;
                    assert!(
                        answer.status == 200 && versions.contains(&answer.upstream()),
                        "{http:?}: {answer:?}"
                    );
                }
            }
            assert_eq!(split.call("/a.B/C", &[]).await, "v1");
            assert_eq!(split.call("/a.Other/C", &[]).await, UNIMPLEMENTED, "nobody else has a call");
        }
    });
}
