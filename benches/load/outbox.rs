//! What a connection has to write: bytes of its own, and pieces of the request's bytes, which are never copied.

use std::io::{self, IoSlice};
use std::os::fd::AsFd;

/// Slices to one write.
const MAX_SLICES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Piece {
    Own { start: usize, end: usize },
    Shared { start: usize, end: usize },
}

impl Piece {
    fn bounds(&mut self) -> (&mut usize, usize) {
        match self {
            Piece::Own { start, end } | Piece::Shared { start, end } => (start, *end),
        }
    }
}

#[derive(Default)]
pub(crate) struct Outbox {
    own: Vec<u8>,
    pieces: Vec<Piece>,
    /// Pieces before this one are written.
    first: usize,
    len: usize,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes not yet written.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = self.own.len();
        self.own.extend_from_slice(bytes);
        self.len += bytes.len();
        match self.pieces.last_mut() {
            Some(Piece::Own { end, .. }) => *end = self.own.len(),
            _ => self.pieces.push(Piece::Own { start, end: self.own.len() }),
        }
    }

    /// These of the shared bytes.
    pub(crate) fn push_shared(&mut self, start: usize, end: usize) {
        self.len += end - start;
        self.pieces.push(Piece::Shared { start, end });
    }

    pub(crate) fn clear(&mut self) {
        self.own.clear();
        self.pieces.clear();
        self.first = 0;
        self.len = 0;
    }

    /// Writes; false if the socket takes no more for now. `shared` is what the pieces point into.
    pub(crate) fn write(&mut self, socket: impl AsFd, shared: &[u8]) -> io::Result<bool> {
        while self.len > 0 {
            let mut slices = [IoSlice::new(&[]); MAX_SLICES];
            let mut asked = 0;
            let waiting = &self.pieces[self.first..];
            for (slice, piece) in slices.iter_mut().zip(waiting) {
                let bytes = match *piece {
                    Piece::Own { start, end } => &self.own[start..end],
                    Piece::Shared { start, end } => &shared[start..end],
                };
                asked += bytes.len();
                *slice = IoSlice::new(bytes);
            }
            let written = match rustix::io::writev(&socket, &slices[..waiting.len().min(MAX_SLICES)]) {
                Ok(written) => written,
                Err(rustix::io::Errno::AGAIN) => return Ok(false),
                Err(error) => return Err(error.into()),
            };
            self.advance(written);
            // Less than asked means that it is full: no need to be told so once more.
            if written < asked {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn advance(&mut self, mut written: usize) {
        self.len -= written;
        if self.len == 0 {
            return self.clear();
        }
        while let Some(piece) = self.pieces.get_mut(self.first) {
            let (start, end) = piece.bounds();
            let here = written.min(end - *start);
            *start += here;
            written -= here;
            if *start < end {
                return;
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn everything_arrives_once_and_in_order_through_a_socket_that_fills_up() {
        let shared: Vec<u8> = (0..500_000_u32).map(|i| (i % 251) as u8).collect();
        let (ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        ours.set_nonblocking(true).expect("nonblocking");
        let mut outbox = Outbox::default();
        let mut expected = Vec::new();
        for i in 0..200_usize {
            let own = [i as u8; 9];
            outbox.push(&own[..4]);
            outbox.push(&own[4..]);
            outbox.push_shared(i * 1_000, i * 1_000 + 7 * i);
            expected.extend_from_slice(&own);
            expected.extend_from_slice(&shared[i * 1_000..i * 1_000 + 7 * i]);
        }
        outbox.push_shared(0, shared.len());
        expected.extend_from_slice(&shared);
        assert_eq!(outbox.len(), expected.len());

        let mut arrived = Vec::new();
        let mut buffer = vec![0; 10_007];
        outbox.write(&ours, &shared).expect("a write");
        assert!(!outbox.is_empty(), "more than a socket holds");
        while arrived.len() < expected.len() {
            let read = theirs.read(&mut buffer).expect("a read");
            arrived.extend_from_slice(&buffer[..read]);
            outbox.write(&ours, &shared).expect("a write");
        }
        assert!(outbox.is_empty());
        assert!(arrived == expected);
    }
}
