//! What stands behind a route, at the real Envoy and at Weir: faults, CORS, redirects, direct responses, rewrites, edits,
//! timeouts, retries, copies, upgrades, and the answers that a proxy gives itself.
//!
//! Law: the same request gets the same answer, leaves the same line in the log and comes to the upstreams as the same
//! requests, or `differential_policies/differences.md` says what each does and why.
//! `WEIR_UPDATE_DIFFERENCES=1` prints the rows as they would have to be.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod parts;
    pub(crate) mod wire;
    pub(crate) mod world;
}
#[path = "differential_policies/asked.rs"]
mod asked;
#[path = "differential_policies/behind.rs"]
mod behind;
#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential_policies/scene.rs"]
mod scene;
#[path = "differential_policies/scenes.rs"]
mod scenes;
#[path = "differential_policies/sides.rs"]
mod sides;
#[path = "differential_policies/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::parts::part;
use common::wire::caller::{Caller, Delivery};
use common::world::client::Client;
use common::world::{Http, run, until};
use differences::Difference;
use scene::{Ask, Scene};
use sides::{Limits, Side};

#[test]
fn a_route_that_answers_itself_answers_as_envoys() {
    compare("Answers of routes", scenes::answers(), Limits::default(), 60);
}

#[test]
fn what_goes_up_and_comes_down_is_edited_as_by_envoy() {
    compare("Edits and rewrites", scenes::edits(), Limits::default(), 60);
}

#[test]
fn origins_are_let_in_as_by_envoy() {
    compare("CORS", scenes::cors(), Limits::default(), 60);
}

#[test]
fn faults_are_injected_as_by_envoy() {
    compare("Faults", scenes::faults(), Limits::default(), 40);
}

#[test]
fn what_fails_is_tried_again_and_told_as_by_envoy() {
    compare("Retries and timeouts", scenes::attempts(), Limits::default(), 100);
}

#[test]
fn an_internal_caller_asks_for_retries_as_of_envoy() {
    let limits = Limits { internal: true, ..Limits::default() };
    compare("Retries that a caller asks for", scenes::asked_for(), limits, 40);
}

#[test]
fn copies_and_upgrades_are_as_envoys() {
    compare("Copies and upgrades", scenes::beside(), Limits::default(), 30);
}

#[test]
fn what_stops_in_the_middle_is_ended_as_by_envoy() {
    let limits = Limits {
        stream_idle: Some(Duration::from_millis(400)),
        head: Some(Duration::from_millis(800)),
        ..Limits::default()
    };
    compare("Silence", scenes::silence(), limits, 8);
}

#[test]
fn a_head_that_does_not_end_is_408_as_by_envoy() {
    let Some(program) = part("envoy") else { return };
    let limits = Limits { head: Some(Duration::from_millis(300)), ..Limits::default() };
    let (of_envoy, of_weir) = run(async || {
        let scenes = scenes::shares();
        let envoy = Side::envoy(&program, &scenes, limits).await;
        let weir = Side::weir(&scenes, limits).await;
        tokio::join!(unfinished_head(envoy.addr), unfinished_head(weir.addr))
    });
    assert_eq!(of_envoy, "408 \"request header timeout\", close, Fin");
    assert_eq!(of_weir, of_envoy);
}

/// What becomes of it, in words.
async fn unfinished_head(to: SocketAddr) -> String {
    let mut caller = Caller::connect(None, to).await;
    caller.send(b"GET / HTTP/1.1\r\nhost: x\r\n", Delivery::AtOnce).await;
    let answer = caller.answer("GET").await.expect("an answer");
    let close = if answer.says_close() { ", close" } else { "" };
    let end = caller.end().await.expect("an end");
    format!("{} {:?}{close}, {end:?}", answer.status, String::from_utf8_lossy(&answer.body))
}

/// Each within five standard deviations of what it should be.
#[test]
fn the_shares_of_faults_and_copies_are_those_of_envoy() {
    let Some(program) = part("envoy") else { return };
    run(async || {
        let scenes = scenes::shares();
        let envoy = Side::envoy(&program, &scenes, Limits::default()).await;
        let weir = Side::weir(&scenes, Limits::default()).await;
        let both = tokio::join!(shares(&envoy, &scenes[0], "Envoy"), shares(&weir, &scenes[0], "Weir"));
        assert_eq!(both, ((), ()));
    });
}

