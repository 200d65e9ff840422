//! The live table of `weir top` and `weir demo`: one row a version, from what an admin tells.
//!
//! Law: share and req/s are those of the last five seconds under the present configuration, so that an edit of the rules
//! is seen at once; all else is of the last minute. What is well and what is not, and which rule comes first, the admin
//! says. On a terminal the table is drawn in place and never larger than it; elsewhere there is one plain line a version.
//! It must not know where its views come from, nor write by itself.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::grid;
use super::view::{Endpoints, SplitView, SplitsView, States, VersionView};

/// How far back share and req/s look.
const RECENT: Duration = Duration::from_secs(5);
/// Its name, the names of the columns, what stands below them, and a version.
const LINES_OF_A_RULE: usize = 4;

/// What is shown of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Column {
    Version,
    Weight,
    Share,
    Rate,
    Success,
    ClientErrors,
    P50,
    P95,
    P99,
    Endpoints,
}

impl Column {
    /// Its heading.
    pub fn name(self) -> &'static str {
        match self {
            Column::Version => "version",
            Column::Weight => "weight",
            Column::Share => "share",
            Column::Rate => "req/s",
            Column::Success => "success",
            Column::ClientErrors => "client err",
            Column::P50 => "p50",
            Column::P95 => "p95",
            Column::P99 => "p99",
            Column::Endpoints => "endpoints",
        }
    }
}

/// What is told, and how much of it.
#[derive(Debug)]
pub struct Style {
    /// In this order.
    pub columns: &'static [Column],
    /// Whether the rule and the service of a version are named.
    pub named: bool,
}

/// Of a demo, which has one rule.
pub static DEMO: Style = Style {
    columns: &[
        Column::Version,
        Column::Weight,
        Column::Share,
        Column::Rate,
        Column::Success,
        Column::P50,
        Column::P99,
    ],
    named: false,
};

/// Of any proxy.
pub static TOP: Style = Style {
    columns: &[
        Column::Version,
        Column::Weight,
        Column::Share,
        Column::Rate,
        Column::Success,
        Column::ClientErrors,
        Column::P50,
        Column::P95,
        Column::P99,
        Column::Endpoints,
    ],
    named: true,
};

/// One version's figures. Shares and rates go from 0 to 1, latencies are in milliseconds; `None` where there is no data.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The service whose requests are split.
    pub service: String,
    /// The rule; none where all versions share.
    pub rule: Option<String>,
    /// The version's name, with its service where that is another.
    pub version: String,
    /// Its weight in the rule.
    pub weight: Option<u32>,
    /// Its share of the split's requests.
    pub share: Option<f64>,
    /// Requests a second.
    pub per_second: Option<f64>,
    /// The share of its requests that succeeded.
    pub success: Option<f64>,
    /// The share of them whose answer blames the request.
    pub client_errors: Option<f64>,
    /// Median latency.
    pub p50_ms: Option<f64>,
    /// 95th percentile of the latency.
    pub p95_ms: Option<f64>,
    /// 99th percentile of the latency.
    pub p99_ms: Option<f64>,
    /// Who takes its requests.
    pub endpoints: Option<Endpoints>,
    /// How well it does.
    pub states: States,
}

impl Row {
    fn new(split: &SplitView, version: &VersionView, share: Option<f64>, per_second: Option<f64>) -> Row {
        let minute = &version.minute;
        Row {
            service: clean(&split.service),
            rule: split.rule.as_deref().map(clean),
            version: clean(&match &version.service {
                Some(service) => format!("{} of {service}", version.version),
                None => version.version.clone(),
            }),
            weight: version.weight,
            share,
            per_second,
            success: minute.success_rate,
            client_errors: minute.client_error_rate,
            p50_ms: minute.p50_ms,
            p95_ms: minute.p95_ms,
            p99_ms: minute.p99_ms,
            endpoints: version.endpoints,
            states: version.states.clone(),
        }
    }

