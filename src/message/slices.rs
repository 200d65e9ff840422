//! Pieces of bodies that are parts of what was read: each keeps alive the whole buffer that it stands in.
//!
//! Law: pieces that stay, of a buffer of which they are not most, are copied; so they take about as much memory as they have
//! bytes.

use bytes::Bytes;

/// Pieces below this size are no part of what all streams of a connection were read into: HTTP/2 has copied them, and
/// HTTP/1 reads one message at a time.
pub const SLICE: usize = 12 << 10;
/// What the streams of an HTTP/2 connection are read into.
pub const READ_BUFFER: usize = 64 << 10;
/// As much of a buffer is worth all of it.
pub const MOST_OF_A_BUFFER: usize = READ_BUFFER / 2;

/// Copies the pieces that hold much more than themselves. Those of one buffer stand close together in memory, as they do in
/// the body; they stay as they are if they are most of it.
pub fn compact(pieces: &mut [&mut Bytes]) {
    let mut rest = pieces;
    while let Some(first) = rest.first() {
        let start = first.as_ptr() as usize;
        let is_near = |piece: &Bytes| (piece.as_ptr() as usize).wrapping_sub(start) < READ_BUFFER;
        let count = rest.iter().take_while(|piece| piece.len() < SLICE || is_near(piece)).count();
        let (of_one, others) = rest.split_at_mut(count);
        let slices = || of_one.iter().filter(|piece| piece.len() >= SLICE);
        if slices().map(|piece| piece.len()).sum::<usize>() < MOST_OF_A_BUFFER {
            let slices = of_one.iter_mut().filter(|piece| piece.len() >= SLICE);
            slices.for_each(|piece| **piece = Bytes::copy_from_slice(piece));
        }
        rest = others;
    }
}
