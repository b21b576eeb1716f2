//! What the demo must show, gathered while it runs and judged at its end.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use concurrence_node::api::{FeedStatus, Snapshot};
use concurrence_oracle::Price;
use serde::Serialize;

use super::{
    network::{Member, Network, Role},
    statuses::{Statuses, Tally},
};

/// The findings of one run.
pub struct Verdict {
    nodes: usize,
    honest: usize,
    errors_bps: Vec<f64>,
    statuses: Statuses,
    lens_at_cut: Vec<u64>,
    /// Sides of partitions in which some node wrote nothing.
    silent_sides: Vec<String>,
    converged: bool,
    frontier_digest: String,
    ops: u64,
    accusations: Vec<Accusations>,
    expected: Expected,
}

/// Whom one honest node's API accuses.
#[derive(Debug, Default)]
struct Accusations {
    forks: BTreeSet<String>,
    outliers: BTreeSet<String>,
    others: BTreeSet<String>,
}

/// Who deserves it.
#[derive(Debug, Default)]
struct Expected {
    forks: BTreeSet<String>,
    outliers: BTreeSet<String>,
}

/// The last line of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    converged: bool,
    nodes: usize,
    honest: usize,
    forks_proven: usize,
    liars_found: usize,
    false_accusations: usize,
    frontier_digest: &'a str,
    ops: u64,
    error_bps: ErrorBps,
    silent_sides: &'a [String],
    statuses: &'a Tally,
    passed: bool,
}

/// Distance of `ok` answers from the reference, in basis points.
#[derive(Clone, Copy, Serialize)]
pub struct ErrorBps {
    /// The greatest.
    pub max: f64,
    /// The 99th percentile.
    pub p99: f64,
}

impl Verdict {
    pub fn new(network: &Network) -> Self {
        let of_role = |role| {
            let members = network.members.iter().filter(move |m| m.role == role);
            members.map(|m| m.author.clone()).collect::<BTreeSet<_>>()
        };
        Self {
            nodes: network.members.len(),
            honest: of_role(Role::Honest).len(),
            errors_bps: Vec::new(),
            statuses: Statuses::default(),
            lens_at_cut: Vec::new(),
            silent_sides: Vec::new(),
            converged: false,
            frontier_digest: String::new(),
            ops: 0,
            accusations: Vec::new(),
            expected: Expected { forks: of_role(Role::Equivocator), outliers: of_role(Role::High) },
        }
    }

    /// Measures every honest node's `ok` answers against the reference, and its status against the side it is on, if the network is cut.
    pub fn sample(&mut self, network: &Network, cut: Option<(&[usize], Duration)>) {
        if let Some((sides, cut_for)) = cut {
            self.statuses.sample(network, sides, cut_for);
        }
        for member in honest(network) {
            self.errors_bps.extend(error_bps(network, &newest(member)));
        }
    }

    /// A partition opens.
    pub fn cut(&mut self, network: &Network) {
        self.statuses.cut(network);
        self.lens_at_cut = network.members.iter().map(own_len).collect();
    }

    /// A partition heals: each side must have gone on writing.
    pub fn healed(&mut self, network: &Network, sides: &[usize]) {
        let cut = std::mem::take(&mut self.lens_at_cut);
        for (n, (member, before)) in network.members.iter().zip(cut).enumerate() {
            if member.role == Role::Honest && own_len(member) <= before {
                self.silent_sides.push(format!("{} on side {}", member.name, sides[n]));
            }
        }
    }

