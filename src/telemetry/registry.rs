//! Which series exist: families by name, series by labels, and how long one stays after its last handle.
//!
//! Law: the same name and labels are the same series; a series without handles keeps its value for
//! [`IDLE`], then leaves and its cells are used again; one that is withdrawn leaves at once. Behind one lock, never
//! taken on a request's path.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::family::{Family, Kind, Labels};
use super::shard::{Arena, Span};

/// How long a series outlives its last handle: a dashboard still sees what a version did after it has gone.
pub(super) const IDLE: Duration = Duration::from_secs(15 * 60);

/// One series: its labels, its cells and, for a histogram, its bounds.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) bounds: &'static [f64],
    pub(super) span: Span,
}

/// What is asked of a family; the typed families are `'static`, those of the facade are not.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    pub(super) kind: Kind,
    pub(super) bounds: &'static [f64],
    pub(super) envoy: bool,
    /// Its other name.
    pub(super) also: Option<&'static Family>,
}

impl From<&'static Family> for Declared {
    fn from(family: &'static Family) -> Declared {
        Declared {
            name: family.name.into(),
            help: family.help.into(),
            kind: family.kind,
            bounds: family.buckets.unwrap_or_default(),
            envoy: family.envoy,
            also: family.also,
        }
    }
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// When it was first seen without a handle.
    idle_since: Option<Instant>,
    /// Taken up through the facade, whose callers may come back without a handle.
    pinned: bool,
}

#[derive(Debug)]
struct Members {
    declared: Declared,
    series: BTreeMap<Labels, Entry>,
    /// What each counter held when somebody asked for a reset: bits, as the cell's. Only of those that held something.
    reset: Option<Arc<HashMap<Labels, u64>>>,
}

/// A family with its series, for the exposition to read outside the lock.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) declared: Declared,
    pub(super) series: Vec<Arc<Series>>,
    pub(super) reset: Option<Arc<HashMap<Labels, u64>>>,
}

/// All families.
#[derive(Debug)]
pub(super) struct Registry {
    arena: Arena,
    families: BTreeMap<Cow<'static, str>, Members>,
    /// Help texts that the facade described before it registered anything.
    described: BTreeMap<String, String>,
    /// On no page any more, but still held, by a page that is being sent or by an old configuration.
    withdrawn: Vec<Arc<Series>>,
}

impl Registry {
    pub(super) fn new(workers: usize) -> Registry {
        Registry {
            arena: Arena::new(workers),
            families: BTreeMap::new(),
            described: BTreeMap::new(),
            withdrawn: Vec::new(),
        }
    }

    /// The series of these labels, made at zero when there is none; `None` when the name is another kind's. The buckets
    /// are those of whoever named the family first.
    pub(super) fn take_up(
        &mut self,
        declared: Declared,
        labels: Labels,
        pinned: bool,
    ) -> Option<Arc<Series>> {
        let members = self.families.entry(declared.name.clone()).or_insert_with(|| Members {
            declared: declared.clone(),
            series: BTreeMap::new(),
            reset: None,
        });
        if members.declared.kind != declared.kind {
            return None;
        }
        let (kind, bounds) = (members.declared.kind, members.declared.bounds);
        let arena = &mut self.arena;
        let entry = members.series.entry(labels).or_insert_with_key(|labels| {
            let series = Series { labels: labels.clone(), bounds, span: span_of(arena, kind, bounds) };
            Entry { series: Arc::new(series), idle_since: None, pinned: false }
        });
        entry.idle_since = None;
        entry.pinned |= pinned;
        Some(Arc::clone(&entry.series))
    }

    /// A series that no family lists, for a name that is taken by another kind.
    pub(super) fn unlisted(&mut self, declared: &Declared, labels: Labels) -> Arc<Series> {
        let span = span_of(&mut self.arena, declared.kind, declared.bounds);
        Arc::new(Series { labels, bounds: declared.bounds, span })
    }

    /// Remembers a help text of the facade.
    pub(super) fn describe(&mut self, name: String, help: String) {
        if let Some(members) = self.families.get_mut(name.as_str()) {
            members.declared.help = help.clone().into();
        }
        self.described.insert(name, help);
    }

