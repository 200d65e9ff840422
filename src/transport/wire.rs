//! Our I/O type under the HTTP/2 engine.
//!
//! Law: a connection that reads little reads through the buffer that all of its worker share.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::AsyncWrite;

use super::io::Io;
use super::scratch;
use crate::message::http2::connection::Wire;

impl Wire for Io {
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut BytesMut,
        room: usize,
    ) -> Poll<io::Result<usize>> {
        if room <= scratch::ROOM {
            scratch::poll_fill(self, cx, buf)
        } else {
            Io::poll_fill(self, cx, buf, room)
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(cx, bufs)
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(self), cx)
    }

    fn forget_unsent(&mut self) {
        self.reset_on_drop();
    }
}
