//! The YAML dialects: bytes -> drafts -> a linked snapshot, with every fault named at once.
//!
//! Law: pure. It opens no file, reads no environment and looks at no clock; the same input gives the same snapshot
//! or the same diagnostics. It knows nothing of sockets, requests or Kubernetes' API.

mod annotations;
mod convert;
mod decode;
mod destination_policy;
mod destination_rule;
pub mod diagnostic;
pub mod draft;
pub mod fields;
mod gateway_api;
pub mod input;
mod link;
mod metadata;
mod names;
mod networking;
mod objects;
mod paths;
mod patterns;
mod route_rule;
mod table;
mod tree;
mod values;
mod virtual_service;
mod weir_yaml;
mod yaml;

use std::path::PathBuf;

use crate::snapshot::Snapshot;

use decode::{Field, Scope};
use objects::Objects;
use patterns::Patterns;
use tree::Node;

pub use convert::{Converted, Settings as ConvertSettings, Target as ConvertTarget, convert};
pub use diagnostic::{Diagnostic, Diagnostics, Origin, Severity};
pub use input::{Document, Environment, MAX_FILE_BYTES};

/// A configuration that may be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The linked whole.
    pub snapshot: Snapshot,
    /// Objects read from rule files, those kept out by a warning among them.
    pub rules: usize,
    /// What probably was not meant; by file and line.
    pub warnings: Diagnostics,
}

/// What a file is, by its top level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The native configuration, `weir.yaml`.
    Weir,
    /// Rules: documents with `apiVersion` and `kind`.
    Rules,
}

/// Reads `main` (a `weir.yaml`) and the rule files it names, and links them. All or nothing; the error holds the
/// warnings as well, those of linking if every object could be read. Diagnostics come by file and line.
pub fn load(main: &Document, rules: &[Document], environment: &Environment) -> Result<Loaded, Diagnostics> {
    let mut found = Diagnostics::new();
    let draft = read(main, &mut found, |nodes, scope| {
        let node = single(nodes, scope)?;
        weir_yaml::decode(node, scope, environment)
    });
    let objects = read_rules(rules, &mut found);
    // Beside an object that was left out, warnings of what is missing or idle would be about that.
    let whole = !found.has_errors();
    let snapshot = draft.flatten().and_then(|draft| {
        let (snapshot, diagnostics) = link::link(&draft, &objects, environment);
        found.extend(diagnostics.into_iter().filter(|one| whole || one.severity == Severity::Error));
        snapshot
    });
    match snapshot {
        Some(snapshot) if !found.has_errors() => {
            Ok(Loaded { snapshot, rules: objects.len(), warnings: found.sorted() })
        }
        _ => Err(found.sorted()),
    }
}

/// The entries of `rules:` as written: files or directories, relative to the folder of `main`. Reads nothing
/// else: whatever else is wrong in `main` is left to [`load`].
pub fn rule_paths(main: &Document) -> Result<Vec<PathBuf>, Diagnostics> {
    let mut found = Diagnostics::new();
    let paths = read(main, &mut found, |nodes, scope| {
        nodes.first().map(|node| weir_yaml::rule_paths(node, scope)).unwrap_or_default()
    });
    paths.filter(|_| !found.has_errors()).ok_or(found)
}

/// What `document` is. The error says why it cannot be read at all.
pub fn file_kind(document: &Document) -> Result<FileKind, Diagnostics> {
    let mut found = Diagnostics::new();
    let kind = read(document, &mut found, |nodes, _| match nodes.iter().any(objects::is_object) {
        true => FileKind::Rules,
        false => FileKind::Weir,
    });
    kind.ok_or(found)
}

/// Reads rule files on their own: everything is checked but whether their hosts, labels and callers exist. Returns
/// how many objects there are, and the warnings.
pub fn validate_rules(rules: &[Document]) -> Result<(usize, Diagnostics), Diagnostics> {
    let mut found = Diagnostics::new();
    let objects = read_rules(rules, &mut found);
    found.extend(link::duplicates(&objects));
    match found.has_errors() {
        false => Ok((objects.len(), found.sorted())),
        true => Err(found.sorted()),
    }
}

