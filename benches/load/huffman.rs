//! The Huffman code of header strings (RFC 7541, 5.2 and appendix B).
//!
//! The code is canonical: among codes of one length the order is that of the symbols, so the lengths say all.

use crate::hpack::Malformed;

/// The length in bits of the code of each byte. What the longest codes leave over begins the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: usize = 30;

/// What is needed to read a canonical code bit by bit.
struct Code {
    /// Of each length, the first code.
    first: [u32; LONGEST + 1],
    /// Of each length, the number of codes.
    count: [u32; LONGEST + 1],
    /// Of each length, where its symbols begin in `symbols`.
    at: [usize; LONGEST + 1],
    /// By length, then by value.
    symbols: [u8; 256],
}

const CODE: Code = code();
static DECODING: Code = CODE;

const fn code() -> Code {
    let mut code =
        Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], at: [0; LONGEST + 1], symbols: [0; 256] };
    let (mut next, mut filled, mut length) = (0, 0, 1);
    while length <= LONGEST {
        next <<= 1;
        code.first[length] = next;
        code.at[length] = filled;
        let mut symbol = 0;
        while symbol < 256 {
            if LENGTHS[symbol] as usize == length {
                code.symbols[filled] = symbol as u8;
                filled += 1;
                code.count[length] += 1;
                next += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    code
}

/// Appends what `bytes` stand for.
pub(crate) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let (mut word, mut length) = (0_u32, 0);
    for byte in bytes {
        for bit in (0..8).rev() {
            word = word << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let Some(first) = DECODING.first.get(length) else { return Err(Malformed) };
            let place = word.wrapping_sub(*first);
            if place < DECODING.count[length] {
                out.push(DECODING.symbols[DECODING.at[length] + place as usize]);
                (word, length) = (0, 0);
            }
        }
    }
    // Padding is less than a byte of ones.
    if length < 8 && word == (1 << length) - 1 { Ok(()) } else { Err(Malformed) }
}

/// Of each byte its code.
static CODES: [u32; 256] = codes();

const fn codes() -> [u32; 256] {
    let mut codes = [0; 256];
    let mut length = 1;
    while length <= LONGEST {
        let mut place = 0;
        while place < CODE.count[length] {
            codes[CODE.symbols[CODE.at[length] + place as usize] as usize] = CODE.first[length] + place;
            place += 1;
        }
        length += 1;
    }
    codes
}

/// Bytes that `text` takes.
pub(crate) fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum::<usize>().div_ceil(8)
}

/// Appends `text`, padded with ones.
pub(crate) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0);
    for byte in text {
        let length = LENGTHS[usize::from(*byte)];
        bits = bits << length | u64::from(CODES[usize::from(*byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | 0xff >> count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        decode(bytes, &mut out).ok()?;
        String::from_utf8(out).ok()
    }

    #[test]
    fn the_examples_of_the_specification_decode() {
        // RFC 7541, C.4.1, C.4.2, C.6.1
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&host).as_deref(), Some("www.example.com"));
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).as_deref(), Some("no-cache"));
        assert_eq!(decoded(&[0x64, 0x02]).as_deref(), Some("302"));
    }

    #[test]
    fn every_byte_encodes_to_what_it_decodes_from() {
        let all: Vec<u8> = (0..=255).collect();
        for text in [&all[..], b"www.example.com", b"302", b""] {
            let (mut coded, mut back) = (Vec::new(), Vec::new());
            encode(text, &mut coded);
            assert_eq!(coded.len(), encoded_len(text));
            assert_eq!((decode(&coded, &mut back), back.as_slice()), (Ok(()), text));
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        assert_eq!(decoded(&[0x64, 0x02, 0xff]), None, "a whole byte of padding");
        assert_eq!(decoded(&[0x07]).as_deref(), Some("0"));
        assert_eq!(decoded(&[0x00]), None, "padding of zeroes");
    }
}
