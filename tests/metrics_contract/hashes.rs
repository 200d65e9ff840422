//! `weir_config_hash` tells whether proxies have the same in force for a service.

use std::collections::BTreeMap;

use crate::common::engine::{Engine, linked};
use crate::common::metrics::Scrape;
use crate::common::world::{run, split_rule};
use weir::snapshot::content;
use weir::telemetry::Page;

const X: &str = "x.default.svc.cluster.local";

fn of(main: &str, rules: &str) -> BTreeMap<String, u64> {
    let hashes = content::hashes(&linked(main, rules));
    hashes.into_iter().map(|(host, hash)| (host.to_string(), hash)).collect()
}

/// The pod of v1, by the addresses of its two ports, that of v2, and a gateway: what each of them is given.
fn pods(settings: &str) -> [String; 3] {
    let sidecar = |own: &str, other: &str, versions: [&str; 2]| {
        format!(
            "listeners:\n- {{name: grpc, address: '127.0.0.1:8500', service: x}}\n\
             - {{name: rest, address: '127.0.0.1:8501', service: x}}\n\
             - {{name: delivery, address: '127.0.0.1:15008', service: x, mode: deliver}}\n\
             services:\n- name: x\n{settings}  endpoints:\n\
             \x20 - {{{own}, labels: {{version: {}}}, local: true}}\n  - {{address: '{other}', labels: {{version: {}}}}}\n",
            versions[0], versions[1]
        )
    };
    let gateway = format!(
        "limits: {{buffer_budget: 8MiB}}\nlisteners: [{{name: all, address: '127.0.0.1:80'}}]\n\
         services:\n- name: x\n{settings}  endpoints:\n\
         \x20 - {{address: '10.0.0.1:15008', labels: {{version: v1}}}}\n  - {{address: '10.0.0.2:15008', labels: {{version: v2}}}}\n"
    );
    [
        sidecar("grpc: '127.0.0.1:9000', http: '127.0.0.1:9001'", "10.0.0.2:15008", ["v1", "v2"]),
        sidecar("grpc: '127.0.0.1:9100', http: '127.0.0.1:9101'", "10.0.0.1:15008", ["v2", "v1"]),
        gateway,
    ]
}

#[test]
fn pods_and_gateways_with_the_same_rules_and_endpoints_have_the_same_hash_wherever_they_run() {
    let rules = split_rule(&[("v1", 95), ("v2", 5)]) + "  mirror: {name: x, labels: {version: v2}}\n";
    let [a, b, gateway] = pods("").map(|main| of(&main, &rules)[X]);
    assert_eq!((a, b), (gateway, gateway));
    assert!(a > 0 && a < 1 << 48 && (a as f64) as u64 == a, "a sample holds it");
    // Another line of the same file.
    assert_eq!(of(&pods("")[0], &format!("# canary\n{rules}"))[X], a);
}

#[test]
fn whatever_is_said_otherwise_of_rules_policies_or_endpoints_makes_another_hash() {
    let main = &pods("")[0];
    let rules = |weight| split_rule(&[("v1", 100 - weight), ("v2", weight)]);
    let mut hashes = vec![
        of(main, "")[X],
        of(main, &rules(5))[X],
        of(main, &rules(6))[X],
        of(main, &rules(5).replace("name: split", "name: other"))[X],
        of(main, &(rules(5) + "  httpReqTimeout: {simpleTimeout: {timeout: 3s}}\n"))[X],
        of(&pods("  circuit_breakers: {requests: 9}\n")[0], &rules(5))[X],
        of(&pods("  lb: random\n")[0], &rules(5))[X],
        of(&main.replace("version: v2}", "version: v2, zone: b}"), &rules(5))[X],
        of(&main.replace("labels: {version: v2}}", "labels: {version: v2}, weight: 2}"), &rules(5))[X],
        of(&format!("{main}  - {{address: '10.0.0.3:15008', labels: {{version: v2}}}}\n"), &rules(5))[X],
    ];
    let all = hashes.len();
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), all);
}

#[test]
fn each_host_has_a_hash_of_its_own_on_the_page_that_comes_and_goes_with_it() {
    run(async || {
        let two = |weight: u32| {
            format!(
                "listeners: [{{name: all, address: '127.0.0.1:0'}}]\nservices:\n\
                 - {{name: x, endpoints: [{{address: '127.0.0.1:9', labels: {{version: v1}}, weight: {weight}}}]}}\n\
                 - {{name: y, endpoints: [{{address: '127.0.0.1:9'}}]}}\n"
            )
        };
        let engine = Engine::start(1, &two(1), "");
        let shown = || -> BTreeMap<String, u64> {
            let page = Scrape::read(&engine.shared.recorder.render(Page::Metrics));
            page.count_by("weir_config_hash", &[], "service")
        };
        let before = shown();
        assert_eq!(before, of(&two(1), ""));
        assert_eq!(before.len(), 2);
        engine.publish(linked(&two(2), ""));
        let (after, y) = (shown(), "y.default.svc.cluster.local");
        assert!(after[X] != before[X] && after[y] == before[y], "{before:?} {after:?}");
        let one = "listeners: [{name: all, address: '127.0.0.1:0'}]\nservices: [{name: y, endpoints: [{address: '127.0.0.1:9'}]}]\n";
        engine.publish(linked(one, ""));
        assert_eq!(shown().into_keys().collect::<Vec<_>>(), [y]);
    });
}
