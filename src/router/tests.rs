//! The laws of routing, against an independent reference that tries everything in the order of the specification.

mod reference;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::snapshot::route::OrdName;
use crate::snapshot::*;
use crate::words::Protocol;

fn route(name: &str, matches: RouteMatch) -> Arc<Route> {
    let version = |version: &str, weight| VersionTarget {
        version: Some(version.into()),
        labels: Labels::from([("version".into(), version.into())]),
        weight,
        grpc_cluster: format!("out.inception|grpc|version={version}").into(),
        http_cluster: format!("out.inception|http|version={version}").into(),
        ..VersionTarget::default()
    };
    let forward = Forward {
        service: "inception.kubeflow.svc.cluster.local".into(),
        versions: vec![version("v1", 95), version("v2", 5)],
        ..Forward::default()
    };
    let action = Action::Forward(forward);
    Arc::new(Route { name: name.into(), origin: "rules.yaml:1".into(), matches, action, policy: None })
}

fn header(name: &'static str, value: StringMatch) -> HeaderMatch {
    let name = match name {
        "method" => HeaderName::Method,
        "authority" => HeaderName::Authority,
        "scheme" => HeaderName::Scheme,
        other => HeaderName::Header(OrdName(http::HeaderName::from_static(other))),
    };
    HeaderMatch { name, value }
}

fn with_header(name: &'static str, value: StringMatch) -> RouteMatch {
    RouteMatch { headers: vec![header(name, value)], ..RouteMatch::any() }
}

fn with_path(path: PathMatch) -> RouteMatch {
    RouteMatch { path, ..RouteMatch::any() }
}

fn virtual_host(name: &str, domains: Vec<Domain>, routes: Vec<Arc<Route>>) -> VirtualHost {
    VirtualHost { name: name.into(), domains, after: None, routes }
}

fn config(virtual_hosts: Vec<VirtualHost>) -> RouteConfig {
    RouteConfig { name: "predict".into(), virtual_hosts }
}

fn any_host(routes: Vec<Arc<Route>>) -> RouteConfig {
    config(vec![virtual_host("all", vec![Domain::Any], routes)])
}

fn head<'a>(host: &'a str, path: &'a str, headers: &'a HeaderMap) -> Head<'a> {
    Head {
        method: &Method::POST,
        path,
        query: None,
        host,
        authority: "Inception:8500",
        scheme: "http",
        headers,
        caller: None,
        local: None,
    }
}

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let pair = |&(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    pairs.iter().map(pair).collect()
}

/// Whether a route with `matches` alone takes a request with `headers`.
fn takes(matches: RouteMatch, headers: &HeaderMap) -> bool {
    RouteTable::build(&any_host(vec![route("r", matches)])).find(&head("h", "/a/b", headers), 7).is_some()
}

#[test]
fn the_best_host_is_the_exact_then_the_longest_suffix_then_the_longest_prefix_then_the_star() {
    let host = |name: &str, domain| virtual_host(name, vec![domain], vec![route(name, RouteMatch::any())]);
    let table = RouteTable::build(&config(vec![
        host("any", Domain::Any),
        host("prefix", Domain::Prefix("tf.".into())),
        host("longer prefix", Domain::Prefix("tf.serving.".into())),
        host("suffix", Domain::Suffix(".com".into())),
        host("longer suffix", Domain::Suffix(".foo.com".into())),
        host("dash suffix", Domain::Suffix("-x.foo.com".into())),
        host("exact", Domain::Exact("tf.foo.com".into())),
    ]));
    let none = HeaderMap::new();
    for (asked, expected) in [
        ("tf.foo.com", "exact"),
        ("a.foo.com", "longer suffix"),
        ("a-x.foo.com", "dash suffix"),
        ("tf.bar.com", "suffix"),
        ("foo.com", "suffix"),
        ("tf.local", "prefix"),
        ("tf.serving.local", "longer prefix"),
        ("tf.serving.", "prefix"), // the star stands for one character at least
        (".com", "any"),
        ("tf.", "any"),
        ("other", "any"),
    ] {
        let found = table.find(&head(asked, "/", &none), 0).expect(asked);
        assert_eq!(&**found.virtual_host, expected, "{asked}");
        assert!(Arc::ptr_eq(table.route(found.index).unwrap(), found.route));
    }
}

