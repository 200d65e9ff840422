//! Edits of messages, and the answers that a route gives itself.
//!
//! Law: what stands here can be applied to any message: names are header names, values are header values, statuses are
//! statuses. Pure data; `filters` applies it.

use std::sync::Arc;

use serde::Serialize;

use super::Substitution;
use super::route::OrdName;

/// Edits of fields, in this order: `remove`, `set`, `add`. Source: Envoy's `HeaderParser`, which removes first.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeaderEdits {
    /// All fields of these names go.
    pub remove: Vec<OrdName>,
    /// Takes the place of all fields of its name.
    pub set: Vec<HeaderEdit>,
    /// Comes behind what is there.
    pub add: Vec<HeaderEdit>,
}

impl HeaderEdits {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

/// One field. Its value has been checked to be one.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct HeaderEdit {
    pub name: OrdName,
    pub value: Arc<str>,
}

/// Another path or host for the upstream. What was there goes along as `x-envoy-original-path` and
/// `x-envoy-original-host`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Rewrite {
    /// The path; the query stays.
    pub path: Option<PathRewrite>,
    /// The whole authority.
    pub host: Option<Arc<str>>,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum PathRewrite {
    /// In place of what the route's match has matched, by characters: all of it for an exact path or an expression, `/`
    /// for a route without a condition on the path.
    Prefix(Arc<str>),
    /// The same by segments, as the Gateway API's `ReplacePrefixMatch`: no slash is doubled or lost.
    Segments(Arc<str>),
    /// In place of the whole path.
    Full(Arc<str>),
    /// Everywhere that an expression matches.
    Regex(Substitution),
}

/// `location` and a status; parts that are `None` stay as the request has them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Redirect {
    /// `http` or `https`
    pub scheme: Option<Arc<str>>,
    /// Without a port.
    pub host: Option<Arc<str>>,
    /// Which port.
    pub port: RedirectPort,
    /// Another path.
    pub path: Option<PathRewrite>,
    /// Whether the query goes.
    pub strip_query: bool,
    /// 301, 302, 303, 307, 308; Istio takes any 3xx.
    pub status: u16,
}

/// The port of a redirect. One that the scheme implies is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RedirectPort {
    /// The request's, where scheme and host stay; else that of the scheme.
    Request,
    /// That of the scheme.
    OfScheme,
    /// The listener's.
    Listener,
    /// This one.
    Number(u16),
}

/// An answer of the route's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// At most 1 MiB, as in Istio.
    pub body: Option<Arc<str>>,
    /// `content-type` of the body; `None`: text/plain.
    pub content_type: Option<Arc<str>>,
}
