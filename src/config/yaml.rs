//! Bytes -> located documents, on the event stream of saphyr-parser. JSON is read as the YAML that it is.
//!
//! Law: whatever the bytes, it ends in about a second with nodes or with one fault that has a line and a column. Size,
//! depth and node count are bounded before anything is built; what could make two readers disagree (duplicate keys,
//! merge keys, tags) is refused.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError};

use super::input::MAX_FILE_BYTES;
use super::tree::{Entry, Node, Position, Value};

/// Collections inside each other. A rule has 7.
const MAX_DEPTH: usize = 64;
/// Nodes of one file, those that aliases stand for among them. 10,000 rules have 300,000.
const MAX_NODES: usize = 600_000;
/// Nodes that aliases stand for: enough for honest reuse, little work for a bomb.
const MAX_ALIASED_NODES: usize = 20_000;

/// Why bytes are no documents: where, which law, the reason, and what is allowed.
#[derive(Debug, PartialEq)]
pub(crate) struct Unreadable {
    pub(crate) at: Position,
    pub(crate) code: &'static str,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) help: Option<&'static str>,
}

/// The documents of a file, without those that hold nothing. At least one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Node>, Unreadable> {
    let mut documents = Vec::new();
    each_document(bytes, |document| documents.push(document))?;
    Ok(documents)
}

/// Hands over one document after the other: what is made of 10,000 rules takes a fraction of the memory that their
/// nodes would take together. An error may come behind documents that were handed over.
pub(crate) fn each_document(bytes: &[u8], mut each: impl FnMut(Node)) -> Result<(), Unreadable> {
    let text = check_text(bytes)?;
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    let tabs = TabIndented::new(text);
    let last_line = lines(text);
    let mut some = false;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| syntax(&error, text))?;
        // A node that is not there stands behind the text: on a line after the last, by the parser.
        let at = position(span.start);
        let at = if at.line > last_line { position_after(text) } else { at };
        let flow = tabs.check(&event, span.start.index(), at, builder.in_flow())?;
        builder.take(event, at, flow)?;
        if let Some(document) = builder.document.take_if(|document| !document.is_null()) {
            some = true;
            each(document);
        }
    }
    match some {
        true => Ok(()),
        false => Err(fault(Position { line: 1, column: 1 }, "empty", "it holds no document", None)),
    }
}

/// The bytes as text that YAML allows, found out before the parser sees them.
fn check_text(bytes: &[u8]) -> Result<&str, Unreadable> {
    let start = Position { line: 1, column: 1 };
    if bytes.len() > MAX_FILE_BYTES {
        // How many there are is not said: whoever read them may have stopped early.
        return Err(fault(start, "too-large", "the file is too large", Some("at most 4MiB")));
    }
    let utf8 = Some("files are UTF-8 without a byte order mark");
    if bytes.starts_with(b"\xEF\xBB\xBF") || bytes.starts_with(b"\xFE\xFF") || bytes.starts_with(b"\xFF\xFE")
    {
        return Err(fault(start, "byte-order-mark", "it starts with a byte order mark", utf8));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let (good, bad) = bytes.split_at(error.valid_up_to());
        let byte = bad.first().copied().unwrap_or_default();
        let at = position_after(std::str::from_utf8(good).unwrap_or_default());
        fault(at, "not-text", format!("byte 0x{byte:02x} is not UTF-8"), utf8)
    })?;
    let control = |c: char| c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}');
    match text.find(|c| control(c) || c == '\u{FEFF}') {
        None => Ok(text),
        Some(index) => {
            let (before, after) = text.split_at(index);
            let code = u32::from(after.chars().next().unwrap_or_default());
            Err(fault(
                position_after(before),
                "not-text",
                format!("character U+{code:04X} is not text"),
                None,
            ))
        }
    }
}

