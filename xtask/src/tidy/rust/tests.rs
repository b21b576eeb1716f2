//! The rules on small snippets.

use super::*;

/// `line: message` of everything found in a file.
fn found(path: &str, text: &str) -> Vec<String> {
    let file = RustFile::parse(path, text).map(|file| file.check());
    let findings = file.unwrap_or_else(|finding| vec![finding]);
    findings.iter().map(|f| format!("{}: {}", f.line, f.message)).collect()
}

/// The lines on which something was found in a crate's source.
fn lines_found(text: &str) -> Vec<usize> {
    RustFile::parse("crates/a/src/lib.rs", text).unwrap().check().iter().map(|f| f.line).collect()
}

#[test]
fn an_unexplained_panic_is_found() {
    assert_eq!(lines_found("fn f() {\n    a.unwrap();\n}"), [2]);
    assert_eq!(lines_found("fn f() {\n    a.expect(\"is there\");\n}"), [2]);
    assert_eq!(lines_found("fn f() {\n    a.expect(&format!(\"{b}\"));\n}"), [2]);
    assert_eq!(lines_found("fn f() {\n    a.unwrap_err();\n    b.expect_err(\"no\");\n}"), [2, 3]);
    assert_eq!(lines_found("fn f() {\n    panic!();\n}"), [2]);
    assert_eq!(lines_found("fn f() {\n    unreachable!(\"why\");\n}"), [2]);
    assert_eq!(lines_found("fn f() {\n    a.map(Option::unwrap)\n}"), [2]);
}

#[test]
fn panics_inside_macros_are_seen() {
    assert_eq!(lines_found("fn f() {\n    select! {\n        x = y => x.unwrap(),\n    }\n}"), [3]);
    assert_eq!(lines_found("macro_rules! m {\n    () => { panic!() };\n}"), [2]);
}

#[test]
fn a_comment_explains() {
    assert!(lines_found("fn f() {\n    a.unwrap(); // set two lines above\n}").is_empty());
    assert!(lines_found("fn f() {\n    // the map is never empty\n    a.unwrap();\n}").is_empty());
    assert_eq!(lines_found("fn f() {\n    // too far away\n\n    a.unwrap();\n}"), [4]);
    assert_eq!(lines_found("/// A doc line speaks of the function.\nfn f() { a.unwrap() }"), [2]);
    assert_eq!(lines_found("fn f() {\n    b(\"https://a\");\n    a.unwrap();\n}"), [3]);
}

#[test]
fn what_only_looks_like_a_panic_is_not_found() {
    assert!(
        lines_found("fn f() {\n    a.unwrap_or(0);\n    a.unwrap_or_default();\n    a.expect(Token::Comma)?;\n}")
            .is_empty()
    );
    assert!(lines_found("fn f() {\n    std::panic::catch_unwind(g);\n    assert!(a, \"panic!\");\n}").is_empty());
    assert!(lines_found("/// ```\n/// a.unwrap();\n/// ```\nfn f() {}").is_empty());
}

#[test]
fn tests_may_panic() {
    assert!(lines_found("#[cfg(test)]\nmod tests {\n    fn helper() { a.unwrap() }\n}").is_empty());
    assert!(lines_found("#[test]\nfn f() { a.unwrap() }").is_empty());
    assert!(lines_found("#[tokio::test]\nasync fn f() { a.unwrap() }").is_empty());
    assert!(lines_found("impl A {\n    #[cfg(test)]\n    fn f() { a.unwrap() }\n}").is_empty());
    assert!(lines_found("#![cfg(test)]\nfn f() { a.unwrap() }").is_empty());
    assert_eq!(lines_found("#[cfg(not(test))]\nfn f() { a.unwrap() }"), [2]);
    assert_eq!(lines_found("#[cfg(any(test, feature = \"x\"))]\nfn f() { a.unwrap() }"), [2]);
    for path in
        ["crates/a/tests/all.rs", "crates/a/src/b/tests.rs", "sim/src/lib.rs", "bench/src/main.rs", "xtask/src/main.rs"]
    {
        assert!(found(path, "fn f() { a.unwrap() }").is_empty(), "{path}");
    }
}

