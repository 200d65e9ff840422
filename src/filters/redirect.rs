//! Where a redirect sends a caller.
//!
//! Law: `location` is absolute. What the redirect does not name stays as the request has it; a port that scheme implies
//! is not written, unless the caller wrote it and nothing but the path changes.

use http::HeaderValue;

use super::rewrite;
use crate::snapshot::{PathMatch, Redirect, RedirectPort};

/// What a redirect needs to know of the request.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `http` or `https`, as the caller speaks it.
    pub scheme: &'a str,
    /// As sent, perhaps with a port.
    pub authority: &'a str,
    /// The listener's; a socket in the file system has none.
    pub port: Option<u16>,
    /// The path in normal form, perhaps with a query.
    pub target: &'a str,
}

/// The value of `location`; `None` where the parts make none, such as a path without a normal form.
pub fn location(redirect: &Redirect, matched: &PathMatch, request: Request<'_>) -> Option<HeaderValue> {
    let scheme = redirect.scheme.as_deref().unwrap_or(request.scheme);
    let host = redirect.host.as_deref().unwrap_or_else(|| without_port(request.authority));
    let stays = scheme == request.scheme && redirect.host.is_none();
    let written = |port: u16| match port == default_port(scheme) {
        true => String::new(),
        false => format!(":{port}"),
    };
    let port = match redirect.port {
        RedirectPort::Number(port) => written(port),
        RedirectPort::Listener => request.port.map(written).unwrap_or_default(),
        RedirectPort::Request if stays => {
            request.authority[without_port(request.authority).len()..].to_owned()
        }
        RedirectPort::Request | RedirectPort::OfScheme => String::new(),
    };
    // The request's query alone: one that the redirect has stays.
    let target = match request.target.split_once('?') {
        Some((path, _)) if redirect.strip_query => path,
        _ => request.target,
    };
    let target = match &redirect.path {
        Some(path) => rewrite::target(path, matched, target).ok()?,
        None => target.to_owned(),
    };
    HeaderValue::from_str(&format!("{scheme}://{host}{port}{target}")).ok()
}

fn default_port(scheme: &str) -> u16 {
    if scheme == "https" { 443 } else { 80 }
}

/// `host` of `host:port` and of `[::1]:port`.
fn without_port(authority: &str) -> &str {
    match authority.rfind([':', ']']) {
        Some(at) if authority[at..].starts_with(':') => &authority[..at],
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::PathRewrite;

    const REQUEST: Request<'_> =
        Request { scheme: "http", authority: "h.example:8080", port: Some(18_601), target: "/a/b?q=1" };
    const NOTHING: Redirect = Redirect {
        scheme: None,
        host: None,
        port: RedirectPort::Request,
        path: None,
        strip_query: false,
        status: 301,
    };

    fn of(redirect: &Redirect, request: Request<'_>) -> String {
        let location = location(redirect, &PathMatch::Prefix("/a".into()), request).expect("a location");
        location.to_str().expect("text").to_owned()
    }

    #[test]
    fn parts_that_are_not_named_stay_and_a_port_stays_with_scheme_and_host() {
        let https = Redirect { scheme: Some("https".into()), ..NOTHING };
        let host = Redirect { host: Some("new.example".into()), ..NOTHING };
        assert_eq!(of(&NOTHING, REQUEST), "http://h.example:8080/a/b?q=1");
        assert_eq!(of(&https, REQUEST), "https://h.example/a/b?q=1");
        assert_eq!(of(&host, REQUEST), "http://new.example/a/b?q=1");
        assert_eq!(of(&Redirect { strip_query: true, ..NOTHING }, REQUEST), "http://h.example:8080/a/b");
        let v6 = |authority| Request { authority, ..REQUEST };
        assert_eq!(of(&https, v6("[::1]:80")), "https://[::1]/a/b?q=1");
        assert_eq!(of(&NOTHING, v6("[::1]")), "http://[::1]/a/b?q=1");
    }

    #[test]
    fn a_query_of_the_redirects_own_stands_for_the_requests() {
        let full = |path: &str, strip_query| Redirect {
            path: Some(PathRewrite::Full(path.into())),
            strip_query,
            ..NOTHING
        };
        for strip_query in [false, true] {
            assert_eq!(of(&full("/new?r=2", strip_query), REQUEST), "http://h.example:8080/new?r=2");
        }
        assert_eq!(of(&full("/new", false), REQUEST), "http://h.example:8080/new?q=1");
        assert_eq!(of(&full("/new", true), REQUEST), "http://h.example:8080/new");
    }

    #[test]
    fn a_port_is_written_unless_the_scheme_implies_it() {
        let port = |scheme: Option<&str>, port| Redirect {
            scheme: scheme.map(Into::into),
            port: RedirectPort::Number(port),
            ..NOTHING
        };
        assert_eq!(of(&port(None, 9000), REQUEST), "http://h.example:9000/a/b?q=1");
        assert_eq!(of(&port(None, 80), REQUEST), "http://h.example/a/b?q=1");
        assert_eq!(of(&port(Some("https"), 443), REQUEST), "https://h.example/a/b?q=1");
        assert_eq!(of(&port(Some("https"), 80), REQUEST), "https://h.example:80/a/b?q=1");
    }

    #[test]
    fn a_port_may_be_the_listeners_or_the_schemes_whatever_the_caller_wrote() {
        let listener = Redirect { port: RedirectPort::Listener, ..NOTHING };
        let host = Redirect { host: Some("new.example".into()), ..listener.clone() };
        assert_eq!(of(&listener, REQUEST), "http://h.example:18601/a/b?q=1");
        assert_eq!(of(&host, REQUEST), "http://new.example:18601/a/b?q=1");
        assert_eq!(of(&host, Request { port: Some(80), ..REQUEST }), "http://new.example/a/b?q=1");
        let https = Request { scheme: "https", port: Some(443), ..REQUEST };
        assert_eq!(of(&host, https), "https://new.example/a/b?q=1");
        assert_eq!(of(&host, Request { port: None, ..REQUEST }), "http://new.example/a/b?q=1");
        let scheme = Redirect { port: RedirectPort::OfScheme, scheme: Some("http".into()), ..NOTHING };
        assert_eq!(of(&scheme, REQUEST), "http://h.example/a/b?q=1");
    }

    #[test]
    fn paths_are_replaced_as_in_a_rewrite() {
        let path = |path| Redirect { path: Some(path), ..NOTHING };
        assert_eq!(of(&path(PathRewrite::Full("/c".into())), REQUEST), "http://h.example:8080/c?q=1");
        assert_eq!(of(&path(PathRewrite::Full("/c?d".into())), REQUEST), "http://h.example:8080/c?d");
        assert_eq!(of(&path(PathRewrite::Prefix("/c".into())), REQUEST), "http://h.example:8080/c/b?q=1");
        assert_eq!(of(&path(PathRewrite::Segments("/".into())), REQUEST), "http://h.example:8080/b?q=1");
        assert_eq!(
            location(&path(PathRewrite::Full("/ ".into())), &PathMatch::Prefix("/".into()), REQUEST),
            None
        );
    }
}
