//! Which route takes a request, seen from both ends of a running proxy, whichever HTTP is spoken.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod frames;
    pub(crate) mod world;
}

use common::frames::{Frames, Outcome, block, whole};
use common::world::client::{Client, get, grpc_call, post};
use common::world::raw::Raw;
use common::world::upstream::{BoxBody, Upstream, empty};
use common::world::{Http, World, one_service, rule, run};
use http::Request;

/// Two versions, `v1` for what no rule takes, and rules that send what they match to `v2`.
async fn two_versions(settings: &str, matches: &[&str]) -> (World, Upstream, Upstream) {
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")]) + settings;
    let mut texts = vec![("all.yaml".to_owned(), rule("all", 1, "", &[("v1", 100)]))];
    for (index, matches) in matches.iter().enumerate() {
        let name = format!("match-{index}");
        texts.push((format!("{name}.yaml"), rule(&name, 10, matches, &[("v2", 100)])));
    }
    let rules: Vec<_> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    (World::with_rules(&yaml, &rules).await, v1, v2)
}

fn with(path: &str, name: &'static str, value: &'static str) -> Request<BoxBody> {
    let mut request = get(path);
    request.headers_mut().insert(name, value.parse().expect("a value"));
    request
}

#[test]
fn a_request_reaches_the_upstream_in_all_four_combinations_of_http() {
    run(async || {
        for (down, up) in Http::matrix() {
            let v1 = Upstream::start("v1").await;
            let yaml = one_service(&[&format!("protocol: {}", up.protocol())], &[(&v1.at(), "v1")]);
            let world = World::start(&yaml).await;
            let answer = Client::connect(down, world.addr("in")).await.get("/hello?q").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (200, "v1"), "{down:?} {up:?}");
            assert_eq!(v1.only().target(), "/hello?q");
            assert_eq!(v1.only().head.version == http::Version::HTTP_2, up == Http::Two);
            assert!(world.log(1).await[0].starts_with("200 - "), "{:?}", world.log(1).await);
        }
    });
}

#[test]
fn a_single_address_is_spoken_to_in_the_requests_own_http() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let world = World::start(&one_service(&[], &[(&v1.at(), "v1")])).await;
        for down in Http::BOTH {
            Client::connect(down, world.addr("in")).await.get("/").await;
        }
        let versions: Vec<_> = v1.seen().iter().map(|seen| seen.head.version).collect();
        assert_eq!(versions, [http::Version::HTTP_11, http::Version::HTTP_2]);
    });
}

#[test]
fn the_scheme_is_what_the_proxy_in_front_was_spoken_to_unless_nobody_is_believed() {
    run(async || {
        let https = "{request: {headers: {scheme: {exact: https}}}}";
        for believed in [true, false] {
            let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
            let yaml = one_service(&[], &[(&v1.at(), "v1"), (&v2.at(), "v2")])
                .replace("service: x}", &format!("service: x, use_remote_address: {}}}", !believed));
            let all = rule("all", 1, "", &[("v1", 100)]);
            let secure = rule("secure", 10, https, &[("v2", 100)]);
            let world = World::with_rules(&yaml, &[("a.yaml", &all), ("b.yaml", &secure)]).await;
            for down in Http::BOTH {
                let mut caller = Client::connect(down, world.addr("in")).await;
                let answer = caller.send(with("/", "x-forwarded-proto", "https")).await;
                assert_eq!(answer.text(), if believed { "v2" } else { "v1" }, "{down:?}");
                assert_eq!(caller.send(with("/", "x-forwarded-proto", "http")).await.text(), "v1");
                assert_eq!(caller.get("/").await.text(), "v1");
            }
        }
    });
}

