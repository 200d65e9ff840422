//! What each field of a dialect is: the rows from which the documents' table is made, and which tests hold to be true.

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct FieldRow {
    /// From the object: `spec.httpFault.delay.percent`; `[]` for the entries of a list.
    pub path: &'static str,
    /// Whether it does anything.
    pub is: Support,
    /// The field with a value, as it would stand under its parent.
    pub sample: &'static str,
    /// What should be known of it.
    pub note: &'static str,
}

/// Whether a field does anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It does what it says.
    Supported,
    /// It is refused by name.
    Refused,
    /// It is accepted, and there is nothing to be done about it here.
    Inert,
}

impl FieldRow {
    /// A field that works.
    pub const fn supported(path: &'static str, sample: &'static str, note: &'static str) -> FieldRow {
        FieldRow { path, is: Support::Supported, sample, note }
    }

    /// A field that is refused.
    pub const fn refused(path: &'static str, sample: &'static str, note: &'static str) -> FieldRow {
        FieldRow { path, is: Support::Refused, sample, note }
    }

    /// A field that means nothing here.
    pub const fn inert(path: &'static str, sample: &'static str, note: &'static str) -> FieldRow {
        FieldRow { path, is: Support::Inert, sample, note }
    }
}

/// The rows of each kind.
pub fn of_each_kind() -> Vec<(&'static str, &'static [FieldRow])> {
    vec![
        ("RouteRule", super::route_rule::FIELDS),
        ("DestinationPolicy", super::destination_policy::FIELDS),
        ("VirtualService", super::virtual_service::FIELDS),
        ("DestinationRule", super::destination_rule::FIELDS),
        ("HTTPRoute", super::gateway_api::fields::HTTP_ROUTE),
        ("GRPCRoute", super::gateway_api::fields::GRPC_ROUTE),
    ]
}
