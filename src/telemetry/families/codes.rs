//! Counters by status code and by class of code. As in Envoy, a listener's classes are there from its start; a cluster's
//! classes and codes come each with the first such answer.
//!
//! Law: at most 500 codes and 5 classes, whatever an upstream sends; after the first, a count takes no lock.

use std::sync::OnceLock;

use super::super::recorder::Counter;

/// The values of `envoy_response_code_class`.
pub(super) const CLASSES: [&str; 5] = ["1", "2", "3", "4", "5"];

/// One counter for each class of status code, at zero from the start.
#[derive(Debug)]
pub(super) struct Classes([Counter; 5]);

impl Classes {
    /// `make` gets the class, such as `"2"`.
    pub(super) fn new(make: impl FnMut(&str) -> Counter) -> Classes {
        Classes(CLASSES.map(make))
    }

    /// Counts a status of 100 to 599. Others belong to no class.
    pub(super) fn count(&self, status: u16) {
        if let Some(counter) = self.0.get(class_of(status)) {
            counter.increment(1);
        }
    }
}

/// One counter for each class of status code, made at first use.
#[derive(Debug, Default)]
pub(super) struct ByClass([OnceLock<Counter>; 5]);

impl ByClass {
    /// Counts a status of 100 to 599; `make` gets the class, such as `"2"`. Others belong to no class.
    pub(super) fn count(&self, status: u16, make: impl FnOnce(&str) -> Counter) {
        let class = class_of(status);
        if let (Some(slot), Some(name)) = (self.0.get(class), CLASSES.get(class)) {
            slot.get_or_init(|| make(name)).increment(1);
        }
    }
}

/// One counter for each status code, made at first use; a class's hundred slots are made with its first code.
#[derive(Debug, Default)]
pub(super) struct ByCode([OnceLock<Box<[OnceLock<Counter>]>>; 5]);

impl ByCode {
    /// Counts a status of 100 to 599; `make` gets its text.
    pub(super) fn count(&self, status: u16, make: impl FnOnce(&str) -> Counter) {
        if let Some(codes) = self.0.get(class_of(status)) {
            let codes = codes.get_or_init(|| (0..100).map(|_| OnceLock::new()).collect());
            codes[usize::from(status % 100)].get_or_init(|| make(&status.to_string())).increment(1);
        }
    }
}

/// The place of a status's class among [`CLASSES`]; beyond them where it has none.
fn class_of(status: u16) -> usize {
    usize::from(status / 100).wrapping_sub(1)
}