#[test]
fn a_host_that_nobody_answers_to_finds_nothing_and_the_best_host_is_not_left_for_another() {
    let only_v1 = route("v1", with_path(PathMatch::Prefix("/v1".into())));
    let table = RouteTable::build(&config(vec![
        virtual_host("any", vec![Domain::Any], vec![route("any", RouteMatch::any())]),
        virtual_host("exact", vec![Domain::Exact("inception".into())], vec![only_v1]),
    ]));
    let none = HeaderMap::new();
    assert!(table.find(&head("inception", "/v2", &none), 0).is_none());
    assert_eq!(table.find(&head("inception", "/v1/models", &none), 0).unwrap().index, 1);
    assert!(RouteTable::build(&config(vec![])).find(&head("inception", "/", &none), 0).is_none());
}

#[test]
fn a_host_that_stands_after_another_asks_that_ones_routes_first_then_its_own_and_keeps_its_name() {
    // Few enough to be tried in turn, and more.
    for count in [1, 20] {
        let star = |i| route("star", with_path(PathMatch::Prefix(format!("/{i}/").into())));
        let own = |name: &str, routes| VirtualHost {
            after: Some("star".into()),
            ..virtual_host(name, vec![Domain::Exact(name.into())], routes)
        };
        let config = config(vec![
            own("a", vec![route("of a", RouteMatch::any())]),
            virtual_host("star", Vec::new(), (0..count).map(star).collect()),
            own("b", Vec::new()),
            own("c", vec![route("of c", with_path(PathMatch::Exact("/c".into())))]),
        ]);
        let table = RouteTable::build(&config);
        assert_eq!(table.len(), count + 2, "shared routes are there once");
        let none = HeaderMap::new();
        for (host, path, expected) in [
            ("a", "/0/", Some("star")),
            ("a", "/c", Some("of a")),
            ("b", "/0/", Some("star")),
            ("b", "/c", None),
            ("c", "/0/", Some("star")),
            ("c", "/c", Some("of c")),
            ("c", "/d", None),
            ("star", "/0/", None),
        ] {
            let head = head(host, path, &none);
            let found = table.find(&head, 0);
            let name = found.map(|found| &*found.route.name);
            assert_eq!(name, expected, "{host}{path} of {count}");
            assert!(found.is_none_or(|found| **found.virtual_host == *host), "{host}{path} of {count}");
            assert!(found.is_none_or(|found| Arc::ptr_eq(table.route(found.index).unwrap(), found.route)));
            let told = explain(&config, &head, 0);
            assert_eq!(told.choice.as_ref().map(|choice| &*choice.name), expected, "{host}{path} of {count}");
        }
    }
}

#[test]
fn an_absent_header_never_matches_and_an_empty_one_is_present() {
    let regex = |text| StringMatch::Regex(Pattern::new(text).unwrap());
    for value in [StringMatch::Exact("".into()), StringMatch::Prefix("".into()), regex(".*")] {
        assert!(!takes(with_header("x-user", value.clone()), &HeaderMap::new()));
        assert!(takes(with_header("x-user", value), &headers(&[("x-user", "")])));
    }
}

#[test]
fn several_values_of_one_header_are_one_value_joined_by_commas() {
    let twice = headers(&[("x-user", "a"), ("x-user", "b")]);
    assert!(takes(with_header("x-user", StringMatch::Exact("a,b".into())), &twice));
    assert!(!takes(with_header("x-user", StringMatch::Exact("a".into())), &twice));
    assert!(takes(with_header("x-user", StringMatch::Prefix("a,".into())), &twice));
    assert!(takes(with_header("x-user", StringMatch::Regex(Pattern::new("a.b").unwrap())), &twice));
}

