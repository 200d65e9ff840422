//! A regular expression with what stands in place of its matches.
//!
//! Law: linear time, bounded size, as [`Pattern`]; the text is RE2's, where `\1` is the first group.

use std::sync::Arc;

use serde::Serialize;

use super::Pattern;

/// Equal when written alike.
#[derive(Clone, Debug, Serialize)]
pub struct Substitution {
    pattern: Arc<str>,
    with: Arc<str>,
    #[serde(skip)]
    compiled: Arc<(regex::Regex, String)>,
}

impl Substitution {
    /// `with` may hold `\0` to `\9`, and `\\` for a backslash; the error is the reason, on one line.
    pub fn new(pattern: &str, with: &str) -> Result<Substitution, String> {
        // Tried there first, for the same bounds and the same words.
        Pattern::new(pattern)?;
        let compiled = regex::RegexBuilder::new(pattern)
            .size_limit(Pattern::MAX_COMPILED_BYTES)
            .dfa_size_limit(Pattern::MAX_COMPILED_BYTES)
            .build()
            .map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())?;
        let template = template(with, compiled.captures_len())?;
        Ok(Substitution {
            pattern: pattern.into(),
            with: with.into(),
            compiled: Arc::new((compiled, template)),
        })
    }

    /// `text` with every match replaced.
    pub fn apply(&self, text: &str) -> String {
        self.compiled.0.replace_all(text, self.compiled.1.as_str()).into_owned()
    }

    /// The expression as written.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// What stands in place of its matches, as written.
    pub fn with(&self) -> &str {
        &self.with
    }
}

impl PartialEq for Substitution {
    fn eq(&self, other: &Substitution) -> bool {
        self.pattern == other.pattern && self.with == other.with
    }
}

/// RE2's notation in that of the crate.
fn template(with: &str, groups: usize) -> Result<String, String> {
    let mut template = String::with_capacity(with.len());
    let mut rest = with.chars();
    while let Some(c) = rest.next() {
        match c {
            '$' => template.push_str("$$"),
            '\\' => match rest.next() {
                Some('\\') => template.push('\\'),
                Some(digit @ '0'..='9') if (digit as usize - '0' as usize) < groups => {
                    template.push_str("${");
                    template.push(digit);
                    template.push('}');
                }
                Some(digit @ '0'..='9') => return Err(format!("there is no group {digit}")),
                _ => return Err("a backslash stands before a digit or another backslash".into()),
            },
            other => template.push(other),
        }
    }
    Ok(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_are_replaced_everywhere_with_groups_and_no_other_notation() {
        let swap = Substitution::new("/v([0-9]+)/([a-z]+)", r"/\2/$1\\v\1").expect("compiles");
        assert_eq!(swap.apply("/v1/models/v2/x"), r"/models/$1\v1/x/$1\v2");
        assert!(Substitution::new("a", r"\1").is_err() && Substitution::new("a", r"\x").is_err());
        assert!(Substitution::new("(", "").is_err());
    }
}
