//! Heads and trailers: header blocks to requests and responses of the `http` crate, and back.
//!
//! Source: RFC 9113 sections 8.1 to 8.3. Law: whatever is wrong with a message, its block was read to the end, so that
//! the connection's table stays in step; a head that comes out is well-formed.

use http::{HeaderMap, Method, StatusCode, Uri, request, response};

use super::frame::{Reason, Violation};
use super::hpack::{Decoder, Encoder};

/// Why a block gives no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It cannot be decoded; the table is lost, and the connection with it (RFC 9113 section 4.3).
    Block(&'static str),
    /// It unfolds to more than four times the bound: the connection ends, with ENHANCE_YOUR_CALM.
    Flood,
    /// It holds something that is no field or no value at all: the name in upper case, a control byte.
    Field(&'static str),
    /// The fields make no message (RFC 9113 section 8.1.1).
    Message(&'static str),
    /// Its list of fields is above the bound: of a request it is answered with 431.
    TooLarge,
}

impl Fault {
    /// What a server makes of it. [`Fault::TooLarge`] is answered, unless it is in trailers.
    pub fn of_request(self) -> Violation {
        match self {
            Fault::Field(why) => Violation::Connection(Reason::PROTOCOL_ERROR, why),
            other => other.of_response(),
        }
    }

    /// What a client makes of it: one answer that is none says nothing of the others on its connection.
    pub fn of_response(self) -> Violation {
        match self {
            Fault::Block(why) => Violation::Connection(Reason::PROTOCOL_ERROR, why),
            Fault::Flood => Violation::Connection(Reason::ENHANCE_YOUR_CALM, "header_list_way_too_large"),
            Fault::Field(why) | Fault::Message(why) => Violation::Stream(Reason::PROTOCOL_ERROR, why),
            Fault::TooLarge => Violation::Stream(Reason::PROTOCOL_ERROR, "header_list_too_large"),
        }
    }
}

/// A request's head.
#[derive(Debug)]
pub struct RequestHead {
    /// With version HTTP/2. Crumbs of a cookie are joined (RFC 9113 section 8.2.3).
    pub parts: request::Parts,
    /// What `content-length` says, if it says anything.
    pub content_length: Option<u64>,
    /// What RFC 9113 calls malformed and is answered with 400 and a line in the access log, by the word for it there:
    /// `http2.invalid_scheme`, `http2.unexpected_content_length`, `http2.invalid_header_value`.
    pub flaw: Option<&'static str>,
}

/// A response's head; an interim one, if its status says so (never 101).
#[derive(Debug)]
pub struct ResponseHead {
    /// With version HTTP/2.
    pub parts: response::Parts,
    /// What `content-length` says, if it says anything.
    pub content_length: Option<u64>,
}

impl Decoder {
    /// Reads a request's block. `max_list` is what our SETTINGS say: SETTINGS_MAX_HEADER_LIST_SIZE, in bytes.
    pub fn request(&mut self, _block: &[u8], _max_list: usize) -> Result<RequestHead, Fault> {
        unimplemented!()
    }

    /// Reads a response's block, as [`Decoder::request`] does. Pseudo-header fields of requests are passed over.
    pub fn response(&mut self, _block: &[u8], _max_list: usize) -> Result<ResponseHead, Fault> {
        unimplemented!()
    }

    /// Reads the trailers of a request: with a pseudo-header field among them they are malformed.
    pub fn request_trailers(&mut self, _block: &[u8], _max_list: usize) -> Result<HeaderMap, Fault> {
        unimplemented!()
    }

    /// Reads the trailers of a response. Pseudo-header fields are passed over.
    pub fn response_trailers(&mut self, _block: &[u8], _max_list: usize) -> Result<HeaderMap, Fault> {
        unimplemented!()
    }

    /// Reads a block that nobody wants, for the table alone.
    pub fn skip(&mut self, _block: &[u8], _max_list: usize) -> Result<(), Fault> {
        unimplemented!()
    }
}

impl Encoder {
    /// Writes a request's block.
    pub fn request(&mut self, _method: &Method, _uri: &Uri, _fields: &HeaderMap, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Writes a response's block.
    pub fn response(&mut self, _status: StatusCode, _fields: &HeaderMap, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Writes the block of trailers.
    pub fn trailers(&mut self, _fields: &HeaderMap, _out: &mut Vec<u8>) {
        unimplemented!()
    }
}
