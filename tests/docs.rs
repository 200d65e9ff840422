//! The documents are code: what they name exists.
//!
//! Law: every link between documents leads to a file and, where it has one, to a heading; every file that they name in
//! the repository is there; every command and option that they show is one of `weir --help`'s.

#![allow(clippy::unwrap_used)] // a panic is the report

mod common {
    pub(crate) mod pages;
}

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use common::pages::{pages, root};

/// What a path must begin with to be one of the repository's.
const OURS: [&str; 9] =
    ["src/", "tests/", "config/", "docs/", "benches/", "proto/", "deploy/", ".ci/", "deny.toml"];

/// What stands in `text` between each `before` and the next `after` on the same line.
fn between<'t>(text: &'t str, before: &str, after: char) -> Vec<&'t str> {
    let found = text.lines().flat_map(|line| line.split(before).skip(1));
    found.filter_map(|rest| rest.split_once(after).map(|(inner, _)| inner)).collect()
}

/// Spans between backticks, and the lines of indented blocks.
fn code(text: &str) -> Vec<&str> {
    let spans = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.chain(text.lines().filter_map(|line| line.strip_prefix("    "))).collect()
}

/// The anchors that a forge makes of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings =
        text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase().replace(' ', "-");
        kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut broken = Vec::new();
    for page in pages() {
        for link in between(&page.text, "](", ')') {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => root().join(&page.path),
                file => root().join(&page.path).parent().unwrap().join(file),
            };
            let leads = target.exists()
                && (anchor.is_empty() || anchors(&fs::read_to_string(&target).unwrap()).contains(anchor));
            if !leads {
                broken.push(format!("{}: {link}", page.path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn every_file_that_a_document_names_is_there() {
    let mut missing = Vec::new();
    for page in pages() {
        for span in code(&page.text) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
            let is_path = OURS.iter().any(|start| span.starts_with(start)) && span.chars().all(plain);
            if is_path && !root().join(span).exists() {
                missing.push(format!("{}: {span}", page.path.display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "weir {arguments:?} --help: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The subcommands of this build, each with its help.
fn subcommands() -> BTreeMap<String, String> {
    let all = help(&[]);
    let list = all.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty()).map(|name| (name.to_owned(), help(&[name]))).collect()
}

/// What follows `weir ` where a line or a span begins with it, as typed or by cargo.
fn command_line(code: &str) -> Option<&str> {
    let code = code.strip_prefix("$ ").unwrap_or(code);
    let starts = ["weir ", "cargo run --release -- "];
    let line = starts.iter().find_map(|start| code.strip_prefix(start))?;
    line.split('#').next()
}

#[test]
fn every_command_and_option_that_a_document_shows_exists() {
    let known = subcommands();
    let (mut wrong, mut seen) = (Vec::new(), BTreeSet::new());
    for page in pages() {
        for line in code(&page.text).into_iter().filter_map(command_line) {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap_or_default();
            if name == "demo" && !cfg!(feature = "demo") || name.starts_with('-') || name.starts_with('<') {
                continue;
            }
            match known.get(name) {
                Some(help) => {
                    seen.insert(name.to_owned());
                    let stranger = words.find(|word| word.starts_with("--") && !help.contains(word));
                    wrong.extend(stranger.map(|word| format!("{}: {line}: {word}", page.path.display())));
                }
                None => wrong.push(format!("{}: {line}", page.path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // Found none of them: then nothing was looked at.
    for name in ["proxy", "validate", "explain", "drain"] {
        assert!(seen.contains(name), "no document shows `weir {name}`");
    }
}

/// What success is, and when client errors are high: in the same words wherever they are shown.
#[test]
fn success_and_client_errors_have_one_definition_everywhere() {
    const WORDS: [&str; 2] = [
        "Success is the share of requests that the server did not fail: it failed those that ended with a 5xx, with a gRPC \
         status of the server's, cut off, or without an answer. Client errors, which are a 4xx or a gRPC status such as \
         INVALID_ARGUMENT, are no failures and have a column of their own. Requests whose caller left count in neither.",
        "Client errors of a version are high when there are at least 5 in the last minute, and they are at least half of \
         its requests, or their share is at least twice that of the rule's other versions and 5 points above it, with at \
         least 20 requests on either side.",
    ];
    let file = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let told = [
        ("README.md", file("README.md")),
        ("docs/operations.md", file("docs/operations.md")),
        ("the live page", file("src/admin/live/page.html")),
        ("weir top --help", help(&["top"])),
    ];
    for (place, text) in told {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in WORDS {
            assert!(text.contains(words), "{place} does not say: {words}");
        }
    }
}

/// The matrix of `docs/wire.md` is what `tests/wire_*.rs` prove, file by file and law by law.
#[test]
fn the_matrix_names_every_law_of_the_wire_and_no_other() {
    let text = fs::read_to_string(root().join("docs/wire.md")).unwrap();
    let matrix = text.split_once("\n## The matrix\n").expect("the matrix").1;
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut file = String::new();
    for line in matrix.lines() {
        if let Some(name) = line.strip_prefix("`tests/").and_then(|rest| rest.split_once(".rs`")) {
            file = name.0.to_owned();
        } else if let Some((law, _)) = line.strip_prefix("| ").and_then(|row| row.split_once(" | "))
            && law != "law"
        {
            told.entry(file.clone()).or_default().insert(law.replace(' ', "_"));
        }
    }
    let mut proved: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let Some(name) = name.strip_suffix(".rs").filter(|name| name.starts_with("wire_")) else { continue };
        let source = fs::read_to_string(&path).unwrap();
        let tests = source.split("#[test]\n").skip(1);
        let names = tests.filter_map(|test| test.split_once("fn ")?.1.split_once('(').map(|(name, _)| name));
        proved.insert(name.to_owned(), names.map(str::to_owned).collect());
    }
    let laws = |of: BTreeMap<String, BTreeSet<String>>| -> BTreeSet<String> {
        let laws =
            of.into_iter().map(|(file, laws)| laws.into_iter().map(move |law| format!("{file}: {law}")));
        laws.flatten().collect()
    };
    let (told, proved) = (laws(told), laws(proved));
    assert_eq!(proved.difference(&told).collect::<Vec<_>>(), Vec::<&String>::new(), "not in the matrix");
    assert_eq!(told.difference(&proved).collect::<Vec<_>>(), Vec::<&String>::new(), "no test");
}
