//! What a caller gets when Weir itself answers: one table from reason to status, body, flag and details.
//!
//! Law: the same reason gives the same answer everywhere; a gRPC caller gets it as a gRPC status.
//! Source: Envoy's local replies, seen on Envoy 1.40 (`docs/wire.md`).

use http::StatusCode;

use crate::message::http1::HeadError;
use crate::snapshot::AbortStatus;
use crate::telemetry::families::weir::HopError;
use crate::words::{Flag, GrpcStatus};

mod form;

pub(super) use form::{head_only, of_route};

/// Why Weir answers itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The message has no single reading; `details` says where.
    BadRequest(&'static str),
    /// The head is larger than `head_bytes` or has more than `head_count` fields.
    HeadTooLarge(&'static str),
    /// The head was not whole in time.
    HeadTimeout,
    /// CONNECT: no tunnel is offered.
    NoTunnel,
    /// An upgrade that no route allows.
    UpgradeRefused,
    /// A delivery listener does not know the peer.
    PeerRefused,
    /// No virtual host or no route.
    NoRoute,
    /// The pod is not the service or version that the hop names.
    Misdirected,
    /// The request went through too many Weirs.
    TooManyHops,
    /// The route names a cluster that is not there.
    NoCluster,
    /// The same, of a route that says what the caller gets then.
    ClusterNotFound(u16),
    /// A fault was to be injected.
    FaultAbort(AbortStatus),
    /// What the route makes of the path or the host is none.
    RewriteFailed,
    /// The cluster has no usable endpoint.
    NoEndpoint,
    /// A circuit breaker is open.
    Overflow,
    /// The upstream could not be reached.
    ConnectFailure,
    /// The upstream could not be reached in time.
    ConnectTimeout,
    /// The upstream ended the connection before the head of its answer.
    UpstreamClosed,
    /// The upstream reset the stream before the head of its answer.
    UpstreamReset,
    /// The upstream refused the stream.
    UpstreamRefusedStream,
    /// The upstream's answer cannot be read.
    UpstreamProtocolError,
    /// The caller left before its request was whole; nobody reads the answer.
    CallerLeft,
    /// The request's time is up.
    Timeout,
    /// The time is up that the caller's `grpc-timeout` gave.
    GrpcDeadline,
    /// The last attempt took longer than one may.
    PerTryTimeout,
    /// In the last attempt no byte moved for longer than one may be idle.
    PerTryIdle,
    /// No byte moved for too long.
    StreamIdle,
    /// The same, and the request is not whole: its caller was waited for.
    RequestIdle,
    /// Weir gave the request up, for a budget.
    LocalReset,
}

/// One row of the table.
struct Row {
    status: StatusCode,
    body: &'static str,
    flag: Option<Flag>,
    details: &'static str,
    close: bool,
    /// For a gRPC caller, where not what stands for `status`.
    grpc: Option<GrpcStatus>,
}

impl Row {
    /// What a gRPC caller reads.
    fn grpc_status(&self) -> GrpcStatus {
        self.grpc.unwrap_or_else(|| GrpcStatus::from_http(self.status.as_u16()))
    }
}

impl Reason {
    /// Why a message whose head or body cannot be taken is refused.
    pub(super) fn of_head(error: HeadError) -> Reason {
        match error {
            HeadError::TooLarge | HeadError::TooMany => Reason::HeadTooLarge(error.detail()),
            HeadError::Malformed(_) => Reason::BadRequest(error.detail()),
        }
    }

    fn row(self) -> Row {
        use StatusCode as S;
        let row = |status, body, flag, details| Row { status, body, flag, details, close: false, grpc: None };
        let close = |status, body, flag, details| Row { close: true, ..row(status, body, flag, details) };
        match self {
            Reason::BadRequest(details) => {
                close(S::BAD_REQUEST, "Bad Request", Some(Flag::DownstreamProtocolError), details)
            }
            Reason::HeadTooLarge(details) => close(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "Request Header Fields Too Large",
                Some(Flag::DownstreamProtocolError),
                details,
            ),
            Reason::HeadTimeout => {
                close(S::REQUEST_TIMEOUT, "request header timeout", None, "request_header_timeout")
            }
            Reason::NoTunnel => close(S::NOT_FOUND, "", Some(Flag::NoRoute), "route_not_found"),
            Reason::UpgradeRefused => close(S::FORBIDDEN, "", None, "upgrade_failed"),
            Reason::PeerRefused => {
                close(S::FORBIDDEN, "peer is no endpoint of the service", None, "delivery_peer_refused")
            }
            Reason::CallerLeft => close(
                S::BAD_REQUEST,
                "",
                Some(Flag::DownstreamConnectionTermination),
                "downstream_remote_disconnect",
            ),
            Reason::NoRoute => row(S::NOT_FOUND, "", Some(Flag::NoRoute), "route_not_found"),
            Reason::Misdirected => row(S::MISDIRECTED_REQUEST, "", None, "delivery_misdirected"),
            Reason::TooManyHops => row(S::LOOP_DETECTED, "too many hops", None, "too_many_hops"),
            Reason::NoCluster => row(S::SERVICE_UNAVAILABLE, "", Some(Flag::NoCluster), "cluster_not_found"),
            Reason::RewriteFailed => row(S::INTERNAL_SERVER_ERROR, "", None, "path_rewrite_failed"),
            Reason::NoEndpoint => row(
                S::SERVICE_UNAVAILABLE,
                "no healthy upstream",
                Some(Flag::NoHealthyUpstream),
                "no_healthy_upstream",
            ),
            Reason::Timeout => row(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                Some(Flag::UpstreamRequestTimeout),
                "response_timeout",
            ),
            // A caller that named a deadline is told that it has passed.
            Reason::GrpcDeadline => Row { grpc: Some(GrpcStatus::DeadlineExceeded), ..Reason::Timeout.row() },
            Reason::PerTryTimeout => row(
                S::GATEWAY_TIMEOUT,
                "upstream request timeout",
                Some(Flag::UpstreamRequestTimeout),
                "upstream_per_try_timeout",
            ),
            Reason::PerTryIdle => {
                Row { details: "upstream_per_try_idle_timeout", ..Reason::PerTryTimeout.row() }
            }
            Reason::StreamIdle => row(
                S::GATEWAY_TIMEOUT,
                "stream timeout",
                Some(Flag::StreamIdleTimeout),
                "stream_idle_timeout",
            ),
            // RFC 9110 section 15.5.9: what may still come of the request is not waited for.
            Reason::RequestIdle => {
                Row { status: S::REQUEST_TIMEOUT, close: true, ..Reason::StreamIdle.row() }
            }
            // For gRPC callers UNAVAILABLE in any case.
            Reason::ClusterNotFound(status) => Row {
                status: status_of(status),
                grpc: Some(GrpcStatus::Unavailable),
                ..Reason::NoCluster.row()
            },
            Reason::FaultAbort(status) => {
                let (status, grpc) = match status {
                    AbortStatus::Http(status) => (status_of(status), None),
                    AbortStatus::Grpc(status) => (S::OK, Some(status)),
                };
                let flag = Some(Flag::FaultInjected);
                Row { grpc, ..row(status, "fault filter abort", flag, "fault_filter_abort") }
            }
            _ => self.upstream_row(),
        }
    }

    /// Failures between the choice of an endpoint and the head of its answer.
    fn upstream_row(self) -> Row {
        macro_rules! reset {
            ($reason:literal, $flag:expr, $details:literal) => {
                Row {
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    body: concat!(
                        "upstream connect error or disconnect/reset before headers. reset reason: ",
                        $reason
                    ),
                    flag: Some($flag),
                    details: concat!("upstream_reset_before_response_started{", $details, "}"),
                    close: false,
                    grpc: None,
                }
            };
        }
        match self {
            Reason::ConnectFailure => {
                reset!(
                    "remote connection failure",
                    Flag::UpstreamConnectionFailure,
                    "remote_connection_failure"
                )
            }
            Reason::ConnectTimeout => {
                reset!("connection timeout", Flag::UpstreamConnectionFailure, "connection_timeout")
            }
            Reason::UpstreamReset => reset!("remote reset", Flag::UpstreamRemoteReset, "remote_reset"),
            Reason::UpstreamRefusedStream => {
                reset!(
                    "remote refused stream reset",
                    Flag::UpstreamRemoteReset,
                    "remote_refused_stream_reset"
                )
            }
            Reason::UpstreamProtocolError => Row {
                status: StatusCode::BAD_GATEWAY,
                ..reset!("protocol error", Flag::UpstreamProtocolError, "protocol_error")
            },
            Reason::Overflow => reset!("overflow", Flag::UpstreamOverflow, "overflow"),
            Reason::LocalReset => reset!("local reset", Flag::LocalReset, "local_reset"),
            _ => reset!(
                "connection termination",
                Flag::UpstreamConnectionTermination,
                "connection_termination"
            ),
        }
    }

    /// The status with which it stands for a cluster's answer that did not come; what it is to a gRPC caller does not
    /// matter for that.
    pub(super) fn of_cluster(self) -> Option<StatusCode> {
        let is = matches!(
            self,
            Reason::NoEndpoint
                | Reason::Overflow
                | Reason::ConnectFailure
                | Reason::ConnectTimeout
                | Reason::UpstreamClosed
                | Reason::UpstreamReset
                | Reason::UpstreamRefusedStream
                | Reason::UpstreamProtocolError
                | Reason::Timeout
                | Reason::GrpcDeadline
                | Reason::PerTryTimeout
                | Reason::PerTryIdle
        );
        is.then(|| self.row().status)
    }

    /// Why it refuses a hop, where it does: the Weir that sent the request has to know.
    fn refusal(self) -> Option<HopError> {
        match self {
            Reason::Misdirected => Some(HopError::Misdirected),
            Reason::TooManyHops => Some(HopError::Loop),
            Reason::PeerRefused => Some(HopError::Refused),
            _ => None,
        }
    }

    /// The flag that it raises.
    pub(super) fn flag(self) -> Option<Flag> {
        self.row().flag
    }

    /// `%RESPONSE_CODE_DETAILS%`
    pub(super) fn details(self) -> &'static str {
        self.row().details
    }

    /// What a gRPC caller reads.
    pub(super) fn grpc_status(self) -> GrpcStatus {
        self.row().grpc_status()
    }
}

