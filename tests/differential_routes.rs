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
#[path = "differential_routes/bootstrap.rs"]
mod bootstrap;
#[path = "differential_routes/drawn.rs"]
mod drawn;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential_routes/virtual_services.rs"]
mod virtual_services;

use std::net::SocketAddr;
use std::path::Path;

use common::parts::part;
use common::wire::caller::{Caller, Delivery};
use common::world::client::{Client, request};
use common::world::upstream::empty;
use common::world::{Http, World, run};
use drawn::{Chance, Drawn, METHODS, VERSIONS};
use envoy::Envoy;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
/// The conditions' own values among them, so that each is met and missed.
const QUERIES: [&str; 10] = [
    "",
    "",
    "?q=alice",
    "?q=bob&r=b",
    "?r=",
    "?q=alicia&q=bob",
    "?q",
    "?Q=alice",
    "?r=alice,bob&q=1",
    "?q=b&r=alice",
];
const VALUES: [&str; 6] = ["alice", "alicia", "bob", "b", "", "Alice"];
const PROTOS: [&str; 6] = ["", "", "", "", "http", "https"];

#[test]
fn a_request_takes_the_same_route_in_envoy_and_in_weir() {
    let Some(program) = part("envoy") else { return };
    let differences = run(async || {
        let mut chance = Chance(0x5eed);
        let drawn: Vec<Drawn> = (0..CONFIGURATIONS).map(|number| Drawn::new(number, &mut chance)).collect();
        let (envoy, weir) = both(&program, &drawn).await;
        let (mut differences, mut told) = (Vec::new(), Kinds::default());
        for (number, one) in drawn.iter().enumerate() {
            let http = Http::BOTH[number % 2];
            let requests: Vec<Request> =
                (0..REQUESTS).map(|_| Request::drawn(one, http, &mut chance)).collect();
            // Envoy 1.40 looks at each field of a name by itself; for Weir they are one, joined by commas.
            let of_envoy = answers(envoy.address, http, &requests, true, &drawn).await;
            let of_weir = answers(weir.addr("in"), http, &requests, false, &drawn).await;
            for ((request, envoy), weir) in requests.iter().zip(of_envoy).zip(of_weir) {
                told.count(&envoy, one);
                if envoy != weir {
                    let shown = one.shown();
                    differences
                        .push(format!("{http:?} {request:?}\n  envoy {envoy}\n  weir  {weir}\n  {shown}"));
                }
            }
        }
        told.are_all_there();
        differences
    });
    let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "{} of {}:\n{shown}", differences.len(), CONFIGURATIONS * REQUESTS);
}

/// Five standard deviations of Envoy's draws; Weir's schedule of four parts is less than 4 off in any run.
#[test]
fn weights_give_the_shares_that_envoys_give() {
    const ALL: usize = 2_000;
    let weights = [1, 30, 0, 69];
    let Some(program) = part("envoy") else { return };
    let (of_envoy, of_weir) = run(async || {
        let drawn = [Drawn::of_shares(&weights)];
        let (envoy, weir) = both(&program, &drawn).await;
        let request = || Request::to("GET", "/", "shares.example", &[]);
        let requests: Vec<Request> = (0..ALL).map(|_| request()).collect();
        // Without what is known of the routing, each upstream is told by its name.
        (
            answers(envoy.address, Http::One, &requests, false, &[]).await,
            answers(weir.addr("in"), Http::One, &requests, false, &[]).await,
        )
    });
    for (version, weight) in VERSIONS.iter().zip(weights) {
        let share = f64::from(weight) / 100.0;
        let counted = |all: &[String]| {
            let told = format!(" upstream \"{version}\" ");
            all.iter().filter(|one| one.contains(&told)).count() as f64
        };
        let (expected, deviation) = (ALL as f64 * share, (ALL as f64 * share * (1.0 - share)).sqrt());
        let (envoy, weir) = (counted(&of_envoy), counted(&of_weir));
        assert!((envoy - expected).abs() <= 5.0 * deviation, "{version}: {envoy} of Envoy, not {expected}");
        assert!((weir - expected).abs() < 4.0, "{version}: {weir} of Weir, not {expected}");
    }
}

