//! HTTP/2 (RFC 9113, RFC 7541): frames, header blocks, the heads that they carry, and the engine of both ends.
//!
//! Laws: all of it runs on one thread, without a lock. Codec and core do no I/O and know no clock; the connection's task
//! ([`connection`]) is the one that reads and writes, over whatever is a [`connection::Wire`].

mod blocks;
pub mod client;
pub mod connection;
mod core;
mod data;
mod ends;
pub mod error;
pub mod frame;
mod handles;
pub mod head;
pub mod hpack;
mod out;
mod receive;
mod send;
pub mod server;
mod stream;
mod streams;
mod tally;
#[cfg(test)]
mod tests;
mod windows;

pub use self::core::Settings;
pub use error::Error;
pub use frame::Reason;
pub use handles::{RecvStream, SendResponse, SendStream};
pub use tally::Tally;

/// What is wrong with a request that is to be answered with 400; among its extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw(pub &'static str);
