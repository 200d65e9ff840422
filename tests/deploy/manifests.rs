//! Every Kubernetes manifest of `deploy/` has the fields that its kind has, under their names: `kubectl` would pass over some
//! that are mistyped, and a cluster would do without what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Map, Value};

use super::yaml::documents;
use crate::{files, read, root, run};

/// Files that other programs read: Prometheus, Grafana.
const OTHERS: [&str; 5] = [
    "deploy/grafana/provisioning/dashboards/weir.yaml",
    "deploy/grafana/provisioning/datasources/weir.yaml",
    "deploy/prometheus/prometheus.yml",
    "deploy/prometheus/rules/weir-alerts.yaml",
    "deploy/prometheus/rules/weir-versions.yaml",
];

struct Schema(Value);

impl Schema {
    fn read() -> Schema {
        let mut found = documents(&read(&root().join("tests/deploy/schema.yaml")));
        Schema(found.remove(0))
    }

    fn fields(&self, of: &str, name: &str) -> Option<&Map<String, Value>> {
        self.0[of].get(name)?.as_object()
    }

    /// What is wrong with `value` at `path`, which should be a `kind`.
    fn check(&self, path: &str, value: &Value, kind: &str, faults: &mut Vec<String>) {
        let right = match kind {
            "any" => true,
            "string" => value.is_string(),
            "int" => value.is_i64(),
            "bool" => value.is_boolean(),
            "port" | "quantity" => value.is_string() || value.is_i64(),
            "strings" => value.as_object().is_some_and(|map| map.values().all(Value::is_string)),
            list if list.starts_with('[') => match value.as_array() {
                None => false,
                Some(items) => {
                    let of = &list[1..list.len() - 1];
                    for (number, item) in items.iter().enumerate() {
                        self.check(&format!("{path}[{number}]"), item, of, faults);
                    }
                    !items.is_empty()
                }
            },
            named => {
                let fields = self.fields("types", named).unwrap_or_else(|| panic!("no type {named}"));
                return self.check_fields(path, value, fields, faults);
            }
        };
        if !right {
            faults.push(format!("{path}: {value} is no {kind}"));
        }
    }

    fn check_fields(&self, path: &str, value: &Value, fields: &Map<String, Value>, faults: &mut Vec<String>) {
        let Some(object) = value.as_object() else {
            return faults.push(format!("{path}: {value} is no object"));
        };
        for (name, value) in object {
            match fields.get(name).and_then(Value::as_str) {
                Some(kind) => {
                    self.check(&format!("{path}.{name}"), value, kind.trim_end_matches('!'), faults)
                }
                None => faults.push(format!("{path}: there is no field `{name}`")),
            }
        }
        for (name, kind) in fields {
            if kind.as_str().is_some_and(|kind| kind.ends_with('!')) && !object.contains_key(name) {
                faults.push(format!("{path}: the field `{name}` is missing"));
            }
        }
    }

    /// What is wrong with a whole object.
    fn check_object(&self, path: &str, value: &Value, faults: &mut Vec<String>) {
        let text = |name: &str| value[name].as_str().unwrap_or_default();
        let kind = format!("{}/{}", text("apiVersion"), text("kind"));
        let Some(fields) = self.fields("kinds", &kind) else {
            return faults.push(format!("{path}: no kind {kind}"));
        };
        let mut rest = value.clone();
        let object = rest.as_object_mut().expect("it has a kind");
        object.remove("apiVersion");
        object.remove("kind");
        self.check_fields(path, &rest, fields, faults);
    }
}

/// Each manifest with the file that it stands in.
fn manifests() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for path in files("deploy", &[".yaml", ".yml"]) {
        let name = path.strip_prefix(root()).expect("below it").to_string_lossy().into_owned();
        if !OTHERS.contains(&&*name) {
            found.extend(documents(&read(&path)).into_iter().map(|document| (name.clone(), document)));
        }
    }
    found
}

#[test]
fn every_manifest_has_the_fields_of_its_kind_under_their_names() {
    let (schema, mut faults, mut kinds) = (Schema::read(), Vec::new(), BTreeSet::new());
    for (file, manifest) in manifests() {
        // A file's last document may be a comment.
        if manifest.is_null() {
            continue;
        }
        if let Some(fields) = schema.fields("patches", &file) {
            schema.check_fields(&file, &manifest, fields, &mut faults);
            continue;
        }
        kinds.insert(manifest["kind"].as_str().unwrap_or_default().to_owned());
        schema.check_object(&file, &manifest, &mut faults);
    }
    assert!(faults.is_empty(), "{faults:#?}");
    for kind in ["Deployment", "HTTPRoute", "Ingress", "Mapping", "PodMonitor", "PrometheusRule", "Service"] {
        assert!(kinds.contains(kind), "no {kind}: {kinds:?}");
    }
}

