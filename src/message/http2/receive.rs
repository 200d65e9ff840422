//! Frames that arrive: what each does to its stream and to the connection (RFC 9113 sections 5, 6 and 8).
//!
//! Laws: what breaks the protocol ends the stream where that is enough, else the connection; what costs the peer little
//! and us much is counted. What becomes of header blocks stands in `blocks`, of DATA in `data`.

use bytes::{Buf as _, BytesMut};

use super::core::{Core, LEAVING, Leaving, Partial, Role};
use super::error::{By, Error};
use super::frame::{self, FrameHead, HEAD_BYTES, Reason, Violation, flag, kind, setting};
use super::stream::{Side, Stream};

/// Frames of one turn of the connection's task: a socket that is never empty would keep the worker from everybody else.
pub(super) const FRAMES_A_TURN: u32 = 512;
/// SETTINGS count for so many: a new window size is work for each stream.
const SETTINGS_COUNT: u32 = 16;

pub(super) const fn broken(reason: Reason) -> Error {
    Error::GoAway(reason, By::Engine)
}

pub(super) const PROTOCOL: Error = broken(Reason::PROTOCOL_ERROR);
pub(super) const CALM: Error = broken(Reason::ENHANCE_YOUR_CALM);

impl Core {
    /// Takes what is whole of `bytes`, and of DATA what is there.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub(super) fn receive(&mut self, bytes: &mut BytesMut) -> Result<(), Error> {
        loop {
            if let Some(partial) = self.partial {
                if !self.more_data(partial, bytes) {
                    return Ok(());
                }
                continue;
            }
            self.half_a_head = false;
            if self.frames >= FRAMES_A_TURN {
                return Ok(());
            }
            let Some(first) = bytes.first_chunk::<HEAD_BYTES>() else { return Ok(()) };
            let head = FrameHead::parse(first);
            self.may_come(head)?;
            let whole = HEAD_BYTES + head.length as usize;
            if bytes.len() < whole {
                if head.kind == kind::DATA && !head.has(flag::PADDED) && head.stream != 0 {
                    self.count(head);
                    bytes.advance(HEAD_BYTES);
                    let left = head.length as usize;
                    let stream = self.begin_data(head, left)?;
                    self.partial = Some(Partial { stream, left, end_stream: head.has(flag::END_STREAM) });
                    continue;
                }
                self.half_a_head = matches!(head.kind, kind::HEADERS | kind::CONTINUATION);
                return Ok(());
            }
            self.count(head);
            if head.kind == kind::DATA {
                self.whole_data(head, bytes)?;
                continue;
            }
            let done = self.take(head, &bytes[HEAD_BYTES..whole]);
            bytes.advance(whole);
            done?;
        }
    }

    fn count(&mut self, head: FrameHead) {
        self.frames += if head.kind == kind::SETTINGS { SETTINGS_COUNT } else { 1 };
        if let Some(tallies) = &self.tallies {
            tallies.received(head.stream, HEAD_BYTES + head.length as usize);
        }
    }

    /// Whether such a frame may come now, whatever is in it.
    fn may_come(&mut self, head: FrameHead) -> Result<(), Error> {
        if head.length > frame::DEFAULT_MAX_FRAME_SIZE {
            return Err(broken(Reason::FRAME_SIZE_ERROR));
        }
        let goes_on = self.block.is_some();
        if goes_on != (head.kind == kind::CONTINUATION) {
            return Err(PROTOCOL);
        }
        // RFC 9113 section 3.4: SETTINGS are the first frame.
        if !self.has_begun && (head.kind != kind::SETTINGS || head.has(flag::ACK)) {
            return Err(PROTOCOL);
        }
        Ok(())
    }

    fn take(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        match head.kind {
            kind::HEADERS => self.headers(head, payload),
            kind::CONTINUATION => self.continuation(head, payload),
            kind::RST_STREAM => {
                let reason = self.judged(head.stream, frame::rst_stream(head, payload))?;
                reason.map_or(Ok(()), |reason| self.rst_stream(head.stream, reason))
            }
            kind::WINDOW_UPDATE => {
                let by = self.judged(head.stream, frame::window_update(head, payload))?;
                by.map_or(Ok(()), |by| self.window_update(head.stream, by))
            }
            kind::PING => {
                let bytes = self.judged(0, frame::ping(head, payload))?.unwrap_or_default();
                if !head.has(flag::ACK) {
                    self.answer(|out| frame::put_ping(out, flag::ACK, bytes));
                } else if bytes == LEAVING && self.leaving == Leaving::Told {
                    self.settle_leaving();
                }
                Ok(())
            }
            kind::SETTINGS => self.settings(head, payload),
            kind::GOAWAY => self.goaway(head, payload),
            kind::PRIORITY => match frame::priority(head, payload) {
                // RFC 9113 section 6.4: a stream that has not begun cannot be reset, and one that has ended need not be.
                Err(Violation::Stream(..)) if self.is_idle(head.stream) => Err(PROTOCOL),
                Err(Violation::Stream(..)) if self.streams.find(head.stream).is_none() => Ok(()),
                priority => self.judged(head.stream, priority).map(drop),
            },
            // Never allowed by us: a client has switched it off, and a server gets none (RFC 9113 section 8.4).
            kind::PUSH_PROMISE => Err(PROTOCOL),
            _ => Ok(()), // RFC 9113 section 5.5
        }
    }

    /// What a frame says; `None`: its stream was reset for it.
    pub(super) fn judged<T>(&mut self, stream: u32, frame: Result<T, Violation>) -> Result<Option<T>, Error> {
        match frame {
            Ok(said) => Ok(Some(said)),
            Err(Violation::Connection(reason, _)) => Err(broken(reason)),
            Err(Violation::Stream(reason, _)) => self.blame(stream, reason).map(|()| None),
        }
    }

    /// Whether the stream has never been there.
    pub(super) fn is_idle(&self, stream: u32) -> bool {
        match self.role {
            Role::Server => stream.is_multiple_of(2) || stream > self.newest,
            Role::Client => stream.is_multiple_of(2) || stream >= self.newest,
        }
    }

    fn rst_stream(&mut self, id: u32, reason: Reason) -> Result<(), Error> {
        let Some(place) = self.streams.find(id) else {
            let ignored = !self.is_idle(id) || id > self.accepted_up_to;
            return if ignored { Ok(()) } else { Err(PROTOCOL) };
        };
        let stream = &mut self.streams[place];
        if stream.to_accept && !stream.is_closed() {
            self.unseen_resets += 1;
            if self.unseen_resets > self.settings.unseen_resets {
                return Err(CALM);
            }
        }
        stream.cut(Error::Reset(reason, By::Remote));
        self.settle(place);
        Ok(())
    }

    fn window_update(&mut self, id: u32, by: u32) -> Result<(), Error> {
        let most = i64::from(frame::MOST_WINDOW);
        if id == 0 {
            self.send_window += i64::from(by);
            if self.send_window > most {
                return Err(broken(Reason::FLOW_CONTROL_ERROR));
            }
            self.grant();
            return Ok(());
        }
        let Some(place) = self.streams.find(id) else {
            let ignored = !self.is_idle(id) || id > self.accepted_up_to;
            return if ignored { Ok(()) } else { Err(PROTOCOL) };
        };
        let stream = &mut self.streams[place];
        if stream.send.is_over() {
            return Ok(());
        }
        stream.send_window += i64::from(by);
        if stream.send_window > most {
            stream.send_window = most;
            return self.blame(id, Reason::FLOW_CONTROL_ERROR);
        }
        if stream.send_window > 0 && !stream.waits && stream.send == Side::Body {
            stream.wake_writer();
        }
        Ok(())
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let values = match frame::settings(head, payload) {
            Ok(frame::Settings::Values(values)) => values,
            Ok(frame::Settings::Ack) => {
                self.unacknowledged = self.unacknowledged.checked_sub(1).ok_or(PROTOCOL)?;
                return Ok(());
            }
            Err(Violation::Connection(reason, _) | Violation::Stream(reason, _)) => {
                return Err(broken(reason));
            }
        };
        let mut window = None;
        for (id, value) in values {
            match id {
                setting::HEADER_TABLE_SIZE => self.encoder.set_max_table_size(value),
                setting::MAX_CONCURRENT_STREAMS => self.peer.max_streams = Some(value),
                setting::INITIAL_WINDOW_SIZE => window = Some(value),
                setting::MAX_FRAME_SIZE => self.peer.max_frame = value,
                _ => {} // RFC 9113 section 6.5.2
            }
        }
        self.has_begun = true;
        self.peer.max_streams.get_or_insert(u32::MAX);
        self.answer(frame::put_settings_ack);
        window.map_or(Ok(()), |window| self.resize(window))
    }

    /// RFC 9113 section 6.9.2: a new size is for the streams that are open, too, and may make a window negative.
    fn resize(&mut self, window: u32) -> Result<(), Error> {
        let by = i64::from(window) - i64::from(self.peer.window);
        self.peer.window = window;
        if by == 0 {
            return Ok(());
        }
        for (_, stream) in self.streams.iter_mut().filter(|(_, stream)| !stream.send.is_over()) {
            stream.send_window += by;
            if stream.send_window > i64::from(frame::MOST_WINDOW) {
                return Err(broken(Reason::FLOW_CONTROL_ERROR));
            }
            if by > 0 && stream.send_window > 0 && !stream.waits && stream.send == Side::Body {
                stream.wake_writer();
            }
        }
        Ok(())
    }

    fn goaway(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(goaway) = self.judged(0, frame::goaway(head, payload))? else { return Ok(()) };
        // RFC 9113 section 6.8: the last stream never grows.
        if self.goodbye.is_some_and(|before| goaway.last_stream > before.last_stream) {
            return Err(PROTOCOL);
        }
        self.goodbye = Some(goaway);
        if self.role == Role::Client {
            let above = |(place, stream): (usize, &mut Stream)| {
                (stream.id > goaway.last_stream && !stream.is_closed()).then_some(place)
            };
            let unserved: Vec<usize> = self.streams.iter_mut().filter_map(above).collect();
            for place in unserved {
                self.streams[place].cut(Error::GoAway(goaway.reason, By::Remote));
                self.settle(place);
            }
        }
        Ok(())
    }
}
