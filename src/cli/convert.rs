//! `weir convert`: RouteRules as VirtualServices or HTTPRoutes.
//!
//! Law: what is written to the standard output loads again; what has no equal is told on the standard error, and by the
//! exit status.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{Output, write_json};
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
    /// How to tell: YAML and what has no equal apart, or one JSON object with both
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// What `-o json` prints, on the standard output in any case.
#[derive(Debug, Serialize)]
struct Report<'c> {
    objects: usize,
    /// As it would have been printed.
    yaml: &'c str,
    notes: &'c Diagnostics,
}

/// Runs the command on the process's own output.
pub fn run(args: &ConvertArgs) -> ExitCode {
    let nothing = |notes| Converted { text: String::new(), objects: 0, notes };
    let (converted, code) = match converted(args) {
        Ok(converted) => match converted.notes.iter().any(|note| note.code == "no-equal") {
            true if args.strict => (nothing(converted.notes), ExitCode::FAILURE),
            true => (converted, ExitCode::from(NOT_EVERYTHING)),
            false => (converted, ExitCode::SUCCESS),
        },
        Err(notes) => (nothing(notes), ExitCode::FAILURE),
    };
    let (yaml, objects) = (&*converted.text, converted.objects);
    let mut stdout = io::stdout().lock();
    let written = match args.output {
        Output::Text => {
            if !converted.notes.is_empty() {
                let _ = writeln!(io::stderr(), "{}", converted.notes);
            }
            stdout.write_all(yaml.as_bytes())
        }
        Output::Json => write_json(&mut stdout, &Report { objects, yaml, notes: &converted.notes }),
    };
    written.map_or(ExitCode::FAILURE, |()| code)
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
