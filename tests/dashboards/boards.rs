//! The dashboards as they are checked in: each query of each panel, and the variables that it is asked with.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::common::prometheus::Prometheus;

/// What a rate of a panel is taken over, which is Grafana's to choose: all of the traffic, as the panels that name a
/// window do.
pub(crate) const WINDOW: &str = "5m";

/// In place of what stands for all values: each of them, as Grafana writes them where nothing is said.
pub(crate) const EACH: &str = "each of them";

/// A dashboard.
pub(crate) struct Board {
    pub(crate) name: String,
    /// Panel, and its query.
    pub(crate) queries: Vec<(String, String)>,
    variables: Vec<Value>,
}

/// A variable whose values the data gives.
pub(crate) struct Variable {
    pub(crate) name: String,
    /// What `label_values()` is asked for.
    pub(crate) series: String,
    pub(crate) label: String,
    /// What stands for all of them; none: one is chosen.
    pub(crate) all: Option<String>,
}

/// What is shipped, from `deploy/grafana/dashboards`.
pub(crate) fn shipped() -> Vec<Board> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/grafana/dashboards");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let board: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let mut queries = Vec::new();
        panels(&board["panels"], &mut queries);
        for mark in list(&board["annotations"]["list"]) {
            if let Some(expr) = mark["expr"].as_str() {
                queries.push((text(&mark["name"]), expr.to_owned()));
            }
        }
        let variables = list(&board["templating"]["list"]).iter().filter(|one| one["type"] == "query");
        Board { name: text(&board["title"]), queries, variables: variables.cloned().collect() }
    };
    let boards: Vec<Board> = paths.iter().map(read).collect();
    assert_eq!(boards.len(), 3, "{paths:?}");
    boards
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// The queries of panels, and of those that a folded row holds.
fn panels(of: &Value, found: &mut Vec<(String, String)>) {
    for panel in list(of) {
        for target in list(&panel["targets"]) {
            found.push((text(&panel["title"]), text(&target["expr"])));
        }
        panels(&panel["panels"], found);
    }
}

impl Board {
    pub(crate) fn variables(&self) -> Vec<Variable> {
        let read = |variable: &Value| {
            let query = variable["query"]["query"].as_str().or(variable["query"].as_str()).expect("a query");
            let many = variable["includeAll"] == true;
            let all = many.then(|| variable["allValue"].as_str().unwrap_or(".*").to_owned());
            Variable::new(&text(&variable["name"]), query, all)
        };
        self.variables.iter().map(read).collect()
    }
}

impl Variable {
    /// By its `label_values(series, label)`.
    pub(crate) fn new(name: &str, query: &str, all: Option<String>) -> Variable {
        let asked = Regex::new(r"^label_values\((.+), *(\w+)\)$").unwrap();
        let found = asked.captures(query).unwrap_or_else(|| panic!("{query}"));
        Variable { name: name.to_owned(), series: found[1].to_owned(), label: found[2].to_owned(), all }
    }
}

/// Values of variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values(BTreeMap<String, String>);

impl Values {
    /// A value that the data does not give.
    pub(crate) fn with(name: &str, value: &str) -> Values {
        Values(BTreeMap::from([(name.to_owned(), value.to_owned())]))
    }

    /// The variable's value: all of those that the data has, which are those that are `known`, or the one of them that is
    /// `chosen`.
    pub(crate) fn choose(&mut self, variable: Variable, data: &Prometheus, known: &Prometheus, chosen: &str) {
        let (series, name) = (self.fill(&variable.series), variable.name);
        let [found, known] = [data, known].map(|of| of.label_values(&series, &variable.label));
        println!("${name} is one of {found:?}");
        assert_eq!(found, known, "${name}");
        let value = match variable.all {
            Some(all) if all == EACH => {
                let each: Vec<_> =
                    found.iter().map(|value| regex::escape(value).replace('\\', "\\\\")).collect();
                each.join("|")
            }
            Some(all) => all,
            None => {
                assert!(found.iter().any(|value| value == chosen), "${name}: {found:?}");
                chosen.to_owned()
            }
        };
        self.0.insert(name, value);
    }

    /// Another value in place of all.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    /// `query` with the values in their places.
    pub(crate) fn fill(&self, query: &str) -> String {
        let mut filled = query.replace("$__rate_interval", WINDOW);
        // The longest first, as one name may be the beginning of another.
        let mut names: Vec<_> = self.0.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        for (name, value) in names {
            // As Grafana writes what is to be taken letter by letter; what stands for all is taken as it is.
            let literal = if value == ".*" { value.clone() } else { regex::escape(value) };
            filled = filled.replace(&format!("${{{name}:regex}}"), &literal);
            filled = filled.replace(&format!("${name}"), value);
        }
        assert!(!filled.contains('$') || filled.contains("\"$1\""), "{filled}");
        filled
    }
}
