//! What a configuration says of each host, as one number: proxies that show the same number split and forward alike.
//!
//! Law: it holds rules in their order, shares, policies, and of endpoints what is said of them: labels, weights, how one is
//! chosen. It holds nothing of the place where a proxy runs, which differs between the pods of one service: no address, no
//! listener, no file, no setting of the process. The same in every process of a release.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{Cluster, Mode, Route, Snapshot};
use crate::message::xxhash::xxh64;

/// Bits of a hash: as many as a sample of Prometheus, a float, holds exactly.
const BITS: u32 = 48;

/// By the name of each host for which a listener splits.
pub fn hashes(snapshot: &Snapshot) -> BTreeMap<Arc<str>, u64> {
    let chains = snapshot.listeners.iter().flat_map(|listener| &listener.filter_chains);
    let splitting: BTreeSet<&Arc<str>> =
        chains.filter(|chain| chain.mode == Mode::Split).map(|chain| &chain.route_config).collect();
    let mut read = Reading { snapshot, routes: HashMap::new(), clusters: HashMap::new() };
    // One that two listeners have, with other hosts beside it or without, is one.
    let mut said: BTreeMap<Arc<str>, BTreeSet<u64>> = BTreeMap::new();
    for config in splitting.into_iter().filter_map(|name| snapshot.route_configs.get(name)) {
        for host in &config.virtual_hosts {
            let routes = together(config.routes_of(host).map(|route| read.route(route)));
            said.entry(host.name.clone()).or_default().insert(routes);
        }
    }
    said.into_iter().map(|(host, routes)| (host, together(routes) >> (u64::BITS - BITS))).collect()
}

/// What was read already: thousands of hosts may share the routes of a star, and as many routes a cluster.
struct Reading<'s> {
    snapshot: &'s Snapshot,
    routes: HashMap<*const Route, u64>,
    clusters: HashMap<&'s str, u64>,
}

impl<'s> Reading<'s> {
    fn route(&mut self, route: &'s Arc<Route>) -> u64 {
        if let Some(&known) = self.routes.get(&Arc::as_ptr(route)) {
            return known;
        }
        let mut said = json(&**route);
        if let Value::Object(fields) = &mut said {
            fields.shift_remove("origin");
        }
        self.replace_clusters(&mut said);
        let hash = hash_of(&said);
        self.routes.insert(Arc::as_ptr(route), hash);
        hash
    }

    /// Puts what is said of clusters in the place of their names: whether these tell the protocol is a matter of the
    /// addresses that the pod itself has.
    fn replace_clusters(&mut self, said: &mut Value) {
        match said {
            Value::Object(fields) => {
                if let [Some(grpc), Some(http)] = ["grpc_cluster", "http_cluster"].map(|key| fields.get(key))
                {
                    let named = [grpc, http].into_iter().filter_map(Value::as_str);
                    let hashes: BTreeSet<u64> = named.filter_map(|name| self.cluster(name)).collect();
                    fields.shift_remove("grpc_cluster");
                    fields.insert("http_cluster".into(), hashes.into_iter().collect());
                }
                fields.values_mut().for_each(|value| self.replace_clusters(value));
            }
            Value::Array(values) => values.iter_mut().for_each(|value| self.replace_clusters(value)),
            _ => {}
        }
    }

    /// `None`: it is not there.
    fn cluster(&mut self, name: &str) -> Option<u64> {
        let (name, cluster) = self.snapshot.clusters.get_key_value(name)?;
        Some(*self.clusters.entry(name).or_insert_with(|| hash_of(&said_of(cluster))))
    }
}

/// All of a cluster but its name, what its endpoints speak and where they are.
fn said_of(cluster: &Cluster) -> Value {
    let endpoints = cluster.localities.iter().flat_map(|locality| {
        let of = |endpoint: &super::Endpoint| (locality.priority, endpoint.labels.clone(), endpoint.weight);
        locality.endpoints.iter().map(of)
    });
    let mut endpoints: Vec<_> = endpoints.collect();
    endpoints.sort();
    let mut said = json(cluster);
    if let Value::Object(fields) = &mut said {
        fields.retain(|name, _| !matches!(&**name, "name" | "protocol" | "localities"));
        fields.insert("endpoints".into(), json(&endpoints));
    }
    said
}

/// Nothing of a snapshot has keys that JSON could not have; what had would not be told apart.
fn json(said: &impl Serialize) -> Value {
    serde_json::to_value(said).unwrap_or_default()
}

fn hash_of(said: &Value) -> u64 {
    xxh64(said.to_string().as_bytes(), 0)
}

fn together(hashes: impl IntoIterator<Item = u64>) -> u64 {
    hashes.into_iter().fold(0, |all, hash| xxh64(&hash.to_le_bytes(), all))
}
