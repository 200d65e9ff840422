//! The command line: one file a subcommand.
//!
//! Law: a subcommand reads its arguments, calls what does the work, and prints; it decides nothing else.

pub mod admin;
pub mod convert;
#[cfg(feature = "demo")]
pub mod demo;
pub mod drain;
pub mod duration;
pub mod explain;
pub mod proxy;
pub mod top;
pub mod validate;
pub mod version;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::app::sidecar;

#[cfg(feature = "demo")]
const AFTER_HELP: &str = "Begin with `weir demo`, which needs nothing; then see `weir proxy --help`.";
#[cfg(not(feature = "demo"))]
const AFTER_HELP: &str = "Begin with `weir proxy --help`.";

/// How a command tells what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document for scripts
    Json,
}

/// Prints `told` as that document.
fn write_json(out: &mut dyn Write, told: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, told)?;
    writeln!(out)
}

/// Splits the traffic of served models between their versions.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `weir` can do.
#[derive(Debug, Subcommand)]
#[allow(missing_docs)] // each variant's help is that of its arguments
pub enum Command {
    Proxy(proxy::ProxyArgs),
    Validate(validate::ValidateArgs),
    Explain(explain::ExplainArgs),
    Convert(convert::ConvertArgs),
    Drain(drain::DrainArgs),
    Top(top::TopArgs),
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    Version(version::VersionArgs),
}

/// Does what the process's arguments say.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Proxy(args) => proxy::run(args),
        Command::Validate(args) => validate::run(&args, &sidecar::environment()),
        Command::Explain(args) => explain::run(&args, &sidecar::environment()),
        Command::Convert(args) => convert::run(&args),
        Command::Drain(args) => drain::run(&args),
        Command::Top(args) => top::run(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::main(&args),
        Command::Version(args) => version::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        Cli::try_parse_from(line.split_whitespace()).map(|cli| cli.command)
    }

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_subcommand_says_what_it_is_for_and_shows_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no help");
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains(&format!("  weir {name}")), "{name} shows no example:\n{help}");
        }
    }

    #[test]
    fn a_proxy_needs_its_configuration_and_right_levels() {
        let Ok(Command::Proxy(args)) =
            parse("weir proxy -c weir.yaml --last-good /var/lib/weir --log-format json")
        else {
            panic!("no proxy")
        };
        assert_eq!((args.config.to_str(), args.log_level.as_str()), (Some("weir.yaml"), "info"));
        assert!(args.last_good.is_some());
        assert!(parse("weir proxy").is_err());
        assert!(parse("weir proxy -c weir.yaml --log-level info,weir::proxy=debug").is_ok());
        assert!(parse("weir proxy -c weir.yaml --log-level loud").is_err());
    }

    #[test]
    fn a_drain_asks_the_usual_admin_and_waits_a_minute_at_most() {
        let Ok(Command::Drain(args)) = parse("weir drain") else { panic!("no drain") };
        assert_eq!((args.wait, args.timeout), (false, Duration::from_secs(60)));
        assert_eq!(args.admin, "127.0.0.1:15000");
        assert!(parse("weir drain --wait --admin [::1]:15000 --timeout 500ms").is_ok());
        assert!(parse("weir drain --admin localhost:15000").is_ok());
        assert!(parse("weir drain --admin localhost").is_err());
        assert!(parse("weir drain --timeout 10").is_err());
    }

    #[test]
    fn a_table_is_of_the_usual_admin_each_second_and_no_faster_than_sense() {
        let Ok(Command::Top(args)) = parse("weir top") else { panic!("no top") };
        assert_eq!((&*args.admin, args.interval), ("127.0.0.1:15000", Duration::from_secs(1)));
        assert!(parse("weir top --once -o json --filter canary --interval 100ms").is_ok());
        assert!(parse("weir top --interval 99ms").is_err());
    }

    #[test]
    fn what_is_no_subcommand_is_refused() {
        assert!(parse("weir serve").is_err());
        assert!(parse("weir").is_err());
        assert!(parse("weir version -o json").is_ok());
    }
}
