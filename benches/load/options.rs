//! The command line, and the plan that it makes.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::http1;
use crate::http2;

/// Sends requests to one address and says how they were answered, as one line of JSON.
///
/// Closed loop (without --rate): each connection keeps as many requests under way as it has streams; the next is sent
/// when one is answered. Open loop (--rate): requests are due at fixed intervals whatever becomes of those before, go to
/// the connection that has been idle longest, and wait in a queue while none is; latency counts from when a request
/// was due.
///
/// A request succeeded when its answer came whole: HTTP/1.1 with status 2xx and content-length bytes of body; gRPC with
/// status 200, one whole message and grpc-status 0. Anything else is counted in "failed" by its kind: "connect" (no
/// connection to be had), "status" (another HTTP status), "grpc_status" (another gRPC status, or none), "closed" (the
/// connection or the stream ended before the answer), "timeout", "body" (an answer that is not what it says).
///
/// In the report, "latency_us" and "histogram" (HdrHistogram, V2 deflated, base64, in nanoseconds) are of what
/// succeeded; "seconds" run to the last answer; "late" counts requests sent more than 1 ms after they were due;
/// "answer_bytes" are bytes of answers' bodies.
#[derive(Debug, Parser)]
#[command(name = "bench-load", max_term_width = 110)]
pub(crate) struct Options {
    /// Where to connect to.
    #[arg(long, value_name = "HOST:PORT")]
    address: String,
    /// HTTP/1.1, or gRPC over HTTP/2 with prior knowledge.
    #[arg(long)]
    protocol: Protocol,
    /// Connections, all opened at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// Requests under way at once on each connection (gRPC).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    streams: u32,
    /// One connection, one request at a time.
    #[arg(long, conflicts_with_all = ["connections", "streams"])]
    one: bool,
    /// End after so many requests; those of the warm-up do not count.
    #[arg(long, required_unless_present = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    requests: Option<u64>,
    /// Send no more after so many seconds; what is under way then is waited for.
    #[arg(long, value_name = "S", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Open loop: requests a second, over all connections.
    #[arg(long, value_name = "R")]
    rate: Option<f64>,
    /// The first seconds are load like the rest, but not counted.
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "0")]
    warmup: Duration,
    /// Fail a request that has no whole answer after so long, counted from when it was due.
    #[arg(long, value_name = "S", value_parser = seconds, default_value = "10")]
    timeout: Duration,
    /// The request's body, as it is (for gRPC, with the five bytes in front of the message). GET without one.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    #[arg(long, default_value = "/")]
    path: String,
    /// Host or :authority, if it is not the address.
    #[arg(long)]
    host: Option<String>,
    /// One more header; may be repeated. In its value "{32x}" stands for so many hexadecimal digits and "{4d}" for
    /// decimal ones, which are new in each request.
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// application/json, or application/grpc.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A connection for each request; latency counts the connecting.
    #[arg(long)]
    new_connections: bool,
    /// So many connections more: opened before the load, one request each, then left idle to the end.
    #[arg(long, value_name = "N", default_value_t = 0)]
    idle: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Protocol {
    Http1,
    Grpc,
}

/// What is to be done, checked.
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) request: Request,
    pub(crate) connections: usize,
    pub(crate) idle: usize,
    pub(crate) new_connections: bool,
    pub(crate) requests: Option<u64>,
    pub(crate) seconds: Option<Duration>,
    /// Between two requests of an open loop.
    pub(crate) interval_ns: Option<f64>,
    pub(crate) warmup: Duration,
    pub(crate) timeout: Duration,
}

/// The request, in the bytes of its protocol.
pub(crate) enum Request {
    Http1(http1::Template),
    Grpc { template: http2::Template, streams: usize },
}

impl Request {
    pub(crate) fn is_http1(&self) -> bool {
        matches!(self, Request::Http1(_))
    }
}

impl Options {
    pub(crate) fn plan(self) -> Result<Plan, String> {
        let address = self
            .address
            .to_socket_addrs()
            .ok()
            .and_then(|mut addresses| addresses.next())
            .ok_or_else(|| format!("no address: {}", self.address))?;
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            return Err("--rate must be positive".to_owned());
        }
        if self.protocol == Protocol::Http1 && self.streams > 1 {
            return Err("HTTP/1.1 has no streams".to_owned());
        }
        if self.new_connections && self.streams > 1 {
            return Err("a connection for each request has one stream".to_owned());
        }
        Ok(Plan {
            address,
            request: self.request()?,
            connections: self.connections as usize,
            idle: self.idle as usize,
            new_connections: self.new_connections,
            requests: self.requests,
            seconds: self.seconds,
            interval_ns: self.rate.map(|rate| 1e9 / rate),
            warmup: self.warmup,
            timeout: self.timeout,
        })
    }

    fn request(&self) -> Result<Request, String> {
        let body = match &self.body {
            Some(file) => std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?,
            None => Vec::new(),
        };
        let host = self.host.as_deref().unwrap_or(&self.address);
        let mut headers = self.headers.iter().map(|line| header(line)).collect::<Result<Vec<_>, _>>()?;
        let default_type = match self.protocol {
            Protocol::Http1 => "application/json",
            Protocol::Grpc => "application/grpc",
        };
        let content_type = self.content_type.as_deref().unwrap_or(default_type);
        if self.body.is_some() || self.protocol == Protocol::Grpc {
            headers.insert(0, ("content-type".to_owned(), content_type.to_owned()));
        }
        Ok(match self.protocol {
            Protocol::Http1 => {
                let method = if self.body.is_some() { "POST" } else { "GET" };
                if self.new_connections {
                    headers.push(("connection".to_owned(), "close".to_owned()));
                }
                Request::Http1(http1::Template::new(method, &self.path, host, &headers, &body))
            }
            Protocol::Grpc => {
                if !headers.iter().any(|(name, _)| name == "te") {
                    headers.insert(1, ("te".to_owned(), "trailers".to_owned()));
                }
                Request::Grpc {
                    template: http2::Template::new(&self.path, host, &headers, body),
                    streams: self.streams as usize,
                }
            }
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| format!("{text}: not a number of seconds"))
}

fn header(line: &str) -> Result<(String, String), String> {
    let (name, value) = line.split_once(':').ok_or_else(|| format!("no colon in the header {line:?}"))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}
