//! From fields to blocks.
//!
//! Strings are written as they are, without Huffman's code. The table takes what comes again, such as a path, a user
//! agent or `grpc-status: 0`: a name whose value was another one a few times is not put there any more. So it stays
//! small, and a field that is in it costs the comparison and one byte. It takes no field whose name may be a credential's:
//! the requests of many callers go over one connection.
//!
//! Law: what a peer with the table that its SETTINGS told reads is what was given, less what HTTP/2 forbids.

use std::collections::VecDeque;

use http::header::HeaderValue;
use http::{HeaderMap, Method, StatusCode, Uri};

use super::field::{OVERHEAD, STATIC_FIELDS, index};
use super::names::{self, Known, Usage};
use crate::message::secrets::is_secret;

/// The table's size at the start, and the most of it that is used (RFC 9113 section 6.5.2).
const TABLE_SIZE: usize = 4_096;
/// Values of a name, one behind the other and all different, after which the table takes no more of them.
const PATIENCE: u8 = 4;
/// A name that was patient long enough is patient for so much longer.
const MOST_PATIENCE: u8 = 8;
/// Blocks after which a name that has no patience left is tried once more: callers come and leave, and what one of them says
/// is not what the next one does.
const TRIED_AGAIN: u16 = 1_024;
/// Larger fields do not go into the table: they would push out what is worth more.
const LARGE: usize = 512;

/// How a literal begins (RFC 7541 section 6.2): the first byte, and the bits of it that hold an index.
const LEARN: (u8, u8) = (0x40, 0x3f);
const PASS: (u8, u8) = (0, 0xf);
const SECRET: (u8, u8) = (0x10, 0xf);

/// Writes the blocks of one connection, in their order.
#[derive(Debug)]
pub struct Encoder {
    /// The oldest first.
    entries: VecDeque<Entry>,
    /// Blocks since names were tried again.
    blocks: u16,
    /// The number of the oldest entry. Numbers go up by one, and start again after 256: there are at most 128 entries.
    oldest: u8,
    size: usize,
    max_size: usize,
    /// The least that `max_size` was since the last block, if the peer has to be told.
    told: Option<usize>,
    slots: [Slot; names::SLOTS],
}

#[derive(Debug)]
struct Entry {
    /// The name, and behind it the value.
    text: Box<[u8]>,
    name_length: usize,
}

/// What is known of the names that share a slot.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The number of the newest entry; if it is gone, that of another or of none.
    newest: u8,
    patience: u8,
}

impl Entry {
    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// For a peer that has not told its SETTINGS_HEADER_TABLE_SIZE.
    pub fn new() -> Encoder {
        Encoder {
            entries: VecDeque::new(),
            blocks: 0,
            oldest: 0,
            size: 0,
            max_size: TABLE_SIZE,
            told: None,
            slots: [Slot { newest: 0, patience: PATIENCE }; names::SLOTS],
        }
    }

    /// The peer's SETTINGS_HEADER_TABLE_SIZE; of a larger table than 4,096 bytes no use is made.
    pub fn set_max_table_size(&mut self, size: u32) {
        let size = TABLE_SIZE.min(size as usize);
        if size == self.max_size {
            return;
        }
        // Section 4.2: of several changes between two blocks the least is told, and the last.
        self.told = Some(self.told.map_or(size, |least| least.min(size)));
        self.max_size = size;
        self.evict(size);
    }

    /// Writes a request's block. A request without a scheme goes by `http`, one without a path to `/`, or by OPTIONS to
    /// `*` (RFC 9113 section 8.3.1).
    pub fn request(&mut self, method: &Method, uri: &Uri, fields: &HeaderMap, out: &mut Vec<u8>) {
        self.begin(out);
        match *method {
            Method::POST => out.push(0x80 | index::POST as u8),
            Method::GET => out.push(0x80 | index::GET as u8),
            _ => literal(out, PASS, index::METHOD, ":method", method.as_str().as_bytes()),
        }
        if *method != Method::CONNECT {
            match uri.scheme_str().unwrap_or("http") {
                "http" => out.push(0x80 | index::HTTP as u8),
                "https" => out.push(0x80 | index::HTTPS as u8),
                other => literal(out, PASS, index::HTTP, ":scheme", other.as_bytes()),
            }
            match uri.path_and_query().map_or("", |path| path.as_str()) {
                "" if *method == Method::OPTIONS => literal(out, PASS, index::PATH, ":path", b"*"),
                "" | "/" => out.push(0x80 | index::SLASH as u8),
                path => self.pseudo(out, PATH, index::PATH, ":path", path),
            }
        }
        if let Some(authority) = uri.authority() {
            self.pseudo(out, AUTHORITY, index::AUTHORITY, ":authority", authority.as_str());
        }
        self.fields(fields, out);
    }

    /// Writes a response's block.
    pub fn response(&mut self, status: StatusCode, fields: &HeaderMap, out: &mut Vec<u8>) {
        self.begin(out);
        let place = [200, 204, 206, 304, 400, 404, 500].iter().position(|&known| known == status.as_u16());
        match place {
            Some(place) => out.push(0x80 | (index::STATUS + place) as u8),
            None => literal(out, PASS, index::STATUS, ":status", status.as_str().as_bytes()),
        }
        self.fields(fields, out);
    }

    /// Writes the block of trailers.
    pub fn trailers(&mut self, fields: &HeaderMap, out: &mut Vec<u8>) {
        self.begin(out);
        self.fields(fields, out);
    }

