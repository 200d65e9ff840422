//! RouteRule and DestinationPolicy, from the file to the wire: what a field says is what happens to a request. What each
//! effect does in full is told by the `policy_*` and `cluster_*` tests.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common {
    pub(crate) mod engine;
    pub(crate) mod world;
}

use common::engine::Engine;
use common::world::client::{Client, get, grpc_call, post, preflight, request};
use common::world::upstream::{Upstream, empty, full};
use common::world::{Http, one_service, run, until};
use http::Method;

/// A RouteRule about `x` with `spec` as further keys, in YAML's flow style.
fn rule(name: &str, spec: &str) -> String {
    annotated(name, "", spec)
}

fn annotated(name: &str, annotations: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\n\
         metadata: {{name: {name}, annotations: {{{annotations}}}}}\nspec: {{destination: {{name: x}}, {spec}}}\n"
    )
}

fn policy(spec: &str) -> String {
    format!(
        "---\napiVersion: config.istio.io/v1alpha2\nkind: DestinationPolicy\nmetadata: {{name: p}}\nspec: {{{spec}}}\n"
    )
}

/// `x` with one version, spoken to by `up`.
fn serve(up: Http, v1: &Upstream, rules: &str) -> Engine {
    let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")]);
    Engine::start(1, &yaml, rules)
}

/// `x` with the versions v1 and v2.
fn serve_two(up: Http, v1: &Upstream, v2: &Upstream, rules: &str) -> Engine {
    let endpoints = [(&*v1.at(), "v1"), (&*v2.at(), "v2")];
    Engine::start(1, &one_service(&[&format!("protocol: {}", up.protocol())], &endpoints), rules)
}

async fn client(down: Http, engine: &Engine) -> Client {
    Client::connect(down, engine.address("in")).await
}

#[test]
fn a_regex_of_the_uri_is_one_of_the_path() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let by_path = "precedence: 1, match: {request: {headers: {uri: {regex: \"/v1/models/[a-z]+:predict\"}}}}, \
                           route: [{labels: {version: v2}}]";
            let rules = rule("regex", by_path) + &rule("rest", "route: [{labels: {version: v1}}]");
            let engine = serve_two(up, &v1, &v2, &rules);
            let mut client = client(down, &engine).await;
            assert_eq!(client.get("/v1/models/a:predict?x=1").await.upstream(), "v2");
            assert_eq!(client.get("/v1/models/7:predict").await.upstream(), "v1");
            assert_eq!(
                client.get("/v1/models/a:predict/more").await.upstream(),
                "v1",
                "it matches whole paths"
            );
        }
    });
}

#[test]
fn a_share_may_be_of_another_service() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (own, other) = (Upstream::start("own").await, Upstream::start("other").await);
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&own.at(), "v1")]);
            let yaml = yaml
                + &format!(
                    "- name: y\n  protocol: {}\n  endpoints: [{{address: \"{}\", labels: {{version: v1}}}}]\n",
                    up.protocol(),
                    other.at()
                );
            let shares = "route: [{labels: {version: v1}, weight: 50}, \
                          {destination: {name: y}, labels: {version: v1}, weight: 50}]";
            let engine = Engine::start(1, &yaml, &rule("both", shares));
            let mut client = client(down, &engine).await;
            for _ in 0..100 {
                assert_eq!(client.get("/").await.status, 200);
            }
            assert_eq!(own.begun() + other.begun(), 100);
            assert!((40..=60).contains(&own.begun()), "{} of 100 by a schedule", own.begun());
        }
    });
}

#[test]
fn a_redirect_is_a_301_to_another_path_and_host() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let engine =
                serve(Http::One, &v1, &rule("moved", "redirect: {uri: /v2, authority: models.example.com}"));
            let answer = client(down, &engine).await.get("/v1?q=1").await;
            assert_eq!(answer.status, 301);
            assert_eq!(answer.header("location"), Some("http://models.example.com/v2?q=1"));
            assert_eq!(v1.begun(), 0);
        }
    });
}

