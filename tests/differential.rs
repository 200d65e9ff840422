//! The same bytes to the real Envoy and to Weir: every difference is known and explained.
//!
//! Law: `differential/differences.md` says for each probe that the two treat differently what each does and why. The
//! test fails for a difference that is not listed, and for one that is listed and no longer there.
//! `WEIR_UPDATE_DIFFERENCES=1` prints the rows as they would have to be.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod loopback;
    pub(crate) mod parts;
    pub(crate) mod weir;
    pub(crate) mod wire;
    pub(crate) mod world;
}
#[path = "differential/differences.rs"]
mod differences;
#[path = "differential/envoy.rs"]
mod envoy;
#[path = "differential/one.rs"]
mod one;
#[path = "differential/two.rs"]
mod two;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use common::parts::part;
use common::weir::{Pod, Weir};
use common::wire::caller::{Answer, Caller, Delivery, Ended};
use common::wire::recorder::{Got, Recorder};
use common::wire::{frames, shown};
use common::world::{run, split_rule, until};
use differences::{Difference, apart};
use envoy::{Envoy, access_log, bootstrap, cluster, speaks};
use futures_util::{StreamExt, stream};

/// Of both. Envoy writes a missing path as `-`, as Weir does.
const LOG_FORMAT: &str =
    "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %RESPONSE_FLAGS% %RESPONSE_CODE% %REQ(:PATH)%\\n";
const AGAIN: &str = "/again-on-the-same-connection";
const LAST: &str = "/the-last-request-of-all";
/// Probes at a time.
const BESIDE: usize = 8;

/// Fields that are compared by no test here, as they differ from request to request or tell who sent it.
const VOLATILE: [&str; 7] = [
    "x-request-id",                   // random
    "x-forwarded-for",                // Envoy writes the machine's own address for a caller on loopback
    "x-envoy-external-address",       // the caller's address, by which requests are told apart
    "x-envoy-expected-rq-timeout-ms", // Weir has no timeout unless one is set
    "x-weir-hop",                     // Weir's own
    "x-envoy-internal",               // whom Envoy takes for internal
    "content-length",                 // compared as the message's framing
];

/// What is sent on a connection of its own.
struct Probe {
    name: String,
    bytes: Vec<u8>,
    kind: Kind,
    /// A whole request with a fault of the connection right behind it: whether it went upstream before that ended it is
    /// chance, in Envoy and in Weir.
    races: bool,
}

enum Kind {
    /// With the methods of the requests that stand in it.
    One(Vec<&'static str>),
    /// Frames behind preface and SETTINGS.
    Two,
    /// HTTP/2 from its first byte on.
    TwoWhole,
}

/// What came of a probe.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    answer: String,
    flags: String,
    upstream: String,
}

#[test]
fn every_difference_to_envoy_on_http_1_is_listed_and_explained() {
    compare("HTTP/1", one::probes(), 150);
}

#[test]
fn every_difference_to_envoy_on_http_2_is_listed_and_explained() {
    compare("HTTP/2", two::probes(), 60);
}

/// `least`: a table that loses its rows shows no difference either.
fn compare(http: &str, probes: Vec<Probe>, least: usize) {
    println!("{http}: {} probes", probes.len());
    assert!(probes.len() >= least, "{http}: {} probes, {least} at least", probes.len());
    let names: BTreeSet<&str> = probes.iter().map(|probe| probe.name.as_str()).collect();
    assert_eq!(names.len(), probes.len(), "two probes have one name");
    let Some(program) = part("envoy") else { return };
    let found = run(async || {
        let (behind_envoy, behind_weir) = (Recorder::start().await, Recorder::start().await);
        let envoy = Envoy::with(&program, |log| configuration(behind_envoy.addr(), log));
        let (weir, log, _folder) = weir(behind_weir.addr());
        let of_envoy = outcomes(envoy.address, &behind_envoy, &envoy.log, &probes).await;
        let of_weir = outcomes(weir.pod.predict, &behind_weir, &log, &probes).await;
        let both = of_envoy.iter().zip(&of_weir).zip(&probes);
        both.filter_map(|((envoy, weir), probe)| difference(probe, envoy, weir)).collect::<Vec<_>>()
    });
    differences::check("differential/differences.md", http, &found);
}

