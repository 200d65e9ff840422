//! The laws of what a service says of its clusters, and of tracing, one test each.

use std::sync::Arc;
use std::time::Duration;

use crate::config::{Document, Environment, Loaded, load};
use crate::snapshot::{
    Address, Cluster, Fraction, HashKey, HealthCheckKind, LbPolicy, OtlpProtocol, Outlier, Route, Tracing,
    TrafficPolicy,
};

/// A service with these keys.
fn with(keys: &str) -> Result<Loaded, Vec<String>> {
    with_in(keys, &Environment::default())
}

/// The same, in this environment.
fn with_in(keys: &str, environment: &Environment) -> Result<Loaded, Vec<String>> {
    let text = format!(
        "listeners: [{{name: a, address: \"0.0.0.0:80\", service: m}}]\nservices:\n- name: m\n  endpoints: [{{address: \"10.0.0.1:80\"}}]\n{keys}"
    );
    let document = Document { name: "weir.yaml".into(), bytes: text.into() };
    load(&document, &[], environment)
        .map_err(|found| found.iter().map(|one| format!("{} {}", one.code, one.path)).collect())
}

fn cluster(keys: &str) -> Arc<Cluster> {
    let loaded = with(keys).expect("loads");
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    loaded.snapshot.clusters.values().next().expect("a cluster").clone()
}

fn traffic(keys: &str) -> TrafficPolicy {
    *cluster(keys).traffic.clone().expect("a policy")
}

fn faults(keys: &str) -> Vec<String> {
    with(keys).map(|loaded| loaded.rules).expect_err("refused")
}

#[test]
fn a_service_that_says_nothing_more_has_no_policy() {
    assert_eq!(cluster("").traffic, None);
    assert_eq!(cluster("  outlier: {}\n  health_check: {}\n  hash:\n").traffic, None);
}

#[test]
fn a_hash_chooses_by_the_first_key_there_is() {
    let hashed = cluster(
        "  lb: ring_hash\n  hash: [{header: X-User}, {cookie: {name: u, ttl: 1h}}, {query: q}, {source_address: true}]\n",
    );
    assert_eq!(hashed.lb, LbPolicy::RING_HASH);
    let keys = &hashed.traffic.as_ref().expect("a policy").hash;
    assert!(matches!(
        &keys[..],
        [HashKey::Header(_), HashKey::Cookie(_), HashKey::Query(_), HashKey::SourceAddress]
    ));
    let sized = |lb: &str| cluster(&format!("  lb: {lb}\n  hash: [{{source_address: true}}]\n")).lb;
    assert_eq!(sized("maglev"), LbPolicy::MAGLEV);
    assert_eq!(sized("{maglev: {table: 1009}}"), LbPolicy::Maglev { table: 1009 });
    assert_eq!(
        sized("{ring_hash: {minimum: 8, maximum: 16}}"),
        LbPolicy::RingHash { minimum: 8, maximum: 16 }
    );
    assert_eq!(faults("  lb: {maglev: {table: 1000}}\n"), ["hash services[0].lb.maglev.table"]);
    assert_eq!(faults("  lb: {ring_hash: {minimum: 9, maximum: 8}}\n"), ["hash services[0].lb.ring_hash"]);
    assert_eq!(faults("  lb: {}\n"), ["hash services[0].lb"]);
    assert_eq!(faults("  hash: []\n"), ["hash services[0].hash"]);
    assert_eq!(faults("  hash: [{header: a, query: b}]\n"), ["hash services[0].hash[0]"]);
    let codes =
        |keys: &str| with(keys).expect("loads").warnings.iter().map(|one| one.code).collect::<Vec<_>>();
    assert_eq!(codes("  lb: maglev\n"), ["never-acts"]);
    assert_eq!(codes("  lb: random\n  hash: [{header: a}]\n"), ["never-acts"]);
}

#[test]
fn outliers_have_envoys_names_and_defaults() {
    let one =
        traffic("  outlier: {consecutive_5xx: 3, always_eject_one_host: true}\n").outlier.expect("outliers");
    assert_eq!(one, Outlier { consecutive_5xx: 3, always_eject_one_host: true, ..Outlier::default() });
    let other = traffic(
        "  outlier: {enforcing_success_rate: 0, enforcing_failure_percentage: 50, base_ejection_time: 10m, max_ejection_percent: 100}\n  panic_threshold: 0\n",
    );
    assert_eq!(other.panic_threshold, 0);
    let other = other.outlier.expect("outliers");
    assert_eq!((other.success_rate, other.failure_percentage.map(|one| one.enforcing)), (None, Some(50)));
    assert_eq!(other.max_ejection_time, Duration::from_secs(600));
    assert_eq!(
        faults("  outlier: {consecutive_5xx: 0, interval: 0s, max_ejection_percent: 101}\n"),
        [
            "out-of-range services[0].outlier.consecutive_5xx",
            "out-of-range services[0].outlier.interval",
            "out-of-range services[0].outlier.max_ejection_percent"
        ]
    );
}

