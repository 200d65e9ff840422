//! The live table: one row a version, from what the admin tells.
//!
//! Law: share and req/s are those of the last five seconds under the present configuration, so that an edit of the rules
//! is seen at once; success and latency are those of the last minute. On a terminal the table is drawn in place; elsewhere
//! there is one plain line a version. It must not know where its views come from, nor write by itself.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use comfy_table::{Cell, CellAlignment, Color, LineStyle, Table, presets};

use super::splits::{SplitsView, VersionView};

/// How far back share and req/s look.
const RECENT: Duration = Duration::from_secs(5);
const HEADER: [&str; 7] = ["version", "weight", "share", "req/s", "success", "p50", "p99"];

/// One version's figures. Shares and rates go from 0 to 1, latencies are in milliseconds; `None` where there is no data.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The version's name.
    pub version: String,
    /// Its weight in the rule.
    pub weight: Option<u32>,
    /// Its share of the split's requests.
    pub share: Option<f64>,
    /// Requests a second.
    pub per_second: Option<f64>,
    /// The share of its requests that succeeded.
    pub success: Option<f64>,
    /// Median latency.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the latency.
    pub p99_ms: Option<f64>,
}

/// Turns one view after another into rows.
#[derive(Debug, Default)]
pub struct Recent {
    seen: VecDeque<Seen>,
}

/// Which split and which version of it.
type Key = (String, Option<String>, String);

#[derive(Debug)]
struct Seen {
    at: Instant,
    generation: u64,
    requests: HashMap<Key, u64>,
}

impl Recent {
    /// The rows of `view`, which was fetched at `now`, in its order.
    pub fn rows(&mut self, now: Instant, view: &SplitsView) -> Vec<Row> {
        let requests = keyed(view).map(|(key, version)| (key, version.start.requests)).collect();
        // What was counted under another configuration says nothing of this one.
        if self.seen.back().is_some_and(|last| last.generation != view.generation) {
            self.seen.drain(..self.seen.len() - 1);
        }
        self.seen.push_back(Seen { at: now, generation: view.generation, requests });
        while self.seen.len() > 2 && self.seen[1].at + RECENT <= now {
            self.seen.pop_front();
        }
        let base = self.seen.front().filter(|base| base.at < now);
        let since = |key: &Key, total: u64| {
            let before = base.and_then(|base| base.requests.get(key)).copied().unwrap_or_default();
            // A counter that went back has begun anew.
            total.checked_sub(before).unwrap_or(total)
        };
        let mut totals: HashMap<(String, Option<String>), u64> = HashMap::new();
        for (key, version) in keyed(view) {
            *totals.entry((key.0.clone(), key.1.clone())).or_default() += since(&key, version.start.requests);
        }
        let row = |(key, version): (Key, &VersionView)| {
            let count = since(&key, version.start.requests);
            let total = totals.get(&(key.0, key.1)).copied().unwrap_or_default();
            Row {
                version: version.version.clone(),
                weight: version.weight,
                share: (total > 0).then(|| ratio(count, total)),
                per_second: base.map(|base| ratio(count, 1) / now.duration_since(base.at).as_secs_f64()),
                success: version.minute.success_rate,
                p50_ms: version.minute.p50_ms,
                p99_ms: version.minute.p99_ms,
            }
        };
        keyed(view).map(row).collect()
    }
}

fn keyed(view: &SplitsView) -> impl Iterator<Item = (Key, &VersionView)> {
    view.splits.iter().flat_map(|split| {
        let key =
            |version: &VersionView| (split.service.clone(), split.rule.clone(), version.version.clone());
        split.versions.iter().map(move |version| (key(version), version))
    })
}

// Counts of a demo are far below what a float holds exactly.
#[expect(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Where the table is drawn.
#[derive(Debug)]
pub struct Screen {
    terminal: bool,
    colour: bool,
    drawn_lines: usize,
}

