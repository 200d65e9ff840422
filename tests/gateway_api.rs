//! HTTPRoute seen from both ends of a running proxy, whichever HTTP is spoken.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Answer, Client, get, grpc_call, preflight, request};
use common::world::upstream::{BoxBody, Upstream, empty};
use common::world::{Http, World, free_port, one_service, run};
use http::{Method, Request};

/// An HTTPRoute of the service `x`, with annotations and rules in YAML's flow style.
fn route(name: &str, annotations: &str, rules: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}, annotations: \
         {{{annotations}}}}}\nspec:\n  parentRefs: [{{group: \"\", kind: Service, name: x}}]\n  rules: {rules}\n"
    )
}

/// A proxy for the service `x` with two versions, and its upstreams.
struct Split {
    world: World,
    v1: Upstream,
    v2: Upstream,
}

impl Split {
    async fn with(settings: &[&str], rules: &[&str]) -> Split {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(settings, &[(&v1.at(), "v1"), (&v2.at(), "v2")]);
        let names: Vec<_> = (0..rules.len()).map(|index| format!("r{index}.yaml")).collect();
        let files: Vec<_> = names.iter().map(String::as_str).zip(rules.iter().copied()).collect();
        Split { world: World::with_rules(&yaml, &files).await, v1, v2 }
    }

    /// One route with these rules.
    async fn of(rules: &str) -> Split {
        Split::with(&[], &[&route("r", "", rules)]).await
    }

    async fn send(&self, http: Http, request: Request<BoxBody>) -> Answer {
        Client::connect(http, self.world.addr("in")).await.send(request).await
    }
}

fn with(path: &str, fields: &[(&'static str, &'static str)]) -> Request<BoxBody> {
    let mut request = get(path);
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    request
}

/// Backends of a version.
fn to(version: &str) -> String {
    format!("backendRefs: [{{name: x-{version}, port: 80}}]")
}

#[test]
fn requests_are_split_by_the_weights_of_backends_that_name_versions() {
    run(async || {
        for http in Http::BOTH {
            let rules =
                "[{backendRefs: [{name: x-v1, port: 80, weight: 9}, {name: x-v2, port: 80, weight: 3}]}]";
            let split = Split::of(rules).await;
            let mut client = Client::connect(http, split.world.addr("in")).await;
            for _ in 0..40 {
                assert_eq!(client.get("/").await.status, 200);
            }
            let (most, few) = (split.v1.seen().len(), split.v2.seen().len());
            assert!(most + few == 40 && few.abs_diff(10) <= 1, "{most} and {few}: {http:?}");
        }
    });
}

#[test]
fn a_weight_of_zero_gets_nothing() {
    run(async || {
        for http in Http::BOTH {
            let rules = "[{backendRefs: [{name: x-v1, port: 80}, {name: x-v2, port: 80, weight: 0}]}]";
            let split = Split::of(rules).await;
            let mut client = Client::connect(http, split.world.addr("in")).await;
            for _ in 0..10 {
                assert_eq!(client.get("/").await.upstream(), "v1");
            }
        }
    });
}

#[test]
fn an_annotation_maps_a_backend_to_labels() {
    run(async || {
        let annotation = "weir/backend.blue: version=v1, weir/backend.green: version=v2";
        let rules = "[{backendRefs: [{name: blue, port: 80}]}, \
                      {matches: [{path: {value: /green}}], backendRefs: [{name: green, port: 80}]}]";
        let split = Split::with(&[], &[&route("r", annotation, rules)]).await;
        for http in Http::BOTH {
            assert_eq!(split.send(http, get("/")).await.upstream(), "v1");
            assert_eq!(split.send(http, get("/green")).await.upstream(), "v2");
        }
    });
}

#[test]
fn an_unknown_backend_answers_500_for_its_share_alone() {
    run(async || {
        for http in Http::BOTH {
            let split = Split::of("[{backendRefs: [{name: x-v1, port: 80}, {name: x-v9, port: 80}]}]").await;
            let mut client = Client::connect(http, split.world.addr("in")).await;
            let mut refused = 0_u32;
            for _ in 0..20 {
                match client.get("/").await.status.as_u16() {
                    200 => {}
                    500 => refused += 1,
                    other => panic!("{other}"),
                }
            }
            assert!(refused.abs_diff(10) <= 1, "{refused} of 20: {http:?}");
        }
    });
}

#[test]
fn a_rule_without_backends_answers_500_and_a_request_that_no_rule_takes_404() {
    run(async || {
        let rules = format!(
            "[{{matches: [{{path: {{value: /none}}}}]}}, {{matches: [{{path: {{value: /v1}}}}], {}}}]",
            to("v1")
        );
        let split = Split::of(&rules).await;
        for http in Http::BOTH {
            assert_eq!(split.send(http, get("/none/at/all")).await.status, 500);
            assert_eq!(split.send(http, get("/v1")).await.status, 200);
            let answer = split.send(http, get("/v1beta")).await;
            assert_eq!(answer.status, 404);
        }
        let log = split.world.log(6).await;
        assert!(log[2].starts_with("404 NR route_not_found"), "{log:?}");
    });
}

#[test]
fn each_kind_of_match_takes_exactly_what_it_says() {
    type Cases = Vec<(Request<BoxBody>, bool)>;
    let post = || request(Method::POST, "/").body(empty()).expect("a request");
    let table: Vec<(&str, Box<dyn Fn() -> Cases>)> = vec![
        (
            "path: {type: Exact, value: /a/b}",
            Box::new(|| {
                vec![(get("/a/b"), true), (get("/a/b?q"), true), (get("/a/b/"), false), (get("/a"), false)]
            }),
        ),
        (
            "path: {value: /a/b/}",
            Box::new(|| {
                vec![
                    (get("/a/b"), true),
                    (get("/a/b/"), true),
                    (get("/a/b/c"), true),
                    (get("/a/bc"), false),
                    (get("/a"), false),
                ]
            }),
        ),
        (
            "path: {type: RegularExpression, value: \"/a/[0-9]+\"}",
            Box::new(|| vec![(get("/a/12"), true), (get("/a/12/b"), false), (get("/b/a/12"), false)]),
        ),
        ("method: POST", Box::new(move || vec![(post(), true), (get("/"), false)])),
        (
            "headers: [{name: X-User, value: a}]",
            Box::new(|| {
                vec![
                    (with("/", &[("x-user", "a")]), true),
                    (with("/", &[("x-user", "A")]), false),
                    (get("/"), false),
                ]
            }),
        ),
        (
            "headers: [{type: RegularExpression, name: x-user, value: \"a.*\"}]",
            Box::new(|| {
                vec![(with("/", &[("x-user", "ab")]), true), (with("/", &[("x-user", "ba")]), false)]
            }),
        ),
        (
            "headers: [{name: a, value: \"1\"}, {name: b, value: \"2\"}]",
            Box::new(|| {
                vec![(with("/", &[("a", "1"), ("b", "2")]), true), (with("/", &[("a", "1")]), false)]
            }),
        ),
        (
            "queryParams: [{name: q, value: \"a b\"}]",
            Box::new(|| {
                vec![
                    (get("/?x=1&q=a%20b"), true),
                    (get("/?q=a+b"), false),
                    (get("/?Q=a%20b"), false),
                    (get("/"), false),
                ]
            }),
        ),
        (
            "queryParams: [{type: RegularExpression, name: q, value: \"[0-9]\"}]",
            Box::new(|| vec![(get("/?q=1"), true), (get("/?q=12"), false), (get("/?q=x&q=1"), false)]),
        ),
    ];
    run(async || {
        for (matches, cases) in table {
            let rules = format!("[{{{}}}, {{matches: [{{{matches}}}], {}}}]", to("v1"), to("v2"));
            let split = Split::of(&rules).await;
            for http in Http::BOTH {
                for (request, holds) in cases() {
                    let what = format!("{matches}: {} {http:?}", request.uri());
                    let wanted = if holds { "v2" } else { "v1" };
                    assert_eq!(split.send(http, request).await.upstream(), wanted, "{what}");
                }
            }
        }
    });
}

#[test]
fn a_rule_holds_where_any_of_its_matches_does() {
    run(async || {
        let rules = format!(
            "[{{{}}}, {{matches: [{{path: {{value: /a}}}}, {{path: {{value: /b}}}}], {}}}]",
            to("v1"),
            to("v2")
        );
        let split = Split::of(&rules).await;
        for http in Http::BOTH {
            for (path, upstream) in [("/a", "v2"), ("/b/c", "v2"), ("/c", "v1")] {
                assert_eq!(split.send(http, get(path)).await.upstream(), upstream, "{path}");
            }
        }
    });
}

#[test]
fn the_more_specific_match_goes_first_wherever_it_stands_and_in_whichever_route() {
    run(async || {
        let rule = |matches: &str, version: &str| format!("{{matches: [{{{matches}}}], {}}}", to(version));
        let general = route(
            "a",
            "",
            &format!(
                "[{}, {}]",
                rule("path: {value: /a}", "v1"),
                rule("path: {type: Exact, value: /a/b}", "v2")
            ),
        );
        let longer = route(
            "b",
            "",
            &format!(
                "[{}, {}]",
                rule("path: {value: /a/long}", "v2"),
                rule("path: {value: /a}, method: POST", "v2")
            ),
        );
        let split = Split::with(&[], &[&general, &longer]).await;
        let post = || request(Method::POST, "/a").body(empty()).expect("a request");
        for http in Http::BOTH {
            for (path, upstream) in
                [("/a", "v1"), ("/a/b", "v2"), ("/a/b/c", "v1"), ("/a/long/x", "v2"), ("/a/longer", "v1")]
            {
                assert_eq!(split.send(http, get(path)).await.upstream(), upstream, "{path}");
            }
            assert_eq!(split.send(http, post()).await.upstream(), "v2");
        }
    });
}

#[test]
fn of_equal_matches_that_of_the_older_route_goes_first() {
    run(async || {
        let dated = |name: &str, date: &str, version: &str| {
            let own = format!("metadata: {{creationTimestamp: \"{date}\", ");
            route(name, "", &format!("[{{{}}}]", to(version))).replace("metadata: {", &own)
        };
        let younger = dated("a", "2026-02-01T00:00:00Z", "v1");
        let older = dated("b", "2026-01-01T00:00:00Z", "v2");
        let split = Split::with(&[], &[&younger, &older]).await;
        for http in Http::BOTH {
            assert_eq!(split.send(http, get("/")).await.upstream(), "v2");
        }
    });
}

#[test]
fn hostnames_choose_the_route_exact_before_star_and_ports_do_not_count() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]).replace(", service: x", "");
        let hosts = |name: &str, hosts: &str, version: &str| {
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: {name}}}\nspec:\n  \
                 hostnames: [{hosts}]\n  rules: [{{{}}}]\n",
                to(version)
            )
        };
        let (one, other) = (hosts("one", "a.example.com", "v1"), hosts("star", "\"*.example.com\"", "v2"));
        let world = World::with_rules(&yaml, &[("one.yaml", &one), ("star.yaml", &other)]).await;
        for http in Http::BOTH {
            for (host, wanted) in [
                ("a.example.com", Some("v1")),
                ("a.example.com:8500", Some("v1")),
                ("b.example.com", Some("v2")),
                ("x.y.example.com", Some("v2")),
                ("example.com", None),
                ("other.com", None),
            ] {
                let request = with("/", &[("host", host)]);
                let answer = Client::connect(http, world.addr("in")).await.send(request).await;
                match wanted {
                    Some(upstream) => assert_eq!(answer.upstream(), upstream, "{host} {http:?}"),
                    None => assert_eq!(answer.status, 404, "{host} {http:?}"),
                }
            }
        }
    });
}