#[test]
fn a_rewrite_replaces_what_the_uri_matched_and_the_host() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let matched = "match: {request: {headers: {uri: {prefix: /models/}}}}, \
                           rewrite: {uri: /v1/m/, authority: models.example.com}";
            let engine = serve(up, &v1, &rule("rewritten", matched));
            let mut client = client(down, &engine).await;
            assert_eq!(client.get("/models/a?x=/models/").await.status, 200);
            let seen = v1.last();
            assert_eq!(seen.target(), "/v1/m/a?x=/models/");
            let host = seen.head.uri.host().map(str::to_owned).or(seen.header("host").map(str::to_owned));
            assert_eq!(host.as_deref(), Some("models.example.com"));
            assert_eq!(seen.header("x-envoy-original-path"), Some("/models/a?x=/models/"));
        }
    });
}

#[test]
fn appended_headers_stand_behind_those_that_are_there() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let engine = serve(up, &v1, &rule("more", "appendHeaders: {x-team: vision, x-share: \"5 %%\"}"));
            let asked =
                request(Method::GET, "/").header("x-team", "speech").body(empty()).expect("a request");
            assert_eq!(client(down, &engine).await.send(asked).await.status, 200);
            let seen = v1.last();
            let team: Vec<_> = seen.head.headers.get_all("x-team").iter().collect();
            assert_eq!(team, ["speech", "vision"]);
            assert_eq!(seen.header("x-share"), Some("5 %"));
        }
    });
}

#[test]
fn a_fault_aborts_what_the_rule_matches_and_no_more() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let fault = "precedence: 1, match: {request: {headers: {uri: {prefix: /bad}}}}, \
                         httpFault: {abort: {percent: 100, httpStatus: 418}}";
            let engine = serve(Http::One, &v1, &rule("fault", fault));
            let mut client = client(down, &engine).await;
            assert_eq!(client.get("/bad").await.status, 418);
            assert_eq!(client.get("/good").await.upstream(), "v1", "its path counts, unlike in Istio");
        }
    });
}

#[test]
fn an_aborted_grpc_call_has_the_grpc_status_of_the_http_one() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let engine = serve(Http::Two, &v1, &rule("f", "httpFault: {abort: {percent: 100, httpStatus: 503}}"));
        let answer = client(Http::Two, &engine).await.send(grpc_call("/s/m", b"1")).await;
        assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some("14")));
    });
}

#[test]
fn a_fault_of_no_percent_is_none() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let never = "httpFault: {delay: {fixedDelay: 1h}, abort: {percent: 0, httpStatus: 500}}";
            let engine = serve(Http::One, &v1, &rule("never", never));
            assert_eq!(client(down, &engine).await.get("/").await.upstream(), "v1");
        }
    });
}

#[test]
fn a_preflight_of_a_listed_origin_is_answered() {
    run(async || {
        for down in Http::BOTH {
            let v1 = Upstream::start("v1").await;
            let cors = "corsPolicy: {allowOrigin: [\"http://a.example\"], allowMethods: [GET, POST], \
                        allowHeaders: [x-user], maxAge: 24h, allowCredentials: true}";
            let engine = serve(Http::One, &v1, &rule("cors", cors));
            let answer = client(down, &engine).await.send(preflight("http://a.example", "POST")).await;
            assert_eq!((answer.status.as_u16(), v1.begun()), (200, 0));
            assert_eq!(answer.header("access-control-allow-origin"), Some("http://a.example"));
            assert_eq!(answer.header("access-control-allow-methods"), Some("GET,POST"));
            assert_eq!(answer.header("access-control-allow-headers"), Some("x-user"));
            assert_eq!(answer.header("access-control-max-age"), Some("86400"));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        }
    });
}

#[test]
fn a_request_that_takes_longer_than_its_timeout_gets_504() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::holding().await;
            let engine = serve(up, &v1, &rule("late", "httpReqTimeout: {simpleTimeout: {timeout: 50ms}}"));
            let answer = client(down, &engine).await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (504, "upstream request timeout"));
        }
    });
}

