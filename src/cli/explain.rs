//! `weir explain`: which rule a request meets, why the others do not apply, and where it would go.
//!
//! Law: it asks the very code that routes requests, about the configuration as it is on disk; it sends nothing.

use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Serialize;

use super::Output;
use crate::config::Environment;
use crate::message;
use crate::router::{self, Explanation, Head, Share};
use crate::snapshot::{BindAddress, Caller, FilterChain, Listener, Mode, Snapshot};
use crate::sources;
use crate::words::Protocol;

/// The host of a request for a bare path, as a client on this machine would send it.
const DEFAULT_AUTHORITY: &str = "localhost";

const EXAMPLES: &str = "Examples:
  weir explain -c weir.yaml POST /v1/models/inception:predict
  weir explain -c weir.yaml GET http://inception.kubeflow/v1/models/inception -H 'x-user: alice' --from 10.8.0.7";

/// Tell which rule a request meets, why the others do not apply, and where it goes
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// The configuration, weir.yaml
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// GET, POST, …
    pub method: Method,
    /// `http://host:port/path?query`, or a path alone
    pub url: Uri,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "'NAME: VALUE'", value_parser = parse_header)]
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The address that the request comes from; `callers:` tells who that is
    #[arg(long, value_name = "IP")]
    pub from: Option<IpAddr>,
    /// The listener that takes it [default: the first by name that splits]
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// How to print
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Output,
}

/// Explains; fails when the configuration is broken, the request has no route, or is none.
pub fn run(args: &ExplainArgs, environment: &Environment) -> ExitCode {
    let loaded = sources::read(&args.config).and_then(|documents| documents.load(environment));
    let report = match loaded {
        Ok(loaded) => report(&loaded.snapshot, args),
        Err(faults) => Err(faults.to_string()),
    };
    match report {
        Ok(report) => {
            print(&report, args.output);
            if report.explanation.choice.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(reason) => {
            let _ = writeln!(io::stderr(), "{reason}");
            ExitCode::FAILURE
        }
    }
}

/// What is printed; in JSON under these names.
#[derive(Debug, Serialize)]
struct Report {
    listener: Arc<str>,
    address: String,
    /// `split`, or `deliver` where every request goes to the local model server.
    mode: &'static str,
    protocol: &'static str,
    method: String,
    /// In normal form.
    path: String,
    /// The caller's service.
    caller: Option<Arc<str>>,
    #[serde(flatten)]
    explanation: Explanation,
    targets: Vec<Target>,
}

/// Where a version's share goes.
#[derive(Debug, Serialize)]
struct Target {
    version: Option<Arc<str>>,
    percent: f64,
    cluster: Arc<str>,
    endpoints: Vec<TargetEndpoint>,
    /// What the share gets instead, where nothing can take it.
    answer: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct TargetEndpoint {
    address: String,
    version: Arc<str>,
    local: bool,
    weight: u32,
}

fn report(snapshot: &Snapshot, args: &ExplainArgs) -> Result<Report, String> {
    let (listener, chain) = listener(snapshot, args.listener.as_deref())?;
    let routes = snapshot.route_configs.get(&chain.route_config);
    let routes = routes.ok_or_else(|| format!("listener {} has no routes", listener.name))?;
    let headers: HeaderMap = args.headers.iter().cloned().collect();
    let authority = authority(&args.url, &headers)?;
    let path = message::path::normalise(args.url.path()).map_err(|reason| format!("400: {reason}"))?;
    let host = message::host::normalise(&authority).map_err(|reason| format!("400: {reason}"))?;
    let caller = args.from.and_then(|peer| router::caller_of(&snapshot.callers, peer));
    let head = Head {
        method: &args.method,
        path: &path,
        query: args.url.query(),
        host: &host,
        authority: &authority,
        scheme: args.url.scheme_str().unwrap_or("http"),
        headers: &headers,
        caller: caller.map(|caller: &Arc<Caller>| &**caller),
        local: match &listener.address {
            BindAddress::Socket(address) => Some(*address),
            BindAddress::Unix(_) => None,
        },
    };
    let protocol = protocol(&head);
    let explanation = router::explain(routes, &head, 0);
    let shares = explanation.choice.iter().flat_map(|choice| &choice.versions);
    Ok(Report {
        listener: listener.name.clone(),
        address: listener.address.to_string(),
        mode: mode(&chain.mode),
        protocol: protocol.as_str(),
        method: args.method.to_string(),
        path: path.to_string(),
        caller: caller.map(|caller| caller.service.clone()),
        targets: shares.map(|share| target(snapshot, share, protocol)).collect(),
        explanation,
    })
}

/// The listener of that name, or the first that splits.
fn listener<'s>(
    snapshot: &'s Snapshot,
    name: Option<&str>,
) -> Result<(&'s Listener, &'s FilterChain), String> {
    let mut chains = snapshot
        .listeners
        .iter()
        .flat_map(|listener| listener.filter_chains.iter().map(move |chain| (&**listener, chain)));
    let found = match name {
        Some(name) => chains.find(|(listener, _)| *listener.name == *name),
        None => chains.find(|(_, chain)| chain.mode == Mode::Split),
    };
    found.ok_or_else(|| {
        let names: Vec<&str> = snapshot.listeners.iter().map(|listener| &*listener.name).collect();
        match name {
            Some(name) => format!("there is no listener {name}; there are: {}", names.join(", ")),
            None => format!("no listener splits; name one with --listener: {}", names.join(", ")),
        }
    })
}

/// As the HTTP/1 engine finds it: an absolute URL replaces `Host`.
fn authority(url: &Uri, headers: &HeaderMap) -> Result<String, String> {
    if let Some(authority) = url.authority() {
        return Ok(authority.to_string());
    }
    let Some(host) = headers.get(HOST) else {
        return Ok(DEFAULT_AUTHORITY.to_owned());
    };
    host.to_str().map(str::to_owned).map_err(|_| "400: the host is not text".to_owned())
}

fn mode(mode: &Mode) -> &'static str {
    match mode {
        Mode::Split => "split",
        Mode::Deliver { .. } => "deliver",
    }
}

