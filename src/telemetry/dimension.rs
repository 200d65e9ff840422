//! Dimensions: requests of a version by what their callers say in a field, as far as the configuration lists it.
//!
//! Law: a series is for a listed value, for all others together, or for none; so nothing that callers send makes one. The
//! four outcomes of a value are there at zero together, before the first of them is counted.

use std::cell::OnceCell;
use std::sync::Arc;

use super::families::buckets::SECONDS;
use super::families::dimension::{DURATION, REQUESTS};
use super::labels::VersionLabels;
use super::record::{Outcome, RequestRecord};
use super::recorder::{Counter, Histogram, Placed, Recorder};

/// Dimensions that there may be.
pub const MOST: usize = 4;
/// The value of requests without the field.
pub const NONE: &str = "none";
/// The value of requests whose field says what is not listed.
pub const OTHER: &str = "other";

/// A dimension as its series name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DimensionLabels {
    /// The label `dimension`.
    pub name: Arc<str>,
    /// What the label `value` may say beside [`NONE`] and [`OTHER`].
    pub values: Vec<Arc<str>>,
}

/// What a request says in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It has no such field.
    Nothing,
    /// What is not listed, or several things.
    Other,
    /// The listed value of this place.
    Listed(u8),
}

impl Said {
    /// A place for each: nothing, other, then the listed values.
    fn place(self) -> u8 {
        match self {
            Said::Nothing => 0,
            Said::Other => 1,
            Said::Listed(place) => place.saturating_add(2),
        }
    }
}

/// What a request says in all of them. A few bytes, as every request has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tags([u8; MOST]);

impl Tags {
    /// It says `said` in the dimension of this place.
    pub fn set(&mut self, dimension: usize, said: Said) {
        if let Some(tag) = self.0.get_mut(dimension) {
            *tag = said.place();
        }
    }
}

/// The series of one version of one service; those of a value come with their first use, or when they are declared.
#[derive(Debug)]
pub(super) struct DimensionSeries {
    recorder: Recorder,
    service: Arc<str>,
    version: Arc<str>,
    dimensions: Arc<[DimensionLabels]>,
    /// By dimension, by place.
    places: Vec<Vec<OnceCell<Place>>>,
}

/// What one value counts.
#[derive(Debug)]
struct Place {
    requests: [Counter; Outcome::ALL.len()],
    /// Wide, so it comes with the first request.
    duration: OnceCell<Histogram>,
}

impl DimensionSeries {
    /// Those of a version, if it has dimensions.
    pub(super) fn new(recorder: &Recorder, labels: &VersionLabels) -> Option<Box<DimensionSeries>> {
        if labels.dimensions.is_empty() {
            return None;
        }
        let places = |dimension: &DimensionLabels| {
            let places = dimension.values.len() + 2;
            (0..places).map(|_| OnceCell::new()).collect()
        };
        Some(Box::new(DimensionSeries {
            recorder: recorder.clone(),
            service: labels.service.clone(),
            version: labels.version.clone(),
            places: labels.dimensions.iter().map(places).collect(),
            dimensions: labels.dimensions.clone(),
        }))
    }

    /// Makes the counters of all values, at zero.
    pub(super) fn declare(&self) {
        for (dimension, places) in self.places.iter().enumerate() {
            for place in 0..places.len() {
                self.place(dimension, place);
            }
        }
    }

    /// Counts a request once in each dimension.
    pub(super) fn count(&self, record: &RequestRecord, tags: Tags) {
        let outcome = record.outcome().index();
        let duration = Placed::new(SECONDS, record.duration.as_secs_f64());
        for (dimension, place) in tags.0.into_iter().enumerate().take(self.places.len()) {
            let Some(series) = self.place(dimension, place.into()) else { continue };
            series.requests[outcome].increment(1);
            let histogram = series
                .duration
                .get_or_init(|| self.recorder.histogram(&DURATION, &self.labels(dimension, place.into())));
            histogram.observe_placed(&duration);
        }
    }

    fn place(&self, dimension: usize, place: usize) -> Option<&Place> {
        let slot = self.places.get(dimension)?.get(place)?;
        Some(slot.get_or_init(|| {
            let [service, version, name, value] = self.labels(dimension, place);
            let requests = Outcome::ALL.map(|outcome| {
                let labels = [service, version, name, value, ("outcome", outcome.as_str())];
                self.recorder.counter(&REQUESTS, &labels)
            });
            Place { requests, duration: OnceCell::new() }
        }))
    }

    fn labels(&self, dimension: usize, place: usize) -> [(&'static str, &str); 4] {
        let dimension = &self.dimensions[dimension];
        let value = match place {
            0 => NONE,
            1 => OTHER,
            listed => &dimension.values[listed - 2],
        };
        [
            ("service", &self.service),
            ("version", &self.version),
            ("dimension", &dimension.name),
            ("value", value),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Instant, SystemTime};

    use super::super::exposition::Page;
    use super::*;
    use crate::words::{HttpVersion, Protocol};

    fn labels(values: &[&str]) -> VersionLabels {
        let dimension = DimensionLabels {
            name: "tenant".into(),
            values: values.iter().map(|&value| value.into()).collect(),
        };
        VersionLabels { dimensions: [dimension].into(), ..VersionLabels::new("x.n", "r", "v1") }
    }

    fn said(said: Said) -> Tags {
        let mut tags = Tags::default();
        tags.set(0, said);
        tags.set(MOST, Said::Other); // one too many says nothing
        tags
    }

    #[test]
    fn every_value_has_its_outcomes_at_zero_and_a_request_counts_under_what_it_says() {
        let recorder = Recorder::new(1);
        let series = DimensionSeries::new(&recorder, &labels(&["acme", "globex"])).expect("a dimension");
        series.declare();
        assert_eq!(recorder.series(), (2 + 2) * 4);
        let record = |status| RequestRecord {
            status,
            ..RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http)
        };
        series.count(&record(200), said(Said::Listed(1)));
        series.count(&record(503), said(Said::Other));
        series.count(&record(404), Tags::default());
        series.count(&record(200), said(Said::Listed(2))); // which nobody listed
        let page = recorder.render(Page::Metrics);
        for (value, outcome, count) in [
            ("globex", "success", 1),
            ("globex", "server_error", 0),
            ("acme", "success", 0),
            ("other", "server_error", 1),
            ("none", "client_error", 1),
        ] {
            let line = format!(
                "weir_dimension_requests_total{{service=\"x.n\",version=\"v1\",dimension=\"tenant\",\
                 value=\"{value}\",outcome=\"{outcome}\"}} {count}"
            );
            assert!(page.lines().any(|seen| seen == line), "{line}\n{page}");
        }
        let durations = page.lines().filter(|line| line.contains("_duration_seconds_count")).count();
        assert_eq!((durations, recorder.series()), (3, 4 * 4 + 3), "one for each value that was counted");
    }

    #[test]
    fn a_version_without_dimensions_has_none_of_it() {
        let recorder = Recorder::new(1);
        assert!(DimensionSeries::new(&recorder, &VersionLabels::new("x.n", "r", "v1")).is_none());
        assert_eq!(recorder.series(), 0);
    }
}
