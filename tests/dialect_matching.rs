//! Conditions as each dialect writes them, against a reading of them that knows neither the reader nor the router.
//!
//! Law: rules are drawn as plain conditions, written in a dialect, loaded, and asked of drawn requests; the rule that takes
//! each is the first, in the dialect's order, whose conditions hold one by one.

#![allow(clippy::expect_used)] // a panic here is the report

mod common {
    pub(crate) mod engine;
}

use std::cmp::Reverse;

use common::engine::linked;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;
use weir::router::{self, Head};
use weir::snapshot::Snapshot;

const MAIN: &str = "listeners: [{name: l, address: \"127.0.0.1:80\", service: m}]\n\
    services: [{name: m, endpoints: [{address: \"10.0.0.1:80\", labels: {version: v1}}]}]\n\
    callers: [{cidr: 10.1.0.0/16, service: web.shop, labels: {app: web}}]\n";

/// Where requests come in.
const PORT: u16 = 80;

/// A condition on a text.
#[derive(Clone, Debug)]
enum Text {
    Exact(&'static str),
    Prefix(&'static str),
    /// An expression, and what it means in plain words.
    Regex(&'static str, fn(&str) -> bool),
    Present,
}

/// A condition on a path.
#[derive(Clone, Debug)]
enum Path {
    Exact(&'static str),
    /// By characters, or by segments in the Gateway API.
    Prefix(&'static str),
    Regex(&'static str, fn(&str) -> bool),
}

#[derive(Clone, Debug, Default)]
struct Conditions {
    path: Option<Path>,
    ignore_case: bool,
    method: Option<Text>,
    scheme: Option<&'static str>,
    authority: Option<Text>,
    port: Option<u16>,
    headers: Vec<(&'static str, Text)>,
    without: Option<(&'static str, Text)>,
    query: Option<(&'static str, Text)>,
    /// Whether the caller has to be `web.shop`.
    caller: bool,
}

#[derive(Clone, Debug)]
struct Rule {
    precedence: i32,
    /// One holds at least; one alone in RouteRules.
    any: Vec<Conditions>,
}

#[derive(Clone, Debug)]
struct Request {
    method: &'static str,
    scheme: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    authority: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    caller: bool,
}

const DIGITS: (&str, fn(&str) -> bool) =
    ("[0-9]+", |text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()));
const EITHER: (&str, fn(&str) -> bool) = ("ali|alice", |text| text == "ali" || text == "alice");
const PATHS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/ab", "/A/b", "/a/7", "/v1/models/m:predict"];
const VALUES: [&str; 6] = ["alice", "ali", "al", "7", "77x", ""];
const NAMES: [&str; 2] = ["x-user", "x-team"];
const AUTHORITIES: [&str; 3] = ["m", "m.default", "models.example.com:81"];

fn text(dialect: Dialect) -> BoxedStrategy<Text> {
    let exact = select(&["alice", "ali", "7"][..]).prop_map(Text::Exact);
    let regex = select(&[DIGITS, EITHER][..]).prop_map(|(regex, means)| Text::Regex(regex, means));
    let prefix = select(&["al", "7"][..]).prop_map(Text::Prefix);
    match dialect {
        Dialect::RouteRule => prop_oneof![exact, regex, prefix].boxed(),
        Dialect::VirtualService => prop_oneof![exact, regex, prefix, Just(Text::Present)].boxed(),
        Dialect::HttpRoute => prop_oneof![exact, regex].boxed(),
    }
}

fn method(dialect: Dialect) -> BoxedStrategy<Text> {
    let short: fn(&str) -> bool = |method| method == "GET" || method == "PUT";
    let exact = select(&["GET", "POST"][..]).prop_map(Text::Exact);
    match dialect {
        Dialect::HttpRoute => exact.boxed(),
        _ => prop_oneof![exact, Just(Text::Prefix("P")), Just(Text::Regex("GET|PUT", short))].boxed(),
    }
}

fn path() -> impl Strategy<Value = Path> {
    let last: fn(&str) -> bool = |path| path.strip_prefix("/a/").is_some_and(DIGITS.1);
    let any: fn(&str) -> bool = |path| path.starts_with("/a");
    prop_oneof![
        select(&["/a", "/a/", "/a/b", "/v1/models/m:predict"][..]).prop_map(Path::Exact),
        select(&["/", "/a", "/a/", "/a/b", "/v1"][..]).prop_map(Path::Prefix),
        select(vec![("/a/[0-9]+", last), ("/a.*", any)]).prop_map(|(regex, means)| Path::Regex(regex, means)),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    RouteRule,
    VirtualService,
    HttpRoute,
}

fn conditions(dialect: Dialect) -> impl Strategy<Value = Conditions> {
    let header = || (select(&NAMES[..]), text(dialect));
    let headers = (prop::option::of(text(dialect)), prop::option::weighted(0.3, text(dialect)));
    let headers = headers.prop_map(|(first, second)| {
        NAMES.into_iter().zip([first, second]).filter_map(|(name, said)| Some((name, said?))).collect()
    });
    let rest = (
        prop::option::weighted(0.2, text(dialect)),
        prop::option::weighted(0.3, header()),
        prop::option::weighted(0.3, text(dialect)),
        prop::bool::weighted(0.2),
        any::<bool>(),
        prop::option::weighted(0.2, select(&["http", "https"][..])),
        prop::option::weighted(0.2, select(&[80u16, 81][..])),
    );
    let method = prop::option::weighted(0.3, method(dialect));
    (prop::option::of(path()), method, headers, rest).prop_map(
        move |(path, method, headers, (authority, without, query, caller, ignore_case, scheme, port))| {
            let istio = dialect != Dialect::HttpRoute;
            let newest = dialect == Dialect::VirtualService;
            // An expression says by itself whether case counts.
            let cased = newest && ignore_case && matches!(path, Some(Path::Exact(_) | Path::Prefix(_)));
            Conditions {
                path,
                ignore_case: cased,
                method,
                scheme: scheme.filter(|_| istio),
                port: port.filter(|_| newest),
                authority: authority.filter(|_| istio).map(|said| match said {
                    Text::Exact(_) => Text::Exact("m.default"),
                    _ => Text::Prefix("models"),
                }),
                headers,
                without: without.filter(|_| newest),
                query: query.filter(|_| dialect != Dialect::RouteRule).map(|said| ("q", said)),
                caller: caller && istio,
            }
        },
    )
}

fn rules(dialect: Dialect) -> impl Strategy<Value = Vec<Rule>> {
    let alternatives = if dialect == Dialect::RouteRule { 1..2usize } else { 1..3 };
    let rule = (0..3i32, prop::collection::vec(conditions(dialect), alternatives));
    prop::collection::vec(rule.prop_map(|(precedence, any)| Rule { precedence, any }), 1..5)
}

fn request() -> impl Strategy<Value = Request> {
    let header = || prop::option::of(select(&VALUES[..]));
    let query = select(&[None, Some("q=alice"), Some("q=7&r=x"), Some("r=ali"), Some("q=")][..]);
    let who = (select(&AUTHORITIES[..]), select(&["http", "https"][..]), any::<bool>());
    (select(&["GET", "POST", "PUT"][..]), select(&PATHS[..]), query, who, (header(), header())).prop_map(
        |(method, path, query, (authority, scheme, caller), (first, second))| {
            let headers = NAMES
                .into_iter()
                .zip([first, second])
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            Request { method, scheme, path, query, authority, headers, caller }
        },
    )
}

// What the conditions mean.

impl Text {
    fn holds(&self, value: Option<&str>) -> bool {
        value.is_some_and(|value| match self {
            Text::Exact(exact) => value == *exact,
            Text::Prefix(prefix) => value.starts_with(prefix),
            Text::Regex(_, means) => means(value),
            Text::Present => true,
        })
    }
}

impl Conditions {
    fn hold(&self, dialect: Dialect, request: &Request) -> bool {
        let header =
            |name: &str| request.headers.iter().find(|(own, _)| *own == name).map(|(_, value)| *value);
        let cased = |text: &str| if self.ignore_case { text.to_lowercase() } else { text.to_owned() };
        let (own, path) = (request.path, cased(request.path));
        let on_path = self.path.as_ref().is_none_or(|one| match one {
            Path::Exact(exact) => path == cased(exact),
            Path::Prefix(prefix) if dialect == Dialect::HttpRoute => {
                let bare = prefix.trim_end_matches('/');
                own == bare || own.strip_prefix(bare).is_some_and(|rest| rest.starts_with('/'))
            }
            Path::Prefix(prefix) => path.starts_with(&cased(prefix)),
            Path::Regex(_, means) => means(own),
        });
        let parameter = |name: &str| {
            let pairs = request.query?.split('&').filter_map(|pair| pair.split_once('='));
            pairs.into_iter().find(|(own, _)| *own == name).map(|(_, value)| value)
        };
        on_path
            && self.method.as_ref().is_none_or(|said| said.holds(Some(request.method)))
            && self.scheme.is_none_or(|scheme| scheme == request.scheme)
            && self.port.is_none_or(|port| port == PORT)
            && self.authority.as_ref().is_none_or(|said| said.holds(Some(request.authority)))
            && self.headers.iter().all(|(name, said)| said.holds(header(name)))
            && !self.without.as_ref().is_some_and(|(name, said)| said.holds(header(name)))
            && self.query.as_ref().is_none_or(|(name, said)| said.holds(parameter(name)))
            && (!self.caller || request.caller)
    }

    /// What goes first in the Gateway API, most important first.
    fn rank(&self) -> impl Ord + use<> {
        let exact = matches!(self.path, Some(Path::Exact(_)));
        let prefix = match &self.path {
            Some(Path::Prefix(prefix)) => prefix.trim_end_matches('/').len(),
            _ => 0,
        };
        let regex = match &self.path {
            Some(Path::Regex(regex, _)) => regex.len(),
            _ => 0,
        };
        let queries = usize::from(self.query.is_some());
        Reverse((exact, prefix, regex, self.method.is_some(), self.headers.len(), queries))
    }
}

/// The rule that takes a request, by its number.
fn taken(dialect: Dialect, rules: &[Rule], request: &Request) -> Option<usize> {
    let mut all: Vec<(usize, &Conditions)> = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        all.extend(rule.any.iter().map(|one| (number, one)));
    }
    match dialect {
        // Of one precedence the names decide, which are their numbers.
        Dialect::RouteRule => all.sort_by_key(|(number, _)| (Reverse(rules[*number].precedence), *number)),
        Dialect::VirtualService => {}
        Dialect::HttpRoute => all.sort_by_key(|(_, one)| one.rank()),
    }
    all.into_iter().find(|(_, one)| one.hold(dialect, request)).map(|(number, _)| number)
}

// How they are written.

fn string(said: &Text) -> String {
    match said {
        Text::Exact(text) => format!("{{exact: \"{text}\"}}"),
        Text::Prefix(text) => format!("{{prefix: \"{text}\"}}"),
        Text::Regex(text, _) => format!("{{regex: \"{text}\"}}"),
        Text::Present => "{}".into(),
    }
}

fn uri(path: &Path) -> String {
    match path {
        Path::Exact(text) => format!("{{exact: \"{text}\"}}"),
        Path::Prefix(text) => format!("{{prefix: \"{text}\"}}"),
        Path::Regex(text, _) => format!("{{regex: \"{text}\"}}"),
    }
}

impl Conditions {
    fn as_route_rule(&self) -> String {
        let mut all: Vec<String> = self.path.iter().map(|path| format!("uri: {}", uri(path))).collect();
        all.extend(self.method.as_ref().map(|said| format!("method: {}", string(said))));
        all.extend(self.scheme.map(|scheme| format!("scheme: {{exact: {scheme}}}")));
        all.extend(self.authority.as_ref().map(|said| format!("authority: {}", string(said))));
        all.extend(self.headers.iter().map(|(name, said)| format!("{name}: {}", string(said))));
        let source = if self.caller { "source: {name: web, namespace: shop}, " } else { "" };
        format!("match: {{{source}request: {{headers: {{{}}}}}}}", all.join(", "))
    }

    fn as_virtual_service(&self) -> String {
        let mut all: Vec<String> = self.path.iter().map(|path| format!("uri: {}", uri(path))).collect();
        all.extend(self.port.map(|port| format!("port: {port}")));
        all.extend(self.ignore_case.then(|| "ignoreUriCase: true".to_owned()));
        all.extend(self.method.as_ref().map(|said| format!("method: {}", string(said))));
        all.extend(self.scheme.map(|scheme| format!("scheme: {{exact: {scheme}}}")));
        all.extend(self.authority.as_ref().map(|said| format!("authority: {}", string(said))));
        let list = |all: Vec<String>| format!("{{{}}}", all.join(", "));
        let headers = self.headers.iter().map(|(name, said)| format!("{name}: {}", string(said)));
        all.push(format!("headers: {}", list(headers.collect())));
        let one = |(name, said): &(&str, Text)| format!("{{{name}: {}}}", string(said));
        all.extend(self.without.as_ref().map(|said| format!("withoutHeaders: {}", one(said))));
        all.extend(self.query.as_ref().map(|said| format!("queryParams: {}", one(said))));
        all.extend(self.caller.then(|| "sourceNamespace: shop, sourceLabels: {app: web}".to_owned()));
        list(all)
    }

    fn as_http_route(&self) -> String {
        let named = |(name, said): &(&str, Text)| match said {
            Text::Exact(text) => format!("{{name: {name}, value: \"{text}\"}}"),
            Text::Regex(text, _) => format!("{{name: {name}, type: RegularExpression, value: \"{text}\"}}"),
            other => panic!("{other:?} cannot be said"),
        };
        let mut all: Vec<String> = Vec::new();
        all.extend(self.path.as_ref().map(|path| match path {
            Path::Exact(text) => format!("path: {{type: Exact, value: \"{text}\"}}"),
            Path::Prefix(text) => format!("path: {{type: PathPrefix, value: \"{text}\"}}"),
            Path::Regex(text, _) => format!("path: {{type: RegularExpression, value: \"{text}\"}}"),
        }));
        all.extend(self.method.as_ref().map(|said| match said {
            Text::Exact(method) => format!("method: {method}"),
            other => panic!("{other:?} cannot be said"),
        }));
        let headers: Vec<_> = self.headers.iter().map(named).collect();
        all.push(format!("headers: [{}]", headers.join(", ")));
        all.extend(self.query.as_ref().map(|said| format!("queryParams: [{}]", named(said))));
        format!("{{{}}}", all.join(", "))
    }
}

fn written(dialect: Dialect, rules: &[Rule]) -> String {
    let of = |write: fn(&Conditions) -> String, rule: &Rule| {
        rule.any.iter().map(write).collect::<Vec<_>>().join(", ")
    };
    let numbered = rules.iter().enumerate();
    match dialect {
        Dialect::RouteRule => numbered
            .map(|(number, rule)| {
                format!(
                    "---\napiVersion: config.istio.io/v1alpha2\nkind: RouteRule\nmetadata: {{name: r{number}}}\nspec: \
                     {{destination: {{name: m}}, precedence: {}, {}}}\n",
                    rule.precedence,
                    of(Conditions::as_route_rule, rule)
                )
            })
            .collect(),
        Dialect::VirtualService => {
            let http: Vec<_> = numbered
                .map(|(number, rule)| {
                    let matches = of(Conditions::as_virtual_service, rule);
                    format!("{{name: r{number}, match: [{matches}], route: [{{destination: {{host: m}}}}]}}")
                })
                .collect();
            format!(
                "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: v}}\nspec: {{hosts: [m], http: [{}]}}\n",
                http.join(", ")
            )
        }
        Dialect::HttpRoute => {
            let rules: Vec<_> = numbered
                .map(|(number, rule)| {
                    let matches = of(Conditions::as_http_route, rule);
                    format!("{{name: r{number}, matches: [{matches}], backendRefs: [{{name: m, port: 80}}]}}")
                })
                .collect();
            format!(
                "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: v}}\nspec: {{parentRefs: \
                 [{{group: \"\", kind: Service, name: m}}], rules: [{}]}}\n",
                rules.join(", ")
            )
        }
    }
}

/// The number of the rule that the router finds.
fn found(snapshot: &Snapshot, request: &Request) -> Option<usize> {
    let config = snapshot.route_configs.values().next().expect("one");
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let method: Method = request.method.parse().expect("a method");
    let host = request.authority.split(':').next().expect("a host");
    let caller = request.caller.then(|| &*snapshot.callers[0]);
    let head = Head {
        method: &method,
        path: request.path,
        query: request.query,
        host,
        authority: request.authority,
        scheme: request.scheme,
        headers: &headers,
        caller,
        local: Some(([127, 0, 0, 1], PORT).into()),
    };
    let choice = router::explain(config, &head, 0).choice?;
    let name = choice.name.strip_prefix("v.default/").unwrap_or(&choice.name);
    let number = name.strip_suffix(".default").unwrap_or(name).strip_prefix('r');
    // What no RouteRule takes goes to all of the service.
    number.map(|number| number.parse().expect("a number"))
}

fn agree(dialect: Dialect, rules: &[Rule], requests: &[Request]) -> Result<(), TestCaseError> {
    let text = written(dialect, rules);
    let snapshot = linked(MAIN, &text);
    for request in requests {
        let (found, wanted) = (found(&snapshot, request), taken(dialect, rules, request));
        prop_assert_eq!(found, wanted, "{:?}\n{}", request, text);
    }
    Ok(())
}

fn requests() -> impl Strategy<Value = Vec<Request>> {
    prop::collection::vec(request(), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_route_rule_takes_the_requests_that_satisfy_each_of_its_conditions(
        rules in rules(Dialect::RouteRule), requests in requests(),
    ) {
        agree(Dialect::RouteRule, &rules, &requests)?;
    }

    #[test]
    fn a_virtual_service_takes_the_requests_that_satisfy_each_condition_of_an_alternative(
        rules in rules(Dialect::VirtualService), requests in requests(),
    ) {
        agree(Dialect::VirtualService, &rules, &requests)?;
    }

    #[test]
    fn an_http_route_takes_the_requests_that_satisfy_each_condition_of_its_most_specific_match(
        rules in rules(Dialect::HttpRoute), requests in requests(),
    ) {
        agree(Dialect::HttpRoute, &rules, &requests)?;
    }
}
