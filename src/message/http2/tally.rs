//! Bytes of single streams' frames, for those who ask.
//!
//! Law: a connection of which nobody asks pays one test for a frame.

use std::cell::Cell;
use std::rc::Rc;

/// What the frames of a stream took on the wire: its heads and its body, with what stands before each frame.
#[derive(Debug, Default)]
pub struct Tally {
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Tally {
    /// Bytes sent, and bytes received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.sent.get(), self.received.get())
    }
}

/// Those of a connection.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    next: Option<Rc<Tally>>,
    streams: Vec<(u32, Rc<Tally>)>,
}

impl Tallies {
    /// One for the stream that is opened next.
    pub(super) fn begin(&mut self) -> Rc<Tally> {
        self.next.insert(Rc::default()).clone()
    }

    /// The one that waits for a stream, if there is one: the next stream is opened, or is not.
    pub(super) fn take_next(&mut self) -> Option<Rc<Tally>> {
        self.next.take()
    }

    /// `tally` is stream `id`'s. Those that nobody will read any more go.
    pub(super) fn open(&mut self, id: u32, tally: Rc<Tally>) {
        self.streams.retain(|(_, tally)| Rc::strong_count(tally) > 1);
        self.streams.push((id, tally));
    }

    /// A frame of stream `id` was sent, so long with what stands before it.
    pub(super) fn sent(&self, id: u32, bytes: usize) {
        self.add(id, |tally| &tally.sent, bytes);
    }

    /// The same of one that was received.
    pub(super) fn received(&self, id: u32, bytes: usize) {
        self.add(id, |tally| &tally.received, bytes);
    }

    fn add(&self, id: u32, to: fn(&Tally) -> &Cell<u64>, bytes: usize) {
        if let Some((_, tally)) = self.streams.iter().find(|(stream, _)| *stream == id) {
            let count = to(tally);
            count.set(count.get() + bytes as u64);
        }
    }
}