/// How many lines there are, by any of YAML's line ends.
fn lines(text: &str) -> u32 {
    let bytes = text.as_bytes();
    let returns = memchr::memchr_iter(b'\r', bytes).filter(|at| bytes.get(at + 1) != Some(&b'\n')).count();
    (memchr::memchr_iter(b'\n', bytes).count() + returns + 1) as u32
}

fn position_after(text: &str) -> Position {
    let line = text.bytes().filter(|&byte| byte == b'\n').count() + 1;
    let column = text.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Position { line: line as u32, column: column as u32 }
}

fn fault(
    at: Position,
    code: &'static str,
    reason: impl Into<Cow<'static, str>>,
    help: Option<&'static str>,
) -> Unreadable {
    Unreadable { at, code, reason: reason.into(), help }
}

fn position(marker: Marker) -> Position {
    Position { line: marker.line().max(1) as u32, column: marker.col() as u32 + 1 }
}

fn syntax(error: &ScanError, text: &str) -> Unreadable {
    let at = position(*error.marker());
    if error.info().contains("tab") {
        // The parser points to the start of the scalar that a tab cut short.
        let mut lines = text.lines().zip(1u32..).skip(at.line as usize - 1);
        let first = lines.find_map(|(content, line)| Some(Position { line, column: tab_column(content)? }));
        return tab(first.unwrap_or(at));
    }
    if error.info() == "recursion limit exceeded" {
        return too_deep(at);
    }
    // What is missing at the end, the parser misses on the line after the last.
    let end = position_after(text.trim_end());
    let at = if at.line > end.line { end } else { at };
    fault(at, "syntax", error.info().to_owned(), None)
}

/// The column of the tab that indents `line`.
fn tab_column(line: &str) -> Option<u32> {
    let rest = line.trim_start_matches(' ');
    rest.starts_with('\t').then(|| (line.len() - rest.len()) as u32 + 1)
}

fn tab(at: Position) -> Unreadable {
    fault(at, "tab", "a tab indents", Some("indent by spaces"))
}

fn too_deep(at: Position) -> Unreadable {
    fault(at, "too-deep", "collections nest too deep", Some("at most 64"))
}

/// The characters of a text that has tabs in indentation somewhere; the parser lets some of them pass.
struct TabIndented(Option<Vec<char>>);

impl TabIndented {
    fn new(text: &str) -> TabIndented {
        TabIndented(text.lines().any(|line| tab_column(line).is_some()).then(|| text.chars().collect()))
    }

    /// Refuses a block node that a tab indents. Returns whether `event` opens a flow collection, in which JSON may
    /// indent by tabs.
    fn check(
        &self,
        event: &Event<'_>,
        index: usize,
        at: Position,
        in_flow: bool,
    ) -> Result<bool, Unreadable> {
        let Some(chars) = &self.0 else { return Ok(false) };
        let starts = matches!(
            event,
            Event::Scalar(..) | Event::Alias(_) | Event::MappingStart(..) | Event::SequenceStart(..)
        );
        if !starts || in_flow {
            return Ok(in_flow);
        }
        let before = chars.get(..index).unwrap_or_default();
        let indent = before.iter().rev().take_while(|&&c| c == ' ' || c == '\t').count();
        let (line, indentation) = before.split_at(before.len() - indent);
        if indentation.contains(&'\t') && line.last().is_none_or(|&c| c == '\n') {
            return Err(tab(at));
        }
        Ok(matches!(chars.get(index), Some('{' | '[')))
    }
}

/// Nodes under construction.
#[derive(Default)]
struct Builder {
    /// The one that was finished last.
    document: Option<Node>,
    open: Vec<Open>,
    /// Finished anchored nodes of this document and their sizes, by the parser's number.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    aliased: usize,
}

/// A collection that is not finished.
struct Open {
    at: Position,
    anchor: usize,
    /// Whether it is written in brackets; known only where tabs indent.
    flow: bool,
    /// How many nodes there were before it.
    nodes_before: usize,
    parts: Parts,
}

