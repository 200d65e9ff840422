//! `weir version`: which build this is.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::Output;

const EXAMPLES: &str = "Examples:
  weir version
  weir version -o json";

/// Tell which build this is
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct VersionArgs {
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// What is told; in JSON under these names.
#[derive(Debug, Serialize)]
struct Build {
    version: &'static str,
    target: String,
    features: Vec<&'static str>,
    profile: &'static str,
}

/// Prints it.
#[must_use]
pub fn run(args: &VersionArgs) -> ExitCode {
    let written = writeln!(io::stdout(), "{}", text(&build(), args.output));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn build() -> Build {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    Build {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS),
        features: [("demo", cfg!(feature = "demo"))]
            .into_iter()
            .filter_map(|(name, on)| on.then_some(name))
            .collect(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" },
    }
}

fn text(build: &Build, output: Output) -> String {
    match output {
        Output::Json => serde_json::to_string_pretty(build).unwrap_or_else(|error| error.to_string()),
        Output::Text => {
            let features =
                if build.features.is_empty() { "none".to_owned() } else { build.features.join(", ") };
            let Build { version, target, profile, .. } = build;
            format!("weir {version} ({target}, {profile}; features: {features})")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_told_to_people_and_to_scripts() {
        let build = build();
        assert!(text(&build, Output::Text).starts_with(&format!("weir {} (", env!("CARGO_PKG_VERSION"))));
        let json: serde_json::Value = serde_json::from_str(&text(&build, Output::Json)).unwrap();
        assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(json["features"].as_array().map(Vec::len), Some(build.features.len()));
    }
}
