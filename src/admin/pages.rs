//! Which page answers which path, and which method it takes.
//!
//! Law: what changes anything answers POST alone; all else answers GET and HEAD alone. A parameter that a page does not
//! have is refused by its name, before the page is asked. The table is the help text.

use std::fmt::Write as _;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::sync::mpsc::error::TrySendError;

use super::reply::{Query, Reply};
use super::{Admin, Command, clusters, explain, guard, info, live, logging, memory, rules, splits, stats};
use crate::proxy::census::VersionEndpoints;
use crate::runtime::readiness::State;
use crate::telemetry::families::envoy_server::ServerState;
use crate::telemetry::{self, CONTENT_TYPE};
use crate::transport::endpoint::Answer;

struct Entry {
    path: &'static str,
    changes: bool,
    /// Whether `metrics_address` shows it, too.
    public: bool,
    parameters: Parameters,
    help: &'static str,
    answer: Page,
}

/// Which there are.
enum Parameters {
    Known(&'static [&'static str]),
    /// The page says, and refuses the others.
    OfThePage,
}

/// What makes it.
enum Page {
    Of(fn(&Admin, &Query) -> Reply),
    /// Of a form, which writes its parameters in a way of its own.
    OfForm(fn(&Admin, &Query) -> Reply),
}

type Answering = fn(&Admin, &Query) -> Reply;
type Names = &'static [&'static str];

const fn page(path: &'static str, names: Names, help: &'static str, answer: Answering) -> Entry {
    let parameters = Parameters::Known(names);
    Entry { path, changes: false, public: false, parameters, help, answer: Page::Of(answer) }
}

const fn public(path: &'static str, names: Names, help: &'static str, answer: Answering) -> Entry {
    Entry { public: true, ..page(path, names, help, answer) }
}

const fn change(path: &'static str, names: Names, help: &'static str, answer: Answering) -> Entry {
    Entry { changes: true, ..page(path, names, help, answer) }
}

/// What a form asks, as well as a line.
const fn form(path: &'static str, names: Names, help: &'static str, answer: Answering) -> Entry {
    Entry { answer: Page::OfForm(answer), ..page(path, names, help, answer) }
}

/// By path.
const ENTRIES: &[Entry] = &[
    page("/", &[], "this list; for a browser the live page", |_, _| Reply::text(help())),
    page("/certs", &[], "the certificates, of which there are none without TLS, as JSON", info::certs),
    page(
        "/clusters",
        &["filter", "format"],
        "endpoints of every cluster, with their counts; ?format=json, ?filter=regex",
        clusters::clusters,
    ),
    page(
        "/config_dump",
        &["verdicts"],
        "what serves, its generation and the last verdicts, as JSON; ?verdicts without what serves",
        info::config_dump,
    ),
    change(
        "/drain_listeners",
        &["graceful", "inboundonly", "skip_exit"],
        "leave: as SIGTERM does; ?graceful and ?inboundonly say what it does anyway",
        drain_listeners,
    ),
    form(
        "/explain",
        &explain::PARAMETERS,
        "which rule a request meets and why, as JSON; ?method=GET&url=/path&header=name:value&from=IP",
        explain::explain,
    ),
    change("/healthcheck/fail", &[], "make /ready answer 503", |admin, _| set_failed(admin, true)),
    change("/healthcheck/ok", &[], "undo /healthcheck/fail", |admin, _| set_failed(admin, false)),
    page("/help", &[], "this list", |_, _| Reply::text(help())),
    page("/hot_restart_version", &[], "disabled: there is no hot restart", info::hot_restart_version),
    page("/init_dump", &[], "what the start still waits for, as JSON", info::init_dump),
    page("/listeners", &["format"], "names and addresses of the listeners; ?format=json", info::listeners),
    page("/live.css", &[], "of the live page", |_, _| live::style()),
    page("/live.js", &[], "of the live page", |_, _| live::script()),
    page("/live.svg", &[], "of the live page", |_, _| live::icon()),
    Entry {
        parameters: Parameters::OfThePage,
        ..change(
            "/logging",
            &[],
            "show the log's levels; ?level=debug, ?paths=weir::proxy:debug,… sets them",
            logging::logging,
        )
    },
    page("/memory", &[], "what the process takes of memory, as JSON", memory::memory),
    public("/metrics", &[], "every metric, for Prometheus", |admin, _| scrape(admin)),
    change("/quitquitquit", &[], "leave without the grace", |admin, _| command(admin, Command::Quit)),
    public("/ready", &[], "200 while traffic is wanted, else 503", |admin, _| ready(admin)),
    change("/reopen_logs", &[], "open the access log anew, as SIGUSR1 does", |admin, _| {
        (admin.reopen_logs)();
        Reply::text("OK\n")
    }),
    change(
        "/reset_counters",
        &[],
        "let the counters on /stats count from now; those for Prometheus go on",
        stats::reset_counters,
    ),
    page(
        "/rules",
        &["filter", "limit"],
        "the rules in force, in order and in words, as JSON; ?filter=regex, ?limit=N",
        rules::rules,
    ),
    page(
        "/runtime",
        &[],
        "runtime layers and their entries, of which there are none, as JSON",
        info::runtime,
    ),
    page("/server_info", &[], "version, state, uptime, options and node, as JSON", info::server_info),
    page(
        "/splits",
        &["minutes", "filter", "limit", "sort"],
        "figures of each version of each rule, as JSON; ?minutes=1 to 5, ?filter=regex, ?limit=N, ?sort=precedence \
         or trouble",
        splits::splits,
    ),
    page(
        "/splits.csv",
        &["filter", "limit", "sort"],
        "the same as a table; ?filter=regex, ?limit=N, ?sort=precedence or trouble",
        splits::table,
    ),
    page(
        "/stats",
        &stats::PARAMETERS,
        "every metric by its dotted name; ?usedonly, ?filter=regex, ?invert_filter, ?type=Counters, Gauges or \
         Histograms, ?format=text, json or prometheus, ?histogram_buckets=cumulative, disjoint, detailed or summary",
        stats::stats,
    ),
    public(
        "/stats/prometheus",
        &stats::PARAMETERS,
        "the metrics that Envoy and Istio have, in Envoy's form; ?usedonly, ?filter=regex, ?invert_filter, ?type, \
         ?histogram_buckets=cumulative or summary",
        stats::prometheus,
    ),
];

