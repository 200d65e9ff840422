//! `weir top`: its arguments, and its fault as one line.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::Output;
use crate::app::top::Top;

const EXAMPLES: &str = "Examples:
  weir top
  weir top --once
  weir top --filter inception --interval 5s
  weir top --once -o json

On a terminal the table is drawn in place; Ctrl-C ends it. Elsewhere there is one line a version each time. Share and
req/s are those of the last five seconds, with --once of the last minute; all else is of the last minute. Rules with
trouble come first, then those with most traffic; -o json has them by precedence. Rules beyond --limit are told by
their number.

Success is the share of requests that the server did not fail: it failed those that ended with a 5xx, with a gRPC
status of the server's, cut off, or without an answer. Client errors, which are a 4xx or a gRPC status such as
INVALID_ARGUMENT, are no failures and have a column of their own. Requests whose caller left count in neither.

Client errors of a version are high when there are at least 5 in the last minute, and they are at least half of its
requests, or their share is at least twice that of the rule's other versions and 5 points above it, with at least 20
requests on either side.";

/// Between two looks, at least.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// Show each version's share, requests, success, client errors and latency as they are now
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct TopArgs {
    /// The proxy's admin address; a name is looked up each time
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15000", value_parser = super::admin::parse)]
    pub admin: String,
    /// Show it once and end
    #[arg(long)]
    pub once: bool,
    /// How often to look, as in 500ms, 1s or 1m
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub interval: Duration,
    /// Only services and rules that match: a regular expression on "SERVICE RULE"
    #[arg(long, value_name = "REGEX")]
    pub filter: Option<String>,
    /// How many rules at most; else as many as the terminal has room for, 100 elsewhere, and in JSON all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// How to print: json is what the admin says, a document each time
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = super::duration::parse(text)?;
    if interval < MIN_INTERVAL { Err("100ms at least".to_owned()) } else { Ok(interval) }
}

/// Shows; fails when there is no proxy.
#[must_use]
pub fn run(args: &TopArgs) -> ExitCode {
    let TopArgs { admin, once, interval, filter, limit, output } = args.clone();
    // It fits: there is no address space below 32 bits.
    let limit = limit.map(|limit| limit as usize);
    match (Top { admin, once, interval, filter, limit, json: output == Output::Json }).run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "weir top: {reason}");
            ExitCode::FAILURE
        }
    }
}
