//! Header blocks that arrive: the heads of requests and answers, and trailers (RFC 9113 sections 6.2, 6.10 and 8.1).
//!
//! Laws: a block is always read, so that the table stays in step, whoever wants it. What its head says is bounded before
//! it is read, and a stream is there only once its head is.

use http::{HeaderMap, StatusCode};

use super::core::{Block, Core, Role};
use super::error::Error;
use super::frame::{self, FrameHead, Reason, Violation, flag};
use super::head::{Fault, RequestHead, ResponseHead};
use super::receive::{CALM, PROTOCOL, broken};
use super::stream::{Head, Side};

/// What is wrong with a request whose `content-length` is no number, and that is read all the same.
const EMPTY_LENGTH: &str = "http2.unexpected_content_length";
/// CONTINUATION frames of one block, where our own bound asks for fewer.
const CONTINUATIONS_MIN: usize = 5;

impl Core {
    /// HEADERS, with a block or the beginning of one.
    pub(super) fn headers(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
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

    /// CONTINUATION of a block.
    pub(super) fn continuation(&mut self, head: FrameHead, payload: &[u8]) -> Result<(), Error> {
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
        if self.open >= self.settings.max_streams {
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
            encoder.response(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &HeaderMap::new(), out);
        });
        self.answers += (self.out.len() - before) as u32;
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
}
