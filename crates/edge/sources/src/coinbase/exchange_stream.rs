//! Coinbase Exchange's stream.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{Message, Says},
    stream::StreamRules,
    time,
};

/// 8 connections a second and address; closed unless subscribed within 5 s; heartbeats every second and market once subscribed
/// (Coinbase Exchange docs, "WebSocket Overview", "WebSocket Rate Limits").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://ws-feed.exchange.coinbase.com",
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

fn subscribe(markets: &[String], _: u64) -> Vec<String> {
    vec![json!({"type": "subscribe", "product_ids": markets, "channels": ["ticker", "heartbeat"]}).to_string()]
}

/// Reads a message. `sequence` counts all that happens in a market, of which a ticker shows only the trades: it orders, but has gaps.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    Ok(Message::of(match object.string("type")?.as_str() {
        "ticker" => return ticker(&object, received),
        "heartbeat" => Says::Alive,
        "subscriptions" => Says::Subscribed,
        "error" => {
            let words = format!("{}: {}", object.string("message")?, object.string("reason").unwrap_or_default());
            Says::Refused(refusal(&words), words)
        }
        _ => Says::Nothing,
    }))
}

fn ticker(object: &Object<'_>, received: Time) -> Result<Message, ParseError> {
    let (bid, ask) = (object.price_or_empty("best_bid")?, object.price_or_empty("best_ask")?);
    json::check_book(bid, ask)?;
    let last = object.price_or_empty("price")?;
    if bid.is_none() && last.is_none() {
        return Err(ParseError::new(Kind::Missing, "price"));
    }
    let venue_time = Some(time::iso_text(object.need("time")?, "time")?);
    let quote = Quote { bid, ask, last, volume: object.volume("volume_24h")?, venue_time, received };
    Ok(Message::price(object.string("product_id")?, quote, object.get("sequence").and_then(json::count)))
}

fn refusal(words: &str) -> Refusal {
    let words = words.to_ascii_lowercase();
    if words.contains("not a valid product") {
        Refusal::UnknownSymbol
    } else if words.contains("rate limit") || words.contains("too many") {
        Refusal::RateLimit
    } else {
        Refusal::Other
    }
}
