//! Values that every dialect takes, and values that none does: what could never work is told of, never ignored.

use weir::config::{self, Diagnostics, Document, Environment, Loaded};
use weir::snapshot::{PathMatch, Route};

const MAIN: &str = "listeners: [{name: a, address: \"127.0.0.1:80\", service: m}]\n\
                    services: [{name: m, endpoints: [{address: \"127.0.0.1:81\"}]}]\n";

fn document(name: &str, text: &str) -> Document {
    Document { name: name.into(), bytes: text.into() }
}

fn load(rules: &str) -> Result<Loaded, Diagnostics> {
    config::load(&document("weir.yaml", MAIN), &[document("r.yaml", rules)], &Environment::default())
}

/// What each dialect calls its objects with routes.
#[derive(Clone, Copy, Debug)]
enum Kind {
    RouteRule,
    VirtualService,
    HttpRoute,
}

use Kind::{HttpRoute, RouteRule, VirtualService};

/// An object with one rule that says `rule`.
fn object(kind: Kind, annotations: &str, rule: &str) -> String {
    let (version, kind, before, after) = match kind {
        RouteRule => ("config.istio.io/v1alpha2", "RouteRule", "destination: {name: m}, ", ""),
        VirtualService => ("networking.istio.io/v1", "VirtualService", "hosts: [m], http: [{", "}]"),
        HttpRoute => (
            "gateway.networking.k8s.io/v1",
            "HTTPRoute",
            "parentRefs: [{kind: Service, group: '', name: m}], rules: [{",
            "}]",
        ),
    };
    format!(
        "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: r, annotations: {{{annotations}}}}}\nspec: {{{before}{rule}{after}}}\n"
    )
}

/// `code path` of all that is found, in a file that loads or not.
fn found(kind: Kind, annotations: &str, rule: &str) -> Vec<String> {
    let text = object(kind, annotations, rule);
    let all = match load(&text) {
        Ok(loaded) => loaded.warnings,
        Err(found) => found,
    };
    all.iter().map(|one| format!("{} {}", one.code, one.path)).collect()
}

fn is_refused(kind: Kind, rule: &str, code: &str) {
    let text = object(kind, "", rule);
    let found = load(&text).expect_err(rule);
    assert!(found.iter().any(|one| one.code == code), "{rule}: {found}");
}

/// The first route of a rule.
fn first(kind: Kind, rule: &str) -> (Route, Diagnostics) {
    let text = object(kind, "", rule);
    let loaded = load(&text).unwrap_or_else(|found| panic!("{rule}: {found}"));
    let config = loaded.snapshot.route_configs.values().next().expect("a listener").clone();
    (Route::clone(&config.virtual_hosts[0].routes[0]), loaded.warnings)
}

#[test]
fn literal_conditions_on_paths_are_kept_in_the_normal_form_in_which_requests_are_matched() {
    for (written, normal) in [
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/A%41", "/AA"),
        ("/a//b", "/a/b"),
        ("/a/../b", "/b"),
        ("/a/./b/", "/a/b/"),
        ("/v1/", "/v1/"),
    ] {
        for word in ["exact", "prefix"] {
            let expected = match word {
                "exact" => PathMatch::Exact(normal.into()),
                _ => PathMatch::Prefix(normal.into()),
            };
            let rules = [
                (RouteRule, format!("match: {{request: {{headers: {{uri: {{{word}: \"{written}\"}}}}}}}}")),
                (
                    VirtualService,
                    format!(
                        "match: [{{uri: {{{word}: \"{written}\"}}}}], route: [{{destination: {{host: m}}}}]"
                    ),
                ),
            ];
            for (kind, rule) in rules {
                let (route, warnings) = first(kind, &rule);
                assert_eq!(route.matches.path, expected, "{kind:?} {word} {written}");
                assert!(!warnings.iter().any(|one| one.code == "never-matches"), "{warnings}");
            }
        }
    }
}

#[test]
fn a_path_that_no_request_has_is_told_of() {
    for written in ["/x%2fy", "/é", "/a b", "/%zz", "/a?b", "v1"] {
        for word in ["exact", "prefix"] {
            let condition = format!("uri: {{{word}: \"{written}\"}}");
            let route_rule = format!("match: {{request: {{headers: {{{condition}}}}}}}");
            let service = format!("match: [{{{condition}}}], route: [{{destination: {{host: m}}}}]");
            for (kind, rule) in [(RouteRule, route_rule), (VirtualService, service)] {
                let found = found(kind, "", &rule);
                assert!(found.iter().any(|one| one.starts_with("never-matches ")), "{rule}: {found:?}");
            }
        }
    }
}