#[test]
fn a_host_of_no_service_has_the_timeout_of_the_first_of_its_services_that_is_known() {
    run(async || {
        let v1 = Upstream::holding().await;
        let yaml = one_service(&["timeout: 100ms"], &[(&v1.at(), "v1")]).replace(", service: x", "");
        let rule = route("r", "", "[{backendRefs: [{name: lost, port: 80}, {name: x-v1, port: 80}]}]");
        let parent = "parentRefs: [{group: \"\", kind: Service, name: x}]";
        let world =
            World::with_rules(&yaml, &[("r.yaml", &rule.replace(parent, "hostnames: [a.example.com]"))])
                .await;
        for http in Http::BOTH {
            let mut statuses = Vec::new();
            for _ in 0..4 {
                let request = with("/", &[("host", "a.example.com")]);
                let answer = Client::connect(http, world.addr("in")).await.send(request).await;
                statuses.push(answer.status.as_u16());
            }
            assert!(statuses.contains(&500) && statuses.contains(&504), "{statuses:?} {http:?}");
        }
    });
}

#[test]
fn a_gateway_as_parent_holds_for_the_listeners_that_stand_for_it() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        // Two listeners cannot both be told to take port 0.
        let edge = format!(
            "- {{name: edge, address: \"127.0.0.1:{}\", service: x, gateways: [public]}}\n",
            free_port()
        );
        let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")])
            .replace("service: x}\n", &format!("service: x, gateways: [mesh]}}\n{edge}"));
        let mesh = route("inside", "", &format!("[{{{}}}]", to("v1")));
        let edge = mesh
            .replace("name: inside", "name: outside")
            .replace("{group: \"\", kind: Service, name: x}", "{name: public}");
        let edge = edge.replace("x-v1", "x-v2");
        let world = World::with_rules(&yaml, &[("mesh.yaml", &mesh), ("edge.yaml", &edge)]).await;
        for http in Http::BOTH {
            assert_eq!(Client::connect(http, world.addr("in")).await.get("/").await.upstream(), "v1");
            assert_eq!(Client::connect(http, world.addr("edge")).await.get("/").await.upstream(), "v2");
        }
    });
}

