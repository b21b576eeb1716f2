//! Scenario files: TOML, every key below. Unknown keys are refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    ScenarioConfig,
    actors::ActorKind,
    link::{Cut, LinkConfig},
    node::Role,
    scenario::{Expect, Fault},
};

/// Why a scenario file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No TOML, or not of this form.
    #[error("{0}")]
    Form(String),
    /// A name that is none.
    #[error("{what} {name:?} is unknown; known are: {known}")]
    Unknown {
        /// What was to be named.
        what: &'static str,
        /// The name given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A node that the scenario does not have.
    #[error("node {0} is beyond the scenario's nodes")]
    Node(usize),
}

/// A whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the scenario shows, in a sentence.
    about: String,
    nodes: usize,
    #[serde(default)]
    seed: u64,
    minutes: u64,
    tick_ms: Option<u64>,
    feeds: Option<usize>,
    disk_ms: Option<(u64, u64)>,
    quote_loss_per_mille: Option<u32>,
    clock_offset_ms_max: Option<i64>,
    clock_drift_ppm_max: Option<i64>,
    link: Option<Link>,
    #[serde(default)]
    liars: Vec<Liar>,
    #[serde(default)]
    reporters: Vec<Reporter>,
    #[serde(default)]
    twins: Vec<Twin>,
    #[serde(default)]
    faults: Vec<Event>,
    #[serde(default)]
    expect: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    latency_ms: Option<(u64, u64)>,
    loss_per_mille: Option<u32>,
    duplicate_per_mille: Option<u32>,
    reorder_per_mille: Option<u32>,
    bytes_per_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Liar {
    node: usize,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reporter {
    node: usize,
    factor_ppm: i64,
}

/// `node` runs the keys of `of`, which is a smaller number.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Twin {
    node: usize,
    of: usize,
}

/// Every so often from a moment on, if `every_s` and `times` are given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    at_s: f64,
    every_s: Option<f64>,
    times: Option<u32>,
    #[serde(rename = "do")]
    what: String,
    node: Option<usize>,
    groups: Option<Vec<u8>>,
    cut: Option<String>,
    offset_ms: Option<i64>,
    calls: Option<u64>,
    inputs: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    forked: Option<Vec<usize>>,
    #[serde(default)]
    injected: BTreeMap<String, u64>,
    #[serde(default)]
    refused: BTreeMap<String, u64>,
    #[serde(default)]
    faults: BTreeMap<String, u64>,
    #[serde(default)]
    halted: Vec<usize>,
    #[serde(default)]
    findings: Vec<(String, usize)>,
    #[serde(default)]
    absent: Vec<usize>,
    #[serde(default)]
    present: Vec<usize>,
}

/// What a file's scenario is named and shows, and how it runs.
pub fn scenario_from_toml(name: &str, text: &str) -> Result<(String, ScenarioConfig), FileError> {
    let file: File = toml::from_str(text).map_err(|error| FileError::Form(error.to_string()))?;
    let mut config = ScenarioConfig {
        duration_ms: file.minutes * 60_000,
        command: format!("cargo xtask sim --scenario {name}"),
        ..ScenarioConfig::calm(file.seed, file.nodes)
    };
    config.tick_ms = file.tick_ms.unwrap_or(config.tick_ms);
    config.feeds = file.feeds.unwrap_or(config.feeds);
    config.disk_ms = file.disk_ms.unwrap_or(config.disk_ms);
    config.quote_loss_per_mille = file.quote_loss_per_mille.unwrap_or(config.quote_loss_per_mille);
    config.clock_offset_ms_max = file.clock_offset_ms_max.unwrap_or(config.clock_offset_ms_max);
    config.clock_drift_ppm_max = file.clock_drift_ppm_max.unwrap_or(config.clock_drift_ppm_max);
    if let Some(link) = &file.link {
        let plain = config.link;
        config.link = LinkConfig {
            latency_ms: link.latency_ms.unwrap_or(plain.latency_ms),
            loss_per_mille: link.loss_per_mille.unwrap_or(plain.loss_per_mille),
            duplicate_per_mille: link.duplicate_per_mille.unwrap_or(plain.duplicate_per_mille),
            reorder_per_mille: link.reorder_per_mille.unwrap_or(plain.reorder_per_mille),
            bytes_per_s: link.bytes_per_s.unwrap_or(plain.bytes_per_s),
        };
    }
    set_roles(&file, &mut config)?;
    for event in &file.faults {
        config.faults.extend(events(event, file.nodes)?);
    }
    config.expect = expected(file.expect)?;
    Ok((file.about, config))
}

