//! Text in which digits are new each time: the timeouts, trace ids and request ids of real callers.

use std::cell::Cell;
use std::ops::Range;

/// `{32x}` stands for so many hexadecimal digits, `{4d}` for decimal ones. All else is as it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Varied {
    text: Vec<u8>,
    spots: Vec<Spot>,
}

#[derive(Clone, Debug)]
struct Spot {
    place: Range<usize>,
    base: u64,
}

/// Where the digits come from: the same in every run, so that counts repeat, and no two alike in one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Numbers(Cell<u64>);

impl Numbers {
    /// SplitMix64.
    fn next(&self) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Varied {
    /// Appends text without spots.
    pub(crate) fn push(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Appends text with spots.
    pub(crate) fn push_pattern(&mut self, mut pattern: &str) {
        while let Some((before, rest)) = pattern.split_once('{') {
            self.push(before);
            pattern = match rest.split_once('}').and_then(|(inside, after)| Some((spot(inside)?, after))) {
                Some(((digits, base), after)) => {
                    let place = self.text.len()..self.text.len() + digits;
                    self.text.resize(place.end, b'0');
                    self.spots.push(Spot { place, base });
                    after
                }
                None => {
                    self.push("{");
                    rest
                }
            };
        }
        self.push(pattern);
    }

    pub(crate) fn is_fixed(&self) -> bool {
        self.spots.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Appends it with new digits.
    pub(crate) fn write(&self, numbers: &Numbers, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.text);
        for spot in &self.spots {
            let mut number = 0;
            for (at, digit) in out[start..][spot.place.clone()].iter_mut().enumerate() {
                if at % 8 == 0 {
                    number = numbers.next();
                }
                *digit = b"0123456789abcdef"[(number % spot.base) as usize];
                number /= spot.base;
            }
        }
    }
}

/// `32x`: how many digits, of which base.
fn spot(text: &str) -> Option<(usize, u64)> {
    let (digits, base) = match text.strip_suffix('x') {
        Some(digits) => (digits, 16),
        None => (text.strip_suffix('d')?, 10),
    };
    digits.parse().ok().filter(|digits| (1..=1_000).contains(digits)).map(|digits| (digits, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(varied: &Varied, numbers: &Numbers) -> String {
        let mut out = Vec::new();
        varied.write(numbers, &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn digits_are_new_each_time_and_all_else_stays() {
        let (mut varied, numbers) = (Varied::default(), Numbers::default());
        varied.push_pattern("00-{32x}-{4d}u{x} {}{");
        assert!(!varied.is_fixed());
        let (one, other) = (written(&varied, &numbers), written(&varied, &numbers));
        assert_ne!(one, other);
        for text in [one, other] {
            assert_eq!(text.len(), varied.len());
            let (hexadecimal, rest) = text.strip_prefix("00-").expect("as written").split_at(32);
            assert!(hexadecimal.bytes().all(|digit| digit.is_ascii_hexdigit()), "{text}");
            assert!(rest[1..5].bytes().all(|digit| digit.is_ascii_digit()), "{text}");
            assert_eq!((&rest[..1], &rest[5..]), ("-", "u{x} {}{"));
        }
        assert_eq!(written(&varied, &Numbers::default()), written(&varied, &Numbers::default()));
    }
}
