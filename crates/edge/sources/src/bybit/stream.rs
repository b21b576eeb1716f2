//! Bybit's public stream.

use concurrence_crdt::Time;
use serde_json::json;

use super::parse;
use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{Message, Says, Ticker},
    stream::{Ping, StreamRules},
    time,
};

/// 500 connections in 5 minutes and address; a ping every 20 s keeps a connection; a spot request names at most 10 markets (Bybit
/// API v5 docs, "Connect", "IP Limits" and "How to Send the Heartbeat Packet").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://stream.bybit.com/v5/public/spot",
    subscribe,
    markets_per_request: 10,
    request_gap_ms: 250,
    ping: Some(Ping {
        every_ms: 20_000,
        text: |number| json!({"req_id": number.to_string(), "op": "ping"}).to_string(),
    }),
    silence_ms: 29_000,
    age_ms_max: u64::MAX,
    connects_max: 450,
    connects_window_ms: 300_000,
    connect_gap_ms: 500,
};

fn subscribe(markets: &[String], number: u64) -> Vec<String> {
    let topics: Vec<_> = markets.iter().map(|market| format!("tickers.{market}")).collect();
    vec![json!({"req_id": number.to_string(), "op": "subscribe", "args": topics}).to_string()]
}

/// Reads a message. Spot markets send whole tickers without a book; derivatives send one, then what changed (`delta`), where an
/// absent field is as it was.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    let Some(topic) = object.get("topic") else { return Ok(Message::of(reply(&object)?)) };
    if !json::string(topic, "topic")?.starts_with("tickers.") {
        return Ok(Message::of(Says::Nothing));
    }
    let data = Object::parse(object.need("data")?.get())?;
    let quote = parse::fields(&data, Some(time::ms_number(object.need("ts")?, "ts")?), received)?;
    let partial = match object.string("type")?.as_str() {
        "snapshot" => false,
        "delta" => true,
        other => return Err(ParseError::new(Kind::Shape, format_args!("type is {other:?}"))),
    };
    if !partial {
        json::check_book(quote.bid, quote.ask)?;
        if quote.last.is_none() {
            return Err(ParseError::new(Kind::Missing, "lastPrice"));
        }
    }
    let order = object.get("cs").and_then(json::count);
    Ok(Message::of(Says::Prices(vec![Ticker { symbol: data.string("symbol")?, quote, order, partial }])))
}

/// An answer to a request of ours.
fn reply(object: &Object<'_>) -> Result<Says, ParseError> {
    let done = object.need("success")?.get() == "true";
    let words = object.string("ret_msg").unwrap_or_default();
    Ok(match object.string("op")?.as_str() {
        "ping" | "pong" => Says::Alive,
        "subscribe" if done => Says::Subscribed,
        "subscribe" if words.contains("nvalid topic") || words.contains("nvalid symbol") => {
            Says::Refused(Refusal::UnknownSymbol, words)
        }
        "subscribe" => Says::Refused(Refusal::Other, words),
        _ => Says::Nothing,
    })
}
