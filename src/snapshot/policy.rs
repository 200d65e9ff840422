//! What is said of a route's requests beside their match and their versions; behind a pointer, so that a plain split holds a null.
//!
//! Law: dialect-free. Nothing here knows who said it; what a dialect's default is has been decided when linking. The order
//! in which it acts is Envoy's: CORS, fault, then the router (edits, split, attempts); `filters` and `proxy::policied`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::edit::{HeaderEdits, Redirect, Rewrite};
use super::hash::Sticky;
use super::retry::RetryPolicy;
use super::route::{Fraction, OrdName, StringMatch, VersionTarget};
use crate::words::GrpcStatus;

/// See the module. `Default` says nothing at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct RoutePolicy {
    /// Those beside `Forward::timeout`, which holds for the whole request.
    pub timeouts: Timeouts,
    /// When a failed attempt is made again; `None`: once, where that is safe (`proxy::retry`).
    pub retry: Option<RetryPolicy>,
    /// Where copies go.
    pub mirrors: Vec<Mirror>,
    /// What is made to go wrong.
    pub fault: Option<Fault>,
    /// What browsers of other origins may do.
    pub cors: Option<Cors>,
    /// Edits of the request's fields, after the share's own.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's fields, after the share's own; of local replies too.
    pub response_headers: HeaderEdits,
    /// Another path or host for the upstream.
    pub rewrite: Option<Rewrite>,
    /// What chooses the version in place of the schedule.
    pub sticky: Option<Sticky>,
    /// The answer's field that names the chosen version.
    pub version_header: Option<OrdName>,
    /// The status of requests whose cluster is not there, 503 unless said; gRPC callers get UNAVAILABLE in any case.
    pub cluster_not_found: Option<u16>,
}

/// Bounds of time. `None`: as the process's limits say, or none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Timeouts {
    /// A stream without a byte either way; zero turns it off.
    pub idle: Option<Duration>,
    /// The longest `grpc-timeout` that is honoured; longer ones count as this.
    pub grpc_max: Option<Duration>,
}

/// What is said of one share of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TargetPolicy {
    /// Edits of the request's fields.
    pub request_headers: HeaderEdits,
    /// Edits of the answer's fields.
    pub response_headers: HeaderEdits,
    /// Another path or host for this share alone; wins over the route's.
    pub rewrite: Option<Rewrite>,
    /// Copies of this share's requests alone.
    pub mirrors: Vec<Mirror>,
    /// What browsers of other origins may do, where the route says nothing of it. A preflight takes a share as any request.
    pub cors: Option<Cors>,
    /// The share's requests are sent elsewhere and reach no endpoint.
    pub redirect: Option<Redirect>,
}

/// A copy of requests, fire and forget. `weight` of the target has no meaning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mirror {
    /// Where it goes.
    pub target: VersionTarget,
    /// How many of the requests.
    pub fraction: Fraction,
}

/// What is made to go wrong. Delay comes before abort.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fault {
    /// Flag DI.
    pub delay: Option<Delay>,
    /// Flag FI.
    pub abort: Option<Abort>,
}

/// Requests wait before anything else happens to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Delay {
    pub fixed: Duration,
    pub fraction: Fraction,
}

/// Requests are answered without an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct Abort {
    pub status: AbortStatus,
    pub fraction: Fraction,
}

/// What the answer says. A gRPC caller gets an HTTP status as the gRPC one that stands for it, and any other caller a 200
/// in place of a gRPC status, as in Envoy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub enum AbortStatus {
    Http(u16),
    Grpc(#[serde(serialize_with = "grpc_code")] GrpcStatus),
}

/// Envoy's cors filter. Lists are as they are sent, joined by commas; `*` in one means all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cors {
    /// An origin that one of these holds for is let in. [`StringMatch::Present`]: every origin.
    pub origins: Vec<StringMatch>,
    /// `access-control-allow-methods`
    pub methods: Option<Arc<str>>,
    /// `access-control-allow-headers`
    pub headers: Option<Arc<str>>,
    /// `access-control-expose-headers`
    pub expose: Option<Arc<str>>,
    /// `access-control-max-age`, whole seconds.
    pub max_age: Option<Duration>,
    /// `access-control-allow-credentials: true`
    pub credentials: bool,
    /// What becomes of a preflight of another origin.
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What becomes of a preflight request whose origin is not let in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub enum UnmatchedPreflights {
    /// It goes to the upstream, as in Envoy.
    #[default]
    Forward,
    /// It is answered here, without any `access-control-` field.
    Answer,
}

fn grpc_code<S: Serializer>(status: &GrpcStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*status as u8)
}
