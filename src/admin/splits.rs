//! `/splits`: per rule and version its weight, its endpoints, and what became of its requests, since the start and over
//! the last minute.
//! `/splits.csv` is the same as a table.
//!
//! Law: figures come from the series that are scraped, so the page and Prometheus agree. A version keeps its minute
//! over reloads for as long as its rule names it. What is well and what is not is said here, and shown elsewhere. A rule
//! is told when those before it have gone out: thousands of them take no more memory than one.

mod csv;
mod endpoints;
mod order;
mod states;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use regex::Regex;
use serde::Serialize;

use super::Admin;
use super::reply::{CSV, JSON, Query, Reply, filter, in_rooms};
use order::Sort;
use states::{Counted, States};

use crate::proxy::plane::{ClusterPlane, Plane, RoutePlane, SplitPlace};
use crate::snapshot::Labels;
use crate::telemetry::history::{Point, STEP};
use crate::telemetry::{Figures, Recorder, UNKNOWN, VersionMeter, VersionStats};

/// A tick stands for one second.
const SECOND: Duration = Duration::from_secs(1);
/// Ticks that are made up for after a pause; the minute holds no more.
const MAX_TICKS: u64 = 61;
/// The route where no rule applies.
const DEFAULT_ROUTE: &str = "default-route";
/// Minutes that may be asked for.
const MAX_MINUTES: usize = 5;

/// Service, rule and version.
type Key = (Arc<str>, Arc<str>, Arc<str>);

/// The figures of every version that the present plane splits to.
#[derive(Debug)]
pub struct SplitStats {
    recorder: Recorder,
    versions: HashMap<Key, VersionStats>,
    /// Up to when they are read.
    ticked: Instant,
    /// Which second that was, of a count that all versions share.
    second: u64,
}

impl SplitStats {
    /// No version yet.
    pub fn new(recorder: Recorder, now: Instant) -> SplitStats {
        SplitStats { recorder, versions: HashMap::new(), ticked: now, second: 0 }
    }

    /// Takes over what a new plane declares: versions that were there keep their minute, others begin one.
    pub fn adopt(&mut self, declared: &[VersionMeter]) {
        let mut before = std::mem::take(&mut self.versions);
        for labels in declared.iter().map(VersionMeter::labels).filter(|labels| labels.reports_source) {
            let key = (labels.service.clone(), labels.rule.clone(), labels.version.clone());
            if !self.versions.contains_key(&key) {
                let begun = || VersionStats::new(&self.recorder, labels, self.second);
                let stats = before.remove(&key).unwrap_or_else(begun);
                self.versions.insert(key, stats);
            }
        }
    }

    /// Moves the minute on to `now`. Once a second; a pause is made up for.
    pub fn tick(&mut self, now: Instant) {
        // Half a second early is the tick of that second: the clock that calls may be a bit ahead.
        let passed = now.saturating_duration_since(self.ticked) + SECOND / 2;
        let seconds = passed.as_secs();
        self.ticked += Duration::from_secs(seconds);
        self.second += seconds;
        let made_up = self.second - seconds.min(MAX_TICKS);
        for stats in self.versions.values_mut() {
            (made_up + 1..=self.second).for_each(|second| stats.tick(second));
        }
    }

    /// Since the start, `uptime` ago, and of the last minute.
    fn figures(&self, key: &Key, uptime: Duration) -> Option<(Figures, Figures)> {
        self.versions.get(key).map(|stats| (stats.since_start(uptime), stats.last_minute()))
    }

    /// Of the last minute.
    fn minute(&self, key: &Key) -> Option<Figures> {
        self.versions.get(key).map(VersionStats::last_minute)
    }

    /// Step by step.
    fn steps(&self, key: &Key, minutes: usize) -> Vec<Point> {
        let steps = |stats: &VersionStats| stats.steps(self.second, minutes as u64 * 60);
        self.versions.get(key).map(steps).unwrap_or_default()
    }
}