fn protocol(head: &Head<'_>) -> Protocol {
    let content_type = head.headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match content_type.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';', ..]) if head.method == Method::POST => Protocol::Grpc,
        _ => Protocol::Http,
    }
}

fn target(snapshot: &Snapshot, share: &Share, protocol: Protocol) -> Target {
    let name = match protocol {
        Protocol::Grpc => &share.grpc_cluster,
        Protocol::Http => &share.http_cluster,
    };
    let cluster = snapshot.clusters.get(name);
    let endpoints: Vec<TargetEndpoint> = cluster
        .into_iter()
        .flat_map(|cluster| cluster.endpoints())
        .map(|endpoint| TargetEndpoint {
            address: endpoint.address.to_string(),
            version: endpoint.version.clone(),
            local: endpoint.local,
            weight: endpoint.weight,
        })
        .collect();
    let answer = match cluster {
        None => Some("503, flag NC: there is no such cluster"),
        Some(_) if endpoints.is_empty() => Some("503, flag UH: it has no endpoint"),
        Some(_) => None,
    };
    Target {
        version: share.version.clone(),
        percent: share.percent,
        cluster: name.clone(),
        endpoints,
        answer,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let caller = self.caller.as_deref().unwrap_or("unknown");
        writeln!(f, "{} {} ({}, caller {caller})", self.method, self.path, self.protocol)?;
        writeln!(f, "listener {} on {}: {}", self.listener, self.address, self.mode)?;
        self.explanation.fmt(f)?;
        for target in &self.targets {
            writeln!(
                f,
                "{} through {}",
                target.version.as_deref().unwrap_or("all versions"),
                target.cluster
            )?;
            if let Some(answer) = target.answer {
                writeln!(f, "  {answer}")?;
            }
            for endpoint in &target.endpoints {
                let local = if endpoint.local { ", local" } else { "" };
                writeln!(
                    f,
                    "  {} (version {}{local}, weight {})",
                    endpoint.address, endpoint.version, endpoint.weight
                )?;
            }
        }
        Ok(())
    }
}

/// A reader that has gone away is no fault of ours.
fn print(report: &Report, output: Output) {
    let mut stdout = io::stdout().lock();
    let _ = match output {
        Output::Text => write!(stdout, "{report}"),
        Output::Json => match serde_json::to_string_pretty(report) {
            Ok(json) => writeln!(stdout, "{json}"),
            Err(error) => writeln!(io::stderr(), "{error}"),
        },
    };
}

fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'name: value'")?;
    let name = name.trim().parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim().parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Document;

    const MAIN: &str = "
