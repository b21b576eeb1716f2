//! Which crate may use which: the rooms of the repository and the arrows between them.

use std::{collections::BTreeSet, ffi::OsStr, path::Path};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand, Package};

use super::Finding;

/// A crate of the workspace.
struct Room {
    name: &'static str,
    /// Its folder.
    folder: &'static str,
    uses: Uses,
    /// What its tests may use beyond [`uses`](Self::uses) and all that lies below that.
    tests_use: &'static [&'static str],
}

enum Uses {
    /// These crates of ours, and no others.
    Only(&'static [&'static str]),
    /// Any crate of ours.
    Anything,
}

const CRDT: &str = "concurrence-crdt";
const PROTOCOL: &str = "concurrence-protocol";
const ORACLE: &str = "concurrence-oracle";
const ENGINE: &str = "concurrence-engine";
const STORE: &str = "concurrence-store";
const NET: &str = "concurrence-net";
const SOURCES: &str = "concurrence-sources";
const API: &str = "concurrence-api";
const NODE: &str = "concurrence-node";
const CLI: &str = "concurrence-cli";
const SIM: &str = "concurrence-sim";
const EXCHANGES: &str = "concurrence-exchanges";
const BENCH: &str = "concurrence-bench";
const FUZZ: &str = "concurrence-fuzz";

/// Core thinks, edge touches the world, node and cli assemble. No edge uses another edge. A new arrow is a decision record.
const ROOMS: &[Room] = &[
    room(CRDT, "crates/core/crdt", &[]),
    room(PROTOCOL, "crates/core/protocol", &[CRDT]),
    room(ORACLE, "crates/core/oracle", &[CRDT]),
    room(ENGINE, "crates/core/engine", &[CRDT, PROTOCOL, ORACLE]),
    room(STORE, "crates/edge/store", &[CRDT, PROTOCOL]),
    room(NET, "crates/edge/net", &[PROTOCOL]),
    room(SOURCES, "crates/edge/sources", &[CRDT, ORACLE]),
    room(API, "crates/edge/api", &[CRDT, PROTOCOL, ORACLE]),
    room(NODE, "crates/node", &[CRDT, PROTOCOL, ORACLE, ENGINE, STORE, NET, SOURCES, API]),
    room(CLI, "crates/cli", &[CRDT, PROTOCOL, ORACLE, ENGINE, SOURCES, API, NODE, SIM, EXCHANGES]),
    room(SIM, "sim", &[CRDT, PROTOCOL, ORACLE, ENGINE, STORE, SOURCES]),
    // The simulated venues share no code with what reads them; only their tests ask our parsers whether they are understood.
    Room { tests_use: &[SOURCES, ORACLE, CRDT], ..room(EXCHANGES, "exchanges", &[]) },
    Room { uses: Uses::Anything, ..room(BENCH, "bench", &[]) },
    room("xtask", "xtask", &[]),
    room(FUZZ, "fuzz", &[CRDT, PROTOCOL, ORACLE, STORE, SOURCES]),
];

/// Manifests of workspaces: the repository's, and that of what is instrumented when it is built.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "fuzz/Cargo.toml"];

/// What nothing in `crates/core` may use: core has no clock, no randomness of the system, no I/O and prints nothing.
const BANNED_IN_CORE: &[&str] =
    &["tokio", "futures", "getrandom", "rand", "reqwest", "libp2p", "axum", "redb", "serde_json", "tracing"];

const fn room(name: &'static str, folder: &'static str, uses: &'static [&'static str]) -> Room {
    Room { name, folder, uses: Uses::Only(uses), tests_use: &[] }
}

/// Checks the manifests of all members.
pub fn check(root: &Path, cargo: &OsStr) -> anyhow::Result<Vec<Finding>> {
    let mut found = Vec::new();
    let mut members = Vec::new();
    for workspace in WORKSPACES {
        let mut command = MetadataCommand::new();
        command.cargo_path(cargo).current_dir(root).manifest_path(root.join(workspace)).no_deps();
        let metadata = command.exec().with_context(|| format!("cargo metadata of {workspace}"))?;
        members.extend(metadata.workspace_packages().into_iter().cloned());
    }
    for room in ROOMS.iter().filter(|room| !members.iter().any(|member| member.name.as_str() == room.name)) {
        found.push(Finding::new("xtask/src/tidy/arrows.rs", 1, format!("the workspace has no crate {}", room.name)));
    }
    for member in members {
        let manifest = Path::new(member.manifest_path.as_str());
        let path = manifest.strip_prefix(root).unwrap_or(manifest).to_string_lossy().into_owned();
        let text = std::fs::read_to_string(manifest).with_context(|| path.clone())?;
        found.extend(check_member(&member, &path, &text));
    }
    Ok(found)
}

