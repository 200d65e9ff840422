//! Everything at once, for as long as one likes: no failure of the proxy's own making, and nothing that grows.
//!
//! Callers of every kind, some of whom leave; bodies of 8 MiB; one upstream answer in a hundred harmed; twenty reloads a
//! minute; scrapes. Each request's end is foretold by what it asked of its upstream: `common/soak`.
//!
//! `WEIR_SOAK` says for how many seconds (20), `WEIR_SOAK_RATE` how much load (1 is some 170 requests a second),
//! `WEIR_BIN` which binary.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/child.rs"]
mod child;
#[path = "common/engine.rs"]
mod engine;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/soak/mod.rs"]
mod soak;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use child::Weir;
use engine::on_control_thread;
use soak::callers::Callers;
use soak::ledger::Ledger;
use soak::process::Cost;
use soak::watch::{SPARE, Watch, rules, sum};
use soak::{load, server1, server2};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// For what has to happen when the load is over.
const DEADLINE: Duration = Duration::from_secs(70);
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
const MIB: f64 = (1 << 20) as f64;

/// Two model servers of each version, for REST and gRPC, on a thread of their own; the endpoints, as YAML.
fn upstreams(ledger: &Arc<Ledger>) -> String {
    let (mut endpoints, mut http1, mut http2) = (String::new(), Vec::new(), Vec::new());
    for endpoint in 0..6 {
        let [http, grpc] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
        let [rest_at, grpc_at] = [&http, &grpc].map(|listener| listener.local_addr().unwrap());
        let (version, spare) = (endpoint % 3 + 1, if endpoint < 3 { "" } else { SPARE });
        writeln!(
            endpoints,
            "  - {{http: '{rest_at}', grpc: '{grpc_at}', labels: {{version: v{version}}}}}{spare}"
        )
        .unwrap();
        http.set_nonblocking(true).unwrap();
        grpc.set_nonblocking(true).unwrap();
        http1.push(http);
        http2.push(grpc);
    }
    let ledger = ledger.clone();
    weir::runtime::worker::spawn("upstreams", move || async move {
        for listener in http1 {
            spawn_local(server1::serve(listener, ledger.clone()));
        }
        for listener in http2 {
            spawn_local(server2::serve(listener, ledger.clone()));
        }
        std::future::pending::<()>().await;
    })
    .unwrap();
    endpoints
}

fn setting(name: &str, default: f64) -> f64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

/// What does not hold in the end, all of it.
#[derive(Default)]
struct Verdict(Vec<String>);

impl Verdict {
    fn expect(&mut self, holds: bool, law: impl Into<String>) {
        if !holds {
            self.0.push(law.into());
        }
    }
}

#[test]
fn under_everything_at_once_no_request_fails_by_the_proxy_and_nothing_grows() {
    let seconds = setting("WEIR_SOAK", 20.0);
    on_control_thread(async {
        let ledger = Arc::new(Ledger::default());
        let endpoints = upstreams(&ledger);
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("access.log");
        let weir = Weir::start_gateway(
            &format!(
                "workers: 2\ninternal_cidrs: [127.0.0.0/8]\n\
                 access_log: {{path: '{}', format: \"%RESPONSE_CODE% %RESPONSE_FLAGS% \
                 %UPSTREAM_REQUEST_ATTEMPT_COUNT% %REQ(X-SOAK)%\\n\"}}\n\
                 services:\n- name: m\n  circuit_breakers: {{retries: 1000}}\n  endpoints:\n{endpoints}\
                 - name: c\n  endpoints:\n{endpoints}",
                log.display()
            ),
            &rules([50, 5, 45]),
        );
        let watch = Rc::new(Watch::default());
        timeout(DEADLINE, watch.first_reload(&weir)).await.expect("a reload in time");
        let first = Cost::of(weir.id());
        let callers = Rc::new(Callers::new(weir.address, ledger.clone()));
        let weir = Rc::new(weir);
        let watching = [true, false].map(|reloads| {
            let (weir, watch) = (weir.clone(), watch.clone());
            spawn_local(
                async move { if reloads { watch.reload(&weir).await } else { watch.look(&weir).await } },
            )
        });
        let start = Instant::now();
        let tasks = load::start(&callers, setting("WEIR_SOAK_RATE", 1.0));
        let until = start + Duration::from_secs_f64(seconds);
        while Instant::now() < until {
            sleep(PROGRESS_EVERY.min(until.saturating_duration_since(Instant::now()))).await;
            progress(start, &callers, &weir);
        }
        callers.stop.set(true);
        for task in tasks {
            task.await.unwrap();
        }
        watch.stop.set(true);
        for task in watching {
            task.await.unwrap();
        }
        let mut verdict = Verdict::default();
        let last = settle(&weir, &callers, first, &mut verdict).await;
        account(&weir, &callers, &watch, &mut verdict).await;
        account_log(&log, &callers, &mut verdict);
        grown(&watch, seconds, [first, last], &mut verdict);
        report(&callers, &watch, start);
        assert!(verdict.0.is_empty(), "{:#?}\n{}", verdict.0, weir.log());
    });
}

