//! `oracle-node explain`

use std::{fmt::Write as _, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use concurrence_crdt::Time;
use concurrence_node::{
    EXPLANATION_BYTES_MAX, Explained, RegistryFile,
    api::{Legs, explanation::Explanation},
    explain_stored, verify_explanation, with_legs,
};
use concurrence_oracle::{Feed, Registry};

/// Show everything about a price: what each oracle signed, the legs behind it, who counted, who did not and why, and the arithmetic.
///
/// The running node of the configuration is asked; with --stored its store is read, of a node that is stopped. What comes is verified
/// with the registry before it is shown. Save it with --save, and anyone verifies it again with `oracle-node verify`.
#[derive(clap::Args)]
pub struct Args {
    /// The feed, as BTC/USD.
    feed: Feed,
    /// The configuration file.
    #[arg(long, default_value = "./config.toml")]
    config: PathBuf,
    /// The instant, in milliseconds since the Unix epoch; now unless given.
    #[arg(long, value_name = "MS")]
    at: Option<u64>,
    /// Ask this node instead of the configuration's own, as http://127.0.0.1:8080.
    #[arg(long, conflicts_with = "stored")]
    url: Option<String>,
    /// Read the store instead of asking: of a node that is stopped. Legs are then unavailable.
    #[arg(long)]
    stored: bool,
    /// Ask these nodes for the legs of their own batches too, which nobody else has.
    #[arg(long, value_name = "URL")]
    legs_from: Vec<String>,
    /// Write the explanation to this file.
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Print the explanation as it is verified.
    #[arg(long)]
    json: bool,
}

/// How long a node may take for an answer: at its slowest it verifies some thousand signatures.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = super::check_config::load(&self.config)?;
        let registry = RegistryFile::load(&config.registry)?.registry(&config.registry)?;
        let mut explained = if self.stored {
            let now = || Time::from_ms(u64::try_from(now_ms()).unwrap_or(u64::MAX));
            explain_stored(&config, self.feed, self.at.map_or_else(now, Time::from_ms))?
        } else {
            let base = self.url.clone().unwrap_or_else(|| format!("http://{}", config.api_addr));
            let feed = self.feed.to_string().replace('/', "-");
            let at = self.at.map(|ms| format!("?at_ms={ms}")).unwrap_or_default();
            let file = waited(get(&format!("{base}/v1/prices/{feed}/explain{at}")))?;
            verify_explanation(&file, &registry).context("the node's explanation is not true")?
        };
        if !self.legs_from.is_empty() {
            explained = waited(self.more_legs(explained, &registry))?;
        }
        if let Some(path) = &self.save {
            std::fs::write(path, &explained.text).with_context(|| format!("{} cannot be written", path.display()))?;
        }
        if self.json {
            print!("{}", explained.text);
        } else {
            print!("{}", told(&explained.view));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Asks others for legs that are missing. Whoever has none, or answers with something else, is passed over: it is checked by hash.
    async fn more_legs(&self, explained: Explained, registry: &Registry) -> anyhow::Result<Explained> {
        let missing = explained.view.statements.iter().filter(|statement| statement.legs.is_none());
        let mut records = Vec::new();
        for hash in missing.filter_map(|statement| statement.legs_hash.as_deref()) {
            for base in &self.legs_from {
                let answer = get(&format!("{base}/v1/legs/{hash}")).await.ok();
                let legs = answer.and_then(|json| serde_json::from_str::<Legs>(&json).ok());
                if let Some(record) = legs.and_then(|legs| hex::decode(legs.record).ok()) {
                    records.push(record);
                    break;
                }
            }
        }
        Ok(with_legs(&explained.text, registry, &records)?)
    }
}

/// The body of a good answer, of bounded length.
async fn get(url: &str) -> anyhow::Result<String> {
    let asked = reqwest::Client::builder().timeout(ANSWER_TIME_MAX).build()?.get(url).send().await;
    let mut response =
        asked.with_context(|| format!("{url} cannot be reached; a stopped node's store is read with --stored"))?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(more) = response.chunk().await? {
        body.extend_from_slice(&more);
        if body.len() > EXPLANATION_BYTES_MAX {
            bail!("{url} answers with more than {EXPLANATION_BYTES_MAX} bytes");
        }
    }
    let body = String::from_utf8(body).with_context(|| format!("{url} answers with something that is no text"))?;
    if !status.is_success() {
        let problem: Option<serde_json::Value> = serde_json::from_str(&body).ok();
        let detail = problem.and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
        bail!("{url} answers {status}: {}", detail.unwrap_or_default());
    }
    Ok(body)
}

fn waited<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis()
}

/// For people.
pub fn told(explanation: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    tell(&mut text, explanation).ok();
    text
}

fn tell(text: &mut String, of: &Explanation) -> std::fmt::Result {
    let (answer, sum) = (&of.answer, &of.arithmetic);
    let price = answer.price.as_deref().unwrap_or("no price");
    writeln!(text, "{} as of {}: {price}, {}", of.feed, of.as_of_ms, answer.status)?;
    if let Some([low, high]) = &answer.interval {
        writeln!(text, "any {} of {} by weight give {low} to {high}", sum.subset_weight, sum.total_weight)?;
    }
    answer.shortfalls.iter().try_for_each(|why| writeln!(text, "lacking: {why}"))?;
    writeln!(text, "\n{:<20}{:>28}{:>10}{:>10}", "votes, ascending", "price", "weight", "so far")?;
    let mut is_found = false;
    for vote in &sum.votes {
        let is_it = !is_found && u128::from(vote.weight_so_far) * 2 >= u128::from(sum.counted_weight);
        is_found |= is_it;
        let mark =
            if is_it { format!("  2 x {} >= {}", vote.weight_so_far, sum.counted_weight) } else { String::new() };
        writeln!(text, "{:<20}{:>28}{:>10}{:>10}{mark}", vote.oracle, vote.price, vote.weight, vote.weight_so_far)?;
    }
    for (name, price) in &sum.others {
        writeln!(text, "  by {name}: {}", price.as_deref().unwrap_or("none"))?;
    }
    writeln!(text)?;
    for said in of.statements.iter().filter(|said| said.fate != "superseded") {
        let price = said.price.as_deref().unwrap_or("unreadable");
        writeln!(text, "{} at second {}: {price}, {}; operation {}", said.oracle, said.slot, said.fate, said.op)?;
        let Some(legs) = &said.legs else {
            writeln!(text, "    legs unavailable")?;
            continue;
        };
        for leg in legs {
            let shown = |price: &Option<String>| price.clone().unwrap_or_else(|| "-".to_owned());
            let (raw, converted) = (shown(&leg.raw), shown(&leg.converted));
            writeln!(text, "    source {:<3}{:<12}{raw:>24}{converted:>28}  {}", leg.source, leg.symbol, leg.verdict)?;
        }
    }
    of.left_out.iter().try_for_each(|absent| writeln!(text, "{} is left out: {}", absent.oracle, absent.reason))?;
    for far in &of.outliers {
        let (price, ppm, limit) = (&far.price, far.deviation_ppm, far.limit_ppm);
        writeln!(
            text,
            "{} is an outlier: {price} at second {} is {ppm} ppm off, allowed are {limit}",
            far.oracle, far.slot
        )?;
    }
    writeln!(text, "\ncut       {}\nregistry  {}\nresult    {}", of.cut, of.registry, of.result_id)
}
