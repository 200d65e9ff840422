//! Regular expressions of one load, whatever the dialect: each compiled once, and not too many of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::snapshot::{Pattern, Substitution};

/// Different expressions of one configuration: each is tried in turn, and takes memory.
const MAX_PATTERNS: usize = 1_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Patterns {
    whole: RefCell<HashMap<String, Result<Pattern, String>>>,
    /// How many expressions with a text in place of their matches there are; few rules have one.
    substitutions: Cell<usize>,
}

impl Patterns {
    /// The expression `source`, which must match whole values; the error is the reason.
    pub(crate) fn compile(&self, source: &str) -> Result<Pattern, String> {
        let mut known = self.whole.borrow_mut();
        if let Some(compiled) = known.get(source) {
            return compiled.clone();
        }
        if known.len() + self.substitutions.get() >= MAX_PATTERNS {
            return Err(too_many());
        }
        let compiled = Pattern::new(source).map_err(reason);
        known.insert(source.to_owned(), compiled.clone());
        compiled
    }

    /// The expression `source` with `with` in place of its matches; the error is the reason.
    pub(crate) fn substitution(&self, source: &str, with: &str) -> Result<Substitution, String> {
        if self.whole.borrow().len() + self.substitutions.get() >= MAX_PATTERNS {
            return Err(too_many());
        }
        self.substitutions.set(self.substitutions.get() + 1);
        Substitution::new(source, with).map_err(reason)
    }
}

fn too_many() -> String {
    format!("more than {MAX_PATTERNS} different expressions")
}

/// The compiler draws a picture of the place before it says what is wrong.
fn reason(error: String) -> String {
    error.rsplit("error: ").next().unwrap_or_default().to_owned()
}
