//! Everything at once, for minutes: callers of every kind, upstreams that fail now and then, and a book of who did what.
//!
//! Laws: a request tells its upstream in one header what to do with it, so each end can be foretold; an upstream notes
//! what it did to whom; an end that neither foretells is a failure of the proxy.
// Compiled into the soak test; `pub` marks what its files ask of each other.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod ask;
pub mod callers;
pub mod grpc;
pub mod http1;
pub mod judge;
pub mod ledger;
pub mod load;
pub mod pattern;
pub mod process;
pub mod rest;
pub mod server1;
pub mod server2;
pub mod watch;
