//! The same routing, written for the real Envoy and for Weir in a dialect of chance: 200 configurations, 50 requests of
//! chance each, gRPC calls among them.
//!
//! Law: the same route is taken, the same cluster where only one has weight, with the same status, path, host and location.
//! What the two do differently on purpose is not drawn, and stands in `docs/routing.md`; each row there is shown here.
//! `WEIR_SEED=7 cargo test --test differential_routes` draws others.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod parts;
    pub(crate) mod wire;
    pub(crate) mod world;
}
#[path = "differential_routes/asked.rs"]
mod asked;
#[path = "differential_routes/bootstrap.rs"]
mod bootstrap;
#[path = "differential_routes/dialects.rs"]
mod dialects;
#[path = "differential_routes/drawing.rs"]
mod drawing;
#[path = "differential_routes/drawn.rs"]
mod drawn;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential_routes/gateway_routes.rs"]
mod gateway_routes;
#[path = "differential_routes/order.rs"]
mod order;
#[path = "differential_routes/route_rules.rs"]
mod route_rules;
#[path = "differential_routes/rows.rs"]
mod rows;
#[path = "differential_routes/virtual_services.rs"]
mod virtual_services;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

use asked::{Asked, Request, answers};
use common::parts::part;
use common::world::upstream::{Upstream, empty};
use common::world::{Http, World, run};
use drawing::Chance;
use drawn::{Dialect, Drawn, VERSIONS};
use envoy::Envoy;
use http::{Response, header};
use serde_json::json;

const CONFIGURATIONS: usize = 200;
const REQUESTS: usize = 50;
/// The address of the workload that rules know.
const KNOWN: [u8; 4] = [127, 0, 0, 3];

#[test]
fn a_request_takes_the_same_route_in_envoy_and_in_weir() {
    let Some(program) = part("envoy") else { return };
    let said = std::env::var("WEIR_SEED").ok();
    let seed = said.map_or(0x5eed, |text| text.parse().expect("WEIR_SEED is a number"));
    // For what ends in a panic on the way.
    println!("WEIR_SEED={seed}");
    let (differences, told) = run(async || {
        let mut chance = Chance(seed);
        let drawn: Vec<Drawn> = (0..CONFIGURATIONS).map(|number| Drawn::new(number, &mut chance)).collect();
        let (envoy, weir) = both(&program, &drawn).await;
        let (mut differences, mut told) = (Vec::new(), Kinds::default());
        for one in &drawn {
            let http = chance.of(&[Http::One, Http::Two, Http::Two]);
            let from = chance.once_in(3).then(|| KNOWN.into());
            let requests: Vec<Request> =
                (0..REQUESTS).map(|_| Request::drawn(one, http, &mut chance)).collect();
            // Envoy 1.40 looks at each field of a name by itself; for Weir they are one, joined by commas.
            let asked = |to, joined| Asked { from, to, http, joined, drawn: &drawn };
            let of_envoy = answers(asked(envoy.address, true), &requests).await;
            let of_weir = answers(asked(weir.addr("in"), false), &requests).await;
            for ((request, envoy), weir) in requests.iter().zip(of_envoy).zip(of_weir) {
                told.count(&envoy, request, one);
                if envoy != weir {
                    let shown = one.shown();
                    differences
                        .push(format!("{http:?} {request:?}\n  envoy {envoy}\n  weir  {weir}\n  {shown}"));
                }
            }
        }
        (differences, told)
    });
    println!("{told:?}");
    let all = CONFIGURATIONS * REQUESTS;
    let shown = differences.iter().take(12).cloned().collect::<Vec<_>>().join("\n");
    assert!(differences.is_empty(), "WEIR_SEED={seed}: {} of {all}:\n{shown}", differences.len());
    assert!(told.are_all_there(), "WEIR_SEED={seed}: too little of something");
}

