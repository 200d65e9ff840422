//! Whether a route's policy has an attempt made again, by how it ended. Pure.
//!
//! Source: Envoy's `x-envoy-retry-on` and `x-envoy-retry-grpc-on`, and its `RetryStateImpl`. Law: a circuit breaker is
//! never a reason; an answer that says `x-envoy-ratelimited` is one for `envoy-ratelimited` alone.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

use super::{Failure, Processed};
use crate::message::{grpc, values};
use crate::proxy::reply::Reason;
use crate::snapshot::{self, HeaderMatch, RetryCondition as On, RetryPolicy, StringMatch};
use crate::telemetry::families::weir::RetryReason;
use crate::words::GrpcStatus;

const RATE_LIMITED: HeaderName = HeaderName::from_static("x-envoy-ratelimited");
const RETRY_ON: HeaderName = HeaderName::from_static("x-envoy-retry-on");
const RETRY_GRPC_ON: HeaderName = HeaderName::from_static("x-envoy-retry-grpc-on");
const MAX_RETRIES: HeaderName = HeaderName::from_static("x-envoy-max-retries");
const STATUS_CODES: HeaderName = HeaderName::from_static("x-envoy-retriable-status-codes");
const HEADER_NAMES: HeaderName = HeaderName::from_static("x-envoy-retriable-header-names");
/// Retries that a caller may ask for: an upstream that always fails must not be asked without end.
const MOST_ASKED: u32 = 100;
/// Fields by which an internal caller speaks of retries to its proxy alone.
const CONTROLS: [HeaderName; 5] = [RETRY_ON, RETRY_GRPC_ON, MAX_RETRIES, STATUS_CODES, HEADER_NAMES];

/// How an attempt ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) enum Outcome<'a> {
    /// Before the head of an answer.
    Failed(Failure),
    /// The attempt's own time was up.
    TryTimeout,
    /// With this head.
    Head(u16, &'a HeaderMap),
    /// With this status in the trailers of an answer without a message.
    Trailers(GrpcStatus),
}

/// What allows another attempt under `policy`, if anything does.
pub(in crate::proxy) fn allows(policy: &RetryPolicy, outcome: Outcome<'_>) -> Option<RetryReason> {
    match outcome {
        Outcome::Failed(failure) => failed(policy, failure),
        Outcome::TryTimeout => no_answer(policy).then_some(RetryReason::PerTryTimeout),
        Outcome::Head(status, headers) => answered(policy, status, headers),
        Outcome::Trailers(status) => of_grpc(policy, status).then_some(RetryReason::GrpcStatus),
    }
}

/// Conditions that any end without an answer satisfies.
fn no_answer(policy: &RetryPolicy) -> bool {
    [On::ServerError, On::GatewayError, On::Reset].into_iter().any(|on| policy.on.has(on))
}

fn failed(policy: &RetryPolicy, failure: Failure) -> Option<RetryReason> {
    if failure.reason == Reason::Overflow {
        return None;
    }
    let connect = matches!(failure.reason, Reason::ConnectFailure | Reason::ConnectTimeout);
    let unsent = failure.is_unsent();
    let holds = no_answer(policy)
        || (policy.on.has(On::ResetBeforeRequest) && unsent)
        || (policy.on.has(On::ConnectFailure) && connect)
        || (policy.on.has(On::RefusedStream) && failure.reason == Reason::UpstreamRefusedStream);
    let why = match failure.processed {
        Processed::No(why) => why,
        Processed::Maybe => RetryReason::Reset,
    };
    holds.then_some(why)
}

fn answered(policy: &RetryPolicy, status: u16, headers: &HeaderMap) -> Option<RetryReason> {
    let has = |on| policy.on.has(on);
    if headers.contains_key(RATE_LIMITED) {
        return has(On::EnvoyRateLimited).then_some(RetryReason::Status);
    }
    let by_status = (has(On::ServerError) && status >= 500)
        || (has(On::GatewayError) && matches!(status, 502..=504))
        || (has(On::Retriable4xx) && status == 409)
        || (has(On::RetriableStatusCodes) && policy.status_codes.contains(&status));
    if by_status {
        return Some(RetryReason::Status);
    }
    if has(On::RetriableHeaders) && policy.headers.iter().any(|condition| holds(condition, headers)) {
        return Some(RetryReason::Headers);
    }
    of_grpc(policy, grpc::status(headers)?).then_some(RetryReason::GrpcStatus)
}

fn of_grpc(policy: &RetryPolicy, status: GrpcStatus) -> bool {
    let on = match status {
        GrpcStatus::Cancelled => On::Cancelled,
        GrpcStatus::DeadlineExceeded => On::DeadlineExceeded,
        GrpcStatus::Internal => On::Internal,
        GrpcStatus::ResourceExhausted => On::ResourceExhausted,
        GrpcStatus::Unavailable => On::Unavailable,
        _ => return false,
    };
    policy.on.has(on)
}

/// Whether an answer's field satisfies `condition`; several values of one name are joined by commas.
fn holds(condition: &HeaderMatch, headers: &HeaderMap) -> bool {
    // An answer has no method, authority or scheme.
    let snapshot::HeaderName::Header(name) = &condition.name else { return false };
    values::joined(headers, &name.0).is_some_and(|value| condition.value.holds(&value))
}

/// The route's policy with what an internal caller asks for: conditions, statuses and fields in addition, the number of
/// retries in place of the route's. Of a list, what is unknown is passed over, as in Envoy.
pub fn asked<'a>(route: Option<&'a RetryPolicy>, headers: &HeaderMap) -> Option<Cow<'a, RetryPolicy>> {
    let asks = CONTROLS.iter().any(|name| headers.contains_key(name));
    if !asks {
        return route.map(Cow::Borrowed);
    }
    let mut policy = route.cloned().unwrap_or_default();
    for condition in items(headers, &RETRY_ON).chain(items(headers, &RETRY_GRPC_ON)) {
        if let Some(condition) = On::parse(condition) {
            policy.on = policy.on.with(condition);
        }
    }
    policy.status_codes.extend(items(headers, &STATUS_CODES).filter_map(|code| code.parse::<u16>().ok()));
    let present = |name: &str| {
        let name = HeaderName::try_from(name).ok()?;
        let name = snapshot::HeaderName::Header(snapshot::OrdName(name));
        Some(HeaderMatch { name, value: StringMatch::Present })
    };
    policy.headers.extend(items(headers, &HEADER_NAMES).filter_map(present));
    // A number, not a list: of several nobody knows which is meant, so that the route's holds, as in Envoy.
    let number = values::joined(headers, &MAX_RETRIES)
        .and_then(|text| std::str::from_utf8(text.trim_ascii()).ok()?.parse::<u32>().ok());
    if let Some(retries) = number {
        policy.retries = retries.min(MOST_ASKED);
    }
    // Without a condition nothing is asked for, whatever the number says.
    if policy.on.is_empty() { route.map(Cow::Borrowed) } else { Some(Cow::Owned(policy)) }
}

/// Takes out what an internal caller said to its proxy alone.
pub fn strip_asked(headers: &mut HeaderMap) {
    for name in CONTROLS {
        headers.remove(name);
    }
}

/// The items of the list under a name, as far as they are text.
fn items<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    values::items(headers, name).filter_map(|item| std::str::from_utf8(item).ok())
}

#[cfg(test)]
#[path = "conditions_tests.rs"]
mod tests;