#[test]
fn health_is_asked_in_one_way_or_several() {
    let checks = |text: &str| traffic(&format!("  health_check: {text}\n")).health_checks;
    let http = checks(
        "{http: {path: /healthz, expected_statuses: [200, \"204-299\"], headers: {x-a: b}}, interval: 1s, port: 81}",
    );
    let HealthCheckKind::Http { path, expected, headers, .. } = &http[0].kind else { panic!("not HTTP") };
    assert_eq!((&**path, &expected[..], headers.len()), ("/healthz", &[(200, 201), (204, 300)][..], 1));
    assert_eq!((http[0].interval, http[0].port), (Duration::from_secs(1), Some(81)));
    let several = checks(
        "[{tcp: {}}, {grpc: {service_name: s}}, {model: {name: inception, version: 3}, unhealthy_threshold: 1}]",
    );
    assert_eq!(several[0].kind, HealthCheckKind::Tcp);
    assert!(matches!(&several[1].kind, HealthCheckKind::Grpc { service: Some(_), authority: None }));
    assert_eq!(several[2].kind, HealthCheckKind::Model { name: "inception".into(), version: Some(3) });
    let faults = |text: &str| faults(&format!("  health_check: {text}\n"));
    assert_eq!(faults("{interval: 1s}"), ["health-check services[0].health_check"]);
    assert_eq!(faults("{tcp: {}, grpc: {}}"), ["health-check services[0].health_check"]);
    assert_eq!(faults("[{tcp: {}, timeout: 0s}]"), ["out-of-range services[0].health_check[0].timeout"]);
    assert_eq!(faults("{http: {path: a}}"), ["health-check services[0].health_check.http.path"]);
    assert_eq!(
        faults("{http: {path: /a, expected_statuses: [\"299-200\"]}}"),
        ["status services[0].health_check.http.expected_statuses[0]"]
    );
    assert_eq!(faults("{model: {name: \"a/b\"}}"), ["health-check services[0].health_check.model.name"]);
}

#[test]
fn slow_start_and_retry_budget_have_envoys_defaults() {
    let slow = traffic("  slow_start: {window: 10s}\n").slow_start.expect("slow start");
    assert_eq!((slow.window, slow.aggression, slow.min_weight_percent), (Duration::from_secs(10), 1.0, 10));
    let budget =
        cluster("  retry_budget: {budget_percent: 12.5}\n").circuit_breakers.retry_budget.expect("a budget");
    assert_eq!((budget.share.numerator, budget.min_concurrency), (125_000, 3));
    assert_eq!(faults("  slow_start: {aggression: 0}\n"), ["out-of-range services[0].slow_start.aggression"]);
    assert_eq!(faults("  panic_threshold: 101\n"), ["out-of-range services[0].panic_threshold"]);
}

