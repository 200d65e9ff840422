//! Flow control (RFC 9113 section 5.2): what was read is given back to the peer's windows, and what may be sent is shared out.
//!
//! Laws: a peer whose bytes are read never waits for a window, whatever others leave unread. An update that is put off costs
//! neither side a system call; so it leaves when little is left, and takes along what is due soon. A stream that is read as fast as it arrives may
//! have more ahead than others: who reads slowly never has. Who waits for room is let in by its place in line.

use super::core::{Core, QUANTUM};
use super::frame;
use super::stream::{Side, Stream};

/// What a stream's window has left when it is raised: a quarter of it, of a large one this. As much as every stream has at
/// first (RFC 9113 section 6.9.2), and some tens of microseconds on a fast network.
const LEFT: i64 = 64 << 10;

impl Core {
    /// `n` bytes of the connection's window were read, or are not wanted.
    pub(super) fn give_back(&mut self, n: u32) {
        self.freed += n;
        self.update_if_due();
    }

    /// `n` bytes of the connection's window have come. Perhaps nobody will read them, so that this is the last occasion to
    /// give back what was read before.
    #[inline]
    pub(super) fn take_from_window(&mut self, n: u32) {
        self.recv_window -= i64::from(n);
        if self.freed > 0 {
            self.update_if_due();
        }
    }

    fn update_if_due(&mut self) {
        let (freed, left) = (i64::from(self.freed), self.recv_window);
        // Where the others leave much unread, of which nothing may ever come back, little is enough.
        let is_scarce = 2 * (freed + left) < self.settings.connection_window.into();
        let is_due = if is_scarce { 2 * freed >= left } else { freed >= 3 * left };
        if freed > 0 && is_due {
            self.update_connection();
        }
    }

    /// `n` bytes of a stream were read.
    pub(super) fn give_back_of(&mut self, place: usize, n: u32) {
        let most = if self.leaves_much_unread(n) { 0 } else { self.settings.stream_window_most.into() };
        let stream = &mut self.streams[place];
        stream.freed += n;
        if let Some(by) = due_of(stream, most) {
            let id = stream.id;
            stream.recv_window += i64::from(by);
            stream.freed = 0;
            self.out.put(|out| frame::put_window_update(out, id, by));
            self.wake();
            self.freed += n;
            if 3 * i64::from(self.freed) >= self.recv_window {
                self.update_connection();
            }
            return;
        }
        self.give_back(n);
    }

    /// Whether, behind the `n` bytes that are read just now, so much waits to be read that no stream is to have more ahead
    /// than others: of two that stop being read it would be all of the connection's window.
    fn leaves_much_unread(&self, n: u32) -> bool {
        let window = i64::from(self.settings.connection_window);
        4 * (window - self.recv_window - i64::from(self.freed + n)) > window
    }

    fn update_connection(&mut self) {
        let by = std::mem::take(&mut self.freed);
        self.recv_window += i64::from(by);
        self.out.put(|out| frame::put_window_update(out, 0, by));
        self.wake();
    }

    /// Room for bodies: what may wait to be written, and what the connection's window has.
    pub(super) fn room(&self) -> usize {
        let (full, waiting) = (self.settings.out_full, self.out.len());
        let out = if waiting < full { full + QUANTUM - waiting } else { 0 };
        out.min(usize::try_from(self.send_window).unwrap_or(0)).saturating_sub(self.granted)
    }

    /// Gives room to those that wait, in their order.
    pub(super) fn grant(&mut self) {
        while let Some(&place) = self.waiting.front() {
            let room = self.room().min(QUANTUM);
            if room == 0 {
                return;
            }
            self.waiting.pop_front();
            let stream = &mut self.streams[place];
            stream.waits = false;
            stream.granted += room as u32;
            self.granted += room;
            stream.wake_writer();
        }
    }
}

