//! `cargo xtask gas`: what an update costs on chain, here and elsewhere, from one harness.
//!
//! Our rows are measured by `contracts/test/Gas.t.sol`, which fails when one differs from `contracts/snapshots/Gas.json`; which row is held
//! against which aim, and what others cost, is in `contracts/gas.toml`.

use std::{collections::BTreeMap, fmt::Write, path::Path};

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use crate::{
    contracts,
    runner::{Limit, Runner},
};

/// How the rows are shown.
#[derive(Args)]
pub struct Options {
    /// One JSON object a row, on a line of its own, and no table.
    #[arg(long)]
    json: bool,
    /// Show the committed figures without measuring again.
    #[arg(long)]
    no_run: bool,
}

/// The rows of `contracts/gas.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rows {
    row: Vec<Row>,
}

/// What one kind of update costs in one contract.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    contract: String,
    /// `push`, `pull`, `report` or `read`.
    lane: String,
    /// Signatures.
    k: u32,
    /// Feeds.
    n: u32,
    /// `none`, `ring` or `fresh`: what is kept of the rounds before.
    history: String,
    /// `slot` or `grouped`: feeds a storage slot.
    layout: String,
    /// What else tells the row from others.
    #[serde(default)]
    note: String,
    /// Ours: the name of the figure in `contracts/snapshots/Gas.json`.
    snapshot: Option<String>,
    /// Ours: at most this much gas is wanted.
    aim: Option<u64>,
    /// Others': the figure, which this command does not measure.
    gas: Option<u64>,
    /// Others': where the figure is from.
    source: Option<String>,
}

/// Measures ours, unless told not to, and prints all rows.
pub fn gas(runner: &Runner, options: &Options) -> anyhow::Result<()> {
    if !options.no_run {
        contracts::install_tools(runner, Limit::NONE)?;
        // A figure that is not the committed one fails the run: see `gas_snapshot_check` in foundry.toml.
        contracts::forge(runner, &["test", "--match-path", "test/Gas.t.sol", "--quiet"], Limit::NONE)?;
    }
    let folder = contracts::folder(runner);
    let rows: Rows = toml::from_str(&read(&folder.join("gas.toml"))?).context("contracts/gas.toml")?;
    let figures: BTreeMap<String, String> =
        serde_json::from_str(&read(&folder.join("snapshots/Gas.json"))?).context("contracts/snapshots/Gas.json")?;
    print!("{}", shown(&rows.row, &figures, options.json)?);
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

fn shown(rows: &[Row], figures: &BTreeMap<String, String>, json: bool) -> anyhow::Result<String> {
    let mut out = String::new();
    if !json {
        let _ = writeln!(
            out,
            "{:32} {:6} {:>3} {:>4} {:7} {:7} {:>8} {:>8}  remark",
            "contract", "lane", "k", "n", "history", "layout", "gas", "aim"
        );
    }
    for row in rows {
        let gas = row.figure(figures)?;
        let _ = if json { writeln!(out, "{}", row.json(gas)) } else { writeln!(out, "{}", row.line(gas)) };
    }
    Ok(out)
}

impl Row {
    fn is_ours(&self) -> bool {
        self.snapshot.is_some()
    }

    fn figure(&self, figures: &BTreeMap<String, String>) -> anyhow::Result<u64> {
        let Some(name) = &self.snapshot else {
            anyhow::ensure!(self.source.is_some(), "{}: a figure of others needs its source", self.contract);
            return self.gas.with_context(|| format!("{}: neither a snapshot nor a figure", self.contract));
        };
        let figure = figures.get(name).with_context(|| format!("snapshots/Gas.json has no {name:?}"))?;
        figure.parse().with_context(|| format!("{name:?} is no number"))
    }

    fn json(&self, gas: u64) -> String {
        serde_json::json!({
            "contract": self.contract,
            "ours": self.is_ours(),
            "lane": self.lane,
            "k": self.k,
            "n": self.n,
            "history": self.history,
            "layout": self.layout,
            "gas": gas,
            "measured": self.is_ours(),
        })
        .to_string()
    }

    fn line(&self, gas: u64) -> String {
        let aim = self.aim.map_or_else(|| "-".to_owned(), |aim| aim.to_string());
        let mut remarks = vec![self.note.clone(), self.verdict(gas)];
        remarks.extend(self.source.clone());
        remarks.retain(|remark| !remark.is_empty());
        let Self { contract, lane, k, n, history, layout, .. } = self;
        format!("{contract:32} {lane:6} {k:>3} {n:>4} {history:7} {layout:7} {gas:>8} {aim:>8}  {}", remarks.join("; "))
    }

    /// Whether the aim is met, and by how many tenths of a percent.
    fn verdict(&self, gas: u64) -> String {
        let Some(aim) = self.aim else { return String::new() };
        let tenths = aim.abs_diff(gas) * 1_000 / aim.max(1);
        let word = if gas <= aim { "met by" } else { "MISSED by" };
        format!("{word} {}.{} %", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &str = r#"
        [[row]]
        contract = "PriceFeeds"
        lane = "push"
        k = 5
        n = 1
        history = "none"
        layout = "slot"
        snapshot = "push k5"
        aim = 60_000

        [[row]]
        contract = "Other"
        lane = "push"
        k = 5
        n = 1
        history = "none"
        layout = "slot"
        gas = 70_000
        source = "its documentation"
    "#;

    fn table(figure: &str, json: bool) -> anyhow::Result<String> {
        let rows: Rows = toml::from_str(ROWS).unwrap();
        shown(&rows.row, &BTreeMap::from([("push k5".to_owned(), figure.to_owned())]), json)
    }

    #[test]
    fn an_aim_is_met_or_missed() {
        assert!(table("60000", false).unwrap().contains("met by 0.0 %"));
        assert!(table("60600", false).unwrap().contains("MISSED by 1.0 %"));
    }

    #[test]
    fn rows_are_json_objects() {
        let text = table("59999", true).unwrap();
        let rows: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(rows[0]["gas"], 59_999);
        assert_eq!((&rows[0]["ours"], &rows[0]["measured"]), (&true.into(), &true.into()));
        assert_eq!((&rows[1]["ours"], &rows[1]["measured"]), (&false.into(), &false.into()));
    }

    #[test]
    fn a_row_without_its_figure_is_an_error() {
        let rows: Rows = toml::from_str(ROWS).unwrap();
        assert!(shown(&rows.row, &BTreeMap::new(), false).is_err());
        assert!(table("many", false).is_err());
    }

    #[test]
    fn every_committed_row_has_its_figure() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts");
        let rows: Rows = toml::from_str(&read(&folder.join("gas.toml")).unwrap()).unwrap();
        let figures = serde_json::from_str(&read(&folder.join("snapshots/Gas.json")).unwrap()).unwrap();
        assert!(shown(&rows.row, &figures, false).unwrap().lines().count() > 20);
    }
}
