//! HTTP/1 or HTTP/2 by its first bytes, on one port.
//!
//! Law: what was read is given back, whatever it was. Source: RFC 9113 section 3.4, the connection preface.

use std::future::poll_fn;
use std::io;

use bytes::BytesMut;

use super::io::Io;
use super::scratch;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Which engine reads the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Engine {
    Http1,
    Http2,
}

/// Reads until the preface is whole or can no longer come. `None`: the peer left without a byte.
///
/// # Errors
/// The connection's, its limits among them.
pub async fn detect(io: &mut Io) -> io::Result<Option<Engine>> {
    let mut seen = BytesMut::new();
    loop {
        if poll_fn(|cx| scratch::poll_fill(io, cx, &mut seen)).await? == 0 {
            let left_in_silence = seen.is_empty();
            io.unread(seen.freeze());
            return Ok((!left_in_silence).then_some(Engine::Http1));
        }
        if let Some(engine) = judge(&seen) {
            io.unread(seen.freeze());
            return Ok(Some(engine));
        }
    }
}

fn judge(seen: &[u8]) -> Option<Engine> {
    let n = seen.len().min(PREFACE.len());
    if seen[..n] != PREFACE[..n] {
        Some(Engine::Http1)
    } else {
        (n == PREFACE.len()).then_some(Engine::Http2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_decides_as_soon_as_it_can() {
        assert_eq!(judge(b"GET "), Some(Engine::Http1));
        assert_eq!(judge(b"PRI * HTTP/2.0\r\n"), None);
        assert_eq!(judge(b"PRI * HTTP/1.1\r\n"), Some(Engine::Http1));
        assert_eq!(judge(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), Some(Engine::Http2));
    }
}