#[test]
fn headers_that_the_proxy_writes_itself_are_refused_wherever_one_is_edited() {
    let never = [
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "upgrade",
        "expect",
        "keep-alive",
        "trailer",
        "x-weir-hop",
    ];
    for name in never {
        is_refused(RouteRule, &format!("appendHeaders: {{{name}: x}}"), "header-name");
        for side in ["request", "response"] {
            for edit in
                [format!("set: {{{name}: x}}"), format!("add: {{{name}: x}}"), format!("remove: [{name}]")]
            {
                let rule = format!("route: [{{destination: {{host: m}}}}], headers: {{{side}: {{{edit}}}}}");
                is_refused(VirtualService, &rule, "header-name");
            }
            let kind = if side == "request" { "Request" } else { "Response" };
            let edit = format!("set: [{{name: {name}, value: x}}]");
            let rule = format!("filters: [{{type: {kind}HeaderModifier, {side}HeaderModifier: {{{edit}}}}}]");
            is_refused(HttpRoute, &rule, "header-name");
        }
    }
}

#[test]
fn the_version_is_told_in_no_header_that_means_something_else() {
    for name in ["content-length", "transfer-encoding", "connection", "date", "content-type", "grpc-status"] {
        let annotation = format!("weir/version-header: {name}");
        let at = "metadata.annotations[\"weir/version-header\"]";
        let all = found(RouteRule, &annotation, "precedence: 1");
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("header-name "), "{name}: {all:?} at {at}");
        let main = MAIN.replace("{name: m, ", &format!("{{name: m, version_header: {name}, "));
        let found = config::load(&document("weir.yaml", &main), &[], &Environment::default());
        let found = found.expect_err("is refused");
        assert!(found.iter().all(|one| one.code == "header-name"), "{found}");
    }
}

#[test]
fn a_path_that_could_never_be_sent_takes_no_paths_place() {
    for path in ["/a b", "/%zz", "/%2f", "/a\\\\b", "/a\\r\\nb"] {
        is_refused(RouteRule, &format!("rewrite: {{uri: \"{path}\"}}"), "rewrite");
        is_refused(RouteRule, &format!("redirect: {{uri: \"{path}\"}}"), "redirect");
        let route = "route: [{destination: {host: m}}]";
        is_refused(VirtualService, &format!("{route}, rewrite: {{uri: \"{path}\"}}"), "rewrite");
        is_refused(VirtualService, &format!("redirect: {{uri: \"{path}\"}}"), "redirect");
        let replace = format!("path: {{type: ReplaceFullPath, replaceFullPath: \"{path}\"}}");
        for filter in ["RequestRedirect, requestRedirect", "URLRewrite, urlRewrite"] {
            let rule = format!("filters: [{{type: {filter}: {{{replace}}}}}]");
            is_refused(HttpRoute, &rule, "rewrite");
        }
    }
    let rule = "match: [{uri: {prefix: /a}}], redirect: {uri: \"/b?c=%zz\", authority: \"h:8080\"}";
    assert_eq!(found(VirtualService, "", rule), [""; 0]);
    is_refused(VirtualService, "redirect: {uri: \"/b?c d\"}", "redirect");
    let regex = "uriRegexRewrite: {match: a, rewrite: \"b c\"}";
    is_refused(
        VirtualService,
        &format!("route: [{{destination: {{host: m}}}}], rewrite: {{{regex}}}"),
        "rewrite",
    );
}

#[test]
fn a_hosts_port_is_one() {
    for host in ["h:", "h:0", "h:65536", "h:+80", "u@h"] {
        is_refused(RouteRule, &format!("redirect: {{authority: \"{host}\"}}"), "redirect");
        is_refused(VirtualService, &format!("redirect: {{authority: \"{host}\"}}"), "rewrite");
    }
    for host in ["h", "h:8080", "[::1]", "[::1]:80"] {
        let found = found(VirtualService, "", &format!("redirect: {{authority: \"{host}\"}}"));
        assert_eq!(found, [""; 0], "{host}");
    }
}

#[test]
fn conditions_of_a_retry_that_could_never_hold_are_told_of() {
    let rule = |on: &str| {
        format!("route: [{{destination: {{host: m}}}}], retries: {{attempts: 1, retryOn: \"{on}\"}}")
    };
    is_refused(VirtualService, &rule("retriable-headers"), "not-supported");
    is_refused(VirtualService, &rule("+503"), "retry-on");
    let all = found(VirtualService, "", &rule("5xx,retriable-status-codes"));
    assert_eq!(all, ["never-acts spec.http[0].retries.retryOn"]);
    assert_eq!(found(VirtualService, "", &rule("retriable-status-codes,503")), [""; 0]);
}

