//! `httpFault:` of a RouteRule.
//!
//! Law: as Istio 0.7.1 acted, not as its documents said: a percentage of 0 or none is no fault, and so is an abort
//! without a status. What says nothing is told of.

use crate::config::decode::Field;
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::Fraction;
use crate::snapshot::policy::{Abort, AbortStatus, Delay, Fault};

const OVERRIDE: &str = "Istio never read it";

/// The fault; `Some(None)` when it never acts.
#[allow(clippy::option_option)] // the outer one is the fault of the file
pub(super) fn fault(field: &Field<'_>) -> Option<Option<Fault>> {
    let table = Table::new(field, &Keys { proto: true, ..Keys::of(&["delay", "abort"]) })?;
    let delay = maybe(&table, "delay", delay);
    let abort = maybe(&table, "abort", abort);
    let fault = Fault { delay: delay?.flatten(), abort: abort?.flatten() };
    Some(Some(fault).filter(|fault| fault.delay.is_some() || fault.abort.is_some()))
}

#[allow(clippy::option_option)]
fn delay(field: &Field<'_>) -> Option<Option<Delay>> {
    const KEYS: Keys = Keys {
        known: &["percent", "fixedDelay"],
        later: &[],
        never: &[
            ("exponentialDelay", "Istio's validator refused it, and its proxies could not do it"),
            ("overrideHeaderName", OVERRIDE),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let fraction = fraction(&table);
    let fixed = table.get("fixedDelay").map(|field| field.whole_ms());
    if fixed.is_none()
        && !["exponentialDelay", "exponential_delay"].iter().any(|key| field.node.get(key).is_some())
    {
        field.fault_with("missing", "`fixedDelay` is missing", "1ms or more");
    }
    let (fixed, fraction) = (fixed??, fraction?);
    Some(acts(field, fraction).map(|fraction| Delay { fixed, fraction }))
}

#[allow(clippy::option_option)]
fn abort(field: &Field<'_>) -> Option<Option<Abort>> {
    const KEYS: Keys = Keys {
        known: &["percent", "httpStatus", "http2Error"],
        later: &[],
        never: &[
            ("grpcStatus", "Istio's validator refused it; httpStatus 503 is UNAVAILABLE to a gRPC caller"),
            ("overrideHeaderName", OVERRIDE),
        ],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let fraction = fraction(&table);
    let status = table.get("httpStatus").map_or(Some(0), |field| status(&field));
    let error = maybe(&table, "http2Error", |field| field.text().map(drop));
    let (status, fraction, error) = (status?, fraction?, error?);
    if let (Some(field), true) = (table.get("http2Error").filter(|_| error.is_some()), status > 0) {
        field.fault_with("fault", "`httpStatus` and `http2Error` exclude each other", "httpStatus");
        return None;
    }
    if status == 0 {
        field.warn_with("never-acts", "without a status nothing is aborted, as in Istio", "httpStatus");
        return Some(None);
    }
    Some(acts(field, fraction).map(|fraction| Abort { status: AbortStatus::Http(status), fraction }))
}

/// 0 is none. Istio let everything up to 600 pass, but its proxies took no status under 200.
fn status(field: &Field<'_>) -> Option<u16> {
    let status = field.integer_as("status", 0..=600)?;
    if (1..200).contains(&status) {
        field.fault_with("status", format!("an answer cannot end with {status}"), "200 to 600");
        return None;
    }
    Some(status as u16)
}

fn fraction(table: &Table<'_>) -> Option<Fraction> {
    table.get("percent").map_or(Some(0.0), |field| field.percent()).map(Fraction::of_percent)
}

/// The share, unless it is none.
fn acts(field: &Field<'_>, fraction: Fraction) -> Option<Fraction> {
    if fraction.numerator == 0 {
        let reason = "a percentage of 0, or none, is no fault, as in Istio";
        field.warn_with("never-acts", reason, "a `percent` over 0");
    }
    Some(fraction).filter(|fraction| fraction.numerator > 0)
}
