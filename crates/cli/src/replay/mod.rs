//! `oracle-node replay`

mod dice;
mod errors;
mod methods;
mod network;
mod node;
mod report;
mod rules;
mod store;
mod venues;

use std::{
    fs::File,
    io::{IsTerminal as _, stderr},
    path::PathBuf,
    process::ExitCode,
    str::FromStr,
};

use anyhow::{Context as _, bail, ensure};
use concurrence_crdt::Time;
use concurrence_exchanges::{BAR_MS, Tape};
use concurrence_oracle::{AggregateParams, Feed, Status, default_legs};

use errors::{Errors, error_ppb};
use network::Network;
use report::{Report, Worst};
use rules::Rule;

/// Run recorded market history through seven nodes in virtual time and measure how far their answers are from the truth.
///
/// Seven whole engines with real keys, signatures and frames poll the recorded venues at independent offsets, with losses, through
/// the real parsers; convert, gate, attest, gossip and aggregate. One reports prices 20 % too high, one signs different
/// histories for different peers; a seed says which, and reproduces everything. By default the tape is the USDC de-peg of 10 to 13 March 2023.
///
/// The reference is the arithmetic mean of the Coinbase BTC-USD and Kraken XBT/USD closes, each at most 300 s old. A close is known
/// from the end of its bar. Every honest node's answer is taken in the last millisecond before the next close is known, as of that instant;
/// the error of a minute is that of the node furthest off. The table then shows what the same quotes would have given under other rules.
///
/// The aggregation has its defaults: a window of 60 s (so that only attestations of the minute itself count), a maximum age of 30 s,
/// 3 sources, equal oracles, default weights of the markets. Quotes count for at most 300 s.
///
/// Exit code 1 if an honest oracle was accused or halted, a liar was not named by every honest node, or their histories differ in the end.
#[derive(clap::Args)]
pub struct ReplayArgs {
    /// Gzipped CSV of one-minute bars: ts,venue,symbol,open,high,low,close,volume; ts is the unix second at which the bar opens. The
    /// embedded de-peg unless given.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
    /// Only these hours of the tape, from its first bar on: 29..33 is four hours around the worst of the de-peg.
    #[arg(long, value_name = "A..B")]
    hours: Option<Hours>,
    /// At most so many minutes.
    #[arg(long, value_name = "N")]
    minutes: Option<u64>,
    /// Reproduces roles, keys, offsets, losses and delays.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds between a node's polls, each followed by an attestation. 30 samples every minute twice; 10 is nearer to a running
    /// node's pace and takes three times as long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=30), value_name = "S")]
    tick_seconds: u64,
    /// How many of a hundred polls of a market are lost.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(0..=100), value_name = "PERCENT")]
    poll_loss: u8,
    /// Instead of a network, show what this and other methods make of the recorded markets: one row each, ours with the bounds that are
    /// promised for the whole embedded tape, which fail the command when they are not kept.
    #[arg(long)]
    methods: bool,
    /// How many of a hundred frames between nodes are lost.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=90), value_name = "PERCENT")]
    frame_loss: u8,
}

/// A range of hours of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hours {
    from: u64,
    until: u64,
}

/// What a replay is run with.
#[derive(Clone, Debug)]
struct Setting {
    seed: u64,
    /// The first minute's beginning, milliseconds since the epoch.
    from_ms: u64,
    /// How many minutes, at least one.
    minutes: u64,
    /// Time between a node's polls, and between its batches.
    tick_ms: u64,
    poll_loss_percent: u8,
    frame_loss_percent: u8,
}

/// What is replayed: the one feed that the recorded markets price.
const FEED: &str = "BTC/USD";

/// Most minutes replayed: seventeen times the embedded tape. A file of two rows can span thousands of years.
const MINUTES_MAX: u64 = 100_000;

const HOUR_MS: u64 = 3_600_000;