/// The answer to a request.
pub(super) fn answer(admin: &Admin, only_public: bool, request: &Request<Bytes>) -> Answer {
    let (method, uri) = (request.method(), request.uri());
    let entry = ENTRIES.iter().find(|entry| entry.path == uri.path() && (entry.public || !only_public));
    // Figures and readiness are nobody's secret: what scrapes them may use any name.
    let is_public = only_public || entry.is_some_and(|entry| entry.public);
    if !is_public && let Some(reason) = guard::refusal(request, &guard::Own::of(&admin.about.node.domain)) {
        return Reply::text(reason).with_status(StatusCode::FORBIDDEN).into_answer();
    }
    let Some(entry) = entry else { return not_found(only_public).into_answer() };
    let allowed = match entry.changes {
        true => method == Method::POST,
        false => method == Method::GET || method == Method::HEAD,
    };
    if !allowed {
        let wanted = if entry.changes { "POST" } else { "GET" };
        let body = format!("Method {method} not allowed, {wanted} required.");
        let mut answer = Reply::text(body).with_status(StatusCode::METHOD_NOT_ALLOWED).into_answer();
        let allow = if entry.changes { "POST" } else { "GET, HEAD" };
        answer.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static(allow));
        return answer;
    }
    let (query, answer) = match &entry.answer {
        Page::Of(answer) => (Query::of(uri), answer),
        Page::OfForm(answer) => (Query::of_form(uri), answer),
    };
    let refusal = match entry.parameters {
        Parameters::Known(names) => query.only(entry.path, names).err().map(Reply::refusal),
        Parameters::OfThePage => None,
    };
    // A browser gets the list of pages as a page.
    let document = || (entry.path == "/").then(|| live::document(request.headers())).flatten();
    let reply = refusal.or_else(document).unwrap_or_else(|| answer(admin, &query));
    reply.into_answer_to(request.headers())
}

fn not_found(only_public: bool) -> Reply {
    let body = if only_public { "invalid path.\n".to_owned() } else { format!("invalid path. {}", help()) };
    Reply::text(body).with_status(StatusCode::NOT_FOUND)
}

fn help() -> String {
    let mut text = "admin commands are:\n".to_owned();
    for entry in ENTRIES {
        let method = if entry.changes { " (POST)" } else { "" };
        let _ = writeln!(text, "  {}{method}: {}", entry.path, entry.help);
    }
    text
}

fn ready(admin: &Admin) -> Reply {
    let state = admin.readiness.state();
    let status = if state == State::Live { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Reply::text(format!("{}\n", state.as_str())).with_status(status)
}

fn set_failed(admin: &Admin, failed: bool) -> Reply {
    admin.readiness.set_failed(failed);
    Reply::text("OK\n")
}

fn drain_listeners(admin: &Admin, query: &Query) -> Reply {
    if query.get("skip_exit").is_some() {
        return Reply::refusal(
            "skip_exit: not supported: the process ends when it has drained; \
             /healthcheck/fail makes /ready answer 503 and leaves the process and its listeners\n",
        );
    }
    command(admin, Command::DrainListeners)
}

fn command(admin: &Admin, command: Command) -> Reply {
    match admin.commands.try_send(command) {
        // Full: enough of them wait already, and the first is obeyed.
        Ok(()) | Err(TrySendError::Full(_)) => Reply::text("OK\n"),
        Err(TrySendError::Closed(_)) => {
            Reply::text("leaving already\n").with_status(StatusCode::SERVICE_UNAVAILABLE)
        }
    }
}

fn scrape(admin: &Admin) -> Reply {
    refresh(admin);
    Reply::in_pieces(CONTENT_TYPE, admin.recorder.pieces(telemetry::Page::Metrics))
}

/// Brings up to date what nobody counts as it happens.
pub(super) fn refresh(admin: &Admin) {
    admin.server.refresh(Instant::now());
    admin.server.set_state(match admin.readiness.state() {
        State::Live => ServerState::Live,
        State::Initializing => ServerState::Initializing,
        State::Draining => ServerState::Draining,
    });
    let Some(plane) = admin.plane.load_full() else { return };
    plane.clusters.iter().for_each(|cluster| cluster.refresh());
    plane.endpoints.iter().for_each(VersionEndpoints::refresh);
    admin.server.clusters_active.set(plane.clusters.len() as f64);
    admin.server.listeners_active.set(plane.listeners.len() as f64);
    admin
        .server
        .total_connections
        .set(plane.listeners.iter().map(|listener| listener.meter.cx_active.get()).sum());
}
