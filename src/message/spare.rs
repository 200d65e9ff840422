//! What one message leaves behind for the next one of its thread: emptied header maps, and buffers that heads were
//! written in. Both are larger than what the allocator gives at once.
//!
//! Law: nothing of a message is left in what is kept, and no more is kept than a few small ones.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::MaxSizeReached;

/// How many of each are kept.
const KEPT: usize = 8;
/// Fields of a map that is kept; with less room it would have to grow for the next message.
const FIELDS: std::ops::RangeInclusive<usize> = 6..=48;
/// Bytes of a buffer that is kept; less would cost a message of common size another one.
const BUFFER_BYTES: std::ops::RangeInclusive<usize> = 1 << 10..=8 << 10;

thread_local! {
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
    static BUFFERS: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for `fields`.
///
/// # Errors
/// No map is that large.
pub fn header_map(fields: usize) -> Result<HeaderMap, MaxSizeReached> {
    match MAPS.with_borrow_mut(Vec::pop) {
        Some(mut map) => map.try_reserve(fields).map(|()| map),
        None => HeaderMap::try_with_capacity(fields),
    }
}

/// Takes back the map of a message that is over.
pub fn keep_header_map(mut map: HeaderMap) {
    if FIELDS.contains(&map.capacity()) {
        map.clear();
        MAPS.with_borrow_mut(|maps| {
            if maps.len() < KEPT {
                maps.push(map);
            }
        });
    }
}

/// An empty buffer with room for `bytes`.
pub fn buffer(bytes: usize) -> BytesMut {
    let mut buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(bytes.max(*BUFFER_BYTES.start()));
    buffer
}

/// Takes back a buffer whose bytes are written.
pub fn keep_buffer(mut buffer: BytesMut) {
    buffer.clear();
    if BUFFER_BYTES.contains(&buffer.capacity()) {
        BUFFERS.with_borrow_mut(|buffers| {
            if buffers.len() < KEPT {
                buffers.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::HOST;

    use super::*;

    #[test]
    fn what_comes_back_is_empty_and_is_handed_out_again() {
        let mut map = header_map(5).expect("small");
        map.insert(HOST, HeaderValue::from_static("a"));
        let room = map.capacity();
        keep_header_map(map);
        let again = header_map(1).expect("small");
        assert_eq!((again.len(), again.capacity(), again.get(HOST)), (0, room, None));

        let mut bytes = buffer(4000);
        bytes.extend_from_slice(b"head");
        let room = bytes.capacity();
        keep_buffer(bytes);
        let again = buffer(1);
        assert_eq!((again.len(), again.capacity()), (0, room));
    }

    #[test]
    fn few_are_kept_and_none_that_is_large_or_has_no_room() {
        keep_header_map(HeaderMap::with_capacity(1000));
        keep_header_map(HeaderMap::with_capacity(3));
        keep_buffer(BytesMut::with_capacity(1 << 20));
        assert_eq!(
            header_map(1).expect("small").capacity(),
            HeaderMap::<HeaderValue>::with_capacity(1).capacity()
        );
        assert!(buffer(1).capacity() < 1 << 20);
        for _ in 0..100 {
            keep_header_map(HeaderMap::with_capacity(8));
            keep_buffer(BytesMut::with_capacity(2 << 10));
        }
        assert_eq!(MAPS.with_borrow(Vec::len), KEPT);
        assert_eq!(BUFFERS.with_borrow(Vec::len), KEPT);
    }
}