impl Screen {
    /// A screen that draws in place if `terminal`, and in colours if `colour` too.
    #[must_use]
    pub fn new(terminal: bool, colour: bool) -> Self {
        Self { terminal, colour: terminal && colour, drawn_lines: 0 }
    }

    /// The standard output as it is; no colours if `NO_COLOR` is set and not empty (no-color.org).
    #[must_use]
    pub fn of_stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(std::io::stdout().is_terminal(), !no_colour)
    }

    /// What to write to show `rows`, `elapsed` after the start. Whoever writes anything else in between calls
    /// [`Screen::leave`] first.
    pub fn draw(&mut self, elapsed: Duration, rows: &[Row]) -> String {
        if !self.terminal {
            return rows.iter().map(|row| plain_line(elapsed, row)).collect();
        }
        let text = if rows.is_empty() { "no split yet".to_owned() } else { self.table(rows) };
        // Up to where the last one began, and clear from there.
        let up =
            if self.drawn_lines > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn_lines) } else { String::new() };
        self.drawn_lines = text.lines().count();
        format!("{up}{text}\n")
    }

    /// Leaves what is drawn where it is: the next table comes below.
    pub fn leave(&mut self) {
        self.drawn_lines = 0;
    }

    fn table(&self, rows: &[Row]) -> String {
        let mut table = Table::new();
        let style = presets::UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none());
        table.load_style(style).set_header(HEADER);
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for row in rows {
            let cells = texts(row).into_iter().zip(HEADER).map(|(text, column)| match column {
                "version" => Cell::new(text).fg(Color::Cyan),
                "success" => Cell::new(text).fg(success_colour(row.success)),
                _ => Cell::new(text),
            });
            table.add_row(cells);
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table.trim_fmt()
    }
}

/// One line that sums up a version since the start.
#[must_use]
pub fn summary_line(version: &VersionView) -> String {
    let start = &version.start;
    format!(
        "{}  {} requests ({})  success {}  p50 {}  p99 {}",
        version.version,
        start.requests,
        percent(start.share),
        percent(start.success_rate),
        latency(start.p50_ms),
        latency(start.p99_ms),
    )
}

fn success_colour(success: Option<f64>) -> Color {
    match success {
        None => Color::Reset,
        Some(rate) if rate >= 0.999 => Color::Green,
        Some(rate) if rate >= 0.95 => Color::Yellow,
        Some(_) => Color::Red,
    }
}

fn texts(row: &Row) -> [String; 7] {
    [
        row.version.clone(),
        or_dash(row.weight.map(|weight| weight.to_string())),
        percent(row.share),
        or_dash(row.per_second.map(|rate| format!("{rate:.1}"))),
        percent(row.success),
        latency(row.p50_ms),
        latency(row.p99_ms),
    ]
}

fn percent(rate: Option<f64>) -> String {
    or_dash(rate.map(|rate| format!("{:.1} %", rate * 100.0)))
}

fn latency(ms: Option<f64>) -> String {
    or_dash(ms.map(|ms| format!("{ms:.1} ms")))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "-".to_owned())
}

