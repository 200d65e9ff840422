//! HTTP/2 on the wire (RFC 9113): frames, header blocks (RFC 7541), and the heads that they carry.
//!
//! Law: what stands here is pure: no I/O, no configuration but bounds.

pub mod frame;
pub mod head;
pub mod hpack;