#[test]
fn headers_are_edited_both_ways_for_a_rule_and_for_a_backend_alone() {
    run(async || {
        let modifier = |kind: &str, key: &str, name: &str| {
            format!(
                "{{type: {kind}, {key}: {{set: [{{name: x-set, value: {name}}}], add: [{{name: x-add, value: {name}}}], remove: [x-gone]}}}}"
            )
        };
        let both = |name: &str| {
            format!(
                "filters: [{}, {}]",
                modifier("RequestHeaderModifier", "requestHeaderModifier", name),
                modifier("ResponseHeaderModifier", "responseHeaderModifier", name)
            )
        };
        let rules = format!(
            "[{{matches: [{{path: {{value: /rule}}}}], {}, {}}}, {{backendRefs: [{{name: x-v2, port: 80, {}}}]}}]",
            both("rule"),
            to("v1"),
            both("backend")
        );
        let split = Split::of(&rules).await;
        for http in Http::BOTH {
            for (path, name, upstream) in [("/rule", "rule", &split.v1), ("/", "backend", &split.v2)] {
                let fields = [("x-set", "caller"), ("x-add", "caller"), ("x-gone", "caller")];
                let answer = split.send(http, with(path, &fields)).await;
                let seen = upstream.last();
                assert_eq!(seen.header("x-set"), Some(name));
                let added: Vec<_> = seen
                    .head
                    .headers
                    .get_all("x-add")
                    .iter()
                    .map(|value| value.to_str().expect("text").to_owned())
                    .collect();
                assert_eq!(added.join(","), format!("caller,{name}"));
                assert_eq!(seen.header("x-gone"), None);
                assert_eq!((answer.header("x-set"), answer.header("x-add")), (Some(name), Some(name)));
            }
        }
    });
}

