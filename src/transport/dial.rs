//! Opens a connection to an upstream, within a time.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::io::Stream;

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

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Tcp(address) => address.fmt(f),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
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
