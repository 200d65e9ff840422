//! Which match comes first.
//!
//! Law: as the Gateway API has it: an exact path, the longest prefix, a method, most headers, most query parameters; for
//! gRPC the longest service, the longest method, most headers. Where it leaves the choice: an expression comes behind
//! every prefix but `/`, the longer one first; a GRPCRoute's rules, which hold for gRPC alone, come before an HTTPRoute's.

use crate::config::draft::{Order, Specificity};
use crate::snapshot::PathMatch;

/// Of an HTTPRoute's match.
pub(super) fn http(path: Option<&PathMatch>, method: bool, headers: usize, query: usize) -> Order {
    let (kind, length) = match path {
        None => (0, 0),
        Some(PathMatch::Regex(pattern)) => (1, count(pattern.as_str().len())),
        Some(PathMatch::Prefix(text) | PathMatch::Segments(text) | PathMatch::PrefixIgnoreCase(text)) => {
            (2, count(text.len()))
        }
        Some(PathMatch::Exact(_) | PathMatch::ExactIgnoreCase(_)) => (3, 0),
    };
    Order::Specificity(Specificity([0, kind, length, method.into(), count(headers), count(query)]))
}

/// Of a GRPCRoute's match: how many characters its service and its method have, zero for none, and those of an
/// expression, which are neither's.
pub(super) fn grpc(service: usize, method: usize, expression: usize, headers: usize) -> Order {
    Order::Specificity(Specificity([1, count(service), count(method), count(expression), count(headers), 0]))
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
