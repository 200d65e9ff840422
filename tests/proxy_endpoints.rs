//! Which endpoint of a version gets a request, by which kind of address, over how many connections.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod world;
}

use common::world::client::{Client, get, grpc_call, post};
use common::world::upstream::Upstream;
use common::world::{Http, World, one_service, run, until};
use tokio::task::spawn_local;

async fn five() -> Vec<Upstream> {
    let mut five = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        five.push(Upstream::start(name).await);
    }
    five
}

fn listed(upstreams: &[Upstream], settings: &[&str]) -> String {
    let addresses: Vec<String> = upstreams.iter().map(Upstream::at).collect();
    let endpoints: Vec<(&str, &str)> = addresses.iter().map(|address| (address.as_str(), "v1")).collect();
    one_service(settings, &endpoints)
}

#[test]
fn one_grpc_connection_spreads_evenly_over_five_endpoints() {
    run(async || {
        for lb in ["round_robin", "least_request", "random"] {
            let five = five().await;
            let world = World::start(&listed(&five, &[&format!("lb: {lb}")])).await;
            let mut client = Client::connect(Http::Two, world.addr("in")).await;
            for _ in 0..2000 {
                client.send(grpc_call("/s/m", b"1")).await;
            }
            for upstream in &five {
                // Five points of a hundred are more than five standard deviations of a fair draw.
                let share = upstream.seen().len();
                assert!((300..=500).contains(&share), "{lb}: {share} of 2,000");
                assert!(lb != "round_robin" || share == 400, "{share}");
                assert_eq!(upstream.connections(), 1, "one connection serves all");
            }
        }
    });
}

#[test]
fn streams_that_are_open_at_the_same_time_spread_evenly_too() {
    run(async || {
        let five = five().await;
        let world = World::start(&listed(&five, &["lb: least_request"])).await;
        let Client::Two(sender) = Client::connect(Http::Two, world.addr("in")).await else { unreachable!() };
        let calls = (0..16).map(|_| {
            let mut client = Client::Two(sender.clone());
            async move {
                for _ in 0..125 {
                    client.send(grpc_call("/s/m", b"1")).await;
                }
            }
        });
        futures_util::future::join_all(calls).await;
        for upstream in &five {
            assert!((300..=500).contains(&upstream.seen().len()), "{} of 2,000", upstream.seen().len());
        }
    });
}

#[test]
fn an_endpoint_gets_the_share_that_its_weight_says() {
    run(async || {
        let (a, b) = (Upstream::start("a").await, Upstream::start("b").await);
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\nservices:\n- name: x\n  endpoints:\n\
             \x20 - {{address: \"{}\", weight: 3}}\n  - {{address: \"{}\"}}\n",
            a.at(),
            b.at()
        );
        let world = World::start(&yaml).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..20 {
                client.get("/").await;
            }
        }
        assert_eq!((a.seen().len(), b.seen().len()), (30, 10));
    });
}

#[test]
fn grpc_goes_to_its_own_port_by_http2_and_everything_else_to_the_other_by_http1() {
    run(async || {
        let (grpc, rest) = (Upstream::start("grpc").await, Upstream::start("rest").await);
        let yaml = format!(
            "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\nservices:\n- name: x\n  endpoints:\n\
             \x20 - {{grpc: \"{}\", http: \"{}\", labels: {{version: v1}}}}\n",
            grpc.at(),
            rest.at()
        );
        let world = World::start(&yaml).await;
        for down in Http::BOTH {
            let mut client = Client::connect(down, world.addr("in")).await;
            assert_eq!(client.send(post("/v1/models/m:predict", "{}")).await.upstream(), "rest");
            assert_eq!(client.send(grpc_call("/s/m", b"1")).await.upstream(), "grpc");
        }
        assert!(grpc.seen().iter().all(|seen| seen.head.version == http::Version::HTTP_2));
        assert!(rest.seen().iter().all(|seen| seen.head.version == http::Version::HTTP_11));
    });
}

#[test]
fn an_endpoint_may_be_a_unix_socket_or_a_name() {
    run(async || {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("model.sock");
        let unix = Upstream::start_unix("unix", &path).await;
        let named = Upstream::start("named").await;
        let name = format!("localhost:{}", named.addr().port());
        for down in Http::BOTH {
            let world = World::start(&one_service(
                &["protocol: http1"],
                &[(&format!("unix:{}", path.display()), "v1")],
            ))
            .await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..10 {
                assert_eq!(client.send(post("/m", "{}")).await.upstream(), "unix");
            }
            let world = World::start(&one_service(&[], &[(&name, "v1")])).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..10 {
                assert_eq!(client.send(post("/m", "{}")).await.upstream(), "named");
            }
        }
        assert_eq!((unix.seen().len(), named.seen().len()), (20, 20));
    });
}

