//! Regular expressions of conditions, each compiled once for as long as anything uses it.
//!
//! Law: a pattern that exists matches whole values only, in linear time and bounded memory. Compiling is the costly
//! part of a load with many of them, and most reloads change none: equal sources share one compiled expression, across
//! configurations too. The cache holds nothing alive by itself, and nothing can tell that it is there but the time.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use serde::{Serialize, Serializer};

/// A regular expression that must match a whole value, in linear time and bounded size. Equal when written alike.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Arc<str>,
    whole: regex::bytes::Regex,
}

impl Pattern {
    /// Memory that one compiled expression may take.
    pub const MAX_COMPILED_BYTES: usize = 1 << 20;

    /// Compiles `source`, unless a pattern of the same source lives; the error is the reason, on one line.
    pub fn new(source: &str) -> Result<Pattern, String> {
        static LIVE: LazyLock<Cache> = LazyLock::new(Cache::default);
        LIVE.get(source).map(Pattern)
    }

    /// Whether the whole of `value` matches.
    pub fn is_match(&self, value: &[u8]) -> bool {
        self.0.whole.is_match(value)
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.source == other.0.source
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What lives, by its source.
#[derive(Default)]
struct Cache(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_source: HashMap<Arc<str>, Weak<Compiled>>,
    /// How many entries make it worth while to look for those that are gone: twice what lived the last time.
    sweep_at: usize,
}

impl Cache {
    /// Two who ask for the same at once may both compile it: the lock is not held for that long.
    fn get(&self, source: &str) -> Result<Arc<Compiled>, String> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().by_source.get(source).and_then(Weak::upgrade) {
            return Ok(known);
        }
        let compiled = Arc::new(compile(source)?);
        lock().remember(&compiled);
        Ok(compiled)
    }
}

impl Known {
    fn remember(&mut self, compiled: &Arc<Compiled>) {
        if self.by_source.len() >= self.sweep_at {
            self.by_source.retain(|_, known| known.strong_count() > 0);
            self.sweep_at = 2 * (self.by_source.len() + 1);
        }
        self.by_source.insert(compiled.source.clone(), Arc::downgrade(compiled));
    }
}

fn compile(source: &str) -> Result<Compiled, String> {
    #[cfg(test)]
    tests::COMPILED.set(tests::COMPILED.get() + 1);
    let build = |text: &str| {
        regex::bytes::RegexBuilder::new(text)
            .size_limit(Pattern::MAX_COMPILED_BYTES)
            .dfa_size_limit(Pattern::MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| one_line(&error.to_string()))
    };
    // Checked on its own first, so that `a)(b` cannot close the group that anchors it.
    build(source)?;
    Ok(Compiled { source: source.into(), whole: build(&format!(r"\A(?:{source})\z"))? })
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        pub(super) static COMPILED: Cell<usize> = const { Cell::new(0) };
    }

    /// How often this thread has compiled an expression.
    pub(crate) fn compiled() -> usize {
        COMPILED.get()
    }

    #[test]
    fn a_pattern_matches_the_whole_value_with_alternatives_of_any_length() {
        let pattern = Pattern::new("/v1|/v1beta").expect("compiles");
        assert!(pattern.is_match(b"/v1") && pattern.is_match(b"/v1beta"));
        assert!(!pattern.is_match(b"/v1bet") && !pattern.is_match(b"x/v1"));
    }

    #[test]
    fn a_pattern_cannot_close_the_group_that_anchors_it() {
        assert!(Pattern::new("a)|(b").is_err());
        assert!(Pattern::new("(").is_err());
    }

    #[test]
    fn a_pattern_that_compiles_too_large_is_refused_on_one_line() {
        let reason = Pattern::new(r"\w{100}{100}{100}").expect_err("too large");
        assert!(!reason.contains('\n'), "{reason}");
    }

    #[test]
    fn a_source_is_compiled_once_while_it_lives_and_again_when_it_has_gone() {
        let (cache, before) = (Cache::default(), COMPILED.get());
        let first = cache.get("a.*").expect("compiles");
        let second = cache.get("a.*").expect("is known");
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(COMPILED.get() - before, 1);
        drop(first);
        assert!(Arc::ptr_eq(&second, &cache.get("a.*").expect("lives by the second")));
        drop(second);
        cache.get("a.*").expect("compiles");
        assert_eq!(COMPILED.get() - before, 2);
    }

    #[test]
    fn what_has_gone_is_let_go_so_that_the_cache_is_no_larger_than_twice_what_lives() {
        let cache = Cache::default();
        let kept: Vec<_> = (0..10).map(|one| cache.get(&format!("kept{one}")).expect("compiles")).collect();
        for one in 0..200 {
            cache.get(&format!("gone{one}")).expect("compiles");
            let known = cache.0.lock().expect("nobody panicked").by_source.len();
            assert!(known <= 2 * (kept.len() + 1), "{known} after {one}");
        }
        let before = COMPILED.get();
        (0..10).for_each(|one| {
            assert!(Arc::ptr_eq(&kept[one], &cache.get(&format!("kept{one}")).expect("known")))
        });
        assert_eq!(COMPILED.get(), before);
    }
}
