//! Listening sockets: one for each address, on the control thread.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixListener;

use super::io::Stream;
use crate::snapshot::BindAddress;

/// Connections that the kernel holds for us while we are busy.
const BACKLOG: i32 = 4096;

/// A socket that listens.
#[derive(Debug)]
pub enum Listening {
    /// TCP, with the address bound. A connection is registered by the worker that gets it, and by nobody before.
    Tcp(AsyncFd<TcpListener>, SocketAddr),
    /// Unix-domain. The file goes first: while the socket is open no other file can get its inode.
    Unix(SocketFile, UnixListener),
}

/// The file of a Unix-domain socket, removed with it. One that somebody else has put at its path meanwhile (the next
/// process of an upgrade, say) is left alone.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode as they were when we had just bound.
    identity: Option<(u64, u64)>,
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
            BindAddress::Socket(address) => bind_tcp(*address),
            BindAddress::Unix(path) => {
                let listener = bind_unix(path)?;
                Ok(Listening::Unix(SocketFile::of(path), listener))
            }
        }
    }

    /// The address bound, which tells the port chosen for port 0; `None` for a path.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(_, local) => Some(*local),
            Listening::Unix(..) => None,
        }
    }

    /// The next connection.
    ///
    /// # Errors
    /// The operating system's: of that connection, or the process has no descriptor left.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listening::Tcp(listener, bound) => {
                let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
                let accept = |listener: &TcpListener| Ok(acceptfrom_with(listener, flags)?);
                let (stream, peer) = listener.async_io(Interest::READABLE, accept).await?;
                let stream = std::net::TcpStream::from(stream);
                let peer = peer.and_then(|peer| peer.try_into().ok()).ok_or(io::ErrorKind::NotConnected)?;
                let local = if bound.ip().is_unspecified() { stream.local_addr()? } else { *bound };
                Ok(Accepted::Tcp(stream, peer, local))
            }
            Listening::Unix(_, listener) => {
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

impl SocketFile {
    fn of(path: &Path) -> SocketFile {
        SocketFile { path: path.to_owned(), identity: identity(path) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if self.identity.is_some()
            && self.identity == identity(&self.path)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            // The next bind takes it over, as after a crash.
            tracing::debug!(path = %self.path.display(), %error, "a socket's file stays");
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::symlink_metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

fn bind_tcp(address: SocketAddr) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?; // Linux hands it down to what is accepted
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?; // `[::]` takes IPv4 as well, whatever the host's default is: so it was checked
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let bound = listener.local_addr()?;
    #[expect(
        deprecated,
        reason = "unsound for types that lie about their descriptor; the standard library's does not"
    )]
    let listener = AsyncFd::with_interest(listener, Interest::READABLE)?;
    Ok(Listening::Tcp(listener, bound))
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
    fn what_is_accepted_does_not_delay_knows_both_addresses_and_waits_for_nobody() {
        local_runtime().expect("a runtime").block_on(async {
            for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
                let listening = Listening::bind(&BindAddress::Socket(bound.parse().expect("an address")));
                let listening = listening.expect("bound");
                let port = listening.local_addr().expect("an address").port();
                let caller = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
                let Accepted::Tcp(stream, peer, local) = listening.accept().await.expect("accepted") else {
                    panic!("TCP")
                };
                assert!(stream.nodelay().expect("known"), "{bound}");
                assert_eq!(peer.port(), caller.local_addr().expect("known").port(), "{bound}");
                assert_eq!(local, stream.local_addr().expect("known"), "{bound}");
                let read = std::io::Read::read(&mut &stream, &mut [0]).expect_err("nothing was sent");
                assert_eq!(read.kind(), io::ErrorKind::WouldBlock, "{bound}");
            }
        });
    }

    #[test]
    fn a_socket_left_by_a_dead_process_is_taken_over_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let address = BindAddress::Unix(folder.path().join("weir.sock"));
        local_runtime().expect("a runtime").block_on(async {
            let first = Listening::bind(&address).expect("bound");
            assert_eq!(Listening::bind(&address).expect_err("in use").kind(), io::ErrorKind::AddrInUse);
            let Listening::Unix(file, first) = first else { panic!("a path") };
            std::mem::forget(file); // the file stays, as after a crash
            drop(first);
            Listening::bind(&address).expect("taken over");
        });
    }

    #[test]
    fn a_socket_that_closes_takes_its_file_along_but_not_that_of_a_successor() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("weir.sock");
        let address = BindAddress::Unix(path.clone());
        local_runtime().expect("a runtime").block_on(async {
            drop(Listening::bind(&address).expect("bound"));
            assert!(!path.exists());
            let first = Listening::bind(&address).expect("bound again");
            std::fs::rename(&path, folder.path().join("old.sock")).expect("moved");
            let second = Listening::bind(&address).expect("the path is free");
            drop(first);
            assert!(path.exists(), "it is the successor's");
            drop(second);
            assert!(!path.exists());
        });
    }
}
