//! Mappings with known keys: an unknown one is told of with the nearest known one, one that does not work yet by name.
//!
//! Law: no key is ever ignored.

use super::decode::Field;
use super::diagnostic::{Diagnostic, Severity};
use super::names::nearest;
use super::tree::{Entry, Value};

/// The keys that a mapping may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    /// Read by now.
    pub(crate) known: &'static [&'static str],
    /// Refused by name until they work.
    pub(crate) later: &'static [&'static str],
    /// Refused by name for good, and why.
    pub(crate) never: &'static [(&'static str, &'static str)],
    /// Whether `snake_case` stands for `camelCase`, as in protobuf's JSON.
    pub(crate) proto: bool,
}

impl Keys {
    /// Exactly these.
    pub(crate) const fn of(known: &'static [&'static str]) -> Keys {
        Keys { known, later: &[], never: &[], proto: false }
    }
}

/// A mapping with known keys.
#[derive(Debug)]
pub(crate) struct Table<'n> {
    pub(crate) field: Field<'n>,
    entries: Vec<(&'static str, &'n Entry)>,
}

impl<'n> Table<'n> {
    /// Reads the keys of `field`; tells of those that are unknown, too early, or given in both spellings.
    pub(crate) fn new(field: &Field<'n>, keys: &Keys) -> Option<Table<'n>> {
        let Value::Mapping(all) = &field.node.value else {
            field.wrong_type("a mapping", None);
            return None;
        };
        let mut entries: Vec<(&'static str, &'n Entry)> = Vec::with_capacity(all.len());
        for entry in all {
            let Some(key) = known_key(field, keys, entry) else { continue };
            match entries.iter().any(|(other, _)| *other == key) {
                true => tell_of_key(field, entry, "duplicate-key", "it stands twice, in two spellings", None),
                false => entries.push((key, entry)),
            }
        }
        Some(Table { field: field.clone(), entries })
    }

    /// The value of `key`; nothing if it is left out or `null`.
    pub(crate) fn get(&self, key: &'static str) -> Option<Field<'n>> {
        self.get_with_null(key).filter(|field| !field.node.is_null())
    }

    /// The value of `key`, which may be `null`.
    pub(crate) fn get_with_null(&self, key: &'static str) -> Option<Field<'n>> {
        let (_, entry) = self.entries.iter().find(|(name, _)| *name == key)?;
        Some(self.field.child(&entry.key, &entry.value))
    }

    /// The value of `key`; tells if it is left out.
    pub(crate) fn require(&self, key: &'static str) -> Option<Field<'n>> {
        let found = self.get(key);
        if found.is_none() {
            self.field.fault("missing", format!("`{key}` is missing"));
        }
        found
    }
}

/// A string that is there and not empty: as in protobuf, an empty one is one that was left out.
pub(crate) fn filled<'n>(table: &Table<'n>, key: &'static str) -> Option<(Field<'n>, &'n str)> {
    let field = table.get(key)?;
    let text = field.text()?;
    (!text.is_empty()).then_some((field, text))
}

/// The list under `key`; an empty one if it is left out, `None` when it is none or an entry cannot be made out.
pub(crate) fn each<T>(
    table: &Table<'_>,
    key: &'static str,
    read: impl FnMut(&Field<'_>) -> Option<T>,
) -> Option<Vec<T>> {
    let Some(field) = table.get(key) else { return Some(Vec::new()) };
    let all: Vec<_> = field.items()?.iter().map(read).collect();
    all.into_iter().collect()
}

/// What may be left out: `Some(None)` then, and `None` when it is there and cannot be made out.
#[allow(clippy::option_option)] // the outer one is the fault
pub(crate) fn maybe<'n, T>(
    table: &Table<'n>,
    key: &'static str,
    read: impl FnOnce(&Field<'n>) -> Option<T>,
) -> Option<Option<T>> {
    table.get(key).map_or(Some(None), |field| read(&field).map(Some))
}

fn known_key(field: &Field<'_>, keys: &Keys, entry: &Entry) -> Option<&'static str> {
    let camel = if keys.proto { lower_camel(&entry.key) } else { entry.key.clone() };
    if let Some(key) = keys.known.iter().find(|key| **key == camel) {
        return Some(key);
    }
    if keys.later.contains(&camel.as_str()) {
        tell_of_key(field, entry, "not-supported", &format!("`{}` is not supported yet", entry.key), None);
        return None;
    }
    if let Some((_, why)) = keys.never.iter().find(|(key, _)| *key == camel) {
        let reason = format!("`{}` is not supported: {why}", entry.key);
        tell_of_key(field, entry, "not-supported", &reason, None);
        return None;
    }
    let never = keys.never.iter().map(|(key, _)| key);
    let all = keys.known.iter().chain(keys.later).chain(never).copied();
    let help = match nearest(&entry.key, all) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("known: {}", keys.known.join(", ")),
    };
    tell_of_key(field, entry, "unknown-key", &format!("`{}` is not known here", entry.key), Some(help));
    None
}

fn tell_of_key(field: &Field<'_>, entry: &Entry, code: &'static str, reason: &str, help: Option<String>) {
    let origin = field.scope.origin(entry.key_at);
    let path = field.child(&entry.key, &entry.value).path;
    field.scope.push(Diagnostic {
        origin,
        path,
        severity: Severity::Error,
        code,
        reason: reason.into(),
        help,
    });
}

fn lower_camel(key: &str) -> String {
    let mut camel = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' => upper = true,
            _ if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            _ => camel.push(c),
        }
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::decode::Scope;
    use crate::config::yaml;

    #[test]
    fn a_key_that_is_refused_for_good_is_told_of_with_the_reason_in_either_spelling() {
        let keys = Keys {
            known: &["uri"],
            later: &["mirror"],
            never: &[("l4Fault", "Weir splits HTTP alone")],
            proto: true,
        };
        let scope = Scope::new("a.yaml");
        let nodes = yaml::parse(b"uri: /\nl4_fault: {}\nmirror: {}\nl4Faul: {}\n").expect("is YAML");
        let table = Table::new(&Field::root(&nodes[0], &scope), &keys).expect("is a mapping");
        assert!(table.get("uri").is_some());
        let found: Vec<_> = scope.into_found().iter().map(Diagnostic::to_string).collect();
        assert_eq!(
            found,
            [
                "a.yaml:2:1: error[not-supported] l4_fault: `l4_fault` is not supported: Weir splits HTTP alone",
                "a.yaml:3:1: error[not-supported] mirror: `mirror` is not supported yet",
                "a.yaml:4:1: error[unknown-key] l4Faul: `l4Faul` is not known here (did you mean `l4Fault`?)",
            ]
        );
    }
}
