//! The routes of one virtual host, arranged so that 10,000 of them are not tried one after the other.
//!
//! Law: it answers as trying them in order would; it only leaves out routes whose path, or one exact header, cannot
//! match. A route lies in the bucket of its path condition, and there under its rarest exact header. Of each list
//! that may hold matches, routes behind the best found so far are not tried. It must not know hosts.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Head;
use super::condition::{first_miss, value_of};
use crate::snapshot::{HeaderName, PathMatch, Route, StringMatch};

/// Up to this many routes a plain scan is the quicker way.
const SCAN_MAX_ROUTES: usize = 8;

/// How many parts of the request line count as headers.
const PSEUDO_HEADERS: usize = 3;

/// How to find the first matching route among those it was built from. A copy shares what it knows.
#[derive(Clone, Debug)]
pub(super) enum RouteIndex {
    /// Try the first so many in order.
    Scan(usize),
    /// Try those that may match.
    Buckets(Arc<Buckets>),
}

/// Routes by their path condition.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    exact: HashMap<Arc<str>, Bucket>,
    prefixes: Prefixes,
    /// Those that no text leads to: regular expressions, and whatever ignores case.
    others: Bucket,
}

/// Routes with the same path condition, by one exact header condition; ascending lists of places.
#[derive(Debug, Default)]
struct Bucket {
    /// Sorted by name.
    by_header: Vec<ByHeader>,
    rest: Vec<usize>,
}

/// A header, and the places of the routes that want each exact value of it.
type ByHeader = (HeaderName, HashMap<Arc<[u8]>, Vec<usize>>);

/// Prefixes in the order of their text, each with the longest other one that it starts with.
#[derive(Debug, Default)]
struct Prefixes(Vec<Prefix>);

#[derive(Debug)]
struct Prefix {
    text: Arc<str>,
    parent: Option<usize>,
    bucket: Bucket,
}

/// An exact header condition.
type Key<'a> = (&'a HeaderName, &'a Arc<str>);

impl RouteIndex {
    pub(super) fn build(routes: &[Arc<Route>]) -> RouteIndex {
        if routes.len() <= SCAN_MAX_ROUTES {
            return RouteIndex::Scan(routes.len());
        }
        RouteIndex::Buckets(Arc::new(Buckets::build(routes)))
    }

    /// The place of the first of `routes` that matches; `routes` starts with those the index was built from.
    // Two call it: left to itself the compiler would make the one that every request takes pay for a call.
    #[inline(always)]
    pub(super) fn first_match(&self, routes: &[Arc<Route>], head: &Head<'_>, draw: u64) -> Option<usize> {
        let matches = |place: usize| {
            routes.get(place).is_some_and(|route| first_miss(&route.matches, head, draw).is_none())
        };
        match self {
            RouteIndex::Scan(count) => (0..*count).find(|&place| matches(place)),
            RouteIndex::Buckets(buckets) => buckets.first_match(head, matches),
        }
    }
}

impl Buckets {
    fn build(routes: &[Arc<Route>]) -> Buckets {
        let frequency = key_frequency(routes);
        let mut buckets = Buckets::default();
        let mut prefixes: BTreeMap<Arc<str>, Bucket> = BTreeMap::new();
        for (place, route) in routes.iter().enumerate() {
            let bucket = match &route.matches.path {
                PathMatch::Exact(path) => buckets.exact.entry(path.clone()).or_default(),
                // Whatever is below `/a` starts with it; the condition itself looks at the segment's end.
                PathMatch::Prefix(prefix) | PathMatch::Segments(prefix) => {
                    prefixes.entry(prefix.clone()).or_default()
                }
                PathMatch::Regex(_) | PathMatch::PrefixIgnoreCase(_) | PathMatch::ExactIgnoreCase(_) => {
                    &mut buckets.others
                }
            };
            bucket.push(rarest_key(route, &frequency), place);
        }
        buckets.prefixes = Prefixes::build(prefixes);
        buckets
    }

    fn first_match(&self, head: &Head<'_>, matches: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best = usize::MAX;
        if let Some(bucket) = self.exact.get(head.path) {
            bucket.improve(&mut best, head, &matches);
        }
        self.prefixes.of(head.path, |bucket| bucket.improve(&mut best, head, &matches));
        // Last, as trying them costs most and `best` may spare it.
        self.others.improve(&mut best, head, &matches);
        (best != usize::MAX).then_some(best)
    }
}

