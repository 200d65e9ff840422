//! Which route goes first, as the dialects' documents have it.
//!
//! Law: RouteRules by precedence, then by namespace and name; VirtualServices as they stand; HTTPRoutes and GRPCRoutes by
//! how much they ask, then by the age and the name of their object, then as they stand; GRPCRoutes before all others.

use std::cmp::Reverse;

use super::drawn::{Conditions, Dialect, Drawn, Path};

/// The number of a rule, and one of its alternatives.
type Route<'d> = (usize, &'d Conditions);

impl Drawn {
    /// Those for calls.
    pub(super) fn calls_in_order(&self) -> Vec<Route<'_>> {
        let mut routes = self.alternatives(true);
        routes.sort_by_key(|(_, conditions)| Reverse(conditions.rank_of_call()));
        routes
    }

    /// Those for any request.
    pub(super) fn in_order(&self) -> Vec<Route<'_>> {
        let mut routes = self.alternatives(false);
        match self.dialect {
            Dialect::RouteRule => routes.sort_by_key(|(place, _)| {
                let own = &self.rules[*place].precedence;
                (Reverse(own.number), own.namespace, own.name.as_str())
            }),
            Dialect::VirtualService => {}
            Dialect::Gateway => routes.sort_by_key(|(place, conditions)| {
                let object = &self.objects[self.rules[*place].object];
                // Who tells no date is the youngest.
                let age = (object.created.is_none(), object.created, object.name.as_str());
                (Reverse(conditions.rank()), age)
            }),
        }
        routes
    }

    /// Whether calls that no route is for are answered with 404, whatever becomes of other requests.
    pub(super) fn has_all_calls(&self) -> bool {
        let mut plain = self.rules(false);
        let same_dialect = self.dialect == Dialect::Gateway && plain.next().is_some();
        self.rules(true).next().is_some() && !same_dialect
    }

    /// Whether what no route is for goes to all of the service.
    pub(super) fn falls_back(&self) -> bool {
        self.service && (self.dialect == Dialect::RouteRule || self.rules(false).next().is_none())
    }

    fn alternatives(&self, calls: bool) -> Vec<Route<'_>> {
        self.rules(calls)
            .flat_map(|(place, rule)| rule.alternatives.iter().map(move |conditions| (place, conditions)))
            .collect()
    }
}

impl Conditions {
    /// An exact path, the longest prefix, a method, most headers, most parameters. Expressions come behind prefixes.
    fn rank(&self) -> impl Ord + use<> {
        let path = match self.path {
            Path::Any | Path::Segments("/") => (0, 0),
            Path::Regex(text) => (1, text.len()),
            Path::Segments(text) => (2, text.trim_end_matches('/').len()),
            _ => (3, 0),
        };
        let headers = self.headers.len() + usize::from(self.authority.is_some());
        (path, self.method.is_some(), headers, self.query.len())
    }

    /// The longest service, the longest method, the longest expression, most headers.
    fn rank_of_call(&self) -> impl Ord + use<> {
        let length = |text: Option<&str>| text.map_or(0, str::len);
        let called = match self.path {
            Path::Call(service, method) => (length(service), length(method), 0),
            Path::CallRegex(service, method) => (0, 0, length(service) + length(method)),
            _ => (0, 0, 0),
        };
        (called, self.headers.len())
    }
}
