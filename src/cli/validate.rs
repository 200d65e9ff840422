//! `weir validate FILE...`: reads configurations as `weir proxy` would and tells what is wrong with them.
//!
//! Law: exit code 0 exactly when every file could be used. It dials nothing and binds nothing.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::{Output, write_json};
use crate::config::{self, Diagnostic, Diagnostics, Environment, FileKind, Severity};
use crate::sources;

const EXAMPLES: &str = "Examples:
  weir validate weir.yaml
  weir validate -o json rules/";

/// Check configurations without using them
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArgs {
    /// A weir.yaml (the rules it names are read as well), a file of rules, or a folder of such files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How to tell
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    pub output: Output,
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
        Output::Json => write_json(out, &reports)?,
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
    if path.is_dir() {
        return Ok(of_rules(config::validate_rules(&sources::read_folder(path)?)?));
    }
    let main = sources::read_file(path)?;
    if config::file_kind(&main)? == FileKind::Rules {
        return Ok(of_rules(config::validate_rules(&[main])?));
    }
    let loaded = sources::read(path)?.load(environment)?;
    let (listeners, services) = (loaded.snapshot.listeners.len(), loaded.snapshot.services.len());
    let counts = Counts { listeners: Some(listeners), services: Some(services), rules: loaded.rules };
    Ok((counts, loaded.warnings))
}

/// What is told of rules alone.
fn of_rules((rules, warnings): (usize, Diagnostics)) -> (Counts, Diagnostics) {
    (Counts { rules, ..Counts::default() }, warnings)
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const MAIN: &str = "listeners: [{name: a, address: \"127.0.0.1:8500\", service: m}]\n\
        services: [{name: m, endpoints: [{address: \"127.0.0.1:9001\"}]}]\nrules: [rules, more.yaml]\n";

    fn rule(name: &str, rest: &str) -> String {
        format!(
            "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: {name}}}\n\
             spec: {{destination: {{name: m}}{rest}}}\n"
        )
    }

    /// A folder with a whole configuration in it.
    fn world() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        fs::create_dir_all(folder.path().join("rules/deeper")).expect("folders");
        write("weir.yaml", MAIN);
        write("more.yaml", &rule("c", ", precedence: 3, match: {request: {headers: {x: {exact: c}}}}"));
        write("rules/b.json", &rule("b", ", precedence: 2, match: {request: {headers: {x: {exact: b}}}}"));
        write("rules/a.yml", &rule("a", ""));
        write("rules/.hidden.yaml", "nothing of ours");
        write("rules/README.md", "nothing of ours");
        folder
    }

    fn told(folder: &tempfile::TempDir, names: &[&str], output: Output) -> (bool, String) {
        let files = names.iter().map(|name| folder.path().join(name)).collect();
        let mut out = Vec::new();
        let args = ValidateArgs { files, output };
        let good = validate(&args, &Environment::default(), &mut out, false).expect("written");
        let text = String::from_utf8(out).expect("text");
        (good, text.replace(&format!("{}/", folder.path().display()), ""))
    }

    #[test]
    fn a_right_configuration_is_counted_with_the_rules_it_names() {
        let (good, text) = told(&world(), &["weir.yaml", "more.yaml"], Output::Text);
        assert_eq!(text, "weir.yaml: OK (1 listener, 1 service, 3 rules)\nmore.yaml: OK (1 rule)\n");
        assert!(good);
    }

    #[test]
    fn a_folder_of_rules_is_read_as_one_that_a_configuration_names() {
        let folder = world();
        assert_eq!(told(&folder, &["rules"], Output::Text), (true, "rules: OK (2 rules)\n".into()));
        fs::write(folder.path().join("rules/c.yaml"), rule("a", "")).expect("written");
        let (good, text) = told(&folder, &["rules"], Output::Text);
        assert!(!good && text.contains("duplicate"), "{text}");
    }

    #[test]
    fn one_wrong_file_fails_the_command_and_all_are_told_of() {
        let folder = world();
        fs::write(folder.path().join("rules/a.yml"), rule("a", ", l4Fault: {}")).expect("written");
        fs::remove_file(folder.path().join("more.yaml")).expect("removed");
        let (good, text) = told(&folder, &["weir.yaml", "rules/b.json"], Output::Text);
        let lines: Vec<_> = text.lines().collect();
        assert!(!good);
        assert!(lines[0].starts_with("more.yaml: error[unreadable] No such file"), "{text}");
        let wanted = "rules/a.yml:4:32: error[not-supported] spec.l4Fault: `l4Fault` is not supported: \
                      Istio never implemented it, and its validator refused it";
        assert_eq!(lines[1..], [wanted, "weir.yaml: 2 errors", "rules/b.json: OK (1 rule)"]);
    }

    #[test]
    fn scripts_get_every_diagnostic_as_json() {
        let folder = world();
        fs::write(folder.path().join("weir.yaml"), MAIN.replace("name: a", "nam: a")).expect("written");
        let (good, text) = told(&folder, &["weir.yaml"], Output::Json);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(!good && json[0]["ok"] == false);
        assert_eq!(json[0]["diagnostics"][0]["line"], 1);
        assert_eq!(json[0]["diagnostics"][0]["path"], "listeners[0]");
        assert_eq!(json[0]["diagnostics"][1]["help"], "did you mean `name`?");
    }

    #[test]
    fn colours_change_nothing_but_colour() {
        let folder = world();
        let print = |colours| {
            let mut out = Vec::new();
            let args = ValidateArgs { files: vec![folder.path().join("absent")], output: Output::Text };
            validate(&args, &Environment::default(), &mut out, colours).expect("written");
            String::from_utf8(out).expect("text")
        };
        assert_ne!(print(true), print(false));
        assert_eq!(print(true).replace("\x1b[1;31m", "").replace("\x1b[0m", ""), print(false));
    }
}
