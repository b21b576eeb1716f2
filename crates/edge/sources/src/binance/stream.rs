//! Binance's market streams.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use super::parse;
use crate::{
    ParseError, ParseErrorKind as Kind,
    json::{self, Object},
    message::{Message, Says},
    stream::StreamRules,
    time,
};

/// Five incoming messages a second, pongs included, and 1,024 streams a connection; 300 connections in 5 minutes and address; a ping
/// frame every 20 s; a connection ends after 24 hours, announced by `serverShutdown` (Binance spot API docs, "WebSocket Streams").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://stream.binance.com:9443/ws",
    subscribe,
    markets_per_request: 100,
    request_gap_ms: 300,
    ping: None,
    silence_ms: 60_000,
    age_ms_max: 23 * 3_600_000,
    connects_max: 270,
    connects_window_ms: 300_000,
    connect_gap_ms: 500,
};

/// The day ticker, once a second and market: it carries the venue's time, which the book ticker does not.
fn subscribe(markets: &[String], number: u64) -> Vec<String> {
    let streams: Vec<_> = markets.iter().map(|market| format!("{}@ticker", market.to_ascii_lowercase())).collect();
    vec![json!({"method": "SUBSCRIBE", "params": streams, "id": number}).to_string()]
}

/// Reads a message, bare or in the envelope of a combined stream. Keys differ by case alone: `c` is the last price, `C` the end of the
/// statistics' window; `b` and `a` are prices, `B` and `A` amounts.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let mut object = Object::parse(text)?;
    if object.get("stream").is_some() {
        object = Object::parse(object.need("data")?.get())?;
    }
    let Some(event) = object.get("e") else { return reply_or_book(&object, received) };
    match json::string(event, "e")?.as_str() {
        "24hrTicker" => day_ticker(&object, received),
        "trade" => trade(&object, received),
        "serverShutdown" => Ok(Message::of(Says::Closing)),
        _ => Ok(Message::of(Says::Nothing)),
    }
}

fn day_ticker(object: &Object<'_>, received: Time) -> Result<Message, ParseError> {
    let need = |key| json::price(object.need(key)?, key);
    let (bid, ask, last) = (Some(need("b")?), Some(need("a")?), Some(need("c")?));
    json::check_book(bid, ask)?;
    let venue_time = Some(time::ms_number(object.need("E")?, "E")?);
    let quote = Quote { bid, ask, last, volume: object.volume("v")?, venue_time, received };
    Ok(Message::price(object.string("s")?, quote, None))
}

fn trade(object: &Object<'_>, received: Time) -> Result<Message, ParseError> {
    let last = Some(json::price(object.need("p")?, "p")?);
    let venue_time = Some(time::ms_number(object.need("T")?, "T")?);
    let quote = Quote { bid: None, ask: None, last, volume: None, venue_time, received };
    Ok(Message::price(object.string("s")?, quote, object.get("t").and_then(json::count)))
}

/// What has no `e`: the answer to a request, an error, or the book ticker, which has no time either.
fn reply_or_book(object: &Object<'_>, received: Time) -> Result<Message, ParseError> {
    if object.get("result").is_some() {
        return Ok(Message::of(Says::Subscribed));
    }
    let error = object.get("error").map(|error| Object::parse(error.get())).transpose()?;
    if let Some((refusal, words)) = parse::refused(error.as_ref().unwrap_or(object)) {
        return Ok(Message::of(Says::Refused(refusal, words)));
    }
    if object.get("u").is_none() {
        return Err(ParseError::new(Kind::Missing, "e"));
    }
    let need = |key| json::price(object.need(key)?, key);
    let (bid, ask) = (Some(need("b")?), Some(need("a")?));
    json::check_book(bid, ask)?;
    let quote = Quote { bid, ask, last: None, volume: None, venue_time: None, received };
    Ok(Message::price(object.string("s")?, quote, object.get("u").and_then(json::count)))
}