/// What differs, and only that.
fn difference(probe: &Probe, envoy: &Outcome, weir: &Outcome) -> Option<Difference> {
    let upstream = (!probe.races).then_some(("upstream ", &envoy.upstream, &weir.upstream));
    let parts = [("", &envoy.answer, &weir.answer), ("flag ", &envoy.flags, &weir.flags)];
    let (envoy, weir) = apart(parts.into_iter().chain(upstream))?;
    Some(Difference::new(&probe.name, &envoy, &weir))
}

/// Envoy as near to Weir as it can be, before an upstream for HTTP/1. What is compared is what it does with the same
/// choices made, not what a default of its leaves open: paths are normalised, escaped slashes refused, HTTP/1.0, trailers
/// and unknown methods let through.
fn configuration(upstream: SocketAddr, log: &Path) -> String {
    let manager = "use_remote_address: true, normalize_path: true, merge_slashes: true, \
                   path_with_escaped_slashes_action: REJECT_REQUEST, delayed_close_timeout: 0.1s, \
                   http_protocol_options: {accept_http_10: true, default_host_for_http_10: x, \
                   enable_trailers: true, allow_custom_methods: true}, \
                   http2_protocol_options: {override_stream_error_on_invalid_http_message: true}";
    let route = "{match: {prefix: /}, route: {cluster: x, timeout: 0s}}";
    let up = speaks("http_protocol_options: {enable_trailers: true}");
    bootstrap(
        &format!("{manager}, {}", access_log(log, LOG_FORMAT)),
        &[],
        &format!("virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{route}]}}]"),
        &[cluster("x", Some(upstream), &up)],
    )
}

/// The real binary, before an upstream for HTTP/1.
fn weir(upstream: SocketAddr) -> (Weir, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("access.log");
    let pod = Pod::new();
    let config = format!(
        "workers: 1\nlisteners:\n- {{name: predict, address: '{}', service: x, use_remote_address: true}}\n\
         services:\n- name: x\n  protocol: http1\n  endpoints:\n  - {{address: '{upstream}', labels: {{version: v1}}}}\n\
         access_log: {{path: '{}', format: \"{LOG_FORMAT}\"}}\n",
        pod.predict,
        log.display()
    );
    (pod.start(&config, &split_rule(&[("v1", 100)])), log, folder)
}

/// The caller's address of a probe: all of 127/8 is loopback.
fn address(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 101, (number / 250) as u8, (number % 250 + 1) as u8).into()
}

async fn outcomes(to: SocketAddr, recorder: &Recorder, log: &Path, probes: &[Probe]) -> Vec<Outcome> {
    let numbered = stream::iter(probes.iter().enumerate());
    let answers: Vec<String> = numbered
        .map(async |(number, probe)| sent(probe, address(number), to).await)
        .buffered(BESIDE)
        .collect()
        .await;
    let got = recorder.settled().await;
    let flags = flags_of(to, log).await;
    let mut outcomes = Vec::new();
    // A request that was cut came to nobody, and how much of it went before the cut is chance.
    for (number, answer) in answers.into_iter().enumerate() {
        let from = address(number).to_string();
        let of_probe = got.iter().filter(|got| got.values("x-envoy-external-address") == [from.as_str()]);
        let mut requests: Vec<String> =
            of_probe.filter(|got| got.whole && got.target != AGAIN).map(told).collect();
        requests.sort();
        let upstream = if requests.is_empty() { "nothing".to_owned() } else { requests.join(" and ") };
        let flags = flags.get(&from).map_or_else(|| "not logged".to_owned(), |flags| flags.join(" "));
        outcomes.push(Outcome { answer, flags, upstream });
    }
    let known = |got: &Got| {
        got.values("x-envoy-external-address")
            .iter()
            .any(|from| (0..probes.len()).any(|number| address(number).to_string() == *from))
    };
    let strange: Vec<String> = got.iter().filter(|got| !known(got)).map(told).collect();
    assert!(strange.is_empty(), "requests upstream of {to} that belong to no probe: {strange:?}");
    outcomes
}

