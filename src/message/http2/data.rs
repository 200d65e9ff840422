//! DATA that arrives: accounted for, and handed to its stream (RFC 9113 sections 6.1 and 6.9).
//!
//! Laws: all of a frame counts against both windows, whoever wants it. Pieces are handed on as they arrive, large ones
//! without a copy, unless nobody reads them; what small frames cost beside their bytes is bounded for the connection.

use bytes::{Buf as _, Bytes, BytesMut};

use super::core::{Core, Partial};
use super::error::Error;
use super::frame::{self, FrameHead, HEAD_BYTES, Reason, flag};
use super::receive::{CALM, PROTOCOL, broken};
use super::stream::{Side, Stream};
use crate::message::slices::SLICE;

/// Less than this of a frame waits for more of it, as long as there will be more.
const WAITED: usize = 4 << 10;
/// A DATA frame that says so little costs more than it brings.
const SMALL_DATA: usize = 256;
/// DATA frames without data and end, on a connection.
const EMPTY_DATA_MAX: u32 = 100;

impl Core {
    /// A DATA frame that is there to its last byte.
    pub(super) fn whole_data(&mut self, head: FrameHead, bytes: &mut BytesMut) -> Result<(), Error> {
        let whole = HEAD_BYTES + head.length as usize;
        let Some(data) = self.judged(head.stream, frame::data(head, &bytes[HEAD_BYTES..whole]))? else {
            bytes.advance(whole);
            return Ok(());
        };
        let place = self.begin_data(head, data.len())?;
        let (start, end) = (HEAD_BYTES + data.start, HEAD_BYTES + data.end);
        match place {
            Some((place, _)) => {
                // A small one is copied, so that it keeps nothing alive.
                let piece = if data.len() < SLICE {
                    let piece = Bytes::copy_from_slice(&bytes[start..end]);
                    bytes.advance(whole);
                    piece
                } else {
                    bytes.advance(start);
                    let piece = bytes.split_to(data.len()).freeze();
                    bytes.advance(whole - end);
                    piece
                };
                self.deliver(place, piece, head.has(flag::END_STREAM));
            }
            None => bytes.advance(whole),
        }
        Ok(())
    }

    /// What has arrived of a DATA frame that is not whole; whether that was all that it needs.
    pub(super) fn more_data(&mut self, mut partial: Partial, bytes: &mut BytesMut) -> bool {
        let n = partial.left.min(bytes.len());
        if n < partial.left && n < WAITED {
            return false;
        }
        partial.left -= n;
        let ends = partial.end_stream && partial.left == 0;
        self.partial = (partial.left > 0).then_some(partial);
        let wanted = partial.stream.filter(|&(place, id)| {
            self.streams.get(place, id).is_some_and(|stream| stream.recv == Side::Body && stream.read)
        });
        let piece = if n < SLICE {
            let piece = Bytes::copy_from_slice(&bytes[..n]);
            bytes.advance(n);
            piece
        } else {
            bytes.split_to(n).freeze()
        };
        match (wanted, partial.stream) {
            (Some((place, _)), _) => self.deliver(place, piece, ends),
            // Nobody reads it any more; what nobody wanted from the beginning was given back then.
            (None, Some((place, id))) => {
                self.give_back(n as u32);
                if ends && self.streams.get(place, id).is_some_and(|stream| stream.recv == Side::Body) {
                    self.end_of_data(place);
                }
            }
            (None, None) => {}
        }
        true
    }

    /// Accounts for a DATA frame; its stream, if somebody reads it.
    pub(super) fn begin_data(&mut self, head: FrameHead, data: usize) -> Result<Option<(usize, u32)>, Error> {
        let (id, all) = (head.stream, head.length);
        let place = self.streams.find(id);
        if place.is_none() && self.is_idle(id) && id <= self.accepted_up_to {
            return Err(PROTOCOL);
        }
        if self.recv_window < i64::from(all) {
            return Err(broken(Reason::FLOW_CONTROL_ERROR));
        }
        self.take_from_window(all);
        let Some(place) = place else {
            self.give_back(all);
            let cost = all.max(SMALL_DATA as u32);
            let ignored =
                id > self.accepted_up_to || self.streams.ignores(id, cost, head.has(flag::END_STREAM));
            return if ignored { Ok(None) } else { self.blame(id, Reason::STREAM_CLOSED).map(|()| None) };
        };
        let stream = &mut self.streams[place];
        if stream.is_cut_here() {
            self.give_back(all);
            return Ok(None);
        }
        if stream.recv != Side::Body {
            return Err(PROTOCOL);
        }
        let ends = head.has(flag::END_STREAM);
        if let Err(reason) = accounted(stream, all, data as u64, ends) {
            self.give_back(all);
            return self.blame(id, reason).map(|()| None);
        }
        if !ends && stream.read {
            self.charge(place, data)?;
        }
        let stream = &mut self.streams[place];
        stream.recv_window -= i64::from(all);
        if !stream.read {
            self.give_back(all);
            if ends {
                self.end_of_data(place);
            }
            return Ok(None);
        }
        let padding = all - data as u32;
        if padding > 0 {
            self.give_back_of(place, padding);
        }
        Ok(Some((place, id)))
    }

    /// What a frame costs beside its bytes, while it is not read.
    fn charge(&mut self, place: usize, data: usize) -> Result<(), Error> {
        let stream = &mut self.streams[place];
        if data == 0 && !std::mem::replace(&mut stream.had_empty_data, true) {
            return Ok(()); // some send one before their trailers
        }
        if data == 0 {
            self.empty_data += 1;
            return if self.empty_data > EMPTY_DATA_MAX { Err(CALM) } else { Ok(()) };
        }
        if data >= SMALL_DATA {
            self.allow((data - SMALL_DATA) as u32);
            return Ok(());
        }
        let cost = SMALL_DATA - data;
        self.overhead = self.overhead.checked_sub(cost).ok_or(CALM)?;
        self.streams[place].overhead += cost as u32;
        Ok(())
    }

    /// A piece of a body, perhaps its last.
    fn deliver(&mut self, place: usize, piece: Bytes, ends: bool) {
        let (turn, stream) = (self.turn, &mut self.streams[place]);
        if !piece.is_empty() {
            stream.push(piece, turn);
        } else if !ends {
            return;
        }
        if ends {
            return self.end_of_data(place);
        }
        stream.wake_reader();
    }

    fn end_of_data(&mut self, place: usize) {
        let stream = &mut self.streams[place];
        stream.recv = Side::Ended;
        stream.wake_reader();
        self.settle(place);
    }
}

/// Whether the windows and the length that was told allow a frame (RFC 9113 sections 6.9.1 and 8.1.1).
fn accounted(stream: &mut Stream, all: u32, data: u64, ends: bool) -> Result<(), Reason> {
    if stream.recv_window < i64::from(all) {
        return Err(Reason::FLOW_CONTROL_ERROR);
    }
    if let Some(remaining) = &mut stream.remaining {
        *remaining = remaining.checked_sub(data).ok_or(Reason::PROTOCOL_ERROR)?;
        if ends && *remaining > 0 {
            return Err(Reason::PROTOCOL_ERROR);
        }
    }
    Ok(())
}
