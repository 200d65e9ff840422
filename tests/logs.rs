//! Laws of logs: every line is one, whatever bytes callers and files hold, JSON is JSON, and what is secret is in none.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "common/loopback.rs"]
mod loopback;
#[path = "common/process.rs"]
mod process;

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;

use process::{Caller, Process, Setup, Upstream};
use rustix::process::Signal;

/// Values that nobody asked for; `secret` is in each.
const SECRETS: &str = "authorization: Bearer secret-1\r\nproxy-authorization: Basic secret-2\r\n\
    cookie: s=secret-3\r\nx-api-key: secret-4\r\n";

fn services(upstream: &Upstream, more: &str) -> String {
    format!("{}{more}", Upstream::services(&[(upstream, "v1")]))
}

/// Bytes that end lines, close strings and order terminals about.
const NASTY: [&[u8]; 16] = [
    b"\"}{\"forged\":true}",
    b"\\",
    b"\\\"\\n\\u0000",
    b"\t\t",
    b"\x80\xff\xfe\xc3\x28",
    "\u{2028}{}\u{2029}".as_bytes(),
    "\u{85}\u{9b}31m".as_bytes(),
    "\u{202e}\u{feff}é\u{1f600}".as_bytes(),
    b"%0a%0d%00%1b[31m",
    b"\x1b[31m\x1b]0;title\x07",
    b"\x00",
    b"\r",
    b"\n",
    b"\nforged: line\n",
    b"\x7f",
    b"${jndi:ldap://x}",
];

/// Heads of HTTP/1 that hold them; some are answered, some refused.
fn nasty_heads() -> Vec<Vec<u8>> {
    let mut heads = Vec::new();
    for value in NASTY {
        for head in [
            [b"GET /path HTTP/1.1\r\nhost: m\r\nuser-agent: ", value, b"\r\n"].concat(),
            [b"GET /", value, b" HTTP/1.1\r\nhost: m\r\n"].concat(),
            [b"GET /?q=", value, b" HTTP/1.1\r\nhost: m\r\n"].concat(),
            [b"GET / HTTP/1.1\r\nhost: m", value, b"\r\n"].concat(),
            [b"GET / HTTP/1.1\r\nhost: m\r\nx-forwarded-for: ", value, b"\r\nx-request-id: ", value, b"\r\n"]
                .concat(),
            [b"M", value, b" / HTTP/1.1\r\nhost: m\r\n"].concat(),
            [value, b"\r\n"].concat(),
        ] {
            heads.push([&head, SECRETS.as_bytes(), b"\r\n"].concat());
        }
    }
    let long = "x".repeat(55 << 10);
    heads.push(format!("GET / HTTP/1.1\r\nhost: m\r\nuser-agent: {long}\r\n\r\n").into());
    heads.push(format!("GET /{long} HTTP/1.1\r\nhost: m\r\n\r\n").into());
    heads.push(format!("GET / HTTP/1.1\r\nhost: m\r\nx: {long}{long}secret\r\n\r\n").into());
    let method = "M".repeat(1000);
    heads.push(format!("{method} / HTTP/1.1\r\nhost: m\r\n\r\n").into());
    heads.push("GET / HTTP/1.1\r\nhost: m\r\nx-\u{e9}secret: 1\r\n\r\n".into());
    heads.push(b"\x16\x03\x01\x02\x00\x01secret".to_vec());
    heads.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x05\xff\xff\xff\xff\xff\xffsecret".to_vec());
    heads
}

