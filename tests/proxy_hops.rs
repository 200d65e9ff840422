//! From one Weir to another: the split listener of one pod, the delivery listener of the next.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use std::collections::BTreeMap;

use common::world::client::{Answer, Client, get, grpc_call, post};
use common::world::raw::RawUpstream;
use common::world::upstream::{BoxBody, Upstream};
use common::world::{Http, World, free_port, one_service, run, split_rule};
use http::Request;

/// A pod that delivers to its own model server: its listener `delivery` is at `port`. `more` are settings of the listener.
async fn delivering(port: u16, model: &Upstream, version: &str, more: &str) -> World {
    let yaml = format!(
        "listeners:\n- {{name: delivery, address: \"127.0.0.1:{port}\", service: x, mode: deliver{more}}}\nservices:\n\
         - name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: {version}}}, local: true}}\n",
        model.at()
    );
    World::start(&yaml).await
}

/// A pod that splits between its own model server, version v1, and the delivery listeners of other pods, version v2.
async fn splitting(own: &Upstream, others: &[String], weights: &[(&str, u32)]) -> World {
    let mut yaml = format!(
        "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\nservices:\n- name: x\n  endpoints:\n\
         \x20 - {{address: \"{}\", labels: {{version: v1}}, local: true}}\n",
        own.at()
    );
    for other in others {
        yaml.push_str(&format!("  - {{address: \"{other}\", labels: {{version: v2}}}}\n"));
    }
    World::with_rules(&yaml, &[("split.yaml", &split_rule(weights))]).await
}

fn on_port(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

/// GET, POST with a body, and a gRPC call.
fn of_each_kind() -> [Request<BoxBody>; 3] {
    [get("/m"), post("/m", "{}"), grpc_call("/s/m", b"call")]
}

fn with(mut request: Request<BoxBody>, name: &'static str, value: &str) -> Request<BoxBody> {
    request.headers_mut().insert(name, value.parse().expect("a value"));
    request
}

fn count(answers: &[Answer]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    answers.iter().for_each(|answer| *counts.entry(answer.upstream()).or_default() += 1);
    counts
}

#[test]
fn a_request_is_split_once_and_delivered_to_the_version_that_was_chosen() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let port = free_port();
        let there = delivering(port, &v2, "v2", "").await;
        let here = splitting(&v1, &[on_port(port)], &[("v1", 50), ("v2", 50)]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, here.addr("in")).await;
            let mut answers = Vec::new();
            for _ in 0..100 {
                answers.push(
                    client
                        .send(if down == Http::Two { grpc_call("/s/m", b"1") } else { post("/m", "{}") })
                        .await,
                );
            }
            let counts = count(&answers);
            assert!((49..=51).contains(&counts["v2"]) && counts.len() == 2, "{down:?} {counts:?}");
            assert!(answers.iter().all(|answer| answer.header("x-weir-in-flight").is_none()));
        }
        for seen in v1.seen().iter().chain(&v2.seen()) {
            assert!(!seen.head.headers.keys().any(|name| name.as_str().starts_with("x-weir-")), "{seen:?}");
        }
        assert_eq!(there.log(v2.seen().len()).await.len(), v2.seen().len());
    });
}

#[test]
fn an_endpoint_that_is_not_local_is_told_which_version_is_meant_and_a_local_one_is_not() {
    run(async || {
        let (v1, other) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let here = splitting(&v1, &[other.at()], &[("v1", 50), ("v2", 50)]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, here.addr("in")).await;
            for _ in 0..4 {
                client.send(with(get("/"), "x-weir-in-flight", "7")).await;
            }
        }
        assert!(!v1.seen().is_empty() && !other.seen().is_empty());
        for seen in v1.seen() {
            assert_eq!((seen.header("x-weir-hop"), seen.header("x-weir-in-flight")), (None, None));
        }
        for seen in other.seen() {
            assert_eq!(seen.header("x-weir-hop"), Some("1;x.default.svc.cluster.local;version=v2"));
            assert_eq!(seen.header("x-weir-in-flight"), None);
        }
    });
}

#[test]
fn a_caller_cannot_forge_a_hop() {
    run(async || {
        let (v1, other) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let here = splitting(&v1, &[other.at()], &[("v1", 50), ("v2", 50)]).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, here.addr("in")).await;
            for _ in 0..4 {
                let forged = with(get("/"), "x-weir-hop", "1;other.default.svc.cluster.local;version=v9");
                assert_eq!(client.send(forged).await.status, 200);
            }
        }
        assert!(v1.seen().iter().all(|seen| seen.header("x-weir-hop").is_none()));
        // Only the count is believed, which can but hurt the caller.
        let meant = Some("2;x.default.svc.cluster.local;version=v2");
        assert!(
            !other.seen().is_empty() && other.seen().iter().all(|seen| seen.header("x-weir-hop") == meant)
        );
    });
}

