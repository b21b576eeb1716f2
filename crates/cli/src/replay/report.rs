//! What a replay showed: JSON, and tables for people.

use std::{collections::BTreeSet, fmt::Write as _};

use anyhow::Context as _;
use concurrence_crdt::Digest;
use concurrence_engine::FindingKind;
use concurrence_exchanges::{BAR_MS, decimal};
use concurrence_oracle::Price;
use serde::Serialize;

use super::{
    FEED, Measured, Setting,
    errors::ErrorBps,
    network::{Accusation, NODES, Network},
    node::{Node, Role},
};

/// The whole report, as `--json` prints it.
#[derive(Serialize)]
pub(super) struct Report {
    feed: &'static str,
    points: usize,
    error_bps: ErrorBps,
    variants: Vec<Variant>,
    reference: &'static str,
    worst: WorstPoint,
    /// Minutes in which all honest nodes gave the same price at that instant.
    agreed: usize,
    /// Minutes with a reference in which some honest node had no `ok` answer.
    unanswered: usize,
    nodes: usize,
    honest: usize,
    converged: bool,
    frontier_digest: String,
    ops: u64,
    forks_proven: usize,
    liars_found: usize,
    false_accusations: usize,
    /// Who was proven forked on every honest node.
    forked: Vec<String>,
    /// Who was named an outlier on every honest node.
    outliers: Vec<String>,
    seed: u64,
    from_ms: u64,
    until_ms: u64,
    tick_ms: u64,
    window_ms: u64,
    age_ms_max: u64,
    polls: Losses,
    frames: Losses,
    /// Why the replay failed; empty if it did not.
    pub(super) failures: Vec<String>,
}

/// The minute with the greatest error.
pub(super) struct Worst {
    /// The error.
    pub(super) error_ppb: u64,
    /// The instant.
    pub(super) as_of_ms: u64,
    /// The answer of the node furthest off.
    pub(super) price: Price,
    /// The reference in the tape's units.
    pub(super) reference: i128,
}

#[derive(Serialize)]
struct WorstPoint {
    as_of_ms: u64,
    price: String,
    reference: String,
}

#[derive(Serialize)]
struct Variant {
    name: &'static str,
    meaning: &'static str,
    points: usize,
    error_bps: ErrorBps,
}

#[derive(Serialize)]
struct Losses {
    all: u64,
    lost: u64,
}

const REFERENCE: &str = "arithmetic mean of Coinbase BTC-USD and Kraken XBT/USD closes, known from the end of their bars, at most 300 s old; \
                         compared in the last millisecond of each minute";

/// Sums up a replay that has settled.
pub(super) fn report(
    network: &Network<'_>,
    setting: &Setting,
    measured: &Measured,
    (converged, digest): (bool, Digest),
) -> anyhow::Result<Report> {
    let roles: Vec<_> = network.nodes.iter().map(|node| node.role).collect();
    let named = Named::by(&roles, &network.accusations());
    let worst = measured.worst.as_ref().context("no minute was compared")?;
    let rules = network.rules.iter().zip(&measured.rules);
    let variants = rules.filter_map(|(rule, errors)| {
        let error_bps = errors.summary()?;
        Some(Variant { name: rule.name, meaning: rule.meaning, points: errors.len(), error_bps })
    });
    let (nodes, params) = (&network.nodes, setting.aggregation());
    let names = |numbers: &BTreeSet<usize>| numbers.iter().map(|&n| nodes[n].name.clone()).collect();
    let honest = || nodes.iter().filter(|node| node.role == Role::Honest);
    Ok(Report {
        feed: FEED,
        points: measured.network.len(),
        error_bps: measured.network.summary().context("no minute was compared")?,
        variants: variants.collect(),
        reference: REFERENCE,
        worst: WorstPoint {
            as_of_ms: worst.as_of_ms,
            price: worst.price.to_string(),
            reference: decimal(worst.reference),
        },
        agreed: measured.agreed,
        unanswered: measured.unanswered,
        nodes: NODES,
        honest: honest().count(),
        converged,
        frontier_digest: digest.to_string(),
        ops: honest().map(|node| node.engine.replica().history().ops()).max().unwrap_or(0),
        forks_proven: named.forked.len(),
        liars_found: named.liars_found,
        false_accusations: named.wronged,
        forked: names(&named.forked),
        outliers: names(&named.outliers),
        seed: setting.seed,
        from_ms: setting.from_ms,
        until_ms: setting.until_ms(),
        tick_ms: setting.tick_ms,
        window_ms: params.window_ms,
        age_ms_max: params.max_age_ms,
        polls: Losses {
            all: nodes.iter().map(|node| node.venues.polls).sum(),
            lost: nodes.iter().map(|node| node.venues.lost).sum(),
        },
        frames: Losses { all: network.frames.0, lost: network.frames.1 },
        failures: failures(network, &named, converged),
    })
}

/// Whom the honest nodes name.
struct Named {
    /// Forked, on every honest node.
    forked: BTreeSet<usize>,
    /// Outliers, on every honest node.
    outliers: BTreeSet<usize>,
    /// Liars named by every honest node for what they did.
    liars_found: usize,
    /// Accusations by any honest node of someone who did nothing of the kind.
    wronged: usize,
}

