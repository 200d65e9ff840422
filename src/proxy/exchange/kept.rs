//! What was passed on of a request's body, kept while another attempt may need it.
//!
//! Law: what is kept takes about as much memory as it has bytes, however it was cut: a small piece is copied, for it
//! would hold the whole buffer that it was read into. One that is not so small is copied if it stays for longer, and few
//! others of its buffer stay with it ([`Pieces::compact`]): most that is kept goes before that, and costs nothing.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::tape::Tape;
use crate::message::slices::{self, MOST_OF_A_BUFFER, SLICE};

/// Pieces below this size are copied.
const SMALL: usize = 4 << 10;
/// Copies are gathered up to this size.
const GATHERED: usize = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) pieces: Pieces,
    /// In a box, for few have any.
    pub(super) rare: Option<Box<Rare>>,
    /// Bytes of what is kept that the present attempt has.
    pub(super) sent: usize,
    /// The trailers have still to follow.
    pub(super) trailers_left: bool,
    pub(super) keeping: Keeping,
    /// Something was passed on that is not kept.
    pub(super) lost: bool,
}

/// What few requests have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) trailers: Option<HeaderMap>,
    /// Where the body is kept, in place of here, as it has other readers.
    pub(super) tape: Option<Rc<Tape>>,
}

/// Where what passes is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Keeping {
    #[default]
    Nowhere,
    Here,
    OnTape,
}

impl Kept {
    /// Nothing, where something was.
    pub(super) fn gone() -> Kept {
        Kept { lost: true, ..Kept::default() }
    }

    /// Bytes of the body that are kept, from its first.
    pub(super) fn bytes(&self) -> usize {
        match self.tape() {
            None => self.pieces.bytes(),
            Some(tape) => tape.kept_bytes(),
        }
    }

    /// No attempt will begin anew from the tape, which others go on reading.
    pub(super) fn end_replays(&mut self) {
        self.lost |= self.bytes() > 0;
        if let Some(tape) = self.tape() {
            tape.settle();
        }
    }

    /// Where the body is kept in place of here.
    pub(super) fn tape(&self) -> Option<&Rc<Tape>> {
        self.rare.as_ref()?.tape.as_ref()
    }

    /// The trailers, which came behind all of the body.
    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.rare.as_ref()?.trailers.as_ref()
    }
}

/// Bytes in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: Vec<Bytes>,
    /// Small pieces behind them.
    open: BytesMut,
    bytes: usize,
    /// So many of `pieces` take no more memory than they should.
    compact: usize,
}

impl Pieces {
    /// How many.
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

    /// Adds a piece that takes no more memory than it has bytes from now on.
    pub(super) fn push_compact(&mut self, data: &Bytes) {
        if (SLICE..MOST_OF_A_BUFFER).contains(&data.len()) {
            self.push(&Bytes::copy_from_slice(data));
        } else {
            self.push(data);
        }
    }

    /// Copies the pieces that hold much more than themselves.
    pub(super) fn compact(&mut self) {
        let mut fresh: Vec<&mut Bytes> = self.pieces[self.compact..].iter_mut().collect();
        slices::compact(&mut fresh);
        self.compact = self.pieces.len();
    }

    /// The bytes from `offset` on, as far as they stand together; `None` behind the last.
    pub(super) fn from(&self, mut offset: usize) -> Option<Bytes> {
        if offset >= self.bytes {
            return None; // the usual case, asked for before each read
        }
        for piece in &self.pieces {
            if offset < piece.len() {
                return Some(piece.slice(offset..));
            }
            offset -= piece.len();
        }
        (offset < self.open.len()).then(|| Bytes::copy_from_slice(&self.open[offset..]))
    }

    /// Lets go of the pieces that end at or before `offset`; returns how many bytes went.
    pub(super) fn drop_front(&mut self, offset: usize) -> usize {
        if offset >= self.bytes {
            return std::mem::take(self).bytes;
        }
        let (mut gone, mut count) = (0, 0);
        for piece in &self.pieces {
            if gone + piece.len() > offset {
                break;
            }
            gone += piece.len();
            count += 1;
        }
        self.pieces.drain(..count);
        self.compact = self.compact.saturating_sub(count);
        self.bytes -= gone;
        gone
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::slices::READ_BUFFER;

    fn all_from(pieces: &Pieces, mut at: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while let Some(piece) = pieces.from(at) {
            at += piece.len();
            got.extend_from_slice(&piece);
        }
        got
    }

    proptest! {
        #[test]
        fn what_was_kept_comes_out_from_any_place_on(
            sizes in prop::collection::vec(prop_oneof![1_usize..40, 4_000_usize..5_000, 1_usize..20_000], 0..40),
            from: prop::sample::Index,
            dropped: prop::sample::Index,
        ) {
            let mut kept = Pieces::default();
            let mut all = Vec::new();
            for (n, size) in sizes.into_iter().enumerate() {
                let piece = vec![n as u8; size];
                kept.push(&Bytes::copy_from_slice(&piece));
                all.extend(piece);
            }
            prop_assert_eq!(kept.bytes(), all.len());
            let at = from.index(all.len() + 1);
            prop_assert_eq!(all_from(&kept, at), &all[at..]);
            // No byte behind the place goes, and none before it stays for long.
            let at = dropped.index(all.len() + 1);
            let gone = kept.drop_front(at);
            prop_assert!(gone <= at && at - gone < 2 * GATHERED.max(20_000));
            prop_assert_eq!(kept.bytes(), all.len() - gone);
            prop_assert_eq!(all_from(&kept, at - gone), &all[at..]);
        }
    }

    #[test]
    fn a_slice_that_stays_alone_of_its_buffer_lets_go_of_that() {
        for size in [SLICE, 16 << 10, MOST_OF_A_BUFFER - 1] {
            let (mut kept, mut at_once) = (Pieces::default(), Pieces::default());
            let mut buffers = Vec::new();
            for n in 0..4 {
                let mut buffer = Bytes::from(vec![n; READ_BUFFER]);
                let piece = buffer.split_to(size);
                kept.push(&piece);
                at_once.push_compact(&piece);
                buffers.push(buffer);
            }
            kept.compact();
            assert_eq!(kept.compact, kept.pieces.len());
            assert_eq!(all_from(&kept, 0), all_from(&at_once, 0));
            assert!(
                buffers.into_iter().all(|buffer| buffer.try_into_mut().is_ok()),
                "nobody else holds it: {size}"
            );
        }
    }

    #[test]
    fn slices_that_are_most_of_their_buffers_are_not_copied() {
        let (mut kept, mut addresses) = (Pieces::default(), Vec::new());
        for n in 0..4 {
            let mut buffer = Bytes::from(vec![n; READ_BUFFER]);
            while buffer.len() > 16 << 10 {
                drop(buffer.split_to(9)); // a frame's head
                let piece = buffer.split_to((16 << 10) - 9);
                addresses.push(piece.as_ptr());
                kept.push(&piece);
                // What HTTP/2 has copied stands between them.
                kept.push(&Bytes::copy_from_slice(&buffer[..SMALL]));
            }
        }
        kept.compact();
        let slices = kept.pieces.iter().filter(|piece| piece.len() > SMALL);
        assert_eq!(slices.map(|piece| piece.as_ptr()).collect::<Vec<_>>(), addresses);
    }

    #[test]
    fn small_pieces_do_not_hold_the_buffers_they_came_in() {
        let mut kept = Pieces::default();
        let mut buffer = Bytes::from(vec![0; 64 << 10]);
        kept.push(&buffer.split_to(1));
        assert!(buffer.try_into_mut().is_ok(), "nobody else holds it");
    }
}
