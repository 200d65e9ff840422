//! `timeouts:` and `retry:` of a rule.
//!
//! Law: what was certainly not processed may be sent again: a connection that was not had, a refused stream, and the statuses
//! that are asked for. A reset is no such case, unless `backendRequest` bounds an attempt: then an attempt that took too long
//! is made again, as the Gateway API asks, and nothing can tell it from a lost one.

use std::time::Duration;

use super::words::{bounded, duration};
use crate::config::decode::Field;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::{BackOff, RetryCondition, RetryOn, RetryPolicy};

/// Attempts after the first where `attempts` is not said.
const DEFAULT_ATTEMPTS: u32 = 1;

/// What a rule says of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    /// Of the whole request; zero: none.
    pub(super) request: Option<Duration>,
    pub(super) retry: Option<RetryPolicy>,
}

/// Reads both keys of a rule.
pub(super) fn times(rule: &Table<'_>) -> Option<Times> {
    let timeouts = rule.get("timeouts").map_or(Some((None, None)), |field| timeouts(&field));
    let retry = maybe(rule, "retry", retry);
    let ((request, per_try), retry) = (timeouts?, retry?);
    let retry = match (retry, per_try) {
        (Some(policy), Some(_)) => Some(RetryPolicy {
            on: policy.on.with(RetryCondition::Reset),
            per_try_timeout: per_try,
            ..policy
        }),
        // Without a condition the safe retry stays, and no other.
        (None, Some(_)) => Some(RetryPolicy { per_try_timeout: per_try, ..RetryPolicy::default() }),
        (retry, None) => retry,
    };
    Some(Times { request, retry })
}

/// `request`, and `backendRequest` unless it is zero.
fn timeouts(field: &Field<'_>) -> Option<(Option<Duration>, Option<Duration>)> {
    let table = Table::new(field, &Keys::of(&["request", "backendRequest"]))?;
    let request = maybe(&table, "request", duration);
    let backend = maybe(&table, "backendRequest", duration);
    let (request, backend) = (request?, backend?);
    if let (Some(whole), Some(one)) = (request, backend)
        && !whole.is_zero()
        && one > whole
    {
        let field = table.get("backendRequest")?;
        field.fault_with("timeouts", "it is longer than `request`", "at most `request`");
        return None;
    }
    Some((request, backend.filter(|backend| !backend.is_zero())))
}

fn retry(field: &Field<'_>) -> Option<RetryPolicy> {
    let table = Table::new(field, &Keys::of(&["codes", "attempts", "backoff"]))?;
    let codes = table.get("codes").map_or(Some(Vec::new()), |field| codes(&field));
    let attempts = table
        .get("attempts")
        .map_or(Some(DEFAULT_ATTEMPTS.into()), |field| field.integer_as("retry", 0..=i64::from(i32::MAX)));
    let back_off = table.get("backoff").map_or(Some(BackOff::default()), |field| back_off(&field));
    let (codes, attempts) = (codes?, attempts?);
    let mut on: RetryOn =
        [RetryCondition::ConnectFailure, RetryCondition::RefusedStream].into_iter().collect();
    if !codes.is_empty() {
        on = on.with(RetryCondition::RetriableStatusCodes);
    }
    Some(RetryPolicy {
        on,
        status_codes: codes,
        retries: attempts as u32,
        back_off: back_off?,
        ..RetryPolicy::default()
    })
}

fn codes(field: &Field<'_>) -> Option<Vec<u16>> {
    let mut codes = Vec::new();
    let mut whole = true;
    // There are no more that differ.
    for item in bounded(field, 200)? {
        match item.integer_as("status", 400..=599).map(|code| code as u16) {
            Some(code) if codes.contains(&code) => {
                item.fault_with("repeated", format!("{code} stands twice"), "each once");
                whole = false;
            }
            Some(code) => codes.push(code),
            None => whole = false,
        }
    }
    // Their order means nothing, in any dialect.
    codes.sort_unstable();
    whole.then_some(codes)
}

fn back_off(field: &Field<'_>) -> Option<BackOff> {
    let base = duration(field)?;
    if base.is_zero() {
        field.fault_with("retry", "a pause of zero is none", "1ms at least");
        return None;
    }
    Some(BackOff::from_base(base))
}
