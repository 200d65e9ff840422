//! `/memory`: what the process takes, as Envoy's `Memory`: 64-bit numbers are strings in its JSON.
//!
//! Law: told by the kernel; nothing here asks the allocator, which keeps no such figures.

use serde_json::json;

use super::Admin;
use super::reply::{Query, Reply};
use crate::telemetry::families::envoy_server::Memory;

/// See the module.
pub(super) fn memory(_: &Admin, _: &Query) -> Reply {
    let Memory { resident_bytes, anonymous_bytes } = Memory::read();
    Reply::json(&json!({
        "allocated": anonymous_bytes.to_string(),
        "heap_size": anonymous_bytes.to_string(),
        "pageheap_unmapped": "0",
        "pageheap_free": "0",
        "total_thread_cache": "0",
        "total_physical_bytes": resident_bytes.to_string(),
    }))
}
