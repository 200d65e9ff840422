//! The filter's laws: all that it says must hold, of `any` one, and bounds are in it.

use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::telemetry::heads::LoggedHeads;
use crate::words::{Flag, HttpVersion};

fn record(status: u16, milliseconds: u64, flags: Flags) -> RequestRecord {
    let mut record =
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http11, Protocol::Http);
    (record.status, record.flags) = (status, flags);
    record.duration = Duration::from_millis(milliseconds);
    record
}

fn passes(filter: &LogFilter, record: &RequestRecord) -> bool {
    filter.clone().fit(&mut Format::parse("%DURATION%").unwrap()).passes(record)
}

const ERRORS: (u16, u16) = (400, 599);
const SLOW: (Duration, Duration) = (Duration::from_millis(100), Duration::MAX);

#[test]
fn nothing_said_lets_everything_pass() {
    assert!(passes(&LogFilter::default(), &record(0, 0, Flags::NONE)));
}

#[test]
fn bounds_of_status_and_duration_are_in_the_range() {
    let errors = LogFilter { status: Some(ERRORS), ..LogFilter::default() };
    for (status, logged) in [(0, false), (399, false), (400, true), (599, true), (600, false)] {
        assert_eq!(passes(&errors, &record(status, 0, Flags::NONE)), logged, "{status}");
    }
    let slow = LogFilter { duration: Some(SLOW), ..LogFilter::default() };
    for (milliseconds, logged) in [(99, false), (100, true), (1 << 40, true)] {
        assert_eq!(passes(&slow, &record(200, milliseconds, Flags::NONE)), logged, "{milliseconds}");
    }
}

#[test]
fn one_of_the_flags_is_enough() {
    let wanted = [Flag::NoHealthyUpstream, Flag::UpstreamConnectionFailure].into_iter().collect();
    let filter = LogFilter { flags: Some(wanted), ..LogFilter::default() };
    let both = [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure].into_iter().collect();
    assert!(passes(&filter, &record(503, 0, both)));
    assert!(!passes(&filter, &record(404, 0, Flag::NoRoute.into())));
    assert!(!passes(&filter, &record(200, 0, Flags::NONE)));
}

#[test]
fn all_that_is_said_must_hold_and_of_any_one() {
    let of = |status, duration| LogFilter { status, duration, ..LogFilter::default() };
    let both = of(Some(ERRORS), Some(SLOW));
    assert!(passes(&both, &record(500, 200, Flags::NONE)));
    assert!(!passes(&both, &record(500, 20, Flags::NONE)) && !passes(&both, &record(200, 200, Flags::NONE)));
    let one = LogFilter { any: vec![of(Some(ERRORS), None), of(None, Some(SLOW))], ..LogFilter::default() };
    assert!(passes(&one, &record(500, 20, Flags::NONE)) && passes(&one, &record(200, 200, Flags::NONE)));
    assert!(!passes(&one, &record(200, 20, Flags::NONE)));
    let beside = LogFilter { flags: Some(Flag::NoRoute.into()), ..one };
    assert!(!passes(&beside, &record(500, 20, Flags::NONE)));
    assert!(passes(&beside, &record(404, 20, Flag::NoRoute.into())));
}

#[test]
fn health_checks_are_known_by_their_caller_or_by_the_service_that_is_called() {
    let filter = LogFilter { no_health_checks: true, ..LogFilter::default() };
    let mut format = Format::parse("%DURATION%").unwrap();
    let sieve = filter.fit(&mut format);
    for (agent, path, protocol, logged) in [
        ("curl/8", "/", Protocol::Http, true),
        ("kube-probe/1.31", "/v1/models/m", Protocol::Http, false),
        ("Envoy/HC", "/", Protocol::Http, false),
        ("not kube-probe/1", "/", Protocol::Http, true),
        ("grpc-c", "/grpc.health.v1.Health/Check", Protocol::Grpc, false),
        ("curl/8", "/grpc.health.v1.Health/Check", Protocol::Http, true),
        ("grpc-c", "/tensorflow.serving.PredictionService/Predict", Protocol::Grpc, true),
    ] {
        let headers: HeaderMap =
            [(http::header::USER_AGENT, HeaderValue::from_static(agent))].into_iter().collect();
        let mut record = record(200, 0, Flags::NONE);
        record.protocol = protocol;
        record.logged = Some(LoggedHeads::of_request(&format, &Method::GET, path.as_bytes(), b"m", &headers));
        assert_eq!(sieve.passes(&record), logged, "{agent} {path}");
    }
}
