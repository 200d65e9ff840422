//! Laws of reloading when files are at fault: whatever stands in a file's place or in the file, it is told of with its
//! name, in time, and what is in force stays.

#![allow(clippy::unwrap_used)] // a panic is the report

#[path = "files/world.rs"]
mod world;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use weir::config::{Diagnostics, Document, Environment, load};
use weir::sources::Verdict;
use world::{World, config_map, is_in_force_soon, main_file, rule, weights};

/// "Refused in under 1 s", by the specification, which means what people run: without optimisation it takes longer.
const JUDGED_WITHIN: Duration = Duration::from_secs(if cfg!(debug_assertions) { 4 } else { 1 });

/// A fault is believed when nothing was written for so long.
const QUIET: Duration = Duration::from_millis(200);

/// Time that this thread has had a core: on a busy machine the clock on the wall says nothing of what a file costs.
fn cpu_time() -> Duration {
    let spent = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split(' ').next().and_then(|spent| spent.parse().ok()).unwrap())
}

/// What puts something else in the place of the file at a path.
type Replace = fn(&Path);

#[test]
fn whatever_takes_a_files_place_is_a_fault_with_its_name_and_the_file_is_seen_when_it_is_back() {
    let cases: [(&str, Replace, &str); 8] = [
        ("a directory", |path| fs::create_dir(path).unwrap(), "directory"),
        ("a pipe that nobody writes to", pipe, "no regular file"),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap()), "no regular file"),
        ("a link to itself", |path| symlink(path, path).unwrap(), "symbolic links"),
        ("a link to nothing", |path| symlink("nothing", path).unwrap(), "No such file"),
        ("a link to a device", |path| symlink("/dev/zero", path).unwrap(), "no regular file"),
        ("a link to a directory", |path| symlink("/", path).unwrap(), "directory"),
        ("a link to a pipe", link_to_pipe, "no regular file"),
    ];
    let mut wrong = String::new();
    for (what, replace, reason) in cases {
        // The file that a main file names, as in a directory of rules some of these are no rule file at all.
        for name in ["weir.yaml", "rules/a.yaml"] {
            let world = World::new();
            world.write("weir.yaml", main_file("rules/a.yaml"));
            assert_eq!(weights(&world.accepted()), [95, 5]);
            let path = world.path(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(&path).unwrap();
            replace(&path);
            let faults = world.refused().to_string();
            if !faults.contains(name) || !faults.contains(reason) {
                let _ = writeln!(wrong, "{what} as {name}: {faults}");
            }
            fs::remove_dir(&path).or_else(|_| fs::remove_file(&path)).unwrap();
            world.write(name, text);
            match world.next() {
                Verdict::Restored => {}
                Verdict::Refused(faults) => drop(writeln!(wrong, "{what} as {name}, and then: {faults}")),
                _ => drop(writeln!(wrong, "{what} as {name} changed what is in force")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn pipe(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn link_to_pipe(path: &Path) {
    let pipe_path = path.with_extension("pipe");
    if !pipe_path.exists() {
        pipe(&pipe_path);
    }
    symlink(pipe_path, path).unwrap();
}

#[test]
fn in_a_directory_of_rules_a_pipe_or_a_socket_with_the_name_of_a_rule_file_is_a_fault() {
    for (what, replace) in
        [("a pipe", pipe as Replace), ("a socket", |path| drop(UnixListener::bind(path).unwrap()))]
    {
        let world = World::new();
        replace(&world.path("rules/b.yaml"));
        let faults = world.refused().to_string();
        assert!(faults.contains("rules/b.yaml") && faults.contains("no regular file"), "{what}: {faults}");
        fs::remove_file(world.path("rules/b.yaml")).unwrap();
        assert_eq!(world.next(), Verdict::Restored, "{what}");
    }
}

#[test]
fn a_file_written_in_pieces_counts_when_it_is_whole() {
    let text = rule(50);
    is_in_force_soon(|world| {
        let started = Instant::now();
        // Pieces that come faster than a fault is believed; the last makes it whole.
        let faster = (1..text.len()).step_by(text.len() / 8).chain([text.len()]).all(|end| {
            let before = Instant::now();
            world.write("rules/a.yaml", &text[..end]);
            std::thread::sleep(Duration::from_millis(20)); // somebody who writes slowly; nothing waits for this
            before.elapsed() < QUIET
        });
        world.write("rules/a.yaml", &text);
        faster.then(|| {
            assert_eq!(weights(&world.accepted()), [50, 50]);
            started.elapsed()
        })
    });
}

#[test]
fn a_config_map_that_is_swapped_while_it_is_read_is_seen_whole() {
    let folder = tempfile::tempdir().unwrap();
    // Two files that belong together: their weights for v2 add up to 100.
    let rules = folder.path().join("rules");
    let other = |v2: u32| {
        rule(v2).replace("name: split", "name: other")
            + "  precedence: 1\n  match: {request: {headers: {uri: {prefix: /other}}}}\n"
    };
    let files = |v2: u32| [("a.yaml", rule(v2)), ("b.yaml", other(100 - v2))];
    config_map(folder.path(), 0, &[("weir.yaml", main_file("rules"))]);
    config_map(&rules, 0, &files(5));
    let world = World::watch(folder);
    for generation in 1..60 {
        config_map(&rules, generation, &files(generation));
    }
    loop {
        let loaded = world.accepted();
        let hosts = loaded.snapshot.route_configs.values().flat_map(|routes| &routes.virtual_hosts);
        let rules = hosts.flat_map(|host| &host.routes).filter(|route| route.versions().len() == 2);
        let v2: Vec<u32> = rules.map(|route| route.versions()[1].weight).collect();
        assert_eq!(v2.iter().sum::<u32>(), 100, "the two are of one generation");
        if v2.contains(&59) {
            break;
        }
    }
}

/// What a rule file holds, and what is said of it: a code and a place.
struct Content {
    what: &'static str,
    bytes: Vec<u8>,
    code: &'static str,
    line: u32,
}

fn content(what: &'static str, bytes: impl Into<Vec<u8>>, code: &'static str, line: u32) -> Content {
    Content { what, bytes: bytes.into(), code, line }
}

/// A rule whose weight of v2 is this text.
fn weight(text: &str) -> String {
    rule(5).replace("weight: 5}", &format!("weight: {text}}}"))
}

/// Collections in each other, each an alias of the one before, ten times.
fn alias_bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let before = format!("*a{},", level - 1).repeat(10);
        let _ = writeln!(text, "a{level}: &a{level} [{before}]");
    }
    text
}

fn nasty_contents() -> Vec<Content> {
    let with_line_ends = |text: &str, end: &str| text.replace('\n', end);
    vec![
        content("nothing", "", "empty", 1),
        content("white space", " \n\n  \n", "empty", 1),
        content("a remark", "# nothing\n", "empty", 1),
        content("a document end", "---\n...\n", "empty", 1),
        content("an alias bomb", alias_bomb(), "alias-bomb", 5),
        content("an alias of itself", "a: &a [*a]\n", "alias", 1),
        content("an alias of nothing", "a: *nobody\n", "syntax", 1),
        content("10,000 sequences in each other", "[".repeat(10_000), "too-deep", 1),
        content("10,000 mappings in each other", "{a: ".repeat(10_000), "too-deep", 1),
        content(
            "10,000 lines that go deeper",
            (0..2_000).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect::<String>(),
            "too-deep",
            65,
        ),
        content("4 MiB of brackets", "[]".repeat(2 << 20), "syntax", 1),
        content("a key that stands twice", rule(5) + "kind: RouteRule\n", "duplicate-key", 9),
        content("a weight that is no number", weight(".nan"), "type", 8),
        content("a weight without end", weight(".inf"), "type", 8),
        content("a weight beyond every number", weight("1e999"), "type", 8),
        content("a weight with a fraction", weight("5.5"), "type", 8),
        content("a weight in quotes", weight("'5'"), "type", 8),
        content("a weight below zero", weight("-5"), "weight", 8),
        content("a weight that overflows", weight("18446744073709551621"), "weight", 8),
        content("a tab", rule(5).replace("  destination", "\tdestination"), "tab", 5),
        content("a byte order mark", format!("\u{feff}{}", rule(5)), "byte-order-mark", 1),
        content(
            "UTF-16",
            rule(5).encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>(),
            "not-text",
            1,
        ),
        content("NUL at the end", rule(5) + "\0", "not-text", 9),
        content("NUL in a name", rule(5).replace("split", "sp\0lit"), "not-text", 3),
        content("an escape for terminals", rule(5) + "# \x1b[31m\n", "not-text", 9),
        content("bytes that are no text", [rule(5).as_bytes(), b"# \xff\n"].concat(), "not-text", 9),
        content("text cut in a character", [rule(5).as_bytes(), b"# \xc3"].concat(), "not-text", 9),
        content("a merge key", rule(5) + "<<: {a: 1}\n", "merge-key", 9),
        content("a tag", rule(5) + "x: !!binary aGk=\n", "tag", 9),
        content("a key that is a mapping", "{a: 1}: b\n", "key", 1),
        content("JSON cut in half", "{\"apiVersion\": \"config.istio.io/v1alpha2\", \"kin", "syntax", 1),
        content("a long line of nothing", "x".repeat(4 << 20), "type", 1),
        content("carriage returns and a fault", with_line_ends(&weight("x"), "\r\n"), "type", 8),
        content("a regex that explodes", exploding_regex(), "regex", 9),
    ]
}

fn exploding_regex() -> String {
    rule(5) + "  match: {request: {headers: {uri: {regex: '((a{100}){100}){100}'}}}}\n"
}

#[test]
fn every_nasty_file_is_refused_by_its_name_and_line_in_under_a_second() {
    let main = Document { name: "weir.yaml".into(), bytes: main_file("rules").into_bytes() };
    let mut wrong = String::new();
    for Content { what, bytes, code, line } in nasty_contents() {
        let rules = [Document { name: "rules/a.yaml".into(), bytes }];
        let before = cpu_time();
        let result = load(&main, &rules, &Environment::default());
        let took = cpu_time() - before;
        let faults = result.err().unwrap_or_default();
        let told = |faults: &Diagnostics| {
            let mut all = faults.iter();
            all.any(|fault| {
                fault.code == code && fault.origin.line == line && &*fault.origin.file == "rules/a.yaml"
            })
        };
        if !told(&faults) {
            let _ = writeln!(wrong, "{what}: not {code} in line {line} but {faults}");
        }
        if took > JUDGED_WITHIN {
            let _ = writeln!(wrong, "{what}: {took:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn line_ends_and_a_missing_last_one_do_not_matter() {
    let world = World::new();
    world.write("rules/a.yaml", rule(50).replace('\n', "\r\n"));
    assert_eq!(weights(&world.accepted()), [50, 50]);
    world.write("rules/a.yaml", rule(60).trim_end());
    assert_eq!(weights(&world.accepted()), [40, 60]);
    world.write("weir.yaml", main_file("rules").replace("9002", "9003").replace('\n', "\r\n").trim_end());
    assert_eq!(weights(&world.accepted()), [40, 60]);
}

#[test]
fn a_change_that_is_undone_before_it_counts_is_not_told() {
    let world = World::new();
    world.write("rules/a.yaml", "broken: [");
    world.write("rules/a.yaml", rule(5));
    world.nothing_is_said();
}

#[test]
fn who_asks_is_told_though_nothing_has_changed() {
    let world = World::new();
    let bell = world.watcher.as_ref().unwrap().bell();
    bell.ring();
    assert_eq!(world.next(), Verdict::Unchanged);
    world.write("rules/a.yaml", "broken: [");
    let faults = world.refused();
    bell.ring();
    assert_eq!(world.refused(), faults);
    world.write("rules/a.yaml", rule(5));
    assert_eq!(world.next(), Verdict::Restored);
    world.nothing_is_said();
}

#[test]
fn rule_files_with_names_that_break_lines_are_told_of_on_one() {
    let world = World::new();
    world.write("rules/b\n\x1b[31m.yaml", "broken: [");
    let faults = world.refused().to_string();
    assert!(!faults.contains(['\n', '\x1b']) && faults.contains("b\\n"), "{faults}");
}
