//! The live page in a real Chromium, before a real proxy with traffic: what it shows is what happened.
//!
//! With `WEIR_PICTURES=FOLDER` the pictures of the README are put there.

#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is the report

mod common {
    pub(crate) mod browser;
    pub(crate) mod caller;
    pub(crate) mod loopback;
    pub(crate) mod parts;
    pub(crate) mod weir;
}

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use common::browser::Browser;
use common::caller::{self, Protocol, Tally};
use common::parts::part;
use common::weir::{Pod, Weir, eventually, free_address, get, rule};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use weir::admin::{About, Admin, Levels, Reloads, SplitStats};
use weir::config::{self, Document, Environment};
use weir::demo::model_server::{ModelServer, Options, ServiceTime};
use weir::proxy::planner::Planner;
use weir::runtime::readiness::Readiness;
use weir::runtime::worker::local_runtime;
use weir::telemetry::families::weir::Limit;
use weir::telemetry::{ProcessMeter, Recorder, RequestRecord, ServerMeter, VersionMeter};
use weir::transport::endpoint::serve;
use weir::words::{HttpVersion, Protocol as Spoken};

const RULES: [(&str, u32); 2] = [("v1", 90), ("v2", 10)];
/// Before them.
const TESTERS: &str = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: testers, namespace: models}\n\
    spec:\n  destination: {name: half-plus-two}\n  precedence: 2\n\
    \x20 match: {request: {headers: {x-user: {exact: alice}}}}\n  route: [{labels: {version: v2}}]\n---\n";

/// Versions 1 and 2 behind a proxy.
async fn world() -> (Weir, [ModelServer; 2]) {
    let options = |ms| {
        let [base, jitter] = [ms, ms / 2].map(Duration::from_millis);
        Options { service_time: ServiceTime { base, jitter }, ..Options::default() }
    };
    let servers = [ModelServer::start(1, options(4)).await, ModelServer::start(2, options(6)).await];
    let servers = servers.map(Result::unwrap);
    let pod = Pod::new();
    let at = servers.each_ref().map(|server| (server.grpc_addr(), server.rest_addr()));
    let config = pod.two_versions("half-plus-two", at);
    (pod.start(&config, &rule(&RULES)), servers)
}

fn open(browser: &Browser, weir: &Weir) {
    open_at(browser, weir.pod.admin);
}

fn open_at(browser: &Browser, admin: SocketAddr) {
    browser.open(&format!("http://{admin}/"));
    eventually("the page shows figures", true, || updates(browser) > 0);
}

fn updates(browser: &Browser) -> u64 {
    let count = browser.run("return document.body.dataset.updates ?? '0'", &[]);
    count.as_str().unwrap().parse().unwrap()
}

/// The text of the first element, as a reader sees it.
fn text(browser: &Browser, selector: &str) -> String {
    let script = "return document.querySelector(arguments[0])?.textContent ?? ''";
    browser.run(script, &[json!(selector)]).as_str().unwrap().to_owned()
}

/// The cells of each version: its name, then by the columns' labels.
fn versions(browser: &Browser) -> Value {
    let script = "return [...document.querySelectorAll('#splits tbody tr')].map((row) => Object.fromEntries([
        ['version', row.cells[0].textContent],
        ...[...row.cells].slice(1).map((cell) => [cell.dataset.label, cell.textContent]),
    ]))";
    browser.run(script, &[])
}

/// What the chart of a version says to those who do not see it.
fn chart(browser: &Browser, version: usize) -> String {
    let script = "return document.querySelectorAll('svg.spark')[arguments[0]].getAttribute('aria-label')";
    browser.run(script, &[json!(version)]).as_str().unwrap().to_owned()
}

fn write_filter(browser: &Browser, text: &str) {
    let script = "const filter = document.getElementById('filter'); filter.value = arguments[0];
        filter.dispatchEvent(new Event('input'))";
    browser.run(script, &[json!(text)]);
}

