//! The laws of reading a DestinationRule, one test each.

use std::time::Duration;

use super::*;
use crate::config::decode::Scope;
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::draft::Speaks;
use crate::config::objects::{self, Objects};
use crate::config::patterns::Patterns;
use crate::config::yaml;
use crate::snapshot::{HashKey, LbPolicy};

fn read(spec: &str) -> (Vec<TrafficDraft>, Vec<Diagnostic>) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: d, namespace: ns}}\nspec:\n{spec}"
    );
    let scope = Scope::new("d.yaml");
    let documents = yaml::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{}\n{text}", error.reason));
    let mut all = Objects::default();
    documents.iter().for_each(|document| objects::decode(document, &scope, &Patterns::default(), &mut all));
    (all.traffic, scope.into_found())
}

/// The `code path` of each fault of a spec.
fn faults(spec: &str) -> Vec<String> {
    let (drafts, found) = read(spec);
    let errors: Vec<_> = found.iter().filter(|one| one.severity == Severity::Error).collect();
    assert_eq!(drafts.is_empty(), !errors.is_empty(), "an object at fault is left out: {found:?}");
    errors.iter().map(|one| format!("{} {}", one.code, one.path)).collect()
}

/// The faults of a traffic policy, by their path under it.
fn with(policy: &str) -> Vec<String> {
    let found = faults(&format!("  host: m\n  trafficPolicy: {{{policy}}}\n"));
    found.iter().map(|one| one.replace("spec.trafficPolicy.", "")).collect()
}

/// What a traffic policy says, without a fault or a warning.
fn policy(policy: &str) -> ClusterDraft {
    let (mut drafts, found) = read(&format!("  host: m\n  trafficPolicy: {{{policy}}}\n"));
    assert!(found.is_empty(), "{found:?}");
    drafts.pop().expect("an object").all
}

fn warnings(policy: &str) -> Vec<&'static str> {
    let (drafts, found) = read(&format!("  host: m\n  trafficPolicy: {{{policy}}}\n"));
    assert_eq!(drafts.len(), 1, "{found:?}");
    found.iter().map(|one| one.code).collect()
}

#[test]
fn a_rule_is_about_one_host() {
    assert_eq!(read("  host: M.ns\n").0[0].host.resolve("ns", "local"), "m.ns");
    assert_eq!(faults("  subsets: []\n"), ["missing spec"]);
    assert_eq!(faults("  host: \"*.local\"\n"), ["not-supported spec.host"]);
    assert_eq!(faults("  host: \"m:80\"\n"), ["service-host spec.host"]);
    assert_eq!(faults("  host: m\n  workloadSelector: {}\n"), ["not-supported spec.workloadSelector"]);
    assert_eq!(faults("  host: m\n  exportTo: [other]\n"), ["not-supported spec.exportTo[0]"]);
}

#[test]
fn a_subset_has_a_name_of_its_own_and_labels() {
    let (drafts, _) = read("  host: m\n  subsets: [{name: v1, labels: {version: v1}}, {name: all}]\n");
    let subsets = &drafts[0].subsets;
    assert_eq!(subsets[0].name.as_deref(), Some("v1"));
    assert!(!subsets[0].labels.is_empty() && subsets[1].labels.is_empty());
    assert_eq!(
        faults("  host: m\n  subsets: [{name: a}, {name: a}]\n"),
        ["duplicate-subset spec.subsets[1].name"]
    );
    assert_eq!(faults("  host: m\n  subsets: [{labels: {a: b}}]\n"), ["missing spec.subsets[0]"]);
    assert_eq!(
        faults("  host: m\n  subsets: [{name: a, labels: {a: \"b c\"}}]\n"),
        ["label spec.subsets[0].labels.a"]
    );
}

#[test]
fn endpoints_are_chosen_by_istios_names() {
    let lb = |name: &str| policy(&format!("loadBalancer: {{simple: {name}}}")).lb;
    assert_eq!(lb("ROUND_ROBIN"), Some(LbPolicy::RoundRobin));
    assert_eq!(
        (lb("LEAST_REQUEST"), lb("LEAST_CONN")),
        (Some(LbPolicy::LeastRequest), Some(LbPolicy::LeastRequest))
    );
    assert_eq!((lb("RANDOM"), lb("UNSPECIFIED")), (Some(LbPolicy::Random), None));
    assert_eq!(with("loadBalancer: {simple: PASSTHROUGH}"), ["not-supported loadBalancer.simple"]);
    assert_eq!(with("loadBalancer: {simple: BEST}"), ["unknown-word loadBalancer.simple"]);
}

