//! What panels mean by their names, reckoned from the known traffic without PromQL.
//!
//! Law: a query that asks for something else than its panel's name says gives the same nonsense of known data as of Weir's;
//! here it gives another number than was counted by hand.

use std::collections::BTreeMap;

use super::compare::Wrong;
use super::traffic::Fact;
use super::world::{BROKEN, HOST};
use crate::common::prometheus::Labels;

/// Rates reach half a second beyond the first of some fifteen samples, and up to a second beyond the last one.
pub(crate) const OF_RATES: f64 = 0.12;
pub(crate) const OF_RATIOS: f64 = 0.02;
/// Seconds of the window that rates are taken over.
pub(crate) const WINDOW: f64 = 300.0;

/// What one query of a board shows.
#[derive(Clone, Debug)]
pub(crate) struct Meaning {
    pub(crate) board: &'static str,
    pub(crate) panel: String,
    /// Which of the queries of panels with that name.
    pub(crate) number: usize,
    pub(crate) shows: BTreeMap<Labels, [f64; 2]>,
}

type Of = fn(&Fact) -> Vec<(&'static str, String)>;
type Is = fn(&Fact) -> bool;

const NOTHING: Of = |_| Vec::new();
const VERSION: Of = |fact| vec![("version", fact.version().to_owned())];
const RULE_AND_VERSION: Of = |fact| vec![("rule", fact.rule()), ("version", fact.version().to_owned())];
const SERVICE: Of = |fact| vec![("namespace", "models".to_owned()), ("service", fact.host.to_owned())];
const ALL: Is = |_| true;
const SERVER: Is = |fact| fact.outcome() == "server_error";
const CLIENT: Is = |fact| fact.outcome() == "client_error";
/// A caller that left says nothing of its version.
const JUDGED: Is = |fact| fact.outcome() != "cancelled";
const NOT_FAILED: Is = |fact| JUDGED(fact) && !SERVER(fact);

fn around(value: f64, tolerance: f64) -> [f64; 2] {
    [value * (1.0 - tolerance), value * (1.0 + tolerance)]
}

fn labelled(labels: &[(&str, &str)]) -> Labels {
    labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// How many of `facts` are so, by labels.
fn counts(facts: &[&Fact], of: Of, is: Is) -> BTreeMap<Labels, f64> {
    let mut counts = BTreeMap::new();
    for fact in facts.iter().filter(|fact| is(fact)) {
        let labels = of(fact).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        *counts.entry(labels).or_default() += 1.0;
    }
    counts
}

/// The meanings of a board's panels.
struct Says {
    board: &'static str,
    all: Vec<Meaning>,
}

impl Says {
    fn put(&mut self, panel: &'static str, number: usize, shows: BTreeMap<Labels, [f64; 2]>) {
        assert!(!shows.is_empty(), "{panel}: nothing is known");
        self.all.push(Meaning { board: self.board, panel: panel.to_owned(), number, shows });
    }

    fn one(&mut self, panel: &'static str, number: usize, labels: &[(&str, &str)], value: f64) {
        self.put(panel, number, BTreeMap::from([(labelled(labels), around(value, OF_RATIOS))]));
    }

    /// So many a second.
    fn rates(&mut self, panel: &'static str, number: usize, facts: &[&Fact], of: Of, is: Is) {
        let counts = counts(facts, of, is).into_iter();
        self.put(
            panel,
            number,
            counts.map(|(labels, count)| (labels, around(count / WINDOW, OF_RATES))).collect(),
        );
    }

    /// That part of those that say something of their version.
    fn parts(&mut self, panel: &'static str, number: usize, facts: &[&Fact], of: Of, is: Is) {
        let (some, all) = (counts(facts, of, is), counts(facts, of, JUDGED));
        let part = |(labels, count): (Labels, f64)| {
            let whole = all[&labels];
            (labels, around(count / whole, OF_RATIOS))
        };
        self.put(panel, number, some.into_iter().map(part).collect());
    }
}

/// Every meaning that is known of `facts`.
pub(crate) fn meanings(facts: &[Fact]) -> Vec<Meaning> {
    let chosen =
        |fact: &&Fact| !matches!(fact.wish.rule, "aborted" | "nothing" | "garbage" | "heads" | "foreign");
    let everything: Vec<&Fact> = facts.iter().collect();
    let split: Vec<&Fact> = facts.iter().filter(chosen).collect();
    let ours: Vec<&Fact> = split.iter().copied().filter(|fact| fact.host == HOST).collect();
    [rollout(&ours), fleet(&split), sidecar(&everything)].into_iter().flatten().collect()
}

fn rollout(facts: &[&Fact]) -> Vec<Meaning> {
    let mut says = Says { board: "Weir Rollout", all: Vec::new() };
    says.rates("Requests", 0, facts, NOTHING, ALL);
    says.parts("Success", 0, facts, NOTHING, NOT_FAILED);
    says.one("Configurations", 0, &[], 2.0);
    says.one("Configurations in force", 0, &[], 1.0);
    says.one("Verdict on the files", 0, &[], 1.0);
    says.one("Proxies", 0, &[], 2.0);
    shares(&mut says, facts);
    says.rates("Versions", 2, facts, RULE_AND_VERSION, ALL);
    for (number, is) in [(3, NOT_FAILED), (4, SERVER), (5, CLIENT)] {
        says.parts("Versions", number, facts, RULE_AND_VERSION, is);
    }
    says.rates("Requests", 1, facts, VERSION, ALL);
    let by_protocol: Of =
        |fact| vec![("version", fact.version().to_owned()), ("protocol", fact.protocol().to_owned())];
    says.rates("Requests by protocol", 0, facts, by_protocol, ALL);
    says.rates("Choices of the split", 0, facts, VERSION, ALL);
    for (panel, is) in [("Success rate", NOT_FAILED), ("Server errors", SERVER), ("Client errors", CLIENT)] {
        says.parts(panel, 0, facts, VERSION, is);
    }
    let value: Of = |fact| vec![("value", fact.value().to_owned()), ("version", fact.version().to_owned())];
    says.rates("Requests by value", 0, facts, value, ALL);
    says.parts("Success by value", 0, facts, value, NOT_FAILED);
    says.parts("Client errors by value", 0, facts, value, CLIENT);
    let code: Of = |fact| {
        vec![
            ("destination_version", fact.version().to_owned()),
            ("response_code", fact.old_code().to_string()),
        ]
    };
    says.rates("Requests by code", 0, facts, code, ALL);
    let flags: Of = |fact| {
        vec![("destination_version", fact.version().to_owned()), ("response_flags", fact.flags().to_owned())]
    };
    says.rates("Requests by flag", 0, facts, flags, |fact| fact.flags() != "-");
    says.rates("Callers that left", 0, facts, VERSION, |fact| fact.status == 0);
    says.rates("Retries", 0, facts, VERSION, |fact| fact.attempts().len() == 2);
    says.rates("Retries", 1, facts, VERSION, |fact| fact.wish.act == Some("again"));
    let copies: Of = |_| vec![("version", "v5".to_owned()), ("result", "sent".to_owned())];
    says.rates("Copies", 0, facts, copies, |fact| fact.wish.rule == "mirrored");
    let hops: Vec<&Fact> = facts
        .iter()
        .copied()
        .filter(|fact| fact.hops())
        .flat_map(|fact| vec![fact; fact.attempts().len()])
        .collect();
    says.rates("Hops to other pods", 0, &hops, VERSION, ALL);
    let failed: Of = |_| vec![("version", "v4".to_owned()), ("reason", "connect".to_owned())];
    says.rates("Hops to other pods", 1, facts, failed, |fact| fact.wish.rule == "gone");
    says.all
}

/// What the rules give and what each version got.
fn shares(says: &mut Says, facts: &[&Fact]) {
    let weights = [
        ("canary", "v1", 0.8),
        ("canary", "v2", 0.2),
        ("retried", "v1", 0.5),
        ("retried", "v2", 0.5),
        ("mirrored", "v1", 0.5),
        ("mirrored", "v2", 0.5),
        ("lost", "v3", 1.0),
    ];
    let of = |(rule, version, weight): (&str, &str, f64)| {
        let rule = format!("{rule}.models");
        (labelled(&[("rule", &rule), ("version", version)]), around(weight, OF_RATIOS))
    };
    let mine = counts(facts, RULE_AND_VERSION, ALL);
    let all = counts(facts, |fact| vec![("rule", fact.rule())], ALL);
    let share = |(labels, count): (&Labels, &f64)| {
        let whole = all[&labelled(&[("rule", &labels["rule"])])];
        (labels.clone(), around(count / whole, OF_RATIOS))
    };
    for panel in ["Versions", "Weight and share"] {
        says.put(panel, 0, weights.map(of).into());
        says.put(panel, 1, mine.iter().map(share).collect());
    }
    says.put("Off the weight", 0, off(facts, RULE_AND_VERSION));
}

/// The weights of a fact's rule; where there is but one, it has all.
fn weight(fact: &Fact) -> f64 {
    match (fact.wish.rule, fact.version()) {
        ("canary", "v1") => 0.8,
        ("canary", _) => 0.2,
        ("retried" | "mirrored", _) => 0.5,
        _ => 1.0,
    }
}

/// Each version's share of its rule, less its weight. What has no weight (`undeclared`) is off by nothing.
fn off(facts: &[&Fact], of: Of) -> BTreeMap<Labels, [f64; 2]> {
    let (mine, all) = (counts(facts, of, ALL), counts(facts, |fact| vec![("rule", fact.rule())], ALL));
    let mut off = BTreeMap::new();
    for fact in facts.iter().filter(|fact| fact.wish.rule != "undeclared") {
        let labels: Labels = of(fact).into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let by = mine[&labels] / all[&labelled(&[("rule", &fact.rule())])] - weight(fact);
        off.insert(labels, [by - OF_RATIOS, by + OF_RATIOS]);
    }
    off
}

/// Whichever of a part's ends is farther from none.
fn either_way([least, most]: [f64; 2]) -> [f64; 2] {
    let nearest = if least <= 0.0 && most >= 0.0 { 0.0 } else { least.abs().min(most.abs()) };
    [nearest, least.abs().max(most.abs())]
}

fn fleet(facts: &[&Fact]) -> Vec<Meaning> {
    let mut says = Says { board: "Weir Fleet", all: Vec::new() };
    // `checked` is one, too.
    says.one("Services", 0, &[], 3.0);
    says.one("Proxies", 0, &[], 2.0);
    says.rates("Requests", 0, facts, NOTHING, ALL);
    says.rates("Server errors", 0, facts, NOTHING, SERVER);
    for (number, is) in [(1, SERVER), (2, CLIENT), (3, NOT_FAILED)] {
        says.parts("Services", number, facts, SERVICE, is);
    }
    says.rates("Services", 4, facts, SERVICE, ALL);
    says.one("Services", 7, &[("namespace", "models"), ("service", HOST)], 4.0);
    let each: Of = |fact| [SERVICE(fact), RULE_AND_VERSION(fact)].concat();
    says.parts("Versions", 0, facts, each, SERVER);
    says.parts("Versions", 1, facts, each, CLIENT);
    says.rates("Versions", 2, facts, each, ALL);
    let off: BTreeMap<_, _> =
        off(facts, each).into_iter().map(|(labels, off)| (labels, either_way(off))).collect();
    let mut most: BTreeMap<Labels, [f64; 2]> = BTreeMap::new();
    for (labels, [least, largest]) in &off {
        let service = labelled(&[("namespace", "models"), ("service", &labels["service"])]);
        let of = most.entry(service).or_default();
        *of = [of[0].max(*least), of[1].max(*largest)];
    }
    says.put("Services", 6, most);
    says.put("Versions", 4, off);
    let version: Of = |fact| [SERVICE(fact), VERSION(fact)].concat();
    says.parts("Server errors", 1, facts, version, SERVER);
    says.parts("Client errors", 0, facts, version, CLIENT);
    says.rates("Requests", 1, facts, version, ALL);
    // A MiB of 64 at most.
    let spent =
        ["pod-a", "pod-b"].map(|pod| (labelled(&[("namespace", "models"), ("pod", pod)]), [0.0, 1.0 / 64.0]));
    says.put("Proxies", 4, spent.into());
    says.all
}

fn sidecar(facts: &[&Fact]) -> Vec<Meaning> {
    let mut says = Says { board: "Weir Sidecar", all: Vec::new() };
    says.one("Configurations", 0, &[], 2.0);
    says.one("State", 0, &[], 0.0);
    says.one("Files", 0, &[], 1.0);
    says.one("In flight", 0, &[], 4.0);
    says.one("Workers", 0, &[], 2.0);
    let class: Of = |fact| {
        let class = (fact.status / 100).to_string();
        vec![
            ("envoy_http_conn_manager_prefix", fact.listener.to_owned()),
            ("envoy_response_code_class", class),
        ]
    };
    says.rates("Requests by class", 0, facts, class, |fact| fact.status > 0 && fact.listener != "delivery");
    let prefix: Of = |fact| vec![("envoy_http_conn_manager_prefix", fact.listener.to_owned())];
    let wrong: [Is; 5] = [
        |fact| fact.wish.rule == "nothing",
        |fact| fact.wish.rule == "undeclared",
        |fact| fact.status == 0 && fact.listener == "predict",
        |fact| fact.wish.rule == "cut",
        |fact| fact.wish.rule == "garbage",
    ];
    for (number, is) in wrong.into_iter().enumerate() {
        says.rates("What went wrong", number, facts, prefix, is);
    }
    let cluster: Of = |fact| vec![("envoy_cluster_name", format!("out.{BROKEN}|version={}", fact.version()))];
    let of_clusters: [(&str, usize, Is); 6] = [
        ("Connections that failed", 0, |fact| matches!(fact.wish.rule, "refused" | "deaf")),
        ("Connections that failed", 1, |fact| fact.wish.rule == "deaf"),
        ("Requests that failed", 2, |fact| fact.wish.rule == "late"),
        ("Requests that failed", 3, |fact| matches!(fact.wish.rule, "full" | "busy")),
        ("Retries", 2, |fact| fact.wish.rule == "twice"),
        ("Retries", 3, |fact| fact.wish.rule == "going"),
    ];
    for (panel, number, is) in of_clusters {
        says.rates(panel, number, facts, cluster, is);
    }
    let limit: Of = |fact| {
        let limit = match fact.wish.rule {
            "heads" => "head_count",
            "deaf" => "connect_timeout",
            "late" => "request_timeout",
            "full" => "max_pending_requests",
            "busy" => "max_requests",
            _ => "max_retries",
        };
        vec![("limit", limit.to_owned())]
    };
    let met: Is = |fact| matches!(fact.wish.rule, "heads" | "deaf" | "late" | "full" | "busy" | "twice");
    says.rates("Limits met", 0, facts, limit, met);
    for (number, version) in ["full", "full", "busy", "twice"].into_iter().enumerate() {
        let name = format!("out.{BROKEN}|version={version}");
        says.one("Breakers", number, &[("envoy_cluster_name", &name)], 1.0);
    }
    let thrown = format!("out.{BROKEN}|version=thrown");
    says.one("Outlier detection", 0, &[("envoy_cluster_name", &thrown)], 1.0);
    says.all
}

/// What is wrong with the answers to a board's queries, each with its panel, which `ask` gives.
pub(crate) fn wrong(
    meanings: &[Meaning],
    board: &str,
    queries: &[(String, String)],
    ask: impl Fn(&str) -> BTreeMap<Labels, f64>,
) -> Vec<Wrong> {
    let mut faults = Vec::new();
    for meaning in meanings.iter().filter(|meaning| meaning.board == board) {
        let mut of_panel = queries.iter().filter(|(panel, _)| *panel == meaning.panel);
        let found = of_panel.nth(meaning.number);
        let (panel, query) = found.unwrap_or_else(|| panic!("{board} has no panel {}", meaning.panel));
        // Where a proxy stands is nothing that its pod's name does not say.
        let mut answer = ask(query);
        if meaning.shows.keys().all(|labels| labels.contains_key("pod")) {
            let named = |(mut labels, value): (Labels, f64)| {
                labels.remove("instance");
                (labels, value)
            };
            answer = answer.into_iter().map(named).collect();
        }
        // Of the largest some are not shown: which of equals is nobody's to say.
        let some = query.starts_with("topk(");
        for (labels, [least, most]) in &meaning.shows {
            let value = answer.get(labels).copied();
            if some && value.is_none() {
                continue;
            }
            if !value.is_some_and(|value| (*least..=*most).contains(&value)) {
                let fault = format!("{labels:?}: {value:?} means {least} to {most}");
                let mut wrong = Wrong::new(board, panel, query, &fault);
                // Nobody is early.
                wrong.of_time &= value.is_some_and(|value| value > *most);
                faults.push(wrong);
            }
        }
        if some && !meaning.shows.keys().any(|labels| answer.contains_key(labels)) {
            faults.push(Wrong::new(board, panel, query, &format!("{answer:?} is nothing that is meant")));
        }
    }
    faults
}
