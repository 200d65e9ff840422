//! A request by HTTP/1.1 or HTTP/2, and its answer in words.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::behind::PROBE;
use super::common::world::client::Client;
use super::common::world::upstream::{BoxBody, channel, empty, full, grpc_message};
use super::common::world::{Http, soon};
use super::scene::{Ask, Kind};
use super::words;

/// What goes through a tunnel and comes back.
const BYTES: &[u8] = b"\x81\x05hello";

/// Sends it to `to`, and tells what came back.
pub(super) async fn asked(to: SocketAddr, host: &str, ask: &Ask, down: Http, probe: &str) -> String {
    let what = format!("an answer of {to} to {}", ask.name());
    soon(&what, async {
        match ask.kind {
            Kind::Upgrade => {
                upgraded(to, host, ask, probe).await.unwrap_or_else(|error| format!("{error:?}"))
            }
            _ => answered(to, host, ask, down, probe).await,
        }
    })
    .await
}

async fn answered(to: SocketAddr, host: &str, ask: &Ask, down: Http, probe: &str) -> String {
    let bytes = match ask.kind {
        Kind::Grpc => grpc_message(ask.body.as_bytes()),
        _ => Bytes::from_static(ask.body.as_bytes()),
    };
    let (sender, body): (_, BoxBody) = if ask.unfinished {
        let (sender, body) = channel();
        sender.send(http_body::Frame::data(bytes)).expect("its other end is here");
        (Some(sender), body)
    } else {
        (None, if bytes.is_empty() { empty() } else { full(bytes) })
    };
    let method = Method::from_bytes(ask.method.as_bytes()).expect("a method");
    let mut request = Request::builder()
        .method(method)
        .uri(ask.path)
        .header("host", format!("{host}{}", ask.port))
        .header(PROBE, probe);
    for (name, value) in &ask.fields {
        request = request.header(*name, *value);
    }
    let mut client = Client::connect(down, to).await;
    let words = match client.begin(request.body(body).expect("a request")).await {
        Err(error) => format!("no answer: {}", cause(&error)),
        Ok(response) => {
            let (head, mut body) = response.into_parts();
            let mut words = format!(
                "{} {{{}}}",
                head.status.as_u16(),
                words::fields(&words::of_map(&head.headers), words::Way::Down)
            );
            let mut bytes = Vec::new();
            let mut trailers = String::new();
            let mut cut = "";
            while let Some(frame) = body.frame().await {
                match frame.map(http_body::Frame::into_data) {
                    Ok(Ok(data)) => bytes.extend_from_slice(&data),
                    Ok(Err(frame)) => {
                        let map = frame.into_trailers().unwrap_or_default();
                        trailers = words::fields(&words::of_map(&map), words::Way::Down);
                    }
                    Err(_) => {
                        cut = ", cut";
                        break;
                    }
                }
            }
            if !bytes.is_empty() {
                words += &format!(" {:?}", bytes.escape_ascii().to_string());
            }
            if !trailers.is_empty() {
                words += &format!(" trailers {{{trailers}}}");
            }
            words + cut
        }
    };
    drop(sender);
    words
}

/// As far as both sides' connections end alike.
fn cause(error: &hyper::Error) -> &'static str {
    if error.is_incomplete_message() { "closed" } else { "cut" }
}

async fn upgraded(to: SocketAddr, host: &str, ask: &Ask, probe: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(to).await?;
    let mut head = format!("{} {} HTTP/1.1\r\nhost: {host}\r\n{PROBE}: {probe}\r\n", ask.method, ask.path);
    for (name, value) in &ask.fields {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(&mut read).await? == 0 {
            return Ok("closed".to_owned());
        }
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    let mut lines = head.trim_end().split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let fields = lines.filter_map(|line| line.split_once(": "));
    let fields: Vec<(String, String)> =
        fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    let mut words = format!("{status} {{{}}}", words::fields(&fields, words::Way::Down));
    read.drain(..end);
    if status == "101" {
        stream.write_all(BYTES).await?;
        while read.len() < BYTES.len() {
            if stream.read_buf(&mut read).await? == 0 {
                break;
            }
        }
        words += &format!(" {:?}", read.escape_ascii().to_string());
        return Ok(words);
    }
    // Whether it is kept is the connection's own affair.
    let says_close = fields.iter().any(|(name, value)| name == "connection" && value == "close");
    let length = fields.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
    while read.len() < length {
        if stream.read_buf(&mut read).await? == 0 {
            break;
        }
    }
    words += &format!(" {:?}", read.escape_ascii().to_string());
    if says_close {
        words += ", closed";
    }
    Ok(words)
}
