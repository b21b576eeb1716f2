//! Gemini's market data stream, version 2.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use super::parse;
use crate::{
    ParseError,
    json::{self, Object},
    message::{Message, Says},
    stream::StreamRules,
    time,
};

/// Heartbeats about every 5 s; one connection a minute is advised for each market, with bursts (Gemini WebSocket docs, "Rate limits").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://api.gemini.com/v2/marketdata",
    subscribe,
    markets_per_request: 20,
    request_gap_ms: 1_000,
    ping: None,
    silence_ms: 15_000,
    age_ms_max: u64::MAX,
    connects_max: 10,
    connects_window_ms: 600_000,
    connect_gap_ms: 5_000,
};

/// Trades come with the order book's channel.
fn subscribe(markets: &[String], _: u64) -> Vec<String> {
    let markets: Vec<_> = markets.iter().map(|market| market.to_ascii_uppercase()).collect();
    vec![json!({"type": "subscribe", "subscriptions": [{"name": "l2", "symbols": markets}]}).to_string()]
}

/// Reads a message: of all of them only trades carry a price. Changes of the book are left unread; they show that the subscription
/// stands, which nothing else acknowledges.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    if let Some((refusal, words)) = parse::refused(&object) {
        return Ok(Message::of(Says::Refused(refusal, words)));
    }
    match object.string("type")?.as_str() {
        "trade" => {}
        "l2_updates" => return Ok(Message::of(Says::Subscribed)),
        _ => return Ok(Message::of(Says::Alive)),
    }
    let last = Some(json::price(object.need("price")?, "price")?);
    let venue_time = Some(time::ms_number(object.need("timestamp")?, "timestamp")?);
    let quote = Quote { bid: None, ask: None, last, volume: None, venue_time, received };
    Ok(Message::price(object.string("symbol")?, quote, object.get("event_id").and_then(json::count)))
}