fn check_member(member: &Package, path: &str, manifest: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    if !has_workspace_lints(manifest) {
        found.push(Finding::new(path, 1, "without `[lints] workspace = true` the workspace's lints do not apply"));
    }
    let name = member.name.as_str();
    let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
        found.push(Finding::new(path, 1, format!("{name} is in no room: add it to ROOMS in xtask/src/tidy/arrows.rs")));
        return found;
    };
    if path != format!("{}/Cargo.toml", room.folder) {
        found.push(Finding::new(path, 1, format!("{name} belongs in {}", room.folder)));
    }
    for dependency in &member.dependencies {
        let (used, in_tests) = (dependency.name.as_str(), dependency.kind == DependencyKind::Development);
        if let Some(message) = forbidden(room, used, in_tests) {
            found.push(Finding::new(path, line_of(manifest, used), message));
        }
    }
    found
}

/// Why a room may not use a crate, if it may not.
fn forbidden(room: &Room, used: &str, in_tests: bool) -> Option<String> {
    if !ROOMS.iter().any(|other| other.name == used) {
        let banned = room.folder.starts_with("crates/core/") && !in_tests && BANNED_IN_CORE.contains(&used);
        return banned.then(|| format!("{} is core and may not use {used}: core touches nothing outside", room.name));
    }
    let Uses::Only(uses) = room.uses else { return None };
    let allowed = uses.contains(&used) || in_tests && (below(room).contains(used) || room.tests_use.contains(&used));
    let kind = if in_tests { "its tests may use" } else { "it may use" };
    (!allowed).then(|| format!("{} may not use {used}; {kind}: {}", room.name, list(uses)))
}

/// All that a room uses, directly or through others.
fn below(room: &Room) -> BTreeSet<&'static str> {
    let Uses::Only(uses) = room.uses else { return ROOMS.iter().map(|r| r.name).collect() };
    let mut all: BTreeSet<_> = uses.iter().copied().collect();
    for used in ROOMS.iter().filter(|other| uses.contains(&other.name)) {
        all.extend(below(used));
    }
    all
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "none of ours".to_owned() } else { names.join(", ") }
}

fn has_workspace_lints(manifest: &str) -> bool {
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(toml::Value::as_bool) == Some(true)
}

/// The line of a manifest that names a dependency; the first if none does.
fn line_of(manifest: &str, name: &str) -> usize {
    let names_it = |line: &str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '=', '.']));
    manifest.lines().position(names_it).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_name(name: &str) -> &'static Room {
        ROOMS.iter().find(|room| room.name == name).unwrap()
    }

    #[test]
    fn arrows_point_one_way() {
        for room in ROOMS {
            assert!(room.name == BENCH || !below(room).contains(room.name), "{} uses itself", room.name);
        }
        assert!(forbidden(by_name(ENGINE), ORACLE, false).is_none());
        assert!(forbidden(by_name(ORACLE), ENGINE, false).is_some());
        assert!(forbidden(by_name(PROTOCOL), ORACLE, false).is_some());
    }

    #[test]
    fn no_edge_uses_another_edge_even_in_tests() {
        let edges: Vec<_> = ROOMS.iter().filter(|room| room.folder.starts_with("crates/edge/")).collect();
        assert_eq!(edges.len(), 4);
        for edge in &edges {
            for other in edges.iter().filter(|other| other.name != edge.name) {
                for in_tests in [false, true] {
                    assert!(forbidden(edge, other.name, in_tests).is_some(), "{} -> {}", edge.name, other.name);
                }
            }
        }
    }

    #[test]
    fn tests_may_use_what_lies_below() {
        assert!(forbidden(by_name(NET), CRDT, false).is_some());
        assert!(forbidden(by_name(NET), CRDT, true).is_none());
        assert!(forbidden(by_name(NET), ENGINE, true).is_some());
        assert!(forbidden(by_name(EXCHANGES), SOURCES, false).is_some());
        assert!(forbidden(by_name(EXCHANGES), SOURCES, true).is_none());
    }

    #[test]
    fn core_uses_nothing_that_touches_the_world() {
        assert!(forbidden(by_name(CRDT), "tokio", false).is_some());
        assert!(forbidden(by_name(CRDT), "blake3", false).is_none());
        assert!(forbidden(by_name(NET), "tokio", false).is_none());
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        assert!(has_workspace_lints("[lints]\nworkspace = true\n"));
        assert!(!has_workspace_lints("[lints]\nworkspace = false\n"));
        assert!(!has_workspace_lints("[package]\nname = \"a\"\n"));
    }

    #[test]
    fn the_line_of_a_dependency() {
        let manifest = "[dependencies]\nredb-extra = \"1\"\nredb = \"4\"\nserde.workspace = true\n";
        assert_eq!(line_of(manifest, "redb"), 3);
        assert_eq!(line_of(manifest, "serde"), 4);
        assert_eq!(line_of(manifest, "absent"), 1);
    }
}
