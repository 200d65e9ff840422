//! A `weir.yaml` of any bytes: it is refused with faults that people can read, or it is a snapshot that holds
//! together; and the same bytes say the same every time.

use std::collections::BTreeSet;

use weir::config::{Diagnostics, Document, Environment, Loaded, Severity, load, rule_paths};
use weir::snapshot::Snapshot;
use weir::telemetry::Format;

/// See the module.
pub fn check(data: &[u8]) {
    let main = document("weir.yaml", data);
    match load_all(&main, &[]) {
        Ok(loaded) => {
            readable(&loaded.warnings, &[&main]);
            assert!(loaded.warnings.iter().all(|one| one.severity == Severity::Warning));
            holds_together(&loaded);
            assert!(rule_paths(&main).is_ok(), "what loads names its rules");
        }
        Err(found) => {
            readable(&found, &[&main]);
            assert!(found.has_errors(), "refused for no reason");
        }
    }
}

/// A document of these bytes.
pub fn document(name: &str, data: &[u8]) -> Document {
    Document { name: name.to_owned(), bytes: data.to_vec() }
}

/// What the sidecar does, twice.
pub fn load_all(main: &Document, rules: &[Document]) -> Result<Loaded, Diagnostics> {
    let check_log_format = |format: &str| Format::parse(format).map(drop).map_err(|error| error.to_string());
    let check_log_text = |text: &str| Format::check_text(text).map_err(|error| error.to_string());
    let environment = Environment {
        pod_ip: "10.0.0.7".parse().ok(),
        pod_namespace: Some("kubeflow".into()),
        check_log_format,
        check_log_text,
        ..Environment::default()
    };
    let first = load(main, rules, &environment);
    let second = load(main, rules, &environment);
    assert_eq!(first, second, "the same files say two things");
    first
}

/// Each fault is one line, and stands in a line that its file has.
pub fn readable(found: &Diagnostics, files: &[&Document]) {
    for one in found.iter() {
        let shown = one.to_string();
        assert!(!shown.contains(char::is_control), "{shown:?} is not one line");
        assert!(!one.reason.is_empty() && !one.code.is_empty(), "{shown:?} gives no reason");
        let file = files.iter().find(|file| *file.name == *one.origin.file);
        let Some(file) = file else { panic!("{shown:?} is about no file") };
        // YAML ends lines with CR, too; what is missing at the end stands in the line behind the last.
        let lines = 2 + file.bytes.iter().filter(|&&byte| matches!(byte, b'\n' | b'\r')).count();
        assert!(one.origin.line as usize <= lines, "{shown:?} stands behind the last of {lines} lines");
    }
}

/// What the types of a snapshot do not say, and its readers rely on.
pub fn holds_together(loaded: &Loaded) {
    let snapshot: &Snapshot = &loaded.snapshot;
    // What a rule names and nobody declares gets 503, or 500 in the Gateway API.
    let is_told = !loaded.warnings.is_empty();
    assert!(serde_json::to_string(snapshot).is_ok(), "a snapshot can be printed");
    assert!(!snapshot.listeners.is_empty());
    assert!(snapshot.listeners.is_sorted_by(|a, b| a.name < b.name), "names of listeners");
    let mut addresses = BTreeSet::new();
    for listener in &snapshot.listeners {
        assert!(addresses.insert(listener.address.to_string()), "{} twice", listener.address);
        assert!(!listener.filter_chains.is_empty());
        for chain in &listener.filter_chains {
            assert!(snapshot.route_configs.contains_key(&chain.route_config), "{}", chain.route_config);
        }
    }
    for (name, config) in &snapshot.route_configs {
        assert_eq!(*name, config.name);
        let mut domains = BTreeSet::new();
        for host in &config.virtual_hosts {
            for domain in &host.domains {
                assert!(domains.insert(domain), "{domain:?} stands twice in {name}");
            }
            let before =
                host.after.as_ref().map(|name| config.virtual_hosts.iter().find(|one| one.name == *name));
            assert!(before.is_none_or(|one| one.is_some_and(|one| one.after.is_none())), "{:?}", host.after);
            let routes: Vec<_> = config.routes_of(host).collect();
            let last = routes.len().saturating_sub(1);
            for (place, route) in routes.into_iter().enumerate() {
                assert!(place == last || !route.matches.is_catch_all(), "{} hides others", route.name);
                let Some(forward) = route.forward() else { continue };
                let sum: u64 = forward.versions.iter().map(|version| u64::from(version.weight)).sum();
                assert!(sum > 0, "{} sends nowhere", route.name);
                let is_there = |cluster| snapshot.clusters.contains_key(cluster);
                let mut targets = forward.versions.iter();
                let whole = targets.all(|one| is_there(&one.grpc_cluster) && is_there(&one.http_cluster));
                assert!(whole || is_told, "{} leads to no cluster, and nobody is told", route.name);
                let known = snapshot.services.contains_key(&forward.service);
                assert!(known || is_told, "{} is no service, and nobody is told", forward.service);
            }
        }
    }
    for (name, cluster) in &snapshot.clusters {
        assert_eq!(*name, cluster.name);
    }
    for (host, service) in &snapshot.services {
        assert_eq!(*host, service.host);
        assert!(service.versions.is_sorted());
    }
}