#[test]
fn what_the_document_lists_as_different_is_different() {
    let Some(program) = part("envoy") else { return };
    let (of_envoy, of_weir) = run(async || {
        let drawn = [Drawn::of_differences()];
        let (envoy, weir) = both(&program, &drawn).await;
        let request = |target, fields: &[_]| Request::to("GET", target, "differences.example", fields);
        let requests = [
            request("/?q=%61", &[]),
            request("/", &[("x-user", vec!["alice", "bob"])]),
            request("/a/b", &[]),
        ];
        (
            answers(envoy.address, Http::One, &requests, false, &drawn).await,
            answers(weir.addr("in"), Http::One, &requests, false, &drawn).await,
        )
    });
    let told = |all: &[String]| {
        all.iter().map(|one| one.split(" location").next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let answered = |status: u16, route: usize| format!("{status} route \"0/{route}\" upstream \"\" saw \"\"");
    let seen =
        |path: &str| format!("200 route \"0/2\" upstream \"v1\" saw \"{path} of differences.example\"");
    assert_eq!(told(&of_envoy), [answered(503, 3), answered(410, 1), seen("/new//b")], "Envoy");
    assert_eq!(told(&of_weir), [answered(403, 0), answered(503, 3), seen("/new/b")], "Weir");
}

/// Both, with the same routings before the same servers.
async fn both(program: &Path, drawn: &[Drawn]) -> (Envoy, World) {
    let mut upstreams = Vec::new();
    for version in VERSIONS {
        upstreams.push(serve(version).await);
    }
    let envoy = Envoy::with(program, |_| bootstrap::written(drawn, &upstreams));
    let (yaml, rules) = virtual_services::written(drawn, &upstreams);
    (envoy, World::with_rules(&yaml, &[("drawn.yaml", &rules)]).await)
}

/// What came of the requests: where nothing but 404 came back, nothing was compared.
#[derive(Debug, Default)]
struct Kinds {
    forwarded: usize,
    /// Among these: to one of several versions.
    split: usize,
    redirected: usize,
    answered: usize,
    none: usize,
    /// By a routing that another host of the group has.
    elsewhere: usize,
}

impl Kinds {
    fn count(&mut self, told: &str, drawn: &Drawn) {
        match &told[..3] {
            "200" => self.forwarded += 1,
            "404" => self.none += 1,
            status if status.starts_with('3') => self.redirected += 1,
            _ => self.answered += 1,
        }
        self.split += usize::from(told.contains("one of several"));
        let route = told.split('"').nth(1).unwrap_or_default();
        self.elsewhere += usize::from(!route.is_empty() && !drawn.says(route));
    }

    fn are_all_there(&self) {
        println!("{self:?}");
        let Kinds { forwarded, split, redirected, answered, none, elsewhere } = self;
        let all = [forwarded, split, redirected, answered, none, elsewhere];
        assert!(all.iter().all(|count| **count >= 200), "{self:?}");
    }
}

/// A request, and the values of its own fields.
#[derive(Debug)]
struct Request {
    method: &'static str,
    target: String,
    host: String,
    fields: Vec<(&'static str, Vec<&'static str>)>,
}

impl Request {
    fn to(
        method: &'static str,
        target: &str,
        host: &str,
        fields: &[(&'static str, Vec<&'static str>)],
    ) -> Request {
        Request { method, target: target.to_owned(), host: host.to_owned(), fields: fields.to_vec() }
    }

    fn drawn(drawn: &Drawn, http: Http, chance: &mut Chance) -> Request {
        let (method, path, query) = (chance.of(&METHODS), chance.of(&PATHS), chance.of(&QUERIES));
        let host = drawn.host(chance);
        let mut values = || (0..chance.below(3)).map(|_| chance.of(&VALUES)).collect();
        let mut fields: Vec<(&str, Vec<&str>)> = ["x-user", "X-Team"].map(|name| (name, values())).into();
        // In HTTP/2 Envoy believes `:scheme`.
        let proto = if http == Http::One { chance.of(&PROTOS) } else { "" };
        fields.extend((!proto.is_empty()).then(|| ("x-forwarded-proto", vec![proto])));
        Request::to(method, &format!("{path}{query}"), &host, &fields)
    }

    /// Its fields, one by one. `joined`: several of one name are one.
    fn lines(&self, joined: bool) -> Vec<(&'static str, String)> {
        let there = self.fields.iter().filter(|(_, values)| !values.is_empty());
        let lines = there.flat_map(|(name, values)| match joined {
            true => vec![(*name, values.join(","))],
            false => values.iter().map(|value| (*name, (*value).to_owned())).collect(),
        });
        lines.collect()
    }
}

/// What came back, in words.
async fn answers(
    to: SocketAddr,
    http: Http,
    requests: &[Request],
    joined: bool,
    drawn: &[Drawn],
) -> Vec<String> {
    let mut told = Vec::new();
    match http {
        Http::One => {
            let mut caller = Caller::connect(None, to).await;
            for one in requests {
                let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", one.method, one.target, one.host);
                text += "content-length: 0\r\n";
                one.lines(joined).iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
                caller.send((text + "\r\n").as_bytes(), Delivery::AtOnce).await;
                let answer = caller.answer(one.method).await;
                let answer = answer.unwrap_or_else(|fault| panic!("{one:?} of {to}: {fault}"));
                told.push(in_words(answer.status, |name| answer.values(name).join(","), drawn));
            }
        }
        Http::Two => {
            let mut client = Client::connect(http, to).await;
            for one in requests {
                let method = Method::from_bytes(one.method.as_bytes()).expect("a method");
                let mut begun = request(method, &one.target).header("host", &one.host);
                for (name, value) in one.lines(joined) {
                    begun = begun.header(name, value);
                }
                let answer = client.send(begun.body(empty()).expect("a request")).await;
                let value = |name: &str| {
                    let values = answer.headers.get_all(name).iter();
                    values.map(|value| value.to_str().expect("text")).collect::<Vec<_>>().join(",")
                };
                told.push(in_words(answer.status.as_u16(), value, drawn));
            }
        }
    }
    told
}

fn in_words(status: u16, value: impl Fn(&str) -> String, drawn: &[Drawn]) -> String {
    let (route, upstream) = (value("x-route"), value("x-upstream"));
    // Which of several shares is the split's affair; that it is one of the route's is not.
    let several = Drawn::shares(drawn, &route).contains(&upstream.as_str());
    let upstream = if several { "one of several" } else { &upstream };
    let (saw, location) = (value("x-saw"), value("location"));
    format!("{status} route {route:?} upstream {upstream:?} saw {saw:?} location {location:?}")
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