    /// With a mark before what has a state: a colour says nothing alone.
    fn marked(&self, column: Column) -> String {
        let mark = match column {
            Column::Success => mark(self.states.success.as_deref()),
            Column::Endpoints => mark(self.states.endpoints.as_deref()),
            _ => "",
        };
        mark.to_owned() + &self.text(column)
    }

    /// With the word of its state behind it.
    fn worded(&self, column: Column) -> String {
        let state = match column {
            Column::Success => &self.states.success,
            Column::Endpoints => &self.states.endpoints,
            _ => &None,
        };
        let text = self.text(column);
        state.as_deref().map(|state| format!("{text} {}", clean(state))).unwrap_or(text)
    }

    fn text(&self, column: Column) -> String {
        match column {
            Column::Version => self.version.clone(),
            Column::Weight => or_dash(self.weight.map(|weight| weight.to_string())),
            Column::Share => percent(self.share),
            Column::Rate => or_dash(self.per_second.map(|rate| format!("{rate:.1}"))),
            Column::Success => percent(self.success),
            Column::ClientErrors => match &self.states.client_errors {
                Some(high) => format!("{} {}", percent(self.client_errors), clean(high)),
                None => percent(self.client_errors),
            },
            Column::P50 => latency(self.p50_ms),
            Column::P95 => latency(self.p95_ms),
            Column::P99 => latency(self.p99_ms),
            Column::Endpoints => or_dash(self.endpoints.map(|endpoints| {
                let Endpoints { healthy, ejected, failed_check } = endpoints;
                format!("{healthy}/{}", healthy + ejected + failed_check)
            })),
        }
    }
}

/// Names are whatever a configuration says: on a terminal they are letters, not commands.
pub(super) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The rows of one view by itself: share and req/s are those of the last minute, too.
pub fn minute_rows(view: &SplitsView) -> Vec<Row> {
    let row =
        |split, version: &VersionView| Row::new(split, version, version.minute.share, version.minute.qps);
    view.splits
        .iter()
        .flat_map(|split| split.versions.iter().map(move |version| row(split, version)))
        .collect()
}

/// Turns one view after another into rows.
#[derive(Debug, Default)]
pub struct Recent {
    seen: VecDeque<Seen>,
}

/// Service and rule.
type Key = (String, Option<String>);

#[derive(Debug)]
struct Seen {
    at: Instant,
    generation: u64,
    /// Whether it tells of every rule that there is.
    is_whole: bool,
    /// By the version's name.
    requests: HashMap<Key, HashMap<String, u64>>,
}

impl Recent {
    /// The rows of `view`, which was fetched at `now`, in its order.
    pub fn rows(&mut self, now: Instant, view: &SplitsView) -> Vec<Row> {
        // What was counted under another configuration says nothing of this one.
        if self.seen.back().is_some_and(|last| last.generation != view.generation) {
            self.seen.drain(..self.seen.len() - 1);
        }
        self.seen.push_back(Seen::new(now, view));
        while self.seen.len() > 2 && self.seen[1].at + RECENT <= now {
            self.seen.pop_front();
        }
        view.splits.iter().flat_map(|split| self.rows_of(now, split)).collect()
    }

    fn rows_of(&self, now: Instant, split: &SplitView) -> Vec<Row> {
        let key = key(split);
        // What was not shown before is not new for that.
        let base = self.seen.iter().find(|seen| seen.is_whole || seen.requests.contains_key(&key));
        let base = base.filter(|base| base.at < now);
        let before = base.and_then(|base| base.requests.get(&key));
        let since = |version: &VersionView| {
            let total = version.start.requests;
            let before = before.and_then(|before| before.get(&name(version))).copied().unwrap_or_default();
            // A counter that went back has begun anew.
            total.checked_sub(before).unwrap_or(total)
        };
        let total: u64 = split.versions.iter().map(since).sum();
        let row = |version: &VersionView| {
            let share = (total > 0).then(|| ratio(since(version), total));
            let passed = base.map(|base| now.duration_since(base.at).as_secs_f64());
            Row::new(split, version, share, passed.map(|passed| ratio(since(version), 1) / passed))
        };
        split.versions.iter().map(row).collect()
    }
}