#[test]
fn a_redirect_answers_with_the_place_and_reaches_no_backend() {
    run(async || {
        let rules = "[{matches: [{path: {value: /old}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, \
                      hostname: new.example.com, port: 8443, path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]}, \
                      {matches: [{path: {value: /moved}}], filters: [{type: RequestRedirect, requestRedirect: {statusCode: 308, \
                      path: {type: ReplaceFullPath, replaceFullPath: /there}}}]}]";
        let split = Split::of(rules).await;
        for http in Http::BOTH {
            let answer = split.send(http, get("/old/a?q=1")).await;
            assert_eq!(answer.status, 302);
            assert_eq!(answer.header("location"), Some("https://new.example.com:8443/new/a?q=1"));
            let answer = split.send(http, with("/moved/a", &[("host", "h.example.com:81")])).await;
            assert_eq!(answer.status, 308);
            assert_eq!(answer.header("location"), Some("http://h.example.com:81/there"));
        }
        assert!(split.v1.seen().is_empty() && split.v2.seen().is_empty());
    });
}

#[test]
fn a_backend_that_redirects_sends_its_share_elsewhere_and_no_other() {
    run(async || {
        let rules = "[{backendRefs: [{name: x-v1, port: 80}, {name: x-v2, port: 80, filters: [{type: RequestRedirect, \
                      requestRedirect: {hostname: new.example.com, port: 8443, statusCode: 307}}, \
                      {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-share, value: v2}]}}]}]}]";
        let split = Split::of(rules).await;
        for http in Http::BOTH {
            let mut redirected = 0_u32;
            for _ in 0..20 {
                let answer = split.send(http, get("/a?q=1")).await;
                if answer.status == 200 {
                    assert_eq!(answer.upstream(), "v1");
                    continue;
                }
                assert_eq!(answer.status, 307);
                assert_eq!(answer.header("location"), Some("http://new.example.com:8443/a?q=1"));
                assert_eq!(answer.header("x-share"), Some("v2"), "the share's own edits");
                redirected += 1;
            }
            assert!(redirected.abs_diff(10) <= 1, "{redirected} of 20: {http:?}");
        }
        assert!(split.v2.seen().is_empty());
    });
}

