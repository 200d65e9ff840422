//! HTTP/2 with prior knowledge as a gRPC caller speaks it (RFC 9113): streams of one connection, and their windows.

use crate::encoder::{Encoder, Head};
use crate::hpack;
use crate::outbox::Outbox;
use crate::tally::{Ended, Fault};
use crate::varied::Numbers;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;
/// The largest frame payload that we permit, and that we send: the default (RFC 9113, 4.2).
const MAX_FRAME_BYTES: usize = 16_384;
const MAX_BLOCK_BYTES: usize = 64 * 1024;
const DEFAULT_WINDOW: u32 = 65_535;
/// What an answer may send before we say more: wide, as what is measured is the proxy's flow control.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// No more body is queued above this: bodies wait in the request, not in frames.
const MAX_QUEUED_BYTES: usize = 256 * 1024;
/// Then another connection: stream ids end at 2^31.
const LAST_STREAM: u32 = 1 << 30;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PUSH_PROMISE: u8 = 0x5;
const PING: u8 = 0x6;
const GOAWAY: u8 = 0x7;
const WINDOW_UPDATE: u8 = 0x8;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const ACK: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

const HEADER_TABLE_SIZE: u16 = 0x1;
const ENABLE_PUSH: u16 = 0x2;
const MAX_CONCURRENT_STREAMS: u16 = 0x3;
const INITIAL_WINDOW_SIZE: u16 = 0x4;

const CANCEL: u32 = 0x8;

/// A request as every stream sends it, but for what varies.
pub(crate) struct Template {
    head: Head,
    numbers: Numbers,
    pub(crate) body: Vec<u8>,
}

