//! `weir top` as people and programs see it, beside a real proxy.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a panic is the report

mod common {
    pub(crate) mod loopback;
    pub(crate) mod weir;
}

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use common::weir::{Pod, Weir, eventually, free_address, get, rule};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::Value;

/// Ended when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A proxy with a rule for two versions, whose endpoints are nobody's.
fn proxy() -> Weir {
    let pod = Pod::new();
    let [v1, v2] = [free_address(), free_address()];
    let config = format!(
        "{}services:\n- name: half-plus-two\n  namespace: models\n  endpoints:\n\
         \x20 - {{address: '{v1}', labels: {{version: v1}}}}\n  - {{address: '{v2}', labels: {{version: v2}}}}\n",
        pod.gateway_listener("half-plus-two")
    );
    pod.start(&config, &rule(&[("v1", 95), ("v2", 5)]))
}

fn top(weir: &Weir, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("top").arg("--admin").arg(weir.pod.admin.to_string()).args(words).stdin(Stdio::null());
    command
}

fn output(mut command: Command) -> Output {
    command.output().expect("runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

#[test]
fn once_it_is_a_table_of_the_last_minute_or_what_the_admin_says() {
    let weir = proxy();
    for _ in 0..20 {
        assert_eq!(get(weir.pod.predict, "/").map(|(status, _)| status), Some(503));
    }
    let page = || -> Value { serde_json::from_str(&get(weir.pod.admin, "/splits").unwrap().1).unwrap() };
    let minute = |page: &Value, version: usize| page["splits"][0]["versions"][version]["minute"].clone();
    eventually("the requests are counted", Some(20), || {
        let page = page();
        minute(&page, 0)["requests"]
            .as_u64()
            .zip(minute(&page, 1)["requests"].as_u64())
            .map(|(v1, v2)| v1 + v2)
    });
    let share = |version| format!("{:.1}", minute(&page(), version)["share"].as_f64().unwrap() * 100.0);
    let told = output(top(&weir, &["--once"]));
    let lines: Vec<&str> = text(&told.stdout).lines().collect();
    assert!(told.status.success() && told.stderr.is_empty());
    assert_eq!(lines[0], " canary.models  half-plus-two.models.svc.cluster.local");
    let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
    assert_eq!(
        words(1),
        ["version", "weight", "share", "req/s", "success", "client", "err", "p50", "p95", "p99", "endpoints"]
    );
    assert_eq!(words(3)[..4], ["v1", "95", &share(0), "%"]);
    assert_eq!(words(4)[..4], ["v2", "5", &share(1), "%"]);
    assert_eq!(words(4)[words(4).len() - 2..], ["✓", "1/1"]);

    let json = output(top(&weir, &["--once", "-o", "json"]));
    let said: Value = serde_json::from_slice(&json.stdout).unwrap();
    let page = page();
    for key in ["labels", "weight", "minute", "endpoints"] {
        assert_eq!(
            said["splits"][0]["versions"][1][key].get("requests"),
            page["splits"][0]["versions"][1][key].get("requests")
        );
        assert!(said["splits"][0]["versions"][1].get(key).is_some(), "{key}");
    }

    let other = output(top(&weir, &["--once", "--filter", "nobody"]));
    assert_eq!(
        (other.status.code(), text(&other.stdout), text(&other.stderr)),
        (Some(1), "", "weir top: no split matches `nobody`\n")
    );
    let other = output(top(&weir, &["--once", "--filter", "nobody", "-o", "json"]));
    let said: Value = serde_json::from_slice(&other.stdout).expect("a document");
    assert_eq!((other.status.code(), &said["splits"]), (Some(1), &Value::Array(Vec::new())));
    let wrong = output(top(&weir, &["--once", "--filter", "("]));
    assert!(!wrong.status.success() && text(&wrong.stderr).contains("400: Invalid regex"), "{wrong:?}");
}

#[test]
fn the_rule_that_has_the_traffic_is_above_those_before_it_and_json_is_by_precedence() {
    let weir = proxy();
    let quiet = rule(&[("v1", 95), ("v2", 5)]).replace("name: canary", "name: quiet");
    let header = "  precedence: 9\n  match: {request: {headers: {x-a: {exact: b}}}}\n  route:";
    weir.write_rules(&format!(
        "{}\n---\n{}",
        quiet.replace("  route:", header),
        rule(&[("v1", 95), ("v2", 5)])
    ));
    eventually("both rules", true, || {
        get(weir.pod.admin, "/splits").is_some_and(|(_, page)| page.contains("quiet.models"))
    });
    let first = |words: &[&str]| text(&output(top(&weir, words)).stdout).lines().next().map(str::to_owned);
    assert!(first(&["--once"]).is_some_and(|line| line.starts_with(" quiet.models ")));
    for _ in 0..20 {
        assert_eq!(get(weir.pod.predict, "/").map(|(status, _)| status), Some(503));
    }
    eventually("the rule with the traffic is first", true, || {
        first(&["--once"]).is_some_and(|line| line.starts_with(" canary.models "))
    });
    let json = output(top(&weir, &["--once", "-o", "json"])).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["splits"][0]["rule"], "quiet.models");
}

#[test]
fn of_many_rules_as_many_are_asked_for_as_are_shown_and_the_rest_is_counted() {
    let weir = proxy();
    let named = |name: &str| rule(&[("v1", 95), ("v2", 5)]).replace("name: canary", &format!("name: {name}"));
    let header =
        |number| format!("  match: {{request: {{headers: {{x-a: {{exact: '{number}'}}}}}}}}\n  route:");
    let rules: Vec<String> =
        (1..=120).map(|number| named(&format!("r{number}")).replace("  route:", &header(number))).collect();
    weir.write_rules(&rules.join("\n---\n"));
    // The last: where no rule applies, all versions share.
    let all = || -> Value { serde_json::from_str(&get(weir.pod.admin, "/splits").unwrap().1).unwrap() };
    eventually("all rules", 121, || all()["splits"].as_array().unwrap().len());
    let once = |words: &[&str]| text(&output(top(&weir, words)).stdout).to_owned();
    let (few, usual) = (once(&["--once", "--limit", "2"]), once(&["--once"]));
    let named = |text: &str| text.lines().filter(|line| line.contains(".models  half-plus-two")).count();
    assert_eq!((named(&few), few.lines().last()), (2, Some(" … 119 more rules")));
    assert_eq!((named(&usual), usual.lines().last()), (100, Some(" … 21 more rules")));
    assert!(!once(&["--once", "--filter", "r7[0-9]"]).contains("more"));
    let json = |words: &[&str]| serde_json::from_str::<Value>(&once(words)).unwrap();
    assert_eq!(json(&["--once", "-o", "json"])["splits"].as_array().unwrap().len(), 121);
    assert_eq!(json(&["--once", "-o", "json", "--limit", "3"])["left_out"], 118);

    let child = top(&weir, &["--interval", "100ms"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Running(child.unwrap());
    let mut said = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "weir top: 21 more rules: --limit, --filter\n");

    let (mut seen, program) = terminal(120, 24);
    let mut command = top(&weir, &["--interval", "100ms"]);
    command.env("NO_COLOR", "1").stdout(program.try_clone().unwrap()).stderr(program);
    let _child = Running(command.spawn().unwrap());
    // Six would fill it with the least that a rule takes; a blank line and a second version leave more out.
    read_until(&mut seen, |said| said.contains(" more lines, 115 more rules"));
}

#[test]
fn in_a_pipe_there_is_a_line_a_version_each_time_until_nobody_reads() {
    let weir = proxy();
    let mut child = Running(top(&weir, &["--interval", "100ms"]).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for version in ["v1", "v2", "v1", "v2", "v1", "v2"] {
        let line = lines.next().unwrap().unwrap();
        let expected = format!(
            "s  service half-plus-two.models.svc.cluster.local  rule canary.models  version {version}  weight "
        );
        assert!(line.contains(&expected) && !line.contains('\x1b'), "{line:?}");
    }
    drop(lines);
    let mut ended = None;
    eventually("it has ended", true, || {
        ended = child.0.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.is_some_and(|status| status.success()), "{ended:?}");

    let mut child =
        Running(top(&weir, &["--interval", "100ms", "-o", "json"]).stdout(Stdio::piped()).spawn().unwrap());
    let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        let document: Value = serde_json::from_str(&line.unwrap()).expect("a document a line");
        assert_eq!(document["generation"], 1);
    }
}

#[test]
fn without_a_proxy_it_says_so_in_a_line_and_one_that_goes_away_is_waited_for() {
    let mut weir = proxy();
    let child = top(&weir, &["--interval", "100ms"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = Running(child.unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("version v1"));
    weir.kill();
    let mut said = String::new();
    BufReader::new(child.0.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("weir top: "), "{said}");
    assert_eq!(child.0.try_wait().unwrap(), None, "it ended");

    let none = output(top(&weir, &["--once"]));
    let line = format!(
        "weir top: nothing listens at {}: is weir running, and is this its admin address?\n",
        weir.pod.admin
    );
    assert_eq!((none.status.code(), text(&none.stderr), text(&none.stdout)), (Some(1), &*line, ""));
}

#[test]
fn it_goes_on_when_the_proxy_starts_anew_and_says_for_how_long_it_was_lost() {
    let mut weir = proxy();
    let (mut seen, program) = terminal(120, 24);
    let mut on_a_terminal = top(&weir, &["--interval", "100ms"]);
    on_a_terminal.env("NO_COLOR", "1").stdout(program.try_clone().unwrap()).stderr(program);
    let _on_a_terminal = Running(on_a_terminal.spawn().unwrap());
    let in_a_pipe =
        top(&weir, &["--interval", "100ms"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut in_a_pipe = Running(in_a_pipe.unwrap());
    let mut told = BufReader::new(in_a_pipe.0.stderr.take().unwrap()).lines();
    let mut lines = BufReader::new(in_a_pipe.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("version v1"));
    read_until(&mut seen, |said| said.contains(" canary.models "));

    weir.kill();
    let lost = told.next().unwrap().unwrap();
    assert!(lost.starts_with("weir top: connection lost: ") && lost.ends_with("; trying again"), "{lost}");
    // The notice, and below it the table as it was.
    let old = read_until(&mut seen, |said| {
        said.rsplit("\x1b[J")
            .next()
            .is_some_and(|last| last.starts_with(" ! connection lost for ") && last.contains("endpoints"))
    });
    assert!(old.contains("nothing listens at "), "{old:?}");

    weir.start_again();
    let back = told.next().unwrap().unwrap();
    assert!(back.starts_with("weir top: connected again after "), "{back}");
    read_until(&mut seen, |said| {
        said.rsplit("\x1b[J")
            .next()
            .is_some_and(|last| last.starts_with(" canary.models ") && last.contains("v2"))
    });
    while !lines.next().expect("more lines").unwrap().contains("version v2") {}
}

/// A terminal of that size: what a person sees of it, and what a program takes it for.
fn terminal(columns: u16, rows: u16) -> (File, File) {
    let seen = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&seen).unwrap();
    unlockpt(&seen).unwrap();
    resize(&seen, columns, rows);
    let name = PathBuf::from(std::ffi::OsString::from_vec(ptsname(&seen, Vec::new()).unwrap().into_bytes()));
    (File::from(seen), OpenOptions::new().read(true).write(true).open(name).unwrap())
}

fn resize(seen: impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(seen, size).unwrap();
}

/// Reads until `wanted` holds for what was read; what is missing is told when the terminal ends.
fn read_until(seen: &mut File, wanted: impl Fn(&str) -> bool) -> String {
    let (mut read, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let said = String::from_utf8_lossy(&read).into_owned();
        if wanted(&said) {
            return said;
        }
        assert!(read.len() < 1 << 20, "not seen: {said:?}");
        let n = seen.read(&mut some).unwrap();
        read.extend_from_slice(&some[..n]);
    }
}

#[test]
fn on_a_terminal_it_is_drawn_in_place_in_colours_and_as_wide_as_there_is_room() {
    let weir = proxy();
    let (mut seen, program) = terminal(40, 24);
    let mut command = top(&weir, &["--interval", "100ms"]);
    command.env_remove("NO_COLOR").stdout(program.try_clone().unwrap()).stderr(program);
    let _child = Running(command.spawn().unwrap());
    // Twice: the second begins where the first did.
    let narrow = read_until(&mut seen, |said| said.matches("\x1b[5A\r\x1b[J").count() >= 2);
    assert!(narrow.contains("\x1b[36m v1") || narrow.contains("\x1b[36mv1"), "{narrow:?}");
    assert!(narrow.contains("version") && !narrow.contains("endpoints"), "{narrow:?}");
    resize(&seen, 200, 24);
    read_until(&mut seen, |said| said.contains("p95") && said.contains("endpoints"));
}
