//! A request's header block (RFC 7541), encoded anew for each request as grpc-go does it.
//!
//! That is Go's `hpack`, and Netty in grpc-java does alike: a field that the peer's table holds is an index, and every
//! other one is a literal *with* incremental indexing, whatever it is, with Huffman's code where it is shorter. So a
//! timeout or a trace id enters the table with each request, pushes what is old out of it (the fields that stay the
//! same, too, which then are spelt out again), and no block is the same as one before.

use std::collections::VecDeque;

use crate::hpack::{ENTRY_OVERHEAD_BYTES, STATIC, TABLE_BYTES};
use crate::huffman;
use crate::varied::{Numbers, Varied};

/// The fields of a request.
pub(crate) struct Head(Vec<Field>);

struct Field {
    value: Varied,
    /// Name and value are an entry of the static table.
    known: Option<usize>,
    /// The name is, or else 0.
    named: usize,
    /// As string literals. That of a value which varies is not used.
    name_string: Vec<u8>,
    value_string: Vec<u8>,
    /// In a table.
    bytes: usize,
}

impl Head {
    /// Of names and values, in which spots may vary.
    pub(crate) fn new(fields: &[(&str, &str)]) -> Head {
        Head(fields.iter().map(|(name, value)| Field::new(name, value)).collect())
    }
}

impl Field {
    fn new(name: &str, pattern: &str) -> Field {
        let place = |found: Option<usize>| found.map(|at| at + 1);
        let mut value = Varied::default();
        value.push_pattern(pattern);
        let mut field = Field {
            known: place(STATIC.iter().position(|one| *one == (name, pattern))),
            named: place(STATIC.iter().position(|(known, _)| *known == name)).unwrap_or(0),
            name_string: Vec::new(),
            value_string: Vec::new(),
            bytes: name.len() + value.len() + ENTRY_OVERHEAD_BYTES,
            value,
        };
        string(&mut field.name_string, name.as_bytes());
        string(&mut field.value_string, pattern.as_bytes());
        field
    }
}

/// The encoder of one connection: what the peer's table holds.
pub(crate) struct Encoder {
    /// Bytes of each entry, the oldest first.
    entries: VecDeque<usize>,
    bytes: usize,
    max_bytes: usize,
    /// The peer has asked for a smaller table, and is yet to be told that it has it.
    resized: bool,
    /// Entries made so far.
    made: u64,
    /// For each field the number of its last entry.
    last: Vec<Option<u64>>,
    value: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder {
            entries: VecDeque::new(),
            bytes: 0,
            max_bytes: TABLE_BYTES,
            resized: false,
            made: 0,
            last: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl Encoder {
    /// The peer's table is to be no larger. It never grows again, whatever the peer says later.
    pub(crate) fn limit(&mut self, bytes: usize) {
        if bytes < self.max_bytes {
            self.max_bytes = bytes;
            self.resized = true;
            self.make_room(0);
        }
    }

    /// Appends the block of one request.
    pub(crate) fn write(&mut self, head: &Head, numbers: &Numbers, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.resized) {
            integer(out, 0x20, 5, self.max_bytes); // due at the start of the next block (RFC 7541, 4.2)
        }
        self.last.resize(head.0.len(), None);
        for (at, field) in head.0.iter().enumerate() {
            let entry = self.index(at);
            if let Some(index) = field.known.or(entry.filter(|_| field.value.is_fixed())) {
                integer(out, 0x80, 7, index);
                continue;
            }
            let keeps = field.bytes <= self.max_bytes;
            let (kind, bits) = if keeps { (0x40, 6) } else { (0x00, 4) };
            let named = if field.named == 0 { entry.unwrap_or(0) } else { field.named };
            integer(out, kind, bits, named);
            if named == 0 {
                out.extend_from_slice(&field.name_string);
            }
            if field.value.is_fixed() {
                out.extend_from_slice(&field.value_string);
            } else {
                self.value.clear();
                field.value.write(numbers, &mut self.value);
                string(out, &self.value);
            }
            if keeps {
                self.make_room(field.bytes);
                self.entries.push_back(field.bytes);
                self.bytes += field.bytes;
                self.last[at] = Some(self.made);
                self.made += 1;
            }
        }
    }

    /// Where a field's last entry now is, if the table still has it.
    fn index(&self, field: usize) -> Option<usize> {
        let last = self.last[field]?;
        let younger = usize::try_from(self.made - 1 - last).ok()?;
        (younger < self.entries.len()).then_some(STATIC.len() + 1 + younger)
    }

    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.max_bytes
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest;
        }
    }
}

fn integer(out: &mut Vec<u8>, kind: u8, bits: u32, value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        out.push(kind | value as u8);
        return;
    }
    out.push(kind | most as u8);
    let mut rest = value - most;
    while rest > 0x7f {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// In Huffman's code where that is shorter.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let coded = huffman::encoded_len(text);
    if coded < text.len() {
        integer(out, 0x80, 7, coded);
        huffman::encode(text, out);
    } else {
        integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{Decoder, Fields};

    // Statuses are no request's, but what the decoder tells.
    const FIELDS: [(&str, &str); 5] = [
        (":method", "POST"),
        (":path", "/a/B"),
        (":status", "418"),
        ("x-id", "{64x}"),
        ("grpc-status", "1{4d}"),
    ];

    /// The status that comes after an id, from the same numbers.
    fn status(numbers: &Numbers) -> u32 {
        let mut text = Vec::new();
        for pattern in ["{64x}", "1{4d}"] {
            let mut varied = Varied::default();
            varied.push_pattern(pattern);
            text.clear();
            varied.write(numbers, &mut text);
        }
        str::from_utf8(&text).expect("digits").parse().expect("a number")
    }

    #[test]
    fn a_peer_reads_what_was_meant_however_its_table_turns_over() {
        let (head, ours, theirs) = (Head::new(&FIELDS), Numbers::default(), Numbers::default());
        for limit in [None, Some(300), Some(100), Some(0)] {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let mut before = Vec::new();
            for turn in 0..1_000 {
                if let (10, Some(limit)) = (turn, limit) {
                    encoder.limit(limit);
                }
                let mut block = Vec::new();
                encoder.write(&head, &ours, &mut block);
                let said = Fields { status: Some(418), grpc_status: Some(status(&theirs)) };
                assert_eq!(decoder.read(&block), Ok(said), "block {turn}, table of {limit:?}");
                assert_ne!(block, before);
                before = block;
            }
        }
    }

    #[test]
    fn what_stays_the_same_is_a_byte_a_field() {
        let (head, mut encoder) = (Head::new(&FIELDS[..3]), Encoder::default());
        let mut blocks = [Vec::new(), Vec::new(), Vec::new()];
        blocks.iter_mut().for_each(|block| encoder.write(&head, &Numbers::default(), block));
        assert!(blocks[0].len() > 3);
        assert_eq!((blocks[1].as_slice(), &blocks[2]), (&[0x83, 0xbf, 0xbe][..], &blocks[1]));
    }
}