/// 30 % are aborted, 20 % delayed, by draws of their own; of what goes on 12.5 % are copied.
async fn shares(side: &Side, scene: &Scene, who: &str) {
    const ALL: usize = 1_500;
    let probes: Vec<String> = (0..ALL).map(|number| format!("p{number}")).collect();
    let mut client = Client::connect(Http::One, side.addr).await;
    for probe in &probes {
        let mut request = common::world::client::get("/");
        let fields = request.headers_mut();
        fields.insert("host", scene.host(Http::One).parse().expect("a host"));
        fields.insert(behind::PROBE, probe.parse().expect("a value"));
        client.send(request).await;
    }
    let log = side.logged(&probes).await;
    let flags = |wanted: &str| {
        let flags = probes.iter().filter_map(|probe| log[probe][0].split(' ').nth(1));
        flags.filter(|flags| *flags == wanted).count()
    };
    let within = |what: &str, count: usize, share: f64| {
        let (expected, deviation) = (ALL as f64 * share, (ALL as f64 * share * (1.0 - share)).sqrt());
        let off = (count as f64 - expected).abs();
        assert!(off <= 5.0 * deviation, "{who}: {count} {what}, not {expected}");
    };
    within("only aborted", flags("FI"), 0.3 * 0.8);
    within("only delayed", flags("DI"), 0.2 * 0.7);
    within("both", flags("DI,FI"), 0.3 * 0.2);
    within("neither", flags("-"), 0.7 * 0.8);
    let copied = || probes.iter().filter(|probe| side.upstream(probe).contains("copy ")).count();
    // They come when they come; too many of them would be there by now.
    let expected = ALL as f64 * 0.7 * 0.125;
    until("copies", || (copied() as f64 >= expected - 5.0 * expected.sqrt()).then_some(())).await;
    within("copied", copied(), 0.7 * 0.125);
}

/// Sends every request of every scene to both, over HTTP/1.1 and HTTP/2 to upstreams of both. `least`: a table that loses
/// its rows shows no difference either.
fn compare(heading: &str, scenes: Vec<Scene>, limits: Limits, least: usize) {
    let tries: Vec<Try> = tries(&scenes);
    println!("{heading}: {} requests", tries.len());
    assert!(tries.len() >= least, "{heading}: {} requests, {least} at least", tries.len());
    let names: BTreeSet<String> = tries.iter().map(Try::name).collect();
    assert_eq!(names.len(), tries.len(), "two requests have one name");
    let Some(program) = part("envoy") else { return };
    let found = run(async || {
        let envoy = Side::envoy(&program, &scenes, limits).await;
        let weir = Side::weir(&scenes, limits).await;
        let (of_envoy, of_weir) = tokio::join!(outcomes(&envoy, &tries), outcomes(&weir, &tries));
        let told = |(envoy, weir): (&Outcome, &Outcome)| {
            differences::apart([
                ("", &envoy.answer, &weir.answer),
                ("log ", &envoy.log, &weir.log),
                ("upstream ", &envoy.upstream, &weir.upstream),
            ])
        };
        let both: Vec<_> = of_envoy.iter().zip(&of_weir).map(told).collect();
        differing(&tries, &both)
    });
    differences::check("differential_policies/differences.md", heading, &found);
}

/// A request of a scene, by one way.
struct Try<'a> {
    scene: &'a Scene,
    ask: &'a Ask,
    down: Http,
    up: Http,
    /// Its own name, without spaces.
    probe: String,
}

impl Try<'_> {
    fn name(&self) -> String {
        format!("{}: {} ({:?} to {:?})", self.scene.name, self.ask.name(), self.down, self.up)
    }
}

fn tries(scenes: &[Scene]) -> Vec<Try<'_>> {
    let mut tries = Vec::new();
    for (place, scene) in scenes.iter().enumerate() {
        for (number, ask) in scene.asks.iter().enumerate() {
            for (down, up) in ask.ways() {
                let probe = format!("{place}.{number}.{down:?}.{up:?}");
                tries.push(Try { scene, ask, down, up, probe });
            }
        }
    }
    tries
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
struct Outcome {
    answer: String,
    log: String,
    upstream: String,
}

/// One after the other: an upstream's connection that one request ends is no other's.
async fn outcomes(side: &Side, tries: &[Try<'_>]) -> Vec<Outcome> {
    let mut answers = Vec::new();
    for one in tries {
        answers.push(asked::asked(side.addr, &one.scene.host(one.up), one.ask, one.down, &one.probe).await);
        if one.ask.copies > 0 {
            side.copied(&one.probe, one.ask.copies).await;
        }
    }
    let probes: Vec<String> = tries.iter().map(|one| one.probe.clone()).collect();
    let log = side.logged(&probes).await;
    let outcome = |(one, answer): (&Try<'_>, String)| {
        // Each way has a host of its own.
        let told = |words: String| words.replace(&one.scene.host(one.up), "HOST");
        Outcome {
            answer: told(answer),
            log: log[&one.probe].join(" and "),
            upstream: told(side.upstream(&one.probe)),
        }
    };
    tries.iter().zip(answers).map(outcome).collect()
}

/// One row for each request, where all its ways differ in the same; else one for each way.
fn differing(tries: &[Try<'_>], both: &[Option<(String, String)>]) -> Vec<Difference> {
    let (mut rows, mut rest) = (Vec::new(), both);
    for ways in tries.chunk_by(|one, next| std::ptr::eq(one.ask, next.ask)) {
        let (of_ask, behind) = rest.split_at(ways.len());
        rest = behind;
        if of_ask.iter().all(|one| one == &of_ask[0]) {
            let name = format!("{}: {}", ways[0].scene.name, ways[0].ask.name());
            rows.extend(of_ask[0].iter().map(|(envoy, weir)| Difference::new(&name, envoy, weir)));
        } else {
            let differ = ways.iter().zip(of_ask).filter_map(|(one, both)| Some((one.name(), both.as_ref()?)));
            rows.extend(differ.map(|(name, (envoy, weir))| Difference::new(&name, envoy, weir)));
        }
    }
    rows
}
