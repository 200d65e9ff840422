//! `weir explain`: which rule a request meets, why the others do not apply, and where it would go.
//!
//! Law: it asks the very code that routes requests, about the configuration as it is on disk; it sends nothing.

pub mod requests;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;

use super::{Output, write_json};
use crate::config::Environment;
use crate::proxy::explain::{Report, Request, request};
use crate::snapshot::Snapshot;
use crate::sources;

const EXAMPLES: &str = "Examples:
  weir explain -c weir.yaml POST /v1/models/inception:predict
  weir explain -c weir.yaml GET http://inception.kubeflow/v1/models/inception -H 'x-user: alice' --from 10.8.0.7
  weir explain -c weir.yaml --requests requests.txt -o json

A file of requests has one a line: METHOD URL [-H 'NAME: VALUE']... [--from IP], or the same in JSON:
  GET /v1/models/inception -H 'x-user: alice'
  {\"method\": \"GET\", \"url\": \"/v1/models/inception\", \"headers\": {\"x-user\": \"alice\"}, \"from\": \"10.8.0.7\"}";

/// Tell which rule a request meets, why the others do not apply, and where it goes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The configuration, weir.yaml
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// GET, POST, …
    #[arg(required_unless_present = "requests")]
    pub method: Option<Method>,
    /// `http://host:port/path?query`, or a path alone; a scheme is what `-H 'x-forwarded-proto: https'` says
    #[arg(required_unless_present = "requests", value_parser = request::url)]
    pub url: Option<String>,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = request::line)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The address that the request comes from; `callers:` tells who that is
    #[arg(long, value_name = "IP")]
    pub from: Option<IpAddr>,
    /// A file of requests, one a line; `-` for the standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["method", "url", "headers", "from"])]
    pub requests: Option<PathBuf>,
    /// The listener that takes it [default: the one on the URL's port, else the first by name that splits]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// Explains; fails when the configuration is broken, or a request has no route or is none.
pub fn run(args: &ExplainArgs, environment: &Environment) -> ExitCode {
    let loaded = sources::read(&args.config).and_then(|documents| documents.load(environment));
    let told = match loaded {
        Ok(loaded) => explain(&loaded.snapshot, args),
        Err(faults) => Err(faults.to_string()),
    };
    match told {
        Ok(told) => {
            print(&told, args.output);
            if told.all_routed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

/// What is told: of the one request of the command line, or of those of a file in its order.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Told {
    One(Box<Report>),
    File(Vec<OfLine>),
}

/// What is told of a line of a file.
#[derive(Debug, Serialize)]
struct OfLine {
    line: usize,
    #[serde(flatten)]
    report: Option<Box<Report>>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Told {
    /// Whether each request has a route.
    fn all_routed(&self) -> bool {
        let routed = |report: &Report| report.explanation.choice.is_some();
        match self {
            Told::One(report) => routed(report),
            Told::File(lines) => lines.iter().all(|one| one.report.as_deref().is_some_and(routed)),
        }
    }
}

fn explain(snapshot: &Snapshot, args: &ExplainArgs) -> Result<Told, String> {
    let listener = args.listener.as_deref();
    if let Some(path) = &args.requests {
        return Ok(Told::File(of_file(snapshot, listener, &requests::read(path)?)));
    }
    let (Some(method), Some(url)) = (&args.method, &args.url) else {
        return Err("a method and a URL are missing".into()); // the parser asks for them
    };
    let request = Request {
        method: method.clone(),
        url: url.clone(),
        headers: args.headers.iter().cloned().collect(),
        from: args.from,
    };
    Report::new(snapshot, listener, &request).map(|report| Told::One(Box::new(report)))
}

fn of_file(snapshot: &Snapshot, listener: Option<&str>, text: &str) -> Vec<OfLine> {
    let told = |(line, request): (usize, Result<Request, String>)| {
        let report = request.and_then(|request| Report::new(snapshot, listener, &request));
        let (report, error) = match report {
            Ok(report) => (Some(Box::new(report)), None),
            Err(error) => (None, Some(error)),
        };
        OfLine { line, report, error }
    };
    requests::of_lines(text).map(told).collect()
}

/// A reader that has gone away is no fault of ours.
fn print(told: &Told, output: Output) {
    let mut stdout = io::stdout().lock();
    let _ = match output {
        Output::Text => write_text(told, &mut stdout),
        Output::Json => write_json(&mut stdout, told),
    };
}

/// Reports of a file have an empty line between them.
fn write_text(told: &Told, out: &mut dyn Write) -> io::Result<()> {
    let lines = match told {
        Told::One(report) => return write!(out, "{report}"),
        Told::File(lines) => lines,
    };
    for (place, one) in lines.iter().enumerate() {
        if place > 0 {
            writeln!(out)?;
        }
        match (&one.report, &one.error) {
            (Some(report), _) => write!(out, "line {}: {report}", one.line)?,
            (None, error) => writeln!(out, "line {}: {}", one.line, error.as_deref().unwrap_or_default())?,
        }
    }
    Ok(())
}