#[test]
fn the_alternatives_of_a_rule_and_the_health_checks_of_a_service_are_bounded() {
    let rule = |count: usize| {
        let all: Vec<_> = (0..count).map(|index| format!("{{uri: {{exact: /{index}}}}}")).collect();
        format!("match: [{}], route: [{{destination: {{host: m}}}}]", all.join(", "))
    };
    assert_eq!(found(VirtualService, "", &rule(1_024)), [""; 0]);
    assert_eq!(found(VirtualService, "", &rule(1_025)), ["too-many spec.http[0].match"]);
    let checked = |count: usize| {
        let all = vec!["{tcp: {}}"; count].join(", ");
        let main = MAIN.replace("{name: m, ", &format!("{{name: m, health_check: [{all}], "));
        config::load(&document("weir.yaml", &main), &[], &Environment::default())
    };
    assert!(checked(8).is_ok());
    let found = checked(9).expect_err("is refused");
    assert!(found.iter().all(|one| one.code == "too-many"), "{found}");
}

#[test]
fn annotations_of_ours_stand_where_they_act() {
    let traffic = |kind: &str, spec: &str, annotation: &str| {
        let version =
            if kind == "DestinationRule" { "networking.istio.io/v1" } else { "config.istio.io/v1alpha2" };
        let text = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: r, annotations: {{{annotation}}}}}\nspec: {{{spec}}}\n"
        );
        let found = load(&text).expect_err(&text);
        assert!(found.iter().all(|one| one.code == "unknown-annotation"), "{found}");
    };
    for annotation in [
        "weir/sticky: source",
        "weir/version-header: x-v",
        "weir/repeatable: \"true\"",
        "weir/backend.a: v=1",
    ] {
        traffic("DestinationRule", "host: m", annotation);
        traffic("DestinationPolicy", "destination: {name: m}, loadBalancing: {name: RANDOM}", annotation);
    }
    for (kind, rule) in [(RouteRule, "precedence: 1"), (VirtualService, "route: [{destination: {host: m}}]")]
    {
        let all = found(kind, "weir/backend.a: version=v1", rule);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].starts_with("unknown-annotation "), "{all:?}");
    }
    let backends = "weir/backend.m: version=v1, weir/backend.other: version=v1";
    let all = found(HttpRoute, backends, "backendRefs: [{name: m, port: 80}]");
    let told: Vec<_> = all.iter().filter(|one| one.starts_with("never-acts ")).collect();
    assert_eq!(told, ["never-acts metadata.annotations.weir/backend.other"], "{all:?}");
    let all = found(VirtualService, "weir/sticky: source, other/x: y", "redirect: {uri: /a}");
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("never-acts metadata.annotations"), "{all:?}");
}

#[test]
fn the_age_of_an_object_is_a_time_as_kubernetes_writes_it() {
    let with = |time: &str| {
        let text = object(RouteRule, "", "precedence: 1");
        load(&text.replace("name: r, ", &format!("name: r, creationTimestamp: {time}, ")))
    };
    for good in ["\"2026-01-31T12:00:00Z\"", "2026-01-31T12:00:00Z", "null"] {
        assert!(with(good).is_ok(), "{good}");
    }
    for bad in ["yesterday", "\"2026-01-31T12:00:00+01:00\"", "\"2026-01-31T12:00:00.5Z\"", "\"\""] {
        let found = with(bad).expect_err(bad);
        assert!(found.iter().all(|one| one.code == "type"), "{found}");
    }
}

#[test]
fn copies_are_counted_in_whole_percent_where_the_old_field_says_it() {
    let rule = "route: [{destination: {host: m}}], mirror: {host: m}, mirrorPercent: ";
    assert_eq!(found(VirtualService, "", &format!("{rule}12")), [""; 0]);
    assert_eq!(found(VirtualService, "", &format!("{rule}12.5")), ["type spec.http[0].mirrorPercent"]);
}

#[test]
fn rules_that_have_one_name_are_told_apart_whatever_the_others_are_called() {
    let rule = |name: &str, path: &str| {
        format!(
            "{{name: {name}, match: [{{uri: {{exact: {path}}}}}], route: [{{destination: {{host: m}}}}]}}"
        )
    };
    let rules = format!("{}, {}, {}", rule("a", "/1"), rule("a", "/2"), rule("\"a#2\"", "/3"));
    let text = object(VirtualService, "", "X").replace("{X}", &rules);
    let loaded = load(&text).unwrap_or_else(|found| panic!("{found}"));
    let config = loaded.snapshot.route_configs.values().next().expect("a listener").clone();
    let mut names: Vec<_> = config.virtual_hosts[0].routes.iter().map(|route| route.name.clone()).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!((count, names.len()), (3, 3), "{names:?}");
}
