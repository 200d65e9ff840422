//! Tables of what each condition takes for a reason.

use http::HeaderValue;

use super::*;
use crate::snapshot::{OrdName, RetryOn};

fn policy(on: &[On]) -> RetryPolicy {
    RetryPolicy { on: on.iter().copied().collect(), ..RetryPolicy::default() }
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    fields.iter().map(pair).collect()
}

fn failure(reason: Reason, processed: Processed) -> Failure {
    Failure { reason, processed }
}

/// The conditions that take `outcome` for a reason, each asked alone.
fn those_that_allow(outcome: Outcome<'_>) -> Vec<&'static str> {
    let with_lists = |&on: &On| RetryPolicy {
        status_codes: vec![418],
        headers: vec![HeaderMatch {
            name: snapshot::HeaderName::Header(OrdName(HeaderName::from_static("x-again"))),
            value: StringMatch::Exact("yes".into()),
        }],
        ..policy(&[on])
    };
    let allows = |on: &&On| allows(&with_lists(on), outcome).is_some();
    On::ALL.iter().filter(allows).map(|on| on.as_str()).collect()
}

#[test]
fn each_status_is_a_reason_for_the_conditions_that_name_it() {
    for (status, expected) in [
        (200, &[][..]),
        (301, &[]),
        (404, &[]),
        (409, &["retriable-4xx"]),
        (418, &["retriable-status-codes"]),
        (429, &[]),
        (500, &["5xx"]),
        (501, &["5xx"]),
        (502, &["5xx", "gateway-error"]),
        (503, &["5xx", "gateway-error"]),
        (504, &["5xx", "gateway-error"]),
        (505, &["5xx"]),
        (599, &["5xx"]),
    ] {
        assert_eq!(those_that_allow(Outcome::Head(status, &HeaderMap::new())), expected, "{status}");
    }
}

#[test]
fn each_failure_is_a_reason_for_the_conditions_that_name_it() {
    let no = |why| Processed::No(why);
    for (reason, processed, expected) in [
        (
            Reason::ConnectFailure,
            no(RetryReason::Connect),
            &["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure"][..],
        ),
        (
            Reason::ConnectTimeout,
            no(RetryReason::Connect),
            &["5xx", "gateway-error", "reset", "reset-before-request", "connect-failure"],
        ),
        (
            Reason::UpstreamRefusedStream,
            no(RetryReason::RefusedStream),
            &["5xx", "gateway-error", "reset", "refused-stream"],
        ),
        (
            Reason::UpstreamClosed,
            no(RetryReason::Unsent),
            &["5xx", "gateway-error", "reset", "reset-before-request"],
        ),
        (Reason::UpstreamReset, no(RetryReason::Goaway), &["5xx", "gateway-error", "reset"]),
        (Reason::UpstreamClosed, Processed::Maybe, &["5xx", "gateway-error", "reset"]),
        (Reason::UpstreamReset, Processed::Maybe, &["5xx", "gateway-error", "reset"]),
        (Reason::UpstreamProtocolError, Processed::Maybe, &["5xx", "gateway-error", "reset"]),
        (Reason::Overflow, Processed::Maybe, &[]),
    ] {
        assert_eq!(those_that_allow(Outcome::Failed(failure(reason, processed))), expected, "{reason:?}");
    }
    assert_eq!(those_that_allow(Outcome::TryTimeout), ["5xx", "gateway-error", "reset"]);
}

#[test]
fn five_statuses_of_grpc_are_reasons_in_head_and_trailers_alike() {
    for status in GrpcStatus::ALL {
        let expected: &[&str] = match status {
            GrpcStatus::Cancelled => &["cancelled"],
            GrpcStatus::DeadlineExceeded => &["deadline-exceeded"],
            GrpcStatus::Internal => &["internal"],
            GrpcStatus::ResourceExhausted => &["resource-exhausted"],
            GrpcStatus::Unavailable => &["unavailable"],
            _ => &[],
        };
        assert_eq!(those_that_allow(Outcome::Trailers(status)), expected, "{status:?}");
        let head = headers(&[("grpc-status", status.code_str())]);
        assert_eq!(those_that_allow(Outcome::Head(200, &head)), expected, "{status:?}");
    }
}

#[test]
fn a_field_of_the_list_is_a_reason_when_it_holds() {
    let allowed = |fields| those_that_allow(Outcome::Head(200, &headers(fields)));
    assert_eq!(allowed(&[("x-again", "yes")]), ["retriable-headers"]);
    assert!(allowed(&[("x-again", "no")]).is_empty());
    assert!(allowed(&[("x-again", "yes"), ("x-other", "yes")]) == ["retriable-headers"]);
    assert!(allowed(&[("x-other", "yes")]).is_empty());
}

#[test]
fn an_answer_that_is_rate_limited_is_asked_for_again_by_its_own_condition_alone() {
    let limited = headers(&[("x-envoy-ratelimited", "true"), ("x-again", "yes"), ("grpc-status", "14")]);
    assert_eq!(those_that_allow(Outcome::Head(503, &limited)), ["envoy-ratelimited"]);
}

#[test]
fn a_caller_adds_conditions_and_lists_and_sets_the_number() {
    let route = RetryPolicy { retries: 2, status_codes: vec![418], ..policy(&[On::Reset]) };
    let asked_by = |fields: &[(&'static str, &'static str)]| {
        asked(Some(&route), &headers(fields)).expect("a policy").into_owned()
    };
    assert_eq!(asked_by(&[]), route);
    let more = asked_by(&[
        ("x-envoy-retry-on", "5xx, retriable-status-codes,nonsense"),
        ("x-envoy-retry-grpc-on", "unavailable"),
        ("x-envoy-retriable-status-codes", "425,none, 409"),
        ("x-envoy-max-retries", "5"),
    ]);
    let on: RetryOn =
        [On::ServerError, On::Reset, On::RetriableStatusCodes, On::Unavailable].into_iter().collect();
    assert_eq!((more.on, more.retries, &more.status_codes[..]), (on, 5, &[418, 425, 409][..]));
    assert_eq!(asked_by(&[("x-envoy-max-retries", "many")]).retries, 2);
    // A number beyond all need is taken for the largest.
    for (asked, retries) in [("100", 100), ("101", 100), ("4294967295", 100), ("4294967296", 2)] {
        let more = asked_by(&[("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", asked)]);
        assert_eq!(more.retries, retries, "{asked}");
    }
    // A list is no number.
    for asked in ["2,3", "2, 3", "5,", "1.5", "-1", ""] {
        assert_eq!(asked_by(&[("x-envoy-max-retries", asked)]).retries, 2, "{asked}");
    }
    assert_eq!(asked_by(&[("x-envoy-max-retries", "4"), ("x-envoy-max-retries", "3")]).retries, 2);
    let named = asked_by(&[("x-envoy-retriable-header-names", "x-again, x-more")]);
    assert_eq!(named.headers.len(), 2);
}

#[test]
fn a_caller_may_ask_for_retries_where_the_route_has_none_but_a_number_alone_is_no_condition() {
    assert!(asked(None, &headers(&[])).is_none());
    assert!(asked(None, &headers(&[("x-envoy-max-retries", "5")])).is_none());
    assert!(asked(None, &headers(&[("x-envoy-retry-on", "nonsense")])).is_none());
    let asked = asked(None, &headers(&[("x-envoy-retry-on", "5xx")])).expect("a policy");
    assert_eq!((asked.retries, asked.on), (1, policy(&[On::ServerError]).on));
}
