//! A tree -> YAML in block style, as people write it.
//!
//! Law: what is written reads back as the same tree, under YAML 1.1 too: text that another reader might take for a number, a
//! boolean or a date stands in quotes.

use std::fmt::Write;

use serde_json::Value;

/// One document, with its `---` if it is not the first.
pub(super) fn document(value: &Value, first: bool) -> String {
    let mut text = String::from(if first { "" } else { "---\n" });
    match value {
        Value::Object(_) => block(value, 0, &mut text),
        _ => {
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
    text
}

fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(all) => {
            for (place, (key, value)) in all.iter().enumerate() {
                // The first key stands behind the dash of its list, where it is in one.
                if place > 0 || text.is_empty() || text.ends_with('\n') {
                    let _ = write!(text, "{:indent$}", "");
                }
                text.push_str(&scalar(key));
                text.push(':');
                below(value, indent, text);
            }
        }
        Value::Array(all) => {
            for value in all {
                let _ = write!(text, "{:indent$}- ", "");
                match is_branch(value) {
                    true => block(value, indent + 2, text),
                    false => {
                        text.push_str(&inline(value));
                        text.push('\n');
                    }
                }
            }
        }
        _ => {}
    }
}

/// What stands behind a key: on its line, or on those below.
fn below(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(_) if is_branch(value) => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        // Lists stand under their key, as is the custom in Kubernetes.
        Value::Array(_) if is_branch(value) => {
            text.push('\n');
            block(value, indent, text);
        }
        _ => {
            text.push(' ');
            text.push_str(&inline(value));
            text.push('\n');
        }
    }
}

fn is_branch(value: &Value) -> bool {
    match value {
        Value::Object(all) => !all.is_empty(),
        Value::Array(all) => !all.is_empty(),
        _ => false,
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Bare where that is certain to be a string, else in JSON's quotes, which are YAML's.
fn scalar(text: &str) -> String {
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if starts && text.chars().all(plain) && !words.contains(&text.to_ascii_lowercase().as_str()) {
        return text.to_owned();
    }
    Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tree_is_written_as_people_write_it() {
        let tree = json!({"kind": "A", "spec": {"hosts": ["a.b", "*"], "http": [{"name": "x", "number": [1]}, {}], "e": []}});
        let wanted = "kind: A\nspec:\n  hosts:\n  - a.b\n  - \"*\"\n  http:\n  - name: x\n    number:\n    - 1\n  - {}\n  e: []\n";
        assert_eq!(document(&tree, true), wanted);
        assert_eq!(document(&json!({"a": "no"}), false), "---\na: \"no\"\n");
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_back_as_the_same_tree(texts in proptest::collection::vec("\\PC{0,12}", 1..6)) {
            let tree = json!({"a": texts, "b": {"c": [{"d": texts}, {"e": {"f": 7, "g": texts}}]}, "h": "z"});
            let written = document(&tree, true);
            let nodes = crate::config::yaml::parse(written.as_bytes()).expect("is YAML");
            proptest::prop_assert_eq!(nodes.len(), 1);
            proptest::prop_assert_eq!(read(&nodes[0]), tree);
        }
    }

    fn read(node: &crate::config::tree::Node) -> Value {
        use crate::config::tree::Value as Node;
        match &node.value {
            Node::Scalar { text, plain: true } if text == "7" => json!(7),
            Node::Scalar { text, .. } => json!(text),
            Node::Sequence(all) => all.iter().map(read).collect(),
            Node::Mapping(all) => all.iter().map(|entry| (entry.key.clone(), read(&entry.value))).collect(),
        }
    }
}
