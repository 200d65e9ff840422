//! Which virtual host answers to a host.
//!
//! Law: exact, then the longest suffix, then the longest prefix, then `*`; a star stands for one character at least.
//! Source: Envoy's domain search order. It must not know routes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::snapshot::{Domain, VirtualHost};

/// Virtual hosts by their domains; the values are places in the list they were built from.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    exact: HashMap<Arc<str>, usize>,
    suffixes: Wildcards,
    prefixes: Wildcards,
    any: Option<usize>,
}

/// Fixed parts of wildcard domains by their length, the longest first: one look-up for each length in use.
type Wildcards = Vec<(usize, HashMap<Arc<str>, usize>)>;

impl Hosts {
    pub(super) fn build(virtual_hosts: &[VirtualHost]) -> Hosts {
        let mut hosts = Hosts::default();
        for (place, host) in virtual_hosts.iter().enumerate() {
            for domain in &host.domains {
                match domain {
                    Domain::Exact(name) => drop(hosts.exact.entry(name.clone()).or_insert(place)),
                    Domain::Suffix(end) => insert(&mut hosts.suffixes, end, place),
                    Domain::Prefix(start) => insert(&mut hosts.prefixes, start, place),
                    Domain::Any => drop(hosts.any.get_or_insert(place)),
                }
            }
        }
        for wildcards in [&mut hosts.suffixes, &mut hosts.prefixes] {
            wildcards.sort_by_key(|&(length, _)| std::cmp::Reverse(length));
        }
        hosts
    }

    /// The place of the best virtual host for `host`, which is in normal form.
    pub(super) fn find(&self, host: &str) -> Option<usize> {
        let exact = || self.exact.get(host).copied();
        let suffix = || {
            longest(&self.suffixes, host, |length| {
                host.len().checked_sub(length).and_then(|at| host.get(at..))
            })
        };
        let prefix = || longest(&self.prefixes, host, |length| host.get(..length));
        exact().or_else(suffix).or_else(prefix).or(self.any)
    }
}

fn insert(wildcards: &mut Wildcards, fixed: &Arc<str>, place: usize) {
    let at = wildcards.iter().position(|&(length, _)| length == fixed.len()).unwrap_or_else(|| {
        wildcards.push((fixed.len(), HashMap::new()));
        wildcards.len() - 1
    });
    if let Some((_, by_text)) = wildcards.get_mut(at) {
        by_text.entry(fixed.clone()).or_insert(place);
    }
}

fn longest<'h>(wildcards: &Wildcards, host: &str, part: impl Fn(usize) -> Option<&'h str>) -> Option<usize> {
    let shorter = wildcards.iter().filter(|&&(length, _)| length < host.len());
    shorter.filter_map(|(length, by_text)| by_text.get(part(*length)?)).next().copied()
}
