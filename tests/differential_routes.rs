//! The same routing, written for the real Envoy and for Weir: 200 configurations of chance, 50 requests of chance each.
//!
//! Law: the same route is taken, the same cluster where only one has weight, with the same status, path, host and location.
//! What the two do differently on purpose is not drawn, and stands in `docs/routing.md`.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod parts;
    pub(crate) mod wire;
    pub(crate) mod world;
}
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential_routes/written.rs"]
mod written;

use std::net::SocketAddr;

use common::parts::part;
use common::wire::caller::{Answer, Caller, Delivery};
use common::world::{World, run};
use envoy::Envoy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use written::{Chance, Drawn, METHODS, VERSIONS};

/// Of Envoy's access log, which nobody reads here.
const LOG_FORMAT: &str = "%RESPONSE_CODE%\\n";
const CONFIGURATIONS: usize = 200;
const REQUESTS: usize = 50;
const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/A/B",
    "/b",
    "/b/c",
    "/b//c",
    "/a/../b/c",
    "/v1/models/m:predict",
    "/v12/models/",
    "/c/",
    "/c/d/e",
    "/./a/b",
    "/zzz",
];
const QUERIES: [&str; 6] = ["", "", "?q=1", "?q=2&r=x", "?r=", "?q=1&q=2"];
const VALUES: [&str; 5] = ["alice", "alicia", "bob", "b", ""];

#[test]
fn a_request_takes_the_same_route_in_envoy_and_in_weir() {
    let Some(program) = part("envoy") else { return };
    let differences = run(async || {
        let mut chance = Chance(0x5eed);
        let drawn: Vec<Drawn> = (0..CONFIGURATIONS).map(|number| Drawn::new(number, &mut chance)).collect();
        let mut upstreams = Vec::new();
        for version in VERSIONS {
            upstreams.push(serve(version).await);
        }
        let envoy = Envoy::with(&program, |_| written::for_envoy(&drawn, &upstreams));
        let (yaml, rules) = written::for_weir(&drawn, &upstreams);
        let weir = World::with_rules(&yaml, &[("drawn.yaml", &rules)]).await;
        let (mut differences, mut told) = (Vec::new(), Kinds::default());
        for one in &drawn {
            let requests: Vec<Request> =
                (0..REQUESTS).map(|_| Request::drawn(&one.host, &mut chance)).collect();
            let written = |joined: bool| requests.iter().map(|one| one.written(joined)).collect::<Vec<_>>();
            // Envoy 1.40 looks at each field of a name by itself; for Weir they are one, joined by commas.
            let of_envoy = answers(envoy.address, &written(true), one).await;
            let of_weir = answers(weir.addr("in"), &written(false), one).await;
            for ((request, envoy), weir) in requests.iter().zip(of_envoy).zip(of_weir) {
                told.count(&envoy);
                if envoy != weir {
                    differences
                        .push(format!("{request:?}\n  envoy {envoy}\n  weir  {weir}\n  {}", one.shown()));
                }
            }
        }
        told.are_all_there();
        differences
    });
    let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {}:\n{shown}", differences.len(), CONFIGURATIONS * REQUESTS);
}

