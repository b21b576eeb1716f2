//! `oracle-node exchange-sim`

use std::{net::SocketAddr, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use concurrence_exchanges::{Exchange, ExchangeConfig, ReplayClock, Tape, TimeMode, Venue};

/// Serve Binance, Coinbase and Kraken as they were in the USDC de-peg of March 2023, on loopback, in their own formats.
///
/// Closes are real; bid, ask and volume are synthetic. Tell a venue to misbehave by POST to its /_sim/fault: {"fault":"lag","ms":500},
/// {"fault":"status429","retry_after_s":5}, {"fault":"status","status":503}, {"fault":"garbage"}, {"fault":"nothing"}, {"fault":"freeze"},
/// {"fault":"none"}.
#[derive(clap::Args)]
pub struct Args {
    /// First of three ports on 127.0.0.1: Binance, Coinbase, Kraken in turn; 0 takes free ones.
    #[arg(long, default_value_t = 7070)]
    port: u16,
    /// Recorded seconds in a real one.
    #[arg(long, default_value_t = 60)]
    speed: u32,
    /// Where to begin, unix seconds; 2023-03-11 06:30 UTC, when USDC fell, unless given.
    #[arg(long, default_value_t = DEPEG_START_S)]
    start: u64,
    /// Multiply prices of BTC, in millionths: 1200000 is 20 % too high. Rates of USDT and USDC stay true.
    #[arg(long, default_value_t = 1_000_000)]
    price_ppm: u32,
    /// Print the addresses as JSON.
    #[arg(long)]
    json: bool,
}

/// 2023-03-11 06:30:00 UTC: forty-five minutes before USDC's lowest close.
pub const DEPEG_START_S: u64 = 1_678_516_200;

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let clock = ReplayClock::start(self.start, self.speed);
            let exchanges = start(self.port, clock, self.price_ppm, &Arc::new(Tape::usdc_depeg())).await?;
            let urls: Vec<_> = exchanges.iter().map(|e| (e.venue().to_string().to_lowercase(), e.api_url())).collect();
            if self.json {
                let map: serde_json::Map<_, _> = urls.into_iter().map(|(name, url)| (name, url.into())).collect();
                println!("{}", serde_json::Value::Object(map));
            } else {
                urls.iter().for_each(|(name, url)| println!("{name:<10} api_url = \"{url}\""));
                println!("\nserving until Ctrl-C");
            }
            super::run::told_to_stop().await?;
            for exchange in exchanges {
                exchange.stop().await;
            }
            Ok(ExitCode::SUCCESS)
        })
    }
}

/// Starts the three venues on consecutive ports, or on free ones.
pub async fn start(port: u16, clock: ReplayClock, price_ppm: u32, tape: &Arc<Tape>) -> anyhow::Result<Vec<Exchange>> {
    let mut exchanges = Vec::new();
    for (n, venue) in (0u16..).zip([Venue::Binance, Venue::Coinbase, Venue::Kraken]) {
        let port = if port == 0 { 0 } else { port.checked_add(n).context("the third port would be above 65535")? };
        let config = ExchangeConfig {
            venue,
            listen: SocketAddr::from(([127, 0, 0, 1], port)),
            tape: Arc::clone(tape),
            clock,
            time_mode: TimeMode::Wall,
            price_ppm,
        };
        exchanges.push(Exchange::start(config).await?);
    }
    Ok(exchanges)
}