/// Five standard deviations of Envoy's draws; Weir's schedule of four parts is less than 4 off in any run.
#[test]
fn weights_give_the_shares_that_envoys_give() {
    const ALL: usize = 2_000;
    let weights = [1, 30, 0, 69];
    let Some(program) = part("envoy") else { return };
    let (of_envoy, of_weir) = run(async || {
        let (envoy, weir) = both(&program, &[Drawn::of_shares(&weights)]).await;
        let request = || Request::to("GET", "/", "shares.example", &[]);
        let requests: Vec<Request> = (0..ALL).map(|_| request()).collect();
        (answers(plainly(envoy.address), &requests).await, answers(plainly(weir.addr("in")), &requests).await)
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
fn each_difference_that_the_document_lists_is_one() {
    let Some(program) = part("envoy") else { return };
    let rows = rows::rows();
    let host = |number: usize| format!("row{number}.example");
    run(async || {
        let upstreams = upstreams().await;
        let of_envoy = rows.iter().enumerate().map(
            |(number, row)| json!({"name": host(number), "domains": [host(number)], "routes": row.envoy}),
        );
        let envoy = Envoy::with(&program, |_| bootstrap::of_hosts(of_envoy.clone().collect(), &upstreams));
        let objects =
            rows.iter().enumerate().map(|(number, row)| row.weir.of(&format!("row{number}"), &host(number)));
        let known = text(KNOWN);
        let (yaml, rules) = dialects::of_objects(&["x".into()], &upstreams, &known, objects.collect());
        let weir = World::with_rules(&yaml, &[("rows.yaml", &rules)]).await;
        for (number, row) in rows.iter().enumerate() {
            for &http in row.https {
                for (who, to, wanted) in
                    [("Envoy", envoy.address, row.of_envoy), ("Weir", weir.addr("in"), row.of_weir)]
                {
                    let asked = Asked { http, ..plainly(to) };
                    let told = answers(asked, &[(row.ask)(&host(number))]).await.remove(0);
                    let wanted = wanted.replace("HOST", &host(number));
                    assert!(
                        told.starts_with(&wanted),
                        "{}: {who}, {http:?}: {told}, not {wanted}",
                        row.title
                    );
                }
            }
        }
    });
}

#[test]
fn each_row_of_the_documents_table_of_differences_has_its_probe() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/routing.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let (_, table) = text.split_once("| | Envoy 1.40 | Weir | why |\n|---|---|---|---|\n").expect("a table");
    let rows = table.lines().map_while(|line| line.strip_prefix("| ")?.split(" | ").next());
    let titles: Vec<&str> = rows.collect();
    let shown: Vec<&str> = rows::rows().iter().map(|row| row.title).collect();
    assert_eq!(shown, titles);
}

/// Who asks without any knowledge of the routing.
fn plainly(to: SocketAddr) -> Asked<'static> {
    Asked { from: None, to, http: Http::One, joined: false, drawn: &[] }
}

fn text(address: [u8; 4]) -> String {
    std::net::Ipv4Addr::from(address).to_string()
}

/// Both, with the same routings before the same servers.
async fn both(program: &Path, drawn: &[Drawn]) -> (Envoy, World) {
    let upstreams = upstreams().await;
    let known = text(KNOWN);
    let envoy = Envoy::with(program, |_| bootstrap::written(drawn, &upstreams, &known));
    let (yaml, rules) = dialects::written(drawn, &upstreams, &known);
    (envoy, World::with_rules(&yaml, &[("drawn.yaml", &rules)]).await)
}

/// A server for each version.
async fn upstreams() -> Vec<SocketAddr> {
    let mut upstreams = Vec::new();
    for version in VERSIONS {
        let telling = Upstream::handling(move |request| async move { told(version, request.into_parts().0) });
        upstreams.push(telling.await.addr());
    }
    upstreams
}

/// Tells what it is and what it saw.
fn told(version: &str, head: http::request::Parts) -> Response<common::world::upstream::BoxBody> {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let authority = head.uri.authority().map(http::uri::Authority::as_str);
    let host = authority.or_else(|| field("host")).unwrap_or_default();
    let target = head.uri.path_and_query().map_or("", |target| target.as_str());
    let mut answer =
        Response::builder().header("x-upstream", version).header("x-saw", format!("{target} of {host}"));
    if let Some(route) = field("x-route") {
        answer = answer.header("x-route", route);
    }
    let kind = field("content-type").unwrap_or_default();
    if kind == "application/grpc" || kind.starts_with("application/grpc+") {
        answer = answer.header(header::CONTENT_TYPE, kind).header("grpc-status", "0");
    }
    answer.body(empty()).expect("an answer")
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
    /// Calls by each way that they ended.
    calls: BTreeMap<String, usize>,
    /// Those that a GRPCRoute took.
    by_calls: usize,
    /// By how plain requests are routed.
    dialects: BTreeMap<&'static str, usize>,
}

impl Kinds {
    fn count(&mut self, told: &str, request: &Request, drawn: &Drawn) {
        match &told[..3] {
            "200" if told.contains("upstream \"\"") => self.answered += 1,
            "200" => self.forwarded += 1,
            "404" => self.none += 1,
            status if status.starts_with('3') => self.redirected += 1,
            _ => self.answered += 1,
        }
        self.split += usize::from(told.contains("one of several"));
        let route = told.split('"').nth(1).unwrap_or_default();
        self.elsewhere += usize::from(!route.is_empty() && !drawn.says(route));
        if request.is_call() {
            let status = told.split(" route").next().unwrap_or_default();
            *self.calls.entry(status.to_owned()).or_default() += 1;
            let place = route.split('/').nth(1).and_then(|place| place.parse::<usize>().ok());
            let rule = place.filter(|_| drawn.says(route)).and_then(|place| drawn.rules.get(place));
            self.by_calls += usize::from(rule.is_some_and(|rule| rule.calls));
        }
        if told.starts_with("200") && !told.contains("upstream \"\"") {
            let dialect = match drawn.dialect {
                Dialect::RouteRule => "RouteRule",
                Dialect::VirtualService => "VirtualService",
                Dialect::Gateway => "HTTPRoute",
            };
            *self.dialects.entry(dialect).or_default() += 1;
        }
    }

    fn are_all_there(&self) -> bool {
        let Kinds { forwarded, split, redirected, answered, none, elsewhere, calls, by_calls, dialects } =
            self;
        let all = [forwarded, split, redirected, answered, none, elsewhere, by_calls];
        // Served, refused, without a route, redirected.
        let ended = ["200 grpc 0", "200 grpc 14", "200 grpc 12", "200 grpc 2"];
        all.iter().all(|count| **count >= 100)
            && ended.iter().all(|ended| calls.get(*ended).is_some_and(|count| *count >= 10))
            && dialects.len() == 3
            && dialects.values().all(|count| *count >= 500)
    }
}
