//! What the documents show of configurations and commands is what happens.
//!
//! Law: every object in a document passes `weir validate` without a warning; a command with what it prints prints that; the
//! three dialects of the README say one thing.

#![allow(clippy::expect_used)] // a panic here is the report

mod common {
    pub(crate) mod pages;
}

use std::path::Path;
use std::process::{Command, Output};

use common::pages::{Page, pages, root};
use serde_json::Value;
use weir::config::{self, Document, Environment};

/// Indented blocks, without their indent.
fn blocks(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    for line in text.lines() {
        match (line.strip_prefix("    "), blocks.last_mut()) {
            (Some(code), Some(block)) => *block += &format!("{code}\n"),
            _ => blocks.push(String::new()),
        }
    }
    blocks.retain(|block| !block.is_empty());
    blocks
}

fn objects() -> Vec<Page> {
    let of_page = |page: Page| -> Vec<Page> {
        let all = blocks(&page.text).into_iter().filter(|block| block.starts_with("apiVersion: "));
        all.map(|text| Page { path: page.path.clone(), text }).collect()
    };
    pages().into_iter().flat_map(of_page).collect()
}

fn weir(words: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(words).current_dir(root()).output().expect("runs")
}

#[test]
fn every_object_that_a_document_shows_passes_without_a_warning() {
    let objects = objects();
    assert!(objects.len() >= 3, "{objects:?}");
    for Page { path, text } in objects {
        let document = Document { name: path.display().to_string(), bytes: text.clone().into() };
        let (count, warnings) =
            config::validate_rules(&[document]).unwrap_or_else(|found| panic!("{found}\n{text}"));
        assert!(count > 0 && warnings.is_empty(), "{warnings}\n{text}");
    }
}

#[test]
fn the_three_dialects_of_the_readme_are_one_configuration() {
    const MAIN: &str = "listeners: [{name: l, address: \"127.0.0.1:80\", service: inception}]\nservices:\n\
        - name: inception\n  namespace: kubeflow\n  endpoints:\n\
        \x20 - {address: \"10.0.0.1:80\", labels: {version: v1}}\n  - {address: \"10.0.0.2:80\", labels: {version: v2}}\n";
    let document = |text: &str| Document { name: "a.yaml".into(), bytes: text.into() };
    let objects = objects().into_iter().filter(|page| page.path == Path::new("README.md"));
    let snapshots: Vec<Value> = objects
        .map(|Page { text, .. }| {
            let loaded = config::load(&document(MAIN), &[document(&text)], &Environment::default());
            let loaded = loaded.unwrap_or_else(|found| panic!("{found}\n{text}"));
            assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
            let mut snapshot = serde_json::to_value(&loaded.snapshot).expect("serializes");
            for config in snapshot["route_configs"].as_object_mut().expect("by name").values_mut() {
                for route in config["virtual_hosts"][0]["routes"].as_array_mut().expect("a list") {
                    (route["name"], route["origin"]) = (Value::Null, Value::Null);
                }
            }
            snapshot
        })
        .collect();
    assert_eq!(snapshots.len(), 3);
    similar_asserts::assert_eq!(snapshots[0], snapshots[1]);
    similar_asserts::assert_eq!(snapshots[0], snapshots[2]);
}

/// Words as a shell splits them, as far as documents need it.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('\'').enumerate();
    let words = parts.flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn a_command_that_is_shown_with_what_it_prints_prints_it() {
    let mut seen = 0;
    for Page { path, text } in pages() {
        for block in blocks(&text) {
            let Some((line, shown)) = block.strip_prefix("$ weir ").and_then(|rest| rest.split_once('\n'))
            else {
                continue;
            };
            if shown.is_empty()
                || !["validate", "explain", "convert"].iter().any(|name| line.starts_with(name))
            {
                continue;
            }
            let output = weir(&words(line));
            let printed = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
            similar_asserts::assert_eq!(printed, shown, "{}: weir {line}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "{seen} commands were tried");
}