#[derive(Serialize)]
struct SplitRow {
    service: Arc<str>,
    /// `null` where no rule applies: all versions share.
    rule: Option<Arc<str>>,
    versions: Vec<VersionRow>,
}

#[derive(Serialize)]
struct VersionRow {
    version: Arc<str>,
    /// Where it is not the rule's.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<Arc<str>>,
    labels: Labels,
    /// `null` where the rule gives the version none of its own.
    weight: Option<u32>,
    endpoints: endpoints::Row,
    states: States,
    start: FiguresRow,
    minute: FiguresRow,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<StepsRow>,
}

/// What `?minutes=` asks for; oldest first.
#[derive(Serialize)]
struct StepsRow {
    /// How long a step is.
    seconds: u64,
    requests: Vec<u32>,
    client_errors: Vec<u32>,
    server_errors: Vec<u32>,
}

/// Shares and rates go from 0 to 1; what cannot be said without requests is `null`.
#[derive(Default, Serialize)]
struct FiguresRow {
    requests: u64,
    share: Option<f64>,
    success_rate: Option<f64>,
    client_error_rate: Option<f64>,
    client_errors: u64,
    server_errors: u64,
    cancelled: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qps: Option<f64>,
}

/// What of it is asked for.
#[derive(Default)]
struct Asked {
    minutes: Option<usize>,
    limit: Option<usize>,
    filter: Option<Regex>,
    sort: Sort,
}

impl Asked {
    fn of(query: &Query) -> Result<Asked, String> {
        let number = |name, most: usize| {
            let read = |text: &str| text.parse().ok().filter(|number| (1..=most).contains(number));
            let wrong = |text| format!("`{name}` is a number from 1 to {most}, not `{text}`\n");
            query.get(name).map(|text| read(text).ok_or_else(|| wrong(text))).transpose()
        };
        Ok(Asked {
            minutes: number("minutes", MAX_MINUTES)?,
            limit: number("limit", u32::MAX as usize)?,
            filter: query.get("filter").map(filter).transpose()?,
            sort: query.get("sort").map(Sort::of).transpose()?.unwrap_or_default(),
        })
    }

    fn wants(&self, route: &RoutePlane) -> bool {
        let matches =
            |filter: &Regex| filter.is_match(&format!("{} {}", route.service.host, route.route.name));
        self.filter.as_ref().is_none_or(matches)
    }
}

/// See the module.
pub(super) fn splits(admin: &Admin, query: &Query) -> Reply {
    match Asked::of(query) {
        Ok(asked) => {
            // Those who draw it ask often, and need no layout.
            let layout = if asked.minutes.is_some() { &COMPACT } else { &LAID_OUT };
            Reply::in_pieces(JSON, in_rooms(View::new(admin, &asked).json(layout)))
        }
        Err(reason) => Reply::refusal(reason),
    }
}

/// The same as a table: a row a version.
pub(super) fn table(admin: &Admin, query: &Query) -> Reply {
    match Asked::of(query) {
        Ok(asked) => {
            let view = View::new(admin, &Asked { minutes: None, ..asked });
            let generation = view.generation;
            let rows = view.rows.map(move |split| csv::lines(generation, &split));
            Reply::in_pieces(CSV, in_rooms(std::iter::once(csv::heading()).chain(rows)))
        }
        Err(reason) => Reply::refusal(reason),
    }
}

/// What is told of the rules that are asked for.
struct View {
    generation: u64,
    /// Each made when it is its turn.
    rows: Box<dyn Iterator<Item = SplitRow>>,
    /// Rules beyond `limit`.
    left_out: Option<usize>,
}