/// What was configured has been checked.
fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Flags;

    #[test]
    fn each_reason_raises_envoys_flag() {
        for (reason, status, flag) in [
            (Reason::NoRoute, 404, "NR"),
            (Reason::NoCluster, 503, "NC"),
            (Reason::NoEndpoint, 503, "UH"),
            (Reason::ConnectFailure, 503, "UF"),
            (Reason::ConnectTimeout, 503, "UF"),
            (Reason::UpstreamClosed, 503, "UC"),
            (Reason::UpstreamReset, 503, "UR"),
            (Reason::Overflow, 503, "UO"),
            (Reason::Timeout, 504, "UT"),
            (Reason::GrpcDeadline, 504, "UT"),
            (Reason::PerTryTimeout, 504, "UT"),
            (Reason::PerTryIdle, 504, "UT"),
            (Reason::StreamIdle, 504, "SI"),
            (Reason::RequestIdle, 408, "SI"),
            (Reason::ClusterNotFound(500), 500, "NC"),
            (Reason::FaultAbort(AbortStatus::Http(418)), 418, "FI"),
            (Reason::FaultAbort(AbortStatus::Grpc(GrpcStatus::NotFound)), 200, "FI"),
        ] {
            let flags = reason.flag().map(Flags::from).unwrap_or_default();
            assert_eq!((reason.row().status.as_u16(), flags.to_string().as_str()), (status, flag));
        }
    }
}