    /// The help text that the facade gave for `name`.
    pub(super) fn description(&self, name: &str) -> Option<&str> {
        self.described.get(name).map(String::as_str)
    }

    /// Takes a series off the pages, whoever else still holds it. Whoever takes up its labels again begins at zero.
    pub(super) fn withdraw(&mut self, name: &str, series: Arc<Series>) {
        if let Some(members) = self.families.get_mut(name) {
            let listed = members.series.get(&series.labels);
            if listed.is_some_and(|entry| Arc::ptr_eq(&entry.series, &series)) {
                members.series.remove(&series.labels);
            }
        }
        self.reclaim(series);
    }

    fn reclaim(&mut self, series: Arc<Series>) {
        match Arc::try_unwrap(series) {
            Ok(series) => self.arena.give_back(series.span),
            Err(held) => self.withdrawn.push(held),
        }
    }

    /// Lets go of the series that have had no handle for [`IDLE`]; families stay known by name.
    pub(super) fn expire(&mut self, now: Instant) {
        for series in std::mem::take(&mut self.withdrawn) {
            self.reclaim(series);
        }
        let arena = &mut self.arena;
        for members in self.families.values_mut() {
            for entry in members.series.values_mut() {
                // `get_mut` also orders the last writes of a dropped handle before our clearing.
                let idle = !entry.pinned && Arc::get_mut(&mut entry.series).is_some();
                entry.idle_since = if idle { entry.idle_since.or(Some(now)) } else { None };
            }
            let gone = members
                .series
                .extract_if(.., |_, entry| entry.idle_since.is_some_and(|since| now >= since + IDLE));
            for (labels, entry) in gone {
                if let Some(reset) = &mut members.reset
                    && reset.contains_key(&labels)
                {
                    Arc::make_mut(reset).remove(&labels);
                }
                if let Ok(series) = Arc::try_unwrap(entry.series) {
                    arena.give_back(series.span);
                }
            }
        }
    }

    /// Notes what every counter holds now, for the pages that count from here.
    pub(super) fn reset_counters(&mut self) {
        for members in self.families.values_mut() {
            let held = |span: &Span| match members.declared.kind {
                Kind::Counter => span.sum(0),
                Kind::RealCounter => span.sum_f64(0).to_bits(),
                Kind::Gauge | Kind::Histogram => 0,
            };
            let held = members.series.iter().map(|(labels, entry)| (labels, held(&entry.series.span)));
            let held: HashMap<Labels, u64> =
                held.filter(|(_, held)| *held > 0).map(|(labels, held)| (labels.clone(), held)).collect();
            members.reset = (!held.is_empty()).then(|| Arc::new(held));
        }
    }

    /// The families that `wanted` names and that have series, in order of name and labels; one with two names twice.
    pub(super) fn list(&self, wanted: impl Fn(&Declared) -> bool) -> Vec<Listed> {
        let mut listed = Vec::new();
        for members in self.families.values().filter(|members| !members.series.is_empty()) {
            let names = [Some(members.declared.clone()), members.declared.also.map(Declared::from)];
            listed.extend(names.into_iter().flatten().filter(&wanted).map(|declared| Listed {
                declared,
                series: members.series.values().map(|entry| Arc::clone(&entry.series)).collect(),
                reset: members.reset.clone(),
            }));
        }
        listed.sort_by(|a, b| a.declared.name.cmp(&b.declared.name));
        listed
    }

    /// Bytes of cells.
    pub(super) fn bytes(&self) -> usize {
        self.arena.bytes()
    }

    /// How many series are listed.
    pub(super) fn series(&self) -> usize {
        self.families.values().map(|members| members.series.len()).sum()
    }
}

/// Cells at zero; a gauge's as not yet written to.
fn span_of(arena: &mut Arena, kind: Kind, bounds: &[f64]) -> Span {
    let span = arena.take(cells(kind, bounds));
    if kind == Kind::Gauge {
        span.unset(0);
    }
    span
}

/// Counters and gauges take one cell; a histogram one for each bucket with +Inf, then the sum.
fn cells(kind: Kind, bounds: &[f64]) -> usize {
    match kind {
        Kind::Counter | Kind::RealCounter | Kind::Gauge => 1,
        Kind::Histogram => bounds.len() + 2,
    }
}
