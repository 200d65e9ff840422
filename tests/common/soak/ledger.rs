//! The book of the upstreams: which request they saw, how often, what they did to it, and who left.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::ask::{Ask, Harm};

/// How long the proxy may take, on a busy machine, to hear that a connection was closed.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

/// What the upstreams know of one request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub attempts: u32,
    pub harmed: Option<Harm>,
    /// How often its body was received whole.
    pub whole: u32,
    /// When the proxy let go of an attempt before it was answered.
    pub left: Option<Instant>,
}

/// See the module. Shared by the threads of upstreams and callers.
#[derive(Default)]
pub struct Ledger {
    seen: Mutex<HashMap<u64, Seen>>,
    kills: Mutex<Vec<Instant>>,
    faults: Mutex<Vec<String>>,
    pub open: AtomicUsize,
    pub active: AtomicUsize,
}

/// A place in a count until it is dropped.
pub struct Place(Arc<Ledger>, fn(&Ledger) -> &AtomicUsize);

impl Place {
    pub fn open(ledger: &Arc<Ledger>) -> Place {
        Place::new(ledger, |ledger| &ledger.open)
    }

    pub fn active(ledger: &Arc<Ledger>) -> Place {
        Place::new(ledger, |ledger| &ledger.active)
    }

    fn new(ledger: &Arc<Ledger>, which: fn(&Ledger) -> &AtomicUsize) -> Place {
        which(ledger).fetch_add(1, Ordering::SeqCst);
        Place(ledger.clone(), which)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        (self.1)(&self.0).fetch_sub(1, Ordering::SeqCst);
    }
}

impl Ledger {
    fn note<T>(&self, id: u64, note: impl FnOnce(&mut Seen) -> T) -> T {
        note(self.seen.lock().unwrap().entry(id).or_default())
    }

    /// An attempt arrives; what to do to it.
    pub fn arrives(&self, ask: &Ask) -> Harm {
        self.note(ask.id, |seen| {
            seen.attempts += 1;
            if seen.attempts > 1 || ask.harm == Harm::None {
                return Harm::None;
            }
            seen.harmed = Some(ask.harm);
            ask.harm
        })
    }

    pub fn whole(&self, id: u64) {
        self.note(id, |seen| seen.whole += 1);
    }

    pub fn left(&self, id: u64) {
        self.note(id, |seen| seen.left = Some(Instant::now()));
    }

    /// A connection is closed with all its streams.
    pub fn kills(&self) {
        self.kills.lock().unwrap().push(Instant::now());
    }

    /// Whether a connection was closed under a request of that time.
    pub fn killed(&self, begun: Instant, ended: Instant) -> bool {
        let kills = self.kills.lock().unwrap();
        kills.iter().any(|&kill| kill + HEARD_WITHIN > begun && kill <= ended)
    }

    /// The proxy did what it must never do.
    pub fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }

    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// What is known of a request that has ended.
    pub fn of(&self, id: u64) -> Seen {
        self.seen.lock().unwrap().get(&id).copied().unwrap_or_default()
    }

    /// The same, and it is forgotten.
    pub fn take(&self, id: u64) -> Seen {
        self.seen.lock().unwrap().remove(&id).unwrap_or_default()
    }
}