impl Template {
    pub(crate) fn new(path: &str, host: &str, headers: &[(String, String)], body: Vec<u8>) -> Template {
        let mut fields =
            vec![(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", host)];
        fields.extend(headers.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        Template { head: Head::new(&fields), numbers: Numbers::default(), body }
    }
}

struct Stream {
    id: u32,
    due: u64,
    sent: usize,
    /// What the peer still takes of the body; its settings may make it negative.
    window: i64,
    status: Option<u16>,
    grpc_status: Option<u32>,
    body_bytes: u64,
    /// Since we last gave the stream window.
    unacknowledged: u32,
    /// The head of the answer's message: a flag and its length.
    prefix: [u8; 5],
}

pub(crate) struct Http2 {
    streams: Vec<Stream>,
    next_id: u32,
    limit: usize,
    peer_limit: usize,
    encoder: Encoder,
    encoded: Vec<u8>,
    window: i64,
    initial_window: i64,
    /// Some body waits for window, or for room in the outbox.
    stalled: bool,
    unacknowledged: u32,
    partial: Vec<u8>,
    decoder: hpack::Decoder,
    /// A block without its end: stream, whether the stream ends with it, bytes so far.
    block: Option<(u32, bool, Vec<u8>)>,
    going_away: bool,
}

impl Http2 {
    /// Greets the peer. At most `limit` streams at once, and no more than the peer permits.
    pub(crate) fn new(limit: usize, outbox: &mut Outbox) -> Http2 {
        outbox.push(PREFACE);
        let mut settings = Vec::new();
        for (id, value) in [(ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, STREAM_WINDOW)] {
            settings.extend_from_slice(&id.to_be_bytes());
            settings.extend_from_slice(&u32::to_be_bytes(value));
        }
        frame(outbox, SETTINGS, 0, 0, &settings);
        frame(outbox, WINDOW_UPDATE, 0, 0, &(CONNECTION_WINDOW - DEFAULT_WINDOW).to_be_bytes());
        Http2 {
            streams: Vec::with_capacity(limit),
            next_id: 1,
            limit,
            peer_limit: usize::MAX,
            encoder: Encoder::default(),
            encoded: Vec::new(),
            window: i64::from(DEFAULT_WINDOW),
            initial_window: i64::from(DEFAULT_WINDOW),
            stalled: false,
            unacknowledged: 0,
            partial: Vec::new(),
            decoder: hpack::Decoder::default(),
            block: None,
            going_away: false,
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        !self.going_away && self.streams.len() < self.limit.min(self.peer_limit)
    }

    pub(crate) fn under_way(&self) -> usize {
        self.streams.len()
    }

    /// No new stream will be taken here.
    pub(crate) fn is_going_away(&self) -> bool {
        self.going_away
    }

    /// When the request that has waited longest was due.
    pub(crate) fn oldest_due(&self) -> Option<u64> {
        self.streams.iter().map(|stream| stream.due).min()
    }

    /// Everything under way, when the connection is at its end.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.streams.drain(..).map(|stream| stream.due)
    }

    pub(crate) fn start(&mut self, due: u64, template: &Template, outbox: &mut Outbox) {
        let id = self.next_id;
        self.next_id += 2;
        self.going_away |= self.next_id >= LAST_STREAM;
        let flags = if template.body.is_empty() { END_HEADERS | END_STREAM } else { END_HEADERS };
        self.encoded.clear();
        self.encoder.write(&template.head, &template.numbers, &mut self.encoded);
        frame(outbox, HEADERS, flags, id, &self.encoded);
        self.streams.push(Stream {
            id,
            due,
            sent: 0,
            window: self.initial_window,
            status: None,
            grpc_status: None,
            body_bytes: 0,
            unacknowledged: 0,
            prefix: [0; 5],
        });
        let last = self.streams.len() - 1;
        while !self.stalled && self.send_frame(last, template, outbox) {}
    }

    /// What the windows and the outbox let through of bodies not sent yet, a frame of each in turn.
    pub(crate) fn send_bodies(&mut self, template: &Template, outbox: &mut Outbox) {
        if !self.stalled {
            return;
        }
        self.stalled = false;
        let mut any = true;
        while any {
            any = false;
            for at in 0..self.streams.len() {
                any |= self.send_frame(at, template, outbox);
            }
        }
    }

    /// One frame of a stream's body; false if there is none to send, or if it has to wait.
    fn send_frame(&mut self, at: usize, template: &Template, outbox: &mut Outbox) -> bool {
        let stream = &mut self.streams[at];
        let missing = template.body.len() - stream.sent;
        if missing == 0 {
            return false;
        }
        let window = usize::try_from(self.window.min(stream.window)).unwrap_or(0);
        let length = missing.min(window).min(MAX_FRAME_BYTES);
        if length == 0 || outbox.len() > MAX_QUEUED_BYTES {
            self.stalled = true;
            return false;
        }
        let flags = if length == missing { END_STREAM } else { 0 };
        frame_head(outbox, length, DATA, flags, stream.id);
        outbox.push_shared(stream.sent, stream.sent + length);
        stream.sent += length;
        stream.window -= length as i64;
        self.window -= length as i64;
        true
    }

    /// Takes what arrived, answers the protocol's own questions, and tells which requests came to an end. A fault
    /// is the connection's: it is of no more use.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        template: &Template,
        outbox: &mut Outbox,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Fault> {
        let mut taken = Taken { template, outbox, ended };
        if self.partial.is_empty() {
            let rest = self.take_frames(bytes, &mut taken)?;
            self.partial.extend_from_slice(rest);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let rest = self.take_frames(&whole, &mut taken)?.len();
            whole.drain(..whole.len() - rest);
            self.partial = whole;
        }
        self.send_bodies(template, taken.outbox);
        Ok(())
    }

    /// The bytes behind the last whole frame.
    fn take_frames<'a>(&mut self, mut bytes: &'a [u8], taken: &mut Taken<'_>) -> Result<&'a [u8], Fault> {
        while let Some((head, behind)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() {
            let [a, b, c, kind, flags, d, e, f, g] = *head;
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > MAX_FRAME_BYTES {
                return Err(Fault::Body);
            }
            let Some((payload, after)) = behind.split_at_checked(length) else { break };
            let id = u32::from_be_bytes([d & 0x7f, e, f, g]);
            self.take_frame(kind, flags, id, payload, taken)?;
            bytes = after;
        }
        Ok(bytes)
    }

    fn take_frame(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        payload: &[u8],
        taken: &mut Taken<'_>,
    ) -> Result<(), Fault> {
        if self.block.is_some() != (kind == CONTINUATION) {
            return Err(Fault::Body);
        }
        match kind {
            DATA => self.data(flags, id, payload, taken),
            HEADERS => {
                let mut block = unpadded(flags, payload)?;
                if flags & PRIORITY != 0 {
                    block = block.get(5..).ok_or(Fault::Body)?;
                }
                let ends = flags & END_STREAM != 0;
                if flags & END_HEADERS != 0 {
                    return self.fields(id, ends, block, taken);
                }
                self.block = Some((id, ends, block.to_vec()));
                Ok(())
            }
            CONTINUATION => {
                let (first, ends, mut block) = self.block.take().ok_or(Fault::Body)?;
                block.extend_from_slice(payload);
                if first != id || block.len() > MAX_BLOCK_BYTES {
                    return Err(Fault::Body);
                }
                if flags & END_HEADERS != 0 {
                    return self.fields(id, ends, &block, taken);
                }
                self.block = Some((id, ends, block));
                Ok(())
            }
            RST_STREAM => {
                self.end(id, Some(Fault::Closed), taken);
                Ok(())
            }
            SETTINGS if flags & ACK == 0 => {
                frame(taken.outbox, SETTINGS, ACK, 0, &[]);
                self.settings(payload)
            }
            PING if flags & ACK == 0 => {
                frame(taken.outbox, PING, ACK, 0, payload);
                Ok(())
            }
            GOAWAY => {
                self.going_away = true;
                let last = word(payload)? & 0x7fff_ffff;
                let refused: Vec<u32> =
                    self.streams.iter().map(|stream| stream.id).filter(|id| *id > last).collect();
                refused.into_iter().for_each(|id| self.end(id, Some(Fault::Closed), taken));
                Ok(())
            }
            WINDOW_UPDATE => {
                let more = i64::from(word(payload)? & 0x7fff_ffff);
                if id == 0 {
                    self.window += more;
                } else if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) {
                    stream.window += more;
                }
                Ok(())
            }
            PUSH_PROMISE => Err(Fault::Body),
            _ => Ok(()),
        }
    }

    fn settings(&mut self, payload: &[u8]) -> Result<(), Fault> {
        for setting in payload.chunks(6) {
            let &[a, b, c, d, e, f] = setting else { return Err(Fault::Body) };
            let value = u32::from_be_bytes([c, d, e, f]);
            match u16::from_be_bytes([a, b]) {
                HEADER_TABLE_SIZE => self.encoder.limit(value as usize),
                MAX_CONCURRENT_STREAMS => self.peer_limit = value as usize,
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.initial_window;
                    self.initial_window += change;
                    self.streams.iter_mut().for_each(|stream| stream.window += change);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn data(&mut self, flags: u8, id: u32, payload: &[u8], taken: &mut Taken<'_>) -> Result<(), Fault> {
        // Padding counts for the windows (RFC 9113, 6.1).
        let length = u32::try_from(payload.len()).map_err(|_| Fault::Body)?;
        self.unacknowledged += length;
        if self.unacknowledged > CONNECTION_WINDOW / 2 {
            frame(taken.outbox, WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
            self.unacknowledged = 0;
        }
        let body = unpadded(flags, payload)?;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return Ok(()) };
        stream.unacknowledged += length;
        if stream.unacknowledged > STREAM_WINDOW / 2 && flags & END_STREAM == 0 {
            frame(taken.outbox, WINDOW_UPDATE, 0, id, &stream.unacknowledged.to_be_bytes());
            stream.unacknowledged = 0;
        }
        if let Ok(at) = usize::try_from(stream.body_bytes)
            && at < stream.prefix.len()
        {
            stream.prefix[at..].iter_mut().zip(body).for_each(|(to, from)| *to = *from);
        }
        stream.body_bytes += body.len() as u64;
        if flags & END_STREAM != 0 {
            self.end(id, None, taken);
        }
        Ok(())
    }

    fn fields(&mut self, id: u32, ends: bool, block: &[u8], taken: &mut Taken<'_>) -> Result<(), Fault> {
        let fields = self.decoder.read(block).map_err(|hpack::Malformed| Fault::Body)?;
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == id) else { return Ok(()) };
        // Interim answers come before the one.
        stream.status = fields.status.or(stream.status);
        stream.grpc_status = fields.grpc_status.or(stream.grpc_status);
        if ends {
            self.end(id, None, taken);
        }
        Ok(())
    }

    /// The answer's end, or the stream's by `fault`; a stream that is no more is none.
    fn end(&mut self, id: u32, fault: Option<Fault>, taken: &mut Taken<'_>) {
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else { return };
        let stream = self.streams.swap_remove(at);
        if fault.is_none() && stream.sent < taken.template.body.len() {
            frame(taken.outbox, RST_STREAM, 0, id, &CANCEL.to_be_bytes());
        }
        taken.ended.push(Ended {
            due: stream.due,
            fault: fault.or_else(|| stream.fault()),
            status: stream.status,
            grpc_status: stream.grpc_status,
            body_bytes: stream.body_bytes,
        });
    }
}

impl Stream {
    /// What is wrong with an answer that has ended.
    fn fault(&self) -> Option<Fault> {
        let [_, length @ ..] = self.prefix;
        if self.status != Some(200) {
            Some(Fault::Status)
        } else if self.grpc_status != Some(0) {
            Some(Fault::GrpcStatus)
        } else if self.body_bytes != u64::from(u32::from_be_bytes(length)) + self.prefix.len() as u64 {
            Some(Fault::Body)
        } else {
            None
        }
    }
}

/// What handling a frame may touch besides the connection's state.
struct Taken<'a> {
    template: &'a Template,
    outbox: &'a mut Outbox,
    ended: &'a mut Vec<Ended>,
}

fn word(payload: &[u8]) -> Result<u32, Fault> {
    payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or(Fault::Body)
}

fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], Fault> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(Fault::Body)?;
    rest.len().checked_sub(usize::from(padding)).and_then(|length| rest.get(..length)).ok_or(Fault::Body)
}

fn frame(outbox: &mut Outbox, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    frame_head(outbox, payload.len(), kind, flags, id);
    outbox.push(payload);
}

fn frame_head(outbox: &mut Outbox, length: usize, kind: u8, flags: u8, id: u32) {
    let [_, a, b, c] = (length as u32).to_be_bytes();
    let [d, e, f, g] = id.to_be_bytes();
    outbox.push(&[a, b, c, kind, flags, d, e, f, g]);
}
