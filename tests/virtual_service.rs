//! A VirtualService and its DestinationRule over a running proxy: what `http[]` says is what callers and upstreams see, by
//! both HTTPs and gRPC.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Answer, Client, get, grpc_call, preflight, request};
use common::world::upstream::{BoxBody, Upstream, empty};
use common::world::{Http, World, one_service, run, until};
use http::{Method, Request, Response};

/// Subsets of the service `x`, by version.
const SUBSETS: &str = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: x}\nspec:\n  host: x\n  subsets:\n  \
    - {name: one, labels: {version: v1}}\n  - {name: two, labels: {version: v2}}\n";

/// A listener for the service `x` in two versions, and one for every host.
fn services(v1: &Upstream, v2: &Upstream) -> String {
    format!(
        "callers: [{{cidr: 127.0.0.2/32, service: web.front, labels: {{app: web}}}}]\n\
         listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\n- {{name: hosts, address: \"127.0.0.3:0\"}}\n\
         services:\n- name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: v1}}}}\n  - {{address: \"{}\", labels: {{version: v2}}}}\n",
        v1.at(),
        v2.at()
    )
}

/// A proxy under one VirtualService of `x`, whose `http:` is given.
async fn under(http: &str) -> (World, Upstream, Upstream) {
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let rules = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec:\n  hosts: [x]\n  http:\n{http}{SUBSETS}"
    );
    (World::with_rules(&services(&v1, &v2), &[("x.yaml", &rules)]).await, v1, v2)
}

/// Requests with this match go to `v2`, all others to `v1`.
async fn matching(matches: &str) -> (World, Upstream, Upstream) {
    under(&format!(
        "  - {{match: [{matches}], route: [{{destination: {{host: x, subset: two}}}}]}}\n  - route: [{{destination: {{host: x, subset: one}}}}]\n"
    ))
    .await
}

