//! Weir's own metrics by the dimensions that the configuration names.
//!
//! Law: families of their own, not labels of others: a dimension multiplies the series of these two alone, and no query of
//! Istio's dashboards sees it.

use super::super::contract::{Label, Values};
use super::super::dimension::{NONE, OTHER};
use super::super::family::Family;
use super::buckets::SECONDS;
use super::labels::{OUTCOME, SERVICE, VERSION};

const DIMENSION: Label =
    Label::new("dimension", Values::Configured, "`name:` of an entry of `metrics.dimensions`");
const VALUE: Label = Label::new(
    "value",
    Values::ConfiguredOr(&[OTHER, NONE]),
    "what the caller's field says, if it is one of the entry's `values:`; `other` for anything else, `none` where there is no such field",
);

/// Requests by value and outcome.
pub static REQUESTS: Family = Family::counter(
    "weir_dimension_requests_total",
    "Callers' requests as weir_requests_total counts them, by what they say in each dimension.",
)
.by(&[SERVICE, VERSION, DIMENSION, VALUE, OUTCOME]);
/// Seconds that they took.
pub static DURATION: Family = Family::histogram(
    "weir_dimension_request_duration_seconds",
    "Seconds from a request's head to the end of its answer, by what it says in each dimension.",
    SECONDS,
)
.by(&[SERVICE, VERSION, DIMENSION, VALUE]);

/// All of them, for the contract.
pub(super) const FAMILIES: &[&Family] = &[&REQUESTS, &DURATION];
