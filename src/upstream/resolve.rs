//! DNS names of endpoints, resolved on the control thread; a name that fails keeps its last good addresses.
//!
//! Law: one task for each name, for as long as it is wanted; a reload that still wants it does not disturb it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::net::lookup_host;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::snapshot::{Address, Snapshot};
use crate::transport::dial::Target;

/// Longest wait for one answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// A host and the port that its addresses are asked for.
pub type Name = (Arc<str>, u16);

/// What a look-up said: the addresses, or the resolver's reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Who was asked for.
    pub name: Name,
    /// Sorted, each once.
    pub targets: Result<Vec<Target>, String>,
}

/// The names of endpoints, each with how often it is asked for: as often as the most eager cluster says.
pub fn wanted(snapshot: &Snapshot) -> BTreeMap<Name, Duration> {
    let mut wanted = BTreeMap::new();
    for cluster in snapshot.clusters.values() {
        for endpoint in cluster.endpoints() {
            if let Address::Dns { host, port } = &endpoint.address {
                let refresh = wanted.entry((host.clone(), *port)).or_insert(cluster.dns_refresh);
                *refresh = cluster.dns_refresh.min(*refresh);
            }
        }
    }
    wanted
}

/// What every name resolved to when it last did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    known: BTreeMap<Name, Vec<Target>>,
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
    pub fn learn(&mut self, answer: Answer) -> bool {
        let Answer { name, targets } = answer;
        match targets {
            Ok(targets) if !targets.is_empty() => {
                let known = self.known.entry(name).or_default();
                let changed = *known != targets;
                *known = targets;
                changed
            }
            Ok(_) => false,
            Err(reason) => {
                let (host, port) = name;
                tracing::warn!(%host, port, reason, "a name does not resolve; its last good addresses stay");
                false
            }
        }
    }

    /// Whether `name` stands for `targets` now.
    pub fn is(&self, name: &Name, targets: &[Target]) -> bool {
        self.known.get(name).is_some_and(|known| known == targets)
    }

    /// Whether `name` ever resolved.
    pub fn knows(&self, name: &Name) -> bool {
        self.known.contains_key(name)
    }

    /// Forgets every name that is not among `wanted`.
    pub fn retain(&mut self, wanted: &BTreeMap<Name, Duration>) {
        self.known.retain(|name, _| wanted.contains_key(name));
    }
}

/// Who is asked for names: an edge of the world.
#[derive(Clone)]
pub struct Resolver {
    look_up: Arc<dyn Fn(Name) -> LookUp + Send + Sync>,
}

/// Every address of a name, or why there is none.
pub type LookUp = LocalBoxFuture<'static, io::Result<Vec<SocketAddr>>>;

