//! Typed readers over a tree: each reads one field and, instead of failing, tells the scope what is wrong.
//!
//! Law: a fault never hides another. A reader that finds one returns `None` and its caller reads on. Nothing here
//! knows what a configuration means.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::diagnostic::{Diagnostic, Origin, Place, Severity};
use super::names::list;
use super::tree::{Node, Position, ScalarKind, Value, scalar_kind};
use super::values;
use crate::snapshot::{Address, BindAddress, Labels};

/// Where diagnostics of one file gather.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) file: Arc<str>,
    found: RefCell<Vec<Diagnostic>>,
}

impl Scope {
    pub(crate) fn new(file: &str) -> Scope {
        Scope { file: file.into(), found: RefCell::default() }
    }

    pub(crate) fn origin(&self, at: Position) -> Origin {
        Origin { file: self.file.clone(), line: at.line, column: at.column }
    }

    pub(crate) fn push(&self, diagnostic: Diagnostic) {
        self.found.borrow_mut().push(diagnostic);
    }

    /// How many errors there are so far.
    pub(crate) fn errors(&self) -> usize {
        self.found.borrow().iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// Forgets what was found: the file cannot be read to its end, which says it all.
    pub(crate) fn forget(&self) {
        self.found.borrow_mut().clear();
    }

    pub(crate) fn into_found(self) -> Vec<Diagnostic> {
        self.found.into_inner()
    }
}

/// A node, its path, and whom to tell.
#[derive(Clone, Debug)]
pub(crate) struct Field<'n> {
    pub(crate) node: &'n Node,
    pub(crate) path: String,
    pub(crate) scope: &'n Scope,
}