enum Parts {
    Sequence(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashSet<String>, key: Option<(String, Position)> },
}

impl Builder {
    fn in_flow(&self) -> bool {
        self.open.last().is_some_and(|open| open.flow)
    }

    fn take(&mut self, event: Event<'_>, at: Position, flow: bool) -> Result<(), Unreadable> {
        match event {
            Event::DocumentStart(_) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(at, tag.is_some())?;
                let plain = style == ScalarStyle::Plain;
                self.finish(Node { at, value: Value::Scalar { text: text.into_owned(), plain } }, anchor, 1)?;
            }
            Event::SequenceStart(anchor, tag) => {
                refuse_tag(at, tag.is_some())?;
                self.open(Open {
                    at,
                    anchor,
                    flow,
                    nodes_before: self.nodes,
                    parts: Parts::Sequence(Vec::new()),
                })?;
            }
            Event::MappingStart(anchor, tag) => {
                refuse_tag(at, tag.is_some())?;
                let parts = Parts::Mapping { entries: Vec::new(), seen: HashSet::new(), key: None };
                self.open(Open { at, anchor, flow, nodes_before: self.nodes, parts })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => self.alias(at, anchor)?,
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Unreadable> {
        if self.open.len() >= MAX_DEPTH {
            return Err(too_deep(open.at));
        }
        if let Some(Open { parts: Parts::Mapping { key: None, .. }, .. }) = self.open.last() {
            return Err(fault(open.at, "key", "a key must be a string", None));
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unreadable> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let value = match open.parts {
            Parts::Sequence(items) => Value::Sequence(items),
            Parts::Mapping { entries, .. } => Value::Mapping(entries),
        };
        let size = self.nodes - open.nodes_before + 1;
        self.finish(Node { at: open.at, value }, open.anchor, size)
    }

    fn alias(&mut self, at: Position, anchor: usize) -> Result<(), Unreadable> {
        // An alias inside its own anchor finds nothing: the anchor is known when its node is finished.
        let Some((node, size)) = self.anchors.get(&anchor) else {
            return Err(fault(at, "alias", "the alias stands for nothing that is complete above it", None));
        };
        self.aliased += size;
        if self.aliased > MAX_ALIASED_NODES {
            let help = Some("at most 20000 nodes a file by alias");
            return Err(fault(at, "alias-bomb", "aliases stand for too many nodes", help));
        }
        let (node, size) = (node.clone(), *size);
        self.nodes += size - 1;
        self.finish(node, 0, size)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), Unreadable> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(fault(node.at, "too-large", "it has too many nodes", Some("at most 600000 a file")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.document = Some(node),
            Some(Parts::Sequence(items)) => items.push(node),
            Some(Parts::Mapping { entries, seen, key }) => match key.take() {
                None => *key = Some(take_key(node, seen)?),
                Some((key, key_at)) => entries.push(Entry { key, key_at, value: node }),
            },
        }
        Ok(())
    }
}

fn refuse_tag(at: Position, tagged: bool) -> Result<(), Unreadable> {
    match tagged {
        true => Err(fault(at, "tag", "tags are not read", Some("write the value without `!`"))),
        false => Ok(()),
    }
}

fn take_key(node: Node, seen: &mut HashSet<String>) -> Result<(String, Position), Unreadable> {
    let Value::Scalar { text, plain } = node.value else {
        return Err(fault(node.at, "key", "a key must be a string", None));
    };
    if plain && text == "<<" {
        let help = Some("write the keys out, or alias the whole value");
        return Err(fault(node.at, "merge-key", "merge keys (`<<`) are not read", help));
    }
    if !seen.insert(text.clone()) {
        return Err(fault(node.at, "duplicate-key", format!("`{text}` stands twice in this mapping"), None));
    }
    Ok((text, node.at))
}

#[cfg(test)]
mod tests;
