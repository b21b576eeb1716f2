//! Rust sources: lengths, unexplained panics, leftovers. What is a test, and how long a function is, a parser says.

use std::ops::RangeInclusive;

use proc_macro2::{Delimiter, Group, Span, TokenStream, TokenTree};
use syn::{
    Attribute, ImplItem, Item, Meta,
    spanned::Spanned,
    visit::{self, Visit},
};

use super::Finding;

/// One parsed source file.
pub struct RustFile<'a> {
    path: &'a str,
    lines: Vec<&'a str>,
    role: Role,
    outline: Outline,
    tokens: TokenStream,
}

/// What a whole file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Code that ships.
    Shipped,
    /// Code that checks or measures, and may panic to say so.
    Checking,
    /// Nothing but tests.
    Test,
}

/// What the syntax tree says.
#[derive(Default)]
struct Outline {
    /// Items compiled for tests only.
    tests: Vec<RangeInclusive<usize>>,
    /// Where the first test module at the foot of the file begins.
    test_module: Option<usize>,
    /// Modules compiled for tests only whose text is another file.
    test_files: Vec<String>,
    functions: Vec<Function>,
}

struct Function {
    name: String,
    /// From the line of `fn` to that of the closing brace.
    lines: RangeInclusive<usize>,
}

/// Past this a file tells two stories.
const FILE_LINES_MAX: usize = 600;

/// A file of tests is a list, and is read as one.
const TEST_FILE_LINES_MAX: usize = 900;

/// Past this a function is two functions.
const FUNCTION_LINES_MAX: usize = 70;

/// Folders of code that checks or measures: a panic is how it speaks.
const CHECKING: [&str; 4] = ["xtask/", "sim/", "bench/", "fuzz/"];

/// What must not stay in a comment.
const LEFTOVER_WORDS: [&str; 3] = ["TODO", "FIXME", "XXX"];

impl<'a> RustFile<'a> {
    /// Parses a file; what does not parse is a finding.
    pub fn parse(path: &'a str, text: &'a str) -> Result<Self, Finding> {
        let unreadable = |error: syn::Error| Finding::new(path, line(error.span()), format!("does not parse: {error}"));
        let file = syn::parse_file(text).map_err(unreadable)?;
        let tokens = syn::parse_str(text).map_err(unreadable)?;
        let mut outline = Outline::default();
        outline.visit_file(&file);
        outline.test_module = file.items.iter().find_map(test_module_start);
        let lines: Vec<_> = text.lines().collect();
        let only_tests = file.attrs.iter().any(is_cfg_test);
        let role = if only_tests { Role::Test } else { role(path) };
        Ok(Self { path, lines, role, outline, tokens })
    }

