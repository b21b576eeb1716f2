//! Benchmarks. Each row measures the project's own code beside the raw library under it, in the same run and by processor time,
//! so that a row says what we add and not how fast the machine is. `spread` measures whole networks beside the theoretical least.
//! What the rows mean is in `README.md`.

mod cpu;
mod disk;
mod feeds;
mod intake;
mod machine;
mod material;
mod network;
mod report;
mod signatures;
mod sync;
mod views;

use std::error::Error;

use clap::{Parser, Subcommand};

use crate::{machine::Machine, report::Report};

/// Measures intake, storage, synchronisation and views beside the raw libraries.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Task>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Cut all sizes down to a few seconds: shows that the benchmarks work, not how fast anything is.
    #[arg(long)]
    quick: bool,
}

#[derive(Subcommand)]
enum Task {
    Spread(network::Spread),
}

fn main() -> Result<(), Box<dyn Error>> {
    let cli = Cli::parse();
    if let Some(Task::Spread(spread)) = &cli.command {
        return spread.run();
    }
    let machine = Machine::here(cli.quick);
    let rows = if cli.quick { Effort::QUICK } else { Effort::FULL }.rows()?;
    let report = Report { machine, beside: "raw", rows };
    if cli.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

/// How much work each row does: sizes, and rounds of which the median counts.
struct Effort {
    /// Operations and rounds of each row of single checks. Small histories need more rounds for a steady median.
    one_by_one: &'static [(usize, usize)],
    /// Operations of each of 100 authors.
    by_author: usize,
    /// Operations of 64 attestations of each of 100 authors.
    attestations: usize,
    groups: usize,
    stored: usize,
    /// Operations of each of 100 logs, and how many of them are missing.
    synced: (usize, usize),
    aggregates: usize,
    digests: usize,
    /// Ticks of 500 feeds.
    ticks: usize,
    rounds: usize,
}

impl Effort {
    const FULL: Self = Self {
        one_by_one: &[(1_000, 15), (10_000, 7), (100_000, 3), (260_000, 3)],
        by_author: 1_024,
        attestations: 128,
        groups: 2_000,
        stored: 100_000,
        synced: (10_000, 10),
        aggregates: 10_000,
        digests: 20_000,
        ticks: 100,
        rounds: 5,
    };

    const QUICK: Self = Self {
        one_by_one: &[(1_000, 3), (5_000, 2)],
        by_author: 64,
        attestations: 8,
        groups: 200,
        stored: 10_000,
        synced: (100, 10),
        aggregates: 500,
        digests: 1_000,
        ticks: 5,
        rounds: 2,
    };

    /// What the tests run.
    #[cfg(test)]
    const TINY: Self = Self {
        one_by_one: &[(500, 1)],
        by_author: 8,
        attestations: 2,
        groups: 10,
        stored: 500,
        synced: (20, 10),
        aggregates: 10,
        digests: 100,
        ticks: 1,
        rounds: 1,
    };

    /// Measures everything, and says on standard error how far it is.
    fn rows(&self) -> Result<Vec<report::Row>, Box<dyn Error>> {
        let doing = |what| eprintln!("measuring {what}");
        doing("intake one by one");
        let mut rows = intake::one_by_one(self.one_by_one);
        doing("intake by author");
        rows.push(intake::by_author(self.by_author, self.rounds));
        rows.extend(intake::attestations(self.attestations, self.rounds));
        doing("secp256k1");
        rows.extend(signatures::groups(self.groups, self.rounds));
        doing("redb");
        rows.extend(disk::group_commits(self.stored, self.rounds)?);
        doing("sync");
        rows.extend(sync::missing_tails(self.synced.0, self.synced.1));
        doing("views");
        rows.push(views::aggregation(self.aggregates, self.rounds));
        rows.push(views::digest(self.digests, self.rounds));
        doing("feeds");
        rows.extend(feeds::rows(self.ticks, self.rounds));
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row checks by itself that the work was done; how fast is not tested.
    #[test]
    fn every_row_can_be_measured_and_printed() {
        let report = Report { machine: Machine::here(true), beside: "raw", rows: Effort::TINY.rows().unwrap() };
        let (table, json) = (report.to_string(), serde_json::to_value(&report).unwrap());
        let rows = json["rows"].as_array().unwrap();
        assert!(rows.len() >= 17);
        for row in rows {
            assert!(table.contains(row["name"].as_str().unwrap()));
            assert!(row["ours"]["value"].as_f64().is_some_and(|value| value >= 0.0), "{row}");
        }
    }

    /// Bytes do not depend on the machine: this aim can be tested.
    #[test]
    fn a_thousand_missing_operations_cost_one_request_and_little_beside_them() {
        for row in sync::missing_tails(20, 10) {
            assert!(row.aim.as_ref().unwrap().is_met, "{row:?}");
        }
    }
}
