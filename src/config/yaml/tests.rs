//! What bytes may be, and what hostile ones cost.

use std::time::Duration;

use super::*;

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, code: &str, line: u32, column: u32) {
    let before = cpu_time();
    let error = parse(bytes.as_ref()).expect_err("refused");
    assert_eq!((error.code, error.at), (code, Position { line, column }), "{}", error.reason);
    let took = cpu_time() - before;
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn what_is_missing_at_the_end_is_a_fault_on_a_line_that_is_there() {
    for (text, line, column) in
        [("a: [1\n", 1, 6), ("a: {b: 1\n\n\n", 1, 9), ("a:\n- \"x\n", 2, 3), ("a: [1", 1, 6)]
    {
        let error = parse(text.as_bytes()).expect_err(text);
        assert_eq!(
            (error.code, error.at),
            ("syntax", Position { line, column }),
            "{text:?}: {}",
            error.reason
        );
    }
}

#[test]
fn a_node_that_is_not_there_stands_on_a_line_that_is() {
    for (text, line) in
        [("? ", 1), ("a:\n? ", 2), ("a:\r\n? ", 2), ("a:\r? ", 2), ("- ", 1), ("a: b\n---\n? ", 3)]
    {
        let mut found = Vec::new();
        for document in parse(text.as_bytes()).unwrap_or_default() {
            found.push(document.at.line);
            match &document.value {
                Value::Mapping(entries) => entries.iter().for_each(|entry| {
                    found.extend([entry.key_at.line, entry.value.at.line]);
                }),
                Value::Sequence(items) => found.extend(items.iter().map(|item| item.at.line)),
                Value::Scalar { .. } => {}
            }
        }
        assert!(found.iter().all(|at| (1..=line).contains(at)), "{text:?}: {found:?}");
        assert!(!found.is_empty(), "{text:?}");
    }
}

#[test]
fn a_node_knows_its_line_and_column() {
    let documents = parse(b"a:\n- {b: c}\n---\nd: \"1\"\n").expect("parses");
    assert_eq!(documents.len(), 2);
    let Some(Value::Sequence(items)) = documents[0].get("a").map(|node| &node.value) else {
        panic!("no list")
    };
    assert_eq!(items[0].at, Position { line: 2, column: 3 });
    assert_eq!(items[0].get("b").map(|node| node.at), Some(Position { line: 2, column: 7 }));
    let quoted = documents[1].get("d").map(|node| &node.value);
    assert_eq!(quoted, Some(&Value::Scalar { text: "1".into(), plain: false }));
}

#[test]
fn json_is_read_by_the_same_parser_with_tabs_too() {
    let json = b"{\n\t\"a\": [1, 2.5, null, true],\n\t\"b\": {\"c\": \"\\u00e9\\/\"}\r\n}\n";
    let documents = parse(json).expect("parses");
    let text = documents[0].get("b").and_then(|b| b.get("c")).map(|node| node.value.clone());
    assert_eq!(text, Some(Value::Scalar { text: "\u{e9}/".into(), plain: false }));
}

#[test]
fn what_is_not_text_is_refused_where_it_stands() {
    refused(b"a: b\nc: \xff\n", "not-text", 2, 4);
    refused(b"\x7fELF\0\0", "not-text", 1, 1);
    refused(b"? a\n\n\t", "tab", 3, 2);
    refused(b"a: \0", "not-text", 1, 4);
    refused(b"\xEF\xBB\xBFa: b", "byte-order-mark", 1, 1);
    refused(b"\xFF\xFEa\0", "byte-order-mark", 1, 1);
    refused(vec![b'a'; 20 << 20], "too-large", 1, 1);
}

#[test]
fn a_file_without_a_document_is_a_fault() {
    for nothing in ["", "\n\n", "# only words\n", "---\n", "---\n---\n...\n", "~\n"] {
        refused(nothing, "empty", 1, 1);
    }
    assert_eq!(parse(b"---\n---\na: b\n---\n").expect("one document").len(), 1);
}

#[test]
fn a_tab_in_indentation_is_refused() {
    parse(b"{\n\t\"a\": [\n\t\t1,\r\n\t\t{\"b\": 2}\n\t]\n}").expect("JSON may");
    parse(b"a: [\n  c]\n#\tx\nd: e\t# f").expect("spaces and comments may");
    for text in ["a:\n\tb: c\n", "a:\n  \tb: c\n", "a:\n\t- c\n", "a:\n  b: c\n\td: e\n", "é:\r\n \t- e\n"] {
        let error = parse(text.as_bytes()).expect_err("refused");
        assert_eq!((error.code, error.at.line), ("tab", text.matches('\n').count() as u32), "{text:?}");
    }
}

#[test]
fn what_readers_could_take_two_ways_is_refused() {
    refused("a: 1\nb:\n  c: 1\n  c: 2\n", "duplicate-key", 4, 3);
    refused("{a: 1, \"a\": 2}", "duplicate-key", 1, 8);
    refused("x: &x {a: 1}\ny:\n  <<: *x\n", "merge-key", 3, 3);
    refused("a: !!str 1\n", "tag", 1, 4);
    refused("a: !mine {b: c}\n", "tag", 1, 4);
    refused("? [a]\n: b\n", "key", 1, 3);
    refused("a: *b\n", "syntax", 1, 4);
    refused("a: &a [*a]\n", "alias", 1, 8);
}

#[test]
fn an_alias_stands_for_its_node_within_one_document() {
    let documents = parse(b"a: &a {b: c}\nd: *a\n").expect("parses");
    assert_eq!(documents[0].get("a"), documents[0].get("d"));
    assert!(parse(b"a: &a b\n---\nc: *a\n").is_err());
}

#[test]
fn alias_bombs_and_deep_nesting_are_refused_at_once() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb += &format!("a{level}: &a{level} [{list}]\n");
    }
    let error = parse(bomb.as_bytes()).expect_err("refused");
    assert_eq!(error.code, "alias-bomb");
    refused("[".repeat(10_000), "too-deep", 1, 256);
    refused("{a: ".repeat(10_000), "too-deep", 1, 1021);
    refused("- ".repeat(10_000), "too-deep", 1, 129);
    let ladder: String = (0..10_000).map(|level| format!("{}a:\n", " ".repeat(level.min(300)))).collect();
    refused(ladder, "too-deep", 65, 65);
}

/// Time that this thread has had a core: on a busy machine the clock on the wall says nothing of what a file costs.
fn cpu_time() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it");
    Duration::from_nanos(spent.split(' ').next().and_then(|spent| spent.parse().ok()).expect("nanoseconds"))
}

#[test]
fn the_largest_file_is_read_or_refused_in_good_time() {
    let hostile = [
        format!("[{}]", "a, ".repeat(1 << 20)),
        format!("{}{}", "[".repeat(200), "a, ".repeat(1 << 20)),
        format!("{}{}", "[".repeat(60), "a: b, ".repeat(500_000)),
        ":".repeat(4 << 20),
        (0..400_000).map(|n| format!("k{n}:\n")).collect(),
    ];
    for text in hostile {
        let before = cpu_time();
        let outcome = parse(text.as_bytes()).map(|documents| documents.len());
        let took = cpu_time() - before;
        // Ten times what an optimised build needs: tests run unoptimised.
        assert!(took < Duration::from_secs(10), "{:?}… took {took:?}: {outcome:?}", &text[..12]);
    }
}
