//! The record of one request: filled along its way, read once at its end by metrics and access log alike.
//!
//! Law: plain data. Filling it costs stores only; what needs a lookup or a format happens in those who read it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::words::{Flag, Flags, GrpcStatus, HttpVersion, Protocol};

use super::heads::LoggedHeads;

/// How a gRPC response ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GrpcOutcome {
    /// No `grpc-status` came; of course none does outside gRPC.
    #[default]
    Absent,
    /// A status of the protocol.
    Known(GrpcStatus),
    /// A `grpc-status` that is none of the 17: the number, or -1 where it is none, or a very large one.
    Unknown(i16),
}

impl GrpcOutcome {
    /// Reads the value of a `grpc-status` field.
    pub fn parse(value: &[u8]) -> GrpcOutcome {
        match GrpcStatus::parse(value) {
            Some(status) => GrpcOutcome::Known(status),
            None => GrpcOutcome::Unknown(number(value)),
        }
    }
}

fn number(value: &[u8]) -> i16 {
    let digits =
        std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits.and_then(|digits| digits.parse().ok()).unwrap_or(-1)
}

/// Whose fault the end was, if anyone's: the class that our own metrics and pages count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A complete answer that reports no error.
    Success,
    /// The answer blames the request.
    ClientError,
    /// The answer blames the server, is cut short, or never came.
    ServerError,
    /// The caller left before the end.
    Cancelled,
}

impl Outcome {
    /// Every class, in the order of [`index`](Self::index).
    pub const ALL: [Outcome; 4] =
        [Outcome::Success, Outcome::ClientError, Outcome::ServerError, Outcome::Cancelled];

    /// The value of the `outcome` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::ClientError => "client_error",
            Outcome::ServerError => "server_error",
            Outcome::Cancelled => "cancelled",
        }
    }

    /// 0 to 3, for tables with an entry for each.
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The details of an answer that is an upstream's own.
pub const VIA_UPSTREAM: &str = "via_upstream";

/// What is known of one request.
#[derive(Debug)]
pub struct RequestRecord {
    /// When its head was complete, for durations.
    pub start: Instant,
    /// The same moment by the wall clock, for the access log.
    pub start_wall: SystemTime,
    /// The version of HTTP that the caller speaks.
    pub http_version: HttpVersion,
    /// gRPC or other HTTP.
    pub protocol: Protocol,
    /// The status sent downstream; 0 when none was.
    pub status: u16,
    /// The gRPC status sent downstream.
    pub grpc_status: GrpcOutcome,
    /// Why it ended as it did.
    pub flags: Flags,
    /// Envoy's `%RESPONSE_CODE_DETAILS%`: [`VIA_UPSTREAM`] until somebody answers in the upstream's place, or ends what it
    /// has begun, and says so.
    pub details: &'static str,
    /// Body bytes from the caller.
    pub request_bytes: u64,
    /// Body bytes to the caller.
    pub response_bytes: u64,
    /// gRPC messages from the caller.
    pub request_messages: u64,
    /// gRPC messages to the caller.
    pub response_messages: u64,
    /// From the last attempt's start to its response head.
    pub service_time: Option<Duration>,
    /// From [`start`](Self::start) to the end; set by [`finish`](Self::finish).
    pub duration: Duration,
    /// The endpoint of the last attempt, as `address:port` or a socket's path.
    pub upstream_host: Option<Arc<str>>,
    /// The cluster that was chosen.
    pub cluster: Option<Arc<str>>,
    /// The route that matched.
    pub route: Option<Arc<str>>,
    /// Attempts made upstream, retries included.
    pub attempts: u32,
    /// The caller's address.
    pub downstream_remote: Option<SocketAddr>,
    /// The address that the caller reached.
    pub downstream_local: Option<SocketAddr>,
    /// What the access log wants of the heads; only while one is on.
    pub logged: Option<Box<LoggedHeads>>,
}

impl RequestRecord {
    /// The record of a request whose head is complete now.
    pub fn new(
        start: Instant,
        start_wall: SystemTime,
        http_version: HttpVersion,
        protocol: Protocol,
    ) -> RequestRecord {
        RequestRecord {
            start,
            start_wall,
            http_version,
            protocol,
            status: 0,
            grpc_status: GrpcOutcome::Absent,
            flags: Flags::NONE,
            details: VIA_UPSTREAM,
            request_bytes: 0,
            response_bytes: 0,
            request_messages: 0,
            response_messages: 0,
            service_time: None,
            duration: Duration::ZERO,
            upstream_host: None,
            cluster: None,
            route: None,
            attempts: 0,
            downstream_remote: None,
            downstream_local: None,
            logged: None,
        }
    }