/// What the window of a stream is to be raised by, if little of it is left: by what was read, and by as much again as it had
/// where all that came was read.
fn due_of(stream: &Stream, most: i64) -> Option<u32> {
    let (freed, left) = (i64::from(stream.freed), stream.recv_window);
    let ahead = left + i64::from(stream.unread);
    let all = freed + ahead;
    if stream.recv != Side::Body || freed == 0 || ahead > (all / 4).min(LEFT) {
        return None;
    }
    if stream.remaining.is_some_and(|rest| i64::try_from(rest).is_ok_and(|rest| rest <= left)) {
        return None; // the rest fits
    }
    let more = if stream.unread == 0 { all.min(most - all).max(0) } else { 0 };
    u32::try_from(freed + more).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::core::{Role, Settings};
    use super::super::frame::{FrameHead, kind};
    use super::*;

    /// Some bytes came, and some of these were read.
    fn after(window: u32, came: u32, read: u32) -> Stream {
        let mut stream = Stream::new(1, window, 0);
        stream.recv = Side::Body;
        stream.recv_window -= i64::from(came);
        stream.unread = came - read;
        stream.freed = read;
        stream
    }

    #[test]
    fn an_update_waits_for_three_quarters_of_the_window() {
        assert_eq!(due_of(&after(1_000, 749, 749), 1_000), None);
        assert_eq!(due_of(&after(1_000, 750, 750), 1_000), Some(750));
        assert_eq!(
            due_of(&after(1_000, 1_000, 600), 1_000),
            None,
            "there is much to read before it is wanted"
        );
        assert_eq!(due_of(&after(1_000, 1_000, 750), 1_000), Some(750));
    }

    #[test]
    fn a_large_window_may_run_lower() {
        let most = 1 << 20;
        assert_eq!(due_of(&after(512 << 10, 447 << 10, 447 << 10), most), None);
        assert_eq!(due_of(&after(512 << 10, 448 << 10, 448 << 10), most), Some(960 << 10));
    }

    #[test]
    fn a_stream_that_is_read_at_once_gets_more_up_to_the_most() {
        assert_eq!(due_of(&after(1_000, 750, 750), 4_000), Some(1_750));
        assert_eq!(due_of(&after(1_000, 750, 750), 1_500), Some(1_250));
        assert_eq!(due_of(&after(1_000, 760, 750), 4_000), Some(750), "something is unread");
    }

    #[test]
    fn what_fits_anyway_needs_no_update() {
        let mut stream = after(1_000, 800, 800);
        stream.remaining = Some(200);
        assert_eq!(due_of(&stream, 4_000), None);
        stream.remaining = Some(201);
        assert_eq!(due_of(&stream, 1_000), Some(800));
    }

    /// The frame of `n` bytes of DATA arrives.
    fn arrives(core: &mut Core, id: u32, n: u32) {
        core.overhead = 1 << 16; // small frames are another matter
        let head = FrameHead { length: n, kind: kind::DATA, flags: 0, stream: id };
        let (place, _) = core.begin_data(head, n as usize).expect("within the windows").expect("it is read");
        core.streams[place].push(Bytes::from(vec![0; n as usize]), 0);
    }

    #[test]
    fn a_stream_has_no_more_ahead_than_others_while_much_is_unread() {
        for (unread, window) in [(200, 4_000), (400, 1_000)] {
            let settings = Settings {
                stream_window: 1_000,
                stream_window_most: 4_000,
                connection_window: 1_200,
                ..Settings::default()
            };
            let mut core = Core::new(Role::Server, settings);
            let (stuck, read) = (core.open(1), core.open(3));
            core.streams[stuck].recv = Side::Body;
            core.streams[read].recv = Side::Body;
            arrives(&mut core, 1, unread);
            for _ in 0..20 {
                arrives(&mut core, 3, 400);
                core.streams[read].pop();
                core.give_back_of(read, 400);
            }
            let stream = &core.streams[read];
            assert_eq!(stream.recv_window + i64::from(stream.freed), window, "{unread} unread");
        }
    }

    proptest! {
        /// Whatever of some streams is read, and whatever of others never is: the peer may send again what was read.
        #[test]
        fn what_was_read_is_given_back_before_the_connection_has_nothing_left(
            steps in prop::collection::vec((0_usize..4, 0_u32..2_000, any::<bool>()), 1..200),
        ) {
            let settings = Settings {
                stream_window: 3_000,
                stream_window_most: 6_000,
                connection_window: 8_000,
                ..Settings::default()
            };
            let mut core = Core::new(Role::Server, settings);
            let places: Vec<usize> = (0..4).map(|n| core.open(2 * n + 1)).collect();
            for &place in &places {
                core.streams[place].recv = Side::Body;
            }
            for (which, n, reads) in steps {
                let place = places[which];
                let n = i64::from(n).min(core.recv_window).min(core.streams[place].recv_window) as u32;
                if n > 0 {
                    let id = core.streams[place].id;
                    arrives(&mut core, id, n);
                }
                if reads && let Some(piece) = core.streams[place].pop() {
                    core.give_back_of(place, piece.len() as u32);
                }
                let unread: u32 = places.iter().map(|&place| core.streams[place].unread).sum();
                let (left, freed) = (core.recv_window, i64::from(core.freed));
                prop_assert_eq!(left + freed + i64::from(unread), 8_000);
                prop_assert!(freed == 0 || left > 0, "{} bytes are withheld", freed);
            }
        }
    }
}
