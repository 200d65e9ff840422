//! How the process leaves: one phase, set once forward, seen by all.
//!
//! Law: the phase never goes back. Serving -> Grace (go on, but say goodbye) -> Closing (no new work).

use super::sync::watch;

/// Where the process stands on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing has been asked.
    Serving,
    /// Readiness is down; requests and connections are still taken, answers say `connection: close` and GOAWAY.
    Grace,
    /// Listeners and idle connections are closed; what is in flight is finished.
    Closing,
}

/// The side that decides.
#[derive(Debug)]
pub struct Drain {
    phase: watch::Sender<Phase>,
}

/// The side that obeys. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DrainWatch {
    phase: watch::Receiver<Phase>,
}

impl Drain {
    /// A process that serves.
    pub fn new() -> (Drain, DrainWatch) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (Drain { phase: sender }, DrainWatch { phase: receiver })
    }

    /// Moves on to `phase`; an earlier phase than the present one is ignored.
    pub fn advance(&self, phase: Phase) {
        self.phase.send_if_modified(|now| {
            let forward = phase > *now;
            if forward {
                *now = phase;
            }
            forward
        });
    }
}

impl DrainWatch {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the phase is `phase` or later. Pending for ever when the deciding side is gone before.
    pub async fn reached(&mut self, phase: Phase) {
        if self.phase.wait_for(|&now| now >= phase).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(all(test, feature = "models"))]
#[path = "drain_models.rs"]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_never_goes_back() {
        let (drain, watch) = Drain::new();
        drain.advance(Phase::Closing);
        drain.advance(Phase::Grace);
        assert_eq!(watch.phase(), Phase::Closing);
    }
}
