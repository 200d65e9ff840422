//! What an access log keeps of a request's and its response's head until the line is made.
//!
//! Law: only what the format asks for is kept, and header values are shared with the message, not copied.

use http::{HeaderMap, HeaderValue, Method};

use super::format::{Format, HeadPart};

/// What the format asks of a request's and its response's head.
#[derive(Clone, Debug)]
pub struct LoggedHeads {
    method: Method,
    path: Box<[u8]>,
    authority: Box<[u8]>,
    request: Vec<Option<HeaderValue>>,
    response: Vec<Option<HeaderValue>>,
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
        LoggedHeads {
            method: method.clone(),
            path: path.into(),
            authority: authority.into(),
            request: format.request_headers.iter().map(|name| headers.get(name).cloned()).collect(),
            response: Vec::new(),
        }
    }

    /// Adds what `format` asks of the response's head, as the caller gets it.
    pub fn add_response(&mut self, format: &Format, headers: &HeaderMap) {
        self.response = format.response_headers.iter().map(|name| headers.get(name).cloned()).collect();
    }

    /// What a field of the format names; `None` where it was not sent.
    pub(super) fn part(&self, part: HeadPart) -> Option<&[u8]> {
        match part {
            HeadPart::Method => Some(self.method.as_str().as_bytes()),
            HeadPart::Path => Some(&self.path),
            HeadPart::Authority => Some(&self.authority).filter(|text| !text.is_empty()).map(AsRef::as_ref),
            HeadPart::Request(place) => header(&self.request, place),
            HeadPart::Response(place) => header(&self.response, place),
        }
    }
}

fn header(headers: &[Option<HeaderValue>], place: usize) -> Option<&[u8]> {
    headers.get(place)?.as_ref().map(HeaderValue::as_bytes)
}
