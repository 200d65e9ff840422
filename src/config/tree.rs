//! A parsed document: nodes that know where they stand, and what a plain scalar means.
//!
//! Law: YAML 1.2's core schema. A quoted scalar is a string, whatever it looks like; a plain `1.10` is a number, so
//! a reader of strings can tell its author to quote it. Nothing here knows a key.

/// Where a node starts: line and column from 1, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// One value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Its text; `plain` when written without quotes.
    Scalar { text: String, plain: bool },
    /// In order.
    Sequence(Vec<Node>),
    /// In order; no key stands twice.
    Mapping(Vec<Entry>),
}

/// One `key: value`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_at: Position,
    pub(crate) value: Node,
}

/// What a scalar is by the core schema. Numbers keep their text: only their reader knows the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Integer,
    Float,
    String,
}

impl Node {
    /// What it holds, for people.
    pub(crate) fn kind_name(&self) -> &'static str {
        match &self.value {
            Value::Sequence(_) => "a sequence",
            Value::Mapping(_) => "a mapping",
            Value::Scalar { text, plain } => match scalar_kind(text, *plain) {
                ScalarKind::Null => "nothing",
                ScalarKind::Bool(_) => "a boolean",
                ScalarKind::Integer | ScalarKind::Float => "a number",
                ScalarKind::String => "a string",
            },
        }
    }

    /// Whether it is `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain } if scalar_kind(text, *plain) == ScalarKind::Null)
    }

    /// Whether it is `true`.
    pub(crate) fn is_true(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain } if scalar_kind(text, *plain) == ScalarKind::Bool(true))
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
            }
            _ => None,
        }
    }
}

/// The core schema's table (YAML 1.2.2, 10.3.2).
pub(crate) fn scalar_kind(text: &str, plain: bool) -> ScalarKind {
    if !plain {
        return ScalarKind::String;
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
        "true" | "True" | "TRUE" => ScalarKind::Bool(true),
        "false" | "False" | "FALSE" => ScalarKind::Bool(false),
        _ if is_integer(text) => ScalarKind::Integer,
        _ if is_float(text) => ScalarKind::Float,
        _ => ScalarKind::String,
    }
}

fn is_integer(text: &str) -> bool {
    let all =
        |digits: &str, allowed: fn(&u8) -> bool| !digits.is_empty() && digits.as_bytes().iter().all(allowed);
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |digit| matches!(digit, b'0'..=b'7'));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, u8::is_ascii_hexdigit);
    }
    all(text.strip_prefix(['-', '+']).unwrap_or(text), u8::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let starts_well = unsigned.starts_with(|first: char| first.is_ascii_digit())
        || unsigned
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    starts_well && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_the_core_schema_says_and_quoted_ones_are_strings() {
        for (text, kind) in [
            ("", ScalarKind::Null),
            ("~", ScalarKind::Null),
            ("True", ScalarKind::Bool(true)),
            ("no", ScalarKind::String),
            ("12", ScalarKind::Integer),
            ("-0", ScalarKind::Integer),
            ("0o17", ScalarKind::Integer),
            ("0o8", ScalarKind::String),
            ("0xFf", ScalarKind::Integer),
            ("1.10", ScalarKind::Float),
            ("1e999", ScalarKind::Float),
            (".5", ScalarKind::Float),
            (".nan", ScalarKind::Float),
            ("-.inf", ScalarKind::Float),
            ("nan", ScalarKind::String),
            ("inf", ScalarKind::String),
            ("1.2.3", ScalarKind::String),
            ("5s", ScalarKind::String),
        ] {
            assert_eq!(scalar_kind(text, true), kind, "{text:?}");
            assert_eq!(scalar_kind(text, false), ScalarKind::String, "{text:?}");
        }
    }
}
