//! Bodies whose every byte depends on its place and on the request's number: one lost, doubled or moved shows.

use std::collections::VecDeque;
use std::sync::OnceLock;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::ask::Ask;

const PIECE: usize = 64 << 10;
/// Bytes after which a body repeats itself: a prime, so that nothing that anybody buffers by is a multiple of it.
const PERIOD: usize = 1_048_573;

fn at(from: u64, length: usize) -> Bytes {
    static PATTERN: OnceLock<Bytes> = OnceLock::new();
    let pattern = PATTERN.get_or_init(|| {
        let word = |i: u64| (i + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        let period: Vec<u8> = (0..PERIOD as u64).map(word).collect();
        [&period[..], &period[..PIECE]].concat().into()
    });
    let from = (from % PERIOD as u64) as usize;
    pattern.slice(from..from + length)
}

fn plain(seed: u64, length: usize) -> impl Iterator<Item = Bytes> {
    let from = (0..length).step_by(PIECE);
    from.map(move |from| at(seed * 7919 + from as u64, PIECE.min(length - from)))
}

fn message(seed: u64, length: usize) -> impl Iterator<Item = Bytes> {
    let mut prefix = BytesMut::from(&[0][..]);
    prefix.put_u32(length as u32);
    std::iter::once(prefix.freeze()).chain(plain(seed, length))
}

/// What goes up.
pub fn up(ask: &Ask, grpc: bool) -> VecDeque<Bytes> {
    let seed = ask.id * 2;
    if grpc { message(seed, ask.up).collect() } else { plain(seed, ask.up).collect() }
}

/// What comes down.
pub fn down(ask: &Ask, grpc: bool) -> VecDeque<Bytes> {
    let seed = ask.id * 2 + 1;
    if grpc {
        (0..ask.messages as u64).flat_map(|n| message(seed + n, ask.down)).collect()
    } else {
        plain(seed, ask.down).collect()
    }
}

pub fn length(pieces: &VecDeque<Bytes>) -> usize {
    pieces.iter().map(Bytes::len).sum()
}

/// Checks pieces of a body as they come.
pub struct Checked {
    left: VecDeque<Bytes>,
    pub taken: usize,
    wrong: Option<String>,
}

impl Checked {
    pub fn new(expected: VecDeque<Bytes>) -> Checked {
        Checked { left: expected, taken: 0, wrong: None }
    }

    pub fn take(&mut self, mut piece: &[u8]) {
        while !piece.is_empty() && self.wrong.is_none() {
            let Some(expected) = self.left.front_mut() else {
                self.wrong = Some(format!("{} bytes too many behind {}", piece.len(), self.taken));
                return;
            };
            let n = expected.len().min(piece.len());
            if expected[..n] != piece[..n] {
                self.wrong = Some(format!("a byte is wrong behind {}", self.taken));
                return;
            }
            let _ = expected.split_to(n);
            if expected.is_empty() {
                self.left.pop_front();
            }
            piece = &piece[n..];
            self.taken += n;
        }
    }

    /// Whether all came, and nothing else.
    pub fn whole(self) -> Result<(), String> {
        match self.wrong {
            Some(wrong) => Err(wrong),
            None if !self.left.is_empty() => {
                Err(format!("{} bytes are missing behind {}", length(&self.left), self.taken))
            }
            None => Ok(()),
        }
    }
}
