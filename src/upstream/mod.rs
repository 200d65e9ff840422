//! Clusters at run time: which endpoint, over which connection, within which limits.
//!
//! What all workers share ([`cluster`], [`breaker`], [`guard`], the state of an endpoint) is atomics; what one worker owns
//! ([`pool`]) is cells. Law: nothing here reads a request; a pool hands out a connection and gets it back.

mod ask;
pub mod balance;
pub mod breaker;
pub mod cluster;
pub mod guard;
pub mod http1;
pub mod http2;
pub mod pool;
pub mod resolve;
pub mod spans;