#[test]
fn a_name_that_does_not_resolve_is_a_cluster_without_endpoints() {
    run(async || {
        let world = World::start(&one_service(&[], &[("no-such-host.invalid:80", "v1")])).await;
        let answer = Client::connect(Http::One, world.addr("in")).await.get("/").await;
        assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"));
    });
}

#[test]
fn the_pods_own_endpoint_wins_until_it_is_busier_by_the_bias() {
    run(async || {
        for down in Http::BOTH {
            let (own, other) = (Upstream::holding().await, Upstream::start("other").await);
            let yaml = format!(
                "listeners:\n- {{name: in, address: \"127.0.0.1:0\", service: x}}\nservices:\n- name: x\n  lb: least_request\n  \
                 local_bias: 2\n  endpoints:\n  - {{address: \"{}\", local: true}}\n  - {{address: \"{}\"}}\n",
                own.at(),
                other.at()
            );
            let world = World::start(&yaml).await;
            let mut held = Vec::new();
            for n in 1..=3 {
                let mut client = Client::connect(down, world.addr("in")).await;
                held.push(spawn_local(async move { drop(client.begin(get("/")).await) }));
                own.wait_begun(n).await;
            }
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..5 {
                assert_eq!(client.get("/").await.upstream(), "other", "three are in flight here, none there");
            }
            assert_eq!(own.begun(), 3);
        }
    });
}

#[test]
fn one_worker_opens_no_more_connections_than_the_limit_and_the_others_wait_their_turn() {
    run(async || {
        let v1 = Upstream::start("v1").await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 2}"];
        let world = World::start(&one_service(&settings, &[(&v1.at(), "v1")])).await;
        let Client::Two(sender) = Client::connect(Http::Two, world.addr("in")).await else { unreachable!() };
        let calls = (0..40).map(|_| async {
            let mut client = Client::Two(sender.clone());
            for _ in 0..5 {
                assert_eq!(client.send(post("/", "{}")).await.status, 200);
            }
        });
        futures_util::future::join_all(calls).await;
        assert_eq!((v1.seen().len(), v1.connections()), (200, 2));
    });
}

#[test]
fn a_hundred_streams_fill_a_connection_and_the_next_opens_another() {
    run(async || {
        let held = Upstream::holding().await;
        let world = World::start(&one_service(&["protocol: http2"], &[(&held.at(), "v1")])).await;
        let Client::Two(sender) = Client::connect(Http::Two, world.addr("in")).await else { unreachable!() };
        let mut tasks = Vec::new();
        let mut hold = |count: usize| {
            for _ in 0..count {
                let mut client = Client::Two(sender.clone());
                tasks.push(spawn_local(async move { drop(client.begin(get("/")).await) }));
            }
        };
        hold(100);
        held.wait_begun(100).await;
        assert_eq!(held.connections(), 1, "dialling is single-flight");
        hold(50);
        held.wait_begun(150).await;
        assert_eq!(held.connections(), 2);
        tasks.iter().for_each(|task| task.abort());
        until("all are cancelled", || (held.cancelled() == 150).then_some(())).await;
        assert!(world.log(150).await.iter().all(|line| line.starts_with("0 DC ")));
    });
}

#[test]
fn requests_beyond_those_that_may_wait_are_told_so() {
    run(async || {
        let held = Upstream::holding().await;
        let settings = ["protocol: http1", "circuit_breakers: {connections: 1, pending: 1}"];
        let world = World::start(&one_service(&settings, &[(&held.at(), "v1")])).await;
        let begin = |to| async move { drop(Client::connect(Http::One, to).await.begin(get("/")).await) };
        let _first = spawn_local(begin(world.addr("in")));
        held.wait_begun(1).await;
        // One waits for the connection, whichever it is; every other is told at once.
        let mut overflows = 0;
        let answers = (0..5).map(|_| {
            let addr = world.addr("in");
            spawn_local(async move { Client::connect(Http::Two, addr).await.get("/").await })
        });
        let mut answers: futures_util::stream::FuturesUnordered<_> = answers.collect();
        while overflows < 4 {
            let answer =
                futures_util::StreamExt::next(&mut answers).await.expect("an answer").expect("no panic");
            assert_eq!((answer.status.as_u16(), answer.header("x-envoy-overloaded")), (503, Some("true")));
            assert!(answer.text().ends_with("reset reason: overflow"));
            overflows += 1;
        }
        assert_eq!(held.connections(), 1);
    });
}