fn plain_line(elapsed: Duration, row: &Row) -> String {
    let mut line = format!("{:>3}s", elapsed.as_secs());
    for (name, text) in HEADER.iter().zip(texts(row)) {
        // Writing to a String cannot fail.
        let _ = write!(line, "  {name} {text}");
    }
    line + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::splits::{Figures, SplitView};

    fn view(generation: u64, counts: &[(&str, u32, u64)]) -> SplitsView {
        let versions = counts.iter().map(|&(version, weight, requests)| VersionView {
            version: version.to_owned(),
            weight: Some(weight),
            start: Figures { requests, ..Figures::default() },
            minute: Figures {
                success_rate: Some(1.0),
                p50_ms: Some(2.12),
                p99_ms: None,
                ..Figures::default()
            },
            ..VersionView::default()
        });
        let split = SplitView { service: "s".to_owned(), rule: None, versions: versions.collect() };
        SplitsView { generation, splits: vec![split] }
    }

    fn seen(recent: &mut Recent, at: Instant, view: &SplitsView) -> Vec<(Option<f64>, Option<f64>)> {
        recent.rows(at, view).into_iter().map(|row| (row.share, row.per_second)).collect()
    }

    #[test]
    fn the_first_view_has_shares_but_no_rate() {
        let rows = seen(&mut Recent::default(), Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
        assert_eq!(rows, [(Some(0.95), None), (Some(0.05), None)]);
    }

    #[test]
    fn share_and_rate_are_those_of_the_last_five_seconds() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        for second in 0..=10_u64 {
            // Ten a second to v1 for five seconds, then ten a second to v2.
            let counts = [("v1", 50, second.min(5) * 10), ("v2", 50, second.saturating_sub(5) * 10)];
            let rows = seen(&mut recent, start + Duration::from_secs(second), &view(1, &counts));
            match second {
                5 => assert_eq!(rows, [(Some(1.0), Some(10.0)), (Some(0.0), Some(0.0))]),
                10 => assert_eq!(rows, [(Some(0.0), Some(0.0)), (Some(1.0), Some(10.0))]),
                _ => {}
            }
        }
        assert!(recent.seen.len() <= 7);
    }

    #[test]
    fn a_new_generation_forgets_what_came_before_it() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        seen(&mut recent, at(0), &view(1, &[("v1", 95, 0), ("v2", 5, 0)]));
        seen(&mut recent, at(1), &view(1, &[("v1", 95, 38), ("v2", 5, 2)]));
        let rows = seen(&mut recent, at(2), &view(2, &[("v1", 50, 58), ("v2", 50, 22)]));
        assert_eq!(rows, [(Some(0.5), Some(20.0)), (Some(0.5), Some(20.0))]);
    }

    #[test]
    fn a_counter_that_begins_anew_gives_no_negative_rate() {
        let (mut recent, start) = (Recent::default(), Instant::now());
        seen(&mut recent, start, &view(1, &[("v1", 100, 1000)]));
        let rows = seen(&mut recent, start + Duration::from_secs(2), &view(1, &[("v1", 100, 10)]));
        assert_eq!(rows, [(Some(1.0), Some(5.0))]);
    }

    #[test]
    fn what_has_no_data_is_a_dash() {
        let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 0)]));
        let line = Screen::new(false, true).draw(Duration::from_secs(3), &rows);
        assert_eq!(
            line,
            "  3s  version v1  weight 95  share -  req/s -  success 100.0 %  p50 2.1 ms  p99 -\n"
        );
    }

    #[test]
    fn without_a_terminal_there_is_one_plain_line_a_version() {
        let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
        let mut screen = Screen::new(false, true);
        for _ in 0..2 {
            let text = screen.draw(Duration::ZERO, &rows);
            assert_eq!(text.lines().count(), 2);
            assert!(!text.contains('\x1b'));
        }
    }

    #[test]
    fn on_a_terminal_the_next_table_begins_where_the_last_one_did() {
        let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19), ("v2", 5, 1)]));
        let mut screen = Screen::new(true, false);
        let first = screen.draw(Duration::ZERO, &rows);
        let lines = first.lines().count();
        assert!(
            !first.contains('\x1b'),
            "no colours were asked for, and nothing is to be drawn over: {first:?}"
        );
        let second = screen.draw(Duration::ZERO, &rows);
        assert_eq!(second, format!("\x1b[{lines}A\r\x1b[J{first}"));
        screen.leave();
        assert_eq!(screen.draw(Duration::ZERO, &rows), first);
    }

    #[test]
    fn colours_show_on_a_terminal_only() {
        let rows = Recent::default().rows(Instant::now(), &view(1, &[("v1", 95, 19)]));
        assert!(Screen::new(true, true).draw(Duration::ZERO, &rows).contains("\x1b["));
        assert!(!Screen::new(false, true).draw(Duration::ZERO, &rows).contains('\x1b'));
    }
}
