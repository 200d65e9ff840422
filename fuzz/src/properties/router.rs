//! The search for a route, against trying every route of the best host alone and in order.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderValue, Method};
use weir::router::{Head, RouteTable, explain};
use weir::snapshot::route::OrdName;
use weir::snapshot::{
    Action, Caller, Domain, Forward, Fraction, HeaderMatch, HeaderName, Labels, PathMatch, Pattern, Route,
    RouteConfig, RouteMatch, SourceMatch, StringMatch, VersionTarget, VirtualHost,
};

use super::input::Input;

const HOSTS: [&str; 10] =
    ["a", "b.c", "x.b.c", "y.x.b.c", "b", "b.", ".c", "b.d", "", "inception.kubeflow.svc.cluster.local"];
const PATHS: [&str; 10] =
    ["/", "/v1", "/v1/", "/v1/models", "/v1/models/m", "/v1/models/m:predict", "/v10", "/v", "", "/z"];
const REGEXES: [&str; 6] = [".*", "/v[0-9]+", "/v1|/v1/models/m", "a*", "[^a]*", "(?i)V1|/V1"];
const VALUES: [&str; 8] = ["", "a", "ab", "a,b", "POST", "b", "http", "1"];
const NAMES: [&str; 6] = ["x-a", "x-b", "x-c", "cookie", "user-agent", "x-z"];

/// A table and a handful of requests.
pub fn check(data: &[u8]) {
    let mut input = Input::new(data);
    let config = config(&mut input);
    let table = RouteTable::build(&config);
    assert_eq!(table.len(), config.virtual_hosts.iter().map(|host| host.routes.len()).sum::<usize>());
    for _ in 0..4 {
        let request = Request::new(&mut input);
        request.check(&config, &table);
    }
}

struct Request {
    method: Method,
    path: String,
    host: String,
    authority: String,
    headers: HeaderMap,
    caller: Option<Caller>,
    draw: u64,
}

impl Request {
    fn new(input: &mut Input<'_>) -> Request {
        let mut headers = HeaderMap::new();
        for _ in 0..input.below(5) {
            let name = http::HeaderName::from_static(input.pick(&NAMES));
            let value = match input.below(4) {
                0 => HeaderValue::from_bytes(input.bytes(4)).unwrap_or(HeaderValue::from_static("")),
                _ => HeaderValue::from_static(input.pick(&VALUES)),
            };
            headers.append(name, value);
        }
        Request {
            method: Method::from_bytes(input.pick(&VALUES).as_bytes()).unwrap_or(Method::GET),
            path: text(input, &PATHS),
            host: text(input, &HOSTS),
            authority: text(input, &VALUES),
            headers,
            caller: input.flag().then(|| caller(input)),
            draw: input.number(),
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            host: &self.host,
            authority: &self.authority,
            scheme: "http",
            headers: &self.headers,
            query: None,
            caller: self.caller.as_ref(),
            local: None,
        }
    }

    fn check(&self, config: &RouteConfig, table: &RouteTable) {
        let head = self.head();
        let found = table.find(&head, self.draw);
        let expected = best_host(config, &self.host).and_then(|place| {
            let host = &config.virtual_hosts[place];
            let first_of = |place: usize| -> usize {
                config.virtual_hosts[..place].iter().map(|host| host.routes.len()).sum()
            };
            // Only the first stands before others.
            let places = host.after.is_some().then_some(0).into_iter().chain([place]);
            let mut routes =
                places.flat_map(|place| config.virtual_hosts[place].routes.iter().zip(first_of(place)..));
            let (route, index) = routes.find(|(route, _)| alone(route, &head, self.draw))?;
            Some((index, route, &host.name))
        });
        let same = match (&found, &expected) {
            (Some(found), Some((index, route, name))) => {
                found.index == *index && Arc::ptr_eq(found.route, route) && found.virtual_host == *name
            }
            (None, None) => true,
            _ => false,
        };
        assert!(same, "{head:?} with {} found {found:?}, not {expected:?}", self.draw);
        let told = explain(config, &head, self.draw);
        assert_eq!(told.choice.map(|choice| choice.name), found.map(|found| found.route.name.clone()));
    }
}

/// Whether `route`, in a table of its own, takes `head`: one route is not indexed.
fn alone(route: &Arc<Route>, head: &Head<'_>, draw: u64) -> bool {
    let host = VirtualHost {
        name: "one".into(),
        domains: vec![Domain::Any],
        after: None,
        routes: vec![route.clone()],
    };
    RouteTable::build(&RouteConfig { name: "one".into(), virtual_hosts: vec![host] })
        .find(head, draw)
        .is_some()
}

