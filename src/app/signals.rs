//! What the signals of the operating system ask for.
//!
//! Law: the handlers are there before anything is started, so that no signal kills the process by surprise; a signal
//! that comes while it starts is obeyed as soon as it has.

use std::cell::OnceCell;
use std::io;
use std::rc::Rc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::task::spawn_local;

use super::sidecar::Leave;

/// Exit status after a second signal to leave: what was in flight was not finished.
pub const EXIT_AT_ONCE: i32 = 1;

/// What the process can do when a signal asks for it.
pub trait Obey {
    /// SIGHUP: look at the files now.
    fn look_again(&self);
    /// SIGUSR1: open the log's files anew.
    fn reopen_logs(&self);
    /// A second signal to leave: the process ends when this returns.
    fn last_words(&self);
}

/// The handlers. SIGPIPE is ignored by every Rust program: writing to a closed pipe is an error like any other.
pub struct Signals {
    /// A log that reaches the limit of a file's size (`ulimit -f`) shall be an error like any other, too.
    _file_size: Signal,
    leave: oneshot::Receiver<()>,
    who: Rc<OnceCell<Box<dyn Obey>>>,
    ready: Rc<Notify>,
}

impl Signals {
    /// Sets the handlers. Must run within a runtime that takes local tasks.
    ///
    /// # Errors
    /// The operating system's.
    pub fn listen() -> io::Result<Signals> {
        let (mut terminate, mut interrupt) =
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let file_size = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?;
        let (mut hangup, mut user1) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
        let (first, leave) = oneshot::channel();
        let who: Rc<OnceCell<Box<dyn Obey>>> = Rc::default();
        let ready = Rc::new(Notify::new());
        let obeying = who.clone();
        spawn_local(async move {
            next_to_leave(&mut terminate, &mut interrupt).await;
            let _ = first.send(());
            next_to_leave(&mut terminate, &mut interrupt).await;
            tracing::warn!("a second signal: leaving at once");
            if let Some(obey) = obeying.get() {
                obey.last_words();
            }
            std::process::exit(EXIT_AT_ONCE);
        });
        let (obeying, started) = (who.clone(), ready.clone());
        spawn_local(async move {
            started.notified().await;
            let Some(obey) = obeying.get() else { return };
            loop {
                tokio::select! {
                    Some(()) = hangup.recv() => {
                        tracing::info!("SIGHUP: looking at the files");
                        obey.look_again();
                    }
                    Some(()) = user1.recv() => {
                        tracing::info!("SIGUSR1: opening the access log anew");
                        obey.reopen_logs();
                    }
                    else => return,
                }
            }
        });
        Ok(Signals { _file_size: file_size, leave, who, ready })
    }

    /// From now on `obey` does what is asked. Returns when SIGTERM or SIGINT has come.
    pub async fn obeyed_by(self, obey: impl Obey + 'static) -> Leave {
        let _ = self.who.set(Box::new(obey));
        self.ready.notify_one();
        // The task lives as long as the runtime; an error cannot come before a signal.
        let _ = self.leave.await;
        Leave::Drain
    }
}

async fn next_to_leave(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
