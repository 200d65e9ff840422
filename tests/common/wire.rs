//! Raw HTTP/1 on both sides of the proxy: tables of messages, the caller that sends them, the upstream that records.
//!
//! Its laws: no HTTP library stands between a test and the bytes; a table reports all its failing rows at once; what an
//! upstream saw is known to belong to one row, whatever else runs beside it.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

pub mod caller;
pub mod recorder;
pub mod table;

/// Bytes as text, one character for each byte, so that no byte is lost or merged.
pub fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// Bytes for a report: printable, and not longer than a line or two.
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 300;
    let text = bytes[..bytes.len().min(MOST)].escape_ascii().to_string();
    if bytes.len() > MOST { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
