//! The same times, said to the real Envoy and to Weir: when each begins, by what becomes of requests that come slowly, that
//! wait for a connection, or that still come while they are answered.
// What stands outside a `#[test]` is a test's all the same.
#![allow(clippy::expect_used)]

#[path = "common"]
mod common {
    pub(crate) mod engine;
    pub(crate) mod parts;
    pub(crate) mod policed;
    pub(crate) mod world;
}
#[path = "differential/envoy.rs"]
mod envoy;

use std::any::Any;
use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use common::parts::part;
use common::policed::{Policed, policy};
use common::world::client::{Client, post, request};
use common::world::upstream::{Upstream, channel, echoed, full};
use common::world::{Http, lines_of, one_service, rule, run, soon, split_rule, until};
use envoy::{Envoy, access_log, bootstrap, cluster};
use futures_util::future::join_all;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::watch;
use weir::snapshot::{Action, RetryCondition, RetryPolicy};

/// Of Envoy's access log. Weir's has the version behind that.
const LOG_FORMAT: &str =
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\\n";

/// A path's times: the whole request's, an attempt's, and an attempt's without a byte.
struct Route {
    prefix: &'static str,
    whole: Option<Duration>,
    per_try: Option<Duration>,
    idle: Option<Duration>,
}

const SECOND: Option<Duration> = Some(Duration::from_secs(1));
const SHORT: Option<Duration> = Some(Duration::from_millis(300));
const ROUTES: [Route; 5] = [
    Route { prefix: "/whole", whole: SECOND, per_try: None, idle: None },
    Route { prefix: "/short", whole: SHORT, per_try: None, idle: None },
    Route { prefix: "/try", whole: None, per_try: SECOND, idle: None },
    Route { prefix: "/idle", whole: None, per_try: None, idle: SECOND },
    Route { prefix: "/none", whole: None, per_try: None, idle: None },
];
/// For which callers say nothing: longer than a second.
const SILENCE: Duration = Duration::from_millis(2_200);

/// A proxy before an upstream of its own.
struct Side {
    name: &'static str,
    address: SocketAddr,
    upstream: Upstream,
    /// Requests that the upstream has read to their end.
    read: Rc<Cell<usize>>,
    open: watch::Sender<bool>,
    log: PathBuf,
    _proxy: Box<dyn Any>,
}

/// A proxy that runs: where it listens, its access log, and what ends it.
type Running = (SocketAddr, PathBuf, Box<dyn Any>);

impl Side {
    async fn start(name: &'static str, proxy: impl FnOnce(SocketAddr) -> Running) -> Side {
        let (open, gate) = watch::channel(false);
        let read: Rc<Cell<usize>> = Rc::default();
        let count = read.clone();
        let upstream = Upstream::handling(move |request| serve(request, gate.clone(), count.clone())).await;
        let (address, log, proxy) = proxy(upstream.addr());
        Side { name, address, upstream, read, open, log, _proxy: proxy }
    }

    /// The lines of its access log: status, flags, details, attempts.
    fn lines(&self) -> Vec<String> {
        let lines = lines_of(&self.log).into_iter();
        lines.map(|line| line.split_whitespace().take(4).collect::<Vec<_>>().join(" ")).collect()
    }

    /// Asks an upstream that falls silent; what came of it, and what the log says.
    async fn unanswered(&self, down: Http, path: &str) -> String {
        let (before, mut caller) = (self.lines().len(), Client::connect(down, self.address).await);
        let answer = soon("a head", caller.begin(post(path, "1"))).await.expect("a head");
        let status = answer.status().as_u16();
        let body = soon("an end", answer.into_body().collect()).await;
        let end = body.map_or("cut".to_owned(), |body| format!("{:?}", body.to_bytes()));
        let line = until("a line in the log", || self.lines().get(before).cloned()).await;
        format!("{status} {end}, log {line}")
    }

    /// Sends a part of a request, and the rest after a silence; what came of it.
    async fn slowly(&self, down: Http, path: &str, silence: Duration) -> String {
        let (before, mut caller) = (self.upstream.begun(), Client::connect(down, self.address).await);
        let answer = caller.post_slowly(path, silence).await;
        format!("{} {} attempts, {} read", answer.status, self.upstream.begun() - before, self.read.take())
    }

