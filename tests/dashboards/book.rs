//! What every series should say: a second set of data, made of the known traffic alone, that the same queries are asked of.
//!
//! Law: the samples of a series stand at the times at which its proxy was scraped, so that whatever PromQL makes of times
//! it makes of both. What is known only roughly (a time, a number of bytes) has a least and a most: two sets of data.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::metrics::Scrape;
use crate::common::prometheus::{Labels, Prometheus};

/// The least and the most of a value.
pub(crate) type Band = [f64; 2];

/// Exactly.
pub(crate) const fn just(value: f64) -> Band {
    [value, value]
}

/// How the pods are called.
pub(crate) const PODS: [&str; 2] = ["pod-a", "pod-b"];

/// A series of a pod: its metric, and its own labels.
type Series = (String, usize, BTreeMap<String, String>);

/// See the module.
pub(crate) struct Book {
    /// What each series shows before the known traffic, and after it.
    series: BTreeMap<Series, [Band; 2]>,
    /// What each histogram has seen, and whether that belongs to the known traffic.
    seen: BTreeMap<Series, Vec<(Band, bool)>>,
    /// The bounds of each histogram, as its page writes them.
    bounds: HashMap<String, Vec<(f64, String)>>,
    /// What is written now belongs to the known traffic, and not to what was before.
    known: bool,
}

/// When a pod was scraped, and how it is called.
pub(crate) struct Scraped {
    pub(crate) instance: String,
    pub(crate) pod: String,
    pub(crate) times: Vec<f64>,
}

impl Book {
    pub(crate) fn new(page: &Scrape) -> Book {
        let mut bounds: HashMap<String, Vec<(f64, String)>> = HashMap::new();
        for sample in &page.0 {
            let Some((name, le)) = sample.name.strip_suffix("_bucket").zip(sample.labels.get("le")) else {
                continue;
            };
            let of = bounds.entry(name.to_owned()).or_default();
            if of.iter().all(|(_, have)| have != le) {
                of.push((le.parse().expect("a bound"), le.clone()));
            }
        }
        Book { series: BTreeMap::new(), seen: BTreeMap::new(), bounds, known: false }
    }

    /// From now on the known traffic is written.
    pub(crate) fn begin(&mut self) {
        self.known = true;
    }

    fn entry(&mut self, pod: usize, metric: &str, labels: &[(&str, &str)]) -> &mut [Band; 2] {
        self.series.entry(series(pod, metric, labels)).or_default()
    }

    /// A counter grows.
    pub(crate) fn add(&mut self, pod: usize, metric: &str, labels: &[(&str, &str)], by: Band) {
        let known = self.known;
        for of in &mut self.entry(pod, metric, labels)[usize::from(known)..] {
            *of = [of[0] + by[0], of[1] + by[1]];
        }
    }

    /// A counter grows by one.
    pub(crate) fn count(&mut self, pod: usize, metric: &str, labels: &[(&str, &str)]) {
        self.add(pod, metric, labels, just(1.0));
    }

    /// A gauge stands so from now on.
    pub(crate) fn set(&mut self, pod: usize, metric: &str, labels: &[(&str, &str)], to: Band) {
        let known = self.known;
        self.entry(pod, metric, labels)[usize::from(known)..].fill(to);
    }

    /// A histogram has seen a value.
    pub(crate) fn observe(&mut self, pod: usize, metric: &str, labels: &[(&str, &str)], seen: Band) {
        let known = self.known;
        self.seen.entry(series(pod, metric, labels)).or_default().push((seen, known));
    }

    /// What a histogram has seen of the known traffic where its labels have some of these values, by some of its labels.
    pub(crate) fn observed(
        &self,
        metric: &str,
        of: &[(&str, &[&str])],
        by: &[&str],
    ) -> BTreeMap<Labels, Vec<Band>> {
        let mut observed: BTreeMap<Labels, Vec<Band>> = BTreeMap::new();
        for ((name, _, labels), seen) in &self.seen {
            // The scrape's own.
            let label = |name: &str| match name {
                "namespace" => Some("models"),
                _ => labels.get(name).map(String::as_str),
            };
            let wanted =
                |&(name, values): &(&str, &[&str])| label(name).is_some_and(|label| values.contains(&label));
            if name != metric || !of.iter().all(wanted) {
                continue;
            }
            let found = by.iter().map(|&name| (name.to_owned(), label(name).unwrap_or_default().to_owned()));
            let known = seen.iter().filter(|(_, known)| *known).map(|(band, _)| *band);
            let mut known = known.peekable();
            if known.peek().is_some() {
                observed.entry(found.collect()).or_default().extend(known);
            }
        }
        observed
    }

