//! Edits of fields.
//!
//! Law: what frames a message or belongs to its connection is never edited: that would be a way to smuggle. Order:
//! removed, set, added, as in Envoy.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::message::hop_by_hop::is_editable;
use crate::snapshot::HeaderEdits;

/// Applies `edits` to `headers`.
pub fn apply(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for name in edits.remove.iter().filter(|name| may_edit(&name.0)) {
        headers.remove(&name.0);
    }
    let value = |text: &str| HeaderValue::from_str(text).ok();
    for edit in edits.set.iter().filter(|edit| may_edit(&edit.name.0)) {
        if let Some(value) = value(&edit.value) {
            headers.insert(edit.name.0.clone(), value);
        }
    }
    for edit in edits.add.iter().filter(|edit| may_edit(&edit.name.0)) {
        if let Some(value) = value(&edit.value) {
            headers.append(edit.name.0.clone(), value);
        }
    }
}

/// Whether the field is neither of a message's framing nor of its connection, nor the authority (which is rewritten), nor
/// Weir's own.
pub fn may_edit(name: &HeaderName) -> bool {
    is_editable(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::HeaderEdit;
    use crate::snapshot::route::OrdName;

    fn edit((name, value): (&'static str, &str)) -> HeaderEdit {
        HeaderEdit { name: OrdName(HeaderName::from_static(name)), value: value.into() }
    }

    fn edits(
        remove: &[&'static str],
        set: &[(&'static str, &str)],
        add: &[(&'static str, &str)],
    ) -> HeaderEdits {
        HeaderEdits {
            remove: remove.iter().map(|name| OrdName(HeaderName::from_static(name))).collect(),
            set: set.iter().copied().map(edit).collect(),
            add: add.iter().copied().map(edit).collect(),
        }
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("a", "1"), ("a", "2"), ("b", "1"), ("b", "2"), ("c", "1")] {
            headers.append(name, value.parse().unwrap());
        }
        let edits = edits(&["a", "absent"], &[("b", "set"), ("a", "new")], &[("c", "2"), ("a", "more")]);
        apply(&edits, &mut headers);
        assert_eq!(all(&headers, "a"), ["new", "more"]);
        assert_eq!(all(&headers, "b"), ["set"]);
        assert_eq!(all(&headers, "c"), ["1", "2"]);
    }

    #[test]
    fn what_frames_a_message_or_belongs_to_its_connection_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        headers.insert("content-length", "3".parse().unwrap());
        headers.insert("x-weir-hop", "1;x;".parse().unwrap());
        let before = headers.clone();
        let framing = [("transfer-encoding", "chunked"), ("connection", "close"), ("upgrade", "x")];
        apply(&edits(&["content-length", "x-weir-hop"], &framing, &[("content-length", "5")]), &mut headers);
        assert_eq!(headers, before);
    }
}
