//! What of a request is hashed: for the version it sticks to, and for the endpoint within a version.
//!
//! Law: the same key, salt and weights give the same version in every process and release.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::route::OrdName;

/// What chooses a version in place of the schedule. A request without any of the keys takes the schedule's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sticky {
    /// The first that the request has counts.
    pub keys: Vec<HashKey>,
    /// Sets the choices of this rule apart from those of others. By default its name.
    pub salt: Arc<str>,
}

/// A part of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum HashKey {
    /// A header, or gRPC metadata; several values joined by commas.
    Header(OrdName),
    /// A cookie.
    Cookie(Cookie),
    /// A parameter of the query, decoded.
    Query(Arc<str>),
    /// The caller's address without its port.
    SourceAddress,
}

/// A cookie; set with the answer if the request has none and `set` says how.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cookie {
    /// Its name.
    pub name: Arc<str>,
    /// Whether one is made for a request without it, and its `Max-Age`: zero for a session's.
    pub set: Option<Duration>,
    /// `Path`; `None`: not said.
    pub path: Option<Arc<str>>,
    /// Further attributes as they are sent, such as `Secure; SameSite=Lax`.
    pub attributes: Option<Arc<str>>,
}
