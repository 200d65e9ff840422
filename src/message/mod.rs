//! What a message is made of, apart from any connection: the normal forms of paths and hosts.
//!
//! Law: nothing here knows a configuration, a route or a socket.

pub mod host;
pub mod path;