/// Grafana tells browsers the scheme that they use: that of an ingress which ends TLS, not its own.
#[test]
fn grafana_is_told_the_address_that_its_ingresses_have() {
    let all = manifests();
    let one = |kind: &str, name: &str| -> &Value {
        let mut found = all.iter().filter(|(file, manifest)| {
            file.starts_with("deploy/ingress/")
                && manifest["kind"] == kind
                && manifest["metadata"]["name"] == name
        });
        &found.next().unwrap_or_else(|| panic!("no {kind} {name}")).1["spec"]
    };
    let (_, patch) =
        all.iter().find(|(file, _)| file == "deploy/ingress/grafana-prefix.yaml").expect("the patch");
    let container = &patch["spec"]["template"]["spec"]["containers"][0];
    let env = |name: &str| -> Option<&str> {
        let mut named = container["env"].as_array()?.iter().filter(|env| env["name"] == name);
        named.next()?["value"].as_str()
    };
    let (ingress, route, mapping, slash) = (
        one("Ingress", "grafana"),
        one("HTTPRoute", "grafana"),
        one("Mapping", "grafana"),
        one("Mapping", "grafana-slash"),
    );
    let domain = env("GF_SERVER_DOMAIN").expect("a domain");
    for named in [
        &ingress["tls"][0]["hosts"][0],
        &ingress["rules"][0]["host"],
        &route["hostnames"][0],
        &mapping["hostname"],
        &slash["hostname"],
        &slash["service"],
    ] {
        assert_eq!(named, domain);
    }
    let scheme = if ingress["tls"].is_array() { "https" } else { "http" };
    let root_url = format!("{scheme}://%(domain)s/grafana/");
    assert_eq!(env("GF_SERVER_ROOT_URL"), Some(&*root_url));
    assert_eq!(env("GF_SERVER_SERVE_FROM_SUB_PATH"), Some("true"));
    // With https, Grafana itself would speak TLS: to the probe below, and to every ingress.
    for (file, manifest) in &all {
        assert!(!manifest.to_string().contains("GF_SERVER_PROTOCOL"), "{file}");
    }
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/grafana/api/health");
    // The prefix with its slash goes to Grafana, and the one without leads there.
    assert_eq!((&mapping["prefix"], &mapping["rewrite"]), (&"/grafana/".into(), &"".into()));
    assert_eq!((&slash["prefix"], &slash["prefix_exact"]), (&"/grafana".into(), &true.into()));
    assert_eq!((&slash["path_redirect"], &slash["host_redirect"]), (&"/grafana/".into(), &true.into()));
    assert_eq!(route["rules"][0]["filters"][0]["requestRedirect"]["path"]["replaceFullPath"], "/grafana/");
    assert_eq!(ingress["rules"][0]["http"]["paths"][0]["path"], "/grafana");
}

/// The program that applies them; not one of `tests/parts`, as no registry that it uses has a kustomize of these years.
fn kubectl() -> Option<&'static Path> {
    let version = Command::new("kubectl").args(["version", "--client"]).stdin(Stdio::null()).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Some(Path::new("kubectl"));
    }
    let _ = writeln!(std::io::stderr(), "SKIPPED kubectl_builds_every_kustomization: there is no kubectl");
    None
}

