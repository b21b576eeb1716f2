//! Invariants have ids: written once in `docs/invariants.md` or `contracts/docs/invariants.md`, cited where they are checked.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Finding, rust::RustFile};

/// Where invariants are defined: a table row whose first cell is the id.
const DEFINITIONS: [&str; 2] = ["docs/invariants.md", "contracts/docs/invariants.md"];

/// The first part of an id: the room it speaks of.
const ROOMS: [&str; 10] = ["CRDT", "SYNC", "ORACLE", "STORE", "NET", "NODE", "SRC", "SIM", "API", "CHAIN"];

/// Every id that is cited is defined; every id that is defined is cited by something that checks.
pub fn check(rust: &[RustFile<'_>], sol: &[&File], md: &[&File]) -> Vec<Finding> {
    let (is_definition, mut found) = (|file: &&&File| DEFINITIONS.contains(&file.path.as_str()), Vec::new());
    let defined = defined(md.iter().filter(is_definition).copied(), &mut found);
    let mut checked = BTreeSet::new();
    let mut cite = |path: &str, line: usize, text: &str, is_check: bool| {
        for id in ids(text) {
            if !defined.contains_key(id) {
                found.push(Finding::new(path, line, format!("{id} is not defined in {}", DEFINITIONS.join(" or "))));
            } else if is_check {
                checked.insert(id.to_owned());
            }
        }
    };
    // This program speaks of ids without citing any.
    for file in rust.iter().filter(|file| !file.path().starts_with("xtask/")) {
        for (line, text) in (1..).zip(file.lines()) {
            cite(file.path(), line, text, file.is_check(line));
        }
    }
    for file in sol {
        (1..)
            .zip(file.text.lines())
            .for_each(|(line, text)| cite(&file.path, line, text, file.path.contains("/test/")));
    }
    for file in md.iter().filter(|file| !is_definition(file)) {
        (1..).zip(file.text.lines()).for_each(|(line, text)| cite(&file.path, line, text, false));
    }
    let unchecked = defined.iter().filter(|(id, _)| !checked.contains(**id));
    let uncited =
        |(id, (path, line)): (&&str, &(&str, usize))| Finding::new(path, *line, format!("no test or check cites {id}"));
    found.extend(unchecked.map(uncited));
    found
}

/// Ids, and the files and lines that define them.
fn defined<'a>(files: impl Iterator<Item = &'a File>, found: &mut Vec<Finding>) -> BTreeMap<&'a str, (&'a str, usize)> {
    let mut defined = BTreeMap::new();
    for (file, (line, text)) in files.flat_map(|file| (1..).zip(file.text.lines()).map(move |line| (file, line))) {
        let Some(cell) = text.strip_prefix('|').and_then(|row| row.split('|').next()) else { continue };
        let Some(id) = ids(cell).next().filter(|id| *id == cell.trim()) else { continue };
        if let Some((path, first)) = defined.insert(id, (file.path.as_str(), line)) {
            found.push(Finding::new(&file.path, line, format!("{id} is already defined in {path}:{first}")));
        }
    }
    defined
}

/// All ids in a text, such as `CRDT-3`.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.split(move |c| !is_word(c)).filter(|word| {
        let number = word.split_once('-').filter(|(room, _)| ROOMS.contains(room)).map(|(_, number)| number);
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(definitions: &str, path: &str, code: &str) -> Vec<String> {
        let md = File { path: DEFINITIONS[0].into(), text: definitions.into() };
        let rust = RustFile::parse(path, code).unwrap();
        check(&[rust], &[], &[&md]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ids_are_whole_words() {
        let text = "CRDT-1 (SYNC-22), `NET-3`: SHA-256 CRDT-1a XCRDT-1 CRDT- ORACLE-x CRDT-1-2";
        assert_eq!(ids(text).collect::<Vec<_>>(), ["CRDT-1", "SYNC-22", "NET-3"]);
    }

    #[test]
    fn a_cited_id_must_be_defined() {
        let test = "#[test]\nfn f() {\n    // CRDT-1 and CRDT-2\n}";
        let found = run("| CRDT-1 | a | b |", "crates/a/src/lib.rs", test);
        assert_eq!(
            found,
            ["crates/a/src/lib.rs:3: CRDT-2 is not defined in docs/invariants.md or contracts/docs/invariants.md"]
        );
    }

    #[test]
    fn a_defined_id_must_be_checked() {
        let claim = "/// CRDT-1: a claim.\nfn f() {}";
        let found = run("| id |\n| CRDT-1 | a |", "crates/a/src/lib.rs", claim);
        assert_eq!(found, ["docs/invariants.md:2: no test or check cites CRDT-1"]);
        assert!(run("| CRDT-1 | a |", "crates/a/src/lib.rs", "fn check_all() {\n    // CRDT-1\n}").is_empty());
        assert!(run("| CRDT-1 | a |", "crates/a/tests/b.rs", "/// CRDT-1\nfn f() {}").is_empty());
        assert!(run("| CRDT-1 | a |", "sim/src/lib.rs", "/// CRDT-1\nfn f() {}").is_empty());
    }

    #[test]
    fn an_id_is_defined_once() {
        let found = run("| CRDT-1 | a |\n| CRDT-1 | b |", "crates/a/tests/b.rs", "// CRDT-1");
        assert_eq!(found, ["docs/invariants.md:2: CRDT-1 is already defined in docs/invariants.md:1"]);
    }

    #[test]
    fn a_row_that_only_mentions_an_id_defines_nothing() {
        assert!(run("| see CRDT-1 | a |", "crates/a/src/lib.rs", "fn f() {}").is_empty());
    }

    #[test]
    fn documents_and_contracts_cite_too() {
        let md = [("docs/a.md", "CRDT-9"), (DEFINITIONS[0], "| CRDT-1 | a |"), (DEFINITIONS[1], "| CHAIN-1 | a |")]
            .map(|(p, t)| File { path: p.into(), text: t.into() });
        let sol = File { path: "contracts/test/A.t.sol".into(), text: "// CRDT-1 CHAIN-1".into() };
        let found = check(&[], &[&sol], &md.each_ref());
        let undefined = "CRDT-9 is not defined in docs/invariants.md or contracts/docs/invariants.md";
        assert_eq!(found, [Finding::new("docs/a.md", 1, undefined)]);
    }
}