impl View {
    fn new(admin: &Admin, asked: &Asked) -> View {
        let Some(plane) = admin.plane.load_full() else {
            return View { generation: 0, rows: Box::new(std::iter::empty()), left_out: None };
        };
        let mut wanted: Vec<_> = plane.splits().filter(|(_, route)| asked.wants(route)).collect();
        // Before any is left out: the one that matters is not.
        order::sort(&mut wanted, asked.sort, &plane, &admin.stats.borrow());
        let left_out = asked.limit.map(|limit| wanted.len().saturating_sub(limit));
        wanted.truncate(asked.limit.unwrap_or(usize::MAX));
        let shown: Vec<SplitPlace> = wanted.into_iter().map(|(place, _)| place).collect();
        let (generation, minutes) = (plane.generation, asked.minutes);
        let (stats, uptime) = (admin.stats.clone(), admin.start.elapsed());
        let rows = shown.into_iter().filter_map(move |place| {
            let route = plane.split_at(place)?;
            Some(split_row(route, &plane, &stats.borrow(), uptime, minutes))
        });
        View { generation, rows: Box::new(rows), left_out }
    }

    /// `{"generation": 1, "splits": [{…}, {…}], "left_out": 7}`, the last where there is a `limit`.
    fn json(self, layout: &'static Layout) -> impl Iterator<Item = String> {
        let Layout { key, colon, item, end, end_of_list, .. } = layout;
        let mut before = "";
        let mut rows = self
            .rows
            .map(move |row| format!("{}{item}{}", std::mem::replace(&mut before, ","), layout.item(&row)));
        let start = format!("{{{key}\"generation\"{colon}{},{key}\"splits\"{colon}[", self.generation);
        let left_out = self.left_out.map(|rules| format!(",{key}\"left_out\"{colon}{rules}"));
        let first = rows.next();
        let end_of_list = if first.is_some() { end_of_list } else { "]" };
        let end = format!("{end_of_list}{}{end}", left_out.unwrap_or_default());
        std::iter::once(start).chain(first).chain(rows).chain([end])
    }
}

/// How a list of JSON in an object is laid out, as `serde_json` does it with a whole value.
struct Layout {
    /// Before each key.
    key: &'static str,
    /// Behind it.
    colon: &'static str,
    /// Before each item of the list.
    item: &'static str,
    end_of_list: &'static str,
    end: &'static str,
    write: fn(&SplitRow) -> serde_json::Result<String>,
}

/// For people.
static LAID_OUT: Layout = Layout {
    key: "\n  ",
    colon: ": ",
    item: "\n    ",
    end_of_list: "\n  ]",
    end: "\n}\n",
    write: serde_json::to_string_pretty,
};

/// For programs.
static COMPACT: Layout =
    Layout { key: "", colon: ":", item: "", end_of_list: "]", end: "}", write: serde_json::to_string };

impl Layout {
    /// As it stands in the list.
    fn item(&self, row: &SplitRow) -> String {
        // Its keys are texts and its numbers are numbers: it cannot fail.
        let text = (self.write)(row).unwrap_or_default();
        // A line ends between values alone: in a text it is `\n`.
        if self.item.is_empty() { text } else { text.replace('\n', self.item) }
    }
}

fn split_row(
    route: &RoutePlane,
    plane: &Plane,
    stats: &SplitStats,
    uptime: Duration,
    minutes: Option<usize>,
) -> SplitRow {
    let (service, rule) = (&route.service.host, &route.route.name);
    let (mut versions, mut counted) = (Vec::new(), Vec::new());
    for Version { name, service: of, labels, weight } in versions_of(route, &plane.clusters) {
        let key = (of.clone(), rule.clone(), name.clone());
        let figures = stats.figures(&key, uptime);
        counted.push(figures.as_ref().map(|(_, minute)| Counted::from(minute)).unwrap_or_default());
        let (start, minute) =
            figures.map(|(start, minute)| (row(&start, false), row(&minute, true))).unwrap_or_default();
        let steps = minutes.map(|minutes| steps(&stats.steps(&key, minutes)));
        let endpoints = endpoints::of(route, &of, &name, &plane.clusters);
        let of = (of != *service).then_some(of);
        versions.push(VersionRow {
            version: name,
            service: of,
            labels,
            weight,
            endpoints,
            states: States::default(),
            start,
            minute,
            steps,
        });
    }
    let judged: Vec<_> = counted
        .into_iter()
        .zip(&versions)
        .map(|(counted, version)| (counted, version.endpoints.state()))
        .collect();
    let judged = states::of_rule(&judged);
    versions.iter_mut().zip(judged).for_each(|(version, states)| version.states = states);
    share_out(&mut versions, |version| &mut version.start);
    share_out(&mut versions, |version| &mut version.minute);
    let rule = (**rule != *DEFAULT_ROUTE).then(|| rule.clone());
    SplitRow { service: service.clone(), rule, versions }
}

