//! What all callers share: numbers, the choice of harm, and the accounts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::ask::{Ask, Harm, pick};
use super::judge::{Case, End};
use super::ledger::Ledger;

/// One request in so many is harmed.
const HARMED: u64 = 100;
const SHOWN: usize = 10;

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub ask: Ask,
    pub grpc: bool,
    pub idempotent: bool,
    pub begun: Instant,
}

/// Where a request was cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Phase {
    pub at: &'static str,
    pub by: &'static str,
}

impl Phase {
    pub const AT: [&'static str; 3] = ["before the head", "going up", "coming down"];
}

/// What callers counted.
#[derive(Default)]
pub struct Accounts {
    /// Requests by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Their ends: `right`, or what explains them.
    pub ends: BTreeMap<String, u64>,
    pub unexplained: Vec<String>,
    /// Of requests that ended with an answer or a cut: the status that their caller saw.
    pub statuses: HashMap<u64, u16>,
    /// gRPC and REST requests by outcome, as `weir_requests_total` tells them.
    pub outcomes: BTreeMap<(&'static str, &'static str), u64>,
    /// Cancelled: where, and when.
    pub cancelled: Vec<(u64, Phase, Instant)>,
}

/// See the module.
pub struct Callers {
    pub address: SocketAddr,
    pub ledger: Arc<Ledger>,
    pub accounts: RefCell<Accounts>,
    pub stop: Cell<bool>,
    next: Cell<u64>,
}

impl Callers {
    pub fn new(address: SocketAddr, ledger: Arc<Ledger>) -> Callers {
        Callers { address, ledger, accounts: RefCell::default(), stop: Cell::new(false), next: Cell::new(1) }
    }

    pub fn id(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    /// A request of so many bytes up and down that may be harmed in one of the ways named.
    pub fn ask(&self, up: usize, down: usize, harms: &[Harm]) -> Ask {
        let id = self.id();
        let harmed = !harms.is_empty() && pick(id, 100, HARMED) == 0;
        let harm = if harmed { harms[pick(id, 101, harms.len() as u64) as usize] } else { Harm::None };
        let close = pick(id, 102, 50) == 0;
        Ask { id, up, down, messages: 1, duplex: false, think_ms: pick(id, 103, 10), close, harm }
    }

    pub fn sent(&self, kind: &'static str, ask: &Ask, grpc: bool, idempotent: bool) -> Sent {
        *self.accounts.borrow_mut().kinds.entry(kind).or_default() += 1;
        Sent { ask: ask.clone(), grpc, idempotent, begun: Instant::now() }
    }

    /// A request has ended: it is judged. Whether it ended as it should in a world without harm.
    pub fn ended(&self, kind: &'static str, sent: Sent, end: End) -> bool {
        let Sent { ask, grpc, idempotent, begun } = sent;
        let case = Case { ask, grpc, idempotent, begun, ended: Instant::now(), end };
        let (id, killed) = (case.ask.id, self.ledger.killed(case.begun, case.ended));
        let seen = self.ledger.of(id);
        let mut accounts = self.accounts.borrow_mut();
        if let Some(status) = case.status() {
            accounts.statuses.insert(id, status);
        }
        let outcome = outcome(&case);
        *accounts.outcomes.entry((if grpc { "grpc" } else { "http" }, outcome)).or_default() += 1;
        match case.judge(seen, killed) {
            Ok(why) => {
                let right = why == "right";
                *accounts.ends.entry(why).or_default() += 1;
                // Those that may still be told of are kept.
                right && self.ledger.take(id).attempts > 0
            }
            Err(why) => {
                if accounts.unexplained.len() < SHOWN {
                    println!("unexplained: {kind}: {why}");
                }
                accounts.unexplained.push(format!("{kind}: {why}"));
                false
            }
        }
    }

    /// A request behind another on its connection that could not be served any more.
    pub fn not_begun(&self, sent: &Sent) {
        let attempts = self.ledger.of(sent.ask.id).attempts;
        let mut accounts = self.accounts.borrow_mut();
        *accounts.ends.entry("behind a cut".into()).or_default() += 1;
        if attempts > 0 {
            accounts.unexplained.push(format!("served behind a cut: {sent:?}"));
        }
    }

    /// A caller has left on purpose.
    pub fn cancelled(&self, id: u64, phase: Phase) {
        let mut accounts = self.accounts.borrow_mut();
        *accounts.ends.entry("cancelled".into()).or_default() += 1;
        accounts.cancelled.push((id, phase, Instant::now()));
    }

    /// Requests that their callers cut while they went up, and that an upstream saw whole nevertheless.
    pub fn completed(&self) -> Vec<u64> {
        let accounts = self.accounts.borrow();
        let cut = accounts.cancelled.iter().filter(|(_, phase, _)| phase.at == "going up");
        cut.map(|&(id, ..)| id).filter(|&id| self.ledger.of(id).whole > 0).collect()
    }

    /// How long the proxy took to be rid of those that left: for each phase how many, and the half, 99 % and all of
    /// them in milliseconds. Those that were over by then, or never begun, do not count.
    pub fn cancellations(&self) -> BTreeMap<Phase, (usize, [u128; 3])> {
        let mut took: BTreeMap<Phase, Vec<u128>> = BTreeMap::new();
        for &(id, phase, when) in &self.accounts.borrow().cancelled {
            if let Some(left) = self.ledger.of(id).left {
                took.entry(phase).or_default().push(left.saturating_duration_since(when).as_millis());
            }
        }
        let parts = |mut took: Vec<u128>| {
            took.sort_unstable();
            let at = |part: usize| took[(took.len() * part / 100).min(took.len() - 1)];
            (took.len(), [at(50), at(99), at(100)])
        };
        took.into_iter().map(|(phase, took)| (phase, parts(took))).collect()
    }

    pub fn requests(&self) -> u64 {
        self.accounts.borrow().kinds.values().sum()
    }
}

/// The class that the metrics have for the end.
fn outcome(case: &Case) -> &'static str {
    match &case.end {
        End::Answer(got) if case.grpc => match got.grpc {
            Some(0) => "success",
            Some(3) => "client_error",
            _ => "server_error",
        },
        End::Answer(got) if got.status < 400 => "success",
        End::Answer(got) if got.status < 500 => "client_error",
        _ => "server_error",
    }
}
