//! The wire form of protobuf, for the few messages that Weir writes and reads by hand: a proxy for production has no
//! generated code.
//!
//! Law: whatever comes is read without a panic, and what has no reading to its end has none. What is written leaves out
//! what protobuf's third version leaves out: a number that is zero, a text that is empty.

use std::ops::RangeInclusive;

use bytes::{BufMut, BytesMut};

/// Numbers that a field may have.
const FIELDS: RangeInclusive<u64> = 1..=(1 << 29) - 1;

/// How a value stands on the wire.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH: u64 = 2;
const FIXED32: u64 = 5;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'m> {
    /// An integer, an enum or a bool.
    Number(u64, u64),
    /// Text, bytes or another message.
    Bytes(u64, &'m [u8]),
}

/// The fields of a message that are of these kinds; `None`: not all of it has a reading.
pub fn fields(mut message: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = take_number(&mut message)?;
        let (field, kind) = (tag >> 3, tag & 7);
        if !FIELDS.contains(&field) {
            return None;
        }
        let length = match kind {
            VARINT => {
                fields.push(Field::Number(field, take_number(&mut message)?));
                continue;
            }
            LENGTH => usize::try_from(take_number(&mut message)?).ok()?,
            FIXED64 => 8,
            FIXED32 => 4,
            _ => return None,
        };
        let (bytes, rest) = message.split_at_checked(length)?;
        message = rest;
        if kind == LENGTH {
            fields.push(Field::Bytes(field, bytes));
        }
    }
    Some(fields)
}

/// The integer of that field: the last counts, and 0 is left out.
pub fn number(fields: &[Field<'_>], wanted: u64) -> u64 {
    let of = |field: &Field<'_>| match *field {
        Field::Number(known, value) if known == wanted => Some(value),
        _ => None,
    };
    fields.iter().rev().find_map(of).unwrap_or_default()
}

/// The text, bytes or message of that field: the last counts, and an empty one is left out.
pub fn bytes<'m>(fields: &[Field<'m>], wanted: u64) -> &'m [u8] {
    let of = |field: &Field<'m>| match *field {
        Field::Bytes(known, value) if known == wanted => Some(value),
        _ => None,
    };
    fields.iter().rev().find_map(of).unwrap_or_default()
}

fn take_number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Bytes that a number takes on the wire.
pub fn number_bytes(number: u64) -> usize {
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Bytes that text, or another message, takes as a field whose number is less than 16.
pub fn field_bytes(length: usize) -> usize {
    1 + number_bytes(length as u64) + length
}

/// What stands before another message of so many bytes, which is to follow.
pub fn put_length(message: &mut BytesMut, field: u64, length: usize) {
    put_number(message, field << 3 | LENGTH);
    put_number(message, length as u64);
}

fn put_number(message: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        message.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    message.put_u8(number as u8);
}

/// An integer, left out where it is zero.
pub fn put_integer(message: &mut BytesMut, field: u64, number: u64) {
    if number != 0 {
        put_number(message, field << 3 | VARINT);
        put_number(message, number);
    }
}

/// An integer that is one of several things a message may hold, so that zero says something.
pub fn put_chosen_integer(message: &mut BytesMut, field: u64, number: u64) {
    put_number(message, field << 3 | VARINT);
    put_number(message, number);
}

/// A `fixed32`, left out where it is zero.
pub fn put_fixed32(message: &mut BytesMut, field: u64, number: u32) {
    if number != 0 {
        put_number(message, field << 3 | FIXED32);
        message.put_u32_le(number);
    }
}

/// A `fixed64`, left out where it is zero.
pub fn put_fixed64(message: &mut BytesMut, field: u64, number: u64) {
    if number != 0 {
        put_number(message, field << 3 | FIXED64);
        message.put_u64_le(number);
    }
}

/// Text, left out where it is empty.
pub fn put_text(message: &mut BytesMut, field: u64, text: &str) {
    if !text.is_empty() {
        put_bytes(message, field, text.as_bytes());
    }
}

/// Another message, or text.
pub fn put_bytes(message: &mut BytesMut, field: u64, bytes: &[u8]) {
    put_length(message, field, bytes.len());
    message.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_put_into_a_message_is_read_again() {
        let mut message = BytesMut::new();
        put_text(&mut message, 1, "half_plus_two");
        put_integer(&mut message, 2, u64::MAX);
        put_integer(&mut message, 3, 0);
        put_bytes(&mut message, 4, &[]);
        put_fixed64(&mut message, 5, 1);
        let read = fields(&message).expect("a reading");
        assert_eq!(
            read,
            [Field::Bytes(1, b"half_plus_two"), Field::Number(2, u64::MAX), Field::Bytes(4, &[])]
        );
        assert_eq!(
            (bytes(&read, 1), number(&read, 2), bytes(&read, 2)),
            (&b"half_plus_two"[..], u64::MAX, &[][..])
        );
    }

    proptest! {
        #[test]
        fn a_number_takes_as_many_bytes_as_it_is_said_to(number: u64, shift in 0_u32..64) {
            let mut message = BytesMut::new();
            put_number(&mut message, number >> shift);
            prop_assert_eq!(message.len(), number_bytes(number >> shift));
            let text = vec![b'a'; usize::try_from(number >> 48).unwrap_or_default()];
            message.clear();
            put_bytes(&mut message, 15, &text);
            prop_assert_eq!(message.len(), field_bytes(text.len()));
        }

        #[test]
        fn no_bytes_make_a_reading_panic_or_go_on_for_ever(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(fields(&bytes).is_none_or(|fields| fields.len() <= bytes.len()));
        }
    }
}