#[test]
fn a_pod_that_is_not_the_version_meant_is_left_for_another_one_once() {
    run(async || {
        let (v1, v2, v3) =
            (Upstream::start("v1").await, Upstream::start("v2").await, Upstream::start("v3").await);
        let ports = [free_port(), free_port()];
        let wrong = delivering(ports[0], &v3, "v3", "").await;
        let _right = delivering(ports[1], &v2, "v2", "").await;
        let here = splitting(&v1, &ports.map(on_port), &[("v2", 100)]).await;
        let mut sent = 0;
        for down in Http::BOTH {
            let mut client = Client::connect(down, here.addr("in")).await;
            for _ in 0..4 {
                for request in of_each_kind() {
                    let what = format!("{down:?} {request:?}");
                    let answer = client.send(request).await;
                    assert_eq!(
                        (answer.status.as_u16(), answer.header("x-upstream")),
                        (200, Some("v2")),
                        "{what}"
                    );
                    sent += 1;
                }
            }
        }
        assert_eq!((v3.begun(), v2.seen().len()), (0, sent));
        assert!(
            v2.seen().iter().all(|seen| seen.head.method == "GET" || !seen.body.is_empty()),
            "with its body"
        );
        assert!(wrong.log(sent / 3).await.iter().all(|line| line.contains(" delivery_misdirected ")));
        let misdirected = here.metric("weir_hop_errors_total", &["reason=\"misdirected\""]).await;
        // Lines reach the file a little later than their requests are counted.
        let lines = wrong.log(misdirected as usize).await.len();
        assert_eq!(misdirected as usize, lines, "each is counted once");
    });
}

#[test]
fn a_version_whose_every_pod_is_another_has_no_endpoint() {
    run(async || {
        let (v1, v3) = (Upstream::start("v1").await, Upstream::start("v3").await);
        let port = free_port();
        let wrong = delivering(port, &v3, "v3", "").await;
        let here = splitting(&v1, &[on_port(port)], &[("v2", 100)]).await;
        for down in Http::BOTH {
            let answer = Client::connect(down, here.addr("in")).await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"), "{down:?}");
        }
        assert_eq!(v3.begun(), 0);
        assert_eq!(wrong.log(2).await.len(), 2, "there is nobody else to try");
    });
}

#[test]
fn a_large_body_is_whole_where_it_is_tried_again() {
    run(async || {
        let (v1, v2, v3) =
            (Upstream::start("v1").await, Upstream::start("v2").await, Upstream::start("v3").await);
        let ports = [free_port(), free_port()];
        let _wrong = delivering(ports[0], &v3, "v3", "").await;
        let _right = delivering(ports[1], &v2, "v2", "").await;
        let here = splitting(&v1, &ports.map(on_port), &[("v2", 100)]).await;
        let large: Vec<u8> = (0..1_000_000).map(|i| (i % 251) as u8).collect();
        for down in Http::BOTH {
            let mut client = Client::connect(down, here.addr("in")).await;
            for _ in 0..6 {
                let answer = client.send(post("/m", large.clone())).await;
                assert_eq!(
                    (answer.status.as_u16(), answer.header("x-upstream")),
                    (200, Some("v2")),
                    "{down:?}"
                );
            }
        }
        assert!(v2.seen().len() == 12 && v2.seen().iter().all(|seen| seen.body == large));
    });
}

#[test]
fn what_a_model_server_says_behind_a_delivery_is_its_answer_whatever_its_status() {
    run(async || {
        for status in [421, 403, 508] {
            let v1 = Upstream::start("v1").await;
            let model = Upstream::remembering(move |_| {
                http::Response::builder()
                    .status(status)
                    .body(common::world::upstream::full("mine"))
                    .expect("a response")
            })
            .await;
            let ports = [free_port(), free_port()];
            let _pods =
                [delivering(ports[0], &model, "v2", "").await, delivering(ports[1], &model, "v2", "").await];
            let here = splitting(&v1, &ports.map(on_port), &[("v2", 100)]).await;
            let answer = Client::connect(Http::One, here.addr("in")).await.get("/").await;
            assert_eq!((answer.status.as_u16(), answer.text(), model.seen().len()), (status, "mine", 1));
        }
    });
}