#[test]
fn localities_are_refused_unless_they_are_switched_off() {
    let locality = |text: &str| with(&format!("loadBalancer: {{localityLbSetting: {{{text}}}}}"));
    let at = |key: &str| format!("not-supported loadBalancer.localityLbSetting{key}");
    assert_eq!(locality(""), [at("")]);
    assert_eq!(locality("enabled: true"), [at(".enabled")]);
    assert_eq!(
        locality("distribute: [], failover: [], failover_priority: []"),
        [".distribute", ".failover", ".failover_priority"].map(at)
    );
    assert_eq!(locality("enabled: 1"), ["type loadBalancer.localityLbSetting.enabled"]);
    assert_eq!(locality("enable: false"), ["unknown-key loadBalancer.localityLbSetting.enable", &at("")]);
    assert_eq!(policy("loadBalancer: {localityLbSetting: {enabled: false}}").lb, None);
    let spec = "  host: m\n  trafficPolicy: {loadBalancer: {simple: RANDOM, localityLbSetting: {enabled: false, failover: []}}}\n";
    let (drafts, found) = read(spec);
    assert_eq!(drafts[0].all.lb, Some(LbPolicy::Random));
    let told: Vec<_> = found.iter().map(|one| (one.severity, one.code, &*one.path)).collect();
    let path = "spec.trafficPolicy.loadBalancer.localityLbSetting.failover";
    assert_eq!(told, [(Severity::Warning, "never-acts", path)]);
}

#[test]
fn a_hash_has_one_key_and_one_algorithm() {
    let hash = |text: &str| {
        let draft = policy(&format!("loadBalancer: {{consistentHash: {{{text}}}}}"));
        (draft.lb.expect("one"), draft.traffic.hash.expect("a key").remove(0))
    };
    let (lb, key) = hash("httpHeaderName: X-User");
    assert_eq!(lb, LbPolicy::RING_HASH);
    assert!(matches!(key, HashKey::Header(name) if name.0 == "x-user"));
    assert_eq!(hash("useSourceIp: true, maglev: {}"), (LbPolicy::MAGLEV, HashKey::SourceAddress));
    assert_eq!(
        hash("httpQueryParameterName: u, maglev: {tableSize: 1009}"),
        (LbPolicy::Maglev { table: 1009 }, HashKey::Query("u".into()))
    );
    for size in ["ringHash: {minimumRingSize: 64}", "minimumRingSize: 64"] {
        assert!(matches!(
            hash(&format!("useSourceIp: true, {size}")).0,
            LbPolicy::RingHash { minimum: 64, .. }
        ));
    }
    let (_, key) = hash(
        "httpCookie: {name: u, path: /a, ttl: 1h, attributes: [{name: SameSite, value: Lax}, {name: Secure}]}",
    );
    let HashKey::Cookie(cookie) = key else { panic!("no cookie") };
    assert_eq!(
        (&*cookie.name, cookie.path.as_deref(), cookie.set),
        ("u", Some("/a"), Some(Duration::from_secs(3600)))
    );
    assert_eq!(cookie.attributes.as_deref(), Some("SameSite=Lax; Secure"));
    let faults = |text: &str| with(&format!("loadBalancer: {{consistentHash: {{{text}}}}}"));
    assert_eq!(faults(""), ["hash loadBalancer.consistentHash"]);
    assert_eq!(faults("useSourceIp: false"), ["hash loadBalancer.consistentHash"]);
    assert_eq!(faults("useSourceIp: true, httpHeaderName: a"), ["hash loadBalancer.consistentHash"]);
    assert_eq!(
        faults("useSourceIp: true, maglev: {tableSize: 1000}"),
        ["hash loadBalancer.consistentHash.maglev.tableSize"]
    );
    assert_eq!(
        faults("useSourceIp: true, maglev: {}, ringHash: {}"),
        ["hash loadBalancer.consistentHash.maglev"]
    );
    assert_eq!(faults("httpCookie: {name: \"a;b\"}"), ["cookie loadBalancer.consistentHash.httpCookie.name"]);
    assert_eq!(
        faults("httpCookie: {name: a, path: \"/;Domain=x\"}"),
        ["cookie loadBalancer.consistentHash.httpCookie.path"]
    );
    assert_eq!(
        with("loadBalancer: {simple: RANDOM, consistentHash: {useSourceIp: true}}"),
        ["hash loadBalancer.consistentHash"]
    );
}

