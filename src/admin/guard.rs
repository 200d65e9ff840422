//! Whom the admin pages answer: not the web sites that a browser on this machine happens to show.
//!
//! Law: a page of another site can neither read what is here, by a name of its own that it points at this machine, nor
//! have anything done. Programs, which send no `origin` and ask by an address or a local name, meet nothing of this.
//! A name is local where nobody can register it, and none but who runs the network answers for it (`.internal`): `.local`
//! belongs to whoever says so first (RFC 6762), and so does a name without a dot (RFC 4795).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Request};

/// Local names end so, beside those of the cluster's own domain.
const LOCAL: [&str; 4] = [".localhost", ".internal", ".svc", ".svc.cluster.local"];

/// What this machine and its cluster are called.
#[derive(Clone, Debug)]
pub(super) struct Own<'a> {
    /// The machine's name.
    pub(super) hostname: Cow<'a, str>,
    /// The cluster's domain, such as `cluster.local`.
    pub(super) domain: &'a str,
}

impl Own<'_> {
    /// Of a node in `domain`, on this machine.
    pub(super) fn of(domain: &str) -> Own<'_> {
        let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Own { hostname: hostname.into(), domain }
    }

    /// Whether a `host` is an address, or a name that only this machine or its cluster knows.
    fn is_local(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return host.is_empty() };
        let name = authority.host();
        let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()) || name.parse::<IpAddr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let of_cluster = || {
            name.strip_suffix(&*self.domain.to_ascii_lowercase()).is_some_and(|name| name.ends_with(".svc."))
        };
        name == "localhost"
            || name.eq_ignore_ascii_case(&self.hostname)
            || LOCAL.iter().any(|end| name.ends_with(end))
            || of_cluster()
    }
}

/// Why a request is not answered, if so.
pub(super) fn refusal<T>(request: &Request<T>, own: &Own<'_>) -> Option<&'static str> {
    // Where the target says whom it is for, that holds, whatever the field says (RFC 9112, 3.2.2).
    let target = request.uri().authority().map(Authority::as_str);
    refusal_of(request.method(), target, request.headers(), own)
}

fn refusal_of(
    method: &Method,
    target: Option<&str>,
    headers: &HeaderMap,
    own: &Own<'_>,
) -> Option<&'static str> {
    let host = target.map(str::as_bytes).or_else(|| headers.get(HOST).map(|host| host.as_bytes()));
    if host.is_some_and(|host| std::str::from_utf8(host).map_or(true, |host| !own.is_local(host))) {
        return Some("the admin pages are asked for by an address or a local name, not by this host\n");
    }
    let origin = headers.get(ORIGIN).filter(|_| *method == Method::POST)?;
    let from = |scheme: &[u8]| origin.as_bytes().strip_prefix(scheme);
    let origin = from(b"http://").or_else(|| from(b"https://"));
    let ours = origin.zip(host).is_some_and(|(origin, host)| origin == host);
    (!ours).then_some("another site may not have this done\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(method: &Method, headers: &HeaderMap) -> Option<&'static str> {
        let own = Own { hostname: "Pod-7".into(), domain: "Models.example" };
        refusal_of(method, None, headers, &own)
    }

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
            "pod-7:15000",
            "a.localhost",
            "weir.models.svc:15000",
            "weir.models.svc.cluster.local.",
            "weir.models.svc.models.example",
            "node.internal",
            "",
        ] {
            assert_eq!(refusal(&Method::GET, &headers(host, None)), None, "{host}");
        }
        for host in [
            "evil.example",
            "127.0.0.1.evil.example:15000",
            "localhost.evil.example",
            "a b",
            "evil.local",
            "cluster.local",
            "evil:15000",
            "pod-70",
            "xlocalhost",
            "evil.models.example",
            "evilsvc.models.example",
        ] {
            assert!(refusal(&Method::GET, &headers(host, None)).is_some(), "{host}");
        }
        assert_eq!(refusal(&Method::GET, &HeaderMap::new()), None);
    }

    #[test]
    fn the_authority_of_the_target_holds_whatever_the_field_says() {
        let own = Own::of("cluster.local");
        let ask = |target: &str, host: &str| {
            let request = Request::get(target).header(HOST, host).body(()).expect("a request");
            super::refusal(&request, &own).is_none()
        };
        assert!(ask("/stats", "localhost") && ask("http://localhost/stats", "localhost"));
        assert!(!ask("http://evil.example/stats", "localhost") && !ask("/stats", "evil.example"));
        assert!(ask("http://127.0.0.1/stats", "evil.example"), "nobody asked for that");
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
