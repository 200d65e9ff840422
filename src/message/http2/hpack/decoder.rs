//! From blocks to fields.
//!
//! Law: time and memory are bounded by the block and by the table: a field that an index names costs a clone of what
//! stands there, and a string at most 8/5 of its bytes.

use std::collections::VecDeque;

use super::field::{Field, Line, STATIC, STATIC_FIELDS, index};
use super::huffman;

/// Bytes behind the first that a number may have: enough for 2^28, more than any that has a meaning.
const NUMBER_BYTES: usize = 4;
/// A `:path` up to this size is remembered as it was written.
const REMEMBERED_PATH: usize = 256;
/// The bit of a literal that no table may keep, here or further on (RFC 7541 section 6.2.3).
const SECRET: u8 = 0x10;
/// Room for a string that was in Huffman's code is kept up to this size.
const KEPT_PLAIN: usize = 4 << 10;

/// Reads the blocks of one connection, in their order.
#[derive(Debug)]
pub(crate) struct BlockDecoder {
    table: Table,
    /// What our SETTINGS allow the table.
    limit: usize,
    /// Of a string in Huffman's code.
    plain: [Vec<u8>; 2],
    /// The last `:path` that came as a literal which no table keeps, as it was written, and what it says. Most encoders
    /// keep no path; most callers of one connection ask for the same again and again.
    path: Option<(Box<[u8]>, Field)>,
}

/// Why a block cannot be decoded (RFC 7541); the connection cannot go on.
pub(crate) type Undecodable = &'static str;

/// A field of a block.
pub(crate) enum Found<'a> {
    /// In a table.
    There(&'a Field),
    /// In the block alone.
    New(Field),
}

impl Found<'_> {
    #[inline]
    pub(crate) fn field(&self) -> &Field {
        match self {
            Found::There(field) => field,
            Found::New(field) => field,
        }
    }
}

#[derive(Debug)]
struct Table {
    /// The newest first.
    fields: VecDeque<Field>,
    size: usize,
    max_size: usize,
    /// How often it changed.
    changes: u64,
}

impl BlockDecoder {
    /// `limit` is what our SETTINGS say: SETTINGS_HEADER_TABLE_SIZE, in bytes.
    pub(crate) fn new(limit: usize) -> BlockDecoder {
        let table = Table { fields: VecDeque::new(), size: 0, max_size: limit, changes: 0 };
        BlockDecoder { table, limit, plain: [Vec::new(), Vec::new()], path: None }
    }

    /// Reads one block, field by field. What `each` says, if it is an error, ends it: the table is lost.
    #[inline]
    pub(crate) fn decode<E: From<Undecodable>>(
        &mut self,
        block: &[u8],
        mut each: impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = block;
        let mut begins = true;
        while let Some(&first) = rest.first() {
            match first {
                // Section 6.1, an index.
                0x80.. => {
                    let index = number(&mut rest, 0x7f)?;
                    each(Found::There(self.table.get(index)?))?;
                }
                // Section 6.2.1, a literal that the table takes.
                0x40.. => {
                    let field = self.literal(&mut rest, 0x3f)?;
                    each(Found::There(&field))?;
                    self.table.insert(field);
                }
                // Section 6.3, a new size of the table.
                0x20.. => {
                    let size = number(&mut rest, 0x1f)?;
                    if !begins || size > self.limit {
                        return Err("a size of the table that may not be".into());
                    }
                    self.table.resize(size);
                    continue;
                }
                // Sections 6.2.2 and 6.2.3, other literals.
                _ => self.passing(&mut rest, &mut each)?,
            }
            begins = false;
        }
        for plain in &mut self.plain {
            if plain.capacity() > KEPT_PLAIN {
                *plain = Vec::new();
            }
        }
        Ok(())
    }

    /// How often the table has changed: between two equal counts, equal blocks say the same.
    #[inline]
    pub(crate) fn changes(&self) -> u64 {
        self.table.changes
    }

