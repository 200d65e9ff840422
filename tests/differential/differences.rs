//! A list of differences: a reason for each group of rows.
//!
//! Law: a row stands under a heading that explains it, and says exactly what was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::{Display, Write as _};
use std::fs;
use std::path::Path;

/// The heading of rows that nobody has explained.
const UNEXPLAINED: &str = "Not explained yet";

/// A probe, and what differs.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Difference {
    probe: String,
    envoy: String,
    weir: String,
}

impl Difference {
    pub(super) fn new(probe: &str, envoy: &str, weir: &str) -> Difference {
        let cell = |text: &str| text.replace('|', "&#124;");
        Difference { probe: cell(probe), envoy: cell(envoy), weir: cell(weir) }
    }

    fn row(&self) -> String {
        format!("| {} | {} | {} |", self.probe, self.envoy, self.weir)
    }
}

/// What differs, and only that, of Envoy and of Weir: each part with a word before it that says what it is.
pub(super) fn apart<W: Display, T: Display + PartialEq>(
    parts: impl IntoIterator<Item = (W, T, T)>,
) -> Option<(String, String)> {
    let differ = parts.into_iter().filter(|(_, envoy, weir)| envoy != weir);
    let (of_envoy, of_weir): (Vec<String>, Vec<String>) =
        differ.map(|(what, envoy, weir)| (format!("{what}{envoy}"), format!("{what}{weir}"))).unzip();
    (!of_envoy.is_empty()).then(|| (of_envoy.join("; "), of_weir.join("; ")))
}

/// Compares what was found with the part of the list (a file below `tests/`) that is about `http`.
///
/// # Panics
/// With every row that is missing, wrong or too much, and for rows without a reason.
pub(super) fn check(list: &str, http: &str, found: &[Difference]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(list);
    let text = fs::read_to_string(&path).expect("the list");
    let sections = sections(&text, http);
    if env::var_os("WEIR_UPDATE_DIFFERENCES").is_some_and(|value| value == "1") {
        println!("{}", updated(http, &sections, found));
    }
    let listed: BTreeSet<&Difference> = sections.iter().flat_map(|section| &section.rows).collect();
    let seen: BTreeSet<&Difference> = found.iter().collect();
    let mut faults = String::new();
    for missing in seen.difference(&listed) {
        let _ = writeln!(faults, "not listed:    {}", missing.row());
    }
    for gone in listed.difference(&seen) {
        let _ = writeln!(faults, "no longer so:  {}", gone.row());
    }
    for section in
        sections.iter().filter(|section| section.why.trim().is_empty() || section.title == UNEXPLAINED)
    {
        let _ = writeln!(faults, "without a reason: the rows under {:?}", section.title);
    }
    assert!(
        faults.is_empty(),
        "{http}, {} differences; WEIR_UPDATE_DIFFERENCES=1 prints them:\n{faults}",
        found.len()
    );
}

struct Section {
    title: String,
    why: String,
    rows: Vec<Difference>,
}

/// The sections below `# <http>`: `## title`, the reason, a table.
fn sections(text: &str, http: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("# ") {
            inside = title == http;
        } else if !inside {
        } else if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), why: String::new(), rows: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            match row(line) {
                Some(row) => section.rows.push(row),
                None if line.starts_with('|') => {}
                None => section.why += &format!("{line}\n"),
            }
        }
    }
    sections
}

fn row(line: &str) -> Option<Difference> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
    match cells[..] {
        ["probe", ..] => None,
        [probe, envoy, weir] => {
            Some(Difference { probe: probe.into(), envoy: envoy.into(), weir: weir.into() })
        }
        _ => None,
    }
}

/// The list as it would have to be: each row stays under the heading that its probe has.
fn updated(http: &str, sections: &[Section], found: &[Difference]) -> String {
    let home: BTreeMap<&str, usize> = sections
        .iter()
        .enumerate()
        .flat_map(|(number, section)| section.rows.iter().map(move |row| (row.probe.as_str(), number)))
        .collect();
    let mut text = format!("# {http}\n");
    let mut section = |title: &str, why: &str, rows: Vec<&Difference>| {
        if !rows.is_empty() {
            let _ =
                writeln!(text, "\n## {title}\n\n{}\n\n| probe | Envoy | Weir |\n|---|---|---|", why.trim());
            rows.iter().for_each(|row| _ = writeln!(text, "{}", row.row()));
        }
    };
    for (number, old) in sections.iter().enumerate() {
        let rows = found.iter().filter(|row| home.get(row.probe.as_str()) == Some(&number)).collect();
        section(&old.title, &old.why, rows);
    }
    section(UNEXPLAINED, "", found.iter().filter(|row| !home.contains_key(row.probe.as_str())).collect());
    text
}
