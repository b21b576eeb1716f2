//! Coinbase Advanced Trade's stream.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{Message, Says, Ticker},
    stream::StreamRules,
    time,
};

/// 8 connections and 8 requests a second and address; a connection without a subscription is closed after 5 s, one that is silent
/// after 60 to 90 s unless `heartbeats` are subscribed, which come every second (Coinbase Advanced Trade docs, "WebSocket Overview",
/// "Rate limits").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://advanced-trade-ws.coinbase.com",
    subscribe,
    markets_per_request: 50,
    request_gap_ms: 250,
    ping: None,
    silence_ms: 5_000,
    age_ms_max: u64::MAX,
    connects_max: 60,
    connects_window_ms: 60_000,
    connect_gap_ms: 500,
};

fn subscribe(markets: &[String], number: u64) -> Vec<String> {
    let ticker = json!({"type": "subscribe", "product_ids": markets, "channel": "ticker"}).to_string();
    let heartbeats = json!({"type": "subscribe", "channel": "heartbeats"}).to_string();
    if number == 1 { vec![heartbeats, ticker] } else { vec![ticker] }
}

/// Reads a message. `sequence_num` counts every message of the connection.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    let Some(channel) = object.get("channel") else { return Ok(Message::of(error(&object)?)) };
    let number = object.get("sequence_num").and_then(json::count);
    let says = match json::string(channel, "channel")?.as_str() {
        "ticker" | "ticker_batch" => tickers(&object, received)?,
        "heartbeats" => Says::Alive,
        "subscriptions" => Says::Subscribed,
        _ => Says::Nothing,
    };
    Ok(Message { number, says })
}

/// Tickers of all events. One whose fields are all empty strings, as they occur, says nothing; one side of a book alone is refused.
fn tickers(object: &Object<'_>, received: Time) -> Result<Says, ParseError> {
    let venue_time = Some(time::iso_text(object.need("timestamp")?, "timestamp")?);
    let mut tickers = Vec::new();
    for event in json::objects(object.need("events")?, "events")? {
        for market in json::objects(event.need("tickers")?, "tickers")? {
            let (bid, ask) = (market.price_or_empty("best_bid")?, market.price_or_empty("best_ask")?);
            json::check_book(bid, ask)?;
            let last = market.price_or_empty("price")?;
            if bid.is_none() && last.is_none() {
                continue;
            }
            let volume = market.get("volume_24_h").filter(|value| value.get() != "\"\"");
            let volume = volume.map(|value| json::amount(value, "volume_24_h")).transpose()?;
            let quote = Quote { bid, ask, last, volume, venue_time, received };
            tickers.push(Ticker { symbol: market.string("product_id")?, quote, order: None, partial: false });
        }
    }
    Ok(if tickers.is_empty() { Says::Nothing } else { Says::Prices(tickers) })
}

fn error(object: &Object<'_>) -> Result<Says, ParseError> {
    if object.string("type")? != "error" {
        return Err(ParseError::new(Kind::Missing, "channel"));
    }
    let words = object.string("message")?;
    let limited = words.to_ascii_lowercase().contains("rate limit");
    Ok(Says::Refused(if limited { Refusal::RateLimit } else { Refusal::Other }, words))
}