    /// Section 6.3: a table that has changed is told before the first field.
    #[inline]
    fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some(least) = self.told.take() {
            if least < self.max_size {
                number(out, 0x20, 0x1f, least);
            }
            number(out, 0x20, 0x1f, self.max_size);
        }
        self.blocks += 1;
        if self.blocks == TRIED_AGAIN {
            self.try_again();
        }
    }

    #[cold]
    fn try_again(&mut self) {
        self.blocks = 0;
        self.slots.iter_mut().filter(|slot| slot.patience == 0).for_each(|slot| slot.patience = 1);
    }

    fn fields(&mut self, fields: &HeaderMap, out: &mut Vec<u8>) {
        for (name, value) in fields {
            self.field(out, name.as_str(), value);
        }
    }

    #[inline]
    fn field(&mut self, out: &mut Vec<u8>, name: &str, value: &HeaderValue) {
        let (slot, bytes) = (names::slot(name.as_bytes()), value.as_bytes());
        let index = match self.find(slot, name, bytes) {
            Some((place, true)) if !value.is_sensitive() => return number(out, 0x80, 0x7f, place),
            Some((place, _)) => place,
            None => 0,
        };
        let (index, usage) = match names::known(slot, name) {
            Some(&Known { index: 0, usage, .. }) => (index, usage),
            Some(&Known { index, usage, .. }) => (usize::from(index), usage),
            None if self.may_learn(slot) && is_secret(name) => (index, Usage::Secret),
            None => (index, Usage::Learn),
        };
        match usage {
            Usage::Learn if !value.is_sensitive() => self.learn(out, slot, index, name, bytes),
            Usage::Te if bytes == b"trailers" => self.learn(out, slot, index, name, bytes),
            Usage::Pass if !value.is_sensitive() => literal(out, PASS, index, name, bytes),
            Usage::Learn | Usage::Pass | Usage::Secret => literal(out, SECRET, index, name, bytes),
            Usage::Te | Usage::Connection => {}
        }
    }

    /// Whether the table takes further values of names in `slot`.
    #[inline]
    fn may_learn(&self, slot: usize) -> bool {
        self.slots[slot % names::SLOTS].patience > 0
    }

    /// A pseudo-header field that the table may take; `index` is that of its name in the static table.
    #[inline]
    fn pseudo(&mut self, out: &mut Vec<u8>, slot: usize, index: usize, name: &str, value: &str) {
        match self.find(slot, name, value.as_bytes()) {
            Some((place, true)) => number(out, 0x80, 0x7f, place),
            _ => self.learn(out, slot, index, name, value.as_bytes()),
        }
    }

    /// The index of the newest entry with this name, and whether it has this value, too.
    #[inline]
    fn find(&mut self, slot: usize, name: &str, value: &[u8]) -> Option<(usize, bool)> {
        let slot = &mut self.slots[slot % names::SLOTS];
        let age = usize::from(slot.newest.wrapping_sub(self.oldest));
        let entry = self.entries.get(age)?;
        let (its_name, its_value) = entry.text.split_at_checked(entry.name_length)?;
        if its_name != name.as_bytes() {
            return None;
        }
        let is_same = its_value == value;
        if is_same && slot.patience < MOST_PATIENCE {
            slot.patience += 1;
        }
        Some((STATIC_FIELDS + self.entries.len() - age, is_same))
    }

    /// Writes a field that is not in the table, and puts it there if that seems worth it. `index` is that of its name, or
    /// 0.
    fn learn(&mut self, out: &mut Vec<u8>, slot: usize, index: usize, name: &str, value: &[u8]) {
        let slot = &mut self.slots[slot % names::SLOTS];
        let size = name.len() + value.len() + OVERHEAD;
        if slot.patience == 0 || size > LARGE.min(self.max_size) {
            return literal(out, PASS, index, name, value);
        }
        slot.patience -= 1;
        slot.newest = self.oldest.wrapping_add(self.entries.len() as u8);
        literal(out, LEARN, index, name, value);
        self.insert([name.as_bytes(), value].concat().into(), name.len());
    }

    #[cold]
    fn insert(&mut self, text: Box<[u8]>, name_length: usize) {
        let entry = Entry { text, name_length };
        let size = entry.size();
        self.evict(self.max_size.saturating_sub(size));
        self.size += size;
        self.entries.push_back(entry);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(entry) = self.entries.pop_front()
        {
            self.size -= entry.size();
            self.oldest = self.oldest.wrapping_add(1);
        }
    }
}

/// The slots of the two pseudo-header fields that the table takes.
const AUTHORITY: usize = names::slot(b":authority");
const PATH: usize = names::slot(b":path");

/// Section 6.2: a literal, its name by an index if that is not 0.
#[inline]
fn literal(out: &mut Vec<u8>, (first, mask): (u8, u8), index: usize, name: &str, value: &[u8]) {
    number(out, first, mask, index);
    if index == 0 {
        string(out, name.as_bytes());
    }
    string(out, value);
}

#[inline]
fn string(out: &mut Vec<u8>, text: &[u8]) {
    number(out, 0, 0x7f, text.len());
    out.extend_from_slice(text);
}

/// Section 5.1: a number, in the bits of `mask` if it fits there.
#[inline]
fn number(out: &mut Vec<u8>, first: u8, mask: u8, value: usize) {
    if value < usize::from(mask) {
        out.push(first | value as u8);
    } else {
        long_number(out, first | mask, value - usize::from(mask));
    }
}

#[cold]
fn long_number(out: &mut Vec<u8>, first: u8, rest: usize) {
    out.push(first);
    let mut rest = rest;
    while rest >= 0x80 {
        out.push(0x80 | (rest & 0x7f) as u8);
        rest >>= 7;
    }
    out.push(rest as u8);
}
