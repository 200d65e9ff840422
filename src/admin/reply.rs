//! What a page gives back, and what is asked of it beside its path.
//!
//! Law: every answer forbids keeping it and guessing its type, and to one for a browser nothing comes from elsewhere.

use std::io;

use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use regex::{Regex, RegexBuilder};
use serde::Serialize;

use super::gzip;
use crate::telemetry;
use crate::transport::endpoint::{Answer, AnswerBody};

/// Plain.
pub(super) const TEXT: &str = "text/plain; charset=UTF-8";
/// Of any shape.
pub(super) const JSON: &str = "application/json";
/// A table whose first row names the columns.
pub(super) const CSV: &str = "text/csv; charset=UTF-8; header=present";
/// What a browser shows as a page.
pub(super) const HTML: &str = "text/html; charset=UTF-8";
/// Nothing but this server's own files, and in nobody's frame.
const SELF_ONLY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
    form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// Memory that a filter may take.
const MAX_FILTER_BYTES: usize = 1 << 20;

/// A page as it was made.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: AnswerBody,
}

impl Reply {
    /// A page of text.
    pub(super) fn text(body: impl Into<String>) -> Reply {
        Reply { status: StatusCode::OK, content_type: TEXT, body: body.into().into() }
    }

    /// The same with another status.
    pub(super) fn with_status(self, status: StatusCode) -> Reply {
        Reply { status, ..self }
    }

    /// A value as JSON, laid out for people.
    pub(super) fn json(value: &impl Serialize) -> Reply {
        match serde_json::to_string_pretty(value) {
            Ok(body) => Reply { status: StatusCode::OK, content_type: JSON, body: (body + "\n").into() },
            Err(error) => Reply::text(format!("{error}\n")).with_status(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }

    /// A page that is made as it goes out. Between two pieces the others on the thread have their turn.
    pub(super) fn in_pieces(
        content_type: &'static str,
        pieces: impl Iterator<Item = String> + 'static,
    ) -> Reply {
        let pieces = pieces.flat_map(|piece| [piece.into(), bytes::Bytes::new()]);
        Reply { status: StatusCode::OK, content_type, body: AnswerBody::Pieces(Box::new(pieces)) }
    }

    /// A value of many parts as JSON, laid out for people; written as it goes out, on a thread of its own.
    pub(super) fn json_written(value: impl Serialize + Send + 'static) -> Reply {
        let write = move |out: &mut dyn io::Write| {
            serde_json::to_writer_pretty(&mut *out, &value)?;
            out.write_all(b"\n")
        };
        match AnswerBody::written(write) {
            Ok(body) => Reply { status: StatusCode::OK, content_type: JSON, body },
            Err(error) => Reply::text(format!("{error}\n")).with_status(StatusCode::SERVICE_UNAVAILABLE),
        }
    }

    /// A page that is not as asked for, with the reason.
    pub(super) fn refusal(reason: impl Into<String>) -> Reply {
        Reply::text(reason).with_status(StatusCode::BAD_REQUEST)
    }

    /// What was there when this was built.
    pub(super) fn file(content_type: &'static str, body: &'static str) -> Reply {
        Reply {
            status: StatusCode::OK,
            content_type,
            body: bytes::Bytes::from_static(body.as_bytes()).into(),
        }
    }

    /// As it goes out to whoever asked with these fields: a page for Prometheus packed, if they take that.
    pub(super) fn into_answer_to(self, asked: &HeaderMap) -> Answer {
        if self.content_type != telemetry::CONTENT_TYPE {
            return self.into_answer();
        }
        let Reply { status, content_type, body } = self;
        let body = if gzip::is_taken(asked) { gzip::packed(body) } else { Err(body) };
        let is_packed = body.is_ok();
        let mut answer =
            Reply { status, content_type, body: body.unwrap_or_else(|plain| plain) }.into_answer();
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }

    /// As it goes out.
    pub(super) fn into_answer(self) -> Answer {
        let mut answer = Response::new(self.body);
        *answer.status_mut() = self.status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, max-age=0"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if self.content_type == HTML {
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(SELF_ONLY));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(VARY, HeaderValue::from_static("accept"));
        }
        answer
    }
}

/// The parameters after the `?`, decoded.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Of this target.
    pub(super) fn of(uri: &Uri) -> Query {
        Query::decoded(uri, |text| percent_decode_str(text).decode_utf8_lossy().into_owned())
    }

    /// Of this target, as forms write it: a plus is a space.
    pub(super) fn of_form(uri: &Uri) -> Query {
        let decode =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        Query::decoded(uri, decode)
    }

    fn decoded(uri: &Uri, decode: impl Fn(&str) -> String) -> Query {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Query(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (decode(name), decode(value))
                })
                .collect(),
        )
    }

    /// The first of that name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// All, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Refuses what a page does not know: it must not look as if it had been obeyed.
    pub(super) fn only(&self, page: &str, known: &[&str]) -> Result<(), String> {
        let Some((name, _)) = self.iter().find(|(name, _)| !known.contains(name)) else { return Ok(()) };
        Err(match known {
            [] => format!("{name}: {page} has no parameters\n"),
            _ => format!("{name}: not a parameter of {page}, which has {}\n", known.join(", ")),
        })
    }

    /// Whether JSON is asked for; a form that is neither that nor text is refused.
    pub(super) fn json_or_text(&self, page: &str) -> Result<bool, String> {
        match self.get("format") {
            None | Some("" | "text") => Ok(false),
            Some("json") => Ok(true),
            Some(other) => Err(format!("format={other}: {page} has format=text and format=json\n")),
        }
    }
}

/// Bytes from which on what was made goes out.
const ROOM: usize = 32 << 10;

/// Small pieces together, so that each is worth sending.
pub(super) fn in_rooms(pieces: impl Iterator<Item = String>) -> impl Iterator<Item = String> {
    let mut pieces = pieces.fuse();
    std::iter::from_fn(move || {
        let mut room = pieces.next()?;
        while room.len() < ROOM
            && let Some(piece) = pieces.next()
        {
            room.push_str(&piece);
        }
        Some(room)
    })
}

/// A regular expression that somebody typed, within bounds.
pub(super) fn filter(source: &str) -> Result<Regex, String> {
    let built =
        RegexBuilder::new(source).size_limit(MAX_FILTER_BYTES).dfa_size_limit(MAX_FILTER_BYTES).build();
    built.map_err(|error| format!("Invalid regex: {error}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_pieces_of_a_page_the_others_have_their_turn() {
        let pieces = in_rooms((0..ROOM).map(|_| "four".to_owned()));
        let AnswerBody::Pieces(pieces) = Reply::in_pieces(TEXT, pieces).body else { panic!("in pieces") };
        // At an empty one.
        assert_eq!(pieces.map(|piece| piece.len()).collect::<Vec<_>>(), [[ROOM, 0]; 4].concat());
    }
}
