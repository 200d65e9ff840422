//! `http[].retries`, `corsPolicy` and the mirrors.
//!
//! Law: retries that are said replace Weir's own; `attempts: 0` means none at all. Conditions are Envoy's, by name.

use std::sync::Arc;

use super::{Context, action};
use crate::config::decode::Field;
use crate::config::draft::MirrorDraft;
use crate::config::networking::{
    acts, fraction, header_name, no_localities, origin, string_match, whole_percent,
};
use crate::config::table::{Keys, Table, each, filled, maybe};
use crate::snapshot::policy::{Cors, UnmatchedPreflights};
use crate::snapshot::retry::{BackOff, RetryCondition, RetryPolicy};
use crate::snapshot::{Fraction, StringMatch};

/// `retries:`
pub(super) fn retries(field: &Field<'_>) -> Option<RetryPolicy> {
    const KEYS: Keys = Keys {
        known: &[
            "attempts",
            "perTryTimeout",
            "retryOn",
            "retryIgnorePreviousHosts",
            "backoff",
            "retryRemoteLocalities",
        ],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let attempts = table.get("attempts").map_or(Some(0), |field| field.integer(0..=i32::MAX.into()));
    let per_try = maybe(&table, "perTryTimeout", Field::whole_ms);
    maybe(&table, "retryRemoteLocalities", |field| no_localities(field, field.boolean()?))?;
    let elsewhere = table.get("retryIgnorePreviousHosts").map_or(Some(true), |field| field.boolean());
    let back_off = maybe(&table, "backoff", Field::whole_ms);
    let mut policy =
        RetryPolicy { retries: attempts? as u32, elsewhere: elsewhere?, ..RetryPolicy::default() };
    let on = match filled(&table, "retryOn") {
        Some((field, text)) => retry_on(&field, text, &mut policy),
        None => {
            use RetryCondition::*;
            policy.on = [ConnectFailure, RefusedStream, Unavailable, Cancelled].into_iter().collect();
            Some(())
        }
    };
    policy.per_try_timeout = per_try?;
    if let Some(base) = back_off? {
        policy.back_off = BackOff::from_base(base);
    }
    on?;
    if policy.retries == 0 {
        let more = ["perTryTimeout", "retryOn", "backoff"].into_iter().find_map(|key| table.get(key));
        if let Some(more) = more {
            more.fault_with("retries", "`attempts: 0` means no retries at all", "attempts over 0");
            return None;
        }
        policy.on = Default::default();
    }
    Some(policy)
}

/// Conditions and statuses, joined by commas.
fn retry_on(field: &Field<'_>, text: &str, policy: &mut RetryPolicy) -> Option<()> {
    let mut whole = true;
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let status = word.parse::<u16>().ok().filter(|status| digits && (100..600).contains(status));
        match (status, RetryCondition::parse(word)) {
            (None, Some(RetryCondition::RetriableHeaders)) => {
                let reason = "`retriable-headers` is not supported: no field names the headers";
                field.fault_with(
                    "not-supported",
                    reason,
                    "the annotation `weir/retriable-headers: NAME` in its place",
                );
                whole = false;
            }
            (Some(status), _) => {
                policy.on = policy.on.with(RetryCondition::RetriableStatusCodes);
                policy.status_codes.push(status);
            }
            (None, Some(condition)) => policy.on = policy.on.with(condition),
            (None, None) => {
                let known: Vec<_> = RetryCondition::ALL.iter().map(|one| one.as_str()).collect();
                let help = format!("{}, or a status", known.join(", "));
                field.fault_with("retry-on", format!("`{word}` is no condition"), help);
                whole = false;
            }
        }
    }
    if policy.on.has(RetryCondition::RetriableStatusCodes) && policy.status_codes.is_empty() {
        field.warn_with("never-acts", "`retriable-status-codes` without a status", "such as 503 beside it");
    }
    policy.status_codes.sort_unstable();
    policy.status_codes.dedup();
    whole.then_some(())
}

