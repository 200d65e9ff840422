//! What one source file does against the rules, found in its syntax tree.
//!
//! Law: a finding names its line. It must not know the floor table: it tells which modules a file names, no more.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file that are no tests.
pub(crate) const FILE_MAX_LINES: usize = 600;
/// Lines of a function that is no test.
pub(crate) const FUNCTION_MAX_LINES: usize = 100;

/// Macros that must not be left behind.
const REFUSED_MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

const UNWRAP: &str = "`unwrap()` outside tests";

/// A rule broken.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// A path that leads to another module, from the root of the crate.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    pub(crate) in_test: bool,
}

/// What a file shows.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    pub(crate) imports: Vec<Import>,
}

/// A module that stands in a file of its own.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) name: String,
    /// Of `#[path]`: the file, beside the one that declares it.
    pub(crate) file: Option<String>,
    pub(crate) is_test: bool,
}

/// The modules that `file` declares and other files hold.
pub(crate) fn declared(file: &syn::File) -> Vec<Declared> {
    let declared = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() => Some(Declared {
            name: module.ident.to_string(),
            file: module.attrs.iter().find_map(path_attribute),
            is_test: is_test(&module.attrs),
        }),
        _ => None,
    });
    declared.collect()
}

fn path_attribute(attribute: &syn::Attribute) -> Option<String> {
    match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Reads a file. `module` is its path; `in_test`: all of it is a test.
pub(crate) fn report(text: &str, file: &syn::File, module: &[&str], in_test: bool) -> Report {
    let mut reader = Reader {
        module: module.iter().map(|&name| name.to_owned()).collect(),
        in_test,
        test_lines: 0,
        report: Report::default(),
    };
    if !text.starts_with("//!") {
        reader.found(
            1,
            "the file does not open with `//!`: what it is for, its one law, what it must not know",
        );
    }
    reader.visit_file(file);
    let lines = text.lines().count() - reader.test_lines;
    if lines > FILE_MAX_LINES && !in_test {
        reader.found(lines, &format!("{lines} lines that are no tests; at most {FILE_MAX_LINES}"));
    }
    reader.report
}

struct Reader {
    module: Vec<String>,
    in_test: bool,
    test_lines: usize,
    report: Report,
}

impl Reader {
    fn found(&mut self, line: usize, what: &str) {
        self.report.findings.push(Finding { line, what: what.to_owned() });
    }

    fn found_outside_tests(&mut self, line: usize, what: &str) {
        if !self.in_test {
            self.found(line, what);
        }
    }

    /// Notes where a path leads, if it leads out of the file.
    fn path(&mut self, line: usize, segments: &[String]) {
        if let Some(path) = resolve(&self.module, segments) {
            self.report.imports.push(Import { line, path, in_test: self.in_test });
        }
    }

    fn uses(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            syn::UseTree::Path(path) => self.uses(&path.tree, &with(path.ident.to_string())),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.uses(tree, before)),
            syn::UseTree::Name(name) => {
                let is_self = name.ident == "self" && !before.is_empty();
                let path = if is_self { before.to_vec() } else { with(name.ident.to_string()) };
                self.path(name.span().start().line, &path);
            }
            syn::UseTree::Rename(rename) => {
                let is_self = rename.ident == "self" && !before.is_empty();
                let path = if is_self { before.to_vec() } else { with(rename.ident.to_string()) };
                self.path(rename.span().start().line, &path);
            }
            syn::UseTree::Glob(glob) => self.path(glob.span().start().line, before),
        }
    }

    fn function(&mut self, name: &syn::Ident, whole: &impl Spanned) {
        let (first, last) = (whole.span().start().line, whole.span().end().line);
        let lines = last + 1 - first;
        if lines > FUNCTION_MAX_LINES {
            let what = format!("function `{name}` has {lines} lines; at most {FUNCTION_MAX_LINES}");
            self.found_outside_tests(first, &what);
        }
    }

    /// Reads the tokens of a macro call, which have no syntax tree.
    fn tokens(&mut self, stream: TokenStream) {
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        for at in 0..tokens.len() {
            let (line, text) = &tokens[at];
            let next = |ahead: usize| tokens.get(at + ahead).map_or("", |(_, text)| &**text);
            let before = at.checked_sub(1).map_or("", |at| &*tokens[at].1);
            if matches!(&**text, "crate" | "super" | "self") && before != ":" {
                self.path(*line, &path_from(&tokens[at..]));
            }
            if REFUSED_MACROS.contains(&&**text) && next(1) == "!" {
                self.found_outside_tests(*line, &format!("`{text}!` is left behind"));
            }
            if text == "unwrap" && before == "." && next(1) == "(" {
                self.found_outside_tests(*line, UNWRAP);
            }
        }
    }

    /// Visits with `in_test` set if `attributes` say so.
    fn within(&mut self, attributes: &[syn::Attribute], visit: impl FnOnce(&mut Reader)) {
        let before = self.in_test;
        self.in_test |= is_test(attributes);
        visit(self);
        self.in_test = before;
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.within(attributes(item), |reader| {
            if let syn::Item::Mod(module) = item
                && module.content.is_some()
                && is_test(&module.attrs)
            {
                reader.test_lines += item.span().end().line + 1 - item.span().start().line;
            }
            visit::visit_item(reader, item);
        });
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, item);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within(&item.attrs, |reader| {
            reader.function(&item.sig.ident, item);
            visit::visit_impl_item_fn(reader, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig.ident, item);
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.uses(&item.tree, &[]);
        }
    }

    /// `pub(super)` and its like lead nowhere.
    fn visit_vis_restricted(&mut self, _: &'ast syn::VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            let segments: Vec<String> =
                path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.path(path.span().start().line, &segments);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "unwrap" {
            self.found_outside_tests(call.method.span().start().line, UNWRAP);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let name = call.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
        if REFUSED_MACROS.contains(&&*name) {
            self.found_outside_tests(call.span().start().line, &format!("`{name}!` is left behind"));
        }
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }
}

