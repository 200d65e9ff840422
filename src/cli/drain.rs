//! `weir drain`: asks a proxy on this machine to leave, and may wait until it has.
//!
//! Law: a wait that succeeds means that the process is gone; anything else is a failure of one line. It speaks to the
//! admin alone, so it works where nothing but the binary is there, as in a `preStop` hook.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

const EXAMPLES: &str = "Examples:
  weir drain
  weir drain --wait --timeout 90s
  weir drain --wait --admin 127.0.0.1:15001

As a preStop hook of a Kubernetes container:
  lifecycle: {preStop: {exec: {command: [\"weir\", \"drain\", \"--wait\"]}}}";

/// How often it looks whether the proxy is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The admin answers from memory on this machine: what takes longer is not coming.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes in which a status line has ended.
const MAX_STATUS_LINE_BYTES: usize = 256;

/// Ask a proxy to finish what it has and leave
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct DrainArgs {
    /// Wait until the proxy has exited
    #[arg(long)]
    pub wait: bool,
    /// The proxy's admin address, or a name for it
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15000", value_parser = super::admin::parse)]
    pub admin: String,
    /// How long to wait, as in 500ms, 10s or 1m
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = super::duration::parse)]
    pub timeout: Duration,
}

/// Asks; fails when there is no proxy, or it is not gone in time.
#[must_use]
pub fn run(args: &DrainArgs) -> ExitCode {
    match drain(args) {
        Ok(done) => {
            let _ = writeln!(io::stdout(), "{done}"); // done, whether or not somebody reads it
            ExitCode::SUCCESS
        }
        Err(reason) => {
            let _ = writeln!(io::stderr(), "weir drain: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn drain(args: &DrainArgs) -> Result<String, String> {
    let (admin, start) = (&args.admin, Instant::now());
    // Of a name's addresses, that of the proxy: it is the one that is waited for.
    let address = match ask_by_name(admin, "POST /drain_listeners") {
        // It answers 503 when it is leaving already.
        Ok((address, 200 | 503)) => address,
        Ok((_, status)) => {
            return Err(format!("{admin} answered {status}: is this the admin address of weir?"));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Err(format!(
                "nothing listens at {admin}: is weir running, and is this its admin address?"
            ));
        }
        Err(error) => return Err(format!("{admin} did not answer: {error}")),
    };
    if !args.wait {
        return Ok("draining".to_owned());
    }
    let mut was_draining = false;
    while start.elapsed() < args.timeout {
        match ask(address, "GET /ready") {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(drained(start)),
            // Ready again: what answers has been started since.
            Ok(200) if was_draining => return Ok(drained(start)),
            Ok(503) => was_draining = true,
            // A moment before the drain begins, or between two states.
            Ok(_) | Err(_) => {}
        }
        thread::sleep(LOOK_EVERY);
    }
    Err(format!("still draining after {} s; it goes on", args.timeout.as_secs_f64()))
}

fn drained(start: Instant) -> String {
    format!("drained in {:.1} s", start.elapsed().as_secs_f64())
}

/// Which of the addresses of `admin` answers, and the status.
fn ask_by_name(admin: &str, what: &str) -> io::Result<(SocketAddr, u16)> {
    let mut fault = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in admin.to_socket_addrs()? {
        match ask(address, what) {
            Ok(status) => return Ok((address, status)),
            Err(error) => fault = error,
        }
    }
    Err(fault)
}

/// The status that the admin answers with.
fn ask(admin: SocketAddr, what: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&admin, EXCHANGE_TIMEOUT)?;
    stream.set_read_timeout(Some(EXCHANGE_TIMEOUT))?;
    stream.set_write_timeout(Some(EXCHANGE_TIMEOUT))?;
    let request =
        format!("{what} HTTP/1.1\r\nhost: {admin}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut line = Vec::new();
    while line.len() < MAX_STATUS_LINE_BYTES && !line.contains(&b'\n') {
        let mut some = [0; MAX_STATUS_LINE_BYTES];
        match stream.read(&mut some)? {
            0 => break,
            n => line.extend_from_slice(&some[..n]),
        }
    }
    status(&line).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "its answer is not HTTP/1.1"))
}

/// Of `HTTP/1.1 200 OK`.
fn status(answer: &[u8]) -> Option<u16> {
    let status = answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    /// Answers one connection with each of `statuses`, then is gone. Returns the request lines.
    fn admin(statuses: &'static [&str]) -> (SocketAddr, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let serve = move || {
            let answer = |status: &&str| {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                write!(stream, "HTTP/1.1 {status} Any\r\ncontent-length: 0\r\n\r\n").unwrap();
                String::from_utf8(request).unwrap().lines().next().unwrap().to_owned()
            };
            statuses.iter().map(answer).collect()
        };
        (address, thread::spawn(serve))
    }

    fn args(admin: SocketAddr, wait: bool, timeout: Duration) -> DrainArgs {
        DrainArgs { wait, admin: admin.to_string(), timeout }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn it_asks_once_and_without_a_wait_is_done() {
        let (address, asked) = admin(&["200"]);
        assert_eq!(drain(&args(address, false, LONG)), Ok("draining".to_owned()));
        assert_eq!(asked.join().unwrap(), ["POST /drain_listeners HTTP/1.1"]);
    }

    #[test]
    fn a_wait_ends_when_the_process_is_gone() {
        let (address, asked) = admin(&["200", "200", "503"]);
        assert!(drain(&args(address, true, LONG)).unwrap().starts_with("drained in "));
        assert_eq!(asked.join().unwrap()[1..], ["GET /ready HTTP/1.1"; 2]);
    }

    #[test]
    fn a_wait_ends_when_another_process_has_taken_its_place() {
        let (address, asked) = admin(&["503", "503", "200"]);
        assert!(drain(&args(address, true, LONG)).is_ok());
        assert_eq!(asked.join().unwrap().len(), 3);
    }

    #[test]
    fn an_admin_may_be_named_and_the_address_that_took_it_is_waited_for() {
        // Of the name's addresses, the one at which it listens.
        let (address, asked) = admin(&["200", "503"]);
        let named = format!("localhost:{}", address.port());
        let args = DrainArgs { wait: true, admin: named, timeout: LONG };
        assert!(drain(&args).unwrap().starts_with("drained in "));
        assert_eq!(asked.join().unwrap(), ["POST /drain_listeners HTTP/1.1", "GET /ready HTTP/1.1"]);
    }

    #[test]
    fn what_cannot_be_drained_is_told_in_one_line() {
        let (address, asked) = admin(&["404"]);
        let fault = drain(&args(address, true, LONG)).unwrap_err();
        assert!(fault.contains("answered 404") && !fault.contains('\n'), "{fault}");
        asked.join().unwrap();
        let fault = drain(&args(address, true, LONG)).unwrap_err();
        assert!(fault.starts_with("nothing listens at 127.0.0.1:"), "{fault}");
        let (address, asked) = admin(&["200"]);
        let fault = drain(&args(address, true, Duration::ZERO)).unwrap_err();
        assert!(fault.starts_with("still draining"), "{fault}");
        asked.join().unwrap();
    }

    #[test]
    fn a_status_is_read_from_its_line_only() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        for odd in [&b"HTTP/1.1 20"[..], b"", b"SSH-2.0-x", b"HTTP/1.1 abc"] {
            assert_eq!(status(odd), None);
        }
    }
}