    /// What the table holds, the newest first, and its size.
    #[cfg(test)]
    pub(super) fn table(&self) -> (Vec<(Vec<u8>, Vec<u8>)>, usize) {
        (self.table.fields.iter().map(Field::text).collect(), self.table.size)
    }

    /// A literal whose name is a number of the prefix `mask`, or behind it.
    fn literal(&mut self, rest: &mut &[u8], mask: u8) -> Result<Field, Undecodable> {
        let index = number(rest, mask)?;
        let [name_plain, value_plain] = &mut self.plain;
        let name = if index == 0 { Some(string(rest, name_plain)?) } else { None };
        let named = if index == 0 { None } else { Some(self.table.get(index)?) };
        let value = string(rest, value_plain)?;
        Ok(match (name, named) {
            (_, Some(named)) => named.with_value(value),
            (name, None) => Field::new(name.unwrap_or_default(), value),
        })
    }

    /// A literal that the table does not take.
    #[inline]
    fn passing<E: From<Undecodable>>(
        &mut self,
        rest: &mut &[u8],
        each: &mut impl FnMut(Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let names_path = matches!(rest.first().map_or(0, |first| usize::from(first & 0xf)), index::PATH | 5);
        if !names_path {
            let is_secret = rest.first().is_some_and(|first| first & SECRET != 0);
            let mut field = self.literal(rest, 0xf)?;
            if let Line::Regular(_, value) = &mut field.line {
                value.set_sensitive(is_secret);
            }
            return each(Found::New(field));
        }
        let whole = &rest[1..];
        if let Some((written, field)) = &self.path
            && whole.starts_with(written)
        {
            *rest = &whole[written.len()..];
            return each(Found::There(field));
        }
        let field = self.literal(rest, 0xf)?;
        let written = &whole[..whole.len() - rest.len()];
        if written.len() > REMEMBERED_PATH || !matches!(field.line, Line::Path(_)) {
            return each(Found::New(field));
        }
        let (_, field) = self.path.insert((written.into(), field));
        each(Found::There(field))
    }
}

impl Table {
    #[inline]
    fn get(&self, index: usize) -> Result<&Field, Undecodable> {
        let place = index.wrapping_sub(1);
        let field = match STATIC.get(place) {
            Some(field) => Some(field),
            None => self.fields.get(place.wrapping_sub(STATIC_FIELDS)),
        };
        field.ok_or("an index beyond the tables")
    }

    /// Section 4.4: what is larger than the table empties it.
    fn insert(&mut self, field: Field) {
        self.changes += 1;
        let size = field.size as usize;
        self.evict(self.max_size.saturating_sub(size));
        if size <= self.max_size {
            self.size += size;
            self.fields.push_front(field);
        }
    }

    fn resize(&mut self, max_size: usize) {
        self.changes += 1;
        self.max_size = max_size;
        self.evict(max_size);
    }

    fn evict(&mut self, most: usize) {
        while self.size > most
            && let Some(oldest) = self.fields.pop_back()
        {
            self.size -= oldest.size as usize;
        }
    }
}

/// Section 5.1: a number that begins in the bits of `mask`.
#[inline]
fn number(rest: &mut &[u8], mask: u8) -> Result<usize, Undecodable> {
    let first = rest.split_off_first().ok_or("a number that is cut")? & mask;
    if first < mask {
        return Ok(usize::from(first));
    }
    let mut value = usize::from(mask);
    for place in 0..NUMBER_BYTES {
        let byte = rest.split_off_first().ok_or("a number that is cut")?;
        value += usize::from(byte & 0x7f) << (7 * place);
        if *byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a number that is too long")
}

/// Section 5.2: a string, made plain in `plain` if it is in Huffman's code.
#[inline]
fn string<'a, 'b: 'a>(rest: &mut &'b [u8], plain: &'a mut Vec<u8>) -> Result<&'a [u8], Undecodable> {
    let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = number(rest, 0x7f)?;
    let text = rest.split_off(..length).ok_or("a string that is cut")?;
    if !is_coded {
        return Ok(text);
    }
    plain.clear();
    huffman::decode(text, plain).map_err(|()| "a string that is not in Huffman's code")?;
    Ok(plain)
}