#[test]
fn a_test_module_in_another_file_is_a_test() {
    let parent = RustFile::parse("crates/a/src/b.rs", "#[cfg(test)]\nmod laws;").unwrap();
    let child = RustFile::parse("crates/a/src/b/laws.rs", "fn f() { a.unwrap() }").unwrap();
    let grandchild = RustFile::parse("crates/a/src/b/laws/deep.rs", "fn f() { a.unwrap() }").unwrap();
    let stranger = RustFile::parse("crates/a/src/laws.rs", "fn f() { a.unwrap() }").unwrap();
    let mut files = [parent, child, grandchild, stranger];
    mark_test_modules(&mut files);
    let counts = files.each_ref().map(|file| file.check().len());
    assert_eq!(counts, [0, 0, 0, 1]);
}

#[test]
fn leftovers_are_found_everywhere() {
    let word = LEFTOVER_WORDS[0];
    assert_eq!(lines_found(&format!("fn f() {{}}\n// {word}: later")), [2]);
    assert_eq!(lines_found(&format!("/// {word} later\nfn f() {{}}")), [1]);
    assert!(lines_found(&format!("fn f() {{ g(\"{word}\"); }}")).is_empty());
    assert_eq!(found("sim/src/a.rs", "fn f() { todo!() }"), ["1: leftover todo!"]);
    assert_eq!(found("crates/a/tests/b.rs", "fn f() { dbg!(a); }"), ["1: leftover dbg!"]);
    assert_eq!(leftovers("a.sol", &format!("contract A {{}} // {word}")).len(), 1);
    assert!(leftovers("a.sol", "// XXBTZUSD is Kraken's name").is_empty());
}

#[test]
fn the_documentation_lint_stays_on() {
    assert_eq!(lines_found("#![allow(missing_docs)]"), [1]);
    assert!(found("crates/a/tests/b.rs", "#![allow(missing_docs)]").is_empty());
}

#[test]
fn long_functions_are_found() {
    let function = |lines: usize| format!("fn long() {{\n{}}}", "    g();\n".repeat(lines - 2));
    assert!(lines_found(&function(FUNCTION_LINES_MAX)).is_empty());
    let long = function(FUNCTION_LINES_MAX + 1);
    assert_eq!(found("crates/a/src/lib.rs", &long), ["1: fn long has 71 lines, at most 70"]);
    assert_eq!(lines_found(&format!("impl A {{\n{long}\n}}")), [2]);
    assert_eq!(lines_found(&format!("trait A {{\n{long}\n}}")), [2]);
    assert!(lines_found(&format!("/// Text.\n{}", function(FUNCTION_LINES_MAX))).is_empty());
    assert!(lines_found(&format!("#[test]\n{long}")).is_empty());
    assert!(found("crates/a/tests/b.rs", &long).is_empty());
    assert_eq!(found("sim/src/lib.rs", &long).len(), 1);
}

#[test]
fn long_files_are_found() {
    let line = "const A: u8 = 0;\n";
    assert!(lines_found(&line.repeat(FILE_LINES_MAX)).is_empty());
    assert_eq!(lines_found(&line.repeat(FILE_LINES_MAX + 1)), [FILE_LINES_MAX + 1]);
    let with_tests = format!("{}#[cfg(test)]\nmod tests {{\n{}}}\n", line.repeat(FILE_LINES_MAX), line.repeat(500));
    assert!(lines_found(&with_tests).is_empty());
    assert!(found("crates/a/tests/b.rs", &line.repeat(TEST_FILE_LINES_MAX)).is_empty());
    assert_eq!(found("crates/a/tests/b.rs", &line.repeat(TEST_FILE_LINES_MAX + 1)).len(), 1);
}

#[test]
fn what_does_not_parse_is_found() {
    assert_eq!(found("crates/a/src/lib.rs", "fn f() {}\nfn {").len(), 1);
}

#[test]
fn checks_are_told_from_claims() {
    let text =
        "/// A claim.\nfn f() {}\nfn check_it() {\n    // a check\n}\n#[cfg(test)]\nmod tests {\n    // a test\n}";
    let file = RustFile::parse("crates/a/src/lib.rs", text).unwrap();
    let checks: Vec<_> = (1..=9).filter(|&line| file.is_check(line)).collect();
    assert_eq!(checks, [3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn comments_are_told_from_strings() {
    assert_eq!(comment("a(); // b"), Some("// b"));
    assert_eq!(comment("a(\"//\");"), None);
    assert_eq!(comment(r#"a("\"//");"#), None);
    assert_eq!(comment("a('\"'); // b"), Some("// b"));
    assert_eq!(comment("fn a<'x>(b: &'x u8) {} // c"), Some("// c"));
}
