//! What look-ups of names gave, counted by cluster.
//!
//! Law: a look-up counts in every cluster that has an endpoint of that name, once; that of a configuration which is not
//! in force yet, when it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DECLARED, Planner};
use crate::snapshot::{Address, Snapshot};
use crate::telemetry::Recorder;
use crate::telemetry::families::envoy::{LookUp, NamesSeries};
use crate::upstream::resolve::{Answer, Name};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    /// The clusters of each name. None where there are too many of them.
    clusters: BTreeMap<Name, Vec<Arc<NamesSeries>>>,
    /// What names last gave that no cluster has here.
    early: BTreeMap<Name, LookUp>,
}

impl LookUps {
    /// From now on those of `snapshot` count.
    pub(super) fn adopt(&mut self, recorder: &Recorder, snapshot: &Snapshot) {
        self.clusters.clear();
        let early = std::mem::take(&mut self.early);
        if snapshot.clusters.len() > DECLARED {
            return;
        }
        for cluster in snapshot.clusters.values() {
            let mut names: Vec<Name> = cluster
                .endpoints()
                .filter_map(|endpoint| match &endpoint.address {
                    Address::Dns { host, port } => Some((host.clone(), *port)),
                    Address::Socket(_) | Address::Unix(_) => None,
                })
                .collect();
            if names.is_empty() {
                continue;
            }
            names.sort();
            names.dedup();
            let series = Arc::new(NamesSeries::new(recorder, &cluster.name));
            for name in names {
                self.clusters.entry(name).or_default().push(series.clone());
            }
        }
        for (name, gave) in early {
            self.of(&name).iter().for_each(|series| series.count(gave));
        }
    }

    fn of(&self, name: &Name) -> &[Arc<NamesSeries>] {
        self.clusters.get(name).map_or(&[], Vec::as_slice)
    }
}

impl Planner {
    /// Takes what a look-up said. Returns whether a name stands for other addresses now.
    pub fn learn(&mut self, answer: Answer) -> bool {
        let gave = match &answer.targets {
            Err(_) => LookUp::Failed,
            Ok(targets) if targets.is_empty() => LookUp::Empty,
            Ok(targets) if self.names.is(&answer.name, targets) => LookUp::Same,
            Ok(_) => LookUp::Changed,
        };
        match self.look_ups.of(&answer.name) {
            [] => drop(self.look_ups.early.insert(answer.name.clone(), gave)),
            series => series.iter().for_each(|series| series.count(gave)),
        }
        self.names.learn(answer)
    }
}
