//! Whether the end of a request is the one that was foretold.
//!
//! Law: right, or explained by harm that an upstream notes to have done to this very request; anything else is a
//! failure of the proxy. The one wider explanation: a connection killed beside the call.

use std::time::Instant;

use super::ask::{Ask, Harm};
use super::ledger::Seen;

/// What the caller got.
#[derive(Debug)]
pub enum End {
    /// A whole answer.
    Answer(Got),
    /// An answer's head, and a cut.
    Cut(String),
    /// Nothing.
    Nothing(String),
}

/// A whole answer.
#[derive(Debug)]
pub struct Got {
    pub status: u16,
    pub grpc: Option<u16>,
    /// It carries the number of the request.
    pub from_upstream: bool,
    /// The body, or the gRPC message, where it is not the pattern.
    pub text: String,
    /// Whether body and trailers are what the upstream sent.
    pub right: Result<(), String>,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Case {
    pub ask: Ask,
    pub grpc: bool,
    pub idempotent: bool,
    pub begun: Instant,
    pub ended: Instant,
    pub end: End,
}

/// What is expected of an end.
enum Expected {
    Right,
    /// Weir's own answer: HTTP status and a part of its text. gRPC callers get 14 with the same text.
    Local(u16, &'static str),
    /// The upstream's own error: HTTP or gRPC status.
    Theirs(u16),
    Cut,
}

impl Case {
    /// What explains the end: `right`, or the name of the harm.
    pub fn judge(&self, seen: Seen, killed: bool) -> Result<String, String> {
        let harm = self.ask.harm;
        // Time runs out for whoever asks for little of it, harmed or not.
        let done = harm == Harm::None || harm.stalls() || seen.harmed == Some(harm);
        let once = seen.attempts <= 1 || self.may_be_repeated();
        if !once {
            return Err(format!("sent {} times: {self:?} {seen:?}", seen.attempts));
        }
        if done && self.expected().iter().any(|expected| self.fits(expected)) {
            let right = matches!(harm, Harm::None);
            return Ok(if right { "right".into() } else { format!("{harm:?}") });
        }
        if self.grpc && killed && self.fits_a_kill() {
            return Ok("beside a Kill".into());
        }
        Err(format!("{self:?} {seen:?}"))
    }

    fn may_be_repeated(&self) -> bool {
        self.idempotent || matches!(self.ask.harm, Harm::StreamRefused)
    }

    fn expected(&self) -> Vec<Expected> {
        use Expected::{Cut, Local, Right, Theirs};
        let closed = Local(503, "connection termination");
        match self.ask.harm {
            Harm::None | Harm::Extra | Harm::Early | Harm::Goaway => vec![Right],
            Harm::Reset | Harm::Close if self.idempotent => vec![Right],
            Harm::Reset | Harm::Close => vec![closed],
            Harm::Cut => vec![Cut],
            // On a busy machine the time may be up before the upstream has begun.
            Harm::StallInBody => vec![Cut, Local(504, "upstream request timeout")],
            // A reset overtakes a head that was not sent yet.
            Harm::StreamCut => vec![Cut, Local(503, "remote reset")],
            Harm::Refuse => vec![Theirs(if self.grpc { 3 } else { 503 })],
            Harm::Stall => vec![Local(504, "upstream request timeout")],
            Harm::Garbage => vec![Local(502, "protocol error")],
            Harm::StreamReset => vec![Local(503, "remote reset")],
            Harm::StreamRefused => vec![Right],
            Harm::Kill => vec![Cut, closed],
        }
    }

    fn fits(&self, expected: &Expected) -> bool {
        match (expected, &self.end) {
            (Expected::Cut, End::Cut(_)) => true,
            (Expected::Right, End::Answer(got)) => {
                let status = got.status == 200 && got.grpc.is_none_or(|status| status == 0);
                status && got.from_upstream && got.right.is_ok()
            }
            (&Expected::Local(status, text), End::Answer(got)) => {
                let fits = match self.grpc {
                    true => got.status == 200 && got.grpc == Some(14),
                    false => got.status == status,
                };
                fits && !got.from_upstream && got.text.contains(text)
            }
            (&Expected::Theirs(status), End::Answer(got)) => {
                let theirs = if self.grpc { got.grpc.unwrap_or(0) } else { got.status };
                theirs == status && got.from_upstream && got.text == "refused"
            }
            _ => false,
        }
    }

    fn fits_a_kill(&self) -> bool {
        let closed = Expected::Local(503, "connection termination");
        self.fits(&Expected::Cut) || self.fits(&closed)
    }

    /// The status for the books: what the access log should say.
    pub fn status(&self) -> Option<u16> {
        match &self.end {
            End::Answer(got) => Some(got.status),
            End::Cut(_) => Some(200),
            End::Nothing(_) => None,
        }
    }
}
