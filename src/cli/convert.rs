//! `weir convert`: RouteRules as VirtualServices or HTTPRoutes.
//!
//! Law: what is written to the standard output loads again; what has no equal is told on the standard error, and by the
//! exit status.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, ConvertSettings, ConvertTarget, Converted, Diagnostics};
use crate::sources;

/// The exit status where something has no equal and the rest was written.
const NOT_EVERYTHING: u8 = 3;

const EXAMPLES: &str = "Examples:
  weir convert --to virtualservice rules/*.yaml >virtualservices.yaml
  weir convert --to httproute --port 8500 rules/canary.yaml

Exit status: 0 if all of it has an equal, 3 if not all has, 1 if nothing could be written.";

/// What RouteRules become
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum To {
    /// VirtualService and DestinationRule
    Virtualservice,
    /// HTTPRoute of the Gateway API
    Httproute,
}

/// Translate RouteRules to a newer dialect, and tell what has no equal there
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// The dialect to translate to
    #[arg(long, value_name = "DIALECT")]
    pub to: To,
    /// Files of rules
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The domain of the cluster, as in `node.domain`
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub domain: String,
    /// The port of an HTTPRoute's backends, which RouteRules do not name
    #[arg(long, value_name = "PORT", default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// Write nothing if not all of it has an equal
    #[arg(long)]
    pub strict: bool,
}

/// Runs the command on the process's own output.
pub fn run(args: &ConvertArgs) -> ExitCode {
    match converted(args) {
        Ok(converted) => written(&converted, args.strict),
        Err(found) => {
            let _ = writeln!(io::stderr(), "{found}");
            ExitCode::FAILURE
        }
    }
}

fn converted(args: &ConvertArgs) -> Result<Converted, Diagnostics> {
    let mut documents = Vec::new();
    let mut unreadable = Diagnostics::new();
    for path in &args.files {
        match sources::read_file(path) {
            Ok(document) => documents.push(document),
            Err(found) => unreadable.extend(found),
        }
    }
    if unreadable.has_errors() {
        return Err(unreadable);
    }
    let target = match args.to {
        To::Virtualservice => ConvertTarget::VirtualService,
        To::Httproute => ConvertTarget::HttpRoute,
    };
    config::convert(&documents, &ConvertSettings { target, domain: &args.domain, port: args.port })
}

fn written(converted: &Converted, strict: bool) -> ExitCode {
    if !converted.notes.is_empty() {
        let _ = writeln!(io::stderr(), "{}", converted.notes);
    }
    let unequal = converted.notes.iter().any(|note| note.code == "no-equal");
    if unequal && strict {
        return ExitCode::FAILURE;
    }
    match (io::stdout().write_all(converted.text.as_bytes()), unequal) {
        (Err(_), _) => ExitCode::FAILURE,
        (Ok(()), true) => ExitCode::from(NOT_EVERYTHING),
        (Ok(()), false) => ExitCode::SUCCESS,
    }
}
