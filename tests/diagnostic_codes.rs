//! The codes of diagnostics are an interface: `docs/diagnostics.md` lists each that the sources can tell, and no other.
//!
//! Law: a code stands in the source as a literal, where a parameter or a field called `code` takes it. They are found by
//! that, through the syntax trees.

#![allow(clippy::expect_used, clippy::unwrap_used)] // a panic here is the report

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Where diagnostics are made.
const FOLDERS: [&str; 2] = ["src/config", "src/sources"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        match path.is_dir() {
            true if name != "tests" => sources(&path, found),
            false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
            _ => {}
        }
    }
}

fn trees() -> Vec<syn::File> {
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&root().join(folder), &mut files));
    let parse =
        |path: &PathBuf| syn::parse_file(&fs::read_to_string(path).expect("a source")).expect("is Rust");
    files.iter().map(parse).collect()
}

/// What takes a code: by whether it is called with a dot, its name and how many arguments it has, the places of codes.
type Takers = BTreeMap<(bool, String, usize), BTreeSet<usize>>;

/// Functions with a parameter called `code`.
#[derive(Default)]
struct Definitions(Takers);

impl<'ast> Visit<'ast> for Definitions {
    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let takes_self = signature.receiver().is_some();
        let is_code = |input: &syn::FnArg| match input {
            syn::FnArg::Typed(typed) => {
                matches!(&*typed.pat, syn::Pat::Ident(name) if name.ident == "code")
                    && matches!(&*typed.ty, syn::Type::Reference(_))
            }
            syn::FnArg::Receiver(_) => false,
        };
        if let Some(place) = signature.inputs.iter().position(is_code) {
            let own = usize::from(takes_self);
            let key = (takes_self, signature.ident.to_string(), signature.inputs.len() - own);
            self.0.entry(key).or_default().insert(place - own);
        }
    }
}

/// The literals that stand in their calls.
struct Codes<'t> {
    takers: &'t Takers,
    found: BTreeSet<String>,
}

impl Codes<'_> {
    fn take<'a>(&mut self, key: (bool, String), arguments: impl ExactSizeIterator<Item = &'a syn::Expr>) {
        let key = (key.0, key.1, arguments.len());
        let Some(places) = self.takers.get(&key) else { return };
        for (_, argument) in arguments.enumerate().filter(|(place, _)| places.contains(place)) {
            Literals(&mut self.found).visit_expr(argument);
        }
    }
}

impl<'ast> Visit<'ast> for Codes<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.take((true, call.method.to_string()), call.args.iter());
        syn::visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let syn::Expr::Path(path) = &*call.func
            && let Some(last) = path.path.segments.last()
        {
            self.take((false, last.ident.to_string()), call.args.iter());
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_field_value(&mut self, field: &'ast syn::FieldValue) {
        if matches!(&field.member, syn::Member::Named(name) if name == "code") {
            Literals(&mut self.found).visit_expr(&field.expr);
        }
        syn::visit::visit_field_value(self, field);
    }
}

struct Literals<'f>(&'f mut BTreeSet<String>);

impl<'ast> Visit<'ast> for Literals<'_> {
    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.0.insert(text.value());
    }
}

fn codes() -> BTreeSet<String> {
    let trees = trees();
    let mut definitions = Definitions::default();
    trees.iter().for_each(|tree| definitions.visit_file(tree));
    let mut codes = Codes { takers: &definitions.0, found: BTreeSet::new() };
    trees.iter().for_each(|tree| codes.visit_file(tree));
    codes.found
}

/// The first cells of the tables.
fn listed() -> Vec<String> {
    let text = fs::read_to_string(root().join("docs/diagnostics.md")).expect("the document");
    let first = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    text.lines().filter_map(first).collect()
}

#[test]
fn every_code_is_listed_once_and_no_other_is() {
    let (codes, listed) = (codes(), listed());
    let once: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(once.len(), listed.len(), "one stands twice");
    let missing: Vec<_> = codes.difference(&once).collect();
    let gone: Vec<_> = once.difference(&codes).collect();
    assert!(missing.is_empty() && gone.is_empty(), "not listed: {missing:#?}\nnobody tells: {gone:#?}");
}

#[test]
fn a_code_is_made_of_small_letters_digits_and_hyphens() {
    let plain = |code: &String| code.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
    let codes = codes();
    assert!(codes.len() > 60, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| !plain(code)).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn what_golden_diagnostics_tell_is_found_by_the_trees() {
    let folder = root().join("tests/golden/faults");
    let known = codes();
    let mut seen = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|end| end == "txt") {
            for line in fs::read_to_string(&path).expect("a file").lines() {
                let rest =
                    ["error[", "warning["].iter().find_map(|word| line.split_once(word)).expect("a code").1;
                let code = rest.split_once(']').expect("a code").0;
                assert!(known.contains(code), "{code} in {}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}
