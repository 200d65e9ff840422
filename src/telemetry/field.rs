//! One operator of a format, with its argument resolved, so that it can be filled without a lookup.
//!
//! Law: a field that exists can be filled; what it needs of a request is written down in its format.

use http::HeaderName;

use super::credentials::is_credentials;
use super::format::{Format, InvalidFormat, refuse};
use super::time_form::TimeForm;
use crate::words::Operator;

pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

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
    StartTime(TimeForm),
    /// Of the heads: the first that is there.
    Head(HeadPart, Option<HeadPart>),
    /// The trace's id, by the field at this place in [`Format::request_headers`].
    Trace(usize),
    /// The status of gRPC, in this form.
    Grpc(GrpcForm),
    /// The same for every request of the process.
    Fixed(Box<str>),
}

/// A form of gRPC's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GrpcForm {
    /// `NotFound`
    Camel,
    /// `NOT_FOUND`
    Snake,
    /// `5`
    Number,
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
    /// A place in [`Format::response_trailers`].
    Trailer(usize),
}

impl Format {
    /// `NAME`, `NAME(argument)` or `NAME(argument):limit`.
    pub(super) fn field(&mut self, text: &str) -> Result<Field, InvalidFormat> {
        let (name, rest) = text.split_at(text.find(['(', ':']).unwrap_or(text.len()));
        let Some(operator) = Operator::parse(name) else {
            let why = Operator::why_not(name).map(|why| format!(": {why}")).unwrap_or_default();
            return refuse(format!("operator `{name}` is not supported{why}; allowed are {}", allowed()));
        };
        if !operator.takes_argument() && rest.starts_with('(') {
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
            Some(argument) => self.source_with(operator, argument)?,
            None if operator.wants_header() => {
                return refuse(format!("operator `{name}` needs a header: `{name}(X)`"));
            }
            None => self.source(operator)?,
        };
        Ok(Field { source, limit })
    }

    /// Of an operator with its argument.
    fn source_with(&mut self, operator: Operator, argument: &str) -> Result<Source, InvalidFormat> {
        match operator {
            Operator::StartTime => match TimeForm::parse(argument) {
                Ok(form) => Ok(Source::StartTime(form)),
                Err(reason) => refuse(format!("`{argument}` is no form of time: {reason}")),
            },
            Operator::GrpcStatus => grpc_form(argument).map(Source::Grpc),
            // What is not set is a text all the same, as in Envoy.
            Operator::Environment => {
                Ok(Source::Fixed(std::env::var(argument).unwrap_or_else(|_| "-".into()).into()))
            }
            _ => self.head(operator, argument),
        }
    }

    /// Of an operator that has none.
    fn source(&mut self, operator: Operator) -> Result<Source, InvalidFormat> {
        const STREAM: HeaderName = HeaderName::from_static("x-request-id");
        const TRACE: HeaderName = HeaderName::from_static("traceparent");
        Ok(match operator {
            Operator::StreamId => Source::Head(HeadPart::Request(self.request_headers.place(STREAM)), None),
            Operator::TraceId => Source::Trace(self.request_headers.place(TRACE)),
            Operator::GrpcStatus => Source::Grpc(GrpcForm::Camel),
            Operator::GrpcStatusNumber => Source::Grpc(GrpcForm::Number),
            Operator::Hostname => Source::Fixed(hostname()),
            Operator::Environment => {
                return refuse("operator `ENVIRONMENT` needs a variable: `ENVIRONMENT(X)`");
            }
            operator => {
                self.wants_moments |= wants_moments(operator);
                if matches!(
                    operator,
                    Operator::DownstreamRemoteAddress | Operator::DownstreamRemoteAddressWithoutPort
                ) {
                    self.asks_forwarded_for = true;
                }
                Source::Record(operator)
            }
        })
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
        if is_credentials(&lower) {
            return refuse(format!("header `{name}` carries credentials and is not logged"));
        }
        let Ok(header) = lower.parse::<HeaderName>() else {
            return refuse(format!("`{name}` in `{}` is not the name of a header", operator.name()));
        };
        Ok(match operator {
            Operator::Resp => HeadPart::Response(self.response_headers.place(header)),
            Operator::Trailer => HeadPart::Trailer(self.response_trailers.place(header)),
            _ => HeadPart::Request(self.request_headers.place(header)),
        })
    }
}

fn grpc_form(form: &str) -> Result<GrpcForm, InvalidFormat> {
    match form {
        "CAMEL_STRING" => Ok(GrpcForm::Camel),
        "SNAKE_STRING" => Ok(GrpcForm::Snake),
        "NUMBER" => Ok(GrpcForm::Number),
        _ => refuse(format!("`{form}` is no form of a status: CAMEL_STRING, SNAKE_STRING or NUMBER")),
    }
}

/// Whether nothing but [`Moments`](super::moments::Moments) knows it.
fn wants_moments(operator: Operator) -> bool {
    matches!(
        operator,
        Operator::RequestDuration
            | Operator::RequestTxDuration
            | Operator::ResponseDuration
            | Operator::ResponseTxDuration
            | Operator::UpstreamLocalAddress
            | Operator::UpstreamRemoteAddress
            | Operator::UpstreamTransportFailureReason
            | Operator::UpstreamWireBytesSent
            | Operator::UpstreamWireBytesReceived
            | Operator::ConnectionId
            | Operator::LocalReplyBody
    )
}

fn hostname() -> Box<str> {
    rustix::system::uname().nodename().to_string_lossy().into()
}

fn allowed() -> String {
    Operator::ALL.map(Operator::name).join(", ")
}