fn progress(start: Instant, callers: &Callers, weir: &Weir) {
    let (accounts, cost) = (callers.accounts.borrow(), Cost::of(weir.id()));
    let kinds: u64 = accounts.kinds.values().sum();
    let unexplained = accounts.unexplained.len();
    println!("{:4} s: {kinds} requests, {unexplained} unexplained; {cost}", start.elapsed().as_secs());
}

/// Nothing is in flight any more: neither at the upstreams, nor by the gauges, nor as descriptors.
async fn settle(weir: &Weir, callers: &Callers, first: Cost, verdict: &mut Verdict) -> Cost {
    const GAUGES: [&str; 3] = [
        "envoy_http_downstream_rq_active",
        "envoy_cluster_upstream_rq_active",
        "envoy_http_downstream_cx_active",
    ];
    let until = Instant::now() + DEADLINE;
    loop {
        let page = weir.page("/metrics").await.1;
        let gauges = GAUGES.map(|gauge| sum(&page, gauge, &[]));
        let [active, open] = [&callers.ledger.active, &callers.ledger.open].map(|n| n.load(Ordering::SeqCst));
        let cost = Cost::of(weir.id());
        let upstream = sum(&page, "envoy_cluster_upstream_cx_active", &[]);
        let calm = gauges == [0.0; 3]
            && active == 0
            && cost.descriptors <= first.descriptors + open
            && cost.threads <= first.threads
            && upstream == open as f64
            && sum(&page, "weir_planes_alive", &[]) == 1.0;
        if calm || Instant::now() > until {
            println!(
                "after the load: {GAUGES:?} {gauges:?}, {active} active upstream, {open} connections there \
                 ({upstream} by the gauge); {cost}"
            );
            verdict.expect(calm, "something stayed when the load was over: the line `after the load`");
            return cost;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// What the metrics say is what the callers counted.
async fn account(weir: &Weir, callers: &Callers, watch: &Watch, verdict: &mut Verdict) {
    let page = weir.page("/metrics").await.1;
    let accounts = callers.accounts.borrow();
    let ours = "service=\"m.default.svc.cluster.local\"";
    for (&(protocol, outcome), &count) in &accounts.outcomes {
        let labels = [ours, &format!("protocol=\"{protocol}\""), &format!("outcome=\"{outcome}\"")];
        let told = sum(&page, "weir_requests_total", &labels);
        println!("{protocol} {outcome}: {count} counted by callers, {told} by the metrics");
        verdict.expect(told == count as f64, format!("{protocol} {outcome}: {count} are told as {told}"));
    }
    let left = sum(&page, "weir_requests_total", &[ours, "outcome=\"cancelled\""]);
    verdict.expect(left == 0.0, format!("{left} requests count as cancelled whose callers stayed"));
    for (result, count) in [("accepted", watch.accepted.get()), ("refused", watch.refused.get())] {
        let told = sum(&page, "weir_config_reloads_total", &[&format!("result=\"{result}\"")]);
        println!("reloads {result}: {count} written, {told} told");
        verdict.expect(told == count as f64, format!("reloads {result}: {count} written, {told} told"));
    }
    for family in ["weir_access_log_dropped_total", "weir_buffer_resets_total"] {
        let count = sum(&page, family, &[]);
        verdict.expect(count == 0.0, format!("{family} is {count}"));
    }
    for line in page.lines().filter(|line| line.starts_with("weir_retries_total") && !line.ends_with(" 0")) {
        println!("{line}");
    }
    let faults = callers.ledger.faults();
    verdict.expect(faults.is_empty(), format!("{} faults that upstreams saw: {faults:#?}", faults.len()));
    let faults = watch.faults.borrow();
    verdict.expect(faults.is_empty(), format!("pages: {faults:#?}"));
    let unexplained = &accounts.unexplained;
    let some: Vec<_> = unexplained.iter().take(10).collect();
    verdict.expect(unexplained.is_empty(), format!("{} unexplained: {some:#?}", unexplained.len()));
    let completed = callers.completed();
    verdict.expect(completed.is_empty(), format!("cut by their callers, whole to upstreams: {completed:?}"));
}

/// One line for each request, with the status that its caller saw.
fn account_log(path: &Path, callers: &Callers, verdict: &mut Verdict) {
    let text = fs::read_to_string(path).unwrap();
    let mut told: HashMap<u64, Vec<u16>> = HashMap::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let status = words.next().and_then(|status| status.parse().ok());
        let id = words.nth(2).and_then(|id| id.parse().ok());
        match (status, id) {
            (Some(status), Some(id)) => told.entry(id).or_default().push(status),
            _ => verdict.0.push(format!("a line of the access log: {line:?}")),
        }
    }
    let accounts = callers.accounts.borrow();
    let differ: Vec<_> = accounts
        .statuses
        .iter()
        .filter(|&(id, &status)| told.get(id).is_none_or(|told| told[..] != [status]))
        .map(|(id, status)| (id, status, told.get(id)))
        .collect();
    println!("{} lines in the access log", text.lines().count());
    let some: Vec<_> = differ.iter().take(5).collect();
    verdict.expect(differ.is_empty(), format!("{} differ in the access log: {some:?}", differ.len()));
    let twice: Vec<_> = told.iter().filter(|(_, told)| told.len() > 1).take(5).collect();
    verdict.expect(twice.is_empty(), format!("told twice in the access log: {twice:?}"));
}

/// Memory is flat: in a long run it ends where it was warm, and did not creep.
fn grown(watch: &Watch, seconds: f64, [first, last]: [Cost; 2], verdict: &mut Verdict) {
    let costs = watch.costs.borrow();
    let warm = costs[costs.len() / 10].1;
    let most = costs.iter().map(|(_, cost)| cost.pss).max().unwrap();
    let (second, fourth) = (watch.mean_memory(0.25, 0.5), watch.mean_memory(0.75, 1.0));
    let highest = costs.iter().map(|(_, cost)| cost.descriptors).max().unwrap();
    println!("at first: {first}\nwarm: {warm}\nat most: {:.1} MiB, {highest} descriptors", most as f64 / MIB);
    println!(
        "memory by quarters: second {:.1}, last {:.1} MiB\nin the end: {last}",
        second / MIB,
        fourth / MIB
    );
    if seconds >= 120.0 {
        let grown = (last.pss as f64 - warm.pss as f64) / MIB;
        verdict.expect(grown <= 16.0, format!("memory grew by {grown:.1} MiB"));
        let crept = (fourth - second) / MIB;
        verdict.expect(
            crept <= 8.0,
            format!("memory creeps: {crept:.1} MiB from the second to the last quarter"),
        );
    }
    verdict.expect(most as f64 <= first.pss as f64 + 128.0 * MIB, "memory passed 128 MiB over its beginning");
}

fn report(callers: &Callers, watch: &Watch, start: Instant) {
    let accounts = callers.accounts.borrow();
    println!("{} requests in {} s:", callers.requests(), start.elapsed().as_secs());
    for (kind, count) in &accounts.kinds {
        println!("{count:9} {kind}");
    }
    println!("their ends:");
    for (end, count) in &accounts.ends {
        println!("{count:9} {end}");
    }
    println!("{:9} unexplained", accounts.unexplained.len());
    println!("cancelled upstream, ms (half, 99 %, all):");
    for (phase, (count, took)) in callers.cancellations() {
        println!("{count:9} {}, by {}: {took:?}", phase.at, phase.by);
    }
    println!("{} scrapes", watch.scrapes.get());
}
