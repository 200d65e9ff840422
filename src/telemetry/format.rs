//! The format of an access log line: read once, into pieces that can be filled without a lookup.
//!
//! Law: a format that exists can be filled. An operator that Weir does not know is refused by name, and so is a header
//! that carries credentials: a log is read by more people than a request is.

use std::error::Error;
use std::fmt;

use super::field::Field;
use super::heads::Names;
use super::json_line;
use super::template::Template;

/// Envoy's default line, without its newline.
const ENVOY_LINE: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

/// A format that was read.
#[derive(Clone, Debug)]
pub struct Format {
    pub(super) shape: Shape,
    /// The headers of requests that it asks for; a field names one by its place here.
    pub(super) request_headers: Names,
    /// The same of responses.
    pub(super) response_headers: Names,
    /// The same of responses' trailers.
    pub(super) response_trailers: Names,
    /// It asks for what only [`Moments`](super::moments::Moments) hold.
    pub(super) wants_moments: bool,
    /// It asks who the caller is to whoever stands before this proxy.
    pub(super) asks_forwarded_for: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text(Vec<Piece>),
    /// The object that [`json_line`] makes.
    Json,
    /// An object of one's own.
    Template(Template),
}

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Literal(String),
    Field(Field),
}

/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFormat(String);

impl fmt::Display for InvalidFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for InvalidFormat {}

impl Format {
    /// `envoy` for Envoy's default line, `json` for an object a line, or a line of Envoy's operators.
    pub fn parse(text: &str) -> Result<Format, InvalidFormat> {
        Format::of(|format| {
            Ok(match text {
                "envoy" => Shape::Text(format.line_of(ENVOY_LINE)?),
                "json" => {
                    json_line::ask(format);
                    Shape::Json
                }
                text => Shape::Text(format.line_of(text.strip_suffix('\n').unwrap_or(text))?),
            })
        })
    }

    /// An object a line, with `object`'s keys, sorted; texts in it may hold operators. `omit_empty`: what is missing is
    /// left out.
    pub fn of_object(object: &serde_json::Value, omit_empty: bool) -> Result<Format, InvalidFormat> {
        Format::of(|format| Ok(Shape::Template(Template::new(format, object, omit_empty)?)))
    }

    /// Whether `text` may stand in such an object.
    pub fn check_text(text: &str) -> Result<(), InvalidFormat> {
        Format::of(|format| format.pieces(text).map(Shape::Text)).map(drop)
    }

    /// The headers that `text` asks for, be it a line of operators or a text in an object.
    pub fn headers_of(text: &str) -> Vec<String> {
        let Ok(format) = Format::of(|format| format.pieces(text).map(Shape::Text)) else { return Vec::new() };
        let lists = [&format.request_headers, &format.response_headers, &format.response_trailers];
        lists.into_iter().flat_map(|names| names.all()).map(|name| name.as_str().to_owned()).collect()
    }

    fn of(shape: impl FnOnce(&mut Format) -> Result<Shape, InvalidFormat>) -> Result<Format, InvalidFormat> {
        let mut format = Format {
            shape: Shape::Text(Vec::new()),
            request_headers: Names::default(),
            response_headers: Names::default(),
            response_trailers: Names::default(),
            wants_moments: false,
            asks_forwarded_for: false,
        };
        format.shape = shape(&mut format)?;
        Ok(format)
    }

    fn line_of(&mut self, text: &str) -> Result<Vec<Piece>, InvalidFormat> {
        if text.contains(char::is_control) {
            return refuse("a format is one line: it may not contain control characters");
        }
        let pieces = self.pieces(text)?;
        if pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Ok(pieces);
        }
        refuse(format!("`{text}` is neither `envoy` nor `json`, and as a format it names no operator"))
    }

    pub(super) fn pieces(&mut self, text: &str) -> Result<Vec<Piece>, InvalidFormat> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('%') {
            push_literal(&mut pieces, literal);
            let Some((operator, after)) = split_operator(after) else {
                return refuse(format!("`%{after}` has no closing `%`; write `%%` for a percent sign"));
            };
            match operator {
                "" => push_literal(&mut pieces, "%"),
                operator => pieces.push(Piece::Field(self.field(operator)?)),
            }
            rest = after;
        }
        push_literal(&mut pieces, rest);
        Ok(pieces)
    }
}

/// An operator and what follows its closing `%`. A form of time in parentheses has percent signs of its own.
fn split_operator(text: &str) -> Option<(&str, &str)> {
    const START_TIME: &str = "START_TIME(";
    let argument = match text.starts_with(START_TIME) {
        true => text.find(')')?,
        false => 0,
    };
    let end = argument + text[argument..].find('%')?;
    Some((&text[..end], &text[end + 1..]))
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Literal(literal)) => literal.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_owned())),
    }
}

pub(super) fn refuse<T>(reason: impl Into<String>) -> Result<T, InvalidFormat> {
    Err(InvalidFormat(reason.into()))
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