/// The path from the root of the crate that `segments`, written in `module`, lead to; `None`: to another crate, or
/// to something that was imported before.
fn resolve(module: &[String], segments: &[String]) -> Option<Vec<String>> {
    let (first, mut rest) = segments.split_first()?;
    let mut at = match &**first {
        "crate" => Vec::new(),
        "self" if !rest.is_empty() => module.to_vec(),
        "super" => module.split_last()?.1.to_vec(),
        _ => return None,
    };
    while let Some((next, after)) = rest.split_first()
        && next == "super"
    {
        at.pop();
        rest = after;
    }
    at.extend_from_slice(rest);
    Some(at)
}

/// `#[test]`, `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return attribute.path().is_ident("test") };
        let condition = list.tokens.to_string().replace(' ', "");
        list.path.is_ident("cfg") && (condition == "test" || condition.starts_with("all(test,"))
    })
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Macro(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Trait(item) => &item.attrs,
        syn::Item::Type(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Words and signs with their lines; groups with their brackets.
fn flatten(stream: TokenStream, into: &mut Vec<(usize, String)>) {
    for token in stream {
        let line = token.span().start().line;
        match token {
            TokenTree::Group(group) => {
                let (open, close) = match group.delimiter() {
                    Delimiter::Parenthesis => ("(", ")"),
                    Delimiter::Brace => ("{", "}"),
                    Delimiter::Bracket => ("[", "]"),
                    Delimiter::None => ("", ""),
                };
                into.push((line, open.to_owned()));
                flatten(group.stream(), into);
                into.push((line, close.to_owned()));
            }
            other => into.push((line, other.to_string())),
        }
    }
}

/// The path that `tokens` begin with: words with `::` between them.
fn path_from(tokens: &[(usize, String)]) -> Vec<String> {
    let text = |at: usize| tokens.get(at).map_or("", |(_, text)| &**text);
    let mut path = vec![text(0).to_owned()];
    let mut at = 1;
    while text(at) == ":"
        && text(at + 1) == ":"
        && text(at + 2).starts_with(|c: char| c.is_alphabetic() || c == '_')
    {
        path.push(text(at + 2).to_owned());
        at += 3;
    }
    path
}
