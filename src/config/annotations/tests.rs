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