fn with(path: &str, fields: &[(&'static str, &str)]) -> Request<BoxBody> {
    let mut request = get(path);
    for (name, value) in fields {
        request.headers_mut().insert(*name, value.parse().expect("a value"));
    }
    request
}

async fn ask(down: Http, world: &World, request: Request<BoxBody>) -> Answer {
    Client::connect(down, world.addr("in")).await.send(request).await
}

#[test]
fn each_condition_of_a_match_takes_exactly_what_it_says() {
    run(async || {
        type Case = (fn() -> Request<BoxBody>, &'static str);
        let table: [(&str, &[Case]); 9] = [
            ("{uri: {exact: /a}}", &[(|| get("/a?q"), "v2"), (|| get("/ab"), "v1"), (|| get("/A"), "v1")]),
            (
                "{uri: {prefix: /V1/}, ignoreUriCase: true}",
                &[(|| get("/v1/a"), "v2"), (|| get("/V1/b"), "v2"), (|| get("/v2/a"), "v1")],
            ),
            ("{uri: {regex: \"/v[0-9]+\"}}", &[(|| get("/v12"), "v2"), (|| get("/v12/x"), "v1")]),
            (
                "{headers: {x-user: {prefix: test-}, x-there: {}}}",
                &[
                    (|| with("/", &[("x-user", "test-1"), ("x-there", "")]), "v2"),
                    (|| with("/", &[("x-user", "test-1")]), "v1"),
                ],
            ),
            (
                "{withoutHeaders: {x-stable: {exact: \"1\"}}}",
                &[
                    (|| get("/"), "v2"),
                    (|| with("/", &[("x-stable", "0")]), "v2"),
                    (|| with("/", &[("x-stable", "1")]), "v1"),
                ],
            ),
            (
                "{queryParams: {canary: {exact: \"1\"}}}",
                &[(|| get("/?a&canary=1"), "v2"), (|| get("/?canary=2"), "v1"), (|| get("/"), "v1")],
            ),
            ("{queryParams: {canary: {}}}", &[(|| get("/?canary"), "v2"), (|| get("/?canaries"), "v1")]),
            (
                "{method: {exact: DELETE}}, {authority: {prefix: \"models.\"}}",
                &[
                    (|| request(Method::DELETE, "/").body(empty()).expect("a request"), "v2"),
                    (|| with("/", &[("host", "models.example.com")]), "v2"),
                    (|| get("/"), "v1"),
                ],
            ),
            (
                "{scheme: {exact: https}}",
                &[
                    (|| with("/", &[("x-forwarded-proto", "https")]), "v2"),
                    (|| with("/", &[("x-forwarded-proto", "http")]), "v1"),
                    (|| get("/"), "v1"),
                ],
            ),
        ];
        for (matches, cases) in table {
            let (world, _v1, _v2) = matching(matches).await;
            for down in Http::BOTH {
                for (index, (request, wanted)) in cases.iter().enumerate() {
                    let answer = ask(down, &world, request()).await;
                    assert_eq!(answer.upstream(), *wanted, "{matches} {index} {down:?}");
                }
            }
        }
    });
}

#[test]
fn who_calls_and_by_which_port_is_a_condition() {
    run(async || {
        for (matches, wanted) in [
            ("{sourceLabels: {app: web}}", "v2"),
            ("{sourceLabels: {app: other}}", "v1"),
            ("{sourceNamespace: front}", "v2"),
            ("{sourceNamespace: back}", "v1"),
        ] {
            let (world, _v1, _v2) = matching(matches).await;
            for down in Http::BOTH {
                let from = Some([127, 0, 0, 2].into());
                let known = Client::connect_from(down, from, world.addr("in")).await.get("/").await;
                let unknown = Client::connect(down, world.addr("in")).await.get("/").await;
                assert_eq!((known.upstream(), unknown.upstream()), (wanted, "v1"), "{matches} {down:?}");
            }
        }
        let (world, _v1, _v2) = matching("{port: 1}").await;
        assert_eq!(ask(Http::One, &world, get("/")).await.upstream(), "v1");
    });
}

#[test]
fn the_first_rule_that_matches_is_used_and_without_one_there_is_404() {
    run(async || {
        let (world, _v1, _v2) = under(
            "  - {match: [{uri: {prefix: /a}}], route: [{destination: {host: x, subset: one}}]}\n  \
             - {match: [{uri: {prefix: /a/b}}, {uri: {prefix: /c}}], route: [{destination: {host: x, subset: two}}]}\n",
        )
        .await;
        for down in Http::BOTH {
            assert_eq!(ask(down, &world, get("/a/b")).await.upstream(), "v1");
            assert_eq!(ask(down, &world, get("/c")).await.upstream(), "v2");
            assert_eq!(ask(down, &world, get("/d")).await.status, 404, "{down:?}");
        }
        let grpc = ask(Http::Two, &world, grpc_call("/d/M", b"1")).await;
        assert_eq!(grpc.grpc_status(), Some("12"), "{grpc:?}");
    });
}

#[test]
fn weights_are_relative_and_every_share_is_exact() {
    run(async || {
        let (world, v1, v2) = under(
            "  - route:\n    - {destination: {host: x, subset: one}, weight: 3}\n    - {destination: {host: x, subset: two}, weight: 1}\n",
        )
        .await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..40 {
                client.get("/").await;
            }
        }
        // Each worker has its own schedule, and two connections are on two workers at most.
        assert_eq!(v1.seen().len() + v2.seen().len(), 80);
        assert!((18..=22).contains(&v2.seen().len()), "{}", v2.seen().len());
    });
}

#[test]
fn a_subset_that_nobody_describes_gets_503_and_the_other_share_is_served() {
    run(async || {
        let (world, _v1, _v2) = under(
            "  - {match: [{uri: {exact: /no}}], route: [{destination: {host: x, subset: three}}]}\n  \
             - route: [{destination: {host: x, subset: one}}]\n",
        )
        .await;
        for down in Http::BOTH {
            assert_eq!(ask(down, &world, get("/no")).await.status, 503);
            assert_eq!(ask(down, &world, get("/yes")).await.upstream(), "v1");
        }
        let log = world.log(4).await;
        assert!(log.iter().any(|line| line.starts_with("503 NC ")), "{log:?}");
    });
}

#[test]
fn redirects_answers_rewrites_and_edits_act_as_they_are_written() {
    run(async || {
        let (world, v1, _v2) = under(
            "  - {match: [{uri: {exact: /old}}], redirect: {uri: /new, authority: y.example, redirectCode: 307}}\n  \
             - {match: [{uri: {exact: /healthz}}], directResponse: {status: 418, body: {string: tea}}}\n  \
             - {match: [{uri: {prefix: /p/}}], rewrite: {uri: /q/, authority: inner.example}, route: [{destination: {host: x, subset: one}}]}\n  \
             - match: [{uri: {prefix: /r}}]\n    rewrite: {uriRegexRewrite: {match: \"^/r([0-9])\", rewrite: '/s\\1'}}\n    \
               headers: {request: {set: {x-a: \"50%%\"}, remove: [x-b]}, response: {add: {x-c: d}}}\n    \
               route: [{destination: {host: x, subset: one}, headers: {request: {add: {x-share: one}, set: {host: share.example}}}}]\n",
        )
        .await;
        for down in Http::BOTH {
            let moved = ask(down, &world, get("/old")).await;
            assert_eq!(
                (moved.status.as_u16(), moved.header("location")),
                (307, Some("http://y.example/new"))
            );
            let answered = ask(down, &world, get("/healthz")).await;
            assert_eq!((answered.status.as_u16(), answered.text()), (418, "tea"));
            ask(down, &world, get("/p/x?y")).await;
            let seen = v1.last();
            assert_eq!(seen.target(), "/q/x?y", "{down:?}");
            let answer = ask(down, &world, with("/r7/x", &[("x-b", "gone")])).await;
            assert_eq!(answer.header("x-c"), Some("d"));
            let seen = v1.last();
            assert_eq!((seen.target(), seen.header("x-a"), seen.header("x-b")), ("/s7/x", Some("50%"), None));
            assert_eq!(seen.header("x-share"), Some("one"));
            assert_eq!(seen.header("x-envoy-original-path"), Some("/r7/x"));
        }
    });
}

#[test]
fn faults_and_cors_act_as_they_are_written() {
    run(async || {
        let (world, v1, _v2) = under(
            "  - match: [{uri: {exact: /fault}}]\n    fault: {delay: {fixedDelay: 1ms, percentage: {value: 100}}, abort: {httpStatus: 418}}\n    \
               route: [{destination: {host: x}}]\n  \
             - corsPolicy: {allowOrigins: [{exact: \"https://a.b\"}], allowMethods: [POST], maxAge: 1m, unmatchedPreflights: IGNORE}\n    \
               route: [{destination: {host: x, subset: one}}]\n",
        )
        .await;
        for down in Http::BOTH {
            assert_eq!(ask(down, &world, get("/fault")).await.status, 418);
            let known = ask(down, &world, preflight("https://a.b", "POST")).await;
            assert_eq!(known.header("access-control-allow-origin"), Some("https://a.b"));
            assert_eq!(
                (known.header("access-control-allow-methods"), known.header("access-control-max-age")),
                (Some("POST"), Some("60"))
            );
            let other = ask(down, &world, preflight("https://c.d", "POST")).await;
            assert_eq!((other.status.as_u16(), other.header("access-control-allow-origin")), (200, None));
            let real = ask(down, &world, with("/", &[("origin", "https://a.b")])).await;
            assert_eq!(
                (real.upstream(), real.header("access-control-allow-origin")),
                ("v1", Some("https://a.b"))
            );
        }
        assert!(v1.seen().iter().all(|seen| seen.head.method != Method::OPTIONS));
    });
}

#[test]
fn hosts_beside_the_service_are_served_where_the_host_decides() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let rules = format!(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec:\n  hosts: [models.example.com, \"*.shadow.example.com\"]\n  \
             http: [{{route: [{{destination: {{host: x, subset: two}}}}]}}]\n{SUBSETS}"
        );
        let world = World::with_rules(&services(&v1, &v2), &[("x.yaml", &rules)]).await;
        for down in Http::BOTH {
            for host in ["models.example.com", "models.example.com:80", "a.b.shadow.example.com"] {
                let request = with("/", &[("host", host)]);
                let answer = Client::connect(down, world.addr("hosts")).await.send(request).await;
                assert_eq!(answer.upstream(), "v2", "{host} {down:?}");
            }
            let request = with("/", &[("host", "shadow.example.com")]);
            assert_eq!(Client::connect(down, world.addr("hosts")).await.send(request).await.status, 404);
        }
    });
}

