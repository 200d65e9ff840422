//! The pages' law: a strict reader of the text format gets back what was counted.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::telemetry::family::Family;
use crate::telemetry::recorder::Recorder;

static COUNT: Family = Family::counter("a_total", "Counts \\ of\nthings.");
static LEVEL: Family = Family::gauge("b_level", "A level.").on_envoys_page();
static TIME: Family = Family::histogram("c_ms", "A time.", &[0.5, 1.0, 25.0]).on_envoys_page();

/// One sample as a strict reader of the format 0.0.4 sees it.
#[derive(Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

/// Reads a page; panics at whatever the format does not allow. Gives the types and the samples in order.
fn read(page: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
    let (mut types, mut samples, mut current) = (BTreeMap::new(), Vec::new(), String::new());
    assert!(page.is_empty() || page.ends_with('\n'));
    for line in page.split_terminator('\n') {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "a second TYPE for {name}");
            current = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, _) = rest.split_once(' ').unwrap();
            assert!(!types.contains_key(name), "HELP comes before TYPE");
        } else {
            let sample = read_sample(line);
            let base = match types[&current].as_str() {
                "histogram" => ["_bucket", "_sum", "_count"]
                    .into_iter()
                    .find_map(|suffix| sample.name.strip_suffix(suffix))
                    .unwrap_or_else(|| panic!("{line}")),
                _ => &sample.name,
            };
            assert_eq!(base, current, "a sample stands under its TYPE");
            samples.push(sample);
        }
    }
    let mut seen = BTreeSet::new();
    for sample in &samples {
        assert!(seen.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
    }
    (types, samples)
}

fn read_sample(line: &str) -> Sample {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c))).unwrap();
    let (name, mut rest) = line.split_at(end);
    assert!(!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()), "{line}");
    let mut labels = Vec::new();
    if let Some(block) = rest.strip_prefix('{') {
        rest = block;
        while !rest.starts_with('}') {
            let (key, after) = rest.split_once("=\"").unwrap();
            assert!(key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{line}");
            let (value, after) = read_quoted(after);
            labels.push((key.to_owned(), value));
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("{line}"));
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().unwrap() };
    Sample { name: name.to_owned(), labels, value }
}

/// The value up to its closing quote, and what follows it. Only `\\`, `\"` and `\n` may be escaped.
fn read_quoted(text: &str) -> (String, &str) {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next().unwrap() {
            (at, '"') => return (value, &text[at + 1..]),
            (_, '\\') => value.push(match chars.next().unwrap().1 {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                c => panic!("\\{c} is no escape"),
            }),
            (_, c) => value.push(c),
        }
    }
}

fn page_with(recorder: &Recorder, page: Page) -> (BTreeMap<String, String>, Vec<Sample>) {
    read(&recorder.render(page))
}

#[test]
fn a_page_is_what_the_text_format_asks_for() {
    let recorder = Recorder::new(1);
    recorder.counter(&COUNT, &[("x", "1")]).increment(3);
    recorder.gauge(&LEVEL, &[]).set(0.25);
    let time = recorder.histogram(&TIME, &[("x", "1")]);
    [0.5, 0.7, 30.0].into_iter().for_each(|value| time.observe(value));
    assert_eq!(
        recorder.render(Page::Metrics),
        "# HELP a_total Counts \\\\ of\\nthings.\n# TYPE a_total counter\na_total{x=\"1\"} 3\n\
         # HELP b_level A level.\n# TYPE b_level gauge\nb_level 0.25\n\
         # HELP c_ms A time.\n# TYPE c_ms histogram\n\
         c_ms_bucket{x=\"1\",le=\"0.5\"} 1\nc_ms_bucket{x=\"1\",le=\"1\"} 2\nc_ms_bucket{x=\"1\",le=\"25\"} 2\n\
         c_ms_bucket{x=\"1\",le=\"+Inf\"} 3\nc_ms_sum{x=\"1\"} 31.2\nc_ms_count{x=\"1\"} 3\n"
    );
}

