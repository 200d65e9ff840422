//! What annotations say, and what is told of them.

use super::*;
use crate::config::decode::Scope;
use crate::config::yaml;

fn read(text: &str) -> (Annotations, Vec<String>) {
    let scope = Scope::new("a.yaml");
    let nodes = yaml::parse(text.as_bytes()).expect("is YAML");
    let own = Annotations::read(&Field::root(&nodes[0], &scope), "HTTPRoute");
    (own, scope.into_found().iter().map(|one| format!("{} {}", one.code, one.reason)).collect())
}

#[test]
fn an_unknown_one_of_ours_is_refused_and_those_of_others_are_left_alone() {
    let (own, found) = read("weir/stiky: source\nexample.com/x: 7\nkubectl: {}\n");
    assert_eq!(
        (own, &found[..]),
        (Annotations::default(), &["unknown-annotation `weir/stiky` is not known".into()][..])
    );
    assert_eq!(read("weir/backend.A_b: version=v1").1.len(), 1);
    assert_eq!(read("weir/sticky-salt: x").1, ["annotation a salt without `weir/sticky`"]);
    assert_eq!(read("weir/repeatable: maybe").1.len(), 1);
    assert_eq!(read("weir/version-header: \"a b\"").1.len(), 1);
}

#[test]
fn a_backend_means_labels() {
    let (own, found) = read("weir/backend.inception-v1: \"version=v1, track=\"");
    assert_eq!(found, [""; 0]);
    let labels = [("version", "v1"), ("track", "")];
    let labels: Labels = labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
    let [one] = &own.backends[..] else { panic!("{own:?}") };
    assert_eq!((&*one.name, &one.labels), ("inception-v1", &labels));
    assert_eq!(read("weir/backend.a: v1").1, ["annotation `v1` is no list of labels"]);
}

/// The rules of a VirtualService with these annotations, and what is told.
fn rules(annotations: &str, http: &str) -> (Vec<RuleDraft>, Vec<String>) {
    let text = format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: m, annotations: {{{annotations}}}}}\n\
         spec: {{hosts: [m], http: [{http}]}}\n"
    );
    let document = crate::config::Document { name: "a.yaml".into(), bytes: text.into() };
    let mut found = crate::config::Diagnostics::new();
    let objects = crate::config::read_rules(&[document], &mut found);
    let told = found.iter().map(|one| format!("{} {} {}", one.code, one.path, one.reason)).collect();
    (objects.routes.into_iter().flat_map(|route| route.rules).collect(), told)
}

const TWO: &str = "{name: a, match: [{uri: {exact: /a}}], route: [{destination: {host: m}}]}, \
    {route: [{destination: {host: m}}], retries: {attempts: 2}}";

#[test]
fn what_is_said_of_one_rule_goes_before_what_is_said_of_all() {
    let (rules, found) = rules(
        "weir/idle-timeout: 5s, weir/idle-timeout.a: 0s, weir/max-grpc-timeout.2: 1m, weir/repeatable.a: \"true\"",
        TWO,
    );
    assert_eq!(found, [""; 0]);
    let times = |rule: &RuleDraft| rule.policy.as_ref().expect("a policy").policy.timeouts;
    use std::time::Duration;
    assert_eq!((times(&rules[0]).idle, times(&rules[0]).grpc_max), (Some(Duration::ZERO), None));
    assert_eq!(times(&rules[1]).idle, Some(Duration::from_secs(5)));
    assert_eq!(times(&rules[1]).grpc_max, Some(Duration::from_secs(60)));
    assert_eq!((rules[0].repeatable, rules[1].repeatable), (Some(true), None));
}

#[test]
fn what_is_about_tries_goes_to_rules_that_have_some_and_is_told_of_where_none_has() {
    let (drafts, found) =
        rules("weir/retriable-headers: \"X-Again, x-busy\", weir/per-try-idle-timeout: 100ms", TWO);
    assert_eq!(found, [""; 0]);
    assert_eq!(drafts[0].policy.as_ref().and_then(|draft| draft.policy.retry.as_ref()), None);
    let retry = drafts[1].policy.as_ref().and_then(|draft| draft.policy.retry.clone()).expect("retries");
    assert!(retry.on.has(crate::snapshot::RetryCondition::RetriableHeaders));
    assert_eq!(
        (retry.headers.len(), retry.per_try_idle_timeout.map(|time| time.as_millis())),
        (2, Some(100))
    );
    let (_, found) = rules("weir/retriable-headers.a: x-again", TWO);
    let place = "metadata.annotations.weir/retriable-headers.a";
    assert_eq!(found, [format!("never-acts {place} nothing is tried again here")]);
}

#[test]
fn a_rule_that_is_not_there_and_a_time_that_is_none_are_refused() {
    let told = |annotation: &str, http: &str| rules(annotation, http).1.join("\n");
    let lone = "{route: [{destination: {host: m}}]}";
    for http in [TWO, lone] {
        assert!(told("weir/sticky.b: source", http).ends_with("the object has no rule of that name"));
    }
    for bad in ["weir/idle-timeout: \"5\"", "weir/max-grpc-timeout: 0s", "weir/retriable-headers: \"a b\""] {
        assert!(told(bad, TWO).starts_with("annotation metadata.annotations.weir/"), "{bad}");
    }
    assert!(told("weir/idle.a: 5s", TWO).starts_with("unknown-annotation "));
    assert!(told("weir/sticky-salt.a: s", TWO).ends_with("a salt without `weir/sticky`"));
    assert!(told("weir/sticky: source, weir/sticky-salt.a: s", TWO).is_empty());
}
