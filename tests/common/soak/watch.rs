//! What goes on beside the load: configurations edited, pages scraped, costs looked at.

use std::cell::{Cell, RefCell};
use std::fs;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::process::Cost;
use crate::child::Weir;

/// Twenty reloads a minute.
const RELOAD_EVERY: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Of so many edits two are broken, and two are of the endpoints: the spare ones go, and come back.
const ROUND: u64 = 10;
/// Marks the lines of endpoints that a reload may take away.
pub const SPARE: &str = " # spare";

/// What was seen.
#[derive(Default)]
pub struct Watch {
    pub costs: RefCell<Vec<(Instant, Cost)>>,
    pub accepted: Cell<u64>,
    pub refused: Cell<u64>,
    pub scrapes: Cell<u64>,
    pub faults: RefCell<Vec<String>>,
    pub stop: Cell<bool>,
}

/// Rules that split the services among three versions, by the weights.
pub fn rules(weights: [u64; 3]) -> String {
    let [one, two, three] = weights;
    let rule = |service: &str| {
        format!(
            "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: split-{service}}}\nspec:\n  \
             destination: {{name: {service}}}\n  route:\n  - {{labels: {{version: v1}}, weight: {one}}}\n  \
             - {{labels: {{version: v2}}, weight: {two}}}\n  - {{labels: {{version: v3}}, weight: {three}}}\n"
        )
    };
    rule("m") + &rule("c")
}

impl Watch {
    /// Edits the configuration again and again, by rename; now and then with a fault in it.
    pub async fn reload(&self, weir: &Weir) {
        let (mut ticks, all) = (ticks(RELOAD_EVERY), fs::read_to_string(weir.main()).unwrap());
        let fewer: String =
            all.lines().filter(|line| !line.ends_with(SPARE)).flat_map(|line| [line, "\n"]).collect();
        for edit in 1.. {
            ticks.tick().await;
            if self.stop.get() {
                return;
            }
            let first = 20 + edit * 7 % 60;
            let weights = rules([first, 5, 95 - first]);
            // What is broken is mended by the next edit.
            let (file, text, counted) = match edit % ROUND {
                5 | 0 => (weir.rules(), weights.replace("weight: 5}", "weight: five}"), &self.refused),
                3 => (weir.main(), fewer.clone(), &self.accepted),
                8 => (weir.main(), all.clone(), &self.accepted),
                _ => (weir.rules(), weights, &self.accepted),
            };
            let new = file.with_extension("new");
            fs::write(&new, text).unwrap();
            fs::rename(&new, file).unwrap();
            counted.set(counted.get() + 1);
        }
    }

    /// Has the first edit taken, so that all that watches over files is there.
    pub async fn first_reload(&self, weir: &Weir) {
        fs::write(weir.rules(), rules([49, 5, 46])).unwrap();
        self.accepted.set(1);
        let reloads = async || sum(&weir.page("/metrics").await.1, "weir_config_reloads_total", &[]);
        // What is not there yet is not a number.
        while !reloads().await.is_normal() {
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Scrapes pages, and looks at what the process costs.
    pub async fn look(&self, weir: &Weir) {
        let (mut ticks, mut before) = (ticks(LOOK_EVERY), 0.0);
        while !self.stop.get() {
            ticks.tick().await;
            for path in ["/clusters", "/splits", "/metrics"] {
                let (status, page) = weir.page(path).await;
                if status != 200 || page.is_empty() {
                    self.faults.borrow_mut().push(format!("{path}: {status} {page:?}"));
                }
                if path == "/metrics" {
                    let now = sum(&page, "weir_requests_total", &[]);
                    if now.is_nan() || now < before {
                        self.faults.borrow_mut().push(format!("a counter went back from {before} to {now}"));
                    }
                    before = now;
                }
            }
            self.scrapes.set(self.scrapes.get() + 1);
            self.costs.borrow_mut().push((Instant::now(), Cost::of(weir.id())));
        }
    }

    /// The mean of the memory in a part of the looks, from and to as parts of the whole.
    pub fn mean_memory(&self, from: f64, to: f64) -> f64 {
        let costs = self.costs.borrow();
        let at = |part: f64| (costs.len() as f64 * part) as usize;
        let part = &costs[at(from)..at(to).max(at(from) + 1)];
        part.iter().map(|(_, cost)| cost.pss as f64).sum::<f64>() / part.len() as f64
    }
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The sum of a family's series that have all of `labels`, each as `name="value"`. Where the family has none at all it
/// is not a number, which is no count: a family that was renamed must not pass for zero.
pub fn sum(page: &str, family: &str, labels: &[&str]) -> f64 {
    let of_family = |line: &&str| line.strip_prefix(family).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let lines: Vec<&str> = page.lines().filter(of_family).collect();
    if lines.is_empty() {
        return f64::NAN;
    }
    let those = lines.iter().filter(|line| labels.iter().all(|label| line.contains(label)));
    those.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}
