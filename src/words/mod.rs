//! The closed vocabularies that every part of Weir shares: response flags, gRPC statuses, protocols, format
//! operators, targets of the log.
//!
//! Law: nothing here knows a configuration, a connection or a clock, so every floor may use it.

pub mod flags;
pub mod grpc;
pub mod log_targets;
pub mod operator;
pub mod protocol;

pub use flags::{Flag, Flags};
pub use grpc::GrpcStatus;
pub use operator::Operator;
pub use protocol::{HttpVersion, Protocol};
