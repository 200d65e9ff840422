//! Frames that arrive: what each does to its stream and to the connection (RFC 9113 sections 5, 6 and 8).
//!
//! Laws: what breaks the protocol ends the stream where that is enough, else the connection; what costs the peer little
//! and us much is counted. A block is always read, so that the table stays in step. DATA is handed on as it arrives, large
//! pieces without a copy.

use bytes::{Buf as _, BytesMut};
use http::StatusCode;

use super::core::{Block, Core, LEAVING, Leaving, Partial, Role};
use super::error::{By, Error};
use super::frame::{self, FrameHead, HEAD_BYTES, Reason, Violation, flag, kind, setting};
use super::head::{Fault, RequestHead, ResponseHead};
use super::stream::{Head, Side, Stream};

/// Frames of one turn of the connection's task: a socket that is never empty would keep the worker from everybody else.
pub(super) const FRAMES_A_TURN: u32 = 512;
/// SETTINGS count for so many: a new window size is work for each stream.
const SETTINGS_COUNT: u32 = 16;
/// What is wrong with a request whose `content-length` is no number, and that is read all the same.
const EMPTY_LENGTH: &str = "http2.unexpected_content_length";
/// CONTINUATION frames of one block, where our own bound asks for fewer.
const CONTINUATIONS_MIN: usize = 5;

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

    // --- header blocks ---

    fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(headers) = self.judged(head.stream, frame::headers(head, payload))? else { return Ok(()) };
        let block = Block {
            stream: head.stream,
            end_stream: head.has(flag::END_STREAM),
            depends_on_itself: headers.depends_on_itself,
            bytes: Vec::new(),
            continuations: 0,
        };
        let fragment = &payload[headers.fragment];
        if head.has(flag::END_HEADERS) {
            return self.whole_block(&block, fragment);
        }
        self.block = Some(Block { bytes: fragment.to_vec(), ..block });
        Ok(())
    }

    fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
        let Some(mut block) = self.block.take() else { return Err(PROTOCOL) };
        if block.stream != head.stream {
            return Err(PROTOCOL);
        }
        // A list beyond the bound is answered, one far beyond it is not read.
        let most = 2 * self.settings.max_header_list as usize + frame::DEFAULT_MAX_FRAME_SIZE as usize;
        let frames = self.settings.max_header_list as usize / frame::DEFAULT_MAX_FRAME_SIZE as usize;
        if block.bytes.len() + payload.len() > most {
            return Err(CALM);
        }
        block.bytes.extend_from_slice(payload);
        if head.has(flag::END_HEADERS) {
            let bytes = std::mem::take(&mut block.bytes);
            return self.whole_block(&block, &bytes);
        }
        block.continuations += 1;
        if block.continuations as usize > (frames * 2).max(CONTINUATIONS_MIN) {
            return Err(CALM);
        }
        self.block = Some(block);
        Ok(())
    }

    fn whole_block(&mut self, block: &Block, bytes: &[u8]) -> Result<(), Error> {
        self.heads += 1;
        let place = self.streams.find(block.stream);
        let cut_here = match place {
            Some(place) => self.streams[place].is_cut_here(),
            None if self.is_idle(block.stream) => false,
            None => self.streams.ignores(block.stream, bytes.len() as u32, block.end_stream),
        };
        if cut_here || block.stream > self.accepted_up_to {
            return self.pass_over(bytes);
        }
        match (self.role, place) {
            (Role::Server, Some(place)) => self.trailers(block, bytes, place),
            (Role::Client, Some(place)) if self.streams[place].recv == Side::Head => {
                self.response(block, bytes, place)
            }
            (Role::Client, Some(place)) => self.trailers(block, bytes, place),
            (Role::Server, None) => self.request(block, bytes),
            (Role::Client, None) if self.is_idle(block.stream) => Err(PROTOCOL),
            (Role::Client, None) => {
                self.pass_over(bytes)?;
                self.blame(block.stream, Reason::STREAM_CLOSED)
            }
        }
    }

    /// Reads a block that nobody wants.
    fn pass_over(&mut self, bytes: &[u8]) -> Result<(), Error> {
        match self.decoder.skip(bytes, self.settings.max_header_list as usize) {
            Err(fault @ (Fault::Block(_) | Fault::Flood)) => match fault.of_response() {
                Violation::Connection(reason, _) | Violation::Stream(reason, _) => Err(broken(reason)),
            },
            _ => Ok(()),
        }
    }

    fn request(&mut self, block: &Block, bytes: &[u8]) -> Result<(), Error> {
        let id = block.stream;
        if !self.is_idle(id) || id.is_multiple_of(2) {
            return Err(PROTOCOL);
        }
        self.newest = id;
        if block.depends_on_itself {
            self.pass_over(bytes)?;
            return self.blame(id, Reason::PROTOCOL_ERROR);
        }
        if self.open >= self.settings.max_streams as usize {
            self.pass_over(bytes)?;
            self.refuse(id);
            return Ok(());
        }
        let RequestHead { mut parts, content_length, flaw } =
            match self.decoder.request(bytes, self.settings.max_header_list as usize) {
                Ok(head) => head,
                Err(Fault::TooLarge) => return self.too_large(id, block.end_stream),
                Err(fault) => return self.judged::<()>(id, Err(fault.of_request())).map(drop),
            };
        if block.end_stream && content_length.is_some_and(|length| length > 0) {
            return self.blame(id, Reason::PROTOCOL_ERROR);
        }
        // A length that is empty allows no byte.
        let content_length = content_length.or(flaw.filter(|flaw| *flaw == EMPTY_LENGTH).map(|_| 0));
        if let Some(flaw) = flaw {
            parts.extensions.insert(super::Flaw(flaw));
        }
        self.processed = id;
        let place = self.open(id);
        let stream = &mut self.streams[place];
        stream.recv = if block.end_stream { Side::Ended } else { Side::Body };
        stream.remaining = content_length;
        stream.head = Head::Request(parts);
        stream.to_accept = true;
        stream.handles = 1; // the queue's
        self.to_accept.push_back(place);
        Ok(())
    }

    /// A head beyond the bound is answered before it becomes a request (RFC 9113 section 10.5.1).
    fn too_large(&mut self, id: u32, end_stream: bool) -> Result<(), Error> {
        self.processed = id;
        let before = self.out.len();
        self.put_headers(id, true, |encoder, out| {
            encoder.response(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &http::HeaderMap::new(), out);
        });
        self.answers += self.out.len() - before;
        if end_stream { Ok(()) } else { self.blame(id, Reason::PROTOCOL_ERROR) }
    }

    fn response(&mut self, block: &Block, bytes: &[u8], place: usize) -> Result<(), Error> {
        let id = block.stream;
        let ResponseHead { parts, content_length } =
            match self.decoder.response(bytes, self.settings.max_header_list as usize) {
                Ok(head) => head,
                Err(fault) => return self.judged::<()>(id, Err(fault.of_response())).map(drop),
            };
        let stream = &mut self.streams[place];
        if block.depends_on_itself {
            return self.blame(id, Reason::PROTOCOL_ERROR);
        }
        if parts.status.is_informational() {
            stream.interim += 1;
            if block.end_stream {
                return self.blame(id, Reason::PROTOCOL_ERROR);
            }
            if stream.interim > self.settings.interim_answers {
                return self.blame(id, Reason::ENHANCE_YOUR_CALM);
            }
            return Ok(());
        }
        // These tell the length of a body that they do not have (RFC 9110 section 8.6).
        let bodiless =
            stream.answers_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if block.end_stream && !bodiless && content_length.is_some_and(|length| length > 0) {
            return self.blame(id, Reason::PROTOCOL_ERROR);
        }
        stream.remaining = content_length.filter(|_| !bodiless);
        stream.recv = if block.end_stream { Side::Ended } else { Side::Body };
        stream.head = Head::Response(Box::new(parts));
        stream.wake_reader();
        self.settle(place);
        self.forgive();
        Ok(())
    }

    fn trailers(&mut self, block: &Block, bytes: &[u8], place: usize) -> Result<(), Error> {
        let (id, most) = (block.stream, self.settings.max_header_list as usize);
        let trailers = match self.role {
            Role::Server => self.decoder.request_trailers(bytes, most).map_err(Fault::of_request),
            Role::Client => self.decoder.response_trailers(bytes, most).map_err(Fault::of_response),
        };
        if self.streams[place].recv != Side::Body {
            return Err(PROTOCOL);
        }
        let Some(trailers) = self.judged(id, trailers)? else { return Ok(()) };
        let stream = &mut self.streams[place];
        let cut_short = stream.remaining.is_some_and(|left| left > 0);
        if !block.end_stream || block.depends_on_itself || cut_short {
            return self.blame(id, Reason::PROTOCOL_ERROR);
        }
        stream.recv = Side::Ended;
        if stream.read {
            stream.trailers = Some(Box::new(trailers));
        }
        stream.wake_reader();
        self.settle(place);
        Ok(())
    }

    // --- the rest ---

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