#[test]
fn of_two_objects_about_one_host_the_oldest_has_it_and_a_route_rule_has_none() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let object = |name: &str, created: &str, subset: &str| {
            format!(
                "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: {name}, creationTimestamp: \"{created}\"}}\n\
                 spec: {{hosts: [x], http: [{{route: [{{destination: {{host: x, subset: {subset}}}}}]}}]}}\n"
            )
        };
        let rules = object("a", "2026-02-01T00:00:00Z", "one")
            + &object("b", "2026-01-01T00:00:00Z", "two")
            + SUBSETS;
        let old = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: old}\nspec: {destination: {name: x}, precedence: 9, route: [{labels: {version: v1}}]}\n";
        let world = World::with_rules(&services(&v1, &v2), &[("old.yaml", old), ("x.yaml", &rules)]).await;
        for down in Http::BOTH {
            assert_eq!(ask(down, &world, get("/")).await.upstream(), "v2");
        }
        assert!(world.log(2).await.iter().all(|line| line.contains("b.default")));
    });
}

#[test]
fn a_timeout_is_for_the_whole_request_and_zero_is_none() {
    run(async || {
        for down in Http::BOTH {
            let (v1, v2) = (Upstream::holding().await, Upstream::start("v2").await);
            let rules = format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec:\n  hosts: [x]\n  http:\n  \
                 - {{match: [{{uri: {{exact: /slow}}}}], timeout: 50ms, route: [{{destination: {{host: x, subset: one}}}}]}}\n  \
                 - {{timeout: 0s, route: [{{destination: {{host: x, subset: two}}}}]}}\n{SUBSETS}"
            );
            let world = World::with_rules(&services(&v1, &v2), &[("x.yaml", &rules)]).await;
            assert_eq!(ask(down, &world, get("/slow")).await.status, 504, "{down:?}");
            assert_eq!(ask(down, &world, get("/")).await.upstream(), "v2");
            let log = world.log(2).await;
            assert!(log.iter().any(|line| line.starts_with("504 UT ")), "{log:?}");
        }
    });
}

