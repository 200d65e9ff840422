//! What was passed on of a request's body, kept while another attempt may need it.
//!
//! Law: what is kept takes about as much memory as it has bytes, however it was cut: a small piece is copied, for it
//! would hold the whole buffer that it was read into.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

/// Pieces below this size are copied.
const SMALL: usize = 4 << 10;
/// Copies are gathered up to this size.
const GATHERED: usize = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pieces: Vec<Bytes>,
    /// Small pieces behind them.
    open: BytesMut,
    /// In a box, for few have any.
    pub(super) trailers: Option<Box<HeaderMap>>,
    bytes: usize,
    pub(super) keeping: bool,
    /// Something was passed on that is not kept.
    pub(super) lost: bool,
}

impl Kept {
    /// Nothing, where something was.
    pub(super) fn gone() -> Kept {
        Kept { lost: true, ..Kept::default() }
    }

    /// Bytes of the body that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a piece.
    pub(super) fn push(&mut self, data: &Bytes) {
        self.bytes += data.len();
        if data.len() < SMALL {
            self.open.extend_from_slice(data);
        }
        if data.len() >= SMALL || self.open.len() >= GATHERED {
            if !self.open.is_empty() {
                self.pieces.push(self.open.split().freeze());
            }
            if data.len() >= SMALL {
                self.pieces.push(data.clone());
            }
        }
    }

    /// The kept bytes from `offset` on, as far as they stand together; `None` behind the last.
    pub(super) fn from(&self, mut offset: usize) -> Option<Bytes> {
        for piece in &self.pieces {
            if offset < piece.len() {
                return Some(piece.slice(offset..));
            }
            offset -= piece.len();
        }
        (offset < self.open.len()).then(|| Bytes::copy_from_slice(&self.open[offset..]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_kept_comes_out_from_any_place_on(
            sizes in prop::collection::vec(prop_oneof![1_usize..40, 4_000_usize..5_000, 1_usize..20_000], 0..40),
            from: prop::sample::Index,
        ) {
            let mut kept = Kept::default();
            let mut all = Vec::new();
            for (n, size) in sizes.into_iter().enumerate() {
                let piece = vec![n as u8; size];
                kept.push(&Bytes::copy_from_slice(&piece));
                all.extend(piece);
            }
            prop_assert_eq!(kept.bytes(), all.len());
            let mut at = from.index(all.len() + 1);
            let rest = all[at..].to_vec();
            let mut got = Vec::new();
            while let Some(piece) = kept.from(at) {
                at += piece.len();
                got.extend_from_slice(&piece);
            }
            prop_assert_eq!(got, rest);
        }
    }

    #[test]
    fn small_pieces_do_not_hold_the_buffers_they_came_in() {
        let mut kept = Kept::default();
        let mut buffer = Bytes::from(vec![0; 64 << 10]);
        kept.push(&buffer.split_to(1));
        assert!(buffer.try_into_mut().is_ok(), "nobody else holds it");
    }
}
