//! What became of the configurations that were read: the last verdicts, for `/config_dump`.
//!
//! Law: bounded, however many faults a configuration has and however often it changes.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::config::{Diagnostic, Diagnostics};

/// Verdicts kept.
const MAX_VERDICTS: usize = 16;
/// Diagnostics kept of each.
const MAX_DIAGNOSTICS: usize = 100;

/// The last verdicts, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Reloads {
    verdicts: VecDeque<Verdict>,
}

#[derive(Clone, Debug, Serialize)]
struct Verdict {
    /// RFC 3339, UTC.
    time: String,
    result: &'static str,
    /// The generation in force after it.
    generation: u64,
    /// Why, where no place in a file is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    diagnostics: Vec<Diagnostic>,
    /// Diagnostics that were too many to keep.
    #[serde(skip_serializing_if = "is_zero")]
    left_out: usize,
}

impl Reloads {
    /// None yet.
    pub fn new() -> Reloads {
        Reloads::default()
    }

    /// A configuration became `generation`, with these warnings.
    pub fn accepted(&mut self, now: Timestamp, generation: u64, warnings: &Diagnostics) {
        self.push(now, "accepted", generation, None, warnings);
    }

    /// A configuration was refused for these faults; `generation` stays in force.
    pub fn refused(&mut self, now: Timestamp, generation: u64, faults: &Diagnostics) {
        self.push(now, "refused", generation, None, faults);
    }

    /// A right configuration could not be put in force, as when an address is taken; `generation` stays.
    pub fn failed(&mut self, now: Timestamp, generation: u64, reason: &str) {
        self.push(now, "refused", generation, Some(reason.to_owned()), &Diagnostics::new());
    }

    /// After a refusal, the files hold again what is in force.
    pub fn restored(&mut self, now: Timestamp, generation: u64) {
        self.push(now, "restored", generation, None, &Diagnostics::new());
    }

    fn push(
        &mut self,
        now: Timestamp,
        result: &'static str,
        generation: u64,
        reason: Option<String>,
        diagnostics: &Diagnostics,
    ) {
        if self.verdicts.len() == MAX_VERDICTS {
            self.verdicts.pop_front();
        }
        self.verdicts.push_back(Verdict {
            time: now.to_string(),
            result,
            generation,
            reason,
            diagnostics: diagnostics.iter().take(MAX_DIAGNOSTICS).cloned().collect(),
            left_out: diagnostics.len().saturating_sub(MAX_DIAGNOSTICS),
        });
    }
}

impl Serialize for Reloads {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.verdicts)
    }
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Origin, Severity};

    #[test]
    fn the_last_verdicts_are_kept_and_each_within_bounds() {
        let one = Diagnostic {
            origin: Origin::of_file("a.yaml"),
            path: String::new(),
            severity: Severity::Error,
            code: "unknown-key",
            reason: "no such key".to_owned(),
            help: None,
        };
        let mut faults = Diagnostics::new();
        faults.extend(std::iter::repeat_n(one, MAX_DIAGNOSTICS + 7));
        let mut reloads = Reloads::new();
        for generation in 0..100 {
            reloads.refused(Timestamp::UNIX_EPOCH, generation, &faults);
        }
        reloads.failed(Timestamp::UNIX_EPOCH, 99, "address in use");
        let json = serde_json::to_value(&reloads).unwrap();
        let verdicts = json.as_array().unwrap();
        assert_eq!(verdicts.len(), MAX_VERDICTS);
        assert_eq!((&verdicts[0]["generation"], &verdicts[0]["left_out"]), (&85.into(), &7.into()));
        let last = &verdicts[MAX_VERDICTS - 1];
        assert_eq!(
            (last["time"].as_str(), last["result"].as_str()),
            (Some("1970-01-01T00:00:00Z"), Some("refused"))
        );
        assert_eq!(
            (last["reason"].as_str(), &last["left_out"]),
            (Some("address in use"), &serde_json::Value::Null)
        );
    }
}