listeners:
- {name: predict, address: '127.0.0.1:8500', service: inception}
- {name: wide, address: '127.0.0.1:8501'}
- {name: delivery, address: '127.0.0.1:15008', service: inception, mode: deliver, allow: any}
callers:
- {cidr: 10.8.0.0/14, service: frontend.web, labels: {version: v3}}
services:
- name: inception
  namespace: kubeflow
  endpoints:
  - {grpc: '127.0.0.1:9000', http: '127.0.0.1:8601', labels: {version: v1}, local: true}
rules: [rules.yaml]
";
    const RULES: &str = "
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: testers, namespace: kubeflow}
spec:
  destination: {name: inception}
  precedence: 2
  match:
    source: {name: frontend, namespace: web}
    request: {headers: {x-user: {exact: alice}}}
  route: [{labels: {version: v1}}]
---
apiVersion: config.istio.io/v1alpha2
kind: RouteRule
metadata: {name: split, namespace: kubeflow}
spec:
  destination: {name: inception}
  route:
  - {labels: {version: v1}, weight: 95}
  - {labels: {version: v2}, weight: 5}
";

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: ExplainArgs,
    }

    fn explained(arguments: &[&str]) -> Result<Report, String> {
        let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
        let (main, rules) = (document("weir.yaml", MAIN), document("rules.yaml", RULES));
        let loaded = crate::config::load(&main, &[rules], &Environment::default()).unwrap();
        let line = [&["explain", "-c", "weir.yaml"], arguments].concat();
        report(&loaded.snapshot, &Line::try_parse_from(line).map_err(|error| error.to_string())?.args)
    }

    #[test]
    fn an_explanation_says_why_not_what_is_chosen_and_where_it_goes() {
        let report = explained(&["GET", "/v1/models/m/../inception?x=1", "--from", "10.9.0.1"]).unwrap();
        let text = report.to_string();
        for line in [
            "GET /v1/models/inception (http, caller frontend.web.svc.cluster.local)",
            "listener predict on 127.0.0.1:8500: split",
            "  testers.kubeflow (rules.yaml:2): no: header x-user is absent",
            "  split.kubeflow (rules.yaml:13): matches",
            "   95.00 % v1 [version=v1]",
            "    5.00 % v2 [version=v2]",
            "  127.0.0.1:8601 (version v1, local, weight 1)",
            "  503, flag UH: it has no endpoint",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n\n{text}");
        }
    }

    #[test]
    fn a_caller_with_the_header_meets_the_other_rule_by_the_same_code_in_json() {
        let report = explained(&["GET", "/", "-H", "X-User: alice", "--from", "10.9.0.1"]).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["choice"]["name"], "testers.kubeflow");
        assert_eq!(json["tried"][0]["why_not"], serde_json::Value::Null);
        let stranger = explained(&["GET", "/", "-H", "X-User: alice"]).unwrap().to_string();
        assert!(
            stranger.contains("no: the caller is unknown, not frontend.web.svc.cluster.local"),
            "{stranger}"
        );
    }

    #[test]
    fn grpc_goes_to_the_grpc_endpoints() {
        let url = "http://inception.kubeflow:8500/tensorflow.serving.PredictionService/Predict";
        let report = explained(&["POST", url, "-H", "content-type: application/grpc+proto"]).unwrap();
        assert_eq!((report.protocol, &*report.targets[0].endpoints[0].address), ("grpc", "127.0.0.1:9000"));
    }

    #[test]
    fn a_listener_is_chosen_by_name_and_the_host_decides_where_no_service_is_set() {
        let all = |url: &str| explained(&["GET", url, "--listener", "wide"]).unwrap();
        assert!(all("http://Inception.kubeflow.svc:8500/").explanation.choice.is_some());
        assert!(all("http://other/").to_string().contains("no virtual host answers to other: 404, flag NR"));
        assert_eq!(explained(&["GET", "/", "--listener", "delivery"]).unwrap().mode, "deliver");
        let unknown = explained(&["GET", "/", "--listener", "none"]).unwrap_err();
        assert_eq!(unknown, "there is no listener none; there are: delivery, predict, wide");
    }

    #[test]
    fn a_request_that_would_be_refused_is_refused_with_the_reason() {
        assert_eq!(explained(&["GET", "/a%2fb"]).unwrap_err(), "400: the path holds an escaped slash");
        assert_eq!(explained(&["GET", "/", "-H", "host: a b"]).unwrap_err(), "400: the host holds ' '");
        assert!(explained(&["GET", "/", "-H", "no colon"]).unwrap_err().contains("'name: value'"));
    }
}
