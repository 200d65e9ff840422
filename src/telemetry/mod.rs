//! What is measured, and how it gets out: the recorder, the metric names, the request record, the access log,
//! traces.
//!
//! Law: one [`RequestRecord`] per request feeds everything; a request does no label lookup and no formatting for
//! metrics. Knows no configuration, no route and no cluster: their names come in as label values.

pub mod access_log;
pub mod contract;
pub mod credentials;
pub mod dimension;
pub mod families;
pub mod history;
pub mod line_queue;
pub mod record;
pub mod stats;
pub mod trace;
pub mod window;

mod exposition;
mod facade;
mod family;
mod field;
mod format;
mod gauge_set;
mod heads;
mod json_line;
mod labels;
mod line;
mod log_filter;
mod moments;
mod recorder;
mod registry;
mod shard;
mod template;
mod time_form;
mod version;

pub use access_log::{AccessLog, AccessLogs, Format, InvalidFormat, LoggedHeads};
pub use exposition::{CONTENT_TYPE, Page};
pub use families::{
    ClusterMeter, GuardCounts, GuardEvent, GuardMeter, HopMeter, HttpMeter, ListenerMeter, MirrorMeter,
    ProcessMeter, ServerMeter,
};
pub use family::{Family, Kind, Labels};
pub use gauge_set::GaugeSet;
pub use heads::forwarded_for;
pub use labels::{CallerLabels, UNKNOWN, VersionLabels, WorkloadLabels};
pub use log_filter::LogFilter;
pub use moments::{Moments, Wire};
pub use record::{GrpcOutcome, Outcome, RequestRecord};
pub use recorder::{Counter, Gauge, Histogram, RealCounter, Recorder};
pub use shard::{ShardGuard, bind_shard};
pub use version::VersionMeter;
pub use window::{Figures, VersionStats};
