//! The laws of routing, against an independent reference that tries everything in the order of the specification.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::snapshot::route::OrdName;
use crate::snapshot::*;

fn route(name: &str, matches: RouteMatch) -> Arc<Route> {
    let version = |version: &str, weight| VersionTarget {
        version: Some(version.into()),
        labels: Labels::from([("version".into(), version.into())]),
        weight,
        grpc_cluster: format!("out.inception|grpc|version={version}").into(),
        http_cluster: format!("out.inception|http|version={version}").into(),
    };
    let forward = Forward {
        service: "inception.kubeflow.svc.cluster.local".into(),
        versions: vec![version("v1", 95), version("v2", 5)],
        timeout: None,
        repeatable: false,
    };
    Arc::new(Route { name: name.into(), origin: "rules.yaml:1".into(), matches, forward })
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
    VirtualHost { name: name.into(), domains, routes }
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
        host,
        authority: "Inception:8500",
        scheme: "http",
        headers,
        caller: None,
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
        let source = Some(SourceMatch { service: service.into(), labels: labels(wanted) });
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
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            assert_eq!(table.find(&head("h", path, &user), 0).map(|found| found.index), Some(expected));
        }
        // A scan takes a hundred times as long, even where the machine is slow.
        let each = start.elapsed() / 1000;
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
    assert_eq!(reasons, [Some("header x-user is absent"), Some("path /v1/x does not start with /v2"), None]);
    let choice = explanation.choice.as_ref().unwrap();
    assert_eq!(&*choice.name, "split.kubeflow");
    assert_eq!(choice.versions.iter().map(|share| share.percent).collect::<Vec<_>>(), [95.0, 5.0]);
    let text = explanation.to_string();
    assert!(text.contains("user.kubeflow (rules.yaml:1): no: header x-user is absent"), "{text}");
    assert!(text.contains(" 95.00 % v1 [version=v1]"), "{text}");
}

/// The specification, without a thought for speed.
mod reference {
    use super::*;

    pub(super) fn find<'c>(config: &'c RouteConfig, head: &Head<'_>, draw: u64) -> Option<&'c Arc<Route>> {
        let rank = |domain: &Domain| match domain {
            Domain::Exact(name) => (**name == *head.host).then_some((3, 0)),
            Domain::Suffix(end) => {
                (head.host.len() > end.len() && head.host.ends_with(&**end)).then_some((2, end.len()))
            }
            Domain::Prefix(start) => {
                (head.host.len() > start.len() && head.host.starts_with(&**start)).then_some((1, start.len()))
            }
            Domain::Any => Some((0, 0)),
        };
        let ranked = config
            .virtual_hosts
            .iter()
            .filter_map(|host| Some((host.domains.iter().filter_map(rank).max()?, host)));
        let (_, host) = ranked.max_by_key(|(rank, _)| *rank)?;
        host.routes.iter().find(|route| holds(&route.matches, head, draw))
    }

    fn holds(matches: &RouteMatch, head: &Head<'_>, draw: u64) -> bool {
        let path = match &matches.path {
            PathMatch::Prefix(prefix) => head.path.find(&**prefix) == Some(0),
            PathMatch::Exact(exact) => *head.path == **exact,
            PathMatch::Regex(pattern) => pattern.is_match(head.path.as_bytes()),
        };
        let source = matches.source.as_ref().is_none_or(|source| {
            head.caller.is_some_and(|caller| {
                caller.service == source.service
                    && source.labels.iter().all(|pair| caller.labels.iter().any(|has| has == pair))
            })
        });
        let fraction =
            matches.runtime_fraction.is_none_or(|f| draw % u64::from(f.denominator) < u64::from(f.numerator));
        path && source && fraction && matches.headers.iter().all(|header| header_holds(header, head))
    }

