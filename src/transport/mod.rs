//! Sockets: bind, accept, hand over, dial; and our own I/O type that every connection runs on.
//!
//! Law: nothing here reads a header. What a connection is *for* is decided above.

pub mod accept;
pub mod activity;
pub mod detect;
pub mod dial;
pub mod endpoint;
pub mod io;
pub mod listen;
pub mod scratch;
