//! A pipe between two ends, and what tests need to wait for.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::message::http2::connection::Wire;
use crate::message::http2::error::Error;
use crate::message::http2::{RecvStream, SendStream};

/// One end of a pipe; it counts what is asked of it.
#[derive(Debug)]
pub(super) struct Pipe {
    stream: DuplexStream,
    most: usize,
    pub(super) writes: Rc<Cell<usize>>,
}

/// A pipe that takes `most` bytes at a time.
pub(super) fn pipe(most: usize) -> (Pipe, Pipe) {
    let (here, there) = tokio::io::duplex(most);
    (Pipe::over(here, most), Pipe::over(there, most))
}

impl Pipe {
    pub(super) fn over(stream: DuplexStream, most: usize) -> Pipe {
        Pipe { stream, most, writes: Rc::default() }
    }
}

impl Wire for Pipe {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        let mut piece = vec![0; room.min(self.most)];
        let mut read = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        buf.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut all = Vec::new();
        for buf in bufs {
            all.extend_from_slice(&buf[..buf.len().min(self.most - all.len())]);
        }
        let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &all))?;
        self.writes.set(self.writes.get() + 1);
        Poll::Ready(Ok(n))
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Runs a test; it must end in time.
pub(super) fn run<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(tokio::runtime::LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        tokio::time::timeout(Duration::from_secs(30), test()).await.expect("in time");
    });
}

/// Reads a body to its end.
pub(super) async fn read_all(body: &mut RecvStream) -> Result<(Vec<u8>, Option<HeaderMap>), Error> {
    let (mut all, mut trailers) = (Vec::new(), None);
    while let Some(frame) = std::future::poll_fn(|cx| body.poll_frame(cx)).await {
        match Frame::into_data(frame?) {
            Ok(data) => all.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Ok((all, trailers))
}

/// Sends all of `data`; with `end` nothing follows.
pub(super) async fn send_all(
    stream: &mut SendStream,
    data: impl Into<Bytes>,
    end: bool,
) -> Result<(), Error> {
    let mut data = data.into();
    while data.has_remaining() {
        std::future::poll_fn(|cx| stream.poll_send(cx, &mut data, end)).await?;
    }
    Ok(())
}

/// Lets all other tasks have their turn, a few times over.
pub(super) async fn turns() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// Bytes of which each says where it stands.
pub(super) fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|at| ((at * 31) >> 3) as u8).collect()
}