/// A request upstream, in words.
fn told(got: &Got) -> String {
    let mut fields: Vec<String> = got
        .fields
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .filter(|(name, _)| !VOLATILE.contains(&name.as_str()))
        // Both say so; it would stand in every row.
        .filter(|(name, value)| name != "x-forwarded-proto" || value.as_str() != "http")
        .map(|(name, value)| format!("{name}: {}", shown(value.as_bytes())))
        .collect();
    fields.sort();
    let mut text = format!(
        "{} {} of {:?} {{{}}}",
        got.method,
        shown(got.target.as_bytes()),
        got.authority,
        fields.join(", ")
    );
    if let Some((name, value)) = &got.framing {
        text += &format!(" {name}: {value} {:?}", shown(&got.body));
    }
    for (name, value) in &got.trailers {
        text += &format!(" trailer {name}: {value}");
    }
    if let Some(fault) = &got.fault {
        text += &format!(" ({fault})");
    }
    text
}

/// Sends a probe, and tells in words what came back.
async fn sent(probe: &Probe, from: IpAddr, to: SocketAddr) -> String {
    match &probe.kind {
        Kind::One(methods) => one_sent(&probe.bytes, methods, from, to).await,
        Kind::Two => frames::Caller::connect(Some(from), to).await.ask(&probe.bytes).await,
        Kind::TwoWhole => frames::Caller::connect(Some(from), to).await.ask_raw(&probe.bytes).await,
    }
}

async fn one_sent(bytes: &[u8], methods: &[&str], from: IpAddr, to: SocketAddr) -> String {
    let mut caller = Caller::connect(Some(from), to).await;
    caller.send(bytes, Delivery::AtOnce).await;
    let mut words = Vec::new();
    for method in methods {
        match caller.answer(method).await {
            Ok(answer) => {
                words.push(in_words(&answer));
                if answer.says_close() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    let again = format!("GET {AGAIN} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    caller.send(again.as_bytes(), Delivery::AtOnce).await;
    let kept =
        words.len() == methods.len() && caller.answer("GET").await.is_ok_and(|answer| answer.status == 200);
    if kept {
        words.push("kept".into());
        return words.join(", ");
    }
    words.push(match caller.rest().await {
        (_, Some(Ended::Fin | Ended::Reset)) => "closed".into(),
        (_, None) => "open, and nothing in time".into(),
    });
    words.join(", ")
}

fn in_words(answer: &Answer) -> String {
    let interims: String = answer.interims.iter().map(|status| format!("{status} ")).collect();
    format!("{interims}{}", answer.status)
}

/// The flags of each caller's requests, sorted, but for those of the connection's last.
async fn flags_of(to: SocketAddr, log: &Path) -> BTreeMap<String, Vec<String>> {
    let mut caller = Caller::connect(None, to).await;
    caller.send(format!("GET {LAST} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes(), Delivery::AtOnce).await;
    caller.answer("GET").await.expect("the last answer of all");
    let text = until(&format!("the last line of {}", log.display()), || {
        fs::read_to_string(log).ok().filter(|text| text.contains(LAST))
    })
    .await;
    let mut flags: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines() {
        if let [from, flag, _, path] = line.splitn(4, ' ').collect::<Vec<_>>()[..]
            && path != AGAIN
        {
            flags.entry(from.to_owned()).or_default().push(flag.to_owned());
        }
    }
    flags.values_mut().for_each(|flags| flags.sort());
    flags
}
