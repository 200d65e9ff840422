//! Tables of HTTP/2 probes: frames in, what must become of them, and the section that says so.
//!
//! Laws: each probe has a connection of its own; all rows that fail are reported at once, by name; what a probe with a
//! path under `/bad` asks for never reaches the upstream; a connection that a stream error leaves open still serves,
//! and so does a new one.
// Compiled into several tests, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub, clippy::expect_used)]

use std::net::SocketAddr;

use super::frames::{Frames, Outcome, Then, code, get, whole};
use super::world::upstream::Upstream;
use super::world::{Http, World, one_service};

/// What must become of stream 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// An answer with this status, whole; the connection goes on.
    Status(u16),
    /// An answer with this status, then RST_STREAM, as the rest of the request is not wanted.
    StatusThenReset(u16, u32),
    /// A stream error; the connection goes on.
    Reset(u32),
    /// A connection error.
    GoAway(u32),
}

pub const OK: Expect = Expect::Status(200);
/// A malformed message (RFC 9113 section 8.1.1).
pub const MALFORMED: Expect = Expect::Reset(code::PROTOCOL_ERROR);
/// A broken connection (RFC 9113 section 5.4.1).
pub const BROKEN: Expect = Expect::GoAway(code::PROTOCOL_ERROR);

/// One row.
pub struct Probe {
    pub name: &'static str,
    /// Of RFC 9113, unless another is named.
    pub section: &'static str,
    pub frames: Vec<u8>,
    pub expect: Expect,
}

/// A row.
pub fn probe(name: &'static str, section: &'static str, frames: Vec<u8>, expect: Expect) -> Probe {
    Probe { name, section, frames, expect }
}

/// A proxy before an upstream that speaks `up`.
pub async fn world(up: Http) -> (World, Upstream) {
    let upstream = Upstream::start("v1").await;
    let protocol = format!("protocol: {}", up.protocol());
    (World::start(&one_service(&[&protocol], &[(&upstream.at(), "v1")])).await, upstream)
}

/// Sends each probe, and panics with every row that did not come out as it says.
pub async fn check(up: Http, probes: Vec<Probe>) {
    let (world, upstream) = world(up).await;
    let (count, mut failures) = (probes.len(), Vec::new());
    for Probe { name, section, frames, expect } in probes {
        if let Err(why) = one(world.addr("in"), &frames, expect).await {
            failures.push(format!("  {name} (section {section}): {why}, not {expect:?}"));
        }
        let forwarded = upstream.seen().iter().filter(|seen| seen.target().starts_with("/bad")).count();
        if forwarded > 0 && !failures.iter().any(|failure| failure.contains("was forwarded")) {
            failures.push(format!("  {name} (section {section}): the request was forwarded"));
        }
    }
    assert!(failures.is_empty(), "{} of {count} ({up:?}):\n{}", failures.len(), failures.join("\n"));
}

async fn one(to: SocketAddr, frames: &[u8], expect: Expect) -> Result<(), String> {
    let mut caller = Frames::connect(to).await;
    caller.write(frames).await;
    let outcome = caller.outcome(1).await;
    let expected = match (&outcome, expect) {
        (Outcome::Answer { status, then: Then::End, .. }, Expect::Status(wanted)) => *status == wanted,
        (Outcome::Answer { status, then: Then::Reset(code), .. }, Expect::StatusThenReset(wanted, with)) => {
            (*status, *code) == (wanted, with)
        }
        (Outcome::Reset(code), Expect::Reset(wanted)) => *code == wanted,
        (Outcome::GoAway(code), Expect::GoAway(wanted)) => *code == wanted,
        _ => false,
    };
    if !expected {
        return Err(format!("{outcome:?}"));
    }
    if matches!(expect, Expect::GoAway(_)) {
        caller.read_to_end().await;
        caller = Frames::connect(to).await;
    }
    caller.write(whole(101, &get("/after"))).await;
    match caller.outcome(101).await {
        Outcome::Answer { status: 200, then: Then::End, .. } => Ok(()),
        other => Err(format!("{outcome:?}, but then another request got {other:?}")),
    }
}