fn set_roles(file: &File, config: &mut ScenarioConfig) -> Result<(), FileError> {
    let mut set = |node: usize, role: Role| match config.roles.get_mut(node) {
        Some(slot) => {
            *slot = role;
            Ok(())
        }
        None => Err(FileError::Node(node)),
    };
    for liar in &file.liars {
        let kind = ActorKind::ALL.iter().find(|kind| kind.name() == liar.kind);
        let known = || ActorKind::ALL.iter().map(|kind| kind.name()).collect::<Vec<_>>();
        let kind = kind.ok_or_else(|| unknown("actor", &liar.kind, &known()))?;
        set(liar.node, Role::Liar(*kind))?;
    }
    for reporter in &file.reporters {
        set(reporter.node, Role::Reporter { factor_ppm: reporter.factor_ppm.into() })?;
    }
    for twin in &file.twins {
        if twin.of >= twin.node {
            return Err(FileError::Node(twin.of));
        }
        set(twin.node, Role::TwinOf(twin.of))?;
    }
    Ok(())
}

/// What an event may do, as files write it.
const FAULTS: [&str; 15] = [
    "start",
    "kill",
    "power_cut",
    "kill_after",
    "partition",
    "heal",
    "step_clock",
    "backup",
    "restore_backup",
    "break_disk",
    "fill_disk",
    "heal_disk",
    "rot",
    "replace_disk",
    "restart",
];

/// How long a node is down in a `restart`, in milliseconds.
const RESTART_MS: u64 = 500;

fn events(event: &Event, nodes: usize) -> Result<Vec<(u64, Fault)>, FileError> {
    let mut all = Vec::new();
    let every_ms = milliseconds(event.every_s.unwrap_or(0.0));
    for time in 0..u64::from(event.times.unwrap_or(1)) {
        let at_ms = milliseconds(event.at_s) + time * every_ms;
        if event.what == "restart" {
            let node = node_of(event, nodes)?;
            all.extend([(at_ms, Fault::Kill(node)), (at_ms + RESTART_MS, Fault::Start(node))]);
        } else {
            all.push((at_ms, fault(event, nodes)?));
        }
    }
    Ok(all)
}

fn fault(event: &Event, nodes: usize) -> Result<Fault, FileError> {
    let node = || node_of(event, nodes);
    Ok(match event.what.as_str() {
        "start" => Fault::Start(node()?),
        "kill" => Fault::Kill(node()?),
        "power_cut" => Fault::PowerCut(node()?),
        "kill_after" => Fault::KillAfter(node()?, event.inputs.ok_or_else(|| missing("inputs"))?),
        "partition" => {
            let cut = match event.cut.as_deref() {
                None | Some("closed") => Cut::Closed,
                Some("silent") => Cut::Silent,
                Some("one-way") => Cut::OneWay,
                Some(other) => return Err(unknown("cut", other, &["closed", "silent", "one-way"])),
            };
            Fault::Partition(event.groups.clone().ok_or_else(|| missing("groups"))?, cut)
        }
        "heal" => Fault::Heal,
        "step_clock" => Fault::StepClock(node()?, event.offset_ms.ok_or_else(|| missing("offset_ms"))?),
        "backup" => Fault::Backup(node()?),
        "restore_backup" => Fault::RestoreBackup(node()?),
        "break_disk" => Fault::BreakDisk(node()?, event.calls.unwrap_or(0)),
        "fill_disk" => Fault::FillDisk(node()?, event.calls.unwrap_or(0)),
        "heal_disk" => Fault::HealDisk(node()?),
        "rot" => Fault::Rot(node()?),
        "replace_disk" => Fault::ReplaceDisk(node()?),
        other => return Err(unknown("fault", other, &FAULTS)),
    })
}