#[test]
fn new_endpoints_may_warm_up() {
    let warmup =
        |text: &str| policy(&format!("loadBalancer: {{{text}}}")).traffic.slow_start.expect("slow start");
    let all = warmup("warmup: {duration: 30s, minimumPercent: 20, aggression: 2}");
    assert_eq!((all.window, all.min_weight_percent, all.aggression), (Duration::from_secs(30), 20, 2.0));
    assert_eq!(warmup("warmupDurationSecs: 10s").window, Duration::from_secs(10));
    assert_eq!(with("loadBalancer: {warmup: {}}"), ["missing loadBalancer.warmup"]);
    assert_eq!(
        with("loadBalancer: {warmup: {duration: 1s, aggression: 0.5}}"),
        ["out-of-range loadBalancer.warmup.aggression"]
    );
    assert_eq!(
        with("loadBalancer: {warmup: {duration: 1s}, warmupDurationSecs: 1s}"),
        ["slow-start loadBalancer.warmupDurationSecs"]
    );
    assert_eq!(warnings("loadBalancer: {simple: RANDOM, warmup: {duration: 1s}}"), ["never-acts"]);
}

#[test]
fn connections_are_bounded_and_0_is_left_out() {
    let draft = policy(
        "connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms, maxConnectionDuration: 1h, tcpKeepalive: {probes: 3, time: 2h, interval: 75s}}, \
         http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 4, maxRetries: 5, idleTimeout: 6s, maxConcurrentStreams: 7}}",
    );
    assert_eq!(
        (draft.connections, draft.pending, draft.requests, draft.retries),
        (Some(1), Some(2), Some(3), Some(5))
    );
    let traffic = &draft.traffic;
    assert_eq!((traffic.requests_per_connection, traffic.streams_per_connection), (Some(4), Some(7)));
    assert_eq!(
        (draft.connect_timeout, traffic.idle),
        (Some(Duration::from_millis(30)), Some(Duration::from_secs(6)))
    );
    assert_eq!(traffic.connection_life, Some(Duration::from_secs(3600)));
    let probes = traffic.keep_alive.expect("probes");
    assert_eq!(
        (probes.probes, probes.time, probes.interval),
        (Some(3), Some(Duration::from_secs(7200)), Some(Duration::from_secs(75)))
    );
    let nothing = policy(
        "connectionPool: {tcp: {maxConnections: 0}, http: {http2MaxRequests: 0, maxRequestsPerConnection: 0}}",
    );
    assert_eq!(nothing, ClusterDraft::default());
    assert_eq!(
        with("connectionPool: {tcp: {idleTimeout: 1s}}"),
        ["not-supported connectionPool.tcp.idleTimeout"]
    );
    assert_eq!(
        with("connectionPool: {tcp: {maxConnections: -1}}"),
        ["out-of-range connectionPool.tcp.maxConnections"]
    );
    assert_eq!(
        with("connectionPool: {tcp: {connectTimeout: 0s}}"),
        ["duration connectionPool.tcp.connectTimeout"]
    );
    assert_eq!(
        with("connectionPool: {tcp: {tcpKeepalive: {time: 500ms}}}"),
        ["duration connectionPool.tcp.tcpKeepalive.time"]
    );
}

#[test]
fn http_2_is_spoken_where_an_upgrade_is_asked_for() {
    let speaks = |text: &str| policy(&format!("connectionPool: {{http: {{{text}}}}}")).speaks;
    assert_eq!(speaks("h2UpgradePolicy: UPGRADE"), Some(Speaks::Http2));
    assert_eq!(speaks("h2UpgradePolicy: DO_NOT_UPGRADE"), Some(Speaks::AsService));
    assert_eq!(speaks("h2UpgradePolicy: DEFAULT"), None);
    assert_eq!(speaks("useClientProtocol: true"), Some(Speaks::AsRequest));
    assert_eq!(speaks("useClientProtocol: false, h2UpgradePolicy: UPGRADE"), Some(Speaks::Http2));
    assert_eq!(
        warnings("connectionPool: {http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}}"),
        ["never-acts"]
    );
    assert_eq!(
        with("connectionPool: {http: {h2UpgradePolicy: MAYBE}}"),
        ["unknown-word connectionPool.http.h2UpgradePolicy"]
    );
}

