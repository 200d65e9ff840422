//! Opens a connection to an upstream, within a time.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::io::Stream;
use crate::snapshot::KeepAlive;

/// Where to dial: names are resolved before.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// IP and port.
    Tcp(SocketAddr),
    /// A path in the file system.
    Unix(PathBuf),
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialError {
    /// Not established in time.
    Timeout,
    /// Refused, unreachable, no descriptor left, …
    Failed(io::ErrorKind),
}

impl std::fmt::Display for DialError {
    /// In plain words: `connection refused`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            DialError::Timeout => f.write_str("no connection in time"),
            DialError::Failed(kind) => kind.fmt(f),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(f),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// Connections to upstreams that the process has open, for the bound on its descriptors.
pub fn open_connections() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Counts a connection to an upstream while it lives.
#[derive(Debug)]
pub struct Dialled(());

impl Dialled {
    /// One more is open.
    pub fn count() -> Dialled {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Dialled(())
    }
}

impl Drop for Dialled {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Dials `target`, for at most `limit`.
///
/// # Errors
/// See [`DialError`].
pub async fn dial(target: &Target, limit: Duration) -> Result<Stream, DialError> {
    match timeout(limit, connect(target)).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(DialError::Failed(error.kind())),
        Err(_) => Err(DialError::Timeout),
    }
}

async fn connect(target: &Target) -> io::Result<Stream> {
    match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Target::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

/// Has the kernel probe a connection that was made, if it is one of TCP.
///
/// # Errors
/// The kernel's, as for a value that it does not take.
pub fn probe(stream: &Stream, keep_alive: KeepAlive) -> Result<(), DialError> {
    match stream {
        Stream::Tcp(stream) => {
            set_probes(stream, keep_alive).map_err(|error| DialError::Failed(error.kind()))
        }
        Stream::Unix(_) => Ok(()),
    }
}

fn set_probes(stream: &TcpStream, keep_alive: KeepAlive) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    if let Some(probes) = keep_alive.probes {
        sockopt::set_tcp_keepcnt(stream, probes)?;
    }
    if let Some(time) = keep_alive.time {
        sockopt::set_tcp_keepidle(stream, time)?;
    }
    if let Some(interval) = keep_alive.interval {
        sockopt::set_tcp_keepintvl(stream, interval)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::runtime::worker::local_runtime;

    #[test]
    fn a_connection_is_probed_as_it_is_said_and_not_at_all_otherwise() {
        local_runtime().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let target = Target::Tcp(listener.local_addr().unwrap());
            let seconds = Duration::from_secs;
            let keep_alive =
                KeepAlive { probes: Some(7), time: Some(seconds(11)), interval: Some(seconds(13)) };
            let probed = dial(&target, seconds(10)).await.unwrap();
            probe(&probed, keep_alive).unwrap();
            let plain = dial(&target, seconds(10)).await.unwrap();
            let (Stream::Tcp(probed), Stream::Tcp(plain)) = (probed, plain) else { panic!("it is TCP") };
            assert!(sockopt::socket_keepalive(&probed).unwrap());
            assert_eq!(sockopt::tcp_keepcnt(&probed).unwrap(), 7);
            assert_eq!(sockopt::tcp_keepidle(&probed).unwrap(), seconds(11));
            assert_eq!(sockopt::tcp_keepintvl(&probed).unwrap(), seconds(13));
            assert!(!sockopt::socket_keepalive(&plain).unwrap());
        });
    }
}