fn share_out(versions: &mut [VersionRow], of: impl Fn(&mut VersionRow) -> &mut FiguresRow) {
    let total: u64 = versions.iter_mut().map(|version| of(version).requests).sum();
    for version in versions.iter_mut().filter(|_| total > 0) {
        let row = of(version);
        row.share = Some(row.requests as f64 / total as f64);
    }
}

fn steps(points: &[Point]) -> StepsRow {
    StepsRow {
        seconds: STEP,
        requests: points.iter().map(|point| point.requests).collect(),
        client_errors: points.iter().map(|point| point.client_errors).collect(),
        server_errors: points.iter().map(|point| point.server_errors).collect(),
    }
}

fn row(figures: &Figures, with_qps: bool) -> FiguresRow {
    // Microseconds: what stands behind them is a bucket's interpolation.
    let ms = |value: Option<f64>| value.map(|ms| (ms * 1e3).round() / 1e3);
    FiguresRow {
        requests: figures.requests,
        share: None,
        success_rate: figures.success_rate,
        client_error_rate: figures.client_error_rate,
        client_errors: figures.client_errors,
        server_errors: figures.server_errors,
        cancelled: figures.cancelled,
        p50_ms: ms(figures.p50_ms),
        p95_ms: ms(figures.p95_ms),
        p99_ms: ms(figures.p99_ms),
        qps: with_qps.then_some(figures.per_second),
    }
}

/// A version under one rule.
#[derive(Debug, PartialEq)]
struct Version {
    name: Arc<str>,
    service: Arc<str>,
    labels: Labels,
    weight: Option<u32>,
}

/// The versions of a rule, in its order, each once: figures are by version, whatever else an entry selects.
fn versions_of(route: &RoutePlane, clusters: &[Arc<ClusterPlane>]) -> Vec<Version> {
    let mut versions: Vec<Version> = Vec::new();
    for (target, plane) in route.route.versions().iter().zip(&route.targets) {
        let service = &plane.service.host;
        if let Some(name) = &target.version {
            let (labels, weight) = (target.labels.clone(), Some(target.weight));
            add(&mut versions, Version { name: name.clone(), service: service.clone(), labels, weight });
            continue;
        }
        let members = plane.clusters.iter().flatten().flat_map(|&cluster| &clusters[cluster].state.members);
        let names: BTreeSet<&Arc<str>> = members.map(|member| &member.version).collect();
        // An entry that names no version shares its weight among those of its endpoints.
        let weight = (names.len() == 1 && !target.labels.is_empty()).then_some(target.weight);
        for name in names {
            let version = (**name != *UNKNOWN).then(|| ("version".into(), name.clone()));
            let labels = copied(target.labels.iter()).chain(version).collect();
            add(&mut versions, Version { name: name.clone(), service: service.clone(), labels, weight });
        }
    }
    versions
}

fn add(versions: &mut Vec<Version>, new: Version) {
    let is_it = |known: &&mut Version| known.name == new.name && known.service == new.service;
    match versions.iter_mut().find(is_it) {
        Some(known) => {
            known.weight = known.weight.zip(new.weight).map(|(known, new)| known + new);
            let alike = known.labels.iter().filter(|&(name, value)| new.labels.get(name) == Some(value));
            known.labels = copied(alike).collect();
        }
        None => versions.push(new),
    }
}

fn copied<'l>(
    labels: impl Iterator<Item = (&'l Arc<str>, &'l Arc<str>)>,
) -> impl Iterator<Item = (Arc<str>, Arc<str>)> {
    labels.map(|(name, value)| (name.clone(), value.clone()))
}
