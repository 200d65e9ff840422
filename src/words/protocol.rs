//! What a request speaks: its HTTP version and whether it is gRPC.

use std::fmt;

/// The version of HTTP a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

impl HttpVersion {
    /// As logs print it.
    pub fn as_str(self) -> &'static str {
        match self {
            HttpVersion::Http10 => "HTTP/1.0",
            HttpVersion::Http11 => "HTTP/1.1",
            HttpVersion::Http2 => "HTTP/2",
        }
    }
}

impl fmt::Display for HttpVersion {
    /// As Envoy's `%PROTOCOL%` prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the request is to routing and to metrics: gRPC, or any other HTTP. TF Serving has one port for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// POST with `content-type: application/grpc` or `application/grpc+…`.
    Grpc,
    /// Everything else.
    Http,
}

impl Protocol {
    /// Both, in the order of their index.
    pub const ALL: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

    /// The value of Istio's `request_protocol` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Protocol::Grpc => "grpc",
            Protocol::Http => "http",
        }
    }

    /// 0 or 1, for tables that hold one entry for each.
    pub fn index(self) -> usize {
        self as usize
    }
}