#[test]
fn envoys_page_has_no_help_and_braces_after_a_bare_name() {
    let recorder = Recorder::new(1);
    recorder.counter(&COUNT, &[]).increment(3);
    recorder.gauge(&LEVEL, &[]).set(1.0);
    recorder.histogram(&TIME, &[]);
    assert_eq!(
        recorder.render(Page::Envoy),
        "# TYPE b_level gauge\nb_level{} 1\n# TYPE c_ms histogram\nc_ms_bucket{le=\"0.5\"} 0\n\
         c_ms_bucket{le=\"1\"} 0\nc_ms_bucket{le=\"25\"} 0\nc_ms_bucket{le=\"+Inf\"} 0\nc_ms_sum{} 0\nc_ms_count{} 0\n"
    );
}

#[test]
fn a_large_page_is_made_in_pieces_of_whole_lines() {
    let recorder = Recorder::new(1);
    for number in 0..2_000 {
        recorder.histogram(&TIME, &[("x", &*number.to_string())]).observe(f64::from(number));
    }
    let pieces: Vec<String> = recorder.pieces(Page::Metrics).collect();
    assert!(pieces.len() > 5, "{}", pieces.len());
    for piece in &pieces {
        assert!(piece.ends_with('\n') && piece.capacity() <= PIECE + PIECE_REST, "{}", piece.capacity());
    }
    assert_eq!(read(&pieces.concat()).1.len(), 2_000 * 6);
}

#[test]
fn an_infinite_value_is_spelt_as_prometheus_spells_it() {
    let recorder = Recorder::new(1);
    recorder.gauge(&LEVEL, &[("x", "1")]).set(f64::INFINITY);
    recorder.gauge(&LEVEL, &[("x", "2")]).set(f64::NEG_INFINITY);
    let page = recorder.render(Page::Metrics);
    assert!(page.contains("b_level{x=\"1\"} +Inf\n") && page.contains("b_level{x=\"2\"} -Inf\n"), "{page}");
}

fn awkward() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\\\\\"\n{},= a-c\u{e9}]{0,12}"]
}

proptest! {
    #[test]
    fn whatever_the_label_values_the_page_reads_back_as_what_was_counted(
        counts in proptest::collection::btree_map(awkward(), 0..1_000_000_u64, 0..8),
        values in proptest::collection::vec(0.0..100.0_f64, 0..50),
        label in awkward(),
    ) {
        let recorder = Recorder::new(2);
        for (value, count) in &counts {
            recorder.counter(&COUNT, &[("x", value.as_str())]).increment(*count);
        }
        let time = recorder.histogram(&TIME, &[("x", label.as_str())]);
        values.iter().for_each(|&value| time.observe(value));
        let (types, samples) = page_with(&recorder, Page::Metrics);
        prop_assert_eq!(types.len(), if counts.is_empty() { 1 } else { 2 });
        let read: BTreeMap<String, u64> = samples.iter().filter(|sample| sample.name == "a_total")
            .map(|sample| (sample.labels[0].1.clone(), sample.value as u64)).collect();
        prop_assert_eq!(read, counts);
        let buckets: Vec<_> = samples.iter().filter(|sample| sample.name == "c_ms_bucket").collect();
        prop_assert!(buckets.iter().all(|sample| sample.labels[0].1 == label && sample.labels[1].0 == "le"));
        prop_assert!(buckets.is_sorted_by_key(|sample| sample.value), "cumulative");
        let below = |bound: f64| values.iter().filter(|&&value| value <= bound).count() as f64;
        let expected = [below(0.5), below(1.0), below(25.0), values.len() as f64];
        prop_assert_eq!(buckets.iter().map(|sample| sample.value).collect::<Vec<_>>(), expected);
        let count = samples.iter().find(|sample| sample.name == "c_ms_count").unwrap();
        prop_assert_eq!(count.value, values.len() as f64, "the count is the last bucket");
    }
}