#[test]
fn each_kind_of_match_takes_exactly_what_it_says() {
    let headers = |name: &str, how: &str| format!("{{request: {{headers: {{{name}: {how}}}}}}}");
    type Cases = Vec<(Request<BoxBody>, &'static str)>;
    let table: [(String, Cases); 8] = [
        (
            headers("x-canary", "{exact: always}"),
            vec![
                (with("/", "x-canary", "always"), "v2"),
                (with("/", "x-canary", "Always"), "v1"),
                (with("/", "x-canary", "always!"), "v1"),
                (get("/"), "v1"),
            ],
        ),
        (
            headers("x-user", "{prefix: test-}"),
            vec![(with("/", "x-user", "test-7"), "v2"), (with("/", "x-user", "a-test-7"), "v1")],
        ),
        (
            headers("x-build", "{regex: \"v1|v1beta\"}"),
            vec![
                (with("/", "x-build", "v1beta"), "v2"),
                (with("/", "x-build", "v1"), "v2"),
                (with("/", "x-build", "v1gamma"), "v1"),
                (with("/", "x-build", "xv1"), "v1"),
            ],
        ),
        (
            headers("uri", "{exact: /v1/models/m}"),
            vec![
                (get("/v1/models/m"), "v2"),
                (get("/v1/models/m?q=1"), "v2"),
                (get("/v1/models/m:predict"), "v1"),
                (get("/v1/models"), "v1"),
            ],
        ),
        (
            headers("uri", "{prefix: /v1/models/m}"),
            vec![
                (get("/v1/models/m:predict"), "v2"),
                (get("/v1/models/"), "v1"),
                (get("/V1/models/m"), "v1"),
            ],
        ),
        (
            headers("uri", "{regex: \"/v[0-9]+/.*\"}"),
            vec![
                (get("/v12/x"), "v2"),
                (get("/v12/x?/y"), "v2"),
                (get("/v/x"), "v1"),
                (get("/a/v1/x"), "v1"),
            ],
        ),
        (headers("method", "{exact: POST}"), vec![(post("/", "x"), "v2"), (get("/"), "v1")]),
        (
            headers("authority", "{exact: canary.example}"),
            vec![(with("/", "host", "canary.example"), "v2"), (with("/", "host", "other.example"), "v1")],
        ),
    ];
    run(async || {
        for (matches, cases) in table {
            let (world, ..) = two_versions("", &[&matches]).await;
            let mut clients = [
                Client::connect(Http::One, world.addr("in")).await,
                Client::connect(Http::Two, world.addr("in")).await,
            ];
            for (request, version) in cases {
                for client in &mut clients {
                    let answer = client.send(again(&request)).await;
                    assert_eq!(
                        answer.upstream(),
                        version,
                        "{matches}: {} {:?}",
                        request.uri(),
                        request.headers()
                    );
                }
            }
        }
    });
}

/// The same head again, without a body.
fn again(request: &Request<BoxBody>) -> Request<BoxBody> {
    let mut again = Request::new(empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    again
}

#[test]
fn all_conditions_of_a_rule_must_hold_and_the_highest_precedence_that_matches_wins() {
    run(async || {
        let mut versions = Vec::new();
        for name in ["v1", "v2", "v3"] {
            versions.push(Upstream::start(name).await);
        }
        let [a, b, c] = [0, 1, 2].map(|index| versions[index].at());
        let yaml = one_service(&[], &[(&a, "v1"), (&b, "v2"), (&c, "v3")]);
        let both = "{request: {headers: {uri: {prefix: /v1}, x-canary: {exact: always}}}}";
        let rules = [
            ("z.yaml", rule("low", 1, "", &[("v1", 100)])),
            ("b.yaml", rule("both", 7, both, &[("v3", 100)])),
            ("a.yaml", rule("path", 5, "{request: {headers: {uri: {prefix: /v1}}}}", &[("v2", 100)])),
        ];
        let rules: Vec<_> = rules.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let world = World::with_rules(&yaml, &rules).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            assert_eq!(client.send(with("/v1/m", "x-canary", "always")).await.upstream(), "v3");
            assert_eq!(client.send(with("/v1/m", "x-canary", "never")).await.upstream(), "v2");
            assert_eq!(client.send(with("/other", "x-canary", "always")).await.upstream(), "v1");
        }
        let call = Client::connect(Http::Two, world.addr("in"))
            .await
            .send(grpc_call("/v1.Service/Call", b"1"))
            .await;
        assert_eq!((call.upstream(), call.grpc_status()), ("v2", Some("0")));
    });
}

#[test]
fn a_source_is_who_the_callers_list_says_the_peer_is() {
    run(async || {
        let callers = "\ncallers:\n- {cidr: 127.0.0.2/32, service: frontend.web, labels: {version: v3}}\n\
                       - {cidr: 127.0.0.3/32, service: frontend.web, labels: {version: v4}}\n";
        let matches = "{source: {name: frontend, namespace: web, labels: {version: v3}}}";
        let (world, ..) = two_versions(callers, &[matches]).await;
        for down in Http::BOTH {
            for (from, version) in [("127.0.0.2", "v2"), ("127.0.0.3", "v1"), ("127.0.0.1", "v1")] {
                let from = from.parse().expect("an address");
                let mut client = Client::connect_from(down, Some(from), world.addr("in")).await;
                let request = with("/", "x-forwarded-for", "127.0.0.2");
                assert_eq!(client.send(request).await.upstream(), version, "{down:?} from {from}");
            }
        }
    });
}

#[test]
fn without_a_service_the_listener_knows_every_short_form_of_a_host_and_404_for_the_others() {
    run(async || {
        let (x, y) = (Upstream::start("x").await, Upstream::start("y").await);
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\"}}\nservices:\n\
             - {{name: x, endpoints: [{{address: \"{}\"}}]}}\n\
             - {{name: y, namespace: kubeflow, endpoints: [{{address: \"{}\"}}]}}\n",
            x.at(),
            y.at()
        );
        let world = World::start(&yaml).await;
        let known = [
            ("x", "x"),
            ("x.default", "x"),
            ("x.default.svc", "x"),
            ("x.default.svc.cluster.local", "x"),
            ("X.Default:8500", "x"),
            ("y", "y"),
            ("y.kubeflow", "y"),
            ("y.kubeflow.svc.cluster.local:80", "y"),
        ];
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for (host, upstream) in known {
                assert_eq!(
                    client.send(with("/", "host", host)).await.upstream(),
                    upstream,
                    "{down:?} {host}"
                );
            }
            for host in ["y.default", "x.kubeflow", "xx", "x.default.svc.cluster.local.evil", "127.0.0.1"] {
                let answer = client.send(with("/", "host", host)).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (404, ""), "{down:?} {host}");
            }
            let mut call = grpc_call("/s/m", b"");
            call.headers_mut().insert("host", "unknown".parse().expect("a host"));
            let answer = client.send(call).await;
            assert_eq!((answer.status.as_u16(), answer.grpc_status()), (200, Some("12")));
        }
        let log = world.log(28).await;
        assert_eq!(log.iter().filter(|line| line.contains(" NR route_not_found ")).count(), 12, "{log:?}");
    });
}