#[test]
fn a_backend_with_cors_lets_other_origins_read_its_share_and_answers_the_preflights_that_fall_to_it() {
    run(async || {
        let rules = "[{backendRefs: [{name: x-v1, port: 80}, {name: x-v2, port: 80, filters: [{type: CORS, \
                      cors: {allowOrigins: [\"https://a.example.com\"], allowMethods: [PUT]}}]}]}]";
        let split = Split::of(rules).await;
        let from = ("origin", "https://a.example.com");
        for http in Http::BOTH {
            for _ in 0..10 {
                let answer = split.send(http, with("/", &[from])).await;
                let allowed = (answer.upstream() == "v2").then_some(from.1);
                assert_eq!(answer.header("access-control-allow-origin"), allowed, "{}", answer.upstream());
            }
            let (mut answered, before) = (0_u32, split.v1.seen().len() + split.v2.seen().len());
            for _ in 0..10 {
                let answer = split.send(http, preflight(from.1, "PUT")).await;
                if answer.header("access-control-allow-methods").is_some() {
                    assert_eq!(
                        (answer.status.as_u16(), answer.header("access-control-allow-methods")),
                        (200, Some("PUT"))
                    );
                    answered += 1;
                }
            }
            let reached = (split.v1.seen().len() + split.v2.seen().len() - before) as u32;
            assert!(
                answered.abs_diff(5) <= 1 && answered + reached == 10,
                "{answered} and {reached}: {http:?}"
            );
        }
        assert!(split.v2.seen().iter().all(|seen| seen.head.method != Method::OPTIONS));
    });
}

