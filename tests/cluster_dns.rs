//! Endpoints by name: every address of a name serves, a name that changes takes its requests along, and one that fails
//! changes nothing.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

mod common {
    pub(crate) mod loopback;
    pub(crate) mod names;
    pub(crate) mod world;
}

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use common::loopback::own_ip;
use common::names::Names;
use common::world::client::{Client, grpc_call, post, read};
use common::world::upstream::{Upstream, channel};
use common::world::{Http, World, one_service, run, soon, until};
use http::Response;
use http_body::Frame;
use tokio::task::spawn_local;

const HOST: &str = "models.test";

/// Upstreams with these names, each at an address of its own, all on one port.
async fn upstreams(names: &[&str]) -> Vec<Upstream> {
    let mut all: Vec<Upstream> = Vec::new();
    for name in names {
        let port = all.first().map_or(0, |first| first.addr().port());
        all.push(Upstream::start_at(name, SocketAddr::from((own_ip(), port))).await);
    }
    all
}

/// Weir before whatever [`HOST`] stands for.
async fn serve(names: &Names, up: Http, port: u16) -> World {
    let settings = [&*format!("protocol: {}", up.protocol()), "dns_refresh: 100ms"];
    let yaml = one_service(&settings, &[(&format!("{HOST}:{port}"), "v1")]);
    World::with_resolver(&yaml, &[], names.resolver()).await
}

#[test]
fn every_address_of_a_name_is_an_endpoint() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (names, all) = (Names::default(), upstreams(&["a", "b", "c"]).await);
            names
                .say(HOST, &[all[2].addr().ip(), all[0].addr().ip(), all[1].addr().ip(), all[0].addr().ip()]);
            let world = serve(&names, up, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for _ in 0..30 {
                assert_eq!(client.get("/m").await.status, 200);
            }
            let shares: Vec<usize> = all.iter().map(|upstream| upstream.seen().len()).collect();
            assert_eq!(shares, [10, 10, 10], "{down:?} {up:?}: in turn, and who is named twice is one");
        }
    });
}

#[test]
fn a_name_that_comes_to_stand_for_another_address_takes_its_requests_along_and_loses_none() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (names, all) = (Names::default(), upstreams(&["old", "new"]).await);
            names.say(HOST, &[all[0].addr().ip()]);
            let world = serve(&names, up, all[0].addr().port()).await;
            let stop = Rc::new(Cell::new(false));
            let callers: Vec<_> = (0..4)
                .map(|_| {
                    let (at, stop) = (world.addr("in"), stop.clone());
                    spawn_local(async move {
                        let (mut client, mut met) = (Client::connect(down, at).await, Vec::new());
                        while !stop.get() {
                            let answer = client.send(post("/m", "{}")).await;
                            assert_eq!(answer.status, 200, "{answer:?}");
                            met.push(answer.upstream().to_owned());
                        }
                        met
                    })
                })
                .collect();
            until("the old one serves", || (all[0].seen().len() > 20).then_some(())).await;
            names.say(HOST, &[all[1].addr().ip()]);
            until("the new one serves", || (all[1].seen().len() > 20).then_some(())).await;
            stop.set(true);
            for caller in callers {
                let met = soon("the caller ends", caller).await.expect("every request is answered");
                let moved = met.iter().position(|name| name == "new").expect("it met the new one");
                assert!(met[moved..].iter().all(|name| name == "new"), "{down:?} {up:?}: nobody goes back");
            }
            until("its connections are closed", || (all[0].open_connections() == 0).then_some(())).await;
        }
    });
}

#[test]
fn a_request_that_is_under_way_at_an_address_that_went_is_finished_there() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (names, new) = (Names::default(), upstreams(&["new"]).await);
            let bodies = Rc::new(Cell::new(None));
            let kept = bodies.clone();
            let old = SocketAddr::from((own_ip(), new[0].addr().port()));
            let old = Upstream::handling_at(old, move |_| {
                let (sender, body) = channel();
                kept.set(Some(sender));
                async { Response::new(body) }
            })
            .await;
            names.say(HOST, &[old.addr().ip()]);
            let world = serve(&names, up, old.addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = soon("a head", client.begin(post("/m", "{}"))).await.expect("an answer");
            let body = bodies.take().expect("the old one answers");
            body.send(Frame::data("first, ".into())).expect("it is read");
            names.say(HOST, &[new[0].addr().ip()]);
            let mut other = Client::connect(down, world.addr("in")).await;
            // Until the change is seen the old one would hold any request.
            names.asked(2).await;
            while new[0].seen().is_empty() {
                let call = other.begin(post("/m", "{}"));
                let answer = soon("an answer", call).await.expect("an answer");
                if let Some(left) = bodies.take() {
                    drop(left);
                }
                soon("its end", read(answer)).await.expect("it is whole");
            }
            body.send(Frame::data("second".into())).expect("it is read");
            drop(body);
            let answer = soon("the whole answer", read(answer)).await.expect("it is not cut");
            assert_eq!(answer.text(), "first, second", "{down:?} {up:?}");
        }
    });
}

#[test]
fn a_name_that_fails_or_stands_for_nothing_keeps_its_last_good_addresses() {
    run(async || {
        for (down, up) in Http::matrix() {
            let (names, all) = (Names::default(), upstreams(&["a", "b"]).await);
            names.say(HOST, &[all[0].addr().ip()]);
            let world = serve(&names, up, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            for nothing in [|names: &Names| names.fail(HOST), |names: &Names| names.say(HOST, &[])] {
                nothing(&names);
                // The second question is asked when the first answer was taken.
                names.asked(3).await;
                for _ in 0..5 {
                    assert_eq!(client.get("/m").await.upstream(), "a", "{down:?} {up:?}");
                }
            }
            names.say(HOST, &[all[1].addr().ip()]);
            client
                .get_until("a name that answers again counts again", |answer| answer.upstream() == "b")
                .await;
        }
    });
}

#[test]
fn a_name_that_nobody_knew_at_the_start_serves_once_it_is_known() {
    run(async || {
        for down in Http::BOTH {
            let (names, all) = (Names::default(), upstreams(&["a"]).await);
            let world = serve(&names, Http::Two, all[0].addr().port()).await;
            let mut client = Client::connect(down, world.addr("in")).await;
            let answer = client.get("/m").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (503, "no healthy upstream"));
            assert!(world.log(1).await[0].starts_with("503 UH "), "{:?}", world.log(1).await);
            names.say(HOST, &[all[0].addr().ip()]);
            names.asked(2).await;
            client.get_until("it is known and serves", |answer| answer.status == 200).await;
            assert_eq!(client.send(grpc_call("/s/m", b"hi")).await.upstream(), "a");
        }
    });
}