#[test]
fn a_model_servers_own_421_is_its_answer() {
    run(async || {
        let (v1, other) = (
            Upstream::start("v1").await,
            Upstream::remembering(|_| {
                http::Response::builder()
                    .status(421)
                    .body(common::world::upstream::full("mine"))
                    .expect("a response")
            })
            .await,
        );
        let here = splitting(&v1, &[other.at(), other.at()], &[("v2", 100)]).await;
        let answer = Client::connect(Http::One, here.addr("in")).await.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text(), other.seen().len()), (421, "mine", 1));
    });
}

#[test]
fn a_request_that_goes_round_in_a_circle_ends_with_508() {
    run(async || {
        let ports = [free_port(), free_port()];
        let circle = |from: u16, to: u16| {
            let yaml = one_service(&[], &[(&on_port(to), "v1")]);
            yaml.replace("127.0.0.1:0", &on_port(from))
        };
        let a = World::start(&circle(ports[0], ports[1])).await;
        let b = World::start(&circle(ports[1], ports[0])).await;
        for (down, seen) in [(Http::One, 1), (Http::Two, 2)] {
            let answer = Client::connect(down, a.addr("in")).await.send(post("/", "{}")).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (508, "too many hops"));
            // Caller, three hops, and the fourth is refused: a, b, a, b, a.
            assert_eq!((a.log(3 * seen).await.len(), b.log(2 * seen).await.len()), (3 * seen, 2 * seen));
        }
        let call = Client::connect(Http::Two, a.addr("in")).await.send(grpc_call("/s/m", b"1")).await;
        assert_eq!(call.grpc_status(), Some("2"));
    });
}

#[test]
fn a_delivery_listener_takes_only_peers_that_are_endpoints_or_allowed() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let stranger = Some("127.0.0.2".parse().expect("an address"));
        let closed = delivering(free_port(), &v1, "v1", "").await;
        let open = delivering(free_port(), &v1, "v1", ", allow: [127.0.0.2/32]").await;
        let any = delivering(free_port(), &v1, "v1", ", allow: any").await;
        for down in Http::BOTH {
            for request in of_each_kind() {
                let grpc = request.headers().contains_key("content-type");
                let answer =
                    Client::connect_from(down, stranger, closed.addr("delivery")).await.send(request).await;
                match grpc {
                    true => assert_eq!(answer.grpc_status(), Some("7"), "{answer:?}"),
                    false => assert_eq!(answer.status, 403, "{answer:?}"),
                }
            }
            for world in [&open, &any] {
                let mut client = Client::connect_from(down, stranger, world.addr("delivery")).await;
                assert_eq!(client.get("/").await.upstream(), "v1");
            }
            // The model server's own address, 127.0.0.1, is an endpoint's.
            assert_eq!(Client::connect(down, closed.addr("delivery")).await.get("/").await.upstream(), "v1");
        }
        assert_eq!(v1.seen().len(), 6);
        let refused =
            closed.log(8).await.iter().filter(|line| line.contains(" delivery_peer_refused ")).count();
        assert_eq!(refused, 6);
        assert_eq!(closed.metric("weir_delivery_refused_total", &[]).await, 6.0);
    });
}

#[test]
fn a_delivery_never_splits_and_tells_how_busy_its_pod_is() {
    run(async || {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let yaml = format!(
            "listeners:\n- {{name: delivery, address: \"127.0.0.1:0\", service: x, mode: deliver}}\nservices:\n\
             - name: x\n  endpoints:\n  - {{address: \"{}\", labels: {{version: v1}}, local: true}}\n\
             \x20 - {{address: \"{}\", labels: {{version: v2}}}}\n",
            v1.at(),
            v2.at()
        );
        let world = World::with_rules(&yaml, &[("r.yaml", &split_rule(&[("v2", 100)]))]).await;
        for down in Http::BOTH {
            let answer = Client::connect(down, world.addr("delivery")).await.get("/").await;
            assert_eq!((answer.upstream(), answer.header("x-weir-in-flight")), ("v1", Some("1")));
        }
        assert_eq!(v2.begun(), 0);
    });
}

#[test]
fn a_hop_that_breaks_is_an_upstream_that_breaks() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let going = RawUpstream::going().await;
        let here = splitting(&v1, &[going.at()], &[("v2", 100)]).await;
        let answer = Client::connect(Http::One, here.addr("in")).await.send(post("/", "{}")).await;
        assert_eq!((answer.status.as_u16(), going.connections()), (503, 1), "and a POST is not sent twice");
    });
}

/// What was counted of hops: those that arrived, and those that failed for `reason`.
async fn hops(world: &World, reason: &str) -> (f64, f64) {
    let reason = format!("reason=\"{reason}\"");
    let failed = world.metric("weir_hop_errors_total", &[&reason]).await;
    (world.metric("weir_hop_requests_total", &[]).await, failed)
}

