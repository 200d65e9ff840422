//! What a route does to its requests and answers beside sending them to a version: pure functions from policies and heads.
//!
//! Law: nothing here waits, draws or counts. `proxy::policed` has the order in which they act, which is Envoy's.

pub mod cors;
pub mod edit;
pub mod fault;
pub mod key;
pub mod redirect;
pub mod rewrite;
pub mod sticky;
