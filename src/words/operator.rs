//! The operators of format strings that Weir can fill, Envoy's and one of its own: `%NAME%`, `%NAME(argument)%`, `%NAME(argument):limit%`.
//!
//! Law: a closed list. An operator that is not in it is refused by name, never printed as it stands.
//! Source: Envoy's access-log documentation, "command operators".

/// One operator, without its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // Envoy's names are the document
pub enum Operator {
    StartTime,
    Req,
    Resp,
    Trailer,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    ResponseFlagsLong,
    BytesReceived,
    BytesSent,
    Duration,
    RequestDuration,
    RequestTxDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocalAddress,
    UpstreamRemoteAddress,
    UpstreamRequestAttemptCount,
    UpstreamTransportFailureReason,
    UpstreamWireBytesReceived,
    UpstreamWireBytesSent,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamDirectRemoteAddress,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    ConnectionId,
    ConnectionTerminationDetails,
    RequestedServerName,
    RouteName,
    VirtualClusterName,
    GrpcStatus,
    GrpcStatusNumber,
    StreamId,
    TraceId,
    LocalReplyBody,
    Hostname,
    Environment,
    /// Weir's own: the version that was chosen.
    WeirVersion,
}

use Operator::*;

/// Other names of some. A cluster has one name here, in Envoy also one for show.
const ALIASES: [(&str, Operator); 4] = [
    ("REQUEST_HEADER", Req),
    ("RESPONSE_HEADER", Resp),
    ("RESPONSE_TRAILER", Trailer),
    ("UPSTREAM_CLUSTER_RAW", UpstreamCluster),
];

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 43] = [
        StartTime,
        Req,
        Resp,
        Trailer,
        Protocol,
        ResponseCode,
        ResponseCodeDetails,
        ResponseFlags,
        ResponseFlagsLong,
        BytesReceived,
        BytesSent,
        Duration,
        RequestDuration,
        RequestTxDuration,
        ResponseDuration,
        ResponseTxDuration,
        UpstreamHost,
        UpstreamCluster,
        UpstreamLocalAddress,
        UpstreamRemoteAddress,
        UpstreamRequestAttemptCount,
        UpstreamTransportFailureReason,
        UpstreamWireBytesReceived,
        UpstreamWireBytesSent,
        DownstreamRemoteAddress,
        DownstreamRemoteAddressWithoutPort,
        DownstreamDirectRemoteAddress,
        DownstreamLocalAddress,
        DownstreamLocalAddressWithoutPort,
        DownstreamLocalPort,
        ConnectionId,
        ConnectionTerminationDetails,
        RequestedServerName,
        RouteName,
        VirtualClusterName,
        GrpcStatus,
        GrpcStatusNumber,
        StreamId,
        TraceId,
        LocalReplyBody,
        Hostname,
        Environment,
        WeirVersion,
    ];

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        match self {
            StartTime => "START_TIME",
            Req => "REQ",
            Resp => "RESP",
            Trailer => "TRAILER",
            Protocol => "PROTOCOL",
            ResponseCode => "RESPONSE_CODE",
            ResponseCodeDetails => "RESPONSE_CODE_DETAILS",
            ResponseFlags => "RESPONSE_FLAGS",
            ResponseFlagsLong => "RESPONSE_FLAGS_LONG",
            BytesReceived => "BYTES_RECEIVED",
            BytesSent => "BYTES_SENT",
            Duration => "DURATION",
            RequestDuration => "REQUEST_DURATION",
            RequestTxDuration => "REQUEST_TX_DURATION",
            ResponseDuration => "RESPONSE_DURATION",
            ResponseTxDuration => "RESPONSE_TX_DURATION",
            UpstreamHost => "UPSTREAM_HOST",
            UpstreamCluster => "UPSTREAM_CLUSTER",
            UpstreamLocalAddress => "UPSTREAM_LOCAL_ADDRESS",
            UpstreamRemoteAddress => "UPSTREAM_REMOTE_ADDRESS",
            UpstreamRequestAttemptCount => "UPSTREAM_REQUEST_ATTEMPT_COUNT",
            UpstreamTransportFailureReason => "UPSTREAM_TRANSPORT_FAILURE_REASON",
            UpstreamWireBytesReceived => "UPSTREAM_WIRE_BYTES_RECEIVED",
            UpstreamWireBytesSent => "UPSTREAM_WIRE_BYTES_SENT",
            DownstreamRemoteAddress => "DOWNSTREAM_REMOTE_ADDRESS",
            DownstreamRemoteAddressWithoutPort => "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
            DownstreamDirectRemoteAddress => "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
            DownstreamLocalAddress => "DOWNSTREAM_LOCAL_ADDRESS",
            DownstreamLocalAddressWithoutPort => "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
            DownstreamLocalPort => "DOWNSTREAM_LOCAL_PORT",
            ConnectionId => "CONNECTION_ID",
            ConnectionTerminationDetails => "CONNECTION_TERMINATION_DETAILS",
            RequestedServerName => "REQUESTED_SERVER_NAME",
            RouteName => "ROUTE_NAME",
            VirtualClusterName => "VIRTUAL_CLUSTER_NAME",
            GrpcStatus => "GRPC_STATUS",
            GrpcStatusNumber => "GRPC_STATUS_NUMBER",
            StreamId => "STREAM_ID",
            TraceId => "TRACE_ID",
            LocalReplyBody => "LOCAL_REPLY_BODY",
            Hostname => "HOSTNAME",
            Environment => "ENVIRONMENT",
            WeirVersion => "WEIR_VERSION",
        }
    }

    /// The operator of that name, or of another that Envoy has for it.
    pub fn parse(name: &str) -> Option<Operator> {
        let alias = || ALIASES.iter().find(|(alias, _)| *alias == name).map(|(_, operator)| *operator);
        Self::ALL.into_iter().find(|operator| operator.name() == name).or_else(alias)
    }

    /// Whether it names a header in its argument, which it then needs.
    pub fn wants_header(self) -> bool {
        matches!(self, Req | Resp | Trailer)
    }

    /// Whether it may have an argument.
    pub fn takes_argument(self) -> bool {
        self.wants_header() || matches!(self, StartTime | GrpcStatus | Environment)
    }

    /// Why Weir cannot fill `name`, where that is one of Envoy's operators and there is a reason.
    pub fn why_not(name: &str) -> Option<&'static str> {
        let of_tls = ["_TLS_", "_PEER_", "_SAN", "_SUBJECT", "TLS_JA"];
        match name {
            "DYNAMIC_METADATA"
            | "CLUSTER_METADATA"
            | "UPSTREAM_METADATA"
            | "METADATA"
            | "FILTER_STATE"
            | "UPSTREAM_FILTER_STATE" => Some("requests carry no metadata here"),
            _ if of_tls.iter().any(|part| name.contains(part)) => Some("Weir speaks no TLS"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_found_by_its_name_and_no_other() {
        for operator in Operator::ALL {
            assert_eq!(Operator::parse(operator.name()), Some(operator));
            assert_eq!(Operator::why_not(operator.name()), None);
        }
        assert_eq!(Operator::parse("REQUEST_HEADER"), Some(Req));
        assert_eq!(Operator::parse("start_time"), None);
        assert_eq!(Operator::parse(""), None);
    }
}
