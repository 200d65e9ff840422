//! What annotations say of rules: one value each.
//!
//! Law: what is said of one rule goes before what is said of all; nothing is said twice of one place.

use std::sync::Arc;
use std::time::Duration;

use super::key;
use crate::config::decode::Field;
use crate::config::draft::{RouteDraft, RuleDraft};
use crate::config::networking::version_header;
use crate::config::values;
use crate::snapshot::route::OrdName;
use crate::snapshot::{HashKey, HeaderMatch, HeaderName, RetryCondition, RoutePolicy, Sticky, StringMatch};

const STICKY: &str = "sticky";
pub(super) const SALT: &str = "sticky-salt";
const VERSION_HEADER: &str = "version-header";
const REPEATABLE: &str = "repeatable";
const IDLE: &str = "idle-timeout";
const GRPC_MAX: &str = "max-grpc-timeout";
const PER_TRY_IDLE: &str = "per-try-idle-timeout";
const RETRIABLE_HEADERS: &str = "retriable-headers";

/// All of them.
pub(super) const KNOWN: [&str; 8] =
    [STICKY, SALT, VERSION_HEADER, REPEATABLE, IDLE, GRPC_MAX, PER_TRY_IDLE, RETRIABLE_HEADERS];

/// What is said of one rule, or of all of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    /// What chooses a version; none: the schedule.
    sticky: Vec<HashKey>,
    /// By default the rule's name.
    salt: Option<Arc<str>>,
    /// The answer's field that names the chosen version.
    version_header: Option<OrdName>,
    /// Whether a POST may be sent again when the connection failed.
    repeatable: Option<bool>,
    /// A stream without a byte either way; zero turns it off.
    idle: Option<Duration>,
    /// The longest `grpc-timeout` that counts.
    grpc_max: Option<Duration>,
    /// A try without a byte of its answer.
    per_try_idle: Option<Duration>,
    /// Fields of an answer that ask for another try.
    retriable_headers: Vec<OrdName>,
}

impl Said {
    /// Takes the annotation `kind`, one of [`KNOWN`].
    pub(super) fn read(&mut self, kind: &str, field: &Field<'_>, text: &str) {
        match kind {
            STICKY => self.sticky = key::keys(field, text).unwrap_or_default(),
            SALT => self.salt = Some(text.into()),
            VERSION_HEADER => {
                self.version_header = key::header(field, text).and_then(|name| version_header(field, name));
            }
            REPEATABLE => self.repeatable = field.word(&[("true", true), ("false", false)]),
            IDLE => self.idle = time(field, text),
            GRPC_MAX => self.grpc_max = some_time(field, text),
            PER_TRY_IDLE => self.per_try_idle = some_time(field, text),
            RETRIABLE_HEADERS => {
                self.retriable_headers =
                    text.split(',').filter_map(|name| key::header(field, name.trim())).collect();
            }
            _ => {}
        }
    }

    pub(super) fn is_sticky(&self) -> bool {
        !self.sticky.is_empty()
    }

    /// `all` where this says nothing.
    pub(super) fn or(self, all: &Said) -> Said {
        let either = |own: Vec<HashKey>, all: &[HashKey]| if own.is_empty() { all.to_vec() } else { own };
        let headers = match self.retriable_headers.is_empty() {
            true => all.retriable_headers.clone(),
            false => self.retriable_headers,
        };
        Said {
            sticky: either(self.sticky, &all.sticky),
            salt: self.salt.or_else(|| all.salt.clone()),
            version_header: self.version_header.or_else(|| all.version_header.clone()),
            repeatable: self.repeatable.or(all.repeatable),
            idle: self.idle.or(all.idle),
            grpc_max: self.grpc_max.or(all.grpc_max),
            per_try_idle: self.per_try_idle.or(all.per_try_idle),
            retriable_headers: headers,
        }
    }

    /// Adds it to a rule of `object`.
    pub(super) fn apply(self, rule: &mut RuleDraft, object: &RouteDraft) {
        rule.repeatable = self.repeatable.or(rule.repeatable);
        let nothing = Said { repeatable: self.repeatable, ..Said::default() };
        if self == nothing {
            return; // a rule without a policy goes the short way
        }
        let name = object.rule_name(rule.label.as_deref());
        let policy = &mut Arc::make_mut(rule.policy.get_or_insert_default()).policy;
        if !self.sticky.is_empty() {
            let salt = self.salt.unwrap_or_else(|| name.into());
            policy.sticky = Some(Sticky { keys: self.sticky, salt });
        }
        policy.version_header = self.version_header.or(policy.version_header.take());
        policy.timeouts.idle = self.idle.or(policy.timeouts.idle);
        policy.timeouts.grpc_max = self.grpc_max.or(policy.timeouts.grpc_max);
        of_tries(policy, self.per_try_idle, self.retriable_headers);
    }
}

/// Whether an annotation adds to a policy of retries.
pub(super) fn is_of_retries(kind: &str) -> bool {
    matches!(kind, PER_TRY_IDLE | RETRIABLE_HEADERS)
}

fn of_tries(policy: &mut RoutePolicy, idle: Option<Duration>, headers: Vec<OrdName>) {
    let Some(retry) = policy.retry.as_mut().filter(|retry| retry.retries > 0) else { return };
    retry.per_try_idle_timeout = idle.or(retry.per_try_idle_timeout);
    if !headers.is_empty() {
        retry.on = retry.on.with(RetryCondition::RetriableHeaders);
        let there = |name| HeaderMatch { name: HeaderName::Header(name), value: StringMatch::Present };
        retry.headers = headers.into_iter().map(there).collect();
    }
}

fn time(field: &Field<'_>, text: &str) -> Option<Duration> {
    let read = values::parse_duration(text);
    read.map_err(|reason| field.fault_with("annotation", reason, "such as 250ms, 5s or 1m30s")).ok()
}

/// More than none.
fn some_time(field: &Field<'_>, text: &str) -> Option<Duration> {
    let read = time(field, text)?;
    if read.is_zero() {
        field.fault_with("annotation", "0 leaves no time", "leave it out, where there is to be no bound");
        return None;
    }
    Some(read)
}