impl Seen {
    fn new(at: Instant, view: &SplitsView) -> Seen {
        let requests = |split: &SplitView| {
            split.versions.iter().map(|version| (name(version), version.start.requests)).collect()
        };
        Seen {
            at,
            generation: view.generation,
            is_whole: view.left_out == 0,
            requests: view.splits.iter().map(|split| (key(split), requests(split))).collect(),
        }
    }
}

fn key(split: &SplitView) -> Key {
    (split.service.clone(), split.rule.clone())
}

/// The same version of two services is two.
fn name(version: &VersionView) -> String {
    match &version.service {
        Some(service) => format!("{} {service}", version.version),
        None => version.version.clone(),
    }
}

// Counts within some seconds are far below what a float holds exactly.
#[expect(clippy::cast_precision_loss)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// How large a terminal is: columns and lines.
pub type Size = (usize, usize);

/// Where the table is drawn.
#[derive(Debug)]
pub struct Screen {
    style: &'static Style,
    terminal: bool,
    colour: bool,
    /// Of a terminal, where it is known.
    size: Option<Size>,
    drawn_lines: usize,
    /// Above the table, where it is drawn in place.
    notice: Option<String>,
    /// In place of a table without rows.
    nothing: String,
    /// Rules that are not among the rows.
    left_out: usize,
}

impl Screen {
    /// A screen that draws in place if `terminal`, and in colours if `colour` too.
    #[must_use]
    pub fn new(style: &'static Style, terminal: bool, colour: bool) -> Self {
        let nothing = "no split yet".to_owned();
        let colour = terminal && colour;
        Self { style, terminal, colour, size: None, drawn_lines: 0, notice: None, nothing, left_out: 0 }
    }

    /// The standard output as it is; no colours if `NO_COLOR` is set and not empty (no-color.org).
    #[must_use]
    pub fn of_stdout(style: &'static Style) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let mut screen = Self::new(style, std::io::stdout().is_terminal(), !no_colour);
        screen.measure();
        screen
    }

    /// Looks how large the terminal is now.
    pub fn measure(&mut self) {
        let size = || rustix::termios::tcgetwinsize(std::io::stdout()).ok();
        let size = self.terminal.then(size).flatten().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        self.size = size.map(|size| (size.ws_col.into(), size.ws_row.into()));
    }

    /// Whether the table is drawn in place.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// How many rules it has room for, where it is a terminal of a known size.
    pub fn rules_that_fit(&self) -> Option<usize> {
        self.size.map(|(_, height)| height.div_ceil(LINES_OF_A_RULE))
    }

    /// How many rules there are that are not shown, from now on.
    pub fn set_left_out(&mut self, rules: usize) {
        self.left_out = rules;
    }

    /// What stands above the table from now on.
    pub fn set_notice(&mut self, notice: Option<String>) {
        self.notice = notice;
    }

    /// What is said in place of a table that has no rows.
    pub fn say_of_nothing(&mut self, text: String) {
        self.nothing = text;
    }

    /// What to write to show `rows`, `elapsed` after the start. Whoever writes anything else in between calls
    /// [`Screen::leave`] first.
    pub fn draw(&mut self, elapsed: Duration, rows: &[Row]) -> String {
        if !self.terminal {
            return rows.iter().map(|row| self.plain_line(elapsed, row)).collect();
        }
        let notice = self
            .notice
            .as_deref()
            .map(|notice| self.painted(grid::cut(&format!(" ! {}", clean(notice)), self.width()), RED));
        let lines = self.fitting(notice.into_iter().chain(self.table(rows)).collect());
        // Up to where the last one began, and clear from there.
        let up =
            if self.drawn_lines > 0 { format!("\x1b[{}A\r\x1b[J", self.drawn_lines) } else { String::new() };
        self.drawn_lines = lines.len();
        format!("{up}{}\n", lines.join("\n"))
    }

    /// The table once, as large as it is.
    pub fn once(&self, rows: &[Row]) -> String {
        let mut lines = self.table(rows);
        lines.extend(self.more(0));
        lines.join("\n") + "\n"
    }