#[test]
fn values_are_bytes_whose_case_counts() {
    let mut bytes = HeaderMap::new();
    bytes.insert("x-user", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    assert!(takes(with_header("x-user", StringMatch::Prefix("caf".into())), &bytes));
    assert!(!takes(with_header("x-user", StringMatch::Prefix("Caf".into())), &bytes));
}

#[test]
fn method_authority_and_scheme_are_matched_as_they_were_sent() {
    let none = HeaderMap::new();
    assert!(takes(with_header("method", StringMatch::Exact("POST".into())), &none));
    assert!(!takes(with_header("method", StringMatch::Exact("GET".into())), &none));
    assert!(takes(with_header("authority", StringMatch::Exact("Inception:8500".into())), &none));
    assert!(takes(with_header("scheme", StringMatch::Exact("http".into())), &none));
}

#[test]
fn a_source_matches_a_caller_of_that_service_that_has_all_the_labels() {
    let labels =
        |pairs: &[(&str, &str)]| pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect::<Labels>();
    let caller = Caller {
        cidr: "10.8.0.0/14".parse().unwrap(),
        service: "frontend.web.svc.cluster.local".into(),
        name: "frontend".into(),
        namespace: "web".into(),
        labels: labels(&[("app", "frontend"), ("version", "v3")]),
    };
    let none = HeaderMap::new();
    let takes = |service: &str, wanted: &[(&str, &str)], caller: Option<&Caller>| {
        let source =
            Some(SourceMatch { service: Some(service.into()), namespace: None, labels: labels(wanted) });
        let table =
            RouteTable::build(&any_host(vec![route("r", RouteMatch { source, ..RouteMatch::any() })]));
        table.find(&Head { caller, ..head("h", "/", &none) }, 0).is_some()
    };
    let service = "frontend.web.svc.cluster.local";
    assert!(takes(service, &[], Some(&caller)));
    assert!(takes(service, &[("version", "v3")], Some(&caller)));
    assert!(!takes(service, &[("version", "v4")], Some(&caller)));
    assert!(!takes(service, &[("version", "v3"), ("zone", "a")], Some(&caller)));
    assert!(!takes("other.web.svc.cluster.local", &[], Some(&caller)));
    assert!(!takes(service, &[], None));
}

#[test]
fn a_path_by_segments_ends_at_a_slash_and_case_is_ignored_where_that_is_asked_for() {
    let none = HeaderMap::new();
    let takes = |condition: PathMatch, path: &str| {
        let table = RouteTable::build(&any_host(vec![route("r", with_path(condition))]));
        table.find(&head("h", path, &none), 0).is_some()
    };
    for (path, below) in [("/a", true), ("/a/", true), ("/a/b", true), ("/ab", false), ("/", false)] {
        assert_eq!(takes(PathMatch::Segments("/a".into()), path), below, "{path}");
    }
    assert!(takes(PathMatch::PrefixIgnoreCase("/v1/".into()), "/V1/Models"));
    assert!(!takes(PathMatch::PrefixIgnoreCase("/v1/".into()), "/V1"));
    assert!(takes(PathMatch::ExactIgnoreCase("/v1".into()), "/V1"));
    assert!(!takes(PathMatch::ExactIgnoreCase("/v1".into()), "/v1/"));
}

#[test]
fn an_excluded_header_may_be_absent_or_have_another_value() {
    let without = |value: StringMatch| RouteMatch {
        more: Some(Box::new(MoreMatch { without: vec![header("x-user", value)], ..MoreMatch::default() })),
        ..RouteMatch::any()
    };
    let alice = headers(&[("x-user", "alice")]);
    assert!(takes(without(StringMatch::Present), &HeaderMap::new()));
    assert!(!takes(without(StringMatch::Present), &alice));
    assert!(!takes(without(StringMatch::Exact("alice".into())), &alice));
    assert!(takes(without(StringMatch::Exact("bob".into())), &alice));
}

#[test]
fn what_is_seldom_asked_of_a_request_is_explained_like_the_rest() {
    let more = |more: MoreMatch| RouteMatch { more: Some(Box::new(more)), ..RouteMatch::any() };
    let query = |value| vec![QueryMatch { name: "shadow".into(), value }];
    let caller_of =
        |namespace: &str| SourceMatch { namespace: Some(namespace.into()), ..SourceMatch::default() };
    let config = any_host(vec![
        route("port", more(MoreMatch { port: Some(8501), ..MoreMatch::default() })),
        route("grpc", more(MoreMatch { protocol: Some(Protocol::Grpc), ..MoreMatch::default() })),
        route("absent", more(MoreMatch { query: query(StringMatch::Present), ..MoreMatch::default() })),
        route("source", RouteMatch { source: Some(caller_of("web")), ..RouteMatch::any() }),
        route("segments", with_path(PathMatch::Segments("/v2".into()))),
        route("all", RouteMatch::any()),
    ]);
    let none = HeaderMap::new();
    let local = Some(([127, 0, 0, 1], 8500).into());
    let explanation = explain(&config, &Head { local, ..head("h", "/v2x", &none) }, 0);
    let reasons: Vec<_> = explanation.tried.iter().filter_map(|tried| tried.why_not.as_deref()).collect();
    assert_eq!(
        reasons,
        [
            "the request came in by port 8500, not 8501",
            "the request is not gRPC",
            "query parameter shadow is absent",
            "the caller is unknown, not of namespace web",
            "path /v2x is neither /v2 nor below it",
        ]
    );
}

#[test]
fn a_fraction_takes_its_share_of_the_draws() {
    let half = RouteMatch {
        runtime_fraction: Some(Fraction { numerator: 25, denominator: 100 }),
        ..RouteMatch::any()
    };
    let table = RouteTable::build(&any_host(vec![route("r", half)]));
    let none = HeaderMap::new();
    let taken = (0..1000).filter(|&draw| table.find(&head("h", "/", &none), draw).is_some()).count();
    assert_eq!(taken, 250);
}

#[test]
fn the_longest_range_that_holds_a_peer_says_who_calls_even_behind_a_dual_stack_socket() {
    let caller = |cidr: &str, name: &str| {
        let (service, labels) = (name.into(), Labels::new());
        let cidr = cidr.parse().unwrap();
        Arc::new(Caller { cidr, service, name: name.into(), namespace: "web".into(), labels })
    };
    let callers = [
        caller("10.0.0.0/8", "wide"),
        caller("10.8.0.0/14", "narrow"),
        caller("10.8.0.0/14", "second"),
        caller("::/0", "v6"),
    ];
    let name = |peer: &str| caller_of(&callers, peer.parse().unwrap()).map(|caller| caller.name.to_string());
    assert_eq!(name("10.8.1.1").as_deref(), Some("narrow"));
    assert_eq!(name("::ffff:10.9.1.1").as_deref(), Some("narrow"));
    assert_eq!(name("10.1.1.1").as_deref(), Some("wide"));
    assert_eq!(name("fd00::1").as_deref(), Some("v6"));
    assert_eq!(name("192.168.0.1"), None);
}

#[test]
fn ten_thousand_rules_on_one_host_are_not_tried_one_by_one() {
    let exact = |place: usize| with_path(PathMatch::Exact(format!("/v1/models/m{place}:predict").into()));
    let prefix = |place: usize| with_path(PathMatch::Prefix(format!("/v2/models/m{place}/").into()));
    let user = |place: usize| RouteMatch {
        headers: vec![
            header("method", StringMatch::Exact("POST".into())),
            header("x-user", StringMatch::Exact(place.to_string().into())),
        ],
        ..with_path(PathMatch::Prefix("/v3".into()))
    };
    let matches = |place: usize| match place % 3 {
        0 => exact(place),
        1 => prefix(place),
        _ => user(place),
    };
    let table = RouteTable::build(&any_host((0..10_000).map(|place| route("r", matches(place))).collect()));
    let user = headers(&[("x-user", "9998")]);
    for (path, expected) in
        [("/v1/models/m9999:predict", 9999), ("/v2/models/m9997/a", 9997), ("/v3/x", 9998)]
    {
        // The quickest of a hundred: on a busy machine, others have the core at times.
        let quickest = (0..100).map(|_| {
            let start = std::time::Instant::now();
            for _ in 0..10 {
                assert_eq!(table.find(&head("h", path, &user), 0).map(|found| found.index), Some(expected));
            }
            start.elapsed() / 10
        });
        // A scan takes a hundred times as long, even where the machine is slow.
        let each = quickest.min().unwrap();
        assert!(each < std::time::Duration::from_micros(100), "{path}: {each:?}");
    }
}

#[test]
fn an_explanation_names_every_route_tried_why_not_and_the_shares() {
    let config = any_host(vec![
        route("user.kubeflow", with_header("x-user", StringMatch::Exact("alice".into()))),
        route("v2.kubeflow", with_path(PathMatch::Prefix("/v2".into()))),
        route("split.kubeflow", RouteMatch::any()),
        route("never.kubeflow", RouteMatch::any()),
    ]);
    let none = HeaderMap::new();
    let explanation = explain(&config, &head("inception", "/v1/x", &none), 0);
    let reasons: Vec<_> = explanation.tried.iter().map(|tried| tried.why_not.as_deref()).collect();
    let behind = "an earlier rule matches, else this one would";
    let before = ["header x-user is absent", "path /v1/x does not start with /v2"].map(Some);
    assert_eq!(reasons, [before[0], before[1], None, Some(behind)]);
    let choice = explanation.choice.as_ref().unwrap();
    assert_eq!(&*choice.name, "split.kubeflow");
    assert_eq!(choice.versions.iter().map(|share| share.percent).collect::<Vec<_>>(), [95.0, 5.0]);
    let text = explanation.to_string();
    assert!(text.contains("user.kubeflow (rules.yaml:1): no: header x-user is absent"), "{text}");
    assert!(text.contains(" 95.00 % v1 [version=v1]"), "{text}");
}

const HEADER_NAMES: [&str; 6] = ["x-a", "x-b", "x-c", "method", "authority", "scheme"];
const VALUES: [&str; 7] = ["", "a", "ab", "a,b", "POST", "h", "http"];

const QUERY_NAMES: [&str; 2] = ["p", "q"];
const PORTS: [u16; 2] = [80, 8500];

fn small_path() -> impl Strategy<Value = String> {
    "(/(a|b|ab)?){1,3}"
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        4 => select(&VALUES[..]).prop_map(|value| StringMatch::Exact(value.into())),
        1 => select(&VALUES[..]).prop_map(|value| StringMatch::Prefix(value.into())),
        1 => Just(StringMatch::Present),
        1 => select(&["a|ab", ".*", "P.*"][..]).prop_map(|value| StringMatch::Regex(Pattern::new(value).unwrap())),
    ]
}

