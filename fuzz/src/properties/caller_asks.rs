//! What callers ask for in fields of their own: `grpc-timeout`, and the lists by which an internal caller asks for retries.
//! A plain reader finds the same, and what is told upstream is never more than what is left.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use weir::message::grpc::timeout;
use weir::proxy::{asked_retries, strip_asked_retries};
use weir::snapshot::{RetryCondition, RetryPolicy};

use super::input::Input;

const HTTP: [&str; 10] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "retriable-status-codes",
    "retriable-headers",
];
const GRPC: [&str; 5] = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];
const ON: &str = "x-envoy-retry-on";
const GRPC_ON: &str = "x-envoy-retry-grpc-on";
const MOST: &str = "x-envoy-max-retries";
const STATUSES: &str = "x-envoy-retriable-status-codes";
const NAMES: &str = "x-envoy-retriable-header-names";

/// See the module.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    deadline(&mut input);
    retries(&mut input);
}

fn deadline(input: &mut Input<'_>) {
    let asked = input.bytes(12);
    let plain = plain_deadline(asked);
    assert_eq!(timeout::parse(asked).map(|found| found.as_nanos()), plain);
    let left = Duration::new(input.number() >> input.below(64), input.number() as u32 % 1_000_000_000);
    let told = timeout::value(left);
    let read = plain_deadline(told.as_bytes()).expect("what is written can be read");
    assert!(read <= left.as_nanos(), "{left:?} is told as {told:?}");
    // A step of the unit at most is lost, but where eight digits of hours are too few.
    let step = plain_deadline(&[b"1", &told.as_bytes()[told.len() - 1..]].concat()).expect("a unit");
    let longest = plain_deadline(b"99999999H").expect("hours");
    assert!(left.as_nanos() - read < step || read == longest, "{left:?} is told as {told:?}");
    assert_eq!(timeout::parse(told.as_bytes()).map(|found| found.as_nanos()), Some(read));
}

/// Nanoseconds.
fn plain_deadline(text: &[u8]) -> Option<u128> {
    let text = std::str::from_utf8(text).ok()?;
    let units = [('H', 3600 * 1_000_000_000), ('M', 60 * 1_000_000_000), ('S', 1_000_000_000)];
    let units = units.into_iter().chain([('m', 1_000_000), ('u', 1_000), ('n', 1)]);
    let (digits, unit) =
        units.into_iter().find_map(|(unit, nanos)| Some((text.strip_suffix(unit)?, nanos)))?;
    let is_number = (1..=8).contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_digit());
    is_number.then(|| digits.parse::<u128>().expect("digits") * unit)
}

fn retries(input: &mut Input<'_>) {
    let headers = fields(input);
    let route = input.flag().then(|| RetryPolicy {
        on: [RetryCondition::Reset, RetryCondition::Internal].into_iter().take(input.below(3)).collect(),
        status_codes: vec![409; input.below(2)],
        retries: input.below(4) as u32,
        ..RetryPolicy::default()
    });
    let found = asked_retries(route.as_ref(), &headers);
    assert_eq!(asked_retries(route.as_ref(), &headers), found, "the same head says two things");

    let base = route.clone().unwrap_or_default();
    let mut on: Vec<String> = base.on.iter().map(|one| one.as_str().to_owned()).collect();
    let asked = [items(&headers, ON), items(&headers, GRPC_ON)].concat();
    on.extend(asked.into_iter().filter(|one| HTTP.contains(&&**one) || GRPC.contains(&&**one)));
    on.sort();
    on.dedup();
    let asks = [ON, GRPC_ON, MOST, STATUSES, NAMES].iter().any(|name| headers.contains_key(*name));
    if !asks || on.is_empty() {
        assert_eq!(found.as_deref(), route.as_ref(), "nothing is asked for");
    } else {
        let found = found.expect("it is asked for").into_owned();
        let mut found_on: Vec<String> = found.on.iter().map(|one| one.as_str().to_owned()).collect();
        found_on.sort();
        assert_eq!(found_on, on);
        let statuses = items(&headers, STATUSES);
        let statuses =
            statuses.iter().filter_map(|text| number(text)).filter_map(|code| code.try_into().ok());
        let statuses: Vec<u16> = base.status_codes.iter().copied().chain(statuses).collect();
        assert_eq!(found.status_codes, statuses);
        let names = items(&headers, NAMES);
        assert_eq!(found.headers.len(), names.iter().filter(|name| is_token(name)).count());
        let most = alone(&headers, MOST).and_then(|text| number(&text));
        let most = most.filter(|most| *most <= u32::MAX.into()).map(|most| most.min(100) as u32);
        assert_eq!(found.retries, most.unwrap_or(base.retries), "a caller asks for a hundred at most");
        assert_eq!((found.back_off, found.per_try_timeout), (base.back_off, base.per_try_timeout));
    }
    stripped(headers);
}

/// Of what came, the upstream sees all but those fields.
fn stripped(mut headers: HeaderMap) {
    let before = headers.clone();
    strip_asked_retries(&mut headers);
    for (name, value) in &before {
        let ours = [ON, GRPC_ON, MOST, STATUSES, NAMES].contains(&name.as_str());
        assert_eq!(headers.get_all(name).iter().any(|kept| kept == value), !ours, "{name}");
    }
}

/// Up to six of the fields, or of one beside them: lists of what is known, of numbers, or of any text.
fn fields(input: &mut Input<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for _ in 0..input.below(7) {
        let name = input.pick(&[ON, GRPC_ON, MOST, STATUSES, NAMES, "x-other"]);
        let mut value = Vec::new();
        for _ in 0..input.below(4) {
            match input.below(4) {
                0 => value.extend_from_slice(input.pick(&HTTP).as_bytes()),
                1 => value.extend_from_slice(input.pick(&GRPC).as_bytes()),
                2 => value.extend_from_slice((input.number() >> input.below(64)).to_string().as_bytes()),
                _ => value.extend_from_slice(input.bytes(12)),
            }
            value.extend_from_slice(input.pick(&[", ", ",", "\t,", "", " "]).as_bytes());
        }
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    headers
}

/// The items under a name, in one list over all its fields; those that are no text are none.
fn items(headers: &HeaderMap, name: &str) -> Vec<String> {
    let whole: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let whole = whole.join(&b","[..]);
    let (mut items, mut item) = (Vec::new(), Vec::new());
    for byte in whole.into_iter().chain(*b",") {
        match byte {
            b',' => items.extend(String::from_utf8(std::mem::take(&mut item)).ok()),
            byte => item.push(byte),
        }
    }
    let blank = |c: char| c == ' ' || c == '\t';
    items
        .into_iter()
        .map(|item| item.trim_matches(blank).to_owned())
        .filter(|item| !item.is_empty())
        .collect()
}

/// All that is said under a name, as one text: a comma in it is a part of it.
fn alone(headers: &HeaderMap, name: &str) -> Option<String> {
    let whole: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let text = String::from_utf8(whole.join(&b","[..])).ok()?;
    Some(text.trim_matches([' ', '\t']).to_owned())
}

/// A plus may stand before it, as in Envoy.
fn number(text: &str) -> Option<u128> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| {
        digits
            .bytes()
            .fold(0, |sum: u128, digit| sum.saturating_mul(10).saturating_add(u128::from(digit - b'0')))
    })
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(allowed)
}
