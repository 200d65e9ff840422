//! Fields in words, as both sides are compared by.
//!
//! Law: what differs from request to request, or is framing, is left out or stands as `_`; everything else is told.

use http::HeaderMap;

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up,
    Down,
}

/// Not told: random, of the test itself, Weir's own, or framing.
const UNTOLD: [&str; 14] = [
    "connection",
    "date",
    "host",
    "keep-alive",
    "server",
    "transfer-encoding",
    "x-do",
    "x-emit",
    "x-envoy-internal",
    "x-forwarded-for", // Envoy's copies name the machine as their sender; no other request here has one
    "x-probe",
    "x-request-id",
    "x-weir-hop",
    "x-weir-in-flight",
];
/// Told without their value, which is a time.
const TIMES: [&str; 3] = ["grpc-timeout", "x-envoy-expected-rq-timeout-ms", "x-envoy-upstream-service-time"];

/// All fields, sorted by name; several of one name in their order.
pub(super) fn fields(all: &[(String, String)], way: Way) -> String {
    let mut told: Vec<(&str, String)> = Vec::new();
    for (name, value) in all {
        // A request's length is its framing, and so is that of no body. Any other tells the caller something.
        let framing = name == "content-length" && (way == Way::Up || value == "0");
        // Both say so; it would stand in every row.
        let usual = name == "x-forwarded-proto" && value == "http";
        if framing || usual || UNTOLD.contains(&name.as_str()) {
            continue;
        }
        let value = if TIMES.contains(&name.as_str()) { "_" } else { value.as_str() };
        told.push((name, format!("{name}: {value}")));
    }
    told.sort_by_key(|(name, _)| *name);
    told.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(", ")
}

pub(super) fn of_map(map: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.as_bytes().escape_ascii().to_string();
    map.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}
