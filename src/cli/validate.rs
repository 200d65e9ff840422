//! `weir validate FILE...`: reads configurations as `weir proxy` would and tells what is wrong with them.
//!
//! Law: exit code 0 exactly when every file could be used. It dials nothing and binds nothing.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::files;
use crate::config::{self, Diagnostic, Diagnostics, Environment, FileKind, Severity};

/// Checks configurations without using them.
#[derive(Args, Clone, Debug)]
pub struct ValidateArgs {
    /// A weir.yaml (the rules it names are read as well) or a file of rules
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to tell
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
}

/// How a command tells what it found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines for people
    #[default]
    Text,
    /// One JSON document for scripts
    Json,
}

/// What became of one file.
#[derive(Debug, Serialize)]
struct Report {
    file: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    listeners: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    services: Option<usize>,
    rules: usize,
    diagnostics: Diagnostics,
}

/// Runs the command on the process's own output.
pub fn run(args: &ValidateArgs, environment: &Environment) -> ExitCode {
    let stdout = io::stdout();
    let colours = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match validate(args, environment, &mut stdout.lock(), colours) {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever closed the pipe has read enough.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Writes what is found to `out`; whether every file is right.
pub fn validate(
    args: &ValidateArgs,
    environment: &Environment,
    out: &mut dyn Write,
    colours: bool,
) -> io::Result<bool> {
    let reports: Vec<_> = args.files.iter().map(|path| check(path, environment)).collect();
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &reports)?;
            writeln!(out)?;
        }
        Output::Text => {
            for report in &reports {
                print(report, out, colours)?;
            }
        }
    }
    Ok(reports.iter().all(|report| report.ok))
}

fn check(path: &Path, environment: &Environment) -> Report {
    let (counts, diagnostics) = match load(path, environment) {
        Ok((counts, warnings)) => (Some(counts), warnings),
        Err(found) => (None, found),
    };
    let ok = counts.is_some();
    let Counts { listeners, services, rules } = counts.unwrap_or_default();
    Report { file: path.display().to_string(), ok, listeners, services, rules, diagnostics }
}

#[derive(Debug, Default)]
struct Counts {
    listeners: Option<usize>,
    services: Option<usize>,
    rules: usize,
}

fn load(path: &Path, environment: &Environment) -> Result<(Counts, Diagnostics), Diagnostics> {
    let all = |found: Vec<Diagnostic>| {
        let mut diagnostics = Diagnostics::new();
        diagnostics.extend(found);
        diagnostics
    };
    let main = files::read(path).map_err(|error| all(vec![error]))?;
    if config::file_kind(&main)? == FileKind::Rules {
        let (rules, warnings) = config::validate_rules(&[main])?;
        return Ok((Counts { rules, ..Counts::default() }, warnings));
    }
    // An unreadable rule file must not hide what is wrong with the rest.
    let (rules, unread) = match files::read_rules(path, &main) {
        Ok(rules) => (rules, Vec::new()),
        Err(found) => (Vec::new(), found),
    };
    let loaded = config::load(&main, &rules, environment);
    if !unread.is_empty() {
        // A fault of `rules:` itself comes from both.
        let others = loaded.err().unwrap_or_default().into_iter().filter(|one| !unread.contains(one)).collect();
        return Err(all([unread, others].concat()).sorted());
    }
    let loaded = loaded?;
    let (listeners, services) = (loaded.snapshot.listeners.len(), loaded.snapshot.services.len());
    let counts = Counts { listeners: Some(listeners), services: Some(services), rules: loaded.rules };
    Ok((counts, loaded.warnings))
}

fn print(report: &Report, out: &mut dyn Write, colours: bool) -> io::Result<()> {
    for diagnostic in &report.diagnostics {
        print_diagnostic(diagnostic, out, colours)?;
    }
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    if !report.ok {
        let errors = report.diagnostics.iter().filter(|one| one.severity == Severity::Error).count();
        return writeln!(out, "{}: {}", report.file, count(errors, "error"));
    }
    let parts = [(report.listeners, "listener"), (report.services, "service"), (Some(report.rules), "rule")];
    let parts: Vec<_> = parts.iter().filter_map(|(number, what)| Some(count((*number)?, what))).collect();
    writeln!(out, "{}: OK ({})", report.file, parts.join(", "))
}

fn print_diagnostic(diagnostic: &Diagnostic, out: &mut dyn Write, colours: bool) -> io::Result<()> {
    let line = diagnostic.to_string();
    if !colours {
        return writeln!(out, "{line}");
    }
    let (place, severity) = (format!("{}: ", diagnostic.origin), diagnostic.severity.to_string());
    let rest = line.strip_prefix(&place).and_then(|rest| rest.strip_prefix(&severity)).unwrap_or_default();
    let colour = match diagnostic.severity {
        Severity::Error => "\x1b[1;31m",
        Severity::Warning => "\x1b[1;33m",
    };
    writeln!(out, "{place}{colour}{severity}\x1b[0m{rest}")
}