#[test]
fn dimensions_are_few_and_list_what_they_count() {
    let metrics = |text: &str| with(&format!("metrics: {{dimensions: [{text}]}}\n"));
    let good = metrics("{name: tenant, header: X-Tenant, values: [acme, \"a b\", \"1\"]}").expect("loads");
    let [tenant] = &good.snapshot.dimensions[..] else { panic!("one") };
    assert_eq!((&*tenant.name, tenant.header.0.as_str(), tenant.values.len()), ("tenant", "x-tenant", 3));
    assert!(with("metrics: {}\n").expect("loads").snapshot.dimensions.is_empty());
    assert!(with("metrics: {dimensions: []}\n").expect("loads").snapshot.dimensions.is_empty());
    let grpc_as_http =
        |text: &str| with(&format!("metrics: {text}\n")).map(|loaded| loaded.snapshot.grpc_as_http);
    assert_eq!(
        (grpc_as_http("{}").ok(), grpc_as_http("{grpc_as_http: false}").ok()),
        (Some(true), Some(false))
    );
    assert!(grpc_as_http("{grpc_as_http: 1}").is_err());
    let at = |code: &str, path: &str| vec![format!("{code} metrics.dimensions{path}")];
    let faults = |text: &str| metrics(text).map(|loaded| loaded.rules).expect_err("refused");
    let one = |name: &str, header: &str, values: &str| {
        faults(&format!("{{name: {name}, header: {header}, values: {values}}}"))
    };
    for name in ["Tenant", "1a", "a-b", "\"\"", "ä", &"a".repeat(64)] {
        let code = if name == "\"\"" { "empty" } else { "name" };
        assert_eq!(one(name, "x-a", "[a]"), at(code, "[0].name"), "{name}");
    }
    for header in ["Authorization", "cookie", "set-cookie", "proxy-authorization", "host"] {
        assert_eq!(one("a", header, "[a]"), at("dimension", "[0].header"), "{header}");
    }
    assert_eq!(one("a", "\":path\"", "[a]"), at("header-name", "[0].header"));
    assert_eq!(one("a", "x-a", "[]"), at("missing", "[0].values"));
    assert_eq!(one("a", "x-a", "[a, b, a]"), at("repeated", "[0].values[2]"));
    assert_eq!(one("a", "x-a", "[other]"), at("dimension", "[0].values[0]"));
    assert_eq!(one("a", "x-a", "[a, none]"), at("dimension", "[0].values[1]"));
    assert_eq!(one("a", "x-a", "[\" a\"]"), at("header-value", "[0].values[0]"));
    assert_eq!(one("a", "x-a", "[\"a\\n\"]"), at("header-value", "[0].values[0]"));
    assert_eq!(one("a", "x-a", "[ä]"), at("header-value", "[0].values[0]"));
    assert_eq!(one("a", "x-a", &format!("[{}]", "a".repeat(64))), at("length", "[0].values[0]"));
    assert_eq!(one("a", "x-a", "[1]"), at("type", "[0].values[0]"));
    let many: Vec<String> = (0..33).map(|number| format!("v{number}")).collect();
    assert_eq!(one("a", "x-a", &format!("[{}]", many.join(", "))), at("too-many", "[0].values"));
    assert_eq!(faults("{name: a, header: x-a}"), at("missing", "[0]"));
    let twice = "{name: a, header: x-a, values: [a]}, {name: a, header: x-b, values: [a]}";
    assert_eq!(faults(twice), at("repeated", "[1]"));
    let five: Vec<String> =
        (0..5).map(|number| format!("{{name: d{number}, header: x-a, values: [a]}}")).collect();
    assert_eq!(faults(&five.join(", ")), at("too-many", ""));
    let unknown = with("metrics: {dimension: []}\n").map(drop).expect_err("refused");
    assert_eq!(unknown, ["unknown-key metrics.dimension"]);
}

#[test]
fn upgrades_and_the_field_with_the_version_are_for_every_route_of_the_service() {
    let loaded = with("  upgrades: [WebSocket, h2c]\n  version_header: X-Version\n").expect("loads");
    let config = &loaded.snapshot.route_configs["service:m.default.svc.cluster.local"];
    let route: &Route = &config.virtual_hosts[0].routes[0];
    let forward = route.forward().expect("forwards");
    assert_eq!(forward.upgrades, ["websocket".into(), "h2c".into()]);
    let header = route.policy.as_ref().and_then(|policy| policy.version_header.as_ref()).expect("a header");
    assert_eq!(header.0, "x-version");
    assert_eq!(faults("  upgrades: [\"a b\"]\n"), ["upgrade services[0].upgrades[0]"]);
    assert_eq!(faults("  version_header: \"a b\"\n"), ["header-name services[0].version_header"]);
}

/// The whole of `tracing:`.
fn tracing(value: &str) -> Result<Option<Tracing>, Vec<String>> {
    with(&format!("tracing: {value}\n")).map(|loaded| loaded.snapshot.tracing)
}

#[test]
fn tracing_is_off_unless_it_names_a_collector() {
    assert_eq!(
        (with("").expect("loads").snapshot.tracing, tracing("off"), tracing("")),
        (None, Ok(None), Ok(None))
    );
    assert_eq!(tracing("{}"), Err(vec!["missing tracing".into()]));
    let by_default = tracing("{endpoint: 'http://otel.observability:4317'}").expect("loads").expect("traces");
    let collector = Address::Dns { host: "otel.observability".into(), port: 4317 };
    assert_eq!((by_default.collector, by_default.protocol), (collector, OtlpProtocol::Grpc));
    assert_eq!((by_default.sample, by_default.timeout), (Fraction::of_percent(1.0), Duration::from_secs(10)));
    assert_eq!((&*by_default.authority, by_default.service_name), ("otel.observability:4317", None));
}