    /// Sets the duration; to be called once, before anybody reports.
    pub fn finish(&mut self, now: Instant) {
        self.duration = now.saturating_duration_since(self.start);
    }

    /// Whose fault the end was.
    pub fn outcome(&self) -> Outcome {
        if self.flags.has(Flag::DownstreamConnectionTermination) {
            return Outcome::Cancelled;
        }
        match (self.protocol, self.grpc_status) {
            (Protocol::Grpc, GrpcOutcome::Known(status)) => grpc_class(status, self.flags),
            // A status that is not in the protocol is UNKNOWN to the caller.
            (Protocol::Grpc, GrpcOutcome::Unknown(_)) => Outcome::ServerError,
            // Without a status only an HTTP client error says anything; a 200 that lacks one was cut.
            (Protocol::Grpc, GrpcOutcome::Absent) if !(400..500).contains(&self.status) => {
                Outcome::ServerError
            }
            _ => http_class(self.status, self.flags),
        }
    }
}

fn grpc_class(status: GrpcStatus, flags: Flags) -> Outcome {
    match status {
        GrpcStatus::Ok if !flags.blame() => Outcome::Success,
        GrpcStatus::Ok => Outcome::ServerError,
        GrpcStatus::Cancelled => Outcome::Cancelled,
        status if status.is_client_error() => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

/// A flag with a status that is no error means that the answer was cut after its head.
fn http_class(status: u16, flags: Flags) -> Outcome {
    match status {
        100..400 if !flags.blame() => Outcome::Success,
        400..500 => Outcome::ClientError,
        _ => Outcome::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(protocol: Protocol) -> RequestRecord {
        RequestRecord::new(Instant::now(), SystemTime::UNIX_EPOCH, HttpVersion::Http2, protocol)
    }

    #[test]
    fn an_http_request_is_classed_by_its_code_and_a_cut_answer_is_the_servers_fault() {
        let class =
            |status, flags: Flags| RequestRecord { status, flags, ..record(Protocol::Http) }.outcome();
        assert_eq!(class(200, Flags::NONE), Outcome::Success);
        assert_eq!(class(302, Flags::NONE), Outcome::Success);
        assert_eq!(class(200, Flag::DelayInjected.into()), Outcome::Success);
        assert_eq!(class(404, Flag::NoRoute.into()), Outcome::ClientError);
        assert_eq!(class(503, Flag::NoHealthyUpstream.into()), Outcome::ServerError);
        assert_eq!(class(200, Flag::UpstreamConnectionTermination.into()), Outcome::ServerError);
        assert_eq!(class(200, Flag::DownstreamConnectionTermination.into()), Outcome::Cancelled);
        assert_eq!(class(0, Flags::NONE), Outcome::ServerError);
        assert_eq!(class(999, Flags::NONE), Outcome::ServerError);
    }

    #[test]
    fn a_grpc_request_is_classed_by_its_status_not_by_the_200_that_carries_it() {
        let class =
            |grpc_status| RequestRecord { status: 200, grpc_status, ..record(Protocol::Grpc) }.outcome();
        assert_eq!(class(GrpcOutcome::Known(GrpcStatus::Ok)), Outcome::Success);
        assert_eq!(class(GrpcOutcome::Known(GrpcStatus::InvalidArgument)), Outcome::ClientError);
        assert_eq!(class(GrpcOutcome::Known(GrpcStatus::Unavailable)), Outcome::ServerError);
        assert_eq!(class(GrpcOutcome::Known(GrpcStatus::Cancelled)), Outcome::Cancelled);
        assert_eq!(class(GrpcOutcome::Unknown(17)), Outcome::ServerError);
        assert_eq!(class(GrpcOutcome::Absent), Outcome::ServerError);
    }

    #[test]
    fn a_status_field_that_is_no_grpc_status_is_unknown() {
        assert_eq!(GrpcOutcome::parse(b"3"), GrpcOutcome::Known(GrpcStatus::InvalidArgument));
        assert_eq!(GrpcOutcome::parse(b"17"), GrpcOutcome::Unknown(17));
        for none in [&b""[..], b"-1", b"+1", b"x", b"99999999999"] {
            assert_eq!(GrpcOutcome::parse(none), GrpcOutcome::Unknown(-1), "{none:?}");
        }
    }
}
