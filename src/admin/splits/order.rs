//! Which rules come first: by precedence, or those that want somebody to look.
//!
//! Law: one order for whoever shows them, settled before any is left out. Traffic counts by the power of two that it
//! reaches, so that rules with about as much keep their places from second to second.

use std::cmp::Reverse;
use std::sync::Arc;

use super::states::{self, ClientErrors, Counted, State, States};
use super::{SplitStats, endpoints, versions_of};
use crate::proxy::plane::{ClusterPlane, Plane, RoutePlane, SplitPlace};

/// By what rules are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As they are tried.
    #[default]
    Precedence,
    /// Those with trouble, failing before degraded; within these those with traffic in the last minute, most first; else
    /// by precedence.
    Trouble,
}

impl Sort {
    pub(super) fn of(text: &str) -> Result<Sort, String> {
        match text {
            "" | "precedence" => Ok(Sort::Precedence),
            "trouble" => Ok(Sort::Trouble),
            other => Err(format!("`sort` is precedence or trouble, not `{other}`\n")),
        }
    }
}

/// Sorts rules that come by precedence.
pub(super) fn sort(routes: &mut [(SplitPlace, &RoutePlane)], by: Sort, plane: &Plane, stats: &SplitStats) {
    match by {
        Sort::Precedence => {}
        Sort::Trouble => {
            routes.sort_by_cached_key(|(_, route)| Reverse(rank(route, &plane.clusters, stats)));
        }
    }
}

/// How bad, then how busy.
fn rank(route: &RoutePlane, clusters: &[Arc<ClusterPlane>], stats: &SplitStats) -> (State, u32) {
    let versions: Vec<_> = versions_of(route, clusters)
        .into_iter()
        .map(|version| {
            let endpoints = endpoints::state(route, &version.service, &version.name, clusters);
            let key = (version.service, route.route.name.clone(), version.name);
            let minute = stats.minute(&key);
            let requests = minute.as_ref().map_or(0, |minute| minute.requests);
            // What is sent nothing troubles nobody.
            let is_wanted = version.weight != Some(0) || requests > 0;
            (minute.as_ref().map(Counted::from).unwrap_or_default(), endpoints, requests, is_wanted)
        })
        .collect();
    let counted: Vec<_> = versions.iter().map(|(counted, endpoints, _, _)| (*counted, *endpoints)).collect();
    let states = states::of_rule(&counted);
    let wanted = states.iter().zip(&versions).filter(|(_, (_, _, _, is_wanted))| *is_wanted);
    let worst = wanted.map(|(states, _)| trouble(states)).max();
    let requests: u64 = versions.iter().map(|(_, _, requests, _)| requests).sum();
    (worst.unwrap_or(State::Good), requests.checked_ilog2().map_or(0, |power| power + 1))
}

fn trouble(states: &States) -> State {
    let high = states.client_errors.map(|ClientErrors::High| State::Degraded);
    [states.success, high, states.endpoints].into_iter().flatten().max().unwrap_or(State::Good)
}
