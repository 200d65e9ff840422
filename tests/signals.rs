//! Laws of signals, on the real process: which end it and how, and which it only obeys.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/process.rs"]
mod process;

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use process::{Caller, Setup, Traffic, Upstream};
use rustix::process::Signal;

const LOG: &str =
    "access_log: {path: '{}/access.log', format: '%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS%'}\n";

/// A proxy before `upstream`, with an access log and `yaml`.
fn setup(upstream: &Upstream, yaml: &str) -> Setup {
    let setup = Setup::new("");
    let log = LOG.replace("{}", &setup.path("").display().to_string());
    let main = setup.main(&format!("{}{log}{yaml}", Upstream::services(&[(upstream, "v1")])));
    setup.write("weir.yaml", main);
    setup
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with("/ ")).collect()
}

#[test]
fn sigterm_and_sigint_end_the_process_when_it_has_answered_and_written_its_log() {
    for signal in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::start("v1");
        let mut weir = setup(&upstream, "").start();
        for request in 0..300 {
            assert_eq!(weir.get(&format!("/{request}")).unwrap().0, 200);
        }
        let address = weir.address;
        let held = thread::spawn(move || Caller::connect(address).unwrap().get("/hold", ""));
        upstream.until_holding(1);
        weir.send(signal);
        weir.until_said("leaving");
        upstream.release();
        assert_eq!(held.join().unwrap(), Some((200, "v1".into())), "{signal:?}");
        assert_eq!(weir.exit().code(), Some(0), "{signal:?}");
        let log = weir.read("access.log");
        let mut expected: Vec<_> = (0..300).map(|request| format!("/{request} 200 -")).collect();
        expected.push("/hold 200 -".into());
        assert_eq!(lines(&log), expected, "every request that was answered has its line");
    }
}

#[test]
fn a_second_signal_ends_the_process_at_once_with_status_1_and_what_was_answered_is_logged() {
    for second in [Signal::TERM, Signal::INT] {
        let upstream = Upstream::start("v1");
        let mut weir = setup(&upstream, "drain: {grace: 60s, deadline: 120s}\n").start();
        assert_eq!(weir.get("/before").unwrap().0, 200);
        let address = weir.address;
        let held = thread::spawn(move || Caller::connect(address).unwrap().get("/hold", ""));
        upstream.until_holding(1);
        weir.send(Signal::TERM);
        weir.until_said("leaving");
        weir.send(second);
        assert_eq!(weir.exit().code(), Some(1));
        assert_eq!(held.join().unwrap(), None, "it was cut");
        assert_eq!(lines(&weir.read("access.log")), ["/before 200 -"]);
        assert!(weir.said().contains("a second signal"), "{}", weir.said());
    }
}

#[test]
fn a_request_that_the_deadline_cuts_has_its_line_too() {
    let upstream = Upstream::start("v1");
    let mut weir = setup(&upstream, "drain: {grace: 0s, deadline: 500ms}\n").start();
    let address = weir.address;
    let held = thread::spawn(move || Caller::connect(address).unwrap().get("/hold", ""));
    upstream.until_holding(1);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    assert_eq!(held.join().unwrap(), None);
    let log = weir.read("access.log");
    assert!(matches!(lines(&log)[..], [line] if line.starts_with("/hold ")), "{log}");
    assert!(weir.said().contains("the deadline cut requests"), "{}", weir.said());
}

