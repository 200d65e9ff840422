//! The lines of a head or of trailers: where the last one ends, and what each must look like.
//!
//! Law: lines are judged in their order, and within a line from left to right, so that the first fault decides however
//! the bytes arrived. Nothing here knows what a field means.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::{memchr, memchr_iter, memrchr};

use super::known;
use super::{HeadBounds, HeadError, Malformed, head, target};
use crate::message::spare;

/// Fields that the proxy adds to a head: a map with room for them does not grow.
const SPARE_FIELDS: usize = 4;

/// Bytes that a line of a head has, about. A map that is too small grows.
const LINE_BYTES: usize = 32;

/// Lines whose ends are remembered from the search for the last one; behind them they are searched again.
const NOTED: usize = 30;

/// Whose lines they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// A request's head: CR LF only; empty lines before it are skipped (RFC 9112 section 2.2).
    Request,
    /// A response's head: LF alone ends a line, too.
    Response,
    /// The trailers of a body: CR LF only.
    Trailers,
}

impl Section {
    /// Whether a line may end in LF alone. A caller who sends that may be read differently elsewhere; a server only
    /// harms itself.
    fn takes_bare_lf(self) -> bool {
        self == Section::Response
    }
}

/// Where the first lines of a section end, as the search for its end found them.
#[derive(Debug)]
pub(super) struct Ends {
    behind: [u32; NOTED],
    count: usize,
}

impl Ends {
    pub(super) fn new() -> Ends {
        Ends { behind: [0; NOTED], count: 0 }
    }

    fn note(&mut self, lf: usize) {
        if let (Some(place), Ok(behind)) = (self.behind.get_mut(self.count), u32::try_from(lf + 1)) {
            *place = behind;
            self.count += 1;
        }
    }

    fn noted(&self) -> &[u32] {
        self.behind.get(..self.count).unwrap_or_default()
    }
}

/// Where the section at the front of `buf` ends, behind its empty line. `scanned` remembers how far was looked; `ends`
/// gets its lines, if it is whole when it is first looked at.
///
/// The lines of a section that is not whole are checked as they come: who sends garbage learns it now, not when the
/// time for the head is up.
pub(super) fn find_end(
    buf: &[u8],
    section: Section,
    bounds: HeadBounds,
    scanned: &mut usize,
    ends: &mut Ends,
) -> Result<Option<usize>, HeadError> {
    let window = buf.get(..bounds.bytes).unwrap_or(buf);
    let from = (*scanned).min(window.len());
    for offset in memchr_iter(b'\n', &window[from..]) {
        let lf = from + offset;
        if from == 0 {
            ends.note(lf);
        }
        if is_empty_line(window, lf) && !(section == Section::Request && is_leading(window, lf)) {
            *scanned = 0;
            return Ok(Some(lf + 1));
        }
    }
    check_lines(window, from, section)?;
    *scanned = window.len();
    if buf.len() > bounds.bytes { Err(HeadError::TooLarge) } else { Ok(None) }
}

/// Whether nothing but a CR stands in the line that ends at `lf`.
fn is_empty_line(buf: &[u8], lf: usize) -> bool {
    matches!(buf[..lf], [] | [b'\r'] | [.., b'\n'] | [.., b'\n', b'\r'])
}

/// Whether only empty lines stand before the empty line that ends at `lf`; an empty line behind any other would have
/// been the end.
fn is_leading(buf: &[u8], lf: usize) -> bool {
    let start = if buf[..lf].ends_with(b"\r") { lf - 1 } else { lf };
    is_first(buf, start)
}

/// Whether the line that begins at `start` is the first of its section, or only empty ones stand before it.
fn is_first(buf: &[u8], start: usize) -> bool {
    start == 0 || is_empty_line(buf, start - 1)
}

/// Checks the lines that ended at or behind `from`, and the beginning of one that has not ended.
fn check_lines(buf: &[u8], from: usize, section: Section) -> Result<(), HeadError> {
    // The line in which `from` lies may be long, and come byte by byte: what is behind is looked at once, at its end.
    let start_of_line = |nearest: usize| memrchr(b'\n', &buf[nearest..from]).map(|lf| nearest + lf + 1);
    let mut start = None;
    for offset in memchr_iter(b'\n', &buf[from..]) {
        let end = from + offset + 1;
        let line = start.or_else(|| start_of_line(0)).unwrap_or(0)..end;
        check_line(buf, line, section)?;
        start = Some(end);
    }
    if section != Section::Request {
        return Ok(());
    }
    let nearest = from.saturating_sub(target::BEGINNING);
    match start.or_else(|| start_of_line(nearest)).or((nearest == 0).then_some(0)) {
        Some(start) if is_first(buf, start) => target::check_beginning(&buf[start..]),
        _ => Ok(()),
    }
}

