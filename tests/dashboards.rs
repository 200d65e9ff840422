//! Everything that `deploy/` shows and tells, by real programs: dashboards are asked of a real Prometheus that scraped
//! two pods under known traffic, alerts go through a real Alertmanager.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

#[path = "common"]
mod common {
    pub(crate) mod alertmanager;
    pub(crate) mod loopback;
    pub(crate) mod metrics;
    pub(crate) mod parts;
    pub(crate) mod prometheus;
    pub(crate) mod weir;
    pub(crate) mod world;
}
#[path = "dashboards"]
mod dashboards {
    pub(crate) mod alerts;
    mod boards;
    mod book;
    mod compare;
    mod gate;
    mod istio;
    mod known;
    mod levels;
    mod meaning;
    mod mix;
    mod percentile;
    pub(crate) mod run;
    mod shown;
    mod state;
    mod traffic;
    mod wait;
    mod world;
}

use std::future::Future;

use dashboards::{alerts, run};

fn here<T>(test: impl Future<Output = T>) -> T {
    weir::runtime::worker::local_runtime().unwrap().block_on(test)
}

#[test]
fn every_query_of_every_dashboard_shows_the_traffic_that_was_sent_and_istios_show_it_too() {
    let Some(programs) = run::programs() else { return };
    // A run in which the machine kept requests waiting says nothing of how long they took: then there is another one.
    for last in [false, false, true] {
        let run = here(run::Run::make(programs.clone()));
        let wrong = [run::of_ours(&run), run::of_istio(&run)].concat();
        let told: Vec<&str> = wrong.iter().map(|wrong| wrong.text.as_str()).collect();
        let (told, blurred) = (told.join("\n"), run.blurred.join("\n"));
        if !last && wrong.iter().all(|wrong| wrong.of_time) && !(wrong.is_empty() && blurred.is_empty()) {
            println!("requests were late:\n{blurred}\n{told}");
            continue;
        }
        assert!(wrong.is_empty(), "{} answers are wrong:\n{told}", wrong.len());
        assert!(blurred.is_empty(), "percentiles that no bucket tells apart:\n{blurred}");
        return;
    }
}

#[test]
fn each_alert_is_told_by_a_real_alertmanager_while_its_fault_lasts_and_taken_back_after_it() {
    here(alerts::tell_what_is_broken_and_take_it_back());
}
