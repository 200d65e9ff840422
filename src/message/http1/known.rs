//! Lines of fields that came before, on any connection of this thread: what such a line says is cloned, not read anew.
//! Callers and model servers say mostly the same, one message after the other.
//!
//! Law: what is recalled is what reading the line gives. A line is learnt when it comes a second time; one whose name
//! may be a credential's never is, nor one that is long; and no more are known than there are places.

use std::cell::RefCell;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::message::secrets::is_secret;

/// A power of two. Each line has one place, which others may share.
const PLACES: usize = 256;
/// Bytes of a line that is learnt.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=128;
/// As in rustc's own hash.
const FACTOR: u64 = 0xf135_7aea_2e62_a9c5;

thread_local! {
    static LINES: RefCell<Lines> = const { RefCell::new(Lines { places: Vec::new(), hash: 0 }) };
}

/// The lines that are known.
#[derive(Debug)]
pub(super) struct Lines {
    /// None, or all.
    places: Vec<Place>,
    /// Of the line that was asked for last.
    hash: u32,
}

#[derive(Debug, Default)]
struct Place {
    line: Option<Box<Line>>,
    /// It was recalled since another line wanted its place.
    recalled: bool,
    /// The hash of the last line that was not known here.
    missed: u32,
}

#[derive(Debug)]
struct Line {
    text: Bytes,
    name: HeaderName,
    value: HeaderValue,
}

/// What `act` does with the lines that this thread knows.
pub(super) fn with<T>(act: impl FnOnce(&mut Lines) -> T) -> T {
    LINES.with_borrow_mut(act)
}

impl Lines {
    /// Name and value of the field in `text`, a line without its end, if they are known.
    #[inline]
    pub(super) fn recall(&mut self, text: &[u8]) -> Option<(&HeaderName, &HeaderValue)> {
        if !LENGTH.contains(&text.len()) {
            return None;
        }
        self.hash = hash(text);
        let place = self.places.get_mut(self.hash as usize % PLACES)?;
        let line = place.line.as_ref().filter(|line| line.text == text)?;
        place.recalled = true;
        Some((&line.name, &line.value))
    }

    /// What `text` says, which was just not recalled: it is learnt if this is the second time.
    pub(super) fn learn(&mut self, text: &[u8], name: &HeaderName, value: &HeaderValue) {
        if !LENGTH.contains(&text.len()) {
            return;
        }
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        let Some(place) = self.places.get_mut(self.hash as usize % PLACES) else { return };
        if place.missed != self.hash {
            place.missed = self.hash;
        } else if !std::mem::take(&mut place.recalled) && !is_secret(name.as_str()) {
            place.line = Line::of(text, name, value).map(Box::new);
        }
    }
}

impl Line {
    /// With bytes of its own: those of the message are let go with it.
    #[cold]
    fn of(text: &[u8], name: &HeaderName, value: &HeaderValue) -> Option<Line> {
        let value = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        Some(Line { text: Bytes::copy_from_slice(text), name: name.clone(), value })
    }
}

/// `text` has eight bytes or more.
#[inline]
fn hash(text: &[u8]) -> u32 {
    let mix =
        |hash: u64, chunk: &[u8; 8]| (hash.rotate_left(5) ^ u64::from_le_bytes(*chunk)).wrapping_mul(FACTOR);
    let (chunks, _) = text.as_chunks();
    let hash = chunks.iter().fold(text.len() as u64, mix);
    // The last eight bytes, of which some were in a chunk already.
    let hash = text.last_chunk().map_or(hash, |last| mix(hash, last));
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(HeaderName, HeaderValue), ()> {
        let (name, value) = text.split_once(": ").ok_or(())?;
        Ok((name.parse().map_err(drop)?, value.parse().map_err(drop)?))
    }

    fn lines() -> Lines {
        Lines { places: Vec::new(), hash: 0 }
    }

    /// How often `text` was read in so many turns; each gives what reading gives.
    fn reads(lines: &mut Lines, text: &str, turns: usize) -> usize {
        let mut reads = 0;
        for _ in 0..turns {
            let known = lines.recall(text.as_bytes()).map(|(name, value)| (name.clone(), value.clone()));
            if let Some(known) = known {
                assert_eq!(Ok(known), parse(text), "{text}");
                continue;
            }
            reads += 1;
            if let Ok((name, value)) = parse(text) {
                lines.learn(text.as_bytes(), &name, &value);
            }
        }
        reads
    }

    #[test]
    fn a_line_that_came_twice_is_not_read_again() {
        let mut lines = lines();
        assert_eq!(reads(&mut lines, "content-type: application/json", 10), 2);
        assert_eq!(reads(&mut lines, "x-model-name: half_plus_two", 10), 2);
        assert_eq!(reads(&mut lines, "content-type: application/json", 10), 0);
    }

    #[test]
    fn secrets_and_long_lines_and_what_has_no_reading_are_read_each_time() {
        let long = format!("x-long: {}", "x".repeat(200));
        let rows = [
            "authorization: Bearer abc",
            "Cookie: session=1",
            "set-cookie: a=b",
            "X-Api-Key: 0123456789",
            "x-goog-api-key: 0123456789",
            "x-auth-token: 0123456789",
            "x-amz-security-token: 0123456789",
            "x-forwarded-access-token: 0123456789",
            "te: x",
            &long,
            "no colon",
        ];
        for text in rows {
            assert_eq!(reads(&mut lines(), text, 5), 5, "{text}");
        }
    }

    #[test]
    fn names_that_differ_in_case_are_lines_of_their_own_with_one_name() {
        let mut lines = lines();
        for text in ["Accept: */*; q=1", "accept: */*; q=1", "ACCEPT: */*; q=1"] {
            reads(&mut lines, text, 3);
            let known = lines.recall(text.as_bytes()).map(|(name, value)| (name.clone(), value.clone()));
            assert_eq!(known.ok_or(()), parse("accept: */*; q=1"), "{text}");
        }
    }

    #[test]
    fn a_line_that_is_recalled_keeps_its_place_and_one_that_is_not_gives_it_up() {
        let mut lines = lines();
        let first = "x-model-name: 0".to_owned();
        let place = |text: &str| hash(text.as_bytes()) as usize % PLACES;
        let other = (1..).map(|n| format!("x-model-name: {n}")).find(|text| place(text) == place(&first));
        let other = other.unwrap_or_default();
        assert_eq!(reads(&mut lines, &first, 3), 2);
        for _ in 0..5 {
            assert_eq!((reads(&mut lines, &other, 1), reads(&mut lines, &first, 1)), (1, 0));
        }
        assert!(reads(&mut lines, &other, 5) < 5, "nobody recalls the first any more");
        assert_eq!(reads(&mut lines, &other, 5), 0);
    }

    #[test]
    fn no_more_lines_are_known_than_there_are_places() {
        let mut lines = lines();
        for n in 0..10 * PLACES {
            reads(&mut lines, &format!("x-trace-id: {n:08}"), 3);
        }
        assert_eq!(lines.places.len(), PLACES);
    }
}