#[test]
fn the_normal_form_of_a_path_decides_and_is_what_is_forwarded() {
    run(async || {
        let (world, v1, v2) = two_versions("", &["{request: {headers: {uri: {prefix: /secret/}}}}"]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for (path, version, forwarded) in [
                ("/a/../secret/x?q=/../y%2f", "v2", "/secret/x?q=/../y%2f"),
                ("//secret//x", "v2", "/secret/x"),
                ("/%73ecret/%7euser", "v2", "/secret/~user"),
                ("/secret/../x", "v1", "/x"),
                ("/../../x", "v1", "/x"),
                ("/a%3ab?c//d", "v1", "/a%3Ab?c//d"),
            ] {
                let answer = client.get(path).await;
                assert_eq!(answer.upstream(), version, "{down:?} {path}");
                let seen = if version == "v1" { v1.seen() } else { v2.seen() };
                assert_eq!(seen.last().expect("a request").target(), forwarded, "{down:?} {path}");
            }
        }
    });
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused() {
    run(async || {
        let (world, v1, v2) = two_versions("", &[]).await;
        for down in Http::BOTH {
            for path in ["/a%2fb", "/a%2Fb", "/a%5cb", "/%zz", "/a%"] {
                let answer = Client::connect(down, world.addr("in")).await.get(path).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (400, "Bad Request"), "{down:?} {path}");
            }
        }
        let mut raw = Raw::connect(world.addr("in")).await;
        raw.write("GET /a\\b HTTP/1.1\r\nhost: x\r\n\r\n").await;
        assert!(raw.read_head().await.expect("an answer").starts_with("HTTP/1.1 400 "));
        assert_eq!((v1.begun(), v2.begun()), (0, 0));
    });
}

#[test]
fn a_request_names_its_host_wherever_the_listener_has_no_service_whatever_gateway_it_stands_for() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x, gateways: [edge]}}\n\
             - {{name: any, address: \"127.0.0.2:0\"}}\n\
             - {{name: edge, address: \"127.0.0.3:0\", gateways: [edge]}}\n\
             services:\n- {{name: x, endpoints: [{{address: \"{}\", labels: {{version: v1}}}}]}}\n",
            v1.at()
        );
        let star = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: star}\nspec:\n  \
                    hosts: [\"*\"]\n  gateways: [edge]\n  http: [{route: [{destination: {host: x}}]}]\n";
        let world = World::with_rules(&yaml, &[("star.yaml", star)]).await;
        for (listener, old, new) in [("in", 200, 400), ("any", 400, 400), ("edge", 400, 400)] {
            for (version, status) in [("1.0", old), ("1.1", new)] {
                let mut caller = Raw::connect(world.addr(listener)).await;
                caller.write(format!("GET /a HTTP/{version}\r\n\r\n")).await;
                let (head, _) = caller.read_answer().await;
                assert!(head.contains(&format!(" {status} ")), "{listener} HTTP/{version}: {head}");
            }
            let mut caller = Raw::connect(world.addr(listener)).await;
            caller.write("GET /a HTTP/1.0\r\nhost: x\r\n\r\n").await;
            assert!(caller.read_answer().await.0.contains(" 200 "), "{listener} with a host");
            let mut caller = Frames::connect(world.addr(listener)).await;
            let nameless = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/a")]);
            caller.write(whole(1, &nameless)).await;
            let outcome = caller.outcome(1).await;
            assert!(matches!(outcome, Outcome::Answer { status: 400, .. }), "{listener} HTTP/2: {outcome:?}");
        }
    });
}