    /// Waits until all honest nodes hold the same, then asks each one's own API whom it accuses.
    pub async fn settle(&mut self, network: &Network, patience: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut last_ops = 0;
        let mut quiet_since = Instant::now();
        while started.elapsed() < patience {
            let snapshots: Vec<_> = honest(network).map(newest).collect();
            let digests: BTreeSet<_> = snapshots.iter().map(|s| s.frontier.digest.clone()).collect();
            let ops = snapshots.iter().map(|s| s.frontier.ops).max().unwrap_or(0);
            if ops != last_ops || digests.len() != 1 {
                (last_ops, quiet_since) = (ops, Instant::now());
            }
            // Two seconds without a new operation anywhere are two intervals of publishing.
            self.converged = digests.len() == 1 && quiet_since.elapsed() > Duration::from_secs(2);
            if self.converged {
                self.frontier_digest = digests.into_iter().next().unwrap_or_default();
                self.ops = ops;
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for member in honest(network) {
            self.accusations.push(ask(member).await.with_context(|| member.name.clone())?);
        }
        Ok(())
    }

    /// Distance so far.
    pub fn error_bps(&self) -> ErrorBps {
        let mut sorted = self.errors_bps.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1)));
        let round = |x: Option<&f64>| x.map_or(0.0, |x| (x * 100.0).round() / 100.0);
        ErrorBps { max: round(sorted.last()), p99: round(at(99)) }
    }

    /// Whether everything is as it must be.
    pub fn passed(&self) -> bool {
        let right = |a: &Accusations| {
            a.forks == self.expected.forks && a.outliers == self.expected.outliers && a.others.is_empty()
        };
        self.converged
            && self.silent_sides.is_empty()
            && self.accusations.len() == self.honest
            && self.accusations.iter().all(right)
    }

    fn false_accusations(&self) -> usize {
        let wrong = |a: &Accusations| {
            let forks = a.forks.difference(&self.expected.forks).count();
            forks + a.outliers.difference(&self.expected.outliers).count() + a.others.len()
        };
        self.accusations.iter().map(wrong).sum()
    }

    /// Liars that every honest node names.
    fn found_by_all(&self, expected: &BTreeSet<String>, named: impl Fn(&Accusations) -> &BTreeSet<String>) -> usize {
        expected.iter().filter(|liar| self.accusations.iter().all(|a| named(a).contains(*liar))).count()
    }

    /// Prints the summary, and the line of JSON if asked for.
    pub fn print(&self, json: bool) {
        let forks_proven = self.found_by_all(&self.expected.forks, |a| &a.forks);
        let liars_found = forks_proven + self.found_by_all(&self.expected.outliers, |a| &a.outliers);
        let (error_bps, false_accusations) = (self.error_bps(), self.false_accusations());
        let lies = self.expected.forks.len() + self.expected.outliers.len();
        eprintln!("\nafter the venues closed:");
        eprintln!(
            "  {} honest nodes {} ({} operations)",
            self.honest,
            if self.converged { "hold the same history" } else { "DIFFER" },
            self.ops
        );
        eprintln!("  frontier digest {}", self.frontier_digest);
        eprintln!("  {liars_found} of {lies} liars named by every honest node, {false_accusations} false accusations");
        eprintln!(
            "  answers marked ok were at most {:.1} bps from the reference (p99 {:.1})",
            error_bps.max, error_bps.p99
        );
        let Tally { sampled, wrong, first_wrong } = self.statuses.tally();
        eprintln!("  {} of {sampled} statuses seen in partitions were what the side's weight allows", sampled - wrong);
        first_wrong.iter().for_each(|first| eprintln!("    {first}"));
        for silent in &self.silent_sides {
            eprintln!("  WROTE NOTHING during a partition: {silent}");
        }
        eprintln!("{}", if self.passed() { "passed" } else { "FAILED" });
        if json {
            let line = Line {
                converged: self.converged,
                nodes: self.nodes,
                honest: self.honest,
                forks_proven,
                liars_found,
                false_accusations,
                frontier_digest: &self.frontier_digest,
                ops: self.ops,
                error_bps,
                silent_sides: &self.silent_sides,
                statuses: self.statuses.tally(),
                passed: self.passed(),
            };
            println!("{}", serde_json::to_string(&line).unwrap_or_default());
        }
    }
}

/// The honest members.
pub fn honest(network: &Network) -> impl Iterator<Item = &Member> {
    network.members.iter().filter(|member| member.role == Role::Honest)
}

/// A node's newest snapshot.
pub fn newest(member: &Member) -> Arc<Snapshot> {
    Arc::clone(&member.node.snapshots().borrow())
}

/// Distance of a node's `ok` answer from the reference as of the instant of the answer, in basis points.
pub fn error_bps(network: &Network, snapshot: &Snapshot) -> Option<f64> {
    let answer = &snapshot.feeds.first()?.price;
    if answer.status != FeedStatus::Ok {
        return None;
    }
    let reference = reference(network)?;
    let price = Price::parse(&format!("{}e{}", answer.price.as_ref()?, answer.expo)).ok()?;
    let ppm = price.deviation_ppm(reference)?;
    u32::try_from(ppm).ok().map(|ppm| f64::from(ppm) / 100.0)
}

/// The reference price now: the mean of Coinbase's and Kraken's USD closes, in units of 1e-8 on the tape.
pub fn reference(network: &Network) -> Option<Price> {
    network.tape.reference(network.clock.now_ms()).map(|units| Price::from_units(units * 10_000_000_000))
}

/// Length of a node's own logs in its own history.
fn own_len(member: &Member) -> u64 {
    let snapshot = newest(member);
    snapshot.frontier.logs.iter().filter(|log| log.author == member.author).map(|log| log.len).sum()
}

/// Asks a node's own API whom it accuses.
async fn ask(member: &Member) -> anyhow::Result<Accusations> {
    let url = format!("http://{}/v1/anomalies", member.node.api_addr());
    let body = reqwest::get(&url).await?.error_for_status()?.bytes().await?;
    let answer: serde_json::Value = serde_json::from_slice(&body)?;
    let mut accusations = Accusations::default();
    for anomaly in answer["anomalies"].as_array().context("no anomalies in the answer")? {
        let oracle = anomaly["oracle"].as_str().unwrap_or_default().to_owned();
        match anomaly["kind"].as_str() {
            Some("fork") => accusations.forks.insert(oracle),
            Some("outlier") => accusations.outliers.insert(oracle),
            _ => accusations.others.insert(oracle),
        };
    }
    Ok(accusations)
}
