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
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    BytesReceived,
    BytesSent,
    Duration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamRequestAttemptCount,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamLocalAddress,
    RouteName,
    GrpcStatus,
    GrpcStatusNumber,
    /// Weir's own: the version that was chosen.
    WeirVersion,
}

use Operator::*;

impl Operator {
    /// Every operator.
    pub const ALL: [Operator; 20] = [
        StartTime,
        Req,
        Resp,
        Protocol,
        ResponseCode,
        ResponseCodeDetails,
        ResponseFlags,
        BytesReceived,
        BytesSent,
        Duration,
        UpstreamHost,
        UpstreamCluster,
        UpstreamRequestAttemptCount,
        DownstreamRemoteAddress,
        DownstreamRemoteAddressWithoutPort,
        DownstreamLocalAddress,
        RouteName,
        GrpcStatus,
        GrpcStatusNumber,
        WeirVersion,
    ];

    /// Envoy's name.
    pub fn name(self) -> &'static str {
        match self {
            StartTime => "START_TIME",
            Req => "REQ",
            Resp => "RESP",
            Protocol => "PROTOCOL",
            ResponseCode => "RESPONSE_CODE",
            ResponseCodeDetails => "RESPONSE_CODE_DETAILS",
            ResponseFlags => "RESPONSE_FLAGS",
            BytesReceived => "BYTES_RECEIVED",
            BytesSent => "BYTES_SENT",
            Duration => "DURATION",
            UpstreamHost => "UPSTREAM_HOST",
            UpstreamCluster => "UPSTREAM_CLUSTER",
            UpstreamRequestAttemptCount => "UPSTREAM_REQUEST_ATTEMPT_COUNT",
            DownstreamRemoteAddress => "DOWNSTREAM_REMOTE_ADDRESS",
            DownstreamRemoteAddressWithoutPort => "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
            DownstreamLocalAddress => "DOWNSTREAM_LOCAL_ADDRESS",
            RouteName => "ROUTE_NAME",
            GrpcStatus => "GRPC_STATUS",
            GrpcStatusNumber => "GRPC_STATUS_NUMBER",
            WeirVersion => "WEIR_VERSION",
        }
    }

    /// The operator of that name.
    pub fn parse(name: &str) -> Option<Operator> {
        Self::ALL.into_iter().find(|operator| operator.name() == name)
    }

    /// Whether it names a header in its argument, which it then needs.
    pub fn wants_header(self) -> bool {
        matches!(self, Req | Resp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_is_found_by_its_name_and_no_other() {
        for operator in Operator::ALL {
            assert_eq!(Operator::parse(operator.name()), Some(operator));
        }
        assert_eq!(Operator::parse("start_time"), None);
        assert_eq!(Operator::parse(""), None);
    }
}
