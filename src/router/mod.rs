//! Which route a request takes: its head and a draw go in, a route comes out.
//!
//! Law: the best host, then the first route that matches. Pure: no clock, no dice, no I/O, nothing that changes.
//! It must not know connections, balancing or the split: a route names versions, and who chooses among them counts.

mod condition;
mod explain;
mod hosts;
mod index;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::snapshot::{Caller, HeaderName, Route, RouteConfig, RouteMatch};

pub use explain::{Choice, Explanation, Share, Tried, explain};
use hosts::Hosts;
use index::RouteIndex;

/// What routing sees of a request.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The method.
    pub method: &'a http::Method,
    /// In normal form (`message::path`), without the query.
    pub path: &'a str,
    /// The query as sent, without its `?`.
    pub query: Option<&'a str>,
    /// In normal form (`message::host`).
    pub host: &'a str,
    /// `Host` or `:authority` as sent.
    pub authority: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// All header fields.
    pub headers: &'a http::HeaderMap,
    /// Who calls, where the peer's address tells.
    pub caller: Option<&'a Caller>,
    /// Where the caller's connection came in, where that is known.
    pub local: Option<SocketAddr>,
}

/// A route configuration made ready for searching. Indexes of routes are stable as long as the table lives, so that
/// what is live about a route can be kept in a list beside it.
#[derive(Debug)]
pub struct RouteTable {
    hosts: Hosts,
    virtual_hosts: Vec<SearchedHost>,
    /// The routes of all virtual hosts, one behind the other.
    routes: Vec<Arc<Route>>,
    asks_scheme: bool,
}

/// A virtual host: its routes are `RouteTable::routes[first..]`, as far as its index knows.
#[derive(Debug)]
struct SearchedHost {
    name: Arc<str>,
    first: usize,
    index: RouteIndex,
}

/// What a search found.
#[derive(Clone, Copy, Debug)]
pub struct Found<'t> {
    /// The place of the route in its table, below [`RouteTable::len`].
    pub index: usize,
    /// The route.
    pub route: &'t Arc<Route>,
    /// The name of the virtual host it stands in.
    pub virtual_host: &'t Arc<str>,
}

impl RouteTable {
    /// Makes `config` ready for searching.
    pub fn build(config: &RouteConfig) -> RouteTable {
        let mut routes = Vec::new();
        let mut virtual_hosts = Vec::with_capacity(config.virtual_hosts.len());
        for host in &config.virtual_hosts {
            virtual_hosts.push(SearchedHost {
                name: host.name.clone(),
                first: routes.len(),
                index: RouteIndex::build(&host.routes),
            });
            routes.extend(host.routes.iter().cloned());
        }
        let asks_scheme = routes.iter().any(|route| asks_scheme(&route.matches));
        RouteTable { hosts: Hosts::build(&config.virtual_hosts), virtual_hosts, routes, asks_scheme }
    }

    /// Whether a route has a condition on the scheme: else [`Head::scheme`] is of no meaning.
    pub fn asks_scheme(&self) -> bool {
        self.asks_scheme
    }

    /// The first route of the best host that `head` satisfies. `draw` decides the shares of `runtime_fraction`.
    pub fn find(&self, head: &Head<'_>, draw: u64) -> Option<Found<'_>> {
        let host = self.virtual_hosts.get(self.hosts.find(head.host)?)?;
        let routes = self.routes.get(host.first..)?;
        let index = host.first + host.index.first_match(routes, head, draw)?;
        Some(Found { index, route: self.routes.get(index)?, virtual_host: &host.name })
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.routes.len()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// The route at `index`.
    pub fn route(&self, index: usize) -> Option<&Arc<Route>> {
        self.routes.get(index)
    }

    /// Every route in the order of its index.
    pub fn routes(&self) -> impl ExactSizeIterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}

fn asks_scheme(matches: &RouteMatch) -> bool {
    let without = matches.more.iter().flat_map(|more| &more.without);
    matches.headers.iter().chain(without).any(|header| header.name == HeaderName::Scheme)
}

/// Who sits behind `peer`: the longest range that holds it wins, then the first in the file.
pub fn caller_of(callers: &[Arc<Caller>], peer: IpAddr) -> Option<&Arc<Caller>> {
    // A dual-stack socket shows IPv4 peers as ::ffff:a.b.c.d.
    let peer = peer.to_canonical();
    let holding = callers.iter().filter(|caller| caller.cidr.contains(&peer));
    // `max_by_key` keeps the last of equals: hence the reversal.
    holding.rev().max_by_key(|caller| caller.cidr.prefix_len())
}

#[cfg(test)]
mod tests;
