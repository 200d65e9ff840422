//! Judging what files have become, and remembering what was said.
//!
//! Law: what is said is news: a verdict that differs from the last, or that somebody asked for. What comes into force is
//! remembered for a restart; nothing else is. It must not know when to look.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Verdict;
use super::read::{Documents, fault};
use super::start::{FileSource, Start};
use crate::config::{Diagnostics, Loaded};

/// What is in force, and what was said last.
pub(super) struct Judge {
    pub(super) source: FileSource,
    in_force: u64,
    /// The rule files of the last verdict.
    rule_files: BTreeSet<String>,
    refused: Option<Refusal>,
    /// Why what is in force could not be remembered, if it could not.
    forgotten: Option<String>,
}

/// The last verdict, if it was a refusal or did not come into force.
struct Refusal {
    /// Of the files; `None`: they could not be read, or are to be tried again.
    fingerprint: Option<u64>,
    faults: Diagnostics,
}

/// What a look has found.
pub(super) enum Judgement {
    /// What is in force, or what was refused already.
    Known(Documents),
    Good(Documents, Box<Loaded>),
    Faulty(Option<Documents>, Diagnostics),
}

impl Judge {
    /// After a start, which is remembered if it was by the files.
    pub(super) fn started(source: FileSource, start: &Start) -> Judge {
        let rule_files = names(&start.documents);
        let refused = start.refused.clone().map(|faults| Refusal { fingerprint: None, faults });
        let in_force = start.documents.fingerprint();
        let mut judge = Judge { source, in_force, rule_files, refused, forgotten: None };
        if start.refused.is_none() {
            judge.remember(&start.documents);
        }
        judge
    }

    /// Keeps what is in force for a restart. Failing to does not make it worse, and is told once for each reason.
    fn remember(&mut self, documents: &Documents) {
        let before = std::mem::replace(&mut self.forgotten, self.source.remember(documents).err());
        match (before, &self.forgotten) {
            (before, Some(reason)) if before.as_ref() != Some(reason) => {
                tracing::warn!("the configuration in force could not be kept for a restart: {reason}");
            }
            (Some(_), None) => tracing::info!("the configuration in force is kept for a restart"),
            _ => {}
        }
    }

    /// Tries again what failed: the disk may have room by now.
    pub(super) fn remember_at_last(&mut self, documents: &Result<Documents, Diagnostics>) {
        if let Ok(documents) = documents
            && self.forgotten.is_some()
            && documents.fingerprint() == self.in_force
        {
            self.remember(documents);
        }
    }

    /// Whether a rule file of the last verdict is not among `documents`, for no reason that is a fault.
    pub(super) fn misses_a_file(&self, documents: &Documents) -> bool {
        documents.unread.is_empty() && !self.rule_files.is_subset(&names(documents))
    }

    /// Whether `documents` differ from those of the last verdict.
    pub(super) fn is_news(&self, documents: &Result<Documents, Diagnostics>) -> bool {
        let fingerprint = documents.as_ref().ok().map(Documents::fingerprint);
        match (&self.refused, documents) {
            (None, _) => fingerprint != Some(self.in_force),
            (Some(refusal), Ok(_)) => fingerprint != refusal.fingerprint,
            (Some(refusal), Err(faults)) => *faults != refusal.faults,
        }
    }

    pub(super) fn judge(&self, documents: Result<Documents, Diagnostics>) -> Judgement {
        let documents = match documents {
            Ok(documents) => documents,
            Err(faults) => return Judgement::Faulty(None, faults),
        };
        let fingerprint = documents.fingerprint();
        let refused = self.refused.as_ref().and_then(|refusal| refusal.fingerprint);
        if fingerprint == self.in_force || Some(fingerprint) == refused {
            return Judgement::Known(documents);
        }
        // A parser that panics must not end the watching.
        let load = AssertUnwindSafe(|| documents.load(&self.source.environment));
        match catch_unwind(load).unwrap_or_else(|_| Err(self.panicked())) {
            Ok(loaded) => Judgement::Good(documents, Box::new(loaded)),
            Err(faults) => Judgement::Faulty(Some(documents), faults),
        }
    }

    /// Makes a judgement the last one, and delivers what is to be said about it.
    /// If it was `asked` for, that is what was said already, too.
    pub(super) fn settle(
        &mut self,
        judgement: Judgement,
        asked: bool,
        deliver: &mut impl FnMut(Verdict) -> bool,
    ) {
        match judgement {
            Judgement::Known(documents) => {
                self.rule_files = names(&documents);
                if documents.fingerprint() != self.in_force {
                    if let Some(refusal) = self.refused.as_ref().filter(|_| asked) {
                        deliver(Verdict::Refused(refusal.faults.clone()));
                    }
                } else if self.refused.take().is_some() {
                    deliver(Verdict::Restored);
                } else if asked {
                    self.remember_at_last(&Ok(documents));
                    deliver(Verdict::Unchanged);
                }
            }
            Judgement::Good(documents, loaded) => {
                self.rule_files = names(&documents);
                if deliver(Verdict::Accepted(loaded)) {
                    self.remember(&documents);
                    self.in_force = documents.fingerprint();
                    self.refused = None;
                } else {
                    // The reason is not in the files (a port is taken, say) and may pass: no fingerprint, so that the
                    // same files are news at the next look.
                    self.refused = Some(Refusal { fingerprint: None, faults: Diagnostics::new() });
                }
            }
            Judgement::Faulty(documents, faults) => {
                if let Some(documents) = documents.as_ref().filter(|documents| documents.unread.is_empty()) {
                    self.rule_files = names(documents);
                }
                let fingerprint = documents.as_ref().map(Documents::fingerprint);
                let before = self.refused.replace(Refusal { fingerprint, faults: faults.clone() });
                if asked || before.is_none_or(|before| before.faults != faults) {
                    deliver(Verdict::Refused(faults));
                }
            }
        }
    }

    fn panicked(&self) -> Diagnostics {
        let mut faults = Diagnostics::new();
        faults.push(fault(
            &self.source.main,
            "internal",
            "reading it failed for a reason of our own".to_owned(),
        ));
        faults
    }
}

fn names(documents: &Documents) -> BTreeSet<String> {
    documents.rules.iter().map(|document| document.name.clone()).collect()
}
