//! Where requests are logged, which, and how.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

/// Where requests are logged, which, and how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AccessLog {
    /// A file, or `/dev/stdout`.
    pub path: PathBuf,
    /// The form of a line.
    pub format: LogFormat,
    /// Which requests, where not all are logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<LogFilter>,
}

/// The form of an access-log line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum LogFormat {
    /// Envoy's default line.
    Envoy,
    /// One JSON object a line.
    Json,
    /// A string of Envoy's operators, already checked.
    Custom(Arc<str>),
    /// An object of one's own.
    Object {
        /// Its keys are sorted; the texts in it, which may hold operators, are already checked.
        json: serde_json::Value,
        /// What is missing is left out.
        omit_empty: bool,
    },
}

/// Which requests are logged: those for which all of this holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogFilter {
    /// The least and the highest status.
    pub status: Option<(u16, u16)>,
    /// The least and the longest duration.
    pub duration: Option<(Duration, Duration)>,
    /// Short names of flags, of which one has to be raised.
    pub flags: Option<Arc<[Arc<str>]>>,
    /// Whether health checks are logged, too.
    pub health_checks: bool,
    /// One of these has to hold as well, if there are any.
    pub any: Arc<[LogFilter]>,
}
