//! Durations on the command line: `500ms`, `10s`, `1m`.

use std::time::Duration;

/// Reads a whole number and its unit.
///
/// # Errors
/// What to write instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_ms: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => 0,
    };
    let number = digits.parse::<u64>().ok().filter(|_| unit_ms > 0 && !digits.starts_with('+'));
    let ms = number.and_then(|number| number.checked_mul(unit_ms));
    ms.map(Duration::from_millis)
        .ok_or_else(|| "write a whole number and its unit, ms, s or m, as in 500ms, 10s or 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(parse("1m"), Ok(Duration::from_secs(60)));
        for text in ["", "10", "s", "1.5s", "-1s", "+1s", "1h", "1 s", "1ms5", "99999999999999999999s", "1é"]
        {
            assert!(parse(text).is_err(), "{text:?} was taken for a duration");
        }
    }
}
