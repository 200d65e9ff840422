//! The `metrics` facade over our recorder, for code (ours or a library's) that does not hold typed handles.
//!
//! Law: a series taken up here never expires, as its callers look it up by name each time.

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit,
};
use metrics_exporter_prometheus::formatting::sanitize_metric_name;
use std::sync::Arc;

use super::families::buckets;
use super::family::{Kind, Labels};
use super::recorder::Recorder;
use super::registry::{Declared, Series};

impl metrics::Recorder for Recorder {
    fn describe_counter(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, &description);
    }

    fn describe_gauge(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, &description);
    }

    fn describe_histogram(&self, key: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(&key, &description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.register(key, Kind::Counter).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.register(key, Kind::Gauge).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.register(key, Kind::Histogram).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

impl Recorder {
    fn describe(&self, key: &KeyName, description: &str) {
        self.lock().describe(sanitize_metric_name(key.as_str()), description.to_owned());
    }

    /// `None` when the name is another kind's: the facade has no error, so such a handle does nothing.
    fn register(&self, key: &Key, kind: Kind) -> Option<Arc<Series>> {
        let name = sanitize_metric_name(key.name());
        let pairs: Vec<_> = key.labels().map(|label| (label.key(), label.value())).collect();
        let bounds = match kind {
            Kind::Histogram if name.ends_with("_seconds") => buckets::SECONDS,
            Kind::Histogram => buckets::ENVOY,
            Kind::Counter | Kind::RealCounter | Kind::Gauge => &[],
        };
        let mut registry = self.lock();
        let help = registry.description(&name).unwrap_or("").to_owned().into();
        let declared = Declared { name: name.into(), help, kind, bounds, envoy: false, also: None };
        registry.take_up(declared, Labels::new(&pairs), true)
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.span.add(0, value);
    }

    /// Raises the count to `value`; a count never falls.
    fn absolute(&self, value: u64) {
        self.span.add(0, value.saturating_sub(self.span.sum(0)));
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.span.add_f64(0, value);
    }

    fn decrement(&self, value: f64) {
        self.span.add_f64(0, -value);
    }

    fn set(&self, value: f64) {
        self.span.set_f64(0, value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.observe(value);
    }
}
