//! A resolver that says what a test says.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt;
use weir::upstream::resolve::Resolver;

use super::world::until;

/// What names stand for. A name that was never told does not exist.
#[derive(Clone, Default)]
pub struct Names {
    told: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    /// `None`: whoever is asked fails.
    known: BTreeMap<String, Option<Vec<IpAddr>>>,
    /// Answers since the script was last changed.
    answers: usize,
}

impl Names {
    /// What is asked in place of the system's.
    pub fn resolver(&self) -> Resolver {
        let names = self.clone();
        Resolver::new(move |(host, port)| {
            let found = names.answer(&host);
            async move { Ok(found?.into_iter().map(|ip| SocketAddr::new(ip, port)).collect()) }.boxed_local()
        })
    }

    fn answer(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut told = self.told.lock().expect("nobody panics with it");
        told.answers += 1;
        let known = told.known.get(host).cloned().flatten();
        known.ok_or_else(|| io::Error::other("the server fails"))
    }

    /// From now on `host` stands for these.
    pub fn say(&self, host: &str, addresses: &[IpAddr]) {
        self.tell(host, Some(addresses.to_vec()));
    }

    /// From now on nobody can say what `host` stands for.
    pub fn fail(&self, host: &str) {
        self.tell(host, None);
    }

    fn tell(&self, host: &str, what: Option<Vec<IpAddr>>) {
        let mut told = self.told.lock().expect("nobody panics with it");
        told.known.insert(host.to_owned(), what);
        told.answers = 0;
    }

    /// Waits until so many answers were given since the script was last changed.
    pub async fn asked(&self, times: usize) {
        let answers = || self.told.lock().expect("nobody panics with it").answers;
        until(&format!("{times} questions to the resolver"), || (answers() >= times).then_some(())).await;
    }
}
