//! A request to be explained, from what people write.
//!
//! Law: what does not read as a request is told in one line; nothing is guessed. Its head is read by the engine that reads
//! those of callers.

use std::net::IpAddr;

use bytes::BytesMut;
use http::header::HOST;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::message::host;
use crate::message::http1::head::take_request;
use crate::message::http1::{HeadBounds, HeadError, Malformed};
use crate::snapshot::Limits;

/// The host of a request for a bare path, as a client on this machine would send it.
static DEFAULT_HOST: HeaderValue = HeaderValue::from_static("localhost");

/// What is asked about, as it is typed.
#[derive(Clone, Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: Method,
    /// `http://host:port/path?query`, or a path alone.
    pub url: String,
    /// Its fields.
    pub headers: HeaderMap,
    /// The address that it comes from.
    pub from: Option<IpAddr>,
}

impl Request {
    /// One without fields, from nobody known.
    ///
    /// # Errors
    /// What is wrong with `method` or the URL, on one line.
    pub fn new(method: &str, text: &str) -> Result<Request, String> {
        let method = method.parse().map_err(|_| format!("`{method}` is no method"))?;
        Ok(Request { method, url: url(text)?, headers: HeaderMap::new(), from: None })
    }

    /// Its head, as the engine of HTTP/1.1 reads it off the wire; else what the proxy answers.
    ///
    /// # Errors
    /// The status and the reason, on one line.
    pub fn head(&self, limits: &Limits) -> Result<Box<Parts>, String> {
        let mut bytes = BytesMut::from(format!("{} {} HTTP/1.1\r\n", self.method, self.url).as_str());
        let name = HOST;
        let host = (!self.headers.contains_key(&name)).then_some((&name, &DEFAULT_HOST));
        for (name, value) in host.into_iter().chain(&self.headers) {
            let parts: [&[u8]; 4] = [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"];
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
        }
        bytes.extend_from_slice(b"\r\n");
        let bounds = HeadBounds { bytes: limits.head_bytes, count: limits.head_count };
        let head = take_request(&mut bytes, bounds, &mut 0).map_err(|error| self.refusal(error))?;
        let parts = head.ok_or("400: the head has no end")?.parts;
        match parts.uri.path() {
            _ if parts.method == Method::CONNECT => Err("404, flag NR: no tunnel is offered".into()),
            "*" => Err("404, flag NR: it asks about the proxy itself".into()),
            _ => Ok(parts),
        }
    }

    /// What a caller gets whose head has no reading, or is beyond a bound.
    fn refusal(&self, error: HeadError) -> String {
        match error {
            HeadError::TooLarge | HeadError::TooMany => format!("431: {error}"),
            HeadError::Malformed(Malformed::Fragment) => {
                "400: the URL has a fragment, which is never sent".into()
            }
            HeadError::Malformed(Malformed::InvalidHost) => {
                let host = self.headers.get(HOST).and_then(|host| host.to_str().ok());
                let reason = host.and_then(|host| host::normalise(host).err());
                reason.map_or_else(|| format!("400: {error}"), |reason| format!("400: {reason}"))
            }
            HeadError::Malformed(_) => format!("400: {error}"),
        }
    }
}

/// `name: value`
///
/// # Errors
/// What is wrong with it, on one line.
pub fn line(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("a header is written 'name: value'")?;
    header(name.trim(), value)
}

/// A header of that name and value; blanks around the value are not of it, as on the wire.
///
/// # Errors
/// What is wrong with it, on one line.
pub fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = name.parse::<HeaderName>().map_err(|error| error.to_string())?;
    let value = value.trim_matches([' ', '\t']).parse::<HeaderValue>().map_err(|error| error.to_string())?;
    Ok((name, value))
}

/// A URL, or what may be one: what the proxy answers to it is said by the engine that reads it.
///
/// # Errors
/// That it is none, on one line.
pub fn url(text: &str) -> Result<String, String> {
    let is_word = |c: char| !c.is_whitespace() && !c.is_control();
    match !text.is_empty() && text.chars().all(is_word) {
        true => Ok(text.to_owned()),
        false => Err(format!("`{}` is no URL", text.escape_debug())),
    }
}

/// Where a request comes from.
///
/// # Errors
/// That it is none, on one line.
pub fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is no address"))
}
