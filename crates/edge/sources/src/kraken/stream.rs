//! Kraken's WebSocket API, version 2. Prices are JSON numbers, read as text.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use crate::{
    ParseError, Refusal,
    json::{self, Object},
    message::{Message, Says, Ticker},
    stream::{Ping, StreamRules},
    time,
};

/// About 150 connections in 10 minutes and address, then ten minutes of ban; after maintenance at most one attempt in 5 s; heartbeats
/// about every second once subscribed (Kraken API docs, "WebSocket API", "Reconnection and rate limits"). Trades alone would
/// leave the book stale: `bbo` sends every change of the best bid and ask.
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://ws.kraken.com/v2",
    subscribe,
    markets_per_request: 50,
    request_gap_ms: 250,
    ping: Some(Ping { every_ms: 30_000, text: |number| json!({"method": "ping", "req_id": number}).to_string() }),
    silence_ms: 5_000,
    age_ms_max: u64::MAX,
    connects_max: 60,
    connects_window_ms: 600_000,
    connect_gap_ms: 5_000,
};

fn subscribe(markets: &[String], number: u64) -> Vec<String> {
    let params = json!({"channel": "ticker", "symbol": markets, "event_trigger": "bbo", "snapshot": true});
    vec![json!({"method": "subscribe", "params": params, "req_id": number}).to_string()]
}

/// Reads a message.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    let Some(channel) = object.get("channel") else { return Ok(Message::of(reply(&object)?)) };
    Ok(Message::of(match json::string(channel, "channel")?.as_str() {
        "ticker" => {
            let data = json::objects(object.need("data")?, "data")?;
            let tickers: Vec<_> = data.iter().map(|market| ticker(market, received)).collect::<Result<_, _>>()?;
            if tickers.is_empty() { Says::Nothing } else { Says::Prices(tickers) }
        }
        "heartbeat" => Says::Alive,
        "status" => status(&object)?,
        _ => Says::Nothing,
    }))
}

/// `vwap` is an average, not a price anyone can trade at, and is not read. Older messages carry no time.
fn ticker(market: &Object<'_>, received: Time) -> Result<Ticker, ParseError> {
    let (bid, ask, last) = (Some(market.number("bid")?), Some(market.number("ask")?), Some(market.number("last")?));
    json::check_book(bid, ask)?;
    let volume = market.get("volume").map(|value| json::amount_number(value, "volume")).transpose()?;
    let venue_time = market.get("timestamp").map(|value| time::iso_text(value, "timestamp")).transpose()?;
    let quote = Quote { bid, ask, last, volume, venue_time, received };
    Ok(Ticker { symbol: market.string("symbol")?, quote, order: None, partial: false })
}

/// `maintenance`, `cancel_only`, `post_only` and `limit_only` are no states in which the last prices can be traded at.
fn status(object: &Object<'_>) -> Result<Says, ParseError> {
    let data = json::objects(object.need("data")?, "data")?;
    let state = data.iter().find(|entry| entry.get("system").is_some());
    state.map_or(Ok(Says::Nothing), |entry| Ok(Says::Trading(entry.string("system")? == "online")))
}

/// An answer to a request of ours.
fn reply(object: &Object<'_>) -> Result<Says, ParseError> {
    let method = object.string("method")?;
    if method == "pong" {
        return Ok(Says::Alive);
    }
    let done = object.need("success")?.get() == "true";
    Ok(match (method.as_str(), done) {
        ("subscribe", true) => Says::Subscribed,
        (_, true) => Says::Nothing,
        (_, false) => {
            let words = object.string("error")?;
            let refusal = match words.as_str() {
                words if words.starts_with("Currency pair not") => Refusal::UnknownSymbol,
                words if words.contains("ate limit") => Refusal::RateLimit,
                _ => Refusal::Other,
            };
            Says::Refused(refusal, words)
        }
    })
}