fn check_line(buf: &[u8], at: Range<usize>, section: Section) -> Result<(), HeadError> {
    let first = is_first(buf, at.start);
    let line = Bytes::copy_from_slice(&buf[at]);
    let whole = 0..line.len();
    match section {
        Section::Request if first && matches!(line[..], [b'\r', b'\n'] | [b'\n']) => {
            line_end(&line, whole, section).map(|_| ())
        }
        Section::Request if first => target::request_line(&line, whole).map(|_| ()),
        Section::Response if first => head::status_line(&line, whole).map(|_| ()),
        _ => {
            read_field(&line, content(&line, whole.clone()))?;
            line_end(&line, whole, section).map(|_| ())
        }
    }
}

/// The lines of `section`, each with its end. `ends` are those of its first ones.
pub(super) fn lines<'a>(section: &'a [u8], ends: &'a Ends) -> impl Iterator<Item = Range<usize>> + use<'a> {
    let noted = ends.noted().iter().map(|&behind| behind as usize);
    let searched = ends.noted().last().map_or(0, |&behind| behind as usize);
    let others = memchr_iter(b'\n', section.get(searched..).unwrap_or_default());
    let mut start = 0;
    noted.chain(others.map(move |lf| searched + lf + 1)).map(move |behind| {
        let line = start..behind;
        start = behind;
        line
    })
}

/// The fields of `head` in `lines`, up to the empty line. `keep_back` is told of each, and those for which it returns
/// true are left out.
pub(super) fn fields(
    head: &Bytes,
    lines: impl Iterator<Item = Range<usize>>,
    section: Section,
    bounds: HeadBounds,
    mut keep_back: impl FnMut(&HeaderName, &HeaderValue) -> bool,
) -> Result<HeaderMap, HeadError> {
    let expected = (head.len() / LINE_BYTES).min(bounds.count);
    let mut headers = spare::header_map(expected + SPARE_FIELDS).map_err(|_| HeadError::TooMany)?;
    let mut count = 0;
    known::with(|known| {
        for line in lines {
            let at = content(head, line.clone());
            if at.is_empty() {
                line_end(head, line, section)?;
                continue;
            }
            // The rest is still checked: one that comes in pieces is judged by its lines before its end is there.
            count += 1;
            let text = &head[at.clone()];
            if let Some((name, value)) = known.recall(text) {
                line_end(head, line, section)?;
                if count <= bounds.count && !keep_back(name, value) {
                    headers.try_append(name.clone(), value.clone()).map_err(|_| HeadError::TooMany)?;
                }
                continue;
            }
            let (name, value) = read_field(head, at)?;
            line_end(head, line, section)?;
            known.learn(text, &name, &value);
            if count <= bounds.count && !keep_back(&name, &value) {
                headers.try_append(name, value).map_err(|_| HeadError::TooMany)?;
            }
        }
        Ok::<_, HeadError>(())
    })?;
    if count > bounds.count { Err(HeadError::TooMany) } else { Ok(headers) }
}

/// `line` without its end, which must be one that `section` takes.
pub(super) fn line_end(buf: &[u8], line: Range<usize>, section: Section) -> Result<Range<usize>, HeadError> {
    let content = content(buf, line.clone());
    if content.end + 2 == line.end || section.takes_bare_lf() {
        Ok(content)
    } else {
        Err(Malformed::LineEnd.into())
    }
}

/// `line` without LF and the CR before it.
pub(super) fn content(buf: &[u8], line: Range<usize>) -> Range<usize> {
    let end = match &buf[line.clone()] {
        [.., b'\r', b'\n'] => line.end - 2,
        [.., b'\n'] => line.end - 1,
        _ => line.end,
    };
    line.start..end
}

/// The field that stands at `at` of `head`, without its line's end; its value is a slice of `head`.
fn read_field(head: &Bytes, at: Range<usize>) -> Result<(HeaderName, HeaderValue), HeadError> {
    let text = &head[at.clone()];
    if let [b' ' | b'\t', ..] = text {
        return Err(Malformed::ObsFold.into());
    }
    let colon = memchr(b':', text).ok_or(Malformed::FieldName)?;
    let name = HeaderName::from_bytes(&text[..colon]).map_err(|_| Malformed::FieldName)?;
    let value = trim(text, colon + 1);
    let value = head.slice(at.start + value.start..at.start + value.end);
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| Malformed::FieldValue)?;
    Ok((name, value))
}

/// What stands in `text` from `start` on, without the white space around it.
fn trim(text: &[u8], start: usize) -> Range<usize> {
    let is_visible = |byte: &u8| !matches!(byte, b' ' | b'\t');
    let rest = &text[start..];
    // As nearly everybody writes it: one space before it, none behind.
    if let [b' ', first, .., last] = rest
        && is_visible(first)
        && is_visible(last)
    {
        return start + 1..text.len();
    }
    let first = rest.iter().position(is_visible).unwrap_or(rest.len());
    let last = rest.iter().rposition(is_visible).map_or(first, |last| last + 1);
    start + first..start + last
}
