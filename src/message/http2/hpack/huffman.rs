//! HPACK's Huffman code (RFC 7541 appendix B), from bits to bytes. What Weir writes is not in it: the bytes that it saves
//! cost more than they are worth here.
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and each length begins
//! where the one before has ended. So the lengths say all.

/// The end of the string, which may only begin, as padding.
const END: usize = 256;
const LONGEST: usize = 30;
/// Codes up to this length are found by one look into a table; longer ones are rare.
const FAST: u32 = 9;

/// Bits of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; END + 1] = [
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
    30,
];

struct Code {
    /// Symbols in the order of their codes.
    symbols: [u16; END + 1],
    /// For each length: where its codes end, as the first 32 bits of a text. A text below it begins with such a code,
    /// unless with a shorter one.
    ends: [u32; LONGEST + 1],
    /// For each length: what turns a code of it into its place among `symbols`, by addition that wraps.
    places: [u32; LONGEST + 1],
    /// By the first bits of a text: the symbol and its length; 0 where the code is longer.
    fast: [u16; 1 << FAST],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut code = Code {
        symbols: [0; END + 1],
        ends: [0; LONGEST + 1],
        places: [0; LONGEST + 1],
        fast: [0; 1 << FAST],
    };
    // A u64, as the last code ends at 2^32.
    let (mut next, mut place, mut length) = (0_u64, 0, 1);
    while length <= LONGEST {
        let shift = 32 - length as u32;
        code.places[length] = (place as u32).wrapping_sub((next >> shift) as u32);
        let mut symbol = 0;
        while symbol <= END {
            if LENGTHS[symbol] as usize == length {
                code.symbols[place] = symbol as u16;
                let mut text = (next >> (32 - FAST)) as usize;
                next += 1 << shift;
                while length <= FAST as usize && text < (next >> (32 - FAST)) as usize {
                    code.fast[text] = (symbol as u16) << 4 | length as u16;
                    text += 1;
                }
                place += 1;
            }
            symbol += 1;
        }
        code.ends[length] = if next > u32::MAX as u64 { u32::MAX } else { next as u32 };
        length += 1;
    }
    code
}

/// Appends what `text` says to `out`; an error when it is in no such code, or not padded as it must be.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), ()> {
    // The shortest code has 5 bits. One look at the room for all costs less than one for each symbol.
    let (start, most) = (out.len(), text.len() * 8 / 5);
    out.resize(start + most, 0);
    let mut room = out[start..].iter_mut();
    let mut bits = Bits { next: 0, count: 0, rest: text };
    let mut is_last = false;
    while !is_last {
        is_last = bits.refill();
        // Whatever comes is whole, until fewer bits are there than the longest code has.
        while bits.count >= LONGEST as u32 {
            let (symbol, length) = bits.symbol();
            *room.next().ok_or(())? = u8::try_from(symbol).map_err(drop)?;
            bits.skip(length);
        }
    }
    loop {
        let (symbol, length) = bits.symbol();
        if length > bits.count {
            break;
        }
        *room.next().ok_or(())? = u8::try_from(symbol).map_err(drop)?;
        bits.skip(length);
    }
    let written = most - room.len();
    out.truncate(start + written);
    // Padding is the beginning of the end's code, shorter than a byte.
    let padding = !(u64::MAX >> bits.count);
    if bits.count < 8 && bits.next == padding { Ok(()) } else { Err(()) }
}

/// What is left of a text.
struct Bits<'a> {
    /// The bits that come next stand on the left; behind the last of a text are zeros.
    next: u64,
    /// How many of them are there for certain.
    count: u32,
    rest: &'a [u8],
}

impl Bits<'_> {
    /// Takes bytes until more than 56 bits are there; whether those were the last ones.
    #[inline]
    fn refill(&mut self) -> bool {
        if let Some((eight, _)) = self.rest.split_first_chunk::<8>() {
            let bytes = (63 - self.count) / 8;
            // Of the byte that has no room the first bits stand there already: the next time they are the same.
            self.next |= u64::from_be_bytes(*eight) >> self.count;
            self.count += 8 * bytes;
            self.rest = &self.rest[bytes as usize..];
            return self.rest.is_empty();
        }
        while self.count <= 56
            && let Some((&byte, behind)) = self.rest.split_first()
        {
            self.next |= u64::from(byte) << (56 - self.count);
            self.count += 8;
            self.rest = behind;
        }
        self.rest.is_empty()
    }

    /// What they begin with, and its length.
    #[inline]
    fn symbol(&self) -> (u16, u32) {
        let found = CODE.fast[(self.next >> (64 - FAST)) as usize];
        if found == 0 { long(self.next) } else { (found >> 4, u32::from(found & 15)) }
    }

    #[inline]
    fn skip(&mut self, length: u32) {
        self.next <<= length;
        self.count -= length;
    }
}

