//! The streams of a connection, by identifier and by place, and those that were reset here a while ago.
//!
//! Law: a place stays a stream's own for as long as there is a handle on it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Index, IndexMut};

use slab::Slab;

use super::stream::Stream;

/// Places that a connection keeps while no stream is open: to make those of some calls that come in step anew each time
/// costs more than they hold.
const KEPT: usize = 32;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Streams {
    slab: Slab<Stream>,
    places: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    /// Streams that were reset here, the newest last, and what each may still cost.
    reset: VecDeque<(u32, u32)>,
    reset_max: usize,
}

/// Spreads identifiers, which come one after the other.
#[derive(Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u32(byte.into()));
    }

    #[inline]
    fn write_u32(&mut self, id: u32) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

impl Streams {
    /// No stream. Of those that will be reset here, so many are remembered.
    pub(super) fn new(reset_max: usize) -> Streams {
        Streams { reset_max, ..Streams::default() }
    }

    /// The place of the stream.
    #[inline]
    pub(super) fn find(&self, id: u32) -> Option<usize> {
        self.places.get(&id).map(|&place| place as usize)
    }

    /// The stream at `place`, if it is still `id`'s.
    pub(super) fn get(&mut self, place: usize, id: u32) -> Option<&mut Stream> {
        self.slab.get_mut(place).filter(|stream| stream.id == id)
    }

    /// Adds a stream.
    pub(super) fn insert(&mut self, stream: Stream) -> usize {
        let id = stream.id;
        let place = self.slab.insert(stream);
        self.places.insert(id, place as u32);
        place
    }

    /// Forgets a stream.
    pub(super) fn remove(&mut self, place: usize) {
        let stream = self.slab.remove(place);
        self.places.remove(&stream.id);
        if self.slab.is_empty() && self.slab.capacity() > KEPT {
            // A connection that had its rush keeps nothing of it.
            *self = Streams { reset: std::mem::take(&mut self.reset), ..Streams::new(self.reset_max) };
        }
    }

    /// All of them, by place.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Stream)> {
        self.slab.iter_mut()
    }

    /// The stream was reset here: its peer may not know yet, and go on until it has cost so much.
    pub(super) fn note_reset(&mut self, id: u32, cost: u32) {
        if self.reset.len() >= self.reset_max {
            self.reset.pop_front();
        }
        self.reset.push_back((id, cost));
    }

    /// Whether a frame on a stream that is not there may be ignored, as the stream was reset here. Behind its end, or when
    /// it has cost too much, it is forgotten.
    pub(super) fn ignores(&mut self, id: u32, cost: u32, ends: bool) -> bool {
        let Some(at) = self.reset.iter().rposition(|&(reset, _)| reset == id) else { return false };
        let left = self.reset[at].1.checked_sub(cost);
        match left {
            Some(left) if !ends => self.reset[at].1 = left,
            _ => drop(self.reset.remove(at)),
        }
        left.is_some()
    }
}

impl Index<usize> for Streams {
    type Output = Stream;

    #[inline]
    fn index(&self, place: usize) -> &Stream {
        &self.slab[place]
    }
}

impl IndexMut<usize> for Streams {
    #[inline]
    fn index_mut(&mut self, place: usize) -> &mut Stream {
        &mut self.slab[place]
    }
}