    /// Sends one while another has the only connection, which it leaves after a silence if that is waited for.
    async fn waiting(&self, down: Http, path: &str, lets_go: bool) -> String {
        self.open.send_replace(false);
        let before = self.upstream.begun();
        let mut first = Client::connect(down, self.address).await;
        let first = tokio::task::spawn_local(async move { first.send(post("/none/gate", "1")).await.status });
        self.upstream.wait_begun(before + 1).await;
        let mut second = Client::connect(down, self.address).await;
        let goes = async {
            if lets_go {
                tokio::time::sleep(SILENCE).await;
                self.open.send_replace(true);
            }
        };
        let (answer, ()) = tokio::join!(second.send(post(path, "2")), goes);
        self.open.send_replace(true);
        let first = soon("the first answer", first).await.expect("it ends");
        self.read.take();
        format!("{first} then {} of {} begun", answer.status, self.upstream.begun() - before)
    }

    /// Sends on behind the head of the answer, for longer than the path allows.
    async fn talking(&self, path: &str) -> String {
        let (sender, body) = channel();
        sender.send(Frame::data("one".into())).expect("sent");
        let mut caller = Client::connect(Http::Two, self.address).await;
        let sent = request(Method::POST, path).body(body).expect("a request");
        let mut answer = soon("a head", caller.begin(sent)).await.expect("a head").into_body();
        let mut heard = String::new();
        for next in ["two", "three"] {
            tokio::time::sleep(3 * SHORT.unwrap_or_default()).await;
            // It may be over.
            let _ = sender.send(Frame::data(next.into()));
            match soon("a piece, or the end", answer.frame()).await {
                Some(Ok(frame)) => {
                    let piece = frame.into_data().unwrap_or_default();
                    heard += std::str::from_utf8(&piece).expect("text");
                }
                end => return format!("{heard} and {}", if end.is_some() { "cut" } else { "the end" }),
            }
        }
        heard
    }
}

async fn serve(
    request: Request<Incoming>,
    mut gate: watch::Receiver<bool>,
    read: Rc<Cell<usize>>,
) -> Response<common::world::upstream::BoxBody> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/echo") {
        return Response::new(echoed(request, None));
    }
    if request.into_body().collect().await.is_ok() {
        read.set(read.get() + 1);
    }
    if path.ends_with("/stall") {
        let (sender, body) = channel();
        sender.send(Frame::data("begun".into())).expect("the body is here");
        tokio::task::spawn_local(async move {
            std::future::pending::<()>().await;
            drop(sender);
        });
        return Response::new(body);
    }
    if path.ends_with("/hold") {
        std::future::pending::<()>().await;
    }
    if path.ends_with("/gate") {
        gate.wait_for(|open| *open).await.expect("the test is there");
    }
    Response::new(full("answered"))
}

fn weir(upstream: SocketAddr, connections: usize) -> Running {
    let breaker = format!("circuit_breakers: {{connections: {connections}}}");
    let yaml = one_service(&["protocol: http1", &breaker], &[(&upstream.to_string(), "v1")]);
    let rules: Vec<String> = ROUTES
        .iter()
        .map(|route| {
            let matches = format!("{{request: {{headers: {{uri: {{prefix: \"{}\"}}}}}}}}", route.prefix);
            rule(&route.prefix[1..], 2, &matches, &[("v1", 100)])
        })
        .chain([split_rule(&[("v1", 100)])])
        .collect();
    let proxy = Policed::start(&yaml, &rules.join("---\n"), |route| {
        let Some(times) = ROUTES.iter().find(|times| route.name.starts_with(&times.prefix[1..])) else {
            return;
        };
        if let Action::Forward(forward) = &mut route.action {
            forward.timeout = times.whole;
        }
        if times.per_try.or(times.idle).is_some() {
            policy(route).retry = Some(RetryPolicy {
                on: [RetryCondition::ServerError].into_iter().collect(),
                per_try_timeout: times.per_try,
                per_try_idle_timeout: times.idle,
                ..RetryPolicy::default()
            });
        }
    });
    (proxy.addr(), proxy.log_path().to_owned(), Box::new(proxy))
}

