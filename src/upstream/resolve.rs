//! DNS names of endpoints, resolved on the control thread; a name that fails keeps its last good addresses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::snapshot::Address;
use crate::transport::dial::Target;

/// Longest wait for one answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What every name resolved to when it last did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    known: BTreeMap<(Arc<str>, u16), Vec<Target>>,
}

impl Names {
    /// Every address that `address` stands for now: one, or what its name resolved to, sorted; none if it never did.
    pub fn targets(&self, address: &Address) -> Vec<Target> {
        match address {
            Address::Socket(address) => vec![Target::Tcp(*address)],
            Address::Unix(path) => vec![Target::Unix(path.clone())],
            Address::Dns { host, port } => {
                self.known.get(&(host.clone(), *port)).cloned().unwrap_or_default()
            }
        }
    }

    /// Takes what a look-up said. Returns whether anything changed; a failure changes nothing.
    pub fn learn(&mut self, host: &Arc<str>, port: u16, answer: Result<Vec<Target>, String>) -> bool {
        match answer {
            Ok(targets) if !targets.is_empty() => {
                let known = self.known.entry((host.clone(), port)).or_default();
                let changed = *known != targets;
                *known = targets;
                changed
            }
            Ok(_) => false,
            Err(reason) => {
                tracing::warn!(%host, port, reason, "a name does not resolve; its last good addresses stay");
                false
            }
        }
    }

    /// Forgets every name that `keep` does not want.
    pub fn retain(&mut self, keep: impl Fn(&str, u16) -> bool) {
        self.known.retain(|(host, port), _| keep(host, *port));
    }
}

/// Asks the system's resolver once.
///
/// # Errors
/// The resolver's reason, for the log.
pub async fn look_up(host: &str, port: u16) -> Result<Vec<Target>, String> {
    match timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let mut targets: Vec<Target> = addresses.map(Target::Tcp).collect();
            targets.sort();
            targets.dedup();
            Ok(targets)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_fails_keeps_its_last_good_addresses() {
        let (mut names, host): (Names, Arc<str>) = (Names::default(), "model.test".into());
        let address = Address::Dns { host: host.clone(), port: 80 };
        assert!(names.targets(&address).is_empty());
        let good = vec![Target::Tcp(([127, 0, 0, 1], 80).into())];
        assert!(names.learn(&host, 80, Ok(good.clone())));
        assert!(!names.learn(&host, 80, Ok(good.clone())), "nothing new");
        assert!(!names.learn(&host, 80, Err("no such host".into())));
        assert!(!names.learn(&host, 80, Ok(Vec::new())));
        assert_eq!(names.targets(&address), good);
    }
}
