//! Regular expressions of one load, whatever the dialect: each compiled once, and not too many of them.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::snapshot::Pattern;

/// Different expressions of one configuration: each is tried in turn, and takes memory.
const MAX_PATTERNS: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Patterns(RefCell<HashMap<String, Result<Pattern, String>>>);

impl Patterns {
    /// The expression `source`, which must match whole values; the error is the reason.
    pub(crate) fn compile(&self, source: &str) -> Result<Pattern, String> {
        let mut known = self.0.borrow_mut();
        if let Some(compiled) = known.get(source) {
            return compiled.clone();
        }
        if known.len() >= MAX_PATTERNS {
            return Err(format!("more than {MAX_PATTERNS} different expressions"));
        }
        // The compiler draws a picture of the place before it says what is wrong.
        let reason = |error: String| error.rsplit("error: ").next().unwrap_or_default().to_owned();
        let compiled = Pattern::new(source).map_err(reason);
        known.insert(source.to_owned(), compiled.clone());
        compiled
    }
}
