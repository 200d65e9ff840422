//! Counters by status code and by class of code, each made when the first such answer comes, as in Envoy.
//!
//! Law: at most 500 codes and 5 classes, whatever an upstream sends; after the first, a count takes no lock.

use std::sync::OnceLock;

use super::super::recorder::Counter;

/// One counter for each class of status code, made at first use: `envoy_response_code_class`.
#[derive(Debug, Default)]
pub(super) struct ByClass([OnceLock<Counter>; 5]);

impl ByClass {
    /// Counts a status of 100 to 599; `make` gets the class, such as `"2"`. Others belong to no class.
    pub(super) fn count(&self, status: u16, make: impl FnOnce(&str) -> Counter) {
        const CLASS: [&str; 5] = ["1", "2", "3", "4", "5"];
        let class = usize::from(status / 100).wrapping_sub(1);
        if let (Some(slot), Some(name)) = (self.0.get(class), CLASS.get(class)) {
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
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(codes) = self.0.get(class) {
            let codes = codes.get_or_init(|| (0..100).map(|_| OnceLock::new()).collect());
            codes[usize::from(status % 100)].get_or_init(|| make(&status.to_string())).increment(1);
        }
    }
}
