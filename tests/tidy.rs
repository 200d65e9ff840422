//! The style as a failing test: floors, circles, lengths, openings and what must not be left behind.
//!
//! Law: it reads syntax trees, not text, and every violation names its file and line. `ARCHITECTURE.md` explains the
//! floors; `tidy/floors.rs` holds them.

#![allow(clippy::unwrap_used)] // a panic of the checker is its report

#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use source::Report;

/// Generated code: only its imports are looked at.
const GENERATED: &str = "proto";

/// A source file by its path below the package, with the modules it stands for.
struct SourceFile {
    path: String,
    module: Vec<String>,
    text: String,
    tree: syn::File,
}

impl SourceFile {
    fn parse(path: &str, text: String) -> SourceFile {
        let tree = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        SourceFile { path: path.to_owned(), module: module_of(path), text, tree }
    }

    fn module(&self) -> Vec<&str> {
        self.module.iter().map(String::as_str).collect()
    }
}

/// `src/router/mod.rs` is `router`, `src/router/index.rs` is `router::index`, `src/lib.rs` is the root.
fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap_or(path);
    let mut module: Vec<String> = inner.split('/').map(str::to_owned).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                let path = entry.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                files.push(SourceFile::parse(&path, std::fs::read_to_string(&entry).unwrap()));
            }
        }
    }
    files
}

/// Gives files that a `#[path]` names the module they are, and returns the modules that are tests.
fn declarations(files: &mut [SourceFile]) -> BTreeSet<Vec<String>> {
    let mut tests = BTreeSet::new();
    let mut moved = BTreeMap::new();
    for file in files.iter() {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for declared in source::declared(&file.tree) {
            let module = [&file.module[..], &[declared.name]].concat();
            if declared.is_test {
                tests.insert(module.clone());
            }
            if let Some(name) = declared.file {
                moved.insert(format!("{folder}/{name}"), module);
            }
        }
    }
    for file in files {
        if let Some(module) = moved.remove(&file.path) {
            file.module = module;
        }
    }
    tests
}

/// Every violation in `files`, as `file:line: what`.
fn violations(mut files: Vec<SourceFile>) -> Vec<String> {
    let tests = declarations(&mut files);
    let mut violations = Vec::new();
    let mut graph = Graph::new();
    for file in &files {
        let module = file.module();
        let in_test = (1..=module.len()).any(|depth| tests.contains(&file.module[..depth]));
        let report = source::report(&file.text, &file.tree, &module, in_test);
        // The root only declares modules; `main.rs` only calls `cli`.
        if let Some(top) = module.first() {
            check_imports(top, &report, &file.path, &mut violations);
            note_imports(top, &report, &file.path, &mut graph);
        }
        if module.first() != Some(&GENERATED) {
            let found =
                report.findings.iter().map(|found| format!("{}:{}: {}", file.path, found.line, found.what));
            violations.extend(found);
        }
    }
    violations.extend(circle(&graph));
    violations
}

fn check_imports(top: &str, report: &Report, path: &str, violations: &mut Vec<String>) {
    for import in &report.imports {
        if let Some(reason) = floors::why_not(top, &import.path, import.in_test) {
            violations.push(format!("{path}:{}: {reason}", import.line));
        }
    }
}

/// Which module imports which, and one place where it does.
type Graph = BTreeMap<String, BTreeMap<String, String>>;

fn note_imports(top: &str, report: &Report, path: &str, graph: &mut Graph) {
    for import in report.imports.iter().filter(|import| !import.in_test) {
        if let Some(to) = import.path.first().filter(|to| *to != top) {
            let place = format!("{path}:{}", import.line);
            graph.entry(top.to_owned()).or_default().entry(to.clone()).or_insert(place);
        }
    }
}

/// A circle of modules, if there is one, with the places that make it.
fn circle(graph: &Graph) -> Option<String> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|start| {
        let trail = walk(graph, start, &mut Vec::new(), &mut done)?;
        let steps = trail
            .windows(2)
            .map(|pair| format!("{}: `{}` imports `{}`", graph[&pair[0]][&pair[1]], pair[0], pair[1]));
        Some(format!("modules form a circle: {}", steps.collect::<Vec<_>>().join("; ")))
    })
}

fn walk(
    graph: &Graph,
    at: &str,
    trail: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(first) = trail.iter().position(|module| module == at) {
        return Some([&trail[first..], &[at.to_owned()]].concat());
    }
    if !done.insert(at.to_owned()) {
        return None;
    }
    trail.push(at.to_owned());
    let found = graph.get(at).and_then(|next| next.keys().find_map(|next| walk(graph, next, trail, done)));
    trail.pop();
    found
}

