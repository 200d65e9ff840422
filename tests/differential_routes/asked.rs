//! Requests of chance, and what comes back, in words.
//!
//! Law: both proxies are sent the same; what came back says which route was taken and by whom it was answered.

use std::net::{IpAddr, SocketAddr};

use http::Method;

use super::bootstrap::LISTENERS_PORT;
use super::common::wire::caller::{Caller, Delivery};
use super::common::world::Http;
use super::common::world::client::{Client, request};
use super::common::world::upstream::{empty, full, grpc_message};
use super::drawing::{CALLS, Chance, METHODS, SERVICES};
use super::drawn::Drawn;

const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/ab",
    "/A/B",
    "/b",
    "/b/c",
    "/b//c",
    "/a/../b/c",
    "/v1/models/m:predict",
    "/v12/models/",
    "/c/",
    "/c/d/e",
    "/./a/b",
    "/zzz",
];
/// The conditions' own values among them, so that each is met and missed.
const QUERIES: [&str; 10] = [
    "",
    "",
    "?q=alice",
    "?q=bob&r=b",
    "?r=",
    "?q=alicia&q=bob",
    "?q",
    "?Q=alice",
    "?r=alice,bob&q=1",
    "?q=b&r=alice",
];
const VALUES: [&str; 6] = ["alice", "alicia", "bob", "b", "", "Alice"];
const PROTOS: [&str; 6] = ["", "", "", "", "http", "https"];
/// Of calls, more often than of what only looks like one.
const KINDS: [&str; 5] = [
    "application/grpc",
    "application/grpc+proto",
    "application/grpc",
    "application/grpc-web",
    "application/json",
];

/// A request, and the values of its own fields.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) host: String,
    pub(super) fields: Vec<(&'static str, Vec<&'static str>)>,
    /// Whether a message comes with it.
    pub(super) message: bool,
}

impl Request {
    pub(super) fn to(
        method: &'static str,
        target: &str,
        host: &str,
        fields: &[(&'static str, Vec<&'static str>)],
    ) -> Request {
        let (target, host) = (target.to_owned(), host.to_owned());
        Request { method, target, host, fields: fields.to_vec(), message: false }
    }

    /// As a call is sent.
    pub(super) fn call(
        target: &str,
        host: &str,
        kind: &'static str,
        fields: &[(&'static str, Vec<&'static str>)],
    ) -> Request {
        let own = [("content-type", vec![kind]), ("te", vec!["trailers"])];
        let fields = [fields, &own[..]].concat();
        Request { message: true, ..Request::to("POST", target, host, &fields) }
    }

    pub(super) fn drawn(drawn: &Drawn, http: Http, chance: &mut Chance) -> Request {
        let (method, path, query) = (chance.of(&METHODS), chance.of(&PATHS), chance.of(&QUERIES));
        let host = drawn.host(chance);
        let mut values = || (0..chance.below(3)).map(|_| chance.of(&VALUES)).collect();
        let mut fields: Vec<(&str, Vec<&str>)> = ["x-user", "X-Team"].map(|name| (name, values())).into();
        if http == Http::Two && chance.once_in(2) {
            let called = format!("/{}/{}", chance.of(&SERVICES), chance.of(&CALLS));
            let target = if chance.once_in(5) { path.to_owned() } else { called };
            return Request::call(&target, &host, chance.of(&KINDS), &fields);
        }
        // In HTTP/2 Envoy believes `:scheme`.
        let proto = if http == Http::One { chance.of(&PROTOS) } else { "" };
        fields.extend((!proto.is_empty()).then(|| ("x-forwarded-proto", vec![proto])));
        Request::to(method, &format!("{path}{query}"), &host, &fields)
    }

    /// Whether it is a call.
    pub(super) fn is_call(&self) -> bool {
        let is_kind = |kind: &str| kind == KINDS[0] || kind == KINDS[1];
        self.fields.iter().any(|(name, values)| *name == "content-type" && is_kind(values[0]))
    }

    /// Its fields, one by one. `joined`: several of one name are one.
    fn lines(&self, joined: bool) -> Vec<(&'static str, String)> {
        let there = self.fields.iter().filter(|(_, values)| !values.is_empty());
        let lines = there.flat_map(|(name, values)| match joined {
            true => vec![(*name, values.join(","))],
            false => values.iter().map(|value| (*name, (*value).to_owned())).collect(),
        });
        lines.collect()
    }
}

/// Who asks whom, and how.
#[derive(Clone, Copy)]
pub(super) struct Asked<'d> {
    pub(super) from: Option<IpAddr>,
    pub(super) to: SocketAddr,
    pub(super) http: Http,
    /// Whether several fields of one name are sent as one.
    pub(super) joined: bool,
    /// The routings that are known; without them, each upstream is told by its name.
    pub(super) drawn: &'d [Drawn],
}

/// What came back, in words.
pub(super) async fn answers(asked: Asked<'_>, requests: &[Request]) -> Vec<String> {
    let mut told = Vec::new();
    match asked.http {
        Http::One => {
            let mut caller = Caller::connect(asked.from, asked.to).await;
            for one in requests {
                let mut text = format!("{} {} HTTP/1.1\r\nhost: {}\r\n", one.method, one.target, one.host);
                text += "content-length: 0\r\n";
                one.lines(asked.joined)
                    .iter()
                    .for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
                caller.send((text + "\r\n").as_bytes(), Delivery::AtOnce).await;
                let answer = caller.answer(one.method).await;
                let answer = answer.unwrap_or_else(|fault| panic!("{one:?} of {}: {fault}", asked.to));
                told.push(asked.in_words(answer.status, |name| answer.values(name).join(",")));
            }
        }
        Http::Two => {
            let mut client = Client::connect_from(asked.http, asked.from, asked.to).await;
            for one in requests {
                let method = Method::from_bytes(one.method.as_bytes()).expect("a method");
                let mut begun = request(method, &one.target).header("host", &one.host);
                for (name, value) in one.lines(asked.joined) {
                    begun = begun.header(name, value);
                }
                let body = if one.message { full(grpc_message(b"hello")) } else { empty() };
                let answer = client.send(begun.body(body).expect("a request")).await;
                let value = |name: &str| {
                    let values = answer.headers.get_all(name).iter();
                    values.map(|value| value.to_str().expect("text")).collect::<Vec<_>>().join(",")
                };
                told.push(asked.in_words(answer.status.as_u16(), value));
            }
        }
    }
    told
}

impl Asked<'_> {
    fn in_words(&self, status: u16, value: impl Fn(&str) -> String) -> String {
        let (route, upstream) = (value("x-route"), value("x-upstream"));
        // Which of several shares is the split's affair; that it is one of the route's is not.
        let several =
            !self.drawn.is_empty() && Drawn::versions(self.drawn, &route).contains(&upstream.as_str());
        let upstream = if several { "one of several" } else { &upstream };
        let own = format!(":{}/", self.to.port());
        let location = value("location").replace(&own, &format!(":{LISTENERS_PORT}/"));
        let (saw, grpc) = (value("x-saw"), value("grpc-status"));
        let grpc = if grpc.is_empty() { grpc } else { format!(" grpc {grpc}") };
        format!("{status}{grpc} route {route:?} upstream {upstream:?} saw {saw:?} location {location:?}")
    }
}
