//! `weir proxy`: serves by a configuration until it is told to leave.
//!
//! Law: the log is set up before anything else, so that whatever goes wrong is told in one form.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::app::logging::{self, DEFAULT_LEVELS, LogFormat};
use crate::app::sidecar;

const EXAMPLES: &str = "Examples:
  weir proxy -c weir.yaml
  weir proxy -c weir.yaml --last-good /var/lib/weir --log-format json
  weir proxy -c weir.yaml --log-level info,weir::proxy=debug

The configuration reloads when a file changes; `weir validate` checks one beforehand.
SIGTERM, like `weir drain`, lets it finish what it has and leave; a second one ends it at once.
SIGHUP has it look at the files now, SIGUSR1 open the access log anew.";

/// Serve: split the traffic of the configured services between their versions
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ProxyArgs {
    /// The configuration, weir.yaml
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Keep the last good configuration in this folder, and start from it when FILE is broken
    #[arg(long, value_name = "DIR")]
    pub last_good: Option<PathBuf>,
    /// What is logged: trace, debug, info, warn, error, off; also by target, as in info,weir::proxy=debug
    #[arg(long, value_name = "LEVELS", default_value = DEFAULT_LEVELS, value_parser = logging::check)]
    pub log_level: String,
    /// The form of the log, on the standard error
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// Runs the proxy to its end.
#[must_use]
pub fn run(args: ProxyArgs) -> ExitCode {
    let ProxyArgs { config, last_good, log_level, log_format } = args;
    match logging::init(&log_level, log_format) {
        Ok(levels) => {
            sidecar::run(&sidecar::Options { last_good, log: Some(levels), ..sidecar::Options::new(config) })
        }
        Err(reason) => {
            eprintln!("weir proxy: {reason}");
            ExitCode::FAILURE
        }
    }
}