/// A connection's beginning and a request in HTTP/2's frames, its fields as literals that no table shortens.
fn http2_request(path: &[u8], authority: &[u8], agent: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let fields: [(&[u8], &[u8]); 7] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", authority),
        (b"user-agent", agent),
        (b"cookie", b"s=secret-3"),
        (b"authorization", b"Bearer secret-1"),
    ];
    for (name, value) in fields {
        // RFC 7541 section 6.2.2; lengths below 127 are one byte.
        block.extend([0, name.len() as u8]);
        block.extend(name);
        block.push(value.len() as u8);
        block.extend(value);
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    // HEADERS with END_STREAM and END_HEADERS on stream 1.
    bytes.extend([0, (block.len() >> 8) as u8, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

/// Reads frames until the stream is answered or reset, or the connection is told to go or closed.
fn await_http2(caller: &mut Caller) {
    const ENDS: [u8; 3] = [1, 3, 7]; // HEADERS, RST_STREAM, GOAWAY
    while let Some(head) = caller.exactly(9) {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if ENDS.contains(&head[3]) || caller.exactly(length).is_none() {
            return;
        }
    }
}

/// Sends what is nasty, each on its own connection, until it is answered or the connection closed.
fn send_all(weir: &Process) {
    for head in nasty_heads() {
        let mut caller = Caller::connect(weir.address).unwrap();
        // An answer may come, and the connection close, before all of it is written.
        let _ = caller.write(&head);
        if !head.ends_with(b"\r\n\r\n") {
            caller.end_writing();
        }
        caller.answer();
    }
    for value in NASTY {
        let path = [b"/http2/", value].concat();
        let authority = [b"m", value].concat();
        for request in [
            http2_request(b"/http2", b"m", value),
            http2_request(&path, b"m", b"agent"),
            http2_request(b"/http2", &authority, b"agent"),
        ] {
            let mut caller = Caller::connect(weir.address).unwrap();
            let _ = caller.write(&request);
            await_http2(&mut caller);
        }
    }
    // Bodies are nobody's business.
    let mut caller = Caller::connect(weir.address).unwrap();
    caller.write("POST /body HTTP/1.1\r\nhost: m\r\ncontent-length: 13\r\n\r\nsecret-body\n\n").unwrap();
    assert_eq!(caller.answer().map(|(status, _)| status), Some(200));
}

fn ends_a_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// What is wrong with a log's text, line by line.
fn faults_of(text: &[u8], json: bool) -> String {
    let mut wrong = String::new();
    let text = match std::str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => return format!("no text: {error}"),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        wrong += "the last line has no end\n";
    }
    for line in text.split_terminator('\n') {
        let parses = || serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).is_ok();
        if line.contains(ends_a_line) || json && !parses() || line.contains("secret") {
            let _ = writeln!(wrong, "{line:?}");
        }
    }
    wrong
}

/// What every process under test says of itself in its log, at every level that there is.
const LOUD: [&str; 4] = ["--log-level", "trace", "--log-format", "json"];

#[test]
fn every_line_of_both_logs_is_one_and_json_is_json_whatever_callers_send() {
    for (format, json, log_format) in [("json", true, "json"), ("envoy", false, "text")] {
        let upstream = Upstream::start("v1");
        let setup = Setup::new("").args(&["--log-level", "trace", "--log-format", log_format]);
        let log =
            format!("access_log: {{path: '{}', format: {format}}}\n", setup.path("access.log").display());
        setup.write("weir.yaml", setup.main(&services(&upstream, &log)));
        let mut weir = setup.start();
        send_all(&weir);
        weir.send(Signal::TERM);
        assert_eq!(weir.exit().code(), Some(0));
        let access = fs::read(weir.path("access.log")).unwrap();
        assert_eq!(faults_of(&access, json), "", "access log, {format}");
        assert!(access.iter().filter(|&&byte| byte == b'\n').count() > 20, "{}", weir.read("access.log"));
        assert!(weir.read("access.log").contains("HTTP/2"), "{}", weir.read("access.log"));
        assert_eq!(
            faults_of(&fs::read(weir.path("stderr")).unwrap(), json),
            "",
            "the process's log, {log_format}"
        );
    }
}

#[test]
fn a_line_of_an_operators_own_form_is_one_line_too() {
    let upstream = Upstream::start("v1");
    let setup = Setup::new("");
    let form = "%START_TIME(%s)% %REQ(X-FORWARDED-FOR)%|%REQ(USER-AGENT):40%|%REQ(:PATH)%|%REQ(:AUTHORITY)%|%RESP(X-NONE)%";
    let log = format!("access_log: {{path: '{}', format: '{form}'}}\n", setup.path("access.log").display());
    setup.write("weir.yaml", setup.main(&services(&upstream, &log)));
    let mut weir = setup.start();
    send_all(&weir);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    assert_eq!(faults_of(&fs::read(weir.path("access.log")).unwrap(), false), "");
}

#[test]
fn a_header_stands_in_a_log_only_when_its_operator_asked_for_it() {
    let upstream = Upstream::start("v1");
    let setup = Setup::new("");
    let log = format!(
        "access_log: {{path: '{}', format: '%REQ(X-API-KEY)% %RESP(X-SECRET)%'}}\n",
        setup.path("access.log").display()
    );
    setup.write("weir.yaml", setup.main(&services(&upstream, &log)));
    let mut weir = setup.start();
    let mut caller = Caller::connect(weir.address).unwrap();
    caller.get("/", "x-api-key: asked-for\r\ncookie: not-asked-for\r\n").unwrap();
    weir.send(Signal::TERM);
    weir.exit();
    let text = weir.read("access.log");
    assert!(text.ends_with("asked-for answer-secret-header\n") && !text.contains("not-asked-for"), "{text}");
}

#[test]
fn credentials_are_refused_by_name_when_the_configuration_is_read() {
    let upstream = Upstream::start("v1");
    let mut wrong = String::new();
    for operator in [
        "REQ(Authorization)",
        "REQ(authorization):10",
        "REQ(X-A?AUTHORIZATION)",
        "REQ(Cookie)",
        "REQ(Proxy-Authorization?X-A)",
        "RESP(Set-Cookie)",
        "RESP(Authorization)",
        "REQ(Set-Cookie)",
    ] {
        let setup = Setup::new("");
        let log = format!("access_log: {{path: /dev/stdout, format: '%{operator}%'}}\n");
        setup.write("weir.yaml", setup.main(&services(&upstream, &log)));
        let (status, said) = setup.fail();
        let named =
            said.contains("weir.yaml:") && said.contains("access_log.format") && said.contains("credentials");
        if status.code() != Some(1) || !named {
            let _ = writeln!(wrong, "{operator}: {status}: {said}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Files whose names, keys and values break lines.
const NASTY_FILES: [&str; 9] = [
    "\"a\\nb\\u2028c\\x1b[31m\": 1\n",
    "kind: \"RouteRule\\n{forged}\\u0085\"\napiVersion: config.istio.io/v1alpha2\n",
    "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: \"a\\nb\"}\nspec: {destination: {name: \"m\\r\\n\"}}\n",
    "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: a}\nspec:\n  destination: {name: m}\n  match: {request: {headers: {uri: {regex: \"(\\n\\u2029\"}}}}\n  route: [{weight: \"1\\n\"}]\n",
    "a: \x1b[31m\n",
    "a: \"\\0\\r\\n\"\na: 1\n",
    "[[[[",
    "- \"\u{2028}\"\n",
    "\u{feff}a: 1\n",
];

#[test]
fn every_line_of_the_processs_log_is_one_whatever_files_hold_and_are_called() {
    for (json, format) in [(true, "json"), (false, "text")] {
        let upstream = Upstream::start("v1");
        let setup = Setup::new(&services(&upstream, "rules: [rules]\n")).args(&[
            "--log-level",
            "trace",
            "--log-format",
            format,
        ]);
        fs::create_dir(setup.path("rules")).unwrap();
        let mut weir = setup.start();
        for (turn, text) in NASTY_FILES.iter().enumerate() {
            let name = format!("rules/n\n{turn}\u{1b}[31m\u{2028}.yaml");
            weir.write(&name, text);
            weir.until(&format!("file {turn} is told of"), |weir| {
                weir.said().contains(&format!("n{}{turn}", if json { "\\\\n" } else { "\\n" }))
            });
            fs::remove_file(weir.path(&name)).unwrap();
            weir.until(&format!("file {turn} is gone"), |weir| {
                weir.said().matches("hold again").count() > turn
            });
        }
        // Levels come from the admin page.
        weir.until("levels are set", |weir| {
            let mut admin = Caller::connect(weir.admin).unwrap();
            admin
                .write("POST /logging?level=debug HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")
                .unwrap();
            admin.answer().is_some()
        });
        weir.send(Signal::TERM);
        assert_eq!(weir.exit().code(), Some(0));
        assert_eq!(faults_of(&fs::read(weir.path("stderr")).unwrap(), json), "", "{format}");
    }
}

#[test]
fn a_start_that_fails_tells_its_faults_in_the_form_of_the_log() {
    let upstream = Upstream::start("v1");
    for text in NASTY_FILES {
        for format in ["json", "text"] {
            let setup =
                Setup::new(&services(&upstream, "rules: [rules.yaml]\n")).args(&["--log-format", format]);
            setup.write("rules.yaml", text);
            let (status, said) = setup.fail();
            assert_eq!(status.code(), Some(1), "{text:?}: {said}");
            assert!(said.contains("rules.yaml"), "{text:?}: {said}");
            assert_eq!(faults_of(said.as_bytes(), format == "json"), "", "{text:?}");
        }
    }
}

const RULE: &str = "apiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {name: all}\n\
    spec: {destination: {name: m}, route: [{labels: {version: v1}}]}\n";

#[test]
fn a_standard_error_that_nobody_reads_holds_up_nothing() {
    let upstream = Upstream::start("v1");
    let (reader, writer) = std::io::pipe().unwrap();
    let setup = Setup::new(&services(&upstream, "rules: [rules.yaml]\n")).args(&LOUD).stderr(writer.into());
    setup.write("rules.yaml", RULE);
    let mut weir = setup.start();
    // Each has a hundred faults, in lines of their own, some 200 bytes each: the pipe is full after a few.
    for turn in 0..8 {
        let refused = weir.metric("weir_config_reloads_total{result=\"refused\"");
        weir.write("rules.yaml", "\n".repeat(turn) + &"wrong: 1\n---\n".repeat(100));
        weir.until("it is refused", |weir| {
            weir.metric("weir_config_reloads_total{result=\"refused\"") > refused
        });
    }
    assert_eq!(weir.get("/").unwrap().0, 200);
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    drop(reader);
}

#[test]
fn spans_that_do_not_arrive_are_told_of_at_once_in_plain_words_and_so_is_that_they_do_again() {
    let upstream = Upstream::start("v1");
    let at = TcpListener::bind((loopback::own_ip(), 0)).unwrap().local_addr().unwrap();
    let tracing = format!("tracing: {{endpoint: 'http://{at}', protocol: http, sample_percent: 100}}\n");
    let mut weir = Setup::new(&services(&upstream, &tracing)).start();
    weir.until_said("cannot send spans to the collector, retrying");
    let said = weir.said();
    let line = said.lines().find(|line| line.contains("cannot send spans")).unwrap();
    assert!(line.contains("connection refused") && !line.contains("Failed("), "{line}");
    assert_eq!(line.matches(&at.to_string()).count(), 1, "{line}");
    assert_eq!(weir.metric("weir_spans_dropped_total"), 0.0, "it is the first try: nothing is lost yet");
    let _collector = Upstream::on(TcpListener::bind(at).unwrap(), "taken");
    weir.until("spans are taken again", |weir| {
        weir.get("/");
        weir.said().contains("the collector takes spans again")
    });
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
}

#[test]
fn a_queue_of_spans_that_is_full_is_told_of_while_the_collector_says_nothing() {
    let (upstream, collector) = (Upstream::start("v1"), Upstream::start("collector"));
    let tracing = format!(
        "tracing: {{endpoint: 'http://{}/hold', protocol: http, sample_percent: 100, timeout: 1m}}\n",
        collector.address
    );
    let mut weir = Setup::new(&services(&upstream, &tracing)).start();
    let mut caller = Caller::connect(weir.address).unwrap();
    for _ in 0..1_200 {
        caller.get("/", "").unwrap();
    }
    weir.until_said("spans that find no room are lost");
    // Told in the end, those of the ten seconds after the first line too.
    collector.release();
    weir.send(Signal::TERM);
    assert_eq!(weir.exit().code(), Some(0));
    let said = weir.said();
    let told = said.lines().filter(|line| line.contains("find no room"));
    let spans = told.map(|line| line.split_once("spans=").unwrap().1.split(' ').next().unwrap());
    let lost: usize = spans.map(|spans| spans.parse::<usize>().unwrap()).sum();
    // 1,200 of the test and that by which it waited for the proxy to serve.
    assert_eq!(lost, 2 * 1_201 - 2_048, "{said}");
}