fn configuration(upstream: SocketAddr, connections: usize, log: &Path) -> String {
    let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
    let routes: Vec<String> = ROUTES
        .iter()
        .map(|route| {
            let own = |name: &str, time: Option<Duration>| {
                let policy =
                    |time| format!(", retry_policy: {{retry_on: 5xx, num_retries: 1, {name}: {time}s}}");
                time.map(|time| policy(time.as_secs_f64())).unwrap_or_default()
            };
            format!(
                "{{match: {{prefix: \"{}\"}}, route: {{cluster: x, timeout: {}s{}{}}}}}",
                route.prefix,
                seconds(route.whole),
                own("per_try_timeout", route.per_try),
                own("per_try_idle_timeout", route.idle),
            )
        })
        .collect();
    let hosts = format!("virtual_hosts: [{{name: all, domains: [\"*\"], routes: [{}]}}]", routes.join(", "));
    let breakers = format!("circuit_breakers: {{thresholds: [{{max_connections: {connections}}}]}}");
    bootstrap(&access_log(log, LOG_FORMAT), &[], &hosts, &[cluster("x", Some(upstream), &breakers)])
}

/// Envoy and Weir, each before an upstream of its own that has so many connections.
async fn both(program: &Path, connections: usize) -> [Side; 2] {
    let envoy = Side::start("envoy", |upstream| {
        let envoy = Envoy::with(program, |log| configuration(upstream, connections, log));
        (envoy.address, envoy.log.clone(), Box::new(envoy) as Box<dyn Any>)
    });
    let envoy = envoy.await;
    [envoy, Side::start("weir", |upstream| weir(upstream, connections)).await]
}

#[test]
fn the_time_of_a_request_and_of_an_attempt_begins_when_envoys_does() {
    let Some(program) = part("envoy") else { return };
    run(async || {
        let trials = both(&program, 1_024).await.map(|side| async move {
            for down in Http::BOTH {
                let name = (side.name, down);
                for path in ["/whole", "/try", "/idle"] {
                    let told = side.slowly(down, path, SILENCE).await;
                    assert_eq!(told, "200 OK 1 attempts, 1 read", "{name:?} {path}");
                }
                let told = side.slowly(down, "/short/hold", Duration::from_millis(900)).await;
                assert_eq!(told, "504 Gateway Timeout 1 attempts, 1 read", "{name:?}");
            }
            assert_eq!(side.talking("/short/echo").await, "onetwo", "{}", side.name);
        });
        join_all(trials).await;
    });
}

#[test]
fn in_the_queue_for_a_connection_a_requests_time_runs_and_an_attempts_does_not() {
    let Some(program) = part("envoy") else { return };
    run(async || {
        let trials = both(&program, 1).await.map(|side| async move {
            for down in Http::BOTH {
                let told = side.waiting(down, "/short", false).await;
                assert_eq!(told, "200 OK then 504 Gateway Timeout of 1 begun", "{} {down:?}", side.name);
                for path in ["/try", "/idle"] {
                    let told = side.waiting(down, path, true).await;
                    assert_eq!(told, "200 OK then 200 OK of 2 begun", "{} {down:?} {path}", side.name);
                }
            }
        });
        join_all(trials).await;
    });
}

#[test]
fn an_attempt_that_is_idle_for_too_long_ends_as_envoys() {
    let Some(program) = part("envoy") else { return };
    run(async || {
        let trials = both(&program, 1_024).await.map(|side| async move {
            for down in Http::BOTH {
                let told = side.unanswered(down, "/idle/hold").await;
                let late =
                    "504 b\"upstream request timeout\", log 504 URX,UT upstream_per_try_idle_timeout 2";
                assert_eq!(told, late, "{} {down:?}", side.name);
                let told = side.unanswered(down, "/idle/stall").await;
                assert_eq!(
                    told, "200 cut, log 200 UT upstream_per_try_idle_timeout 1",
                    "{} {down:?}",
                    side.name
                );
            }
        });
        join_all(trials).await;
    });
}