#[test]
fn the_sources_keep_the_floors_and_the_style() {
    let violations = violations(sources());
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn every_module_that_lib_rs_declares_has_a_floor() {
    let declared: BTreeSet<String> =
        sources().into_iter().filter_map(|file| file.module.into_iter().next()).collect();
    let known: BTreeSet<String> = floors::FLOORS.iter().map(|(_, name, _)| (*name).to_owned()).collect();
    let strangers: Vec<_> = declared.difference(&known).collect();
    assert!(strangers.is_empty(), "not in the floor table: {strangers:?}");
}

#[test]
fn architecture_md_shows_the_same_floors() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    similar_asserts::assert_eq!(floors::rows_in(&text), floors::rows());
}

#[test]
fn the_table_itself_has_no_circle_and_allows_no_higher_floor() {
    let floor = |name: &str| floors::FLOORS.iter().find(|row| row.1 == name).unwrap().0.unwrap_or(u8::MAX);
    let mut graph = Graph::new();
    for (_, from, allowed) in floors::FLOORS {
        for to in allowed.iter().filter(|to| !to.starts_with("all")) {
            let to = to.split("::").next().unwrap();
            assert!(floor(to) <= floor(from), "{from} -> {to}");
            graph.entry((*from).to_owned()).or_default().insert(to.to_owned(), "the table".to_owned());
        }
    }
    assert_eq!(circle(&graph), None);
}

/// The checker, on small sources: a test that cannot fail is worth nothing.
mod the_checker {
    use super::*;

