//! Endpoints by name, with a server that speaks DNS: what it answers is asked for again and again, and what is no answer
//! changes nothing.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod dns;
    pub(crate) mod loopback;
    pub(crate) mod names;
    pub(crate) mod world;
}

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use common::dns::{Says, Server};
use common::loopback::own_ip;
use common::world::client::{Client, grpc_call};
use common::world::upstream::Upstream;
use common::world::{Http, SOON, World, one_service, run};

const HOST: &str = "inception.models.svc.cluster.local";

/// Upstreams with these names, each at an address of its own, all on one port.
async fn upstreams(names: &[&str]) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for name in names {
        let port = all.first().map_or(0, |first| first.addr().port());
        all.push(Upstream::start_at(name, SocketAddr::from((own_ip(), port))).await);
    }
    all
}

fn ip(upstream: &Upstream) -> Ipv4Addr {
    match upstream.addr().ip() {
        IpAddr::V4(ip) => ip,
        IpAddr::V6(_) => panic!("it is IPv4"),
    }
}

/// Weir before whatever [`HOST`] stands for at `server`.
async fn serve(server: &Server, up: Http, port: u16) -> World {
    let settings = [&*format!("protocol: {}", up.protocol()), "dns_refresh: 100ms"];
    let yaml = one_service(&settings, &[(&format!("{HOST}:{port}"), "v1")]);
    World::with_resolver(&yaml, &[], server.resolver()).await
}

/// Asks until `upstream` answers; every answer before that is another's.
async fn asks_until(client: &mut Client, upstream: &str) {
    let began = Instant::now();
    while client.get("/m").await.upstream() != upstream {
        assert!(began.elapsed() < SOON, "{upstream} does not come to serve");
    }
}

#[test]
fn the_addresses_of_an_answer_serve_in_turn_and_a_later_answer_takes_their_place() {
    run(async || {
        for (down, up) in Http::matrix() {
            let all = upstreams(&["a", "b", "c"]).await;
            let server = Server::start(Says::Addresses(vec![ip(&all[1]), ip(&all[0])])).await;
            let world = serve(&server, up, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..20 {
                assert_eq!(client.get("/m").await.status, 200);
            }
            let shares: Vec<usize> = all.iter().map(|upstream| upstream.seen().len()).collect();
            assert_eq!(shares, [10, 10, 0], "{down:?} {up:?}");
            server.say(Says::Alias("c.example.com", vec![ip(&all[2])]));
            asks_until(&mut client, "c").await;
            for _ in 0..5 {
                assert_eq!(client.get("/m").await.upstream(), "c", "{down:?} {up:?}: nobody goes back");
            }
            assert!(server.questions().iter().all(|name| name == HOST), "{:?}", server.questions());
        }
    });
}

#[test]
fn what_is_no_address_leaves_the_last_good_ones_and_the_next_good_answer_counts() {
    run(async || {
        for (down, up) in Http::matrix() {
            let all = upstreams(&["a", "b"]).await;
            let server = Server::start(Says::Addresses(vec![ip(&all[0])])).await;
            let world = serve(&server, up, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for nothing in [Says::Failure, Says::NoSuchName, Says::NoAddress, Says::Stray, Says::Silence] {
                server.say(nothing.clone());
                // The second question is asked when the first one's answer was taken. Who hears nothing asks twice a
                // second, and is given up after five.
                let silent = matches!(nothing, Says::Silence) && (down, up) == (Http::One, Http::One);
                server.asked(if silent { 12 } else { 3 }).await;
                for _ in 0..5 {
                    assert_eq!(client.get("/m").await.upstream(), "a", "{down:?} {up:?} {nothing:?}");
                }
            }
            server.say(Says::Addresses(vec![ip(&all[1])]));
            asks_until(&mut client, "b").await;
        }
    });
}

#[test]
fn a_name_that_the_server_did_not_know_at_the_start_serves_once_it_does() {
    run(async || {
        for down in Http::BOTH {
            let all = upstreams(&["a"]).await;
            let server = Server::start(Says::NoSuchName).await;
            let world = serve(&server, Http::Two, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = client.get("/m").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"), "{down:?}");
            server.say(Says::Addresses(vec![ip(&all[0])]));
            let began = Instant::now();
            while client.get("/m").await.status != 200 {
                assert!(began.elapsed() < SOON, "{down:?}: it is known and does not serve");
            }
            assert_eq!(client.send(grpc_call("/s/m", b"hi")).await.upstream(), "a", "{down:?}");
        }
    });
}