#[test]
fn failures_in_a_row_eject_and_0_turns_that_off() {
    let outlier = |text: &str| policy(&format!("outlierDetection: {{{text}}}")).traffic;
    let usual = outlier("").outlier.expect("outlier detection");
    assert_eq!((usual.consecutive_5xx, usual.enforcing_consecutive_5xx), (5, 100));
    assert_eq!(
        (usual.enforcing_consecutive_gateway_failure, usual.success_rate, usual.max_ejection_percent),
        (0, None, 10)
    );
    let all = outlier(
        "consecutive5xxErrors: 0, consecutiveGatewayErrors: 2, splitExternalLocalOriginErrors: true, consecutiveLocalOriginFailures: 4, \
         interval: 1s, baseEjectionTime: 10m, maxEjectionPercent: 100, minHealthPercent: 30",
    );
    assert_eq!(all.panic_threshold, Some(30));
    let all = all.outlier.expect("outlier detection");
    assert_eq!(all.enforcing_consecutive_5xx, 0);
    assert_eq!((all.consecutive_gateway_failure, all.enforcing_consecutive_gateway_failure), (2, 100));
    assert_eq!((all.split_external_local_origin_errors, all.consecutive_local_origin_failure), (true, 4));
    assert_eq!((all.interval, all.max_ejection_percent), (Duration::from_secs(1), 100));
    assert_eq!(all.max_ejection_time, all.base_ejection_time, "the longest is no shorter than the shortest");
    assert_eq!(outlier("").panic_threshold, Some(0), "health counts however few are left, as in Istio");
    assert_eq!(
        with("outlierDetection: {consecutiveErrors: 5}"),
        ["not-supported outlierDetection.consecutiveErrors"]
    );
    assert_eq!(with("outlierDetection: {interval: 0s}"), ["duration outlierDetection.interval"]);
    assert_eq!(
        with("outlierDetection: {maxEjectionPercent: 101}"),
        ["out-of-range outlierDetection.maxEjectionPercent"]
    );
    assert_eq!(warnings("outlierDetection: {consecutiveLocalOriginFailures: 4}"), ["never-acts"]);
}

#[test]
fn ports_have_settings_of_their_own() {
    let ports = policy(
        "portLevelSettings: [{port: {number: 1}, loadBalancer: {simple: RANDOM}}, {port: {number: 2}}]",
    )
    .ports;
    assert_eq!(
        (ports[0].0, ports[0].1.lb, &ports[1].1),
        (1, Some(LbPolicy::Random), &ClusterDraft::default())
    );
    assert_eq!(
        with("portLevelSettings: [{port: {number: 1}}, {port: {number: 1}}]"),
        ["duplicate-port portLevelSettings[1].port.number"]
    );
    assert_eq!(with("portLevelSettings: [{loadBalancer: {}}]"), ["missing portLevelSettings[0]"]);
    assert_eq!(
        with("portLevelSettings: [{port: {number: 0}}]"),
        ["out-of-range portLevelSettings[0].port.number"]
    );
}

#[test]
fn retries_may_be_a_share_of_the_requests() {
    let budget =
        policy("retryBudget: {percent: 12.5, minRetryConcurrency: 7}").retry_budget.expect("a budget");
    assert_eq!((budget.share.numerator, budget.min_concurrency), (125_000, 7));
    assert_eq!(policy("retryBudget: {}").retry_budget, Some(RetryBudget::default()));
    assert_eq!(with("retryBudget: {percent: 101}"), ["percent retryBudget.percent"]);
}

#[test]
fn tls_is_refused_by_name_unless_it_is_off() {
    assert_eq!(policy("tls: {mode: DISABLE}"), ClusterDraft::default());
    assert_eq!(with("tls: {mode: ISTIO_MUTUAL}"), ["not-supported tls.mode"]);
    assert_eq!(with("tls: {sni: a}"), ["not-supported tls.sni"]);
    assert_eq!(
        with("tunnel: {}, proxyProtocol: {}"),
        ["not-supported tunnel", "not-supported proxyProtocol"]
    );
}