impl<'n> Field<'n> {
    pub(crate) fn root(node: &'n Node, scope: &'n Scope) -> Field<'n> {
        Field { node, path: String::new(), scope }
    }

    pub(crate) fn origin(&self) -> Origin {
        self.scope.origin(self.node.at)
    }

    pub(crate) fn place(&self) -> Place {
        Place { origin: self.origin(), path: self.path.clone() }
    }

    /// Tells of a fault here.
    pub(crate) fn fault(&self, code: &'static str, reason: impl Into<String>) {
        self.tell(Severity::Error, code, reason.into(), None);
    }

    /// Tells of a fault here, and what would be right.
    pub(crate) fn fault_with(&self, code: &'static str, reason: impl Into<String>, help: impl Into<String>) {
        self.tell(Severity::Error, code, reason.into(), Some(help.into()));
    }

    /// Tells of what is legal but probably not meant.
    pub(crate) fn warn_with(&self, code: &'static str, reason: impl Into<String>, help: impl Into<String>) {
        self.tell(Severity::Warning, code, reason.into(), Some(help.into()));
    }

    fn tell(&self, severity: Severity, code: &'static str, reason: String, help: Option<String>) {
        let (origin, path) = (self.origin(), self.path.clone());
        self.scope.push(Diagnostic { origin, path, severity, code, reason, help });
    }

    /// Tells that the node is of another kind.
    pub(crate) fn wrong_type(&self, wanted: &str, help: Option<String>) {
        let reason = format!("{} stands where {wanted} belongs", self.node.kind_name());
        self.tell(Severity::Error, "type", reason, help);
    }

    fn scalar(&self) -> Option<(&'n str, ScalarKind)> {
        match &self.node.value {
            Value::Scalar { text, plain } => Some((text, scalar_kind(text, *plain))),
            _ => None,
        }
    }

    /// A string. A plain number or boolean is refused: `1.10` would have lost its zero elsewhere.
    pub(crate) fn text(&self) -> Option<&'n str> {
        match self.scalar() {
            Some((text, ScalarKind::String)) => Some(text),
            Some((text, ScalarKind::Bool(_) | ScalarKind::Integer | ScalarKind::Float)) => {
                self.wrong_type("a string", Some(format!("put it in quotes: \"{text}\"")));
                None
            }
            _ => {
                self.wrong_type("a string", None);
                None
            }
        }
    }

    /// A string that is not empty.
    pub(crate) fn filled(&self) -> Option<&'n str> {
        let text = self.text()?;
        if text.is_empty() {
            self.fault("empty", "it is empty");
            return None;
        }
        Some(text)
    }

    /// A string that `read` accepts.
    pub(crate) fn parsed<T>(
        &self,
        code: &'static str,
        help: &str,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        read(self.text()?).map_err(|reason| self.fault_with(code, reason, help)).ok()
    }

    /// One of a closed set of words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.fault_with("unknown-word", format!("`{text}` is not known"), list(&known, "or"));
        }
        found
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        match self.scalar() {
            Some((_, ScalarKind::Bool(value))) => Some(value),
            _ => {
                self.wrong_type("a boolean", Some("true or false".into()));
                None
            }
        }
    }

    /// A whole number in `range`. NaN, infinities and 1e999 are none.
    pub(crate) fn integer(&self, range: RangeInclusive<i64>) -> Option<i64> {
        self.integer_as("out-of-range", range)
    }

    /// The same under its own code.
    pub(crate) fn integer_as(&self, code: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let allowed = || Some(format!("a whole number, {} to {}", range.start(), range.end()));
        let Some((text, kind)) = self.scalar() else {
            self.wrong_type("a whole number", allowed());
            return None;
        };
        match kind {
            ScalarKind::Integer => {
                let value = read_integer(text).filter(|value| range.contains(value));
                if value.is_none() {
                    self.tell(Severity::Error, code, format!("{text} is out of range"), allowed());
                }
                value
            }
            ScalarKind::Float => {
                self.tell(Severity::Error, "type", format!("{text} is no whole number"), allowed());
                None
            }
            _ => {
                self.wrong_type("a whole number", allowed());
                None
            }
        }
    }

    /// A number in `range`, with or without a fraction; `what` it is not if it is out of it. NaN is out of every range.
    pub(crate) fn number_in(
        &self,
        range: RangeInclusive<f64>,
        code: &'static str,
        what: &str,
    ) -> Option<f64> {
        let allowed = format!("a number, {} to {}", range.start(), range.end());
        let Some((text, ScalarKind::Integer | ScalarKind::Float)) = self.scalar() else {
            self.wrong_type("a number", Some(allowed));
            return None;
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            self.fault_with(code, format!("{text} is {what}"), allowed);
        }
        number
    }

    /// 0 to 100, with or without a fraction.
    pub(crate) fn percent(&self) -> Option<f64> {
        self.number_in(0.0..=100.0, "percent", "no percentage")
    }

    /// At least a millisecond, and whole milliseconds.
    pub(crate) fn whole_ms(&self) -> Option<Duration> {
        let duration = self.duration()?;
        if duration.is_zero() || duration.subsec_nanos() % 1_000_000 != 0 {
            self.fault_with("duration", "it is no whole count of milliseconds", "1ms or more");
            return None;
        }
        Some(duration)
    }

    /// At least a second, and whole seconds.
    pub(crate) fn whole_seconds(&self) -> Option<Duration> {
        let duration = self.whole_ms()?;
        if duration.subsec_nanos() > 0 {
            self.fault_with("duration", "it is no whole count of seconds", "1s or more");
            return None;
        }
        Some(duration)
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        self.unit_value("duration", "such as 250ms, 5s or 1m", values::parse_duration)
    }

    /// A duration in `range`.
    pub(crate) fn duration_in(&self, range: RangeInclusive<Duration>) -> Option<Duration> {
        let value = self.duration()?;
        let print = values::print_duration;
        self.in_range(value, &range, |value| print(*value))
    }

    /// Bytes in `range`.
    pub(crate) fn size_in(&self, range: RangeInclusive<usize>) -> Option<usize> {
        let value = self.unit_value("size", "such as 64KiB or 4MiB", values::parse_size)?;
        self.in_range(value, &range, |value| values::print_size(*value))
    }

    fn in_range<T: PartialOrd>(
        &self,
        value: T,
        range: &RangeInclusive<T>,
        print: impl Fn(&T) -> String,
    ) -> Option<T> {
        if range.contains(&value) {
            return Some(value);
        }
        let help = format!("{} to {}", print(range.start()), print(range.end()));
        self.fault_with("out-of-range", format!("{} is out of range", print(&value)), help);
        None
    }

    /// A number with a unit. A bare number is a string without one, not a string to be quoted.
    fn unit_value<T>(
        &self,
        code: &'static str,
        help: &str,
        read: fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.scalar() {
            Some((text, ScalarKind::String | ScalarKind::Integer | ScalarKind::Float)) => {
                read(text).map_err(|reason| self.fault_with(code, reason, help)).ok()
            }
            _ => {
                self.wrong_type(&format!("a {code}"), Some(help.into()));
                None
            }
        }
    }

    pub(crate) fn address(&self) -> Option<Address> {
        self.parsed("address", "IP:port, name:port or unix:/path", values::parse_address)
    }

    pub(crate) fn bind_address(&self) -> Option<BindAddress> {
        self.parsed("address", "IP:port, [::]:port or unix:/path", values::parse_bind_address)
    }

    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        self.parsed("address", "such as 127.0.0.1:15000", values::parse_socket)
    }

    pub(crate) fn cidr(&self) -> Option<IpNet> {
        self.parsed("cidr", "such as 10.8.0.0/14", values::parse_cidr)
    }

    /// Strings by name. `check` refuses a key or value with a reason.
    pub(crate) fn labels(&self, check: fn(&str) -> bool) -> Option<Labels> {
        let mut labels = Vec::new();
        let mut whole = true;
        for (key, field) in self.pairs()? {
            let value = field.text();
            whole &= value.is_some();
            for part in [Some(key), value].into_iter().flatten().filter(|part| !check(part)) {
                field.fault_with("label", format!("`{part}` is no label"), "letters, digits, - _ . and /");
                whole = false;
            }
            labels.push((key.into(), value.unwrap_or_default().into()));
        }
        whole.then(|| labels.into_iter().collect())
    }

    /// The entries of a sequence.
    pub(crate) fn items(&self) -> Option<Vec<Field<'n>>> {
        let Value::Sequence(items) = &self.node.value else {
            self.wrong_type("a sequence", None);
            return None;
        };
        let field =
            |(index, node)| Field { node, path: format!("{}[{index}]", self.path), scope: self.scope };
        Some(items.iter().enumerate().map(field).collect())
    }

    /// The entries of a mapping with free keys.
    pub(crate) fn pairs(&self) -> Option<Vec<(&'n str, Field<'n>)>> {
        let Value::Mapping(entries) = &self.node.value else {
            self.wrong_type("a mapping", None);
            return None;
        };
        Some(entries.iter().map(|entry| (entry.key.as_str(), self.child(&entry.key, &entry.value))).collect())
    }

    /// The value `node` of `key` in this mapping.
    pub(crate) fn child(&self, key: &str, node: &'n Node) -> Field<'n> {
        let dot = if self.path.is_empty() { "" } else { "." };
        Field { node, path: format!("{}{dot}{key}", self.path), scope: self.scope }
    }
}

fn read_integer(text: &str) -> Option<i64> {
    if let Some(octal) = text.strip_prefix("0o") {
        return i64::from_str_radix(octal, 8).ok();
    }
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
