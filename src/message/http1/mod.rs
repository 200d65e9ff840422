//! HTTP/1 on the wire: from bytes to heads and bodies, and back to bytes.
//!
//! Law: pure. No I/O, no clock, no configuration but bounds. Every way to cut the same bytes into reads gives the same
//! result, at a cost that is linear in the bytes. What has no single reading is refused, never mended (RFC 9112).

pub mod body;
pub mod encode;
pub mod framing;
pub mod head;
mod known;
mod lines;
mod target;
#[cfg(test)]
mod tests;

use std::fmt;

pub use framing::Framing;

/// What a head, or the trailers of a body, may cost.
#[derive(Clone, Copy, Debug)]
pub struct HeadBounds {
    /// Bytes up to and including the empty line at its end.
    pub bytes: usize,
    /// Field lines.
    pub count: usize,
}

/// Why a message has no reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The method is no token (RFC 9110 section 9.1).
    Method,
    /// The target is of no form that its method may have (RFC 9112 section 3.2).
    Target,
    /// The target has a fragment, which is never sent (RFC 9112 section 3.2).
    Fragment,
    /// The request line does not end in `HTTP/1.0` or `HTTP/1.1` (RFC 9112 section 2.3).
    Version,
    /// The first line of an answer is no status line (RFC 9112 section 4).
    StatusLine,
    /// A line does not end in CR and LF (RFC 9112 section 2.2).
    LineEnd,
    /// A field goes on in the next line (RFC 9112 section 5.2).
    ObsFold,
    /// A field without a colon, or whose name is no token (RFC 9112 section 5.1).
    FieldName,
    /// A field's value holds a control character (RFC 9110 section 5.5).
    FieldValue,
    /// HTTP/1.1 without Host (RFC 9112 section 3.2).
    MissingHost,
    /// More than one Host (RFC 9112 section 3.2).
    MultipleHosts,
    /// Host, or the authority of the target, names no host (RFC 9110 section 7.2).
    InvalidHost,
    /// A transfer coding other than one `chunked`, or one in HTTP/1.0 (RFC 9112 section 6.1).
    TransferEncoding,
    /// Not one length in digits (RFC 9110 section 8.6).
    ContentLength,
    /// A length beside `chunked` (RFC 9112 section 6.1).
    LengthAndChunked,
    /// A chunk's size is not 1 to 16 hexadecimal digits (RFC 9112 section 7.1).
    ChunkSize,
    /// Chunk extensions hold a control character, or are too long in all (RFC 9112 section 7.1.1).
    ChunkExtension,
    /// A chunk's data is not followed by CR and LF (RFC 9112 section 7.1).
    ChunkEnd,
}

impl Malformed {
    /// The word of the access log; `docs/wire.md` lists them.
    pub fn detail(self) -> &'static str {
        match self {
            Malformed::Method => "http1.invalid_method",
            Malformed::Target => "http1.invalid_target",
            Malformed::Fragment => "path_normalization_failed",
            Malformed::Version => "http1.invalid_version",
            Malformed::StatusLine => "http1.invalid_status_line",
            Malformed::LineEnd => "http1.invalid_line_end",
            Malformed::ObsFold => "http1.folded_field",
            Malformed::FieldName => "http1.invalid_field_name",
            Malformed::FieldValue => "http1.invalid_characters",
            Malformed::MissingHost => "missing_host_header",
            Malformed::MultipleHosts => "http1.multiple_hosts",
            Malformed::InvalidHost => "http1.invalid_host",
            Malformed::TransferEncoding => "http1.invalid_transfer_encoding",
            Malformed::ContentLength => "http1.unexpected_content_length",
            Malformed::LengthAndChunked => "http1.content_length_and_chunked_not_allowed",
            Malformed::ChunkSize => "http1.invalid_chunk_size",
            Malformed::ChunkExtension => "http1.invalid_chunk_extension",
            Malformed::ChunkEnd => "http1.invalid_chunk_end",
        }
    }
}

/// Why no head, or no body, could be taken. What stands in the buffer then is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Over [`HeadBounds::bytes`].
    TooLarge,
    /// Over [`HeadBounds::count`].
    TooMany,
    /// It has no single reading.
    Malformed(Malformed),
}

impl HeadError {
    /// The word of the access log.
    pub fn detail(self) -> &'static str {
        match self {
            HeadError::TooLarge => "http1.headers_too_large",
            HeadError::TooMany => "http1.too_many_headers",
            HeadError::Malformed(malformed) => malformed.detail(),
        }
    }
}

impl From<Malformed> for HeadError {
    fn from(malformed: Malformed) -> HeadError {
        HeadError::Malformed(malformed)
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for HeadError {}