    /// The file's path from the repository's root.
    pub const fn path(&self) -> &'a str {
        self.path
    }

    /// Its lines.
    pub fn lines(&self) -> &[&'a str] {
        &self.lines
    }

    /// Whether a line belongs to something that checks: a test, the simulator, or a function that is named a check.
    pub fn is_check(&self, line: usize) -> bool {
        let mut checks = self.outline.functions.iter().filter(|f| f.name.starts_with("check"));
        self.role != Role::Shipped || self.is_test(line) || checks.any(|f| f.lines.contains(&line))
    }

    /// Everything wrong with the file.
    pub fn check(&self) -> Vec<Finding> {
        let mut found: Vec<_> = self.check_length().into_iter().collect();
        found.extend(self.check_functions());
        found.extend(self.check_tokens());
        found.extend(leftovers_in(self.path, &self.lines));
        found
    }

    fn is_test(&self, line: usize) -> bool {
        self.role == Role::Test || self.outline.tests.iter().any(|range| range.contains(&line))
    }

    fn check_length(&self) -> Option<Finding> {
        let (lines, max) = match self.role {
            Role::Test => (self.lines.len(), TEST_FILE_LINES_MAX),
            _ => (self.outline.test_module.map_or(self.lines.len(), |start| start - 1), FILE_LINES_MAX),
        };
        (lines > max).then(|| Finding::new(self.path, max + 1, format!("the file has {lines} lines, at most {max}")))
    }

    fn check_functions(&self) -> impl Iterator<Item = Finding> {
        let shipped = self.outline.functions.iter().filter(|f| !self.is_test(*f.lines.start()));
        shipped.filter_map(|f| {
            let (start, lines) = (*f.lines.start(), f.lines.end() - f.lines.start() + 1);
            let message = || format!("fn {} has {lines} lines, at most {FUNCTION_LINES_MAX}", f.name);
            (lines > FUNCTION_LINES_MAX).then(|| Finding::new(self.path, start, message()))
        })
    }

    fn check_tokens(&self) -> Vec<Finding> {
        let mut words = Vec::new();
        scan(self.tokens.clone(), &mut words);
        let at_fault = words.into_iter().filter(|word| match word.kind {
            WordKind::Panic => self.role == Role::Shipped && !self.is_test(word.line) && !self.is_explained(word.line),
            WordKind::Leftover => true,
            WordKind::Undocumented => self.role == Role::Shipped && !self.is_test(word.line),
        });
        let message = |word: &Word| match word.kind {
            WordKind::Panic => format!("{} without a `//` comment, here or above, that says why it holds", word.text),
            WordKind::Leftover => format!("leftover {}", word.text),
            WordKind::Undocumented => "public items are documented, not excused".to_owned(),
        };
        at_fault.map(|word| Finding::new(self.path, word.line, message(&word))).collect()
    }

    /// Whether a comment stands on a line or directly above it. A doc comment explains the item, not the line.
    fn is_explained(&self, line: usize) -> bool {
        let is_comment = |text: &str| comment(text).is_some_and(|c| !c.starts_with("///") && !c.starts_with("//!"));
        [line, line - 1]
            .into_iter()
            .filter(|&n| n > 0)
            .any(|n| self.lines.get(n - 1).is_some_and(|text| is_comment(text)))
    }
}

/// Gives files that a test module includes by name (`#[cfg(test)] mod tests;`) the role of tests.
pub fn mark_test_modules(files: &mut [RustFile<'_>]) {
    let includes = |file: &RustFile<'_>| {
        let folder = module_folder(file.path);
        file.outline.test_files.iter().map(|name| format!("{folder}{name}")).collect::<Vec<_>>()
    };
    let modules: Vec<_> = files.iter().flat_map(includes).collect();
    for file in files {
        let inside = |module: &String| {
            file.path.strip_prefix(module.as_str()).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        };
        if modules.iter().any(inside) {
            file.role = Role::Test;
        }
    }
}

/// Words that must not stay in a comment, in any language whose comments begin with `//`.
pub fn leftovers(path: &str, text: &str) -> Vec<Finding> {
    leftovers_in(path, &text.lines().collect::<Vec<_>>()).collect()
}

fn leftovers_in(path: &str, lines: &[&str]) -> impl Iterator<Item = Finding> {
    lines.iter().enumerate().filter_map(move |(at, text)| {
        let words = comment(text)?.split(|c: char| !c.is_alphanumeric() && c != '_');
        let word = words.into_iter().find(|word| LEFTOVER_WORDS.contains(word))?;
        Some(Finding::new(path, at + 1, format!("leftover {word}")))
    })
}

/// The `//` comment of a line, with its slashes. Quotes are respected, strings of several lines are not.
fn comment(line: &str) -> Option<&str> {
    let bytes = line.as_bytes();
    let (mut at, mut quoted) = (0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'\'' if !quoted && bytes.get(at + 2) == Some(&b'\'') => at += 2,
            b'/' if !quoted && bytes.get(at + 1) == Some(&b'/') => return Some(&line[at..]),
            _ => {}
        }
        at += 1;
    }
    None
}

fn role(path: &str) -> Role {
    let mut folders = path.rsplit('/').skip(1);
    if folders.any(|folder| folder == "tests") || path.ends_with("/tests.rs") {
        Role::Test
    } else if CHECKING.iter().any(|folder| path.starts_with(folder)) || path.contains("/benches/") {
        Role::Checking
    } else {
        Role::Shipped
    }
}

/// Where the files of a file's modules lie, with a closing `/`.
fn module_folder(path: &str) -> String {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    match file {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/"),
        _ => format!("{folder}/{}/", file.trim_end_matches(".rs")),
    }
}

/// A word in the code that a rule speaks of.
struct Word {
    line: usize,
    text: String,
    kind: WordKind,
}

enum WordKind {
    /// May panic.
    Panic,
    /// Was meant to be replaced.
    Leftover,
    /// Switches off the lint that asks for documentation.
    Undocumented,
}

