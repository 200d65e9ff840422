//! Proof of plane and lanes: configurations replaced ten times a second under load.
//!
//! Two generations take turns. Each has other ports, another timeout, and its rules and clusters in another order, so
//! that an index, an endpoint or a timeout taken from the wrong one shows in the answer.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/engine.rs"]
mod engine;
#[path = "common/traffic.rs"]
mod traffic;

use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use engine::{DEADLINE, Engine, eventually, linked, on_control_thread};
use traffic::{Call, Got, Tally, Upstream, Wire, answer, client};
use weir::proxy::plane::Plane;

const VERSIONS: usize = 4;
const RELOADS: usize = 50;
const EVERY: Duration = Duration::from_millis(100);

/// The model servers of one generation: one for each version and wire.
struct Side {
    name: char,
    timeout_s: u32,
    http: Vec<Upstream>,
    grpc: Vec<Upstream>,
}

impl Side {
    fn start(name: char, timeout_s: u32) -> Side {
        let start = |wire| {
            let one = move |version: usize| {
                Upstream::start(wire, move |request| {
                    Box::pin(async move {
                        let told = request.headers().get("x-envoy-expected-rq-timeout-ms");
                        let told = told.map_or("none", |value| value.to_str().unwrap());
                        let version = version.to_string();
                        let headers =
                            [("x-side", &*name.to_string()), ("x-version", &version), ("x-timeout", told)];
                        answer(wire, &headers, "{}")
                    })
                })
            };
            (0..VERSIONS).map(one).collect()
        };
        Side { name, timeout_s, http: start(Wire::Http1), grpc: start(Wire::Http2) }
    }

    /// `weir.yaml`. Side B has a service before ours, and its versions the other way round.
    fn main(&self) -> String {
        let mut endpoints: Vec<String> = (0..VERSIONS)
            .map(|v| {
                let (http, grpc) = (self.http[v].address, self.grpc[v].address);
                format!("  - {{http: '{http}', grpc: '{grpc}', labels: {{version: v{v}}}}}\n")
            })
            .collect();
        let mut others = "";
        if self.name == 'B' {
            endpoints.reverse();
            others = "- {name: aaa, endpoints: [{address: '127.0.0.1:9', labels: {version: v0}}]}\n";
        }
        format!(
            "listeners: [{{name: predict, address: '127.0.0.1:0', service: m}}]\nservices:\n{others}\
             - name: m\n  timeout: {}s\n  endpoints:\n{}",
            self.timeout_s,
            endpoints.concat()
        )
    }

    /// A rule for each version, by header; in side B in the other order, behind rules that match nothing.
    fn rules(&self) -> String {
        let rule = |name: &str, value: &str, version: usize, precedence: usize| {
            format!(
                "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\n\
                 spec:\n  destination: {{name: m}}\n  precedence: {precedence}\n  match: {{request: {{headers: \
                 {{x-kind: {{regex: '{value}'}}}}}}}}\n  route: [{{labels: {{version: v{version}}}}}]\n"
            )
        };
        let mut rules = String::new();
        for v in 0..VERSIONS {
            let precedence = if self.name == 'A' { 100 + v } else { 200 - v };
            rules += &rule(&format!("kind-{v}"), &format!("k{v}"), v, precedence);
        }
        if self.name == 'B' {
            (0..3).for_each(|i| rules += &rule(&format!("nobody-{i}"), "nobody", i, 500 + i));
        }
        rules
    }
}

fn call() -> Call {
    let check = |number: u64, got: &Got| {
        let told = |name: &str| got.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        let seen = (told("x-version"), told("x-side"), told("x-timeout"));
        let version = (number as usize % VERSIONS).to_string();
        let fits = seen == (version.clone(), "A".into(), "100000".into())
            || seen == (version, "B".into(), "200000".into());
        if fits { Ok(()) } else { Err(format!("call {number} saw two generations: {seen:?}")) }
    };
    Call {
        headers: Rc::new(|number| vec![("x-kind", format!("k{}", number as usize % VERSIONS))]),
        check: Rc::new(check),
    }
}

#[test]
fn no_request_fails_or_sees_two_generations_and_no_plane_leaks_under_ten_reloads_a_second() {
    on_control_thread(async {
        let sides = [Side::start('A', 100), Side::start('B', 200)];
        let snapshots = sides.each_ref().map(|side| linked(&side.main(), &side.rules()));
        let engine = Engine::start(2, &sides[0].main(), &sides[0].rules());
        let (address, tally) = (engine.address("predict"), Rc::new(Tally::default()));
        let clients: Vec<_> = [Wire::Http1, Wire::Http2]
            .into_iter()
            .flat_map(|wire| (0..8).map(move |_| wire))
            .map(|wire| tokio::task::spawn_local(client(wire, address, call(), tally.clone())))
            .collect();
        // It takes part, then falls silent with its connection open: that must hold no generation either.
        let idle = Rc::new(Tally::default());
        let idler = tokio::task::spawn_local(client(Wire::Http2, address, call(), idle.clone()));

        let mut planes: Vec<Weak<Plane>> = Vec::new();
        let (mut turn, mut series) = (tokio::time::interval(EVERY), 0);
        for reload in 1..=RELOADS {
            turn.tick().await;
            // Whatever was not collected here, on the control thread, is still alive: no worker has dropped one.
            let kept = planes.iter().filter(|plane| plane.strong_count() > 0).count();
            assert_eq!(kept, planes.len(), "a plane was dropped outside the control thread");
            let plane = engine.publish(snapshots[reload % 2].clone());
            planes.push(Arc::downgrade(&plane));
            drop(plane);
            planes.retain(|plane| plane.strong_count() > 0);
            if reload == 10 {
                series = engine.shared.recorder.series();
            }
        }
        idle.stop.set(true);
        idler.await.unwrap();
        tally.stop.set(true);
        for client in clients {
            client.await.unwrap();
        }
        tally.assert_none_failed();
        idle.assert_none_failed();
        assert!(tally.answered.get() > 1000, "{} answers are no load", tally.answered.get());
        println!("{} answers over {RELOADS} reloads", tally.answered.get() + idle.answered.get());

        eventually("one plane is left", || engine.planner.borrow_mut().collect() == 1).await;
        assert_eq!(engine.metric("weir_planes_alive"), 1.0);
        planes.retain(|plane| plane.strong_count() > 0);
        assert_eq!(planes.len(), 1, "the present plane alone is alive");
        assert_eq!(engine.shared.recorder.series(), series, "reloads make no series");
        let gone = &sides[(RELOADS + 1) % 2];
        eventually("connections to endpoints that are gone are closed", || {
            gone.http.iter().chain(&gone.grpc).all(|upstream| upstream.open() == 0)
        })
        .await;
    });
}