/// Parses one file and hands its documents to `decode`; gathers what either finds.
fn read<T>(
    document: &Document,
    found: &mut Diagnostics,
    decode: impl FnOnce(&[Node], &Scope) -> T,
) -> Option<T> {
    let scope = Scope::new(&document.name);
    let decoded = match yaml::parse(&document.bytes) {
        Ok(nodes) => Some(decode(&nodes, &scope)),
        Err(error) => {
            tell_unreadable(&scope, error);
            None
        }
    };
    found.extend(scope.into_found());
    decoded
}

/// The only fault of a file that cannot be read to its end.
fn tell_unreadable(scope: &Scope, error: yaml::Unreadable) {
    scope.forget();
    scope.push(Diagnostic {
        origin: scope.origin(error.at),
        path: String::new(),
        severity: Severity::Error,
        code: error.code,
        reason: error.reason.into_owned(),
        help: error.help.map(str::to_owned),
    });
}

fn read_rules(documents: &[Document], found: &mut Diagnostics) -> Objects {
    let patterns = Patterns::default();
    let mut all = Objects::default();
    for document in documents {
        let (scope, before) = (Scope::new(&document.name), (all.routes.len(), all.traffic.len()));
        let decode = |node: Node| objects::decode(&node, &scope, &patterns, &mut all);
        if let Err(error) = yaml::each_document(&document.bytes, decode) {
            all.truncate(before);
            tell_unreadable(&scope, error);
        }
        found.extend(scope.into_found());
    }
    all
}