#[test]
fn what_the_document_lists_as_different_is_different() {
    let Some(program) = part("envoy") else { return };
    let (of_envoy, of_weir) = run(async || {
        let drawn = [Drawn::of_differences()];
        let mut upstreams = Vec::new();
        for version in VERSIONS {
            upstreams.push(serve(version).await);
        }
        let envoy = Envoy::with(&program, |_| written::for_envoy(&drawn, &upstreams));
        let (yaml, rules) = written::for_weir(&drawn, &upstreams);
        let weir = World::with_rules(&yaml, &[("drawn.yaml", &rules)]).await;
        let request = |target: &str, fields: &str| {
            format!("GET {target} HTTP/1.1\r\nhost: {}\r\n{fields}\r\n", drawn[0].host)
        };
        let requests =
            [request("/?q=%61", ""), request("/", "x-user: alice\r\nx-user: bob\r\n"), request("/a/b", "")];
        (
            answers(envoy.address, &requests, &drawn[0]).await,
            answers(weir.addr("in"), &requests, &drawn[0]).await,
        )
    });
    let told = |all: &[String]| {
        all.iter().map(|one| one.split(" location").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let answered = |status: u16, route: usize| format!("{status} route \"{route}\" upstream \"\" saw \"\"");
    let seen = |path: &str| format!("200 route \"2\" upstream \"v1\" saw \"{path} of differences.example\"");
    assert_eq!(told(&of_envoy), [answered(503, 3), answered(410, 1), seen("/new//b")], "Envoy");
    assert_eq!(told(&of_weir), [answered(403, 0), answered(503, 3), seen("/new/b")], "Weir");
}

/// What came of the requests: where nothing but 404 came back, nothing was compared.
#[derive(Debug, Default)]
struct Kinds {
    forwarded: usize,
    redirected: usize,
    answered: usize,
    none: usize,
}

impl Kinds {
    fn count(&mut self, told: &str) {
        match &told[..3] {
            "200" => self.forwarded += 1,
            "404" => self.none += 1,
            status if status.starts_with('3') => self.redirected += 1,
            _ => self.answered += 1,
        }
    }

    fn are_all_there(&self) {
        println!("{self:?}");
        let all = [self.forwarded, self.redirected, self.answered, self.none];
        assert!(all.iter().all(|count| *count >= 200), "{self:?}");
    }
}

/// A request, and the values of its own fields.
#[derive(Debug)]
struct Request {
    line: String,
    host: String,
    fields: [(&'static str, Vec<&'static str>); 2],
}

impl Request {
    fn drawn(host: &str, chance: &mut Chance) -> Request {
        let (method, path, query) = (chance.of(&METHODS), chance.of(&PATHS), chance.of(&QUERIES));
        let line = format!("{method} {path}{query} HTTP/1.1");
        let mut values = || (0..chance.below(3)).map(|_| chance.of(&VALUES)).collect();
        let fields = ["x-user", "x-team"].map(|name| (name, values()));
        Request { line, host: host.to_owned(), fields }
    }

    /// `joined`: several fields of one name as one.
    fn written(&self, joined: bool) -> String {
        let mut text = format!("{}\r\nhost: {}\r\ncontent-length: 0\r\n", self.line, self.host);
        for (name, values) in self.fields.iter().filter(|(_, values)| !values.is_empty()) {
            match joined {
                true => text += &format!("{name}: {}\r\n", values.join(",")),
                false => values.iter().for_each(|value| text += &format!("{name}: {value}\r\n")),
            }
        }
        text + "\r\n"
    }
}

/// What came back, in words.
async fn answers(to: SocketAddr, requests: &[String], drawn: &Drawn) -> Vec<String> {
    let mut caller = Caller::connect(None, to).await;
    let mut told = Vec::new();
    for request in requests {
        caller.send(request.as_bytes(), Delivery::AtOnce).await;
        let method = request.split(' ').next().unwrap_or_default();
        told.push(match caller.answer(method).await {
            Ok(answer) => in_words(&answer, drawn),
            Err(fault) => panic!("{request:?} of {to}: {fault}"),
        });
    }
    told
}

fn in_words(answer: &Answer, drawn: &Drawn) -> String {
    let value = |name: &str| answer.values(name).join(",");
    let route = value("x-route");
    // Which of several shares is the split's affair; that it is one of the route's is shown by the route.
    let upstream = if drawn.splits(&route) { "one of several".to_owned() } else { value("x-upstream") };
    let location = value("location");
    format!(
        "{} route {route:?} upstream {upstream:?} saw {:?} location {location:?}",
        answer.status,
        value("x-saw")
    )
}

/// A server that tells what it is and what it saw.
async fn serve(version: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::task::spawn_local(connection(stream, version));
        }
    });
    address
}

/// Requests have no bodies.
async fn connection(mut stream: TcpStream, version: &'static str) {
    let mut ahead = Vec::new();
    loop {
        while let Some(end) = ahead.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&ahead[..end]).into_owned();
            ahead.drain(..end + 4);
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nx-upstream: {version}\r\nx-saw: {target} of {host}\r\ncontent-length: 0\r\n\r\n"
            );
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
        match stream.read_buf(&mut ahead).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}
