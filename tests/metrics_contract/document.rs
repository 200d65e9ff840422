//! The document's tables are those of the families.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use weir::telemetry::contract::Label;
use weir::telemetry::{Family, families};

/// What stands between the marks of a table in the document.
const END: &str = "<!-- end -->\n";
/// More labels than this are not told for each family, but once.
const FEW: usize = 5;
/// Of more families than this a label's row does not tell the names.
const MANY: usize = 5;

/// The document's parts, each with the beginning of its families' names.
const PARTS: [(&str, fn(&str) -> bool); 5] = [
    ("weir", |name| name.starts_with("weir_")),
    ("process", |name| name.starts_with("process_")),
    ("istio-old", is_old),
    ("istio", |name| name.starts_with("istio_") && !is_old(name)),
    ("envoy", |name| name.starts_with("envoy_")),
];

fn is_old(name: &str) -> bool {
    ["istio_request_count", "istio_request_duration", "istio_request_size", "istio_response_size"]
        .contains(&name)
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics.md")
}

fn labels(family: &Family) -> &'static [Label] {
    family.labels.unwrap_or_else(|| panic!("{} promises no labels", family.name))
}

fn table_of_families(all: &[&Family]) -> String {
    let mut table = "| metric | kind | unit | labels | what |\n|---|---|---|---|---|\n".to_owned();
    for family in all {
        let names: Vec<&str> = labels(family).iter().map(|label| label.name).collect();
        let names = if names.len() > FEW { "those below".to_owned() } else { names.join(", ") };
        let (kind, unit) = (family.describe_kind(), family.unit().as_str());
        writeln!(table, "| `{}` | {kind} | {unit} | {names} | {} |", family.name, family.help).expect("text");
    }
    table
}

fn table_of_labels(all: &[&Family]) -> String {
    let mut distinct: Vec<Label> = Vec::new();
    for label in all.iter().flat_map(|family| labels(family)) {
        if !distinct.contains(label) {
            distinct.push(*label);
        }
    }
    let mut table = "| label | values | where they come from |\n|---|---|---|\n".to_owned();
    for label in &distinct {
        let same_name = distinct.iter().filter(|other| other.name == label.name).count();
        let has = |family: &&&Family| labels(family).contains(label);
        let of = match same_name {
            1 => String::new(),
            _ => {
                let of: Vec<String> =
                    all.iter().filter(has).map(|family| format!("`{}`", family.name)).collect();
                if of.len() > MANY { String::new() } else { format!(" of {}", of.join(" and ")) }
            }
        };
        let (name, values) = (label.name, label.values.describe());
        writeln!(table, "| {name}{of} | {values} | {} |", label.origin).expect("text");
    }
    table
}

/// The document with the tables as they should be.
fn made(mut text: String) -> String {
    let mut all = families::all();
    all.sort_by_key(|family| family.name);
    for (part, takes) in PARTS {
        let of_part: Vec<&Family> = all.iter().copied().filter(|family| takes(family.name)).collect();
        assert!(!of_part.is_empty(), "{part}");
        for (what, table) in
            [("families", table_of_families(&of_part)), ("labels", table_of_labels(&of_part))]
        {
            let mark = format!("<!-- {part}: {what} -->\n");
            let Some((before, rest)) = text.split_once(&mark) else {
                assert!((part, what) == ("process", "labels"), "no `{mark}`");
                continue;
            };
            let (_, after) = rest.split_once(END).unwrap_or_else(|| panic!("`{mark}` has no end"));
            text = format!("{before}{mark}{table}{END}{after}");
        }
    }
    text
}

#[test]
fn the_tables_of_the_document_are_those_of_the_families() {
    let text = fs::read_to_string(path()).expect("the document");
    let wanted = made(text.clone());
    if std::env::var_os("WEIR_REGENERATE").is_some() {
        fs::write(path(), wanted).expect("written");
        return;
    }
    similar_asserts::assert_eq!(wanted, text, "WEIR_REGENERATE=1 rewrites it");
}

#[test]
fn each_family_is_one_and_says_what_it_is_its_labels_and_its_unit() {
    let all = families::all();
    let names: BTreeSet<&str> = all.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), all.len(), "a name is one family's");
    for family in &all {
        assert!(PARTS.iter().any(|(_, takes)| takes(family.name)), "{} has no table", family.name);
        assert!(family.help.ends_with('.') && !family.help.contains(['|', '\n']), "{}", family.help);
        let labels = labels(family);
        let names: BTreeSet<&str> = labels.iter().map(|label| label.name).collect();
        assert_eq!(names.len(), labels.len(), "{}: a label stands twice", family.name);
        for label in labels {
            assert!(!label.origin.is_empty() && !label.origin.contains('|'), "{}", label.name);
        }
        let Some(bounds) = family.buckets else { continue };
        assert!(!family.unit().as_str().is_empty(), "{}: {bounds:?} of what?", family.name);
    }
}
