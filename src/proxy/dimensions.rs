//! The dimensions of a plane: what a request says in the fields that the configuration names.
//!
//! Law: read once, of the head as its caller sent it. A plane without dimensions has none of this.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};

use crate::snapshot::Snapshot;
use crate::telemetry::dimension::{DimensionLabels, Said, Tags};

/// See the module.
#[derive(Debug)]
pub struct Dimensions(Vec<(HeaderName, Vec<Arc<str>>)>);

impl Dimensions {
    /// Those of `snapshot`, if it has any.
    pub(super) fn of(snapshot: &Snapshot) -> Option<Dimensions> {
        let all = &snapshot.dimensions;
        let read = all.iter().map(|dimension| (dimension.header.0.clone(), dimension.values.clone()));
        (!all.is_empty()).then(|| Dimensions(read.collect()))
    }

    /// What a request with these fields says.
    pub(super) fn tags(&self, headers: &HeaderMap) -> Tags {
        let mut tags = Tags::default();
        for (place, (header, values)) in self.0.iter().enumerate() {
            tags.set(place, said(headers, header, values));
        }
        tags
    }
}

/// A field that stands twice says two things.
fn said(headers: &HeaderMap, header: &HeaderName, values: &[Arc<str>]) -> Said {
    let mut found = headers.get_all(header).iter();
    let Some(value) = found.next() else { return Said::Nothing };
    let listed = values.iter().position(|listed| listed.as_bytes() == value.as_bytes());
    match (listed.and_then(|place| u8::try_from(place).ok()), found.next()) {
        (Some(place), None) => Said::Listed(place),
        _ => Said::Other,
    }
}

/// Those of `snapshot`, for the labels of its versions.
pub(super) fn labels(snapshot: &Snapshot) -> Arc<[DimensionLabels]> {
    let all = snapshot.dimensions.iter();
    all.map(|dimension| DimensionLabels { name: dimension.name.clone(), values: dimension.values.clone() })
        .collect()
}
