//! What the tests of misbehaving upstreams share.

pub(crate) mod battery;
pub(crate) mod http1_server;
pub(crate) mod http2_server;
