//! The format of an access log line: read once, into pieces that can be filled without a lookup.
//!
//! Law: a format that exists can be filled. An operator that Weir does not know is refused by name, and so is a header
//! that carries credentials: a log is read by more people than a request is.

use std::error::Error;
use std::fmt;

use http::HeaderName;

use crate::words::Operator;

/// Envoy's default line, without its newline.
const ENVOY_LINE: &str = "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" \
    %RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% \
    %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" \
    \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"";

/// The keys of a JSON line, sorted, each with what fills it. Istio's names where it has one.
const JSON_FIELDS: [(&str, &str); 23] = [
    ("authority", "REQ(:AUTHORITY)"),
    ("bytes_received", "BYTES_RECEIVED"),
    ("bytes_sent", "BYTES_SENT"),
    ("downstream_local_address", "DOWNSTREAM_LOCAL_ADDRESS"),
    ("downstream_remote_address", "DOWNSTREAM_REMOTE_ADDRESS"),
    ("duration", "DURATION"),
    ("grpc_status", "GRPC_STATUS_NUMBER"),
    ("method", "REQ(:METHOD)"),
    ("path", "REQ(X-ENVOY-ORIGINAL-PATH?:PATH)"),
    ("protocol", "PROTOCOL"),
    ("request_id", "REQ(X-REQUEST-ID)"),
    ("response_code", "RESPONSE_CODE"),
    ("response_code_details", "RESPONSE_CODE_DETAILS"),
    ("response_flags", "RESPONSE_FLAGS"),
    ("route_name", "ROUTE_NAME"),
    ("start_time", "START_TIME"),
    ("upstream_cluster", "UPSTREAM_CLUSTER"),
    ("upstream_host", "UPSTREAM_HOST"),
    ("upstream_request_attempt_count", "UPSTREAM_REQUEST_ATTEMPT_COUNT"),
    ("upstream_service_time", "RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)"),
    ("user_agent", "REQ(USER-AGENT)"),
    ("version", "WEIR_VERSION"),
    ("x_forwarded_for", "REQ(X-FORWARDED-FOR)"),
];

/// Headers that carry credentials.
const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// A format that was read.
#[derive(Clone, Debug)]
pub struct Format {
    pub(super) shape: Shape,
    /// The headers of requests that it asks for; a field names one by its place here.
    pub(super) request_headers: Vec<HeaderName>,
    /// The same of responses.
    pub(super) response_headers: Vec<HeaderName>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text(Vec<Piece>),
    /// One object; the keys are sorted. With each key comes what stands before it and the colon: `{"a":`, `,"b":`.
    Json(Vec<(Box<str>, Field)>),
}

#[derive(Clone, Debug)]
pub(super) enum Piece {
    Literal(String),
    Field(Field),
}

/// One operator with its argument resolved.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) source: Source,
    /// At most so many bytes of it.
    pub(super) limit: Option<usize>,
}

