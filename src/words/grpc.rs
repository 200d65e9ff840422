//! gRPC statuses and their two translations: from an HTTP code (Envoy's local replies) and to one (TF Serving's REST table).
//!
//! Source: the gRPC status-code document; Envoy's local-reply mapping; TF Serving's `http_status_util`.

/// A gRPC status code, 0 to 16.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // the names are the document
pub enum GrpcStatus {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

use GrpcStatus::*;

impl GrpcStatus {
    /// Every status, in order of its number.
    pub const ALL: [GrpcStatus; 17] = [
        Ok,
        Cancelled,
        Unknown,
        InvalidArgument,
        DeadlineExceeded,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Aborted,
        OutOfRange,
        Unimplemented,
        Internal,
        Unavailable,
        DataLoss,
        Unauthenticated,
    ];

    /// Reads a `grpc-status` value; anything but a decimal 0 to 16 is `None`.
    pub fn parse(value: &[u8]) -> Option<GrpcStatus> {
        let number = match value {
            [d @ b'0'..=b'9'] => d - b'0',
            [b'1', d @ b'0'..=b'6'] => 10 + d - b'0',
            _ => return None,
        };
        Self::ALL.get(usize::from(number)).copied()
    }

    /// The number on the wire.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// The number on the wire, as text.
    pub fn code_str(self) -> &'static str {
        const TEXT: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        TEXT[self as usize]
    }

    /// Its name in the protocol's document, such as `NOT_FOUND`.
    pub const fn screaming(self) -> &'static str {
        match self {
            Ok => "OK",
            Cancelled => "CANCELLED",
            Unknown => "UNKNOWN",
            InvalidArgument => "INVALID_ARGUMENT",
            DeadlineExceeded => "DEADLINE_EXCEEDED",
            NotFound => "NOT_FOUND",
            AlreadyExists => "ALREADY_EXISTS",
            PermissionDenied => "PERMISSION_DENIED",
            ResourceExhausted => "RESOURCE_EXHAUSTED",
            FailedPrecondition => "FAILED_PRECONDITION",
            Aborted => "ABORTED",
            OutOfRange => "OUT_OF_RANGE",
            Unimplemented => "UNIMPLEMENTED",
            Internal => "INTERNAL",
            Unavailable => "UNAVAILABLE",
            DataLoss => "DATA_LOSS",
            Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// What Envoy's local reply to a gRPC caller carries in place of HTTP `status`.
    pub fn from_http(status: u16) -> GrpcStatus {
        match status {
            400 => Internal,
            401 => Unauthenticated,
            403 => PermissionDenied,
            404 => Unimplemented,
            429 | 502 | 503 | 504 => Unavailable,
            _ => Unknown,
        }
    }

    /// The HTTP code that TF Serving's REST interface gives for this status; 200 for `Ok`.
    pub fn to_http(self) -> u16 {
        match self {
            Ok => 200,
            InvalidArgument | FailedPrecondition | OutOfRange => 400,
            Unauthenticated => 401,
            PermissionDenied => 403,
            NotFound => 404,
            AlreadyExists | Aborted => 409,
            ResourceExhausted => 429,
            Cancelled => 499,
            Unimplemented => 501,
            Unavailable => 503,
            DeadlineExceeded => 504,
            Unknown | Internal | DataLoss => 500,
        }
    }

    /// Whether the caller, not the server, is at fault (the statuses that [`to_http`](Self::to_http) gives a 4xx).
    pub fn is_client_error(self) -> bool {
        (400..500).contains(&self.to_http())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_survives_the_wire_and_nothing_else_parses() {
        for status in GrpcStatus::ALL {
            assert_eq!(GrpcStatus::parse(status.code_str().as_bytes()), Some(status));
            assert_eq!(status.code().to_string(), status.code_str());
        }
        for bad in ["", "17", "00", "-1", " 0", "1 ", "99", "١"] {
            assert_eq!(GrpcStatus::parse(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_broken_signature_is_the_callers_error_and_a_crash_is_the_servers() {
        assert!(InvalidArgument.is_client_error());
        assert!(!Unavailable.is_client_error() && !Internal.is_client_error() && !Ok.is_client_error());
    }
}
