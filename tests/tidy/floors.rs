//! The floor table: which module may import which.
//!
//! Law: this table and the one in `ARCHITECTURE.md` say the same. It may change; never silently.

use std::collections::BTreeSet;

/// A module: its floor, its name, what it may import.
pub(crate) type Row = (Option<u8>, &'static str, &'static [&'static str]);

/// Every module that lies on a lower floor.
const ALL_ABOVE: &str = "all above";
/// Every module.
const ALL: &str = "all";

pub(crate) const FLOORS: &[Row] = &[
    (Some(0), "words", &[]),
    (Some(0), "runtime", &[]),
    (Some(0), "proto", &[]),
    (Some(1), "message", &["words"]),
    (Some(1), "telemetry", &["words", "runtime"]),
    (Some(1), "snapshot", &["words", "message"]),
    (Some(2), "config", &["snapshot", "message", "telemetry", "words"]),
    (Some(2), "router", &["snapshot", "message", "words"]),
    (Some(2), "transport", &["snapshot", "runtime", "telemetry", "message", "words"]),
    (Some(3), "upstream", &["snapshot", "transport", "message", "proto", "runtime", "telemetry", "words"]),
    (Some(3), "xds", &["config", "snapshot", "proto", "runtime", "telemetry", "words"]),
    (Some(4), "filters", &["snapshot", "message", "upstream", "proto", "runtime", "telemetry", "words"]),
    (Some(4), "sources", &["config", "xds", "snapshot", "runtime", "telemetry"]),
    (
        Some(5),
        "proxy",
        &[
            "snapshot",
            "router",
            "filters",
            "upstream",
            "transport",
            "message",
            "runtime",
            "telemetry",
            "words",
        ],
    ),
    (
        Some(5),
        "controller",
        &["config", "sources", "xds", "snapshot", "transport", "runtime", "telemetry", "words"],
    ),
    (
        Some(6),
        "admin",
        &[
            "proxy",
            "upstream",
            "router",
            "sources",
            "xds",
            "proto",
            "config",
            "snapshot",
            "transport",
            "message",
            "runtime",
            "telemetry",
            "words",
        ],
    ),
    (Some(6), "demo", &["transport", "message", "proto", "runtime", "telemetry", "words"]),
    (Some(7), "app", &[ALL_ABOVE]),
    (
        Some(8),
        "cli",
        &[
            "app",
            "proxy",
            "sources",
            "filters",
            "config",
            "router",
            "snapshot",
            "message",
            "words",
            "controller::inject",
        ],
    ),
    (None, TESTING, &[ALL]),
];

/// The fake world: nothing but tests may import it.
pub(crate) const TESTING: &str = "testing";

fn row(module: &str) -> Option<&'static Row> {
    FLOORS.iter().find(|(_, name, _)| *name == module)
}

/// Why `from` may not name `path` (of modules, from the root of the crate); `None`: it may.
pub(crate) fn why_not(from: &str, path: &[String], in_test: bool) -> Option<String> {
    let Some(to) = path.first().map(String::as_str) else {
        return Some("names the root of the crate, which hides the module that is meant".to_owned());
    };
    if from == to {
        return None;
    }
    let Some((floor, _, allowed)) = row(from) else {
        return Some(format!("module `{from}` is not in the floor table"));
    };
    let Some((to_floor, ..)) = row(to) else {
        return Some(format!("`crate::{to}` is no module of the floor table"));
    };
    if to == TESTING {
        return (!in_test).then(|| format!("`{TESTING}` is imported by what is no test"));
    }
    let allows = |entry: &&str| match *entry {
        ALL => true,
        ALL_ABOVE => to_floor < floor,
        entry => entry.split("::").eq(path.iter().map(String::as_str).take(entry.split("::").count())),
    };
    (!allowed.iter().any(allows)).then(|| format!("`{from}` may not import `{to}`"))
}

/// The rows of the table in a Markdown text: `| floor | `module` | what it is | may import |`.
pub(crate) fn rows_in(markdown: &str) -> BTreeSet<(Option<u8>, String, BTreeSet<String>)> {
    let cells = |line: &str| -> Option<(Option<u8>, String, BTreeSet<String>)> {
        let cells: Vec<&str> =
            line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [floor, module, _, imports] = cells[..] else { return None };
        let floor = if floor == "–" { None } else { Some(floor.parse().ok()?) };
        let module = module.strip_prefix('`')?.strip_suffix('`')?;
        // What follows a semicolon says what is forbidden, `(+ a::b)` that only a part is allowed.
        let allowed = imports.split(';').next()?.replace("(+", ",").replace([')', '`'], "");
        let allowed = allowed.split(',').map(|name| name.trim().to_owned());
        Some((floor, module.to_owned(), allowed.filter(|name| !matches!(&**name, "" | "–")).collect()))
    };
    markdown.lines().filter_map(cells).collect()
}

/// The table above in the same shape.
pub(crate) fn rows() -> BTreeSet<(Option<u8>, String, BTreeSet<String>)> {
    let owned = |(floor, module, allowed): &Row| {
        (*floor, (*module).to_owned(), allowed.iter().map(|&name| name.to_owned()).collect())
    };
    FLOORS.iter().map(owned).collect()
}