    fn header_holds(header: &HeaderMatch, head: &Head<'_>) -> bool {
        let values: Vec<String> = match &header.name {
            HeaderName::Method => vec![head.method.to_string()],
            HeaderName::Authority => vec![head.authority.to_owned()],
            HeaderName::Scheme => vec![head.scheme.to_owned()],
            HeaderName::Header(name) => {
                head.headers.get_all(&name.0).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
            }
        };
        let value = values.join(",");
        !values.is_empty()
            && match &header.value {
                StringMatch::Exact(exact) => value == **exact,
                StringMatch::Prefix(prefix) => value.starts_with(&**prefix),
                StringMatch::Regex(pattern) => pattern.is_match(value.as_bytes()),
            }
    }
}

const HEADER_NAMES: [&str; 6] = ["x-a", "x-b", "x-c", "method", "authority", "scheme"];
const VALUES: [&str; 7] = ["", "a", "ab", "a,b", "POST", "h", "http"];

fn small_path() -> impl Strategy<Value = String> {
    "(/(a|b|ab)?){1,3}"
}

fn string_match() -> impl Strategy<Value = StringMatch> {
    prop_oneof![
        4 => select(&VALUES[..]).prop_map(|value| StringMatch::Exact(value.into())),
        1 => select(&VALUES[..]).prop_map(|value| StringMatch::Prefix(value.into())),
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
    ];
    let headers = prop::collection::btree_map(select(&HEADER_NAMES[..]), string_match(), 0..3)
        .prop_map(|headers| headers.into_iter().map(|(name, value)| header(name, value)).collect());
    let source = (select(&["s", "t"][..]), label_set())
        .prop_map(|(service, labels)| SourceMatch { service: service.into(), labels });
    let fraction =
        (0_u32..4, 1_u32..4).prop_map(|(numerator, denominator)| Fraction { numerator, denominator });
    (path, headers, prop::option::weighted(0.1, source), prop::option::weighted(0.1, fraction)).prop_map(
        |(path, headers, source, runtime_fraction)| RouteMatch { path, headers, source, runtime_fraction },
    )
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
    let hosts = prop::collection::vec((prop::collection::vec(domain(), 1..4), routes), 1..4);
    hosts.prop_map(|hosts| {
        let mut seen = std::collections::BTreeSet::new();
        let build = |(place, (domains, matches)): (usize, (Vec<Domain>, Vec<RouteMatch>))| {
            let domains = domains.into_iter().filter(|domain| seen.insert(domain.clone())).collect();
            virtual_host(
                &place.to_string(),
                domains,
                matches.into_iter().map(|matches| route("r", matches)).collect(),
            )
        };
        config(hosts.into_iter().enumerate().map(build).collect())
    })
}

prop_compose! {
    fn request()(
        path in small_path(),
        host in "[ab](\\.[ab]){0,2}",
        pairs in prop::collection::vec((select(&HEADER_NAMES[..3]), select(&VALUES[..])), 0..5),
        method in select(&[Method::GET, Method::POST][..]),
        authority in select(&VALUES[..]),
        caller in prop::option::of((select(&["s", "t"][..]), label_set())),
        draw in any::<u64>(),
    ) -> (String, String, HeaderMap, Method, &'static str, Option<Caller>, u64) {
        let caller = caller.map(|(service, labels)| Caller {
            cidr: "10.0.0.0/8".parse().unwrap(), service: service.into(), name: service.into(), namespace: "n".into(), labels,
        });
        (path, host, headers(&pairs), method, authority, caller, draw)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_search_and_the_explanation_find_what_trying_in_order_finds(
        config in route_config(),
        requests in prop::collection::vec(request(), 1..20),
    ) {
        let table = RouteTable::build(&config);
        for (path, host, headers, method, authority, caller, draw) in &requests {
            let head = Head { method, path, host, authority, scheme: "http", headers, caller: caller.as_ref() };
            let expected = reference::find(&config, &head, *draw);
            let found = table.find(&head, *draw);
            prop_assert_eq!(expected.map(Arc::as_ptr), found.map(|found| Arc::as_ptr(found.route)), "{:?}", head);
            if let Some(found) = found {
                prop_assert!(Arc::ptr_eq(found.route, table.routes().nth(found.index).unwrap()));
            }
            let explained = explain(&config, &head, *draw);
            prop_assert_eq!(explained.choice.is_some(), expected.is_some());
        }
    }
}
