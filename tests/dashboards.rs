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
    mod meaning;
    pub(crate) mod run;
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
    let run = here(run::Run::make(programs));
    let wrong = [run::of_ours(&run), run::of_istio(&run)].concat();
    assert!(wrong.is_empty(), "{} answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn each_alert_is_told_by_a_real_alertmanager_while_its_fault_lasts_and_taken_back_after_it() {
    here(alerts::tell_what_is_broken_and_take_it_back());
}
