//! Which requests are traced, and who is told.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::{Address, Fraction};

/// `tracing:`
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tracing {
    /// Where the collector listens.
    pub collector: Address,
    /// The authority of what is sent to it.
    pub authority: Arc<str>,
    /// What it speaks.
    pub protocol: OtlpProtocol,
    /// How long it may take over a batch of spans.
    pub timeout: Duration,
    /// The part that is recorded of requests whose callers have not decided that.
    pub sample: Fraction,
    /// Who the spans are of; `None`: the node's cluster.
    pub service_name: Option<Arc<str>>,
}

/// A form of OpenTelemetry's protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum OtlpProtocol {
    /// gRPC, by HTTP/2 with prior knowledge.
    Grpc,
    /// Protobuf in a POST to a path, by HTTP/1.1.
    Http {
        /// Mostly `/v1/traces`.
        path: Arc<str>,
    },
}