impl Named {
    /// From the roles of all nodes and what each honest one accuses others of.
    fn by(roles: &[Role], accusations: &[Vec<Accusation>]) -> Self {
        let by_all = |wanted: FindingKind| -> BTreeSet<usize> {
            let named = |n: &usize| accusations.iter().all(|list| list.contains(&(*n, wanted)));
            (0..roles.len()).filter(named).collect()
        };
        let (forked, outliers) = (by_all(FindingKind::Fork), by_all(FindingKind::Outlier));
        let found = |(n, role): (usize, &Role)| match role {
            Role::Honest => false,
            Role::HighReporter => outliers.contains(&n),
            Role::Equivocator => forked.contains(&n),
        };
        let liars_found = roles.iter().enumerate().filter(|&liar| found(liar)).count();
        // Whatever is found about an equivocator's many statements, it did.
        let is_deserved = |&(n, kind): &Accusation| match roles.get(n) {
            Some(Role::Equivocator) => true,
            Some(Role::HighReporter) => kind == FindingKind::Outlier,
            _ => false,
        };
        let wronged = accusations.iter().flatten().filter(|accusation| !is_deserved(accusation)).count();
        Self { forked, outliers, liars_found, wronged }
    }
}

fn failures(network: &Network<'_>, named: &Named, converged: bool) -> Vec<String> {
    let mut failures = Vec::new();
    let nodes = &network.nodes;
    for (n, Node { name, role, .. }) in nodes.iter().enumerate() {
        if *role == Role::Equivocator && !named.forked.contains(&n) {
            failures.push(format!("{name} signed two histories, and not every honest node has proven it"));
        }
        if *role == Role::HighReporter && !named.outliers.contains(&n) {
            failures.push(format!("{name} reported 20 % too high, and not every honest node names it"));
        }
    }
    if named.wronged > 0 {
        failures.push(format!("{} accusations of oracles that did nothing of the kind", named.wronged));
    }
    if !converged {
        failures.push("the honest nodes' histories differ in the end".to_owned());
    }
    let honest = network.halted.iter().filter(|&&(n, _)| nodes[n].role == Role::Honest);
    failures.extend(honest.map(|(n, why)| format!("{} is honest and halted: {why}", nodes[*n].name)));
    failures
}

impl Report {
    /// For people.
    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        self.write_table(&mut text).ok();
        text
    }

    fn write_table(&self, text: &mut String) -> std::fmt::Result {
        let Self { feed, points, nodes, seed, .. } = self;
        writeln!(text, "{feed}: {points} minutes, {nodes} oracles, one 20 % high, one equivocating; seed {seed}")?;
        writeln!(text, "reference: {}", self.reference)?;
        writeln!(
            text,
            "a poll and an attestation every {} s, {} of {} polls and {} of {} frames lost; window {} s, maximum age {} s",
            self.tick_ms / 1_000,
            self.polls.lost,
            self.polls.all,
            self.frames.lost,
            self.frames.all,
            self.window_ms / 1_000,
            self.age_ms_max / 1_000,
        )?;
        writeln!(text, "\n{:<27}{:>9}{:>9}{:>9}  ", "error, basis points", "max", "p99", "mean")?;
        let mut row = |name: &str, error: &ErrorBps, meaning: &str| {
            let ErrorBps { max, p99, mean } = error;
            writeln!(text, "{name:<27}{max:>9.2}{p99:>9.2}{mean:>9.2}  {meaning}")
        };
        row(
            "network",
            &self.error_bps,
            "the answers as signed, default weights; of each minute the node furthest off",
        )?;
        for variant in &self.variants {
            row(variant.name, &variant.error_bps, variant.meaning)?;
        }
        let into_ms = self.worst.as_of_ms.saturating_sub(self.from_ms) / BAR_MS;
        writeln!(text, "\nworst: {} for {}, {into_ms} minutes in", self.worst.price, self.worst.reference)?;
        writeln!(
            text,
            "{} honest nodes gave one and the same price in {} of {points} minutes; without an ok answer: {}",
            self.honest, self.agreed, self.unanswered
        )?;
        writeln!(
            text,
            "proven forked: {}; outlier: {}; wrongly accused: {}",
            listed(&self.forked),
            listed(&self.outliers),
            self.false_accusations
        )?;
        let same = if self.converged { "the same" } else { "NOT the same" };
        writeln!(text, "{same} history on all honest nodes: {} operations, digest {}", self.ops, self.frontier_digest)
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nobody".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLES: [Role; 4] = [Role::Honest, Role::HighReporter, Role::Equivocator, Role::Honest];

    #[test]
    fn liars_are_found_when_every_honest_node_names_them() {
        let both = || vec![(1, FindingKind::Outlier), (2, FindingKind::Fork), (2, FindingKind::Conflict)];
        let named = Named::by(&ROLES, &[both(), both()]);
        assert_eq!((named.liars_found, named.wronged), (2, 0));
        assert_eq!((named.forked, named.outliers), (BTreeSet::from([2]), BTreeSet::from([1])));
        let named = Named::by(&ROLES, &[both(), vec![(1, FindingKind::Outlier)]]);
        assert_eq!((named.liars_found, named.forked), (1, BTreeSet::new()));
    }

    #[test]
    fn accusations_of_what_nobody_did_are_wrong() {
        let wronged = |accusation| Named::by(&ROLES, &[vec![accusation], vec![]]).wronged;
        assert_eq!(wronged((0, FindingKind::Outlier)), 1);
        assert_eq!(wronged((3, FindingKind::Fork)), 1);
        assert_eq!(wronged((1, FindingKind::Fork)), 1);
        assert_eq!(wronged((1, FindingKind::Outlier)), 0);
    }
}
