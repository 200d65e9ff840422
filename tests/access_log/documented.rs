//! `docs/access-log.md` says what there is.

use std::collections::BTreeSet;
use std::path::Path;

use weir::config::{Document, Environment, load};
use weir::telemetry::Format;
use weir::words::Operator;

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/access-log.md");
    std::fs::read_to_string(path).expect("the page")
}

#[test]
fn the_page_lists_each_operator_and_no_other() {
    let page = page();
    let table = page.split("\n| operator | |\n").nth(1).expect("the table of operators");
    let rows = table.lines().take_while(|line| line.starts_with('|')).skip(1);
    let cell = |row: &str| row.split('|').nth(1).map(str::to_owned);
    let names = rows.filter_map(cell).map(|cell| {
        let name = cell.trim().trim_start_matches('`');
        name[..name.find(['(', '`']).expect("it ends")].to_owned()
    });
    let listed: Vec<String> = names.collect();
    let unique: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(unique.len(), listed.len(), "an operator stands twice: {listed:?}");
    assert_eq!(unique, Operator::ALL.iter().map(|operator| operator.name()).collect());
}

#[test]
fn the_example_of_the_page_loads() {
    let page = page();
    let lines = page.lines().skip_while(|line| *line != "    access_log:");
    let example: String =
        lines.map_while(|line| line.strip_prefix("    ")).map(|line| format!("{line}\n")).collect();
    let text = format!(
        "{example}listeners: [{{name: a, address: \"127.0.0.1:80\", service: m}}]\n\
         services: [{{name: m, endpoints: [{{address: \"10.0.0.1:80\"}}]}}]\n"
    );
    let environment = Environment {
        check_log_text: |text| Format::check_text(text).map_err(|error| error.to_string()),
        ..Environment::default()
    };
    let document = Document { name: "weir.yaml".into(), bytes: text.into() };
    let loaded = load(&document, &[], &environment).unwrap_or_else(|found| panic!("{found}"));
    let log = loaded.snapshot.access_log.clone().expect("a log");
    assert!(log.filter.is_some_and(|filter| filter.any.len() == 3 && !filter.health_checks));
}