/// The symbol and the length of a code that is longer than [`FAST`].
#[cold]
fn long(bits: u64) -> (u16, u32) {
    let text = (bits >> 32) as u32;
    let mut length = FAST as usize + 1;
    while length < LONGEST && text >= CODE.ends[length] {
        length += 1;
    }
    let place = (text >> (32 - length)).wrapping_add(CODE.places[length]) as usize;
    (CODE.symbols[place.min(END)], length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code of each symbol, as RFC 7541 appendix B has them: canonical.
    fn codes() -> Vec<(u32, u8)> {
        let mut order: Vec<usize> = (0..=END).collect();
        order.sort_by_key(|&symbol| LENGTHS[symbol]);
        let (mut code, mut length, mut codes) = (0_u32, LENGTHS[order[0]], vec![(0, 0); END + 1]);
        for symbol in order {
            code <<= LENGTHS[symbol] - length;
            length = LENGTHS[symbol];
            codes[symbol] = (code, length);
            code += 1;
        }
        codes
    }

    fn encode(symbols: &[u8], padding: bool) -> Vec<u8> {
        let codes = codes();
        let mut bits = String::new();
        for &symbol in symbols {
            let (code, length) = codes[usize::from(symbol)];
            bits += &format!("{code:0length$b}", length = usize::from(length));
        }
        while !bits.len().is_multiple_of(8) {
            bits.push(if padding { '1' } else { '0' });
        }
        let byte = |bits: &[u8]| bits.iter().fold(0, |byte, bit| byte << 1 | (bit - b'0'));
        bits.as_bytes().chunks(8).map(byte).collect()
    }

    fn decoded(text: &[u8]) -> Result<Vec<u8>, ()> {
        let mut out = Vec::new();
        decode(text, &mut out).map(|()| out)
    }

    /// RFC 7541 appendix B: the first, some, and the last.
    #[test]
    fn codes_are_those_of_the_standard() {
        let codes = codes();
        for (symbol, code) in [
            (0, (0x1ff8, 13)),
            (10, (0x3fff_fffc, 30)),
            (32, (0x14, 6)),
            (48, (0, 5)),
            (97, (3, 5)),
            (119, (0x78, 7)),
            (126, (0x1ffd, 13)),
            (195, (0x7fff1, 19)),
            (220, (0xfff_fffd, 28)),
            (249, (0xfff_fffe, 28)),
            (255, (0x3ff_ffee, 26)),
            (END, (0x3fff_ffff, 30)),
        ] {
            assert_eq!(codes[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn every_symbol_comes_back_wherever_it_stands() {
        for symbol in 0..=255 {
            for before in ["", "0", "00", "a0", "0a0", "000 ", "ab0c0"] {
                for after in ["", "0", "w", "?!"] {
                    let text = [before.as_bytes(), &[symbol], after.as_bytes()].concat();
                    assert_eq!(decoded(&encode(&text, true)), Ok(text));
                }
            }
        }
    }

    #[test]
    fn padding_is_less_than_a_byte_of_ones() {
        for (name, text, is_right) in [
            ("nothing", &[][..], true),
            ("a byte of padding", &[0xff][..], false),
            ("a byte of padding behind a symbol", &[0b0001_1111, 0xff], false),
            ("three bits of ones", &[0b0001_1111], true),
            ("three bits of zeros", &[0b0001_1000], false),
            ("the last bit zero", &[0b0001_1110], false),
            ("the end itself", &[0xff, 0xff, 0xff, 0xff], false),
            ("the end and more", &[0xff, 0xff, 0xff, 0xfc, 0], false),
            ("a code that is cut", &[0xff, 0xff, 0xfd], false),
        ] {
            assert_eq!(decoded(text).is_ok(), is_right, "{name}");
        }
    }

    /// Whatever comes: an end, and no more symbols than bits allow.
    #[test]
    fn any_three_bytes_are_read_or_refused() {
        for number in 0..1_u32 << 24 {
            if number % 997 == 0 {
                let text = &number.to_be_bytes()[1..];
                if let Ok(out) = decoded(text) {
                    assert_eq!(encode(&out, true), text);
                }
            }
        }
    }
}
