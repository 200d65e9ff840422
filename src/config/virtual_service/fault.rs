//! `http[].fault`: what is made to go wrong.
//!
//! Law: a delay without a percentage concerns nobody, an abort without one everybody; `docs/routing.md` says why. What
//! concerns nobody is told of and left out.

use crate::config::decode::Field;
use crate::config::networking::{acts, fraction, whole_percent};
use crate::config::table::{Keys, Table, maybe};
use crate::snapshot::Fraction;
use crate::snapshot::policy::{Abort, AbortStatus, Delay, Fault};
use crate::words::GrpcStatus;

/// `fault:`; `Some(None)`: nothing of it ever acts.
#[allow(clippy::option_option)] // the outer one is the fault
pub(super) fn fault(field: &Field<'_>) -> Option<Option<Fault>> {
    let table = Table::new(field, &Keys::of(&["delay", "abort"]))?;
    if table.get("delay").is_none() && table.get("abort").is_none() {
        field.fault_with("fault", "it says nothing", "delay, abort or both");
        return None;
    }
    let delay = maybe(&table, "delay", delay);
    let abort = maybe(&table, "abort", abort);
    let fault = Fault { delay: delay?.flatten(), abort: abort?.flatten() };
    Some((fault != Fault::default()).then_some(fault))
}

#[allow(clippy::option_option)] // the outer one is the fault
fn delay(field: &Field<'_>) -> Option<Option<Delay>> {
    const KEYS: Keys = Keys {
        known: &["fixedDelay", "percentage", "percent"],
        later: &[],
        never: &[("exponentialDelay", "Istio never had it")],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let fixed = table.require("fixedDelay").and_then(|field| field.whole_ms());
    let percentage = maybe(&table, "percentage", fraction);
    let percent = maybe(&table, "percent", whole_percent);
    let (percentage, percent) = (percentage?, percent?);
    if let (Some(_), Some(_), Some(field)) = (percentage, percent, table.get("percent")) {
        field.fault_with("fault", "`percent` and `percentage` exclude each other", "`percentage`");
        return None;
    }
    let never = Fraction { numerator: 0, ..Fraction::ALWAYS };
    let fraction = percentage.or(percent).unwrap_or(never);
    let fixed = fixed?;
    Some(acts(field, fraction).then_some(Delay { fixed, fraction }))
}

#[allow(clippy::option_option)] // the outer one is the fault
fn abort(field: &Field<'_>) -> Option<Option<Abort>> {
    const KEYS: Keys = Keys {
        known: &["httpStatus", "grpcStatus", "percentage"],
        later: &[],
        never: &[("http2Error", "Istio never had it")],
        proto: true,
    };
    let table = Table::new(field, &KEYS)?;
    let http = maybe(&table, "httpStatus", |field| field.integer_as("status", 200..=599));
    let grpc = maybe(&table, "grpcStatus", grpc_status);
    let percentage = maybe(&table, "percentage", fraction);
    let status = match (http?, grpc?) {
        (Some(code), None) => AbortStatus::Http(code as u16),
        (None, Some(status)) => AbortStatus::Grpc(status),
        (Some(_), Some(_)) => {
            let reason = "`httpStatus` and `grpcStatus` exclude each other";
            field.fault_with("fault", reason, "one of the two");
            return None;
        }
        (None, None) => {
            field.warn_with("never-acts", "it has no status", "httpStatus or grpcStatus");
            return Some(None);
        }
    };
    let fraction = percentage?.unwrap_or(Fraction::ALWAYS);
    Some(acts(field, fraction).then_some(Abort { status, fraction }))
}

fn grpc_status(field: &Field<'_>) -> Option<GrpcStatus> {
    use GrpcStatus::*;
    field.word(&[
        ("OK", Ok),
        ("CANCELLED", Cancelled),
        ("UNKNOWN", Unknown),
        ("INVALID_ARGUMENT", InvalidArgument),
        ("DEADLINE_EXCEEDED", DeadlineExceeded),
        ("NOT_FOUND", NotFound),
        ("ALREADY_EXISTS", AlreadyExists),
        ("PERMISSION_DENIED", PermissionDenied),
        ("RESOURCE_EXHAUSTED", ResourceExhausted),
        ("FAILED_PRECONDITION", FailedPrecondition),
        ("ABORTED", Aborted),
        ("OUT_OF_RANGE", OutOfRange),
        ("UNIMPLEMENTED", Unimplemented),
        ("INTERNAL", Internal),
        ("UNAVAILABLE", Unavailable),
        ("DATA_LOSS", DataLoss),
        ("UNAUTHENTICATED", Unauthenticated),
    ])
}