    /// What the series of a metric show before the known traffic and after it, where their labels have these values, by some
    /// of their labels.
    pub(crate) fn levels(
        &self,
        metric: &str,
        of: &[(&str, &str)],
        by: &[&str],
    ) -> BTreeMap<Labels, Vec<[Band; 2]>> {
        let mut levels: BTreeMap<Labels, Vec<[Band; 2]>> = BTreeMap::new();
        for ((name, pod, labels), values) in &self.series {
            let label = |name: &str| match name {
                "namespace" => "models",
                "pod" => PODS[*pod],
                _ => labels.get(name).map_or("", String::as_str),
            };
            if name == metric && of.iter().all(|&(name, value)| label(name) == value) {
                let named = by.iter().map(|&name| (name.to_owned(), label(name).to_owned()));
                levels.entry(named.collect()).or_default().push(*values);
            }
        }
        levels
    }

    /// The bounds of a histogram's buckets but for the infinite one.
    pub(crate) fn bounds(&self, metric: &str) -> Vec<f64> {
        self.named_bounds(metric).iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect()
    }

    /// The bounds of a histogram's buckets, each as it is written.
    pub(crate) fn named_bounds(&self, metric: &str) -> &[(f64, String)] {
        self.bounds.get(metric).unwrap_or_else(|| panic!("{metric} has no buckets"))
    }

    /// The buckets of all histograms, as series.
    fn buckets(&self) -> BTreeMap<Series, [Band; 2]> {
        let mut all = BTreeMap::new();
        for ((metric, pod, labels), seen) in &self.seen {
            for (bound, text) in self.named_bounds(metric) {
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), text.clone());
                let mut counts = [just(0.0); 2];
                for (band, known) in seen {
                    let within = band.map(|value| f64::from(u8::from(value <= *bound)));
                    for of in &mut counts[usize::from(*known)..] {
                        *of = [of[0] + within[0], of[1] + within[1]];
                    }
                }
                all.insert((format!("{metric}_bucket"), *pod, labels), counts);
            }
        }
        all
    }

    /// Everything as OpenMetrics, with the least or the most of each value, which changes at `switch`.
    fn text(&self, scraped: &[Scraped], switch: f64, which: usize) -> String {
        let mut text = String::new();
        for ((metric, pod, labels), values) in self.series.iter().chain(&self.buckets()) {
            let Scraped { instance, pod, times } = &scraped[*pod];
            let mut named =
                format!("job=\"weir\",namespace=\"models\",instance=\"{instance}\",pod=\"{pod}\"");
            for (name, value) in labels {
                write!(named, ",{name}=\"{value}\"").unwrap();
            }
            for time in times {
                let value = values[usize::from(*time >= switch)][which];
                writeln!(text, "{metric}{{{named}}} {value} {time:.3}").unwrap();
            }
        }
        text + "# EOF\n"
    }

    /// Prometheus with nothing but this: the least, and the most.
    pub(crate) fn serve(&self, programs: [&Path; 2], scraped: &[Scraped], switch: f64) -> [Prometheus; 2] {
        let [prometheus, promtool] = programs;
        [0, 1].map(|which| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("known.txt");
            fs::write(&file, self.text(scraped, switch, which)).unwrap();
            let made = Command::new(promtool)
                .args(["tsdb", "create-blocks-from", "openmetrics"])
                .args([&file, &folder.path().join("data")])
                .stdin(Stdio::null())
                .output()
                .unwrap();
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            Prometheus::with_config(prometheus, folder, "scrape_configs: []\n")
        })
    }
}

fn series(pod: usize, metric: &str, labels: &[(&str, &str)]) -> Series {
    let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
    (metric.to_owned(), pod, labels)
}

/// When `prometheus` had a page of each pod.
pub(crate) fn scraped(prometheus: &Prometheus, instances: [(&str, &str); 2]) -> Vec<Scraped> {
    let samples = prometheus.samples("up[10m]");
    let of = |(instance, pod): (&str, &str)| {
        let (_, samples) =
            samples.iter().find(|(labels, _)| labels["instance"] == instance).expect("it is scraped");
        let times = samples.iter().filter(|(_, up)| *up == 1.0).map(|(time, _)| *time).collect();
        Scraped { instance: instance.to_owned(), pod: pod.to_owned(), times }
    };
    instances.map(of).into()
}
