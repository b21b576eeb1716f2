//! Bitstamp's stream.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use serde_json::json;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{Message, Says},
    stream::{Ping, StreamRules},
    time,
};

/// A connection ends after 90 days at most, announced by `bts:request_reconnect`; `bts:heartbeat` asks for a sign of life (Bitstamp
/// WebSocket docs). Numbers of connections and messages are not documented: these are guesses well below the other venues'.
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://ws.bitstamp.net",
    subscribe,
    markets_per_request: 1,
    request_gap_ms: 250,
    ping: Some(Ping { every_ms: 20_000, text: |_| json!({"event": "bts:heartbeat"}).to_string() }),
    silence_ms: 45_000,
    age_ms_max: 30 * 24 * 3_600_000,
    connects_max: 30,
    connects_window_ms: 600_000,
    connect_gap_ms: 1_000,
};

const TRADES: &str = "live_trades_";

fn subscribe(markets: &[String], _: u64) -> Vec<String> {
    let subscribe = |market| json!({"event": "bts:subscribe", "data": {"channel": format!("{TRADES}{market}")}});
    markets.iter().map(|market| subscribe(market).to_string()).collect()
}

/// Reads a message. A trade's `price` is a number that went through floating point; `price_str` is the price.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    let object = Object::parse(text)?;
    Ok(Message::of(match object.string("event")?.as_str() {
        "trade" => return trade(&object, received),
        "bts:subscription_succeeded" => Says::Subscribed,
        "bts:heartbeat" => Says::Alive,
        "bts:request_reconnect" => Says::Closing,
        "bts:error" => {
            let data = Object::parse(object.need("data")?.get())?;
            let words = format!("code {}: {}", data.need("code")?.get(), data.string("message")?);
            Says::Refused(if words.contains("hannel") { Refusal::UnknownSymbol } else { Refusal::Other }, words)
        }
        _ => Says::Nothing,
    }))
}

fn trade(object: &Object<'_>, received: Time) -> Result<Message, ParseError> {
    let channel = object.string("channel")?;
    let market = channel.strip_prefix(TRADES).ok_or_else(|| ParseError::new(Kind::Shape, &channel))?;
    let data = Object::parse(object.need("data")?.get())?;
    let last = Some(json::price(data.need("price_str")?, "price_str")?);
    let venue_time = Some(time::microseconds_text(data.need("microtimestamp")?, "microtimestamp")?);
    let quote = Quote { bid: None, ask: None, last, volume: None, venue_time, received };
    Ok(Message::price(market.to_owned(), quote, data.get("id").and_then(json::count)))
}
