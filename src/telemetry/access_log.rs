//! The access log.
use super::record::RequestRecord;
use super::recorder::Counter;
use http::{HeaderMap, Method};

/// The parsed format.
#[derive(Clone, Debug)]
pub struct Format;
/// Why a format is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFormat(String);
impl Format {
    /// `envoy`, `json`, or a format string of Envoy's operators.
    pub fn parse(_text: &str) -> Result<Format, InvalidFormat> {
        Ok(Format)
    }
}

/// What the format wants of the heads.
#[derive(Debug, Default)]
pub struct LoggedHeads;
/// The workers' side.
#[derive(Clone, Debug)]
pub struct AccessLog;
/// The control side.
#[derive(Debug)]
pub struct Writer;

impl AccessLog {
    /// Opens the log.
    pub fn open(
        _path: &std::path::Path,
        _format: Format,
        _dropped: Counter,
    ) -> std::io::Result<(AccessLog, Writer)> {
        Ok((AccessLog, Writer))
    }
    /// Takes from the request's head what the format asks for; when the proxy is done with it.
    pub fn request_heads(
        &self,
        _method: &Method,
        _path: &[u8],
        _authority: &[u8],
        _headers: &HeaderMap,
    ) -> Box<LoggedHeads> {
        Box::default()
    }
    /// Takes from the response's head what the format asks for.
    pub fn response_head(&self, _logged: &mut LoggedHeads, _headers: &HeaderMap) {}
    /// Formats the record and queues its line. Never blocks.
    pub fn log(&self, _record: &RequestRecord) {}
}

impl Writer {
    /// Writes lines until every handle of the log is gone. Blocks: for a thread of its own.
    pub fn run(self) {}
}
