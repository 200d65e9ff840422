//! Diagnostics: what is wrong in a configuration, where, why, and what would be right.
//!
//! Law: a reader never stops at the first fault; it gathers them all here. Nothing here knows what a key means.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Origin {
    /// The file as the operator named it.
    pub file: Arc<str>,
    /// From 1; 0 when the whole file is meant.
    pub line: u32,
    /// From 1, in characters; 0 when the whole line or file is meant.
    pub column: u32,
}

impl Origin {
    /// The file as a whole.
    pub fn of_file(file: &str) -> Origin {
        Origin { file: file.into(), line: 0, column: 0 }
    }

    /// `file:line`, as routes carry it.
    pub fn file_and_line(&self) -> String {
        format!("{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        OneLine(&self.file, usize::MAX).fmt(f)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// Whether a configuration with this diagnostic may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It may not.
    Error,
    /// It may, but probably does not do what its author meant.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Where.
    #[serde(flatten)]
    pub origin: Origin,
    /// Which field, such as `spec.route[1].weight`; empty when a whole document or file is meant.
    pub path: String,
    /// How bad.
    pub severity: Severity,
    /// Which law is broken: a stable name for scripts, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, for people.
    pub reason: String,
    /// What is allowed, or the nearest known word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl fmt::Display for Diagnostic {
    /// `file:line:column: error[code] path: reason (help)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}[{}] ", self.origin, self.severity, self.code)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", OneLine(&self.path, MAX_CHARS))?;
        }
        OneLine(&self.reason, MAX_CHARS).fmt(f)?;
        match &self.help {
            Some(help) => write!(f, " ({})", OneLine(help, MAX_CHARS)),
            None => Ok(()),
        }
    }
}

/// Of a key, a value or a reason, so many characters are told.
const MAX_CHARS: usize = 400;

/// Keys, values and the names of files come from whoever writes them; they shall neither break a line, nor fill the
/// screen, nor colour it.
struct OneLine<'t>(&'t str, usize);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars().take(self.1) {
            match c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
                true => write!(f, "{}", c.escape_default())?,
                false => write!(f, "{c}")?,
            }
        }
        f.write_str(if self.0.chars().nth(self.1).is_some() { "…" } else { "" })
    }
}

/// A field of a draft: kept so that linking can still say where a fault stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub(crate) origin: Origin,
    pub(crate) path: String,
}

impl Place {
    /// A fault here.
    pub(crate) fn error(&self, code: &'static str, reason: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Error, code, reason.into())
    }

    /// What is legal here but probably not meant.
    pub(crate) fn warning(&self, code: &'static str, reason: impl Into<String>) -> Diagnostic {
        self.diagnostic(Severity::Warning, code, reason.into())
    }

    fn diagnostic(&self, severity: Severity, code: &'static str, reason: String) -> Diagnostic {
        let (origin, path) = (self.origin.clone(), self.path.clone());
        Diagnostic { origin, path, severity, code, reason, help: None }
    }
}

impl Diagnostic {
    /// The same with what would be right.
    pub(crate) fn with_help(self, help: impl Into<String>) -> Diagnostic {
        Diagnostic { help: Some(help.into()), ..self }
    }
}

/// Every diagnostic of one configuration, by file and line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// None yet.
    pub fn new() -> Diagnostics {
        Diagnostics::default()
    }

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Adds all of `other`.
    pub fn extend(&mut self, other: impl IntoIterator<Item = Diagnostic>) {
        self.0.extend(other);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether one of them forbids using the configuration.
    pub fn has_errors(&self) -> bool {
        self.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }

    /// Each in turn.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.0.iter()
    }

    /// The same ones by file and place; those of one place in the order found.
    pub fn sorted(mut self) -> Diagnostics {
        self.0.sort_by(|a, b| a.origin.cmp(&b.origin));
        self
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl fmt::Display for Diagnostics {
    /// One a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(file: &str, line: u32, help: Option<&str>) -> Diagnostic {
        Diagnostic {
            origin: Origin { file: file.into(), line, column: 3 },
            path: "spec.route[1].weight".into(),
            severity: Severity::Error,
            code: "out-of-range",
            reason: "101 is too large".into(),
            help: help.map(str::to_owned),
        }
    }

    #[test]
    fn a_diagnostic_prints_as_one_line_that_editors_can_follow() {
        assert_eq!(
            at("a.yaml", 7, Some("0 to 100")).to_string(),
            "a.yaml:7:3: error[out-of-range] spec.route[1].weight: 101 is too large (0 to 100)"
        );
        assert_eq!(Origin::of_file("a.yaml").to_string(), "a.yaml");
        let hostile =
            Diagnostic { reason: format!("\x1b[31m\n{}", "x".repeat(5000)), ..at("a.yaml", 7, None) };
        assert!(hostile.to_string().len() < 500 && !hostile.to_string().contains(['\n', '\x1b']));
    }

    #[test]
    fn diagnostics_come_by_file_and_line() {
        let mut all = Diagnostics::new();
        all.extend([at("b.yaml", 1, None), at("a.yaml", 10, None), at("a.yaml", 9, None)]);
        let lines: Vec<_> = all.sorted().iter().map(|one| one.origin.file_and_line()).collect();
        assert_eq!(lines, ["a.yaml:9", "a.yaml:10", "b.yaml:1"]);
    }

    #[test]
    fn a_diagnostic_is_flat_in_json_and_omits_absent_help() {
        let json = serde_json::to_value(at("a.yaml", 7, None)).expect("serializes");
        assert_eq!(json["file"], "a.yaml");
        assert_eq!(json["line"], 7);
        assert_eq!(json["severity"], "error");
        assert!(json.get("help").is_none());
    }
}
