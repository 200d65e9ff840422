//! A thread with a runtime of its own, whose tasks never leave it.
//!
//! Law: what runs on a worker needs no lock and is not `Send`.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

/// Threads for what blocks, made when wanted. That is `getaddrinfo`, which takes no deadline: names whose server is
/// silent each hold a thread for tens of seconds, and the names beside them shall be asked all the same.
const BLOCKING_THREADS_MAX: usize = 16;

/// A current-thread runtime on which `spawn_local` works without further ado.
///
/// # Errors
/// The operating system's, when it gives no epoll or event descriptor.
pub fn local_runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build_local(LocalOptions::default())
}

/// Starts a named thread that runs the future which `make` builds there, to its end.
///
/// # Errors
/// The operating system's, when it gives no thread or no descriptors.
pub fn spawn<F, Fut>(name: &str, make: F) -> io::Result<JoinHandle<()>>
where
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    // The runtime is not Send, so it is built on the thread; whether that worked is told back.
    let (report, started) = std::sync::mpsc::sync_channel(1);
    let handle = thread::Builder::new().name(name.to_owned()).spawn(move || {
        let runtime = match local_runtime() {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        if report.send(Ok(())).is_ok() {
            runtime.block_on(make());
        }
    })?;
    started.recv().unwrap_or_else(|_| Err(io::Error::other("the thread ended before it started")))?;
    Ok(handle)
}