#[test]
fn kubectl_builds_every_kustomization() {
    let Some(kubectl) = kubectl() else { return };
    let mut built = BTreeMap::new();
    for path in files("deploy", &["kustomization.yaml"]) {
        let folder = path.parent().expect("a folder");
        let output = run(kubectl, &["kustomize", &folder.to_string_lossy()]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", folder.display());
        let objects = documents(&String::from_utf8(output.stdout).expect("text"));
        let name =
            folder.strip_prefix(root().join("deploy")).expect("below it").to_string_lossy().into_owned();
        built.insert(name, objects);
    }
    let kinds = |folder: &str| -> BTreeMap<String, usize> {
        let mut kinds = BTreeMap::new();
        for object in &built[folder] {
            *kinds.entry(object["kind"].as_str().expect("a kind").to_owned()).or_default() += 1;
        }
        kinds
    };
    let counts =
        |counts: &[(&str, usize)]| counts.iter().map(|&(kind, count)| (kind.to_owned(), count)).collect();
    let expected: [(&str, BTreeMap<String, usize>); 4] = [
        ("grafana", counts(&[("ConfigMap", 3)])),
        ("grafana/provisioning", counts(&[("ConfigMap", 2)])),
        ("prometheus", counts(&[("ConfigMap", 2)])),
        ("prometheus/operator", counts(&[("PodMonitor", 1), ("PrometheusRule", 1)])),
    ];
    for (folder, wanted) in expected {
        assert_eq!(kinds(folder), wanted, "{folder}");
    }
    // The addon is one namespace with all of it: what its Deployments name has been made, under that name.
    let addons = &built["addons"];
    assert_eq!(kinds("addons")["Deployment"], 3);
    for object in addons {
        let whole =
            ["Namespace", "ClusterRole", "ClusterRoleBinding"].iter().any(|kind| object["kind"] == *kind);
        assert!(whole || object["metadata"]["namespace"] == "weir-monitoring", "{}", object["metadata"]);
    }
    let maps: BTreeSet<&str> = addons
        .iter()
        .filter(|object| object["kind"] == "ConfigMap")
        .filter_map(|object| object["metadata"]["name"].as_str())
        .collect();
    let wanted =
        ["alertmanager", "grafana-dashboards", "grafana-datasources", "prometheus", "prometheus-rules"];
    assert!(wanted.iter().all(|name| maps.contains(name)) && maps.len() == 8, "{maps:?}");
    // And the patch fits the Deployment that it is for.
    let grafana = addons
        .iter()
        .find(|object| object["kind"] == "Deployment" && object["metadata"]["name"] == "grafana");
    let patch = documents(&read(&root().join("deploy/ingress/grafana-prefix.yaml"))).remove(0);
    let name = |of: &Value| of["spec"]["template"]["spec"]["containers"][0]["name"].clone();
    assert_eq!(name(grafana.expect("Grafana")), name(&patch));
}

#[test]
fn a_field_that_is_mistyped_missing_or_of_another_type_is_found() {
    let schema = Schema::read();
    let monitor = manifests().into_iter().map(|(_, manifest)| manifest);
    let monitor = monitor.into_iter().find(|manifest| manifest["kind"] == "PodMonitor").expect("one");
    let faults = |edit: &dyn Fn(&mut Value)| {
        let mut manifest = monitor.clone();
        edit(&mut manifest);
        let mut faults = Vec::new();
        schema.check_object("x", &manifest, &mut faults);
        faults
    };
    assert_eq!(faults(&|_| {}), Vec::<String>::new());
    let renamed = faults(&|monitor| {
        let endpoints = monitor["spec"]["podMetricsEndpoints"].take();
        let spec = monitor["spec"].as_object_mut().expect("fields");
        spec.remove("podMetricsEndpoints");
        spec.insert("podMetricsEndpoint".to_owned(), endpoints);
    });
    let expected = [
        "x.spec: there is no field `podMetricsEndpoint`",
        "x.spec: the field `podMetricsEndpoints` is missing",
    ];
    assert_eq!(renamed, expected);
    let number = faults(&|monitor| monitor["spec"]["podMetricsEndpoints"][0]["port"] = 15090.into());
    assert_eq!(number, ["x.spec.podMetricsEndpoints[0].port: 15090 is no string"]);
    assert_eq!(faults(&|monitor| monitor["kind"] = "PodMonitors".into()).len(), 1);
}

/// What a kustomization's ConfigMaps, a Deployment's volumes and an Ingress' backends name is there.
#[test]
fn what_the_addons_manifests_name_of_each_other_is_there() {
    let all = manifests();
    let named = |kind: &str| -> BTreeSet<String> {
        let mine = all.iter().filter(|(_, manifest)| manifest["kind"] == kind);
        mine.filter_map(|(_, manifest)| Some(manifest["metadata"]["name"].as_str()?.to_owned())).collect()
    };
    let mut maps = named("ConfigMap");
    for (_, manifest) in &all {
        for generated in manifest["configMapGenerator"].as_array().into_iter().flatten() {
            maps.insert(generated["name"].as_str().expect("a name").to_owned());
        }
    }
    let mut wanted = BTreeSet::new();
    for (_, manifest) in all.iter().filter(|(_, manifest)| manifest["kind"] == "Deployment") {
        let pod = &manifest["spec"]["template"];
        assert_eq!(manifest["spec"]["selector"]["matchLabels"], pod["metadata"]["labels"]);
        let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
        let mounts = pod["spec"]["containers"][0]["volumeMounts"].as_array().expect("mounts");
        let names = |list: &[Value]| -> BTreeSet<String> {
            list.iter().filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect()
        };
        assert_eq!(names(volumes), names(mounts));
        for volume in volumes {
            let projected = volume["projected"]["sources"].as_array().into_iter().flatten();
            for source in projected.chain([volume]) {
                wanted.extend(source["configMap"]["name"].as_str().map(str::to_owned));
            }
        }
    }
    assert!(wanted.len() >= 8 && wanted.is_subset(&maps), "{wanted:?} of {maps:?}");
}
