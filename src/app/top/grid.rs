//! Columns of text under their names, as wide as there is room.
//!
//! Law: no line is wider than the room. What tells least goes first; the version, the share and the success stay to the
//! last, and the version is cut before it pushes them out.

use super::table::Column;

/// Between two columns.
const GAP: usize = 2;
/// What goes first where there is too little room.
const GOES: [Column; 8] = [
    Column::P95,
    Column::P50,
    Column::Endpoints,
    Column::P99,
    Column::Weight,
    Column::Rate,
    Column::ClientErrors,
    Column::Success,
];
/// So much of a version's name stays.
const MIN_VERSION: usize = 4;
/// A name is not cut to less than this before anything else goes.
const LONG_VERSION: usize = 16;

/// Rows of text, laid out.
pub(super) struct Grid {
    /// The columns that are shown, their place in a row's text, and their width.
    columns: Vec<(Column, usize, usize)>,
    rows: Vec<Vec<String>>,
    room: usize,
}

impl Grid {
    /// Lays out `rows`, which have a text for each of `columns`.
    pub(super) fn new(columns: &[Column], rows: Vec<Vec<String>>, room: usize) -> Grid {
        let width = |(place, &column): (usize, &Column)| {
            let texts = rows.iter().filter_map(|row| row.get(place)).map(|text| width_of(text));
            (column, place, texts.max().unwrap_or_default().max(column.name().len()))
        };
        let mut columns: Vec<_> = columns.iter().enumerate().map(width).collect();
        let is_version = |column: &Column| *column == Column::Version;
        let full = columns.iter().find(|(column, _, _)| is_version(column)).map_or(0, |&(_, _, width)| width);
        // A long name is cut to a half before anything goes.
        let half = (full / 2).max(LONG_VERSION).min(full);
        let others = |columns: &[(Column, usize, usize)]| -> usize {
            let all = columns.iter().filter(|(column, _, _)| !is_version(column));
            all.map(|(_, _, width)| width + GAP).sum::<usize>() + 1
        };
        for goes in GOES {
            if others(&columns) + half <= room {
                break;
            }
            columns.retain(|(column, _, _)| *column != goes);
        }
        let left = room.saturating_sub(others(&columns)).clamp(MIN_VERSION.min(full), full);
        columns
            .iter_mut()
            .filter(|(column, _, _)| is_version(column))
            .for_each(|(_, _, width)| *width = left);
        Grid { columns, rows, room }
    }

    /// The names of the columns, and a line below them.
    pub(super) fn heading(&self) -> [String; 2] {
        let names = self.line(|column, _| column.name().to_owned(), |_, text| text);
        let width = self.columns.iter().map(|(_, _, width)| width + GAP).sum::<usize>().saturating_sub(GAP);
        [cut(names.trim_end(), self.room), cut(&format!(" {}", "─".repeat(width)), self.room)]
    }

    /// A row, each text of it painted when it is laid out.
    pub(super) fn row(&self, row: usize, paint: impl Fn(Column, String) -> String) -> String {
        let text =
            |_, place: usize| self.rows.get(row).and_then(|row| row.get(place)).cloned().unwrap_or_default();
        self.line(text, paint)
    }

    fn line(
        &self,
        text: impl Fn(Column, usize) -> String,
        paint: impl Fn(Column, String) -> String,
    ) -> String {
        let mut line = String::new();
        let mut left = self.room;
        for &(column, place, width) in &self.columns {
            let gap = left.min(if line.is_empty() { 1 } else { GAP });
            // Only where not even the version and the share have room.
            let width = width.min(left - gap);
            left -= gap + width;
            let text = cut(&text(column, place), width);
            let space = " ".repeat(width.saturating_sub(width_of(&text)));
            let laid = if column == Column::Version { text + &space } else { space + &text };
            line.push_str(&" ".repeat(gap));
            line.push_str(&paint(column, laid));
        }
        line
    }
}

/// `text` within `room`; what is cut off is told.
pub(super) fn cut(text: &str, room: usize) -> String {
    if width_of(text) <= room {
        return text.to_owned();
    }
    let kept = text.chars().take(room.saturating_sub(1));
    kept.chain((room > 0).then_some('…')).collect()
}

/// Names of versions, services and rules have letters that take one place each.
fn width_of(text: &str) -> usize {
    text.chars().count()
}