#[test]
fn a_path_and_a_host_are_rewritten_for_a_rule_and_a_backends_own_wins() {
    run(async || {
        let rewrite = |path: &str, host: &str| {
            format!("filters: [{{type: URLRewrite, urlRewrite: {{hostname: {host}, path: {{{path}}}}}}}]")
        };
        let rules = format!(
            "[{{matches: [{{path: {{value: /a}}}}], {}, backendRefs: [{{name: x-v1, port: 80}}]}}, \
             {{matches: [{{path: {{value: /b}}}}], {}, backendRefs: [{{name: x-v1, port: 80, {}}}]}}]",
            rewrite("type: ReplacePrefixMatch, replacePrefixMatch: /", "a.internal"),
            rewrite("type: ReplaceFullPath, replaceFullPath: /rule", "rule.internal"),
            rewrite("type: ReplaceFullPath, replaceFullPath: /own", "own.internal")
        );
        let split = Split::of(&rules).await;
        for http in Http::BOTH {
            for (path, target, host) in [
                ("/a/x?q", "/x?q", "a.internal"),
                ("/a", "/", "a.internal"),
                ("/b/x?q", "/own?q", "own.internal"),
            ] {
                split.send(http, get(path)).await;
                let seen = split.v1.last();
                assert_eq!((seen.target(), seen.host()), (target, host), "{path} {http:?}");
            }
        }
    });
}

#[test]
fn a_preflight_is_answered_here_and_one_from_elsewhere_without_leave() {
    run(async || {
        let rules = format!(
            "[{{filters: [{{type: CORS, cors: {{allowOrigins: [\"https://*.example.com\"], allowMethods: [GET, PUT], \
             allowHeaders: [x-user], exposeHeaders: [x-model], allowCredentials: true}}}}], {}}}]",
            to("v1")
        );
        let split = Split::of(&rules).await;
        for http in Http::BOTH {
            let answer = split.send(http, preflight("https://a.example.com", "PUT")).await;
            assert_eq!(answer.status, 200);
            for (name, value) in [
                ("access-control-allow-origin", "https://a.example.com"),
                ("access-control-allow-methods", "GET,PUT"),
                ("access-control-allow-headers", "x-user"),
                ("access-control-allow-credentials", "true"),
                ("access-control-max-age", "5"),
            ] {
                assert_eq!(answer.header(name), Some(value), "{name}");
            }
            let answer = split.send(http, preflight("https://example.org", "PUT")).await;
            assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, None));
            assert!(split.v1.seen().is_empty(), "no preflight reaches a backend");
        }
        for http in Http::BOTH {
            let answer = split.send(http, with("/", &[("origin", "https://a.example.com")])).await;
            assert_eq!(answer.upstream(), "v1");
            assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example.com"));
            assert_eq!(answer.header("access-control-expose-headers"), Some("x-model"));
        }
    });
}

#[test]
fn an_annotation_makes_a_split_sticky_and_names_the_chosen_version() {
    run(async || {
        let rules = "[{backendRefs: [{name: x-v1, port: 80}, {name: x-v2, port: 80}]}]";
        let annotations = "weir/sticky: \"header:x-user\", weir/version-header: x-version";
        let split = Split::with(&[], &[&route("r", annotations, rules)]).await;
        for user in ["ann", "bob", "cid", "dan"] {
            let mut versions = Vec::new();
            for http in Http::BOTH {
                for _ in 0..4 {
                    let answer = split.send(http, with("/", &[("x-user", user)])).await;
                    assert_eq!(answer.header("x-version"), Some(answer.upstream()));
                    versions.push(answer.upstream().to_owned());
                }
            }
            versions.dedup();
            assert_eq!(versions.len(), 1, "{user}: {versions:?}");
        }
    });
}

#[test]
fn an_httproute_takes_grpc_too() {
    run(async || {
        let split = Split::of(&format!("[{{{}}}]", to("v2"))).await;
        let answer = split.send(Http::Two, grpc_call("/a.B/C", b"hello")).await;
        assert_eq!((answer.upstream(), answer.grpc_status()), ("v2", Some("0")));
    });
}
