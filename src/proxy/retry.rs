//! Whether a failed attempt may be made once more without anybody having asked for it. Pure.
//!
//! What a route's policy asks for is `conditions`, the pauses between its attempts `back_off`.
//!
//! Law: a request that may have been processed is sent again only if its method is idempotent (RFC 9110 section 9.2.2)
//! or its service says `repeatable`; one that was certainly not processed may always be.

use http::Method;

use super::reply::Reason;
use crate::telemetry::families::weir::RetryReason;

pub(super) mod back_off;
pub(super) mod conditions;

/// What is certain of an attempt that failed before its answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processed {
    /// It was not; why that is certain.
    No(RetryReason),
    /// It may have been.
    Maybe,
}

/// An attempt that failed before its answer's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What the caller is told if this was the last attempt.
    pub(super) reason: Reason,
    /// Whether the upstream may have acted on it.
    pub(super) processed: Processed,
}

impl Failure {
    /// The pod is not the one meant: its address was reused.
    pub(super) const MISDIRECTED: Failure =
        Failure { reason: Reason::NoEndpoint, processed: Processed::No(RetryReason::Misdirected) };

    /// Whether none of it was sent.
    pub(super) fn is_unsent(self) -> bool {
        matches!(self.processed, Processed::No(RetryReason::Unsent | RetryReason::Connect))
    }
}

/// What the request allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance {
    pub(super) idempotent: bool,
    pub(super) repeatable: bool,
    /// Another attempt would send the very same body.
    pub(super) same_body: bool,
    /// There is another endpoint.
    pub(super) elsewhere: bool,
}

/// What allows one more attempt, if anything does.
pub(super) fn allowed(failure: Failure, allowance: Allowance) -> Option<RetryReason> {
    if !allowance.same_body {
        return None;
    }
    match failure.processed {
        // The endpoint is down, or is another's by now: only another one can help.
        Processed::No(reason @ (RetryReason::Connect | RetryReason::Misdirected)) => {
            allowance.elsewhere.then_some(reason)
        }
        Processed::No(reason) => Some(reason),
        Processed::Maybe if !matches!(failure.reason, Reason::UpstreamClosed | Reason::UpstreamReset) => None,
        Processed::Maybe if allowance.idempotent => Some(RetryReason::Idempotent),
        Processed::Maybe => allowance.repeatable.then_some(RetryReason::Repeatable),
    }
}

/// RFC 9110 section 9.2.2.
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: Allowance =
        Allowance { idempotent: false, repeatable: false, same_body: true, elsewhere: true };
    const LOST: Failure = Failure { reason: Reason::UpstreamClosed, processed: Processed::Maybe };

    #[test]
    fn a_post_that_may_have_been_processed_is_never_sent_again_unless_repeatable() {
        assert_eq!(allowed(LOST, POST), None);
        assert_eq!(allowed(LOST, Allowance { repeatable: true, ..POST }), Some(RetryReason::Repeatable));
        assert_eq!(allowed(LOST, Allowance { idempotent: true, ..POST }), Some(RetryReason::Idempotent));
    }

    #[test]
    fn what_was_not_processed_may_go_again_but_only_with_the_same_body() {
        let refused = Failure {
            reason: Reason::UpstreamRefusedStream,
            processed: Processed::No(RetryReason::RefusedStream),
        };
        assert_eq!(allowed(refused, POST), Some(RetryReason::RefusedStream));
        assert_eq!(allowed(refused, Allowance { same_body: false, ..POST }), None);
    }

    #[test]
    fn a_dial_that_failed_is_tried_elsewhere_or_not_at_all() {
        let refused =
            Failure { reason: Reason::ConnectFailure, processed: Processed::No(RetryReason::Connect) };
        assert_eq!(allowed(refused, POST), Some(RetryReason::Connect));
        assert_eq!(allowed(refused, Allowance { elsewhere: false, ..POST }), None);
    }

    #[test]
    fn an_answer_that_cannot_be_read_is_not_asked_for_again() {
        let garbage = Failure { reason: Reason::UpstreamProtocolError, processed: Processed::Maybe };
        assert_eq!(allowed(garbage, Allowance { idempotent: true, ..POST }), None);
    }
}
