//! A JSON line of one's own: an object with texts in it that may hold operators.
//!
//! Law: whatever is filled in, the line is JSON with sorted keys. An operator that stands alone keeps its type: a number is
//! a number, what is missing is null, or left out where that is asked for.
//! Source: Envoy's `json_format` and `omit_empty_values`, seen on Envoy 1.40.

use serde_json::Value;

use super::field::Field;
use super::format::{Format, InvalidFormat, Piece, refuse};
use super::line::{Escape, escape, write_json, write_piece};
use super::record::RequestRecord;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Template {
    node: Node,
    omit_empty: bool,
}

#[derive(Clone, Debug)]
enum Node {
    /// Printed as it stands.
    Fixed(Box<str>),
    /// One operator and nothing beside it.
    Lone(Field),
    /// A text with operators in it.
    Text(Vec<Piece>),
    /// Each with its key as it is printed, and the colon.
    Object(Vec<(Box<str>, Node)>),
    List(Vec<Node>),
}

impl Template {
    /// Of `object`, in `format`, which learns what the operators ask for.
    pub(super) fn new(
        format: &mut Format,
        object: &Value,
        omit_empty: bool,
    ) -> Result<Template, InvalidFormat> {
        match object {
            Value::Object(_) => Ok(Template { node: node(format, object)?, omit_empty }),
            _ => refuse("a format in JSON is an object"),
        }
    }

    /// Appends the record's line, without its newline.
    pub(super) fn write(&self, line: &mut Vec<u8>, record: &RequestRecord) {
        self.write_node(line, &self.node, record);
    }

    /// Whether there is something in what was written.
    fn write_node(&self, line: &mut Vec<u8>, node: &Node, record: &RequestRecord) -> bool {
        match node {
            Node::Fixed(text) => {
                line.extend_from_slice(text.as_bytes());
                &**text != "null"
            }
            Node::Lone(field) => write_json(line, &field.source, field.limit, record),
            Node::Text(pieces) => {
                line.push(b'"');
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => line.extend_from_slice(text.as_bytes()),
                        Piece::Field(field) => {
                            let unset = if self.omit_empty { "" } else { "-" };
                            write_piece(line, field, record, Escape::Json, unset);
                        }
                    }
                }
                line.push(b'"');
                true
            }
            Node::Object(entries) => {
                let entries = entries.iter().map(|(key, node)| (&**key, node));
                self.write_all(line, [b'{', b'}'], entries, record)
            }
            Node::List(nodes) => {
                self.write_all(line, [b'[', b']'], nodes.iter().map(|node| ("", node)), record);
                true // an empty one stays, as in Envoy
            }
        }
    }

    fn write_all<'n>(
        &self,
        line: &mut Vec<u8>,
        [open, close]: [u8; 2],
        entries: impl Iterator<Item = (&'n str, &'n Node)>,
        record: &RequestRecord,
    ) -> bool {
        line.push(open);
        let first = line.len();
        for (key, node) in entries {
            let before = line.len();
            if before > first {
                line.push(b',');
            }
            line.extend_from_slice(key.as_bytes());
            if !self.write_node(line, node, record) && self.omit_empty {
                line.truncate(before);
            }
        }
        let is_there = line.len() > first;
        line.push(close);
        is_there
    }
}

fn node(format: &mut Format, value: &Value) -> Result<Node, InvalidFormat> {
    Ok(match value {
        Value::String(text) => text_node(format.pieces(text)?),
        Value::Object(entries) => {
            let mut entries: Vec<_> = entries.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            let entry = |(key, value): (&String, &Value)| {
                Ok((format!("{}:", quoted(key)).into(), node(format, value)?))
            };
            Node::Object(entries.into_iter().map(entry).collect::<Result<_, _>>()?)
        }
        Value::Array(values) => {
            Node::List(values.iter().map(|value| node(format, value)).collect::<Result<_, _>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Node::Fixed(value.to_string().into()),
    })
}

fn text_node(mut pieces: Vec<Piece>) -> Node {
    if let [Piece::Field(field)] = &pieces[..] {
        return Node::Lone(field.clone());
    }
    for piece in &mut pieces {
        if let Piece::Literal(text) = piece {
            *text = escaped(text);
        }
    }
    match &pieces[..] {
        [] => Node::Fixed("\"\"".into()),
        [Piece::Literal(text)] => Node::Fixed(format!("\"{text}\"").into()),
        _ => Node::Text(pieces),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    let mut line = Vec::new();
    escape(&mut line, text.as_bytes(), Escape::Json);
    String::from_utf8_lossy(&line).into_owned()
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
