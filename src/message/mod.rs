//! HTTP messages and what every floor must know about them: bodies, normal forms, hop-by-hop fields, gRPC framing,
//! protobuf.
//!
//! Law: no connection, no configuration, no clock.

pub mod body;
pub mod forwarded;
pub mod grpc;
pub mod hop_by_hop;
pub mod host;
pub mod http1;
pub mod http2;
pub mod path;
pub mod protobuf;
pub mod pump;
pub mod query;
pub mod secrets;
pub mod slices;
pub mod spare;
pub mod values;
pub mod xxhash;