#[test]
fn connections_that_stay_open_and_silent_hold_no_old_generation() {
    on_control_thread(async {
        let side = Side::start('A', 100);
        let engine = Engine::start(2, &side.main(), &side.rules());
        let snapshot = linked(&side.main(), &side.rules());
        let mut silent = Vec::new();
        for _ in 0..10 {
            let stream = tokio::net::TcpStream::connect(engine.address("predict")).await.unwrap();
            let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
            tokio::task::spawn_local(connection);
            let headers = (call().headers)(0);
            traffic::grpc_call(&mut sender, &headers, &bytes::Bytes::from_static(b"\0\0\0\0\0"))
                .await
                .unwrap();
            silent.push(sender);
            engine.publish(snapshot.clone());
        }
        let until = Instant::now() + DEADLINE;
        while engine.planner.borrow_mut().collect() > 1 {
            assert!(Instant::now() < until, "{} planes are alive", engine.planner.borrow_mut().collect());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (connections, _) = engine.server.borrow().load();
        assert_eq!(connections, 10, "they are still open");
    });
}

/// The window between begin and attempt is too short for chance to hit it; a retry after a reload is not.
#[test]
fn a_request_that_is_retried_after_a_reload_stays_with_its_generation() {
    on_control_thread(async {
        let [a, b] = ["A", "B"].map(|side| {
            Upstream::start(Wire::Http1, move |_| Box::pin(async move { answer(Wire::Http1, &[], side) }))
        });
        let failing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let main = |endpoints: &[std::net::SocketAddr]| {
            let endpoints: Vec<_> =
                endpoints.iter().map(|at| format!("{{http: '{at}', labels: {{version: v1}}}}")).collect();
            format!(
                "listeners: [{{name: predict, address: '127.0.0.1:0', service: m}}]\n\
                 services: [{{name: m, endpoints: [{}]}}]\n",
                endpoints.join(", ")
            )
        };
        // In the second generation the rule has another name and stands behind another one.
        let rule = |name: &str, precedence: u32| {
            format!(
                "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\nspec: \
                 {{destination: {{name: m}}, precedence: {precedence}, route: [{{labels: {{version: v1}}}}]}}\n"
            )
        };
        let first = main(&[failing.local_addr().unwrap(), a.address]);
        let engine = Engine::start(1, &first, &rule("first", 1));
        let get = format!("http://{}/", engine.address("predict"));
        let request = async |at: std::net::SocketAddr| {
            let stream = tokio::net::TcpStream::connect(at).await.unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream)).await.unwrap();
            tokio::task::spawn_local(connection);
            let get = http::Request::get(&get).header("host", "m").body(String::new()).unwrap();
            let response = sender.send_request(get).await.unwrap();
            http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes()
        };
        let at = engine.address("predict");
        // Round robin: of two requests one meets the endpoint that fails, holds on to it, and is let down later.
        let both = async { futures_util::future::join(request(at), request(at)).await };
        let reload = async {
            let (held, _) = tokio::time::timeout(DEADLINE, failing.accept()).await.unwrap().unwrap();
            eventually("the other request is done", || engine.metric("weir_requests_total") == 1.0).await;
            held.readable().await.unwrap();
            let rules = rule("second", 2) + &rule("third", 1);
            engine.publish(linked(&main(&[b.address]), &rules));
            assert_eq!(request(at).await, "B", "the next request is served by the second generation");
        };
        let ((one, other), ()) = futures_util::future::join(both, reload).await;
        assert_eq!((&one[..], &other[..]), (&b"A"[..], &b"A"[..]));
        let rule = |name: &str| {
            let page = engine.shared.recorder.render(weir::telemetry::Page::Metrics);
            let count = page.lines().filter(|line| line.starts_with("weir_requests_total{"));
            let count = count.filter(|line| line.contains(&format!("rule=\"{name}")));
            count.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum::<u64>()
        };
        eventually("all are counted", || engine.metric("weir_requests_total") == 3.0).await;
        assert_eq!((rule("first"), rule("second"), rule("third")), (2, 1, 0));
    });
}