/// One that answers the first request of its first connection, with `field`, and goes without a word whenever else it is
/// asked.
async fn answering_once(field: &'static str) -> RawUpstream {
    RawUpstream::start(move |mut raw, connection| async move {
        raw.read_head().await;
        if connection == 0 {
            raw.write(format!("HTTP/1.1 200 OK\r\n{field}content-length: 2\r\n\r\nok")).await;
            raw.read_head().await;
        }
        String::new()
    })
    .await
}

#[test]
fn a_gateway_before_model_servers_has_no_hops_whatever_they_break_off() {
    run(async || {
        let (going, once) = (RawUpstream::going().await, answering_once("").await);
        for (at, first) in [(going.at(), 503), (on_port(free_port()), 503), (once.at(), 200)] {
            let world = World::start(&one_service(&["protocol: http1"], &[(&at, "v1")])).await;
            for status in [first, 503, 503] {
                let answer = Client::connect(Http::One, world.addr("in")).await.send(post("/", "{}")).await;
                assert_eq!(answer.status.as_u16(), status, "{at}");
            }
            assert_eq!(world.metric("weir_hop_errors_total", &[]).await, 0.0, "{at}");
        }
        let late = Upstream::holding().await;
        let world = World::start(&one_service(&["timeout: 50ms"], &[(&late.at(), "v1")])).await;
        for down in Http::BOTH {
            let answer = Client::connect(down, world.addr("in")).await.get("/").await;
            assert_eq!(answer.status.as_u16(), 504);
        }
        assert_eq!(world.metric("weir_hop_errors_total", &[]).await, 0.0);
    });
}

#[test]
fn a_gateway_before_other_weirs_counts_the_hops_that_fail() {
    run(async || {
        let v2 = Upstream::start("v2").await;
        let [well, refusing, gone] = [free_port(), free_port(), free_port()];
        let _pod = delivering(well, &v2, "v2", "").await;
        // To whom this process is no peer: the address that it comes from is no endpoint's.
        let stranger = format!(
            "listeners:\n- {{name: delivery, address: \"127.0.0.1:{refusing}\", service: x, mode: deliver}}\nservices:\n\
             - name: x\n  endpoints:\n  - {{address: \"127.0.0.9:9\", labels: {{version: v2}}, local: true}}\n",
        );
        let _stranger = World::start(&stranger).await;
        let gateway = |ports: &[u16]| {
            let at: Vec<String> = ports.iter().map(|&port| on_port(port)).collect();
            let endpoints: Vec<(&str, &str)> = at.iter().map(|at| (&**at, "v2")).collect();
            one_service(&["lb: round_robin"], &endpoints)
        };
        let world = World::start(&gateway(&[refusing])).await;
        assert_eq!(Client::connect(Http::One, world.addr("in")).await.get("/").await.status.as_u16(), 403);
        assert_eq!(hops(&world, "refused").await.1, 1.0);
        // One that never answers is taken for what the others of its version are known to be.
        let world = World::start(&gateway(&[well, gone])).await;
        let mut client = Client::connect(Http::One, world.addr("in")).await;
        for _ in 0..4 {
            client.get("/").await;
        }
        let (arrived, failed) = hops(&world, "connect").await;
        assert!(arrived >= 2.0 && failed >= 1.0, "{arrived} {failed}");
        // And one that did is remembered.
        let once = answering_once("x-weir-in-flight: 1\r\n").await;
        let world = World::start(&one_service(&["protocol: http1"], &[(&once.at(), "v2")])).await;
        for status in [200, 503, 503] {
            let answer = Client::connect(Http::One, world.addr("in")).await.send(post("/", "{}")).await;
            assert_eq!(answer.status.as_u16(), status);
        }
        assert_eq!(hops(&world, "reset").await, (1.0, 2.0));
    });
}

#[test]
fn a_pod_that_takes_deliveries_expects_the_other_pods_to_do_so() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\n\
             - {{name: delivery, address: \"127.0.0.2:0\", service: x, mode: deliver}}\nservices:\n- name: x\n  endpoints:\n\
             \x20 - {{address: \"{}\", labels: {{version: v1}}, local: true}}\n\
             \x20 - {{address: \"{}\", labels: {{version: v2}}}}\n",
            v1.at(),
            on_port(free_port())
        );
        let world = World::with_rules(&yaml, &[("split.yaml", &split_rule(&[("v2", 100)]))]).await;
        let answer = Client::connect(Http::One, world.addr("in")).await.get("/").await;
        assert_eq!(answer.status.as_u16(), 503);
        assert_eq!(hops(&world, "connect").await, (0.0, 1.0), "it never answered, and is a pod all the same");
    });
}