impl Default for Resolver {
    /// The system's.
    fn default() -> Resolver {
        Resolver::new(|(host, port)| {
            async move { Ok(lookup_host((&*host, port)).await?.collect()) }.boxed_local()
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Resolver {
    /// One that answers as `look_up` does.
    pub fn new(look_up: impl Fn(Name) -> LookUp + Send + Sync + 'static) -> Resolver {
        Resolver { look_up: Arc::new(look_up) }
    }

    /// Asks for all of `names` at once, and returns the answers that came `within` this time: a name whose server is
    /// silent takes nothing from the others.
    pub async fn ask_all(&self, names: impl IntoIterator<Item = Name>, within: Duration) -> Vec<Answer> {
        let deadline = Instant::now() + within;
        let mut pending: FuturesUnordered<_> = names.into_iter().map(|name| self.ask(name)).collect();
        let mut answers = Vec::new();
        while let Ok(Some(answer)) = timeout_at(deadline, pending.next()).await {
            answers.push(answer);
        }
        answers
    }

    async fn ask(&self, name: Name) -> Answer {
        let targets = match timeout(LOOKUP_TIMEOUT, (self.look_up)(name.clone())).await {
            Ok(Ok(addresses)) => {
                let mut targets: Vec<Target> = addresses.into_iter().map(Target::Tcp).collect();
                targets.sort();
                targets.dedup();
                Ok(targets)
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
        };
        Answer { name, targets }
    }
}

/// The tasks that keep asking. Dropping it ends them.
#[derive(Debug)]
pub struct Watches {
    tasks: BTreeMap<Name, Watched>,
    tell: mpsc::Sender<Answer>,
    resolver: Resolver,
}

#[derive(Debug)]
struct Watched {
    refresh: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watches {
    /// None yet. `resolver` is asked; its answers go to `tell`, and nobody asks any more once that is closed.
    pub fn new(resolver: Resolver, tell: mpsc::Sender<Answer>) -> Watches {
        Watches { tasks: BTreeMap::new(), tell, resolver }
    }

    /// Who is asked.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Whether somebody keeps asking for `name`.
    pub fn holds(&self, name: &Name) -> bool {
        self.tasks.contains_key(name)
    }

    /// From now on asks for `wanted`, and for nothing else. A new name that `names` knows was asked for just now.
    pub fn want(&mut self, wanted: &BTreeMap<Name, Duration>, names: &Names) {
        self.tasks.retain(|name, _| wanted.contains_key(name));
        for (name, &refresh) in wanted {
            if let Some(watched) = self.tasks.get(name) {
                watched.refresh.send_if_modified(|present| std::mem::replace(present, refresh) != refresh);
                continue;
            }
            let (sender, receiver) = watch::channel(refresh);
            let asked = names.knows(name).then(Instant::now);
            let (resolver, tell) = (self.resolver.clone(), self.tell.clone());
            let task = spawn_local(keep_asking(resolver, name.clone(), asked, receiver, tell));
            self.tasks.insert(name.clone(), Watched { refresh: sender, task });
        }
    }
}

/// Asks for `name` at once, or when the time since `asked` is over, and then time and again.
async fn keep_asking(
    resolver: Resolver,
    name: Name,
    mut asked: Option<Instant>,
    mut refresh: watch::Receiver<Duration>,
    tell: mpsc::Sender<Answer>,
) {
    loop {
        while let Some(asked) = asked {
            let due = asked + *refresh.borrow_and_update();
            tokio::select! {
                () = sleep_until(due) => break,
                changed = refresh.changed() => if changed.is_err() { return },
            }
        }
        let answer = resolver.ask(name.clone()).await;
        asked = Some(Instant::now());
        if tell.send(answer).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::worker::local_runtime;

    #[test]
    fn a_name_that_fails_keeps_its_last_good_addresses() {
        let (mut names, host): (Names, Arc<str>) = (Names::default(), "model.test".into());
        let address = Address::Dns { host: host.clone(), port: 80 };
        let answer = |targets| Answer { name: (host.clone(), 80), targets };
        assert!(names.targets(&address).is_empty());
        let good = vec![Target::Tcp(([127, 0, 0, 1], 80).into())];
        assert!(names.learn(answer(Ok(good.clone()))));
        assert!(!names.learn(answer(Ok(good.clone()))), "nothing new");
        assert!(!names.learn(answer(Err("no such host".into()))));
        assert!(!names.learn(answer(Ok(Vec::new()))));
        assert_eq!(names.targets(&address), good);
    }

    #[test]
    fn a_name_has_one_task_for_as_long_as_it_is_wanted() {
        local_runtime().unwrap().block_on(async {
            let (tell, mut answers) = mpsc::channel(1);
            let (mut watches, names) = (Watches::new(Resolver::default(), tell), Names::default());
            let name: Name = ("localhost".into(), 80);
            let every = |seconds| BTreeMap::from([(name.clone(), Duration::from_secs(seconds))]);
            watches.want(&every(3600), &names);
            let first = watches.tasks[&name].task.id();
            let mut next = async || timeout(Duration::from_secs(10), answers.recv()).await.unwrap();
            assert_eq!(next().await.unwrap().name, name, "what is not known is asked for at once");

            for _ in 0..100 {
                watches.want(&every(3600), &names);
            }
            assert_eq!(watches.tasks[&name].task.id(), first);
            watches.want(&every(0), &names);
            assert!(next().await.is_some(), "a shorter interval counts at once");
            assert_eq!(watches.tasks[&name].task.id(), first);

            watches.want(&BTreeMap::new(), &names);
            assert!(!watches.holds(&name));
            drop(watches);
            while next().await.is_some() {} // ends: the task has dropped its sender
        });
    }
}