#[test]
#[cfg(feature = "demo")]
fn a_demo_whose_terminal_is_closed_leaves_and_takes_its_files_along() {
    use std::io::{BufRead, BufReader};
    let mut demo = std::process::Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["demo", "--for", "60s", "--port", "0", "--admin-port", "0", "--no-traffic"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut output = BufReader::new(demo.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    let folder = first.trim().rsplit("its files are in ").next().unwrap().to_owned();
    assert!(fs::metadata(&folder).is_ok(), "{first}");
    rustix::process::kill_process(rustix::process::Pid::from_child(&demo), Signal::HUP).unwrap();
    std::io::copy(&mut output, &mut std::io::sink()).unwrap(); // ends with the demo, which `--for` ends at the latest
    assert_eq!(demo.wait().unwrap().code(), Some(0));
    assert!(fs::metadata(&folder).is_err(), "{folder} is left");
}

#[test]
fn sighup_has_the_files_looked_at_and_told_of_and_kills_nobody() {
    let upstream = Upstream::start("v1");
    let mut weir = setup(&upstream, "").start();
    weir.send(Signal::HUP);
    weir.until_said("the files hold what is in force");
    let good = weir.read("weir.yaml");
    weir.write("weir.yaml", "broken: [");
    weir.until_said("is refused");
    let refusals = |text: &str| text.matches("is refused").count();
    let before = refusals(&weir.said());
    weir.send(Signal::HUP);
    weir.until("the refusal is told again", |weir| refusals(&weir.said()) > before);
    weir.write("weir.yaml", good);
    weir.until_said("the files hold again what is in force");
    assert_eq!(weir.get("/after").unwrap().0, 200);
    // Not in the course of leaving, either.
    let address = weir.address;
    let held = thread::spawn(move || Caller::connect(address).unwrap().get("/hold", ""));
    upstream.until_holding(1);
    weir.send(Signal::TERM);
    weir.until_said("leaving");
    weir.send(Signal::HUP);
    weir.send(Signal::USR1);
    weir.until_said("SIGUSR1");
    upstream.release();
    assert_eq!(held.join().unwrap(), Some((200, "v1".into())));
    assert_eq!(weir.exit().code(), Some(0));
}

#[test]
fn sigusr1_opens_the_access_log_anew_and_no_line_is_lost() {
    let upstream = Upstream::start("v1");
    let mut weir = setup(&upstream, "").start();
    let traffic = Traffic::start(weir.address, 2);
    for turn in 0..5 {
        let (path, moved) = (weir.path("access.log"), weir.path(&format!("access.log.{turn}")));
        weir.until("the log is there", |_| path.exists());
        fs::rename(&path, moved).unwrap();
        weir.send(Signal::USR1);
        let asked = traffic.asked();
        weir.until("traffic goes on", |_| traffic.asked() > asked + 10);
    }
    weir.until("the log is there again", |weir| weir.path("access.log").exists());
    let (asked, wrong) = traffic.stop();
    assert_eq!(wrong, Vec::<String>::new());
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    let mut all = weir.read("access.log");
    (0..5).for_each(|turn| all += &weir.read(&format!("access.log.{turn}")));
    let wrong: Vec<_> =
        lines(&all).into_iter().filter(|line| *line != "/v1/models/m:predict 200 -").collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(lines(&all).len(), asked, "a line for each request");
}

#[test]
fn who_cannot_send_a_signal_asks_the_admin_page_to_open_the_access_log_anew() {
    let upstream = Upstream::start("v1");
    let mut weir = setup(&upstream, "").start();
    assert_eq!(weir.get("/before").unwrap().0, 200);
    weir.until("the line is there", |weir| weir.read("access.log").contains("/before 200"));
    fs::rename(weir.path("access.log"), weir.path("moved")).unwrap();
    let mut admin = Caller::connect(weir.admin).unwrap();
    admin.write("POST /reopen_logs HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert_eq!(admin.answer(), Some((200, "OK\n".into())));
    weir.until("there is a new file", |weir| weir.path("access.log").exists());
    assert_eq!(weir.get("/after").unwrap().0, 200);
    weir.until("it has the line", |weir| weir.read("access.log").contains("/after 200"));
    assert!(!weir.read("moved").contains("/after"));
}

#[test]
fn a_log_that_cannot_be_opened_anew_stays_open() {
    let upstream = Upstream::start("v1");
    let mut weir = setup(&upstream, "").start();
    let (path, moved) = (weir.path("access.log"), weir.path("moved"));
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    weir.send(Signal::USR1);
    weir.until_said("cannot be opened anew");
    assert_eq!(weir.get("/still").unwrap().0, 200);
    weir.until("the old file has it", |weir| weir.read("moved").contains("/still 200"));
}

#[test]
fn an_access_log_to_a_closed_pipe_costs_lines_which_are_counted_and_nothing_else() {
    let upstream = Upstream::start("v1");
    let (reader, writer) = std::io::pipe().unwrap();
    let setup = Setup::new(&format!(
        "{}access_log: {{path: /dev/stdout}}\n",
        Upstream::services(&[(&upstream, "v1")])
    ));
    let mut weir = setup.stdout(Stdio::from(writer)).start();
    drop(reader);
    for _ in 0..50 {
        assert_eq!(weir.get("/x").unwrap().0, 200);
    }
    weir.until("drops are counted", |weir| weir.metric("weir_access_log_dropped_total") >= 50.0);
    let told = weir.said().matches("access log lines are lost").count();
    assert_eq!(told, 1, "told once, not for every line");
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
}

#[test]
fn an_access_log_to_a_pipe_that_nobody_reads_holds_up_neither_requests_nor_the_end() {
    let upstream = Upstream::start("v1");
    let (mut reader, writer) = std::io::pipe().unwrap();
    let setup = Setup::new(&format!(
        "{}access_log: {{path: /dev/stdout, format: '%REQ(X-LONG)%'}}\n",
        Upstream::services(&[(&upstream, "v1")])
    ));
    let mut weir = setup.stdout(Stdio::from(writer)).start();
    let mut caller = Caller::connect(weir.address).unwrap();
    let long = format!("x-long: {}\r\n", "x".repeat(50_000));
    // Eight MiB wait at most, and the pipe holds 64 KiB.
    for request in 0..220 {
        assert_eq!(caller.get("/x", &long).map(|(status, _)| status), Some(200), "request {request}");
    }
    weir.until("drops are counted", |weir| weir.metric("weir_access_log_dropped_total") > 0.0);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    assert!(weir.said().contains("the last ones are lost"), "{}", weir.said());
    let mut first = [0; 1000];
    reader.read_exact(&mut first).unwrap();
}

#[test]
fn signals_in_the_first_moment_are_obeyed_and_leave_nothing_behind() {
    // Whichever moment it is, it ends: before the handlers are there by the signal, then in good order.
    for delay_ms in [0, 5, 20, 50] {
        let upstream = Upstream::start("v1");
        let mut child = setup(&upstream, "").spawn();
        let until = Instant::now() + Duration::from_millis(delay_ms);
        while Instant::now() < until {
            thread::yield_now();
        }
        child.send(Signal::TERM);
        let status = child.exit();
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status) == Some(15);
        assert!(by_signal || status.code() == Some(0), "{status:?} after {delay_ms} ms");
    }
}
