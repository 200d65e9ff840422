//! A real Chromium without a screen, driven by WebDriver over plain HTTP.
//!
//! Its laws: it is ended with the value that started it; nothing waits without a deadline. All calls block.
// Compiled into every test that has `mod common`, few of which use all of it; `pub` marks what tests call.
#![allow(dead_code, unreachable_pub)]
#![allow(clippy::expect_used, clippy::unwrap_used)] // A panic is a test's report; clippy sees only `#[test]` as one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::parts::part;

/// A machine under load starts a browser in some ten seconds.
const DEADLINE: Duration = Duration::from_secs(90);
/// So often a driver is started.
const DRIVERS: u32 = 5;

/// A browser with one tab.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    /// Its profile and whatever else it writes.
    folder: TempDir,
}

/// A driver that listens, and where; nothing if it has ended before it did.
fn drive(program: &Path, folder: &TempDir) -> Option<(Child, SocketAddr)> {
    let mut command = Command::new(program);
    command.arg("--port=0").env("HOME", folder.path()).env("TMPDIR", folder.path());
    let mut driver =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    let Some(port) = port else {
        let _ = driver.wait();
        return None;
    };
    // What it says later is read, so that it never waits for a reader.
    thread::spawn(move || lines.for_each(drop));
    Some((driver, SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
}

impl Browser {
    /// Starts it; nothing if the part is missing.
    pub fn start() -> Option<Browser> {
        let (chromium, driver) = (part("chromium")?, part("chromedriver")?);
        let folder = tempfile::tempdir().unwrap();
        // Of two that look for a free port at once, one may find it taken when it binds it, and ends.
        let (driver, address) =
            (0..DRIVERS).find_map(|_| drive(&driver, &folder)).expect("a driver that listens");
        let mut browser = Browser { driver, address, session: String::new(), folder };
        let profile = format!("--user-data-dir={}", browser.folder.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--hide-scrollbars",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let started = browser.ask("POST", "/session", &wanted);
        browser.session = started["sessionId"].as_str().expect("a session").to_owned();
        Some(browser)
    }

    /// Shows the page at `url`; returns when it has loaded.
    pub fn open(&self, url: &str) {
        self.command("/url", &json!({"url": url}));
    }

    /// What a function's body returns, in the page; `arguments[0]` and so on are what is given.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Value {
        self.command("/execute/sync", &json!({"script": script, "args": arguments}))
    }

    /// What it calls its last argument with.
    pub fn run_async(&self, script: &str, arguments: &[Value]) -> Value {
        self.command("/execute/async", &json!({"script": script, "args": arguments}))
    }

    /// A window of that size, in light or dark.
    pub fn look(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.cdp("Emulation.setDeviceMetricsOverride", size);
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.cdp("Emulation.setEmulatedMedia", features);
    }

    /// What has been said on the console since the last call.
    pub fn console(&self) -> Vec<String> {
        let entries = self.command("/se/log", &json!({"type": "browser"}));
        let entries = entries.as_array().expect("a list");
        entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// A picture of the whole page.
    pub fn picture(&self, file: &Path) {
        let picture = self.cdp("Page.captureScreenshot", json!({"captureBeyondViewport": true}));
        let bytes = base64::engine::general_purpose::STANDARD.decode(picture["data"].as_str().unwrap());
        fs::write(file, bytes.unwrap()).unwrap();
    }

    /// A key pressed, as `Tab`, wherever the focus is.
    pub fn press(&self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event = json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            self.cdp("Input.dispatchKeyEvent", event);
        }
    }

    /// Chromium's own protocol.
    pub fn cdp(&self, command: &str, parameters: Value) -> Value {
        self.command("/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let mut stream = TcpStream::connect_timeout(&self.address, DEADLINE).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
        let (head, body) = answer(&mut BufReader::new(stream));
        let value: Value = serde_json::from_slice(&body).expect("JSON");
        assert!(head.contains(" 200 "), "{method} {path}: {}", value["value"]["message"]);
        value["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &json!({}));
        } else if let Ok(mut stream) = TcpStream::connect(self.address) {
            // Its answer is of no interest to a test that has failed, but the browser is to end.
            let _ = write!(stream, "DELETE /session/{} HTTP/1.1\r\nhost: a\r\n\r\n", self.session);
            let _ = stream.set_read_timeout(Some(DEADLINE));
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The head and the body of an answer with a `content-length`.
fn answer(stream: &mut impl BufRead) -> (String, Vec<u8>) {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head += &line;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    (head, body)
}
