//! Why a stream or a connection ended.
//!
//! Law: small and copied; who ended it is always told, as retries and blame hang on it.

use std::fmt;
use std::io;

use super::frame::Reason;

/// Who ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The peer.
    Remote,
    /// This engine, as the peer broke the protocol or passed a bound.
    Engine,
    /// Whoever uses this engine.
    User,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The stream was reset.
    Reset(Reason, By),
    /// The connection ended, or will not process the stream.
    GoAway(Reason, By),
    /// The connection was lost.
    Io(io::ErrorKind),
    /// The message has no form on the wire.
    Unsendable,
}

impl Error {
    /// Only the stream ended.
    pub fn is_reset(&self) -> bool {
        matches!(self, Error::Reset(..))
    }

    /// The connection ended by a GOAWAY.
    pub fn is_go_away(&self) -> bool {
        matches!(self, Error::GoAway(..))
    }

    /// The connection was lost.
    pub fn is_io(&self) -> bool {
        matches!(self, Error::Io(_))
    }

    /// The peer said so.
    pub fn is_remote(&self) -> bool {
        matches!(self, Error::Reset(_, By::Remote) | Error::GoAway(_, By::Remote))
    }

    /// The peer broke the protocol, or passed a bound.
    pub fn is_engine(&self) -> bool {
        matches!(self, Error::Reset(_, By::Engine) | Error::GoAway(_, By::Engine))
    }

    /// The code that was sent or received.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Reset(reason, _) | Error::GoAway(reason, _) => Some(*reason),
            Error::Io(_) | Error::Unsendable => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = |by: &By| match by {
            By::Remote => "the peer",
            By::Engine => "this side, for a fault of the peer's",
            By::User => "this side",
        };
        match self {
            Error::Reset(reason, who) => write!(f, "the stream was reset by {}: {reason}", by(who)),
            Error::GoAway(reason, who) => write!(f, "the connection was ended by {}: {reason}", by(who)),
            Error::Io(kind) => write!(f, "the connection was lost: {kind}"),
            Error::Unsendable => f.write_str("the message has no form on the wire"),
        }
    }
}

impl std::error::Error for Error {}