/// The only document of a `weir.yaml`.
fn single<'n>(nodes: &'n [Node], scope: &Scope) -> Option<&'n Node> {
    for more in nodes.iter().skip(1) {
        let help = "rules belong to files of their own, named under `rules`";
        Field::root(more, scope).fault_with("documents", "it holds more than one document", help);
    }
    nodes.first()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Limits, LogFormat};

    fn document(text: &str) -> Document {
        Document { name: "weir.yaml".into(), bytes: text.into() }
    }

    /// A right configuration with `rest` as further keys.
    fn with(rest: &str, environment: &Environment) -> Result<Loaded, Diagnostics> {
        let text = "listeners: [{name: a, address: \"0.0.0.0:8500\"}]\n\
                    services: [{name: m, endpoints: [{address: \"10.0.0.7:8500\"}]}]\n";
        load(&document(&format!("{text}{rest}\n")), &[], environment)
    }

    #[test]
    fn what_the_file_leaves_out_is_the_documented_default() {
        let loaded = with("", &Environment::default()).expect("loads");
        assert_eq!(loaded.snapshot.limits, Limits::default());
        assert_eq!(with("limits: {}\nadmin:\ndrain: ~", &Environment::default()), Ok(loaded));
    }

    #[test]
    fn the_node_comes_from_the_file_then_from_the_environment() {
        let variables =
            [("POD_NAME", "pod-7"), ("POD_NAMESPACE", "kubeflow"), ("WEIR_CLUSTER", ""), ("HOSTNAME", "h")];
        let find =
            |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let environment = Environment::from_variables(find);
        let node = with("node: {namespace: web, labels: {app: inception}}", &environment)
            .expect("loads")
            .snapshot
            .node;
        assert_eq!((&*node.id, &*node.namespace, &*node.cluster), ("pod-7", "web", "inception"));
    }

    #[test]
    fn the_log_format_is_checked_by_whoever_prints_it() {
        let environment =
            Environment { check_log_format: |_| Err("no such operator".into()), ..Environment::default() };
        let found = with("access_log: {format: \"%X%\"}", &environment).expect_err("refused");
        assert_eq!(found.iter().next().map(|one| one.reason.as_str()), Some("no such operator"));
        let loaded = with("access_log: {format: \"%X%\"}", &Environment::default()).expect("loads");
        assert_eq!(loaded.snapshot.access_log.map(|log| log.format), Some(LogFormat::Custom("%X%".into())));
    }

    #[test]
    fn an_endpoint_at_the_pods_own_address_is_ourselves() {
        let pod_ip = |ip: &str| Environment { pod_ip: ip.parse().ok(), ..Environment::default() };
        assert!(with("", &pod_ip("10.0.0.8")).is_ok());
        let found = with("", &pod_ip("10.0.0.7")).expect_err("refused");
        assert_eq!(found.iter().next().map(|one| one.code), Some("own-address"));
    }

    #[test]
    fn rule_paths_are_found_whatever_else_is_wrong() {
        let paths = rule_paths(&document("listeners: 7\nrules: [rules/, a.yaml]\n"));
        assert_eq!(paths, Ok(vec!["rules/".into(), "a.yaml".into()]));
        assert_eq!(rule_paths(&document("listeners: 7\n")), Ok(Vec::new()));
        assert!(rule_paths(&document("rules: [7]\n")).is_err());
        assert!(rule_paths(&document("rules: [")).is_err());
    }

    #[test]
    fn faults_of_all_files_are_told_at_once_by_file_and_line() {
        let rule = Document { name: "a-rule.yaml".into(), bytes: b"kind: Pod".to_vec() };
        let found = load(&document("listeners: []\nservices: []\n"), &[rule], &Environment::default());
        let lines: Vec<_> =
            found.expect_err("refused").iter().map(|one| one.origin.file_and_line()).collect();
        assert_eq!(lines, ["a-rule.yaml:1", "weir.yaml:1", "weir.yaml:2"]);
    }

    #[test]
    fn what_is_missing_because_an_object_is_at_fault_is_not_told_beside_its_fault() {
        let main = "listeners: [{name: a, address: \"0.0.0.0:80\", service: m}]\nservices: [{name: m, endpoints: \
                    [{address: \"10.0.0.1:80\", labels: {version: v1}}]}]\n";
        let rules = |labels: &str| Document {
            name: "rules.yaml".into(),
            bytes: format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: m}}\n\
                 spec: {{hosts: [m], http: [{{route: [{{destination: {{host: m, subset: v1}}}}]}}]}}\n---\n\
                 apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: m}}\n\
                 spec: {{host: m, subsets: [{{name: v1, {labels}}}]}}\n"
            )
            .into(),
        };
        let told = |labels: &str| {
            let loaded = load(&document(main), &[rules(labels)], &Environment::default());
            let found = loaded.map_or_else(|found| found, |loaded| loaded.warnings);
            found.iter().map(|one| one.code).collect::<Vec<_>>()
        };
        assert_eq!(told("labels: {version: v1}"), [""; 0]);
        assert_eq!(told("labels: {version: v9}"), ["no-endpoints"]);
        assert_eq!(told("lables: {version: v1}"), ["unknown-key"], "the subset is there, and not to be read");
    }

    #[test]
    fn a_reload_compiles_the_expressions_that_are_new_and_no_other() {
        use crate::snapshot::pattern::tests::compiled;
        let load_with = |regexes: &[&str]| {
            let rule = |regex: &&str| {
                format!(
                    "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: \"{regex}\"}}\n\
                     spec: {{destination: {{name: m}}, match: {{request: {{headers: {{uri: {{regex: \"/{regex}/.*\"}}, \
                     x-user: {{regex: \"/{regex}/.*\"}}}}}}}}, route: [{{labels: {{}}}}]}}\n"
                )
            };
            let rules = Document {
                name: "rules.yaml".into(),
                bytes: regexes.iter().map(rule).collect::<String>().into(),
            };
            let main = document(
                "listeners: [{name: a, address: \"0.0.0.0:80\"}]\nservices: [{name: m, endpoints: []}]\n",
            );
            let compiled_before = compiled();
            let loaded =
                load(&main, &[rules], &Environment::default()).unwrap_or_else(|found| panic!("{found}"));
            (loaded, compiled() - compiled_before)
        };
        let (in_force, new) = load_with(&["reload-a", "reload-b"]);
        assert_eq!(new, 2, "each once, however often it is written");
        let (next, new) = load_with(&["reload-a", "reload-b"]);
        assert_eq!((new, next == in_force), (0, true));
        drop(in_force);
        assert_eq!(load_with(&["reload-b", "reload-c"]).1, 1);
        drop(next);
        assert_eq!(load_with(&["reload-b"]).1, 1, "what no configuration uses has gone");
    }
}
