//! Dimensions: what operators count requests by, of what callers say in a field.
//!
//! Law: a dimension's values are listed here, so that no caller makes a series.

use std::sync::Arc;

use serde::Serialize;

use super::route::OrdName;

/// One of `metrics.dimensions:`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dimension {
    /// The value of the label `dimension`.
    pub name: Arc<str>,
    /// The field of requests that it is read from.
    pub header: OrdName,
    /// What the field may say to be counted by itself, in the order of the file.
    pub values: Vec<Arc<str>>,
}
