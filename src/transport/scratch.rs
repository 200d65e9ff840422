//! Reads through one buffer that all connections of a worker share.
//!
//! Law: a connection holds about as many bytes as were read for it, not the room that it took to read them, and nothing
//! while its peer is silent. A copy of few bytes is cheaper than a large buffer from the allocator for each message; of
//! many it is not, and they stay where they were read.

use std::cell::RefCell;
use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::io::Io;

/// What one read may bring.
pub const ROOM: usize = 16 << 10;

/// What is copied of it.
const COPIED: usize = 4 << 10;

thread_local! {
    /// As long as its room, or empty.
    static SCRATCH: RefCell<BytesMut> = RefCell::default();
}

/// Reads what is there, at most [`ROOM`], and appends it to `buf`; 0 is the peer's end.
pub fn poll_fill(io: &mut Io, cx: &mut Context<'_>, buf: &mut BytesMut) -> Poll<io::Result<usize>> {
    SCRATCH.with_borrow_mut(|scratch| {
        if scratch.is_empty() {
            *scratch = BytesMut::zeroed(ROOM);
        }
        let mut room = ReadBuf::new(scratch);
        ready!(Pin::new(io).poll_read(cx, &mut room))?;
        let read = room.filled().len();
        if read > COPIED && buf.is_empty() {
            *buf = mem::take(scratch);
            buf.truncate(read);
        } else {
            buf.extend_from_slice(room.filled());
        }
        Poll::Ready(Ok(read))
    })
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::rc::Rc;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::*;
    use crate::runtime::worker::local_runtime;
    use crate::transport::activity::Activity;
    use crate::transport::io::Stream;

    #[test]
    fn a_connection_holds_what_was_read_and_nothing_while_its_peer_is_silent() {
        local_runtime().expect("a runtime").block_on(async {
            let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
            let mut io = Io::new(Stream::Unix(ours), Rc::new(Activity::new(false)));
            let mut buf = BytesMut::new();
            poll_fn(|cx| {
                assert!(poll_fill(&mut io, cx, &mut buf).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(buf.capacity(), 0);
            theirs.write_all(&[7; 100]).await.expect("written");
            assert_eq!(poll_fn(|cx| poll_fill(&mut io, cx, &mut buf)).await.expect("read"), 100);
            assert_eq!(buf[..], [7; 100]);
            assert!(buf.capacity() < 200, "{}", buf.capacity());
            buf.clear();
            theirs.write_all(&[8; 10_000]).await.expect("written");
            assert_eq!(poll_fn(|cx| poll_fill(&mut io, cx, &mut buf)).await.expect("read"), 10_000);
            assert_eq!(buf[..], [8; 10_000]);
            drop(theirs);
            assert_eq!(poll_fn(|cx| poll_fill(&mut io, cx, &mut buf)).await.expect("the end"), 0);
        });
    }
}
