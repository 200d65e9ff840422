//! What an access log keeps of a request until the line is made: of its and its response's head, and its version.
//!
//! Law: only what the format asks for is kept, and header values are shared with the message, not copied. One piece of
//! memory for the text and one for the values, as each request that is logged takes them.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method};

use super::format::{Format, HeadPart};

/// What the format asks of a request's and its response's head.
#[derive(Clone, Debug)]
pub struct LoggedHeads {
    method: Method,
    /// The path, and behind it the authority.
    text: Box<[u8]>,
    path: usize,
    /// Of the request, and behind them those of the response, when that is there.
    values: Vec<Option<HeaderValue>>,
    of_request: usize,
    version: Option<Arc<str>>,
}

impl LoggedHeads {
    /// What `format` asks of the request's head.
    pub fn of_request(
        format: &Format,
        method: &Method,
        path: &[u8],
        authority: &[u8],
        headers: &HeaderMap,
    ) -> LoggedHeads {
        let of_request = format.request_headers.len();
        let mut values = Vec::with_capacity(of_request + format.response_headers.len());
        values.extend(format.request_headers.iter().map(|name| headers.get(name).cloned()));
        let text = [path, authority].concat().into();
        LoggedHeads { method: method.clone(), text, path: path.len(), values, of_request, version: None }
    }

    /// Adds what `format` asks of the response's head, as the caller gets it.
    pub fn add_response(&mut self, format: &Format, headers: &HeaderMap) {
        self.values.truncate(self.of_request);
        self.values.extend(format.response_headers.iter().map(|name| headers.get(name).cloned()));
    }

    /// Adds the version that the request was sent to.
    pub fn set_version(&mut self, version: Arc<str>) {
        self.version = Some(version);
    }

    /// The version that the request was sent to.
    pub(super) fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// What a field of the format names; `None` where it was not sent.
    pub(super) fn part(&self, part: HeadPart) -> Option<&[u8]> {
        match part {
            HeadPart::Method => Some(self.method.as_str().as_bytes()),
            HeadPart::Path => self.text.get(..self.path),
            HeadPart::Authority => self.text.get(self.path..).filter(|text| !text.is_empty()),
            HeadPart::Request(place) => header(&self.values, place),
            HeadPart::Response(place) => header(self.values.get(self.of_request..)?, place),
        }
    }
}

fn header(headers: &[Option<HeaderValue>], place: usize) -> Option<&[u8]> {
    headers.get(place)?.as_ref().map(HeaderValue::as_bytes)
}
