//! Reads `/metrics` as a scraper does: the text of the exposition format, nothing of Weir's own.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::weir::get;

/// One line of a page.
#[derive(Clone, Debug)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// What one or several pages said.
#[derive(Clone, Debug, Default)]
pub struct Scrape(pub Vec<Sample>);

impl Scrape {
    /// The lines of a page.
    pub fn read(page: &str) -> Scrape {
        Scrape(page.lines().filter_map(sample).collect())
    }

    /// `/metrics` of each address.
    pub fn of(addresses: &[SocketAddr]) -> Scrape {
        let pages = addresses.iter().flat_map(|&address| {
            let (status, text) =
                get(address, "/metrics").unwrap_or_else(|| panic!("nobody answers at {address}"));
            assert_eq!(status, 200, "{text}");
            Scrape::read(&text).0
        });
        Scrape(pages.collect())
    }

    /// The series of `name` whose labels include `labels`.
    pub fn series<'s>(
        &'s self,
        name: &'s str,
        labels: &'s [(&str, &str)],
    ) -> impl Iterator<Item = &'s Sample> {
        self.0.iter().filter(move |sample| {
            let has =
                |&(label, value): &(&str, &str)| sample.labels.get(label).is_some_and(|have| have == value);
            sample.name == name && labels.iter().all(has)
        })
    }

    /// Their sum, of counts.
    ///
    /// # Panics
    /// When there is no series of that name: one that was renamed must not pass for zero.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        assert!(self.0.iter().any(|sample| sample.name == name), "there is no series of {name}");
        self.series(name, labels).map(|sample| sample.value as u64).sum()
    }

    /// Their sums by the values of `label`, without the zeros.
    pub fn count_by(&self, name: &str, labels: &[(&str, &str)], label: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for sample in self.series(name, labels).filter(|sample| sample.value > 0.0) {
            *counts.entry(sample.labels.get(label).cloned().unwrap_or_default()).or_default() +=
                sample.value as u64;
        }
        counts
    }
}

/// `None` for a comment or an empty line.
fn sample(line: &str) -> Option<Sample> {
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    Some(Sample { name: name.to_owned(), labels: labels_of(labels), value: value.parse().unwrap() })
}

/// Reads `a="b",c="d"}`.
fn labels_of(mut text: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    while let Some((name, rest)) = text.split_once("=\"") {
        let mut value = String::new();
        let mut chars = rest.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => value.push(match chars.next().expect("an escaped character").1 {
                    'n' => '\n',
                    other => other,
                }),
                (end, '"') => break end,
                (_, other) => value.push(other),
            }
        };
        labels.insert(name.trim_start_matches(',').to_owned(), value);
        text = &rest[end + 1..];
    }
    labels
}