/// `corsPolicy:`
pub(super) fn cors(field: &Field<'_>, context: &Context<'_>) -> Option<Cors> {
    const KEYS: Keys = Keys {
        known: &[
            "allowOrigins",
            "allowOrigin",
            "allowMethods",
            "allowHeaders",
            "exposeHeaders",
            "maxAge",
            "allowCredentials",
            "unmatchedPreflights",
        ],
        later: &[],
        never: &[],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let origins = origins(&table, context);
    let methods = joined(&table, "allowMethods", |field, text| {
        let known = text.parse::<http::Method>().is_ok();
        if !known {
            field.fault_with("cors", format!("`{text}` is no method"), "such as GET, or \"*\"");
        }
        known
    });
    let is_header = |field: &Field<'_>, text: &str| text == "*" || header_name(field, text).is_some();
    let headers = joined(&table, "allowHeaders", is_header);
    let expose = joined(&table, "exposeHeaders", is_header);
    let max_age = maybe(&table, "maxAge", Field::whole_seconds);
    let credentials = table.get("allowCredentials").map_or(Some(false), |field| field.boolean());
    let preflights = table.get("unmatchedPreflights").map_or(Some(UnmatchedPreflights::Forward), |field| {
        use UnmatchedPreflights::*;
        field.word(&[("UNSPECIFIED", Forward), ("FORWARD", Forward), ("IGNORE", Answer)])
    });
    let origins = origins?;
    if origins.is_empty() {
        field.warn_with("never-acts", "no origin is let in", "`allowOrigins`");
    }
    Some(Cors {
        origins,
        methods: methods?,
        headers: headers?,
        expose: expose?,
        max_age: max_age?,
        credentials: credentials?,
        unmatched_preflights: preflights?,
    })
}

fn origins(table: &Table<'_>, context: &Context<'_>) -> Option<Vec<StringMatch>> {
    let conditions = each(table, "allowOrigins", |field| match string_match(field, context.patterns)? {
        StringMatch::Exact(text) if !text.is_empty() => Some(origin(&text)),
        StringMatch::Exact(_) | StringMatch::Present => {
            field.fault_with("cors", "it has no condition", "such as {exact: \"*\"}");
            None
        }
        other => Some(other),
    });
    let plain = each(table, "allowOrigin", |field| field.filled().map(origin));
    let (conditions, plain) = (conditions?, plain?);
    if let (false, false, Some(field)) = (conditions.is_empty(), plain.is_empty(), table.get("allowOrigin")) {
        field.fault_with("cors", "`allowOrigin` and `allowOrigins` exclude each other", "`allowOrigins`");
        return None;
    }
    Some(if conditions.is_empty() { plain } else { conditions })
}

/// A list as it is sent; nothing for an empty one.
#[allow(clippy::option_option)] // the outer one is the fault
fn joined(
    table: &Table<'_>,
    key: &'static str,
    is_good: impl Fn(&Field<'_>, &str) -> bool,
) -> Option<Option<Arc<str>>> {
    let all = each(table, key, |field| {
        let text = field.filled()?;
        is_good(field, text).then(|| text.to_owned())
    })?;
    Some((!all.is_empty()).then(|| all.join(",").into()))
}

/// `mirror:` with its percentage, or `mirrors:`.
pub(super) fn mirrors(table: &Table<'_>) -> Option<Vec<MirrorDraft>> {
    let one = maybe(table, "mirror", action::destination);
    let percentage = maybe(table, "mirrorPercentage", fraction);
    let old = maybe(table, "mirrorPercent", whole_percent);
    let several = each(table, "mirrors", mirror);
    let (one, percentage, old, several) = (one?, percentage?, old?, several?);
    for key in ["mirrorPercentage", "mirrorPercent"] {
        if let (None, Some(field)) = (&one, table.get(key)) {
            field.fault_with("mirror", "there is no `mirror`", "`percentage` under each of `mirrors`");
            return None;
        }
    }
    if let (Some(_), Some(field)) = (&one, table.get("mirrors")) {
        field.fault_with("mirror", "`mirror` and `mirrors` exclude each other", "one of the two");
        return None;
    }
    if let (Some(_), Some(_), Some(field)) = (percentage, old, table.get("mirrorPercent")) {
        field.fault_with(
            "mirror",
            "`mirrorPercent` and `mirrorPercentage` exclude each other",
            "`mirrorPercentage`",
        );
        return None;
    }
    let fraction = percentage.or(old).unwrap_or(Fraction::ALWAYS);
    let one = one.filter(|_| table.get("mirror").is_some_and(|field| acts(&field, fraction)));
    let mut all: Vec<MirrorDraft> = several.into_iter().flatten().collect();
    all.extend(one.map(|share| MirrorDraft { share, fraction }));
    Some(all)
}

/// One of `mirrors:`; `Some(None)`: it never acts.
#[allow(clippy::option_option)] // the outer one is the fault
fn mirror(field: &Field<'_>) -> Option<Option<MirrorDraft>> {
    let table = Table::new(field, &Keys::of(&["destination", "percentage"]))?;
    let share = table.require("destination").and_then(|field| action::destination(&field));
    let fraction = maybe(&table, "percentage", fraction);
    let (share, fraction) = (share?, fraction?.unwrap_or(Fraction::ALWAYS));
    Some(acts(field, fraction).then_some(MirrorDraft { share, fraction }))
}
