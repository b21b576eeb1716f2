//! `oracle-node sources parse`

use std::{fs::File, io::Read, path::PathBuf, process::ExitCode, time::SystemTime};

use anyhow::Context;
use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};
use concurrence_sources::BODY_LEN_MAX;

/// Print the quote that a recorded answer, or a stream's message, yields; or why it yields none, with exit code 2.
#[derive(clap::Args)]
pub struct Args {
    /// The venue, as `sources channels` lists it.
    #[arg(long)]
    venue: String,
    /// The venue's channel, as `sources channels` lists it.
    #[arg(long)]
    channel: String,
    /// The market asked for, in the venue's spelling. Without it the body must be about one market.
    #[arg(long)]
    symbol: Option<String>,
    /// The body.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The body yields no quote.
const EXIT_REFUSED: u8 = 2;

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let channel = super::channel(&self.venue, &self.channel)?;
        let named = || self.file.display().to_string();
        let mut body = Vec::new();
        // One byte more than a source would read: enough to know that it is too long.
        let most = BODY_LEN_MAX as u64 + 1;
        File::open(&self.file).and_then(|file| file.take(most).read_to_end(&mut body)).with_context(named)?;
        if body.len() > BODY_LEN_MAX {
            return Ok(self.refused("body_too_long", &format!("more than {BODY_LEN_MAX} bytes")));
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let received = Time::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
        let parsed = match &self.symbol {
            Some(symbol) => channel.parse(&body, symbol, received),
            None => channel.parse_any(&body, received),
        };
        Ok(match parsed {
            Ok(quote) => self.quote(&quote),
            Err(error) => self.refused(error.kind.label(), &error.detail),
        })
    }

    fn quote(&self, quote: &Quote) -> ExitCode {
        let text = |price: Option<Price>| price.map(|price| price.to_string());
        let fields = [
            ("bid", text(quote.bid)),
            ("ask", text(quote.ask)),
            ("last", text(quote.last)),
            ("volume", text(quote.volume)),
            ("venue_time_ms", quote.venue_time.map(|time| time.ms().to_string())),
        ];
        if self.json {
            let object: serde_json::Map<_, _> =
                fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            println!("{}", serde_json::Value::from(object));
        } else {
            for (name, value) in fields {
                println!("{name:<14} {}", value.as_deref().unwrap_or("-"));
            }
        }
        ExitCode::SUCCESS
    }

    fn refused(&self, kind: &str, detail: &str) -> ExitCode {
        if self.json {
            println!("{}", serde_json::json!({"error": {"kind": kind, "detail": detail}}));
        } else {
            println!("refused: {kind}: {detail}");
        }
        ExitCode::from(EXIT_REFUSED)
    }
}
