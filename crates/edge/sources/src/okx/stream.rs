//! OKX's public stream.

use concurrence_crdt::Time;
use serde_json::json;

use super::parse;
use crate::{
    ParseError,
    json::{self, Object},
    message::{Message, Says, Ticker},
    stream::{Ping, StreamRules},
};

/// Three connections a second and address; a connection is closed after 30 s without a message, so that a quiet one is asked for a
/// `pong` before; 480 subscriptions an hour and connection, where one request counts once however many markets it names (OKX
/// API v5 docs, "WebSocket", "Connect" and "Connection count limit").
pub(crate) const RULES: StreamRules = StreamRules {
    url: "wss://ws.okx.com:8443/ws/v5/public",
    subscribe,
    markets_per_request: 50,
    request_gap_ms: 500,
    ping: Some(Ping { every_ms: 25_000, text: |_| "ping".to_owned() }),
    silence_ms: 29_000,
    age_ms_max: u64::MAX,
    connects_max: 20,
    connects_window_ms: 60_000,
    connect_gap_ms: 500,
};

fn subscribe(markets: &[String], _: u64) -> Vec<String> {
    let args: Vec<_> = markets.iter().map(|market| json!({"channel": "tickers", "instId": market})).collect();
    vec![json!({"op": "subscribe", "args": args}).to_string()]
}

/// Reads a message. The answer to a ping is the bare text `pong`; notice 64008 says that the connection will be closed.
pub(crate) fn read(text: &str, received: Time) -> Result<Message, ParseError> {
    if text == "pong" {
        return Ok(Message::of(Says::Alive));
    }
    let object = Object::parse(text)?;
    if object.get("event").is_some() {
        return Ok(Message::of(event(&object)?));
    }
    let arg = Object::parse(object.need("arg")?.get())?;
    if arg.string("channel")? != "tickers" {
        return Ok(Message::of(Says::Nothing));
    }
    let ticker = |market: Object<'_>| {
        let quote = parse::ticker(&market, received)?;
        Ok(Ticker { symbol: market.string("instId")?, quote, order: None, partial: false })
    };
    let tickers: Vec<_> =
        json::objects(object.need("data")?, "data")?.into_iter().map(ticker).collect::<Result<_, ParseError>>()?;
    Ok(Message::of(if tickers.is_empty() { Says::Nothing } else { Says::Prices(tickers) }))
}

fn event(object: &Object<'_>) -> Result<Says, ParseError> {
    Ok(match object.string("event")?.as_str() {
        "subscribe" => Says::Subscribed,
        "error" => parse::refused(object).map_or(Says::Nothing, |(refusal, words)| Says::Refused(refusal, words)),
        "notice" if object.string("code")? == "64008" => Says::Closing,
        _ => Says::Nothing,
    })
}