impl Bucket {
    fn push(&mut self, key: Option<Key<'_>>, place: usize) {
        let Some((name, value)) = key else {
            return self.rest.push(place);
        };
        let at = match self.by_header.binary_search_by(|(other, _)| other.cmp(name)) {
            Ok(at) => at,
            Err(at) => {
                self.by_header.insert(at, (name.clone(), HashMap::new()));
                at
            }
        };
        if let Some((_, by_value)) = self.by_header.get_mut(at) {
            by_value.entry(value.as_bytes().into()).or_default().push(place);
        }
    }

    /// Lowers `best` to the first place of this bucket that matches, if there is a lower one.
    fn improve(&self, best: &mut usize, head: &Head<'_>, matches: &impl Fn(usize) -> bool) {
        let mut improve_from = |places: &[usize]| {
            let mut before_best = places.iter().copied().take_while(|&place| place < *best);
            if let Some(place) = before_best.find(|&place| matches(place)) {
                *best = place;
            }
        };
        self.for_headers_of(head, |(name, by_value)| {
            if let Some(places) = value_of(name, head).and_then(|value| by_value.get(&*value)) {
                improve_from(places);
            }
        });
        improve_from(&self.rest);
    }

    /// Calls `each` for every indexed header that `head` may have: by whichever are fewer, its headers or ours.
    fn for_headers_of<'s>(&'s self, head: &Head<'_>, mut each: impl FnMut(&'s ByHeader)) {
        if self.by_header.len() <= head.headers.keys_len() + PSEUDO_HEADERS {
            return self.by_header.iter().for_each(each);
        }
        let pseudo = |(name, _): &&ByHeader| !matches!(name, HeaderName::Header(_));
        self.by_header.iter().take_while(pseudo).for_each(&mut each);
        for name in head.headers.keys() {
            let found = self.by_header.binary_search_by(|(other, _)| match other {
                HeaderName::Header(other) => other.0.as_str().cmp(name.as_str()),
                // Pseudo headers stand before all others in the order of `HeaderName`.
                HeaderName::Method | HeaderName::Authority | HeaderName::Scheme => Ordering::Less,
            });
            if let Some(header) = found.ok().and_then(|at| self.by_header.get(at)) {
                each(header);
            }
        }
    }
}

impl Prefixes {
    fn build(sorted: BTreeMap<Arc<str>, Bucket>) -> Prefixes {
        let mut prefixes: Vec<Prefix> = Vec::with_capacity(sorted.len());
        for (text, bucket) in sorted {
            // Whatever `text` starts with is its predecessor in the order, or the predecessor starts with it too.
            let parent = ancestor(&prefixes, prefixes.len().checked_sub(1), &text);
            prefixes.push(Prefix { text, parent, bucket });
        }
        Prefixes(prefixes)
    }

    /// Calls `found` for every prefix that `path` starts with.
    fn of<'s>(&'s self, path: &str, mut found: impl FnMut(&'s Bucket)) {
        let behind = self.0.partition_point(|prefix| *prefix.text <= *path);
        let mut at = ancestor(&self.0, behind.checked_sub(1), path);
        while let Some(prefix) = at.and_then(|at| self.0.get(at)) {
            found(&prefix.bucket);
            at = prefix.parent;
        }
    }
}

/// The first of `from`, its parent, and so on, that `text` starts with.
fn ancestor(prefixes: &[Prefix], from: Option<usize>, text: &str) -> Option<usize> {
    let mut at = from?;
    while !text.starts_with(&*prefixes.get(at)?.text) {
        at = prefixes.get(at)?.parent?;
    }
    Some(at)
}

fn exact_keys(route: &Route) -> impl Iterator<Item = Key<'_>> {
    route.matches.headers.iter().filter_map(|header| match &header.value {
        StringMatch::Exact(value) => Some((&header.name, value)),
        StringMatch::Prefix(_) | StringMatch::Regex(_) | StringMatch::Present => None,
    })
}

/// In how many routes each exact header condition stands.
fn key_frequency(routes: &[Arc<Route>]) -> BTreeMap<Key<'_>, usize> {
    let mut frequency = BTreeMap::new();
    for key in routes.iter().flat_map(|route| exact_keys(route)) {
        *frequency.entry(key).or_insert(0) += 1;
    }
    frequency
}

fn rarest_key<'a>(route: &'a Route, frequency: &BTreeMap<Key<'_>, usize>) -> Option<Key<'a>> {
    exact_keys(route).min_by_key(|key| frequency.get(key).copied().unwrap_or(0))
}