    /// Leaves what is drawn where it is: the next table comes below.
    pub fn leave(&mut self) {
        self.drawn_lines = 0;
    }

    /// A table that is higher than the terminal could not be drawn in place.
    fn fitting(&self, mut lines: Vec<String>) -> Vec<String> {
        // The last line is the cursor's, and one says that there is more.
        let most = self.size.map_or(usize::MAX, |(_, height)| height.saturating_sub(1).max(1));
        let is_too_high = lines.len() + usize::from(self.left_out > 0) > most;
        let left = if is_too_high { lines.len() - (most - 1) } else { 0 };
        lines.truncate(lines.len() - left);
        lines.extend(self.more(left));
        lines
    }

    /// What is not shown: so many lines, and the rules that are not among the rows.
    fn more(&self, lines: usize) -> Option<String> {
        let text = match (lines, self.left_out) {
            (0, 0) => return None,
            (lines, 0) => more(lines, "line"),
            (0, rules) => more(rules, "rule"),
            (lines, rules) => format!("{}, {}", more(lines, "line"), more(rules, "rule")),
        };
        Some(grid::cut(&format!(" … {text}"), self.width()))
    }

    fn width(&self) -> usize {
        self.size.map_or(usize::MAX, |(width, _)| width)
    }

    fn table(&self, rows: &[Row]) -> Vec<String> {
        if rows.is_empty() {
            return vec![grid::cut(&self.nothing, self.width())];
        }
        let text = |row: &Row| self.style.columns.iter().map(|&column| row.marked(column)).collect();
        let grid = grid::Grid::new(self.style.columns, rows.iter().map(text).collect(), self.width());
        let mut lines = Vec::new();
        if !self.style.named {
            lines.extend(grid.heading());
        }
        let mut last = None;
        for (place, row) in rows.iter().enumerate() {
            let split = (&row.service, &row.rule);
            if self.style.named && last != Some(split) {
                if last.is_some() {
                    lines.push(String::new());
                }
                let rule = row.rule.as_deref().unwrap_or("no rule: all versions share");
                lines.push(self.painted(grid::cut(&format!(" {rule}  {}", row.service), self.width()), BOLD));
                lines.extend(grid.heading());
                last = Some(split);
            }
            let paint = |column, text: String| match column {
                Column::Version => self.painted(text, CYAN),
                Column::Success => self.painted(text, colour(row.states.success.as_deref())),
                Column::ClientErrors => self.painted(text, colour(row.states.client_errors.as_deref())),
                Column::Endpoints => self.painted(text, colour(row.states.endpoints.as_deref())),
                _ => text,
            };
            lines.push(grid.row(place, paint));
        }
        lines
    }

    fn painted(&self, text: String, colour: &str) -> String {
        if self.colour && !colour.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text }
    }

    fn plain_line(&self, elapsed: Duration, row: &Row) -> String {
        let mut line = format!("{:>3}s", elapsed.as_secs());
        // Writing to a String cannot fail.
        if self.style.named {
            let _ = write!(line, "  service {}  rule {}", row.service, row.rule.as_deref().unwrap_or("-"));
        }
        for &column in self.style.columns {
            let _ = write!(line, "  {} {}", column.name(), row.worded(column));
        }
        line + "\n"
    }
}

/// `1 more rule`, `2 more rules`
pub(super) fn more(count: usize, what: &str) -> String {
    format!("{count} more {what}{}", if count == 1 { "" } else { "s" })
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

// As terminals number them.
const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const YELLOW: &str = "33";
const CYAN: &str = "36";
const NONE: &str = "";

/// Of a state, by the admin's word for it; the same as on the live page.
fn mark(state: Option<&str>) -> &'static str {
    match state {
        Some("good") => "✓ ",
        Some("degraded" | "high") => "! ",
        Some("failing") => "✕ ",
        _ => "",
    }
}

/// The same as a colour.
fn colour(state: Option<&str>) -> &'static str {
    match state {
        Some("good") => GREEN,
        Some("degraded" | "high") => YELLOW,
        Some("failing") => RED,
        _ => NONE,
    }
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

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
