//! What is to be written: frames in their order, small payloads among them, large ones beside them and never copied.
//!
//! Law: bytes leave in the order in which they came in, each once; `len` is what has not left yet.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

/// Payloads up to this size are copied: cheaper than to keep a reference and to tell the kernel of one more piece.
const COPIED: usize = 2 << 10;
/// Capacity that is kept while nothing is to be written.
const KEPT: usize = 2 << 10;
/// Bytes that have left and still take room, beyond which the others are moved to the front.
const MOVED: usize = 16 << 10;
/// Pieces of one system call.
pub(super) const SLICES: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// Frames without the payloads that stand beside.
    bytes: Vec<u8>,
    /// `bytes[..written]` has left.
    written: usize,
    /// Payloads, each with its place in `bytes`: it follows what stands before that index.
    beside: VecDeque<(usize, Bytes)>,
    len: usize,
}

impl Out {
    /// Bytes that have not left.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All has left.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends what `put` writes behind the bytes that are there.
    #[inline]
    pub(super) fn put<T>(&mut self, put: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let before = self.bytes.len();
        let put = put(&mut self.bytes);
        self.len += self.bytes.len() - before;
        put
    }

    /// Appends a payload.
    #[inline]
    pub(super) fn payload(&mut self, payload: Bytes) {
        self.len += payload.len();
        if payload.len() <= COPIED {
            self.bytes.extend_from_slice(&payload);
        } else {
            self.beside.push_back((self.bytes.len(), payload));
        }
    }

    /// The pieces that are to leave next, at most [`SLICES`]; how many there are.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut at, mut count) = (self.written, 0);
        let mut push = |piece: &'a [u8]| {
            if !piece.is_empty() && count < SLICES {
                slices[count] = IoSlice::new(piece);
                count += 1;
            }
        };
        for (place, payload) in self.beside.iter().take(SLICES) {
            push(&self.bytes[at..*place]);
            push(payload);
            at = *place;
        }
        if self.beside.len() < SLICES {
            push(&self.bytes[at..]);
        }
        count
    }

    /// All of it, where it stands in one piece.
    #[inline]
    pub(super) fn single(&self) -> Option<&[u8]> {
        self.beside.is_empty().then(|| &self.bytes[self.written..])
    }

    /// `n` bytes have left.
    pub(super) fn advance(&mut self, mut n: usize) {
        self.len -= n;
        while let Some((place, payload)) = self.beside.front_mut() {
            let before = (*place - self.written).min(n);
            self.written += before;
            n -= before;
            if self.written < *place || n < payload.len() {
                if self.written == *place {
                    payload.advance(n);
                }
                if self.is_mostly_written() {
                    self.forget_written();
                }
                return;
            }
            n -= payload.len();
            self.beside.pop_front();
        }
        self.written += n;
        if self.len == 0 {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT);
            if self.beside.capacity() > SLICES {
                self.beside = VecDeque::new();
            }
        } else if self.is_mostly_written() {
            self.forget_written();
        }
    }

    fn is_mostly_written(&self) -> bool {
        self.written > MOVED && self.written > self.bytes.len() / 2
    }

    /// What never drains must not grow either.
    #[cold]
    fn forget_written(&mut self) {
        self.bytes.drain(..self.written);
        self.beside.iter_mut().for_each(|(place, _)| *place -= self.written);
        self.written = 0;
    }

    /// Nothing of it will leave.
    pub(super) fn clear(&mut self) {
        *self = Out::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However much leaves at a time, it is what came in.
        #[test]
        fn bytes_leave_in_their_order(
            pieces in proptest::collection::vec((0_usize..40, 0_usize..5_000), 0..40),
            steps in proptest::collection::vec(1_usize..9_000, 1..20),
        ) {
            let (mut out, mut expected) = (Out::default(), Vec::new());
            for (n, (head, payload)) in pieces.iter().enumerate() {
                out.put(|bytes| bytes.extend(std::iter::repeat_n(n as u8, *head)));
                expected.extend(std::iter::repeat_n(n as u8, *head));
                let payload: Vec<u8> = (0..*payload).map(|at| at as u8).collect();
                expected.extend_from_slice(&payload);
                out.payload(Bytes::from(payload));
            }
            prop_assert_eq!(out.len(), expected.len());
            let (mut left, mut steps) = (Vec::new(), steps.iter().cycle());
            while !out.is_empty() {
                let step = *steps.next().expect("a cycle");
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = out.slices(&mut slices);
                let mut taken = 0;
                for slice in &slices[..count] {
                    let n = slice.len().min(step - taken);
                    left.extend_from_slice(&slice[..n]);
                    taken += n;
                }
                prop_assert!(taken > 0);
                if let Some(single) = out.single() {
                    prop_assert_eq!(&left[left.len() - taken..], &single[..taken]);
                }
                out.advance(taken);
                prop_assert_eq!(left.len() + out.len(), expected.len());
            }
            prop_assert_eq!(left, expected);
        }
    }
}
