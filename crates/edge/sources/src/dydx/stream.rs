//! The dYdX indexer's stream.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::{json, value::RawValue};

use super::parse;
use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{Message, Says, Ticker},
    stream::StreamRules,
    time,
};

/// Two subscriptions a second; at most 32 a channel and connection, where all markets are one; a ping frame every 30 s (dYdX indexer,
/// `socks` rate limits).
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://indexer.dydx.trade/v4/ws",
    subscribe,
    markets_per_request: usize::MAX,
    request_gap_ms: 1_000,
    ping: None,
    silence_ms: 45_000,
    age_ms_max: u64::MAX,
    connects_max: 30,
    connects_window_ms: 60_000,
    connect_gap_ms: 1_000,
};

/// One subscription brings all markets.
fn subscribe(_: &[String], _: u64) -> Vec<String> {
    vec![json!({"type": "subscribe", "channel": "v4_markets", "batched": false}).to_string()]
}

/// Reads a message of `v4_markets`, or of `v4_trades`. `message_id` counts every message of the connection.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    let number = object.get("message_id").and_then(json::count);
    let kind = object.string("type")?;
    let says = match kind.as_str() {
        "connected" => Says::Alive,
        "error" => {
            let words = object.string("message")?;
            let limited = words.contains("ate limit") || words.contains("Too many");
            Says::Refused(if limited { Refusal::RateLimit } else { Refusal::Other }, words)
        }
        "subscribed" | "channel_data" => {
            let contents = Object::parse(object.need("contents")?.get())?;
            let tickers = match object.string("channel")?.as_str() {
                "v4_markets" => markets(&contents, received)?,
                "v4_trades" => trades(&contents, &object.string("id")?, received)?,
                _ => Vec::new(),
            };
            match (tickers.is_empty(), kind.as_str()) {
                (false, _) => Says::Prices(tickers),
                (true, "subscribed") => Says::Subscribed,
                (true, _) => Says::Nothing,
            }
        }
        _ => Says::Nothing,
    };
    Ok(Message { number, says })
}

/// The first message has all markets, later ones the oracle prices that changed, with the time of their block; a market that is not
/// active has no price.
fn markets(contents: &Object<'_>, received: Time) -> Result<Vec<Ticker>, ParseError> {
    let mut tickers = Vec::new();
    let mut push = |name: &str, price: &RawValue, venue_time| -> Result<(), ParseError> {
        let last = Some(json::price(price, "oraclePrice")?);
        let quote = Quote { bid: None, ask: None, last, volume: None, venue_time, received };
        tickers.push(Ticker { symbol: name.to_owned(), quote, order: None, partial: false });
        Ok(())
    };
    for (name, market) in members(contents, "markets")? {
        match parse::check_active(&market) {
            Ok(()) => push(&name, market.need("oraclePrice")?, None)?,
            Err(error) if error.kind == Kind::Halted => {}
            Err(error) => return Err(error),
        }
    }
    for (name, market) in members(contents, "oraclePrices")? {
        push(&name, market.need("oraclePrice")?, Some(time::iso_text(market.need("effectiveAt")?, "effectiveAt")?))?;
    }
    Ok(tickers)
}

/// Trades of one market, each with its own time, in the order of those times.
fn trades(contents: &Object<'_>, market: &str, received: Time) -> Result<Vec<Ticker>, ParseError> {
    let trade = |trade: Object<'_>| {
        let last = Some(json::price(trade.need("price")?, "price")?);
        let venue_time = Some(time::iso_text(trade.need("createdAt")?, "createdAt")?);
        let quote = Quote { bid: None, ask: None, last, volume: None, venue_time, received };
        Ok(Ticker { symbol: market.to_owned(), quote, order: None, partial: false })
    };
    let trades = json::objects(contents.need("trades")?, "trades")?.into_iter().map(trade);
    let mut tickers = trades.collect::<Result<Vec<_>, ParseError>>()?;
    tickers.sort_by_key(|ticker| ticker.quote.venue_time);
    Ok(tickers)
}

fn members<'a>(contents: &Object<'a>, key: &str) -> Result<Vec<(String, Object<'a>)>, ParseError> {
    let Some(map) = contents.get(key) else { return Ok(Vec::new()) };
    let markets = Object::parse_markets(map.get())?;
    markets.members().iter().map(|(name, value)| Ok((name.clone(), Object::parse(value.get())?))).collect()
}
