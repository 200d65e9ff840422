//! The queries of Istio's dashboards, as `istio.yaml` beside this has them.

use std::collections::{BTreeMap, BTreeSet};

use saphyr_parser::{Event, Parser};
use serde_json::{Map, Value};

/// A dashboard of Istio's.
pub(crate) struct Board {
    pub(crate) name: String,
    /// A variable, and its query; in the order in which they build upon each other.
    pub(crate) variables: Vec<(String, String)>,
    /// What is chosen of those of which one is.
    pub(crate) chosen: BTreeMap<String, String>,
    pub(crate) panels: Vec<Panel>,
}

/// A query of a panel.
pub(crate) struct Panel {
    pub(crate) name: String,
    pub(crate) query: String,
    /// Why it has no data yet.
    pub(crate) empty_until: Option<String>,
}

/// All boards of the file.
pub(crate) fn boards() -> Vec<Board> {
    let file = read(include_str!("istio.yaml"));
    let boards: Vec<Board> = file.as_array().expect("a list").iter().map(board).collect();
    assert_eq!(boards.len(), 5);
    boards
}

fn board(value: &Value) -> Board {
    only(value, &["board", "choose", "variables", "panels"]);
    let fields = |name: &str| {
        let fields = value[name].as_object().into_iter().flatten();
        fields.map(|(name, value)| (name.clone(), text(value))).collect::<Vec<_>>()
    };
    Board {
        name: text(&value["board"]),
        variables: fields("variables"),
        chosen: fields("choose").into_iter().collect(),
        panels: value["panels"].as_array().expect("panels").iter().flat_map(panels).collect(),
    }
}

/// A panel, for each of its quantiles.
fn panels(value: &Value) -> Vec<Panel> {
    only(value, &["panel", "expr", "quantiles", "empty_until"]);
    let (name, query) = (text(&value["panel"]), text(&value["expr"]));
    let empty_until = value.get("empty_until").map(text);
    let one = |name: String, query: String| Panel { name, query, empty_until: empty_until.clone() };
    match value["quantiles"].as_array() {
        None => vec![one(name, query)],
        Some(quantiles) => {
            let each = quantiles.iter().map(text);
            let named = |of: &str| format!("{name}, {}", of.parse::<f64>().expect("a number"));
            each.map(|of| one(named(&of), query.replace("$quantile", &of))).collect()
        }
    }
}

/// A word that is misspelled says nothing.
fn only(value: &Value, known: &[&str]) {
    let known: BTreeSet<&str> = known.iter().copied().collect();
    let keys = value.as_object().expect("a mapping").keys();
    assert!(keys.clone().all(|key| known.contains(key.as_str())), "{keys:?}");
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("text: {value}")).to_owned()
}

/// YAML of texts, lists and mappings.
fn read(yaml: &str) -> Value {
    let mut events = Parser::new_from_str(yaml).map(|event| event.expect("YAML").0);
    loop {
        match events.next().expect("a document") {
            Event::StreamStart | Event::DocumentStart(_) => {}
            first => return value(first, &mut events),
        }
    }
}

fn value<'y>(first: Event<'y>, events: &mut impl Iterator<Item = Event<'y>>) -> Value {
    match first {
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut list = Vec::new();
            loop {
                match events.next().expect("the rest") {
                    Event::SequenceEnd => return Value::Array(list),
                    item => list.push(value(item, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut fields = Map::new();
            loop {
                match events.next().expect("the rest") {
                    Event::MappingEnd => return Value::Object(fields),
                    Event::Scalar(name, ..) => {
                        let of = events.next().expect("a value");
                        let of = value(of, events);
                        assert!(fields.insert(name.to_string(), of).is_none(), "{name} twice");
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        other => panic!("{other:?}"),
    }
}
