//! Properties that hold for any bytes: one module a fuzz target, each with `check(data)`, which panics if its
//! property does not hold.
//!
//! Law: no `check` depends on anything but its bytes, so that what one run finds another repeats.

pub mod access_log_format;
pub mod caller_asks;
pub mod convert;
pub mod explain_requests;
pub mod grpc_frames;
pub mod header_edits;
pub mod health_answers;
pub mod host;
pub mod hpack;
pub mod http1_chunks;
pub mod http1_head;
pub mod http2_connection;
pub mod http2_frames;
pub mod input;
pub mod path;
pub mod rewrite;
pub mod router;
pub mod rules;
pub mod sticky_key;
pub mod trace_context;
pub mod weir_yaml;

/// Every target: its name, which is its folder in the corpus, and its property.
pub const ALL: &[(&str, fn(&[u8]))] = &[
    ("access_log_format", access_log_format::check),
    ("caller_asks", caller_asks::check),
    ("convert", convert::check),
    ("explain_requests", explain_requests::check),
    ("grpc_frames", grpc_frames::check),
    ("header_edits", header_edits::check),
    ("health_answers", health_answers::check),
    ("host", host::check),
    ("hpack", hpack::check),
    ("http1_chunks", http1_chunks::check),
    ("http1_head", http1_head::check),
    ("http2_connection", http2_connection::check),
    ("http2_frames", http2_frames::check),
    ("path", path::check),
    ("rewrite", rewrite::check),
    ("router", router::check),
    ("rules", rules::check),
    ("sticky_key", sticky_key::check),
    ("trace_context", trace_context::check),
    ("weir_yaml", weir_yaml::check),
];