/// Exact, then the longest suffix, then the longest prefix, then any; of equals the first.
fn best_host(config: &RouteConfig, host: &str) -> Option<usize> {
    let rank = |domain: &Domain| match domain {
        Domain::Exact(name) => (**name == *host).then_some((3, 0)),
        Domain::Suffix(end) => (host.len() > end.len() && host.ends_with(&**end)).then_some((2, end.len())),
        Domain::Prefix(start) => {
            (host.len() > start.len() && host.starts_with(&**start)).then_some((1, start.len()))
        }
        Domain::Any => Some((0, 0)),
    };
    let mut best = None;
    for (place, virtual_host) in config.virtual_hosts.iter().enumerate() {
        for found in virtual_host.domains.iter().filter_map(rank) {
            if best.is_none_or(|(known, _)| found > known) {
                best = Some((found, place));
            }
        }
    }
    best.map(|(_, place)| place)
}

fn config(input: &mut Input<'_>) -> RouteConfig {
    let hosts = 1 + input.below(3);
    let virtual_hosts = (0..hosts)
        .map(|number| VirtualHost {
            name: format!("host {number}").into(),
            domains: (0..1 + input.below(3)).map(|_| domain(input)).collect(),
            after: (number > 0 && input.flag()).then(|| "host 0".into()),
            // More than eight are indexed.
            routes: (0..input.below(24)).map(|number| Arc::new(route(number, input))).collect(),
        })
        .collect();
    RouteConfig { name: "fuzzed".into(), virtual_hosts }
}

fn domain(input: &mut Input<'_>) -> Domain {
    match input.below(4) {
        0 => Domain::Any,
        1 => Domain::Exact(text(input, &HOSTS).into()),
        2 => Domain::Suffix(text(input, &HOSTS).into()),
        _ => Domain::Prefix(text(input, &HOSTS).into()),
    }
}

fn route(number: usize, input: &mut Input<'_>) -> Route {
    let version = VersionTarget {
        version: Some("v1".into()),
        labels: Labels::new(),
        weight: 1,
        grpc_cluster: "grpc".into(),
        http_cluster: "http".into(),
        ..VersionTarget::default()
    };
    let path = match input.below(3) {
        0 => PathMatch::Prefix(text(input, &PATHS).into()),
        1 => PathMatch::Exact(text(input, &PATHS).into()),
        _ => PathMatch::Regex(pattern(input)),
    };
    let source = input.flag().then(|| {
        let Caller { service, labels, .. } = caller(input);
        SourceMatch { service: Some(service), namespace: None, labels }
    });
    // Most routes of a rule have neither: conditions that seldom hold would leave only misses.
    let source = source.filter(|_| input.below(4) == 0);
    let runtime_fraction = (input.below(4) == 1)
        .then(|| Fraction { numerator: input.byte().into(), denominator: input.byte().into() });
    Route {
        name: format!("route {number}").into(),
        origin: "rules.yaml:1".into(),
        matches: RouteMatch {
            path,
            headers: (0..input.below(3)).map(|_| header(input)).collect(),
            source,
            runtime_fraction,
            more: None,
        },
        action: Action::Forward(Forward {
            service: "a".into(),
            versions: vec![version],
            ..Forward::default()
        }),
        policy: None,
    }
}

fn header(input: &mut Input<'_>) -> HeaderMatch {
    let name = match input.below(8) {
        0 => HeaderName::Method,
        1 => HeaderName::Authority,
        2 => HeaderName::Scheme,
        _ => HeaderName::Header(OrdName(http::HeaderName::from_static(input.pick(&NAMES)))),
    };
    let value = match input.below(4) {
        0 => StringMatch::Prefix(text(input, &VALUES).into()),
        1 => StringMatch::Regex(pattern(input)),
        _ => StringMatch::Exact(text(input, &VALUES).into()),
    };
    HeaderMatch { name, value }
}

/// Compiled once: that takes longer than all the rest.
fn pattern(input: &mut Input<'_>) -> Pattern {
    static PATTERNS: LazyLock<Vec<Pattern>> = LazyLock::new(|| {
        let compile = |text: &&str| Pattern::new(text).unwrap_or_else(|error| panic!("{error}"));
        REGEXES.iter().map(compile).collect()
    });
    PATTERNS[input.below(PATTERNS.len())].clone()
}

fn caller(input: &mut Input<'_>) -> Caller {
    let count = input.below(3);
    let labels = (0..count).map(|_| (text(input, &VALUES).into(), text(input, &VALUES).into())).collect();
    let service: Arc<str> = text(input, &HOSTS[..3]).into();
    Caller {
        cidr: IpAddr::from([10, 0, 0, 1]).into(),
        name: service.clone(),
        namespace: "web".into(),
        service,
        labels,
    }
}

/// One of `list`, seldom a text of its own.
fn text(input: &mut Input<'_>, list: &[&str]) -> String {
    match input.below(16) {
        15 => input.text(8),
        _ => input.pick(list).to_owned(),
    }
}
