//! `bench-load`: the callers of `benches/compare`, over HTTP/1.1 or gRPC, in closed or open loop.
//!
//!     bench-load --address 127.0.0.1:8080 --protocol http1 --connections 64 --seconds 5 --body predict.json
//!     bench-load --address 127.0.0.1:8080 --protocol grpc --connections 16 --streams 16 --rate 5000 --seconds 5 ...
//!
//! One thread on epoll; what happened is one line of JSON on stdout, with every latency in an HdrHistogram.
//!
//! Its two laws. It costs next to nothing, as it shares a core with the model servers: requests are made once but for
//! what varies, bodies are never copied, answers are framed and not kept. And it does not flatter: an answer counts
//! when it is whole, a failure is counted by its kind, and at a fixed rate latency runs from when a request was *due*,
//! so that one held up by the one before it shows its wait.
//!
//! | file | what it knows |
//! |---|---|
//! | `options` | the command line |
//! | `engine` | the loop: sockets, epoll, retries of connections, deadlines |
//! | `pace` | which request is due when |
//! | `connection` | one socket and what is under way on it |
//! | `http1`, `http2`, `hpack`, `encoder`, `huffman` | the wire |
//! | `varied` | what is new in each request |
//! | `outbox` | what is to be written |
//! | `tally` | what came of it, and the report |

mod connection;
mod encoder;
mod engine;
#[cfg(test)]
mod engine_tests;
mod hpack;
mod http1;
mod http2;
#[cfg(test)]
mod http2_tests;
mod huffman;
mod options;
mod outbox;
mod pace;
mod tally;
mod varied;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let plan = match options::Options::parse().plan() {
        Ok(plan) => plan,
        Err(fault) => return fail(&fault),
    };
    let report = match engine::run(&plan) {
        Ok(report) => report,
        Err(error) => return fail(&error.to_string()),
    };
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{report}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

/// The load could not be made at all: nothing is on stdout.
fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "bench-load: {why}");
    ExitCode::from(2)
}
