//! Which route a request takes: its head and a draw go in, a route comes out.
//!
//! Law: the best host, then the first route that matches. Pure: no clock, no dice, no I/O, nothing that changes.
//! It must not know connections, balancing or the split: a route names versions, and who chooses among them counts.

mod condition;
mod explain;
mod hosts;
mod index;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::snapshot::{Caller, HeaderName, Route, RouteConfig, RouteMatch};

pub use explain::{Choice, Explanation, Rule, Share, Tried, explain, rule};
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
    /// The own routes of virtual hosts that stand after another, by their places: for requests that find nothing there.
    behind: HashMap<usize, Searched>,
    /// The routes of all virtual hosts, one behind the other.
    routes: Vec<Arc<Route>>,
    asks_scheme: bool,
}

/// A virtual host, and the routes that it asks first.
#[derive(Debug)]
struct SearchedHost {
    name: Arc<str>,
    routes: Searched,
}

/// Routes of one virtual host: `RouteTable::routes[first..]`, as far as the index knows.
#[derive(Clone, Debug)]
struct Searched {
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
            let own = Searched { first: routes.len(), index: RouteIndex::build(&host.routes) };
            virtual_hosts.push(SearchedHost { name: host.name.clone(), routes: own });
            routes.extend(host.routes.iter().cloned());
        }
        let asks_scheme = routes.iter().any(|route| asks_scheme(&route.matches));
        let behind = put_before(config, &mut virtual_hosts);
        RouteTable { hosts: Hosts::build(&config.virtual_hosts), virtual_hosts, behind, routes, asks_scheme }
    }

    /// Whether a route has a condition on the scheme: else [`Head::scheme`] is of no meaning.
    pub fn asks_scheme(&self) -> bool {
        self.asks_scheme
    }

    /// The first route of the best host that `head` satisfies. `draw` decides the shares of `runtime_fraction`.
    pub fn find(&self, head: &Head<'_>, draw: u64) -> Option<Found<'_>> {
        let SearchedHost { name, routes } = self.virtual_hosts.get(self.hosts.find(head.host)?)?;
        let all = self.routes.get(routes.first..)?;
        let Some(place) = routes.index.first_match(all, head, draw) else {
            return self.find_behind(head, draw);
        };
        let index = routes.first + place;
        Some(Found { index, route: self.routes.get(index)?, virtual_host: name })
    }

    /// What stands behind the routes that are shared. Looks the host up once more, so that who needs nothing of this pays
    /// nothing for it.
    #[cold]
    #[inline(never)]
    fn find_behind(&self, head: &Head<'_>, draw: u64) -> Option<Found<'_>> {
        let host = self.hosts.find(head.host)?;
        let Searched { first, index } = self.behind.get(&host)?;
        let index = first + index.first_match(self.routes.get(*first..)?, head, draw)?;
        let virtual_host = &self.virtual_hosts.get(host)?.name;
        Some(Found { index, route: self.routes.get(index)?, virtual_host })
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

/// Lets every virtual host that stands after another ask that one's routes first. Returns what they have themselves.
fn put_before(config: &RouteConfig, hosts: &mut [SearchedHost]) -> HashMap<usize, Searched> {
    let of_name: HashMap<Arc<str>, Searched> =
        match config.virtual_hosts.iter().any(|one| one.after.is_some()) {
            true => hosts.iter().map(|host| (host.name.clone(), host.routes.clone())).collect(),
            false => HashMap::new(),
        };
    let mut behind = HashMap::new();
    for (place, (host, searched)) in config.virtual_hosts.iter().zip(hosts).enumerate() {
        if let Some(before) = host.after.as_ref().and_then(|name| of_name.get(name)) {
            let own = std::mem::replace(&mut searched.routes, before.clone());
            if !host.routes.is_empty() {
                behind.insert(place, own);
            }
        }
    }
    behind
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
