//! A rule's schedule in the planes that the planner makes: one, wherever the rule is reached, and kept over reloads.

#![allow(clippy::expect_used)] // a panic is the report

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use weir::config::{self, Document, Environment};
use weir::proxy::plane::{Plane, RoutesPlane};
use weir::proxy::planner::Planner;
use weir::proxy::split::Split;
use weir::snapshot::Snapshot;
use weir::telemetry::{ProcessMeter, Recorder};

const WEIR: &str = "listeners:
- {name: all, address: '127.0.0.1:8500'}
- {name: one, address: '127.0.0.1:8501', service: m}
- {name: own, address: '127.0.0.1:8502', service: m, mode: deliver}
services:
- {name: m, endpoints: [{address: '10.0.0.1:1', local: true, labels: {version: v1}},
   {address: '10.0.0.2:1', labels: {version: v2}}]}
";

fn snapshot(weights: [u32; 2]) -> Arc<Snapshot> {
    let rules = format!(
        "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r}}\nspec:\n  \
         destination: {{name: m}}\n  route:\n  \
         - {{labels: {{version: v1}}, weight: {}}}\n  - {{labels: {{version: v2}}, weight: {}}}\n",
        weights[0], weights[1]
    );
    let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
    let (main, rules) = (document("weir.yaml", WEIR), document("rules.yaml", &rules));
    let loaded = config::load(&main, &[rules], &Environment::default());
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{faults}")).snapshot)
}

/// The splits of the rule `r`, by listener, and that of the delivery.
fn splits(plane: &Plane) -> (Vec<Arc<Split>>, Arc<Split>) {
    let named = |routes: &RoutesPlane, name: &str| {
        let found = routes.routes.iter().find(|route| &*route.route.name == name);
        found.map(|route| route.split.clone())
    };
    let split = plane.listeners.iter().filter_map(|at| named(&plane.routes[at.routes], "r.default"));
    let own = plane.routes.iter().find_map(|routes| named(routes, "deliver"));
    (split.collect(), own.expect("a delivery"))
}

#[test]
fn a_rule_has_one_schedule_at_all_listeners_and_keeps_it_while_its_entries_stay() {
    let recorder = Recorder::new(1);
    let process = ProcessMeter::new(&recorder);
    let mut planner = Planner::new(recorder, process, Arc::new(ArcSwapOption::empty()));
    let mut publish = |weights| splits(&planner.publish(snapshot(weights)).expect("published"));
    let (first, own) = publish([95, 5]);
    assert_eq!(first.len(), 2, "by host and by service");
    assert!(Arc::ptr_eq(&first[0], &first[1]) && !Arc::ptr_eq(&first[0], &own));
    let (again, own_again) = publish([95, 5]);
    assert!(again.iter().all(|split| Arc::ptr_eq(split, &first[0])) && Arc::ptr_eq(&own, &own_again));
    let (changed, _) = publish([90, 10]);
    assert!(Arc::ptr_eq(&changed[0], &changed[1]) && !Arc::ptr_eq(&changed[0], &first[0]));
}
