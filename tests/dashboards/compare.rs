//! A query's answer beside the known one.
//!
//! Law: a series that the known traffic has is there and lies between the least and the most that it may be; one that it
//! does not have is not there, or zero. What is neither (0/0) is no answer.

use std::collections::BTreeMap;

use crate::common::prometheus::{Found, Labels};

/// What two ends of a scrape may differ by, in parts of a value.
const TOLERANCE: f64 = 0.02;

/// An answer that is wrong.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// It is one of how long requests took: a machine that lets a proxy wait makes it wrong, too.
    pub(crate) of_time: bool,
    pub(crate) text: String,
}

impl Wrong {
    pub(crate) fn new(board: &str, panel: &str, query: &str, fault: &str) -> Wrong {
        let of_time = ["_duration", "_rq_time_bucket"].iter().any(|of| query.contains(of));
        Wrong { of_time, text: format!("{board}: {panel}: {query}\n    {fault}") }
    }
}

fn told(found: Found) -> BTreeMap<Labels, f64> {
    let without_name = |(mut labels, value): (Labels, f64)| {
        labels.remove("__name__");
        (labels, value)
    };
    found.into_iter().map(without_name).filter(|(_, value)| !value.is_nan()).collect()
}

/// What is wrong with `actual`, when all that is known lies between `known`.
pub(crate) fn differences(actual: Found, known: [Found; 2]) -> Vec<String> {
    let actual = told(actual);
    let mut faults: Vec<String> = outside(&actual, &known).collect();
    if actual.is_empty() {
        faults.push("no data".to_owned());
    }
    faults
}

/// The same of `topk(count, …)`, where `known` is what stands for the dots: the order of equals is nobody's to say.
pub(crate) fn differences_of_top(count: usize, actual: Found, known: [Found; 2]) -> Vec<String> {
    let actual = told(actual);
    let [low, high] = known.map(told);
    let shown = |of: &BTreeMap<Labels, f64>| {
        of.iter()
            .filter(|(labels, _)| actual.contains_key(*labels))
            .map(|(labels, &value)| (labels.clone(), value))
            .collect()
    };
    let mut faults: Vec<String> = outside(&actual, &[shown(&low), shown(&high)]).collect();
    // Zeros beside what is known are no data from nowhere, as everywhere.
    if actual.len() < count.min(low.len()) {
        faults.push(format!("{} series of {}", actual.len(), low.len()));
    }
    let least = actual.values().copied().fold(f64::INFINITY, f64::min);
    let missing = low
        .iter()
        .filter(|(labels, value)| !actual.contains_key(*labels) && **value > least * (1.0 + TOLERANCE));
    faults.extend(missing.map(|(labels, value)| format!("{labels:?}: {value} is not among the largest")));
    faults
}

fn outside(actual: &BTreeMap<Labels, f64>, known: &[Found; 2]) -> impl Iterator<Item = String> {
    let [low, high] = known.clone().map(told);
    let labels: std::collections::BTreeSet<Labels> =
        [actual, &low, &high].iter().flat_map(|of| of.keys().cloned()).collect();
    let actual = actual.clone();
    labels.into_iter().filter_map(move |labels| {
        // What is known of a series that only one of both has is that it may be there.
        let known = (low.get(&labels), high.get(&labels));
        let Some(&value) = actual.get(&labels) else {
            return matches!(known, (Some(_), Some(_))).then(|| format!("{labels:?} is not there"));
        };
        let (one, other) = (known.0.copied().unwrap_or_default(), known.1.copied().unwrap_or_default());
        let (least, most) = (one.min(other), one.max(other));
        let within =
            value >= least - TOLERANCE * least.abs() - 1e-9 && value <= most + TOLERANCE * most.abs() + 1e-9;
        (!within).then(|| format!("{labels:?}: {value}, not {least} to {most}"))
    })
}
