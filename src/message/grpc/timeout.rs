//! `grpc-timeout`: how long a caller waits, read and written.
//!
//! Source: the gRPC HTTP/2 protocol mapping.

use std::time::Duration;

use http::HeaderValue;

/// Digits of one at most.
const DIGITS: usize = 8;

/// What a caller says; `None`: it is not up to eight digits and a unit.
pub fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0, |count: u64, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `left` in the finest unit that its digits leave room for, rounded down: an upstream must not take longer.
pub fn value(left: Duration) -> HeaderValue {
    const MOST: u64 = 10_u64.pow(DIGITS as u32) - 1;
    let seconds = left.as_secs();
    let (count, unit) = if seconds <= MOST / 1_000_000 {
        (seconds * 1_000_000 + u64::from(left.subsec_micros()), b'u')
    } else if seconds <= MOST / 1_000 {
        (seconds * 1_000 + u64::from(left.subsec_millis()), b'm')
    } else if seconds <= MOST {
        (seconds, b'S')
    } else if seconds / 60 <= MOST {
        (seconds / 60, b'M')
    } else {
        (MOST.min(seconds / 3600), b'H')
    };
    let (mut text, mut digits) = ([0; DIGITS + 1], itoa::Buffer::new());
    let digits = digits.format(count).as_bytes();
    text[..digits.len()].copy_from_slice(digits);
    text[digits.len()] = unit;
    HeaderValue::from_bytes(&text[..=digits.len()]).unwrap_or_else(|_| HeaderValue::from_static("0u"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_grpc_timeout_is_eight_digits_at_most_and_a_unit() {
        for (text, expected) in [
            ("1H", Some(3_600_000 * MS)),
            ("2M", Some(120_000 * MS)),
            ("99999999S", Some(Duration::from_secs(99_999_999))),
            ("250m", Some(250 * MS)),
            ("1500u", Some(Duration::from_micros(1500))),
            ("7n", Some(Duration::from_nanos(7))),
            ("0m", Some(Duration::ZERO)),
            ("00000001S", Some(1000 * MS)),
            ("000000001S", None),
            ("100000000n", None),
            ("S", None),
            ("", None),
            ("1", None),
            ("1s", None),
            ("-1S", None),
            ("+1S", None),
            (" 1S", None),
            ("1 S", None),
            ("1.5S", None),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_left_is_told_in_eight_digits_and_never_as_more(micros in 0_u64..u64::MAX / 2) {
            let left = Duration::from_micros(micros);
            let told = value(left);
            let read = parse(told.as_bytes());
            prop_assert!(read.is_some_and(|read| read <= left), "{left:?} as {told:?}");
            // No more is lost than one step of the unit: an hour beside ten thousand years.
            let lost = left - read.unwrap_or_default();
            let bounded = left >= Duration::from_secs(99_999_999 * 3600) || lost * 1000 <= left.max(MS);
            prop_assert!(bounded, "{left:?} as {told:?}");
        }
    }
}