fn label_set() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(select(&["k", "l"][..]), select(&["1", "2"][..]), 0..3).prop_map(
        |labels: BTreeMap<&str, &str>| labels.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
    )
}

fn route_match() -> impl Strategy<Value = RouteMatch> {
    let path = prop_oneof![
        4 => small_path().prop_map(|path| PathMatch::Prefix(path.into())),
        3 => small_path().prop_map(|path| PathMatch::Exact(path.into())),
        1 => select(&["/a|/ab", "/a/.*", "/.*"][..]).prop_map(|text| PathMatch::Regex(Pattern::new(text).unwrap())),
        1 => Just(PathMatch::Prefix("/".into())),
        2 => "(/(a|b|ab)){1,3}".prop_map(|path| PathMatch::Segments(path.into())),
        1 => small_path().prop_map(|path| PathMatch::PrefixIgnoreCase(path.into())),
        1 => small_path().prop_map(|path| PathMatch::ExactIgnoreCase(path.into())),
    ];
    let headers = prop::collection::btree_map(select(&HEADER_NAMES[..]), string_match(), 0..3)
        .prop_map(|headers| headers.into_iter().map(|(name, value)| header(name, value)).collect());
    let name = |names| prop::option::of(select(names).prop_map(Arc::from));
    let source = (name(&["s", "t"][..]), name(&["n", "o"][..]), label_set())
        .prop_map(|(service, namespace, labels)| SourceMatch { service, namespace, labels });
    let fraction =
        (0_u32..4, 1_u32..4).prop_map(|(numerator, denominator)| Fraction { numerator, denominator });
    let (source, fraction) = (prop::option::weighted(0.1, source), prop::option::weighted(0.1, fraction));
    let more = prop::option::weighted(0.2, more_match());
    (path, headers, source, fraction, more).prop_map(|(path, headers, source, runtime_fraction, more)| {
        RouteMatch { path, headers, source, runtime_fraction, more }
    })
}