#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Of the record, by an operator without argument.
    Record(Operator),
    /// The start, in the form that was asked for.
    StartTime(Box<str>),
    /// Of the heads: the first that is there.
    Head(HeadPart, Option<HeadPart>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadPart {
    Method,
    Path,
    Authority,
    /// A place in [`Format::request_headers`].
    Request(usize),
    /// A place in [`Format::response_headers`].
    Response(usize),
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
        let mut format = Format {
            shape: Shape::Text(Vec::new()),
            request_headers: Vec::new(),
            response_headers: Vec::new(),
        };
        format.shape = match text {
            "envoy" => Shape::Text(format.text(ENVOY_LINE)?),
            "json" => {
                let fields = JSON_FIELDS.into_iter().enumerate().map(|(place, (key, operator))| {
                    let before = if place == 0 { '{' } else { ',' };
                    Ok((format!("{before}\"{key}\":").into(), format.field(operator)?))
                });
                Shape::Json(fields.collect::<Result<_, _>>()?)
            }
            text => Shape::Text(format.text(text.strip_suffix('\n').unwrap_or(text))?),
        };
        Ok(format)
    }

    fn text(&mut self, text: &str) -> Result<Vec<Piece>, InvalidFormat> {
        if text.contains(char::is_control) {
            return refuse("a format is one line: it may not contain control characters");
        }
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
        if pieces.iter().any(|piece| matches!(piece, Piece::Field(_))) {
            return Ok(pieces);
        }
        refuse(format!("`{text}` is neither `envoy` nor `json`, and as a format it names no operator"))
    }

    /// `NAME`, `NAME(argument)` or `NAME(argument):limit`.
    fn field(&mut self, text: &str) -> Result<Field, InvalidFormat> {
        let (name, rest) = text.split_at(text.find(['(', ':']).unwrap_or(text.len()));
        let Some(operator) = Operator::parse(name) else {
            return refuse(format!("operator `{name}` is not supported; allowed are {}", allowed()));
        };
        let takes_one = operator.wants_header() || operator == Operator::StartTime;
        if !takes_one && rest.starts_with('(') {
            return refuse(format!("operator `{name}` takes no argument"));
        }
        let (argument, limit) = match rest.strip_prefix('(').map(|rest| rest.split_once(')')) {
            None => (None, rest),
            Some(Some((argument, limit))) => (Some(argument), limit),
            Some(None) => return refuse(format!("`%{text}%` has no closing `)`")),
        };
        let limit = match limit.strip_prefix(':').map(str::parse) {
            None if limit.is_empty() => None,
            Some(Ok(limit)) => Some(limit),
            _ => return refuse(format!("`%{text}%` ends in `{limit}`, which is no `:number`")),
        };
        let source = match argument.filter(|argument| !argument.is_empty()) {
            Some(form) if operator == Operator::StartTime => start_time(form)?,
            Some(argument) => self.head(operator, argument)?,
            None if operator.wants_header() => {
                return refuse(format!("operator `{name}` needs a header: `{name}(X)`"));
            }
            None => Source::Record(operator),
        };
        Ok(Field { source, limit })
    }

    /// `X` or `X?Y`.
    fn head(&mut self, operator: Operator, argument: &str) -> Result<Source, InvalidFormat> {
        Ok(match argument.split_once('?') {
            None => Source::Head(self.head_part(operator, argument)?, None),
            Some((first, second)) => {
                let first = self.head_part(operator, first)?;
                Source::Head(first, Some(self.head_part(operator, second)?))
            }
        })
    }

    fn head_part(&mut self, operator: Operator, name: &str) -> Result<HeadPart, InvalidFormat> {
        let lower = name.to_ascii_lowercase();
        match (operator, lower.as_str()) {
            (Operator::Req, ":method") => return Ok(HeadPart::Method),
            (Operator::Req, ":path") => return Ok(HeadPart::Path),
            (Operator::Req, ":authority" | "host") => return Ok(HeadPart::Authority),
            _ => {}
        }
        if SECRET.contains(&lower.as_str()) {
            return refuse(format!("header `{name}` carries credentials and is not logged"));
        }
        let Ok(header) = lower.parse::<HeaderName>() else {
            return refuse(format!("`{name}` in `{}` is not the name of a header", operator.name()));
        };
        Ok(match operator {
            Operator::Resp => HeadPart::Response(place(&mut self.response_headers, header)),
            _ => HeadPart::Request(place(&mut self.request_headers, header)),
        })
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

/// `%START_TIME(form)%`: a form is right if it can print a time.
fn start_time(form: &str) -> Result<Source, InvalidFormat> {
    match jiff::fmt::strtime::format(form, jiff::Timestamp::UNIX_EPOCH) {
        Ok(_) => Ok(Source::StartTime(form.into())),
        Err(error) => refuse(format!("`{form}` is no form of time: {error}")),
    }
}

fn place(headers: &mut Vec<HeaderName>, header: HeaderName) -> usize {
    headers.iter().position(|known| *known == header).unwrap_or_else(|| {
        headers.push(header);
        headers.len() - 1
    })
}

fn push_literal(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Literal(literal)) => literal.push_str(text),
        _ => pieces.push(Piece::Literal(text.to_owned())),
    }
}

fn refuse<T>(reason: impl Into<String>) -> Result<T, InvalidFormat> {
    Err(InvalidFormat(reason.into()))
}

fn allowed() -> String {
    Operator::ALL.map(Operator::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Format::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn the_named_formats_and_a_line_of_operators_are_read() {
        for text in ["envoy", "json", "%RESPONSE_CODE%", "%%: %REQ(X-A?:PATH):8% %RESP(x-b)%\n"] {
            assert!(Format::parse(text).is_ok(), "{text}");
        }
        assert!(JSON_FIELDS.is_sorted(), "keys are sorted");
    }

    #[test]
    fn an_operator_that_cannot_be_filled_is_refused_by_name_with_what_is_allowed() {
        let refusal = refusal("%BYTES_SENT% %CONNECTION_ID%");
        assert!(refusal.contains("`CONNECTION_ID`") && refusal.contains("GRPC_STATUS_NUMBER"), "{refusal}");
    }

    #[test]
    fn credentials_are_not_logged() {
        for header in ["Authorization", "cookie", "X?COOKIE", "Proxy-Authorization"] {
            assert!(refusal(&format!("%REQ({header})%")).contains("credentials"), "{header}");
        }
        assert!(refusal("%RESP(Set-Cookie)%").contains("credentials"));
    }

    #[test]
    fn what_is_not_a_format_is_refused_with_its_reason() {
        assert!(refusal("jsn").contains("names no operator"));
        assert!(refusal("100% sure").contains("no closing `%`"));
        assert!(refusal("%REQ%").contains("needs a header"));
        assert!(refusal("%REQ()%").contains("needs a header"));
        assert!(refusal("%REQ(a b)%").contains("not the name of a header"));
        assert!(refusal("%REQ(a%").contains("no closing `)`"));
        assert!(refusal("%REQ(a):x%").contains("`:number`"));
        assert!(refusal("%START_TIME(%!)%").contains("no form of time"));
        assert!(refusal("%START_TIME(%s%").contains("no closing"));
        assert!(refusal("%DURATION(x)%").contains("takes no argument"));
        assert!(refusal("%DURATION%\n%DURATION%").contains("one line"));
    }

    #[test]
    fn a_header_that_is_asked_for_twice_is_taken_once() {
        let format = Format::parse("%REQ(X-A)% %REQ(x-a)% %REQ(x-b?x-a)%").unwrap();
        assert_eq!(format.request_headers, ["x-a", "x-b"]);
    }
}
