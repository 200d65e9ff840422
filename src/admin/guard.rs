//! Whom the admin pages answer: not the web sites that a browser on this machine happens to show.
//!
//! Law: a page of another site can neither read what is here, by a name of its own that it points at this machine, nor
//! have anything done. Programs, which send no `origin` and ask by an address or a local name, meet nothing of this.

use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method};

/// Names that nobody can register end so, beside those without a dot.
const LOCAL: [&str; 4] = [".localhost", ".local", ".internal", ".svc"];

/// Why a request is not answered, if so.
pub(super) fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
    let host = headers.get(HOST);
    if host.is_some_and(|host| host.to_str().map_or(true, |host| !is_local(host))) {
        return Some("the admin pages are asked for by an address or a local name, not by this host\n");
    }
    let origin = headers.get(ORIGIN).filter(|_| *method == Method::POST)?;
    let from = |scheme: &[u8]| origin.as_bytes().strip_prefix(scheme);
    let origin = from(b"http://").or_else(|| from(b"https://"));
    let ours = origin.zip(host).is_some_and(|(origin, host)| origin == host.as_bytes());
    (!ours).then_some("another site may not have this done\n")
}

/// Whether a `host` is an address, or a name that only this machine or its cluster knows.
fn is_local(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return host.is_empty() };
    let name = authority.host();
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    if v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()) || name.parse::<IpAddr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    !name.contains('.') || LOCAL.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_that_somebody_can_register_is_never_answered(name in "([a-z0-9-]{1,9}[.]){0,3}", port in "(:[0-9]{1,5})?") {
            let host = format!("{name}evil.example{port}");
            prop_assert!(refusal(&Method::GET, &headers(&host, None)).is_some(), "{}", host);
        }
    }

    fn headers(host: &str, origin: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().expect("a value"));
        headers.extend(origin.map(|origin| (ORIGIN, origin.parse().expect("a value"))));
        headers
    }

    #[test]
    fn addresses_and_local_names_are_answered_and_registered_names_are_not() {
        for host in [
            "127.0.0.1:15000",
            "10.1.2.3",
            "[::1]:15000",
            "localhost:15000",
            "LOCALHOST",
            "admin",
            "a.localhost",
            "weir.models.svc:15000",
            "weir.models.svc.cluster.local.",
            "node.internal",
            "",
        ] {
            assert_eq!(refusal(&Method::GET, &headers(host, None)), None, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:15000", "localhost.evil.example", "a b"] {
            assert!(refusal(&Method::GET, &headers(host, None)).is_some(), "{host}");
        }
        assert_eq!(refusal(&Method::GET, &HeaderMap::new()), None);
    }

    #[test]
    fn another_site_may_have_nothing_done_and_the_page_itself_may() {
        let post = |origin| refusal(&Method::POST, &headers("127.0.0.1:15000", origin));
        assert_eq!(post(None), None);
        assert_eq!(post(Some("http://127.0.0.1:15000")), None);
        for origin in ["http://127.0.0.1", "http://evil.example", "null", "", "127.0.0.1:15000"] {
            assert!(post(Some(origin)).is_some(), "{origin}");
        }
        let get = refusal(&Method::GET, &headers("127.0.0.1:15000", Some("http://evil.example")));
        assert_eq!(get, None, "a browser shows the answer to nobody");
    }
}