/// Runs the subcommand.
pub fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let tape = match &args.data {
        None => Tape::usdc_depeg(),
        Some(path) => {
            let file = File::open(path).with_context(|| format!("tape {} cannot be opened", path.display()))?;
            Tape::from_csv_gz(file).with_context(|| format!("file {}", path.display()))?
        }
    };
    let setting = args.setting(&tape)?;
    if args.methods {
        let is_whole = args.data.is_none() && args.hours.is_none() && args.minutes.is_none();
        let methods = methods::methods(&tape, &setting, is_whole)?;
        return shown(args.json, &methods, methods.table(), &methods.failures);
    }
    let report = replay(&tape, &setting)?;
    shown(args.json, &report, report.table(), &report.failures)
}

/// Prints a report, and what failed.
fn shown(json: bool, report: &impl serde::Serialize, table: String, failures: &[String]) -> anyhow::Result<ExitCode> {
    if json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{table}");
    }
    failures.iter().for_each(|failure| eprintln!("error: {failure}"));
    Ok(if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl ReplayArgs {
    /// Which part of the tape, and how.
    fn setting(&self, tape: &Tape) -> anyhow::Result<Setting> {
        let (start_ms, tape_end_ms) = (tape.start_ms(), tape.end_ms().saturating_add(BAR_MS));
        // Before the first bar ends nothing is known.
        let opening_ms = start_ms.saturating_sub(BAR_MS);
        let at = |hours: u64| opening_ms.saturating_add(hours.saturating_mul(HOUR_MS));
        let from_ms = self.hours.map_or(start_ms, |hours| at(hours.from).max(start_ms));
        let end_ms = self.hours.map_or(tape_end_ms, |hours| at(hours.until).min(tape_end_ms));
        let there_are = end_ms.saturating_sub(from_ms) / BAR_MS;
        let minutes = self.minutes.map_or(there_are, |minutes| minutes.min(there_are));
        ensure!(
            minutes > 0,
            "the tape has no minute in the part asked for; it spans {} minutes",
            (tape_end_ms - start_ms) / BAR_MS
        );
        ensure!(
            minutes <= MINUTES_MAX,
            "{minutes} minutes are asked for, at most {MINUTES_MAX} are allowed: choose a part with --hours or --minutes"
        );
        Ok(Setting {
            seed: self.seed,
            from_ms,
            minutes,
            tick_ms: self.tick_seconds * 1_000,
            poll_loss_percent: self.poll_loss,
            frame_loss_percent: self.frame_loss,
        })
    }
}

impl Setting {
    /// The parameters of all answers.
    fn aggregation(&self) -> AggregateParams {
        AggregateParams::default()
    }

    /// The last instant compared, milliseconds since the epoch.
    fn until_ms(&self) -> u64 {
        self.from_ms + self.minutes * BAR_MS - 1
    }
}

/// Lets the network live through the tape and holds its answers against the reference.
fn replay(tape: &Tape, setting: &Setting) -> anyhow::Result<Report> {
    let feed: Feed = FEED.parse()?;
    let legs = default_legs(feed);
    let mut network = Network::new(tape, setting, (feed, &legs), Rule::all(feed, &legs)?)?;
    let mut measured = Measured { rules: vec![Errors::default(); network.rules.len()], ..Measured::default() };
    let progress = Progress::new(setting);
    for minute in 1..=setting.minutes {
        let as_of_ms = setting.from_ms + minute * BAR_MS - 1;
        network.run_until(as_of_ms);
        if let Some(reference) = tape.reference(as_of_ms) {
            measured.compare(&mut network, Time::from_ms(as_of_ms), reference, &setting.aggregation());
        }
        progress.show(minute);
    }
    if measured.network.len() == 0 {
        bail!(
            "no minute could be compared: {} had a reference (both Coinbase BTC-USD and Kraken XBT/USD) but no ok answer of all honest nodes",
            measured.unanswered
        );
    }
    let settled = network.settle();
    report::report(&network, setting, &measured, settled)
}

/// What was measured on the way.
#[derive(Default)]
struct Measured {
    /// Errors of the network's own answers.
    network: Errors,
    /// Errors of the other rules, in their order.
    rules: Vec<Errors>,
    /// Minutes with a reference in which some honest node had no `ok` answer.
    unanswered: usize,
    /// Minutes in which all honest nodes gave the same price.
    agreed: usize,
    /// The minute with the greatest error.
    worst: Option<Worst>,
}

impl Measured {
    /// Holds all answers as of an instant, the present one, against the reference.
    fn compare(&mut self, network: &mut Network<'_>, as_of: Time, reference: i128, params: &AggregateParams) {
        let answers = network.answers();
        let ok = answers.iter().filter(|answer| answer.status == Status::Ok);
        let prices: Vec<_> = ok.filter_map(|answer| answer.price).collect();
        let worst = prices.iter().map(|&price| (error_ppb(price, reference), price)).max();
        let Some((error_ppb, price)) = worst.filter(|_| prices.len() == answers.len()) else {
            self.unanswered += 1;
            return;
        };
        self.agreed += usize::from(prices.windows(2).all(|pair| pair[0] == pair[1]));
        if self.worst.as_ref().is_none_or(|worst| worst.error_ppb < error_ppb) {
            self.worst = Some(Worst { error_ppb, as_of_ms: as_of.ms(), price, reference });
        }
        self.network.push(error_ppb);
        let (_, epoch) = network.registry.newest();
        for (rule, errors) in network.rules.iter().zip(&mut self.rules) {
            if let Some(price) = rule.price(epoch, as_of, params) {
                errors.push(errors::error_ppb(price, reference));
            }
        }
    }
}

/// One line on a terminal, so that minutes of silence do not look like a hang.
struct Progress {
    is_shown: bool,
    minutes: u64,
}

impl Progress {
    fn new(setting: &Setting) -> Self {
        Self { is_shown: stderr().is_terminal(), minutes: setting.minutes }
    }

    fn show(&self, minute: u64) {
        if !self.is_shown {
            return;
        }
        if minute.is_multiple_of(60) {
            eprint!("\r{minute} of {} minutes", self.minutes);
        }
        if minute == self.minutes {
            eprint!("\r{:40}\r", "");
        }
    }
}

impl FromStr for Hours {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once("..").and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((from, until)) if from < until => Ok(Self { from, until }),
            _ => Err(format!("{text:?} is no range of hours such as 29..33")),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        replay: ReplayArgs,
    }

    fn setting(args: &str) -> anyhow::Result<Setting> {
        let words = std::iter::once("replay").chain(args.split_whitespace());
        Command::try_parse_from(words)?.replay.setting(&Tape::usdc_depeg())
    }

    /// 2023-03-10 00:00:00 UTC.
    const OPENING_MS: u64 = 1_678_406_400_000;

    #[test]
    fn the_whole_tape_unless_a_part_is_asked_for() {
        let whole = setting("").expect("a setting");
        assert_eq!((whole.from_ms, whole.minutes), (OPENING_MS + BAR_MS, 5_760));
        let depeg = setting("--hours 29..33").expect("a setting");
        assert_eq!((depeg.from_ms, depeg.minutes), (OPENING_MS + 29 * HOUR_MS, 240));
        assert_eq!(setting("--hours 29..33 --minutes 7").expect("a setting").minutes, 7);
        assert_eq!(setting("--hours 95..999").expect("a setting").minutes, 61);
    }

    #[test]
    fn parts_that_are_not_there_are_refused() {
        for args in ["--hours 97..98", "--minutes 0", "--hours 3..3", "--hours 3", "--hours -1..2", "--tick-seconds 60"]
        {
            assert!(setting(args).is_err(), "{args}");
        }
        assert!(setting(&format!("--hours {}..{}", u64::MAX - 1, u64::MAX)).is_err());
    }
}