#[test]
fn retries_are_made_on_what_is_asked_and_as_often() {
    run(async || {
        for down in Http::BOTH {
            let failing = |status: u16| {
                Upstream::remembering(move |_| {
                    Response::builder()
                        .status(status)
                        .header("x-upstream", "v1")
                        .body(empty())
                        .expect("an answer")
                })
            };
            for (status, retries, attempts) in [
                (500, "{attempts: 2, retryOn: 5xx}", 3),
                (429, "{attempts: 1, retryOn: \"429\"}", 2),
                (500, "{attempts: 2}", 1),
                (500, "{attempts: 0}", 1),
            ] {
                let (v1, v2) = (failing(status).await, Upstream::start("v2").await);
                let rules = format!(
                    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: x}}\nspec: {{hosts: [x], http: [{{retries: {retries}, \
                     route: [{{destination: {{host: x, subset: one}}}}]}}]}}\n{SUBSETS}"
                );
                let world = World::with_rules(&services(&v1, &v2), &[("x.yaml", &rules)]).await;
                assert_eq!(ask(down, &world, get("/")).await.status, status);
                assert_eq!(v1.seen().len(), attempts, "{retries} {down:?}");
                assert!(v2.seen().is_empty(), "retries stay within the version");
            }
        }
    });
}

#[test]
fn copies_go_to_the_mirror_under_a_shadows_name() {
    run(async || {
        let (world, v1, v2) =
            under("  - {mirror: {host: x, subset: two}, route: [{destination: {host: x, subset: one}}]}\n")
                .await;
        for (count, down) in [(1, Http::One), (2, Http::Two)] {
            assert_eq!(ask(down, &world, get("/copied")).await.upstream(), "v1");
            let copy = until("the copy", || v2.seen().into_iter().nth(count - 1)).await;
            assert_eq!(copy.target(), "/copied");
        }
        assert_eq!((v1.seen().len(), v2.seen().len()), (2, 2));
    });
}

#[test]
fn a_refusal_for_a_foreign_host_holds_at_a_listener_of_one_service() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = one_service(&[], &[(&v1.at(), "v1")]);
        let rules = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: deny}\nspec:\n  \
                     hosts: [models.example.com]\n  http:\n  - match: [{uri: {prefix: /admin}}]\n    \
                     directResponse: {status: 403}\n";
        let world = World::with_rules(&yaml, &[("deny.yaml", rules)]).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        for (host, path, status) in [
            ("models.example.com", "/admin", 403),
            ("models.example.com", "/v1/models/m", 200),
            ("x", "/admin", 200),
        ] {
            let mut request = get(path);
            request.headers_mut().insert("host", host.parse().expect("a host"));
            assert_eq!(client.send(request).await.status, status, "{host}{path}");
        }
    });
}