fn node_of(event: &Event, nodes: usize) -> Result<usize, FileError> {
    let node = event.node.ok_or_else(|| missing("node"))?;
    if node < nodes { Ok(node) } else { Err(FileError::Node(node)) }
}

fn expected(file: Expected) -> Result<Expect, FileError> {
    let Expected { forked, injected, refused, faults, halted, findings, absent, present } = file;
    let injected = injected.into_iter().map(|(node, least)| {
        let number = node.parse().map_err(|_| FileError::Form(format!("[expect.injected] {node:?} is no node")))?;
        Ok((number, least))
    });
    let injected = injected.collect::<Result<_, FileError>>()?;
    Ok(Expect { forked, injected, refused, faults, halted, findings, absent, present })
}

/// Scenario files write seconds with a fraction.
fn milliseconds(seconds: f64) -> u64 {
    // Saturates, and is zero for what is no time.
    #[expect(clippy::cast_possible_truncation, reason = "a scenario lasts minutes")]
    let whole = (seconds * 1_000.0).round() as u64;
    whole
}

fn missing(key: &str) -> FileError {
    FileError::Form(format!("a fault needs `{key}`"))
}

fn unknown(what: &'static str, name: &str, known: &[&str]) -> FileError {
    FileError::Unknown { what, name: name.to_owned(), known: known.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
about = "all keys"
nodes = 5
seed = 3
minutes = 2
tick_ms = 2000
feeds = 1
disk_ms = [1, 2]
link = { latency_ms = [1, 2], loss_per_mille = 3, duplicate_per_mille = 4, reorder_per_mille = 5, bytes_per_s = 6 }
liars = [{ node = 1, kind = "b01-equivocator" }]
reporters = [{ node = 2, factor_ppm = 1200000 }]
twins = [{ node = 4, of = 0 }]
faults = [
  { at_s = 1.5, do = "partition", groups = [0, 1], cut = "one-way" },
  { at_s = 2, every_s = 3, times = 2, do = "restart", node = 0 },
]
[expect]
forked = [1]
injected = { 1 = 5 }
refused = { signature = 1 }
findings = [["outlier", 2]]
"#;

    #[test]
    fn every_key_is_read() {
        let (about, config) = scenario_from_toml("whole", WHOLE).unwrap();
        assert_eq!((about.as_str(), config.seed, config.duration_ms), ("all keys", 3, 120_000));
        assert_eq!(config.link.bytes_per_s, 6);
        assert_eq!(config.roles[1], Role::Liar(ActorKind::Equivocator));
        assert_eq!(config.roles[4], Role::TwinOf(0));
        assert_eq!(config.faults[0], (1_500, Fault::Partition(vec![0, 1], Cut::OneWay)));
        assert_eq!(config.faults[3], (5_000, Fault::Kill(0)));
        assert_eq!(config.faults[4], (5_500, Fault::Start(0)));
        assert_eq!(config.expect.injected[&1], 5);
        assert!(config.command.ends_with("--scenario whole"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |from: &str, to: &str| scenario_from_toml("w", &WHOLE.replace(from, to)).unwrap_err().to_string();
        assert!(wrong("b01-equivocator", "b99").contains("b01-equivocator"));
        assert!(wrong("\"restart\"", "\"melt\"").contains("power_cut"));
        assert!(wrong("node = 0", "node = 9").contains('9'));
        assert!(wrong("feeds = 1", "feed = 1").contains("feed"));
    }
}
