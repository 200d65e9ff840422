//! YAML as JSON, for what is small and ours: no anchors, and plain words as YAML 1.2 reads them.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Every document of `text`.
pub(super) fn documents(text: &str) -> Vec<Value> {
    let mut events = Parser::new_from_str(text).map(|event| event.expect("YAML").0);
    let mut found = Vec::new();
    while let Some(event) = events.next() {
        if matches!(event, Event::DocumentStart(_)) {
            let first = events.next().expect("a document");
            found.push(value(first, &mut events));
        }
    }
    found
}

fn value<'input>(event: Event<'input>, events: &mut impl Iterator<Item = Event<'input>>) -> Value {
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => plain(&text),
        Event::Scalar(text, ..) => Value::String(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            loop {
                match events.next().expect("its end") {
                    Event::SequenceEnd => return Value::Array(items),
                    item => items.push(value(item, events)),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut fields = Map::new();
            loop {
                let name = match events.next().expect("its end") {
                    Event::MappingEnd => return Value::Object(fields),
                    Event::Scalar(name, ..) => name.into_owned(),
                    other => panic!("{other:?} for a name"),
                };
                let event = events.next().expect("a value");
                let value = value(event, events);
                assert!(fields.insert(name.clone(), value).is_none(), "{name} stands twice");
            }
        }
        other => panic!("{other:?}"),
    }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number => number.parse::<i64>().map_or_else(|_| Value::String(number.to_owned()), Value::from),
    }
}
