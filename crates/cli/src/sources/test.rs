//! `oracle-node sources test`

use std::{path::PathBuf, process::ExitCode};

use concurrence_node::{LegLook, look};

/// Ask every configured venue now and show each leg: its price, the price converted, its age, and what it would count as. Exit code 1 if
/// a leg has no price.
#[derive(clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, default_value = "./config.toml")]
    config: PathBuf,
    /// Show the legs of this exchange only.
    #[arg(long)]
    source: Option<String>,
    /// Show this feed only, as `BTC/USD`.
    #[arg(long)]
    feed: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let config = crate::check_config::load(&self.config)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let looks = runtime.block_on(look(&config, self.source.as_deref(), self.feed.as_deref()))?;
        if self.json {
            println!("{}", serde_json::to_string(&looks)?);
        } else {
            print(&looks);
        }
        Ok(if looks.iter().all(|leg| leg.raw.is_some()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn print(looks: &[LegLook]) {
    let mut feed = "";
    for leg in looks {
        if leg.feed != feed {
            feed = &leg.feed;
            println!("{feed}");
        }
        let text = |price: &Option<String>| price.clone().unwrap_or_else(|| "-".to_owned());
        let age = leg.age_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
        println!(
            "  {:<9} {:<12} {:<10} {:>18} {:>18} {:>10}  {}{}",
            leg.source,
            leg.symbol,
            leg.market,
            text(&leg.raw),
            text(&leg.converted),
            age,
            leg.verdict,
            leg.error.as_ref().map_or_else(String::new, |error| format!(": {error}")),
        );
    }
}
