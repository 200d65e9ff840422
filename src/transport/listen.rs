//! Listening sockets: one for each address, on the control thread.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::io::Stream;
use crate::snapshot::BindAddress;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub enum Listening {
    /// TCP
    Tcp(TcpListener),
    /// Unix-domain
    Unix(UnixListener),
}

/// A connection as it came, in a form that may cross threads.
#[derive(Debug)]
pub enum Accepted {
    /// TCP, with its peer and our own address.
    Tcp(std::net::TcpStream, SocketAddr, SocketAddr),
    /// Unix-domain
    Unix(std::os::unix::net::UnixStream),
}

impl Listening {
    /// Binds `address`. Must run within a runtime.
    ///
    /// # Errors
    /// The operating system's; the caller names the address.
    pub fn bind(address: &BindAddress) -> io::Result<Listening> {
        match address {
            BindAddress::Socket(address) => bind_tcp(*address).map(Listening::Tcp),
            BindAddress::Unix(path) => bind_unix(path).map(Listening::Unix),
        }
    }

    /// The address bound, which tells the port chosen for port 0; `None` for a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The operating system's: of that connection, or the process has no descriptor left.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                Ok(Accepted::Tcp(stream.into_std()?, peer, local))
            }
            Listening::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

impl Accepted {
    /// Takes the connection into this thread's runtime.
    ///
    /// # Errors
    /// The operating system's.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self {
            Accepted::Tcp(stream, ..) => tokio::net::TcpStream::from_std(stream).map(Stream::Tcp),
            Accepted::Unix(stream) => tokio::net::UnixStream::from_std(stream).map(Stream::Unix),
        }
    }

    /// The peer's address; `None` for a Unix-domain peer.
    pub fn peer(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Tcp(_, peer, _) => Some(*peer),
            Accepted::Unix(_) => None,
        }
    }

    /// Our own address on this connection; `None` for a Unix-domain one.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Accepted::Tcp(_, _, local) => Some(*local),
            Accepted::Unix(_) => None,
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?; // `[::]` takes IPv4 as well, whatever the host's default is: so it was checked
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// A path that a dead process left behind is taken over; a live one is not.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_dead_socket(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)
        }
        result => result,
    }
}

fn is_dead_socket(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && StdUnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::worker::local_runtime;

    #[test]
    fn a_socket_left_by_a_dead_process_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = BindAddress::Unix(folder.path().join("weir.sock"));
        local_runtime().expect("a runtime").block_on(async {
            let first = Listening::bind(&address).expect("bound");
            assert_eq!(Listening::bind(&address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
            drop(first); // the file stays, as after a crash
            Listening::bind(&address).expect("taken over");
        });
    }
}