#[test]
fn a_collector_is_a_host_and_a_port_with_a_path_where_its_protocol_has_one() {
    let of = |endpoint: &str| {
        let value =
            format!("{{endpoint: '{endpoint}', protocol: http, sample_percent: 12.5, service_name: edge}}");
        tracing(&value).expect("loads").expect("traces")
    };
    for (endpoint, path) in [
        ("10.0.0.1:4318", "/v1/traces"),
        ("http://10.0.0.1:4318", "/v1/traces"),
        ("http://10.0.0.1:4318/", "/v1/traces"),
        ("http://10.0.0.1:4318/otlp/v1/traces?tenant=a", "/otlp/v1/traces?tenant=a"),
    ] {
        let traced = of(endpoint);
        assert_eq!(traced.protocol, OtlpProtocol::Http { path: path.into() }, "{endpoint}");
        assert_eq!(traced.collector, Address::Socket(([10, 0, 0, 1], 4318).into()));
        assert_eq!((&*traced.authority, traced.sample), ("10.0.0.1:4318", Fraction::of_percent(12.5)));
        assert_eq!(traced.service_name.as_deref(), Some("edge"));
    }
    let unix = of("unix:/run/otlp.sock");
    assert_eq!((unix.collector, &*unix.authority), (Address::Unix("/run/otlp.sock".into()), "localhost"));
}

#[test]
fn what_tracing_cannot_do_is_refused_by_name() {
    for (value, fault) in [
        ("{endpoint: 'https://otel:4317'}", "not-supported tracing.endpoint"),
        ("{endpoint: otel}", "address tracing.endpoint"),
        ("{endpoint: 'http://otel:4318/v1/traces'}", "address tracing.endpoint"),
        ("{endpoint: 'otel:4318/a b', protocol: http}", "address tracing.endpoint"),
        ("{endpoint: 'otel:4317', protocol: zipkin}", "unknown-word tracing.protocol"),
        ("{endpoint: 'otel:4317', sample_percent: 101}", "percent tracing.sample_percent"),
        ("{endpoint: 'otel:4317', timeout: 0s}", "out-of-range tracing.timeout"),
        ("{endpoint: 'otel:4317', service_name: ''}", "empty tracing.service_name"),
        ("{endpoint: 'otel:4317', tls: {}}", "not-supported tracing.tls"),
        ("{endpoint: 'otel:4317', headers: {a: b}}", "not-supported tracing.headers"),
        ("{endpoint: 'otel:4317', sample: 1}", "unknown-key tracing.sample"),
        ("otel:4317", "type tracing"),
    ] {
        assert_eq!(tracing(value), Err(vec![fault.to_owned()]), "{value}");
    }
}

#[test]
fn a_collector_at_an_address_of_our_own_is_refused_as_an_endpoint_is() {
    let own = || Err(vec!["own-address tracing.endpoint".to_owned()]);
    for address in [
        "http://127.0.0.1:80",
        "http://localhost:80",
        "http://127.0.0.1:15000",
        "http://10.0.0.9:15090",
        "http://0.0.0.0:15090",
    ] {
        let environment = Environment { pod_ip: "10.0.0.9".parse().ok(), ..Environment::default() };
        let found = with_in(&format!("tracing: {{endpoint: '{address}'}}\n"), &environment);
        assert_eq!(found.map(|loaded| loaded.snapshot.tracing), own(), "{address}");
    }
    assert!(tracing("{endpoint: 'http://10.0.0.9:80'}").is_ok(), "nobody says that this is ours");
}

#[test]
fn a_dimension_of_what_usually_carries_credentials_is_warned_about() {
    let warned = |header: &str| {
        let loaded =
            with(&format!("metrics: {{dimensions: [{{name: key, header: {header}, values: [a]}}]}}\n"));
        loaded
            .expect("loads")
            .warnings
            .iter()
            .map(|one| format!("{} {}", one.code, one.path))
            .collect::<Vec<_>>()
    };
    assert_eq!(warned("X-Api-Key"), ["credentials metrics.dimensions[0].header"]);
    assert_eq!(warned("x-tenant"), [""; 0]);
}