    /// What is found in `(path, text)`s; an opening is put before each text, on the same line.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let parse = |&(path, text): &(&str, &str)| SourceFile::parse(path, format!("//! Opening.\n{text}"));
        violations(files.iter().map(parse).collect())
    }

    fn found_in_router(text: &str) -> Vec<String> {
        found(&[("src/router/index.rs", text)])
    }

    #[test]
    fn finds_an_import_against_the_floors_however_it_is_written() {
        for text in [
            "use crate::proxy::Plane;",
            "use crate::{snapshot::Route, proxy::{self, Plane}};",
            "use crate::proxy;",
            "use crate::proxy as p;",
            "use crate::proxy::*;",
            "use crate::{proxy::Plane as P};",
            "use super::super::proxy::Plane;",
            "use super::{super::proxy};",
            "use self::super::super::proxy;",
            "fn f() { crate::proxy::go(); }",
            "fn f(plane: &crate::proxy::Plane) {}",
            "fn f() -> Option<Box<dyn crate::proxy::Go>> { None }",
            "struct S { plane: Vec<super::super::proxy::Plane> }",
            "impl crate::proxy::Go for S {}",
            "fn f(x: u8) { match x { crate::proxy::X => {} _ => {} } }",
            "fn f() { assert!(1 + crate::proxy::one() == 2); }",
            "fn f() { select! { x = super::super::proxy::go() => {} } }",
            "fn f() { crate::proxy::go!(); }",
            "mod inner { use super::super::super::proxy::Plane; }",
            "mod inner { fn f() { use crate::proxy; } }",
            "#[cfg(test)] mod tests { use crate::proxy::Plane; }",
            "pub use crate::proxy::Plane;",
        ] {
            let found = found_in_router(text);
            assert!(!found.is_empty(), "{text}");
            let expected = "src/router/index.rs:2: `router` may not import `proxy`";
            assert!(found.iter().all(|found| found == expected), "{text}: {found:?}");
        }
    }

    #[test]
    fn finds_nothing_where_nothing_is_wrong() {
        let text = "use std::sync::Arc;\nuse super::Head;\nuse crate::snapshot::{self, Route};\nuse ::proxy::x;\n\
            pub(super) fn f(x: Option<u8>) -> u8 { x.unwrap_or(crate::words::X) }\n\
            pub(in crate::router) struct S;\nfn g() { self::f(None); vec![super::head()]; let crates = 1; }\n\
            mod inner { use super::super::Head; use super::S; }\nuse families::weir; fn h() { weir::split(); }\n\
            #[cfg(test)] mod tests { use crate::testing::World; use super::*; fn f() { g().unwrap(); todo!() } }";
        assert_eq!(found_in_router(text), Vec::<String>::new());
        assert_eq!(
            found(&[("src/lib.rs", "pub mod router;"), ("src/main.rs", "use weir::cli;")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn finds_paths_to_no_module_and_to_the_hidden_root() {
        assert_eq!(
            found_in_router("use crate::Plane;"),
            ["src/router/index.rs:2: `crate::Plane` is no module of the floor table"]
        );
        for text in ["use crate as c;", "use crate::*;", "use crate::{self as c};", "use super::super::*;"] {
            assert!(found_in_router(text)[0].contains("names the root"), "{text}");
        }
        assert!(
            found(&[("src/extra.rs", "use crate::words::X;")])[0]
                .contains("`extra` is not in the floor table")
        );
    }

    #[test]
    fn lets_a_part_of_a_module_be_imported_alone() {
        assert!(found(&[("src/cli/inject.rs", "use crate::controller::inject::run;")]).is_empty());
        assert_eq!(found(&[("src/cli/inject.rs", "use crate::controller::Crd;")]).len(), 1);
        assert!(found(&[("src/app/mod.rs", "use crate::proxy::Plane;")]).is_empty());
        assert_eq!(found(&[("src/app/mod.rs", "use crate::cli::Args;")]).len(), 1);
    }

    #[test]
    fn keeps_the_fake_world_for_tests() {
        assert_eq!(found_in_router("use crate::testing::World;").len(), 1);
        let declared = ("src/router/mod.rs", "#[cfg(test)]\nmod tests;");
        let tests = ("src/router/tests/deep.rs", "use crate::testing::World; fn f() { x.unwrap() }");
        assert_eq!(found(&[declared, tests]), Vec::<String>::new());
        assert_eq!(found(&[tests]).len(), 2);
        let named = ("src/router/hosts.rs", "#[cfg(test)]\n#[path = \"host_tests.rs\"]\nmod tests;");
        let tests = ("src/router/host_tests.rs", "use crate::testing::World; use super::super::Head;");
        assert_eq!(found(&[named, tests]), Vec::<String>::new());
    }

    #[test]
    fn finds_what_is_left_behind_outside_tests() {
        for (text, what) in [
            ("fn f() { x.unwrap(); }", "`unwrap()` outside tests"),
            ("fn f() { format!(\"{}\", x.unwrap()); }", "`unwrap()` outside tests"),
            ("fn f() { todo!(); }", "`todo!` is left behind"),
            ("fn f() { std::dbg!(x); }", "`dbg!` is left behind"),
            ("fn f() { vec![dbg!(x)]; }", "`dbg!` is left behind"),
        ] {
            assert_eq!(found_in_router(text), [format!("src/router/index.rs:2: {what}")], "{text}");
        }
    }

    #[test]
    fn finds_long_functions_and_long_files_but_not_long_tests() {
        let function = |lines: usize| format!("fn f() {{\n{}}}\n", "g();\n".repeat(lines - 2));
        assert_eq!(found_in_router(&function(100)), Vec::<String>::new());
        assert_eq!(
            found_in_router(&function(101)),
            ["src/router/index.rs:2: function `f` has 101 lines; at most 100"]
        );
        assert_eq!(found_in_router(&format!("impl S {{\n{}}}", function(101))).len(), 1);
        let long = "const X: u8 = 1;\n".repeat(600);
        assert_eq!(found_in_router(&long[..long.len() - 17]), Vec::<String>::new());
        assert_eq!(
            found_in_router(&long),
            ["src/router/index.rs:601: 601 lines that are no tests; at most 600"]
        );
        let tests = format!("#[cfg(test)]\nmod tests {{\n{long}{}}}\n", function(101));
        assert_eq!(found_in_router(&tests), Vec::<String>::new());
        assert_eq!(found(&[("src/proto/x.rs", &long)]), Vec::<String>::new());
    }

    #[test]
    fn finds_a_file_without_an_opening() {
        let file = SourceFile::parse("src/router/index.rs", "// no\nfn f() {}".to_owned());
        assert_eq!(violations(vec![file]).len(), 1);
    }

    #[test]
    fn finds_a_circle_and_the_places_that_make_it() {
        let found = found(&[
            ("src/words/mod.rs", "use crate::router::X;"),
            ("src/router/mod.rs", "use crate::snapshot::X;"),
            ("src/snapshot/mod.rs", "use crate::words::X;"),
        ]);
        let circle = found.iter().find(|found| found.contains("circle")).unwrap();
        for step in [
            "src/words/mod.rs:2: `words` imports `router`",
            "src/snapshot/mod.rs:2: `snapshot` imports `words`",
        ] {
            assert!(circle.contains(step), "{circle}");
        }
    }

    #[test]
    fn reads_the_table_of_a_page() {
        let page = "| floor | module | what | may import |\n|---|---|---|---|\n| 0 | `words` | the words | – |\n\
            | 8 | `cli` | one file a subcommand | app, words (+ controller::inject) |\n| – | `testing` | fakes | all; by tests only |\n";
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
        let expected = BTreeSet::from([
            (Some(0), "words".to_owned(), names(&[])),
            (Some(8), "cli".to_owned(), names(&["app", "words", "controller::inject"])),
            (None, "testing".to_owned(), names(&["all"])),
        ]);
        assert_eq!(floors::rows_in(page), expected);
    }
}
