//! `weir demo`: its arguments, and its fault as one line.

use std::process::ExitCode;
use std::time::Duration;

use crate::app::demo::Demo;
use crate::app::logging::{self, LogFormat};

const EXAMPLES: &str = "Examples:
  weir demo
  weir demo --for 10s
  weir demo --no-traffic --port 9500 --admin-port 16000";

/// Show a 95/5 split of two model versions, live, on loopback only
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DemoArgs {
    /// Stop after this long, as in 500ms, 10s or 1m; without it, at Ctrl-C
    #[arg(long = "for", value_name = "DURATION", value_parser = super::duration::parse)]
    pub run_for: Option<Duration>,
    /// Send no traffic: only what you send is split
    #[arg(long)]
    pub no_traffic: bool,
    /// Where the proxy listens on 127.0.0.1; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 8500)]
    pub port: u16,
    /// Where the proxy's admin listens on 127.0.0.1; 0 takes a free port
    #[arg(long, value_name = "PORT", default_value_t = 15000)]
    pub admin_port: u16,
}

/// How long the log may take for its last lines.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Runs the demo to its end.
#[must_use]
pub fn main(args: &DemoArgs) -> ExitCode {
    // A line among the table's would tear it: only what is amiss is told.
    let log = logging::init("warn", LogFormat::Text);
    if let Err(reason) = &log {
        eprintln!("weir demo: {reason}");
    }
    let &DemoArgs { run_for, no_traffic, port, admin_port } = args;
    let ended = Demo { run_for, traffic: !no_traffic, port, admin_port }.run();
    if let Ok(log) = log {
        log.flush(LAST_WORDS);
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("weir demo: {fault}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        args: DemoArgs,
    }

    #[test]
    fn without_arguments_it_takes_the_usual_ports_sends_traffic_and_has_no_end() {
        let args = Cli::parse_from(["weir"]).args;
        assert_eq!((args.port, args.admin_port, args.no_traffic, args.run_for), (8500, 15000, false, None));
        let args = Cli::parse_from(["weir", "--for", "10s", "--no-traffic"]).args;
        assert_eq!((args.no_traffic, args.run_for), (true, Some(Duration::from_secs(10))));
    }
}
