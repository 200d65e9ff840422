//! Labels of a workload or an endpoint.
//!
//! Law: sorted by name, each name once; never changed, so that copies share one piece of memory. A rule has one or two,
//! and there are tens of thousands of rules: as a tree each of them would take 400 bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// Name and value.
type Label = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Option<Arc<[Label]>>);

impl Labels {
    /// None at all.
    pub const fn new() -> Labels {
        Labels(None)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> {
        self.as_slice().iter().map(|(name, value)| (name, value))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&Arc<str>> {
        let labels = self.as_slice();
        let place = labels.binary_search_by(|(known, _)| (**known).cmp(name)).ok()?;
        labels.get(place).map(|(_, value)| value)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn as_slice(&self) -> &[Label] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl FromIterator<Label> for Labels {
    /// Of two with one name the later counts.
    fn from_iter<I: IntoIterator<Item = Label>>(labels: I) -> Labels {
        let sorted: BTreeMap<Arc<str>, Arc<str>> = labels.into_iter().collect();
        Labels((!sorted.is_empty()).then(|| sorted.into_iter().collect()))
    }
}

impl<const N: usize> From<[Label; N]> for Labels {
    fn from(labels: [Label; N]) -> Labels {
        labels.into_iter().collect()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn labels_are_found_by_name_and_come_in_the_order_of_names_each_once() {
        let some = labels(&[("version", "v1"), ("app", "a"), ("version", "v2")]);
        assert_eq!(some.get("version").map(|value| &**value), Some("v2"));
        assert_eq!(some.get("vers"), None);
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"app":"a","version":"v2"}"#);
        assert_eq!(some, labels(&[("app", "a"), ("version", "v2")]));
    }

    #[test]
    fn no_labels_are_equal_however_they_were_made_and_come_before_all_others() {
        assert_eq!(labels(&[]), Labels::new());
        assert!(labels(&[]).is_empty() && labels(&[]) < labels(&[("a", "")]));
    }

    #[test]
    fn copies_share_their_memory() {
        let some = labels(&[("version", "v1")]);
        let copy = some.clone();
        assert!(std::ptr::eq(some.as_slice(), copy.as_slice()));
        assert_eq!(size_of::<Labels>(), 16);
    }
}