/// Finds words in tokens, so that the insides of macros are seen too.
fn scan(tokens: TokenStream, words: &mut Vec<Word>) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        if let TokenTree::Group(group) = token {
            scan(group.stream(), words);
        }
        let TokenTree::Ident(ident) = token else { continue };
        let before = |char| at > 0 && is_punct(tokens.get(at - 1), char);
        let after = |char| is_punct(tokens.get(at + 1), char);
        let arguments = || parenthesized(tokens.get(at + 1));
        let found = match ident.to_string().as_str() {
            // `.unwrap()`, and `Option::unwrap` handed to a combinator.
            name @ ("unwrap" | "unwrap_err") if before('.') && arguments().is_some_and(|g| g.stream().is_empty()) => {
                Some((format!("{name}()"), WordKind::Panic))
            }
            "unwrap" if before(':') => Some(("unwrap".to_owned(), WordKind::Panic)),
            // With a message: a parser's own `expect(token)` is another function.
            name @ ("expect" | "expect_err") if before('.') && arguments().is_some_and(is_message) => {
                Some((format!("{name}()"), WordKind::Panic))
            }
            name @ ("panic" | "unreachable") if is_macro_call(&tokens[at..]) => {
                Some((format!("{name}!"), WordKind::Panic))
            }
            name @ ("todo" | "unimplemented" | "dbg") if is_macro_call(&tokens[at..]) => {
                Some((format!("{name}!"), WordKind::Leftover))
            }
            "missing_docs" if !after('=') => Some(("missing_docs".to_owned(), WordKind::Undocumented)),
            _ => None,
        };
        words.extend(found.map(|(text, kind)| Word { line: line(ident.span()), text, kind }));
    }
}

fn is_punct(token: Option<&TokenTree>, char: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == char)
}

fn parenthesized(token: Option<&TokenTree>) -> Option<&Group> {
    match token {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => Some(group),
        _ => None,
    }
}

/// Whether arguments begin like a message: a string, or `&format!(..)`.
fn is_message(arguments: &Group) -> bool {
    match arguments.stream().into_iter().find(|token| !is_punct(Some(token), '&')) {
        Some(TokenTree::Literal(literal)) => literal.to_string().starts_with(['"', 'r']),
        Some(TokenTree::Ident(ident)) => ident == "format" || ident == "concat",
        _ => false,
    }
}

fn is_macro_call(tokens: &[TokenTree]) -> bool {
    is_punct(tokens.get(1), '!') && matches!(tokens.get(2), Some(TokenTree::Group(_)))
}

impl<'ast> Visit<'ast> for Outline {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            self.tests.push(lines(item));
        }
        if let Item::Mod(module) = item
            && module.content.is_none()
            && module.attrs.iter().any(is_cfg_test)
        {
            self.test_files.push(module.ident.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item
            && function.attrs.iter().any(is_for_tests)
        {
            self.tests.push(lines(item));
        }
        visit::visit_impl_item(self, item);
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.add(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.add(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

impl Outline {
    fn add(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = line(signature.span())..=block.brace_token.span.close().end().line;
        self.functions.push(Function { name: signature.ident.to_string(), lines });
    }
}

fn test_module_start(item: &Item) -> Option<usize> {
    match item {
        Item::Mod(module) if module.content.is_some() && module.attrs.iter().any(is_cfg_test) => {
            Some(*lines(item).start())
        }
        _ => None,
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, `#[test]`, `#[tokio::test]` and their like.
fn is_for_tests(attribute: &Attribute) -> bool {
    is_cfg_test(attribute) || attribute.path().segments.last().is_some_and(|segment| segment.ident == "test")
}

/// `cfg(test)` or `cfg(all(test, ..))`: under `any` or `not` the code is compiled without tests too.
fn is_cfg_test(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    if !list.path.is_ident("cfg") {
        return false;
    }
    let condition = list.tokens.to_string().replace(' ', "");
    condition == "test" || condition.starts_with("all(test,")
}

/// The lines of a piece of syntax, its attributes and doc comments included.
fn lines(syntax: &impl Spanned) -> RangeInclusive<usize> {
    let span = syntax.span();
    span.start().line..=span.end().line
}

fn line(span: Span) -> usize {
    span.start().line
}

#[cfg(test)]
mod tests;