/// One or several conditions, each of which holds for about half of the requests.
fn more_match() -> impl Strategy<Value = Box<MoreMatch>> {
    let without = (select(&HEADER_NAMES[..]), string_match()).prop_map(|(name, value)| header(name, value));
    let query = (select(&QUERY_NAMES[..]), string_match())
        .prop_map(|(name, value)| QueryMatch { name: name.into(), value });
    let (without, query) = (prop::option::of(without), prop::option::of(query));
    let port = prop::option::of(select(&PORTS[..]));
    let protocol = prop::option::of(select(&Protocol::ALL[..]));
    (without, query, port, protocol).prop_map(|(without, query, port, protocol)| {
        let (without, query) = (without.into_iter().collect(), query.into_iter().collect());
        Box::new(MoreMatch { without, query, port, protocol })
    })
}

fn domain() -> impl Strategy<Value = Domain> {
    prop_oneof![
        "[ab]\\.[ab]".prop_map(|name| Domain::Exact(name.into())),
        "\\.?[ab](\\.[ab])?".prop_map(|name| Domain::Suffix(name.into())),
        "[ab](\\.[ab]?)?".prop_map(|name| Domain::Prefix(name.into())),
        Just(Domain::Any),
    ]
}

/// A few hosts, each domain in one of them only, with few routes or with more than a scan is for.
fn route_config() -> impl Strategy<Value = RouteConfig> {
    let routes =
        prop_oneof![prop::collection::vec(route_match(), 0..5), prop::collection::vec(route_match(), 9..60),];
    let hosts = prop::collection::vec((prop::collection::vec(domain(), 1..4), routes, any::<bool>()), 1..4);
    hosts.prop_map(|hosts| {
        let mut seen = std::collections::BTreeSet::new();
        let build =
            |(place, (domains, matches, is_behind)): (usize, (Vec<Domain>, Vec<RouteMatch>, bool))| {
                let domains = domains.into_iter().filter(|domain| seen.insert(domain.clone())).collect();
                let routes = matches.into_iter().map(|matches| route("r", matches)).collect();
                let after = (is_behind && place > 0).then(|| "0".into());
                VirtualHost { after, ..virtual_host(&place.to_string(), domains, routes) }
            };
        config(hosts.into_iter().enumerate().map(build).collect())
    })
}