#[test]
fn a_sticky_rule_keeps_a_user_at_a_version_and_tells_which() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let annotations = "weir/sticky: \"header:x-user\", weir/version-header: x-model-version";
            let shares = "route: [{labels: {version: v1}, weight: 50}, {labels: {version: v2}, weight: 50}]";
            let engine = serve_two(up, &v1, &v2, &annotated("sticky", annotations, shares));
            let mut client = client(down, &engine).await;
            for user in 0..20 {
                let mut versions = Vec::new();
                for _ in 0..3 {
                    let mut asked = get("/");
                    let user = format!("user-{user}").parse().expect("a value");
                    asked.headers_mut().insert("x-user", user);
                    let answer = client.send(asked).await;
                    assert_eq!(answer.header("x-model-version"), Some(answer.upstream()));
                    versions.push(answer.upstream().to_owned());
                }
                assert!(versions.iter().all(|version| *version == versions[0]), "{versions:?}");
            }
            assert!(v1.begun() > 0 && v2.begun() > 0, "twenty users are at two versions");
        }
    });
}

#[test]
fn a_destination_policy_bounds_the_requests_of_the_version_that_it_names() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (held, free) = (Upstream::holding().await, Upstream::start("v2").await);
            let by_version = "precedence: 1, match: {request: {headers: {uri: {prefix: /held}}}}, \
                              route: [{labels: {version: v1}}]";
            let rules = rule("held", by_version) + &rule("free", "route: [{labels: {version: v2}}]");
            let breaker = "destination: {name: x, labels: {version: v1}}, circuitBreaker: {simpleCb: {\
                           httpMaxRequests: 1, sleepWindow: 30s, httpDetectionInterval: 10s}}";
            let engine = serve_two(up, &held, &free, &(rules + &policy(breaker)));
            let mut first = client(down, &engine).await;
            let waiting = tokio::task::spawn_local(async move { first.get("/held").await.status });
            held.wait_begun(1).await;
            let mut second = client(down, &engine).await;
            let answer = second.get("/held").await;
            assert_eq!((answer.status.as_u16(), answer.header("x-envoy-overloaded")), (503, Some("true")));
            assert_eq!(second.get("/").await.upstream(), "v2", "the other version has bounds of its own");
            waiting.abort();
        }
    });
}

/// An upstream whose first answers have the status 503, as many as asked.
async fn failing(times: usize) -> Upstream {
    let left = std::cell::Cell::new(times);
    Upstream::remembering(move |_| {
        let status = if left.get() > 0 { 503 } else { 200 };
        left.set(left.get().saturating_sub(1));
        http::Response::builder().status(status).body(full("done")).expect("an answer")
    })
    .await
}

#[test]
fn a_request_is_tried_again_as_often_as_the_rule_says() {
    run(async || {
        for (down, up) in Http::matrix() {
            let retries = rule("again", "httpReqRetries: {simpleRetry: {attempts: 2, perTryTimeout: 10s}}");
            for (failures, status, attempts) in [(2, 200, 3), (9, 503, 3)] {
                let v1 = failing(failures).await;
                let engine = serve(up, &v1, &retries);
                assert_eq!(client(down, &engine).await.get("/").await.status, status);
                assert_eq!(v1.begun(), attempts, "the first, and two more at most");
            }
        }
    });
}

#[test]
fn a_mirror_gets_a_copy_of_every_request_and_the_caller_the_answer_of_the_other() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let spec = "route: [{labels: {version: v1}}], mirror: {name: x, labels: {version: v2}}";
            let engine = serve_two(up, &v1, &v2, &rule("shadow", spec));
            let mut client = client(down, &engine).await;
            for count in 1..=3 {
                assert_eq!(client.send(post("/v1/models/m:predict", "the body")).await.upstream(), "v1");
                until("the copy", || (v2.seen().len() == count).then_some(())).await;
            }
            let copy = v2.last();
            assert_eq!((copy.target(), &copy.body[..]), ("/v1/models/m:predict", &b"the body"[..]));
            let host = copy.head.uri.host().map(str::to_owned).or(copy.header("host").map(str::to_owned));
            assert!(host.is_some_and(|host| host.ends_with("-shadow")), "{copy:?}");
        }
    });
}