/// What axe finds wrong: the rule, and the elements.
fn barriers(browser: &Browser, axe: &str) -> Vec<String> {
    browser.run(axe, &[]);
    let script = "const done = arguments[arguments.length - 1];
        axe.run(document, {resultTypes: ['violations']}).then(
            (found) => done(found.violations.map((one) => `${one.id}: ${one.help}: ${one.nodes.map((node) => node.html).join(' ')}`)),
            (fault) => done([String(fault)]))";
    let found = browser.run_async(script, &[]);
    found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Where pictures are wanted.
fn pictures() -> Option<PathBuf> {
    let folder = std::env::var_os("WEIR_PICTURES").map(PathBuf::from)?;
    fs::create_dir_all(&folder).unwrap();
    Some(folder)
}

/// Some forty requests a second, now more, now less: a chart that is worth a picture.
async fn fill_the_chart(weir: &Weir) {
    let (start, mut ticks) = (Instant::now(), tokio::time::interval(Duration::from_millis(100)));
    while start.elapsed() < Duration::from_secs(200) {
        ticks.tick().await;
        let swing = (start.elapsed().as_secs_f64() / 30.0).sin();
        send(weir, (4.0 + 1.5 * swing) as u64 + u64::from(start.elapsed().subsec_millis() < 500)).await;
        // In the end a client that wants what only v1 has.
        if start.elapsed() > Duration::from_secs(110) && start.elapsed().subsec_millis() < 450 {
            ask_for_version_1(weir, 1).await;
        }
    }
}

/// What v1 answers with 200 and v2 with 404.
async fn ask_for_version_1(weir: &Weir, times: usize) {
    let predict = weir.pod.predict;
    // The versions are served on this thread.
    let asked = tokio::task::spawn_blocking(move || {
        for _ in 0..times {
            let status = get(predict, "/v1/models/half_plus_two/versions/1").map(|(status, _)| status);
            assert!(matches!(status, Some(200 | 404)), "{status:?}");
        }
    });
    asked.await.unwrap();
}

async fn send(weir: &Weir, requests: u64) -> Tally {
    let tally = caller::predict(weir.pod.predict, Protocol::Rest, requests, 1).await;
    assert_eq!(tally.values().sum::<u64>(), requests, "{tally:?}");
    tally
}

#[tokio::test]
async fn the_page_shows_the_traffic_and_a_change_of_the_rule_within_two_seconds_and_explains_a_request() {
    let Some(browser) = Browser::start() else { return };
    let (weir, _servers) = world().await;
    open(&browser, &weir);
    assert_eq!(text(&browser, "#splits caption b"), "canary.models");
    let sent = send(&weir, 200).await;
    let share = |version: &str| format!("{:.1} %", sent[version] as f64 / 2.0);
    eventually("the shares of the traffic", json!([share("v1"), share("v2")]), || {
        let shown = versions(&browser);
        json!([shown[0]["Share"], shown[1]["Share"]])
    });
    let shown = versions(&browser);
    for (version, weight) in [(0, "90"), (1, "10")] {
        let row = &shown[version];
        assert_eq!(
            (row["Weight"].as_str(), row["Success"].as_str()),
            (Some(weight), Some("✓100.0 % (good)")),
            "{row}"
        );
        assert_eq!(row["Endpoints"], "✓2 of 2 healthy (good)", "{row}");
        assert_eq!(row["Client errors"], "0.0 %", "{row}");
        assert!(row["p50"].as_str().unwrap().ends_with(" ms") && row["Requests/s"] != "0.00", "{row}");
    }
    eventually("the chart has the traffic", true, || {
        let label = chart(&browser, 0);
        label.starts_with("requests a second in the last ") && !label.contains("at most 0.00")
    });

    // From the file to the page. A machine that does other things is late now and then, and not most times.
    let mut took = Vec::new();
    for v2 in [20, 30, 40, 60, 50] {
        let began = Instant::now();
        weir.write_rules(&rule(&[("v1", 100 - v2), ("v2", v2)]));
        let weights = [(100 - v2).to_string(), v2.to_string()];
        eventually("the page has the rule", json!(weights), || {
            let shown = versions(&browser);
            json!([shown[0]["Weight"], shown[1]["Weight"]])
        });
        took.push(began.elapsed());
    }
    took.sort();
    assert!(took[2] < Duration::from_secs(2), "{took:?}");
    eventually("its verdict", true, || text(&browser, "#verdict").contains("generation 6 is in force"));
    eventually("the rules in force", true, || text(&browser, "#rules").contains("50 % v1, 50 % v2"));

    weir.write_rules(&rule(&[("v1", 51), ("v2", 50)]));
    eventually("the refusal and its place", true, || {
        let verdict = text(&browser, "#verdict");
        verdict.contains("refused; generation 6 stays in force. ")
            && verdict.contains("rules.yaml:7:5: the weights sum to 101")
    });
    assert_eq!(versions(&browser)[0]["Weight"], "50");

    let ask = "document.getElementById('url').value = '/v1/models/half_plus_two:predict';
        document.getElementById('header').value = 'x-user: alice\\nx-b: c';
        document.querySelector('#explain button').click()";
    browser.run(ask, &[]);
    eventually("the explanation", true, || text(&browser, "#explained").contains("canary.models"));
    let explained = text(&browser, "#explained");
    assert!(explained.contains("50 % v1, 50 % v2") && explained.contains("Rules tried"), "{explained}");
    assert_eq!(browser.run("return document.activeElement.id", &[]), "explained");
    assert_eq!(browser.console(), Vec::<String>::new());
    let ask =
        "document.getElementById('header').value = 'x'; document.querySelector('#explain button').click()";
    browser.run(ask, &[]);
    eventually("what is wrong with it", "✕a header is written 'name: value' (failing)".to_owned(), || {
        text(&browser, "#explained")
    });
}

#[tokio::test]
async fn the_page_has_no_barrier_and_no_fault_in_light_and_dark_and_on_a_phone() {
    let (Some(browser), Some(axe)) = (Browser::start(), part("axe")) else { return };
    let axe = fs::read_to_string(axe).unwrap();
    let (weir, _servers) = world().await;
    weir.write_rules(&(TESTERS.to_owned() + &rule(&RULES)));
    send(&weir, 200).await;
    open(&browser, &weir);
    eventually("the rules", true, || text(&browser, "#rules").contains("testers.models"));
    if pictures().is_some() {
        fill_the_chart(&weir).await;
    }
    weir.write_rules(&rule(&[("v1", 91), ("v2", 10)]));
    let ask = "document.getElementById('url').value = '/v1/models/half_plus_two:predict';
        document.querySelector('#explain button').click()";
    browser.run(ask, &[]);
    eventually("everything is there", true, || {
        text(&browser, "#explained").contains("canary.models")
            && text(&browser, "#verdict").contains("refused")
    });
    for (width, height, scheme, name) in [
        (1280, 900, "light", "live-light.png"),
        (1280, 900, "dark", "live-dark.png"),
        (390, 844, "light", "live-phone.png"),
        (390, 844, "dark", ""),
        (320, 640, "light", ""),
    ] {
        browser.look(width, height, scheme);
        let before = updates(&browser);
        eventually("drawn anew", true, || updates(&browser) > before);
        assert_eq!(barriers(&browser, &axe), Vec::<String>::new(), "{width} {scheme}");
        let wide = browser.run("return document.documentElement.scrollWidth", &[]);
        assert!(wide.as_u64().unwrap() <= u64::from(width), "{width}: the page is {wide} wide");
        if let Some(folder) = pictures().filter(|_| !name.is_empty()) {
            browser.picture(&folder.join(name));
        }
    }
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[tokio::test]
async fn client_errors_of_a_version_stand_out_in_a_word_and_the_rule_that_has_them_comes_first() {
    let Some(browser) = Browser::start() else { return };
    let (weir, _servers) = world().await;
    weir.write_rules(&(TESTERS.to_owned() + &rule(&RULES)));
    open(&browser, &weir);
    let rules = || {
        browser.run(
            "return [...document.querySelectorAll('#splits caption b')].map((name) => name.textContent)",
            &[],
        )
    };
    let by_precedence = json!(["testers.models", "canary.models"]);
    eventually("both rules, by precedence", by_precedence, rules);
    browser.run("window.first = document.querySelector('#splits .scroll')", &[]);
    ask_for_version_1(&weir, 400).await;
    eventually("the rule with trouble is first", json!(["canary.models", "testers.models"]), rules);
    let moved = "return document.querySelectorAll('#splits .scroll')[1] === window.first";
    assert_eq!(browser.run(moved, &[]), true, "it was made anew");
    let v2 = || versions(&browser)[1].clone();
    eventually("a word for them", "!100.0 % high".to_owned(), || {
        v2()["Client errors"].as_str().unwrap().to_owned()
    });
    // The server did not fail any.
    assert_eq!(v2()["Success"], "✓100.0 % (good)");
    assert_eq!(versions(&browser)[0]["Client errors"], "0.0 %");
    let page: Value = serde_json::from_str(&get(weir.pod.admin, "/splits?filter=canary").unwrap().1).unwrap();
    let start = &page["splits"][0]["versions"][1]["start"];
    assert_eq!((&start["client_errors"], &start["client_error_rate"]), (&start["requests"], &json!(1.0)));
    let told = format!("{} client errors", start["client_errors"]);
    eventually("they are in the chart", true, || {
        let label = chart(&browser, 1);
        label.ends_with(&format!("; 0 failed by the server, {told}"))
            && v2()["Last 5 minutes"].as_str().unwrap().ends_with(&format!(", {told}"))
    });
    let drawn =
        "return document.querySelectorAll('svg.spark')[1].querySelector('.clients').getAttribute('d')";
    assert!(browser.run(drawn, &[]).as_str().unwrap().contains('M'));
    assert_eq!(browser.console(), Vec::<String>::new());
    write_filter(&browser, "ca(");
    eventually("a filter that is none is told where it stands", true, || {
        text(&browser, "#refusal").contains("ca(") && text(&browser, "#state").contains("LIVE")
    });
    assert_eq!(versions(&browser).as_array().map(Vec::len), Some(3), "all is shown");
    write_filter(&browser, "canary");
    eventually("it is one again", String::new(), || text(&browser, "#refusal"));
    // Of what is left out nothing is said that is not so.
    write_filter(&browser, "nobody");
    eventually("what matches nothing", "No service or rule matches “nobody”.".to_owned(), || {
        text(&browser, "#left-out")
    });
    assert_eq!(text(&browser, "#rules"), "None of a service or rule that matches “nobody”.");
    write_filter(&browser, "");
    eventually("all of them", json!(["canary.models", "testers.models"]), rules);
    assert_eq!(text(&browser, "#left-out"), "");
    assert!(text(&browser, "#rules").contains("testers.models"));
}

#[tokio::test]
async fn the_page_is_used_by_keys_alone_and_asks_nothing_while_it_is_paused_or_hidden() {
    let Some(browser) = Browser::start() else { return };
    let (weir, _servers) = world().await;
    open(&browser, &weir);
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.press("Tab", 9);
        reached.push(browser.run("return document.activeElement.id || document.activeElement.tagName", &[]));
    }
    for wanted in ["pause", "filter", "method", "url", "header", "from", "BUTTON"] {
        assert!(reached.contains(&json!(wanted)), "{wanted} is not among {reached:?}");
    }
    browser.run("document.getElementById('pause').click()", &[]);
    let paused = text(&browser, "#state");
    assert!(paused.starts_with("!paused at ") && paused.contains(':'), "{paused}");
    let seen = json!([versions(&browser), updates(&browser)]);
    // One that was under way may still come back.
    let script = "const done = arguments[arguments.length - 1]; const asked = () => performance.getEntriesByType('resource').length;
        setTimeout(() => { const before = asked(); setTimeout(() => done(asked() - before), 2500) }, 1500)";
    assert_eq!(browser.run_async(script, &[]), 0, "it asks though it is paused");
    assert_eq!((text(&browser, "#state"), json!([versions(&browser), updates(&browser)])), (paused, seen));
    browser.run("document.getElementById('pause').click()", &[]);
    let before = updates(&browser);
    eventually("it goes on", true, || updates(&browser) > before);
    assert_eq!(
        (text(&browser, "#state"), text(&browser, "#old")),
        ("✓LIVE (good)".to_owned(), String::new())
    );
    // Another tab in front.
    browser.run(
        "Object.defineProperty(document, 'hidden', {get: () => true, configurable: true});
        document.dispatchEvent(new Event('visibilitychange'))",
        &[],
    );
    assert_eq!(browser.run_async(script, &[]), 0, "it asks though nobody sees it");
    browser.run("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))", &[]);
    let before = updates(&browser);
    eventually("it goes on", true, || updates(&browser) > before);
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_told_once_to_eye_and_ear_and_its_last_figures_stay() {
    let (Some(browser), Some(axe)) = (Browser::start(), part("axe")) else { return };
    let axe = fs::read_to_string(axe).unwrap();
    let (mut weir, _servers) = world().await;
    send(&weir, 200).await;
    open(&browser, &weir);
    eventually("the shares of the traffic", true, || versions(&browser)[0]["Share"] != "–");
    assert_eq!(text(&browser, "#state"), "✓LIVE (good)");
    // Whoever hears the page is told what changes in here, as a whole.
    assert_eq!(browser.run("return document.getElementById('state').getAttribute('role')", &[]), "status");
    let watch = "window.told = 0; new MutationObserver(() => window.told++).observe(
        document.getElementById('state'), {subtree: true, childList: true, characterData: true, attributes: true})";
    browser.run(watch, &[]);
    let before = updates(&browser);
    eventually("some figures more", true, || updates(&browser) > before + 1);
    assert_eq!(browser.run("return window.told", &[]), 0, "it is told though nothing has changed");
    let shown = versions(&browser);

    weir.kill();
    eventually("it is gone", true, || text(&browser, "#state").starts_with("✕no answer since "));
    let since = text(&browser, "#state").trim_start_matches("✕no answer since ").to_owned();
    let old = text(&browser, "#old");
    assert!(
        old.starts_with("No answer: ") && old.ends_with(&format!("What is shown here is of {since}.")),
        "{old}"
    );
    assert_eq!(versions(&browser)[0]["Share"], shown[0]["Share"]);
    let tried = "return performance.getEntriesByType('resource').length";
    let before = browser.run(tried, &[]).as_u64();
    eventually("it has tried again", true, || browser.run(tried, &[]).as_u64() > before);
    assert_eq!(browser.run("return window.told", &[]), 1, "once");
    for scheme in ["light", "dark"] {
        browser.look(1280, 900, scheme);
        assert_eq!(barriers(&browser, &axe), Vec::<String>::new(), "{scheme}");
    }
    browser.run("document.getElementById('pause').click()", &[]);
    assert_eq!(text(&browser, "#state"), format!("!paused at {since}"));
    assert_eq!(barriers(&browser, &axe), Vec::<String>::new(), "paused");
    browser.run("document.getElementById('pause').click()", &[]);
    weir.start_again();
    eventually("it is back", "✓LIVE (good)".to_owned(), || text(&browser, "#state"));
    assert_eq!(text(&browser, "#old"), "");
    // Where nobody listens is the browser's own complaint.
    let other: Vec<String> =
        browser.console().into_iter().filter(|line| !line.contains("ERR_CONNECTION")).collect();
    assert_eq!(other, Vec::<String>::new());
}

/// No log.
struct Silent;

impl Levels for Silent {
    fn directives(&self) -> String {
        "info".to_owned()
    }

    fn set(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

/// The admin pages of a proxy by whose clock three minutes have passed. In its first quarter of a minute v2 failed all of
/// its 195 requests, and none came after them. It serves until the process ends.
fn after_three_minutes() -> SocketAddr {
    let (told, address) = mpsc::channel();
    thread::spawn(move || {
        local_runtime().unwrap().block_on(async {
            let document = |name: &str, text: &str| Document { name: name.to_owned(), bytes: text.into() };
            let main = "listeners: [{name: predict, address: '127.0.0.1:1', service: half-plus-two}]\n\
                services: [{name: half-plus-two, namespace: models, endpoints: [\
                {address: '127.0.0.1:2', labels: {version: v1}}, {address: '127.0.0.1:3', labels: {version: v2}}]}]\n\
                rules: [rules.yaml]\n";
            let (main, rules) = (document("weir.yaml", main), document("rules.yaml", &rule(&RULES)));
            let snapshot = config::load(&main, &[rules], &Environment::default()).unwrap().snapshot;
            let (recorder, start) = (Recorder::new(1), Instant::now());
            let plane = Arc::default();
            let mut planner = Planner::new(recorder.clone(), ProcessMeter::new(&recorder), Arc::clone(&plane));
            let node = snapshot.node.clone();
            planner.publish(Arc::new(snapshot)).unwrap();
            let mut stats = SplitStats::new(recorder.clone(), start);
            stats.adopt(planner.declared());

            let labels = planner.declared().iter().map(VersionMeter::labels);
            let v2 = labels.clone().find(|labels| *labels.version == *"v2" && *labels.rule == *"canary.models");
            let v2 = VersionMeter::declare(&recorder, v2.unwrap());
            let mut failed = RequestRecord::new(start, SystemTime::UNIX_EPOCH, HttpVersion::Http11, Spoken::Http);
            failed.status = 500;
            for second in 1..=180 {
                (0..13).filter(|_| second <= 15).for_each(|_| v2.report_source(&failed));
                stats.tick(start + Duration::from_secs(second));
            }
            let admin = Rc::new(Admin {
                plane,
                server: ServerMeter::new(&recorder, start, 1),
                recorder,
                readiness: Readiness::default(),
                reloads: Rc::new(Reloads::new().into()),
                stats: Rc::new(stats.into()),
                commands: tokio::sync::mpsc::channel(1).0,
                reopen_logs: Box::new(|| {}),
                levels: Rc::new(Silent),
                about: About {
                    node,
                    concurrency: 1,
                    config_path: "weir.yaml".to_owned(),
                    last_good: None,
                    log_format: "text",
                },
                start,
            });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let gave_way = ProcessMeter::new(&Recorder::new(1)).of_limit(Limit::AdminConnections);
            serve(listener, admin.everything(), gave_way, std::future::pending()).await;
        });
    });
    address.recv().unwrap()
}

#[test]
fn whoever_comes_three_minutes_late_sees_what_has_failed() {
    let Some(browser) = Browser::start() else { return };
    open_at(&browser, after_three_minutes());
    let shown = versions(&browser);
    // The last minute knows nothing of it.
    assert_eq!((&shown[1]["Requests/s"], &shown[1]["Success"]), (&json!("0.00"), &json!("–")));
    assert_eq!(shown[1]["Last 5 minutes"], "3 min known, peak 13.0/s, 195 failed");
    assert_eq!(
        chart(&browser, 1),
        "requests a second in the last 3 min: now 0.00, at most 13.0; 195 failed by the server, 0 client errors"
    );
    let bars = "return document.querySelectorAll('svg.spark')[1].querySelector('.errors').getAttribute('d')";
    assert_eq!(browser.run(bars, &[]).as_str().unwrap().matches('M').count(), 3);
    assert_eq!(shown[0]["Last 5 minutes"], "3 min known, peak 0.00/s");
    assert_eq!(browser.console(), Vec::<String>::new());
}

#[test]
fn where_there_are_two_listeners_the_one_that_a_request_comes_to_is_chosen() {
    let Some(browser) = Browser::start() else { return };
    let (pod, other) = (Pod::new(), free_address());
    let service = |name: &str, port: u16| {
        format!(
            "- {{name: {name}, namespace: models, endpoints: [{{address: '127.0.0.1:{port}', labels: {{version: v1}}}}]}}\n"
        )
    };
    let config = format!(
        "{}- {{name: second, address: '{other}', service: other}}\nservices:\n{}{}",
        pod.gateway_listener("half-plus-two"),
        service("half-plus-two", 9),
        service("other", 10)
    );
    let weir = pod.start(&config, &rule(&[("v1", 100)]));
    open(&browser, &weir);
    let chosen = |listener: &str| {
        let ask = "document.getElementById('url').value = '/';
            document.getElementById('listener').value = arguments[0];
            document.querySelector('#explain button').click()";
        browser.run(ask, &[json!(listener)]);
        let told = format!(", listener {} (split)", if listener.is_empty() { "predict" } else { listener });
        eventually("the explanation", true, || text(&browser, "#explained").contains(&told));
        text(&browser, "#explained")
    };
    let names = "return [...document.querySelectorAll('#listener option')].map((option) => option.value)";
    eventually("its choices", json!(["", "predict", "second"]), || browser.run(names, &[]));
    let seen = "return document.getElementById('listener').checkVisibility()";
    assert_eq!(browser.run(seen, &[]), true);
    assert!(chosen("second").ends_with("127.0.0.1:10"));
    assert!(chosen("").ends_with("127.0.0.1:9"));
    if let Some(axe) = part("axe") {
        assert_eq!(barriers(&browser, &fs::read_to_string(axe).unwrap()), Vec::<String>::new());
    }
    drop(weir);

    let pod = Pod::new();
    let alone =
        format!("{}services:\n{}", pod.gateway_listener("half-plus-two"), service("half-plus-two", 9));
    let weir = pod.start(&alone, &rule(&[("v1", 100)]));
    open(&browser, &weir);
    eventually("the rules", true, || text(&browser, "#rules").contains("canary.models"));
    assert_eq!(browser.run(seen, &[]), false, "there is nothing to choose");
}

#[tokio::test]
async fn whatever_a_rule_is_called_it_is_text() {
    let Some(browser) = Browser::start() else { return };
    let (weir, _servers) = world().await;
    open(&browser, &weir);
    let header = "  match: {request: {headers: {x-a: {exact: '<img src=x onerror=alert(1)>'}}}}\n  route:";
    weir.write_rules(&rule(&RULES).replace("  route:", header));
    eventually("the rule", true, || text(&browser, "#rules").contains("<img src=x onerror=alert(1)>"));
    assert_eq!(browser.run("return document.querySelectorAll('#rules img').length", &[]), 0);
}