prop_compose! {
    fn request()(
        (path, query) in (mixed_path(), query()),
        host in "[ab](\\.[ab]){0,2}",
        pairs in prop::collection::vec(field(), 0..5),
        method in select(&[Method::GET, Method::POST][..]),
        authority in select(&VALUES[..]),
        caller in prop::option::of((select(&["s", "t"][..]), label_set())),
        (draw, port) in (any::<u64>(), prop::option::of(select(&PORTS[..]))),
    ) -> Request {
        let caller = caller.map(|(service, labels)| Caller {
            cidr: "10.0.0.0/8".parse().unwrap(), service: service.into(), name: service.into(), namespace: "n".into(), labels,
        });
        let local = port.map(|port| ([127, 0, 0, 1], port).into());
        Request { path, query, host, headers: headers(&pairs), method, authority, caller, local, draw }
    }
}

/// What a [`Head`] borrows from.
#[derive(Debug)]
struct Request {
    path: String,
    query: Option<String>,
    host: String,
    headers: HeaderMap,
    method: Method,
    authority: &'static str,
    caller: Option<Caller>,
    local: Option<SocketAddr>,
    draw: u64,
}

impl Request {
    fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            host: &self.host,
            authority: self.authority,
            scheme: "http",
            headers: &self.headers,
            caller: self.caller.as_ref(),
            local: self.local,
        }
    }
}

/// Mostly in lower case, as conditions are.
fn mixed_path() -> impl Strategy<Value = String> {
    prop_oneof![4 => small_path(), 1 => "(/(a|B|aB)?){1,3}"]
}

fn query() -> impl Strategy<Value = Option<String>> {
    let pair = (select(&QUERY_NAMES[..]), select(&VALUES[..]));
    let pair = pair.prop_map(|(name, value)| format!("{name}={value}"));
    prop::option::of(prop::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&")))
}

fn field() -> impl Strategy<Value = (&'static str, &'static str)> {
    prop_oneof![
        6 => (select(&HEADER_NAMES[..3]), select(&VALUES[..])),
        1 => Just(("content-type", "application/grpc")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_search_and_the_explanation_find_what_trying_in_order_finds(
        config in route_config(),
        requests in prop::collection::vec(request(), 1..20),
    ) {
        let table = RouteTable::build(&config);
        for request in &requests {
            let (head, draw) = (request.head(), request.draw);
            let expected = reference::find(&config, &head, draw);
            let found = table.find(&head, draw);
            prop_assert_eq!(expected.map(Arc::as_ptr), found.map(|found| Arc::as_ptr(found.route)), "{:?}", head);
            if let Some(found) = found {
                prop_assert!(Arc::ptr_eq(found.route, table.routes().nth(found.index).unwrap()));
            }
            let explained = explain(&config, &head, draw);
            prop_assert_eq!(explained.choice.is_some(), expected.is_some());
        }
    }
}
